//! The four faces of the library, as an actor uses them: each does a call and gives the answer.

mod library;
mod piped;
mod shell;

use std::path::Path;

use crate::history::{Answer, Call, Recorder};

pub(crate) use library::Library;
pub(crate) use piped::Piped;
pub(crate) use shell::Shell;

/// Ports that identities get theirs from: more than there are identities, as an assignment of the dead is given away
/// only when none else is left.
pub(crate) const PORTS: (u16, u16) = (42_000, 42_023);
/// All that is published.
pub(crate) const CHANNELS: &str = "storm:*";
/// Nobody publishes it.
pub(crate) const NEVER: &str = "never:published";
/// How long a lock is waited for: another variable of an actor's environment.
pub(crate) const PATIENCE: &str = "STORM_PATIENCE_MS";
/// How many messages are read at once.
pub(crate) const BATCH: usize = 32;
pub(crate) const SCOPE: &str = "storm";

pub(crate) fn patience_ms() -> u64 {
    std::env::var(PATIENCE).ok().and_then(|ms| ms.parse().ok()).unwrap_or(10_000)
}

/// None: what did it is gone, and nobody knows whether it was done.
pub(crate) trait Face {
    fn perform(&mut self, call: &Call) -> Option<Answer>;

    /// Takes a lock and releases it in one command, if this face has such a thing, and records both.
    fn hold(&mut self, _call: &Call, _recorder: &mut Recorder, _history: &Path, _ms: u64) -> bool {
        false
    }

    /// Leaves in order.
    fn close(&mut self);
}
