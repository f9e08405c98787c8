//! The activity log: what was done, by whom, to what, in the order of commits.
//!
//! An entry is written in the transaction that did the thing, so the log and the state can't differ. The newest
//! 100,000 are kept; older ones are pruned now and then by whoever writes, a bounded number at a time.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agents::{Actor, Names, ScopeNames};
use crate::coordinator::{Coordinator, Inner};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::identity::check_agent_id;
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait, Woken};
use crate::wake::Topic;

const KEPT: i64 = 100_000;
/// The log is looked over once in so many places of the order of commits.
const PRUNED_EVERY: i64 = 64;
/// Twice what can have come since the last look, so that a backlog shrinks.
const PRUNED_AT_ONCE: i64 = 2 * PRUNED_EVERY;
const LISTED: usize = 50;
const MOST_LISTED: usize = 100_000;
const BATCH: usize = 256;
/// Entries that a glance looks at to find those of its scope.
const GLANCED_AT: usize = 5_000;

/// One thing that was done.
#[derive(Clone, Debug, Serialize)]
pub struct Activity {
    /// Its place in the order of commits.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// By whom, or to whom it happened; none for a call without an agent.
    pub agent: Option<String>,
    /// That agent's name for people, else its id.
    pub agent_name: Option<String>,
    /// What was done: `lock.grant`, `session.start`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it was done to: a lock's name, a session's id.
    pub subject: String,
    /// The particulars, an object; null where there are none.
    pub detail: Value,
    /// The name of the scope.
    pub scope: String,
}

/// Which entries to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivityFilter {
    /// The newest so many; 50 if left out.
    pub limit: Option<usize>,
    /// Only this type, or with a final dot all that begin so: `lock.`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Only what this agent did, or what happened to it.
    pub agent: Option<String>,
    /// Only from this moment on, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Every scope's.
    pub all: bool,
    /// Only what came after this place in the order of commits.
    pub after_seq: Option<i64>,
}

/// The entries of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct ActivityList {
    /// Oldest first.
    pub entries: Vec<Activity>,
    /// How many of other scopes, as new as those listed, were left out.
    pub elsewhere: u64,
}

impl Coordinator {
    /// Lists what was done, the newest entries, oldest first.
    ///
    /// # Errors
    /// `INVALID` for a filter that can't match anything, `STORE_*`.
    pub fn activity(&self, filter: &ActivityFilter) -> Result<ActivityList> {
        filter.check()?;
        self.inner.db.read(|conn| list(&self.inner, conn, filter))
    }

    /// Gives each entry to `f` in order, first the newest ones as [`activity`](Self::activity) lists them (with
    /// `after_seq` all that came after it), then each new one once it is committed, until `f` returns false or the
    /// time runs out. `f` may call this library.
    ///
    /// # Errors
    /// `INVALID`, `CANCELLED`, `STORE_*`, and whatever `f` fails with.
    pub fn follow_activity(
        &self,
        filter: &ActivityFilter,
        wait: &Wait,
        mut f: impl FnMut(Activity) -> Result<bool>,
    ) -> Result<()> {
        let mut follower = self.follow_activity_from(filter)?;
        let deadline = wait.deadline();
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let next = follower.next(&Wait { timeout: left, cancel: wait.cancel.clone() })?;
            let Some(entry) = next else { return Ok(()) };
            if !f(entry)? {
                return Ok(());
            }
        }
    }

    /// Begins to follow what is done: the entries that [`activity`](Self::activity) would list, then each new one.
    ///
    /// # Errors
    /// As [`activity`](Self::activity).
    pub fn follow_activity_from(&self, filter: &ActivityFilter) -> Result<ActivityFollower> {
        filter.check()?;
        self.inner.db.read(|conn| {
            let (batch, after) = match filter.after_seq {
                Some(seq) => (Vec::new(), seq),
                None => (list(&self.inner, conn, filter)?.entries, crate::db::last_seq(conn)?),
            };
            Ok(ActivityFollower { coordinator: self.clone(), filter: filter.clone(), batch: batch.into(), after })
        })
    }
}

/// A stream of what is done.
pub struct ActivityFollower {
    coordinator: Coordinator,
    filter: ActivityFilter,
    batch: VecDeque<Activity>,
    /// Everything up to here was read.
    after: i64,
}

impl fmt::Debug for ActivityFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActivityFollower").field("after", &self.after).finish_non_exhaustive()
    }
}

impl ActivityFollower {
    /// The next entry; none when the time runs out first.
    ///
    /// # Errors
    /// `CANCELLED`, `CLOSED`, `STORE_*`.
    pub fn next(&mut self, wait: &Wait) -> Result<Option<Activity>> {
        at_once(self.receive(Sleeping::Thread, wait))
    }

    /// As [`next`](Self::next), for an event loop: it gives way while it waits.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_async(&mut self, wait: &Wait) -> Result<Option<Activity>> {
        self.receive(Sleeping::Task, wait).await
    }

    /// The next entry of those that were read together with the last one; none where more must be read.
    pub fn take_read(&mut self) -> Option<Activity> {
        self.batch.pop_front()
    }

    async fn receive(&mut self, sleeping: Sleeping, wait: &Wait) -> Result<Option<Activity>> {
        self.coordinator.inner.db.check_process()?;
        if let Some(entry) = self.batch.pop_front() {
            return Ok(Some(entry));
        }
        let coordinator = self.coordinator.clone();
        let mut waiting = coordinator.waiting(sleeping, vec![Topic::of(&["activity"])], wait)?;
        loop {
            let (batch, seen) = waiting.read(|conn| next(&coordinator.inner, conn, &self.filter, self.after))?;
            let more = batch.len() == BATCH;
            (self.batch, self.after) = (batch.into(), seen);
            if let Some(entry) = self.batch.pop_front() {
                return Ok(Some(entry));
            }
            if !more && waiting.sleep(None).await? == Woken::TimedOut {
                return Ok(None);
            }
        }
    }
}

impl ActivityFilter {
    fn check(&self) -> Result<()> {
        if let Some(agent) = &self.agent {
            check_agent_id(agent)?;
        }
        if self.kind.as_deref().is_some_and(str::is_empty) {
            return Err(Error::invalid("the type of activity is empty")
                .hint("name one such as lock.grant, or the beginning of several with a final dot: lock."));
        }
        Ok(())
    }

    fn matches(&self, kind: &str) -> bool {
        match self.kind.as_deref() {
            None => true,
            Some(wanted) if wanted.ends_with('.') => kind.starts_with(wanted),
            Some(wanted) => kind == wanted,
        }
    }
}

/// An entry as stored, and its scope's row.
struct Entry {
    activity: Activity,
    scope: i64,
}

const SELECT: &str = "SELECT a.seq, a.at_ms, a.agent, a.type, a.subject, a.detail, a.scope FROM activity a";

fn entry(r: &Row<'_>) -> rusqlite::Result<Entry> {
    let detail: Option<String> = r.get(5)?;
    let activity = Activity {
        seq: r.get(0)?,
        at_ms: r.get(1)?,
        agent: r.get(2)?,
        agent_name: None,
        kind: r.get(3)?,
        subject: r.get(4)?,
        // Written by us as JSON; a row that isn't is shown as it stands rather than hidden.
        detail: detail.map_or(Value::Null, |d| serde_json::from_str(&d).unwrap_or(Value::String(d))),
        scope: String::new(),
    };
    Ok(Entry { activity, scope: r.get(6)? })
}

/// The newest entries, oldest first, if they lie among the newest of all.
pub(crate) fn glance(inner: &Inner, conn: &Connection, filter: &ActivityFilter) -> Result<Vec<Activity>> {
    Ok(list_among(inner, conn, filter, GLANCED_AT)?.entries)
}

fn list(inner: &Inner, conn: &Connection, filter: &ActivityFilter) -> Result<ActivityList> {
    list_among(inner, conn, filter, usize::MAX)
}

fn list_among(inner: &Inner, conn: &Connection, filter: &ActivityFilter, most: usize) -> Result<ActivityList> {
    let limit = filter.limit.unwrap_or(LISTED).min(MOST_LISTED);
    let here = inner.known_scope_row(conn)?;
    let after = filter.after_seq.unwrap_or(0);
    // The order of commits leads, whatever else is asked for: the log is bounded and has no other index.
    let sql = format!("{SELECT} WHERE a.seq > ?1 AND (?2 IS NULL OR a.agent = ?2) ORDER BY a.seq DESC");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((after, &filter.agent))?;
    let mut list = ActivityList { entries: Vec::new(), elsewhere: 0 };
    let mut names = Named::default();
    let mut looked = 0;
    while list.entries.len() < limit
        && looked < most
        && let Some(row) = rows.next()?
    {
        looked += 1;
        if !filter.matches(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)
            || filter.since_ms.is_some_and(|since| row.get::<_, i64>(1).is_ok_and(|at| at < since))
        {
            continue;
        }
        if filter.all || Some(row.get(6)?) == here {
            list.entries.push(names.name(conn, entry(row)?)?);
        } else {
            list.elsewhere += 1;
        }
    }
    list.entries.reverse();
    Ok(list)
}

/// The next entries after `after`, oldest first, and how far was looked.
fn next(inner: &Inner, conn: &Connection, filter: &ActivityFilter, after: i64) -> Result<(Vec<Activity>, i64)> {
    let here = inner.known_scope_row(conn)?;
    let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE a.seq > ?1 ORDER BY a.seq"))?;
    let mut rows = statement.query([after])?;
    let (mut found, mut seen) = (Vec::new(), after);
    let mut names = Named::default();
    while found.len() < BATCH
        && let Some(row) = rows.next()?
    {
        let entry = entry(row)?;
        seen = entry.activity.seq;
        let wanted = (filter.all || Some(entry.scope) == here)
            && filter.matches(&entry.activity.kind)
            && filter.since_ms.is_none_or(|since| entry.activity.at_ms >= since)
            && (filter.agent.is_none() || filter.agent == entry.activity.agent);
        if wanted {
            found.push(names.name(conn, entry)?);
        }
    }
    Ok((found, seen))
}

/// The names of agents and scopes, looked up once each.
#[derive(Default)]
struct Named {
    agents: Names,
    scopes: ScopeNames,
}

impl Named {
    fn name(&mut self, conn: &Connection, entry: Entry) -> Result<Activity> {
        let Entry { mut activity, scope } = entry;
        activity.agent_name = activity.agent.as_deref().map(|id| self.agents.of(conn, id)).transpose()?;
        activity.scope = self.scopes.of(conn, scope)?;
        Ok(activity)
    }
}

/// Records one thing done by the actor.
pub(crate) fn record(tx: &Tx<'_>, actor: &Actor, kind: &str, subject: &str, detail: Value) -> Result<i64> {
    record_as(tx, actor.agent.as_deref(), actor.scope, kind, subject, detail)
}

/// Records one thing done by, or that happened to, an agent.
pub(crate) fn record_as(
    tx: &Tx<'_>,
    agent: Option<&str>,
    scope: i64,
    kind: &str,
    subject: &str,
    detail: Value,
) -> Result<i64> {
    let seq = tx.next_seq()?;
    let detail = if detail.is_null() { None } else { Some(detail.to_string()) };
    prune_if_due(tx, seq, KEPT)?;
    tx.prepare_cached(
        "INSERT INTO activity (seq, at_ms, scope, agent, type, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((seq, tx.now.wall_ms, scope, agent, kind, subject, detail))?;
    tx.logged(seq);
    tx.wake(Topic::of(&["activity"]));
    Ok(seq)
}

/// Deletes what is too old, when the entry at `seq` is the first past a multiple of [`PRUNED_EVERY`].
fn prune_if_due(tx: &Tx<'_>, seq: i64, kept: i64) -> Result<()> {
    let last = tx.end_of_log()?;
    if last == 0 || last / PRUNED_EVERY == seq / PRUNED_EVERY {
        return Ok(());
    }
    prune(tx, last, kept)
}

/// Counts what has come since the last time, up to `last`, the newest entry; and deletes the oldest that are too many.
fn prune(conn: &Connection, last: i64, kept: i64) -> Result<()> {
    let (counted_seq, counted): (i64, i64) = conn
        .prepare_cached("SELECT counted_seq, counted FROM counters")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let new: i64 =
        conn.prepare_cached("SELECT count(*) FROM activity WHERE seq > ?1")?.query_row([counted_seq], |r| r.get(0))?;
    let too_many = counted + new - kept;
    let gone = if too_many > 0 {
        conn.prepare_cached("DELETE FROM activity WHERE seq IN (SELECT seq FROM activity ORDER BY seq LIMIT ?1)")?
            .execute([too_many.min(PRUNED_AT_ONCE)])?
    } else {
        0
    };
    conn.prepare_cached("UPDATE counters SET counted_seq = ?1, counted = ?2")?
        .execute((last, counted + new - gone as i64))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::plan_of;

    #[test]
    fn a_type_is_matched_whole_or_by_its_beginning() {
        let filter = |kind: &str| ActivityFilter { kind: Some(kind.into()), ..Default::default() };
        assert!(filter("lock.grant").matches("lock.grant"));
        assert!(!filter("lock").matches("lock.grant"));
        assert!(filter("lock.").matches("lock.grant"));
        assert!(!filter("lock.").matches("locks"));
        assert!(ActivityFilter::default().matches("anything"));
        assert!(filter("").check().is_err());
    }

    #[test]
    fn pruning_keeps_the_newest_and_is_bounded() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE activity (seq INTEGER PRIMARY KEY);
             CREATE TABLE counters (counted_seq INTEGER, counted INTEGER);
             INSERT INTO counters VALUES (0, 0);
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO activity SELECT 2 * i FROM n;",
        )
        .unwrap();
        let range = || -> (i64, i64) {
            conn.query_row("SELECT count(*), min(seq) FROM activity", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
        };
        let mut left = 5000;
        while left > 1000 {
            prune(&conn, 10_000, 1000).unwrap();
            left = (left - PRUNED_AT_ONCE).max(1000);
            assert_eq!(range(), (left, 2 * (5000 - left) + 2));
        }
        prune(&conn, 10_000, 1000).unwrap();
        assert_eq!(range(), (1000, 8002));
        // Only what has come since is counted, and as much goes.
        conn.execute_batch("INSERT INTO activity VALUES (10001), (10002), (10005)").unwrap();
        prune(&conn, 10_005, 1000).unwrap();
        assert_eq!(range(), (1000, 8008));
        assert_eq!(plan_of(&conn, "SELECT count(*) FROM activity WHERE seq > ?1"), BY_KEY);
    }

    const BY_KEY: &str = "SEARCH activity USING INTEGER PRIMARY KEY (rowid>?)";
}
