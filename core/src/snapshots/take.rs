//! Making a snapshot.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::workspace::Workspace;
use super::{Look, MOST_SAID, PREFIX, Snapshot, Stored, Story, path_of, stamp, stored};
use crate::coordinator::Inner;
use crate::git::{Call, Git};
use crate::ids::short;
use crate::scope::Repository;
use crate::sys::filesystem::{open_beside, open_regular};

/// A larger file is left out.
const MOST_FILE: u64 = 64 << 20;
/// Of all files together.
const MOST_BYTES: u64 = 256 << 20;
const MOST_FILES: usize = 20_000;
/// Names of those left out that are remembered.
const MOST_NAMED: usize = 50;
const MOST_INDEX: u64 = 1 << 30;
/// The newest are kept, so many and so long; the rest goes when another is taken.
const KEPT: usize = 50;
const KEPT_MS: i64 = 14 * 24 * 3600 * 1000;

/// What a line of `update-index --index-info` says of a path.
struct Entry<'a> {
    path: &'a [u8],
    /// The mode, where there is content.
    mode: Option<&'static str>,
}

/// Takes a snapshot of what `look` saw, before `command`. `kept` are commits that it keeps besides. The newest one is given
/// again where it holds the same.
pub(crate) fn take(
    inner: &Inner,
    git: &Git<'_>,
    repository: &Repository,
    look: &Look,
    command: Option<&str>,
    kept: &[String],
) -> Result<Snapshot, String> {
    let work = Workspace::make(inner.db.path(), &*inner.db.inputs().random, git)?;
    let index = work.path("index");
    copy_index(&repository.git_dir.join("index"), &index)?;
    let write_tree =
        || git.word(Call { args: &["write-tree", "--missing-ok"], index: Some(&index), ..Call::default() });
    let index_tree = if look.unmerged { None } else { Some(write_tree()?) };
    let left_out = fill(git, repository, look, &work, &index)?;
    let tree = write_tree()?;
    crate::fault::point("snapshot.objects");

    let now = inner.db.inputs().clock.wall_ms();
    let mut story = Story {
        at_ms: now,
        agent: inner.caller.agent.clone(),
        command: command.map(str::to_owned),
        worktree: repository.worktree.display().to_string(),
        branch: repository.head().branch,
        head: look.head.clone(),
        index: index_tree,
        files: (look.changes.len() - left_out.len().min(look.changes.len())) as u64,
        left_out: Vec::new(),
        kept: kept.to_vec(),
    };
    let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    story.left_out = left_out.iter().chain(&look.nested).take(MOST_NAMED).map(name).collect();
    let all = stored(git)?;
    if let Some(same) = all.first().filter(|newest| holds_the_same(newest, &tree, &story)) {
        return Ok(same.snapshot.clone());
    }
    let commit = commit(git, &tree, &story, now)?;
    let name = format!("{PREFIX}{}-{}", stamp(now), short(&*inner.db.inputs().random, 4));
    let nothing = "0".repeat(commit.len());
    crate::fault::point("snapshot.ref");
    git.run(&["update-ref", &name, &commit, &nothing])?;
    prune(git, &all, now);
    let Story { agent, command, worktree, branch, files, left_out, kept, .. } = story;
    Ok(Snapshot { name, commit, at_ms: now, agent, command, worktree, branch, files, left_out, kept })
}

fn holds_the_same(newest: &Stored, tree: &str, story: &Story) -> bool {
    let Stored { snapshot, tree: its_tree, head, index } = newest;
    its_tree == tree
        && *head == story.head
        && *index == story.index
        && snapshot.worktree == story.worktree
        && snapshot.branch == story.branch
        && story.kept.iter().all(|id| snapshot.kept.contains(id))
}

fn copy_index(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the index can't be copied: {e}");
    let from = match open_regular(from) {
        Ok(from) => from,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut to = File::create(to).map_err(failed)?;
    let copied = std::io::copy(&mut from.take(MOST_INDEX + 1), &mut to).map_err(failed)?;
    if copied > MOST_INDEX { Err("the index is larger than 1 GiB".to_owned()) } else { Ok(()) }
}

/// Stores the files and puts them into the copied index. Gives those that were left out, which the index then lacks.
fn fill(
    git: &Git<'_>,
    repository: &Repository,
    look: &Look,
    work: &Workspace,
    index: &Path,
) -> Result<Vec<Vec<u8>>, String> {
    let (mut entries, mut names, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut room = MOST_BYTES;
    // What may be too much (a build's output that isn't ignored, say) comes last.
    let differing = |tracked: bool| look.changes.iter().filter(move |(_, c)| c.differs && c.tracked == tracked);
    for (path, change) in differing(true).chain(differing(false)) {
        git.in_time()?;
        let name = work.path(&format!("f{}", names.len()));
        let copied = if change.gone {
            Copied::Gone
        } else if names.len() >= MOST_FILES || git.is_pressed() {
            Copied::TooLarge
        } else {
            copy(&repository.worktree.join(path_of(path)), &name, MOST_FILE.min(room))
                .map_err(|e| format!("{} can't be copied: {e}", String::from_utf8_lossy(path)))?
        };
        match copied {
            Copied::Content(mode, size) => {
                room -= size;
                names.push(name);
                entries.push(Entry { path, mode: Some(mode) });
            }
            Copied::Gone => entries.push(Entry { path, mode: None }),
            Copied::TooLarge => {
                left_out.push(path.clone());
                entries.push(Entry { path, mode: None });
            }
        }
    }
    let ids = hash(git, &names)?;
    let width = git.word(Call { args: &["hash-object", "-t", "tree", "--stdin"], ..Call::default() })?.len();
    let mut lines = Vec::new();
    // A file may stand where a directory was, and the other way round.
    for entry in entries.iter().filter(|entry| entry.mode.is_none()) {
        line(&mut lines, "0", &"0".repeat(width), entry.path);
    }
    for (entry, id) in entries.iter().filter(|entry| entry.mode.is_some()).zip(&ids) {
        line(&mut lines, entry.mode.unwrap_or_default(), id, entry.path);
    }
    if !lines.is_empty() {
        let args = ["-c", "core.splitIndex=false", "update-index", "-z", "--index-info"];
        git.bytes(Call { args: &args, input: lines, index: Some(index), ..Call::default() })?;
    }
    Ok(left_out)
}

fn line(lines: &mut Vec<u8>, mode: &str, id: &str, path: &[u8]) {
    let _ = write!(lines, "{mode} {id}\t");
    lines.extend_from_slice(path);
    lines.push(0);
}

enum Copied {
    Content(&'static str, u64),
    Gone,
    TooLarge,
}

/// Copies a file, so that it is read once, by us, whatever becomes of it meanwhile. Of a symbolic link its target's name.
fn copy(from: &Path, to: &Path, most: u64) -> std::io::Result<Copied> {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let gone = |e: std::io::Error| match e.kind() {
        NotFound | NotADirectory => Ok(Copied::Gone),
        // What nobody can read isn't ours to fail for.
        PermissionDenied => Ok(Copied::TooLarge),
        _ => Err(e),
    };
    let found = match fs::symlink_metadata(from) {
        Ok(found) => found,
        Err(e) => return gone(e),
    };
    if found.is_symlink() {
        let target = match fs::read_link(from) {
            Ok(target) => target,
            Err(e) => return gone(e),
        };
        let target = target.as_os_str().as_encoded_bytes();
        fs::write(to, target)?;
        return Ok(Copied::Content("120000", target.len() as u64));
    }
    if !found.is_file() {
        return Ok(Copied::Gone);
    }
    let file = match open_beside(from) {
        Ok(file) => file,
        Err(e) => return gone(e),
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(Copied::Gone);
    }
    if found.len() > most {
        return Ok(Copied::TooLarge);
    }
    let copied = std::io::copy(&mut file.take(most + 1), &mut File::create(to)?)?;
    if copied > most {
        return Ok(Copied::TooLarge);
    }
    Ok(Copied::Content(if crate::sys::filesystem::may_run(&found) { "100755" } else { "100644" }, copied))
}

/// Stores the copies as they are; their ids.
fn hash(git: &Git<'_>, names: &[std::path::PathBuf]) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut input = Vec::new();
    for name in names {
        let name = name.as_os_str().as_encoded_bytes();
        if name.contains(&b'\n') || name.starts_with(b"\"") {
            return Err("the database's path holds a line break".to_owned());
        }
        input.extend_from_slice(name);
        input.push(b'\n');
    }
    let args = ["hash-object", "-w", "--no-filters", "--stdin-paths"];
    let said = git.bytes(Call { args: &args, input, most: MOST_SAID, ..Call::default() })?;
    let ids: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
    if ids.len() == names.len() { Ok(ids) } else { Err("git stored fewer files than it was given".to_owned()) }
}

fn commit(git: &Git<'_>, tree: &str, story: &Story, now: i64) -> Result<String, String> {
    let committer = Some(("Port Daddy", now / 1000));
    let encoding = "i18n.commitEncoding=UTF-8";
    let head: Vec<&str> = story.head.iter().flat_map(|head| ["-p", head]).collect();
    let commit = |tree: &str, parents: &[&str], message: String| {
        let mut args = vec!["-c", encoding, "commit-tree", "--no-gpg-sign", tree];
        args.extend(parents);
        git.word(Call { args: &args, input: message.into_bytes(), committer, ..Call::default() })
    };
    let index = match &story.index {
        Some(tree) => Some(commit(tree, &head, "port-daddy: the index".to_owned())?),
        None => None,
    };
    let mut parents = head.clone();
    parents.extend(index.iter().chain(&story.kept).flat_map(|id| ["-p", id]));
    let before = story.command.as_deref().unwrap_or("pd git snapshot").replace(['\n', '\r', '\0'], " ");
    let story = serde_json::to_string(story).map_err(|e| e.to_string())?;
    commit(tree, &parents, format!("port-daddy: snapshot before {before}\n\n{story}\n"))
}

/// Removes what is too old or too much. Whoever can't leaves it to the next.
fn prune(git: &Git<'_>, all: &[Stored], now: i64) {
    let old = |stored: &&Stored| now - stored.snapshot.at_ms > KEPT_MS;
    let over = all.iter().skip(KEPT - 1).chain(all.iter().take(KEPT - 1).filter(old));
    let input: String = over.map(|s| format!("delete {} {}\n", s.snapshot.name, s.snapshot.commit)).collect();
    if !input.is_empty() {
        let _ = git.bytes(Call { args: &["update-ref", "--stdin"], input: input.into_bytes(), ..Call::default() });
    }
}
