//! Messages: what is published on channels, and how long it stays.
//!
//! A publish is one transaction: the message, its channel's row, what has become too old or too many, and the wakes of
//! those who wait. Every message says itself when it ends (`expires_ms`: its ttl, else 7 days), so one rule covers
//! both. Removing is spread over later publishes, a bounded number at each; until then what has expired is stored, and
//! no longer shown. A channel's newest message is its signal: once that has expired, an older one doesn't come back.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::activity;
use crate::agents::ScopeNames;
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::{Error, Result};
use crate::life;
use crate::pattern::{ChannelPattern, check_channel};
use crate::waiters;
use crate::wake::Topic;

/// The largest message, as JSON text.
const MAX_BYTES: usize = 1 << 20;
/// How deep arrays and objects may be nested: readers in every language must be able to parse it.
const MAX_DEPTH: usize = 100;
/// How many messages of a channel are kept, unless a publish says otherwise.
const KEEP: u32 = 10_000;
/// How long a message is kept, unless its publish says otherwise.
pub(crate) const KEEP_MS: i64 = 7 * 24 * 3600 * 1000;
/// The longest ttl: a year.
const MAX_TTL_MS: i64 = 366 * 24 * 3600 * 1000;
/// How many messages one publish removes at most, of its channel for their number, and of all for their age.
const PRUNE_AT_ONCE: i64 = 64;
/// From so many on, a channel may have a few more than are kept.
const MANY: i64 = 1_000;
/// The oldest messages are looked at once in so many places of the order of commits. A publish takes two of them, so that
/// twice as many can be removed as come.
const SWEEP_EVERY: i64 = 64;
/// What has expired for so long is looked at by every publish.
const LATE_MS: i64 = 60_000;
/// How many messages a listing gives, unless it says otherwise.
const LIST: usize = 100;

/// A message, as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// Its place in the order of commits. Rises, with gaps.
    pub seq: i64,
    /// The channel that it was published on.
    pub channel: String,
    /// What was published: any JSON value.
    pub payload: Value,
    /// Who published it, if that was known.
    pub agent: Option<String>,
    /// The publisher's name for people: its name, else its id.
    pub agent_name: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The scope that it was published in.
    pub scope: String,
}

/// How to publish. The default keeps the message for 7 days, and 10,000 messages of its channel.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// After this many milliseconds it is no longer delivered; without it after 7 days.
    #[serde(rename = "ttl")]
    pub ttl_ms: Option<i64>,
    /// How many messages of the channel to keep; without it 10,000.
    pub keep: Option<u32>,
}

/// What came of a publish.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// The message's place in the order of commits.
    pub seq: i64,
    /// The channel.
    pub channel: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// How many recorded waiters it concerned.
    pub waiting: u64,
}

/// Which messages to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageFilter {
    /// Only of these channels: names or patterns, separated by commas.
    pub patterns: Option<String>,
    /// The first ones after this seq, instead of the newest.
    pub after_seq: Option<i64>,
    /// At most this many; without it 100.
    pub limit: Option<usize>,
    /// Of every scope, not only the caller's.
    pub all: bool,
}

/// Which channels to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelFilter {
    /// Only these: names or patterns, separated by commas.
    pub pattern: Option<String>,
    /// Of every scope, not only the caller's.
    pub all: bool,
}

/// A channel that has messages.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// How many messages are stored.
    pub count: u64,
    /// The newest message's place in the order of commits.
    pub last_seq: i64,
    /// When the newest was published, in milliseconds since 1970.
    pub last_ms: i64,
    /// Its scope.
    pub scope: String,
    /// How many recorded waiters it concerns.
    pub waiting: u64,
}

/// The newest message of a channel, as one is told of it who didn't ask.
#[derive(Clone, Debug, Serialize)]
pub struct Signal {
    /// Its place in the order of commits.
    pub seq: i64,
    /// Its channel.
    pub channel: String,
    /// The beginning of its payload, JSON.
    pub payload: String,
    /// Whether that is all of it.
    pub whole: bool,
    /// Who sent it, if an agent did.
    pub agent: Option<String>,
    /// The sender's name for people, else its id.
    pub agent_name: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The channels of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelList {
    /// By name.
    pub channels: Vec<ChannelInfo>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// How many characters of a payload are read where only its beginning is shown.
const SHOWN: i64 = 400;

impl Coordinator {
    /// Publishes a message: stores it, and wakes whoever waits for its channel. Needs no agent.
    ///
    /// # Errors
    /// `INVALID` for a channel that is no name, a payload over 1 MiB or nested deeper than 100, a ttl or number that
    /// isn't positive; nothing is stored then. `STORE_*`.
    pub fn publish(&self, channel: &str, payload: &Value, publish: &Publish) -> Result<Published> {
        check_channel(channel)?;
        let text = encode(payload)?;
        let ttl_ms = publish.ttl_ms.unwrap_or(KEEP_MS);
        if !(1..=MAX_TTL_MS).contains(&ttl_ms) {
            return Err(Error::invalid(format!(
                "a ttl of {ttl_ms} ms is out of range: it is 1 ms to 366 days ({MAX_TTL_MS} ms)"
            ))
            .with("ttl_ms", ttl_ms)
            .hint("leave it out to keep the message for 7 days"));
        }
        let keep = publish.keep.unwrap_or(KEEP);
        if keep == 0 {
            return Err(Error::invalid("0 messages to keep are too few: at least the one published is kept")
                .hint("use a ttl for a message that should not stay"));
        }
        self.act(Durability::Process, |tx, actor| {
            let (scope, at_ms) = (actor.scope, tx.now.wall_ms);
            let seq = tx.next_seq()?;
            tx.prepare_cached(
                "INSERT INTO messages (seq, scope, channel, agent, at_ms, expires_ms, payload)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((seq, scope, channel, &actor.agent, at_ms, at_ms + ttl_ms, &text))?;
            let count = count_one_more(tx, scope, channel, seq)?;
            prune(tx, scope, channel, count, i64::from(keep))?;
            sweep(tx, seq)?;
            let waiting = count_waiting(tx, scope, channel)?;
            activity::record(tx, actor, "publish", channel, json!({"seq": seq, "waiting": waiting}))?;
            let key = &self.inner.scope.key;
            tx.wake(Topic::of(&["channel", key, channel]));
            tx.wake(Topic::of(&["channels", key, channel.split(':').next().unwrap_or(channel)]));
            tx.wake(Topic::of(&["channels", key]));
            Ok(Published { seq, channel: channel.to_owned(), at_ms, waiting })
        })
    }

    /// Lists stored messages, oldest first: the newest, or the first ones after a seq.
    ///
    /// # Errors
    /// `INVALID`, `STORE_*`.
    pub fn messages(&self, filter: &MessageFilter) -> Result<Vec<Message>> {
        let patterns = ChannelPattern::parse_list(filter.patterns.as_deref().unwrap_or("*"))?;
        let limit = filter.limit.unwrap_or(LIST);
        let now_ms = self.inner.db.inputs().clock.wall_ms();
        self.inner.db.read(|conn| {
            let scopes = match (filter.all, self.inner.known_scope_row(conn)?) {
                (true, _) => scopes(conn)?,
                (false, here) => here.into_iter().collect(),
            };
            let (range, order) = match filter.after_seq {
                Some(_) => ("seq > ?3", "ASC"),
                None => ("?3 IS NULL", "DESC"),
            };
            let mut statement = conn.prepare_cached(&format!(
                "SELECT seq FROM messages WHERE scope = ?1 AND channel = ?2 AND {range} AND expires_ms > ?5
                 ORDER BY seq {order} LIMIT ?4"
            ))?;
            let mut found = BTreeSet::new();
            let most = i64::try_from(limit).unwrap_or(i64::MAX);
            for scope in scopes {
                for channel in matching(conn, scope, &patterns)? {
                    let rows = statement
                        .query_map((scope, &channel.name, filter.after_seq, most, now_ms), |r| r.get::<_, i64>(0))?;
                    for seq in rows {
                        found.insert(seq?);
                    }
                    // Only as many as are wanted are remembered, however many channels there are.
                    while found.len() > limit {
                        if filter.after_seq.is_some() {
                            found.pop_last()
                        } else {
                            found.pop_first()
                        };
                    }
                }
            }
            let (mut messages, mut names) = (Vec::with_capacity(found.len()), ScopeNames::default());
            for seq in found {
                messages.extend(load(conn, seq, now_ms, &mut names)?.map(|(message, _)| message));
            }
            Ok(messages)
        })
    }

    /// Lists the channels that have messages.
    ///
    /// # Errors
    /// `INVALID`, `STORE_*`.
    pub fn channels(&self, filter: &ChannelFilter) -> Result<ChannelList> {
        let patterns = ChannelPattern::parse_list(filter.pattern.as_deref().unwrap_or("*"))?;
        let inputs = self.inner.db.inputs();
        self.inner.db.read(|conn| {
            let here = self.inner.known_scope_row(conn)?;
            let mut list = ChannelList { channels: Vec::new(), elsewhere: 0 };
            for scope in scopes(conn)? {
                let found = matching(conn, scope, &patterns)?;
                if !filter.all && Some(scope) != here {
                    list.elsewhere += found.len() as u64;
                    continue;
                }
                let waiting: Vec<Vec<ChannelPattern>> = waiters_of(conn, scope)?
                    .into_iter()
                    .filter(|(_, _, live)| life::live_held(&*inputs.liveness, live))
                    .map(|(_, patterns, _)| patterns)
                    .collect();
                let scope_name = ScopeNames::default().of(conn, scope)?;
                list.channels.extend(found.into_iter().map(|c| ChannelInfo {
                    waiting: waiting.iter().filter(|w| any_matches(w, &c.name)).count() as u64,
                    name: c.name,
                    count: c.count.cast_unsigned(),
                    last_seq: c.last_seq,
                    last_ms: c.last_ms,
                    scope: scope_name.clone(),
                }));
            }
            list.channels.sort_by(|a, b| (&a.name, &a.scope).cmp(&(&b.name, &b.scope)));
            Ok(list)
        })
    }

    /// Removes the messages of the caller's scope on these channels: names or patterns, separated by commas. Gives how
    /// many there were.
    ///
    /// # Errors
    /// `INVALID`, `STORE_*`.
    pub fn clear_channel(&self, pattern: &str) -> Result<u64> {
        let patterns = ChannelPattern::parse_list(pattern)?;
        self.act(Durability::Process, |tx, actor| {
            let mut removed = 0;
            for channel in matching(tx, actor.scope, &patterns)? {
                removed += tx
                    .prepare_cached("DELETE FROM messages WHERE scope = ?1 AND channel = ?2")?
                    .execute((actor.scope, &channel.name))?;
                tx.prepare_cached("DELETE FROM channels WHERE scope = ?1 AND name = ?2")?
                    .execute((actor.scope, &channel.name))?;
            }
            if removed > 0 {
                activity::record(tx, actor, "channel.clear", pattern, json!({"removed": removed}))?;
            }
            Ok(removed as u64)
        })
    }
}

/// The newest message of each channel of a scope that has one after `after` and since `since_ms`, newest first. Of a payload
/// only the beginning is read.
pub(crate) fn latched(
    conn: &Connection,
    scope: i64,
    (after, since_ms, now_ms): (i64, i64, i64),
    most: i64,
) -> Result<Vec<Signal>> {
    let channels: Vec<String> = conn
        .prepare_cached(LATCHED_CHANNELS)?
        .query_map((scope, after, since_ms, most), |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let mut newest = conn.prepare_cached(LATCHED)?;
    let mut found = Vec::new();
    for channel in channels {
        let signal = newest
            .query_row((scope, &channel, after, since_ms, now_ms, SHOWN), |r| {
                let (payload, whole): (String, i64) = (r.get(4)?, r.get(5)?);
                Ok(Signal {
                    seq: r.get(0)?,
                    agent: r.get(1)?,
                    agent_name: r.get(2)?,
                    at_ms: r.get(3)?,
                    whole: whole <= SHOWN,
                    payload,
                    channel: channel.clone(),
                })
            })
            .optional()?;
        found.extend(signal);
    }
    Ok(found)
}

const LATCHED_CHANNELS: &str = "SELECT name FROM channels WHERE scope = ?1 AND last_seq > ?2 AND last_ms >= ?3
 ORDER BY last_seq DESC LIMIT ?4";
const LATCHED: &str = "SELECT m.seq, m.agent, coalesce(a.name, m.agent), m.at_ms, substr(m.payload, 1, ?6), length(m.payload)
 FROM messages m LEFT JOIN agents a ON a.id = m.agent
 WHERE m.scope = ?1 AND m.channel = ?2 AND m.seq > ?3 AND m.at_ms >= ?4 AND m.expires_ms > ?5 ORDER BY m.seq DESC LIMIT 1";

/// The payload as it is stored.
fn encode(payload: &Value) -> Result<String> {
    fn too_deep(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left == 0 || items.iter().any(|v| too_deep(v, left - 1)),
            Value::Object(items) => left == 0 || items.values().any(|v| too_deep(v, left - 1)),
            _ => false,
        }
    }
    if too_deep(payload, MAX_DEPTH) {
        return Err(Error::invalid(format!("the message is nested too deeply: at most {MAX_DEPTH} levels"))
            .with("limit", MAX_DEPTH)
            .hint("flatten it, or write it to a file and publish its path"));
    }
    let text = payload.to_string();
    if text.len() > MAX_BYTES {
        return Err(Error::invalid(format!(
            "the message is too large: {} bytes as JSON, at most {MAX_BYTES} (1 MiB)",
            text.len()
        ))
        .with("bytes", text.len())
        .with("limit", MAX_BYTES)
        .hint("write it to a file and publish its path"));
    }
    Ok(text)
}

/// Counts a new message; gives how many its channel has now. In two statements: with RETURNING, SQLite makes and drops a
/// table of its own each time.
fn count_one_more(tx: &Tx<'_>, scope: i64, channel: &str, seq: i64) -> Result<i64> {
    let count: Option<i64> = tx
        .prepare_cached("SELECT count FROM channels WHERE scope = ?1 AND name = ?2")?
        .query_row((scope, channel), |r| r.get(0))
        .optional()?;
    let sql = match count {
        Some(_) => "UPDATE channels SET last_seq = ?3, last_ms = ?4, count = count + 1 WHERE scope = ?1 AND name = ?2",
        None => "INSERT INTO channels (scope, name, last_seq, last_ms, count) VALUES (?1, ?2, ?3, ?4, 1)",
    };
    tx.prepare_cached(sql)?.execute((scope, channel, seq, tx.now.wall_ms))?;
    Ok(count.unwrap_or(0) + 1)
}

/// Removes the oldest messages of a channel that has too many: some now, the others at later publishes. Where many are
/// kept, some more than that are let stand, so that not every publish has to write the pages of the oldest, too.
fn prune(tx: &Tx<'_>, scope: i64, channel: &str, count: i64, keep: i64) -> Result<()> {
    let excess = count - keep;
    let let_stand = if keep >= MANY { PRUNE_AT_ONCE - 1 } else { 0 };
    if excess <= let_stand {
        return Ok(());
    }
    let removed: Vec<i64> = tx
        .prepare_cached(PRUNE)?
        .query_map((scope, channel, excess.min(PRUNE_AT_ONCE)), |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    tx.prepare_cached(
        "UPDATE channels SET count = count - ?3, pruned_seq = max(pruned_seq, ?4) WHERE scope = ?1 AND name = ?2",
    )?
    .execute((scope, channel, removed.len() as i64, removed.iter().max()))?;
    Ok(())
}

const PRUNE: &str = "DELETE FROM messages WHERE seq IN
    (SELECT seq FROM messages WHERE scope = ?1 AND channel = ?2 ORDER BY seq LIMIT ?3) RETURNING seq";

/// Removes what has expired, whatever its channel, a bounded number at once. What is kept for the usual time expires in the
/// order in which it was published, so that the oldest tells whether there is any, and has it. Where many that are kept for
/// longer stand before the others, some are looked at elsewhere, too, each time at another place: in time at all of them.
fn sweep(tx: &Tx<'_>, seq: i64) -> Result<()> {
    let mut expired = Vec::new();
    if tx.prepare_cached(HAS_EXPIRED_OWN_TTL)?.exists([tx.now.wall_ms])? {
        remove_expired(tx, SWEEP_OWN_TTL, (tx.now.wall_ms, PRUNE_AT_ONCE), &mut expired)?;
    }
    let (oldest, expires_ms, is_kept_longer): (i64, i64, bool) =
        tx.prepare_cached(OLDEST)?.query_row([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    let has_expired = expires_ms <= tx.now.wall_ms;
    let last = |r: &rusqlite::Row<'_>| r.get::<_, i64>(0);
    // While messages expire as they come, not every publish has to write the pages of the oldest, too.
    if expires_ms + LATE_MS <= tx.now.wall_ms
        || (has_expired || is_kept_longer)
            && tx.prepare_cached(LAST_BEFORE)?.query_row([seq], last).optional()? != Some(seq / SWEEP_EVERY)
    {
        let before = expired.len();
        remove_expired(tx, SWEEP_OLDEST, (tx.now.wall_ms, PRUNE_AT_ONCE, oldest), &mut expired)?;
        if is_kept_longer && expired.len() - before < PRUNE_AT_ONCE as usize {
            let from = somewhere(oldest, seq);
            remove_expired(tx, SWEEP_OLDEST, (tx.now.wall_ms, PRUNE_AT_ONCE, from), &mut expired)?;
        }
    }
    if expired.is_empty() {
        return Ok(());
    }
    let mut channels: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
    for Expired { seq, scope, channel, had_its_time } in expired {
        let (count, pruned) = channels.entry((scope, channel)).or_default();
        *count += 1;
        // What was meant to be short-lived isn't missed by anyone.
        if had_its_time {
            *pruned = (*pruned).max(seq);
        }
    }
    for ((scope, channel), (count, pruned)) in channels {
        let left: i64 = tx
            .prepare_cached(
                "UPDATE channels SET count = count - ?3, pruned_seq = max(pruned_seq, ?4)
                 WHERE scope = ?1 AND name = ?2 RETURNING count",
            )?
            .query_row((scope, &channel, count, pruned), |r| r.get(0))?;
        if left == 0 {
            tx.prepare_cached("DELETE FROM channels WHERE scope = ?1 AND name = ?2")?.execute((scope, &channel))?;
        }
    }
    Ok(())
}

/// With 7 days as the migration that made the index has them (`KEEP_MS`).
const SWEEP_OWN_TTL: &str = "DELETE FROM messages WHERE seq IN
    (SELECT seq FROM messages WHERE expires_ms - at_ms <> 604800000 AND expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)
    RETURNING seq, scope, channel, expires_ms - at_ms >= 604800000";

/// Whether that would remove anything: to find nothing so costs a third of what it costs there.
const HAS_EXPIRED_OWN_TTL: &str =
    "SELECT 1 FROM messages WHERE expires_ms - at_ms <> 604800000 AND expires_ms <= ?1 LIMIT 1";

/// A message that was removed for its age.
struct Expired {
    seq: i64,
    scope: i64,
    channel: String,
    had_its_time: bool,
}

fn remove_expired(tx: &Tx<'_>, sql: &str, values: impl rusqlite::Params, removed: &mut Vec<Expired>) -> Result<()> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(values, |r| {
        Ok(Expired { seq: r.get(0)?, scope: r.get(1)?, channel: r.get(2)?, had_its_time: r.get(3)? })
    })?;
    for row in rows {
        removed.push(row?);
    }
    Ok(())
}

/// A place between two, another for each `SWEEP_EVERY` of them: the multiples of the golden ratio leave no part out for long.
fn somewhere(first: i64, last: i64) -> i64 {
    let turn = (last / SWEEP_EVERY).cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    first + ((i128::from(last - first) * i128::from(turn >> 32)) >> 32) as i64
}

/// In which `SWEEP_EVERY` places the message before one is.
const LAST_BEFORE: &str = "SELECT seq / 64 FROM messages WHERE seq < ?1 ORDER BY seq DESC LIMIT 1";

const OLDEST: &str = "SELECT seq, expires_ms, expires_ms - at_ms > 604800000 FROM messages ORDER BY seq LIMIT 1";

/// Of some messages from a place on, those that have expired.
const SWEEP_OLDEST: &str = "DELETE FROM messages WHERE seq IN
    (SELECT seq FROM (SELECT seq, expires_ms FROM messages WHERE seq >= ?3 ORDER BY seq LIMIT 4 * ?2)
     WHERE expires_ms <= ?1 LIMIT ?2)
    RETURNING seq, scope, channel, expires_ms - at_ms >= 604800000";

/// How many living waiters a channel concerns. Dead ones that are met are removed.
fn count_waiting(tx: &Tx<'_>, scope: i64, channel: &str) -> Result<u64> {
    let mut count = 0;
    for (ticket, patterns, live) in waiters_of(tx, scope)? {
        if any_matches(&patterns, channel) {
            if life::live_held(tx.liveness(), &live) {
                count += 1;
            } else {
                waiters::remove(tx, ticket)?;
            }
        }
    }
    Ok(count)
}

/// Everyone who is recorded as waiting for channels of a scope: ticket, patterns, live file.
fn waiters_of(conn: &Connection, scope: i64) -> Result<Vec<(i64, Vec<ChannelPattern>, String)>> {
    let mut statement =
        conn.prepare_cached("SELECT ticket, name, live FROM waiters WHERE kind = 'channel' AND scope = ?1")?;
    let rows: Vec<(i64, String, String)> =
        statement.query_map([scope], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_, _>>()?;
    rows.into_iter().map(|(ticket, name, live)| Ok((ticket, ChannelPattern::parse_list(&name)?, live))).collect()
}

pub(crate) fn any_matches(patterns: &[ChannelPattern], channel: &str) -> bool {
    patterns.iter().any(|p| p.matches(channel))
}

fn scopes(conn: &Connection) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached("SELECT id FROM scopes ORDER BY id")?;
    Ok(statement.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// A channel's row.
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) last_seq: i64,
    pub(crate) last_ms: i64,
    pub(crate) count: i64,
    pub(crate) pruned_seq: i64,
}

/// The channels of a scope that match any of the patterns, each once, by name.
pub(crate) fn matching(conn: &Connection, scope: i64, patterns: &[ChannelPattern]) -> Result<Vec<Channel>> {
    let mut found = BTreeMap::new();
    let mut statement = conn.prepare_cached(MATCHING)?;
    for pattern in patterns {
        let (first, last) = bounds(pattern);
        let rows = statement.query_map((scope, first, last), |r| {
            Ok(Channel {
                name: r.get(0)?,
                last_seq: r.get(1)?,
                last_ms: r.get(2)?,
                count: r.get(3)?,
                pruned_seq: r.get(4)?,
            })
        })?;
        for channel in rows {
            let channel = channel?;
            if pattern.matches(&channel.name) {
                found.insert(channel.name.clone(), channel);
            }
        }
    }
    Ok(found.into_values().collect())
}

const MATCHING: &str = "SELECT name, last_seq, last_ms, count, pruned_seq FROM channels
    WHERE scope = ?1 AND name BETWEEN ?2 AND ?3";

/// The first and the last name that could match.
pub(crate) fn bounds(pattern: &ChannelPattern) -> (&str, String) {
    let prefix = pattern.literal_prefix();
    // No character of a name sorts after this one.
    let last = if pattern.is_exact() { prefix.to_owned() } else { format!("{prefix}\u{7f}") };
    (prefix, last)
}

/// A message, and the size of its payload; none where it was removed or has expired.
pub(crate) fn load(
    conn: &Connection,
    seq: i64,
    now_ms: i64,
    scopes: &mut ScopeNames,
) -> Result<Option<(Message, usize)>> {
    let row = conn
        .prepare_cached(LOAD)?
        .query_row((seq, now_ms), |r| {
            let agent: Option<String> = r.get(1)?;
            let name: Option<String> = r.get(4)?;
            let message = Message {
                seq,
                channel: r.get(0)?,
                payload: Value::Null,
                agent_name: name.or_else(|| agent.clone()),
                agent,
                at_ms: r.get(2)?,
                scope: String::new(),
            };
            Ok((message, r.get::<_, i64>(3)?, r.get::<_, String>(5)?))
        })
        .optional()?;
    let Some((mut message, scope, text)) = row else { return Ok(None) };
    message.scope = scopes.of(conn, scope)?;
    message.payload = serde_json::from_str(&text)
        .map_err(|e| Error::internal(format!("the payload of message {seq} is no JSON: {e}")).with("seq", seq))?;
    Ok(Some((message, text.len())))
}

const LOAD: &str = "SELECT m.channel, m.agent, m.at_ms, m.scope, a.name, m.payload
    FROM messages m LEFT JOIN agents a ON a.id = m.agent
    WHERE m.seq = ?1 AND m.expires_ms > ?2";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::coordinator::{Options, ScopeChoice};

    pub(crate) fn open() -> (tempfile::TempDir, Coordinator) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options).unwrap();
        (dir, pd)
    }

    /// The steps that SQLite takes for a statement.
    pub(crate) fn plan(pd: &Coordinator, sql: &str) -> Vec<String> {
        pd.inner
            .db
            .read(|conn| {
                let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let rows = statement.raw_query().mapped(|r| r.get(3)).collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .unwrap()
    }

    #[test]
    fn hot_queries_use_their_indexes() {
        let (_dir, pd) = open();
        assert_eq!(plan(&pd, MATCHING), ["SEARCH channels USING PRIMARY KEY (scope=? AND name>? AND name<?)"]);
        assert_eq!(
            plan(&pd, LOAD),
            ["SEARCH m USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH a USING PRIMARY KEY (id=?) LEFT-JOIN"]
        );
        for (sql, index) in [
            (PRUNE, "messages_by_channel (scope=? AND channel=?)"),
            (SWEEP_OWN_TTL, "messages_by_own_ttl (expires_ms<?)"),
            (HAS_EXPIRED_OWN_TTL, "messages_by_own_ttl (expires_ms<?)"),
            (LAST_BEFORE, "messages USING INTEGER PRIMARY KEY (rowid<?)"),
            (SWEEP_OLDEST, "messages USING INTEGER PRIMARY KEY (rowid>?)"),
        ] {
            let steps = plan(&pd, sql);
            assert!(steps.iter().any(|s| s.contains(index)), "{steps:?}");
            let slow = |s: &String| s.starts_with("SCAN") && !s.contains("subquery") || s.contains("B-TREE");
            assert!(!steps.iter().any(slow), "{steps:?}");
        }
    }

    #[test]
    fn the_usual_time_is_that_of_the_index() {
        assert!(LAST_BEFORE.contains(&format!("seq / {SWEEP_EVERY} ")));
        assert!(
            SWEEP_OWN_TTL.matches(&KEEP_MS.to_string()).count() == 2
                && [SWEEP_OLDEST, OLDEST, HAS_EXPIRED_OWN_TTL].iter().all(|sql| sql.contains(&KEEP_MS.to_string()))
        );
    }

    #[test]
    fn where_many_are_kept_a_few_more_stand_for_a_while() {
        let (_dir, pd) = open();
        let publish = Publish { keep: Some(1_000), ..Publish::default() };
        let mut most = 0;
        for n in 0..1_200 {
            pd.publish("c", &json!(n), &publish).unwrap();
            most = most.max(pd.channels(&ChannelFilter::default()).unwrap().channels[0].count);
        }
        assert_eq!(most, 1_000 + PRUNE_AT_ONCE as u64 - 1);
        assert!(pd.channels(&ChannelFilter::default()).unwrap().channels[0].count >= 1_000);
    }

    struct Moved(std::sync::atomic::AtomicI64);

    impl crate::clock::Clock for Moved {
        fn wall_ms(&self) -> i64 {
            self.0.load(std::sync::atomic::Ordering::SeqCst)
        }
        fn awake_ms(&self) -> i64 {
            crate::sys::awake_ms()
        }
    }

    fn open_at(at_ms: i64) -> (tempfile::TempDir, Coordinator, std::sync::Arc<Moved>) {
        let dir = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(Moved(at_ms.into()));
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options.clock(clock.clone())).unwrap();
        (dir, pd, clock)
    }

    fn stored(pd: &Coordinator) -> i64 {
        pd.inner.db.read(|conn| Ok(conn.query_row("SELECT count(*) FROM messages", [], |r| r.get(0))?)).unwrap()
    }

    /// `n` messages without a transaction for each, on a channel of their own, published at `at_ms`.
    fn store(pd: &Coordinator, channel: &str, n: i64, at_ms: i64, ttl_ms: i64) {
        let write =
            |tx: &Tx<'_>| {
                let (first, scope) =
                    (tx.next_seq()?, tx.query_row("SELECT min(id) FROM scopes", [], |r| r.get::<_, i64>(0))?);
                for _ in 0..n {
                    tx.prepare_cached("INSERT INTO messages VALUES (?1, ?2, ?3, NULL, ?4, ?4 + ?5, '1')")?
                        .execute((tx.next_seq()?, scope, channel, at_ms, ttl_ms))?;
                }
                tx.execute(
                    "INSERT INTO channels VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                    (channel, scope, first + n, at_ms, n),
                )?;
                Ok(())
            };
        pd.inner.db.write(Durability::Process, write).unwrap();
    }

    #[test]
    fn a_backlog_of_expired_messages_goes_in_small_portions() {
        let (_dir, pd, clock) = open_at(1);
        pd.publish("c", &json!(1), &Publish::default()).unwrap();
        store(&pd, "old", 5_000, 1, KEEP_MS);
        clock.0.store(KEEP_MS + 2, std::sync::atomic::Ordering::SeqCst);
        let (mut publications, mut before) = (0, stored(&pd));
        while before > publications {
            pd.publish("c", &json!(1), &Publish::default()).unwrap();
            publications += 1;
            let now = stored(&pd);
            assert!(before + 1 - now <= PRUNE_AT_ONCE, "{} at once", before + 1 - now);
            before = now;
        }
        assert!(publications < 5_000, "faster than they come: {publications}");
    }

    #[test]
    fn what_is_kept_for_long_keeps_nothing_else_from_being_removed() {
        let (_dir, pd, clock) = open_at(1);
        pd.publish("c", &json!(1), &Publish::default()).unwrap();
        store(&pd, "long", 3_000, 1, 100 * KEEP_MS);
        store(&pd, "old", 3_000, 1, KEEP_MS);
        clock.0.store(KEEP_MS + 2, std::sync::atomic::Ordering::SeqCst);
        for _ in 0..6_000 {
            pd.publish("c", &json!(1), &Publish { ttl_ms: None, keep: Some(1) }).unwrap();
        }
        let channels = pd.channels(&ChannelFilter::default()).unwrap().channels;
        let left: u64 = channels.iter().filter(|c| c.name == "old").map(|c| c.count).sum();
        assert!(left < 100, "{left} of 3,000 expired messages are still stored");
        assert_eq!(channels.iter().find(|c| c.name == "long").unwrap().count, 3_000);
    }

    #[test]
    fn counts_stay_true_through_pruning_and_expiry() {
        let (_dir, pd) = open();
        for n in 0..300_u32 {
            let publish = Publish { ttl_ms: Some(1 + i64::from(n % 3)), keep: (n % 5 == 0).then_some(7) };
            pd.publish(&format!("c{}", n % 4), &json!(n), &publish).unwrap();
        }
        let wrong: i64 = pd
            .inner
            .db
            .read(|conn| {
                Ok(conn.query_row(
                    "SELECT count(*) FROM (SELECT scope, channel, count(*) n FROM messages GROUP BY 1, 2) m
                     FULL JOIN channels c ON c.scope = m.scope AND c.name = m.channel WHERE m.n IS NOT c.count",
                    [],
                    |r| r.get(0),
                )?)
            })
            .unwrap();
        assert_eq!(wrong, 0);
    }
}
