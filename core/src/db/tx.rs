//! A write transaction as the concepts see it: its moment, its places in the order of commits, its fencing tokens, and
//! whom to wake afterwards.

use std::cell::{Cell, RefCell};
use std::ops::Deref;

use rusqlite::Connection;

use super::Inputs;
use crate::error::Result;
use crate::ids::Random;
use crate::life::Liveness;
use crate::wake::Topic;

/// The moment of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For people.
    pub(crate) wall_ms: i64,
    /// For silence and leases, within `boot`.
    pub(crate) awake_ms: i64,
    /// This boot's number in the file.
    pub(crate) boot: i64,
}

/// A write transaction. It is a connection, a moment, and the wakes to send once it is committed.
pub(crate) struct Tx<'a> {
    conn: &'a Connection,
    pub(crate) now: Now,
    inputs: &'a Inputs,
    wakes: RefCell<Vec<Topic>>,
    /// What `counters` holds, once it was read: the last place in the order of commits, and the last token.
    counters: Cell<Option<(i64, i64)>>,
    seq: Cell<Option<i64>>,
    /// The last place that an entry of the log has, if it is known.
    logged: Cell<Option<i64>>,
}

impl<'a> Tx<'a> {
    /// Of a connection that has begun one.
    pub(super) fn new(conn: &'a Connection, now: Now, inputs: &'a Inputs) -> Tx<'a> {
        Tx {
            conn,
            now,
            inputs,
            wakes: RefCell::default(),
            counters: Cell::default(),
            seq: Cell::default(),
            logged: Cell::default(),
        }
    }

    /// Whom to wake once it is committed, in the order in which they were named.
    pub(super) fn into_wakes(self) -> Vec<Topic> {
        self.wakes.into_inner()
    }

    /// The next place in the order of commits.
    pub(crate) fn next_seq(&self) -> Result<i64> {
        let last = match self.seq.get() {
            Some(seq) => seq,
            None => self.counters()?.0.max(self.end_of_log()?),
        };
        let next = last + 1;
        if crate::fault::broken("seq") {
            // Places far apart, and now and then one in between.
            let next = (next / 1024 + 1) * 1024;
            let back = if self.now.wall_ms % 8 == 0 { 1025 + self.now.awake_ms % 1000 } else { 0 };
            self.seq.set(Some(next));
            return Ok(next - back);
        }
        self.seq.set(Some(next));
        Ok(next)
    }

    /// The place of the newest entry of the log; 0 while it is empty.
    pub(crate) fn end_of_log(&self) -> Result<i64> {
        if let Some(last) = self.logged.get() {
            return Ok(last);
        }
        let sql = "SELECT ifnull(max(seq), 0) FROM activity";
        let last = self.conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?;
        self.logged.set(Some(last));
        Ok(last)
    }

    /// Says that an entry of the log has this place: it then needs no storing of its own.
    pub(crate) fn logged(&self, seq: i64) {
        self.logged.set(Some(seq));
    }

    pub(super) fn store_seq(&self) -> Result<()> {
        if let Some(seq) = self.seq.get().filter(|seq| self.logged.get().is_none_or(|logged| *seq > logged)) {
            self.conn.prepare_cached("UPDATE counters SET seq = ?1")?.execute([seq])?;
        }
        Ok(())
    }

    /// A fencing token greater than any before: the boot's number above 32 bits that count grants.
    pub(crate) fn next_token(&self) -> Result<i64> {
        let (seq, last) = self.counters()?;
        let step = if crate::fault::broken("token") { 0 } else { 1 };
        let token = (last + step).max(self.now.boot << 32);
        // Not with RETURNING, for which SQLite makes and drops a table of its own each time.
        self.conn.prepare_cached("UPDATE counters SET token = ?1")?.execute([token])?;
        self.counters.set(Some((seq, token)));
        Ok(token)
    }

    fn counters(&self) -> Result<(i64, i64)> {
        if let Some(counters) = self.counters.get() {
            return Ok(counters);
        }
        let counters = self
            .conn
            .prepare_cached("SELECT seq, token FROM counters")?
            .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
        self.counters.set(Some(counters));
        Ok(counters)
    }

    /// Wakes whoever sleeps on `topic`, once committed.
    pub(crate) fn wake(&self, topic: Topic) {
        self.wakes.borrow_mut().push(topic);
    }

    /// Probes of life.
    pub(crate) fn liveness(&self) -> &dyn Liveness {
        &*self.inputs.liveness
    }

    /// Randomness for ids.
    pub(crate) fn random(&self) -> &dyn Random {
        &*self.inputs.random
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

/// The end of the log, or a place that was stored for want of an entry there.
const LAST_SEQ: &str = "SELECT max(seq, ifnull((SELECT max(seq) FROM activity), 0)) FROM counters";

/// The last place in the order of commits that a snapshot shows.
pub(crate) fn last_seq(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached(LAST_SEQ)?.query_row([], |r| r.get(0))?)
}
