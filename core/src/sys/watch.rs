//! Notices at once that somebody died, for those who wait for him.
//!
//! One thread in the process watches for all of them. On Linux it sleeps on one pidfd per watched process and an eventfd
//! for what is new; elsewhere, and for what has no pidfd, it looks every now and then. A live file may outlive its owner in
//! a child that inherited it, so an owner's end only means: look closer. What is noticed is a hint; who acts on it decides
//! in the database.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::{self, Probe};
use super::process::{self, Alive, ProcessId};
use crate::fault;
use crate::sync::Mutex;
use bell::{Bell, ProcessEnd};

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Process(ProcessId),
    Live {
        dir: PathBuf,
        name: String,
        /// The file's owner, if it is counted in our pid namespace.
        pid: Option<u32>,
    },
}

impl Subject {
    /// Whether it is certain that the subject is gone.
    fn gone(&self) -> bool {
        match self {
            Subject::Process(id) => process::alive(id) == Alive::No,
            Subject::Live { dir, name, .. } => live::probe(dir, name) == Probe::Gone,
        }
    }
}

/// Calls a function once, from the watching thread, when any of its subjects is gone. Stops when dropped; a call that
/// has begun by then is not waited for.
pub(crate) struct DeathWatch {
    id: u64,
    pid: u32,
}

type OnDeath = Box<dyn FnOnce() + Send>;

impl DeathWatch {
    /// Starts watching; returns at once. A subject that is already gone counts. Without a thread for it (the process
    /// may start no more) nothing is noticed here, and the waiter's own tick has to do.
    pub(crate) fn start(subjects: Vec<Subject>, on_death: OnDeath) -> DeathWatch {
        let mut state = STATE.lock();
        let pid = std::process::id();
        if state.running.is_some_and(|running| running != pid) {
            // Forked: the thread, and what it watches, are the parent's. Nothing of it may be called or closed here.
            let last = state.last;
            std::mem::forget(std::mem::replace(&mut *state, State { last, ..State::NEW }));
        }
        state.last += 1;
        let id = state.last;
        state.calls.insert(id, on_death);
        for subject in subjects {
            match state.watched.iter_mut().find(|watched| watched.subject == subject) {
                Some(watched) => {
                    watched.listeners.push(id);
                    watched.next = Instant::now();
                }
                None => state.watched.push(Watched::new(subject, id)),
            }
        }
        let bell = Arc::clone(state.bell.get_or_insert_with(|| Arc::new(Bell::new())));
        if state.running.is_none() {
            let on = Arc::clone(&bell);
            let started = std::thread::Builder::new().name("pd-watch".into()).spawn(move || work(&on));
            state.running = started.is_ok().then_some(pid);
        }
        drop(state);
        bell.ring();
        DeathWatch { id, pid }
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            let mut state = STATE.lock();
            let _call = state.forget(self.id);
            drop(state);
        }
    }
}

/// How often a subject is looked at that nothing tells us about.
const FIRST_STEP: Duration = Duration::from_millis(25);
const LAST_STEP: Duration = Duration::from_millis(250);
/// How often even when a pidfd would tell: the pid may have been another's by the time it was opened.
const BACKSTOP: Duration = Duration::from_secs(2);
/// How long the thread stays without anybody to watch.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct State {
    watched: Vec<Watched>,
    calls: BTreeMap<u64, OnDeath>,
    last: u64,
    bell: Option<Arc<Bell>>,
    /// The process whose thread runs; a forked child has none.
    running: Option<u32>,
}

pub(crate) static STATE: Mutex<State> = Mutex::new(State::NEW);

/// A subject, who listens for its end, what tells of it, and when to look next.
struct Watched {
    subject: Subject,
    listeners: Vec<u64>,
    tell: Option<Arc<ProcessEnd>>,
    step: Duration,
    next: Instant,
}

impl State {
    const NEW: State = State { watched: Vec::new(), calls: BTreeMap::new(), last: 0, bell: None, running: None };

    /// Nobody listens under this number any more; gives what was to be called.
    fn forget(&mut self, id: u64) -> Option<OnDeath> {
        let call = self.calls.remove(&id)?;
        self.watched.retain_mut(|watched| {
            watched.listeners.retain(|listener| *listener != id);
            !watched.listeners.is_empty()
        });
        Some(call)
    }
}

impl Watched {
    fn new(subject: Subject, listener: u64) -> Watched {
        let pid = match &subject {
            Subject::Process(id) if id.namespace == super::pid_namespace() => Some(id.pid),
            Subject::Process(_) => None,
            Subject::Live { pid, .. } => *pid,
        };
        let tell = pid.and_then(ProcessEnd::of).map(Arc::new);
        let step = if tell.is_some() { fault::tick(BACKSTOP) } else { FIRST_STEP };
        // Due at once: the first look comes after the pidfd is open, so that no end falls between the two.
        Watched { subject, listeners: vec![listener], tell, step, next: Instant::now() }
    }

    /// Looks, if it is time to. Whether the subject is gone.
    fn look(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        if self.subject.gone() {
            return true;
        }
        self.next = now + self.step;
        if self.tell.is_none() {
            self.step = (self.step * 5 / 4).min(LAST_STEP);
        }
        false
    }

    /// The process has ended; from now on only its live file tells.
    fn process_ended(&mut self) {
        self.tell = None;
        self.step = FIRST_STEP;
        self.next = Instant::now();
    }
}

fn work(bell: &Bell) {
    let mut idle_since = None;
    loop {
        bell.hush();
        let mut state = STATE.lock();
        let now = Instant::now();
        let gone: Vec<u64> =
            state.watched.iter_mut().filter_map(|w| w.look(now).then_some(&w.listeners)).flatten().copied().collect();
        let calls: Vec<OnDeath> = gone.into_iter().filter_map(|id| state.forget(id)).collect();
        if !calls.is_empty() {
            idle_since = None;
            drop(state);
            for call in calls {
                let _ = std::panic::catch_unwind(AssertUnwindSafe(call));
            }
            continue;
        }
        let tells: Vec<Arc<ProcessEnd>> = state.watched.iter().filter_map(|w| w.tell.clone()).collect();
        let until = match state.watched.iter().map(|w| w.next).min() {
            Some(next) => {
                idle_since = None;
                next
            }
            None => *idle_since.get_or_insert(now) + LINGER,
        };
        if state.watched.is_empty() && until <= now {
            state.running = None;
            return;
        }
        drop(state);
        let ended = bell.wait(&tells, until.saturating_duration_since(now));
        let mut state = STATE.lock();
        for watched in &mut state.watched {
            if watched.tell.as_ref().is_some_and(|tell| ended.iter().any(|ended| Arc::ptr_eq(tell, ended))) {
                watched.process_ended();
            }
        }
    }
}

/// Sleeping until a process ends, the watch is stopped, or time is up.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod bell {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    /// A pidfd: readable when the process has ended, reaped or not.
    pub(super) struct ProcessEnd(OwnedFd);

    impl ProcessEnd {
        /// `None` where there is no such process, or no pidfd to be had.
        pub(super) fn of(pid: u32) -> Option<ProcessEnd> {
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            pidfd_open(pid, PidfdFlags::empty()).ok().map(ProcessEnd)
        }
    }

    /// An eventfd; without one (no descriptors left) the sleeper looks around every 50 ms.
    pub(super) struct Bell(Option<OwnedFd>);

    impl Bell {
        pub(super) fn new() -> Bell {
            Bell(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok())
        }

        pub(super) fn ring(&self) {
            if let Some(event) = &self.0 {
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
        }

        /// It is not rung any more.
        pub(super) fn hush(&self) {
            if let Some(event) = &self.0 {
                let _ = rustix::io::read(event, &mut [0; 8]);
            }
        }

        /// The processes that have ended; empty when rung, interrupted or out of time.
        pub(super) fn wait(&self, processes: &[Arc<ProcessEnd>], timeout: Duration) -> Vec<Arc<ProcessEnd>> {
            let mut fds: Vec<PollFd<'_>> = processes.iter().map(|p| PollFd::new(&p.0, PollFlags::IN)).collect();
            let timeout = match &self.0 {
                Some(event) => {
                    fds.push(PollFd::new(event, PollFlags::IN));
                    timeout
                }
                None => timeout.min(Duration::from_millis(50)),
            };
            let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
            if poll(&mut fds, Some(&timeout)).is_err() {
                return Vec::new();
            }
            processes.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(p, _)| Arc::clone(p)).collect()
        }
    }
}

/// Where nothing tells of a process's end: a condition variable, and looking every so often.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod bell {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::sync::{Condvar, Mutex};

    pub(super) enum ProcessEnd {}

    impl ProcessEnd {
        pub(super) fn of(_pid: u32) -> Option<ProcessEnd> {
            None
        }
    }

    pub(super) struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        pub(super) fn new() -> Bell {
            Bell { rung: Mutex::new(false), changed: Condvar::new() }
        }

        pub(super) fn ring(&self) {
            *self.rung.lock() = true;
            self.changed.notify_all();
        }

        pub(super) fn hush(&self) {
            *self.rung.lock() = false;
        }

        pub(super) fn wait(&self, _processes: &[Arc<ProcessEnd>], timeout: Duration) -> Vec<Arc<ProcessEnd>> {
            let rung = self.rung.lock();
            if !*rung {
                drop(self.changed.wait_until(rung, std::time::Instant::now() + timeout));
            }
            Vec::new()
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

    use super::*;
    use crate::sys::live::LiveFile;
    use crate::sys::testing::{Second, argument, barrier, say};

    const LONG: Duration = Duration::from_secs(10);

    /// A watch, and the channel that hears of the death; the sender is dropped with the watch's thread.
    fn watch(subjects: Vec<Subject>) -> (DeathWatch, Receiver<()>) {
        let (send, receive) = channel();
        (DeathWatch::start(subjects, Box::new(move || send.send(()).unwrap_or(()))), receive)
    }

    fn waiting_shell() -> Child {
        Command::new("sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn().unwrap()
    }

    fn live(dir: &Path, pid: Option<u32>) -> Subject {
        Subject::Live { dir: dir.into(), name: "a".into(), pid }
    }

    #[test]
    fn child_holds_and_hands_on() {
        let Some(dir) = argument() else { return };
        let live = LiveFile::create(Path::new(&dir), "a", b"").unwrap();
        let inherited = live.inheritable().unwrap();
        // It ends when the test lets go of our common stdin.
        let mut orphan = Command::new("sh").args(["-c", "read x"]).spawn().unwrap();
        drop(inherited);
        say("ready");
        say(&orphan.id().to_string());
        barrier();
        orphan.wait().unwrap();
    }

    #[test]
    fn child_holds() {
        let Some(dir) = argument() else { return };
        let _live = LiveFile::create(Path::new(&dir), "a", b"").unwrap();
        say("ready");
        barrier();
    }

    #[test]
    fn the_end_of_a_process_is_noticed_once() {
        let mut one = waiting_shell();
        let mut other = waiting_shell();
        let subjects = [&one, &other].map(|child| Subject::Process(process::info(child.id()).unwrap().id));
        let (_watch, heard) = watch(subjects.to_vec());
        other.kill().unwrap();
        heard.recv_timeout(LONG).unwrap();
        one.kill().unwrap();
        assert_eq!(heard.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected), "called once");
        one.wait().unwrap();
        other.wait().unwrap();
        let (_watch, heard) = watch(subjects.to_vec());
        heard.recv_timeout(LONG).expect("already gone at the start");
    }

    #[test]
    fn a_killed_owner_of_a_live_file_is_noticed_with_and_without_its_pid() {
        for with_pid in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut child = Second::start("sys::watch::tests::child_holds", dir.path().to_str().unwrap());
            let (_watch, heard) = watch(vec![live(dir.path(), with_pid.then_some(child.child.id()))]);
            child.kill();
            heard.recv_timeout(LONG).unwrap();
        }
    }

    #[test]
    fn an_orphan_that_inherited_the_file_keeps_its_owner_alive() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Second::start("sys::watch::tests::child_holds_and_hands_on", dir.path().to_str().unwrap());
        let orphan: u32 = child.said().parse().unwrap();
        let orphan = process::info(orphan).unwrap().id;
        let (_watch, heard) = watch(vec![live(dir.path(), Some(child.child.id()))]);
        child.kill();
        assert_eq!(heard.recv_timeout(Duration::from_millis(120)), Err(RecvTimeoutError::Timeout));
        assert_eq!(process::alive(&orphan), Alive::Yes);
        child.go();
        heard.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_dropped_watch_ends_without_calling() {
        let mut child = waiting_shell();
        let (watch, heard) = watch(vec![Subject::Process(process::info(child.id()).unwrap().id)]);
        drop(watch);
        assert_eq!(heard.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
