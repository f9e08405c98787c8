//! What an agent was told by itself, so that it is told once: and again only where it has changed.
//!
//! Whoever tells marks it as told *after* it has handed the text over. If it is killed in between, the agent is told
//! twice; never not at all.

use rusqlite::{Connection, OptionalExtension as _};

use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::Result;

/// What was told longer ago is forgotten, so many rows at each write.
const KEPT_MS: i64 = 14 * 24 * 3600 * 1000;
const FORGOTTEN_AT_ONCE: i64 = 32;
/// That a hook asks for what is to be told: whoever writes to the agent learns that it will be.
pub(crate) const ASKED: &str = "asked";
/// That of messages to the agent that were too long to show.
pub(crate) const CUT: &str = "cut";

/// The kind of news of a scope's signals; its place is the newest one's.
pub(crate) fn signals(scope: i64) -> String {
    format!("signals {scope}")
}

/// A thing to tell an agent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToTell {
    /// Which thing, the same each time.
    pub(crate) what: String,
    /// How it stands: told again where that has changed.
    pub(crate) digest: String,
    /// Up to which place in the order of commits, for what goes on and on.
    pub(crate) seq: i64,
}

impl ToTell {
    pub(crate) fn new(what: impl Into<String>, digest: impl Into<String>) -> Self {
        Self { what: what.into(), digest: digest.into(), seq: 0 }
    }

    /// All of a kind up to a place.
    pub(crate) fn up_to(what: &str, seq: i64) -> Self {
        Self { what: what.to_owned(), digest: String::new(), seq }
    }

    /// Whether `agent` hasn't been told, or it has changed since.
    pub(crate) fn is_new(&self, conn: &Connection, agent: &str) -> Result<bool> {
        let told: Option<String> = conn
            .prepare_cached("SELECT digest FROM told WHERE agent = ?1 AND what = ?2")?
            .query_row([agent, &self.what], |r| r.get(0))
            .optional()?;
        Ok(told.is_none_or(|digest| digest != self.digest))
    }
}

impl Coordinator {
    /// Remembers that the caller was told these things. It is for whoever has shown them, and no earlier.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn told(&self, things: &[ToTell]) -> Result<()> {
        if things.is_empty() {
            return Ok(());
        }
        self.act(Durability::Process, |tx, actor| {
            let agent = actor.agent()?;
            things.iter().try_for_each(|thing| remember(tx, agent, thing))?;
            let forget = "DELETE FROM told WHERE (agent, what) IN
                          (SELECT agent, what FROM told WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
            tx.prepare_cached(forget)?.execute((tx.now.wall_ms - KEPT_MS, FORGOTTEN_AT_ONCE))?;
            Ok(())
        })
    }
}

fn remember(tx: &Tx<'_>, agent: &str, thing: &ToTell) -> Result<()> {
    let sql = "INSERT INTO told (agent, what, seq, digest, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (agent, what) DO UPDATE SET seq = max(seq, excluded.seq), digest = excluded.digest, at_ms = excluded.at_ms";
    tx.prepare_cached(sql)?.execute((agent, &thing.what, thing.seq, &thing.digest, tx.now.wall_ms))?;
    if let Some(seq) = thing.what.strip_prefix(crate::news::OVERLAP).and_then(|seq| seq.parse::<i64>().ok()) {
        tx.prepare_cached("DELETE FROM overlaps WHERE seq = ?1 AND holder = ?2")?.execute((seq, agent))?;
    }
    Ok(())
}

/// Up to which place an agent was told of a kind of news, and when.
pub(crate) fn up_to(conn: &Connection, agent: &str, what: &str) -> Result<(i64, i64)> {
    let row = conn
        .prepare_cached("SELECT seq, at_ms FROM told WHERE agent = ?1 AND what = ?2")?
        .query_row([agent, what], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(row.unwrap_or_default())
}
