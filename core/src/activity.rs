//! The activity log: what was done, by whom, to what, in the order of commits.

use serde_json::Value;

use crate::agents::Actor;
use crate::db::Tx;
use crate::error::Result;

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
    tx.prepare_cached(
        "INSERT INTO activity (seq, at_ms, scope, agent, type, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((seq, tx.now.wall_ms, scope, agent, kind, subject, detail))?;
    tx.wake(crate::wake::Topic::of(&["activity"]));
    Ok(seq)
}
