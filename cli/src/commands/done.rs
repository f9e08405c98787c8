//! `pd done`

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::Outcome;

use super::{note, session};

/// End the session, and give its file claims back
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd done
  pd done \"Payment API complete, ready for testing\"")]
pub(crate) struct Args {
    /// A last note; `-` reads it from stdin
    #[arg(value_name = "NOTE")]
    note: Option<String>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    session::refuse_id(args.note.as_deref())?;
    let note = args.note.map(note::text_or_stdin).transpose()?;
    let pd = app.open()?;
    let ended = pd.done(note.as_deref())?;
    session::ended(&ended, app)?;
    Ok(DONE)
}
