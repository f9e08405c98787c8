//! `pd doctor`

use anstyle::AnsiColor;

use crate::app::App;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, Painted, escape};

/// Check the installation: SQLite, the database, its filesystem and permissions, who calls
///
/// Exits 1 if something is wrong.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd doctor
  pd doctor --json")]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, app: &mut App) -> Outcome<Exit> {
    let checks = portdaddy_core::doctor(app.options());
    app.ui.listing(&checks, |out| {
        checks.iter().try_for_each(|check| {
            let (word, colour) = if check.ok { ("ok  ", AnsiColor::Green) } else { ("FAIL", AnsiColor::Red) };
            writeln!(out, "{} {}: {}", Painted(word, colour), escape(&check.name), escape(&check.detail))
        })
    })?;
    for hint in checks.iter().filter(|check| !check.ok).filter_map(|check| check.hint.as_deref()) {
        app.ui.hint(escape(hint));
    }
    Ok(if checks.iter().all(|check| check.ok) { DONE } else { NO })
}
