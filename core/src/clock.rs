//! Time as an input. Nothing else in this crate asks the system what time it is.

/// Where the library reads the time. [`SystemClock`] is the real one; tests move their own by hand.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970, for people to read. May jump.
    fn wall_ms(&self) -> i64;
    /// Milliseconds on a clock that never jumps and stops while the machine sleeps. Compared only within one boot.
    fn awake_ms(&self) -> i64;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn wall_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn awake_ms(&self) -> i64 {
        crate::sys::awake_ms()
    }
}
