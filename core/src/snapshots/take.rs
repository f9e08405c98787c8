//! Making a snapshot.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::workspace::Workspace;
use super::{Look, MOST_SAID, PREFIX, Snapshot, Stored, Story, path_of, stamp, stored};
use crate::coordinator::Inner;
use crate::git::{Call, Git};
use crate::ids::short;
use crate::scope::Repository;
use crate::sys::filesystem::{is_private, may_run, open_beside, open_regular};

/// A larger file is left out.
const MOST_FILE: u64 = 64 << 20;
/// Of all files together.
const MOST_BYTES: u64 = 256 << 20;
const MOST_FILES: usize = 20_000;
/// Names of those left out that are remembered.
const MOST_NAMED: usize = 50;
const MOST_INDEX: u64 = 1 << 30;
/// Files handed to git at once: so many, or so many bytes.
const BATCH: usize = 500;
const BATCH_BYTES: u64 = 4 << 20;
/// Files that only their owner could read, by name; where there are more, all are taken for private.
const MOST_PRIVATE: usize = 200;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// What is older goes when another is taken.
const KEPT_MS: i64 = 14 * DAY_MS;
/// Of one agent's the newest are kept, and all of its last day.
const KEPT: usize = 50;
/// Whoever's they are.
const KEPT_ALL: usize = 400;

/// What a line of `update-index --index-info` says of a path.
struct Entry<'a> {
    path: &'a [u8],
    /// Mode and id, where there is content.
    content: Option<(&'static str, String)>,
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
    if look.unmerged {
        settle(git, &index)?;
    }
    let index_tree = Some(write_tree()?);
    let Filled { left_out, private } = fill(git, repository, look, &work, &index)?;
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
        left_out_count: (left_out.len() + look.nested.len()) as u64,
        all_private: private.len() > MOST_PRIVATE,
        private: Vec::new(),
        kept: kept.to_vec(),
    };
    let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
    story.left_out = left_out.iter().chain(&look.nested).take(MOST_NAMED).map(name).collect();
    story.private = private.iter().take(MOST_PRIVATE).map(name).collect();
    let all = stored(git)?;
    if let Some(same) = all.first().filter(|newest| holds_the_same(newest, &tree, &story)) {
        return Ok(same.snapshot.clone());
    }
    // Names sort by time: two in one moment, or just after the clock was set, too.
    let next = all.first().map(|newest| newest.snapshot.at_ms + 1).filter(|next| next - now < 1_000);
    story.at_ms = now.max(next.unwrap_or(now));
    let commit = commit(git, &tree, &story, now)?;
    let (moment, random) = (stamp(story.at_ms), short(&*inner.db.inputs().random, 4));
    let name = format!("{PREFIX}{moment}-{:03}{random}", story.at_ms.max(0) % 1000);
    let nothing = "0".repeat(commit.len());
    crate::fault::point("snapshot.ref");
    git.run(&["update-ref", &name, &commit, &nothing])?;
    prune(git, &all, &story, now);
    let Story { at_ms, agent, command, worktree, branch, files, left_out, left_out_count, kept, .. } = story;
    Ok(Snapshot { name, commit, at_ms, agent, command, worktree, branch, files, left_out, left_out_count, kept })
}

fn holds_the_same(newest: &Stored, tree: &str, story: &Story) -> bool {
    let Stored { snapshot, tree: its_tree, head, index, private, all_private } = newest;
    its_tree == tree
        && (private, all_private) == (&story.private, &story.all_private)
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

/// Puts an end to conflicts in the copied index, as "ours" has it: it couldn't be stored otherwise, and the rest of it with it.
fn settle(git: &Git<'_>, index: &Path) -> Result<(), String> {
    let args = ["ls-files", "-u", "-z"];
    let said = git.bytes(Call { args: &args, index: Some(index), most: MOST_SAID, ..Call::default() })?;
    let mut lines = Vec::new();
    let mut ours = Vec::new();
    // `MODE ID STAGE` and, after a tab, the path.
    for entry in said.split(|b| *b == 0) {
        let Some(tab) = entry.iter().position(|b| *b == b'\t') else { continue };
        let (words, path) = (String::from_utf8_lossy(&entry[..tab]), &entry[tab + 1..]);
        let [mode, id, stage] = words.split(' ').collect::<Vec<_>>()[..] else { continue };
        line(&mut lines, "0", &"0".repeat(id.len()), path);
        if stage == "2" {
            line(&mut ours, mode, id, path);
        }
    }
    lines.extend(ours);
    update_index(git, index, lines)
}

fn update_index(git: &Git<'_>, index: &Path, lines: Vec<u8>) -> Result<(), String> {
    if lines.is_empty() {
        return Ok(());
    }
    let args = ["-c", "core.splitIndex=false", "update-index", "-z", "--index-info"];
    git.bytes(Call { args: &args, input: lines, index: Some(index), ..Call::default() }).map(drop)
}

#[derive(Default)]
struct Filled {
    left_out: Vec<Vec<u8>>,
    /// Nobody but their owner could read them.
    private: Vec<Vec<u8>>,
}

/// Stores the files and puts them into the copied index, which then lacks those that were left out.
///
/// What git knows comes first, and small files before large ones: what may be too much (a build's output that isn't ignored,
/// say) ends when half of the time is over, and the batch that git was at then is given up.
fn fill(git: &Git<'_>, repository: &Repository, look: &Look, work: &Workspace, index: &Path) -> Result<Filled, String> {
    let (mut filled, mut entries) = (Filled::default(), Vec::new());
    let (mut room, mut count) = (MOST_BYTES, 0);
    for tracked in [true, false] {
        let hurried = git.hurried(if tracked { 0.8 } else { 0.7 });
        let is_over = || if tracked { hurried.in_time().is_err() } else { git.is_pressed() };
        let mut batch = Batch::default();
        let mut paths: Vec<_> = look.changes.iter().filter(|(_, c)| c.differs && c.tracked == tracked).collect();
        let size = |path: &[u8]| fs::symlink_metadata(repository.worktree.join(path_of(path))).map_or(0, |f| f.len());
        paths.sort_by_cached_key(|(path, _)| size(path));
        for (path, change) in paths {
            git.in_time()?;
            let name = work.path(&format!("f{count}"));
            let copied = if change.gone {
                Copied::Gone
            } else if count >= MOST_FILES || is_over() {
                Copied::TooLarge
            } else {
                copy(&repository.worktree.join(path_of(path)), &name, MOST_FILE.min(room))
                    .map_err(|e| format!("{} can't be copied: {e}", String::from_utf8_lossy(path)))?
            };
            match copied {
                Copied::Content { mode, size, private } => {
                    (room, count) = (room - size, count + 1);
                    if private {
                        filled.private.push(path.clone());
                    }
                    batch.add(path, mode, size, name);
                    if batch.is_full() {
                        std::mem::take(&mut batch).store(&hurried, &mut entries, &mut filled)?;
                    }
                }
                Copied::Gone => entries.push(Entry { path, content: None }),
                Copied::TooLarge => filled.leave_out(path, &mut entries),
            }
        }
        batch.store(&hurried, &mut entries, &mut filled)?;
    }
    let width = git.word(Call { args: &["hash-object", "-t", "tree", "--stdin"], ..Call::default() })?.len();
    let mut lines = Vec::new();
    // A file may stand where a directory was, and the other way round.
    for entry in entries.iter().filter(|entry| entry.content.is_none()) {
        line(&mut lines, "0", &"0".repeat(width), entry.path);
    }
    for entry in &entries {
        if let Some((mode, id)) = &entry.content {
            line(&mut lines, mode, id, entry.path);
        }
    }
    update_index(git, index, lines)?;
    Ok(filled)
}

impl Filled {
    fn leave_out<'a>(&mut self, path: &'a [u8], entries: &mut Vec<Entry<'a>>) {
        self.left_out.push(path.to_owned());
        entries.push(Entry { path, content: None });
    }
}

/// Copies that git is handed at once.
#[derive(Default)]
struct Batch<'a> {
    files: Vec<(&'a [u8], &'static str)>,
    names: Vec<PathBuf>,
    bytes: u64,
}

impl<'a> Batch<'a> {
    fn add(&mut self, path: &'a [u8], mode: &'static str, size: u64, name: PathBuf) {
        self.files.push((path, mode));
        self.names.push(name);
        self.bytes += size;
    }

    fn is_full(&self) -> bool {
        self.names.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// Stores them, or leaves them out where git doesn't come to an end with it.
    fn store(self, git: &Git<'_>, entries: &mut Vec<Entry<'a>>, filled: &mut Filled) -> Result<(), String> {
        let ids = match hash(git, &self.names) {
            Err(_) if git.in_time().is_err() => {
                self.files.iter().for_each(|(path, _)| filled.leave_out(path, entries));
                return Ok(());
            }
            ids => ids?,
        };
        entries.extend(self.files.iter().zip(ids).map(|(&(path, mode), id)| Entry { path, content: Some((mode, id)) }));
        self.names.iter().for_each(|name| drop(fs::remove_file(name)));
        Ok(())
    }
}

fn line(lines: &mut Vec<u8>, mode: &str, id: &str, path: &[u8]) {
    let _ = write!(lines, "{mode} {id}\t");
    lines.extend_from_slice(path);
    lines.push(0);
}

enum Copied {
    Content { mode: &'static str, size: u64, private: bool },
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
        return Ok(Copied::Content { mode: "120000", size: target.len() as u64, private: false });
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
    let mode = if may_run(&found) { "100755" } else { "100644" };
    Ok(Copied::Content { mode, size: copied, private: is_private(&found) })
}

/// Stores the copies as they are; their ids.
fn hash(git: &Git<'_>, names: &[PathBuf]) -> Result<Vec<String>, String> {
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
fn prune(git: &Git<'_>, all: &[Stored], taken: &Story, now: i64) {
    let mut of_agent = std::collections::HashMap::from([(taken.agent.as_deref(), 1)]);
    let mut kept = 1;
    let over = all.iter().filter(|Stored { snapshot, .. }| {
        let age = now - snapshot.at_ms;
        let its = of_agent.entry(snapshot.agent.as_deref()).or_insert(0);
        if age > KEPT_MS || *its >= KEPT && age > DAY_MS || kept >= KEPT_ALL {
            return true;
        }
        (*its, kept) = (*its + 1, kept + 1);
        false
    });
    let input: String = over.map(|s| format!("delete {} {}\n", s.snapshot.name, s.snapshot.commit)).collect();
    if !input.is_empty() {
        let _ = git.bytes(Call { args: &["update-ref", "--stdin"], input: input.into_bytes(), ..Call::default() });
    }
}
