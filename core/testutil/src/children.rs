//! Real processes: the test binary runs one of its own tests again, with a role, and talks to it through pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, Options};

use crate::{TempStore, hermetic};

const STORE: &str = "PD_TEST_STORE";
const ROLE: &str = "PD_TEST_ROLE";
const AGENT: &str = "PD_TEST_AGENT";
/// What the library is to break in every process of a run, this one and its children.
const BROKEN: &str = "PORT_DADDY_BROKEN";
/// Before each line for the parent: the test harness writes to the same pipe.
const MARK: &str = "@@ ";

impl TempStore {
    /// Starts the test `test` again as a child that plays `role`, as `agent`.
    pub fn child(&self, test: &str, role: &str, agent: &str) -> Process {
        self.child_with(test, role, agent, &[])
    }

    /// The same, with variables in its environment.
    pub fn child_with(&self, test: &str, role: &str, agent: &str, variables: &[(&str, &str)]) -> Process {
        self.child_by(&[], test, role, agent, variables)
    }

    /// The same, run by another program: the words before the command, such as `unshare -m`.
    pub fn child_by(&self, by: &[&str], test: &str, role: &str, agent: &str, variables: &[(&str, &str)]) -> Process {
        let exe = std::env::current_exe().expect("the test binary's path");
        let mut command = match by {
            [] => Command::new(exe),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(exe);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PORT_DADDY_") && name != BROKEN {
                command.env_remove(name);
            }
        }
        command
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(STORE, self.db())
            .env(ROLE, role)
            .env(AGENT, agent)
            .envs(variables.iter().copied());
        Process::start(&mut command)
    }
}

/// A child whose standard input and output are its parent's; killed when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Process { child, stdin, stdout }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that the child says.
    ///
    /// # Panics
    /// If it ends without a word.
    pub fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).expect("the child's words") > 0, "the child ended without a word");
            // libtest prints "test NAME ... " without an end of line before the test runs.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets the child go past its barrier.
    pub fn go(&mut self) {
        self.stdin.as_mut().expect("it is open").write_all(b"go\n").expect("the child listens");
    }

    /// Stops it as SIGSTOP does. One of its threads takes the signal, and the others run on until it has: comes back once
    /// all stand still.
    #[cfg(unix)]
    pub fn stop(&self) {
        use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
        self.signal(Signal::STOP);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let stopped = || waitid(WaitId::Pid(Pid::from_child(&self.child)), options);
        rustix::io::retry_on_intr(stopped).expect("the child is there");
    }

    /// Comes back once it watches for somebody's end, as whoever waits for a lock does.
    ///
    /// # Panics
    /// If it never does.
    #[cfg(target_os = "linux")]
    pub fn until_watching(&self) {
        let tasks = format!("/proc/{}/task", self.pid());
        let deadline = Instant::now() + Duration::from_secs(30);
        let watches = |task: std::io::Result<std::fs::DirEntry>| {
            task.and_then(|task| std::fs::read_to_string(task.path().join("comm")))
                .is_ok_and(|name| name == "pd-watch\n")
        };
        while !std::fs::read_dir(&tasks).expect("the child is there").any(watches) {
            assert!(Instant::now() < deadline, "it watches for nobody");
        }
    }

    /// Lets it go on after [`stop`](Self::stop).
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the child is there");
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the child is there");
        self.child.wait().expect("the child ends");
    }

    /// Waits until it has ended by itself; true if it is content.
    pub fn ended(&mut self) -> bool {
        self.stdin = None;
        self.child.wait().expect("the child ends").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the run has no tick (`make test-no-tick`). Then a test that only the tick can make pass is left out, and says
/// what nobody is woken for.
pub fn without_tick(because: &str) -> bool {
    let without = std::env::var(BROKEN).is_ok_and(|broken| broken.split(',').any(|promise| promise == "tick"));
    if without {
        writeln!(std::io::stderr(), "left out without a tick: {because}").expect("stderr");
    }
    without
}

/// What a child was told to be.
pub struct Role {
    /// The role's words.
    pub name: String,
    /// The agent's id.
    pub agent: String,
    /// The database's path.
    pub db: PathBuf,
}

impl Role {
    /// None: this process is no child.
    pub fn of_this_process() -> Option<Role> {
        let name = std::env::var(ROLE).ok()?;
        let agent = std::env::var(AGENT).expect("a child has an agent");
        Some(Role { name, agent, db: std::env::var_os(STORE).expect("a child has a store").into() })
    }

    /// What a handle is opened with: the parent's database, the agent, and the variables that the parent gave.
    pub fn options(&self) -> Options {
        let given = std::env::vars().filter(|(name, _)| name.starts_with("PORT_DADDY_"));
        hermetic(&self.db, given).agent(&self.agent)
    }

    /// A program's handle.
    pub fn open(&self) -> Coordinator {
        Coordinator::open(self.options()).expect("the store opens")
    }

    /// Tells the parent.
    pub fn say(&self, what: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{MARK}{what}").and_then(|()| out.flush()).expect("the parent listens");
    }

    /// Waits until the parent says go; false if it has gone.
    pub fn barrier(&self) -> bool {
        std::io::stdin().lock().read_line(&mut String::new()).expect("the parent's words") > 0
    }
}
