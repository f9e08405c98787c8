//! Copies of the whole file: out of a database that others write to, and back into it.
//!
//! Out: SQLite's backup API on a connection of its own, page by page, inside one read snapshot. Whoever writes meanwhile
//! appends to the WAL and isn't seen; nothing is begun anew, however much is written. (`VACUUM INTO` reads a snapshot, too,
//! but builds every table and index again, can't say how far it is, and was no faster: 3.2 s for 465 MiB, where this took 2.7
//! with a look over the copy.)
//!
//! Back: never by putting another file in place, which whoever has the old one open would go on to write to. The rows are
//! replaced in one write transaction, under the gate. Whoever is killed in it has changed nothing; a reader has the old
//! snapshot or the new one; SQLite's caches and prepared statements notice by themselves. The tables' contents are
//! copied, not the pages: so ids that open handles remember can be kept, and files of another page size fit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::gate::Gate;
use super::{BUSY_TIMEOUT, Db, Now, Open, Tx, Waited, schema, sidecar};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Random, short};
use crate::sys;
use crate::wake::Topic;

/// Pages copied between two looks at the clock: about 5 ms.
const PAGES_AT_ONCE: i32 = 2_000;

/// How far a copy is, for another thread to look at.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<(AtomicU64, AtomicU64)>);

impl Progress {
    /// Bytes copied, and bytes in all; both 0 before it has begun.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.0.load(Ordering::Relaxed), self.0.1.load(Ordering::Relaxed))
    }

    fn set(&self, done: u64, all: u64) {
        self.0.1.store(all, Ordering::Relaxed);
        self.0.0.store(done, Ordering::Relaxed);
    }
}

/// A file in the making, which goes when this is dropped. Its name begins with a dot and says who makes it, so that what a
/// killed process left can be told from what is being made.
pub(crate) struct Partial(PathBuf);

impl Partial {
    /// Makes an empty file beside `target`, for us alone, and removes what killed processes left of the same kind.
    pub(crate) fn beside(target: &Path, random: &dyn Random) -> Result<Partial> {
        Self::sweep(target);
        let me = sys::live::name_for(&sys::process::own(), &short(random, 6));
        let path = target.with_file_name(format!("{}{me}", prefix(target)));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        sys::filesystem::private(&mut options);
        match options.open(&path) {
            Ok(_) => Ok(Partial(path)),
            Err(e) => Err(Error::io("creating", target, e).hint("name another place, in a directory that exists")),
        }
    }

    /// Removes what killed processes left of the copies that became, or were to become, `target`. How many files.
    pub(crate) fn sweep(target: &Path) -> usize {
        let gone = Self::left(target);
        gone.iter().filter(|path| std::fs::remove_file(path).is_ok()).count()
    }

    /// What killed processes left there.
    pub(crate) fn left(target: &Path) -> Vec<PathBuf> {
        let prefix = prefix(target);
        let entries = target.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        let of_the_dead = |name: &str| {
            name.strip_prefix(&prefix).is_some_and(|by| {
                sys::live::maker(by).is_some_and(|id| sys::process::alive(&id) == sys::process::Alive::No)
            })
        };
        entries.filter(|e| e.file_name().to_str().is_some_and(of_the_dead)).map(|e| e.path()).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Brings it to the disk, and gives it its name. False if that is taken, and it doesn't `replace` what has it.
    pub(crate) fn become_file(self, target: &Path, replace: bool) -> Result<bool> {
        // No SQLite has it open any more: closing a descriptor drops nobody's locks.
        std::fs::File::open(&self.0).and_then(|file| file.sync_all()).map_err(|e| Error::io("syncing", &self.0, e))?;
        crate::fault::point("copied");
        // A link takes no name that somebody has taken since it was looked at. Not every filesystem has links.
        let linked = if replace { None } else { Some(std::fs::hard_link(&self.0, target)) };
        match linked {
            Some(Ok(())) => {}
            Some(Err(e)) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
            _ => std::fs::rename(&self.0, target).map_err(|e| Error::io("naming", target, e))?,
        }
        sync_dir(target);
        Ok(true)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for end in ["", "-journal", "-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(&self.0, end));
        }
    }
}

fn prefix(target: &Path) -> String {
    format!(".{}.partial-", target.file_name().unwrap_or_default().to_string_lossy())
}

/// SQLite's own name for a file that belongs to `path`: `-wal`.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

pub(crate) fn sync_dir(file: &Path) {
    // Not every platform can; then a power cut may lose the name, not the content.
    if let Some(dir) = file.parent().and_then(|dir| std::fs::File::open(dir).ok()) {
        let _ = dir.sync_all();
    }
}

/// Copies what `from` sees at this moment into the empty file `to`. Bytes copied.
fn copy_pages(from: &Connection, to: &Path, progress: &Progress) -> Result<u64> {
    use rusqlite::backup::{Backup, StepResult};
    let mut target = Connection::open_with_flags(to, super::OPEN)?;
    // Whoever is killed leaves a file that nobody looks at: it needs no journal, and is synced once, at its end.
    target.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY")?;
    let page: u64 = schema::pragma(from, "page_size")?.unsigned_abs();
    // The snapshot: as long as it stands, SQLite has no reason to begin anew after others' commits.
    from.execute_batch("BEGIN")?;
    let _snapshot = Open::reading(from);
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let bytes = {
        let backup = Backup::new(from, &mut target)?;
        loop {
            let step = backup.step(PAGES_AT_ONCE)?;
            let now = backup.progress();
            let bytes = page * u64::from(now.pagecount.unsigned_abs());
            progress.set(bytes - page * u64::from(now.remaining.unsigned_abs()), bytes);
            crate::fault::point("copying");
            match step {
                StepResult::Done => break bytes,
                StepResult::More => {}
                _ => return Err(Error::new(ErrorKind::StoreBusy, "the database stayed locked by another process")),
            }
        }
    };
    target.close().map_err(|(_, e)| e)?;
    Ok(bytes)
}

/// What SQLite says against a database; nothing if it is sound. At most `most` complaints of each kind.
pub(crate) fn complaints(conn: &Connection, check: &str, most: usize) -> Result<Vec<String>> {
    let mut said: Vec<String> =
        conn.prepare(&format!("PRAGMA {check}({most})"))?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
    said.retain(|line| line != "ok");
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |r| {
        let (table, row, parent): (String, Option<i64>, String) = (r.get(0)?, r.get(1)?, r.get(2)?);
        let row = row.map_or_else(|| "a row".to_owned(), |row| format!("row {row}"));
        Ok(format!("{row} of {table} refers to a row of {parent} that isn't there"))
    })?;
    for row in rows.take(most) {
        said.push(row?);
    }
    Ok(said)
}

/// A connection to a file as it is: nothing is created, migrated or changed.
pub(crate) fn inspect(path: &Path) -> Result<Inspected> {
    let conn = schema::connect(path)?;
    // A WAL that can't be read shows here already.
    let version = schema::pragma(&conn, "user_version")?;
    let ours = schema::pragma(&conn, "application_id")? == schema::APPLICATION_ID;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok(Inspected { conn, version, ours, empty: tables == 0 })
}

/// What a file is found to be.
pub(crate) struct Inspected {
    pub(crate) conn: Connection,
    pub(crate) version: i64,
    pub(crate) ours: bool,
    /// Nothing was ever written to it.
    pub(crate) empty: bool,
}

impl Inspected {
    /// The schema that this library makes.
    pub(crate) fn is_current(&self) -> bool {
        self.ours && self.version == schema::own_version()
    }
}

/// A sound copy of a backup, of this library's schema, in a file of our own beside the database.
pub(crate) struct Staged {
    file: Partial,
    /// The schema that the backup had.
    pub(crate) schema: i64,
}

impl Staged {
    /// Copies `from` to where the database `db` is, and looks whether it is sound.
    ///
    /// # Errors
    /// `STORE_CORRUPT` if it isn't a database of this library or is damaged, `STORE_NEWER`.
    pub(crate) fn of(from: &Path, db: &Path, random: &dyn Random, progress: &Progress) -> Result<Staged> {
        let about = |e: Error| match e.kind() {
            ErrorKind::StoreCorrupt => {
                Error::new(ErrorKind::StoreCorrupt, format!("{}: {}", from.display(), e.message()))
                    .with("path", from.display().to_string())
                    .hint("restore from another backup: nothing was changed")
                    .caused_by(e)
            }
            _ => schema::with_path(e, from),
        };
        let damaged = |what: String| about(Error::new(ErrorKind::StoreCorrupt, what));
        let file = Partial::beside(db, random)?;
        let version = {
            let source = open_to_read(from).map_err(about)?;
            let version = schema::pragma(&source, "user_version").map_err(about)?;
            if schema::pragma(&source, "application_id").map_err(about)? != schema::APPLICATION_ID {
                return Err(damaged("it is no backup of a port-daddy database".to_owned()));
            }
            schema::check_version(version).map_err(|e| {
                Error::new(
                    e.kind(),
                    format!(
                        "{} was made by a newer port-daddy: its schema is {version}, this one knows {}",
                        from.display(),
                        schema::own_version()
                    ),
                )
                .with("schema", version)
                .with("known", schema::own_version())
                .hint("upgrade port-daddy, then restore it: nothing was changed")
            })?;
            copy_pages(&source, file.path(), progress).map_err(about)?;
            version
        };
        let conn = Connection::open_with_flags(file.path(), super::OPEN)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // One file, whatever happens to it from here on.
        let prepared = (|| {
            conn.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=DELETE; PRAGMA trusted_schema=OFF;")?;
            let said = complaints(&conn, "integrity_check", 3)?;
            if !said.is_empty() {
                return Err(Error::new(ErrorKind::StoreCorrupt, format!("it is damaged: {}", said.join("; "))));
            }
            schema::migrate_own(&conn)?;
            conn.execute_batch("PRAGMA journal_mode=DELETE")?;
            Ok(())
        })();
        prepared.map_err(about)?;
        conn.close().map_err(|(_, e)| e)?;
        Ok(Staged { file, schema: version })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Changes it before it takes its place.
    pub(crate) fn change<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let conn = Connection::open_with_flags(self.path(), super::OPEN)?;
        let value = f(&conn)?;
        conn.close().map_err(|(_, e)| e)?;
        Ok(value)
    }

    /// Puts it in the place of a database that nobody has open.
    pub(crate) fn become_database(self, db: &Path) -> Result<()> {
        self.change(|conn| Ok(conn.execute_batch("PRAGMA synchronous=FULL; PRAGMA journal_mode=WAL")?))?;
        self.file.become_file(db, true).map(|_| ())
    }
}

/// Opens somebody's backup, which may be on a medium that can't be written: SQLite then wants to be told that nobody changes
/// it. With a log beside it, it is a database in use, and is read like one.
fn open_to_read(path: &Path) -> Result<Connection> {
    let found = std::fs::metadata(path)
        .map_err(|e| Error::io("looking at", path, e).hint("name a file that pd backup has made"))?;
    if !found.is_file() {
        return Err(Error::invalid(format!("{} is no file: a backup is one", path.display()))
            .hint("name a file that pd backup has made"));
    }
    let logged = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if logged {
        Connection::open_with_flags(path, flags)?
    } else {
        Connection::open_with_flags(uri(path, "immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// A path as SQLite takes it in a URI.
fn uri(path: &Path, query: &str) -> PathBuf {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    PathBuf::from(format!("{uri}?{query}"))
}

/// The transaction that replaces what the database holds by what a staged file holds, which is attached as `staged`.
pub(crate) struct Replacing<'a> {
    db: &'a Db,
    conn: &'a Connection,
    now: Now,
    wakes: &'a mut Vec<Topic>,
}

impl Replacing<'_> {
    pub(crate) fn conn(&self) -> &Connection {
        self.conn
    }

    /// A part of it in which the concepts' own functions write. What they cache ends with it.
    pub(crate) fn part<T>(&mut self, f: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let tx = Tx::new(self.conn, self.now, &self.db.inputs);
        let value = f(&tx)?;
        tx.store_seq()?;
        self.wakes.extend(tx.into_wakes());
        Ok(value)
    }

    /// A copy of what stood there before this transaction changed it, and of all that was committed.
    pub(crate) fn keep(&self, target: &Path) -> Result<()> {
        // A connection of its own sees the last commit, and nobody can make another meanwhile.
        let before = schema::connect(&self.db.path)?;
        // Of the database's own name, so that what a killed process left of it is swept.
        let file = Partial::beside(&self.db.path, &*self.db.inputs.random)?;
        copy_pages(&before, file.path(), &Progress::default())?;
        if file.become_file(target, false)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StoreIo, format!("{} was made by somebody else just now", target.display()))
            .hint("try again"))
    }
}

impl Db {
    /// Copies the database as it is at this moment into an empty file, and looks whether the copy is sound. Its size,
    /// and its last place in the order of commits.
    pub(crate) fn copy_to(&self, file: &Path, progress: &Progress) -> Result<(u64, i64)> {
        self.check_open()?;
        let _inside = self.door.enter()?;
        self.check_files()?;
        let bytes = {
            let source = self.named(schema::connect(&self.path))?;
            self.named(copy_pages(&source, file, progress))?
        };
        let copy = open_to_read(file)?;
        let said: Vec<String> =
            copy.prepare("PRAGMA quick_check(1)")?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
        match said.first() {
            Some(said) if said != "ok" => {
                Err(Error::new(ErrorKind::StoreCorrupt, format!("{}: it is damaged: {said}", self.path.display()))
                    .with("path", self.path.display().to_string())
                    .hint("pd doctor shows more; pd restore FILE puts an older backup in its place"))
            }
            _ => Ok((bytes, super::last_seq(&copy)?)),
        }
    }

    /// Runs `f` in one write transaction that replaces everything, and survives a power cut; then wakes everybody.
    pub(crate) fn replace<T>(&self, staged: &Staged, f: impl FnOnce(&mut Replacing<'_>) -> Result<T>) -> Result<T> {
        self.check_open()?;
        let _inside = self.door.enter()?;
        let mut slot = self.writer.lock_until(None).ok_or_else(super::closed)?;
        let writer = slot.as_mut().ok_or_else(super::closed)?;
        let pass = self.gate.enter_until(None, &mut None);
        self.check_files()?;
        let mut wakes = Vec::new();
        let replaced = self.named((|| {
            writer.record_boot(&self.inputs, None, &mut Waited::default())?;
            let conn = schema::connect(&self.path)?;
            // What refers to what is looked at as a whole, once everything is there. A large database doesn't fit in memory.
            conn.execute_batch("PRAGMA foreign_keys=OFF; PRAGMA synchronous=FULL; PRAGMA cache_spill=ON")?;
            let path = staged.path().to_str().ok_or_else(|| Error::invalid("the database's path isn't UTF-8"))?;
            conn.execute("ATTACH ?1 AS staged", [path])?;
            conn.execute_batch("BEGIN IMMEDIATE")?;
            let open = Open::reading(&conn);
            if schema::pragma(&conn, "user_version")? != schema::own_version() {
                return Err(Error::new(ErrorKind::StoreNewer, "a newer port-daddy has migrated the database")
                    .hint("upgrade port-daddy, then restore"));
            }
            let boot = writer.boot.ok_or_else(|| Error::internal("the boot isn't recorded"))?;
            let clock = &self.inputs.clock;
            let now = Now { wall_ms: clock.wall_ms(), awake_ms: clock.awake_ms(), boot };
            let value = f(&mut Replacing { db: self, conn: &conn, now, wakes: &mut wakes })?;
            crate::fault::point("replacing");
            conn.execute_batch("COMMIT")?;
            drop(open);
            crate::fault::point("replaced");
            // All of it stands in the log now. Who reads is in the way: then a later checkpoint does it.
            let _ = conn.busy_timeout(Duration::ZERO);
            let _ = conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            Ok(value)
        })())?;
        drop((pass, slot));
        // Those who were handed something come first.
        wakes.iter().for_each(|topic| self.wakes.wake(*topic));
        self.wakes.wake_all();
        Ok(replaced)
    }

    /// The size of the log.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |found| found.len())
    }

    /// Puts back what is in the log, and empties it where nobody reads. Its size before and after.
    pub(crate) fn empty_log(&self) -> Result<(u64, u64)> {
        self.check_open()?;
        let _inside = self.door.enter()?;
        let before = self.log_bytes();
        let mut slot = self.writer.lock_until(None).ok_or_else(super::closed)?;
        slot.as_mut().ok_or_else(super::closed)?.empty_log(&self.gate, &self.files);
        Ok((before, self.log_bytes()))
    }
}

/// Holds the gate of a database that this process may not be able to open.
pub(crate) fn with_gate<T>(path: &Path, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let gate = Gate::new(sidecar(path, "gate"));
    let _pass = gate.enter_until(None, &mut None);
    f()
}

/// Makes one file of a database that nobody has open, and its log.
pub(crate) fn take_log_in(path: &Path) -> Result<()> {
    let conn = Connection::open_with_flags(path, super::OPEN)?;
    conn.busy_timeout(Duration::from_millis(100))?;
    let mode: String = conn.query_row("PRAGMA journal_mode=DELETE", [], |r| r.get(0))?;
    conn.close().map_err(|(_, e)| e)?;
    if mode == "delete" { Ok(()) } else { Err(Error::new(ErrorKind::StoreBusy, "somebody has it open")) }
}
