//! Port Daddy.
pub mod caller;
mod clock;
mod error;
mod git;
pub mod identity;
pub mod pattern;
pub mod scope;
mod sys;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
