//! `pd wait`

use std::time::Duration;

use portdaddy_core::Wait;

use crate::app::App;
use crate::duration::parse;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Wait until something listens on the ports of these identities
///
/// It ends when they all do, so that a harness can run it in the background and be woken by that.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd wait payments:api
  pd wait payments:api payments:db --timeout 30s && npm test")]
pub(crate) struct Args {
    /// Whose ports
    #[arg(value_name = "IDENTITY", required = true)]
    identities: Vec<String>,
    /// Give up after so long, with exit code 4
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    timeout: Option<Duration>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let patience = app.ui.while_waiting({
        let what = args.identities.join(", ");
        move || Some(format!("Waiting until something listens for {}", escape(&what)))
    });
    let claims = pd.wait_for_service(&args.identities, &Wait { timeout: args.timeout, cancel: None })?;
    drop(patience);
    let ports: Vec<_> = claims.iter().map(|claim| claim.port.to_string()).collect();
    app.ui.answer(&claims, &ports.join("\n"), |out| {
        claims.iter().try_for_each(|claim| writeln!(out, "{} {}", escape(&claim.identity), claim.port))
    })?;
    Ok(DONE)
}
