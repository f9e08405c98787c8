//! The library through its public face: real files, real processes, one module for each concept.
#![allow(missing_docs, reason = "tests")]

mod activity;
mod agents;
mod files;
mod locks;
mod notes;
mod ports;
mod resilience;
mod salvage;
mod sessions;
mod signals;
mod store;
