//! What everybody does, read in one snapshot: for those who look rather than ask.
//!
//! However much there is, a look costs a bounded amount: of each kind so many rows are read, the rest is counted. Overlaps are
//! looked for among the newest claims.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::activity::{self, Activity, ActivityFilter};
use crate::agents::{self, Agent};
use crate::coordinator::Coordinator;
use crate::error::Result;
use crate::files::{self, ClaimOverlap, FileClaim};
use crate::locks::{self, LockInfo};
use crate::notes::{self, Note};
use crate::ports::{self, PortClaim};
use crate::sessions::{self, Session};
use crate::status::{self, Status};
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait, Woken};
use crate::wake::Topic;

/// Rows of each kind where the call doesn't say how many.
const SHOWN: usize = 100;
const MOST_SHOWN: usize = 1_000;

/// What to look at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverviewFilter {
    /// Every scope's, not only the caller's.
    pub all: bool,
    /// At most so many rows of each kind, up to 1,000; without it 100.
    pub limit: Option<usize>,
}

/// What everybody does, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// When it was read, in milliseconds since 1970.
    pub at_ms: i64,
    /// Counts of the whole, whatever the scope.
    pub status: Status,
    /// How many there are of what is listed here, listed or not.
    pub totals: OverviewTotals,
    /// Agents that haven't left: alive ones first, then by their last sign of life.
    pub agents: Vec<Agent>,
    /// The newest active sessions, oldest first.
    pub sessions: Vec<Session>,
    /// Held locks with who waits for them, in the order of their names.
    pub locks: Vec<LockInfo>,
    /// The newest file claims, oldest first.
    pub claims: Vec<FileClaim>,
    /// Claims of different sessions that overlap, the newest last. The newest 5,000 of all claims are compared, and where very
    /// many lie close together not every pair of them.
    pub conflicts: Vec<ClaimOverlap>,
    /// Assigned ports.
    pub ports: Vec<PortClaim>,
    /// The newest of what was done, oldest first. Among very many entries of other scopes, not all are looked at.
    pub activity: Vec<Activity>,
    /// The newest notes, oldest first.
    pub notes: Vec<Note>,
}

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OverviewTotals {
    /// Agents that haven't left.
    pub agents: u64,
    /// Active sessions.
    pub sessions: u64,
    /// Locks held.
    pub locks: u64,
    /// File claims.
    pub claims: u64,
    /// Overlaps of claims that were found.
    pub conflicts: u64,
    /// Ports assigned.
    pub ports: u64,
}

impl Coordinator {
    /// Looks at everything at once. Whoever is found dead by looking is buried, and grants that are void end; nothing else
    /// is written, and who looks doesn't become an agent.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn overview(&self, filter: &OverviewFilter) -> Result<Overview> {
        self.bury_the_dead()?;
        self.end_void_grants()?;
        let limit = filter.limit.unwrap_or(SHOWN).min(MOST_SHOWN);
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let liveness = &*inputs.liveness;
        let mut seen = self.inner.db.read(|conn: &Connection| {
            // A scope in which nothing was ever written has no row, and nothing in it.
            let scope = if filter.all { None } else { Some(self.inner.known_scope_row(conn)?.unwrap_or(0)) };
            let mut totals = OverviewTotals::default();
            let (agents, n) = agents::present(conn, scope, limit, now, liveness)?;
            totals.agents = n;
            let (sessions, n) = sessions::active(conn, scope, limit)?;
            totals.sessions = n;
            let (locks, n) = locks::held(conn, scope, limit, now, liveness)?;
            totals.locks = n;
            let files::Standing { claims, count, overlaps } = files::standing(conn, scope, limit, now, liveness)?;
            (totals.claims, totals.conflicts) = (count, overlaps.len() as u64);
            let (ports, n) = ports::assigned_in(conn, scope, &self.inner.worktree_key(false), limit)?;
            totals.ports = n;
            let newest = ActivityFilter { all: filter.all, limit: Some(limit), ..ActivityFilter::default() };
            Ok(Overview {
                at_ms: now.wall_ms,
                status: status::read(&self.inner, conn, now)?,
                totals,
                agents,
                sessions,
                locks,
                claims,
                conflicts: newest_of(overlaps, limit),
                ports,
                activity: activity::glance(&self.inner, conn, &newest)?,
                notes: notes::newest(conn, scope, limit)?,
            })
        })?;
        seen.ports = ports::look_at(seen.ports);
        Ok(seen)
    }

    /// Calls `f` at once, and again each time that something may have changed since the last call began, until it returns
    /// false or the time runs out. Costs next to nothing while nothing changes. `f` may call this library.
    ///
    /// # Errors
    /// `CANCELLED`, `CLOSED`, `STORE_*`, and whatever `f` fails with.
    pub fn follow_changes(&self, wait: &Wait, mut f: impl FnMut() -> Result<bool>) -> Result<()> {
        // What is done wakes one of these; signs of life and waits that end are found at a tick.
        let topics = vec![Topic::of(&["activity"]), notes::topic()];
        let mut waiting = self.waiting(Sleeping::Thread, topics, wait)?;
        while f()? {
            if at_once(waiting.sleep(None))? == Woken::TimedOut {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn newest_of<T>(mut all: Vec<T>, limit: usize) -> Vec<T> {
    all.drain(..all.len().saturating_sub(limit));
    all
}
