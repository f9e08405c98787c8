//! Locks: exclusive, first come first served, alive as long as their holder.
//!
//! A lock is one row, so whoever commits it holds it. It lives as long as a live file (a program's handle, a `pd
//! with-lock`) or as its agent (a `pd lock`), and no longer than its TTL. Who finds it held takes a ticket in `waiters`,
//! in the same transaction. Release, expiry and death delete the row, give the lock to the first living waiter and
//! wake that one, in one transaction: there is no moment at which a newcomer could barge in. A waiter that dies after
//! it was granted the lock, and before it noticed, holds it through its live file, which is gone: the next look hands
//! the lock on.
//!
//! A wait that would close a cycle ends at once with `DEADLOCK`. An edge is drawn only where it is certain: a lock is
//! stuck behind a wait if the wait runs inside it (a chain of `with_lock`s; a command under `pd with-lock`), or if it
//! is an agent's own and that agent's shell waits.

mod deadlock;
mod grant;
mod later;
mod queue;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::agents::{self, AgentState, Names, ScopeNames};
use crate::caller::Face;
use crate::coordinator::{Coordinator, Stays};
use crate::db::{Durability, Now, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{check_name, check_text};
use crate::interrupt;
use crate::life::{self, Holds, ProofKind};
use crate::tasks::at_once;
use crate::wait::{Sleeping, Wait};
use crate::waiters::{self, Kind, NewWaiter};

use deadlock::{Newcomer, deadlock, find_cycle};
use grant::{COLUMNS, Grant, Row, hand_over, load, row, settle};
pub(crate) use grant::{free_after_death, release_all_of, release_all_of_agent, settle_all, unsettled};
use queue::Queue;

/// The longest lease: a year.
const MAX_TTL_MS: i64 = 366 * 24 * 3600 * 1000;

/// Whose life a lock shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// The handle's in a program, the agent's in a shell.
    #[default]
    Auto,
    /// The agent's, as `pd lock` wants it: it outlives the call.
    Agent,
    /// The handle's, as `pd with-lock` wants it.
    Handle,
}

/// What a wait for a lock tells its caller when it begins.
pub type OnWait = Arc<dyn Fn(&LockInfo) + Send + Sync>;

/// How to take a lock. The default waits for ever, in a program's name.
#[derive(Clone)]
pub struct LockOptions {
    /// Whether to wait while another holds it.
    pub blocking: bool,
    /// How long, and what else ends the wait.
    pub wait: Wait,
    /// Ends the lease this many milliseconds after it is granted, whatever its holder does.
    pub ttl_ms: Option<i64>,
    /// What for, up to 4 KiB; others read it while they wait.
    pub purpose: Option<String>,
    /// Waits on even where that looks like a deadlock between shell agents.
    pub patient: bool,
    /// Whose life it shares.
    pub tie: Tie,
    /// The locks that the caller's process runs under: the value of `PORT_DADDY_LOCK_CHAIN`.
    pub chain: Option<String>,
    /// Told once, when the wait begins, who holds the lock.
    pub on_wait: Option<OnWait>,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self {
            blocking: true,
            wait: Wait::default(),
            ttl_ms: None,
            purpose: None,
            patient: false,
            tie: Tie::Auto,
            chain: None,
            on_wait: None,
        }
    }
}

/// A held lock, as everyone sees it.
#[derive(Clone, Debug, Serialize)]
pub struct LockInfo {
    /// Its name.
    pub name: String,
    /// The fencing token of this grant: greater than that of every grant before.
    pub token: i64,
    /// Who holds it.
    pub agent: String,
    /// The holder's name for people.
    pub agent_name: String,
    /// The holder's session when it was granted.
    pub session: Option<String>,
    /// What for: what the holder said, else its session's purpose.
    pub purpose: Option<String>,
    /// When it was granted, in milliseconds since 1970.
    pub since_ms: i64,
    /// When its lease ends, in milliseconds since 1970; none without a TTL.
    pub expires_ms: Option<i64>,
    /// How the holder is doing.
    pub holder_state: AgentState,
    /// Who waits for it, first come first.
    pub waiters: Vec<LockWaiter>,
    /// The scope's name.
    pub scope: String,
}

/// One who waits for a lock.
#[derive(Clone, Debug, Serialize)]
pub struct LockWaiter {
    /// Its agent.
    pub agent: String,
    /// Its agent's name for people.
    pub agent_name: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Which locks to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockFilter {
    /// Every scope's.
    pub all: bool,
}

/// The held locks of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct LockList {
    /// By name.
    pub locks: Vec<LockInfo>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// How to release a lock by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unlock {
    /// Even another's; the activity log remembers.
    pub force: bool,
    /// Only this grant.
    pub token: Option<i64>,
}

/// A lock that is held; dropping it releases it.
///
/// The guard may go to another thread. It doesn't keep the lock against everything: a TTL, `pd unlock --force` or the
/// machine's restart end the lease, and then [`release`](Lock::release) says so. Pass the [`token`](Lock::token) to
/// whatever the lock protects, so that it can refuse a holder whose lease has ended.
#[must_use = "a lock that is dropped is released at once"]
pub struct Lock {
    coordinator: Coordinator,
    name: String,
    scope: i64,
    token: i64,
    chain: String,
    silence_ms: Option<i64>,
    held: AtomicBool,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("name", &self.name).field("token", &self.token).finish()
    }
}

impl Lock {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater than that of every grant of any lock before, and below 2^53.
    pub fn token(&self) -> i64 {
        self.token
    }

    /// What a command that runs under this lock gets as `PORT_DADDY_LOCK_CHAIN`, so that its own waits are known to
    /// hold this lock up.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// How long the holder may be silent before the lock is given away; none while the kernel vouches for its life.
    pub fn silence_ms(&self) -> Option<i64> {
        self.silence_ms
    }

    /// The lock as everyone sees it.
    ///
    /// # Errors
    /// `LEASE_LOST` if it is no longer this one's, `STORE_*`.
    pub fn info(&self) -> Result<LockInfo> {
        let now = self.coordinator.inner.now()?;
        self.coordinator.inner.db.read(|conn| match load(conn, self.scope, &self.name)? {
            Some(row) if row.token == self.token => {
                info(conn, &row, now, &*self.coordinator.inner.db.inputs().liveness)
            }
            other => Err(lease_lost(conn, &self.name, other)?),
        })
    }

    /// Releases it, and hands it to the next in line.
    ///
    /// # Errors
    /// `LEASE_LOST` if it was no longer this one's, `STORE_*`: where the store is busy, full or read-only, it is tried again
    /// until the handle is closed.
    pub fn release(self) -> Result<()> {
        self.held.store(false, Ordering::SeqCst);
        self.give_back()
    }

    fn give_back(&self) -> Result<()> {
        let (scope, name, token) = (self.scope, self.name.clone(), self.token);
        later::give_back(&self.coordinator, move |coordinator| coordinator.release_grant(scope, &name, token))
    }

    /// Ends the lease this many milliseconds from now.
    ///
    /// # Errors
    /// `LEASE_LOST` if it is no longer this one's, `INVALID`, `STORE_*`.
    pub fn extend(&self, ttl_ms: i64) -> Result<LockInfo> {
        self.coordinator.extend_lock(&self.name, ttl_ms, Some(self.token))
    }

    /// Keeps the lock beyond the guard, as `pd lock` does: it now ends with [`unlock`](Coordinator::unlock), its TTL
    /// or its holder.
    pub fn leave(self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held.load(Ordering::SeqCst) {
            // A drop can't report; a lease that was lost needs no release, and a handle that is closed has released.
            let _ = self.give_back();
        }
    }
}

thread_local! {
    /// The `with_lock`s that this thread stands in, outermost first: database and token. Each database counts its tokens
    /// for itself, so the same number is another lock elsewhere.
    static CHAIN: RefCell<Vec<(String, i64)>> = const { RefCell::new(Vec::new()) };
}

/// What came of asking for a lock.
enum Asked {
    Granted(i64),
    Held,
    Queued(i64),
}

impl Coordinator {
    /// Takes a lock: waits for it, or gives none where it is held and the options say not to wait.
    ///
    /// Not reentrant: a second call by the same agent waits like anyone's.
    ///
    /// # Errors
    /// `NO_AGENT`, `INVALID`, `TIMEOUT`, `CANCELLED`, `DEADLOCK` (with the cycle), `LEASE_LOST` where the lease was over before
    /// this call could return it, `STORE_*`.
    pub fn lock(&self, name: &str, options: &LockOptions) -> Result<Option<Lock>> {
        at_once(self.take(Sleeping::Thread, name, options))
    }

    /// As [`lock`](Self::lock), for an event loop: it gives way while it waits. Dropping the future leaves the queue;
    /// begun on a [`Worker`](crate::Worker), it takes its place in the queue in the order of the calls.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub async fn lock_async(&self, name: &str, options: &LockOptions) -> Result<Option<Lock>> {
        self.take(Sleeping::Task, name, options).await
    }

    async fn take(&self, sleeping: Sleeping, name: &str, options: &LockOptions) -> Result<Option<Lock>> {
        check_name("lock", name, 128)?;
        check_ttl(options.ttl_ms)?;
        if let Some(purpose) = &options.purpose {
            check_text("purpose", purpose, 4096)?;
        }
        let chain = self.chain(options)?;
        let tie_handle = match options.tie {
            Tie::Auto => self.inner.face == Face::Library,
            Tie::Agent => false,
            Tie::Handle => true,
        };
        // A waiter needs a proof of its own life, whatever the lock will be tied to.
        let live = match (tie_handle, options.blocking) {
            (true, _) => Some(self.inner.presence_for(Stays::AtWork)?),
            (false, true) => Some(self.inner.presence_for(Stays::ForLock)?),
            (false, false) => None,
        };
        let mut scope = 0;
        let mut held_elsewhere = None;
        let asked = self.act(Durability::Process, |tx, actor| {
            scope = actor.scope;
            let agent = actor.agent()?;
            held_elsewhere = elsewhere(tx, actor.scope, name)?;
            let mut holder = settle(tx, actor.scope, name)?;
            if crate::fault::broken("holder") {
                tx.execute("DELETE FROM locks WHERE scope = ?1 AND name = ?2", (actor.scope, name))?;
                holder = None;
            }
            let Some(holder) = holder else {
                let live = if tie_handle { live.as_deref() } else { None };
                let grant = Grant {
                    agent,
                    live,
                    ticket: None,
                    ttl_ms: options.ttl_ms,
                    purpose: options.purpose.as_deref(),
                    waited: None,
                };
                return grant.insert(tx, actor.scope, name).map(Asked::Granted);
            };
            let Some(live) = live.as_deref().filter(|_| options.blocking) else { return Ok(Asked::Held) };
            let alone = self.inner.face == Face::Shell;
            if !options.patient {
                let me = Newcomer { agent, alone, chain: &chain, name };
                if let Some(cycle) = find_cycle(tx, &me, &holder)? {
                    return Err(deadlock(tx, &me, &cycle)?);
                }
            }
            let ticket = waiters::add(
                tx,
                &NewWaiter {
                    scope: actor.scope,
                    kind: Kind::Lock,
                    name,
                    agent: Some(agent),
                    live,
                    alone,
                    holds: &chain,
                    ttl_ms: options.ttl_ms,
                    purpose: options.purpose.as_deref(),
                },
            )?;
            activity::record(tx, actor, "lock.wait", name, json!({"held_by": holder.agent}))?;
            Ok(Asked::Queued(ticket))
        })?;
        if let Some(text) = held_elsewhere {
            self.inner.notice(text);
        }
        let token = match asked {
            Asked::Granted(token) => token,
            Asked::Held => return Ok(None),
            Asked::Queued(ticket) => {
                let queue = Queue { coordinator: self, scope, name, ticket, done: false };
                queue.wait(sleeping, options, !tie_handle).await?
            }
        };
        let mut tokens = chain;
        tokens.push(token);
        let mark = self.mark();
        let mut links: Vec<String> = tokens.iter().map(|token| format!("{token}@{mark}")).collect();
        // A command under this one may use the other databases that this one runs under locks of.
        links.extend(foreign_links(options, &mark));
        let chain = links.join(",");
        let held = AtomicBool::new(true);
        let (coordinator, name) = (self.clone(), name.to_owned());
        let mut lock = Lock { coordinator, name, scope, token, chain, silence_ms: None, held };
        // From here on a failure drops the guard: no lock is left with one who was told that it has none.
        if !tie_handle {
            lock.silence_ms = self.allowed_silence()?;
        }
        Ok(Some(lock))
    }

    /// Waits for a lock, runs `f` with its fencing token, and releases it, also when `f` panics.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), with `DEADLOCK` at once if this thread stands in a `with_lock` of the same name;
    /// `LOCK_HELD` where the options say not to wait and it is held; `LEASE_LOST` if the lease ended while `f` ran.
    pub fn with_lock<T>(&self, name: &str, options: &LockOptions, f: impl FnOnce(i64) -> T) -> Result<T> {
        struct Link;
        impl Drop for Link {
            fn drop(&mut self) {
                CHAIN.with_borrow_mut(|chain| chain.pop());
            }
        }
        let options = LockOptions { tie: Tie::Handle, ..options.clone() };
        let lock = self
            .lock(name, &options)?
            .ok_or_else(|| Error::new(ErrorKind::LockHeld, format!("the lock {name:?} is held")).with("lock", name))?;
        CHAIN.with_borrow_mut(|chain| chain.push((self.mark(), lock.token)));
        let value = {
            let _link = Link;
            f(lock.token)
        };
        lock.release()?;
        Ok(value)
    }

    /// Releases a lock by name: the caller's own, or with `force` anyone's.
    ///
    /// # Errors
    /// `NOT_HELD` if nobody holds it, `NOT_OWNER` if another does, `LEASE_LOST` if `token` is of a grant that has ended,
    /// `NO_AGENT`, `INVALID`, `STORE_*`.
    pub fn unlock(&self, name: &str, unlock: &Unlock) -> Result<LockInfo> {
        check_name("lock", name, 128)?;
        let mine = self.inner.own_proof().map(|p| p.live);
        let mut held_elsewhere = None;
        let result = self.act(Durability::Process, |tx, actor| {
            let Some(row) = settle(tx, actor.scope, name)? else {
                held_elsewhere = elsewhere(tx, actor.scope, name)?;
                return Err(if unlock.token.is_some() { lease_lost(tx, name, None)? } else { not_held(name) });
            };
            if !unlock.force {
                may_release(tx, &row, actor.agent()?, mine.as_deref(), unlock.token, "released")?;
            }
            let info = info(tx, &row, tx.now, tx.liveness())?;
            let forced = unlock.force && actor.agent.as_deref() != Some(row.agent.as_str());
            let kind = if forced { "lock.force" } else { "lock.release" };
            activity::record(tx, actor, kind, name, json!({"token": row.token, "holder": row.agent}))?;
            hand_over(tx, &row)?;
            Ok(info)
        });
        if let Some(text) = held_elsewhere {
            self.inner.notice(text);
        }
        result
    }

    /// Releases one grant of a lock, by its token, as [`Lock::release`] does: for a guard that lives in another language.
    ///
    /// # Errors
    /// `LEASE_LOST` if that grant has ended, `INVALID`, `STORE_*`.
    pub fn release_lock(&self, name: &str, token: i64) -> Result<()> {
        check_name("lock", name, 128)?;
        match interrupt::unhindered(|| self.inner.db.read(|conn| self.inner.known_scope_row(conn)))? {
            Some(scope) => self.release_grant(scope, name, token),
            None => self.inner.db.read(|conn| Err(lease_lost(conn, name, None)?)),
        }
    }

    /// Ends the lease of a lock this many milliseconds from now, whatever its TTL was.
    ///
    /// # Errors
    /// As [`unlock`](Self::unlock), and `INVALID` for a TTL that isn't positive.
    pub fn extend_lock(&self, name: &str, ttl_ms: i64, token: Option<i64>) -> Result<LockInfo> {
        check_name("lock", name, 128)?;
        check_ttl(Some(ttl_ms))?;
        let mine = self.inner.own_proof().map(|p| p.live);
        self.act(Durability::Process, |tx, actor| {
            let Some(row) = settle(tx, actor.scope, name)? else {
                return Err(if token.is_some() { lease_lost(tx, name, None)? } else { not_held(name) });
            };
            may_release(tx, &row, actor.agent()?, mine.as_deref(), token, "extended")?;
            tx.prepare_cached(
                "UPDATE locks SET ttl_ms = ?3, expires_awake_ms = ?4, boot = ?5 WHERE scope = ?1 AND name = ?2",
            )?
            .execute((row.scope, name, ttl_ms, tx.now.awake_ms + ttl_ms, tx.now.boot))?;
            activity::record(tx, actor, "lock.extend", name, json!({"token": row.token, "ttl_ms": ttl_ms}))?;
            // Whoever waits sleeps until the old end of the lease, which the new one may come before.
            waiters::wake_all_for_lock(tx, row.scope, name)?;
            let row = load(tx, row.scope, name)?.ok_or_else(|| Error::internal("an updated lock is gone"))?;
            info(tx, &row, tx.now, tx.liveness())
        })
    }

    /// Lists the held locks and who waits for them. Whoever is found dead by looking is buried.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn locks(&self, filter: &LockFilter) -> Result<LockList> {
        self.bury_the_dead()?;
        self.end_void_grants()?;
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        self.inner.db.read(|conn| {
            let here = self.inner.known_scope_row(conn)?;
            let mut list = LockList { locks: Vec::new(), elsewhere: 0 };
            for row in rows(conn)? {
                if filter.all || Some(row.scope) == here {
                    list.locks.push(info(conn, &row, now, &*inputs.liveness)?);
                } else {
                    list.elsewhere += 1;
                }
            }
            list.locks.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(list)
        })
    }

    /// Ends the grants that are void, and hands on what they held.
    pub(crate) fn end_void_grants(&self) -> Result<()> {
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let void = self.inner.db.read(|conn| {
            let mut void = Vec::new();
            for row in rows(conn)? {
                if row.is_void(conn, now, &*inputs.liveness)? {
                    void.push(row);
                }
            }
            Ok(void)
        })?;
        if !void.is_empty() {
            self.inner.db.write(Durability::Process, |tx| {
                void.iter().try_for_each(|r| settle(tx, r.scope, &r.name).map(|_| ()))
            })?;
        }
        Ok(())
    }

    /// The lock of that name in the caller's scope, if it is held. A grant that is found void by looking ends.
    ///
    /// # Errors
    /// `INVALID`, `STORE_*`.
    pub fn lock_info(&self, name: &str) -> Result<Option<LockInfo>> {
        check_name("lock", name, 128)?;
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let found = self.inner.db.read(|conn| {
            let Some(scope) = self.inner.known_scope_row(conn)? else { return Ok(None) };
            let Some(row) = load(conn, scope, name)? else { return Ok(None) };
            let void = row.is_void(conn, now, &*inputs.liveness)?;
            Ok(Some((row, void)))
        })?;
        let Some((mut row, void)) = found else { return Ok(None) };
        if void {
            match self.inner.db.write(Durability::Process, |tx| settle(tx, row.scope, name))? {
                Some(next) => row = next,
                None => return Ok(None),
            }
        }
        self.inner.db.read(|conn| info(conn, &row, now, &*inputs.liveness).map(Some))
    }

    fn chain(&self, options: &LockOptions) -> Result<Vec<i64>> {
        let (mut chain, mark) = (Vec::new(), self.mark());
        for part in links(options) {
            // A bare token is of whatever database is meant.
            let (token, of) = part.split_once('@').unwrap_or((part, &mark));
            let token = token.parse().map_err(|_| {
                Error::invalid(format!(
                    "PORT_DADDY_LOCK_CHAIN holds {part:?}: it is a list of tokens set by pd with-lock"
                ))
                .hint("unset PORT_DADDY_LOCK_CHAIN")
            })?;
            if of == mark {
                chain.push(token);
            }
        }
        CHAIN.with_borrow(|own| chain.extend(own.iter().filter(|(of, _)| *of == mark).map(|(_, token)| token)));
        Ok(chain)
    }

    /// Tells the tokens of this database from those of another.
    fn mark(&self) -> String {
        // FNV-1a of 64 bits: every version of this library must come to the same.
        let path = self.path().as_os_str().as_encoded_bytes();
        let hash = path.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// An interrupted caller waits for this, too: otherwise the lock would stay with nobody.
    fn release_grant(&self, scope: i64, name: &str, token: i64) -> Result<()> {
        let release = |tx: &Tx<'_>| {
            let row = match load(tx, scope, name)? {
                Some(row) if row.token == token => row,
                other => return Err(lease_lost(tx, name, other)?),
            };
            let expired = row.expired(tx.now);
            let kind = if expired { "lock.expire" } else { "lock.release" };
            activity::record_as(tx, Some(&row.agent), scope, kind, name, json!({"token": token}))?;
            hand_over(tx, &row)?;
            Ok(!expired)
        };
        let in_time = interrupt::unhindered(|| self.inner.db.write(Durability::Process, release))?;
        if in_time { Ok(()) } else { self.inner.db.read(|conn| Err(lease_lost(conn, name, None)?)) }
    }

    /// How long the calling agent may be silent before its locks are given away.
    fn allowed_silence(&self) -> Result<Option<i64>> {
        let Some(id) = &self.inner.caller.agent else { return Ok(None) };
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        self.inner.db.read(|conn| {
            let holding: Vec<_> = life::proofs(conn, id, now.boot)?
                .into_iter()
                .filter(|p| p.kind != ProofKind::Command && inputs.liveness.holds(p) == Holds::Yes)
                .collect();
            let promised: Option<bool> = conn
                .prepare_cached("SELECT promised FROM agents WHERE id = ?1")?
                .query_row([id], |r| r.get(0))
                .optional()?;
            Ok(match (holding.iter().any(|p| p.kind != ProofKind::Shell), holding.is_empty(), promised) {
                (true, ..) => None,
                (false, false, _) => Some(life::SILENCE_OF_A_SHELL_MS),
                (false, true, Some(true)) => Some(life::SILENCE_AFTER_PROMISE_MS),
                (false, true, _) => Some(life::SILENCE_WITHOUT_PROOF_MS),
            })
        })
    }
}

fn links(options: &LockOptions) -> impl Iterator<Item = &str> {
    options.chain.as_deref().unwrap_or("").split(',').filter(|part| !part.is_empty())
}

/// What the chain that was passed says of other databases.
fn foreign_links(options: &LockOptions, mark: &str) -> Vec<String> {
    links(options).filter(|part| part.split_once('@').is_some_and(|(_, of)| of != mark)).map(str::to_owned).collect()
}

fn rows(conn: &Connection) -> Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM locks ORDER BY scope, name"))?;
    Ok(statement.query_map([], row)?.collect::<Result<_, _>>()?)
}

/// The held locks of a scope, or of all, in the order of their names: so many, and how many there are.
pub(crate) fn held(
    conn: &Connection,
    scope: Option<i64>,
    limit: usize,
    now: Now,
    liveness: &dyn life::Liveness,
) -> Result<(Vec<LockInfo>, u64)> {
    let mut rows: Vec<Row> = rows(conn)?.into_iter().filter(|row| scope.is_none_or(|s| s == row.scope)).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let listed = rows.iter().take(limit).map(|row| info(conn, row, now, liveness)).collect::<Result<_>>()?;
    Ok((listed, rows.len() as u64))
}

fn info(conn: &Connection, row: &Row, now: Now, liveness: &dyn life::Liveness) -> Result<LockInfo> {
    let mut names = Names::default();
    let purpose = match (&row.purpose, &row.session) {
        (Some(purpose), _) => Some(purpose.clone()),
        (None, Some(session)) => conn
            .prepare_cached("SELECT purpose FROM sessions WHERE id = ?1")?
            .query_row([session], |r| r.get(0))
            .optional()?,
        (None, None) => None,
    };
    let mut statement = conn.prepare_cached(
        "SELECT agent, since_ms, live FROM waiters WHERE kind = 'lock' AND scope = ?1 AND name = ?2 ORDER BY ticket",
    )?;
    let waiting: Vec<(String, i64, String)> = statement
        .query_map((row.scope, &row.name), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    // Many may wait in one handle: its life is looked at once.
    let mut alive = BTreeMap::new();
    let mut waiters = Vec::new();
    for (agent, since_ms, live) in waiting {
        if *alive.entry(live).or_insert_with_key(|live| life::live_held(liveness, live)) {
            waiters.push(LockWaiter { agent_name: names.of(conn, &agent)?, agent, since_ms });
        }
    }
    Ok(LockInfo {
        name: row.name.clone(),
        token: row.token,
        agent: row.agent.clone(),
        agent_name: names.of(conn, &row.agent)?,
        session: row.session.clone(),
        purpose,
        since_ms: row.since_ms,
        expires_ms: row.expires_awake_ms.map(|e| now.wall_ms + (e - now.awake_ms)),
        holder_state: agents::load_by_id(conn, &row.agent, now, liveness)?.state,
        waiters,
        scope: ScopeNames::default().of(conn, row.scope)?,
    })
}

/// From scope to scope, which are few: by its name alone no lock can be found but among all.
const ELSEWHERE: &str = "SELECT l.agent, s.name FROM scopes s CROSS JOIN locks l ON l.scope = s.id AND l.name = ?1
                         WHERE s.id <> ?2 LIMIT 1";

/// What to tell one whose lock has a namesake held in another scope: the likeliest mistake is to think it the same.
fn elsewhere(tx: &Tx<'_>, scope: i64, name: &str) -> Result<Option<String>> {
    let other: Option<(String, String)> =
        tx.prepare_cached(ELSEWHERE)?.query_row((name, scope), |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    Ok(other.map(|(agent, other)| {
        format!("{agent} holds another lock called {name} in the scope {other}; to share it, pass --scope or set PORT_DADDY_SCOPE")
    }))
}

fn may_release(
    conn: &Connection,
    row: &Row,
    agent: &str,
    mine: Option<&str>,
    token: Option<i64>,
    what: &str,
) -> Result<()> {
    let force = if what == "released" { "pass --force to take it away" } else { "take it away with pd unlock --force" };
    match token {
        Some(token) if token == row.token => return Ok(()),
        Some(_) if row.agent == agent => {
            return Err(Error::new(
                ErrorKind::LeaseLost,
                format!("the lock {:?} was granted again since: its token is now {}", row.name, row.token),
            )
            .with("lock", row.name.as_str())
            .with("token", row.token));
        }
        Some(_) => {}
        None if row.agent == agent && (row.live.is_none() || row.live.as_deref() == mine) => return Ok(()),
        None if row.agent == agent => {
            return Err(Error::new(
                ErrorKind::NotOwner,
                format!("the lock {:?} belongs to a running program of {agent} and can't be {what} by name", row.name),
            )
            .with("lock", row.name.as_str())
            .with("holder", agent)
            .hint(format!("end that program, or {force}")));
        }
        None => {}
    }
    let name = Names::default().of(conn, &row.agent)?;
    Err(Error::new(
        ErrorKind::NotOwner,
        format!("the lock {:?} is held by {name} and can't be {what} by {agent}", row.name),
    )
    .with("lock", row.name.as_str())
    .with("holder", row.agent.as_str())
    .with("since_ms", row.since_ms)
    .hint(format!("ask its holder, or {force} (the activity log remembers)")))
}

fn not_held(name: &str) -> Error {
    Error::new(ErrorKind::NotHeld, format!("nobody holds the lock {name:?}"))
        .with("lock", name)
        .hint("pd locks lists what is held")
}

fn lease_lost(conn: &Connection, name: &str, now_held: Option<Row>) -> Result<Error> {
    let (text, holder) = match now_held {
        Some(row) => {
            let holder = Names::default().of(conn, &row.agent)?;
            (
                format!("the lease of the lock {name:?} ended before it was released, and {holder} holds it now"),
                Some(row.agent),
            )
        }
        None => (format!("the lease of the lock {name:?} ended before it was released"), None),
    };
    Ok(Error::new(ErrorKind::LeaseLost, text)
        .with("lock", name)
        .with("holder", holder)
        .hint("check what ran under it: it may not have been alone"))
}

fn timed_out(coordinator: &Coordinator, name: &str, holder: &Row, timeout: Option<Duration>) -> Result<Error> {
    let holder_name = coordinator.inner.db.read(|conn| Names::default().of(conn, &holder.agent))?;
    let waited = timeout.unwrap_or_default();
    Ok(Error::new(ErrorKind::Timeout, format!("the lock {name:?} was still held by {holder_name} after {waited:?}"))
        .with("lock", name)
        .with("holder", holder.agent.as_str())
        .with("since_ms", holder.since_ms))
}

fn check_ttl(ttl_ms: Option<i64>) -> Result<()> {
    match ttl_ms {
        Some(ttl) if !(1..=MAX_TTL_MS).contains(&ttl) => {
            Err(Error::invalid(format!("the TTL {ttl} ms is out of range: it is 1 ms to 366 days"))
                .with("ttl_ms", ttl)
                .hint("leave it out for a lock that lives as long as its holder"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namesake_elsewhere_is_not_looked_for_among_all() {
        let dir = tempfile::tempdir().unwrap();
        let pd =
            Coordinator::open(crate::coordinator::Options::default().db(dir.path().join("db")).agent("a")).unwrap();
        let plan = pd.inner.db.read(|conn| Ok(crate::db::plan_of(conn, ELSEWHERE))).unwrap();
        assert_eq!(plan, "SCAN s\nSEARCH l USING PRIMARY KEY (scope=? AND name=?)");
    }
}
