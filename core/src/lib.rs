//! Port Daddy.
mod clock;
mod error;
pub mod identity;
pub mod pattern;
pub mod scope;
mod sys;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
