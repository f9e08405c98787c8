//! Port Daddy.
mod clock;
#[allow(dead_code, reason = "its callers come with the door to the database")]
mod db;
mod error;
#[allow(dead_code, reason = "its callers come with the concepts")]
mod sys;
#[allow(dead_code, reason = "its callers come with the door to the database")]
mod wake;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
