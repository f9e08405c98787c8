//! `pd git snapshots|show|restore|snapshot|check|install-hooks|pre-commit`

mod check;
mod hooks;
mod restore;
mod snapshots;

use crate::app::App;
use crate::exit_code::Exit;
use crate::output::Outcome;

/// Keep work safe from others' git commands, and bring it back
///
/// A snapshot holds what is uncommitted in a working tree, tracked and untracked, under a private ref. One is taken before a
/// dangerous command of an agent whose harness was set up, and by hand.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git snapshots
  pd git restore 20261126-091530-123k3x7 src/cart.ts
  pd git check -- git reset --hard")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Snapshots(snapshots::List),
    Show(restore::Show),
    Restore(restore::Restore),
    Snapshot(snapshots::Take),
    Check(check::Check),
    InstallHooks(hooks::Install),
    PreCommit(hooks::PreCommit),
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    match args.command {
        Verb::Snapshots(args) => snapshots::list(args, app),
        Verb::Show(args) => restore::show(args, app),
        Verb::Restore(args) => restore::restore(args, app),
        Verb::Snapshot(args) => snapshots::take(args, app),
        Verb::Check(args) => check::run(args, app),
        Verb::InstallHooks(args) => hooks::install(args, app),
        Verb::PreCommit(args) => hooks::pre_commit(args, app),
    }
}
