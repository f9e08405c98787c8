//! What an agent that asks for nothing should know: who took what it had claimed, signals, messages to it, work that the
//! dead left, and who else is at work. It is looked up here, worded by the face, and marked in `told.rs` once it was shown.

use rusqlite::{Connection, Row};

use crate::agents::{AgentState, state_of};
use crate::caller::no_agent_error;
use crate::coordinator::Coordinator;
use crate::db::Tx;
use crate::error::Result;
use crate::files::{self, Conflict};
use crate::inbox::{self, DirectMessage};
use crate::messages::{self, Signal};
use crate::sessions::Session;
use crate::told::{self, ToTell};

/// The kind of news that overlaps are, before their place.
pub(crate) const OVERLAP: &str = "overlap ";

/// How many of each kind are looked at.
const MOST: i64 = 50;
/// Messages that are looked at at once.
const MESSAGES: usize = 100;
/// How old a signal may be that is told.
const LATCHED_MS: i64 = 24 * 3600 * 1000;
/// An overlap that nobody came to hear of is forgotten, so many at each new one.
const KEPT_MS: i64 = 14 * 24 * 3600 * 1000;
const FORGOTTEN_AT_ONCE: i64 = 32;
/// That an agent asks is remembered this often.
const REMEMBERED_EVERY_MS: i64 = 3600 * 1000;
/// Patterns of a session that are named.
const NAMED_CLAIMS: i64 = 3;

/// Which news to look for.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewsFilter {
    /// What was claimed against the caller's claims.
    pub overlaps: bool,
    /// Messages to the caller.
    pub messages: bool,
    /// The newest signal of each channel, at most a day old. None within so many milliseconds after the last were told.
    pub signals: Option<i64>,
    /// What the dead left.
    pub left_work: bool,
    /// All that stands, as to one who has forgotten what it was told.
    pub again: bool,
}

/// What the caller doesn't know yet.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Claims that came after the caller's own and overlap with them.
    pub overlaps: Vec<Overlapped>,
    /// Messages to the caller that weren't shown yet, oldest first.
    pub messages: Vec<DirectMessage>,
    /// The newest signal of each channel, newest first.
    pub signals: Vec<Signal>,
    /// Dead agents whose work here nobody has taken over.
    pub left_work: Vec<LeftWork>,
    /// Some message before these was only begun, and isn't read yet: showing these doesn't make all up to them shown.
    pub after_cut: bool,
    /// It is long since it was remembered that the caller asks.
    asked_long_ago: bool,
    /// The scope that the signals are of.
    scope: Option<i64>,
    /// Overlaps that are over, and whose rows can go.
    settled: Vec<ToTell>,
}

/// A claim that another made on what the caller had claimed.
#[derive(Clone, Debug)]
pub struct Overlapped {
    /// Its place in the order of commits.
    pub seq: i64,
    /// The other agent.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// How it is doing.
    pub state: AgentState,
    /// Its session.
    pub session: String,
    /// What that is for.
    pub purpose: String,
    /// What it claims, relative to `root`.
    pub pattern: String,
    /// The root of its working tree.
    pub root: String,
    /// The same as the caller knows it: absolute where it lies outside of the working tree that the caller stands in.
    pub path: String,
    /// False where it works in another working tree or clone.
    pub same_worktree: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A dead agent's unfinished work in the caller's scope.
#[derive(Clone, Debug)]
pub struct LeftWork {
    /// The agent.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// What its newest session was for.
    pub purpose: String,
    /// When it was found dead, in milliseconds since 1970.
    pub died_ms: i64,
    /// How many patterns its sessions claim.
    pub claims: u64,
    /// Which death it is.
    id: i64,
}

/// Another living agent with a session in the caller's scope.
#[derive(Clone, Debug)]
pub struct Colleague {
    /// The agent.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// How it is doing.
    pub state: AgentState,
    /// Its session.
    pub session: String,
    /// What that is for.
    pub purpose: String,
    /// The working tree that the session began in.
    pub worktree: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// The newest of what it claims: at most three patterns.
    pub claims: Vec<String>,
    /// How many it claims in all.
    pub claim_count: u64,
}

impl News {
    /// What to mark as [told](Coordinator::told) once all but the messages was shown.
    pub fn to_tell(&self) -> Vec<ToTell> {
        self.to_tell_of(self.overlaps.len(), self.left_work.len(), self.signals.len())
    }

    /// What to mark as [told](Coordinator::told) once the first so many of each kind were shown, or counted. Of signals, whose
    /// place is one, all or none count.
    pub fn to_tell_of(&self, overlaps: usize, left_work: usize, signals: usize) -> Vec<ToTell> {
        let newest = self.signals.iter().map(|m| m.seq).max().filter(|_| signals >= self.signals.len());
        let signals = newest.zip(self.scope).map(|(seq, scope)| ToTell::up_to(&told::signals(scope), seq));
        let overlaps = self.overlaps.iter().take(overlaps).flat_map(|o| [o.row(), o.conflict()]);
        let asked = self.asked_long_ago.then(|| ToTell::new(told::ASKED, ""));
        let left_work = self.left_work.iter().take(left_work).map(LeftWork::to_tell);
        overlaps.chain(self.settled.iter().cloned()).chain(asked).chain(signals).chain(left_work).collect()
    }
}

impl Overlapped {
    /// The row, which goes once it was told.
    fn row(&self) -> ToTell {
        ToTell::new(format!("{OVERLAP}{}", self.seq), "")
    }

    /// The same conflict as the caller meets it when it claims again.
    fn conflict(&self) -> ToTell {
        conflict(&self.session, &self.root, &self.pattern, self.state, self.same_worktree)
    }
}

impl LeftWork {
    fn to_tell(&self) -> ToTell {
        ToTell::new(format!("left {}", self.agent), self.id.to_string())
    }
}

/// That a claim overlaps with the caller's: told once, and again when its agent dies.
pub(crate) fn conflict(session: &str, root: &str, pattern: &str, state: AgentState, same_worktree: bool) -> ToTell {
    let lives = matches!(state, AgentState::Active | AgentState::Stale);
    ToTell::new(format!("conflict {session} {root} {pattern}"), format!("{lives} {same_worktree}"))
}

impl Coordinator {
    /// What the caller should know and wasn't told yet. Nothing is marked as told.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn news(&self, filter: &NewsFilter) -> Result<News> {
        let me = self.inner.caller.agent.clone().ok_or_else(no_agent_error)?;
        if filter.left_work {
            self.bury_the_dead()?;
        }
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let root = files::root_of(&self.inner.place);
        let mut news = self.inner.db.read(|conn| {
            let asked_ms = told::up_to(conn, &me, told::ASKED)?.1;
            let mut news = News { asked_long_ago: now.wall_ms - asked_ms >= REMEMBERED_EVERY_MS, ..News::default() };
            if filter.overlaps {
                let rows = overlaps(conn, &me)?;
                let held = if rows.is_empty() { None } else { Some(files::Held::of(conn, &me)?) };
                for mut overlap in rows {
                    let claim = (overlap.session.as_str(), overlap.root.as_str(), overlap.pattern.as_str());
                    // Either of both may have given its claim up.
                    if !held.as_ref().map_or(Ok(true), |held| held.meets(conn, claim))? {
                        news.settled.push(overlap.row());
                        continue;
                    }
                    if overlap.same_worktree && overlap.root != root {
                        let inside = if overlap.pattern == "." { "" } else { &overlap.pattern };
                        overlap.path = format!("{}/{inside}", overlap.root.trim_end_matches('/'));
                    }
                    overlap.state = state_of(conn, &overlap.agent, now, &*inputs.liveness)?;
                    news.overlaps.push(overlap);
                }
            }
            let here = self.inner.known_scope_row(conn)?;
            news.scope = here;
            if let (Some(pause_ms), Some(here)) = (filter.signals, here) {
                let (seq, at_ms) = told::up_to(conn, &me, &told::signals(here))?;
                if filter.again || pause_ms == 0 || now.wall_ms - at_ms >= pause_ms {
                    let after = if filter.again { 0 } else { seq };
                    news.signals = messages::latched(conn, here, (after, now.wall_ms - LATCHED_MS, now.wall_ms), MOST)?;
                    news.signals.retain(|m| m.agent.as_deref() != Some(&me));
                }
            }
            if let (true, Some(here)) = (filter.left_work, here) {
                for left in left_work(conn, here, &me)? {
                    if filter.again || left.to_tell().is_new(conn, &me)? {
                        news.left_work.push(left);
                    }
                }
            }
            Ok(news)
        })?;
        if filter.messages {
            (news.messages, news.after_cut) = self.inner.db.read(|conn| {
                // After what was begun, however much waits up to there.
                let cut = told::up_to(conn, &me, told::CUT)?.0;
                let first = inbox::unshown(conn, &me, 0, 1)?.first().map(|m| m.seq);
                Ok((inbox::unshown(conn, &me, cut, MESSAGES)?, first.is_some_and(|seq| seq <= cut)))
            })?;
        }
        Ok(news)
    }

    /// Says that the caller was shown the beginning of its messages up to this place: they stay unread, and aren't shown by
    /// themselves again.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn inbox_cut(&self, seq: i64) -> Result<()> {
        self.told(&[ToTell::up_to(told::CUT, seq)])
    }

    /// The living agents that have sessions in the caller's scope, newest session first; at most 50.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn colleagues(&self) -> Result<Vec<Colleague>> {
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let me = self.inner.caller.agent.as_deref().unwrap_or_default();
        self.inner.db.read(|conn| {
            let Some(here) = self.inner.known_scope_row(conn)? else { return Ok(Vec::new()) };
            let mut colleagues = Vec::new();
            for mut colleague in sessions_of_others(conn, here, me)? {
                colleague.state = state_of(conn, &colleague.agent, now, &*inputs.liveness)?;
                if !matches!(colleague.state, AgentState::Active | AgentState::Stale) {
                    continue;
                }
                let sql = "SELECT pattern FROM claims WHERE session = ?1 ORDER BY id DESC LIMIT ?2";
                colleague.claims = conn
                    .prepare_cached(sql)?
                    .query_map((&colleague.session, NAMED_CLAIMS), |r| r.get(0))?
                    .collect::<Result<_, _>>()?;
                let count = conn
                    .prepare_cached("SELECT count(*) FROM claims WHERE session = ?1")?
                    .query_row([&colleague.session], |r| r.get::<_, i64>(0))?;
                colleague.claim_count = count.cast_unsigned();
                colleagues.push(colleague);
            }
            Ok(colleagues)
        })
    }
}

/// Remembers whom to tell of claims that were taken against theirs.
pub(crate) fn owe<'a>(
    tx: &Tx<'_>,
    session: &Session,
    root: &str,
    conflicts: impl Iterator<Item = &'a Conflict>,
) -> Result<()> {
    let mut owed: Vec<(&str, &str)> = Vec::new();
    for conflict in conflicts {
        let key = (conflict.with.agent.as_str(), conflict.pattern.as_str());
        let own = key.0 == session.agent || crate::agents::are_kin(tx, key.0, &session.agent)?;
        if own || owed.contains(&key) || owed.len() as i64 >= MOST {
            continue;
        }
        owed.push(key);
        let sql = "INSERT INTO overlaps (seq, holder, session, root, pattern, same_worktree, at_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let seq = tx.next_seq()?;
        tx.prepare_cached(sql)?.execute((
            seq,
            key.0,
            &session.id,
            root,
            key.1,
            conflict.same_worktree,
            tx.now.wall_ms,
        ))?;
    }
    if !owed.is_empty() {
        let forget =
            "DELETE FROM overlaps WHERE seq IN (SELECT seq FROM overlaps WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
        tx.prepare_cached(forget)?.execute((tx.now.wall_ms - KEPT_MS, FORGOTTEN_AT_ONCE))?;
    }
    Ok(())
}

const OVERLAPS: &str = "SELECT o.seq, s.agent, coalesce(a.name, s.agent), o.session, s.purpose, o.pattern, o.root, o.same_worktree, o.at_ms
 FROM overlaps o CROSS JOIN sessions s ON s.id = o.session LEFT JOIN agents a ON a.id = s.agent
 WHERE o.holder = ?1 ORDER BY o.seq LIMIT ?2";

/// What is owed to an agent. What it did itself by now, or a sub-agent of its own, is no news.
fn overlaps(conn: &Connection, me: &str) -> Result<Vec<Overlapped>> {
    let read = |r: &Row<'_>| {
        Ok(Overlapped {
            seq: r.get(0)?,
            agent: r.get(1)?,
            agent_name: r.get(2)?,
            state: AgentState::Active,
            session: r.get(3)?,
            purpose: r.get(4)?,
            pattern: r.get(5)?,
            path: r.get(5)?,
            root: r.get(6)?,
            same_worktree: r.get(7)?,
            at_ms: r.get(8)?,
        })
    };
    let mut statement = conn.prepare_cached(OVERLAPS)?;
    let rows = statement.query_map((me, MOST), read)?;
    let mut found: Vec<Overlapped> = rows.collect::<Result<_, _>>()?;
    let kin = found.iter().map(|o| crate::agents::are_kin(conn, &o.agent, me)).collect::<Result<Vec<_>>>()?;
    let mut kin = kin.into_iter();
    found.retain(|o| !kin.next().unwrap_or_default() && o.agent != me);
    Ok(found)
}

const LEFT_WORK: &str = "SELECT v.id, v.agent, coalesce(a.name, v.agent), v.died_ms,
        (SELECT s.purpose FROM sessions s WHERE s.agent = v.agent AND s.status = 'active' AND s.scope = ?1 ORDER BY s.seq DESC LIMIT 1) AS last_purpose,
        (SELECT count(*) FROM claims c JOIN sessions s ON s.id = c.session WHERE s.agent = v.agent AND s.status = 'active')
 FROM salvages v LEFT JOIN agents a ON a.id = v.agent
 WHERE v.state = 'open' AND v.agent <> ?2 AND last_purpose IS NOT NULL ORDER BY v.died_ms DESC, v.id DESC LIMIT ?3";

fn left_work(conn: &Connection, scope: i64, me: &str) -> Result<Vec<LeftWork>> {
    let read = |r: &Row<'_>| {
        Ok(LeftWork {
            id: r.get(0)?,
            agent: r.get(1)?,
            agent_name: r.get(2)?,
            died_ms: r.get(3)?,
            purpose: r.get(4)?,
            claims: r.get::<_, i64>(5)?.cast_unsigned(),
        })
    };
    let mut statement = conn.prepare_cached(LEFT_WORK)?;
    let rows = statement.query_map((scope, me, MOST), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

// From the living, of whom there are few: sessions that have ended are kept for ever.
const SESSIONS_OF_OTHERS: &str = "SELECT s.id, s.agent, coalesce(a.name, s.agent), s.purpose, s.worktree, s.started_ms
 FROM agents a CROSS JOIN sessions s ON s.agent = a.id AND s.status = 'active' AND s.scope = ?1
 WHERE a.state = 'alive' AND a.id <> ?2 ORDER BY s.seq DESC LIMIT ?3";

fn sessions_of_others(conn: &Connection, scope: i64, me: &str) -> Result<Vec<Colleague>> {
    let read = |r: &Row<'_>| {
        Ok(Colleague {
            session: r.get(0)?,
            agent: r.get(1)?,
            agent_name: r.get(2)?,
            state: AgentState::Active,
            purpose: r.get(3)?,
            worktree: r.get(4)?,
            since_ms: r.get(5)?,
            claims: Vec::new(),
            claim_count: 0,
        })
    };
    let mut statement = conn.prepare_cached(SESSIONS_OF_OTHERS)?;
    let rows = statement.query_map((scope, me, MOST), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::plan_of;

    #[test]
    fn what_each_hook_asks_uses_indexes() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("db/migrations/0001_initial.sql")).unwrap();
        conn.execute_batch(include_str!("db/migrations/0004_around_the_agent.sql")).unwrap();
        for (sql, index) in [
            (OVERLAPS, "overlaps_by_holder (holder=?)"),
            (SESSIONS_OF_OTHERS, "agents_by_state (state=?)"),
            (SESSIONS_OF_OTHERS, "sessions_by_agent (agent=? AND status=?)"),
            (LEFT_WORK, "salvages_open"),
            ("SELECT digest FROM told WHERE agent = ?1 AND what = ?2", "PRIMARY KEY (agent=? AND what=?)"),
        ] {
            let plan = plan_of(&conn, sql);
            assert!(plan.contains(index), "{sql}: {plan}");
        }
    }
}
