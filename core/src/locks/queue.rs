//! The wait of one who has taken a ticket: until it is granted the lock, gives up, or is cancelled.
//!
//! It sleeps on its own ticket's word and watches whatever the present holder lives by, so that a death wakes it at
//! once, and who comes before it: when a lock changes hands only the next in line is told, and whoever is next by a death
//! learns from that death whom to watch. All look after the end of a lease. However the wait ends, nothing stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::grant::{Row, grant_to, load, settle};
use super::{LockOptions, info, later, lease_lost, timed_out};
use crate::coordinator::Coordinator;
use crate::db::{Durability, check_schema};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::interrupt;
use crate::life;
use crate::sys::watch::DeathWatch;
use crate::wait::{Sleeping, Woken};
use crate::waiters::{self, Waiter};
use crate::wake::Topic;

/// How often a waiter looks by itself whether the holder is still there.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_POLLING: Duration = Duration::from_millis(250);

/// A place in the queue for a lock.
pub(super) struct Queue<'a> {
    pub(super) coordinator: &'a Coordinator,
    pub(super) scope: i64,
    pub(super) name: &'a str,
    pub(super) ticket: i64,
    pub(super) done: bool,
}

impl Queue<'_> {
    /// Waits to be granted the lock; gives its token. `to_agent`: it then shares the agent's life, not the handle's.
    pub(super) async fn wait(mut self, sleeping: Sleeping, options: &LockOptions, to_agent: bool) -> Result<i64> {
        let inner = &self.coordinator.inner;
        let mut waiting = self.coordinator.waiting(sleeping, vec![Topic::ticket(self.ticket)], &options.wait)?;
        let mut watched: Option<((i64, Option<i64>), DeathWatch)> = None;
        let died = Arc::new(AtomicBool::new(false));
        let mut told = false;
        let token = loop {
            let now = inner.now()?;
            let is_mine = |holder: &Row| holder.ticket == Some(self.ticket);
            let (holder, queued) = waiting.read(|conn| {
                let holder = load(conn, self.scope, self.name)?;
                let queued = !holder.as_ref().is_some_and(is_mine) && waiters::is_waiting(conn, self.ticket)?;
                Ok((holder, queued))
            })?;
            if let Some(granted) = holder.as_ref().filter(|holder| is_mine(holder)) {
                break granted.token;
            }
            if !queued {
                return Err(self.lost_its_place(holder.as_ref())?);
            }
            let Some(holder) = holder else {
                // Freed by hand, or by a library that hands on differently: whoever is first takes it.
                self.settle()?;
                continue;
            };
            let liveness = &*inner.db.inputs().liveness;
            if !told {
                told = true;
                if let Some(on_wait) = &options.on_wait {
                    on_wait(&waiting.read(|conn| info(conn, &holder, now, liveness))?);
                }
            }
            let void = waiting.read(|conn| holder.is_void(conn, now, liveness))?;
            if died.swap(false, Ordering::SeqCst) || void {
                watched = None;
                self.settle()?;
                if !self.still_held(holder.token)? {
                    continue;
                }
            }
            let queue = (self.scope, self.name, self.ticket);
            let before = waiting.read(|conn| waiters::living_before(conn, liveness, queue))?;
            let both = (holder.token, before.as_ref().map(|waiter| waiter.ticket));
            if watched.as_ref().is_none_or(|(watched, _)| *watched != both) {
                // A grant is told to who was next in line then. Where all before this one are dead, that may have been one of
                // them: from now on it is this one, so what was granted until now is to be seen.
                if before.is_none() && !self.still_held(holder.token)? {
                    continue;
                }
                watched = self.watch(&holder, before.as_ref(), &died)?.map(|watch| (both, watch));
                // An agent whose proof was lost since it was looked at has nothing left to watch.
                let of_agent = holder.live.is_none() && !void;
                if of_agent && waiting.read(|conn| holder.is_void(conn, inner.now()?, liveness))? {
                    continue;
                }
            }
            let lease =
                holder.expires_awake_ms.map(|e| Duration::from_millis((e - now.awake_ms).max(1).cast_unsigned()));
            // A death commits nothing: where no word can tell of it, or no watch could be set, only looking does.
            let look = if waiting.is_polling() { LOOK_POLLING } else { fault::tick(LOOK) };
            let until = Instant::now() + lease.map_or(look, |lease| lease.min(look));
            if waiting.sleep(Some(until)).await? == Woken::TimedOut {
                match self.leave()? {
                    Some(token) => break token,
                    None => return Err(timed_out(self.coordinator, self.name, &holder, options.wait.timeout)?),
                }
            }
        };
        // Who granted it may have died before it could tell the others until when this one has it.
        if options.ttl_ms.is_some()
            && let Ok(others) = waiting.read(|conn| waiters::for_lock(conn, self.scope, self.name))
        {
            others.into_iter().for_each(|ticket| inner.db.wakes().wake(Topic::ticket(ticket)));
        }
        if to_agent {
            // The agent's call goes on: if it was thought gone while it waited (it left, in another shell), then it is back.
            self.coordinator.act(Durability::Process, |tx, _| {
                let kept = tx
                    .prepare_cached(
                        "UPDATE locks SET live = NULL, ticket = NULL WHERE scope = ?1 AND name = ?2 AND token = ?3",
                    )?
                    .execute((self.scope, self.name, token))?;
                if kept == 0 { Err(lease_lost(tx, self.name, None)?) } else { Ok(()) }
            })?;
        }
        self.done = true;
        Ok(token)
    }

    /// The place in the queue is gone, and not for the lock: nobody would ever hand it over.
    fn lost_its_place(&self, holder: Option<&Row>) -> Result<Error> {
        let inner = &self.coordinator.inner;
        inner.check_open()?;
        // A migration ends all waits.
        inner.db.read(check_schema)?;
        let name = self.name;
        Ok(Error::new(
            ErrorKind::LeaseLost,
            format!("the place in the queue for the lock {name:?} is gone: it was granted and taken away, or removed"),
        )
        .with("lock", name)
        .with("holder", holder.map(|h| h.agent.as_str()))
        .hint("ask for the lock again; pd log --type lock. shows what became of it"))
    }

    fn settle(&self) -> Result<()> {
        self.coordinator.inner.db.write(Durability::Process, |tx| {
            if settle(tx, self.scope, self.name)?.is_none()
                && let Some(first) = waiters::first_for_lock(tx, self.scope, self.name)?
            {
                grant_to(tx, &first, None)?;
            }
            Ok(())
        })
    }

    fn still_held(&self, token: i64) -> Result<bool> {
        let row = self.coordinator.inner.db.read(|conn| load(conn, self.scope, self.name))?;
        Ok(row.is_some_and(|r| r.token == token))
    }

    /// Watches for the death of whatever the lock lives by, and of who comes before.
    fn watch(&self, holder: &Row, before: Option<&Waiter>, died: &Arc<AtomicBool>) -> Result<Option<DeathWatch>> {
        let inner = &self.coordinator.inner;
        let mut subjects = match &holder.live {
            Some(name) => vec![inner.live_subject(name)],
            None => {
                let now = inner.now()?;
                inner.subjects(inner.db.read(|conn| life::proofs(conn, &holder.agent, now.boot))?)
            }
        };
        subjects.extend(before.map(|waiter| inner.live_subject(&waiter.live)));
        if subjects.is_empty() {
            return Ok(None);
        }
        let (died, ticket) = (Arc::clone(died), Topic::ticket(self.ticket));
        let weak = Arc::downgrade(inner);
        Ok(Some(DeathWatch::start(
            subjects,
            Box::new(move || {
                died.store(true, Ordering::SeqCst);
                if let Some(inner) = weak.upgrade() {
                    inner.db.wakes().wake(ticket);
                }
            }),
        )))
    }

    /// Leaves the queue; gives the token if the lock was granted in the meantime.
    fn leave(&mut self) -> Result<Option<i64>> {
        let token = leave(self.coordinator, self.scope, self.name, self.ticket)?;
        self.done = token.is_none();
        Ok(token)
    }
}

fn leave(coordinator: &Coordinator, scope: i64, name: &str, ticket: i64) -> Result<Option<i64>> {
    coordinator.inner.db.write(Durability::Process, |tx| {
        waiters::remove(tx, ticket)?;
        waiters::wake_next_after(tx, scope, name, ticket)?;
        Ok(load(tx, scope, name)?.filter(|r| r.ticket == Some(ticket)).map(|r| r.token))
    })
}

impl Drop for Queue<'_> {
    /// However the wait ends early, nothing stays behind: no waiter, and no lock granted to nobody. An interrupted one
    /// waits to write that, too.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (scope, name, ticket) = (self.scope, self.name.to_owned(), self.ticket);
        let give_up = move |coordinator: &Coordinator| match leave(coordinator, scope, &name, ticket)? {
            Some(token) => coordinator.release_grant(scope, &name, token),
            None => Ok(()),
        };
        let _ = interrupt::unhindered(|| later::give_back(self.coordinator, give_up));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::coordinator::{Coordinator, Options, ScopeChoice};
    use crate::db::Durability;
    use crate::error::ErrorKind;
    use crate::locks::LockOptions;
    use crate::wait::Wait;
    use crate::waiters;
    use crate::wake::Topic;

    #[test]
    fn who_comes_next_is_woken_to_watch_the_new_holder() {
        let dir = tempfile::tempdir().unwrap();
        let open = |agent: &str| {
            let options = Options::default().db(dir.path().join("db")).agent(agent).scope(ScopeChoice::Global);
            Coordinator::open(options).unwrap()
        };
        let (a, b) = (open("a"), open("b"));
        let held = a.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap();
        let live = b.inner.presence().unwrap();
        let scope = held.scope;
        let wait = |tx: &crate::db::Tx<'_>| {
            let new = waiters::NewWaiter {
                scope,
                kind: waiters::Kind::Lock,
                name: "m",
                agent: Some("b"),
                live: &live,
                alone: false,
                holds: &[],
                ttl_ms: None,
                purpose: None,
            };
            waiters::add(tx, &new)
        };
        let write = || b.inner.db.write(Durability::Process, wait).unwrap();
        b.heartbeat().unwrap();
        let (first, second) = (write(), write());
        let wakes = a.inner.db.wakes();
        let mut samples = [first, second].map(|ticket| wakes.sample(&[Topic::ticket(ticket)]));
        held.release().unwrap();
        assert!(samples.iter_mut().all(|sample| wakes.sleep(sample, Duration::ZERO).unwrap()));
    }

    #[test]
    fn a_waiter_whose_row_is_gone_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let open = |agent: &str| {
            let options = Options::default().db(dir.path().join("db")).agent(agent).scope(ScopeChoice::Global);
            Coordinator::open(options).unwrap()
        };
        let (a, b) = (open("a"), open("b"));
        for free in [false, true] {
            let held = a.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap();
            std::thread::scope(|scope| {
                let wait = Wait::at_most(Duration::from_secs(30));
                let waiter = scope.spawn(|| b.lock("m", &LockOptions { wait, ..LockOptions::default() }).unwrap_err());
                let deadline = Instant::now() + Duration::from_secs(30);
                while a.lock_info("m").unwrap().unwrap().waiters.is_empty() {
                    assert!(Instant::now() < deadline);
                }
                let remove = |tx: &crate::db::Tx<'_>| {
                    tx.execute_batch("DELETE FROM waiters")?;
                    if free {
                        tx.execute_batch("DELETE FROM locks")?;
                    }
                    Ok(())
                };
                a.inner.db.write(Durability::Process, remove).unwrap();
                assert_eq!(waiter.join().unwrap().kind(), ErrorKind::LeaseLost);
            });
            drop(held);
        }
    }
}
