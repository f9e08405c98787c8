//! Messages to one agent: kept until they were shown.

use serde::Serialize;

use crate::coordinator::Coordinator;
use crate::error::Result;

/// A message to one agent.
#[derive(Clone, Debug, Serialize)]
pub struct DirectMessage {
    /// Its place in the order of commits.
    pub seq: i64,
    /// Who sent it, if an agent did.
    pub sender: Option<String>,
    /// The sender's name for people, else its id.
    pub sender_name: Option<String>,
    /// To whom.
    pub recipient: String,
    /// What it says.
    pub text: String,
    /// When it was sent, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Whether and when the recipient will see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It waits for messages at this moment.
    Woken,
    /// Its harness shows it on its next turn.
    NextTurn,
    /// It lives, and sees it if it looks.
    IfItLooks,
    /// It is dead, or has left.
    Nobody,
}

/// A message that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// The message.
    pub message: DirectMessage,
    /// Whether the recipient will see it.
    pub reach: Reach,
}

impl Coordinator {
    /// The caller's messages that were not shown yet, oldest first; at most 100.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn inbox(&self) -> Result<Vec<DirectMessage>> {
        Ok(Vec::new())
    }

    /// Says that the caller's messages up to this place were shown.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn inbox_shown(&self, seq: i64) -> Result<()> {
        let _ = seq;
        Ok(())
    }
}
