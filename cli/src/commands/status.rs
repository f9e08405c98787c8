//! `pd status`

use portdaddy_core::OverviewFilter;

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};
use crate::view::{model, text};

/// Show the state of the whole: agents, sessions, locks, who waits for what; pd top shows it live
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd status
  pd status --all
  pd status --json")]
pub(crate) struct Args {
    /// List those of every scope; the counts are always of all
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let seen = app.open()?.overview(&OverviewFilter { all: args.all, limit: None })?;
    let (status, now) = (&seen.status, now_ms());
    let (document, panes) = (model::document(&seen)?, model::panes(&seen, now)?);
    app.ui.listing(&document, |out| {
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
        writeln!(out, "database: {} ({size} KiB, log {wal} KiB, schema {})", escape(&status.db), status.schema)?;
        text::print(out, &panes)
    })?;
    Ok(DONE)
}
