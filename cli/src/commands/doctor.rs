//! `pd doctor`

use anstyle::AnsiColor;
use portdaddy_core::{Check, Examination, examine};

use crate::app::App;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, Painted, escape};

/// Check the installation: SQLite, the database, its place, who has it open, what the dead left
///
/// Changes nothing, and makes no database where none is. Each line is ok, a note (worth knowing) or FAIL (wrong). Exits 1 if
/// something is wrong.
///
/// --fix first mends what is safe to mend: takes permissions away from other users, buries the dead and hands their locks
/// on, removes the rows of waits that have ended and the files of ended processes, and empties the log. The rest is up to you,
/// and each line says what to do.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd doctor
  pd doctor --fix
  pd doctor --quick
  pd doctor --json | jq '.[] | select(.ok | not)'")]
pub(crate) struct Args {
    /// Leave out reading the whole file, which takes seconds where that has a GB
    #[arg(long)]
    quick: bool,
    /// Mend what is safe to mend
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let what = Examination { quick: args.quick, fix: args.fix };
    let patience = app.ui.while_waiting(move || {
        Some(if what.quick { "Looking" } else { "Reading the whole file (--quick leaves that out)" }.to_owned())
    });
    let checks = examine(app.options(), what);
    drop(patience);
    app.ui.listing(&checks, |out| {
        checks.iter().try_for_each(|check| {
            let (word, colour) = verdict(check);
            writeln!(out, "{} {}: {}", Painted(word, colour), escape(&check.name), escape(&check.detail))
        })
    })?;
    for check in &checks {
        if let Some(hint) = &check.hint {
            app.ui.hint(format_args!("{}: {}", escape(&check.name), escape(hint)));
        }
    }
    Ok(if checks.iter().all(|check| check.ok) { DONE } else { NO })
}

fn verdict(check: &Check) -> (&'static str, AnsiColor) {
    match (check.ok, &check.hint) {
        (false, _) => ("FAIL", AnsiColor::Red),
        (true, Some(_)) => ("note", AnsiColor::Yellow),
        (true, None) => ("ok  ", AnsiColor::Green),
    }
}
