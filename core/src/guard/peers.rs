//! Who else works in a working tree or repository, and whose its uncommitted files are.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Peer;
use crate::agents::{AgentState, state_of};
use crate::db::Now;
use crate::error::Result;
use crate::glob::FilePattern;
use crate::life::Liveness;
use crate::scope::{Place, Repository};
use crate::seen::{Write, hash_of, writes};
use crate::snapshots::path_of;

/// A dead agent's unfinished session is of interest so long.
const MOURNED_MS: i64 = 7 * 24 * 3600 * 1000;

/// Others with an active session in the repository or a clone of it.
pub(super) struct Nearby {
    peers: Vec<(Peer, Where)>,
}

struct Where {
    /// Its session is of this working tree.
    began_here: bool,
    /// Its working tree shares refs and stash with the caller's.
    shares_refs: bool,
    /// Checked out there now, and when the session began.
    branches: Vec<String>,
}

const NEARBY: &str = "SELECT s.id, s.agent, coalesce(a.name, s.agent), s.purpose, s.worktree, s.branch, a.seen_ms
     FROM agents a CROSS JOIN sessions s ON s.agent = a.id AND s.status = 'active'
     WHERE (s.repository = ?1 OR s.worktree = ?3) AND s.agent <> ?2 ORDER BY s.seq DESC";

/// An agent's active sessions, wherever they began.
const ELSEWHERE: &str = "SELECT s.id, s.agent, coalesce(a.name, s.agent), s.purpose, s.worktree, s.branch, a.seen_ms
     FROM sessions s JOIN agents a ON a.id = s.agent WHERE s.agent = ?1 AND s.status = 'active' ORDER BY s.seq DESC";

/// Who was seen to write below a directory, and what active sessions have claimed there.
const AT_HAND: &str = "SELECT agent, path FROM seen_files WHERE path > ?1 AND path < ?2 AND wrote > 0
     UNION ALL SELECT s.agent, c.place FROM claims c CROSS JOIN sessions s ON s.id = c.session AND s.status = 'active'
     WHERE c.place > ?1 AND c.place < ?2";

type Row = (String, String, String, String, Option<String>, Option<String>, i64);

fn rows(conn: &Connection, sql: &str, bound: impl rusqlite::Params) -> Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement
        .query_map(bound, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Agents that write or claim files of this working tree, wherever their sessions began. What lies in a repository of its
/// own below it (a submodule, a nested working tree) is that one's.
fn at_hand(conn: &Connection, repository: &Repository, me: &str) -> Result<HashSet<String>> {
    let root = repository.worktree.display().to_string();
    let (below, after) = (format!("{}/", root.trim_end_matches('/')), format!("{}0", root.trim_end_matches('/')));
    let mut statement = conn.prepare_cached(AT_HAND)?;
    let mut found = statement.query([below, after])?;
    let (mut agents, mut own): (HashSet<String>, HashMap<PathBuf, bool>) = Default::default();
    while let Some(row) = found.next()? {
        let (agent, path): (String, String) = (row.get(0)?, row.get(1)?);
        if agent == me || agents.contains(&agent) {
            continue;
        }
        // A claim may be of a whole repository.
        let has_git = |dir: &Path| dir.join(".git").symlink_metadata().is_ok();
        let path = Path::new(&path);
        let dir = path.parent().unwrap_or(&repository.worktree).to_owned();
        let is_own = own.entry(dir).or_insert_with_key(|dir| {
            let within = |dir: &&Path| dir.starts_with(&repository.worktree) && *dir != repository.worktree;
            !dir.ancestors().take_while(within).any(has_git)
        });
        if *is_own && !has_git(path) {
            agents.insert(agent);
        }
    }
    Ok(agents)
}

pub(super) fn nearby(
    conn: &Connection,
    repository: &Repository,
    me: &str,
    now: Now,
    liveness: &dyn Liveness,
) -> Result<Nearby> {
    // The repository's key is another once it has an origin.
    let here = repository.worktree.display().to_string();
    let mut sessions = rows(conn, NEARBY, (&repository.key, me, &here))?;
    let at_hand = at_hand(conn, repository, me)?;
    for agent in &at_hand {
        sessions.extend(rows(conn, ELSEWHERE, [agent])?);
    }
    let mut peers: Vec<(Peer, Where)> = Vec::new();
    for (session, agent, agent_name, purpose, worktree, branch, seen_ms) in sessions {
        let began_here = worktree.as_deref() == Some(&here);
        // An agent's newest session in this working tree says what it does, else its newest.
        if let Some((_, known)) = peers.iter().find(|(known, _)| known.agent == agent)
            && (known.began_here || !began_here)
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
        let is_at_hand = at_hand.contains(&agent);
        let place = worktree.and_then(|dir| Place::of(dir.as_ref()).ok()?.repository);
        let is_of = |there: &Repository| there.key == repository.key || there.common_dir == repository.common_dir;
        let place = place.filter(|there| is_of(there)).or_else(|| is_at_hand.then(|| repository.clone()));
        let shares_refs = is_at_hand || place.as_ref().is_some_and(|there| there.common_dir == repository.common_dir);
        let branches = place.and_then(|there| there.head().branch).into_iter().chain(branch).collect();
        peers.retain(|(known, _)| known.agent != agent);
        let same_worktree = began_here || is_at_hand;
        let peer = Peer { agent, agent_name, session, purpose, state, same_worktree, files: Vec::new() };
        peers.push((peer, Where { began_here, shares_refs, branches }));
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
    /// Who wrote a path, the last first.
    writes: HashMap<String, Vec<Write>>,
    /// Patterns, and from where they are seen.
    claims: Vec<(String, PathBuf, FilePattern)>,
    /// Agents of interest.
    peers: HashSet<String>,
}

pub(super) fn known(conn: &Connection, repository: &Repository, peers: &[Peer]) -> Result<Known> {
    let root = repository.worktree.display().to_string();
    let mut known = Known { writes: HashMap::new(), claims: Vec::new(), peers: HashSet::new() };
    for write in writes(conn, &root)? {
        known.writes.entry(write.path.clone()).or_default().push(write);
    }
    for peer in peers {
        known.peers.insert(peer.agent.clone());
    }
    let sql = "SELECT s.agent, c.root, c.pattern FROM sessions s CROSS JOIN claims c ON c.session = s.id
               WHERE s.agent = ?1 AND s.status = 'active'";
    let mut statement = conn.prepare_cached(sql)?;
    for peer in peers {
        let claims = statement.query_map([&peer.agent], |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?)))?;
        for claim in claims {
            let (agent, claimed, pattern): (String, String, String) = claim?;
            // A claim from elsewhere, or of another clone, has another root: what it matches is seen from there.
            if let Ok(pattern) = FilePattern::parse(&pattern) {
                known.claims.push((agent, PathBuf::from(claimed), pattern));
            }
        }
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
            let writes = self.writes.get(&absolute.display().to_string()).map(Vec::as_slice).unwrap_or_default();
            let wrote = || writes.iter().map(|write| &write.agent).find(|agent| self.peers.contains(*agent));
            let matches = |root: &PathBuf, pattern: &FilePattern| {
                absolute.strip_prefix(root).is_ok_and(|name| pattern.matches(&name.to_string_lossy()))
            };
            let claimed = || self.claims.iter().find(|(_, root, pattern)| matches(root, pattern)).map(|found| &found.0);
            let last = writes.first().filter(|write| write.is_own);
            // What another wrote before is in it, as far as anybody knows; so the last writer doesn't own it all.
            let others = match last {
                Some(write) if write.agent != me => Some(&write.agent),
                _ => wrote().or_else(claimed),
            };
            match (others, last) {
                (Some(agent), _) => stake.files.push((agent.clone(), name)),
                // Its own, unless somebody wrote over it unseen.
                (None, Some(write)) if hash_of(&absolute).is_ok_and(|now| now == write.hash) => {}
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
        conn.execute_batch(include_str!("../db/migrations/0004_around_the_agent.sql")).unwrap();
        let plan = plan_of(&conn, AT_HAND);
        assert!(!plan.contains("SCAN") && plan.contains("claims_by_place (place>? AND place<?)"), "{plan}");
        assert!(plan_of(&conn, ELSEWHERE).contains("sessions_by_agent (agent=? AND status=?)"));
    }
}
