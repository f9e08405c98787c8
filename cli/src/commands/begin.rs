//! `pd begin`

use portdaddy_core::NewSession;

use super::agent::Description;
use super::session;
use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::Outcome;

/// Register and start a session, in one
///
/// The session starts even where others have claimed overlapping files: each overlap is a warning, and what is free is
/// claimed.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd begin \"Building checkout UI\" --identity payments:web --files \"src/checkout/*\"
  pd begin \"Fix the flaky test\"
  eval \"export PORT_DADDY_SESSION=$(pd begin 'OAuth integration' -q)\"")]
pub(crate) struct Args {
    #[command(flatten)]
    work: session::Work,
    #[command(flatten)]
    description: Description,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let (purpose, files) = args.work.split("begin")?;
    let pd = app.open()?;
    let registration = args.description.registration(Some(purpose.clone()));
    let identity = registration.identity.clone();
    let new = NewSession { purpose, files, force: args.work.force, phase: args.work.phase, identity };
    let started = pd.begin(&registration, &new)?;
    session::started(&started, app)?;
    Ok(DONE)
}
