//! What is said of a danger.

use super::command::Found;
use super::{Danger, Peer};
use crate::agents::AgentState;
use crate::salvage::ago;
use crate::scope::Repository;
use crate::snapshots::Snapshot;

/// Characters of a text.
pub(super) const MOST: usize = 600;
const MOST_PEERS: usize = 3;
const MOST_FILES: usize = 4;

/// What a command would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threat {
    Uncommitted,
    Tree,
    Stash,
    /// Of an entry that was made so many milliseconds ago.
    StashEntry(Option<i64>),
    StashClear,
    Sweep,
    Staged,
    Worktree,
    Push,
    Branch,
}

impl Threat {
    fn said(self) -> String {
        match self {
            Self::Uncommitted => "would throw away uncommitted work".to_owned(),
            Self::Tree => "would change files under others at work here".to_owned(),
            Self::Stash => "would stash uncommitted work away".to_owned(),
            Self::StashEntry(None) => "takes a stash entry that isn't yours".to_owned(),
            Self::StashEntry(Some(ms)) => format!("takes a stash entry that isn't yours, made {}", ago(ms)),
            Self::StashClear => "would drop stash entries that aren't yours".to_owned(),
            Self::Sweep => "would commit uncommitted work of others".to_owned(),
            Self::Staged => "would commit files that another wrote last".to_owned(),
            Self::Worktree => "would remove a working tree that others work in".to_owned(),
            Self::Push => "would overwrite a remote branch that others work on".to_owned(),
            Self::Branch => "would delete or move a branch that others work on".to_owned(),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Stash => "Stash only your own: git stash push -- FILES",
            Self::Sweep | Self::Staged => "Commit only your own: git commit -- FILES",
            Self::Uncommitted => "Name only your own files",
            Self::Tree => "A working tree of your own is safe: git worktree add",
            Self::StashEntry(_) | Self::StashClear | Self::Worktree | Self::Push | Self::Branch => "Ask them first",
        }
    }
}

pub(super) fn danger(
    found: &Found,
    threat: Threat,
    repository: &Repository,
    peers: Vec<Peer>,
    nobodys: &[String],
    snapshot: Result<Snapshot, String>,
    ignored: bool,
) -> Danger {
    let mut text = format!("{} {}", found.command, threat.said());
    if !matches!(threat, Threat::Push | Threat::Branch | Threat::StashEntry(_) | Threat::StashClear) {
        let name = repository.worktree.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        text += &format!(" in {}", cut(&name, 40));
    }
    text += ": ";
    let mut said: Vec<String> = peers.iter().take(MOST_PEERS).map(peer).collect();
    if peers.len() > MOST_PEERS {
        said.push(format!("{} more agents", peers.len() - MOST_PEERS));
    }
    if !nobodys.is_empty() && threat != Threat::Staged {
        said.push(format!("perhaps theirs: {}", files(nobodys)));
    }
    text += &said.join("; ");
    text += ".";
    let mut end = match &snapshot {
        Ok(snapshot) => {
            let name = snapshot.short_name();
            let mut end = match threat {
                Threat::Push | Threat::Branch => format!(" What it had is kept in snapshot {name}"),
                _ => format!(" Kept in snapshot {name}: pd git restore {name}"),
            };
            match &snapshot.kept[..] {
                [] => {}
                [one] if matches!(threat, Threat::StashEntry(_)) => {
                    end += &format!("; git stash apply {}", &one[..one.len().min(12)])
                }
                kept => end += &format!("; also {}", &kept[0][..kept[0].len().min(12)]),
            }
            if snapshot.left_out_count > 0 {
                end += &format!(", without {} too large or of other repositories", snapshot.left_out_count);
            }
            end
        }
        Err(problem) => format!(" No snapshot could be taken: {}", cut(problem, 100)),
    };
    if ignored {
        end += ". Ignored files are not in it";
    }
    end += &format!(". {}.", threat.advice());
    let room = MOST.saturating_sub(end.chars().count());
    let text = cut(&text, room) + &end;
    Danger {
        command: found.command.clone(),
        destroys: !matches!(threat, Threat::Sweep | Threat::Staged),
        peers,
        snapshot: snapshot.ok(),
        text,
    }
}

fn peer(peer: &Peer) -> String {
    let state = match peer.state {
        AgentState::Active => "active",
        AgentState::Stale => "stale",
        AgentState::Dead => "dead, see pd salvage",
        AgentState::Left => "gone",
    };
    let purpose = match peer.purpose.as_str() {
        "" => String::new(),
        purpose => format!("\"{}\", ", cut(purpose, 60)),
    };
    let files = if peer.files.is_empty() { String::new() } else { format!(": {}", files(&peer.files)) };
    format!("{} ({purpose}{state}){files}", cut(&peer.agent_name, 40))
}

fn files(files: &[String]) -> String {
    let mut said: Vec<String> = files.iter().take(MOST_FILES).map(|file| cut(file, 60)).collect();
    if files.len() > MOST_FILES {
        said.push(format!("{} more", files.len() - MOST_FILES));
    }
    said.join(", ")
}

pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
