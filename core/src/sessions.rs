//! Sessions: units of work, each with its claims and its part of the journal.
//!
//! A session belongs to one agent at a time: only that agent writes to it, and salvage alone gives it to another. What a
//! call without a named session means is the calling agent's newest active one in its scope.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::agents::Actor;
use crate::coordinator::{Coordinator, Inner};
use crate::db::{Durability, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{self, Conflict, FileClaim, Outcome};
use crate::identity::{Identity, check_text, shown};
use crate::ids::short;
use crate::notes::{self, Note};

pub(crate) const PURPOSE_MAX: usize = 4096;
const PHASE_MAX: usize = 64;
/// Random characters of an id.
const SUFFIX: usize = 5;
const PREFIX: &str = "session-";
/// Candidates that an ambiguous id names.
const MOST_CANDIDATES: usize = 8;
/// Sessions listed where the call doesn't say how many.
const LISTED: usize = 50;
/// Notes that a session is shown with: the newest.
const DETAIL_NOTES: usize = 1_000;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It goes on.
    Active,
    /// It ended with its work done.
    Completed,
    /// It ended without.
    Abandoned,
}

impl SessionStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Abandoned => "abandoned",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "active" => Self::Active,
            "completed" => Self::Completed,
            _ => Self::Abandoned,
        }
    }
}

/// A unit of work.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// `session-` and a short random suffix.
    pub id: String,
    /// The scope's name.
    pub scope: String,
    /// The agent that may write to it.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// `project[:stack[:context]]`, if it was given or the agent had one.
    pub identity: Option<String>,
    /// What it is for.
    pub purpose: String,
    /// How far it has come.
    pub status: SessionStatus,
    /// What it is doing now, if it said so.
    pub phase: Option<String>,
    /// The key of the repository that it began in.
    pub repository: Option<String>,
    /// The working tree that it began in.
    pub worktree: Option<String>,
    /// The branch that it began on.
    pub branch: Option<String>,
    /// The commit that it began on.
    pub commit: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// The dead agent that it was taken over from.
    pub salvaged_from: Option<String>,
    /// How many notes it has.
    pub notes: u64,
}

/// What to start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewSession {
    /// What it is for: 1 byte to 4 KiB.
    pub purpose: String,
    /// Files to claim, at most 1,000 patterns.
    pub files: Vec<String>,
    /// Claims what others have claimed as well.
    pub force: bool,
    /// What it does first, up to 64 bytes.
    pub phase: Option<String>,
    /// `project[:stack[:context]]`; without it the agent's.
    pub identity: Option<String>,
}

/// A session that began, and what became of its claims.
#[derive(Clone, Debug, Serialize)]
pub struct StartedSession {
    /// The session.
    pub session: Session,
    /// What it has claimed.
    pub claimed: Vec<FileClaim>,
    /// Overlaps with the claims of living agents. Their patterns are claimed only by force.
    pub conflicts: Vec<Conflict>,
    /// Overlaps with the claims of dead agents, which block nothing: their work can be salvaged.
    pub dead_overlaps: Vec<Conflict>,
}

/// How to end a session.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndSession {
    /// By id or unique prefix; without it the agent's newest active one.
    pub session: Option<String>,
    /// `Completed` or `Abandoned`; without it `Completed`.
    pub status: Option<SessionStatus>,
    /// A last note.
    pub note: Option<String>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionFilter {
    /// Every scope's, not only the caller's.
    pub all: bool,
    /// Only those that came this far.
    pub status: Option<SessionStatus>,
    /// Only this agent's.
    pub agent: Option<String>,
    /// Only identities of this project.
    pub project: Option<String>,
    /// At most this many, the newest; without it 50.
    pub limit: Option<usize>,
}

/// The sessions of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct SessionList {
    /// Oldest first.
    pub sessions: Vec<Session>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// A session with what belongs to it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionDetail {
    /// The session.
    pub session: Session,
    /// Its claims; none once it has ended.
    pub claims: Vec<FileClaim>,
    /// Its newest 1,000 notes, oldest first.
    pub notes: Vec<Note>,
}

impl Coordinator {
    /// Starts a session for the calling agent, and claims the files that are free (with `force`, all). It starts even if
    /// none is.
    ///
    /// # Errors
    /// `INVALID` for a purpose, pattern, phase or identity that breaks a rule; nothing is stored then. `NO_AGENT`,
    /// `STORE_*`.
    pub fn start_session(&self, new: &NewSession) -> Result<StartedSession> {
        check_text("purpose", &new.purpose, PURPOSE_MAX)?;
        if let Some(phase) = &new.phase {
            check_text("phase", phase, PHASE_MAX)?;
        }
        let identity = new.identity.as_deref().map(Identity::parse).transpose()?;
        let identity = identity.as_ref().map(Identity::as_str);
        let place = &self.inner.place;
        let plan = files::plan(place, &new.files)?;
        let beginning = Beginning::at(place);
        let apart = self.inner.db.read(|conn| files::Apart::of(conn, &plan))?;
        let (session, outcome) = self.act(Durability::Process, |tx, actor| {
            let id = open(tx, actor, &new.purpose, new.phase.as_deref(), identity, &beginning)?;
            let session = load(tx, &id)?;
            let outcome = files::insert(tx, actor, &session, &plan, &apart, new.force)?;
            Ok((session, outcome))
        })?;
        let Outcome { claimed, conflicts, dead } = outcome;
        let (conflicts, dead_overlaps) = files::with_witnesses(conflicts, dead);
        Ok(StartedSession { session, claimed, conflicts, dead_overlaps })
    }

    /// Ends a session and releases its claims. Once this returns, the end and the last note survive a power cut.
    ///
    /// # Errors
    /// `INVALID` for a note that breaks a rule, and for `Active` as the end. `NO_AGENT`; `NO_SESSION` if there is none or
    /// it has ended already; `NOT_FOUND`, `AMBIGUOUS`; `NOT_OWNER` for another agent's session; `STORE_*`.
    pub fn end_session(&self, end: &EndSession) -> Result<Session> {
        let status = end.status.unwrap_or(SessionStatus::Completed);
        if status == SessionStatus::Active {
            return Err(Error::invalid("a session can't end as active").hint("end it as completed or abandoned"));
        }
        if let Some(note) = &end.note {
            notes::check(note)?;
        }
        self.act(Durability::Power, |tx, actor| {
            let id = resolve(&self.inner, tx, actor, end.session.as_deref())?;
            if let Some(text) = &end.note {
                notes::insert(tx, actor.agent()?, &id, "note", text)?;
            }
            finish(tx, &id, status)?;
            activity::record(tx, actor, "session.end", &id, json!({"status": status}))?;
            load(tx, &id)
        })
    }

    /// Lists sessions: the newest, oldest of them first.
    ///
    /// # Errors
    /// `INVALID` for a project that is none, `STORE_*`.
    pub fn sessions(&self, filter: &SessionFilter) -> Result<SessionList> {
        if let Some(project) = &filter.project {
            Identity::parse(project)?;
        }
        self.inner.db.read(|conn| {
            let here = self.inner.known_scope_row(conn)?.unwrap_or(0);
            let status = filter.status.map(SessionStatus::as_str);
            let project = filter.project.as_ref().map(|p| (p.as_str(), format!("{p}:"), format!("{p};")));
            let mut conditions = String::from("true");
            let mut params: Vec<&dyn ToSql> = vec![&here];
            if let Some(status) = &status {
                params.push(status);
                conditions += &format!(" AND s.status = ?{}", params.len());
            }
            if let Some(agent) = &filter.agent {
                params.push(agent);
                conditions += &format!(" AND s.agent = ?{}", params.len());
            }
            if let Some((project, from, to)) = &project {
                params.extend([project as &dyn ToSql, from, to]);
                let n = params.len();
                conditions +=
                    &format!(" AND (s.identity = ?{} OR (s.identity >= ?{} AND s.identity < ?{n}))", n - 2, n - 1);
            }
            let scoped = if filter.all { "?1 IS NOT NULL" } else { "s.scope = ?1" };
            let limit = i64::try_from(filter.limit.unwrap_or(LISTED)).unwrap_or(i64::MAX);
            let sql = format!("{SESSIONS} WHERE {scoped} AND {conditions} ORDER BY s.seq DESC LIMIT {limit}");
            let mut statement = conn.prepare_cached(&sql)?;
            let mut sessions: Vec<Session> = statement.query_map(&*params, Session::read)?.collect::<Result<_, _>>()?;
            sessions.reverse();
            let elsewhere = if filter.all {
                0
            } else {
                let sql = format!("SELECT count(*) FROM sessions s WHERE s.scope <> ?1 AND {conditions}");
                conn.prepare_cached(&sql)?.query_row(&*params, |r| r.get::<_, i64>(0))?.cast_unsigned()
            };
            Ok(SessionList { sessions, elsewhere })
        })
    }

    /// One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or without
    /// `session-`.
    ///
    /// # Errors
    /// `NOT_FOUND`, `AMBIGUOUS`, `STORE_*`.
    pub fn session(&self, id: &str) -> Result<SessionDetail> {
        self.inner.db.read(|conn| detail(conn, &find(conn, id)?))
    }

    /// Says what a session is doing now.
    ///
    /// # Errors
    /// `INVALID` for an empty phase or one over 64 bytes; otherwise as [`end_session`](Self::end_session).
    pub fn set_phase(&self, phase: &str, session: Option<&str>) -> Result<Session> {
        check_text("phase", phase, PHASE_MAX)?;
        self.act(Durability::Process, |tx, actor| {
            let id = resolve(&self.inner, tx, actor, session)?;
            tx.prepare_cached("UPDATE sessions SET phase = ?2 WHERE id = ?1")?.execute((&id, phase))?;
            activity::record(tx, actor, "session.phase", &id, json!({"phase": phase}))?;
            load(tx, &id)
        })
    }
}

/// The newest active sessions of a scope, or of all, oldest first: so many, and how many there are.
pub(crate) fn active(conn: &Connection, scope: Option<i64>, limit: usize) -> Result<(Vec<Session>, u64)> {
    const ACTIVE: &str = "s.status = 'active' AND (?1 IS NULL OR s.scope = ?1)";
    let sql = format!("{SESSIONS} WHERE {ACTIVE} ORDER BY s.seq DESC LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut sessions: Vec<Session> =
        statement.query_map((scope, limit as i64), Session::read)?.collect::<Result<_, _>>()?;
    sessions.reverse();
    let sql = format!("SELECT count(*) FROM sessions s WHERE {ACTIVE}");
    let total: i64 = conn.prepare_cached(&sql)?.query_row([scope], |r| r.get(0))?;
    Ok((sessions, total.cast_unsigned()))
}

/// Where a session begins. Read from disk, so before the transaction.
#[derive(Default)]
pub(crate) struct Beginning {
    repository: Option<String>,
    worktree: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
}

impl Beginning {
    pub(crate) fn at(place: &crate::scope::Place) -> Self {
        let Some(repository) = &place.repository else { return Self::default() };
        let head = repository.head();
        Self {
            repository: Some(repository.key.clone()),
            worktree: Some(repository.worktree.display().to_string()),
            branch: head.branch,
            commit: head.commit,
        }
    }
}

/// Stores a new session of the actor's agent; its id.
pub(crate) fn open(
    tx: &Tx<'_>,
    actor: &Actor,
    purpose: &str,
    phase: Option<&str>,
    identity: Option<&str>,
    beginning: &Beginning,
) -> Result<String> {
    let agent = actor.agent()?;
    let seq = tx.next_seq()?;
    let mut length = SUFFIX;
    let id = loop {
        let id = format!("{PREFIX}{}", short(tx.random(), length));
        let inserted = tx
            .prepare_cached(
                "INSERT INTO sessions (id, scope, agent, identity, purpose, status, phase, repository, worktree, branch,
                                       commit_id, started_ms, seq)
                 VALUES (?1, ?2, ?3, coalesce(?4, (SELECT identity FROM agents WHERE id = ?3)), ?5, 'active', ?6, ?7, ?8,
                         ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
            )?
            .execute((
                &id,
                actor.scope,
                agent,
                identity,
                purpose,
                phase,
                &beginning.repository,
                &beginning.worktree,
                &beginning.branch,
                &beginning.commit,
                tx.now.wall_ms,
                seq,
            ))?;
        if inserted == 1 {
            break id;
        }
        // Taken: a longer one, so that even a poor source of randomness comes to an end.
        length += 1;
    };
    activity::record(tx, actor, "session.start", &id, json!({"purpose": purpose, "branch": beginning.branch}))?;
    Ok(id)
}

/// Marks a session as ended and deletes its claims.
pub(crate) fn finish(tx: &Tx<'_>, id: &str, status: SessionStatus) -> Result<()> {
    tx.prepare_cached("UPDATE sessions SET status = ?2, ended_ms = ?3 WHERE id = ?1")?.execute((
        id,
        status.as_str(),
        tx.now.wall_ms,
    ))?;
    files::release_session(tx, id)?;
    Ok(())
}

/// Ends every active session of an agent, in whatever scope, as abandoned.
pub(crate) fn abandon_all_of(tx: &Tx<'_>, agent: &str) -> Result<()> {
    let active: Vec<(String, i64)> = tx
        .prepare_cached("SELECT id, scope FROM sessions WHERE agent = ?1 AND status = 'active' ORDER BY seq")?
        .query_map([agent], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (id, scope) in active {
        finish(tx, &id, SessionStatus::Abandoned)?;
        let detail = json!({"status": SessionStatus::Abandoned});
        activity::record_as(tx, Some(agent), scope, "session.end", &id, detail)?;
    }
    Ok(())
}

/// The session that a writing call means: the named one, else the one that the caller's surroundings name, else the
/// agent's newest active one in this scope. It is active and the actor's own.
pub(crate) fn resolve(inner: &Inner, tx: &Tx<'_>, actor: &Actor, named: Option<&str>) -> Result<String> {
    let agent = actor.agent()?;
    match named.or(inner.caller.session.as_deref()) {
        Some(named) => {
            let id = find(tx, named)?;
            own_and_active(tx, agent, &id)?;
            Ok(id)
        }
        None => newest_active(tx, agent, actor.scope)?.ok_or_else(|| no_session(agent)),
    }
}

const NEWEST_ACTIVE: &str =
    "SELECT id FROM sessions WHERE agent = ?1 AND status = 'active' AND scope = ?2 ORDER BY seq DESC LIMIT 1";

/// The newest active session of an agent in a scope.
pub(crate) fn newest_active(conn: &Connection, agent: &str, scope: i64) -> Result<Option<String>> {
    Ok(conn.prepare_cached(NEWEST_ACTIVE)?.query_row((agent, scope), |r| r.get(0)).optional()?)
}

fn no_session(agent: &str) -> Error {
    Error::new(ErrorKind::NoSession, format!("agent {agent} has no active session here"))
        .with("agent", agent)
        .hint("start one: pd session start \"what you are doing\"")
}

fn own_and_active(tx: &Tx<'_>, agent: &str, id: &str) -> Result<()> {
    let (owner, name, status, ended_ms): (String, String, String, Option<i64>) = tx
        .prepare_cached(
            "SELECT s.agent, coalesce(a.name, s.agent), s.status, s.ended_ms
             FROM sessions s LEFT JOIN agents a ON a.id = s.agent WHERE s.id = ?1",
        )?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    if owner != agent {
        let whose = if name == owner { owner.clone() } else { format!("{name} ({owner})") };
        return Err(Error::new(ErrorKind::NotOwner, format!("{id} belongs to {whose}, not to {agent}"))
            .with("session", id)
            .with("owner", owner)
            .with("agent", agent)
            .hint("write to your own session; if its agent is dead, pd salvage takes its work over"));
    }
    if status != "active" {
        let ended_ms = ended_ms.unwrap_or(tx.now.wall_ms);
        let ago = span(tx.now.wall_ms.saturating_sub(ended_ms));
        return Err(Error::new(ErrorKind::NoSession, format!("{id} has ended: it was {status} {ago} ago"))
            .with("session", id)
            .with("status", status)
            .with("ended_ms", ended_ms)
            .hint("start another: pd session start \"what you are doing\""));
    }
    Ok(())
}

fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

const FIND: &str = "SELECT id FROM sessions WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";

/// The id that a unique prefix means, with or without `session-`.
pub(crate) fn find(conn: &Connection, prefix: &str) -> Result<String> {
    let suffix = prefix.strip_prefix(PREFIX).unwrap_or(prefix);
    let from = format!("{PREFIX}{suffix}");
    // Ids are ASCII: everything that begins with `from` sorts before it followed by DEL.
    let to = format!("{from}\u{7f}");
    let mut candidates: Vec<String> = if suffix.is_empty() {
        Vec::new()
    } else {
        conn.prepare_cached(FIND)?
            .query_map((&from, &to, MOST_CANDIDATES as i64 + 1), |r| r.get(0))?
            .collect::<Result<_, _>>()?
    };
    // An id that is whole is meant, even where it begins another.
    match candidates.len() {
        0 => Err(Error::new(ErrorKind::NotFound, format!("no session is called {}", shown(prefix)))
            .with("session", prefix)
            .hint("pd sessions --all lists them")),
        1 => Ok(candidates.swap_remove(0)),
        _ if candidates[0] == from => Ok(candidates.swap_remove(0)),
        n => {
            let more = if n > MOST_CANDIDATES { ", …" } else { "" };
            candidates.truncate(MOST_CANDIDATES);
            let listed = candidates.join(", ");
            Err(Error::new(ErrorKind::Ambiguous, format!("{} could be {listed}{more}", shown(prefix)))
                .with("session", prefix)
                .with("candidates", candidates)
                .hint("write more of the id"))
        }
    }
}

/// The session that the caller's notes would go to, if there is one.
pub(crate) fn current(inner: &Inner, conn: &Connection) -> Result<Option<Session>> {
    let id = match (&inner.caller.session, &inner.caller.agent) {
        (Some(named), _) => match find(conn, named) {
            Ok(id) => Some(id),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Ambiguous) => None,
            Err(e) => return Err(e),
        },
        (None, Some(agent)) => match inner.known_scope_row(conn)? {
            Some(scope) => newest_active(conn, agent, scope)?,
            None => None,
        },
        (None, None) => None,
    };
    id.map(|id| load(conn, &id)).transpose()
}

const SESSIONS: &str =
    "SELECT s.id, o.name, s.agent, coalesce(a.name, s.agent), s.identity, s.purpose, s.status, s.phase,
        s.repository, s.worktree, s.branch, s.commit_id, s.started_ms, s.ended_ms, v.agent,
        (SELECT count(*) FROM notes n WHERE n.session = s.id)
 FROM sessions s CROSS JOIN scopes o ON o.id = s.scope LEFT JOIN agents a ON a.id = s.agent
      LEFT JOIN salvages v ON v.id = s.salvage";

impl Session {
    fn read(row: &Row<'_>) -> rusqlite::Result<Session> {
        Ok(Session {
            id: row.get(0)?,
            scope: row.get(1)?,
            agent: row.get(2)?,
            agent_name: row.get(3)?,
            identity: row.get(4)?,
            purpose: row.get(5)?,
            status: SessionStatus::parse(row.get_ref(6)?.as_str()?),
            phase: row.get(7)?,
            repository: row.get(8)?,
            worktree: row.get(9)?,
            branch: row.get(10)?,
            commit: row.get(11)?,
            started_ms: row.get(12)?,
            ended_ms: row.get(13)?,
            salvaged_from: row.get(14)?,
            notes: row.get::<_, i64>(15)?.cast_unsigned(),
        })
    }
}

/// A session by its whole id.
pub(crate) fn load(conn: &Connection, id: &str) -> Result<Session> {
    Ok(conn.prepare_cached(&format!("{SESSIONS} WHERE s.id = ?1"))?.query_row([id], Session::read)?)
}

/// A session by its whole id, with its claims and notes.
pub(crate) fn detail(conn: &Connection, id: &str) -> Result<SessionDetail> {
    Ok(SessionDetail {
        session: load(conn, id)?,
        claims: files::of_session(conn, id)?,
        notes: notes::newest_of_session(conn, id, DETAIL_NOTES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::plan_of;

    #[test]
    fn lookups_use_their_indexes() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("db/migrations/0001_initial.sql")).unwrap();
        for (sql, index) in [
            (NEWEST_ACTIVE.to_owned(), "sessions_by_agent (agent=? AND status=?)"),
            (FIND.to_owned(), "PRIMARY KEY (id>? AND id<?)"),
            (format!("{SESSIONS} WHERE s.scope = ?1 ORDER BY s.seq DESC LIMIT 5"), "sessions_by_scope (scope=?)"),
            (format!("{SESSIONS} WHERE s.id = ?1"), "PRIMARY KEY (id=?)"),
        ] {
            let plan = plan_of(&conn, &sql);
            assert!(plan.contains(index), "{sql}: {plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }

    #[test]
    fn spans_are_for_people() {
        for (ms, said) in
            [(-5, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (172_800_000, "2 days")]
        {
            assert_eq!(span(ms), said);
        }
    }
}
