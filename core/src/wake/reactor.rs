//! The waiting thread of a database: it sleeps for every wait of this process that gave way instead of blocking a thread
//! of its own, and runs what those waits go on with.
//!
//! ```text
//! task:     s = words;  read;  nothing there?  leaves (words, s, a time) here, and gives way
//! reactor:  runs what is ready;  whose words have changed, or whose time has come, is ready;  nobody?  sleeps on all
//!           the words and on the bell, until the first time
//! ```
//!
//! The bell is rung by whoever leaves something here from another thread. One lock guards what was left; nothing is run
//! under it. The thread begins with the first wait and ends when it has had nothing to wait for in a while. What it runs
//! must not wait, but may, as every write does, be held up by another process for as long as SQLite's lock is held: that
//! is why each database has its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::page::Page;
use super::{futex, sleep_on};
use crate::fault;
use crate::sync::{Condvar, Mutex};

/// A piece of a task that can go on.
pub(crate) type Ready = Box<dyn FnOnce() + Send>;

/// How long the thread stays without anything to do.
const LINGER: Duration = Duration::from_secs(2);

/// The waiting thread of one database, and what was left for it.
pub(crate) struct Reactor {
    /// The process that it waits in; a forked child leaves it alone.
    pid: u32,
    state: Mutex<State>,
    bell: AtomicU32,
    /// Rung with the bell, for a thread that has no words to sleep on.
    no_words: Condvar,
}

#[derive(Default)]
struct State {
    waits: BTreeMap<u64, Entry>,
    ready: VecDeque<Ready>,
    running: bool,
}

struct Entry {
    page: Option<Arc<Page>>,
    words: Arc<[(u16, u32)]>,
    until: Instant,
    waker: std::task::Waker,
}

/// Those that somebody may use, by the path of their wake page.
pub(crate) static ALL: Mutex<Reactors> = Mutex::new(Vec::new());
pub(crate) type Reactors = Vec<(PathBuf, Weak<Reactor>)>;

thread_local! {
    /// The reactor whose thread this is.
    static CURRENT: RefCell<Option<Arc<Reactor>>> = const { RefCell::new(None) };
}

/// The reactor whose waiting thread this is.
pub(crate) fn current() -> Option<Arc<Reactor>> {
    CURRENT.with_borrow(Clone::clone)
}

impl Reactor {
    /// The one for this page in this process.
    pub(crate) fn of(page: &Path) -> Arc<Reactor> {
        let pid = std::process::id();
        let mut all = ALL.lock();
        let mut found = None;
        all.retain(|(path, reactor)| match reactor.upgrade() {
            Some(reactor) if reactor.pid == pid => {
                if path == page {
                    found = Some(reactor);
                }
                true
            }
            // A parent's: dropping it here could close what is the parent's.
            Some(reactor) => {
                std::mem::forget(reactor);
                false
            }
            None => false,
        });
        found.unwrap_or_else(|| {
            let (state, bell, no_words) = (Mutex::default(), AtomicU32::new(0), Condvar::new());
            let reactor = Arc::new(Reactor { pid, state, bell, no_words });
            all.push((page.to_owned(), Arc::downgrade(&reactor)));
            reactor
        })
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(super) fn hold_all(&self) -> impl Sized + '_ {
        self.state.lock()
    }

    /// Runs `ready` on the waiting thread.
    pub(crate) fn run(self: &Arc<Self>, ready: Ready) {
        self.leave(|state| state.ready.push_back(ready));
    }

    /// Leaves something for the thread, and has it look. In a forked child it is dropped: there is no such thread, which
    /// may have had the lock at the fork.
    fn leave(self: &Arc<Self>, what: impl FnOnce(&mut State)) {
        if self.pid != std::process::id() {
            return;
        }
        let mut state = self.state.lock();
        what(&mut state);
        if CURRENT.with_borrow(|current| current.as_ref().is_some_and(|current| Arc::ptr_eq(current, self))) {
            return;
        }
        if !state.running {
            // Without a thread (the process may start no more) the next one who comes tries again.
            let me = Arc::clone(self);
            state.running = std::thread::Builder::new().name("pd-wait".into()).spawn(move || work(&me)).is_ok();
            return;
        }
        drop(state);
        fault::dawdle();
        self.bell.fetch_add(1, Ordering::SeqCst);
        futex::wake(&self.bell);
        self.no_words.notify_one();
    }
}

fn work(reactor: &Arc<Reactor>) {
    CURRENT.set(Some(Arc::clone(reactor)));
    let mut idle_since = None;
    loop {
        let bell = reactor.bell.load(Ordering::SeqCst);
        fault::dawdle();
        let ready = std::mem::take(&mut reactor.state.lock().ready);
        let ran = !ready.is_empty();
        for run in ready {
            // A panic ends that task; whoever waits for its result learns it by the drop.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(run));
        }
        let mut state = reactor.state.lock();
        let now = Instant::now();
        // In each round, however much was ready: who runs all the time must not keep the others from their time.
        let due: Vec<u64> = state.waits.iter().filter(|(_, e)| e.is_due(now)).map(|(id, _)| *id).collect();
        if ran || !due.is_empty() {
            idle_since = None;
            let due: Vec<Entry> = due.iter().filter_map(|id| state.waits.remove(id)).collect();
            drop(state);
            for entry in due {
                // Whose waker panics has an executor of its own, and its own trouble.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| entry.waker.wake()));
            }
            continue;
        }
        let Some(until) = state.waits.values().map(|e| e.until).min() else {
            let since = *idle_since.get_or_insert(now);
            if since + LINGER <= now {
                state.running = false;
                return;
            }
            drop(reactor.no_words.wait_until(state, since + LINGER));
            continue;
        };
        idle_since = None;
        let pages = words_by_page(state.waits.values());
        if pages.is_empty() {
            drop(reactor.no_words.wait_until(state, until));
            continue;
        }
        drop(state);
        fault::dawdle();
        let pages: Vec<_> = pages.iter().map(|(page, words)| (page, words.as_slice())).collect();
        sleep_on(&pages, Some((&reactor.bell, bell)), until.saturating_duration_since(Instant::now()));
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
    reactor: Arc<Reactor>,
    page: Option<Arc<Page>>,
    words: Arc<[(u16, u32)]>,
    until: Instant,
    id: Option<u64>,
}

impl Nap {
    pub(super) fn new(reactor: Arc<Reactor>, page: Option<Arc<Page>>, words: Arc<[(u16, u32)]>, until: Instant) -> Nap {
        Nap { reactor, page, words, until, id: None }
    }
}

impl Future for Nap {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let changed = self.page.as_ref().is_some_and(|page| page.changed(&self.words));
        if changed || self.until <= Instant::now() {
            return Poll::Ready(changed);
        }
        if self.reactor.pid != std::process::id() {
            // Forked: the wait goes on to find that out.
            return Poll::Ready(true);
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = *self.id.get_or_insert_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let entry = Entry {
            page: self.page.clone(),
            words: Arc::clone(&self.words),
            until: self.until,
            waker: cx.waker().clone(),
        };
        // What it replaces is dropped after the lock: a waker may be the last that holds its task.
        let mut replaced = None;
        self.reactor.leave(|state| replaced = state.waits.insert(id, entry));
        Poll::Pending
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && self.reactor.pid == std::process::id()
        {
            let _entry = self.reactor.state.lock().waits.remove(&id);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc::channel;
    use std::task::{Wake, Waker};

    use super::*;
    use crate::wake::{Topic, Wakes};

    const LONG: Duration = Duration::from_secs(10);

    struct Tell(std::sync::mpsc::Sender<()>);

    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    /// A nap that only a wake ends, and the channel that hears of it.
    fn nap(wakes: &Wakes, topic: Topic) -> (Pin<Box<dyn Future<Output = bool>>>, std::sync::mpsc::Receiver<()>) {
        let sample = wakes.sample(&[topic]);
        let until = Instant::now() + Duration::from_secs(3600);
        let reactor = Reactor::of(&wakes.path);
        let mut nap: Pin<Box<dyn Future<Output = bool>>> =
            Box::pin(Nap::new(reactor, sample.page.clone(), Arc::clone(&sample.words), until));
        let (send, receive) = channel();
        let waker = Waker::from(Arc::new(Tell(send)));
        assert!(nap.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        (nap, receive)
    }

    #[test]
    fn a_word_wakes_whoever_naps_on_it_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.wake");
        let (wakes, other) = (Wakes::open(&path, false).unwrap(), Wakes::open(&path, false).unwrap());
        let (one, heard) = nap(&wakes, Topic::of(&["one"]));
        let (two, also) = nap(&wakes, Topic::of(&["two"]));
        other.wake(Topic::of(&["one"]));
        heard.recv_timeout(LONG).unwrap();
        // The bell: the thread sleeps by now, and is told of what is new.
        let (said, done) = channel();
        let ring = said.clone();
        Reactor::of(&path).run(Box::new(move || ring.send(1).unwrap()));
        assert_eq!(done.recv_timeout(LONG).unwrap(), 1);
        assert!(also.try_recv().is_err());
        drop((one, two));
        assert!(Reactor::of(&path).state.lock().waits.is_empty(), "a nap that is dropped is forgotten");
        let (_three, heard) = nap(&wakes, Topic::of(&["three"]));
        other.wake(Topic::of(&["three"]));
        heard.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn the_thread_outlives_panics_and_ends_when_nothing_is_left() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.wake");
        let wakes = Wakes::open(&path, false).unwrap();
        let reactor = Reactor::of(&path);
        let sample = wakes.sample(&[Topic::of(&["one"])]);
        let until = Instant::now() + Duration::from_millis(1);
        let mut short = Box::pin(Nap::new(Arc::clone(&reactor), sample.page.clone(), Arc::clone(&sample.words), until));
        let waker = Waker::from(Arc::new(Panics));
        let _ = short.as_mut().poll(&mut Context::from_waker(&waker));
        reactor.run(Box::new(|| panic!("on purpose")));
        let (said, done) = channel();
        reactor.run(Box::new(move || said.send(()).unwrap()));
        done.recv_timeout(LONG).unwrap();
        drop(short);
        let deadline = Instant::now() + LONG;
        while reactor.state.lock().running {
            assert!(Instant::now() < deadline, "it stays");
            std::thread::sleep(Duration::from_millis(10));
        }
        let (said, done) = channel();
        reactor.run(Box::new(move || said.send(()).unwrap()));
        done.recv_timeout(LONG).expect("it begins anew");
    }
}
