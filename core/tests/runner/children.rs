//! Real processes: the test binary runs one of its own tests again, with a role, and talks to it through pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use portdaddy_core::{Coordinator, Options, ScopeChoice};

const STORE: &str = "PD_TEST_STORE";
const ROLE: &str = "PD_TEST_ROLE";
const AGENT: &str = "PD_TEST_AGENT";
/// Before each line for the parent: the test harness writes to the same pipe.
const MARK: &str = "@@ ";

/// A database of its own, in a directory of its own.
pub(crate) struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join("pd.db")
    }

    /// A directory beside the database.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir.canonicalize().unwrap()
    }

    /// A git repository beside the database.
    pub(crate) fn repository(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        git(&dir, &["init", "-q", "-b", "main"]);
        dir
    }

    pub(crate) fn options(&self, agent: &str) -> Options {
        options(&self.db(), agent)
    }

    pub(crate) fn open(&self, agent: &str) -> Coordinator {
        Coordinator::open(self.options(agent)).unwrap()
    }

    /// Starts the test `test` again as a child that plays `role`, as `agent`.
    pub(crate) fn child(&self, test: &str, role: &str, agent: &str) -> Process {
        self.child_with(test, role, agent, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn child_with(&self, test: &str, role: &str, agent: &str, variables: &[(&str, &str)]) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(STORE, self.db())
            .env(ROLE, role)
            .env(AGENT, agent)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Process { child, stdin, stdout }
    }
}

pub(crate) fn options(db: &Path, agent: &str) -> Options {
    let dir = db.parent().unwrap();
    Options::default().db(db).agent(agent).cwd(dir).scope(ScopeChoice::Global)
}

pub(crate) fn git(dir: &Path, args: &[&str]) {
    let out = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A child that plays a role; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that the child says.
    pub(crate) fn said(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the child ended without a word");
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Lets the child go past its barrier.
    pub(crate) fn go(&mut self) {
        self.stdin.write_all(b"go\n").unwrap();
    }

    /// Stops it as SIGSTOP does.
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on after [`stop`](Self::stop).
    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child was told to be.
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) db: PathBuf,
}

impl Role {
    /// None: this process is no child.
    pub(crate) fn of_this_process() -> Option<Role> {
        let name = std::env::var(ROLE).ok()?;
        Some(Role { name, agent: std::env::var(AGENT).unwrap(), db: PathBuf::from(std::env::var_os(STORE).unwrap()) })
    }

    pub(crate) fn open(&self) -> Coordinator {
        Coordinator::open(options(&self.db, &self.agent)).unwrap()
    }

    #[allow(clippy::print_stdout, reason = "the pipe to the parent")]
    pub(crate) fn say(&self, what: &str) {
        println!("{MARK}{what}");
        std::io::stdout().flush().unwrap();
    }

    /// Waits until the parent says go; false if it has gone.
    pub(crate) fn barrier(&self) -> bool {
        std::io::stdin().lock().read_line(&mut String::new()).unwrap() > 0
    }
}
