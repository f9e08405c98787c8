//! The journal: append-only notes of what was done and found, in the order of commits.
//!
//! A note belongs to a session and to the agent that wrote it, whoever has the session later. It is acknowledged only
//! once it survives a power cut. The journal is its own log: writing a note leaves no row in the activity.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use crate::coordinator::{Coordinator, Inner};
use crate::db::{Durability, Tx, last_seq};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{Identity, check_note_type, check_text, shown};
use crate::sessions::{self, Beginning};
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait, Woken};
use crate::wake::Topic;

/// Bytes of a note.
const TEXT_MAX: usize = 1 << 20;
/// Notes listed where the call doesn't say how many.
const LISTED: usize = 20;
/// Notes of other scopes that are looked at to say how many were left out.
const LOOKED_AT: i64 = 1_000;
/// Notes that a follower reads at once.
const BATCH: usize = 256;
const KIND: &str = "note";

/// An entry of the journal.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// Its place in the order of all commits.
    pub seq: i64,
    /// The session.
    pub session: String,
    /// Who wrote it.
    pub agent: String,
    /// The author's name for people, else its id.
    pub agent_name: String,
    /// `note`, `commit`, `blocker`, `handoff`, or any slug.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was written.
    pub text: String,
    /// The scope's name.
    pub scope: String,
    /// When it was written, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What to write.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewNote {
    /// 1 byte to 1 MiB.
    pub text: String,
    /// A slug; without it `note`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The session, by id or unique prefix; without it the agent's newest active one.
    pub session: Option<String>,
}

/// Which notes to read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoteFilter {
    /// At most this many; without it 20.
    pub limit: Option<usize>,
    /// Only this session's, by id or unique prefix, in whatever scope.
    pub session: Option<String>,
    /// Only this author's, by id or name.
    pub agent: Option<String>,
    /// Only this type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Only those of sessions, or else authors, whose identity is in this project.
    pub project: Option<String>,
    /// Only those written since this moment, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Only those that hold this text, in whatever case.
    pub grep: Option<String>,
    /// Every scope's, not only the caller's.
    pub all: bool,
    /// The first ones after this place, instead of the newest.
    pub after_seq: Option<i64>,
}

/// Notes of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct NoteList {
    /// Oldest first.
    pub notes: Vec<Note>,
    /// How many of other scopes were left out. No more than 1,000 are looked at.
    pub elsewhere: u64,
}

/// A note that was written.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenNote {
    /// The note.
    pub note: Note,
    /// Whether a session was opened for it, the agent having none.
    pub opened_session: bool,
}

impl Coordinator {
    /// Writes a note. Once this returns, it survives a power cut. An agent without an active session gets one, named
    /// after itself, rather than lose the note.
    ///
    /// # Errors
    /// `INVALID` for a text or type that breaks a rule; `NO_AGENT`; for a named session `NOT_FOUND`, `AMBIGUOUS`,
    /// `NOT_OWNER` if it is another agent's, `NO_SESSION` if it has ended; `STORE_*`.
    pub fn note(&self, new: &NewNote) -> Result<WrittenNote> {
        check(&new.text)?;
        let kind = new.kind.as_deref().unwrap_or(KIND);
        check_note_type(kind)?;
        // Where HEAD stands is read from disk, so outside of the transaction, and only for an agent without a session.
        let written = match self.write_note(new, kind, None)? {
            None => self.write_note(new, kind, Some(&Beginning::at(&self.inner.place)))?,
            written => written,
        };
        written.ok_or_else(|| Error::internal("a note found no session, though one was opened for it"))
    }

    /// None: the agent has no session, and there is no `beginning` to open one with.
    fn write_note(&self, new: &NewNote, kind: &str, beginning: Option<&Beginning>) -> Result<Option<WrittenNote>> {
        let inner = &*self.inner;
        let named = new.session.is_some() || inner.caller.session.is_some();
        self.act(Durability::Power, |tx, actor| {
            let agent = actor.agent()?;
            let (session, opened_session) = match sessions::resolve(inner, tx, actor, new.session.as_deref()) {
                Ok(id) => (id, false),
                Err(e) if e.kind() == ErrorKind::NoSession && !named => {
                    let Some(beginning) = beginning else { return Ok(None) };
                    let name: String = tx
                        .prepare_cached("SELECT coalesce(name, id) FROM agents WHERE id = ?1")?
                        .query_row([agent], |r| r.get(0))?;
                    (sessions::open(tx, actor, &name, None, None, beginning)?, true)
                }
                Err(e) => return Err(e),
            };
            let note = insert(tx, agent, &session, kind, &new.text)?;
            Ok(Some(WrittenNote { note, opened_session }))
        })
    }

    /// Reads the journal: the newest notes, oldest of them first; with `after_seq` the first ones after that place.
    ///
    /// # Errors
    /// `INVALID` for a type or project that is none; `NOT_FOUND` and `AMBIGUOUS` for the session and the agent; `STORE_*`.
    pub fn notes(&self, filter: &NoteFilter) -> Result<NoteList> {
        let query = Query::new(filter)?;
        self.inner.db.read(|conn| {
            let query = query.bind(conn, &self.inner)?;
            let limit = filter.limit.unwrap_or(LISTED);
            let notes = match filter.after_seq {
                Some(seq) => query.after(conn, seq, limit)?,
                None => query.newest(conn, limit)?,
            };
            Ok(NoteList { notes, elsewhere: query.elsewhere(conn)? })
        })
    }

    /// Gives the notes that [`notes`](Self::notes) would give, then each new one as it is written, until `each` returns
    /// false or the time runs out. `each` may take as long as it likes, and call the handle.
    ///
    /// # Errors
    /// As [`notes`](Self::notes); `CANCELLED`; whatever `each` fails with.
    pub fn follow_notes(
        &self,
        filter: &NoteFilter,
        wait: &Wait,
        mut each: impl FnMut(Note) -> Result<bool>,
    ) -> Result<()> {
        let mut follower = self.follow_notes_from(filter)?;
        let deadline = wait.deadline();
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let next = follower.next(&Wait { timeout: left, cancel: wait.cancel.clone() })?;
            let Some(note) = next else { return Ok(()) };
            if !each(note)? {
                return Ok(());
            }
        }
    }

    /// Begins to follow the journal: the notes that [`notes`](Self::notes) would give, then each new one.
    ///
    /// # Errors
    /// As [`notes`](Self::notes).
    pub fn follow_notes_from(&self, filter: &NoteFilter) -> Result<NoteFollower> {
        let query = Query::new(filter)?;
        self.inner.db.read(|conn| {
            let query = query.bind(conn, &self.inner)?;
            let (batch, seq) = match filter.after_seq {
                Some(seq) => (Vec::new(), seq),
                None => (query.newest(conn, filter.limit.unwrap_or(LISTED))?, last_seq(conn)?),
            };
            Ok(NoteFollower { coordinator: self.clone(), query, batch: batch.into(), seq })
        })
    }
}

/// A stream of notes.
pub struct NoteFollower {
    coordinator: Coordinator,
    query: Query,
    batch: VecDeque<Note>,
    /// Everything up to here was read.
    seq: i64,
}

impl fmt::Debug for NoteFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteFollower").field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl NoteFollower {
    /// The next note; none when the time runs out first.
    ///
    /// # Errors
    /// `CANCELLED`, `CLOSED`, `STORE_*`.
    pub fn next(&mut self, wait: &Wait) -> Result<Option<Note>> {
        at_once(self.receive(Sleeping::Thread, wait))
    }

    /// As [`next`](Self::next), for an event loop: it gives way while it waits.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_async(&mut self, wait: &Wait) -> Result<Option<Note>> {
        self.receive(Sleeping::Task, wait).await
    }

    /// The next note of those that were read together with the last one; none where more must be read.
    pub fn take_read(&mut self) -> Option<Note> {
        self.batch.pop_front()
    }

    async fn receive(&mut self, sleeping: Sleeping, wait: &Wait) -> Result<Option<Note>> {
        self.coordinator.inner.db.check_process()?;
        if let Some(note) = self.batch.pop_front() {
            return Ok(Some(note));
        }
        let coordinator = self.coordinator.clone();
        let mut waiting = coordinator.waiting(sleeping, vec![topic()], wait)?;
        loop {
            waiting.read(|conn| {
                // The scope may have come into being by its first note.
                self.query.bind_scope(conn, &coordinator.inner)?;
                let batch = self.query.after(conn, self.seq, BATCH)?;
                self.seq = match batch.last() {
                    Some(last) if batch.len() == BATCH => last.seq,
                    _ => last_seq(conn)?.max(self.seq),
                };
                self.batch = batch.into();
                Ok(())
            })?;
            if let Some(note) = self.batch.pop_front() {
                return Ok(Some(note));
            }
            if waiting.sleep(None).await? == Woken::TimedOut {
                return Ok(None);
            }
        }
    }
}

/// What followers sleep on.
pub(crate) fn topic() -> Topic {
    Topic::of(&["notes"])
}

/// Checks a note's text.
pub(crate) fn check(text: &str) -> Result<()> {
    check_text("note", text, TEXT_MAX)
}

/// Appends a note to a session, in the session's scope.
pub(crate) fn insert(tx: &Tx<'_>, agent: &str, session: &str, kind: &str, text: &str) -> Result<Note> {
    let seq = tx.next_seq()?;
    let (agent_name, scope) = tx
        .prepare_cached(
            "INSERT INTO notes (seq, scope, session, agent, type, text, at_ms)
             VALUES (?1, (SELECT scope FROM sessions WHERE id = ?2), ?2, ?3, ?4, ?5, ?6)
             RETURNING (SELECT coalesce(name, id) FROM agents WHERE id = ?3), (SELECT name FROM scopes WHERE id = scope)",
        )?
        .query_row((seq, session, agent, kind, text, tx.now.wall_ms), |r| Ok((r.get(0)?, r.get(1)?)))?;
    tx.wake(topic());
    Ok(Note {
        seq,
        session: session.to_owned(),
        agent: agent.to_owned(),
        agent_name,
        kind: kind.to_owned(),
        text: text.to_owned(),
        scope,
        at_ms: tx.now.wall_ms,
    })
}

/// A session's newest notes, oldest first.
pub(crate) fn newest_of_session(conn: &Connection, session: &str, limit: usize) -> Result<Vec<Note>> {
    let sql = format!("{NOTES} WHERE n.session = ?1 ORDER BY n.seq DESC LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut notes: Vec<Note> =
        conn.prepare_cached(&sql)?.query_map((session, limit), Note::read)?.collect::<Result<_, _>>()?;
    notes.reverse();
    Ok(notes)
}

/// Notes come first in every plan; names are looked up for what is found.
const NOTES: &str = "SELECT n.seq, n.session, n.agent, coalesce(a.name, n.agent), n.type, n.text, o.name, n.at_ms
 FROM notes n CROSS JOIN sessions s ON s.id = n.session CROSS JOIN scopes o ON o.id = n.scope
      LEFT JOIN agents a ON a.id = n.agent";

/// The newest notes of a scope, or of all, oldest first.
pub(crate) fn newest(conn: &Connection, scope: Option<i64>, limit: usize) -> Result<Vec<Note>> {
    let wanted = if scope.is_some() { "n.scope = ?1" } else { "?1 IS NULL" };
    let sql = format!("{NOTES} WHERE {wanted} ORDER BY n.seq DESC LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut notes: Vec<Note> = statement.query_map((scope, limit as i64), Note::read)?.collect::<Result<_, _>>()?;
    notes.reverse();
    Ok(notes)
}

impl Note {
    fn read(row: &Row<'_>) -> rusqlite::Result<Note> {
        Ok(Note {
            seq: row.get(0)?,
            session: row.get(1)?,
            agent: row.get(2)?,
            agent_name: row.get(3)?,
            kind: row.get(4)?,
            text: row.get(5)?,
            scope: row.get(6)?,
            at_ms: row.get(7)?,
        })
    }
}

/// A filter whose values are checked, and whose names are resolved once it is bound to a snapshot.
#[derive(Clone)]
struct Query {
    filter: NoteFilter,
    /// The project itself, and the range of what lies below it.
    project: Option<(String, String, String)>,
    grep: Option<String>,
    session: Option<String>,
    agent: Option<String>,
    /// Row of the caller's scope; 0 where nothing was ever written there.
    here: i64,
}

impl Query {
    fn new(filter: &NoteFilter) -> Result<Self> {
        if let Some(kind) = &filter.kind {
            check_note_type(kind)?;
        }
        let project = filter.project.as_deref().map(Identity::parse).transpose()?;
        let project = project.map(|p| (p.as_str().to_owned(), format!("{p}:"), format!("{p};")));
        let grep = filter.grep.as_deref().map(str::to_lowercase);
        Ok(Query { filter: filter.clone(), project, grep, session: None, agent: None, here: 0 })
    }

    fn bind(&self, conn: &Connection, inner: &Inner) -> Result<Self> {
        let mut bound = self.clone();
        bound.bind_scope(conn, inner)?;
        bound.session = self.filter.session.as_deref().map(|s| sessions::find(conn, s)).transpose()?;
        bound.agent = self.filter.agent.as_deref().map(|a| author(conn, a)).transpose()?;
        Ok(bound)
    }

    fn bind_scope(&mut self, conn: &Connection, inner: &Inner) -> Result<()> {
        if self.here == 0 {
            self.here = inner.known_scope_row(conn)?.unwrap_or(0);
        }
        Ok(())
    }

    fn everywhere(&self) -> bool {
        self.filter.all || self.session.is_some()
    }

    fn newest(&self, conn: &Connection, limit: usize) -> Result<Vec<Note>> {
        let mut notes = self.select(conn, None, "ORDER BY n.seq DESC", limit)?;
        notes.reverse();
        Ok(notes)
    }

    fn after(&self, conn: &Connection, seq: i64, limit: usize) -> Result<Vec<Note>> {
        self.select(conn, Some(seq), "ORDER BY n.seq", limit)
    }

    fn select(&self, conn: &Connection, after: Option<i64>, order: &str, limit: usize) -> Result<Vec<Note>> {
        let (conditions, params) = self.conditions(&after);
        let mut statement = conn.prepare_cached(&self.sql(&conditions, order))?;
        let mut rows = statement.query(&*params)?;
        let mut notes = Vec::new();
        while notes.len() < limit
            && let Some(row) = rows.next()?
        {
            if self.has_text(row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?) {
                notes.push(Note::read(row)?);
            }
        }
        Ok(notes)
    }

    fn sql(&self, conditions: &str, order: &str) -> String {
        // The unary plus keeps the planner from the wider index where a narrower one is meant.
        let scope = match (self.everywhere(), &self.agent) {
            (true, _) => "?1 IS NOT NULL",
            (false, Some(_)) => "+n.scope = ?1",
            (false, None) => "n.scope = ?1",
        };
        format!("{NOTES} WHERE {scope}{conditions} {order}")
    }

    fn elsewhere(&self, conn: &Connection) -> Result<u64> {
        if self.everywhere() {
            return Ok(0);
        }
        let (conditions, params) = self.conditions(&self.filter.after_seq);
        let mut statement = conn.prepare_cached(&elsewhere_sql(&conditions, self.agent.is_some()))?;
        let mut rows = statement.query(&*params)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += u64::from(self.has_text(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?));
        }
        Ok(count)
    }

    fn has_text(&self, text: &str) -> bool {
        self.grep.as_ref().is_none_or(|wanted| text.to_lowercase().contains(wanted))
    }

    /// What a note must be, besides in scope, and the values by number. The first is the scope.
    fn conditions<'a>(&'a self, after: &'a Option<i64>) -> (String, Vec<&'a dyn ToSql>) {
        let mut sql = String::new();
        let mut params: Vec<&dyn ToSql> = vec![&self.here];
        if let Some(after) = after {
            params.push(after);
            sql += &format!(" AND n.seq > ?{}", params.len());
        }
        if let Some(session) = &self.session {
            params.push(session);
            sql += &format!(" AND n.session = ?{}", params.len());
        }
        if let Some(agent) = &self.agent {
            params.push(agent);
            sql += &format!(" AND n.agent = ?{}", params.len());
        }
        if let Some(kind) = &self.filter.kind {
            params.push(kind);
            sql += &format!(" AND n.type = ?{}", params.len());
        }
        if let Some(since) = &self.filter.since_ms {
            params.push(since);
            sql += &format!(" AND n.at_ms >= ?{}", params.len());
        }
        if let Some((project, from, to)) = &self.project {
            params.extend([project as &dyn ToSql, from, to]);
            let n = params.len();
            let identity = "coalesce(s.identity, a.identity)";
            sql += &format!(" AND ({identity} = ?{} OR ({identity} >= ?{} AND {identity} < ?{n}))", n - 2, n - 1);
        }
        (sql, params)
    }
}

/// Each other scope's notes by index, not a walk through one's own to find what isn't there.
fn elsewhere_sql(conditions: &str, of_agent: bool) -> String {
    let from = if of_agent { "notes n" } else { "scopes o CROSS JOIN notes n ON n.scope = o.id" };
    let other = if of_agent { "n.scope <> ?1" } else { "o.id <> ?1" };
    format!(
        "SELECT n.text FROM {from} CROSS JOIN sessions s ON s.id = n.session LEFT JOIN agents a ON a.id = n.agent
         WHERE {other}{conditions} LIMIT {LOOKED_AT}"
    )
}

/// The id of the agent that a reader means, by id or by name.
fn author(conn: &Connection, said: &str) -> Result<String> {
    let mut ids: Vec<String> = conn
        .prepare_cached("SELECT id FROM agents WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC, seen_ms DESC LIMIT 8")?
        .query_map([said], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    match ids.len() {
        0 => Err(Error::new(ErrorKind::NotFound, format!("no agent is called {}", shown(said)))
            .with("agent", said)
            .hint("pd agents --all lists them")),
        1 => Ok(ids.swap_remove(0)),
        _ if ids[0] == said => Ok(ids.swap_remove(0)),
        _ => Err(Error::new(ErrorKind::Ambiguous, format!("{} could be {}", shown(said), ids.join(", ")))
            .with("agent", said)
            .with("candidates", ids)
            .hint("name it by its id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::plan_of;

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("db/migrations/0001_initial.sql")).unwrap();
        conn
    }

    #[test]
    fn reading_uses_the_indexes() {
        let conn = database();
        let base = NoteFilter::default;
        let all = NoteFilter { all: true, ..base() };
        let kind = NoteFilter { kind: Some("commit".into()), since_ms: Some(1), ..base() };
        let project = NoteFilter { project: Some("p".into()), ..base() };
        for (filter, session, agent, index) in [
            (&base(), None, None, "notes_by_scope (scope=?"),
            (&kind, None, None, "notes_by_scope (scope=?"),
            (&project, None, None, "notes_by_scope (scope=?"),
            (&base(), Some("session-a"), None, "notes_by_session (session=?"),
            (&base(), None, Some("a"), "notes_by_agent (agent=?"),
            (&all, None, None, "n"),
            (&all, None, Some("a"), "notes_by_agent (agent=?"),
        ] {
            let mut query = Query::new(filter).unwrap();
            (query.session, query.agent) = (session.map(str::to_owned), agent.map(str::to_owned));
            for (after, order) in [(None, "ORDER BY n.seq DESC"), (Some(7), "ORDER BY n.seq")] {
                let plan = plan_of(&conn, &query.sql(&query.conditions(&after).0, order));
                assert!(plan.contains(index), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
                // Everyone's notes are read along the key, from its end or from a place.
                let scans = plan.lines().filter(|l| l.starts_with("SCAN")).count();
                assert_eq!(scans, usize::from(filter.all && agent.is_none() && after.is_none()), "{plan}");
            }
            if !query.everywhere() {
                let plan = plan_of(&conn, &elsewhere_sql(&query.conditions(&None).0, agent.is_some()));
                let index = if agent.is_some() { "notes_by_agent" } else { "notes_by_scope (scope=?)" };
                assert!(plan.contains(index) && !plan.contains("SCAN n"), "{plan}");
            }
        }
    }

    #[test]
    fn the_schema_refuses_to_change_a_note() {
        let conn = database();
        conn.execute_batch(
            "INSERT INTO scopes VALUES (1, '', 'global');
             INSERT INTO sessions (id, scope, agent, purpose, status, started_ms, seq)
             VALUES ('session-a', 1, 'a', 'p', 'active', 0, 1);
             INSERT INTO notes VALUES (1, 1, 'session-a', 'a', 'note', 'x', 0);",
        )
        .unwrap();
        let e = conn.execute("UPDATE notes SET text = 'y'", []).unwrap_err();
        assert!(e.to_string().contains("append-only"), "{e}");
    }
}
