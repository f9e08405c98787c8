//! The library through its public face: real files, real processes.
#![allow(missing_docs, reason = "tests")]

mod activity;
mod children;
mod ports;
mod salvage;
