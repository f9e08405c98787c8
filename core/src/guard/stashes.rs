//! Whose stash entries are.
//!
//! Before a `git stash` the entries that nobody is known for are noted as nobody's; what is new after one that makes an entry
//! is the caller's. What another command finds new is nobody's.
//! Entries are known by their commit, for their place in the list changes.

use std::collections::HashMap;

use rusqlite::Connection;

use super::command::{Found, Risk};
use super::peers::Nearby;
use super::words::{self, Threat};
use super::{Danger, Peer};
use crate::agents::{Names, state_of};
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::Result;
use crate::git::{Call, Git};
use crate::scope::Repository;
use crate::sessions;
use crate::snapshots::look;

const MOST_LISTED: usize = 1_000;
/// Entries that a snapshot keeps.
const MOST_KEPT: usize = 50;

/// Whose an entry is: nobody's where the agent is empty.
#[derive(Clone)]
struct Owner {
    agent: String,
    session: Option<String>,
    at_ms: i64,
}

/// The entries' commits, newest first.
fn list(git: &Git<'_>) -> Result<Vec<String>, String> {
    let most = format!("-n{MOST_LISTED}");
    let args = ["log", "-g", "--no-show-signature", "--no-color", &most, "--format=%H", "refs/stash", "--"];
    // 128: there is no stash.
    let said = git.bytes(Call { args: &args, also: 128, ..Call::default() })?;
    Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
}

fn known(conn: &Connection, repository: &Repository) -> Result<HashMap<String, Owner>> {
    let sql = "SELECT commit_id, agent, session, at_ms FROM stashes WHERE repository = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([repository.common_dir.display().to_string()], |r| {
        Ok((r.get(0)?, Owner { agent: r.get(1)?, session: r.get(2)?, at_ms: r.get(3)? }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn note(tx: &Tx<'_>, repository: &Repository, commit: &str, owner: &Owner) -> Result<()> {
    let sql = "INSERT INTO stashes (repository, commit_id, agent, session, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (repository, commit_id) DO NOTHING";
    let repository = repository.common_dir.display().to_string();
    tx.prepare_cached(sql)?.execute((repository, commit, &owner.agent, &owner.session, owner.at_ms))?;
    Ok(())
}

impl Coordinator {
    /// Notes whose the entries are that nobody is known for: the caller's where `mine`. Forgets those that are gone.
    pub(super) fn note_stashes(&self, git: &Git<'_>, repository: &Repository, mine: bool) -> Result<()> {
        // The store first: an entry that another makes and notes meanwhile isn't taken for one that is gone.
        let known = self.inner.db.read(|conn| known(conn, repository))?;
        // Where git can't say, nobody is known for them.
        let Ok(entries) = list(git) else { return Ok(()) };
        let new: Vec<&String> = entries.iter().filter(|commit| !known.contains_key(*commit)).collect();
        let gone: Vec<&String> = match entries.len() < MOST_LISTED {
            true => known.keys().filter(|commit| !entries.contains(commit)).collect(),
            false => Vec::new(),
        };
        if (new.is_empty() && gone.is_empty()) || self.inner.caller.agent.is_none() {
            return Ok(());
        }
        self.act(Durability::Process, |tx, actor| {
            let session = match mine {
                true => sessions::newest_active(tx, actor.agent()?, actor.scope)?,
                false => None,
            };
            let agent = if mine { actor.agent()?.to_owned() } else { String::new() };
            let owner = Owner { agent, session, at_ms: tx.now.wall_ms };
            for commit in new {
                note(tx, repository, commit, &owner)?;
            }
            for commit in gone {
                tx.prepare_cached("DELETE FROM stashes WHERE repository = ?1 AND commit_id = ?2")?
                    .execute((repository.common_dir.display().to_string(), commit))?;
            }
            Ok(())
        })
    }

    /// Before entries are taken off the stash, or applied: whether they are another's, dead or alive.
    pub(super) fn stash_danger(
        &self,
        found: &Found,
        git: &Git<'_>,
        repository: &Repository,
        nearby: &Nearby,
    ) -> Result<Option<Danger>> {
        let entries = match list(git) {
            Ok(entries) => entries,
            Err(problem) => {
                // They are perhaps of those who are here.
                let peers: Vec<Peer> = nearby.sharing_refs().into_iter().filter(Peer::lives).collect();
                let threat = threat_of(&found.risk, None);
                return Ok((!peers.is_empty())
                    .then(|| words::danger(found, threat, repository, peers, &[], Err(problem), false)));
            }
        };
        let meant: Vec<String> = match found.risk {
            Risk::StashEntry { number: Some(number), .. } => entries.into_iter().skip(number).take(1).collect(),
            _ => entries,
        };
        let me = self.inner.caller.agent.clone().unwrap_or_default();
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let mut kept = Vec::new();
        let mut peers = self.inner.db.read(|conn| {
            let known = known(conn, repository)?;
            let mut peers: Vec<(Peer, i64)> = Vec::new();
            for commit in
                meant.iter().filter(|commit| known.get(*commit).is_none_or(|owner| me.is_empty() || owner.agent != me))
            {
                kept.push(commit.clone());
                let Some(owner) = known.get(commit).filter(|owner| !owner.agent.is_empty()) else { continue };
                if peers.iter().any(|(peer, _)| peer.agent == owner.agent) {
                    continue;
                }
                let purpose = match &owner.session {
                    Some(id) => sessions::load(conn, id)?.purpose,
                    None => String::new(),
                };
                peers.push((
                    Peer {
                        agent: owner.agent.clone(),
                        agent_name: Names::default().of(conn, &owner.agent)?,
                        session: owner.session.clone().unwrap_or_default(),
                        purpose,
                        state: state_of(conn, &owner.agent, now, &*inputs.liveness)?,
                        same_worktree: nearby.in_worktree().iter().any(|peer| peer.agent == owner.agent),
                        files: Vec::new(),
                    },
                    owner.at_ms,
                ));
            }
            Ok(peers)
        })?;
        // All entries are dropped, and some are perhaps of those who are here.
        if peers.is_empty() && found.risk == Risk::StashClear && !kept.is_empty() {
            peers = nearby.sharing_refs().into_iter().filter(Peer::lives).map(|peer| (peer, 0)).collect();
        }
        let drops = !matches!(found.risk, Risk::StashEntry { drops: false, .. });
        if peers.is_empty() && (kept.is_empty() || !drops) {
            return Ok(None);
        }
        kept.truncate(MOST_KEPT);
        // Nobody's: nobody has to be asked, but whoever made it finds it again.
        let snapshot = look(git, repository).and_then(|seen| self.keep(git, repository, &seen, &found.command, &kept));
        if peers.is_empty() {
            return Ok(None);
        }
        let since = peers.iter().map(|(_, at_ms)| now.wall_ms - at_ms).next().filter(|_| peers[0].1 > 0);
        let threat = threat_of(&found.risk, since);
        let peers = peers.into_iter().map(|(peer, _)| peer).collect();
        Ok(Some(words::danger(found, threat, repository, peers, &[], snapshot, false)))
    }
}

fn threat_of(risk: &Risk, since: Option<i64>) -> Threat {
    match risk {
        Risk::StashEntry { .. } => Threat::StashEntry(since),
        _ => Threat::StashClear,
    }
}
