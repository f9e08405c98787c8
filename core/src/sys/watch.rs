//! Notices at once that somebody died, for those who wait for him.
//!
//! On Linux a thread sleeps on one pidfd per watched process and an eventfd for its own end; elsewhere, and for what
//! has no pidfd, it looks every now and then. A live file may outlive its owner in a child that inherited it, so an
//! owner's end only means: look closer. What is noticed is a hint; who acts on it decides in the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::live::{self, Probe};
use super::process::{self, Alive, ProcessId};

/// What to watch.
#[derive(Clone, Debug)]
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

/// Calls a function once, from its own thread, when any of its subjects is gone. Stops when dropped; a call that has
/// begun by then is not waited for.
pub(crate) struct DeathWatch {
    stopped: Arc<AtomicBool>,
    bell: Arc<bell::Bell>,
}

impl DeathWatch {
    /// Starts watching; returns at once. A subject that is already gone counts. Without a thread for it (the process
    /// may start no more) nothing is noticed here, and the waiter's own tick has to do.
    pub(crate) fn start(subjects: Vec<Subject>, on_death: Box<dyn FnOnce() + Send>) -> DeathWatch {
        let stopped = Arc::new(AtomicBool::new(false));
        let bell = Arc::new(bell::Bell::new());
        let watch = DeathWatch { stopped: stopped.clone(), bell: bell.clone() };
        let run = move || {
            if wait_for_a_death(subjects, &stopped, &bell) && !stopped.load(Ordering::SeqCst) {
                on_death();
            }
        };
        let _ = std::thread::Builder::new().name("pd-watch".into()).spawn(run);
        watch
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

/// How often a subject is looked at that nothing tells us about.
const FIRST_STEP: Duration = Duration::from_millis(25);
const LAST_STEP: Duration = Duration::from_millis(250);
/// How often even when a pidfd would tell: the pid may have been another's by the time it was opened.
const BACKSTOP: Duration = Duration::from_secs(2);

/// A subject, what tells of its end, and when to look next.
struct Watched {
    subject: Subject,
    tell: Option<bell::ProcessEnd>,
    step: Duration,
    next: Instant,
}

impl Watched {
    fn new(subject: Subject) -> Watched {
        let pid = match &subject {
            Subject::Process(id) if id.namespace == super::pid_namespace() => Some(id.pid),
            Subject::Process(_) => None,
            Subject::Live { pid, .. } => *pid,
        };
        let tell = pid.and_then(bell::ProcessEnd::of);
        let step = if tell.is_some() { BACKSTOP } else { FIRST_STEP };
        // Due at once: the first look comes after the pidfd is open, so that no end falls between the two.
        Watched { subject, tell, step, next: Instant::now() }
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

/// Returns true when a subject is gone, false when stopped.
fn wait_for_a_death(subjects: Vec<Subject>, stopped: &AtomicBool, bell: &bell::Bell) -> bool {
    let mut watched: Vec<Watched> = subjects.into_iter().map(Watched::new).collect();
    loop {
        let now = Instant::now();
        if watched.iter_mut().any(|one| one.look(now)) {
            return true;
        }
        let next = watched.iter().map(|one| one.next).min();
        let ended = bell.wait(watched.iter().map(|one| one.tell.as_ref()), next.map(|next| next - now));
        if stopped.load(Ordering::SeqCst) {
            return false;
        }
        for index in ended {
            watched[index].process_ended();
        }
    }
}

/// Sleeping until a process ends, the watch is stopped, or time is up.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod bell {
    use std::os::fd::OwnedFd;
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

        /// The indices of the processes that have ended; empty when rung, interrupted or out of time.
        pub(super) fn wait<'a>(
            &self,
            processes: impl Iterator<Item = Option<&'a ProcessEnd>>,
            timeout: Option<Duration>,
        ) -> Vec<usize> {
            let mut indices = Vec::new();
            let mut fds = Vec::new();
            for (index, process) in processes.enumerate() {
                if let Some(process) = process {
                    indices.push(index);
                    fds.push(PollFd::new(&process.0, PollFlags::IN));
                }
            }
            let timeout = match &self.0 {
                Some(event) => {
                    fds.push(PollFd::new(event, PollFlags::IN));
                    timeout
                }
                None => Some(timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(50))),
            };
            let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
            if poll(&mut fds, timeout.as_ref()).is_err() {
                return Vec::new();
            }
            indices.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| index).collect()
        }
    }
}

/// Where nothing tells of a process's end: a condition variable, and looking every so often.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod bell {
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

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

        pub(super) fn wait<'a>(
            &self,
            _processes: impl Iterator<Item = Option<&'a ProcessEnd>>,
            timeout: Option<Duration>,
        ) -> Vec<usize> {
            let mut rung = self.rung.lock();
            if !*rung {
                match timeout {
                    Some(timeout) => drop(self.changed.wait_for(&mut rung, timeout)),
                    None => self.changed.wait(&mut rung),
                }
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
