//! The state of the whole.

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::agents;
use crate::coordinator::{Coordinator, Inner};
use crate::db::{Now, beside, last_seq};
use crate::error::Result;
use crate::life::{self, Verdict};

/// What the database holds, whatever the scope.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The database file.
    pub db: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The size of its write-ahead log in bytes.
    pub wal_bytes: u64,
    /// The version of its schema.
    pub schema: i64,
    /// The last place in the order of commits.
    pub seq: i64,
    /// The name of the scope that the caller stands in.
    pub scope: String,
    /// How many agents do how.
    pub agents: AgentCounts,
    /// Active sessions.
    pub sessions: u64,
    /// File claims.
    pub claims: u64,
    /// Locks held.
    pub locks: u64,
    /// Who waits for what, the longest wait first.
    pub waiters: Vec<Waiting>,
    /// Channels with at least one message kept.
    pub channels: u64,
    /// Messages kept.
    pub messages: u64,
    /// Ports assigned.
    pub ports: u64,
    /// Dead agents whose unfinished work nobody has taken.
    pub salvage: u64,
}

/// How many agents do how. Those that said goodbye aren't counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentCounts {
    /// Alive and heard of lately.
    pub active: u64,
    /// Alive as far as can be told, but silent for long.
    pub stale: u64,
    /// Dead.
    pub dead: u64,
}

/// Someone who waits.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// The agent, if the waiting call has one.
    pub agent: Option<String>,
    /// What for: `lock`, `channel` or `inbox`.
    pub kind: String,
    /// The lock, the channel patterns that haven't delivered yet, or the agent whose messages.
    pub name: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// The name of the scope.
    pub scope: String,
}

impl Coordinator {
    /// Counts what the database holds, in all scopes. Whoever is found dead by looking is buried.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn status(&self) -> Result<Status> {
        self.bury_the_dead()?;
        let now = self.inner.now()?;
        self.inner.db.read(|conn| read(&self.inner, conn, now))
    }
}

/// The counts in a snapshot.
pub(crate) fn read(inner: &Inner, conn: &Connection, now: Now) -> Result<Status> {
    let inputs = inner.db.inputs();
    let path = inner.db.path();
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let mut counts = AgentCounts::default();
    let states: Vec<(String, bool)> = conn
        .prepare_cached("SELECT id, state = 'dead' FROM agents WHERE state <> 'left'")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, dead) in states {
        let verdict = if dead { None } else { agents::verdict(conn, &id, now, &*inputs.liveness)? };
        match verdict {
            Some(Verdict::Alive { stale: false }) => counts.active += 1,
            Some(Verdict::Alive { stale: true }) => counts.stale += 1,
            _ => counts.dead += 1,
        }
    }
    let mut waiters = Vec::new();
    for (waiting, live) in waiting(conn)? {
        if life::live_held(&*inputs.liveness, &live) {
            waiters.push(waiting);
        }
    }
    Ok(Status {
        db: path.display().to_string(),
        size_bytes: size(path),
        wal_bytes: size(&beside(path, "-wal")),
        schema: conn.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?,
        seq: last_seq(conn)?,
        scope: inner.scope.name.clone(),
        agents: counts,
        sessions: count(conn, "SELECT count(*) FROM sessions WHERE status = 'active'")?,
        claims: count(conn, "SELECT count(*) FROM claims")?,
        locks: count(conn, "SELECT count(*) FROM locks")?,
        waiters,
        channels: count(conn, "SELECT count(*) FROM channels WHERE count > 0")?,
        messages: count(conn, "SELECT coalesce(sum(count), 0) FROM channels")?,
        ports: count(conn, "SELECT count(*) FROM ports")?,
        salvage: count(
            conn,
            "SELECT count(*) FROM salvages v WHERE state = 'open'
               AND EXISTS (SELECT 1 FROM sessions s WHERE s.agent = v.agent AND s.status = 'active')",
        )?,
    })
}

fn waiting(conn: &Connection) -> Result<Vec<(Waiting, String)>> {
    Ok(conn
        .prepare_cached(
            "SELECT w.agent, w.kind, w.name, w.since_ms, s.name, w.live
             FROM waiters w JOIN scopes s ON s.id = w.scope ORDER BY w.ticket",
        )?
        .query_map([], |r| {
            let waiting =
                Waiting { agent: r.get(0)?, kind: r.get(1)?, name: r.get(2)?, since_ms: r.get(3)?, scope: r.get(4)? };
            Ok((waiting, r.get(5)?))
        })?
        .collect::<Result<_, _>>()?)
}

fn count(conn: &Connection, sql: &str) -> Result<u64> {
    Ok(conn.prepare_cached(sql)?.query_row([], |r| r.get::<_, i64>(0))?.cast_unsigned())
}
