//! What could not be given back, because the store could not be written: a place in a queue, or a lock.
//!
//! Nobody else can tell that it isn't wanted any more, as long as its handle proves its life: a lock would be handed to
//! one who doesn't wait, and stay there. So it is tried again, in a thread, until it is done or the handle is closed.

use std::sync::Arc;
use std::time::Duration;

use crate::coordinator::Coordinator;
use crate::error::{Error, ErrorKind, Result};

/// Between two tries. Each may wait for SQLite's lock as long as any write.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether what stands in the way may be over soon: a stopped process, a full disk.
fn may_pass(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::StoreBusy | ErrorKind::StoreFull | ErrorKind::StoreReadOnly)
}

/// Gives back now, or later if that is all that can be done; says what became of it now.
pub(super) fn give_back(
    coordinator: &Coordinator,
    f: impl Fn(&Coordinator) -> Result<()> + Send + 'static,
) -> Result<()> {
    let given = f(coordinator);
    if given.as_ref().is_err_and(may_pass) {
        let handle = Arc::downgrade(&coordinator.inner);
        let again = move || {
            loop {
                std::thread::sleep(PAUSE);
                let Some(inner) = handle.upgrade() else { return };
                if !f(&Coordinator { inner }).is_err_and(|e| may_pass(&e)) {
                    return;
                }
            }
        };
        // Without a thread it stays until the handle is closed.
        let _ = std::thread::Builder::new().name("pd-give-back".to_owned()).spawn(again);
    }
    given
}
