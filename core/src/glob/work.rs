//! Counts the steps of a comparison, so that tests and fuzzing can hold them against a bound. Nothing at all in what ships.

/// So many more steps were taken.
#[inline]
pub(super) fn steps(_count: usize) {
    #[cfg(any(test, fuzzing))]
    TAKEN.set(TAKEN.get() + _count as u64);
}

#[cfg(any(test, fuzzing))]
thread_local! {
    static TAKEN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many steps `f` took in this thread.
#[cfg(any(test, fuzzing))]
pub(crate) fn of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = TAKEN.get();
    let value = f();
    (value, TAKEN.get() - before)
}
