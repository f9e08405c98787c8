//! Whose a channel is, and what that one is doing: gone, or waiting in its turn.
//!
//! A channel belongs to the agent whose id or identity its first segments are. Where exactly one living agent fits, a wait
//! for the channel is a wait for that agent, and a chain of such waits that leads back to its beginning is a deadlock.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;

use crate::agents::{self, Names};
use crate::coordinator::Coordinator;
use crate::db::{Now, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::life::{self, Liveness, Verdict};
use crate::pattern::ChannelPattern;
use crate::sys::watch::DeathWatch;
use crate::waiters::{self, Kind, Waiter};
use crate::wake::Topic;

/// Watches what proves the life of some agents, and wakes their words when it ends.
pub(super) fn watch(
    coordinator: &Coordinator,
    conn: &Connection,
    agents: &[String],
    now: Now,
) -> Result<Option<DeathWatch>> {
    let inner = &coordinator.inner;
    let mut subjects = Vec::new();
    for agent in agents {
        subjects.extend(inner.subjects(life::proofs(conn, agent, now.boot)?));
    }
    if subjects.is_empty() {
        return Ok(None);
    }
    let topics: Vec<Topic> = agents.iter().map(|a| Topic::of(&["agent", a])).collect();
    let weak = Arc::downgrade(inner);
    Ok(Some(DeathWatch::start(
        subjects,
        Box::new(move || {
            if let Some(inner) = weak.upgrade() {
                topics.iter().for_each(|topic| inner.db.wakes().wake(*topic));
            }
        }),
    )))
}

/// Why nothing more is to be expected of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Dead,
    /// Dead, and nobody has said so yet.
    Unburied,
    Left,
    Done,
}

pub(super) fn why_gone(conn: &Connection, agent: &str, now: Now, liveness: &dyn Liveness) -> Result<Option<Gone>> {
    match agents::verdict(conn, agent, now, liveness)? {
        Some(Verdict::Dead { .. }) => Ok(Some(Gone::Unburied)),
        Some(Verdict::Alive { .. }) => {
            let (active, any): (bool, bool) = conn
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM sessions WHERE agent = ?1 AND status = 'active'),
                            EXISTS (SELECT 1 FROM sessions WHERE agent = ?1)",
                )?
                .query_row([agent], |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok((any && !active).then_some(Gone::Done))
        }
        None => {
            let state: String =
                conn.prepare_cached("SELECT state FROM agents WHERE id = ?1")?.query_row([agent], |r| r.get(0))?;
            Ok(Some(if state == "left" { Gone::Left } else { Gone::Dead }))
        }
    }
}

/// What the owner of every matching channel is called: its leading segments, as far as the pattern fixes them.
pub(super) fn owner_names(pattern: &ChannelPattern) -> Vec<&str> {
    let text = pattern.as_str();
    let fixed = pattern.literal_prefix();
    let mut names: Vec<&str> = fixed.match_indices(':').map(|(at, _)| &text[..at]).collect();
    if pattern.is_exact() {
        names.push(text);
    }
    names.retain(|n| !n.is_empty());
    names
}

/// The agents of a scope that channels could belong to by their name, newest sign of life first.
pub(super) fn candidates(conn: &Connection, scope: i64, pattern: &ChannelPattern) -> Result<Vec<String>> {
    let mut statement = conn.prepare_cached(CANDIDATES)?;
    let mut found: Vec<(i64, String)> = Vec::new();
    for name in owner_names(pattern) {
        let rows = statement.query_map((name, scope), |r| Ok((r.get(0)?, r.get(1)?)))?;
        for row in rows {
            let row = row?;
            if !found.contains(&row) {
                found.push(row);
            }
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

pub(super) const CANDIDATES: &str = "SELECT a.seen_ms, a.id FROM agents a WHERE (a.id = ?1 OR a.identity = ?1)
    AND (a.scope = ?2 OR EXISTS (SELECT 1 FROM waiters w WHERE w.agent = a.id AND w.scope = ?2)
                      OR EXISTS (SELECT 1 FROM sessions x WHERE x.agent = a.id AND x.status = 'active' AND x.scope = ?2))";

/// The one living agent that a pattern's channels belong to, as `waiter` sees it. Where several could be meant, or it
/// is its own, nothing is certain.
pub(super) fn owner(tx: &Tx<'_>, scope: i64, pattern: &ChannelPattern, waiter: &str) -> Result<Option<String>> {
    let mut living = Vec::new();
    for agent in candidates(tx, scope, pattern)? {
        if agents::check(tx, &agent)? {
            living.push(agent);
        }
    }
    Ok(match living.as_slice() {
        [one] if one != waiter => Some(one.clone()),
        _ => None,
    })
}

/// One agent of a cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    agent: String,
    waits_for: String,
}

pub(super) fn living_channel_waiters(tx: &Tx<'_>, scope: i64) -> Result<Vec<Waiter>> {
    let mut all = waiters::living_of_kind(tx, Kind::Channel)?;
    all.retain(|w| w.scope == scope && w.agent.is_some());
    Ok(all)
}

/// Follows what the owners of the newcomer's channels wait for, and theirs; gives the way back to the newcomer, which
/// is the first step.
pub(super) fn find_cycle(
    tx: &Tx<'_>,
    scope: i64,
    newcomer: &str,
    patterns: &[ChannelPattern],
    waiters: &[&Waiter],
) -> Result<Option<Vec<Step>>> {
    let mut path: Vec<Step> = Vec::new();
    let mut seen = BTreeSet::from([newcomer.to_owned()]);
    // Depth first: (depth, agent, pattern) of every edge still to be followed.
    let mut open: Vec<(usize, String, ChannelPattern)> =
        patterns.iter().rev().map(|p| (0, newcomer.to_owned(), p.clone())).collect();
    while let Some((depth, agent, pattern)) = open.pop() {
        path.truncate(depth);
        let Some(owner) = owner(tx, scope, &pattern, &agent)? else { continue };
        path.push(Step { agent, waits_for: pattern.as_str().to_owned() });
        if owner == newcomer {
            return Ok(Some(path));
        }
        if !seen.insert(owner.clone()) {
            continue;
        }
        for waiter in waiters.iter().rev().filter(|w| w.agent.as_deref() == Some(owner.as_str())) {
            for pattern in ChannelPattern::parse_list(&waiter.name)?.into_iter().rev() {
                open.push((depth + 1, owner.clone(), pattern));
            }
        }
    }
    Ok(None)
}

pub(super) fn deadlock(conn: &Connection, cycle: &[Step]) -> Result<Error> {
    let mut names = Names::default();
    let mut parts = Vec::new();
    for step in cycle.iter().skip(1) {
        parts.push(format!("{} waits for {}", names.of(conn, &step.agent)?, step.waits_for));
    }
    if let Some(own) = cycle.first() {
        parts.push(format!("and {} would wait for {}", names.of(conn, &own.agent)?, own.waits_for));
    }
    let cycle = serde_json::to_value(cycle).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Error::new(ErrorKind::Deadlock, format!("this wait would never end: {}", parts.join(", ")))
        .with("cycle", cycle)
        .hint("publish before you wait, and let agents wait in one order; --patient waits all the same"))
}
