//! Snapshots of a working tree: what is uncommitted in it, tracked and untracked, kept under a private ref.
//!
//! A snapshot is a commit under `refs/port-daddy/snapshots/`, made as a stash entry is: its tree is the working tree, its
//! parents are HEAD and a commit of the index. Taking one touches neither index, HEAD, stash nor working tree: it works on a
//! copy of the index in a directory beside the database. Files are stored byte for byte, without the conversions that git
//! would make (line endings, filters), and are put back the same way; files that git calls unchanged are HEAD's.
//!
//! The ref is made last, in one step: whoever is killed before leaves objects that git collects in time, and a directory
//! that the next snapshot removes. All that others must know is in the commit's message, so that snapshots go where the
//! repository goes, and the database need not be asked.

mod look;
mod put_back;
mod take;
mod workspace;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::coordinator::{Coordinator, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::git::{Call, Git};
use crate::scope::Repository;

pub(crate) use look::{Change, Look, look, path_of};
pub use put_back::{RestoreFiles, RestoredFiles};
pub(crate) use take::take;

/// Where the refs are.
const PREFIX: &str = "refs/port-daddy/snapshots/";
/// How long a snapshot that somebody asked for may take.
const PATIENT: Duration = Duration::from_secs(60);
/// A repository's listing.
const LISTED: &str = "--count=500";
const MOST_SAID: u64 = 64 << 20;

/// The files of a working tree as they were, tracked and untracked, under a private ref.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The ref, `refs/port-daddy/…`.
    pub name: String,
    /// The commit that it points at.
    pub commit: String,
    /// When it was taken, in milliseconds since 1970.
    pub at_ms: i64,
    /// For whom it was taken: whose command was about to run.
    pub agent: Option<String>,
    /// The command before which it was taken; none for one that was asked for.
    pub command: Option<String>,
    /// The working tree.
    pub worktree: String,
    /// The branch that was checked out, unless HEAD was detached.
    pub branch: Option<String>,
    /// How many files were uncommitted, and are in it.
    pub files: u64,
    /// Files that are not in it, because they are too large or too many; at most 50 names.
    pub left_out: Vec<String>,
    /// How many those are.
    pub left_out_count: u64,
    /// Commits that it keeps besides: stash entries, or what a branch had.
    pub kept: Vec<String>,
}

impl Snapshot {
    /// What `pd git restore` takes: the last part of the ref.
    pub fn short_name(&self) -> &str {
        self.name.strip_prefix(PREFIX).unwrap_or(&self.name)
    }
}

/// What the commit's message says, in one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Story {
    at_ms: i64,
    agent: Option<String>,
    command: Option<String>,
    worktree: String,
    branch: Option<String>,
    head: Option<String>,
    index: Option<String>,
    files: u64,
    left_out: Vec<String>,
    left_out_count: u64,
    /// Files that only their owner could read.
    private: Vec<String>,
    /// There are more of them than are named.
    all_private: bool,
    kept: Vec<String>,
}

/// A snapshot as it is stored.
pub(crate) struct Stored {
    pub(crate) snapshot: Snapshot,
    tree: String,
    head: Option<String>,
    index: Option<String>,
    private: Vec<String>,
    all_private: bool,
}

impl Coordinator {
    /// The snapshots of the repository that the handle's directory is in, of all its working trees; newest first, at
    /// most 500.
    ///
    /// # Errors
    /// `INVALID` outside a repository, or where git can't be asked.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let repository = self.inner.repository()?;
        let git = Git::within(&repository.worktree, PATIENT);
        let stored = stored(&git).map_err(|problem| no_answer(repository, &problem))?;
        Ok(stored.into_iter().map(|s| s.snapshot).collect())
    }

    /// Takes a snapshot of the working tree that the handle's directory is in. Where nothing has changed since the newest,
    /// that is given again.
    ///
    /// # Errors
    /// `INVALID` outside a working tree, or where git fails or takes longer than a minute; `STORE_*`.
    pub fn take_snapshot(&self) -> Result<Snapshot> {
        let repository = self.inner.repository()?;
        let git = Git::within(&repository.worktree, PATIENT);
        look(&git, repository)
            .and_then(|look| take(&self.inner, &git, repository, &look, None, &[]))
            .map_err(|problem| no_answer(repository, &problem))
    }

    /// Puts uncommitted files back as they were in a snapshot, byte for byte, each in one step. Only files that were
    /// uncommitted then: what was committed is in the repository. What was changed since and is committed nowhere is not
    /// overwritten, and then nothing is written at all, unless forced; then a snapshot is taken before. Never writes outside
    /// the working tree.
    ///
    /// # Errors
    /// `NOT_FOUND` for a snapshot that isn't there, or paths that aren't in it; `AMBIGUOUS`; `INVALID` outside a working
    /// tree, for a snapshot of another one, or where git fails; `STORE_*`.
    pub fn restore_snapshot(&self, name: &str, what: &RestoreFiles) -> Result<RestoredFiles> {
        let repository = self.inner.repository()?;
        let git = Git::within(&repository.worktree, PATIENT);
        let found = find(stored(&git).map_err(|problem| no_answer(repository, &problem))?, name)?;
        put_back::put_back(&self.inner, &git, repository, &found, what)
    }
}

impl Inner {
    pub(crate) fn repository(&self) -> Result<&Repository> {
        self.place.repository.as_ref().ok_or_else(|| {
            let cwd = self.place.cwd.display().to_string();
            Error::invalid(format!("{cwd} is in no working tree of a git repository"))
                .with("path", cwd)
                .hint("go to a working tree, then try again")
        })
    }
}

pub(crate) fn no_answer(repository: &Repository, problem: &str) -> Error {
    let worktree = repository.worktree.display().to_string();
    Error::invalid(format!("nothing was done in {worktree}: {problem}"))
        .with("path", worktree)
        .hint("run git status there to see whether git itself works")
}

/// The snapshots of a repository, newest first. Refs that others put there are passed over.
pub(crate) fn stored(git: &Git<'_>) -> Result<Vec<Stored>, String> {
    let format = "--format=%(refname)%00%(objectname)%00%(tree)%00%(contents:body)%00";
    let args = ["for-each-ref", "--sort=-refname", LISTED, format, PREFIX];
    let said = git.bytes(Call { args: &args, most: MOST_SAID, ..Call::default() })?;
    let said = String::from_utf8_lossy(&said);
    let parts: Vec<&str> = said.split('\0').collect();
    Ok(parts
        .chunks_exact(4)
        .filter_map(|part| {
            let story: Story = serde_json::from_str(part[3].trim()).ok()?;
            let snapshot = Snapshot {
                name: part[0].trim().to_owned(),
                commit: part[1].to_owned(),
                at_ms: story.at_ms,
                agent: story.agent,
                command: story.command,
                worktree: story.worktree,
                branch: story.branch,
                files: story.files,
                left_out_count: story.left_out_count.max(story.left_out.len() as u64),
                left_out: story.left_out,
                kept: story.kept,
            };
            let (head, index) = (story.head.filter(|id| is_id(id)), story.index.filter(|id| is_id(id)));
            let Story { private, all_private, .. } = story;
            Some(Stored { snapshot, tree: part[2].to_owned(), head, index, private, all_private })
        })
        .collect())
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn find(all: Vec<Stored>, name: &str) -> Result<Stored> {
    let short = name.strip_prefix(PREFIX).unwrap_or(name);
    let shown = crate::identity::shown(name);
    let unknown = || {
        Error::new(ErrorKind::NotFound, format!("no snapshot is called {shown}"))
            .with("snapshot", name)
            .hint("pd git snapshots lists them")
    };
    if short.is_empty() {
        return Err(unknown());
    }
    let mut fitting: Vec<Stored> = all.into_iter().filter(|s| s.snapshot.short_name().starts_with(short)).collect();
    if let Some(exact) = fitting.iter().position(|s| s.snapshot.short_name() == short) {
        return Ok(fitting.swap_remove(exact));
    }
    match fitting.len() {
        0 => Err(unknown()),
        1 => Ok(fitting.swap_remove(0)),
        _ => {
            let names: Vec<String> = fitting.iter().take(8).map(|s| s.snapshot.short_name().to_owned()).collect();
            Err(Error::new(ErrorKind::Ambiguous, format!("{shown} could be {}", names.join(", ")))
                .with("snapshot", name)
                .with("candidates", names)
                .hint("write more of the name"))
        }
    }
}

/// Whether git would never have let a tree have such a path, or it would lead into a repository's own files.
fn is_forbidden(path: &Path) -> bool {
    use std::path::Component;
    path.components().next().is_none()
        || path.components().any(|part| match part {
            Component::Normal(name) => {
                let name = name.to_string_lossy().to_ascii_lowercase();
                let name = name.trim_end_matches(['.', ' ']);
                name == ".git" || name == "git~1"
            }
            _ => true,
        })
}

/// `20261126-091530` of a moment, in UTC.
fn stamp(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin with March, in eras of 400 of them.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_stamped_in_utc() {
        for (ms, said) in [
            (0, "19700101-000000"),
            (951_782_399_000, "20000228-235959"),
            (951_782_400_000, "20000229-000000"),
            (1_795_684_530_123, "20261126-091530"),
            (4_107_542_400_000, "21000301-000000"),
        ] {
            assert_eq!(stamp(ms), said);
        }
    }

    #[test]
    fn paths_that_lead_astray_are_known() {
        for path in ["", ".git/config", "a/.GIT/hooks/x", "../x", "/etc/passwd", "a/../../b", ".git./x", "git~1/x"] {
            assert!(is_forbidden(Path::new(path)), "{path}");
        }
        for path in [".gitignore", "a/b", "-rf", "a\nb", ".github/x"] {
            assert!(!is_forbidden(Path::new(path)), "{path}");
        }
    }
}
