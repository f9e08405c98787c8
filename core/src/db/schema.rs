//! Opening the file, and bringing it to this library's schema.
//!
//! `application_id` says that a file is ours, `user_version` which migrations it has seen. Migrations run in one
//! immediate transaction under the gate, so two processes that meet a new file agree on who creates it, and a process
//! killed while migrating leaves the file as it was. They only add: an older library goes on reading.

use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use super::gate::Gate;
use super::{BUSY_TIMEOUT, OPEN, Waited, configure};
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt;

/// "PtDy" in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x5074_4479;
/// All DDL, in order; the number of entries is the schema's version.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_fewer_pages.sql"),
    include_str!("migrations/0003_counted_log.sql"),
    include_str!("migrations/0004_around_the_agent.sql"),
];

/// Those of this library.
fn migrations() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.iter().copied().chain(crate::fault::migration())
}

/// The version that this library writes.
pub(crate) fn own_version() -> i64 {
    migrations().count() as i64
}

/// Each commit writes the pages that it has touched, whole, and a reader that was woken reads them again. Most calls change
/// a few rows of a hundred bytes on three or four pages: with SQLite's usual 4,096 bytes they take a quarter to a third
/// longer.
const PAGE_SIZE: i64 = 1024;

/// Opens a connection to a file that exists and is of our schema.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let conn = connection(path)?;
    configure(&conn, BUSY_TIMEOUT)?;
    Ok(conn)
}

/// Opens the first connection of a handle, creating or migrating the file where needed. To be called with no lock.
pub(super) fn open(path: &Path, gate: &Gate) -> Result<Connection> {
    create_file(path)?;
    let mut waited = Waited::default();
    loop {
        let until = interrupt::due();
        match try_open(path, gate, until, &mut waited) {
            Ok(Some(conn)) => return Ok(conn),
            Err(e) if e.kind() != ErrorKind::StoreBusy || !waited.goes_on(until) => return Err(with_path(e, path)),
            // A check is to be asked.
            Ok(None) | Err(_) => interrupt::ask()?,
        }
    }
}

/// None if the gate was not had by `until`.
fn try_open(path: &Path, gate: &Gate, until: Option<Instant>, waited: &mut Waited) -> Result<Option<Connection>> {
    let conn = connection(path)?;
    configure(&conn, waited.left(until, BUSY_TIMEOUT))?;
    let version = pragma(&conn, "user_version")?;
    // First whose it is: another program's version says nothing.
    if version > 0 && pragma(&conn, "application_id")? != APPLICATION_ID {
        return Err(foreign());
    }
    check_version(version)?;
    if version < own_version() {
        crate::fault::point("to-migrate");
        let Some(_pass) = gate.enter_until(until, &mut waited.gate_until) else { return Ok(None) };
        conn.busy_timeout(waited.left(until, BUSY_TIMEOUT))?;
        migrate(&conn)?;
    }
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(Some(conn))
}

fn connection(path: &Path) -> rusqlite::Result<Connection> {
    #[cfg(unix)]
    if super::vfs::registered() {
        return Connection::open_with_flags_and_vfs(path, OPEN, super::vfs::NAME);
    }
    Connection::open_with_flags(path, OPEN)
}

/// Creates an empty file that only its owner can read; SQLite's sidecars inherit its mode.
fn create_file(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    crate::sys::filesystem::private(&mut options);
    match options.open(path) {
        // Nobody can have had it open before, so closing our descriptor drops nobody's locks.
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::io("creating the database", path, e)),
    }
}

/// Refuses a file that a newer library has migrated.
pub(super) fn check_version(version: i64) -> Result<()> {
    let known = own_version();
    if version <= known {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::StoreNewer,
        format!("the database was made by a newer port-daddy: its schema is {version}, this one knows {known}"),
    )
    .with("schema", version)
    .with("known", known)
    .hint("upgrade port-daddy, or name another database with PORT_DADDY_DB or --db"))
}

/// Brings a file that nobody else has open to this library's schema.
pub(super) fn migrate_own(conn: &Connection) -> Result<()> {
    conn.pragma_update(None, "foreign_keys", true)?;
    migrate(conn)
}

fn foreign() -> Error {
    Error::new(ErrorKind::StoreCorrupt, "the file is a database of another program")
        .hint("name another with PORT_DADDY_DB or --db")
}

/// To be called with the gate.
fn migrate(conn: &Connection) -> Result<()> {
    // The journal mode can't change inside a transaction. It is a property of the file: setting it again is harmless.
    if pragma(conn, "user_version")? == 0 {
        if !is_ours_or_empty(conn)? {
            return Err(foreign());
        }
        // For a file that is new; afterwards it is a property of the file, too.
        conn.pragma_update(None, "page_size", PAGE_SIZE)?;
        let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get(0))?;
        if mode != "wal" {
            return Err(Error::new(
                ErrorKind::StoreFilesystem,
                format!("the database can't be shared between processes here: SQLite answered {mode:?} instead of WAL"),
            )
            .hint("put it on a local disk: name another place with PORT_DADDY_DB or --db"));
        }
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = migrate_in_transaction(conn);
    let ended = conn.execute_batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" });
    migrated?;
    Ok(ended?)
}

fn migrate_in_transaction(conn: &Connection) -> Result<()> {
    let version = pragma(conn, "user_version")?;
    if version > 0 && pragma(conn, "application_id")? != APPLICATION_ID {
        return Err(foreign());
    }
    check_version(version)?;
    if version == own_version() {
        // Another process was first, and others may wait here already.
        return Ok(());
    }
    if version == 0 && !is_ours_or_empty(conn)? {
        return Err(foreign());
    }
    for ddl in migrations().skip(usize::try_from(version).unwrap_or(0)) {
        conn.execute_batch(ddl)?;
        crate::fault::point("migrating");
    }
    if version > 0 {
        crate::waiters::end_all(conn)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", own_version())?;
    Ok(())
}

fn is_ours_or_empty(conn: &Connection) -> Result<bool> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok(tables == 0 && pragma(conn, "application_id")? == 0)
}

pub(super) fn pragma(conn: &Connection, name: &str) -> Result<i64> {
    Ok(conn.prepare(&format!("PRAGMA {name}"))?.query_row([], |r| r.get(0))?)
}

/// Adds the file's name to an error of the store, unless it says it already.
pub(super) fn with_path(e: Error, path: &Path) -> Error {
    if e.kind().class() == crate::error::ErrorClass::Store && !e.fields().contains_key("path") {
        e.about_path(path)
    } else {
        e
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::coordinator::{Coordinator, Options, ScopeChoice};
    use crate::messages::{MessageFilter, Publish};
    use crate::notes::{NewNote, NoteFilter};

    /// A file as the first version left it, with a message, a note and a held lock.
    fn first_version(path: &Path) {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(&format!("PRAGMA journal_mode=WAL; {}", MIGRATIONS[0])).unwrap();
        conn.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        conn.pragma_update(None, "user_version", 1).unwrap();
        conn.execute_batch(
            "UPDATE counters SET seq = 500, token = 1 << 40;
             INSERT INTO scopes VALUES (1, '', 'global');
             INSERT INTO sessions (id, scope, agent, purpose, status, started_ms, seq)
                 VALUES ('session-old', 1, 'a', 'old', 'completed', 1, 400);
             INSERT INTO notes VALUES (450, 1, 'session-old', 'a', 'note', 'kept', 1);
             INSERT INTO messages VALUES (499, 1, 'c', NULL, 1, 9000000000000000, '1');
             INSERT INTO channels (name, scope, last_seq, last_ms, count) VALUES ('c', 1, 499, 1, 1);
             INSERT INTO activity VALUES (500, 1, 1, NULL, 'publish', 'c', NULL);",
        )
        .unwrap();
    }

    #[test]
    fn a_file_of_the_first_version_is_migrated_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("own");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let path = dir.join("db");
        first_version(&path);
        let pd = Coordinator::open(Options::default().db(&path).agent("a").scope(ScopeChoice::Global)).unwrap();
        assert_eq!(pd.messages(&MessageFilter::default()).unwrap()[0].seq, 499);
        assert_eq!(pd.notes(&NoteFilter::default()).unwrap().notes[0].text, "kept");
        assert_eq!(pd.publish("c", &json!(2), &Publish::default()).unwrap().seq, 501);
        let note = pd.note(&NewNote { text: "after".to_owned(), ..NewNote::default() }).unwrap().note;
        assert!(note.seq > 502);
        let lock = pd.lock("m", &crate::locks::LockOptions::default()).unwrap().unwrap();
        assert!(lock.token() > 1 << 40);
        drop(lock);
        pd.close();
        let conn = Connection::open(&path).unwrap();
        assert_eq!(pragma(&conn, "user_version").unwrap(), own_version());
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }
}
