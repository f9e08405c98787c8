//! The handle: what it was opened with, and how it ends. Every concept adds its own `impl Coordinator` block.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::agents;
use crate::caller::{self, Caller, Face, Named, Source, Surroundings};
use crate::clock::{Clock, SystemClock};
use crate::db::{Db, Durability, Inputs};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::shown;
use crate::ids::{Random, SystemRandom, short};
use crate::interrupt;
use crate::life::{self, Holds, Liveness, Proof, ProofKind, SystemLiveness};
use crate::scope::{Place, Scope};
use crate::sync::Mutex;
use crate::sys;
use crate::sys::live::LiveFile;
use crate::sys::watch::Subject;
use crate::wake::Topic;

/// Which scope a handle's names live in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ScopeChoice {
    /// `PORT_DADDY_SCOPE`, else the repository of the working directory, else the global scope.
    #[default]
    Here,
    /// A scope by name, shared by all who name it.
    Named(String),
    /// The scope of everything outside repositories.
    Global,
}

/// How a handle is opened. `Options::default()` opens the user's database as an agent of its own.
pub struct Options {
    db: Option<PathBuf>,
    named: Named,
    scope: ScopeChoice,
    cwd: Option<PathBuf>,
    face: Face,
    around: Surroundings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    liveness: Option<Arc<dyn Liveness>>,
    poll: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            db: None,
            named: Named::default(),
            scope: ScopeChoice::Here,
            cwd: None,
            face: Face::Library,
            around: Surroundings::system(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            liveness: None,
            poll: None,
        }
    }
}

impl Options {
    /// The database file; without it `PORT_DADDY_DB`, else the user's state directory.
    #[must_use]
    pub fn db(mut self, path: impl Into<PathBuf>) -> Self {
        self.db = Some(path.into());
        self
    }

    /// Who calls, by agent id.
    #[must_use]
    pub fn agent(mut self, id: impl Into<String>) -> Self {
        self.named.agent = Some(id.into());
        self
    }

    /// The session that calls belong to, by id or unique prefix; without it the agent's newest active one.
    #[must_use]
    pub fn session(mut self, id: impl Into<String>) -> Self {
        self.named.session = Some(id.into());
        self
    }

    /// The scope that names live in.
    #[must_use]
    pub fn scope(mut self, scope: ScopeChoice) -> Self {
        self.scope = scope;
        self
    }

    /// Where relative paths start and which repository this is; without it the process's working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Whether the handle serves one shell command or a program.
    #[must_use]
    pub fn face(mut self, face: Face) -> Self {
        self.face = face;
        self
    }

    /// The environment and ancestors that the caller is resolved from.
    #[must_use]
    pub fn surroundings(mut self, around: Surroundings) -> Self {
        self.around = around;
        self
    }

    /// The clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The source of random bytes.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Who tells whether a proof of life holds.
    #[must_use]
    pub fn liveness(mut self, liveness: Arc<dyn Liveness>) -> Self {
        self.liveness = Some(liveness);
        self
    }

    /// The database file that a handle opened with these options has. Nothing is opened or made.
    ///
    /// # Errors
    /// `INVALID` for a path that is no file's.
    pub fn database(&self) -> Result<PathBuf> {
        let path = database_path(self.db.clone(), &self.around)?;
        crate::db::absolute(&self.cwd.as_ref().map_or(path.clone(), |cwd| cwd.join(&path)))
    }

    /// Who calls, and where the call stands. Nothing is opened or made.
    pub(crate) fn standing(&self) -> Result<Standing> {
        let cwd = match &self.cwd {
            Some(cwd) => cwd.clone(),
            None => std::env::current_dir().map_err(|e| {
                Error::invalid(format!("the working directory can't be read: {e}"))
                    .hint("change to a directory that exists")
            })?,
        };
        let mut caller = caller::resolve(self.face, &self.named, &self.around)?;
        if caller.source == Source::Instance && caller.agent.is_none() {
            caller.agent = Some(format!("sdk-{}", short(&*self.random, 6)));
        }
        let place = Place::of(&cwd)?;
        let scope = match &self.scope {
            ScopeChoice::Named(name) => Scope::named(name)?,
            ScopeChoice::Global => Scope::global(),
            ScopeChoice::Here => match (self.around.env)("PORT_DADDY_SCOPE").filter(|s| !s.is_empty()) {
                Some(name) => Scope::named(&name).map_err(|e| caller::in_env("PORT_DADDY_SCOPE", &e))?,
                None => place.scope(),
            },
        };
        Ok(Standing { cwd, caller, place, scope })
    }

    /// The moment, as a handle opened with these options sees it.
    pub(crate) fn clock_now(&self) -> (i64, i64) {
        (self.clock.wall_ms(), self.clock.awake_ms())
    }

    /// Who tells whether a proof of life holds, and leaves everything where it is.
    pub(crate) fn looking(&self, live_dir: PathBuf) -> Arc<dyn Liveness> {
        self.liveness.clone().unwrap_or_else(|| Arc::new(SystemLiveness::that_only_looks(live_dir)))
    }

    /// Polls instead of sleeping on shared memory; without it `PORT_DADDY_WAKE=poll` decides.
    #[must_use]
    pub fn poll(mut self, poll: bool) -> Self {
        self.poll = Some(poll);
        self
    }
}

/// Who calls, and where the call stands.
pub(crate) struct Standing {
    pub(crate) cwd: PathBuf,
    pub(crate) caller: Caller,
    pub(crate) place: Place,
    pub(crate) scope: Scope,
}

/// A handle on the shared database, for one caller in one scope. Cheap to clone, `Send` and `Sync`; every method
/// blocks until it is done, and none needs an async runtime.
///
/// A program's handle proves its agent's life as long as it is open: dropping the last clone, or [`close`], ends that
/// in order; the death of the process ends it at once.
///
/// [`close`]: Coordinator::close
#[derive(Clone)]
pub struct Coordinator {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) caller: Caller,
    pub(crate) face: Face,
    pub(crate) place: Place,
    pub(crate) scope: Scope,
    /// The scope's row, once it is known to be there.
    pub(crate) scope_row: OnceLock<i64>,
    /// This boot's number in the file, once it is recorded.
    pub(crate) boot: OnceLock<i64>,
    /// This handle's own proof of life: from the start for a program, from its first wait for a shell command.
    live: Mutex<Option<LiveFile>>,
    /// The most of what depends on the live file, a [`Stays`].
    stays: AtomicU8,
    /// What is called here brings nobody back that has left.
    pub(crate) afterwards: AtomicBool,
    pub(crate) recorded: AtomicBool,
    /// It is being closed, or was: what it held and waited for goes before the database does.
    closing: AtomicBool,
    notices: Mutex<Vec<String>>,
    /// What the environment says of the ports to choose from.
    pub(crate) port_range: Option<String>,
    /// The waits that go on in this handle, and a word that wakes each.
    pub(crate) sleepers: Mutex<Vec<(u64, Topic)>>,
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator")
            .field("db", &self.inner.db.path())
            .field("agent", &self.inner.caller.agent)
            .field("scope", &self.inner.scope.name)
            .finish()
    }
}

/// Why a handle has a live file, and so what its agent's life has to do with it.
#[derive(Clone, Copy)]
pub(crate) enum Stays {
    /// It waits for messages or signals: it ends with its agent.
    ForWord,
    /// It waits for a lock, whose grant brings back an agent that has left.
    ForLock,
    /// A lock or a command lives as long as it.
    AtWork,
}

/// What a live file says of itself, so that a second copy of this library in one process can be named.
#[derive(Serialize, Deserialize)]
pub(crate) struct Presence {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) namespace: u64,
    pub(crate) version: String,
}

/// How many live files of others one opening looks at, to remove what the killed left.
const SWEPT_AT_ONCE: usize = 64;

/// The live files that this copy of the library made in this process.
pub(crate) static OURS: Mutex<Ours> = Mutex::new(BTreeSet::new());
pub(crate) type Ours = BTreeSet<String>;

impl Coordinator {
    /// Opens the database, creating it and its directory where needed.
    ///
    /// # Errors
    /// `INVALID` for an agent, scope or environment variable that breaks a rule; `AMBIGUOUS` where the surroundings
    /// name two callers; `SECOND_COPY` where another copy of this library in the process has the file open; `STORE_*`
    /// where the file can't be used.
    pub fn open(options: Options) -> Result<Self> {
        // Taken for another boot, this one would end every lease.
        sys::learn_boot_id().map_err(|e| Error::io("reading", Path::new(sys::BOOT_ID), e))?;
        let Standing { cwd, caller, place, scope } = options.standing()?;
        let Options { db, face, around, clock, random, liveness, poll, .. } = options;
        let path = database_path(db, &around)?;
        let poll = match (poll, (around.env)("PORT_DADDY_WAKE").filter(|how| !how.is_empty())) {
            (Some(poll), _) => poll,
            (None, None) => false,
            (None, Some(how)) if how == "poll" => true,
            (None, Some(how)) => {
                let unknown = Error::invalid(format!("PORT_DADDY_WAKE is {}: it is poll, or not set", shown(&how)));
                return Err(unknown.with("variable", "PORT_DADDY_WAKE").hint("unset it to be woken by the kernel"));
            }
        };
        let path = crate::db::absolute(&cwd.join(path))?;
        let liveness = liveness.unwrap_or_else(|| Arc::new(SystemLiveness::new(crate::db::live_dir(&path))));
        crate::db::prepare(&path)?;
        // Before SQLite opens the file: its locks would already be in danger afterwards.
        if face == Face::Library && !crate::fault::broken("second-copy") {
            refuse_second_copy(&crate::db::live_dir(&path), true)?;
        }
        let db = Db::open(&path, face == Face::Shell, poll, Inputs { clock, liveness, random })?;
        let inner = Inner {
            db,
            caller,
            face,
            place,
            scope,
            scope_row: OnceLock::new(),
            boot: OnceLock::new(),
            live: Mutex::new(None),
            stays: AtomicU8::new(Stays::ForWord as u8),
            afterwards: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            notices: Mutex::new(Vec::new()),
            port_range: (around.env)(crate::ports::RANGE_VARIABLE).filter(|range| !range.trim().is_empty()),
            sleepers: Mutex::new(Vec::new()),
        };
        let this = Self { inner: Arc::new(inner) };
        if face == Face::Library {
            this.inner.presence()?;
        }
        Ok(this)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        self.inner.db.path()
    }

    /// The scope that this handle's names live in.
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// Who calls, and how that was found.
    pub fn caller(&self) -> &Caller {
        &self.inner.caller
    }

    /// What the caller should be told and has not asked for, such as who salvaged its work while it was thought dead.
    /// Each is given once.
    pub fn take_notices(&self) -> Vec<String> {
        if self.inner.db.check_process().is_err() {
            return Vec::new();
        }
        std::mem::take(&mut *self.inner.notices.lock())
    }

    /// Lets a command that this process starts share the handle's proof of life: a descriptor for it to inherit. What
    /// is tied to the handle (a lock taken with [`Tie::Handle`](crate::Tie)) then lives until the command ends, even
    /// if this process is killed.
    ///
    /// # Errors
    /// `STORE_*`.
    #[cfg(unix)]
    pub fn inherit_proof(&self) -> Result<std::os::fd::OwnedFd> {
        self.inner.inheritable_proof()
    }

    /// Lets go in order: releases what this handle holds, withdraws its proof of life and closes the database. Calls
    /// through clones fail with `CLOSED` from then on. A second close does nothing.
    pub fn close(&self) {
        self.inner.close(Ending::InOrder);
    }

    /// Ends the handle as the death of its process would: nothing is withdrawn, and others see at once that it is gone.
    /// For a program that ends by an error while its process lives on, such as a thread with an event loop of its own.
    pub fn abandon(&self) {
        self.inner.close(Ending::AsACrash);
    }
}

/// How a handle ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    InOrder,
    AsACrash,
}

impl Inner {
    /// Makes this handle's live file if it has none yet, and gives its name.
    pub(crate) fn presence(&self) -> Result<String> {
        self.db.check_open()?;
        let mut live = self.live.lock();
        // A handle that ends has let go of its file, and would never let go of another.
        self.check_open()?;
        if let Some(file) = live.as_ref() {
            return Ok(file.name().to_owned());
        }
        let me = sys::process::own();
        let name = sys::live::name_for(&me, &short(&*self.db.inputs().random, 12));
        let content = Presence {
            pid: me.pid,
            start: me.start,
            namespace: me.namespace,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let content = serde_json::to_vec(&content).map_err(|e| Error::internal(e.to_string()))?;
        OURS.lock().insert(name.clone());
        match LiveFile::create(&self.db.live_dir(), &name, &content) {
            Ok(file) => *live = Some(file),
            Err(e) => {
                OURS.lock().remove(&name);
                return Err(e);
            }
        }
        Ok(name)
    }

    /// This handle's live file as a proof, if it has one.
    pub(crate) fn own_proof(&self) -> Option<Proof> {
        self.db.check_process().ok()?;
        let live = self.live.lock().as_ref()?.name().to_owned();
        let me = sys::process::own();
        let kind = if self.face == Face::Library { ProofKind::Instance } else { ProofKind::Command };
        let what = me_name();
        let waits = kind == ProofKind::Command && self.stays.load(Ordering::Acquire) < Stays::AtWork as u8;
        Some(Proof { kind, live, pid: me.pid, start: me.start, namespace: me.namespace, this_boot: true, what, waits })
    }

    /// This handle's live file, for more than to wait for a word.
    pub(crate) fn presence_for(&self, stays: Stays) -> Result<String> {
        self.stays.fetch_max(stays as u8, Ordering::AcqRel);
        self.presence()
    }

    /// Whether a command does nothing but wait for messages or signals.
    pub(crate) fn waits_for_word(&self) -> bool {
        self.stays.load(Ordering::Acquire) == Stays::ForWord as u8 && self.own_proof().is_some_and(|own| own.waits)
    }

    /// Lets a command that we start share this handle's proof of life: a descriptor for it to inherit.
    #[cfg(unix)]
    pub(crate) fn inheritable_proof(&self) -> Result<std::os::fd::OwnedFd> {
        let name = self.presence_for(Stays::AtWork)?;
        let live = self.live.lock();
        let file = live.as_ref().ok_or_else(|| Error::internal("the live file was withdrawn"))?;
        file.inheritable().map_err(|e| Error::io("sharing", Path::new(&name), e))
    }

    pub(crate) fn notice(&self, text: String) {
        self.notices.lock().push(text);
    }

    fn close(&self, ending: Ending) {
        // Who is interrupted goes in order, too.
        interrupt::unhindered(|| self.end(ending));
    }

    fn end(&self, ending: Ending) {
        if self.db.check_process().is_err() {
            // In a forked child: the parent's handle goes on, and its threads may have had any lock of this one.
            self.leave_proof();
            return;
        }
        let first = !self.closing.swap(true, Ordering::SeqCst);
        if first && ending == Ending::InOrder && self.face == Face::Shell && !self.is_recorded() {
            // A command that only looked has called, too. A file that can't be written is no reason to fail by now.
            let _ = self.sign_of_life();
        }
        let Some(file) = self.live.lock().take() else {
            self.db.close();
            self.wake_own_waits();
            return;
        };
        let name = file.name().to_owned();
        // If the database can't be written, the lost lock on the file says the same a little later.
        let withdraw = |tx: &crate::db::Tx<'_>| {
            // The waits first: what is released must not be handed to one of them.
            crate::waiters::remove_all_of(tx, &name)?;
            crate::locks::release_all_of(tx, &name)?;
            life::withdraw(tx, &name)?;
            // A twin that crashed earlier is no proof of death any more: the agent has lived on.
            self.caller.agent.iter().try_for_each(|agent| {
                life::forget_lost_instances(tx, agent)?;
                if self.caller.source == Source::Instance { agents::instance_ended(tx, agent) } else { Ok(()) }
            })
        };
        if ending == Ending::InOrder && self.db.write(Durability::Process, withdraw).is_ok() {
            file.withdraw();
            OURS.lock().remove(&name);
        } else {
            // The file stays, and is still this copy's: a command may have inherited its lock.
            // And a process that lives on tells nobody of this death: whoever waits for anything looks now.
            file.abandon();
            self.db.wakes().wake_all();
        }
        self.db.close();
        self.wake_own_waits();
    }

    /// Every lock of its own that another thread could have at a fork.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) -> impl Sized + '_ {
        (self.live.lock(), self.notices.lock(), self.sleepers.lock())
    }

    /// In a forked child: closes the descriptor of the parent's live file, which would hold its lock beyond the parent's
    /// end.
    pub(crate) fn leave_proof(&self) {
        if let Some(mut live) = self.live.try_lock() {
            drop(live.take());
        }
    }

    /// What to watch for the loss of these proofs, as far as they hold now and their loss means something.
    pub(crate) fn subjects(&self, proofs: Vec<Proof>) -> Vec<Subject> {
        let liveness = &*self.db.inputs().liveness;
        let holding = proofs.into_iter().filter(|p| p.kind != ProofKind::Command && liveness.holds(p) == Holds::Yes);
        holding
            .map(
                |p| if p.live.is_empty() { Subject::Process(life::process_id(&p)) } else { self.live_subject(&p.live) },
            )
            .collect()
    }

    /// What to watch for the end of a handle.
    pub(crate) fn live_subject(&self, live: &str) -> Subject {
        let dir = self.db.live_dir();
        Subject::Live { pid: live_pid(&dir, live), name: live.to_owned(), dir }
    }

    /// Refuses a handle that is closed or about to be.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) { Err(crate::db::closed()) } else { self.db.check_open() }
    }

    /// Whether a wait, or a lock bound to this handle, could still need its live file.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close(Ending::InOrder);
    }
}

fn me_name() -> String {
    std::env::current_exe()
        .ok()
        .and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "program".to_owned())
}

/// Where the database is: what the call says, `PORT_DADDY_DB`, the user's state directory.
fn database_path(named: Option<PathBuf>, around: &Surroundings) -> Result<PathBuf> {
    let named = named.or_else(|| (around.env)("PORT_DADDY_DB").filter(|s| !s.is_empty()).map(PathBuf::from));
    match named {
        Some(path) if path.as_os_str().is_empty() => {
            Err(Error::invalid("the database's path is empty").hint("name a file, or leave it out for the default"))
        }
        Some(path) => Ok(path),
        None => Ok(sys::filesystem::state_dir(&*around.env)?.join("port-daddy.db")),
    }
}

/// The process that made a live file, if its pid means something here.
fn live_pid(live_dir: &Path, name: &str) -> Option<u32> {
    let presence: Presence = serde_json::from_slice(&sys::live::content(live_dir, name)?).ok()?;
    (presence.namespace == sys::pid_namespace()).then_some(presence.pid)
}

/// Refuses to look into a database that this process can't open safely: another copy of this library has it open here, or it
/// was open when this process was forked. Removes nothing.
pub(crate) fn refuse_unsafe_look(path: &Path) -> Result<()> {
    crate::db::refuse_forked(path)?;
    refuse_second_copy(&crate::db::live_dir(path), false)
}

/// Two copies of SQLite in one process on one file lose commits. A live file of this process that this copy of the
/// library didn't make belongs to another copy.
fn refuse_second_copy(live_dir: &Path, sweep: bool) -> Result<()> {
    let me = sys::process::own();
    let Ok(entries) = std::fs::read_dir(live_dir) else { return Ok(()) };
    let prefix = format!("{}-", me.pid);
    let mut swept = 0;
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        if !name.starts_with(&prefix) {
            // What a killed program left that never wrote is in no row, and nobody else would ever look at it.
            if sweep && swept < SWEPT_AT_ONCE && sys::live::is_name(&name) {
                swept += 1;
                sys::live::probe(live_dir, &name);
            }
            continue;
        }
        if OURS.lock().contains(&name) {
            continue;
        }
        let Some(other) = sys::live::content(live_dir, &name).and_then(|b| serde_json::from_slice::<Presence>(&b).ok())
        else {
            continue;
        };
        let is_me = (other.pid, other.start, other.namespace) == (me.pid, me.start, me.namespace);
        if is_me && matches!(sys::live::peek(live_dir, &name), sys::live::Probe::Held) {
            return Err(Error::new(
                ErrorKind::SecondCopy,
                format!(
                    "two copies of port-daddy in process {} have the same database open: {} and {}",
                    me.pid,
                    other.version,
                    env!("CARGO_PKG_VERSION")
                ),
            )
            .with("other_version", other.version)
            .with("version", env!("CARGO_PKG_VERSION"))
            .hint("two SQLite libraries on one file in one process lose data: make the program load one copy only"));
        }
    }
    Ok(())
}
