//! Who else works in a working tree or repository, and whose its uncommitted files are.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::Peer;
use crate::agents::{AgentState, state_of};
use crate::db::Now;
use crate::error::Result;
use crate::files;
use crate::glob::FilePattern;
use crate::life::Liveness;
use crate::scope::{Place, Repository};
use crate::seen::{hash_of, writers};
use crate::snapshots::path_of;

/// A dead agent's unfinished session is of interest so long.
const MOURNED_MS: i64 = 7 * 24 * 3600 * 1000;

/// Others with an active session in the repository or a clone of it.
pub(super) struct Nearby {
    peers: Vec<(Peer, Where)>,
}

struct Where {
    /// Its working tree shares refs and stash with the caller's.
    shares_refs: bool,
    /// Checked out there now, and when the session began.
    branches: Vec<String>,
}

const NEARBY: &str = "SELECT s.id, s.agent, coalesce(a.name, s.agent), s.purpose, s.worktree, s.branch, a.seen_ms
     FROM agents a CROSS JOIN sessions s ON s.agent = a.id AND s.status = 'active'
     WHERE (s.repository = ?1 OR s.worktree = ?3) AND s.agent <> ?2 ORDER BY s.seq DESC";

pub(super) fn nearby(
    conn: &Connection,
    repository: &Repository,
    me: &str,
    now: Now,
    liveness: &dyn Liveness,
) -> Result<Nearby> {
    // The repository's key is another once it has an origin.
    let here = repository.worktree.display().to_string();
    type Row = (String, String, String, String, Option<String>, Option<String>, i64);
    let rows: Vec<Row> = conn
        .prepare_cached(NEARBY)?
        .query_map((&repository.key, me, &here), |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut peers: Vec<(Peer, Where)> = Vec::new();
    for (session, agent, agent_name, purpose, worktree, branch, seen_ms) in rows {
        let same_worktree = worktree.as_deref() == Some(&here);
        // An agent's newest session in this working tree says what it does, else its newest.
        if let Some((known, _)) = peers.iter().find(|(known, _)| known.agent == agent)
            && (known.same_worktree || !same_worktree)
        {
            continue;
        }
        let state = state_of(conn, &agent, now, liveness)?;
        let is_of_interest = match state {
            AgentState::Active | AgentState::Stale => true,
            AgentState::Dead => now.wall_ms - seen_ms < MOURNED_MS,
            AgentState::Left => false,
        };
        if !is_of_interest {
            continue;
        }
        let place = worktree.and_then(|dir| Place::of(dir.as_ref()).ok()?.repository);
        let shares_refs = place.as_ref().is_some_and(|there| there.common_dir == repository.common_dir);
        let branches = place.and_then(|there| there.head().branch).into_iter().chain(branch).collect();
        peers.retain(|(known, _)| known.agent != agent);
        let peer = Peer { agent, agent_name, session, purpose, state, same_worktree, files: Vec::new() };
        peers.push((peer, Where { shares_refs, branches }));
    }
    Ok(Nearby { peers })
}

impl Nearby {
    pub(super) fn in_worktree(&self) -> Vec<Peer> {
        self.peers.iter().filter(|(peer, _)| peer.same_worktree).map(|(peer, _)| peer.clone()).collect()
    }

    pub(super) fn on_branch(&self, branch: &str) -> Vec<Peer> {
        let on = |at: &Where| at.branches.iter().any(|name| name == branch);
        self.peers.iter().filter(|(_, at)| on(at)).map(|(peer, _)| peer.clone()).collect()
    }

    pub(super) fn sharing_refs(&self) -> Vec<Peer> {
        self.peers.iter().filter(|(_, at)| at.shares_refs).map(|(peer, _)| peer.clone()).collect()
    }

    pub(super) fn shares_refs(&self, peer: &Peer) -> bool {
        self.peers.iter().any(|(known, at)| known.agent == peer.agent && at.shares_refs)
    }
}

/// What the store says of files.
pub(super) struct Known {
    /// Who wrote a path, the last first, and the hash of what each left there.
    writers: HashMap<String, Vec<(String, String)>>,
    claims: Vec<(String, FilePattern)>,
    /// Agents of interest.
    peers: HashSet<String>,
}

pub(super) fn known(conn: &Connection, repository: &Repository, peers: &[Peer]) -> Result<Known> {
    let root = repository.worktree.display().to_string();
    let mut known = Known { writers: HashMap::new(), claims: Vec::new(), peers: HashSet::new() };
    for (path, agent, hash) in writers(conn, &root)? {
        known.writers.entry(path).or_default().push((agent, hash));
    }
    for peer in peers {
        for claim in files::of_session(conn, &peer.session)?.into_iter().filter(|claim| claim.root == root) {
            if let Ok(pattern) = FilePattern::parse(&claim.pattern) {
                known.claims.push((peer.agent.clone(), pattern));
            }
        }
        known.peers.insert(peer.agent.clone());
    }
    Ok(known)
}

/// Files that aren't known to be the caller's own.
pub(super) struct AtStake {
    files: Vec<(String, String)>,
    /// Files of which nobody knows whose they are.
    pub(super) nobodys: Vec<String>,
}

impl Known {
    pub(super) fn divide(&self, repository: &Repository, paths: &[&Vec<u8>], me: &str) -> AtStake {
        let mut stake = AtStake { files: Vec::new(), nobodys: Vec::new() };
        for path in paths {
            let name = String::from_utf8_lossy(path).into_owned();
            let absolute = repository.worktree.join(path_of(path));
            let writers = self.writers.get(&absolute.display().to_string()).map(Vec::as_slice).unwrap_or_default();
            let wrote = || writers.iter().map(|(agent, _)| agent).find(|agent| self.peers.contains(*agent));
            let claimed = || self.claims.iter().find(|(_, pattern)| pattern.matches(&name)).map(|(agent, _)| agent);
            let last = writers.first();
            // What another wrote before is in it, as far as anybody knows; so the last writer doesn't own it all.
            let others = match last {
                Some((agent, _)) if agent != me => Some(agent),
                _ => wrote().or_else(claimed),
            };
            match (others, last) {
                (Some(agent), _) => stake.files.push((agent.clone(), name)),
                // Its own, unless somebody wrote over it unseen.
                (None, Some((_, hash))) if hash_of(&absolute).is_ok_and(|now| now == *hash) => {}
                (None, _) => stake.nobodys.push(name),
            }
        }
        stake
    }
}

impl AtStake {
    /// Where git didn't say what is uncommitted.
    pub(super) fn unknown(_: &[Peer]) -> AtStake {
        AtStake { files: Vec::new(), nobodys: Vec::new() }
    }

    pub(super) fn is_some(&self) -> bool {
        !self.files.is_empty() || !self.nobodys.is_empty()
    }

    pub(super) fn of<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.iter().filter(move |(whose, _)| whose == agent).map(|(_, file)| file.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::plan_of;

    #[test]
    fn looking_for_peers_reads_no_session_that_has_ended() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../db/migrations/0001_initial.sql")).unwrap();
        let plan = plan_of(&conn, NEARBY);
        assert!(plan.contains("sessions_by_agent (agent=? AND status=?)"), "{plan}");
    }
}
