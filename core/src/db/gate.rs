//! The fair gate: writers queue on file locks, because SQLite's own busy handler starves some of them.
//!
//! It gives fairness only. Exclusion is `BEGIN IMMEDIATE`'s affair, so a gate that can't be had is passed by.
//!
//! There are two locks, in the order in which they are taken: `….gate-next`, the place of who is next, and `….gate`
//! itself. The place is given up once the gate is had. One lock would not do: the kernel wakes the waiting at an unlock
//! but hands the lock to nobody, so a writer in a loop has it back before any of them runs. (Measured with 8 writers of
//! 300 µs each, 5 µs apart, on two cores: with one lock some waited 500 ms and gave up, one had 20 times the turns of
//! another; with two the worst wait is 20 ms, and the turns are within 5 %.)
//!
//! 1. The caller holds the in-process writer mutex: at most one thread at a time enters a [`Gate`].
//! 2. Both locks are tried without waiting. If they are free, that is all: four short system calls.
//! 3. Otherwise a helper thread asks for them and blocks. The caller waits for the helper, but not longer than
//!    [`PATIENCE`]: a holder may be stopped, and SQLite decides anyway.
//!    A caller that has to ask its check meanwhile (see `interrupt`) comes out to do so, and waits on for the rest.
//! 4. Who gave up, or is asking, leaves a request behind. Whoever enters next adopts it, and waits only [`SHORT_PATIENCE`]; if it is
//!    granted while nobody wants it, the helper unlocks at once.
//!
//! All is done on one pair of open files, so the process stands in the queue once. While a request is pending the
//! locks aren't tried directly: an open file can't be told from itself, and the second grant would be invisible.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

/// How long a writer queues behind others. Far longer than any honest queue lasts.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long once somebody has lost patience with the present holder.
const SHORT_PATIENCE: Duration = Duration::from_millis(20);

/// The queue in front of one database. One per open database.
pub(crate) struct Gate {
    path: PathBuf,
    pid: u32,
    shared: Arc<Shared>,
}

/// The right to write next, or the decision to go on without. Given back when dropped.
pub(crate) struct Pass<'a> {
    /// `None`: the gate wasn't had.
    held: Option<(&'a Shared, Arc<Locks>)>,
}

/// What the callers and the helper thread share.
struct Shared {
    inner: Mutex<Inner>,
    /// Something is to do for the helper.
    asked: Condvar,
    /// The helper has done it.
    answered: Condvar,
}

struct Inner {
    locks: Opened,
    request: Request,
    has_helper: bool,
    /// The [`Gate`] is gone; the helper ends when it can.
    closing: bool,
}

enum Opened {
    NotYet,
    Yes(Arc<Locks>),
    /// A file can't be opened or locked; there is no gate.
    Never,
}

/// The two locked files.
struct Locks {
    next: File,
    gate: File,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Idle,
    /// The helper is, or is about to be, blocked in the lock.
    Pending {
        abandoned: bool,
    },
    /// The lock is ours: a caller's, or about to be one's that waits for it.
    Granted,
}

impl Gate {
    /// A gate at `path`. Nothing is opened yet.
    pub(crate) fn new(path: PathBuf) -> Gate {
        let inner = Inner { locks: Opened::NotYet, request: Request::Idle, has_helper: false, closing: false };
        let shared = Shared { inner: Mutex::new(inner), asked: Condvar::new(), answered: Condvar::new() };
        Gate { path, pid: std::process::id(), shared: Arc::new(shared) }
    }

    /// Queues, for at most [`PATIENCE`]. Never fails: the worst is to go on without.
    #[cfg(test)]
    fn enter(&self) -> Pass<'_> {
        self.enter_until(None, &mut None).unwrap_or(Pass { held: None })
    }

    /// Queues, for at most [`PATIENCE`]: the worst is to go on without. None if `until` comes first; who comes again with
    /// the same `lost` goes on to wait.
    pub(crate) fn enter_until(&self, until: Option<Instant>, lost: &mut Option<Instant>) -> Option<Pass<'_>> {
        // What the gate is worth is measured against the same code without it (benches/src/gate.rs).
        if cfg!(portdaddy_no_gate) || crate::fault::broken("transaction") {
            return Some(Pass { held: None });
        }
        let mut inner = self.shared.inner.lock();
        if matches!(inner.locks, Opened::NotYet) {
            inner.locks = Locks::open(&self.path).map_or(Opened::Never, |locks| Opened::Yes(Arc::new(locks)));
        }
        let Opened::Yes(locks) = &inner.locks else { return Some(Pass { held: None }) };
        let locks = locks.clone();
        let patience = match inner.request {
            Request::Idle => {
                match locks.try_both() {
                    Ok(()) => {
                        inner.request = Request::Granted;
                        return Some(Pass { held: Some((&self.shared, locks)) });
                    }
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(_)) => {
                        inner.locks = Opened::Never;
                        return Some(Pass { held: None });
                    }
                }
                if !inner.has_helper {
                    let shared = self.shared.clone();
                    let helper = std::thread::Builder::new().name("pd-gate".into()).spawn(move || shared.help());
                    if helper.is_err() {
                        return Some(Pass { held: None });
                    }
                    inner.has_helper = true;
                }
                self.shared.asked.notify_one();
                PATIENCE
            }
            Request::Pending { .. } => SHORT_PATIENCE,
            // Another thread of ours is inside, against the protocol: don't share its pass.
            Request::Granted => return Some(Pass { held: None }),
        };
        inner.request = Request::Pending { abandoned: false };
        let lost = *lost.get_or_insert_with(|| Instant::now() + patience);
        let deadline = until.map_or(lost, |until| until.min(lost));
        while inner.request == (Request::Pending { abandoned: false }) {
            if deadline <= Instant::now() {
                break;
            }
            inner = self.shared.answered.wait_until(inner, deadline);
        }
        match inner.request {
            Request::Granted => Some(Pass { held: Some((&self.shared, locks)) }),
            Request::Pending { .. } => {
                inner.request = Request::Pending { abandoned: true };
                (lost <= Instant::now()).then_some(Pass { held: None })
            }
            Request::Idle => Some(Pass { held: None }),
        }
    }
}

impl Gate {
    /// Every lock between threads that another thread could have at a fork.
    #[cfg(test)]
    pub(super) fn hold_all(&self) -> impl Sized + '_ {
        self.shared.inner.lock()
    }

    /// Closes the files, before a fork: a child's copies of them would hold on to what this process locks. With a request
    /// under way they stay open, and the next writers may have to pass the gate by as long as the child has them.
    pub(crate) fn let_go(&self) {
        let mut inner = self.shared.inner.lock();
        if inner.request == Request::Idle && matches!(inner.locks, Opened::Yes(_)) {
            inner.locks = Opened::NotYet;
        }
    }
}

impl Drop for Gate {
    /// Doesn't wait for the helper: it may stand in the queue behind a stopped process. It takes what it needs along,
    /// and doesn't keep the process from ending. A forked child has no helper, which may have had the lock at the fork.
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            self.shared.inner.lock().closing = true;
            self.shared.asked.notify_one();
        }
    }
}

impl Shared {
    /// The helper thread. It has the files only while it stands in the queue.
    fn help(&self) {
        let mut inner = self.inner.lock();
        loop {
            while !inner.closing && !matches!(inner.request, Request::Pending { .. }) {
                inner = self.asked.wait(inner);
            }
            if inner.closing {
                return;
            }
            let Opened::Yes(locks) = &inner.locks else {
                inner.request = Request::Idle;
                self.answered.notify_one();
                continue;
            };
            let locks = locks.clone();
            drop(inner);
            let locked = locks.wait_for_both();
            inner = self.inner.lock();
            let wanted = inner.request == (Request::Pending { abandoned: false }) && !inner.closing;
            inner.request = match locked {
                Ok(()) if wanted => Request::Granted,
                Ok(()) => {
                    let _ = locks.gate.unlock();
                    Request::Idle
                }
                Err(_) => {
                    inner.locks = Opened::Never;
                    Request::Idle
                }
            };
            self.answered.notify_one();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some((shared, locks)) = &self.held {
            let _ = locks.gate.unlock();
            shared.inner.lock().request = Request::Idle;
        }
    }
}

impl Locks {
    fn open(path: &Path) -> Option<Locks> {
        let mut next = path.as_os_str().to_owned();
        next.push("-next");
        Some(Locks { next: open(Path::new(&next))?, gate: open(path)? })
    }

    fn try_both(&self) -> Result<(), TryLockError> {
        self.next.try_lock()?;
        let locked = self.gate.try_lock();
        let _ = self.next.unlock();
        locked
    }

    fn wait_for_both(&self) -> std::io::Result<()> {
        lock(&self.next)?;
        let locked = lock(&self.gate);
        let _ = self.next.unlock();
        locked
    }
}

/// Waits for the lock; a signal handler that runs meanwhile changes nothing.
fn lock(file: &File) -> std::io::Result<()> {
    loop {
        match file.lock() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    crate::sys::filesystem::beside(&mut options);
    options.open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::sys::testing::{Second, argument, barrier, say};

    fn at() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.gate");
        (dir, path)
    }

    fn had(pass: &Pass<'_>) -> bool {
        pass.held.is_some()
    }

    #[test]
    fn child_holds_the_gate() {
        if let Some(path) = argument() {
            let gate = Gate::new(path.into());
            let pass = gate.enter();
            assert!(had(&pass));
            say("ready");
            barrier();
            drop(pass);
            say("left");
            barrier();
        }
    }

    #[test]
    fn one_at_a_time_and_everyone_gets_a_turn() {
        let (_dir, path) = at();
        let inside = AtomicU32::new(0);
        let over = AtomicBool::new(false);
        let start = Barrier::new(8);
        let turns: Vec<u32> = std::thread::scope(|scope| {
            let writer = || {
                let gate = Gate::new(path.clone());
                let mut turns = 0;
                start.wait();
                while turns < 300 && !over.load(Ordering::SeqCst) {
                    let pass = gate.enter();
                    if had(&pass) {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                        let work = Instant::now();
                        while work.elapsed() < Duration::from_micros(200) {
                            std::hint::spin_loop();
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turns += 1;
                    }
                }
                // The race ends with the first to be through; the others show how far they got.
                over.store(true, Ordering::SeqCst);
                turns
            };
            let writers: Vec<_> = (0..8).map(|_| scope.spawn(writer)).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(turns.iter().all(|&turns| turns > 0), "somebody starved: {turns:?}");
    }

    #[test]
    fn a_pass_is_given_back_and_can_be_had_again() {
        let (_dir, path) = at();
        let (one, other) = (Gate::new(path.clone()), Gate::new(path));
        for _ in 0..3 {
            assert!(had(&one.enter()));
            assert!(had(&other.enter()));
        }
        let inside = one.enter();
        assert!(!had(&one.enter()), "a second of the same gate goes on without");
        drop(inside);
        assert!(had(&one.enter()));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_no_gate() {
        let (dir, _) = at();
        let gate = Gate::new(dir.path().join("missing/db.gate"));
        assert!(!had(&gate.enter()));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_no_gate() {
        for planted in ["db.gate", "db.gate-next"] {
            let (dir, path) = at();
            std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join(planted)).unwrap();
            assert!(!had(&Gate::new(path).enter()), "{planted}");
            assert!(!dir.path().join("target").exists(), "{planted}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_stopped_holder_holds_nobody_up_for_long() {
        let (_dir, path) = at();
        let mut child = Second::start("db::gate::tests::child_holds_the_gate", path.to_str().unwrap());
        child.signal(rustix::process::Signal::STOP);
        let gate = Gate::new(path.clone());
        let start = Instant::now();
        assert!(!had(&gate.enter()));
        for _ in 0..5 {
            assert!(!had(&gate.enter()));
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // A gate that goes with its request pending doesn't wait either, and its helper lets the lock go later.
        let other = Gate::new(path.clone());
        assert!(!had(&other.enter()));
        drop(other);
        child.kill();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !had(&gate.enter()) {
            assert!(Instant::now() < deadline, "the abandoned requests were never settled");
        }
        assert!(had(&Gate::new(path).enter()));
    }

    #[test]
    fn who_comes_out_to_ask_waits_on_for_the_rest_of_its_patience() {
        let (_dir, path) = at();
        let mut child = Second::start("db::gate::tests::child_holds_the_gate", path.to_str().unwrap());
        let gate = Gate::new(path);
        let (begun, mut lost) = (Instant::now(), None);
        assert!(gate.enter_until(Some(begun), &mut lost).is_none());
        assert!(matches!(gate.shared.inner.lock().request, Request::Pending { abandoned: true }));
        let first = lost;
        assert!(first.unwrap() >= begun + PATIENCE);
        assert!(gate.enter_until(Some(Instant::now()), &mut lost).is_none());
        assert_eq!(lost, first);
        let pass = gate.enter_until(Some(begun + 2 * PATIENCE), &mut lost);
        assert!(pass.is_some_and(|pass| !had(&pass)) && begun + PATIENCE <= Instant::now(), "patience is lost");
        let pass = gate.enter_until(Some(begun), &mut lost);
        assert!(pass.is_some_and(|pass| !had(&pass)), "it doesn't begin anew");
        child.stdin.take();
        assert_eq!(child.said(), "left");
    }

    #[test]
    fn a_request_given_up_is_adopted_by_the_next() {
        let (_dir, path) = at();
        let mut child = Second::start("db::gate::tests::child_holds_the_gate", path.to_str().unwrap());
        let gate = Gate::new(path);
        assert!(!had(&gate.enter()));
        assert!(matches!(gate.shared.inner.lock().request, Request::Pending { abandoned: true }));
        child.stdin.take();
        assert_eq!(child.said(), "left");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !had(&gate.enter()) {
            assert!(Instant::now() < deadline);
        }
        assert!(gate.shared.inner.lock().request == Request::Idle);
    }

    #[cfg(unix)]
    #[test]
    fn a_holder_that_is_killed_lets_the_waiting_in() {
        let (_dir, path) = at();
        let mut child = Second::start("db::gate::tests::child_holds_the_gate", path.to_str().unwrap());
        let gate = Gate::new(path);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| had(&gate.enter()));
            while !matches!(gate.shared.inner.lock().request, Request::Pending { .. }) {
                std::thread::yield_now();
            }
            child.kill();
            // True unless killing took longer than the writer's patience.
            let _ = waiting.join().unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !had(&gate.enter()) {
            assert!(Instant::now() < deadline);
        }
    }
}
