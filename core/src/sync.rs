//! Locks between threads: the standard library's, which a forked child finds usable if nobody held them at the fork.
//! (Those of parking_lot keep one table for the whole process, which a fork can catch half changed.)
//!
//! Poisoning is passed by: what panics inside ends a transaction, or leaves a list as it was.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{self, LockResult, PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

pub(crate) use std::sync::MutexGuard;

fn whole<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        whole(self.0.lock())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A mutex that can be waited for up to a moment.
#[derive(Debug, Default)]
pub(crate) struct Turn<T> {
    value: Mutex<T>,
    /// How many wait up to a moment: only then there is somebody to be told that it is free.
    waiting: AtomicUsize,
    told: Mutex<()>,
    free: Condvar,
}

impl<T> Turn<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: Mutex::new(value), waiting: AtomicUsize::new(0), told: Mutex::new(()), free: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> TurnGuard<'_, T> {
        TurnGuard { value: self.value.lock(), _tell: Tell(&self.waiting, &self.told, &self.free) }
    }

    pub(crate) fn try_lock(&self) -> Option<TurnGuard<'_, T>> {
        let value = self.value.try_lock()?;
        Some(TurnGuard { value, _tell: Tell(&self.waiting, &self.told, &self.free) })
    }

    /// Waits for it up to then; without a moment, for as long as it takes.
    pub(crate) fn lock_until(&self, until: Option<Instant>) -> Option<TurnGuard<'_, T>> {
        let Some(until) = until else { return Some(self.lock()) };
        if let Some(guard) = self.try_lock() {
            return Some(guard);
        }
        // Counted before it is tried under `told`: who lets go after that tells us, and can't before we wait.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut told = self.told.lock();
        let got = loop {
            let got = self.try_lock();
            if got.is_some() || until <= Instant::now() {
                break got;
            }
            told = self.free.wait_until(told, until);
        };
        drop(told);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        got
    }
}

/// Has the turn; tells the waiting after it has given it back.
pub(crate) struct TurnGuard<'a, T> {
    value: MutexGuard<'a, T>,
    _tell: Tell<'a>,
}

struct Tell<'a>(&'a AtomicUsize, &'a Mutex<()>, &'a Condvar);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        // With the fence in `lock_until`: either this finds the waiter, or the waiter finds it free.
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::SeqCst) > 0 {
            drop(self.1.lock());
            self.2.notify_one();
        }
    }
}

impl<T> Deref for TurnGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for TurnGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        whole(self.0.read())
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        whole(self.0.write())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        whole(self.0.wait(guard))
    }

    /// At most until then. Whoever waits looks at the clock, as well as at what it waits for.
    pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, until: Instant) -> MutexGuard<'a, T> {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO { guard } else { whole(self.0.wait_timeout(guard, left)).0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_turn_is_waited_for_up_to_a_moment() {
        let turn = Turn::new(0);
        let mut taken = turn.lock();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(turn.lock_until(Some(Instant::now())).is_none())).join().unwrap();
            let waiter = scope.spawn(|| {
                let asked = Instant::now();
                *turn.lock_until(Some(asked + LONG)).unwrap() += 1;
                assert!(asked.elapsed() < LONG, "told, and not only at the end");
            });
            while turn.waiting.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            *taken += 1;
            drop(taken);
            waiter.join().unwrap();
        });
        assert_eq!((*turn.lock(), turn.waiting.load(Ordering::SeqCst)), (2, 0));
    }
}
