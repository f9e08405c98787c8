//! Port Daddy.
mod clock;
mod error;
mod glob;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use glob::{FilePattern, LineRange, existing_witness, relative_to, split_lines};
