//! `pd agents`

use std::fmt::Write as _;

use anstyle::AnsiColor;
use portdaddy_core::{Agent, AgentFilter, AgentState};

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, Painted, escape, now_ms};

/// List the agents: who is alive, who is stale, who is dead
///
/// `[stale]` on a dead agent says that it left unfinished work: see `pd salvage`.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd agents
  pd agents --project payments
  pd agents --all --json")]
pub(crate) struct Args {
    /// Those of every scope, those who have left, and the long dead
    #[arg(long)]
    all: bool,
    /// Only identities of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let list = pd.agents(&AgentFilter { all: args.all, project: args.project, left: args.all })?;
    let now = now_ms();
    app.ui.listing(&list, |out| list.agents.iter().try_for_each(|agent| writeln!(out, "{}", line(agent, now))))?;
    app.ui.elsewhere(list.elsewhere, "agent", "agents");
    Ok(DONE)
}

/// `Active frontend-builder (payments:web, 30s ago)`
pub(super) fn line(agent: &Agent, now: i64) -> String {
    let colour = match agent.state {
        AgentState::Active => AnsiColor::Green,
        AgentState::Stale => AnsiColor::Yellow,
        AgentState::Dead => AnsiColor::Red,
        AgentState::Left => AnsiColor::BrightBlack,
    };
    let mut line = format!("{} {}", Painted(state_word(agent.state), colour), escape(&agent.id));
    if let Some(name) = &agent.name {
        let _ = write!(line, " \"{}\"", escape(name));
    }
    let seen = ago(agent.seen_ms, now);
    let _ = match &agent.identity {
        Some(identity) => write!(line, " ({}, {seen})", escape(identity)),
        None => write!(line, " ({seen})"),
    };
    if agent.unfinished {
        line.push_str(" [stale]");
    }
    line
}

pub(crate) fn state_word(state: AgentState) -> &'static str {
    match state {
        AgentState::Active => "Active",
        AgentState::Stale => "Stale",
        AgentState::Dead => "Dead",
        AgentState::Left => "Left",
    }
}

/// Whether an agent lives, in a word.
pub(crate) fn life_word(state: AgentState) -> &'static str {
    match state {
        AgentState::Active => "alive",
        AgentState::Stale => "silent",
        AgentState::Dead => "dead",
        AgentState::Left => "gone",
    }
}
