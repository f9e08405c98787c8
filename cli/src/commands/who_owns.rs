//! `pd who-owns`

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, escape, now_ms};

use super::{agents, files};

/// Show who has claimed a path
///
/// Exits 1 if nobody has.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd who-owns src/middleware/auth.ts
  pd who-owns src/types/Payment.ts --json")]
pub(crate) struct Args {
    /// A path
    #[arg(value_name = "PATH")]
    path: String,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let ownership = app.open()?.who_owns(&args.path)?;
    let now = now_ms();
    app.ui.listing(&ownership, |out| {
        ownership.owners.iter().try_for_each(|owner| {
            let claim = &owner.claim;
            let (name, purpose) = (escape(&claim.agent_name), escape(&owner.purpose));
            let state = agents::state_word(owner.state).to_lowercase();
            let elsewhere = if owner.same_worktree { "" } else { ", in another worktree" };
            let since = ago(claim.since_ms, now);
            writeln!(
                out,
                "{} [{name}] {purpose} ({}, {state}, {since}{elsewhere})",
                claim.session,
                files::pattern(claim)
            )
        })
    })?;
    if ownership.owners.is_empty() {
        app.ui.status(format_args!("Nobody has claimed {}", escape(&args.path)));
        return Ok(NO);
    }
    Ok(DONE)
}
