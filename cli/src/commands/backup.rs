//! `pd backup`

use std::path::PathBuf;

use portdaddy_core::{Backup, Error, ErrorKind, Progress};

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Copy the database into a file, while others write
///
/// The copy is consistent: everything committed before the command began is in it. It is yours alone to read, on the disk
/// when the command ends, and appears under its name only when it is whole. It is a database itself: pd --db FILE looks into
/// it. Don't copy the database by other means while it is in use: its log would be missing.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd backup ~/backups/port-daddy-monday.db
  pd backup --force ~/backups/port-daddy.db
  pd notes --db ~/backups/port-daddy.db")]
pub(crate) struct Args {
    /// The file to make
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    // To make one by asking for its backup would hide a wrong name.
    let database = app.options().database()?;
    if !database.exists() {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no database {}", database.display()))
            .hint("name the right one with --db or PORT_DADDY_DB")
            .into());
    }
    let pd = app.open()?;
    let progress = Progress::default();
    let copying = app.ui.while_copying("Backing up", progress.clone());
    let made = pd.backup(&args.file, &Backup { force: args.force, progress });
    drop(copying);
    let made = made?;
    app.ui.answer(&made, &made.file, |out| {
        writeln!(out, "Backed up to {} ({} KiB)", escape(&made.file), made.bytes.div_ceil(1024))
    })?;
    Ok(DONE)
}
