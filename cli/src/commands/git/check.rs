//! `pd git check`

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

const DANGER: Exit = Exit(3);

/// Say what a command would do to others' work, and take a snapshot if it would
///
/// Nothing is run. Exits 0 where there is nothing to fear, and 3 where there is. One word is read as a line of shell.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git check -- git reset --hard
  pd git check \"cd app && git stash -u\"
  pd git check --after \"git stash\"")]
pub(super) struct Check {
    /// It has run: note whose new stash entries are
    #[arg(long)]
    after: bool,
    /// The command
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn run(args: Check, app: &mut App) -> Outcome<Exit> {
    let line = match &args.command[..] {
        [line] => line.clone(),
        words => words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" "),
    };
    if args.after {
        app.open()?.guarded(&line)?;
        return Ok(DONE);
    }
    let danger = app.open()?.guard(&line)?;
    let name = danger.as_ref().and_then(|danger| danger.snapshot.as_ref()).map(|s| s.short_name().to_owned());
    app.ui.answer(&danger, &name.unwrap_or_default(), |out| match &danger {
        Some(danger) => writeln!(out, "{}", escape(&danger.text)),
        None => Ok(()),
    })?;
    Ok(if danger.is_some() { DANGER } else { DONE })
}
