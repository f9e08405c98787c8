//! A place of its own for each test: a directory, a database, a clean environment.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test fails. Nothing is expected to take nearly that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Place {
    dir: TempDir,
    agent: String,
}

/// What a command left behind.
pub(crate) struct Run {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// Of an agent called `tester`.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pd-test-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        Self { dir, agent: "tester".into() }
    }

    /// From now on, commands come from this agent; `""` for nobody.
    pub(crate) fn agent(&mut self, agent: &str) -> &mut Self {
        agent.clone_into(&mut self.agent);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where commands run.
    pub(crate) fn cwd(&self) -> PathBuf {
        self.path("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.cwd().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A program in this place's environment.
    pub(crate) fn program(&self, program: &str) -> Command {
        let binaries = PathBuf::from(env!("CARGO_BIN_EXE_pd"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{path}", binaries.parent().unwrap().display()))
            .env("HOME", self.dir.path())
            .env("PORT_DADDY_DB", self.path("db/port-daddy.db"))
            .env("NO_COLOR", "1")
            .current_dir(self.cwd())
            .stdin(Stdio::null());
        // What a whole run breaks (`make test-no-tick`).
        if let Some(broken) = std::env::var_os("PORT_DADDY_BROKEN") {
            command.env("PORT_DADDY_BROKEN", broken);
        }
        if !self.agent.is_empty() {
            command.env("PORT_DADDY_AGENT", &self.agent);
        }
        command
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_pd"));
        command.args(args);
        command
    }

    /// Runs `pd` to its end.
    pub(crate) fn pd(&self, args: &[&str]) -> Run {
        Run::of(&self.command(args).output().unwrap())
    }

    /// Runs `pd`, which must succeed, and gives its answer.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let run = self.pd(args);
        assert_eq!(run.exit, 0, "pd {args:?}: {}", run.shown());
        run.stdout
    }

    /// Runs `pd --json`, which must succeed without a word on stderr, and gives its document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let run = self.pd(&all);
        assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "pd {args:?}: {}", run.shown());
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", run.stdout))
    }

    /// Runs `pd` outside of whatever the tests run in, a coding harness perhaps: nothing around it says who calls.
    pub(crate) fn orphan(&self, args: &[&str]) -> Run {
        let words: Vec<_> = args.iter().map(|word| format!("'{word}'")).collect();
        let dir = self.path("orphan");
        std::fs::create_dir_all(&dir).unwrap();
        let at = dir.display();
        // It begins once its parent is gone, and so belongs to nobody.
        let script = format!(
            "(while kill -0 $$ 2>/dev/null; do :; done; pd {} >{at}/out 2>{at}/err; echo $? >{at}/exit.new; mv {at}/exit.new {at}/exit) &",
            words.join(" ")
        );
        assert!(self.program("sh").args(["-c", &script]).status().unwrap().success());
        self.until(|| dir.join("exit").exists());
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let run = Run { exit: read("exit").trim().parse().unwrap(), stdout: read("out"), stderr: read("err") };
        std::fs::remove_dir_all(&dir).unwrap();
        run
    }

    /// Runs a script in the shell.
    pub(crate) fn sh(&self, script: &str) -> Run {
        Run::of(&self.program("sh").args(["-c", script]).output().unwrap())
    }

    /// Starts `pd` and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        listen_to_interrupts(&mut command);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child: Some(child) }
    }

    /// Comes back once so many wait.
    pub(crate) fn until_waiting(&self, count: usize) {
        self.until(|| self.json(&["status"])["waiters"].as_array().unwrap().len() == count);
    }

    /// Asks again and again, up to the limit.
    pub(crate) fn until(&self, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < deadline, "it never came about");
        }
    }
}

/// Whoever runs the tests in the background of a script has them, and all that they start, ignore Ctrl-C.
fn listen_to_interrupts(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec nothing is done but a call that may be made there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            exit: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap()),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// All of it, for a snapshot.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.stdout.clone();
        for line in self.stderr.lines() {
            text.push_str("2> ");
            text.push_str(line);
            text.push('\n');
        }
        if self.exit != 0 {
            text.push_str(&format!("exit {}\n", self.exit));
        }
        text
    }
}

/// A command that runs.
pub(crate) struct Running {
    child: Option<Child>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.as_mut().unwrap().stdin.take().unwrap()
    }

    /// The next line of its stdout.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.child.as_mut().unwrap().stdout.take().unwrap()).lines().map(Result::unwrap)
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Its exit code, though others may hold its streams open.
    pub(crate) fn exit(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.take().unwrap().wait().unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }

    /// Its end.
    pub(crate) fn end(mut self) -> Run {
        Run::of(&self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Compares what a command left with the text that is expected, without what differs from run to run.
macro_rules! assert_run {
    ($run:expr, $($expected:tt)*) => {
        insta::with_settings!({filters => vec![
            (r"session-[0-9a-z]{4,}", "session-ID"),
            (r"\b\d+[smhd] ago", "N ago"),
            (r"is \d+[smhd] old", "is N old"),
            (r"token \d+", "token N"),
            (r"seq \d+", "seq N"),
        ]}, { insta::assert_snapshot!($run.shown(), $($expected)*) })
    };
}
pub(crate) use assert_run;

/// Sends a signal to a child. With `STOP` it comes back once all threads stand still: one takes the signal, and the others run
/// on until it has.
pub(crate) fn signal(pid: u32, name: &str) {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
    if name == "STOP" {
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options)).unwrap();
    }
}
