//! `pd whoami`

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, to_value};

/// Show who the caller is taken to be, how that was found, and the session that notes go to
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd whoami
  pd whoami --json
  export PORT_DADDY_AGENT=$(pd whoami -q)")]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let me = pd.whoami()?;
    let bare = me.agent.clone().unwrap_or_default();
    let source = to_value(&me.source)?;
    let source = source.as_str().unwrap_or_default().replace('_', " ");
    app.ui.answer(&me, &bare, |out| {
        match &me.agent {
            Some(agent) => writeln!(out, "agent: {} ({source})", escape(agent))?,
            None => writeln!(out, "agent: none")?,
        }
        if let Some(agent) = &me.registered {
            if let Some(name) = &agent.name {
                writeln!(out, "name: {}", escape(name))?;
            }
            if let Some(identity) = &agent.identity {
                writeln!(out, "identity: {}", escape(identity))?;
            }
        }
        match &me.session {
            Some(session) => writeln!(out, "session: {} ({})", session.id, escape(&session.purpose))?,
            None => writeln!(out, "session: none")?,
        }
        writeln!(out, "scope: {}\ndatabase: {}", escape(&me.scope), escape(&me.db))
    })?;
    if me.agent.is_none() {
        app.ui.hint("pass --agent NAME or set PORT_DADDY_AGENT");
    }
    Ok(DONE)
}
