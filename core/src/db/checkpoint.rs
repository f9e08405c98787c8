//! Putting the WAL's pages back into the database, in a thread of its own, so that no commit waits for it.
//!
//! ```text
//! a commit:    has left so many pages in the WAL: starts the thread, unless it is at work, and goes on
//! the thread:  puts back what is there (PASSIVE, which keeps nobody out); who writes next begins the WAL anew, unless
//!              somebody has written meanwhile
//!              a WAL that has become large all the same: puts back what came meanwhile, until it is little, and the
//!              rest with the gate (FULL)
//! ```
//!
//! The last step keeps writers out for two syncs, so it is rare. Without it a WAL that somebody always writes to would never
//! begin anew. Every step is done inside the door, with a connection that is closed before coming out, so a fork finds nothing of
//! it. A handle that is closed waits for the step under way. All of it is best effort: whoever is in the way only means that
//! a later commit tries again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ffi};

use super::files::Files;
use super::gate::Gate;
use super::{Door, schema, sidecar};
use crate::sync::{Condvar, Mutex};

/// Pages by which the WAL has grown when the thread starts.
const AT: i32 = 4_000;
/// Pages in a WAL that must begin anew, though somebody always writes to it: 16 MiB.
const LARGE: i32 = 16_000;
/// The most by which it grows, however often a reader was in the way.
const MOST_GROWTH: i32 = 8 * LARGE;
/// With no more pages left than this, they are put back while writers wait.
const FEW: i32 = 250;
/// How often it is tried to get there.
const PASSES: usize = 8;
/// How long the last step waits for a writer without the gate, or a reader.
const PATIENCE: Duration = Duration::from_millis(20);

/// The checkpoints of one handle.
#[derive(Default)]
pub(super) struct Checkpoints {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    over: bool,
    /// Pages that the last one left there, because someone still read them.
    left: i32,
    /// By how many it must have grown for the next, where the last step failed at a reader: twice as many each time, since
    /// it kept writers out in vain.
    growth: i32,
}

impl Checkpoints {
    /// Starts one if the WAL has grown by enough since the last.
    pub(super) fn begin_if_due(self: &Arc<Self>, pages: i32, files: &Arc<Files>, door: &Arc<Door>) {
        {
            let mut state = self.state.lock();
            if pages < state.left {
                (state.left, state.growth) = (0, AT);
            }
            if state.running || state.over || pages - state.left < state.growth.max(AT) {
                return;
            }
            state.running = true;
        }
        let (this, door, files) = (Arc::clone(self), Arc::clone(door), Arc::clone(files));
        let thread = std::thread::Builder::new().name("pd-checkpoint".to_owned());
        if thread.spawn(move || this.run(pages, &files, &door)).is_err() {
            self.done(pages, false);
        }
    }

    /// Starts none any more, and waits for the step under way.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.over = true;
        while state.running {
            state = self.changed.wait(state);
        }
    }

    /// `due`: the pages for which it was started. Where nothing can be put back, as while another process does it, they
    /// are left there.
    fn run(&self, due: i32, files: &Files, door: &Door) {
        // Whatever happens to this thread, nobody waits for it for ever.
        struct Done<'a>(&'a Checkpoints, i32, bool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.done(self.1, self.2);
            }
        }
        let mut done = Done(self, due, false);
        let (mut known, mut least) = (0, i32::MAX);
        for _ in 0..PASSES {
            let Some((pages, put_back)) = self.step(door, files, || passive(files.path())) else { return };
            done.1 = pages;
            // What was written since the last pass: the last step will find about as much.
            let new = pages - known;
            if pages < LARGE {
                return;
            }
            if new <= FEW || new >= least {
                break;
            }
            (known, least) = (put_back, new);
        }
        // Busy, too, is what a reader makes of it.
        done.2 = true;
        if let Some((pages, put_back)) = self.step(door, files, || full(files.path())) {
            (done.1, done.2) = if pages == put_back { (0, false) } else { (pages, true) };
        }
    }

    /// One step, inside the door; none where it failed, a file was replaced, or the handle is being closed.
    fn step(&self, door: &Door, files: &Files, f: impl FnOnce() -> rusqlite::Result<(i32, i32)>) -> Option<(i32, i32)> {
        let _inside = door.enter().ok()?;
        if self.state.lock().over || files.check().is_err() {
            return None;
        }
        f().ok()
    }

    fn done(&self, left: i32, in_vain: bool) {
        let mut state = self.state.lock();
        state.running = false;
        state.left = left;
        state.growth = if in_vain { state.growth.max(AT).saturating_mul(2).min(MOST_GROWTH) } else { AT };
        drop(state);
        self.changed.notify_all();
    }
}

/// Pages in the WAL, and how many of them were put back; `SQLITE_BUSY` if somebody else is putting them back.
fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<(i32, i32)> {
    let (pages, put_back) =
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| Ok((r.get(1)?, r.get(2)?)))?;
    if pages < 0 {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None));
    }
    Ok((pages, put_back))
}

fn passive(path: &Path) -> rusqlite::Result<(i32, i32)> {
    checkpoint(&open(path)?, "PASSIVE")
}

fn full(path: &Path) -> rusqlite::Result<(i32, i32)> {
    let conn = open(path)?;
    conn.busy_timeout(PATIENCE)?;
    let gate = Gate::new(sidecar(path, "gate"));
    let _pass = gate.enter_until(None, &mut None);
    checkpoint(&conn, "FULL")
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let conn = schema::connect(path).map_err(|_| rusqlite::Error::InvalidQuery)?;
    // SQLite opens the WAL at the first look into the database, and before that knows of none.
    conn.query_row("SELECT 1 FROM counters", [], |_| Ok(()))?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::coordinator::{Coordinator, Options, ScopeChoice};
    use crate::messages::Publish;

    const LONG: Duration = Duration::from_secs(60);

    fn open(dir: &tempfile::TempDir) -> Coordinator {
        Coordinator::open(Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global)).unwrap()
    }

    fn publish(pd: &Coordinator) {
        pd.publish("c", &serde_json::json!("x".repeat(2_000)), &Publish::default()).unwrap();
    }

    fn wal(dir: &tempfile::TempDir) -> u64 {
        dir.path().join("db-wal").metadata().unwrap().len() / 1_048
    }

    #[test]
    fn the_log_begins_anew_while_two_write_without_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let pd = open(&dir);
        let other = open(&dir);
        let until = Instant::now() + LONG;
        let salt = || std::fs::read(dir.path().join("db-wal")).unwrap()[16..24].to_owned();
        // Its header has other numbers each time that it begins anew.
        let mut seen = vec![salt()];
        while seen.len() < 3 {
            for _ in 0..100 {
                publish(&pd);
                publish(&other);
            }
            let now = salt();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            assert!(Instant::now() < until, "the log has {} pages and goes on growing", wal(&dir));
        }
        // However little the thread ran beside the two.
        assert!(wal(&dir) < (MOST_GROWTH + LARGE) as u64, "{} pages", wal(&dir));
        pd.close();
        other.close();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_could_not_be_put_back_is_not_tried_again_at_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::default();
        let due = 3 * AT;
        checkpoints.run(due, &Files::new(&dir.path().join("nothing")), &Door::default());
        assert_eq!(checkpoints.state.lock().left, due);

        // As while another process puts them back: its lock is byte 121 of the index.
        let pd = open(&dir);
        publish(&pd);
        let index = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join("db-shm")).unwrap();
        let lock = libc::flock { l_type: libc::F_WRLCK as _, l_whence: 0, l_start: 121, l_len: 1, l_pid: 0 };
        // SAFETY: a lock of this open file, which SQLite's locks, those of the process, conflict with.
        let locked =
            unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&index), libc::F_OFD_SETLK, &raw const lock) };
        assert_eq!(locked, 0);
        checkpoints.run(due, &Files::new(&dir.path().join("db")), &Door::default());
        assert_eq!(checkpoints.state.lock().left, due);
        // Closing it would take the process's own locks along.
        std::mem::forget(index);
        pd.close();
    }

    #[test]
    fn what_a_reader_made_vain_is_tried_less_and_less_often() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoints, door) = (Arc::new(Checkpoints::default()), Arc::new(Door::default()));
        let files = Arc::new(Files::new(dir.path()));
        for growth in [2 * AT, 4 * AT] {
            checkpoints.done(100, true);
            assert_eq!(checkpoints.state.lock().growth, growth);
            checkpoints.begin_if_due(100 + growth - 1, &files, &door);
            assert!(!checkpoints.state.lock().running, "too soon");
        }
        (0..40).for_each(|_| checkpoints.done(100, true));
        assert_eq!(checkpoints.state.lock().growth, MOST_GROWTH);
        checkpoints.begin_if_due(99, &files, &door);
        assert_eq!(checkpoints.state.lock().growth, AT, "it has begun anew");
    }

    #[test]
    fn a_handle_that_is_closed_leaves_no_thread_at_work() {
        let dir = tempfile::tempdir().unwrap();
        let pd = open(&dir);
        for _ in 0..AT / 3 {
            publish(&pd);
        }
        pd.close();
        assert!(!pd.inner.db.checkpoints.state.lock().running);
    }
}
