//! The process's waiting thread: it sleeps for every wait that gave way instead of blocking a thread of its own, and
//! runs what those waits go on with.
//!
//! ```text
//! task:     s = words;  read;  nothing there?  leaves (words, s, a time) here, and gives way
//! reactor:  runs what is ready;  whose words have changed, or whose time has come, is ready;  nobody?  sleeps on all
//!           the words and on the bell, until the first time
//! ```
//!
//! The bell is rung by whoever leaves something here from another thread. One lock guards what was left; nothing is run
//! under it. The thread begins with the first wait and ends when it has had nothing to wait for in a while. There is one
//! for all databases: what it runs must not wait, but may, as every write does, be held up by another process for as
//! long as SQLite's lock is held.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::page::Page;
use super::{futex, sleep_on};
use crate::sync::{Condvar, Mutex};

/// A piece of a task that can go on.
pub(crate) type Ready = Box<dyn FnOnce() + Send>;

/// How long the thread stays without anything to wait for.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct State {
    waits: BTreeMap<u64, Entry>,
    ready: VecDeque<Ready>,
    /// The process whose thread runs; a forked child has none.
    running: Option<u32>,
}

struct Entry {
    page: Option<Arc<Page>>,
    words: Arc<[(u16, u32)]>,
    until: Instant,
    waker: Waker,
}

pub(crate) static STATE: Mutex<State> =
    Mutex::new(State { waits: BTreeMap::new(), ready: VecDeque::new(), running: None });
static BELL: AtomicU32 = AtomicU32::new(0);
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Rung with the bell, for a thread that has no words to sleep on.
static NO_WORDS: Condvar = Condvar::new();

thread_local! {
    static IS_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the process's waiting thread.
pub(crate) fn is_current() -> bool {
    IS_REACTOR.get()
}

/// Runs `ready` on the waiting thread.
pub(crate) fn run(ready: Ready) {
    leave(|state| state.ready.push_back(ready));
}

/// Leaves something for the thread, and has it look.
fn leave(what: impl FnOnce(&mut State)) {
    let mut state = STATE.lock();
    let pid = std::process::id();
    if state.running.is_some_and(|running| running != pid) {
        // Forked: what waits here waits in the parent. Nothing of it may be dropped in this process.
        std::mem::forget(std::mem::take(&mut state.waits));
        std::mem::forget(std::mem::take(&mut state.ready));
        state.running = None;
    }
    what(&mut state);
    if is_current() {
        return;
    }
    if state.running.is_none() {
        // Without a thread (the process may start no more) the next one who comes tries again.
        let started = std::thread::Builder::new().name("pd-wait".into()).spawn(work);
        state.running = started.is_ok().then_some(pid);
        return;
    }
    drop(state);
    BELL.fetch_add(1, Ordering::SeqCst);
    futex::wake(&BELL);
    NO_WORDS.notify_one();
}

fn work() {
    IS_REACTOR.set(true);
    let mut idle_since = None;
    loop {
        let bell = BELL.load(Ordering::SeqCst);
        let mut state = STATE.lock();
        let ready = std::mem::take(&mut state.ready);
        if !ready.is_empty() {
            drop(state);
            for run in ready {
                // A panic ends that task; whoever waits for its result learns it by the drop.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(run));
            }
            continue;
        }
        let now = Instant::now();
        let due: Vec<u64> = state.waits.iter().filter(|(_, e)| e.is_due(now)).map(|(id, _)| *id).collect();
        if !due.is_empty() {
            let wakers: Vec<Waker> = due.iter().filter_map(|id| state.waits.remove(id)).map(|e| e.waker).collect();
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            continue;
        }
        let Some(until) = state.waits.values().map(|e| e.until).min() else {
            let since = *idle_since.get_or_insert(now);
            if since + LINGER <= now {
                state.running = None;
                return;
            }
            drop(NO_WORDS.wait_until(state, since + LINGER));
            continue;
        };
        idle_since = None;
        let pages = words_by_page(state.waits.values());
        if pages.is_empty() {
            drop(NO_WORDS.wait_until(state, until));
            continue;
        }
        drop(state);
        let pages: Vec<_> = pages.iter().map(|(page, words)| (page, words.as_slice())).collect();
        sleep_on(&pages, Some((&BELL, bell)), until.saturating_duration_since(Instant::now()));
    }
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        self.until <= now || self.page.as_ref().is_some_and(|page| page.changed(&self.words))
    }
}

/// A page, and the words of it that somebody waits for, each once.
type PageWords = (Arc<Page>, Vec<(u16, u32)>);

fn words_by_page<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<PageWords> {
    let mut pages: Vec<PageWords> = Vec::new();
    for entry in entries {
        let Some(page) = entry.page.as_ref().filter(|_| !entry.words.is_empty()) else { continue };
        match pages.iter_mut().find(|(other, _)| Arc::ptr_eq(other, page)) {
            Some((_, words)) => words.extend_from_slice(&entry.words),
            None => pages.push((Arc::clone(page), entry.words.to_vec())),
        }
    }
    for (_, words) in &mut pages {
        words.sort_unstable();
        words.dedup();
    }
    pages
}

/// A sleep of a task: ends when one of its words has changed (true), or its time has come.
pub(super) struct Nap {
    page: Option<Arc<Page>>,
    words: Arc<[(u16, u32)]>,
    until: Instant,
    id: Option<u64>,
}

impl Nap {
    pub(super) fn new(page: Option<Arc<Page>>, words: Arc<[(u16, u32)]>, until: Instant) -> Nap {
        Nap { page, words, until, id: None }
    }
}

impl Future for Nap {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let changed = self.page.as_ref().is_some_and(|page| page.changed(&self.words));
        if changed || self.until <= Instant::now() {
            return Poll::Ready(changed);
        }
        let id = *self.id.get_or_insert_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let entry = Entry {
            page: self.page.clone(),
            words: Arc::clone(&self.words),
            until: self.until,
            waker: cx.waker().clone(),
        };
        // What it replaces is dropped after the lock: a waker may be the last that holds its task.
        let mut replaced = None;
        leave(|state| replaced = state.waits.insert(id, entry));
        Poll::Pending
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _entry = STATE.lock().waits.remove(&id);
        }
    }
}
