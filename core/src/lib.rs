//! Port Daddy.
mod clock;
mod error;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
