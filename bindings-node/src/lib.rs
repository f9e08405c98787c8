//! The addon of the npm package `port-daddy`. It reads arguments, calls the library and writes results; what users see
//! is the typed layer in `js/`.
//!
//! One `Client` is one handle with one thread, on which its calls begin in the order in which they were made. Calls that
//! wait go on on the process's waiting thread. The JavaScript thread only copies texts in and out, and never blocks,
//! but in `exit`.

mod activity;
mod agents;
mod backup;
mod call;
mod client;
mod error;
mod files;
mod inbox;
mod locks;
mod messages;
mod notes;
mod ports;
mod salvage;
mod sessions;
mod settle;
mod status;
mod stream;
mod types;

use napi_derive::napi;
use portdaddy_core::ErrorKind;

use client::Operation;

/// Every concept's operations.
const OPERATIONS: &[&[Operation]] = &[
    agents::OPERATIONS,
    sessions::OPERATIONS,
    notes::OPERATIONS,
    files::OPERATIONS,
    messages::OPERATIONS,
    inbox::OPERATIONS,
    locks::OPERATIONS,
    ports::OPERATIONS,
    salvage::OPERATIONS,
    activity::OPERATIONS,
    status::OPERATIONS,
    backup::OPERATIONS,
    stream::OPERATIONS,
    client::OPERATIONS,
];

/// The names of all operations.
#[napi]
pub fn operations() -> Vec<&'static str> {
    OPERATIONS.iter().copied().flatten().map(|operation| operation.name).collect()
}

/// Every error code.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// The version of the library.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the typed layer makes of others, or keeps to itself.
    const OF_THE_LAYER: [&str; 3] = ["new PortDaddy", "takeNotices", "withLock"];
    const WITHIN_ITS_OBJECTS: [&str; 3] = ["next", "endStream", "releaseLock"];

    #[test]
    fn operations_are_those_of_the_parity_table() {
        let table = include_str!("../../docs/parity.md");
        let javascript = table.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(4));
        let listed: BTreeSet<&str> = javascript.filter_map(|cell| cell.split('`').nth(1)).collect();
        let mut ours: BTreeSet<&str> = operations().into_iter().collect();
        assert_eq!(ours.len(), operations().len(), "a name stands twice");
        for name in WITHIN_ITS_OBJECTS {
            assert!(ours.remove(name), "{name}");
        }
        ours.extend(OF_THE_LAYER);
        assert_eq!(ours, listed);
    }

    #[test]
    fn codes_are_those_of_the_library() {
        assert_eq!(error_codes().len(), ErrorKind::ALL.len());
        assert!(error_codes().contains(&"LOCK_HELD"));
    }
}
