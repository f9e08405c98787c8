//! The one way to wait: sample the wake words, read, and sleep only while the words are unchanged.
//!
//! A wake is a hint. What it can't carry is covered by the tick: at 250 ms, backing off to 6 s while nothing changes,
//! one `PRAGMA data_version` finds a writer that was killed between COMMIT and wake, a foreign writer, or a sidecar
//! that was replaced. The first tick has no version to compare with, and always reads again.
//!
//! Who waits again soon, for the same, and had read to the end goes on with the sample from before that read
//! ([`Rest`]): while its words are unchanged there is nothing to read.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::coordinator::{Coordinator, Inner};
use crate::db::{DataVersion, Reader};
use crate::error::{Error, ErrorKind, Result};
use crate::fault;
use crate::sync::Mutex;
use crate::wake::{Sample, Topic};

const FIRST_TICK: Duration = Duration::from_millis(250);
const LAST_TICK: Duration = Duration::from_secs(6);

fn first_tick() -> Duration {
    fault::tick(FIRST_TICK)
}

/// How long a call may wait, and what can end it early.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// None: for ever.
    pub timeout: Option<Duration>,
    /// Ends the wait with `CANCELLED` when it is cancelled.
    pub cancel: Option<Cancel>,
}

impl Wait {
    /// At most this long.
    pub fn at_most(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), cancel: None }
    }

    /// When it is over; none for ever, which is also what a clock can't count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }
}

/// Ends waits from another thread. Clones are one.
///
/// It is of the process that made it: in a forked child it ends no wait of the parent's, and waits that are given it fail
/// with `FORKED`.
#[derive(Clone)]
pub struct Cancel(Arc<CancelState>);

struct CancelState {
    pid: u32,
    cancelled: AtomicBool,
    sleepers: Mutex<Vec<(u64, Weak<Inner>, Topic)>>,
}

impl Default for Cancel {
    fn default() -> Self {
        let (pid, cancelled, sleepers) = (std::process::id(), AtomicBool::new(false), Mutex::default());
        Self(Arc::new(CancelState { pid, cancelled, sleepers }))
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

impl Cancel {
    /// A new one, not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every wait that was given this, now and from now on.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        if self.check_process().is_err() {
            return;
        }
        for (_, inner, topic) in self.0.sleepers.lock().iter() {
            if let Some(inner) = inner.upgrade() {
                inner.db.wakes().wake(*topic);
            }
        }
    }

    /// Refuses one that came through a fork: another thread of the parent may have had its lock.
    fn check_process(&self) -> Result<()> {
        if self.0.pid == std::process::id() {
            return Ok(());
        }
        let made = format!("this Cancel was made by process {} and is used in its forked child", self.0.pid);
        Err(Error::new(ErrorKind::Forked, made).hint("make a new one after the fork"))
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) -> impl Sized + '_ {
        self.0.sleepers.lock()
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }
}

/// How a wait sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleeping {
    /// In the caller's thread.
    Thread,
    /// As a task: it gives way, and the database's waiting thread sleeps for it.
    Task,
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A word changed, or on a tick the file had: read again.
    Changed,
    /// The moment that the sleeper asked for has come.
    Until,
    /// The wait's time has run out.
    TimedOut,
}

/// A wait that goes on: its words, its deadline, and how it notices at a tick that the file has changed.
pub(crate) struct Waiting<'a> {
    inner: &'a Inner,
    sleeping: Sleeping,
    /// A connection to ask for the file's version. A task has one only while it has no words: many tasks may wait at
    /// once, and reading again at a tick costs each of them less than a connection of its own.
    reader: Option<Reader<'a>>,
    topics: Vec<Topic>,
    sample: Sample,
    deadline: Option<Instant>,
    cancel: Option<Cancel>,
    tick: Duration,
    version: Option<DataVersion>,
    /// Whether something may have been committed since what is known was read.
    due: bool,
    /// When the sample was taken.
    sampled: Instant,
    id: u64,
}

/// A wait that has read to the end and ended: what it slept on, and the sample from before that read.
pub(crate) struct Rest {
    topics: Vec<Topic>,
    sample: Sample,
    sampled: Instant,
}

impl Coordinator {
    /// Begins to wait on `topics`. The first sample is taken here, before the caller's first read.
    pub(crate) fn waiting(&self, sleeping: Sleeping, topics: Vec<Topic>, wait: &Wait) -> Result<Waiting<'_>> {
        let sampled = Instant::now();
        let sample = self.inner.db.wakes().sample(&topics);
        self.wait_on(sleeping, Rest { topics, sample, sampled }, true, wait)
    }

    /// Begins to wait where an earlier wait of this handle for the same has ended. It is not due to read unless a word has
    /// changed meanwhile, or so much time has gone by that a tick would have looked.
    pub(crate) fn wait_again(&self, sleeping: Sleeping, rest: Rest, wait: &Wait) -> Result<Waiting<'_>> {
        if rest.sampled.elapsed() < first_tick() && self.inner.db.wakes().is_unchanged(&rest.sample) {
            self.wait_on(sleeping, rest, false, wait)
        } else {
            self.waiting(sleeping, rest.topics, wait)
        }
    }

    fn wait_on(&self, sleeping: Sleeping, rest: Rest, due: bool, wait: &Wait) -> Result<Waiting<'_>> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let inner = &*self.inner;
        inner.db.check_open()?;
        wait.cancel.as_ref().map_or(Ok(()), Cancel::check_process)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let Rest { topics, sample, sampled } = rest;
        if let Some(topic) = topics.first() {
            if let Some(cancel) = &wait.cancel {
                cancel.0.sleepers.lock().push((id, Arc::downgrade(&self.inner), *topic));
            }
            inner.sleepers.lock().push((id, *topic));
        }
        let mut this = Waiting {
            inner,
            sleeping,
            reader: None,
            sample,
            topics,
            deadline: wait.deadline(),
            cancel: wait.cancel.clone(),
            tick: first_tick(),
            version: None,
            due,
            sampled,
            id,
        };
        let polling = inner.db.wakes().is_polling();
        if sleeping == Sleeping::Thread || polling {
            let reader = inner.db.reader();
            if polling {
                this.version = Some(reader.data_version()?);
            }
            this.reader = Some(reader);
        }
        Ok(this)
    }
}

impl Waiting<'_> {
    /// Whether there are no words to sleep on.
    pub(crate) fn is_polling(&self) -> bool {
        self.inner.db.wakes().is_polling()
    }

    /// Whether to read: always, but where the wait goes on from one that has read to the end and nothing has changed since.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// Ends the wait after a read that has found all there was; a later one for the same may go on from here.
    pub(crate) fn rest(mut self) -> Rest {
        fault::dawdle();
        Rest { topics: std::mem::take(&mut self.topics), sample: self.sample.clone(), sampled: self.sampled }
    }

    /// Reads a new snapshot.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &self.reader {
            Some(reader) => reader.read(f),
            None => self.inner.db.read_apart(f),
        }
    }

    /// Sleeps until a word differs from the last sample, and takes the next sample. At most until `until`, which ends
    /// only this sleep, and the wait's deadline.
    pub(crate) async fn sleep(&mut self, until: Option<Instant>) -> Result<Woken> {
        self.due = true;
        loop {
            if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
                return Err(Error::new(ErrorKind::Cancelled, "the wait was cancelled"));
            }
            self.inner.db.check_open()?;
            let now = Instant::now();
            if self.deadline.is_some_and(|d| d <= now) {
                return Ok(Woken::TimedOut);
            }
            if until.is_some_and(|u| u <= now) {
                self.resample_at_pace();
                return Ok(Woken::Until);
            }
            let end = [self.deadline, until].into_iter().flatten().min();
            let most = end.map_or(self.tick, |e| self.tick.min(e - now));
            let wakes = self.inner.db.wakes();
            let changed = match self.sleeping {
                Sleeping::Thread => wakes.sleep(&mut self.sample, most)?,
                Sleeping::Task => wakes.nap(&mut self.sample, most).await,
            };
            if changed {
                self.inner.db.check_process()?;
                self.tick = first_tick();
                self.resample();
                if self.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
                    continue;
                }
                return Ok(Woken::Changed);
            }
            // While polling, each step is a tick. A word that changes between the last sleep and a new sample is not
            // missed: the read that follows a sample sees what was committed before the wake.
            self.inner.db.check_open()?;
            self.inner.db.check_files()?;
            let looks = wakes.is_polling() || !fault::broken("tick");
            let version = self.reader.as_ref().filter(|_| looks).map(Reader::data_version).transpose()?;
            if wakes.remap_if_replaced()? || version.is_some() && version != self.version {
                self.version = version;
                self.tick = first_tick();
                self.resample();
                return Ok(Woken::Changed);
            }
            if most == self.tick {
                self.tick = (self.tick * 2).min(LAST_TICK);
                if version.is_none() {
                    self.resample_at_pace();
                    return Ok(Woken::Changed);
                }
            }
        }
    }

    fn resample(&mut self) {
        self.sampled = Instant::now();
        self.sample = self.inner.db.wakes().sample(&self.topics);
    }

    /// After a look that nothing called for: polling goes on as slowly as it had become.
    fn resample_at_pace(&mut self) {
        self.sampled = Instant::now();
        self.sample = self.inner.db.wakes().sample_at_pace(&self.topics, &self.sample);
    }
}

impl Inner {
    /// Wakes every wait in this handle, once it is closed: they find that out by reading.
    pub(crate) fn wake_own_waits(&self) {
        for (_, topic) in self.sleepers.lock().iter() {
            self.db.wakes().wake(*topic);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.inner.db.check_process().is_err() {
            return;
        }
        self.inner.sleepers.lock().retain(|(id, _)| *id != self.id);
        if let Some(cancel) = &self.cancel {
            cancel.0.sleepers.lock().retain(|(id, ..)| *id != self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::{Options, ScopeChoice};
    use crate::interrupt::interruptible;
    use crate::tasks::at_once;

    #[test]
    fn asking_a_check_is_no_tick() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options.poll(false)).unwrap();
        if pd.inner.db.wakes().is_polling() {
            return;
        }
        let mut waiting = pd.waiting(Sleeping::Thread, vec![Topic::of(&["none"])], &Wait::default()).unwrap();
        assert_eq!(at_once(waiting.sleep(None)).unwrap(), Woken::Changed, "the first tick has nothing to compare with");
        let (begun, mut asked) = (Instant::now(), 0);
        let check = || {
            asked += 1;
            asked == 9
        };
        let ended = interruptible(check, || at_once(waiting.sleep(None)));
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Cancelled);
        // Each tick doubles the time to the next. So many as this come, one after the other, in no less time.
        let ticks = (waiting.tick.as_millis() / FIRST_TICK.as_millis()).ilog2();
        assert!(FIRST_TICK * (2_u32.pow(ticks) - 1) <= begun.elapsed(), "{ticks} ticks in {:?}", begun.elapsed());
        assert!(ticks > 0, "none");
    }

    #[test]
    fn who_waits_again_reads_only_if_something_may_have_come() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options.poll(false)).unwrap();
        if pd.inner.db.wakes().is_polling() {
            return;
        }
        let topic = Topic::of(&["mine"]);
        let rest = || pd.waiting(Sleeping::Thread, vec![topic], &Wait::default()).unwrap().rest();
        let is_due = |rest: Rest| pd.wait_again(Sleeping::Thread, rest, &Wait::default()).unwrap().is_due();
        // A slow machine may take longer than a tick between the two.
        let deadline = Instant::now() + Duration::from_secs(30);
        while is_due(rest()) {
            assert!(Instant::now() < deadline);
        }
        let woken = rest();
        pd.inner.db.wakes().wake(topic);
        assert!(is_due(woken), "a word has changed");
        let late = rest();
        std::thread::sleep(FIRST_TICK);
        assert!(is_due(late), "a tick would have looked");
        let mut slept = pd.wait_again(Sleeping::Thread, rest(), &Wait::default()).unwrap();
        at_once(slept.sleep(Some(Instant::now()))).unwrap();
        assert!(slept.is_due(), "it has slept");
    }
}
