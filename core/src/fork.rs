//! Living through a fork.
//!
//! SQLite's locks belong to a process, and its memory of them goes with a fork to a child that has none of them: using a
//! connection there, or opening the file beside one, loses commits. So before the fork every connection is closed, and
//! afterwards the parent opens its own again; the child leaves behind what it inherited.
//!
//! ```text
//! before:  each handle's door is shut, and what is inside comes out; connections and the gate's files are closed
//!          the locks of the process-wide lists are taken, so that the child finds them whole and free
//! parent:  gives the locks back, opens the connections, opens the doors
//! child:   gives the locks back, closes its descriptors of the parent's live files, forgets the rest
//! ```
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
    /// most as long as one may take. Until the fork is over, calls in other threads wait.
    ///
    /// A handle that is left out, or in which another thread waits by a method that blocks, keeps its connections; the
    /// child then can't open that file (`FORKED`).
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
