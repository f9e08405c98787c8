//! `pd git snapshots`, `pd git snapshot`

use portdaddy_core::Snapshot;

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// List the repository's snapshots, newest first
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git snapshots
  pd git snapshots --json | jq -r '.[0].name'")]
pub(super) struct List {}

/// Take a snapshot of what is uncommitted here
///
/// Touches neither the index, HEAD, the stash nor the files. Prints its name; where nothing has changed since the newest, that
/// one's.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git snapshot
  pd git snapshot -q")]
pub(super) struct Take {}

pub(super) fn list(_: List, app: &mut App) -> Outcome<Exit> {
    let snapshots = app.open()?.snapshots()?;
    let now = now_ms();
    app.ui.listing(&snapshots, |out| {
        snapshots.iter().try_for_each(|snapshot| {
            let by = snapshot.agent.as_deref().map(|agent| format!(", {}", escape(agent))).unwrap_or_default();
            let why = snapshot.command.as_deref().map(|what| format!(", before {}", escape(what))).unwrap_or_default();
            writeln!(
                out,
                "{} {} ({}{by}{why}) in {}",
                escape(snapshot.short_name()),
                files(snapshot.files),
                ago(snapshot.at_ms, now),
                escape(&snapshot.worktree)
            )
        })
    })?;
    if snapshots.is_empty() {
        app.ui.status("No snapshots");
    }
    Ok(DONE)
}

pub(super) fn take(_: Take, app: &mut App) -> Outcome<Exit> {
    let snapshot = app.open()?.take_snapshot()?;
    app.ui.answer(&snapshot, &snapshot.short_name(), |out| {
        writeln!(out, "Snapshot {} of {}", snapshot.short_name(), files(snapshot.files))
    })?;
    left_out(&snapshot, app);
    Ok(DONE)
}

/// Says what a snapshot lacks.
pub(super) fn left_out(snapshot: &Snapshot, app: &mut App) {
    for path in &snapshot.left_out {
        app.ui.note(format_args!("{} is not in it: too large, too many, or a repository of its own", escape(path)));
    }
    let more = snapshot.left_out_count.saturating_sub(snapshot.left_out.len() as u64);
    if more > 0 {
        app.ui.note(format_args!("nor are {} more", files(more)));
    }
}

pub(super) fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
