//! Salvage: the unfinished work of dead agents, and who goes on with it.
//!
//! A death that leaves active sessions opens a salvage. It is open until one agent claims it (one statement decides,
//! and the sessions change hands in the same transaction, with the file claims and the journal that belong to them),
//! until somebody dismisses it, or until the agent turns out to be alive and goes on by itself. Whoever claimed it
//! completes it, which ends what is left of those sessions, or gives it back.
//!
//! What stands in the working tree is asked of git after the decision and outside any transaction: it is slow.
//!
//! When the claimer dies in turn, the sessions are in its own salvage; the earlier one ends when they are claimed again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::activity;
use crate::agents::{self, Actor, Names};
use crate::coordinator::{Coordinator, Inner};
use crate::db::{Durability, Now, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::files::FileClaim;
use crate::git::{self, WorkLeft};
use crate::identity::{Identity, check_agent_id, in_project};
use crate::inbox::{self, DirectMessage};
use crate::life::Liveness;
use crate::notes::{self, Note};
use crate::sessions::{self, Session, SessionDetail, SessionStatus};
use crate::wake::Topic;

/// How long git may take for one working tree, and for all of a listing.
const LOOK_AT_ONE: Duration = Duration::from_secs(3);
const LOOK_AT_ALL: Duration = Duration::from_secs(10);
const LAST_NOTES: usize = 10;
/// How many lines of each list a briefing shows.
const BRIEF_LINES: usize = 20;

/// What became of a dead agent's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SalvageState {
    /// Nobody has taken it yet.
    Open,
    /// Another agent goes on with it.
    Claimed,
    /// The one that took it has finished it.
    Completed,
    /// It was given up.
    Dismissed,
    /// The agent was alive after all, or the work was given back to it.
    Returned,
}

impl SalvageState {
    fn parse(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "claimed" => Self::Claimed,
            "completed" => Self::Completed,
            "dismissed" => Self::Dismissed,
            _ => Self::Returned,
        }
    }
}

/// The unfinished work of a dead agent.
#[derive(Clone, Debug, Serialize)]
pub struct SalvageItem {
    /// The dead agent.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// Its identity, if it had one.
    pub identity: Option<String>,
    /// What it was for, if it said so.
    pub purpose: Option<String>,
    /// When it was found dead, in milliseconds since 1970.
    pub died_ms: i64,
    /// By what proof.
    pub death: String,
    /// Its unfinished sessions with their claims and notes.
    pub sessions: Vec<SessionDetail>,
    /// Its last ten notes, oldest first.
    pub notes: Vec<Note>,
    /// Its claims.
    pub claims: Vec<FileClaim>,
    /// What stands in its working trees now. Only looked at by listing and claiming.
    pub work: Vec<WorkLeft>,
    /// What became of it.
    pub state: SalvageState,
    /// Who took it, or dismissed it.
    pub claimed_by: Option<String>,
    /// That agent's name for people, else its id.
    pub claimed_by_name: Option<String>,
    /// When, in milliseconds since 1970.
    pub claimed_ms: Option<i64>,
}

/// Which work to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SalvageFilter {
    /// Only agents, or sessions, of this project.
    pub project: Option<String>,
    /// Every scope's, and what was claimed and isn't finished yet.
    pub all: bool,
}

/// The work left in a scope, and how much was left out.
#[derive(Clone, Debug, Serialize)]
pub struct SalvageList {
    /// The oldest death first.
    pub items: Vec<SalvageItem>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// What an agent needs to go on with another's work.
#[derive(Clone, Debug, Serialize)]
pub struct Briefing {
    /// The work as it was left: its sessions still name the dead agent.
    pub item: SalvageItem,
    /// The same sessions, now the caller's.
    pub sessions: Vec<Session>,
    /// Messages to the dead agent that it was never shown, oldest first. They stay its own, for the case that it returns.
    pub unseen: Vec<DirectMessage>,
    /// All of it in words, several lines. It quotes what others wrote as they wrote it.
    pub text: String,
}

impl Coordinator {
    /// Lists dead agents with unfinished sessions, and what stands in their working trees now. Takes up to ten seconds
    /// where git is slow.
    ///
    /// # Errors
    /// `INVALID` for a project that is none, `STORE_*`.
    pub fn salvage(&self, filter: &SalvageFilter) -> Result<SalvageList> {
        if let Some(project) = &filter.project {
            Identity::parse(project)?;
        }
        self.bury_the_dead()?;
        let (found, elsewhere) = self.inner.db.read(|conn| list(&self.inner, conn, filter))?;
        let mut look = Look::new();
        let mut items = Vec::with_capacity(found.len());
        for Left { row, sessions } in found {
            items.push(self.item(row, &sessions, Some(&mut look))?);
        }
        Ok(SalvageList { items, elsewhere })
    }

    /// Takes over a dead agent's unfinished sessions with their claims and journal. Of those who try, exactly one wins.
    /// The decision survives a power cut.
    ///
    /// # Errors
    /// `NO_AGENT`; `NOT_FOUND` for an unknown agent; `NOT_SALVAGEABLE` where it lives, is the caller itself, left
    /// nothing, or was claimed by another; `INVALID`; `STORE_*`.
    pub fn salvage_claim(&self, agent: &str) -> Result<Briefing> {
        check_agent_id(agent)?;
        let (row, ids, before, after) = self.act(Durability::Power, |tx, actor| {
            let me = actor.agent()?;
            refuse_unless_dead(tx, actor, agent)?;
            let claimed: Option<i64> = tx
                .prepare_cached(
                    "UPDATE salvages SET state = 'claimed', by_agent = ?2, claimed_ms = ?3
                     WHERE agent = ?1 AND state = 'open' RETURNING id",
                )?
                .query_row((agent, me, tx.now.wall_ms), |r| r.get(0))
                .optional()?;
            let id = match claimed {
                Some(id) => id,
                None => return Err(nothing_open(tx, me, agent)?),
            };
            let ids = session_ids(tx, agent)?;
            if ids.is_empty() {
                return Err(left_nothing(agent));
            }
            let before = load_all(tx, &ids)?;
            if crate::fault::broken("salvage") {
                tx.execute("UPDATE salvages SET state = 'open' WHERE id = ?1", [id])?;
                return Ok((load(tx, id)?, ids, before.clone(), before));
            }
            tx.prepare_cached("UPDATE sessions SET agent = ?2, salvage = ?3 WHERE agent = ?1 AND status = 'active'")?
                .execute((agent, me, id))?;
            end_what_moved_on(tx, agent, "completed")?;
            let after = load_all(tx, &ids)?;
            activity::record(tx, actor, "salvage.claim", agent, json!({"salvage": id, "sessions": ids}))?;
            wake(tx, agent, me);
            Ok((load(tx, id)?, ids, before, after))
        })?;
        let mut item = self.item(row, &ids, Some(&mut Look::new()))?;
        for (detail, session) in item.sessions.iter_mut().zip(before) {
            detail.session = session;
        }
        let claims = item.sessions.iter_mut().flat_map(|detail| &mut detail.claims).chain(&mut item.claims);
        claims.for_each(|claim| {
            claim.agent.clone_from(&item.agent);
            claim.agent_name.clone_from(&item.agent_name);
        });
        let unseen = self.inner.db.read(|conn| inbox::unshown(conn, &item.agent, 0, BRIEF_LINES))?;
        let text = brief(&item, &unseen, self.inner.db.inputs().clock.wall_ms());
        Ok(Briefing { item, sessions: after, unseen, text })
    }

    /// Says that work taken over is finished: the sessions that came with it and are still active end as completed, with
    /// `note` in the journal of the newest.
    ///
    /// # Errors
    /// `NO_AGENT`; `NOT_FOUND` where that work is nobody's; `NOT_OWNER` where another took it; `INVALID`; `STORE_*`.
    pub fn salvage_complete(&self, agent: &str, note: Option<&str>) -> Result<SalvageItem> {
        check_agent_id(agent)?;
        if let Some(note) = note {
            notes::check(note)?;
        }
        let (row, ids) = self.act(Durability::Power, |tx, actor| {
            let row = claimed_by_caller(tx, actor, agent, "complete")?;
            let ids = session_ids_of(tx, row.id)?;
            if let Some(note) = note {
                // The newest that came with it, ended or not: a last word is never dropped.
                let newest: Option<String> = tx
                    .prepare_cached(
                        "SELECT id FROM sessions WHERE salvage = ?1 ORDER BY status = 'active' DESC, seq DESC",
                    )?
                    .query_row([row.id], |r| r.get(0))
                    .optional()?;
                let session = newest.ok_or_else(|| {
                    Error::new(
                        ErrorKind::NoSession,
                        format!("no session came with the work of {agent} to write the note to"),
                    )
                    .hint("complete it without a note, and write one with pd note")
                })?;
                notes::insert(tx, actor.agent()?, &session, "note", note)?;
            }
            for session in &ids {
                end_session(tx, actor, session, SessionStatus::Completed)?;
            }
            finish(tx, row.id, "completed")?;
            activity::record(tx, actor, "salvage.complete", agent, json!({"salvage": row.id, "sessions": ids}))?;
            wake(tx, agent, actor.agent()?);
            Ok((load(tx, row.id)?, ids))
        })?;
        self.item(row, &ids, None)
    }

    /// Gives work taken over back: the sessions that came with it and are still active are the dead agent's again, for
    /// another to claim.
    ///
    /// # Errors
    /// `NO_AGENT`; `NOT_FOUND` where that work is nobody's; `NOT_OWNER` where another took it; `INVALID`; `STORE_*`.
    pub fn salvage_abandon(&self, agent: &str) -> Result<SalvageItem> {
        check_agent_id(agent)?;
        let (row, ids) = self.act(Durability::Power, |tx, actor| {
            let row = claimed_by_caller(tx, actor, agent, "abandon")?;
            let ids = session_ids_of(tx, row.id)?;
            give_back(tx, row.id, agent)?;
            activity::record(tx, actor, "salvage.abandon", agent, json!({"salvage": row.id, "sessions": ids}))?;
            wake(tx, agent, actor.agent()?);
            Ok((load(tx, row.id)?, ids))
        })?;
        self.item(row, &ids, None)
    }

    /// Gives a dead agent's work up: its sessions end as abandoned and their claims are released.
    ///
    /// # Errors
    /// `NO_AGENT`; `NOT_FOUND` for an unknown agent; `NOT_SALVAGEABLE` where it lives, left nothing, or was claimed;
    /// `INVALID`; `STORE_*`.
    pub fn salvage_dismiss(&self, agent: &str) -> Result<SalvageItem> {
        check_agent_id(agent)?;
        let (row, ids) = self.act(Durability::Power, |tx, actor| {
            let me = actor.agent()?;
            refuse_unless_dead(tx, actor, agent)?;
            let dismissed: Option<i64> = tx
                .prepare_cached(
                    "UPDATE salvages SET state = 'dismissed', by_agent = ?2, claimed_ms = ?3, ended_ms = ?3
                     WHERE agent = ?1 AND state = 'open' RETURNING id",
                )?
                .query_row((agent, me, tx.now.wall_ms), |r| r.get(0))
                .optional()?;
            let id = match dismissed {
                Some(id) => id,
                None => return Err(nothing_open(tx, me, agent)?),
            };
            let ids = session_ids(tx, agent)?;
            for session in &ids {
                end_session(tx, actor, session, SessionStatus::Abandoned)?;
            }
            end_what_moved_on(tx, agent, "dismissed")?;
            activity::record(tx, actor, "salvage.dismiss", agent, json!({"salvage": id, "sessions": ids}))?;
            wake(tx, agent, me);
            Ok((load(tx, id)?, ids))
        })?;
        self.item(row, &ids, None)
    }

    /// Puts together what is known of one salvage; looks into the working trees if `look` is given.
    fn item(&self, row: Found, ids: &[String], look: Option<&mut Look>) -> Result<SalvageItem> {
        let sessions: Vec<SessionDetail> =
            self.inner.db.read(|conn| ids.iter().map(|id| sessions::detail(conn, id)).collect())?;
        let mut notes: Vec<Note> = sessions.iter().flat_map(|s| s.notes.iter().cloned()).collect();
        notes.sort_by_key(|n| n.seq);
        notes.drain(..notes.len().saturating_sub(LAST_NOTES));
        let claims = sessions.iter().flat_map(|s| s.claims.iter().cloned()).collect();
        let work = look.map_or_else(Vec::new, |look| {
            let mut trees: Vec<&str> = sessions.iter().filter_map(|s| s.session.worktree.as_deref()).collect();
            trees.sort_unstable();
            trees.dedup();
            trees.into_iter().map(|tree| look.at(tree)).collect()
        });
        Ok(SalvageItem {
            agent: row.agent,
            agent_name: row.agent_name,
            identity: row.identity,
            purpose: row.purpose,
            died_ms: row.died_ms,
            death: row.death,
            sessions,
            notes,
            claims,
            work,
            state: row.state,
            claimed_by: row.by,
            claimed_by_name: row.by_name,
            claimed_ms: row.claimed_ms,
        })
    }
}

/// The sessions that came with a salvage and are still active are the dead agent's again, for another to claim.
fn give_back(tx: &Tx<'_>, salvage: i64, dead: &str) -> Result<()> {
    tx.prepare_cached("UPDATE sessions SET agent = ?2, salvage = NULL WHERE salvage = ?1 AND status = 'active'")?
        .execute((salvage, dead))?;
    let lives = agents::check(tx, dead)?;
    let open: bool = tx.prepare_cached("SELECT 1 FROM salvages WHERE agent = ?1 AND state = 'open'")?.exists([dead])?;
    if lives || open {
        // It goes on by itself, or its later death has a salvage open that these sessions now belong to.
        return finish(tx, salvage, "returned");
    }
    tx.prepare_cached(
        "UPDATE salvages SET state = 'open', by_agent = NULL, claimed_ms = NULL, told = 0 WHERE id = ?1",
    )?
    .execute([salvage])?;
    Ok(())
}

/// An agent leaves: what it has taken over and not finished is there for the next.
pub(crate) fn give_back_all(tx: &Tx<'_>, heir: &str, scope: i64) -> Result<()> {
    let taken: Vec<(i64, String)> = tx
        .prepare_cached(
            "SELECT id, agent FROM salvages v WHERE by_agent = ?1 AND state = 'claimed'
               AND EXISTS (SELECT 1 FROM sessions WHERE salvage = v.id AND agent = ?1 AND status = 'active') ORDER BY id",
        )?
        .query_map([heir], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (salvage, dead) in taken {
        let ids = session_ids_of(tx, salvage)?;
        give_back(tx, salvage, &dead)?;
        let detail = json!({"salvage": salvage, "sessions": ids});
        activity::record_as(tx, Some(heir), scope, "salvage.abandon", &dead, detail)?;
        wake(tx, &dead, heir);
    }
    Ok(())
}

/// Opens a salvage for an agent that was just found dead, if it left active sessions.
pub(crate) fn leave_work(tx: &Tx<'_>, id: &str, proof: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO salvages (agent, state, died_ms, death)
         SELECT ?1, 'open', ?2, ?3 WHERE EXISTS (SELECT 1 FROM sessions WHERE agent = ?1 AND status = 'active')
         ON CONFLICT (agent) WHERE state = 'open' DO UPDATE SET died_ms = excluded.died_ms, death = excluded.death",
    )?
    .execute((id, tx.now.wall_ms, proof))?;
    Ok(())
}

/// An agent that was thought dead calls again: it goes on with its work, or is told, once, who took it.
pub(crate) fn agent_returned(tx: &Tx<'_>, id: &str, scope: i64) -> Result<Option<String>> {
    let now = tx.now.wall_ms;
    tx.prepare_cached("UPDATE salvages SET state = 'returned', ended_ms = ?2 WHERE agent = ?1 AND state = 'open'")?
        .execute((id, now))?;
    activity::record_as(tx, Some(id), scope, "agent.returned", id, Value::Null)?;
    let taken: Vec<(String, Option<String>, i64)> = tx
        .prepare_cached(
            "SELECT state, by_agent, coalesce(claimed_ms, ended_ms, died_ms) FROM salvages
             WHERE agent = ?1 AND told = 0 AND state IN ('claimed', 'completed', 'dismissed') ORDER BY id",
        )?
        .query_map([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    if taken.is_empty() {
        return Ok(None);
    }
    tx.prepare_cached(
        "UPDATE salvages SET told = 1 WHERE agent = ?1 AND state IN ('claimed', 'completed', 'dismissed')",
    )?
    .execute([id])?;
    let mut names = Names::default();
    let mut said = Vec::new();
    for (state, by, at_ms) in taken {
        let by = by.map_or_else(|| Ok("another agent".to_owned()), |by| names.of(tx, &by))?;
        let when = ago(now - at_ms);
        said.push(match state.as_str() {
            "dismissed" => format!(
                "you were thought dead and your work was dismissed by {by} {when}: your sessions of then are abandoned, \
                 start a new one to go on"
            ),
            "completed" => format!(
                "you were thought dead and your work was salvaged by {by} {when}: it has been completed since, start a \
                 new session for what is left"
            ),
            _ => format!(
                "you were thought dead and your work was salvaged by {by} {when}: your sessions and claims of then are \
                 {by}'s now, coordinate before you go on"
            ),
        });
    }
    Ok(Some(said.join("; ")))
}

/// A row of `salvages`, with what is known of its agents.
struct Found {
    id: i64,
    agent: String,
    agent_name: String,
    identity: Option<String>,
    purpose: Option<String>,
    died_ms: i64,
    death: String,
    state: SalvageState,
    by: Option<String>,
    by_name: Option<String>,
    claimed_ms: Option<i64>,
}

const SELECT: &str =
    "SELECT v.id, v.agent, coalesce(a.name, v.agent), a.identity, a.purpose, v.died_ms, v.death, v.state,
        v.by_agent, coalesce(b.name, v.by_agent), v.claimed_ms
 FROM salvages v LEFT JOIN agents a ON a.id = v.agent LEFT JOIN agents b ON b.id = v.by_agent";

impl Found {
    fn of(r: &Row<'_>) -> rusqlite::Result<Found> {
        Ok(Found {
            id: r.get(0)?,
            agent: r.get(1)?,
            agent_name: r.get(2)?,
            identity: r.get(3)?,
            purpose: r.get(4)?,
            died_ms: r.get(5)?,
            death: r.get(6)?,
            state: SalvageState::parse(r.get_ref(7)?.as_str()?),
            by: r.get(8)?,
            by_name: r.get(9)?,
            claimed_ms: r.get(10)?,
        })
    }
}

/// A salvage and its unfinished sessions, oldest first.
struct Left {
    row: Found,
    sessions: Vec<String>,
}

fn load(conn: &Connection, id: i64) -> Result<Found> {
    Ok(conn.prepare_cached(&format!("{SELECT} WHERE v.id = ?1"))?.query_row([id], Found::of)?)
}

/// The salvages that the filter asks for with their unfinished sessions, and how many were left out for their scope.
fn list(inner: &Inner, conn: &Connection, filter: &SalvageFilter) -> Result<(Vec<Left>, u64)> {
    let here = inner.known_scope_row(conn)?;
    let states = if filter.all { "v.state IN ('open', 'claimed')" } else { "v.state = 'open'" };
    let all: Vec<Found> = conn
        .prepare_cached(&format!("{SELECT} WHERE {states} ORDER BY v.died_ms, v.id"))?
        .query_map([], Found::of)?
        .collect::<Result<_, _>>()?;
    let (mut found, mut elsewhere) = (Vec::new(), 0);
    for row in all {
        let (column, key) = match row.state {
            SalvageState::Open => ("agent", rusqlite::types::Value::from(row.agent.clone())),
            _ => ("salvage", rusqlite::types::Value::from(row.id)),
        };
        let sessions: Vec<(String, i64, Option<String>)> = conn
            .prepare_cached(&format!(
                "SELECT id, scope, identity FROM sessions WHERE {column} = ?1 AND status = 'active' ORDER BY seq"
            ))?
            .query_map([key], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let wanted = filter.project.as_ref().is_none_or(|project| {
            let identities = sessions.iter().map(|(.., identity)| identity.as_deref());
            let mut identities = identities.chain([row.identity.as_deref()]);
            identities.any(|identity| identity.is_some_and(|i| in_project(i, project)))
        });
        // Whoever ended the sessions otherwise left nothing to salvage.
        if !wanted || sessions.is_empty() {
            continue;
        }
        if filter.all || sessions.iter().any(|(_, scope, _)| Some(*scope) == here) {
            found.push(Left { row, sessions: sessions.into_iter().map(|(id, ..)| id).collect() });
        } else {
            elsewhere += 1;
        }
    }
    Ok((found, elsewhere))
}

/// The active sessions of an agent, oldest first.
fn session_ids(conn: &Connection, agent: &str) -> Result<Vec<String>> {
    Ok(conn
        .prepare_cached("SELECT id FROM sessions WHERE agent = ?1 AND status = 'active' ORDER BY seq")?
        .query_map([agent], |r| r.get(0))?
        .collect::<Result<_, _>>()?)
}

/// The sessions that came with a salvage and are still active, oldest first.
fn session_ids_of(conn: &Connection, salvage: i64) -> Result<Vec<String>> {
    Ok(conn
        .prepare_cached("SELECT id FROM sessions WHERE salvage = ?1 AND status = 'active' ORDER BY seq")?
        .query_map([salvage], |r| r.get(0))?
        .collect::<Result<_, _>>()?)
}

fn load_all(conn: &Connection, ids: &[String]) -> Result<Vec<Session>> {
    ids.iter().map(|id| sessions::load(conn, id)).collect()
}

fn finish(tx: &Tx<'_>, salvage: i64, state: &str) -> Result<()> {
    tx.prepare_cached("UPDATE salvages SET state = ?2, ended_ms = ?3 WHERE id = ?1")?.execute((
        salvage,
        state,
        tx.now.wall_ms,
    ))?;
    Ok(())
}

/// Ends what the dead agent itself had taken over, now that none of its sessions is left with it.
fn end_what_moved_on(tx: &Tx<'_>, agent: &str, state: &str) -> Result<()> {
    tx.prepare_cached(
        "UPDATE salvages SET state = ?3, ended_ms = ?2 WHERE by_agent = ?1 AND state = 'claimed'
           AND NOT EXISTS (SELECT 1 FROM sessions WHERE salvage = salvages.id AND status = 'active')",
    )?
    .execute((agent, tx.now.wall_ms, state))?;
    Ok(())
}

fn end_session(tx: &Tx<'_>, actor: &Actor, session: &str, status: SessionStatus) -> Result<()> {
    sessions::finish(tx, session, status)?;
    activity::record(tx, actor, "session.end", session, json!({"status": status}))?;
    Ok(())
}

fn wake(tx: &Tx<'_>, dead: &str, by: &str) {
    for agent in [dead, by] {
        tx.wake(Topic::of(&["agent", agent]));
    }
}

/// Refuses work of the unknown, of the living and of the caller itself.
fn refuse_unless_dead(tx: &Tx<'_>, actor: &Actor, agent: &str) -> Result<()> {
    if actor.agent()? == agent {
        return Err(Error::new(
            ErrorKind::NotSalvageable,
            format!("{agent} is the caller itself: whoever calls is alive, and its work is its own"),
        )
        .with("agent", agent)
        .hint("go on with it (pd whoami, pd sessions); to take another's work over, call as another agent"));
    }
    if !tx.prepare_cached("SELECT 1 FROM agents WHERE id = ?1")?.exists([agent])? {
        return Err(Error::new(ErrorKind::NotFound, format!("no agent is called {agent:?}"))
            .with("agent", agent)
            .hint("pd salvage --all lists the dead agents with unfinished work, by id"));
    }
    if agents::check(tx, agent)? {
        let proof = proof_of_life(tx, agent, tx.now, tx.liveness())?;
        return Err(Error::new(ErrorKind::NotSalvageable, format!("{agent} is alive: {proof}"))
            .with("agent", agent)
            .with("proof", proof)
            .hint("ask it to hand over, or wait until it ends (pd agent show tells how it does)"));
    }
    Ok(())
}

/// Why an agent is taken to be alive, in words.
fn proof_of_life(conn: &Connection, agent: &str, now: Now, liveness: &dyn Liveness) -> Result<String> {
    let seen = agents::load_by_id(conn, agent, now, liveness)?;
    let holds = seen.proofs.iter().find(|proof| liveness.holds(proof) == crate::life::Holds::Yes);
    Ok(match holds {
        Some(proof) if proof.what.is_empty() => format!("process {} runs", proof.pid),
        Some(proof) => format!("process {} ({}) runs", proof.pid, proof.what),
        None => format!("it was heard of {}", ago(seen.silent_ms)),
    })
}

/// Why a dead agent's work can't be taken: what became of it.
fn nothing_open(tx: &Tx<'_>, me: &str, agent: &str) -> Result<Error> {
    let last = tx
        .prepare_cached(&format!("{SELECT} WHERE v.agent = ?1 ORDER BY v.id DESC LIMIT 1"))?
        .query_row([agent], Found::of)
        .optional()?;
    let Some(Found { state, by: Some(by), by_name: Some(name), claimed_ms: Some(at_ms), .. }) = last else {
        return Ok(left_nothing(agent));
    };
    let when = ago(tx.now.wall_ms - at_ms);
    let who = if by == me { "you".to_owned() } else { name };
    let said = match state {
        SalvageState::Claimed => format!("the work of {agent} was claimed by {who} {when}"),
        SalvageState::Completed => format!("the work of {agent} was claimed by {who} {when} and is completed"),
        SalvageState::Dismissed => format!("the work of {agent} was dismissed by {who} {when}"),
        SalvageState::Open | SalvageState::Returned => return Ok(left_nothing(agent)),
    };
    let hint = match state {
        SalvageState::Claimed if by == me => format!("go on with it, then pd salvage complete {agent}"),
        SalvageState::Claimed => format!("ask {by}, or choose another: pd salvage lists what is left"),
        _ => "pd salvage lists what is left".to_owned(),
    };
    Ok(Error::new(ErrorKind::NotSalvageable, said)
        .with("agent", agent)
        .with("claimed_by", by)
        .with("claimed_ms", at_ms)
        .hint(hint))
}

fn left_nothing(agent: &str) -> Error {
    Error::new(ErrorKind::NotSalvageable, format!("{agent} left no unfinished session"))
        .with("agent", agent)
        .hint("pd salvage lists what is left")
}

/// The salvage of that agent's work which the caller claimed.
fn claimed_by_caller(tx: &Tx<'_>, actor: &Actor, agent: &str, doing: &str) -> Result<Found> {
    let me = actor.agent()?;
    let claimed = tx
        .prepare_cached(&format!(
            "{SELECT} WHERE v.agent = ?1 AND v.state = 'claimed' ORDER BY v.by_agent = ?2 DESC, v.id DESC LIMIT 1"
        ))?
        .query_row((agent, me), Found::of)
        .optional()?;
    match claimed {
        Some(found) if found.by.as_deref() == Some(me) => Ok(found),
        Some(found) => {
            let (by, name) = (found.by.unwrap_or_default(), found.by_name.unwrap_or_default());
            Err(Error::new(
                ErrorKind::NotOwner,
                format!("the work of {agent} was claimed by {name}: only {name} can {doing} it"),
            )
            .with("agent", agent)
            .with("claimed_by", by)
            .hint("if that agent is dead too, pd salvage lists the work under its name"))
        }
        None => Err(Error::new(ErrorKind::NotFound, format!("nobody has claimed work of {agent}"))
            .with("agent", agent)
            .hint(format!("pd salvage claim {agent} takes it over, if it is dead and left some"))),
    }
}

/// Looks into working trees, each once, within a time for all.
struct Look {
    until: Instant,
    seen: BTreeMap<String, WorkLeft>,
}

impl Look {
    fn new() -> Self {
        Self { until: Instant::now() + LOOK_AT_ALL, seen: BTreeMap::new() }
    }

    fn at(&mut self, tree: &str) -> WorkLeft {
        if let Some(work) = self.seen.get(tree) {
            return work.clone();
        }
        let left = self.until.saturating_duration_since(Instant::now());
        let work = if left.is_zero() {
            WorkLeft {
                worktree: tree.to_owned(),
                problem: Some(format!("not looked at: git took {} s for the others", LOOK_AT_ALL.as_secs())),
                ..WorkLeft::default()
            }
        } else {
            git::work_left(Path::new(tree), left.min(LOOK_AT_ONE))
        };
        self.seen.insert(tree.to_owned(), work.clone());
        work
    }
}

/// How long ago, for people.
pub(crate) fn ago(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// The briefing in words.
fn brief(item: &SalvageItem, unseen: &[DirectMessage], now_ms: i64) -> String {
    let mut text = Brief(String::new());
    let name = if item.agent_name == item.agent {
        item.agent.clone()
    } else {
        format!("{} ({})", item.agent_name, item.agent)
    };
    text.line(0, &format!("You go on with the work of {name}."));
    text.field("Identity", item.identity.as_deref());
    text.field("Purpose", item.purpose.as_deref());
    text.line(0, &format!("Dead since: {} ({})", ago(now_ms - item.died_ms), item.death));
    for detail in &item.sessions {
        let session = &detail.session;
        let phase = session.phase.as_deref().map(|p| format!(", phase {p}")).unwrap_or_default();
        text.line(0, "");
        text.line(0, &format!("Session {} (started {}{phase})", session.id, ago(now_ms - session.started_ms)));
        text.line(1, &format!("For: {}", session.purpose));
        if let Some(worktree) = &session.worktree {
            let branch = session.branch.as_deref().map(|b| format!(", branch {b} when it began")).unwrap_or_default();
            text.line(1, &format!("In: {worktree}{branch}"));
        }
        let claims: Vec<String> = detail.claims.iter().map(claim_line).collect();
        text.list(1, "Claims", &claims, false);
        let notes: Vec<String> =
            detail.notes.iter().map(|n| format!("[{}] {} ({})", n.kind, n.text, ago(now_ms - n.at_ms))).collect();
        text.list(1, "Notes", &notes, true);
    }
    for work in &item.work {
        text.line(0, "");
        text.line(0, &format!("In the working tree {} now:", work.worktree));
        text.field_in("Branch", work.branch.as_deref());
        text.field_in("At commit", work.commit.as_deref());
        text.list(1, "Uncommitted files", &work.uncommitted, false);
        text.list(1, "Stash entries", &work.stashes, false);
        text.list(1, "Unpushed commits", &work.unpushed, false);
        let nothing = work.uncommitted.is_empty() && work.stashes.is_empty() && work.unpushed.is_empty();
        match &work.problem {
            Some(problem) => text.line(1, &format!("Not all could be seen: {problem}")),
            None if nothing => text.line(1, "Nothing uncommitted, stashed or unpushed."),
            None => {}
        }
    }
    if !unseen.is_empty() {
        let from = |m: &DirectMessage| m.sender_name.clone().unwrap_or_else(|| "somebody".to_owned());
        let lines: Vec<String> =
            unseen.iter().map(|m| format!("[{}] {} ({})", from(m), m.text, ago(now_ms - m.at_ms))).collect();
        text.line(0, "");
        text.list(0, "Messages that it was never shown", &lines, false);
    }
    text.line(0, "");
    text.line(0, "Next:");
    text.line(1, "read the notes, look at the uncommitted files, and go on (its sessions and claims are yours now)");
    text.line(1, &format!("pd salvage complete {}   when it is done", item.agent));
    text.line(1, &format!("pd salvage abandon {}    to give it back for another", item.agent));
    text.0
}

fn claim_line(claim: &FileClaim) -> String {
    match &claim.lines {
        Some(lines) => format!("{} (lines {lines})", claim.pattern),
        None => claim.pattern.clone(),
    }
}

/// Indented lines; those of a text that has several are indented alike.
struct Brief(String);

impl Brief {
    fn line(&mut self, depth: usize, text: &str) {
        if text.is_empty() {
            self.0.push('\n');
        }
        for (index, line) in text.lines().enumerate() {
            let indent = 2 * depth + if index > 0 { 2 } else { 0 };
            // Writing to a string can't fail.
            let _ = writeln!(self.0, "{:indent$}{line}", "");
        }
    }

    fn field(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(0, &format!("{name}: {value}"));
        }
    }

    fn field_in(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(1, &format!("{name}: {value}"));
        }
    }

    /// A list under a heading; of a long one the first lines, or the last, with a word on the rest.
    fn list(&mut self, depth: usize, name: &str, lines: &[String], newest: bool) {
        if lines.is_empty() {
            return;
        }
        self.line(depth, &format!("{name}:"));
        let more = lines.len().saturating_sub(BRIEF_LINES);
        let shown = if newest { &lines[more..] } else { &lines[..lines.len() - more] };
        if more > 0 && newest {
            self.line(depth + 1, &format!("({more} older ones: pd notes)"));
        }
        for line in shown {
            self.line(depth + 1, line);
        }
        if more > 0 && !newest {
            self.line(depth + 1, &format!("({more} more)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        let said: Vec<String> = [-5, 0, 59_000, 60_000, 180_000, 7_200_000, 200_000_000].into_iter().map(ago).collect();
        assert_eq!(said, ["0 s ago", "0 s ago", "59 s ago", "1 min ago", "3 min ago", "2 h ago", "2 days ago"]);
    }

    #[test]
    fn a_briefing_indents_and_shortens() {
        let mut text = Brief(String::new());
        text.line(1, "first\nsecond");
        let lines: Vec<String> = (0..BRIEF_LINES + 2).map(|i| format!("n{i}")).collect();
        text.list(0, "Notes", &lines, true);
        text.list(0, "Files", &lines, false);
        text.list(0, "None", &[], false);
        assert!(text.0.starts_with("  first\n    second\nNotes:\n  (2 older ones: pd notes)\n  n2\n"), "{}", text.0);
        assert!(text.0.ends_with("  n19\n  (2 more)\n"), "{}", text.0);
    }

    #[test]
    fn each_tree_is_looked_at_once_and_none_after_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().display().to_string();
        let mut look = Look::new();
        let first = look.at(&tree);
        look.until = Instant::now();
        assert_eq!(look.at(&tree).problem, first.problem);
        let late = look.at("/somewhere/else");
        assert!(late.problem.unwrap().starts_with("not looked at"), "{:?}", late.worktree);
    }
}
