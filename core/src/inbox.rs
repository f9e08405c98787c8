//! Messages to one agent: kept until they were shown.
//!
//! A message is a row until its recipient has shown it: reading marks nothing, [`inbox_shown`](Coordinator::inbox_shown)
//! does, once what was read has reached its reader. So of two readers at once both may show a message, and one that dies
//! in between loses none.
//!
//! The sender learns in the same transaction what will become of its message. *Woken* is what `waiters` says: the recipient
//! lives and has a row there from before it sleeps until what it sleeps for is over, and its live file is held. A one-time watch takes
//! its row away and only then reads for the last time (`InboxFollower::finish`): whoever was told so before is read, and
//! whoever comes after is told something else. *On its next turn* means that a harness's hooks have told the agent something
//! within a day (`told`).

mod follow;

use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::agents::{self, Names};
use crate::caller;
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{check_text, shown};
use crate::waiters;
use crate::wake::Topic;

pub use follow::InboxFollower;

/// Bytes of a message.
const TEXT_MAX: usize = 64 << 10;
/// Messages that wait for one recipient.
const MOST_UNSHOWN: i64 = 1_000;
/// What was shown is kept so long, if it is among the recipient's newest so many.
const SHOWN_FOR_MS: i64 = 7 * DAY_MS;
const KEPT: i64 = 1_000;
/// What nobody has asked for in so long is forgotten.
const KEPT_MS: i64 = 30 * DAY_MS;
const FORGOTTEN_AT_ONCE: i64 = 64;
/// An agent whose hooks have told it something within this time is told of its messages by them.
const HOOKS_SEEN_MS: i64 = DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Messages read at once.
const BATCH: usize = 100;
/// Messages listed where the call doesn't say how many.
const LISTED: usize = 20;

/// A message to one agent.
#[derive(Clone, Debug, Serialize)]
pub struct DirectMessage {
    /// Its place in the order of commits.
    pub seq: i64,
    /// Who sent it, if an agent did.
    pub sender: Option<String>,
    /// The sender's name for people, else its id.
    pub sender_name: Option<String>,
    /// To whom.
    pub recipient: String,
    /// What it says.
    pub text: String,
    /// When it was sent, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it was shown to its recipient, in milliseconds since 1970.
    pub shown_ms: Option<i64>,
}

/// Whether and when the recipient will see a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It waits for messages at this moment.
    Woken,
    /// Its harness shows it on its next turn.
    NextTurn,
    /// It lives, and sees it if it looks.
    IfItLooks,
    /// It is dead, or has left.
    Nobody,
}

/// A message that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// The message.
    pub message: DirectMessage,
    /// The recipient's name for people, else its id.
    pub recipient_name: String,
    /// Whether the recipient will see it.
    pub reach: Reach,
    /// Since when the recipient is dead, or silent after it left, in milliseconds since 1970; none for one that lives.
    pub gone_ms: Option<i64>,
}

/// Which of the caller's messages to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectMessageFilter {
    /// The newest so many; without it 20.
    pub limit: Option<usize>,
}

impl Coordinator {
    /// Sends a message to one agent, named by its id; or by a name or identity that one agent has: among those alive
    /// before others, and among those of the caller's scope before others. Once this returns, it survives a power cut, and
    /// waits until it is shown, 30 days at most. Whoever salvages a dead agent's work sees what it was never shown. An agent
    /// may send to itself, and who is no agent may send.
    ///
    /// # Errors
    /// `INVALID` for a text that breaks a rule (1 byte to 64 KiB); `NOT_FOUND`, `AMBIGUOUS` for the recipient;
    /// `INBOX_FULL` if 1,000 messages wait for it already; `STORE_*`.
    pub fn send(&self, agent: &str, text: &str) -> Result<Sent> {
        check_text("message", text, TEXT_MAX)?;
        check_text("recipient", agent, 256)?;
        self.act(Durability::Power, |tx, actor| {
            let recipient = recipient(tx, actor.scope, agent)?;
            let recipient_name = Names::default().of(tx, &recipient)?;
            let waiting: i64 = tx.prepare_cached(UNSHOWN)?.query_row([&recipient], |r| r.get(0))?;
            if waiting >= MOST_UNSHOWN {
                return Err(full(&recipient, &recipient_name, waiting));
            }
            let seq = tx.next_seq()?;
            tx.prepare_cached(
                "INSERT INTO direct_messages (seq, recipient, sender, text, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((seq, &recipient, &actor.agent, text, tx.now.wall_ms))?;
            forget(tx, &recipient)?;
            let (reach, gone_ms) = reach(tx, &recipient)?;
            let detail = json!({"message": seq, "bytes": text.len(), "reach": reach});
            activity::record(tx, actor, "message.send", &recipient, detail)?;
            tx.wake(topic(&recipient));
            let message = DirectMessage {
                seq,
                sender_name: actor.agent.as_deref().map(|id| Names::default().of(tx, id)).transpose()?,
                sender: actor.agent.clone(),
                recipient,
                text: text.to_owned(),
                at_ms: tx.now.wall_ms,
                shown_ms: None,
            };
            Ok(Sent { message, recipient_name, reach, gone_ms })
        })
    }

    /// The caller's messages that were not shown yet, oldest first; at most 100.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn inbox(&self) -> Result<Vec<DirectMessage>> {
        let me = self.recipient()?;
        self.inner.db.read(|conn| unshown(conn, me, 0, BATCH))
    }

    /// Says that the caller's messages up to this place were shown. They are kept for 7 days, the newest 1,000, and not
    /// given again.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn inbox_shown(&self, seq: i64) -> Result<()> {
        let me = self.recipient()?;
        // Who has nothing new, at each turn, writes nothing.
        if !self.inner.db.read(|conn| Ok(conn.prepare_cached(ANY_UNSHOWN)?.exists((me, seq))?))? {
            return Ok(());
        }
        self.act(Durability::Process, |tx, _| {
            tx.prepare_cached(
                "UPDATE direct_messages SET shown_ms = ?3 WHERE recipient = ?1 AND shown_ms IS NULL AND seq <= ?2",
            )?
            .execute((me, seq, tx.now.wall_ms))?;
            forget(tx, me)
        })
    }

    /// The caller's newest messages, shown or not, oldest first. Marks nothing.
    ///
    /// # Errors
    /// `NO_AGENT`, `STORE_*`.
    pub fn direct_messages(&self, filter: &DirectMessageFilter) -> Result<Vec<DirectMessage>> {
        let me = self.recipient()?;
        let limit = filter.limit.unwrap_or(LISTED) as i64;
        let sql = format!("{MESSAGES} WHERE m.recipient = ?1 ORDER BY m.seq DESC LIMIT ?2");
        let mut found: Vec<DirectMessage> = self.inner.db.read(|conn| {
            let mut statement = conn.prepare_cached(&sql)?;
            Ok(statement.query_map((me, limit), DirectMessage::read)?.collect::<Result<_, _>>()?)
        })?;
        found.reverse();
        Ok(found)
    }

    fn recipient(&self) -> Result<&str> {
        self.inner.caller.agent.as_deref().ok_or_else(caller::no_agent_error)
    }
}

const MESSAGES: &str = "SELECT m.seq, m.sender, coalesce(a.name, m.sender), m.recipient, m.text, m.at_ms, m.shown_ms
 FROM direct_messages m LEFT JOIN agents a ON a.id = m.sender";
const UNSHOWN: &str = "SELECT count(*) FROM direct_messages WHERE recipient = ?1 AND shown_ms IS NULL";
const ANY_UNSHOWN: &str =
    "SELECT 1 FROM direct_messages WHERE recipient = ?1 AND shown_ms IS NULL AND seq <= ?2 LIMIT 1";

impl DirectMessage {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            sender: row.get(1)?,
            sender_name: row.get(2)?,
            recipient: row.get(3)?,
            text: row.get(4)?,
            at_ms: row.get(5)?,
            shown_ms: row.get(6)?,
        })
    }
}

/// An agent's messages that it was not shown, after a place, oldest first.
pub(crate) fn unshown(conn: &Connection, recipient: &str, after: i64, limit: usize) -> Result<Vec<DirectMessage>> {
    let sql = format!("{MESSAGES} {TO_SHOW}");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map((recipient, after, limit as i64), DirectMessage::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const TO_SHOW: &str = "WHERE m.recipient = ?1 AND m.shown_ms IS NULL AND m.seq > ?2 ORDER BY m.seq LIMIT ?3";

/// What those sleep on who wait for messages to this agent.
fn topic(recipient: &str) -> Topic {
    Topic::of(&["inbox", recipient])
}

/// Whether an agent will see a message that it has now, and since when it is gone.
fn reach(tx: &Tx<'_>, recipient: &str) -> Result<(Reach, Option<i64>)> {
    // First, whether it lives: what it left waiting reads for nobody.
    if !agents::check(tx, recipient)? {
        let gone = tx
            .prepare_cached("SELECT coalesce(died_ms, seen_ms) FROM agents WHERE id = ?1")?
            .query_row([recipient], |r| r.get(0))?;
        return Ok((Reach::Nobody, Some(gone)));
    }
    if waiters::waits_for_messages(tx, recipient)? {
        return Ok((Reach::Woken, None));
    }
    let hooked = tx
        .prepare_cached("SELECT 1 FROM told WHERE agent = ?1 AND at_ms > ?2")?
        .exists((recipient, tx.now.wall_ms - HOOKS_SEEN_MS))?;
    Ok((if hooked { Reach::NextTurn } else { Reach::IfItLooks }, None))
}

/// Removes what was shown long ago or has too many after it, and what nobody asked for: some at a time.
fn forget(tx: &Tx<'_>, recipient: &str) -> Result<()> {
    tx.prepare_cached(FORGET_SHOWN)?.execute((tx.now.wall_ms - SHOWN_FOR_MS, FORGOTTEN_AT_ONCE))?;
    tx.prepare_cached(FORGET_OLD)?.execute((tx.now.wall_ms - KEPT_MS, FORGOTTEN_AT_ONCE))?;
    let too_many: Option<i64> = tx.prepare_cached(NEWEST_BUT)?.query_row((recipient, KEPT), |r| r.get(0)).optional()?;
    if let Some(seq) = too_many {
        tx.prepare_cached("DELETE FROM direct_messages WHERE recipient = ?1 AND seq <= ?2 AND shown_ms IS NOT NULL")?
            .execute((recipient, seq))?;
    }
    Ok(())
}

const FORGET_SHOWN: &str = "DELETE FROM direct_messages WHERE seq IN
    (SELECT seq FROM direct_messages WHERE shown_ms < ?1 ORDER BY shown_ms LIMIT ?2)";
const FORGET_OLD: &str = "DELETE FROM direct_messages WHERE seq IN
    (SELECT seq FROM (SELECT seq, at_ms FROM direct_messages ORDER BY seq LIMIT ?2) WHERE at_ms < ?1)";
const NEWEST_BUT: &str = "SELECT seq FROM direct_messages WHERE recipient = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2";

/// Whom a sender means: an id, or a name or identity.
fn recipient(tx: &Tx<'_>, scope: i64, said: &str) -> Result<String> {
    if tx.prepare_cached("SELECT 1 FROM agents WHERE id = ?1")?.exists([said])? {
        return Ok(said.to_owned());
    }
    let mut found: Vec<(String, bool)> = tx
        .prepare_cached(
            "SELECT id, scope = ?2 FROM agents WHERE name = ?1 OR identity = ?1 ORDER BY seen_ms DESC LIMIT 64",
        )?
        .query_map((said, scope), |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut ranked = Vec::new();
    for (id, here) in found.drain(..) {
        ranked.push(((!agents::check(tx, &id)?, !here), id));
    }
    let Some(best) = ranked.iter().map(|(rank, _)| *rank).min() else { return Err(unknown(tx, said)?) };
    let mut meant: Vec<String> = ranked.into_iter().filter(|(rank, _)| *rank == best).map(|(_, id)| id).collect();
    if meant.len() == 1 {
        return Ok(meant.swap_remove(0));
    }
    meant.truncate(8);
    Err(Error::new(ErrorKind::Ambiguous, format!("{} could be {}", shown(said), meant.join(", ")))
        .with("agent", said)
        .with("candidates", meant)
        .hint("name it by its id"))
}

fn unknown(conn: &Connection, said: &str) -> Result<Error> {
    let mut statement = conn.prepare_cached(
        "SELECT id, name, identity FROM agents WHERE state <> 'left' ORDER BY seen_ms DESC LIMIT 1000",
    )?;
    let mut rows = statement.query([])?;
    let mut near: Vec<String> = Vec::new();
    while near.len() < 3
        && let Some(row) = rows.next()?
    {
        let names: [Option<String>; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
        near.extend(names.into_iter().flatten().find(|name| is_near(name, said)));
    }
    let error = Error::new(ErrorKind::NotFound, format!("no agent is called {}", shown(said))).with("agent", said);
    Ok(match near.len() {
        0 => error.hint("pd agents --all lists them"),
        _ => {
            let hint = format!("did you mean {}? pd agents --all lists everyone", near.join(" or "));
            error.with("near", near).hint(hint)
        }
    })
}

/// Whether one holds the other, or both begin alike, whatever the case.
fn is_near(name: &str, said: &str) -> bool {
    let (name, said) = (name.to_lowercase(), said.to_lowercase());
    let alike = name.chars().zip(said.chars()).take_while(|(a, b)| a == b).count();
    alike >= 4 || said.len() >= 3 && name.contains(&said) || name.len() >= 3 && said.contains(&name)
}

fn full(recipient: &str, name: &str, waiting: i64) -> Error {
    let text = format!("{} has {waiting} messages that it wasn't shown: it gets no more", shown(name));
    Error::new(ErrorKind::InboxFull, text)
        .with("agent", recipient)
        .with("waiting", waiting)
        .hint("it makes room with pd inbox; pd agents shows whether it lives")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::{Options, ScopeChoice};
    use crate::db::plan_of;

    fn open(dir: &tempfile::TempDir, agent: &str) -> Coordinator {
        let options = Options::default().db(dir.path().join("pd").join("db")).agent(agent);
        Coordinator::open(options.scope(ScopeChoice::Global)).unwrap()
    }

    #[test]
    fn reading_and_forgetting_use_the_indexes() {
        let dir = tempfile::tempdir().unwrap();
        let pd = open(&dir, "a");
        pd.inner
            .db
            .read(|conn| {
                let to_show = plan_of(conn, &format!("{MESSAGES} {TO_SHOW}"));
                assert!(to_show.contains("direct_messages_to_show (recipient=? AND seq>?)"), "{to_show}");
                for (sql, index) in [
                    (UNSHOWN, "direct_messages_to_show (recipient=?)"),
                    (ANY_UNSHOWN, "direct_messages_to_show (recipient=? AND seq<?)"),
                    (FORGET_SHOWN, "direct_messages_by_shown (shown_ms<?)"),
                    (NEWEST_BUT, "COVERING INDEX direct_messages_by_recipient (recipient=?)"),
                ] {
                    let plan = plan_of(conn, sql);
                    assert!(plan.contains(index) && !plan.contains("TEMP B-TREE FOR ORDER"), "{sql}: {plan}");
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_was_shown_is_forgotten_before_what_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (open(&dir, "a"), open(&dir, "b"));
        b.register_agent(&Default::default()).unwrap();
        for n in 0..5 {
            a.send("b", &n.to_string()).unwrap();
        }
        b.inbox_shown(b.inbox().unwrap()[1].seq).unwrap();
        let texts = || -> Vec<String> {
            let list = b.direct_messages(&DirectMessageFilter::default()).unwrap();
            list.into_iter().map(|m| m.text).collect()
        };
        let age = |column: &str, ms: i64| {
            let sql = format!("UPDATE direct_messages SET {column} = {column} - {ms}");
            a.inner.db.write(Durability::Process, |tx| Ok(tx.execute_batch(&sql)?)).unwrap();
        };
        age("shown_ms", SHOWN_FOR_MS + 1);
        a.send("b", "5").unwrap();
        assert_eq!(texts(), ["2", "3", "4", "5"]);
        age("at_ms", KEPT_MS + 1);
        a.send("b", "6").unwrap();
        assert_eq!(texts(), ["6"]);
    }

    #[test]
    fn an_agent_whose_hooks_were_seen_within_a_day_sees_it_on_its_next_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (open(&dir, "a"), open(&dir, "b"));
        b.register_agent(&Default::default()).unwrap();
        let told = |ago_ms: i64| {
            a.inner
                .db
                .write(Durability::Process, |tx| {
                    tx.execute(
                        "INSERT OR REPLACE INTO told VALUES ('b', 'signals', 1, '', ?1)",
                        [tx.now.wall_ms - ago_ms],
                    )?;
                    Ok(())
                })
                .unwrap();
        };
        assert_eq!(a.send("b", "x").unwrap().reach, Reach::IfItLooks);
        told(HOOKS_SEEN_MS - 60_000);
        assert_eq!(a.send("b", "x").unwrap().reach, Reach::NextTurn);
        told(HOOKS_SEEN_MS);
        assert_eq!(a.send("b", "x").unwrap().reach, Reach::IfItLooks);
        b.unregister_agent().unwrap();
        told(0);
        assert_eq!(a.send("b", "x").unwrap().reach, Reach::Nobody);
    }

    #[test]
    fn names_are_near_that_hold_each_other_or_begin_alike() {
        for (name, said) in [("backend-builder", "Backend"), ("backend-builder", "backed-builder"), ("web", "web-1")] {
            assert!(is_near(name, said), "{name} {said}");
        }
        for (name, said) in [("backend", "frontend"), ("a", "b-a-c"), ("abc", "abd")] {
            assert!(!is_near(name, said), "{name} {said}");
        }
    }
}
