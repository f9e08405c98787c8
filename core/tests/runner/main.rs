//! The library through its public face: real files, real processes, one module for each concept.
#![allow(missing_docs, reason = "tests")]

mod activity;
mod agents;
#[cfg(target_os = "linux")]
mod backup;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(all(portdaddy_faults, target_os = "linux"))]
mod faults;
mod files;
#[cfg(target_os = "linux")]
mod fork;
#[cfg(unix)]
mod guard;
mod inbox;
#[cfg(unix)]
mod interrupt;
mod locks;
#[cfg(target_os = "linux")]
mod media;
mod notes;
mod options;
mod overview;
mod ports;
mod resilience;
mod salvage;
mod seen;
mod sessions;
mod signals;
mod store;
mod tasks;
mod versions;
#[cfg(all(portdaddy_faults, target_os = "linux"))]
mod wakes;
