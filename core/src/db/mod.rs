//! The one door to the database: all reads go through [`Db::read`], all writes through [`Db::write`].
//!
//! A write takes, in this order: the in-process mutex on the writing connection, the gate (a file lock that queues the
//! processes fairly; see `gate`), SQLite's own write lock (`BEGIN IMMEDIATE`). It runs the closure, COMMITs, lets go of
//! the gate and the mutex, and only then wakes whoever the closure named. The closure must not wait, call back into
//! user code or do I/O beyond the non-blocking probes of [`Liveness`](crate::life::Liveness).
//!
//! The gate is fairness only: without it (a stopped holder, a directory that forbids it) a writer goes on with
//! `BEGIN IMMEDIATE` and SQLite's busy timeout. An older library that knows no gate is merely unfair.
//!
//! A newer library may migrate the file while we have it open. Migrations only add, so reading goes on; every write
//! checks `user_version` inside its transaction and refuses a file that is newer than this library.

mod checkpoint;
mod copy;
mod files;
mod gate;
#[cfg(unix)]
mod gather;
mod schema;
mod tx;
#[cfg(unix)]
mod vfs;

#[cfg(not(unix))]
mod gather {
    //! Frames are written as SQLite writes them.
    pub(super) fn begin() {}
    pub(super) fn end() {}
}

use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME, OpenFlags, config::DbConfig};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Random;
use crate::interrupt;
use crate::life::Liveness;
use crate::sync::{Condvar, Mutex, Turn};
use crate::sys;
use crate::wake::{Topic, Wakes, reactor};

use checkpoint::Checkpoints;
pub use copy::Progress;
pub(crate) use copy::{
    Inspected, Partial, Replacing, Staged, beside, complaints, inspect, sync_dir, take_log_in, with_gate,
};
use files::Files;
use gate::Gate;
pub(crate) use schema::own_version;
pub(crate) use tx::{Now, Tx, last_seq};

/// How long a writer waits for SQLite's lock when the gate could not order it: a process that was stopped inside a
/// transaction holds it until it goes on.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same on the waiting thread, for a lock that could not be had the last time.
const STUCK_PATIENCE: Duration = Duration::from_millis(100);
/// With so many pages in the WAL, a commit that is slow anyway also checkpoints, in a process that ends soon, and with so
/// many more even one that should be quick. When nobody else has the file open, each such process reads the whole WAL before
/// it can do anything (2 to 3 µs a page), and what a checkpoint put back is forgotten unless the WAL is emptied.
const CHECKPOINT_AT_BRIEF: i32 = 200;
/// With more, a program empties the WAL when it closes: the next command may be the only one that has the file open.
const MOST_LEFT: i32 = 1_000;
const CHECKPOINT_AT_LAST_BRIEF: i32 = 500;

const FORK_HINT: &str =
    "close every handle before the fork and open new ones after it, or start the child as a program of its own";

/// The databases that are open in this process, and the process that opened them. A forked child finds its parent's here:
/// its copy of SQLite believes in locks that only the parent holds, so opening the same file there loses commits and ends
/// in SIGBUS once the parent is gone.
pub(crate) static OPEN_HERE: Mutex<OpenHere> = Mutex::new(Vec::new());
pub(crate) type OpenHere = Vec<OpenFile>;

/// A database that is open.
pub(crate) struct OpenFile {
    number: u64,
    path: PathBuf,
    pid: u32,
    /// Its files, once a connection is open.
    files: Option<files::Identities>,
}

/// An entry of [`OPEN_HERE`], by its number. Dropped in the process that made it, it goes.
struct Here(u64, u32);

impl Here {
    fn enter(path: &Path) -> Result<Here> {
        let (mut open, pid) = (OPEN_HERE.lock(), std::process::id());
        forked(&open, path)?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        open.push(OpenFile { number, path: path.to_owned(), pid, files: None });
        Ok(Here(number, pid))
    }
}

/// Refuses a database that was open in the process that forked this one.
pub(crate) fn refuse_forked(path: &Path) -> Result<()> {
    forked(&OPEN_HERE.lock(), path)
}

fn forked(open: &OpenHere, path: &Path) -> Result<()> {
    let pid = std::process::id();
    match open.iter().find(|other| other.path == path && other.pid != pid) {
        Some(OpenFile { pid: opener, .. }) if !crate::fault::broken("fork") => Err(Error::new(
            ErrorKind::Forked,
            format!(
                "process {opener} had {} open when it forked this one ({pid}), which can't open it safely any more",
                path.display()
            ),
        )
        .hint(FORK_HINT)),
        _ => Ok(()),
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if self.1 == std::process::id() {
            OPEN_HERE.lock().retain(|open| open.number != self.0);
        }
    }
}

/// What a commit must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of any process. A power cut may lose the last moments.
    Process,
    /// A power cut as well. Costs an fsync.
    Power,
}

/// Everything from outside that decides what a transaction does.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) liveness: Arc<dyn Liveness>,
    pub(crate) random: Arc<dyn Random>,
}

/// An open database: its connections and its sidecars.
pub(crate) struct Db {
    path: PathBuf,
    files: Arc<Files>,
    pid: u32,
    closed: AtomicBool,
    door: Arc<Door>,
    here: Mutex<Option<Here>>,
    writer: ManuallyDrop<Turn<Option<Writer>>>,
    readers: ManuallyDrop<Mutex<Readers>>,
    brief: bool,
    gate: Gate,
    checkpoints: Arc<Checkpoints>,
    wakes: Wakes,
    inputs: Inputs,
}

/// The connections for reading that nobody uses at the moment.
#[derive(Default)]
struct Readers {
    idle: Vec<Numbered>,
    /// Those of somebody who reads again and again, by the number of the [`Reader`]: here a fork can close them, too.
    lent: BTreeMap<u64, Numbered>,
}

/// A connection, and a number that no other in this process has or had.
struct Numbered(u64, Connection);

/// How long a write has waited by now, if it comes out to ask its check and begins anew.
#[derive(Default)]
struct Waited {
    /// When it goes on without the gate.
    gate_until: Option<Instant>,
    /// When it gives up on SQLite's lock.
    lock_until: Option<Instant>,
}

impl Waited {
    /// How long to wait for SQLite's lock now, with `patience` in all: no longer than `until`, when the check is asked.
    fn left(&mut self, until: Option<Instant>, patience: Duration) -> Duration {
        let Some(until) = until else { return patience };
        let now = Instant::now();
        let lost = *self.lock_until.get_or_insert(now + patience);
        until.min(lost).saturating_duration_since(now)
    }

    /// Whether one who has not had it goes on to wait, once its check was asked.
    fn goes_on(&self, until: Option<Instant>) -> bool {
        until.is_some() && self.lock_until.is_some_and(|lost| Instant::now() < lost)
    }
}

struct Writer {
    conn: Connection,
    full: bool,
    /// Pages in the WAL after the last commit.
    wal_pages: Arc<AtomicI32>,
    /// Pages that the last checkpoint left there, because someone still read them.
    left: i32,
    /// This boot's number, once it is known to be recorded.
    boot: Option<i64>,
    /// SQLite's lock could not be had last time.
    stuck: bool,
    patience: Duration,
}

impl Db {
    /// Opens the file at an [`absolute`] path that was [`prepare`]d, creating or migrating it first where needed. `brief`:
    /// for a process that ends soon.
    pub(crate) fn open(path: &Path, brief: bool, force_poll: bool, inputs: Inputs) -> Result<Db> {
        let path = path.to_path_buf();
        let here = Here::enter(&path)?;
        let gate = Gate::new(sidecar(&path, "gate"));
        let files = Arc::new(Files::new(&path));
        files.check_shared()?;
        let writer = Writer::open(&path, &gate)?;
        files.learn(here.0);
        let wakes = Wakes::open(&sidecar(&path, "wake"), force_poll)?;
        Ok(Db {
            files,
            pid: std::process::id(),
            closed: AtomicBool::new(false),
            door: Arc::default(),
            here: Mutex::new(Some(here)),
            writer: ManuallyDrop::new(Turn::new(Some(writer))),
            readers: ManuallyDrop::new(Mutex::default()),
            brief,
            gate,
            checkpoints: Arc::default(),
            wakes,
            inputs,
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    pub(crate) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Where the proofs of life are.
    pub(crate) fn live_dir(&self) -> PathBuf {
        live_dir(&self.path)
    }

    /// Refuses a handle that came through a fork: closing or using SQLite's files in the child loses commits.
    pub(crate) fn check_process(&self) -> Result<()> {
        let pid = std::process::id();
        if pid == self.pid || crate::fault::broken("fork") {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            format!("this handle was opened by process {} and is used in its forked child {pid}", self.pid),
        )
        .hint(FORK_HINT))
    }

    /// Refuses files that were removed or replaced since they were opened: what is written there is lost, and whoever opens
    /// the path now sees others.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.files.check()
    }

    /// Refuses a handle that was closed, or came through a fork.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_process()?;
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Runs `f` on one consistent snapshot.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.check_open()?;
        let _inside = self.door.enter()?;
        self.check_files()?;
        // A command that only reads, or reads before it writes, needs no second connection.
        if self.readers.lock().idle.is_empty()
            && let Some(mut slot) = self.writer.try_lock()
            && let Some(writer) = slot.as_mut()
        {
            return self.named(snapshot(&writer.conn, f));
        }
        self.reader().read(f)
    }

    /// The same on a connection that is never the writing one: for the waiting thread, which must not be in a writer's way.
    pub(crate) fn read_apart<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.reader().read(f)
    }

    /// A connection for someone who reads again and again; it goes back to the pool when dropped.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { db: self, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Runs `f` in one write transaction and commits it unless `f` fails.
    pub(crate) fn write<T>(&self, durability: Durability, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.check_process()?;
        let (mut wakes, mut waited, mut f) = (Vec::new(), Waited::default(), Some(f));
        let (_inside, result) = loop {
            let inside = self.door.enter()?;
            match self.try_write(durability, &mut wakes, &mut waited, &mut f).transpose() {
                Some(result) => break (inside, result),
                None => drop(inside),
            }
            interrupt::ask()?;
        };
        if result.is_ok() {
            crate::fault::point("committed");
            // Who was named first is woken first: whoever has been given a lock, before the one who comes after.
            for (index, topic) in wakes.iter().enumerate() {
                if !wakes[..index].contains(topic) && !crate::fault::broken("wake") {
                    self.wakes.wake(*topic);
                }
            }
            if !wakes.is_empty() {
                // Who never waits has no tick to find a replaced page by, and would wake nobody ever after.
                self.wakes.remap_if_replaced_and_due();
            }
            self.checkpoint_if_due(durability);
        }
        result
    }

    /// Waits for its turn, the gate and SQLite's lock, and writes. None where the thread's check is to be asked first: then
    /// all of them are given back, and `f` is still there.
    fn try_write<T, F: FnOnce(&Tx<'_>) -> Result<T>>(
        &self,
        durability: Durability,
        wakes: &mut Vec<Topic>,
        waited: &mut Waited,
        f: &mut Option<F>,
    ) -> Result<Option<T>> {
        let until = interrupt::due();
        let Some(mut slot) = self.writer.lock_until(until) else { return Ok(None) };
        let writer = slot.as_mut().ok_or_else(closed)?;
        let Some(_pass) = self.gate.enter_until(until, &mut waited.gate_until) else { return Ok(None) };
        crate::fault::point("gated");
        self.check_files()?;
        let done = self.named(writer.transact(durability, &self.inputs, wakes, until, waited, f));
        crate::fault::point("committed-in-gate");
        done
    }

    /// Puts the WAL's pages back into the database when it has grown, after everyone concerned was woken: in a thread of its
    /// own, unless this process ends soon.
    fn checkpoint_if_due(&self, durability: Durability) {
        let Some(mut slot) = self.writer.try_lock() else { return };
        let Some(writer) = slot.as_mut() else { return };
        let pages = writer.wal_pages.load(Ordering::Relaxed);
        if !self.brief {
            self.checkpoints.begin_if_due(pages, &self.files, &self.door);
            return;
        }
        let limit = match durability {
            Durability::Power => CHECKPOINT_AT_BRIEF,
            Durability::Process => CHECKPOINT_AT_LAST_BRIEF,
        };
        if pages < writer.left {
            writer.left = 0;
        }
        if pages - writer.left >= limit {
            writer.empty_log(&self.gate, &self.files);
            writer.left = pages;
        }
    }

    /// Before a fork: shuts the door, and closes every connection. Who waits in a blocking method gets another when it
    /// reads again.
    pub(crate) fn suspend(&self) {
        self.door.shut();
        if self.check_open().is_err() {
            return;
        }
        self.writer.lock().take();
        *self.readers.lock() = Readers::default();
        self.gate.let_go();
        self.here.lock().take();
    }

    /// After the fork, in the parent: opens the connection for writing, and the door. Where that fails it is closed.
    pub(crate) fn resume(&self) -> Result<()> {
        let resumed = if self.check_open().is_err() {
            Ok(())
        } else {
            // Whoever is interrupted now would lose the handle by it.
            interrupt::unhindered(|| self.reopen()).inspect_err(|_| self.closed.store(true, Ordering::SeqCst))
        };
        self.door.open();
        resumed
    }

    fn reopen(&self) -> Result<()> {
        let mut here = self.here.lock();
        let number = match &*here {
            Some(here) => here.0,
            None => here.insert(Here::enter(&self.path)?).0,
        };
        self.files.check_database()?;
        *self.writer.lock() = Some(Writer::open(&self.path, &self.gate)?);
        self.files.learn(number);
        Ok(())
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) -> impl Sized + '_ {
        let connections = (self.here.lock(), self.writer.lock(), self.readers.lock(), self.files.hold_all());
        (self.door.state.lock(), connections, self.gate.hold_all(), self.wakes.hold_all())
    }

    /// Closes every connection. Later calls fail with `CLOSED`.
    pub(crate) fn close(&self) {
        if self.check_process().is_ok() {
            self.checkpoints.end();
            // Without a check, nothing keeps it from coming in.
            let _inside = interrupt::unhindered(|| self.door.enter());
            self.closed.store(true, Ordering::SeqCst);
            let writer = self.writer.lock().take();
            if let Some(mut writer) =
                writer.filter(|writer| !self.brief && writer.wal_pages.load(Ordering::Relaxed) > MOST_LEFT)
            {
                writer.empty_log(&self.gate, &self.files);
            }
            *self.readers.lock() = Readers::default();
            self.here.lock().take();
        }
    }

    /// Adds the file's name to what went wrong with it.
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| schema::with_path(e, &self.path))
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // In a forked child the connections stay open and leak: closing them there would corrupt the parent's view.
        if self.check_process().is_ok() {
            // SAFETY: neither field is used again; this is their owner's drop.
            unsafe {
                ManuallyDrop::drop(&mut self.writer);
                ManuallyDrop::drop(&mut self.readers);
            }
        }
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this handle was closed").hint("open a new one")
}

/// The numbers of open databases, of readers, and of connections for reading.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The version of the file as one connection sees it; says nothing of what another sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataVersion {
    connection: u64,
    version: i64,
}

/// Somebody who reads again and again, on the same connection, unless that was closed before a fork. Has it only while it
/// reads: between two reads it is with the others, in [`Readers`].
pub(crate) struct Reader<'a> {
    db: &'a Db,
    number: u64,
}

impl Reader<'_> {
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.with(|Numbered(_, conn)| snapshot(conn, f))
    }

    /// What differs from the last time once another connection has committed, or this reader has got another connection.
    pub(crate) fn data_version(&self) -> Result<DataVersion> {
        self.with(|Numbered(connection, conn)| {
            let version = conn.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))?;
            Ok(DataVersion { connection: *connection, version })
        })
    }

    fn with<T>(&self, f: impl FnOnce(&Numbered) -> Result<T>) -> Result<T> {
        let db = self.db;
        db.check_open()?;
        let _inside = db.door.enter()?;
        let pooled = {
            let mut readers = db.readers.lock();
            readers.lent.remove(&self.number).or_else(|| readers.idle.pop())
        };
        let conn = match pooled {
            Some(conn) => conn,
            None => Numbered(NUMBERS.fetch_add(1, Ordering::Relaxed), db.named(schema::connect(&db.path))?),
        };
        let result = f(&conn);
        // Under the pool's lock, which `close` takes after it has set the flag: nothing stays in a closed pool.
        let mut readers = db.readers.lock();
        if !db.closed.load(Ordering::SeqCst) {
            readers.lent.insert(self.number, conn);
        }
        db.named(result)
    }
}

impl Drop for Reader<'_> {
    /// Moves a connection, and touches none: also while the door is shut, when there is nothing to move. In a forked child
    /// another thread of the parent may have had the pool's lock.
    fn drop(&mut self) {
        if self.db.check_process().is_ok() {
            let mut readers = self.db.readers.lock();
            let conn = readers.lent.remove(&self.number);
            readers.idle.extend(conn);
        }
    }
}

fn snapshot<T>(conn: &Connection, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let open = Open::reading(conn);
    let value = f(conn)?;
    conn.prepare_cached("COMMIT")?.execute([])?;
    drop(open);
    Ok(value)
}

/// What a fork shuts: whoever uses a connection is inside.
#[derive(Default)]
struct Door {
    state: Mutex<DoorState>,
    changed: Condvar,
}

#[derive(Default)]
struct DoorState {
    inside: usize,
    shut: bool,
}

/// A stay inside.
struct Inside<'a>(&'a Door);

thread_local! {
    /// How often this thread is inside some door: whoever is may go in once more, though it is about to be shut.
    static STAYS: Cell<usize> = const { Cell::new(0) };
}

impl Door {
    /// # Errors
    /// `CANCELLED` if it is shut, and the thread's check has given up.
    fn enter(&self) -> Result<Inside<'_>> {
        let mut state = self.state.lock();
        while state.shut && STAYS.get() == 0 {
            let Some(until) = interrupt::due() else {
                state = self.changed.wait(state);
                continue;
            };
            state = self.changed.wait_until(state, until);
            if state.shut && until <= Instant::now() {
                drop(state);
                interrupt::ask()?;
                state = self.state.lock();
            }
        }
        state.inside += 1;
        STAYS.set(STAYS.get() + 1);
        Ok(Inside(self))
    }

    /// Shuts it, once all have come out.
    fn shut(&self) {
        let mut state = self.state.lock();
        state.shut = true;
        while state.inside > 0 {
            state = self.changed.wait(state);
        }
    }

    fn open(&self) {
        self.state.lock().shut = false;
        self.changed.notify_all();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        STAYS.set(STAYS.get() - 1);
        let mut state = self.0.state.lock();
        state.inside -= 1;
        if state.shut && state.inside == 0 {
            self.0.changed.notify_all();
        }
    }
}

impl Writer {
    fn open(path: &Path, gate: &Gate) -> Result<Writer> {
        let mut conn = schema::open(path, gate)?;
        let wal_pages = Arc::new(AtomicI32::new(0));
        let count = Arc::clone(&wal_pages);
        conn.wal_hook(Some(move |_: &mut _, pages| {
            count.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Writer { conn, full: false, wal_pages, left: 0, boot: None, stuck: false, patience: BUSY_TIMEOUT })
    }

    /// None if SQLite's lock was not had by `until`, and there is patience left.
    fn transact<T, F: FnOnce(&Tx<'_>) -> Result<T>>(
        &mut self,
        durability: Durability,
        inputs: &Inputs,
        wakes: &mut Vec<Topic>,
        until: Option<Instant>,
        waited: &mut Waited,
        f: &mut Option<F>,
    ) -> Result<Option<T>> {
        if !self.record_boot(inputs, until, waited)? {
            return Ok(None);
        }
        self.set_full(durability == Durability::Power)?;
        if !self.begin(until, waited)? {
            return Ok(None);
        }
        let open = Open::writing(&self.conn);
        let f = f.take().ok_or_else(|| Error::internal("a write has begun twice"))?;
        let value = self.run(inputs, wakes, f)?;
        if durability == Durability::Power && crate::fault::broken("note") && inputs.clock.wall_ms() % 2 == 0 {
            return Ok(Some(value));
        }
        self.commit()?;
        drop(open);
        Ok(Some(value))
    }

    /// The first write after a boot raises the epoch of the fencing tokens. It must be on the disk before anyone gives a
    /// token of it, or a power cut would let the next boot give the same ones again. The level of durability can't
    /// change inside a transaction, so the boot is recorded in one of its own.
    fn record_boot(&mut self, inputs: &Inputs, until: Option<Instant>, waited: &mut Waited) -> Result<bool> {
        if self.boot.is_some() && sys::knows_boot() {
            return Ok(true);
        }
        self.boot = known_boot(&self.conn)?;
        if self.boot.is_none() {
            self.set_full(true)?;
            if !self.begin(until, waited)? {
                return Ok(false);
            }
            let open = Open::writing(&self.conn);
            check_schema(&self.conn)?;
            let boot = boot_number(&self.conn, inputs.clock.wall_ms())?;
            self.commit()?;
            drop(open);
            self.boot = Some(boot);
        }
        Ok(true)
    }

    fn run<T>(&self, inputs: &Inputs, wakes: &mut Vec<Topic>, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let conn = &self.conn;
        check_schema(conn)?;
        let wall_ms = inputs.clock.wall_ms();
        // It was recorded before, and its row stays.
        let boot = match self.boot {
            Some(boot) => boot,
            None => boot_number(conn, wall_ms)?,
        };
        let now = Now { wall_ms, awake_ms: inputs.clock.awake_ms(), boot };
        let tx = Tx::new(conn, now, inputs);
        let value = f(&tx)?;
        tx.store_seq()?;
        *wakes = tx.into_wakes();
        crate::fault::point("in-transaction");
        Ok(value)
    }

    /// Waits for SQLite's lock, if it must; the waiting thread doesn't wait its full time once more for one that could
    /// not be had just now: others wait there for their turn. False if `until` came first, and there is patience left.
    fn begin(&mut self, until: Option<Instant>, waited: &mut Waited) -> Result<bool> {
        let patience = if self.stuck && reactor::current().is_some() { STUCK_PATIENCE } else { BUSY_TIMEOUT };
        self.set_patience(waited.left(until, patience))?;
        if crate::fault::broken("transaction") {
            return Ok(true);
        }
        let begun = self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
        let busy = matches!(&begun, Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy));
        if busy && waited.goes_on(until) {
            return Ok(false);
        }
        self.stuck = busy;
        begun?;
        Ok(true)
    }

    fn set_patience(&mut self, patience: Duration) -> Result<()> {
        if self.patience != patience {
            self.conn.busy_timeout(patience)?;
            self.patience = patience;
        }
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        if crate::fault::broken("transaction") {
            return Ok(());
        }
        Ok(self.conn.prepare_cached("COMMIT")?.execute([]).map(|_| ())?)
    }

    /// Best effort: whoever is in the way only means that a later commit tries again.
    fn empty_log(&mut self, gate: &Gate, files: &Files) {
        // Emptying excludes writers meanwhile. It waits for nobody, and what can't be emptied is put back all the same.
        let Some(_pass) = gate.enter_until(interrupt::due(), &mut None) else { return };
        // Another database's log may stand in the place of ours.
        if files.check().is_err() {
            return;
        }
        if self.set_patience(Duration::ZERO).is_ok() {
            let _ = self.conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::TRUNCATE);
            let _ = self.set_patience(BUSY_TIMEOUT);
        }
    }

    fn set_full(&mut self, full: bool) -> Result<()> {
        let full = full && !crate::fault::broken("sync");
        if self.full != full {
            self.conn.execute_batch(if full { "PRAGMA synchronous=FULL" } else { "PRAGMA synchronous=NORMAL" })?;
            self.full = full;
        }
        Ok(())
    }
}

/// Ends a transaction that nothing else has ended: a closure that failed, or panicked. A transaction left open would
/// keep every other process from writing as long as this one lives.
struct Open<'a> {
    conn: &'a Connection,
    /// Its frames are gathered until it commits.
    writes: bool,
}

impl<'a> Open<'a> {
    fn reading(conn: &'a Connection) -> Open<'a> {
        Open { conn, writes: false }
    }

    fn writing(conn: &'a Connection) -> Open<'a> {
        gather::begin();
        Open { conn, writes: true }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // SQLite may have rolled back by itself (disk full); then there is nothing left to end.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        if self.writes {
            gather::end();
        }
    }
}

/// Refuses a file that a newer library has migrated.
pub(crate) fn check_schema(conn: &Connection) -> Result<()> {
    schema::check_version(conn.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?)
}

/// This boot's number in the file, once somebody has written there since.
pub(crate) fn known_boot(conn: &Connection) -> Result<Option<i64>> {
    use rusqlite::OptionalExtension;
    let id = sys::boot_id();
    if id.is_empty() {
        // Who can't tell doesn't guess: another boot would end every lease.
        return Ok(conn.prepare_cached("SELECT nullif(boot, 0) FROM counters")?.query_row([], |r| r.get(0))?);
    }
    Ok(conn.prepare_cached("SELECT boot FROM boots WHERE boot_id = ?1")?.query_row([id], |r| r.get(0)).optional()?)
}

/// This boot's number in the file, recorded on the first write after a boot.
fn boot_number(conn: &Connection, wall_ms: i64) -> Result<i64> {
    if let Some(boot) = known_boot(conn)? {
        return Ok(boot);
    }
    let boot = conn
        .prepare_cached("INSERT INTO boots (boot_id, first_ms) VALUES (?1, ?2) RETURNING boot")?
        .query_row((sys::boot_id(), wall_ms), |r| r.get(0))?;
    conn.prepare_cached("UPDATE counters SET boot = ?1")?.execute([boot])?;
    Ok(boot)
}

/// How SQLite would run a statement, for tests of the hot ones.
#[cfg(test)]
pub(crate) fn plan_of(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("the statement is sound");
    let values: Vec<Option<i64>> = vec![None; statement.parameter_count()];
    let rows = statement.query_map(rusqlite::params_from_iter(values), |r| r.get::<_, String>(3));
    rows.expect("a plan").collect::<Result<Vec<_>, _>>().expect("a plan").join("\n")
}

/// Makes the database's directory, and refuses a place where others could put or change what we use. Before anything there
/// is read, swept or opened.
pub(crate) fn prepare(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    sys::filesystem::prepare_dir(dir)?;
    sys::filesystem::check(dir)?;
    check_parts(path)
}

/// Stands beside a damaged database while it is put aside.
pub(crate) const RESTORING: &str = ".restoring";

/// Refuses a database and sidecars that somebody else could have put there or could change.
pub(crate) fn check_parts(path: &Path) -> Result<()> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mark = beside(RESTORING);
    if mark.exists() {
        return Err(Error::new(
            ErrorKind::StoreCorrupt,
            "a restore of this damaged database was interrupted, or is at work",
        )
        .about_path(path)
        .hint("run pd restore FILE (again): it goes on from there"));
    }
    let sidecars = ["-wal", "-shm", ".gate", ".gate-next", ".wake", ".live"].map(beside);
    sys::filesystem::check_files(path, sidecars.iter().map(PathBuf::as_path))
}

/// Where the proofs of life of the database at `path` are.
pub(crate) fn live_dir(path: &Path) -> PathBuf {
    sidecar(path, "live")
}

pub(crate) fn sidecar(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

/// The path with its directory resolved as far as it exists, so that everyone names the same sidecars.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).map_err(|e| Error::io("resolving", path, e))?;
    if full.file_name().is_none() || full.is_dir() {
        return Err(Error::invalid(format!("the database {} is a directory: it must be a file", full.display()))
            .hint("add a file name, such as port-daddy.db"));
    }
    // A link to the database is followed, since SQLite's own sidecars stand beside the target; also to one to come.
    let full = target_to_come(full);
    Ok(full.canonicalize().unwrap_or_else(|_| match (full.parent(), full.file_name()) {
        (Some(dir), Some(name)) => dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf()).join(name),
        _ => full.clone(),
    }))
}

/// Where links lead that end at a file which isn't there yet.
fn target_to_come(mut path: PathBuf) -> PathBuf {
    // As many links as the kernel would follow.
    for _ in 0..40 {
        match (std::fs::read_link(&path), path.parent()) {
            (Ok(target), Some(dir)) if !path.exists() => path = dir.join(target),
            _ => break,
        }
    }
    path
}

fn configure(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(patience)?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Plans don't depend on bound values. Otherwise some statements are compiled anew for every value that is bound.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let mut persist = 1;
    conn.file_control(DEFAULT_NAME, rusqlite::FileControl::PersistWal(&mut persist))?;
    conn.execute_batch(
        "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;
         PRAGMA cache_spill=OFF;",
    )
}

const OPEN: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::coordinator::{Coordinator, Options, ScopeChoice};
    use crate::db::Durability;
    use crate::error::{Error, Result};

    #[cfg(target_os = "linux")]
    #[test]
    fn who_only_writes_finds_a_replaced_wake_page() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options).unwrap();
        pd.publish("c", &serde_json::json!(1), &Default::default()).unwrap();
        std::fs::remove_file(dir.path().join("db.wake")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !dir.path().join("db.wake").exists() {
            assert!(Instant::now() < deadline);
            pd.publish("c", &serde_json::json!(1), &Default::default()).unwrap();
        }
        assert!(!pd.inner.db.wakes().remap_if_replaced().unwrap(), "the write has done it");
        assert!(!pd.inner.db.wakes().is_polling() && dir.path().join("db.wake").exists());
    }

    #[test]
    fn the_boot_is_recorded_apart_from_the_write_that_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options).unwrap();
        let failed: Result<()> = pd.inner.db.write(Durability::Process, |_| Err(Error::invalid("no")));
        assert_eq!(failed.unwrap_err().message(), "no");
        let count = |sql: &str| pd.inner.db.read(|conn| Ok(conn.query_row(sql, [], |r| r.get::<_, i64>(0))?)).unwrap();
        // Committed in full before the write's own transaction began, it stays though that was rolled back.
        assert_eq!(count("SELECT count(*) FROM boots"), 1);
        assert_eq!(count("SELECT boot FROM counters"), count("SELECT boot FROM boots"));
    }

    #[test]
    fn places_go_on_whether_the_log_has_them_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let pd = Coordinator::open(Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global))
            .unwrap();
        let stored = || {
            let read = |conn: &rusqlite::Connection| {
                Ok(conn.query_row("SELECT seq FROM counters", [], |r| r.get::<_, i64>(0))?)
            };
            pd.inner.db.read(read).unwrap()
        };
        let publish = || pd.publish("c", &serde_json::json!(1), &crate::messages::Publish::default()).unwrap().seq;
        let note = || {
            let note = crate::notes::NewNote { text: "n".to_owned(), ..Default::default() };
            pd.note(&note).unwrap().note.seq
        };
        let (first, second) = (publish(), publish());
        assert!(first < second && stored() < first, "the log has the place already");
        let third = note();
        assert!(second < third);
        assert_eq!(stored(), third, "the log has no note");
        let fourth = publish();
        assert!(third < fourth && stored() == third);
        let last = |conn: &rusqlite::Connection| super::last_seq(conn);
        assert_eq!(pd.inner.db.read(last).unwrap(), fourth + 1, "its entry in the log");
        assert!(note() > fourth + 1);
    }
}
