//! Finding the cycle that a wait for a lock would close, before it begins.
//!
//! The edges are those that are certain. A held lock is stuck behind a wait that runs inside it, and an agent's own lock
//! behind a wait of that agent's shell. What can't be known (two threads of one program) makes no edge.

use rusqlite::Connection;
use serde::Serialize;

use super::grant::{Row, load};
use crate::agents::Names;
use crate::db::Tx;
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::waiters::{self, Kind};

/// One who is about to wait.
pub(super) struct Newcomer<'a> {
    pub(super) agent: &'a str,
    pub(super) alone: bool,
    pub(super) chain: &'a [i64],
    pub(super) name: &'a str,
}

impl Newcomer<'_> {
    /// Whether the newcomer's wait holds this lock up.
    fn holds_up(&self, lock: &Row) -> bool {
        self.chain.contains(&lock.token) || (self.alone && lock.live.is_none() && lock.agent == self.agent)
    }
}

/// One step of a cycle: an agent that holds a lock and waits for the next.
#[derive(Serialize)]
pub(super) struct Step {
    agent: String,
    holds: String,
    waits_for: String,
}

/// Follows who waits behind the lock that the newcomer wants, and finds a way back to the newcomer.
pub(super) fn find_cycle(tx: &Tx<'_>, me: &Newcomer<'_>, wanted: &Row) -> Result<Option<Vec<Step>>> {
    if me.holds_up(wanted) {
        let (holds, waits_for) = (wanted.name.clone(), me.name.to_owned());
        return Ok(Some(vec![Step { agent: wanted.agent.clone(), holds, waits_for }]));
    }
    let all = waiters::living_of_kind(tx, Kind::Lock)?;
    let mut seen = vec![wanted.token];
    // Each entry: a held lock, and the steps that lead to it.
    let mut open: Vec<(Row, Vec<usize>)> = Vec::new();
    let start = load(tx, wanted.scope, &wanted.name)?.ok_or_else(|| Error::internal("a held lock is gone"))?;
    open.push((start, Vec::new()));
    while let Some((lock, path)) = open.pop() {
        for (index, waiter) in all.iter().enumerate() {
            let agents_own = waiter.alone && lock.live.is_none() && waiter.agent.as_deref() == Some(&lock.agent);
            if !agents_own && !waiter.holds.contains(&lock.token) {
                continue;
            }
            // A lease that has ended, or a lock whose handle is gone, is the next one's as soon as somebody looks.
            let held = load(tx, waiter.scope, &waiter.name)?.filter(|next| {
                !next.expired(tx.now) && next.live.as_ref().is_none_or(|live| life::live_held(tx.liveness(), live))
            });
            let Some(next) = held else { continue };
            let mut path = path.clone();
            path.push(index);
            if me.holds_up(&next) {
                let mut holds = wanted.name.clone();
                let mut steps =
                    vec![Step { agent: me.agent.to_owned(), holds: next.name.clone(), waits_for: holds.clone() }];
                for index in path {
                    let waiter = &all[index];
                    let agent = waiter.agent.clone().unwrap_or_default();
                    steps.push(Step { agent, holds, waits_for: waiter.name.clone() });
                    holds = waiter.name.clone();
                }
                return Ok(Some(steps));
            }
            if !seen.contains(&next.token) {
                seen.push(next.token);
                open.push((next, path));
            }
        }
    }
    Ok(None)
}

pub(super) fn deadlock(conn: &Connection, me: &Newcomer<'_>, cycle: &[Step]) -> Result<Error> {
    let mut names = Names::default();
    let text = match cycle {
        [held] if held.agent != me.agent => {
            format!("{} holds {}, and the wait would run under it", names.of(conn, &held.agent)?, held.holds)
        }
        [own] => format!("{} already holds {} and would wait for itself", names.of(conn, &own.agent)?, own.holds),
        [own, others @ ..] => {
            let mut parts = vec![format!(
                "{} holds {} and would wait for {}",
                names.of(conn, &own.agent)?,
                own.holds,
                own.waits_for
            )];
            for step in others {
                let agent = names.of(conn, &step.agent)?;
                parts.push(format!("{agent} holds {} and waits for {}", step.holds, step.waits_for));
            }
            parts.join("; ")
        }
        [] => String::new(),
    };
    let cycle = serde_json::to_value(cycle).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Error::new(ErrorKind::Deadlock, format!("waiting for the lock {:?} would never end: {text}", me.name))
        .with("lock", me.name)
        .with("cycle", cycle)
        .hint("release what you hold first, and take locks in one order everywhere"))
}
