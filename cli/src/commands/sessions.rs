//! `pd sessions`

use std::fmt::Write as _;

use portdaddy_core::{Session, SessionFilter, SessionStatus};

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// List the sessions, oldest first
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd sessions
  pd sessions --status completed --limit 10
  pd sessions --agent frontend-builder --json")]
pub(crate) struct Args {
    /// Those of every scope
    #[arg(long)]
    all: bool,
    /// Only with this status; `any` for all
    #[arg(long, value_name = "STATUS", default_value = "active", value_parser = ["active", "completed", "abandoned", "any"])]
    status: String,
    /// Only this agent's
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only identities of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// At most so many, the newest [default: 50]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let status = match args.status.as_str() {
        "active" => Some(SessionStatus::Active),
        "completed" => Some(SessionStatus::Completed),
        "abandoned" => Some(SessionStatus::Abandoned),
        _ => None,
    };
    let filter = SessionFilter { all: args.all, status, agent: args.agent, project: args.project, limit: args.limit };
    let list = pd.sessions(&filter)?;
    let now = now_ms();
    app.ui.listing(&list, |out| list.sessions.iter().try_for_each(|s| writeln!(out, "{}", line(s, now))))?;
    app.ui.elsewhere(list.elsewhere, "session", "sessions");
    Ok(DONE)
}

/// `session-ab3 [Backend Agent] Building payment API (active, testing, 5m ago, 3 notes)`
pub(super) fn line(session: &Session, now: i64) -> String {
    let status = match session.status {
        SessionStatus::Active => "active",
        SessionStatus::Completed => "completed",
        SessionStatus::Abandoned => "abandoned",
    };
    let mut line = format!("{} [{}] {} ({status}", session.id, escape(&session.agent_name), escape(&session.purpose));
    if let Some(phase) = &session.phase {
        let _ = write!(line, ", {}", escape(phase));
    }
    let since = session.ended_ms.unwrap_or(session.started_ms);
    let notes = if session.notes == 1 { "1 note".to_owned() } else { format!("{} notes", session.notes) };
    let _ = write!(line, ", {}, {notes})", ago(since, now));
    line
}
