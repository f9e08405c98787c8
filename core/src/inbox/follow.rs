//! Waiting for messages to oneself.
//!
//! ```text
//! follower:  sample;  read;  nothing? be recorded (one commit), sleep;  woken: sample, gone? read …
//! last:      be recorded no more (one commit);  read
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use super::{BATCH, DirectMessage, MOST_UNSHOWN, topic, unshown};
use crate::agents;
use crate::coordinator::Coordinator;
use crate::db::Durability;
use crate::error::Result;
use crate::interrupt;
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait, Woken};
use crate::waiters::{self, Kind, NewWaiter};
use crate::wake::Topic;

impl Coordinator {
    /// Gives the caller's messages that were not shown yet, then each new one as it is sent, until `each` returns false or
    /// the time runs out. None is marked as shown: that is for [`inbox_shown`](Self::inbox_shown), which `each` may call.
    /// Meanwhile those who send learn that the caller is woken.
    ///
    /// # Errors
    /// `NO_AGENT`, `CANCELLED`, `STORE_*`; whatever `each` fails with.
    pub fn follow_inbox(&self, wait: &Wait, mut each: impl FnMut(DirectMessage) -> Result<bool>) -> Result<()> {
        let mut follower = self.follow_inbox_from()?;
        let deadline = wait.deadline();
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let next = follower.next(&Wait { timeout: left, cancel: wait.cancel.clone() })?;
            let Some(message) = next else { break };
            if !each(message)? {
                break;
            }
        }
        follower.close()
    }

    /// Begins to follow the caller's messages: those that were not shown yet, then each new one.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn follow_inbox_from(&self) -> Result<InboxFollower> {
        let me = self.recipient()?.to_owned();
        self.inner.check_open()?;
        Ok(InboxFollower { coordinator: self.clone(), me, batch: VecDeque::new(), seq: 0, ticket: None })
    }
}

/// A stream of the messages to one agent. Ends when it is closed or dropped.
pub struct InboxFollower {
    coordinator: Coordinator,
    me: String,
    batch: VecDeque<DirectMessage>,
    /// Everything up to here was read.
    seq: i64,
    /// Its row among those who wait, from its first sleep on.
    ticket: Option<i64>,
}

impl fmt::Debug for InboxFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxFollower").field("agent", &self.me).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl InboxFollower {
    /// The next message; none when the time runs out first.
    ///
    /// # Errors
    /// `OWNER_GONE` where the agent has left or died while it was waited for it; `CANCELLED`, `CLOSED`, `STORE_*`.
    pub fn next(&mut self, wait: &Wait) -> Result<Option<DirectMessage>> {
        at_once(self.receive(Sleeping::Thread, wait))
    }

    /// As [`next`](Self::next), for an event loop: it gives way while it waits.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_async(&mut self, wait: &Wait) -> Result<Option<DirectMessage>> {
        self.receive(Sleeping::Task, wait).await
    }

    /// The next message of those that were read together with the last one; none where more must be read.
    pub fn take_read(&mut self) -> Option<DirectMessage> {
        self.batch.pop_front()
    }

    /// Ends it, and gives all that has come up to that moment and was not given yet: every message whose sender was told
    /// that this one is woken.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn finish(mut self) -> Result<Vec<DirectMessage>> {
        self.unrecord()?;
        let mut rest: Vec<DirectMessage> = self.batch.drain(..).collect();
        rest.extend(self.coordinator.inner.db.read(|conn| unshown(conn, &self.me, self.seq, MOST_UNSHOWN as usize))?);
        Ok(rest)
    }

    /// Ends it.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn close(mut self) -> Result<()> {
        self.unrecord()
    }

    async fn receive(&mut self, sleeping: Sleeping, wait: &Wait) -> Result<Option<DirectMessage>> {
        self.coordinator.inner.db.check_process()?;
        if let Some(message) = self.batch.pop_front() {
            return Ok(Some(message));
        }
        let coordinator = self.coordinator.clone();
        let inner = &coordinator.inner;
        let topics = vec![topic(&self.me), Topic::of(&["agent", &self.me])];
        let mut waiting = coordinator.waiting(sleeping, topics, wait)?;
        loop {
            let now = inner.now()?;
            let (batch, recorded) = waiting.read(|conn| {
                if self.ticket.is_some()
                    && let Some(gone) = agents::gone(conn, &self.me, now, &*inner.db.inputs().liveness)?
                {
                    return Err(gone);
                }
                let recorded = self.ticket.map_or(Ok(false), |ticket| waiters::is_waiting(conn, ticket))?;
                Ok((unshown(conn, &self.me, self.seq, BATCH)?, recorded))
            })?;
            self.seq = batch.last().map_or(self.seq, |last| last.seq);
            self.batch = batch.into();
            if let Some(message) = self.batch.pop_front() {
                return Ok(Some(message));
            }
            // A migration and a restore end all waits.
            if !recorded {
                self.record()?;
            }
            if waiting.sleep(None).await? == Woken::TimedOut {
                return Ok(None);
            }
        }
    }

    fn record(&mut self) -> Result<()> {
        let live = self.coordinator.inner.presence()?;
        let ticket = self.coordinator.act(Durability::Process, |tx, actor| {
            let new = NewWaiter {
                scope: actor.scope,
                kind: Kind::Inbox,
                name: &self.me,
                agent: Some(&self.me),
                live: &live,
                alone: false,
                holds: &[],
                ttl_ms: None,
                purpose: None,
            };
            waiters::add(tx, &new)
        })?;
        self.ticket = Some(ticket);
        Ok(())
    }

    fn unrecord(&mut self) -> Result<()> {
        if let Some(ticket) = self.ticket {
            let remove = || self.coordinator.inner.db.write(Durability::Process, |tx| waiters::remove(tx, ticket));
            interrupt::unhindered(remove)?;
            self.ticket = None;
        }
        Ok(())
    }
}

impl Drop for InboxFollower {
    /// Best effort: a row that stays is removed with the handle's others, or by whoever finds its live file gone.
    fn drop(&mut self) {
        let _ = self.unrecord();
    }
}
