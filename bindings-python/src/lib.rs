//! The native module of the Python package `port_daddy`. It reads arguments, calls the library and builds results; what
//! users see is the package in `python/port_daddy`.
//!
//! Whatever may wait runs without the GIL, BEGIN and COMMIT included.

mod activity;
mod agents;
mod aio;
mod args;
mod backup;
mod client;
mod error;
mod files;
mod guard;
mod inbox;
mod lifecycle;
mod locks;
mod messages;
mod notes;
mod ports;
mod salvage;
mod sessions;
mod status;
mod stream;
mod types;

use pyo3::prelude::*;

// Builds without the GIL are not declared: they were not tested.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use crate::aio::{Call, Mailbox, Pending};
    #[pymodule_export]
    use crate::args::_seconds;
    #[pymodule_export]
    use crate::client::{AsyncClient, Client};
    #[pymodule_export]
    use crate::error::{_error_codes, _error_of, _ready};
    #[pymodule_export]
    use crate::guard::{Guard, GuardBlock};
    #[pymodule_export]
    use crate::lifecycle::{_after_fork_in_child, _after_fork_in_parent, _before_fork, _end_all, _main_thread};
    #[pymodule_export]
    use crate::status::{_doctor, _version};
    #[pymodule_export]
    use crate::stream::{AsyncStream, Stream};
}
