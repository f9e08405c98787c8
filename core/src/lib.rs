//! Port Daddy.
mod caller;
mod clock;
mod error;
mod git;
mod identity;
mod pattern;
mod scope;
mod sys;

pub use caller::{Caller, Face, Named, Source, Surroundings, Variables, no_agent_error, resolve};
pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use git::WorkLeft;
pub use identity::{Identity, IdentityPattern, check_agent_id, check_name, check_note_type, check_text, in_project};
pub use pattern::{ChannelPattern, check_channel};
pub use scope::{Head, Place, Repository, Scope};
