//! What tests break on purpose. Nothing at all unless built with `--cfg portdaddy_faults`.
//!
//! * `PORT_DADDY_FAULT` names a [`point`] at which the process stops or dies: `NAME=stop`, `NAME=kill`, and with `@N` behind
//!   it only when the point is come by for the Nth time.
//! * `PORT_DADDY_BROKEN` lists the promises, with commas, that this process does not keep ([`broken`]): how a checker
//!   shows that it would notice.
//! * `PORT_DADDY_BOOT` is taken for this boot's id, and `PORT_DADDY_MIGRATION` for one more migration: the machine after its
//!   next start, and the next version of this library.

use std::time::Duration;

/// Waits or dies here if `PORT_DADDY_FAULT` names this point.
#[inline]
pub(crate) fn point(_name: &str) {
    #[cfg(portdaddy_faults)]
    armed(_name);
}

/// Whether `PORT_DADDY_BROKEN` names this.
#[inline]
pub(crate) fn broken(_name: &str) -> bool {
    #[cfg(portdaddy_faults)]
    return is_broken(_name);
    #[cfg(not(portdaddy_faults))]
    false
}

/// The same, and this is one of the fifty times on which it shows.
#[cfg(portdaddy_faults)]
pub(crate) fn now_and_then(name: &str) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TIMES: AtomicU64 = AtomicU64::new(0);
    broken(name) && TIMES.fetch_add(1, Ordering::Relaxed) % 50 == 49
}

/// How often somebody looks whom nothing has told to, as a fallback: never where the promise `tick` is broken, so that a
/// wake which gets lost is missed.
#[inline]
pub(crate) fn tick(every: Duration) -> Duration {
    const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
    if broken("tick") { NEVER } else { every }
}

/// Dawdles now and then where `PORT_DADDY_BROKEN` names `pace`: between two steps whose order matters, so that others come
/// in between.
#[inline]
pub(crate) fn dawdle() {
    #[cfg(portdaddy_faults)]
    if is_broken("pace") {
        use std::hash::{BuildHasher, RandomState};
        let random = RandomState::new().hash_one(0);
        match random % 8 {
            0 => std::thread::sleep(Duration::from_micros(random / 8 % 200)),
            1 | 2 => std::thread::yield_now(),
            _ => {}
        }
    }
}

/// What is taken for this boot's id.
pub(crate) fn boot_id() -> Option<String> {
    #[cfg(portdaddy_faults)]
    return std::env::var("PORT_DADDY_BOOT").ok();
    #[cfg(not(portdaddy_faults))]
    None
}

/// The DDL by which this build is newer than it is.
#[inline]
pub(crate) fn migration() -> Option<&'static str> {
    #[cfg(portdaddy_faults)]
    {
        static DDL: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        DDL.get_or_init(|| std::env::var("PORT_DADDY_MIGRATION").ok()).as_deref()
    }
    #[cfg(not(portdaddy_faults))]
    None
}

#[cfg(portdaddy_faults)]
fn is_broken(name: &str) -> bool {
    static BROKEN: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let list = || std::env::var("PORT_DADDY_BROKEN").unwrap_or_default().split(',').map(str::to_owned).collect();
    BROKEN.get_or_init(list).iter().any(|broken| broken == name)
}

#[cfg(portdaddy_faults)]
fn armed(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static PLAN: std::sync::OnceLock<Option<(String, String, u64)>> = std::sync::OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let plan = std::env::var("PORT_DADDY_FAULT").ok()?;
        let (at, what) = plan.split_once('=')?;
        let (what, nth) = what.split_once('@').unwrap_or((what, "0"));
        Some((at.to_owned(), what.to_owned(), nth.parse().ok()?))
    });
    let Some((at, what, nth)) = plan else { return };
    if at == name && (*nth == 0 || PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth) {
        crate::sys::fault(what);
    }
}
