//! Tests of the public API, on real files and with real processes.

mod signals;
