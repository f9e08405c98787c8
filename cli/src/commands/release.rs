//! `pd release`

use portdaddy_core::Release;

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Give ports back
///
/// Exits 1 if nothing was assigned to the identity.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd release payments:frontend
  pd release 'payments:*' --all-worktrees")]
pub(crate) struct Args {
    /// An identity, or a pattern with `*`
    #[arg(value_name = "IDENTITY")]
    pattern: String,
    /// The one port for all working trees
    #[arg(long)]
    shared: bool,
    /// Those of every working tree
    #[arg(long)]
    all_worktrees: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let release = Release { shared: args.shared, all_worktrees: args.all_worktrees };
    let released = app.open()?.release(&args.pattern, &release)?;
    app.ui.answer(&released, &"", |out| {
        released.iter().try_for_each(|claim| writeln!(out, "Released {} {}", escape(&claim.identity), claim.port))
    })?;
    Ok(DONE)
}
