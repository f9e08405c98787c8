//! Once all are dead and one has looked: a sound file, in which nobody waits or holds anything, and no proof of life.

use std::path::Path;

use portdaddy_core::{AgentFilter, Coordinator, LockFilter, Options, ScopeChoice};
use rusqlite::Connection;

use super::Report;
use crate::face::SCOPE;
use crate::history::now;

/// `storm last`: looks once, when all others are dead.
pub(crate) fn look(db: &Path) -> Result<(), portdaddy_core::Error> {
    let scope = ScopeChoice::Named(SCOPE.to_owned());
    let pd = Coordinator::open(Options::default().db(db).agent("last").scope(scope))?;
    pd.agents(&AgentFilter { all: true, ..AgentFilter::default() })?;
    pd.locks(&LockFilter::default())?;
    pd.close();
    Ok(())
}

/// The journal as it is stored: seq and text.
pub(crate) fn check(db: &Path, report: &mut Report) -> Vec<(i64, String)> {
    let at = now();
    // Nothing of the library has the file open in this process.
    let stored = Connection::open(db).and_then(|conn| {
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0))?;
        if sound != "ok" {
            report.violation("integrity", at, sound);
        }
        let mut broken = conn.prepare("PRAGMA foreign_key_check")?;
        if broken.exists([])? {
            report.violation("integrity", at, "a row refers to none");
        }
        for table in ["waiters", "locks"] {
            let left: i64 = conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))?;
            if left > 0 {
                report.violation("leftovers", at, format!("{left} rows of {table} stay behind"));
            }
        }
        let mut notes = conn.prepare("SELECT seq, text FROM notes ORDER BY seq")?;
        notes.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
    });
    let mut live = db.as_os_str().to_owned();
    live.push(".live");
    let files = std::fs::read_dir(Path::new(&live)).map(Iterator::count).unwrap_or_default();
    if files > 0 {
        report.violation("leftovers", at, format!("{files} live files stay behind"));
    }
    for end in [".gate", ".gate-next"] {
        let mut gate = db.as_os_str().to_owned();
        gate.push(end);
        if std::fs::File::open(&gate).is_ok_and(|file| file.try_lock().is_err()) {
            report.violation("leftovers", at, format!("somebody still has {end}"));
        }
    }
    stored.unwrap_or_else(|e| {
        report.violation("integrity", at, format!("the file can't be read: {e}"));
        Vec::new()
    })
}
