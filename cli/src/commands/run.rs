//! `pd run`

use std::ffi::OsString;

use portdaddy_core::Release;

use super::claim::Choice;
use crate::app::App;
use crate::child::Child;
use crate::exit_code::Exit;
use crate::output::{Outcome, escape};

/// Run a command with a port of its own
///
/// Claims the port, runs the command with PORT and PORT_DADDY_IDENTITY in its environment, gives the port back when it
/// ends, and exits with the command's own code.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd run payments:frontend -- npm run dev
  pd run payments:api --port 3101 -- sh -c 'exec ./server --port $PORT'")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let claim = pd.claim(&args.choice.claim())?;
    app.ui.status(format_args!("Running {} on port {}", escape(&claim.identity), claim.port));
    let ran = Child::new(&args.command)
        .env("PORT", &claim.port.to_string())
        .env("PORT_DADDY_IDENTITY", &claim.identity)
        .run(&pd);
    let released = pd.release(&claim.identity, &Release { shared: args.choice.shared, all_worktrees: false });
    let ended = ran?;
    if let Err(e) = released {
        app.ui.warning(format_args!("port {} stays assigned: {}", claim.port, escape(e.message())));
    }
    Ok(ended.report(&mut app.ui))
}
