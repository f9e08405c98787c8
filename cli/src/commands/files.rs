//! `pd files add|rm|list`

use portdaddy_core::{ClaimFiles, ClaimFilter, Conflict, FileClaim, LineRange, Place};

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, escape, now_ms};

/// Claim files, give them back, see who claims what
///
/// Claims are advisory: they warn, and never block anybody's way.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd files add \"src/api/**\" src/types/Payment.ts
  pd files list
  pd files rm src/types/Payment.ts")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Claim files for the session
    ///
    /// Claims what is free. Where another active session's claim overlaps, it warns, leaves that pattern out and exits
    /// 1; --force claims it too.
    #[command(after_help = "EXAMPLES:
  pd files add src/middleware/auth.ts
  pd files add \"src/**/*.test.ts\" --force
  pd files add src/db/schema.ts:10-50")]
    Add {
        /// Paths, directories, globs (* ? ** [a-z] {a,b}), or lines (src/a.rs:10-50)
        #[arg(value_name = "FILE", required = true)]
        files: Vec<String>,
        /// Claim files that others have claimed, too
        #[arg(long)]
        force: bool,
    },
    /// Give claims of the session back
    #[command(after_help = "EXAMPLES:
  pd files rm src/middleware/auth.ts
  pd files rm --all")]
    Rm {
        /// The patterns, as they were claimed
        #[arg(value_name = "FILE", required_unless_present = "all")]
        files: Vec<String>,
        /// All of the session's
        #[arg(long, conflicts_with = "files")]
        all: bool,
    },
    /// List the claims
    #[command(after_help = "EXAMPLES:
  pd files list
  pd files list --all --json")]
    List {
        /// Those of every scope
        #[arg(long)]
        all: bool,
    },
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    match args.command.unwrap_or(Verb::List { all: false }) {
        Verb::Add { files, force } => {
            let done = app.open()?.claim_files(&ClaimFiles { files, force, session: None })?;
            warn(&done.conflicts, &done.dead_overlaps, &done.claimed, app);
            app.ui.answer(&done, &"", |out| {
                done.claimed.iter().try_for_each(|claim| writeln!(out, "Claimed {}", pattern(claim)))
            })?;
            if !force && !done.conflicts.is_empty() {
                return Ok(NO);
            }
        }
        Verb::Rm { files, all: _ } => {
            let released = app.open()?.release_files(&files, None)?;
            app.ui.answer(&released, &"", |out| {
                released.iter().try_for_each(|claim| writeln!(out, "Released {}", pattern(claim)))
            })?;
        }
        Verb::List { all } => {
            let list = app.open()?.file_claims(&ClaimFilter { all, session: None, agent: None })?;
            let now = now_ms();
            app.ui.listing(&list, |out| {
                list.claims.iter().try_for_each(|claim| {
                    let (name, since) = (escape(&claim.agent_name), ago(claim.since_ms, now));
                    let forced = if claim.forced { ", forced" } else { "" };
                    let root =
                        if all && claim.root != "/" { format!("{}/", escape(&claim.root)) } else { String::new() };
                    writeln!(out, "{root}{} {} ({name}, {since}{forced})", pattern(claim), claim.session)
                })
            })?;
            app.ui.elsewhere(list.elsewhere, "claim", "claims");
        }
    }
    Ok(DONE)
}

/// What is claimed: relative to its working tree, or outside of any to the current directory.
pub(super) fn pattern(claim: &FileClaim) -> String {
    with_lines(&shown(&claim.pattern, claim.root == "/"), claim.lines)
}

fn with_lines(pattern: &str, lines: Option<LineRange>) -> String {
    match lines {
        Some(lines) => format!("{}:{}-{}", escape(pattern), lines.first, lines.last),
        None => escape(pattern).into_owned(),
    }
}

/// A stored path for people. Outside of working trees paths are stored from `/`, and read best from here.
fn shown(path: &str, from_root: bool) -> String {
    if !from_root {
        return path.to_owned();
    }
    let path = format!("/{}", path.trim_start_matches('/'));
    let here = std::env::current_dir().ok().and_then(|dir| dir.into_os_string().into_string().ok());
    let inside = here.as_deref().and_then(|here| path.strip_prefix(here)).and_then(|rest| rest.strip_prefix('/'));
    inside.map(str::to_owned).unwrap_or(path)
}

/// Whether the current directory is in no working tree.
fn outside() -> bool {
    std::env::current_dir().is_ok_and(|here| Place::of(&here).is_ok_and(|place| place.repository.is_none()))
}

/// One warning a conflict, with the path that both match where the texts differ.
pub(super) fn warn(conflicts: &[Conflict], dead: &[Conflict], claimed: &[FileClaim], app: &mut App) {
    if conflicts.is_empty() && dead.is_empty() {
        return;
    }
    let outside = outside();
    let what = |conflict: &Conflict| with_lines(&shown(&conflict.pattern, outside), conflict.lines);
    for conflict in conflicts {
        let (with, name) = (&conflict.with, escape(&conflict.with.agent_name));
        app.ui.warning(format_args!("{} claimed by {} ({name})", what(conflict), with.session));
        if conflict.witness != conflict.pattern {
            let witness = shown(&conflict.witness, outside);
            let missing = if conflict.exists { "" } else { ", which doesn't exist yet" };
            app.ui.status(format_args!("  [overlap: {}{missing}]", escape(&witness)));
        }
        if !conflict.same_worktree {
            app.ui.status("  in another worktree: a merge ahead, not an overwrite");
        }
    }
    if !conflicts.is_empty() {
        let forced = claimed.iter().any(|claim| claim.forced);
        app.ui.status(if forced { "Claimed anyway" } else { "Use --force to claim anyway" });
    }
    for overlap in dead {
        let (with, name) = (&overlap.with, escape(&overlap.with.agent_name));
        let what = what(overlap);
        app.ui.note(format_args!("{what} was claimed by {} ({name}), which is dead: pd salvage", with.session));
    }
}
