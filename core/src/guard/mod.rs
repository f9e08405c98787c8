//! Git commands that destroy what others are at work on, and the snapshots that bring it back.
//!
//! A command is only read (`shell`, `command`). Where none of it has a risk, neither git nor the store is touched. Else the
//! store says who else works in that working tree or repository (`peers`); where nobody does, it ends there. Then git says
//! what is uncommitted, what agents were seen to write says whose that is, and a snapshot is taken. All of it is bounded: what
//! can't be had in time is left out, and the text says so.

mod args;
mod command;
mod commit;
mod peers;
mod shell;
mod stashes;
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use crate::activity;
use crate::agents::AgentState;
use crate::coordinator::Coordinator;
use crate::db::Durability;
use crate::error::Result;
use crate::git::{Call, Git};
use crate::scope::{Place, Repository};
use crate::snapshots::{Change, Look, Snapshot, look, path_of, take};

use command::{Found, Risk, risky};
pub use commit::{CommitCheck, StagedByOther};
use peers::{AtStake, Nearby};
use shell::{TOPLEVEL, joined};
use words::Threat;

/// For all of a line.
const LIMIT: Duration = Duration::from_secs(4);
/// Commands of a line that are looked into.
const MOST_COMMANDS: usize = 24;

/// Branches whose commits a snapshot keeps.
const MOST_TIPS: usize = 16;

/// What a shell command would do to the work of others.
#[derive(Clone, Debug, Serialize)]
pub struct Danger {
    /// The git command, `git reset --hard`.
    pub command: String,
    /// Whether it destroys or takes away. False where it puts others' work into a commit.
    pub destroys: bool,
    /// Who else is at work there.
    pub peers: Vec<Peer>,
    /// All that could be lost, as it was before.
    pub snapshot: Option<Snapshot>,
    /// What would happen to whose work and how to bring it back, in at most 600 characters. It quotes what others wrote.
    pub text: String,
}

/// Another agent with a session in the same working tree, or repository.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// Its agent.
    pub agent: String,
    /// The agent's name for people, else its id.
    pub agent_name: String,
    /// The session.
    pub session: String,
    /// What the session is for.
    pub purpose: String,
    /// How the agent is doing.
    pub state: AgentState,
    /// Whether it works in the same working tree.
    pub same_worktree: bool,
    /// Files in danger that it wrote last or has claimed, from the working tree's root; at most 50.
    pub files: Vec<String>,
}

impl Peer {
    fn lives(&self) -> bool {
        matches!(self.state, AgentState::Active | AgentState::Stale)
    }
}

/// How many commands of git in a line of a shell could destroy something.
#[cfg(fuzzing)]
pub(crate) fn risks(line: &str) -> usize {
    command::risky(line).len()
}

impl Coordinator {
    /// Looks at a shell command before it runs in the handle's directory: what git in it would destroy of others' work.
    /// Takes a snapshot first. None where there is nothing to fear. Takes a few seconds at most, and for a command without
    /// git no time at all.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn guard(&self, command: &str) -> Result<Option<Danger>> {
        let mut found = in_order(risky(command));
        let rest = found.split_off(found.len().min(MOST_COMMANDS));
        let until = Instant::now() + LIMIT;
        let mut danger: Option<Danger> = None;
        for found in &found {
            let Some(next) = self.danger_of(found, until)? else { continue };
            danger = Some(match danger {
                None => next,
                Some(first) => first.and(next),
            });
        }
        if let Some(first) = rest.first() {
            let command = format!("{} and {} more git commands that weren't looked at", first.command, rest.len() - 1);
            let unknown = Found { command, dir: first.dir.clone(), risk: Risk::Tree };
            danger = match danger {
                // Anything may be in them.
                None => self.danger_of(&unknown, until)?,
                Some(danger) => Some(danger.saying(&format!(" {} more git commands weren't looked at.", rest.len()))),
            };
        }
        if let (Some(danger), true) = (&danger, self.caller().agent.is_some()) {
            let peers: Vec<&str> = danger.peers.iter().map(|peer| peer.agent.as_str()).collect();
            let snapshot = danger.snapshot.as_ref().map(Snapshot::short_name);
            let detail = json!({"peers": peers, "snapshot": snapshot});
            self.act(Durability::Process, |tx, actor| {
                activity::record(tx, actor, "git.danger", &danger.command, detail).map(|_| ())
            })?;
        }
        Ok(danger)
    }

    /// Looks at what a shell command that has run left behind: whose a new stash entry is.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn guarded(&self, command: &str) -> Result<()> {
        let touches = |risk: &Risk| matches!(risk, Risk::Stash { .. } | Risk::StashEntry { .. } | Risk::StashClear);
        let until = Instant::now() + LIMIT;
        let mut found: Vec<Found> = risky(command).into_iter().filter(|found| touches(&found.risk)).collect();
        // What a line has made new is the caller's, whatever else it does with the stash.
        found.sort_by_key(|found| !matches!(found.risk, Risk::Stash { .. }));
        for found in found.iter().take(MOST_COMMANDS) {
            if let Some(repository) = self.repository_of(&found.dir) {
                let git = Git::within(&repository.worktree, left(until));
                self.note_stashes(&git, &repository, matches!(found.risk, Risk::Stash { .. }))?;
            }
        }
        Ok(())
    }

    fn repository_of(&self, dir: &str) -> Option<Repository> {
        match dir.is_empty() {
            true => self.inner.place.repository.clone(),
            false => Place::of(&self.reached(dir)).ok()?.repository,
        }
    }

    /// The directory that a command's text names.
    fn reached(&self, dir: &str) -> PathBuf {
        let mut at = self.inner.place.cwd.clone();
        let dir = match (dir.strip_prefix('~'), std::env::home_dir()) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                at = home;
                rest.trim_start_matches('/')
            }
            _ => dir,
        };
        for (nth, part) in dir.split(TOPLEVEL).enumerate() {
            if nth > 0
                && let Some(repository) = Place::of(&at).ok().and_then(|place| place.repository)
            {
                at = repository.worktree;
            }
            at = at.join(if nth > 0 { part.trim_start_matches('/') } else { part });
        }
        at
    }

    fn danger_of(&self, found: &Found, until: Instant) -> Result<Option<Danger>> {
        let dir = match &found.risk {
            Risk::Worktree(name) => self.worktree_of(found, name, until),
            _ => found.dir.clone(),
        };
        let Some(repository) = self.repository_of(&dir) else { return Ok(None) };
        let git = Git::within(&repository.worktree, left(until));
        let nearby = self.nearby(&repository)?;
        let cwd = self.reached(&dir);
        match &found.risk {
            Risk::Stash { .. } => self.note_stashes(&git, &repository, false)?,
            Risk::StashEntry { .. } | Risk::StashClear => {
                self.note_stashes(&git, &repository, false)?;
                return self.stash_danger(found, &git, &repository, &nearby);
            }
            Risk::Push { remote, branch } => {
                let branch = branch.clone().or_else(|| repository.head().branch);
                let Some(branch) = branch else { return Ok(None) };
                let peers = nearby.on_branch(&branch);
                let tip = format!("refs/remotes/{}/{branch}", remote.as_deref().unwrap_or("origin"));
                return self.branch_danger(found, &git, &repository, peers, &[tip], Threat::Push);
            }
            Risk::Branch(names) => {
                let head = repository.head().branch;
                let named = |name: &String| if name == "HEAD" { head.clone() } else { Some(name.clone()) };
                let names: Vec<String> = names.iter().filter_map(named).collect();
                let any = names.iter().any(String::is_empty);
                let on = |name: &String| if any { nearby.sharing_refs() } else { nearby.on_branch(name) };
                let mut peers: Vec<Peer> = Vec::new();
                for peer in names.iter().flat_map(on).filter(|peer| nearby.shares_refs(peer)) {
                    if !peers.iter().any(|known| known.agent == peer.agent) {
                        peers.push(peer);
                    }
                }
                let tips: Vec<String> = names.iter().map(|name| format!("refs/heads/{name}")).collect();
                return self.branch_danger(found, &git, &repository, peers, &tips, Threat::Branch);
            }
            _ => {}
        }
        let peers = nearby.in_worktree();
        if peers.is_empty() {
            return Ok(None);
        }
        let seen = look(&git, &repository);
        let reach = Reach::of(&found.risk, &cwd, &repository, &git);
        let stake = match &seen {
            Ok(seen) => {
                let at_stake = seen.changes.iter().filter(|(path, change)| reach.covers(path, **change));
                let paths: Vec<&Vec<u8>> = at_stake.map(|(path, _)| path).collect();
                self.whose(&repository, &paths, &peers)?
            }
            Err(_) => AtStake::unknown(&peers),
        };
        let Some(peers) = reach.threatened(&peers, &stake, seen.is_ok()) else { return Ok(None) };
        let snapshot = seen.and_then(|seen| self.keep(&git, &repository, &seen, &found.command, &[]));
        Ok(Some(words::danger(found, reach.threat, &repository, peers, &stake.nobodys, snapshot, reach.ignored)))
    }

    /// The working tree that a command names, by its path or by the end of it.
    fn worktree_of(&self, found: &Found, name: &str, until: Instant) -> String {
        let path = joined(&found.dir, name);
        if self.reached(&path).is_dir() {
            return path;
        }
        let Some(repository) = self.repository_of(&found.dir) else { return path };
        let git = Git::within(&repository.worktree, left(until));
        let args = ["worktree", "list", "--porcelain", "-z"];
        let said = git.bytes(Call { args: &args, ..Call::default() }).unwrap_or_default();
        let trees = said.split(|b| *b == 0).filter_map(|line| line.strip_prefix(b"worktree "));
        let found = trees.map(path_of).find(|tree| tree.ends_with(name.trim_end_matches('/')));
        found.map_or(path, |tree| tree.display().to_string())
    }

    /// A remote branch that is overwritten, or a branch that is deleted or moved.
    fn branch_danger(
        &self,
        found: &Found,
        git: &Git<'_>,
        repository: &Repository,
        peers: Vec<Peer>,
        tips: &[String],
        threat: Threat,
    ) -> Result<Option<Danger>> {
        let peers: Vec<Peer> = peers.into_iter().filter(Peer::lives).collect();
        if peers.is_empty() {
            return Ok(None);
        }
        let tip = |tip: &String| {
            let tip = format!("{tip}^{{commit}}");
            git.word(Call { args: &["rev-parse", "-q", "--verify", &tip], also: 1, ..Call::default() }).ok()
        };
        let kept: Vec<String> = tips.iter().take(MOST_TIPS).filter_map(tip).filter(|tip| !tip.is_empty()).collect();
        let snapshot = look(git, repository).and_then(|seen| self.keep(git, repository, &seen, &found.command, &kept));
        Ok(Some(words::danger(found, threat, repository, peers, &[], snapshot, false)))
    }

    fn keep(
        &self,
        git: &Git<'_>,
        repository: &Repository,
        seen: &Look,
        command: &str,
        kept: &[String],
    ) -> std::result::Result<Snapshot, String> {
        take(&self.inner, git, repository, seen, Some(command), kept)
    }
}

/// What destroys comes first, and the same only once.
fn in_order(found: Vec<Found>) -> Vec<Found> {
    let mut once: Vec<Found> = Vec::new();
    for found in found {
        if !once.iter().any(|known| known.dir == found.dir && known.risk == found.risk) {
            once.push(found);
        }
    }
    once.sort_by_key(|found| !found.risk.destroys());
    once
}

impl Danger {
    fn saying(mut self, more: &str) -> Danger {
        self.text = words::cut(&self.text, words::MOST - more.chars().count()) + more;
        self
    }

    /// What a line does with two commands.
    fn and(mut self, next: Danger) -> Danger {
        self.command = format!("{}; {}", self.command, next.command);
        for peer in next.peers {
            match self.peers.iter_mut().find(|known| known.agent == peer.agent) {
                None => self.peers.push(peer),
                Some(known) => {
                    known.files.extend(peer.files.into_iter().filter(|f| !known.files.contains(f)).collect::<Vec<_>>())
                }
            }
        }
        // The one that destroys is told first, with its snapshot.
        if (next.destroys && !self.destroys) || self.snapshot.is_none() {
            (self.text, self.snapshot) = (next.text, next.snapshot.or(self.snapshot));
        }
        self.destroys |= next.destroys;
        self
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Which uncommitted files a command touches, and when that is a danger.
struct Reach {
    threat: Threat,
    tracked: bool,
    untracked: bool,
    ignored: bool,
    staged_alone: bool,
    /// What is staged, wherever it is.
    staged_too: bool,
    /// From the working tree's root; none for all.
    paths: Vec<PathBuf>,
}

impl Reach {
    fn of(risk: &Risk, cwd: &Path, repository: &Repository, git: &Git<'_>) -> Reach {
        let all = Reach {
            threat: Threat::Tree,
            tracked: true,
            untracked: true,
            ignored: false,
            staged_alone: false,
            staged_too: false,
            paths: Vec::new(),
        };
        let within = |paths: &[String]| within(paths, cwd, repository);
        match risk {
            Risk::Uncommitted { tracked, untracked, ignored, paths } => Reach {
                threat: Threat::Uncommitted,
                tracked: *tracked,
                untracked: *untracked,
                ignored: *ignored,
                paths: within(paths),
                ..all
            },
            Risk::Stash { untracked, paths } => {
                Reach { threat: Threat::Stash, untracked: *untracked, paths: within(paths), ..all }
            }
            Risk::Sweep { untracked, paths, named } => Reach {
                threat: if *named { Threat::Staged } else { Threat::Sweep },
                untracked: *untracked,
                staged_too: true,
                paths: within(paths),
                ..all
            },
            Risk::Staged => Reach { threat: Threat::Staged, untracked: false, staged_alone: true, ..all },
            Risk::TreeOrPath(word) if cwd.join(word).symlink_metadata().is_ok() && !is_branch(git, word) => Reach {
                threat: Threat::Uncommitted,
                untracked: false,
                paths: within(std::slice::from_ref(word)),
                ..all
            },
            Risk::Worktree(_) => Reach { threat: Threat::Worktree, ..all },
            _ => all,
        }
    }

    fn covers(&self, path: &[u8], change: Change) -> bool {
        let kind = match (self.staged_alone, change.tracked) {
            (true, _) => change.staged,
            (false, true) => self.tracked,
            (false, false) => self.untracked,
        };
        if self.staged_too && change.staged {
            return true;
        }
        kind && (self.paths.is_empty() || self.paths.iter().any(|within| path_of(path).starts_with(within)))
    }

    /// Who is to be warned of, if anybody.
    fn threatened(&self, peers: &[Peer], stake: &AtStake, known: bool) -> Option<Vec<Peer>> {
        let with_files = |peer: &&Peer| stake.of(&peer.agent).next().is_some();
        let mut peers: Vec<Peer> = peers
            .iter()
            .filter(|peer| match self.threat {
                // What is committed isn't lost: it must be somebody's who goes on with it.
                Threat::Staged => peer.lives() && with_files(peer),
                Threat::Sweep => peer.lives() && (with_files(peer) || !stake.nobodys.is_empty()) || with_files(peer),
                Threat::Tree | Threat::Worktree => peer.lives() || stake.is_some(),
                _ => stake.is_some() || !known,
            })
            .cloned()
            .collect();
        for peer in &mut peers {
            peer.files = stake.of(&peer.agent).take(50).map(str::to_owned).collect();
        }
        // Those who may lose something first.
        peers.sort_by_key(|peer| (peer.files.is_empty(), !peer.lives()));
        (!peers.is_empty()).then_some(peers)
    }
}

/// Paths from the working tree's root. Where one isn't plain, all are meant.
fn within(paths: &[String], cwd: &Path, repository: &Repository) -> Vec<PathBuf> {
    let plain = |path: &String| {
        if path.starts_with(':') || path.contains(['*', '?', '[', '$']) {
            return None;
        }
        let mut absolute = PathBuf::new();
        for part in cwd.join(path).components() {
            match part {
                std::path::Component::ParentDir => {
                    absolute.pop();
                }
                std::path::Component::CurDir => {}
                part => absolute.push(part),
            }
        }
        absolute.strip_prefix(&repository.worktree).ok().map(Path::to_owned)
    };
    paths.iter().map(plain).collect::<Option<Vec<_>>>().unwrap_or_default()
}

fn is_branch(git: &Git<'_>, word: &str) -> bool {
    let name = format!("refs/heads/{word}");
    git.word(Call { args: &["rev-parse", "-q", "--verify", &name], also: 1, ..Call::default() })
        .is_ok_and(|id| !id.is_empty())
}

impl Coordinator {
    fn nearby(&self, repository: &Repository) -> Result<Nearby> {
        let now = self.inner.now()?;
        let inputs = self.inner.db.inputs();
        let me = self.inner.caller.agent.as_deref().unwrap_or_default();
        self.inner.db.read(|conn| peers::nearby(conn, repository, me, now, &*inputs.liveness))
    }

    /// Whose the files are, by what was seen to be written and by claims; the caller's own left out.
    fn whose(&self, repository: &Repository, paths: &[&Vec<u8>], peers: &[Peer]) -> Result<AtStake> {
        let me = self.inner.caller.agent.as_deref().unwrap_or_default();
        let known = self.inner.db.read(|conn| peers::known(conn, repository, peers))?;
        Ok(known.divide(repository, paths, me))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_destroys_is_looked_at_first_and_the_same_once() {
        let line = format!("{}git stash; git stash; git reset --hard", "git commit -m x; git add a; ".repeat(30));
        let found: Vec<Risk> = in_order(risky(&line)).into_iter().map(|found| found.risk).collect();
        assert!(matches!(found[0], Risk::Stash { .. }) && matches!(found[1], Risk::Uncommitted { .. }), "{found:?}");
        assert!(found[2..].iter().all(|risk| !risk.destroys()), "{found:?}");
    }
}
