//! Living through a fork.
//!
//! SQLite's locks belong to a process, and its memory of them goes with a fork to a child that has none of them: using a
//! connection there, or opening the file beside one, loses commits. So before the fork every connection is closed, and
//! afterwards the parent opens its own again; the child leaves behind what it inherited. A thread that waits in a blocking
//! method sleeps outside the door, and has no connection meanwhile: it gets another when it reads again.
//!
//! ```text
//! before:  each handle's door is shut, and what is inside comes out; connections and the gate's files are closed
//!          the locks of the process-wide lists are taken, so that the child finds them whole and free
//! parent:  gives the locks back, opens the connections, opens the doors
//! child:   gives the locks back, closes its descriptors of the parent's live files, forgets the rest
//! ```
//!
//! Any other lock may have been another thread's at the fork, which will never give it back in the child. So whatever was
//! made by another process says `FORKED` when it is used, and does nothing when it is dropped, before it takes a lock.
//!
//! The parent's proof of life, locks and waits go on. Of the threads only the forking one is in the child: waiting and
//! watching begin there anew when they are needed.

use crate::coordinator::{self, Coordinator};
use crate::error::Result;
use crate::sync::MutexGuard;
use crate::sys::watch;
use crate::wake::reactor;

/// A process that is about to fork, or just has; see [`Fork::prepare`].
///
/// Dropped without either, it goes on as [`in_parent`](Self::in_parent) does, so that nothing stays shut.
#[must_use = "the handles are shut until in_parent or in_child is called"]
pub struct Fork {
    handles: Vec<Coordinator>,
    lists: Option<Lists>,
    pid: u32,
}

/// The process-wide lists, locked.
struct Lists {
    _open: MutexGuard<'static, crate::db::OpenHere>,
    _ours: MutexGuard<'static, coordinator::Ours>,
    _waits: MutexGuard<'static, reactor::Reactors>,
    _watches: MutexGuard<'static, watch::State>,
}

impl std::fmt::Debug for Fork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fork").field("handles", &self.handles).finish_non_exhaustive()
    }
}

impl Fork {
    /// Makes these handles ready for a fork: all that the process has open. Waits for the calls that are under way, at
    /// most as long as one may take, but not for those that only wait. Until the fork is over, calls in other threads wait.
    ///
    /// A handle that is left out keeps its connections; the child then can't open that file (`FORKED`).
    ///
    /// It waits for no check of [`interruptible`](crate::interruptible): a thread comes out of its call to ask. So the
    /// caller may have a lock that checks take, such as an interpreter's; but then everyone else stands still meanwhile,
    /// so it is better let go of. From here to [`in_parent`](Self::in_parent) nobody may make a call, or drop a guard,
    /// with a lock that the forking thread takes: he waits for the fork.
    pub fn prepare(handles: Vec<Coordinator>) -> Fork {
        for handle in &handles {
            handle.inner.db.suspend();
        }
        let lists = Lists {
            _open: crate::db::OPEN_HERE.lock(),
            _ours: coordinator::OURS.lock(),
            _waits: reactor::ALL.lock(),
            _watches: watch::STATE.lock(),
        };
        Fork { handles, lists: Some(lists), pid: std::process::id() }
    }

    /// Goes on in the process that forked, also where the fork failed.
    ///
    /// # Errors
    /// `STORE_*` where a file can't be opened again: that handle is closed then; the others go on.
    pub fn in_parent(mut self) -> Result<()> {
        self.resume()
    }

    fn resume(&mut self) -> Result<()> {
        self.lists = None;
        let handles = std::mem::take(&mut self.handles);
        let resumed: Vec<Result<()>> = handles.iter().map(|handle| handle.inner.db.resume()).collect();
        resumed.into_iter().collect()
    }

    /// Leaves the parent's handles behind, in the child. Every clone of theirs fails with `FORKED`; open new ones.
    pub fn in_child(mut self) {
        self.leave();
    }

    fn leave(&mut self) {
        self.lists = None;
        for handle in std::mem::take(&mut self.handles) {
            handle.inner.leave_proof();
            // Dropping anything else would close or free what is the parent's.
            std::mem::forget(handle);
        }
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // A handle that can't be opened again is closed: its next call says so.
            let _ = self.resume();
        } else {
            self.leave();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::coordinator::{Options, ScopeChoice};
    use crate::locks::LockOptions;
    use crate::subscription::Subscribe;
    use crate::tasks::Worker;
    use crate::wait::{Cancel, Wait};

    #[test]
    fn a_child_takes_none_of_the_locks_that_it_inherits() {
        let dir = tempfile::tempdir().unwrap();
        // None is given to `prepare`, so that nothing but their own drops is at work in the child.
        let open = |agent: &str| {
            let options = Options::default().db(dir.path().join(agent)).agent(agent).scope(ScopeChoice::Global);
            Coordinator::open(options).unwrap()
        };
        let (pd, left_out, worker, cancel) = (open("a"), open("b"), Worker::start("test").unwrap(), Cancel::new());
        let lock = pd.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap();
        let mut subscription = pd.subscribe(&Subscribe { patterns: "c".into(), ..Subscribe::default() }).unwrap();
        assert!(subscription.next(&Wait::at_most(Duration::from_nanos(1))).unwrap().is_none());
        // Waits, and goes on in the child: its turn in the queue, its nap and its task are dropped there.
        let (waiter, options) = (pd.clone(), LockOptions::default());
        let mut waiting = Box::pin(async move { waiter.lock_async("m", &options).await });
        let waker = std::task::Waker::noop();
        assert!(waiting.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());

        let fork = Fork::prepare(vec![]);
        // As another thread would have them. The forking one is all that there is in the child: it takes them in vain.
        let (inners, of_cancel) = ([pd.inner.clone(), left_out.inner.clone()], cancel.clone());
        let reader = inners[1].db.reader();
        reader.data_version().unwrap();
        let held = inners.each_ref().map(|inner| (inner.db.hold_all(), inner.hold_all()));
        let more = (worker.hold_all(), of_cancel.hold_all());
        let last = std::sync::Arc::as_ptr(&inners[1]).cast_mut();
        // SAFETY: the child runs Rust code that allocates, which glibc allows after a fork, and ends at once.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends this child if it hangs.
            unsafe { libc::alarm(30) };
            fork.in_child();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                cancel.cancel();
                worker.spawn(async {});
                assert!(pd.take_notices().is_empty() && pd.inner.own_proof().is_none());
                pd.spawn_waiting(async {});
                assert!(pd.lock("n", &LockOptions::default()).is_err());
                assert!(waiting.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready());
                drop((lock, subscription, cancel, reader));
                pd.close();
                drop((pd, left_out));
                // SAFETY: as the last clones would; nothing of them is used any more, and the process ends.
                unsafe {
                    std::ptr::drop_in_place(last);
                    drop(std::ptr::read(&raw const worker));
                }
            }));
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        let mut status = 0;
        // SAFETY: waits for the child.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status}");
        drop((held, more));
        fork.in_parent().unwrap();
        drop(waiting);
        lock.release().unwrap();
        worker.stop();
    }
}
