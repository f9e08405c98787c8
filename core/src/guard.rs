//! Git commands that destroy what others are at work on, and the snapshots that bring it back.

use serde::Serialize;

use crate::agents::AgentState;
use crate::coordinator::Coordinator;
use crate::error::Result;

/// What a shell command would do to the work of others.
#[derive(Clone, Debug, Serialize)]
pub struct Danger {
    /// The git command, `git reset --hard`.
    pub command: String,
    /// Who else is at work there.
    pub peers: Vec<Peer>,
    /// All that could be lost, as it was before.
    pub snapshot: Option<Snapshot>,
    /// What would happen to whose work and how to bring it back, in at most 600 characters. It quotes what others wrote.
    pub text: String,
}

/// Another agent with a session in the same working tree, or repository.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// Its agent.
    pub agent: String,
    /// The agent's name for people, else its id.
    pub agent_name: String,
    /// The session.
    pub session: String,
    /// What the session is for.
    pub purpose: String,
    /// How the agent is doing.
    pub state: AgentState,
    /// Whether it works in the same working tree.
    pub same_worktree: bool,
}

/// The files of a working tree as they were, tracked and untracked, under a private ref.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The ref, `refs/port-daddy/…`.
    pub name: String,
    /// The commit that it points at.
    pub commit: String,
    /// When it was taken, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Coordinator {
    /// Looks at a shell command before it runs in the handle's directory: what git in it would destroy of others' work.
    /// Takes a snapshot first. None where there is nothing to fear.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn guard(&self, command: &str) -> Result<Option<Danger>> {
        let _ = command;
        Ok(None)
    }

    /// Looks at what a shell command that has run left behind: whose a new stash entry is.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn guarded(&self, command: &str) -> Result<()> {
        let _ = command;
        Ok(())
    }
}
