//! Who waits: one row for each wait that has begun, for a lock, for channels or for messages to oneself.
//!
//! A waiter lives as long as its live file is held. Rows of the dead are removed by whoever meets them; until then
//! they only cost a look.

use rusqlite::{Connection, OptionalExtension};

use crate::db::Tx;
use crate::error::Result;
use crate::life;
use crate::wake::Topic;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lock,
    Channel,
    /// Messages to the waiting agent.
    Inbox,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Channel => "channel",
            Self::Inbox => "inbox",
        }
    }
}

/// A wait that begins.
pub(crate) struct NewWaiter<'a> {
    pub(crate) scope: i64,
    pub(crate) kind: Kind,
    /// The lock; the channel patterns not delivered yet, comma-separated; or the agent's id.
    pub(crate) name: &'a str,
    pub(crate) agent: Option<&'a str>,
    /// The waiting handle's live file.
    pub(crate) live: &'a str,
    /// Whether its agent does nothing else meanwhile.
    pub(crate) alone: bool,
    /// Tokens of locks that can't be released before this wait ends.
    pub(crate) holds: &'a [i64],
    pub(crate) ttl_ms: Option<i64>,
    pub(crate) purpose: Option<&'a str>,
}

/// A waiter, as its row says.
pub(crate) struct Waiter {
    pub(crate) ticket: i64,
    pub(crate) scope: i64,
    pub(crate) name: String,
    pub(crate) agent: Option<String>,
    pub(crate) live: String,
    pub(crate) alone: bool,
    pub(crate) holds: Vec<i64>,
    pub(crate) ttl_ms: Option<i64>,
    pub(crate) purpose: Option<String>,
    pub(crate) since_ms: i64,
}

const COLUMNS: &str = "ticket, scope, name, agent, live, alone, holds, ttl_ms, purpose, since_ms";

/// Takes a place in the queue; the ticket rises with the order of arrival.
pub(crate) fn add(tx: &Tx<'_>, new: &NewWaiter<'_>) -> Result<i64> {
    let holds = new.holds.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    Ok(tx
        .prepare_cached(
            "INSERT INTO waiters (scope, kind, name, agent, live, alone, holds, ttl_ms, purpose, since_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING ticket",
        )?
        .query_row(
            (
                new.scope,
                new.kind.as_str(),
                new.name,
                new.agent,
                new.live,
                new.alone,
                holds,
                new.ttl_ms,
                new.purpose,
                tx.now.wall_ms,
            ),
            |r| r.get(0),
        )?)
}

/// Leaves the queue; false if the row was gone already.
pub(crate) fn remove(tx: &Tx<'_>, ticket: i64) -> Result<bool> {
    Ok(tx.prepare_cached("DELETE FROM waiters WHERE ticket = ?1")?.execute([ticket])? > 0)
}

/// The scope of a wait and when it began; none if the row is gone.
pub(crate) fn begun(tx: &Tx<'_>, ticket: i64) -> Result<Option<(i64, i64)>> {
    Ok(tx
        .prepare_cached("SELECT scope, since_ms FROM waiters WHERE ticket = ?1")?
        .query_row([ticket], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?)
}

/// Whether a place in the queue is still there.
pub(crate) fn is_waiting(conn: &Connection, ticket: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM waiters WHERE ticket = ?1")?.exists([ticket])?)
}

/// Says what is still waited for.
pub(crate) fn rename(tx: &Tx<'_>, ticket: i64, name: &str) -> Result<()> {
    tx.prepare_cached("UPDATE waiters SET name = ?2 WHERE ticket = ?1")?.execute((ticket, name))?;
    Ok(())
}

/// Removes every wait of a handle that ends.
pub(crate) fn remove_all_of(tx: &Tx<'_>, live: &str) -> Result<()> {
    let mut statement = tx.prepare_cached("DELETE FROM waiters WHERE live = ?1 RETURNING kind, scope, name, ticket")?;
    let removed: Vec<(String, i64, String, i64)> =
        statement.query_map([live], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect::<Result<_, _>>()?;
    for (_, scope, name, ticket) in removed.iter().filter(|(kind, ..)| kind == Kind::Lock.as_str()) {
        wake_next_after(tx, *scope, name, *ticket)?;
    }
    Ok(())
}

/// Ends every wait, with the version of the file that it began in: older libraries write no more, so none of them could leave
/// the queue, or give back a lock that it was handed.
pub(crate) fn end_all(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM waiters", []).map(|_| ())
}

fn living(tx: &Tx<'_>, found: Vec<Waiter>) -> Result<Vec<Waiter>> {
    let mut living = Vec::with_capacity(found.len());
    for waiter in found {
        if life::live_held(tx.liveness(), &waiter.live) {
            living.push(waiter);
        } else {
            remove(tx, waiter.ticket)?;
        }
    }
    Ok(living)
}

/// Whether there are rows of those who don't wait any more.
pub(crate) fn any_dead(conn: &Connection, liveness: &dyn life::Liveness) -> Result<bool> {
    let dead = |waiter: &Waiter| !life::live_held(liveness, &waiter.live);
    Ok(all(conn)?.iter().any(dead) && !crate::fault::broken("waiter"))
}

/// Removes the rows of those who don't wait any more. Whom they named, and what for. Who is first in a queue by that watches
/// the holder from now on.
pub(crate) fn remove_dead(tx: &Tx<'_>) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for waiter in all(tx)? {
        if !life::live_held(tx.liveness(), &waiter.live) && remove(tx, waiter.ticket)? {
            if let Some(first) = first_for_lock(tx, waiter.scope, &waiter.name)? {
                tx.wake(Topic::ticket(first.ticket));
            }
            removed.push(format!("{} for {}", waiter.agent.as_deref().unwrap_or("somebody"), waiter.name));
        }
    }
    Ok(removed)
}

/// Everyone who is recorded as waiting, first come first.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Waiter>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM waiters ORDER BY ticket"))?;
    Ok(statement.query_map([], row)?.collect::<Result<_, _>>()?)
}

/// The living waiters of a kind, whatever their scope, first come first; the dead are removed.
pub(crate) fn living_of_kind(tx: &Tx<'_>, kind: Kind) -> Result<Vec<Waiter>> {
    let mut statement = tx.prepare_cached(&format!("SELECT {COLUMNS} FROM waiters WHERE kind = ?1 ORDER BY ticket"))?;
    let found = statement.query_map([kind.as_str()], row)?.collect::<Result<_, _>>()?;
    living(tx, found)
}

/// Whether an agent waits for messages to it; the rows of those that died waiting are removed.
pub(crate) fn waits_for_messages(tx: &Tx<'_>, agent: &str) -> Result<bool> {
    let sql = format!("SELECT {COLUMNS} FROM waiters WHERE kind = 'inbox' AND agent = ?1 ORDER BY ticket");
    let mut statement = tx.prepare_cached(&sql)?;
    let found = statement.query_map([agent], row)?.collect::<Result<_, _>>()?;
    Ok(!living(tx, found)?.is_empty())
}

/// Ends the waits of an agent for messages to it.
pub(crate) fn remove_for_messages(tx: &Tx<'_>, agent: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM waiters WHERE kind = 'inbox' AND agent = ?1")?.execute([agent])?;
    Ok(())
}

/// The first living waiter for a lock; dead ones before it are removed.
pub(crate) fn first_for_lock(tx: &Tx<'_>, scope: i64, name: &str) -> Result<Option<Waiter>> {
    loop {
        let sql = format!(
            "SELECT {COLUMNS} FROM waiters WHERE kind = 'lock' AND scope = ?1 AND name = ?2 ORDER BY ticket {} LIMIT 1",
            if crate::fault::broken("turn") { "DESC" } else { "" }
        );
        let Some(waiter) = tx.prepare_cached(&sql)?.query_row((scope, name), row).optional()? else {
            return Ok(None);
        };
        if life::live_held(tx.liveness(), &waiter.live) {
            return Ok(Some(waiter));
        }
        remove(tx, waiter.ticket)?;
    }
}

/// The nearest living waiter for a lock before the one who has this ticket.
pub(crate) fn living_before(
    conn: &Connection,
    liveness: &dyn life::Liveness,
    (scope, name, ticket): (i64, &str, i64),
) -> Result<Option<Waiter>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM waiters WHERE kind = 'lock' AND scope = ?1 AND name = ?2 AND ticket < ?3 ORDER BY ticket DESC"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    for waiter in statement.query_map((scope, name, ticket), row)? {
        let waiter = waiter?;
        if life::live_held(liveness, &waiter.live) {
            return Ok(Some(waiter));
        }
    }
    Ok(None)
}

/// Wakes the living waiter for a lock that comes after a ticket which is no more: whom it watched is gone, but hasn't died.
pub(crate) fn wake_next_after(tx: &Tx<'_>, scope: i64, name: &str, ticket: i64) -> Result<()> {
    let sql = "SELECT ticket, live FROM waiters WHERE kind = 'lock' AND scope = ?1 AND name = ?2 AND ticket > ?3 ORDER BY ticket";
    let mut statement = tx.prepare_cached(sql)?;
    let mut later = statement.query((scope, name, ticket))?;
    while let Some(r) = later.next()? {
        if life::live_held(tx.liveness(), &r.get::<_, String>(1)?) {
            tx.wake(Topic::ticket(r.get(0)?));
            break;
        }
    }
    Ok(())
}

/// The tickets of all who wait for a lock.
pub(crate) fn for_lock(conn: &Connection, scope: i64, name: &str) -> Result<Vec<i64>> {
    let sql = "SELECT ticket FROM waiters WHERE kind = 'lock' AND scope = ?1 AND name = ?2 ORDER BY ticket";
    Ok(conn.prepare_cached(sql)?.query_map((scope, name), |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// Wakes all who wait for a lock, to look until when it is held.
pub(crate) fn wake_all_for_lock(tx: &Tx<'_>, scope: i64, name: &str) -> Result<()> {
    for_lock(tx, scope, name)?.into_iter().for_each(|ticket| tx.wake(Topic::ticket(ticket)));
    Ok(())
}

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<Waiter> {
    let holds: String = r.get(6)?;
    Ok(Waiter {
        ticket: r.get(0)?,
        scope: r.get(1)?,
        name: r.get(2)?,
        agent: r.get(3)?,
        live: r.get(4)?,
        alone: r.get(5)?,
        holds: holds.split(',').filter_map(|t| t.parse().ok()).collect(),
        ttl_ms: r.get(7)?,
        purpose: r.get(8)?,
        since_ms: r.get(9)?,
    })
}
