//! `pd git install-hooks`, `pd git pre-commit`

use std::path::PathBuf;

use portdaddy_core::StagedByOther;

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

const REFUSED: Exit = Exit(3);
/// Files that are listed.
const SHOWN: usize = 10;

/// Let git tell before each commit whose files are in it
///
/// Installs a pre-commit hook that runs pd git pre-commit. A hook that is there is run first, and its exit code counts. If pd
/// is missing or fails, the commit goes on.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git install-hooks
  pd git install-hooks --strict
  pd git install-hooks --remove")]
pub(super) struct Install {
    /// Refuse commits with files that another live session wrote last
    #[arg(long)]
    strict: bool,
    /// Remove it, and put back the hook that was there before
    #[arg(long, conflicts_with = "strict")]
    remove: bool,
}

/// Report staged files that another agent wrote last
///
/// Warns and exits 0. With --strict exits 3 where one of them is another live session's.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd git pre-commit
  pd git pre-commit --strict")]
pub(super) struct PreCommit {
    /// Exit 3 where another live session wrote one of them last
    #[arg(long)]
    strict: bool,
}

pub(super) fn install(args: Install, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let hook = if args.remove { pd.remove_git_hook()? } else { pd.install_git_hook(args.strict)? };
    let word = match (hook.changed, hook.installed) {
        (true, true) => "Installed",
        (true, false) => "Removed",
        (false, true) => "Already installed:",
        (false, false) => "Not installed:",
    };
    app.ui.answer(&hook, &hook.path, |out| writeln!(out, "{word} {}", escape(&hook.path)))?;
    if let Some(first) = &hook.runs_first {
        app.ui.status(format_args!("It runs {} first", escape(first)));
    }
    Ok(DONE)
}

pub(super) fn pre_commit(args: PreCommit, app: &mut App) -> Outcome<Exit> {
    // Git commits some paths alone by an index of its own.
    let index = std::env::var_os("GIT_INDEX_FILE").filter(|index| !index.is_empty()).map(PathBuf::from);
    let check = app.open()?.commit_check(index.as_deref())?;
    let refused = args.strict && check.of_others.iter().any(StagedByOther::lives);
    app.ui.answer(&check, &"", |_| Ok(()))?;
    let now = now_ms();
    for other in check.of_others.iter().take(SHOWN) {
        let (path, name, since) = (escape(&other.path), escape(&other.agent_name), ago(other.at_ms, now));
        let state = if other.lives() { "" } else { ", which is gone" };
        app.ui.warning(format_args!("{path} was last written by {name}{state} ({since})"));
    }
    if check.of_others.len() > SHOWN {
        app.ui.status(format_args!("  and {} more", check.of_others.len() - SHOWN));
    }
    if !check.of_others.is_empty() {
        let others: Vec<&str> = check.of_others.iter().map(|other| other.path.as_str()).collect();
        match &check.rest[..] {
            [] => {}
            rest => {
                let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
                app.ui.hint(format_args!("commit only the others: git commit -- {}", words(&rest)));
            }
        }
        app.ui.hint(format_args!("take them out of this commit: git restore --staged -- {}", words(&others)));
    }
    Ok(if refused { REFUSED } else { DONE })
}

/// As a shell takes them.
fn words(paths: &[&str]) -> String {
    let quoted = |path: &&str| match path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@%,:".contains(c)) {
        true => (*path).to_owned(),
        false => format!("'{}'", escape(path).replace('\'', r"'\''")),
    };
    let mut words: Vec<String> = paths.iter().take(SHOWN).map(quoted).collect();
    if paths.len() > SHOWN {
        words.push("…".to_owned());
    }
    words.join(" ")
}
