//! Putting files back as they were in a snapshot.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::workspace::Workspace;
use super::{Look, MOST_SAID, Snapshot, Stored, is_forbidden, look, no_answer, path_of, take};
use crate::coordinator::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::git::{Call, Git};
use crate::ids::short;
use crate::scope::Repository;
use crate::sys::beneath::{Content, put};
use crate::sys::filesystem::{may_run, open_beside};

/// Which files of a snapshot to put back, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreFiles {
    /// Files and directories, relative to the handle's directory; none for all.
    pub paths: Vec<String>,
    /// Overwrites what was changed since, after taking a snapshot of it.
    pub force: bool,
    /// Only tells what would be done.
    pub dry_run: bool,
}

/// What became of the files of a snapshot, by path from the working tree's root.
#[derive(Clone, Debug, Serialize)]
pub struct RestoredFiles {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Put back, or with `dry_run` what would be.
    pub restored: Vec<String>,
    /// What is already as it was.
    pub unchanged: Vec<String>,
    /// Changed since, and committed nowhere: not overwritten. Where there are some, nothing was put back.
    pub refused: Vec<String>,
    /// What could not be written, and why.
    pub failed: Vec<String>,
    /// Those among the asked for that the snapshot doesn't have, because they were too large.
    pub left_out: Vec<String>,
    /// Files that had been staged with other content than they had: it is in the snapshot, and was not put back.
    pub staged: Vec<String>,
    /// The commit that has what was staged, `refs/port-daddy/…^2`.
    pub staged_in: String,
    /// What was there before, where something was overwritten by force.
    pub before: Option<Snapshot>,
}

/// A file of a snapshot.
struct Kept {
    path: Vec<u8>,
    mode: String,
    id: String,
    /// Only its owner could read it.
    private: bool,
    /// Where its content begins in the file of contents, and its size.
    at: (u64, u64),
}

/// What stands at a file's place now.
enum Standing {
    Nothing,
    TheSame,
    /// Something that is committed, or that the caller accepts to lose.
    Free,
    Changed,
}

pub(super) fn put_back(
    inner: &Inner,
    git: &Git<'_>,
    repository: &Repository,
    stored: &Stored,
    what: &RestoreFiles,
) -> Result<RestoredFiles> {
    let (snapshot, here) = (&stored.snapshot, repository.worktree.display().to_string());
    if snapshot.worktree != here && Path::new(&snapshot.worktree).is_dir() {
        return Err(Error::invalid(format!(
            "{} was taken in another working tree, {}",
            snapshot.short_name(),
            snapshot.worktree
        ))
        .with("snapshot", snapshot.name.as_str())
        .with("worktree", snapshot.worktree.as_str())
        .hint("go there, then try again"));
    }
    let failed = |problem: String| no_answer(repository, &problem);
    let wanted = what.paths.iter().map(|path| relative(inner, repository, path)).collect::<Result<Vec<_>>>()?;
    let is_wanted = |path: &Path| wanted.is_empty() || wanted.iter().any(|wanted| path.starts_with(wanted));
    let mut kept = kept(git, stored).map_err(failed)?;
    kept.retain(|kept| is_wanted(&path_of(&kept.path)));
    let left_out: Vec<String> = snapshot.left_out.iter().filter(|path| is_wanted(Path::new(path))).cloned().collect();
    let mut staged = staged(git, stored).map_err(failed)?;
    staged.retain(|path| is_wanted(&path_of(path)));
    for (path, said) in wanted.iter().zip(&what.paths) {
        let mut paths = kept.iter().map(|kept| &kept.path).chain(&staged);
        let has = paths.any(|kept| path_of(kept).starts_with(path));
        if !has && !left_out.iter().any(|left| Path::new(left).starts_with(path)) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{} has no uncommitted {said:?}", snapshot.short_name()),
            )
            .with("path", said.as_str())
            .hint(format!("pd git show {} lists what it has", snapshot.short_name())));
        }
    }
    let work = Workspace::make(inner.db.path(), &*inner.db.inputs().random, git).map_err(failed)?;
    let mut contents = contents(git, &work.path("contents"), &mut kept).map_err(failed)?;
    let now = look(git, repository).map_err(failed)?;
    let tracked = git
        .bytes(Call { args: &["ls-files", "-z"], most: MOST_SAID, ..Call::default() })
        .map_err(failed)?
        .split(|b| *b == 0)
        .map(<[u8]>::to_vec)
        .collect();
    let mut answer = RestoredFiles {
        snapshot: snapshot.clone(),
        restored: Vec::new(),
        unchanged: Vec::new(),
        refused: Vec::new(),
        failed: Vec::new(),
        left_out,
        staged: staged.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
        staged_in: format!("{}^{}", snapshot.name, if stored.head.is_some() { 2 } else { 1 }),
        before: None,
    };
    let mut write = Vec::new();
    for kept in &kept {
        let name = String::from_utf8_lossy(&kept.path).into_owned();
        let standing = standing(repository, kept, &mut contents, &now, &tracked)
            .map_err(|e| failed(format!("{name} can't be looked at: {e}")))?;
        match standing {
            Standing::TheSame => answer.unchanged.push(name),
            Standing::Changed if !what.force => answer.refused.push(name),
            Standing::Nothing | Standing::Free | Standing::Changed => {
                answer.restored.push(name);
                write.push(kept);
            }
        }
    }
    if !answer.refused.is_empty() {
        answer.restored.clear();
    }
    if what.dry_run || answer.restored.is_empty() {
        return Ok(answer);
    }
    if what.force {
        let command = format!("pd git restore {} --force", snapshot.short_name());
        answer.before = Some(take(inner, git, repository, &now, Some(&command), &[]).map_err(failed)?);
    }
    answer.restored.clear();
    for kept in write {
        let name = String::from_utf8_lossy(&kept.path).into_owned();
        match put_one(inner, repository, kept, &mut contents) {
            Ok(()) => answer.restored.push(name),
            Err(e) => answer.failed.push(format!("{name}: {e}")),
        }
    }
    Ok(answer)
}

/// A path as the caller says it, from the working tree's root.
fn relative(inner: &Inner, repository: &Repository, said: &str) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in inner.place.cwd.join(said).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.strip_prefix(&repository.worktree).map(Path::to_owned).map_err(|_| {
        Error::invalid(format!("{said:?} is not in the working tree {}", repository.worktree.display()))
            .with("path", said)
            .hint("name a file below it")
    })
}

/// The files that were uncommitted in a snapshot.
fn kept(git: &Git<'_>, stored: &Stored) -> Result<Vec<Kept>, String> {
    let said = difference(git, &before(git, stored)?, &stored.tree)?;
    let mut parts = said.split(|b| *b == 0);
    let mut kept = Vec::new();
    while let (Some(entry), Some(path)) = (parts.next(), parts.next()) {
        let entry = String::from_utf8_lossy(entry);
        let words: Vec<&str> = entry.split(' ').collect();
        let [_, mode, _, id, _] = words[..] else { continue };
        if matches!(mode, "100644" | "100755" | "120000") && !is_forbidden(&path_of(path)) {
            let private = stored.all_private || stored.private.contains(&String::from_utf8_lossy(path).into_owned());
            kept.push(Kept { path: path.to_owned(), mode: mode.to_owned(), id: id.to_owned(), private, at: (0, 0) });
        }
    }
    Ok(kept)
}

/// The commit below a snapshot, or the empty tree.
fn before(git: &Git<'_>, stored: &Stored) -> Result<String, String> {
    match &stored.head {
        Some(head) => Ok(head.clone()),
        None => git.word(Call { args: &["hash-object", "-t", "tree", "--stdin"], ..Call::default() }),
    }
}

fn difference(git: &Git<'_>, from: &str, to: &str) -> Result<Vec<u8>, String> {
    let options = ["diff-tree", "-r", "--raw", "-z", "--no-renames", "--no-ext-diff", "--full-index"];
    let args = [&options[..], &[from, to, "--"]].concat();
    git.bytes(Call { args: &args, most: MOST_SAID, ..Call::default() })
}

/// The files that were staged with content that is neither committed nor the file's.
fn staged(git: &Git<'_>, stored: &Stored) -> Result<Vec<Vec<u8>>, String> {
    let Some(index) = &stored.index else { return Ok(Vec::new()) };
    let paths = |from: &str, to: &str| -> Result<BTreeSet<Vec<u8>>, String> {
        let said = difference(git, from, to)?;
        let mut parts = said.split(|b| *b == 0);
        let mut paths = BTreeSet::new();
        while let (Some(entry), Some(path)) = (parts.next(), parts.next()) {
            // Taken out of the index: there is no content.
            if !entry.ends_with(b" D") {
                paths.insert(path.to_owned());
            }
        }
        Ok(paths)
    };
    let staged = paths(&before(git, stored)?, index)?;
    let differing = paths(&stored.tree, index)?;
    Ok(staged.intersection(&differing).cloned().collect())
}

/// Writes all contents to one file, and says where each is.
fn contents(git: &Git<'_>, at: &Path, kept: &mut [Kept]) -> Result<BufReader<File>, String> {
    let failed = |e: std::io::Error| format!("{} can't be used: {e}", at.display());
    let into = File::create(at).map_err(failed)?;
    let input: String = kept.iter().map(|kept| format!("{}\n", kept.id)).collect();
    if !input.is_empty() {
        let args = ["cat-file", "--batch"];
        git.bytes(Call { args: &args, input: input.into_bytes(), into: Some(into), ..Call::default() })?;
    }
    let mut contents = BufReader::new(File::open(at).map_err(failed)?);
    for kept in kept {
        let mut header = String::new();
        contents.read_line(&mut header).map_err(failed)?;
        let size = header.trim_end().rsplit_once(" blob ").map_or("", |(_, rest)| rest);
        // `ID blob SIZE`
        let size: u64 = size.parse().map_err(|_| format!("git doesn't have the object {}", kept.id))?;
        kept.at = (contents.stream_position().map_err(failed)?, size);
        contents.seek_relative(size as i64 + 1).map_err(failed)?;
    }
    Ok(contents)
}

impl Kept {
    fn content<'c>(&self, contents: &'c mut BufReader<File>) -> std::io::Result<impl Read + use<'c>> {
        contents.seek(SeekFrom::Start(self.at.0))?;
        Ok(contents.take(self.at.1))
    }
}

fn standing(
    repository: &Repository,
    kept: &Kept,
    contents: &mut BufReader<File>,
    now: &Look,
    tracked: &BTreeSet<Vec<u8>>,
) -> std::io::Result<Standing> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let path = repository.worktree.join(path_of(&kept.path));
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(e) if e.kind() == NotFound => return Ok(Standing::Nothing),
        Err(e) if e.kind() == NotADirectory => return Ok(Standing::Changed),
        Err(e) => return Err(e),
    };
    let is_link = kept.mode == "120000";
    let same = if is_link {
        let mut target = Vec::new();
        kept.content(contents)?.read_to_end(&mut target)?;
        found.is_symlink() && fs::read_link(&path)?.as_os_str().as_encoded_bytes() == target
    } else {
        let mode = (kept.mode == "100755") == may_run(&found) || cfg!(not(unix));
        found.is_file() && mode && found.len() == kept.at.1 && equal(kept.content(contents)?, open_beside(&path)?)?
    };
    Ok(match same {
        true => Standing::TheSame,
        false if found.is_dir() => Standing::Changed,
        false if tracked.contains(&kept.path) && !now.changes.contains_key(&kept.path) => Standing::Free,
        false => Standing::Changed,
    })
}

fn equal(one: impl Read, other: impl Read) -> std::io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let n = a.len().min(b.len());
        if n == 0 {
            return Ok(a.is_empty() && b.is_empty());
        }
        if a[..n] != b[..n] {
            return Ok(false);
        }
        one.consume(n);
        other.consume(n);
    }
}

fn put_one(inner: &Inner, repository: &Repository, kept: &Kept, contents: &mut BufReader<File>) -> std::io::Result<()> {
    let spare = format!(".pd-restore-{}", short(&*inner.db.inputs().random, 12));
    let path = path_of(&kept.path);
    if kept.mode == "120000" {
        let mut target = Vec::new();
        kept.content(contents)?.read_to_end(&mut target)?;
        return put(&repository.worktree, &path, Content::Link(path_of(&target).as_os_str()), &spare);
    }
    let mut from = kept.content(contents)?;
    let content = Content::File { from: &mut from, executable: kept.mode == "100755", private: kept.private };
    put(&repository.worktree, &path, content, &spare)
}
