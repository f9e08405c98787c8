//! `pd ps`

use std::fmt::Write as _;

use portdaddy_core::{PortClaim, ServiceFilter};

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// List the assigned ports: identity, port, owner, and whether something listens there
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd ps
  pd ps 'payments:*'
  pd ps --all --json")]
pub(crate) struct Args {
    /// An identity, or a pattern with `*`
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let list = app.open()?.services(&ServiceFilter { pattern: args.pattern, all: args.all })?;
    app.ui.listing(&list, |out| list.services.iter().try_for_each(|claim| writeln!(out, "{}", line(claim))))?;
    app.ui.elsewhere(list.elsewhere, "port", "ports");
    Ok(DONE)
}

/// `payments:frontend 3100 listening (Frontend Agent, node 4242)`
fn line(claim: &PortClaim) -> String {
    let state = if claim.listening { "listening" } else { "idle" };
    let mut line = format!("{} {} {state}", escape(&claim.identity), claim.port);
    let mut about = Vec::new();
    if let Some(name) = claim.agent_name.as_deref().or(claim.agent.as_deref()) {
        about.push(escape(name).into_owned());
    }
    if let Some(listener) = &claim.listener {
        about.push(format!("{} {}", escape(&listener.command), listener.pid));
    }
    if let Some(worktree) = &claim.worktree {
        about.push(escape(worktree).into_owned());
    }
    if !about.is_empty() {
        let _ = write!(line, " ({})", about.join(", "));
    }
    line
}
