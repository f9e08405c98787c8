//! What the tests of Port Daddy share: stores in temporary directories, a clock that is moved by hand, and real second
//! processes.
//!
//! Nothing of the tests' own surroundings gets in: a handle opened here sees no environment variables and no ancestor
//! processes but those it is given.

mod children;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use portdaddy_core::{Clock, Coordinator, Face, Options, Surroundings, SystemClock};

pub use children::{Process, Role, without_tick};

/// A database in a directory of its own, which goes when this is dropped.
pub struct TempStore {
    dir: tempfile::TempDir,
    root: PathBuf,
    clock: Arc<ManualClock>,
}

impl Default for TempStore {
    fn default() -> Self {
        Self::new()
    }
}

impl TempStore {
    /// A store that nobody has opened yet, with a clock that stands still.
    pub fn new() -> Self {
        Self::with_clock(ManualClock::default())
    }

    /// The same with a clock that goes on with the machine's, as [`child`](Self::child) processes have it.
    pub fn running() -> Self {
        Self::with_clock(ManualClock::running())
    }

    fn with_clock(clock: ManualClock) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // On some systems it is behind a symbolic link, and paths are compared.
        let root = dir.path().canonicalize().expect("the temporary directory's path");
        std::fs::create_dir(root.join("work")).expect("a directory to work in");
        Self { dir, root, clock: Arc::new(clock) }
    }

    /// The database's path.
    pub fn db(&self) -> PathBuf {
        self.root.join("state").join("port-daddy.db")
    }

    /// A directory below the store's own, made where it is missing. It is in no repository unless a test makes one.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.join("work").join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// A git repository with one commit on `main`, in a directory as [`dir`](Self::dir) gives.
    pub fn repository(&self, name: &str) -> PathBuf {
        let dir = self.dir(name);
        git(&dir, &["init", "-q", "-b", "main"]);
        git(&dir, &["commit", "-q", "--allow-empty", "-m", "Begin"]);
        dir
    }

    /// The clock of every handle that is opened here.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// What a handle is opened with: this database and clock, and nothing of the tests' own surroundings. It stands in
    /// `work`, outside any repository.
    pub fn options(&self) -> Options {
        self.options_with(&[])
    }

    /// The same, with variables in the environment.
    pub fn options_with(&self, variables: &[(&str, &str)]) -> Options {
        hermetic(&self.db(), variables.iter().copied()).clock(self.clock.clone())
    }

    /// A program's handle for an agent.
    pub fn open(&self, agent: &str) -> Coordinator {
        self.open_in(agent, &self.root.join("work"))
    }

    /// A program's handle for an agent that works in a directory.
    pub fn open_in(&self, agent: &str, dir: &Path) -> Coordinator {
        Coordinator::open(self.options().agent(agent).cwd(dir)).expect("the store opens")
    }

    /// A shell command's handle for an agent: nothing but its calls proves that the agent lives.
    pub fn shell(&self, agent: &str) -> Coordinator {
        self.shell_in(agent, &self.root.join("work"))
    }

    /// The same in a directory.
    pub fn shell_in(&self, agent: &str, dir: &Path) -> Coordinator {
        Coordinator::open(self.options().agent(agent).cwd(dir).face(Face::Shell)).expect("the store opens")
    }

    /// The temporary directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// What a handle is opened with: a database that [`TempStore::db`] named, the variables, and nothing else from outside.
fn hermetic<N: Into<String>, V: Into<String>>(db: &Path, variables: impl IntoIterator<Item = (N, V)>) -> Options {
    let root = db.parent().and_then(Path::parent).expect("a store's database is in a directory of the store's");
    Options::default().db(db).cwd(root.join("work")).surroundings(Surroundings::given(variables))
}

/// A clock that is moved by hand.
#[derive(Debug)]
pub struct ManualClock {
    /// Whether it also goes on with the machine's.
    runs: bool,
    wall_ms: AtomicI64,
    awake_ms: AtomicI64,
}

impl Default for ManualClock {
    /// Some time in 2026, an hour after the machine was started.
    fn default() -> Self {
        Self { runs: false, wall_ms: AtomicI64::new(1_770_000_000_000), awake_ms: AtomicI64::new(3_600_000) }
    }
}

impl ManualClock {
    /// The machine's clock, which can be moved on.
    pub fn running() -> Self {
        Self { runs: true, wall_ms: AtomicI64::new(0), awake_ms: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.awake_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Lets time pass while the machine sleeps: only the wall clock moves.
    pub fn sleep(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst) + if self.runs { SystemClock.wall_ms() } else { 0 }
    }

    fn awake_ms(&self) -> i64 {
        self.awake_ms.load(Ordering::SeqCst) + if self.runs { SystemClock.awake_ms() } else { 0 }
    }
}

/// Runs git, untouched by the user's own configuration, and gives what it says.
///
/// # Panics
/// If it fails.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let said = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .expect("git runs");
    assert!(said.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}
