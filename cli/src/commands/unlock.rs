//! `pd unlock`

use portdaddy_core::Unlock;

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Release a lock, and hand it to the next in line
///
/// Exits 3 if another holds it, 1 if nobody does.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd unlock db-migrations
  pd unlock db-migrations --force")]
pub(crate) struct Args {
    /// The lock's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Even another's; the log remembers who did it
    #[arg(long)]
    force: bool,
    /// Only this grant
    #[arg(long, value_name = "TOKEN")]
    token: Option<i64>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let released = app.open()?.unlock(&args.name, &Unlock { force: args.force, token: args.token })?;
    app.ui.answer(&released, &"", |out| writeln!(out, "Unlocked {}", escape(&args.name)))?;
    Ok(DONE)
}
