//! What is uncommitted in a working tree.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::MOST_SAID;
use crate::git::{Call, Git};
use crate::scope::Repository;

/// How a file differs from what is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// The index knows it.
    pub(crate) tracked: bool,
    /// Its content is not the index's.
    pub(crate) differs: bool,
    /// It isn't there any more.
    pub(crate) gone: bool,
    /// The index is not HEAD's.
    pub(crate) staged: bool,
}

/// What is uncommitted, by path from the working tree's root.
pub(crate) struct Look {
    pub(crate) changes: BTreeMap<Vec<u8>, Change>,
    /// The commit that is checked out.
    pub(crate) head: Option<String>,
    /// Some files are in conflict: the index can't be stored.
    pub(super) unmerged: bool,
    /// Repositories in the working tree that it doesn't know.
    pub(super) nested: Vec<Vec<u8>>,
}

/// Looks. Nothing is written.
pub(crate) fn look(git: &Git<'_>, repository: &Repository) -> Result<Look, String> {
    let head =
        git.word(Call { args: &["rev-parse", "-q", "--verify", "HEAD^{commit}"], also: 1, ..Call::default() })?;
    let head = Some(head).filter(|head| !head.is_empty());
    let mut look = Look { changes: BTreeMap::new(), head, unmerged: false, nested: Vec::new() };
    let list = |args: &[&str]| git.bytes(Call { args, most: MOST_SAID, ..Call::default() });

    let said = list(&["diff-files", "--raw", "-z", "--no-renames", "--no-ext-diff", "--ignore-submodules=all"])?;
    let mut parts = said.split(|b| *b == 0);
    while let (Some(entry), Some(path)) = (parts.next(), parts.next()) {
        let change = look.changes.entry(path.to_owned()).or_default();
        (change.tracked, change.differs) = (true, true);
        match entry.last() {
            Some(b'D') => change.gone = true,
            Some(b'U') => look.unmerged = true,
            _ => {}
        }
    }
    // In conflict, and deleted: no more than the first is said of it.
    for (path, change) in look.changes.iter_mut().filter(|_| look.unmerged) {
        change.gone |= repository.worktree.join(path_of(path)).symlink_metadata().is_err();
    }

    let staged = match &look.head {
        Some(head) => {
            list(&["diff-index", "--cached", "--name-only", "-z", "--no-renames", "--no-ext-diff", head, "--"])?
        }
        None => list(&["ls-files", "-z"])?,
    };
    for path in staged.split(|b| *b == 0).filter(|path| !path.is_empty()) {
        let change = look.changes.entry(path.to_owned()).or_default();
        (change.tracked, change.staged) = (true, true);
    }

    for path in list(&["ls-files", "-z", "--others", "--exclude-standard"])?.split(|b| *b == 0) {
        if path.ends_with(b"/") {
            look.nested.push(path.to_owned());
        } else if !path.is_empty() {
            let change = look.changes.entry(path.to_owned()).or_default();
            // Taken out of the index and left on disk.
            (change.tracked, change.differs, change.gone) = (false, true, false);
        }
    }
    Ok(look)
}

/// A path as git says it.
#[cfg(unix)]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// A path as git says it.
#[cfg(not(unix))]
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
