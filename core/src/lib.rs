//! Port Daddy.
mod clock;
mod error;
pub mod identity;
pub mod pattern;
mod sys;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
