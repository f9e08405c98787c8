//! `pd status`

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// Show the state of the whole: agents, sessions, locks, who waits for what
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd status
  pd status --json")]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, app: &mut App) -> Outcome<Exit> {
    let status = app.open()?.status()?;
    let now = now_ms();
    app.ui.listing(&status, |out| {
        let agents = &status.agents;
        writeln!(out, "scope: {}", escape(&status.scope))?;
        writeln!(out, "agents: {} active, {} stale, {} dead", agents.active, agents.stale, agents.dead)?;
        writeln!(out, "sessions: {} active", status.sessions)?;
        writeln!(out, "file claims: {}", status.claims)?;
        writeln!(out, "locks: {} held", status.locks)?;
        writeln!(out, "channels: {}, messages: {}", status.channels, status.messages)?;
        writeln!(out, "ports: {}", status.ports)?;
        writeln!(out, "to salvage: {}", status.salvage)?;
        for waiting in &status.waiters {
            let agent = waiting.agent.as_deref().unwrap_or("somebody");
            let (kind, name) = (escape(&waiting.kind), escape(&waiting.name));
            writeln!(out, "waiting: {} for {kind} {name} (since {})", escape(agent), ago(waiting.since_ms, now))?;
        }
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let (size, wal) = (kib(status.size_bytes), kib(status.wal_bytes));
        writeln!(out, "database: {} ({size} KiB, log {wal} KiB, schema {})", escape(&status.db), status.schema)
    })?;
    Ok(DONE)
}
