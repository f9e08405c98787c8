//! `pd run`

use std::ffi::OsString;

use portdaddy_core::{Release, ServiceFilter};

use super::claim::Choice;
use crate::app::App;
use crate::child::Child;
use crate::exit_code::Exit;
use crate::output::{Outcome, escape};

/// Run a command with a port of its own
///
/// Claims the port, runs the command with PORT and PORT_DADDY_IDENTITY in its environment, and exits with the command's
/// own code. The port is given back when the command ends, unless the identity had it before or something else listens
/// there.
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
    // First, so that the agent is known to live as long as its command runs.
    #[cfg(unix)]
    let _proof = pd.inherit_proof()?;
    let claim = pd.claim(&args.choice.claim())?;
    app.ui.status(format_args!("Running {} on port {}", escape(&claim.identity), claim.port));
    let ran = Child::new(&args.command)
        .env("PORT", &claim.port.to_string())
        .env("PORT_DADDY_IDENTITY", &claim.identity)
        .run(&pd);
    let ended = ran?;
    // What was assigned before is not ours to give back, nor what another run of it still listens on.
    let in_use = || pd.services(&ServiceFilter { pattern: Some(claim.identity.clone()), all: true });
    let given = !claim.existing && !in_use()?.services.iter().any(|s| s.port == claim.port && s.listening);
    if given {
        let release = Release { shared: args.choice.shared, all_worktrees: false };
        if let Err(e) = pd.release(&claim.identity, &release) {
            app.ui.warning(format_args!("port {} stays assigned: {}", claim.port, escape(e.message())));
        }
    }
    Ok(ended.report(&mut app.ui))
}
