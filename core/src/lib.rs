//! Port Daddy.
mod activity;
mod agents;
mod caller;
mod clock;
mod coordinator;
mod db;
mod error;
mod fault;
mod git;
mod glob;
mod identity;
mod ids;
mod life;
mod locks;
mod pattern;
mod scope;
mod sys;
mod wait;
mod waiters;
mod wake;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use glob::{FilePattern, LineRange, existing_witness, relative_to, split_lines};
