//! Coordination for agents, scripts and people on one machine: ports, locks, file claims, signals, a journal, and
//! salvage of each other's work, in one SQLite file, with no daemon.
//!
//! ```
//! use std::time::Duration;
//! use portdaddy_core::{ClaimPort, Coordinator, LockOptions, NewNote, NewSession, Options, Publish, Wait};
//! use serde_json::json;
//!
//! # fn main() -> portdaddy_core::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let file = dir.path().join("pd").join("port-daddy.db");
//! let backend = Coordinator::open(Options::default().db(&file).agent("backend-builder"))?;
//! let started = backend.start_session(&NewSession {
//!     purpose: "Building the payment API".into(),
//!     files: vec!["src/api/payments/*".into()],
//!     ..NewSession::default()
//! })?;
//! assert!(started.conflicts.is_empty());
//! backend.note(&NewNote { text: "Created POST /api/payments".into(), ..NewNote::default() })?;
//!
//! // Exclusive work: waits its turn, passes a fencing token, releases whatever happens.
//! let token = backend.with_lock("db-migrations", &LockOptions::default(), |token| token)?;
//! assert!(token > 0);
//!
//! // A port nobody else has, today and tomorrow.
//! let port = backend.claim(&ClaimPort { identity: "payments:api".into(), ..ClaimPort::default() })?.port;
//! backend.publish("payments:api", &json!({"status": "ready", "port": port}), &Publish::default())?;
//!
//! // Another agent, usually in another process, that comes late still receives the signal.
//! let tests = Coordinator::open(Options::default().db(&file).agent("test-writer"))?;
//! let signal = tests.wait_for_signal("payments:api", &Wait::at_most(Duration::from_secs(5)))?;
//! assert_eq!(signal["port"], port);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Coordinator`] is a handle on the shared file for one caller. It is `Send`, `Sync` and cheap to clone; every
//! method blocks until it is done (what waits takes a [`Wait`] with a timeout and a [`Cancel`]) and no async runtime is
//! needed or started. [`interruptible`] ends calls from within their own thread, as Ctrl-C does. For event loops, each that
//! waits has a twin ending in `_async`, whose future gives way instead, on any executor or on a [`Worker`]. A [`Lock`]
//! releases on drop; a handle releases all it holds when the last clone is dropped.
//!
//! Errors are one type, [`Error`], with a stable [`ErrorKind`]. Times in results are milliseconds since 1970, in
//! fields that end in `_ms`.

mod activity;
mod agents;
mod around;
mod backup;
mod caller;
mod clock;
mod coordinator;
mod db;
mod doctor;
mod error;
mod fault;
mod files;
mod fork;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod git;
mod glob;
mod guard;
mod harness;
mod identity;
mod ids;
mod inbox;
mod interrupt;
mod life;
mod locks;
mod messages;
mod news;
mod notes;
mod origin;
mod overview;
mod pattern;
mod ports;
mod salvage;
mod scope;
mod seen;
mod sessions;
mod snapshots;
mod status;
mod stream;
mod subscription;
mod sync;
mod sys;
mod tasks;
mod told;
mod wait;
mod waiters;
mod wake;

pub use activity::{Activity, ActivityFilter, ActivityFollower, ActivityList};
pub use agents::{Agent, AgentFilter, AgentList, AgentState, Registration, Whoami};
pub use around::{Arrival, Edit, Other};
pub use backup::{Backup, BackupMade, Restore, Restored, restore};
pub use caller::{Caller, Face, Named, Source, Surroundings};
pub use clock::{Clock, SystemClock};
pub use coordinator::{Coordinator, Options, ScopeChoice};
pub use db::Progress;
pub use doctor::{Check, Examination, doctor, examine};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use files::{
    ClaimFiles, ClaimFilter, ClaimList, ClaimOverlap, ClaimedFiles, Conflict, FileClaim, Owner, Ownership,
};
pub use fork::Fork;
pub use git::{GitHook, WorkLeft};
pub use glob::{FilePattern, LineRange, existing_witness, relative_to, split_lines};
pub use guard::{CommitCheck, Danger, Peer, StagedByOther};
pub use identity::{Identity, IdentityPattern};
pub use ids::{Random, SystemRandom};
pub use inbox::{DirectMessage, DirectMessageFilter, InboxFollower, Reach, Sent};
pub use interrupt::interruptible;
pub use life::{Holds, Liveness, Proof, ProofKind, SystemLiveness};
pub use locks::{Lock, LockFilter, LockInfo, LockList, LockOptions, LockWaiter, OnWait, Tie, Unlock};
pub use messages::{ChannelFilter, ChannelInfo, ChannelList, Message, MessageFilter, Publish, Published, Signal};
pub use news::{Colleague, LeftWork, News, NewsFilter, Overlapped};
pub use notes::{NewNote, Note, NoteFilter, NoteFollower, NoteList, WrittenNote};
pub use overview::{Overview, OverviewFilter, OverviewTotals};
pub use pattern::ChannelPattern;
pub use ports::{ClaimPort, PortClaim, PortListener, Release, ServiceFilter, ServiceList};
pub use salvage::{Briefing, SalvageFilter, SalvageItem, SalvageList, SalvageState};
pub use scope::{Place, Repository, Scope};
pub use seen::Written;
pub use sessions::{
    EndSession, NewSession, Session, SessionDetail, SessionFilter, SessionList, SessionStatus, StartedSession,
};
pub use snapshots::{RestoreFiles, RestoredFiles, Snapshot};
pub use status::{AgentCounts, Status, Waiting};
pub use stream::{Item, Stream, StreamSource};
pub use subscription::{Delivery, Event, Replay, Subscribe, Subscription, Warning, WarningCode};
pub use tasks::Worker;
pub use told::ToTell;
pub use wait::{Cancel, Wait};
