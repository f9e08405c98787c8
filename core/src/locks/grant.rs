//! The life of a grant: written, handed over, ended. All of it inside the caller's transaction.

use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use crate::activity;
use crate::agents;
use crate::db::{Now, Tx};
use crate::error::{Error, Result};
use crate::life::{self, Liveness, Verdict};
use crate::waiters::{self, Waiter};
use crate::wake::Topic;

/// A row of `locks`.
pub(super) struct Row {
    pub(super) scope: i64,
    pub(super) name: String,
    pub(super) token: i64,
    pub(super) agent: String,
    pub(super) session: Option<String>,
    pub(super) live: Option<String>,
    pub(super) ticket: Option<i64>,
    pub(super) purpose: Option<String>,
    pub(super) since_ms: i64,
    pub(super) expires_awake_ms: Option<i64>,
    pub(super) boot: i64,
}

impl Row {
    pub(super) fn expired(&self, now: Now) -> bool {
        self.expires_awake_ms.is_some_and(|e| self.boot != now.boot || e <= now.awake_ms)
            && !crate::fault::broken("lease")
    }

    /// Whether the lease has ended or what the lock lives by is gone, as far as a read can tell.
    pub(super) fn is_void(&self, conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<bool> {
        Ok(self.expired(now)
            || match &self.live {
                Some(live) => !life::live_held(liveness, live),
                None => matches!(agents::verdict(conn, &self.agent, now, liveness)?, Some(Verdict::Dead { .. })),
            })
    }
}

/// A grant about to be written.
pub(super) struct Grant<'a> {
    pub(super) agent: &'a str,
    pub(super) live: Option<&'a str>,
    pub(super) ticket: Option<i64>,
    pub(super) ttl_ms: Option<i64>,
    pub(super) purpose: Option<&'a str>,
    /// For one who waited: who had it before, and since when it waited.
    pub(super) waited: Option<(Option<&'a str>, i64)>,
}

impl Grant<'_> {
    pub(super) fn insert(&self, tx: &Tx<'_>, scope: i64, name: &str) -> Result<i64> {
        let token = tx.next_token()?;
        tx.prepare_cached(
            "INSERT INTO locks (scope, name, token, agent, session, live, ticket, purpose, since_ms, ttl_ms,
                                expires_awake_ms, boot)
             VALUES (?1, ?2, ?3, ?4,
                     (SELECT id FROM sessions WHERE agent = ?4 AND status = 'active' AND scope = ?1 ORDER BY seq DESC),
                     ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute((
            scope,
            name,
            token,
            self.agent,
            self.live,
            self.ticket,
            self.purpose,
            tx.now.wall_ms,
            self.ttl_ms,
            self.ttl_ms.map(|t| tx.now.awake_ms + t),
            tx.now.boot,
        ))?;
        let detail = match self.waited {
            Some((from, since_ms)) => {
                json!({"token": token, "from": from, "waited_ms": tx.now.wall_ms - since_ms})
            }
            None => json!({"token": token}),
        };
        activity::record_as(tx, Some(self.agent), scope, "lock.grant", name, detail)?;
        Ok(token)
    }
}

/// Gives a free lock to a waiter and wakes it.
pub(super) fn grant_to(tx: &Tx<'_>, waiter: &Waiter, from: Option<&str>) -> Result<()> {
    let agent = waiter.agent.as_deref().ok_or_else(|| Error::internal("a waiter for a lock without an agent"))?;
    let grant = Grant {
        agent,
        live: Some(&waiter.live),
        ticket: Some(waiter.ticket),
        ttl_ms: waiter.ttl_ms,
        purpose: waiter.purpose.as_deref(),
        waited: Some((from, waiter.since_ms)),
    };
    grant.insert(tx, waiter.scope, &waiter.name)?;
    waiters::remove(tx, waiter.ticket)?;
    tx.wake(Topic::ticket(waiter.ticket));
    match waiter.ttl_ms {
        // A lease may end while all who are next are stopped.
        Some(_) => waiters::wake_all_for_lock(tx, waiter.scope, &waiter.name),
        None => wake_first(tx, waiter.scope, &waiter.name),
    }
}

/// Wakes the first in the queue, to look whom it waits for now: it watches for that one's death.
fn wake_first(tx: &Tx<'_>, scope: i64, name: &str) -> Result<()> {
    if let Some(first) = waiters::first_for_lock(tx, scope, name)? {
        tx.wake(Topic::ticket(first.ticket));
    }
    Ok(())
}

/// Ends a grant and hands the lock to the first living waiter.
pub(super) fn hand_over(tx: &Tx<'_>, row: &Row) -> Result<()> {
    tx.prepare_cached("DELETE FROM locks WHERE scope = ?1 AND name = ?2 AND token = ?3")?
        .execute((row.scope, &row.name, row.token))?;
    if let Some(first) = waiters::first_for_lock(tx, row.scope, &row.name)? {
        grant_to(tx, &first, Some(&row.agent))?;
    }
    Ok(())
}

/// Who holds the lock, once what has ended is ended: an expired lease, a lost live file, a dead agent. Each may hand the
/// lock to the next waiter, who may be dead by now too.
pub(super) fn settle(tx: &Tx<'_>, scope: i64, name: &str) -> Result<Option<Row>> {
    while let Some(row) = load(tx, scope, name)? {
        let ended = if row.expired(tx.now) {
            Some("lock.expire")
        } else {
            match &row.live {
                Some(live) => (!life::live_held(tx.liveness(), live)).then_some("lock.orphan"),
                None => {
                    // Burying frees what the agent held, so look again.
                    let lives = agents::check(tx, &row.agent)?;
                    let after = load(tx, scope, name)?;
                    if after.as_ref().is_none_or(|a| a.token != row.token) {
                        continue;
                    }
                    // An agent that is gone already is buried no more; only a lease outlasts it.
                    (!lives && row.expires_awake_ms.is_none()).then_some("lock.orphan")
                }
            }
        };
        let Some(kind) = ended else { return Ok(Some(row)) };
        activity::record_as(tx, Some(&row.agent), scope, kind, name, json!({"token": row.token}))?;
        hand_over(tx, &row)?;
    }
    Ok(None)
}

/// Ends every grant that has ended, and gives every lock that is free to the first who waits for it. What was done.
pub(crate) fn settle_all(tx: &Tx<'_>) -> Result<Vec<String>> {
    let keys = |sql: &str| -> Result<Vec<(i64, String)>> {
        Ok(tx.prepare_cached(sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?)
    };
    let mut done = Vec::new();
    for (scope, name) in
        keys("SELECT scope, name FROM locks UNION SELECT scope, name FROM waiters WHERE kind = 'lock'")?
    {
        let before = load(tx, scope, &name)?;
        let mut after = settle(tx, scope, &name)?;
        if after.is_none()
            && let Some(first) = waiters::first_for_lock(tx, scope, &name)?
        {
            // Nobody should ever wait for what is free; whoever does was forgotten.
            grant_to(tx, &first, None)?;
            after = load(tx, scope, &name)?;
        }
        match (before, after) {
            (Some(before), Some(after)) if before.token == after.token => {}
            (None, None) => {}
            (Some(before), None) => done.push(format!("freed {name}, held by {}", before.agent)),
            (_, Some(after)) => done.push(format!("handed {name} on to {}", after.agent)),
        }
    }
    Ok(done)
}

/// The locks whose holders are gone, and those who wait for what nobody holds: both last only until somebody looks.
pub(crate) fn unsettled(conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<(Vec<String>, Vec<String>)> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM locks ORDER BY scope, name"))?;
    let rows: Vec<Row> = statement.query_map([], row)?.collect::<Result<_, _>>()?;
    let mut void = Vec::new();
    for row in rows {
        if row.is_void(conn, now, liveness)? {
            void.push(format!("{} by {}", row.name, row.agent));
        }
    }
    let mut statement = conn.prepare_cached(
        "SELECT ifnull(agent, 'somebody') || ' for ' || name, live FROM waiters w WHERE kind = 'lock'
            AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.scope = w.scope AND l.name = w.name) ORDER BY ticket",
    )?;
    let waiting: Vec<(String, String)> =
        statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    let forgotten = waiting.into_iter().filter(|(_, live)| life::live_held(liveness, live)).map(|(who, _)| who);
    Ok((void, forgotten.collect()))
}

/// Frees the locks of an agent that was found dead. Those tied to a handle that lives on stay (an orphaned command keeps
/// its lock), and a lease outlives mere silence.
pub(crate) fn free_after_death(tx: &Tx<'_>, agent: &str, proven: bool) -> Result<()> {
    for row in of_agent(tx, agent)? {
        let ends = match &row.live {
            Some(live) => !life::live_held(tx.liveness(), live),
            None => proven || row.expires_awake_ms.is_none() || row.expired(tx.now),
        };
        if ends {
            let detail = json!({"token": row.token});
            activity::record_as(tx, Some(agent), row.scope, "lock.orphan", &row.name, detail)?;
            hand_over(tx, &row)?;
        }
    }
    Ok(())
}

/// Releases what an agent holds from the shell, because it leaves.
pub(crate) fn release_all_of_agent(tx: &Tx<'_>, agent: &str) -> Result<()> {
    of_agent(tx, agent)?.iter().filter(|r| r.live.is_none()).try_for_each(|r| released(tx, r))
}

/// Releases what a handle holds, because it is closed.
pub(crate) fn release_all_of(tx: &Tx<'_>, live: &str) -> Result<()> {
    let mut statement = tx.prepare_cached(&format!("SELECT {COLUMNS} FROM locks WHERE live = ?1"))?;
    let rows: Vec<Row> = statement.query_map([live], row)?.collect::<Result<_, _>>()?;
    rows.iter().try_for_each(|r| released(tx, r))
}

pub(super) fn released(tx: &Tx<'_>, row: &Row) -> Result<()> {
    activity::record_as(tx, Some(&row.agent), row.scope, "lock.release", &row.name, json!({"token": row.token}))?;
    hand_over(tx, row)
}

pub(super) fn of_agent(conn: &Connection, agent: &str) -> Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM locks WHERE agent = ?1"))?;
    Ok(statement.query_map([agent], row)?.collect::<Result<_, _>>()?)
}

pub(super) const COLUMNS: &str =
    "scope, name, token, agent, session, live, ticket, purpose, since_ms, expires_awake_ms, boot";

pub(super) fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        scope: r.get(0)?,
        name: r.get(1)?,
        token: r.get(2)?,
        agent: r.get(3)?,
        session: r.get(4)?,
        live: r.get(5)?,
        ticket: r.get(6)?,
        purpose: r.get(7)?,
        since_ms: r.get(8)?,
        expires_awake_ms: r.get(9)?,
        boot: r.get(10)?,
    })
}

pub(super) fn load(conn: &Connection, scope: i64, name: &str) -> Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM locks WHERE scope = ?1 AND name = ?2");
    Ok(conn.prepare_cached(&sql)?.query_row((scope, name), row).optional()?)
}
