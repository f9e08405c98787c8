//! Port Daddy.
mod activity;
mod agents;
mod caller;
mod clock;
mod coordinator;
mod db;
mod error;
mod fault;
mod files;
mod git;
mod glob;
mod harness;
mod identity;
mod ids;
mod life;
mod locks;
mod notes;
mod origin;
mod pattern;
mod salvage;
mod scope;
mod sessions;
mod sys;
mod wait;
mod waiters;
mod wake;

pub use agents::{Agent, AgentFilter, AgentList, AgentState, Registration, Whoami};
pub use caller::{Caller, Face, Named, Source, Surroundings};
pub use clock::{Clock, SystemClock};
pub use coordinator::{Coordinator, Options, ScopeChoice};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use files::{ClaimFiles, ClaimFilter, ClaimList, ClaimedFiles, Conflict, FileClaim, Owner, Ownership};
pub use glob::{FilePattern, LineRange, existing_witness, relative_to, split_lines};
pub use identity::{Identity, IdentityPattern};
pub use ids::{Random, SystemRandom};
pub use life::{Holds, Liveness, Proof, ProofKind, SystemLiveness};
pub use locks::{Lock, LockFilter, LockInfo, LockList, LockOptions, LockWaiter, Tie, Unlock};
pub use notes::{NewNote, Note, NoteFilter, NoteList, WrittenNote};
pub use pattern::ChannelPattern;
pub use scope::{Place, Scope};
pub use sessions::{
    EndSession, NewSession, Session, SessionDetail, SessionFilter, SessionList, SessionStatus, StartedSession,
};
pub use wait::{Cancel, Wait};
