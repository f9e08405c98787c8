//! `pd restore`

use std::path::PathBuf;

use portdaddy_core::{Progress, Restore, Restored, restore};

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Put back what a backup holds, while others have the database open
///
/// Sessions, notes, claims, messages, salvages and the log become those of the backup. What is now stays: who holds which
/// lock, who waits, which agents live, and their ports. Those who have the database open go on with what was restored, and
/// lose what was written since the backup. Numbers in the order of commits and fencing tokens never fall back. A backup of an
/// older version is migrated.
///
/// What the database held before is kept beside it, as port-daddy.db.before-restore-DATE; pd restore takes that, too.
/// A database that is damaged is put aside under that name as a whole, once nobody has it open.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd restore ~/backups/port-daddy-monday.db
  pd restore --force --no-keep ~/backups/port-daddy.db")]
pub(crate) struct Args {
    /// The backup
    file: PathBuf,
    /// Restore although living agents hold locks or wait, or the database isn't known for one of port-daddy
    #[arg(long)]
    force: bool,
    /// Keep no copy of what the database held before
    #[arg(long)]
    no_keep: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let progress = Progress::default();
    let copying = app.ui.while_copying("Restoring", progress.clone());
    let done = restore(app.options(), &args.file, &Restore { force: args.force, no_keep: args.no_keep, progress });
    drop(copying);
    let done: Restored = done?;
    app.ui.answer(&done, &done.db, |out| writeln!(out, "Restored {} from {}", escape(&done.db), escape(&done.file)))?;
    match &done.kept {
        Some(kept) if done.was_damaged => {
            app.ui.warning(format_args!("the damaged database was put aside: {}", escape(kept)))
        }
        Some(kept) => app.ui.status(format_args!("What it held before is in {}", escape(kept))),
        None => {}
    }
    Ok(DONE)
}
