//! Ending a blocking call from inside its own thread, as Ctrl-C does.
//!
//! Whoever calls from a language whose signal handlers only set a flag has to look at that flag now and then, in the very
//! thread that sleeps here. So the thread brings a check along, and whatever sleeps in it sleeps in pieces:
//!
//! ```text
//! wait:   sleep to the next moment of asking, or until a signal handler has run;  ask;  sleep on
//! write:  go inside (the door, the writer's turn, the gate, SQLite's lock), waiting no longer than to that moment;
//!         not had by then?  come out again, and give all of it back;  ask;  begin anew
//! ```
//!
//! The check runs with nothing of the library held and outside the door that a fork shuts. It may itself wait for another
//! thread that is about to fork, or call the library; what it calls has no check, but that of an `interruptible` inside.
//! A piece is no tick: nothing is read because of it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How long a thread with a check sleeps without asking it. The promise is that Ctrl-C ends any wait within 100 ms, also
/// where no sleep notices that a signal came; the rest is for waking up and cleaning up.
const EVERY: Duration = Duration::from_millis(90);

struct Watch<'a> {
    check: RefCell<&'a mut dyn FnMut() -> bool>,
    /// When to ask next; in the past once it has given up.
    due: Cell<Instant>,
    given_up: Cell<bool>,
}

thread_local! {
    /// The check of what this thread does now. What it points to lives as long as it stands here.
    static CURRENT: Cell<Option<NonNull<Watch<'static>>>> = const { Cell::new(None) };
}

/// Puts back what stood there before, also when what is called in between panics.
struct Installed<'a>(Option<NonNull<Watch<'static>>>, PhantomData<&'a ()>);

impl<'a> Installed<'a> {
    fn new(watch: Option<&'a Watch<'_>>) -> Installed<'a> {
        Installed(CURRENT.replace(watch.map(|watch| NonNull::from(watch).cast())), PhantomData)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `f`, in which blocking calls can be interrupted: while this thread sleeps inside the library, `check` is asked
/// every 90 ms, and at once where a signal handler interrupted the sleep.
///
/// When it answers true, the call ends with `CANCELLED` and leaves nothing behind: no place in a queue, no lock granted
/// to nobody, no transaction. It isn't asked again; whatever else would have to wait in `f` ends likewise, and what needs
/// no wait goes on. What a call must clean up, and the release of a [`Lock`](crate::Lock), wait as long as they must all
/// the same. Not interrupted are single system calls, such as syncing the disk, and other programs that a call runs.
///
/// Of nested ones the inner check counts. Futures that give way ([`Coordinator::lock_async`](crate::Coordinator)) don't
/// sleep here: they end by being dropped.
///
/// `check` is asked with no lock of the library held, and outside of what [`Fork::prepare`](crate::Fork::prepare) waits
/// for. So it may wait for a lock of the program's own, as an interpreter's, though the thread that holds that prepares a
/// fork; and it may call the library itself, which then waits without a check. A check that panics has given up; the panic
/// goes on through the call.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use portdaddy_core::{Coordinator, ErrorKind, Options, Wait, interruptible};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let file = dir.path().join("pd").join("port-daddy.db");
/// # let pd = Coordinator::open(Options::default().db(&file).agent("waiter")).unwrap();
/// static INTERRUPTED: AtomicBool = AtomicBool::new(false); // set by a signal handler
/// # INTERRUPTED.store(true, Ordering::SeqCst);
/// let signal = interruptible(
///     || INTERRUPTED.load(Ordering::SeqCst),
///     || pd.wait_for_signal("payments:api", &Wait::default()),
/// );
/// assert_eq!(signal.unwrap_err().kind(), ErrorKind::Cancelled);
/// ```
pub fn interruptible<T>(mut check: impl FnMut() -> bool, f: impl FnOnce() -> T) -> T {
    let watch =
        Watch { check: RefCell::new(&mut check), due: Cell::new(Instant::now() + EVERY), given_up: Cell::new(false) };
    let _installed = Installed::new(Some(&watch));
    f()
}

/// Runs what must be done even so: cleaning up, and giving back.
pub(crate) fn unhindered<T>(f: impl FnOnce() -> T) -> T {
    let _installed = Installed::new(None);
    f()
}

fn with<T>(f: impl FnOnce(&Watch<'_>) -> T) -> Option<T> {
    let watch = CURRENT.get()?;
    // SAFETY: an `Installed` that borrows it put it there, and takes it away before it ends; this thread alone sees it.
    Some(f(unsafe { watch.as_ref() }))
}

/// When this thread has to ask; none without a check. Until then it may sleep, but not longer: then it comes out of
/// whatever it is in, and [`ask`]s.
pub(crate) fn due() -> Option<Instant> {
    with(|watch| watch.due.get())
}

/// A signal handler has interrupted a sleep: whoever has a check asks now. Whether this thread has one.
pub(crate) fn signalled() -> bool {
    with(|watch| watch.due.set(Instant::now())).is_some()
}

/// Asks the check, if there is one. Never to be called inside the door, or with a lock.
///
/// # Errors
/// `CANCELLED` once it has given up.
pub(crate) fn ask() -> Result<()> {
    let given_up = with(|watch| {
        // One that panics has given up, too.
        if !watch.given_up.replace(true) {
            let given_up = unhindered(|| (watch.check.borrow_mut())());
            watch.given_up.set(given_up);
            watch.due.set(Instant::now() + if given_up { Duration::ZERO } else { EVERY });
        }
        watch.given_up.get()
    });
    match given_up {
        Some(true) => Err(Error::new(ErrorKind::Cancelled, "the call was interrupted")),
        _ => Ok(()),
    }
}

/// How long this thread may sleep now, if it wants to sleep for `most`. Asks first where that is due.
///
/// # Errors
/// As [`ask`].
pub(crate) fn pause(most: Duration) -> Result<Duration> {
    if due().is_some_and(|due| due <= Instant::now()) {
        ask()?;
    }
    Ok(due().map_or(most, |due| most.min(due.saturating_duration_since(Instant::now()))))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn only_who_has_a_check_sleeps_in_pieces() {
        assert_eq!((pause(LONG).unwrap(), due(), signalled()), (LONG, None, false));
        ask().unwrap();
        let mut asked = 0;
        let asks = || {
            asked += 1;
            asked > 1
        };
        interruptible(asks, || {
            assert!(pause(LONG).unwrap() <= EVERY, "not asked yet");
            assert_eq!(unhindered(|| pause(LONG).unwrap()), LONG);
            assert!(signalled());
            assert!(pause(LONG).unwrap() <= EVERY);
            signalled();
            assert_eq!(pause(LONG).unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(ask().unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(unhindered(|| pause(LONG).unwrap()), LONG);
        });
        assert_eq!(asked, 2, "not again");
        assert_eq!(pause(LONG).unwrap(), LONG);
    }

    #[test]
    fn the_inner_check_counts_and_a_panic_puts_the_outer_back() {
        let mut outer = 0;
        interruptible(
            || {
                outer += 1;
                assert_eq!(due(), None, "what a check calls has none");
                false
            },
            || {
                interruptible(|| true, || ask().unwrap_err());
                let inside = AssertUnwindSafe(|| interruptible(|| panic!("on purpose"), ask));
                catch_unwind(inside).unwrap_err();
                ask().unwrap();
            },
        );
        assert_eq!((outer, due()), (1, None));
        interruptible(
            || panic!("on purpose"),
            || {
                catch_unwind(ask).unwrap_err();
                ask().unwrap_err();
            },
        );
    }
}
