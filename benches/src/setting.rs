//! Where a bench takes place: a database and a git repository in a directory that goes afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use portdaddy_core::{Clock, Coordinator, Options, Surroundings, SystemClock};

const WAKE: &str = "PORT_DADDY_WAKE";

pub(crate) struct Setting {
    dir: tempfile::TempDir,
    polling: bool,
}

impl Setting {
    pub(crate) fn new() -> Setting {
        // On the disk, not in memory: what a commit costs is part of the answer.
        let place = std::env::var_os("PD_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = tempfile::Builder::new().prefix("pd-bench-").tempdir_in(place).expect("a temporary directory");
        std::fs::create_dir(dir.path().join("repo")).expect("a directory");
        let git = Command::new("git").args(["init", "-q"]).current_dir(dir.path().join("repo")).status();
        assert!(git.expect("git runs").success());
        Setting { dir, polling: false }
    }

    /// One in which everybody polls.
    pub(crate) fn polling() -> Setting {
        Setting { polling: true, ..Setting::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.path().join("repo")
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.path().join("state/port-daddy.db")
    }

    /// A program's handle in the repository.
    pub(crate) fn open(&self, agent: &str) -> Coordinator {
        let wake = self.polling.then_some("poll");
        open_with(&self.db(), &self.repository(), agent, wake, Arc::new(SystemClock))
    }

    /// `pd` in the repository, as an agent that its script names.
    pub(crate) fn pd(&self, args: &[&str]) -> Command {
        self.command(&pd(), args)
    }

    /// Any program there.
    pub(crate) fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.repository()).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path());
        command.env("PORT_DADDY_DB", self.db()).env("PORT_DADDY_AGENT", "bench");
        if self.polling {
            command.env(WAKE, "poll");
        }
        command
    }

    /// Runs `pd` to its good end.
    pub(crate) fn do_pd(&self, args: &[&str]) {
        let status = self.pd(args).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pd runs");
        assert!(status.success(), "pd {args:?}: {status}");
    }
}

/// A handle that knows its agent, and looks at nothing else but at how it is to be woken.
pub(crate) fn open(db: &Path, repository: &Path, agent: &str) -> Coordinator {
    open_at(db, repository, agent, Arc::new(SystemClock))
}

/// The same with a clock of its own.
pub(crate) fn open_at(db: &Path, repository: &Path, agent: &str, clock: Arc<dyn Clock>) -> Coordinator {
    open_with(db, repository, agent, std::env::var(WAKE).ok().as_deref(), clock)
}

fn open_with(db: &Path, repository: &Path, agent: &str, wake: Option<&str>, clock: Arc<dyn Clock>) -> Coordinator {
    let around = Surroundings::given(wake.map(|wake| (WAKE, wake)));
    let options = Options::default().db(db).cwd(repository).agent(agent).clock(clock).surroundings(around);
    Coordinator::open(options).expect("the database opens")
}

/// The `pd` that was built with this program.
pub(crate) fn pd() -> PathBuf {
    std::env::current_exe().expect("this program's path").with_file_name("pd")
}
