//! `pd git restore`, `pd git show`

use portdaddy_core::{RestoreFiles, RestoredFiles};

use super::snapshots::{files, left_out};
use crate::app::App;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, escape};

/// Put uncommitted files back as they were in a snapshot
///
/// Byte for byte, each in one step. What was changed since and is committed nowhere is not overwritten: then nothing is put
/// back, the files are listed, and the exit code is 1. --force takes a snapshot of them first, and overwrites.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git restore 20261126-091530-123k3x7
  pd git restore 20261126-091530-123k3x7 src/cart.ts docs --dry-run
  pd git restore 20261126-091530-123k3x7 --force")]
pub(super) struct Restore {
    /// The snapshot, or the beginning of its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Files and directories [default: all that were uncommitted]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Overwrite what was changed since, after taking a snapshot of it
    #[arg(long)]
    force: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// List a snapshot's files, and how they stand now
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git show 20261126-091530-123k3x7")]
pub(super) struct Show {
    /// The snapshot, or the beginning of its name
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn restore(args: Restore, app: &mut App) -> Outcome<Exit> {
    let Restore { name, paths, force, dry_run } = args;
    let done = app.open()?.restore_snapshot(&name, &RestoreFiles { paths, force, dry_run })?;
    let word = if dry_run { "Would restore" } else { "Restored" };
    app.ui.answer(&done, &done.restored.len(), |out| {
        done.restored.iter().try_for_each(|path| writeln!(out, "{word} {}", escape(path)))
    })?;
    for path in &done.refused {
        app.ui.warning(format_args!("{} was changed since, and is committed nowhere", escape(path)));
    }
    if !done.refused.is_empty() {
        app.ui.status("Nothing was restored");
        app.ui.hint("name other paths, or use --force to overwrite them after a snapshot of them");
    }
    for what in &done.failed {
        app.ui.warning(format_args!("not restored: {}", escape(what)));
    }
    for path in &done.left_out {
        app.ui.warning(format_args!("{} is not in the snapshot: it was too large", escape(path)));
    }
    staged(&done, app);
    if let Some(before) = &done.before {
        app.ui.status(format_args!("What was there before is in snapshot {}", before.short_name()));
    }
    if !done.unchanged.is_empty() {
        app.ui.status(format_args!("{} as before already", files(done.unchanged.len() as u64)));
    }
    Ok(if done.refused.is_empty() && done.failed.is_empty() { DONE } else { NO })
}

pub(super) fn show(args: Show, app: &mut App) -> Outcome<Exit> {
    let what = RestoreFiles { force: true, dry_run: true, ..RestoreFiles::default() };
    let pd = app.open()?;
    let forced = pd.restore_snapshot(&args.name, &what)?;
    let changed = pd.restore_snapshot(&args.name, &RestoreFiles { force: false, ..what })?.refused;
    let done = RestoredFiles { refused: changed, ..forced };
    app.ui.listing(&done, |out| {
        for path in &done.unchanged {
            writeln!(out, "same     {}", escape(path))?;
        }
        for path in &done.restored {
            let word = if done.refused.contains(path) { "changed " } else { "restore " };
            writeln!(out, "{word} {}", escape(path))?;
        }
        Ok(())
    })?;
    left_out(&done.snapshot, app);
    staged(&done, app);
    for id in &done.snapshot.kept {
        app.ui.note(format_args!("it keeps the commit {}", escape(id)));
    }
    Ok(DONE)
}

/// Says where what was staged is, which isn't put back.
fn staged(done: &RestoredFiles, app: &mut App) {
    let Some(first) = done.staged.first() else { return };
    app.ui.note(format_args!(
        "{} had been staged with other content, which is not put back",
        files(done.staged.len() as u64)
    ));
    let path = escape(first).replace('\'', r"'\''");
    app.ui.hint(format_args!("see it with git show '{}:{path}'", escape(&done.staged_in)));
}
