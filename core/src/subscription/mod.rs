//! Subscriptions: what was signalled before, then what is published from now on, with nothing lost or doubled between.
//!
//! A subscription is a position in the order of commits. Its beginning reads, in one snapshot, the position and what
//! is to be replayed up to it; from then on it reads what lies behind the position and moves it, over unrelated
//! messages too. Wake words are sampled strictly before each read, so nothing is slept over.
//!
//! A subscriber that has nothing to read is recorded in `waiters` before it sleeps, with the patterns that have
//! delivered nothing yet. Whether that closes a cycle of agents waiting for each other is decided in the same
//! transaction: of two that begin at once, the second sees the first. The row goes when every pattern has delivered,
//! and at the end of the subscription; a killed one's goes with its live file, by whoever meets it.

mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde_json::{Value, json};

use crate::activity;
use crate::agents::{self, AgentState, Names, ScopeNames};
use crate::caller::Face;
use crate::coordinator::Coordinator;
use crate::db::{self, Durability, Now};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::identity::{check_name, check_text};
use crate::interrupt;
use crate::life::{Liveness, Verdict};
use crate::messages::{self, KEEP_MS, Message};
use crate::pattern::{ChannelPattern, check_channel};
use crate::sys::watch::DeathWatch;
use crate::tasks::at_once;
use crate::wait::{Rest, Sleeping, Wait, Woken};
use crate::waiters::{self, Kind, NewWaiter, Waiter};
use crate::wake::Topic;

use owners::{Gone, candidates, deadlock, find_cycle, living_channel_waiters, watch, why_gone};

/// Older signals are history, not news.
const LATCHED_MS: i64 = 24 * 3600 * 1000;
/// How many messages are looked at in one read.
const BATCH: i64 = 512;
/// How many latched messages are loaded in one read.
const REPLAYED_AT_ONCE: usize = 64;
/// How many bytes of payload are held in memory before they are handed out.
const BATCH_BYTES: usize = 4 << 20;
/// Up to so many channels are looked up one by one by a subscription that is far behind.
const FEW: usize = 16;
/// A reader this far behind asks whether something was removed before it came by.
const FAR_BEHIND: i64 = 5_000;
/// For how long what was seen of a sender is told with its messages.
const SEEN_FOR: Duration = Duration::from_millis(250);
/// How often the circumstances of a wait are looked at again: the owners of its channels, other scopes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether the owners of its channels have fallen silent.
const LOOK_AT_OWNERS_EVERY: Duration = Duration::from_secs(30);

/// What of the past a subscription begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// The newest message of each matching channel, if it is at most 24 hours old.
    #[default]
    Latest,
    /// Nothing: only what is published from now on.
    None,
    /// Everything that is stored.
    All,
    /// Everything that is stored after this seq.
    After(i64),
}

/// How to subscribe.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// Channels or patterns, separated by commas. `*` is any run of characters.
    pub patterns: String,
    /// What of the past to begin with.
    pub replay: Replay,
    /// The name of a position that is kept in the database: the subscription goes on after what was last
    /// [`ack`](Subscription::ack)nowledged under it, whatever `replay` says.
    pub durable: Option<String>,
    /// A cycle of agents waiting for each other is an error instead of a warning.
    pub fail_on_deadlock: bool,
    /// `OWNER_GONE` instead of a warning, when the agent that a channel belongs to is gone.
    pub fail_if_gone: bool,
    /// The agent does nothing else meanwhile (a shell command): a cycle of such waits is an error.
    pub alone: bool,
    /// Waits on even if a cycle of waits is found; it is a warning then.
    pub patient: bool,
    /// What for, up to 4 KiB; others can read it.
    pub purpose: Option<String>,
}

/// A message as it reaches a subscriber.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether it was published before the subscription began.
    pub replayed: bool,
    /// How old it is, in milliseconds.
    pub age_ms: i64,
    /// How its sender is doing, for a replayed message of a known agent.
    pub sender_state: Option<AgentState>,
}

/// What a subscription gives.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A message.
    Message(Delivery),
    /// Something that the waiting caller should know.
    Warning(Warning),
}

/// Why a wait may be in vain, or incomplete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// A sentence for people.
    pub text: String,
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// Agents wait for each other in a circle.
    Deadlock,
    /// The agent that a channel belongs to is dead, has left or is done.
    OwnerGone,
    /// The channel was published in another scope.
    OtherScope,
    /// Messages after the subscriber's position were removed before it came by.
    Pruned,
}

/// A stream of messages. Ends when it is closed or dropped.
pub struct Subscription {
    coordinator: Coordinator,
    how: Subscribe,
    patterns: Vec<Watched>,
    /// Row of the scope; none until something was written there.
    scope: Option<i64>,
    /// Everything up to here was read.
    position: i64,
    /// Messages up to here were there before the subscription.
    began: i64,
    /// Latched messages that are still to be read.
    replay: VecDeque<i64>,
    pending: VecDeque<Pending>,
    warnings: VecDeque<Warning>,
    ticket: Option<i64>,
    /// Agents that undelivered channels belong to, as of the last look.
    owners: Vec<String>,
    /// Notices at once when one of them dies.
    watch: Option<DeathWatch>,
    looked: Option<Instant>,
    /// Something was committed since, too soon after it to look again.
    look_is_due: bool,
    told_other_scope: bool,
    told_pruned: bool,
    scopes: ScopeNames,
    /// Where the last wait has ended, if everything was read.
    rest: Option<Rest>,
}

/// A message that was read and not yet handed out.
struct Pending {
    message: Message,
    replayed: bool,
    /// How the sender of a replayed one was doing when it was read.
    sender: Option<Seen>,
}

/// How an agent was doing, and when.
#[derive(Clone, Copy)]
struct Seen {
    at: Instant,
    state: Option<AgentState>,
}

struct Watched {
    pattern: ChannelPattern,
    delivered: bool,
    told_gone: bool,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("patterns", &self.how.patterns)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Coordinator {
    /// Subscribes to channels. Nothing is waited for yet.
    ///
    /// # Errors
    /// `INVALID` for malformed patterns, an empty or overlong name or purpose; `STORE_*`.
    pub fn subscribe(&self, subscribe: &Subscribe) -> Result<Subscription> {
        let patterns = ChannelPattern::parse_list(&subscribe.patterns)?;
        if let Some(name) = &subscribe.durable {
            check_name("subscriber", name, 128)?;
        }
        if let Some(purpose) = &subscribe.purpose {
            check_text("purpose", purpose, 4096)?;
        }
        let now_ms = self.inner.db.inputs().clock.wall_ms();
        let mut this = Subscription {
            coordinator: self.clone(),
            how: subscribe.clone(),
            patterns: patterns
                .into_iter()
                .map(|pattern| Watched { pattern, delivered: false, told_gone: false })
                .collect(),
            scope: None,
            position: 0,
            began: 0,
            replay: VecDeque::new(),
            pending: VecDeque::new(),
            warnings: VecDeque::new(),
            ticket: None,
            owners: Vec::new(),
            watch: None,
            looked: None,
            look_is_due: false,
            told_other_scope: false,
            told_pruned: false,
            scopes: ScopeNames::default(),
            rest: None,
        };
        self.inner.db.read(|conn| this.begin(conn, now_ms))?;
        Ok(this)
    }

    /// Stores that a durable subscriber has handled everything up to `seq`, as [`Subscription::ack`] does.
    ///
    /// # Errors
    /// `INVALID` for an empty or overlong name, `STORE_*`.
    pub fn ack(&self, subscriber: &str, seq: i64) -> Result<()> {
        check_name("subscriber", subscriber, 128)?;
        if crate::fault::broken("position") {
            return Ok(());
        }
        self.inner.db.write(Durability::Process, |tx| {
            let scope = self.inner.scope_row(tx)?;
            tx.prepare_cached(
                "INSERT INTO cursors (scope, name, seq, at_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (scope, name) DO UPDATE SET seq = max(seq, ?3), at_ms = ?4",
            )?
            .execute((scope, subscriber, seq, tx.now.wall_ms))?;
            Ok(())
        })
    }

    /// Waits for a channel's signal and gives its payload: at once if the channel's newest message is at most 24 hours
    /// old. Warnings go to [`take_notices`](Self::take_notices).
    ///
    /// # Errors
    /// `TIMEOUT`, `CANCELLED`, `INVALID` for a channel that is no name, `DEADLOCK` in a shell, `STORE_*`.
    pub fn wait_for_signal(&self, channel: &str, wait: &Wait) -> Result<Value> {
        at_once(self.signal(Sleeping::Thread, channel, wait))
    }

    /// As [`wait_for_signal`](Self::wait_for_signal), for an event loop: it gives way while it waits.
    ///
    /// # Errors
    /// As [`wait_for_signal`](Self::wait_for_signal).
    pub async fn wait_for_signal_async(&self, channel: &str, wait: &Wait) -> Result<Value> {
        self.signal(Sleeping::Task, channel, wait).await
    }

    async fn signal(&self, sleeping: Sleeping, channel: &str, wait: &Wait) -> Result<Value> {
        check_channel(channel)?;
        let alone = self.inner.face == Face::Shell;
        let mut subscription =
            self.subscribe(&Subscribe { patterns: channel.to_owned(), alone, ..Subscribe::default() })?;
        let deadline = wait.deadline();
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            match subscription.receive(sleeping, &Wait { timeout: left, cancel: wait.cancel.clone() }).await? {
                Some(Event::Message(delivery)) => return Ok(delivery.message.payload),
                Some(Event::Warning(warning)) => self.inner.notice(warning.text),
                None => {
                    let ms = wait.timeout.unwrap_or_default().as_millis();
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        format!("nothing was published on {channel:?} in {ms} ms"),
                    )
                    .with("channel", channel)
                    .with("timeout_ms", u64::try_from(ms).unwrap_or(u64::MAX))
                    .hint("pd status shows who waits for what; pd channels shows what was published"));
                }
            }
        }
    }
}

impl Subscription {
    /// The next message or warning; none when the time runs out first.
    ///
    /// # Errors
    /// `CANCELLED`; `DEADLOCK` (with the cycle) and `OWNER_GONE` where the subscription asked for them; `CLOSED`,
    /// `STORE_*`.
    pub fn next(&mut self, wait: &Wait) -> Result<Option<Event>> {
        at_once(self.receive(Sleeping::Thread, wait))
    }

    /// As [`next`](Self::next), for an event loop: it gives way while it waits. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_async(&mut self, wait: &Wait) -> Result<Option<Event>> {
        self.receive(Sleeping::Task, wait).await
    }

    async fn receive(&mut self, sleeping: Sleeping, wait: &Wait) -> Result<Option<Event>> {
        self.coordinator.inner.db.check_process()?;
        if let Some(event) = self.at_hand()? {
            return Ok(Some(event));
        }
        let deadline = wait.deadline();
        let coordinator = self.coordinator.clone();
        let inner = &coordinator.inner;
        let mut has_read = false;
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let known = self.owners.clone();
            let this_wait = Wait { timeout: left, cancel: wait.cancel.clone() };
            // Who only looks doesn't wait, and has no tick that would find what nobody woke it for.
            let looks = wait.timeout == Some(Duration::ZERO);
            let mut waiting = match self.rest.take().filter(|_| !looks) {
                Some(rest) => coordinator.wait_again(sleeping, rest, &this_wait)?,
                None => coordinator.waiting(sleeping, self.topics(), &this_wait)?,
            };
            loop {
                if waiting.is_due() {
                    has_read = true;
                    let now_ms = inner.db.inputs().clock.wall_ms();
                    let mut more = true;
                    while more && self.pending.is_empty() {
                        more = waiting.read(|conn| self.read_batch(conn, now_ms))?;
                    }
                    if let Some(event) = self.at_hand()? {
                        self.rest = (!more).then(|| waiting.rest());
                        return Ok(Some(event));
                    }
                }
                if !looks {
                    self.record()?;
                }
                self.look_around()?;
                if let Some(event) = self.at_hand()? {
                    return Ok(Some(event));
                }
                // Whose channels these are is known now: sample their words, too, and read again.
                if self.owners != known {
                    break;
                }
                match waiting.sleep(self.next_look()).await? {
                    // Whoever wrote may have woken nobody: no call says that there is nothing without having looked.
                    Woken::TimedOut if has_read => return Ok(None),
                    Woken::TimedOut | Woken::Changed | Woken::Until => {}
                }
            }
        }
    }

    /// The next message or warning of those that were read together with the last one; none where more must be read.
    ///
    /// # Errors
    /// `STORE_*`: that it was delivered could not be recorded. It stays at hand.
    pub fn take_read(&mut self) -> Result<Option<Event>> {
        self.coordinator.inner.db.check_process()?;
        self.at_hand()
    }

    /// Stores that everything up to `seq` was handled, for a durable subscription: the next one of that name goes on
    /// after it. Never moves back.
    ///
    /// # Errors
    /// `INVALID` for a subscription without a durable name, `STORE_*`.
    pub fn ack(&self, seq: i64) -> Result<()> {
        match &self.how.durable {
            Some(name) => self.coordinator.ack(name, seq),
            None => Err(Error::invalid("this subscription has no durable position to store")
                .hint("subscribe with a durable name (--as NAME)")),
        }
    }

    /// The patterns that have delivered at least one message.
    pub fn done_patterns(&self) -> Vec<&str> {
        self.patterns.iter().filter(|w| w.delivered).map(|w| w.pattern.as_str()).collect()
    }

    /// Whether every pattern has delivered at least one message.
    pub fn is_done(&self) -> bool {
        self.patterns.iter().all(|w| w.delivered)
    }

    /// Whether everything that was there when the subscription began has been given out.
    pub fn caught_up(&self) -> bool {
        self.replay.is_empty() && self.position >= self.began && !self.pending.iter().any(|pending| pending.replayed)
    }

    /// Ends the subscription, as dropping it does.
    ///
    /// # Errors
    /// `STORE_*`: that it no longer waits could not be recorded.
    pub fn close(mut self) -> Result<()> {
        self.unrecord()
    }

    /// The position, and what of the past comes first.
    fn begin(&mut self, conn: &Connection, now_ms: i64) -> Result<()> {
        let inner = &self.coordinator.inner;
        let last = db::last_seq(conn)?;
        self.began = last;
        self.position = last;
        self.scope = inner.known_scope_row(conn)?;
        let Some(scope) = self.scope else { return Ok(()) };
        if let Some(name) = &self.how.durable {
            let stored: Option<(i64, i64)> = conn
                .prepare_cached("SELECT seq, at_ms FROM cursors WHERE scope = ?1 AND name = ?2")?
                .query_row((scope, name), |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()?;
            if let Some((seq, at_ms)) = stored {
                self.position = seq.min(last);
                self.warn_if_pruned(conn, self.position, (now_ms - at_ms > KEEP_MS).then_some(now_ms - at_ms))?;
                return Ok(());
            }
        }
        match self.how.replay {
            Replay::Latest => {
                let patterns: Vec<ChannelPattern> = self.patterns.iter().map(|w| w.pattern.clone()).collect();
                let mut latched: Vec<i64> = messages::matching(conn, scope, &patterns)?
                    .into_iter()
                    .filter(|c| c.last_ms > now_ms - LATCHED_MS)
                    .map(|c| c.last_seq)
                    .collect();
                latched.sort_unstable();
                self.replay = latched.into();
            }
            Replay::None => {}
            Replay::All => self.position = 0,
            Replay::After(seq) => {
                self.position = seq.clamp(0, last);
                self.warn_if_pruned(conn, self.position, None)?;
            }
        }
        Ok(())
    }

    /// What can be given out without waiting.
    fn at_hand(&mut self) -> Result<Option<Event>> {
        if let Some(warning) = self.warnings.pop_front() {
            return Ok(Some(Event::Warning(warning)));
        }
        let coordinator = self.coordinator.clone();
        let inner = &coordinator.inner;
        let now_ms = inner.db.inputs().clock.wall_ms();
        while self.pending.is_empty() && !self.replay.is_empty() {
            let now = inner.now()?;
            let read = inner.db.read(|conn| self.read_replay(conn, now))?;
            self.replay.drain(..read.0);
            self.pending.extend(read.1);
        }
        // Whatever fails from here on, the message stays at hand for the next call.
        let Some(Pending { message, replayed, sender }) = self.pending.front() else { return Ok(None) };
        let (channel, from, sender) = (message.channel.clone(), message.agent.clone(), *sender);
        let asks = from.as_ref().filter(|_| *replayed);
        let sender_state = match (asks, sender) {
            (None, _) => None,
            (Some(_), Some(seen)) if seen.at.elapsed() < SEEN_FOR => seen.state,
            (Some(agent), _) => {
                let now = inner.now()?;
                inner.db.read(|conn| state_of(conn, agent, now, &*inner.db.inputs().liveness))?
            }
        };
        self.mark_delivered(&channel, from.as_deref())?;
        let Some(Pending { message, replayed, .. }) = self.pending.pop_front() else { return Ok(None) };
        let age_ms = (now_ms - message.at_ms).max(0);
        Ok(Some(Event::Message(Delivery { message, replayed, age_ms, sender_state })))
    }

    /// The next of the latched messages that are still there, and how many were looked for.
    fn read_replay(&mut self, conn: &Connection, now: Now) -> Result<(usize, Vec<Pending>)> {
        let coordinator = self.coordinator.clone();
        let liveness = &*coordinator.inner.db.inputs().liveness;
        let (mut looked, mut bytes, mut found, mut senders) = (0, 0, Vec::new(), BTreeMap::new());
        for seq in self.replay.iter().take(REPLAYED_AT_ONCE) {
            looked += 1;
            let loaded = messages::load(conn, *seq, now.wall_ms, &mut self.scopes);
            if loaded.is_err() && !found.is_empty() {
                // What comes before is handed out first; then it is met again.
                return Ok((looked - 1, found));
            }
            let Some((message, size)) = loaded? else { continue };
            let sender = match &message.agent {
                Some(agent) if !senders.contains_key(agent) => {
                    let seen = Seen { state: state_of(conn, agent, now, liveness)?, at: Instant::now() };
                    senders.insert(agent.clone(), seen);
                    Some(seen)
                }
                Some(agent) => senders.get(agent).copied(),
                None => None,
            };
            found.push(Pending { message, replayed: true, sender });
            bytes += size;
            if bytes > BATCH_BYTES {
                break;
            }
        }
        Ok((looked, found))
    }

    /// Reads on from the position. True if there may be more.
    fn read_batch(&mut self, conn: &Connection, now_ms: i64) -> Result<bool> {
        let last = db::last_seq(conn)?;
        if last <= self.position {
            return Ok(false);
        }
        if self.scope.is_none() {
            self.scope = self.coordinator.inner.known_scope_row(conn)?;
        }
        let Some(scope) = self.scope else {
            self.position = last;
            return Ok(false);
        };
        if last - self.position > FAR_BEHIND {
            // What was removed before it began is no loss to one who asked for everything that is stored.
            self.warn_if_pruned(conn, self.position.max(self.began), None)?;
        }
        let few = self.patterns.len() <= FEW && self.patterns.iter().all(|w| w.pattern.is_exact());
        let mut matching = Vec::new();
        // Up to where `matching` is complete.
        let mut read_to = last;
        if few && last - self.position > BATCH {
            let mut statement = conn.prepare_cached(BY_CHANNEL)?;
            for watched in &self.patterns {
                let found: Vec<i64> = statement
                    .query_map((scope, watched.pattern.as_str(), self.position, BATCH), |r| r.get(0))?
                    .collect::<Result<_, _>>()?;
                if found.len() as i64 == BATCH {
                    read_to = read_to.min(found[found.len() - 1]);
                }
                matching.extend(found);
            }
            matching.sort_unstable();
            matching.retain(|seq| *seq <= read_to);
        } else {
            let mut statement = conn.prepare_cached(BY_SEQ)?;
            let mut rows = statement.query((self.position, BATCH))?;
            let mut looked_at = 0;
            let mut newest = self.position;
            while let Some(row) = rows.next()? {
                looked_at += 1;
                newest = row.get(0)?;
                if row.get::<_, i64>(1)? == scope {
                    let channel = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
                    if self.patterns.iter().any(|w| w.pattern.matches(channel)) {
                        matching.push(newest);
                    }
                }
            }
            if looked_at == BATCH {
                read_to = newest;
            }
        }
        let mut bytes = 0;
        if crate::fault::broken("message") {
            matching.retain(|seq| seq % 16 != 0);
        }
        for seq in matching {
            if let Some((message, size)) = messages::load(conn, seq, now_ms, &mut self.scopes)? {
                self.pending.push_back(Pending { message, replayed: seq <= self.began, sender: None });
                bytes += size;
            }
            self.position = seq;
            if bytes > BATCH_BYTES {
                return Ok(true);
            }
        }
        self.position = read_to;
        Ok(read_to < last)
    }

    /// The words of those who could end the wait.
    fn topics(&self) -> Vec<Topic> {
        let key = self.coordinator.inner.scope.key.as_str();
        let mut topics = BTreeSet::new();
        for watched in &self.patterns {
            let pattern = &watched.pattern;
            topics.insert(match (pattern.is_exact(), pattern.first_segment()) {
                (true, _) => vec!["channel", key, pattern.as_str()],
                (false, Some(segment)) => vec!["channels", key, segment],
                (false, None) => vec!["channels", key],
            });
        }
        topics.extend(self.owners.iter().map(|owner| vec!["agent", owner.as_str()]));
        topics.into_iter().map(|parts| Topic::of(&parts)).collect()
    }

    fn undelivered(&self) -> Vec<ChannelPattern> {
        self.patterns.iter().filter(|w| !w.delivered).map(|w| w.pattern.clone()).collect()
    }

    /// Notes what a message has fulfilled, and says what is still waited for.
    fn mark_delivered(&mut self, channel: &str, from: Option<&str>) -> Result<()> {
        let fulfilled = |w: &Watched| !w.delivered && w.pattern.matches(channel);
        if !self.patterns.iter().any(fulfilled) {
            return Ok(());
        }
        if let Some(ticket) = self.ticket {
            let left: Vec<_> =
                self.patterns.iter().filter(|w| !w.delivered && !fulfilled(w)).map(|w| w.pattern.clone()).collect();
            let inner = &self.coordinator.inner;
            inner.db.write(Durability::Process, |tx| {
                let Some((scope, since_ms)) = waiters::begun(tx, ticket)? else { return Ok(()) };
                let detail = json!({"from": from, "waited_ms": tx.now.wall_ms - since_ms});
                let agent = inner.caller.agent.as_deref();
                activity::record_as(tx, agent, scope, "channel.receive", channel, detail)?;
                if left.is_empty() {
                    waiters::remove(tx, ticket).map(|_| ())
                } else {
                    waiters::rename(tx, ticket, &join(&left))
                }
            })?;
            if left.is_empty() {
                self.ticket = None;
            }
        }
        self.patterns.iter_mut().filter(|w| fulfilled(w)).for_each(|w| w.delivered = true);
        Ok(())
    }

    /// Records the wait, once, while some pattern has delivered nothing.
    ///
    /// # Errors
    /// `DEADLOCK` where it would close a cycle, and that is to be an error.
    fn record(&mut self) -> Result<()> {
        let left = self.undelivered();
        if self.ticket.is_some() || left.is_empty() {
            return Ok(());
        }
        let live = self.coordinator.inner.presence()?;
        let how = &self.how;
        let (ticket, warning) = self.coordinator.act(Durability::Process, |tx, actor| {
            let mut warning = None;
            if let Some(me) = &actor.agent {
                let all = living_channel_waiters(tx, actor.scope)?;
                let alone: Vec<&Waiter> = all.iter().filter(|w| w.alone).collect();
                let certain = find_cycle(tx, actor.scope, me, &left, &alone)?;
                if let Some(cycle) = certain.as_ref().filter(|_| how.alone && !how.patient) {
                    return Err(deadlock(tx, cycle)?);
                }
                let cycle = match certain {
                    Some(cycle) => Some(cycle),
                    None => find_cycle(tx, actor.scope, me, &left, &all.iter().collect::<Vec<_>>())?,
                };
                if let Some(cycle) = cycle {
                    let error = deadlock(tx, &cycle)?;
                    if how.fail_on_deadlock && !how.patient {
                        return Err(error);
                    }
                    warning = Some(Warning { code: WarningCode::Deadlock, text: error.message().to_owned() });
                }
            }
            let name = join(&left);
            let ticket = waiters::add(
                tx,
                &NewWaiter {
                    scope: actor.scope,
                    kind: Kind::Channel,
                    name: &name,
                    agent: actor.agent.as_deref(),
                    live: &live,
                    alone: how.alone,
                    holds: &[],
                    ttl_ms: None,
                    purpose: how.purpose.as_deref(),
                },
            )?;
            activity::record(tx, actor, "channel.wait", &name, json!({"purpose": how.purpose}))?;
            Ok((ticket, warning))
        })?;
        self.ticket = Some(ticket);
        self.warnings.extend(warning);
        Ok(())
    }

    fn unrecord(&mut self) -> Result<()> {
        if let Some(ticket) = self.ticket {
            let remove = || self.coordinator.inner.db.write(Durability::Process, |tx| waiters::remove(tx, ticket));
            interrupt::unhindered(remove)?;
            self.ticket = None;
        }
        Ok(())
    }

    /// When to look around again: soon, while there is something that could be seen.
    fn next_look(&self) -> Option<Instant> {
        let is_polling = self.coordinator.inner.db.wakes().is_polling();
        let every = match (self.look_is_due, self.owners.is_empty()) {
            (_, false) if is_polling => LOOK_EVERY,
            // It reads again, too, and would find what nobody was woken for.
            (true, _) => fault::tick(LOOK_EVERY),
            // Their deaths are watched; what remains is that they may fall silent.
            (false, false) => fault::tick(LOOK_AT_OWNERS_EVERY),
            (false, true) => return None,
        };
        self.looked.filter(|_| self.patterns.iter().any(|w| !w.delivered)).map(|at| at + every)
    }

    /// Looks why the wait might be in vain: the owner of a channel is gone, or it was published elsewhere.
    ///
    /// # Errors
    /// `OWNER_GONE` where that is to be an error.
    fn look_around(&mut self) -> Result<()> {
        if self.patterns.iter().all(|w| w.delivered) {
            self.owners.clear();
            self.watch = None;
            return Ok(());
        }
        let first = self.looked.is_none();
        if !first && self.owners.is_empty() && self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            self.look_is_due = true;
            return Ok(());
        }
        self.look_is_due = false;
        self.looked = Some(Instant::now());
        let coordinator = self.coordinator.clone();
        let inner = &coordinator.inner;
        let (now, liveness) = (inner.now()?, &*inner.db.inputs().liveness);
        let me = inner.caller.agent.as_deref();
        let mut owners = BTreeSet::new();
        let mut lost = Vec::new();
        let mut elsewhere = None;
        inner.db.read(|conn| {
            let Some(scope) = inner.known_scope_row(conn)? else { return Ok(()) };
            for (index, watched) in self.patterns.iter().enumerate().filter(|(_, w)| !w.delivered && !w.told_gone) {
                let candidates = candidates(conn, scope, &watched.pattern)?;
                if candidates.iter().any(|c| Some(c.as_str()) == me) {
                    continue;
                }
                let mut gone = Vec::new();
                for agent in &candidates {
                    gone.extend(why_gone(conn, agent, now, liveness)?.map(|why| (agent.clone(), why)));
                }
                if gone.len() == candidates.len() {
                    // The newest is the likeliest.
                    lost.extend(gone.into_iter().next().map(|(agent, why)| (index, agent, why)));
                } else {
                    owners.extend(candidates);
                }
            }
            Ok(())
        })?;
        if !self.told_other_scope {
            elsewhere = inner.db.read(|conn| self.find_elsewhere(conn, now.wall_ms))?;
        }
        let owners: Vec<String> = owners.into_iter().collect();
        if self.owners != owners {
            self.watch = inner.db.read(|conn| watch(&coordinator, conn, &owners, now))?;
            self.owners = owners;
        }
        for (index, agent, gone) in lost {
            let watched = &mut self.patterns[index];
            watched.told_gone = true;
            if gone == Gone::Unburied {
                inner.db.write(Durability::Process, |tx| agents::check(tx, &agent).map(|_| ()))?;
            }
            let (name, why) = inner.db.read(|conn| {
                let why = match gone {
                    Gone::Left => "has left".to_owned(),
                    Gone::Done => "has ended its session".to_owned(),
                    Gone::Dead | Gone::Unburied => {
                        let death: Option<String> = conn
                            .prepare_cached("SELECT death FROM agents WHERE id = ?1")?
                            .query_row([&agent], |r| r.get(0))?;
                        match death {
                            Some(death) => format!("is dead: {death}"),
                            None => "is dead".to_owned(),
                        }
                    }
                };
                Ok((Names::default().of(conn, &agent)?, why))
            })?;
            let channel = watched.pattern.as_str();
            let text = format!("{name}, whose channel {channel} is, {why}");
            if self.how.fail_if_gone {
                return Err(Error::new(ErrorKind::OwnerGone, format!("nothing will come on {channel:?}: {text}"))
                    .with("channel", channel)
                    .with("agent", agent)
                    .hint("pd salvage shows what a dead agent left; its work can be continued"));
            }
            self.warnings.push_back(Warning { code: WarningCode::OwnerGone, text });
        }
        if let Some((channel, scope, age_ms)) = elsewhere {
            self.told_other_scope = true;
            let text = format!(
                "nothing was published on {channel} here (scope {}), but {} ago it was in scope {scope}: to use that one, \
                 give --scope {scope} or set PORT_DADDY_SCOPE={scope} for both sides",
                inner.scope.name,
                age(age_ms)
            );
            self.warnings.push_back(Warning { code: WarningCode::OtherScope, text });
        }
        Ok(())
    }

    /// A channel that is waited for here and was published in another scope: its name, the scope, its age.
    fn find_elsewhere(&self, conn: &Connection, now_ms: i64) -> Result<Option<(String, String, i64)>> {
        let here = self.coordinator.inner.known_scope_row(conn)?;
        let mut statement = conn.prepare_cached(ELSEWHERE)?;
        for watched in self.patterns.iter().filter(|w| !w.delivered) {
            let pattern = &watched.pattern;
            // Without a beginning to look for, every channel of the machine would be the same one.
            if pattern.literal_prefix().is_empty() {
                continue;
            }
            let (first, last) = messages::bounds(pattern);
            let mut rows = statement.query((first, last, here, now_ms - LATCHED_MS, now_ms))?;
            while let Some(row) = rows.next()? {
                let channel: String = row.get(0)?;
                if pattern.matches(&channel) {
                    return Ok(Some((channel, row.get(1)?, now_ms - row.get::<_, i64>(2)?)));
                }
            }
        }
        Ok(None)
    }

    /// Warns once if messages after `seq` were removed for their number or age. `away_ms`: how long nobody read under
    /// this name, if that is longer than messages are kept.
    fn warn_if_pruned(&mut self, conn: &Connection, seq: i64, away_ms: Option<i64>) -> Result<()> {
        if self.told_pruned {
            return Ok(());
        }
        let Some(scope) = self.scope else { return Ok(()) };
        let patterns: Vec<ChannelPattern> = self.patterns.iter().map(|w| w.pattern.clone()).collect();
        let pruned = messages::matching(conn, scope, &patterns)?.into_iter().find(|c| c.pruned_seq > seq);
        let text = match (pruned, away_ms) {
            (Some(channel), _) => format!(
                "some messages of {} after seq {seq} were removed before they were read: it can't be told how many",
                channel.name
            ),
            (None, Some(away)) => format!(
                "the position {seq} is {} old and messages are kept for {}: some may have been removed",
                age(away),
                age(KEEP_MS)
            ),
            (None, None) => return Ok(()),
        };
        self.told_pruned = true;
        self.warnings.push_back(Warning { code: WarningCode::Pruned, text });
        Ok(())
    }
}

impl Drop for Subscription {
    /// Best effort: a row that stays is removed with the handle's others, or by whoever finds its live file gone.
    fn drop(&mut self) {
        let _ = self.unrecord();
    }
}

const BY_SEQ: &str = "SELECT seq, scope, channel FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2";
const BY_CHANNEL: &str =
    "SELECT seq FROM messages WHERE scope = ?1 AND channel = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4";
const ELSEWHERE: &str = "SELECT c.name, s.name, c.last_ms
    FROM channels c JOIN scopes s ON s.id = c.scope JOIN messages m ON m.seq = c.last_seq
    WHERE c.name BETWEEN ?1 AND ?2 AND c.scope IS NOT ?3 AND c.last_ms > ?4 AND m.expires_ms > ?5";

fn join(patterns: &[ChannelPattern]) -> String {
    patterns.iter().map(ChannelPattern::as_str).collect::<Vec<_>>().join(",")
}

fn age(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How an agent is doing, as a read can tell; none for an unknown one.
fn state_of(conn: &Connection, agent: &str, now: Now, liveness: &dyn Liveness) -> Result<Option<AgentState>> {
    Ok(match agents::verdict(conn, agent, now, liveness)? {
        Some(Verdict::Alive { stale: false }) => Some(AgentState::Active),
        Some(Verdict::Alive { stale: true }) => Some(AgentState::Stale),
        Some(Verdict::Dead { .. }) => Some(AgentState::Dead),
        None => match agents::load_by_id(conn, agent, now, liveness) {
            Ok(agent) => Some(agent.state),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::owners::{CANDIDATES, owner_names};
    use super::*;

    #[test]
    fn a_channel_belongs_to_whom_its_fixed_segments_name() {
        let cases: [(&str, &[&str]); 7] = [
            ("agentB:ready", &["agentB", "agentB:ready"]),
            ("a:b:c", &["a", "a:b", "a:b:c"]),
            ("a:b:*", &["a", "a:b"]),
            ("a:b*", &["a"]),
            ("a*", &[]),
            ("*", &[]),
            ("plain", &["plain"]),
        ];
        for (pattern, names) in cases {
            assert_eq!(owner_names(&ChannelPattern::parse(pattern).unwrap()), names, "{pattern}");
        }
    }

    #[test]
    fn a_message_is_not_lost_with_a_write_that_fails() {
        let (_dir, pd) = messages::tests::open();
        let mut subscription = pd.subscribe(&Subscribe { patterns: "c".into(), ..Subscribe::default() }).unwrap();
        assert!(subscription.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none(), "it is recorded now");
        pd.publish("c", &json!(1), &Default::default()).unwrap();
        let run = |sql: &str| pd.inner.db.write(Durability::Process, |tx| Ok(tx.execute_batch(sql)?)).unwrap();
        run("CREATE TRIGGER fail BEFORE DELETE ON waiters BEGIN SELECT RAISE(ABORT, 'on purpose'); END");
        subscription.next(&Wait::at_most(Duration::ZERO)).unwrap_err();
        run("DROP TRIGGER fail");
        assert!(matches!(subscription.next(&Wait::at_most(Duration::ZERO)).unwrap(), Some(Event::Message(_))));
        assert!(subscription.ticket.is_none());
        let left =
            pd.inner.db.read(|conn| Ok(conn.query_row("SELECT count(*) FROM waiters", [], |r| r.get::<_, i64>(0))?));
        assert_eq!(left.unwrap(), 0);
    }

    #[test]
    fn hot_queries_use_their_indexes() {
        let (_dir, pd) = messages::tests::open();
        let plan = |sql: &str| messages::tests::plan(&pd, sql);
        assert_eq!(plan(BY_SEQ), ["SEARCH messages USING INTEGER PRIMARY KEY (rowid>?)"]);
        assert_eq!(
            plan(BY_CHANNEL),
            ["SEARCH messages USING COVERING INDEX messages_by_channel (scope=? AND channel=? AND seq>?)"]
        );
        let elsewhere = plan(ELSEWHERE);
        assert_eq!(elsewhere[0], "SEARCH c USING INDEX channels_by_name (name>? AND name<?)", "{elsewhere:?}");
        assert!(elsewhere.iter().all(|step| step.starts_with("SEARCH")), "{elsewhere:?}");
        let candidates = plan(CANDIDATES);
        assert!(!candidates.iter().any(|step| step.contains("SCAN")), "{candidates:?}");
    }
}
