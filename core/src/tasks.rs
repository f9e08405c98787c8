//! Where operations run for a caller that must not block, such as an event loop.
//!
//! A [`Worker`] is a thread that begins what it is given in order. Whatever then has to wait gives way, and goes on, once
//! it is woken, on the database's waiting thread; so the order is that of the beginnings, and a wait keeps nobody from
//! being served.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::Runnable;

use crate::coordinator::Coordinator;
use crate::sync::{Condvar, Mutex};
use crate::wake::reactor::{self, Reactor};

/// How long a worker whose calls come one upon the other looks out for the next before it sleeps: waking a thread on an
/// idle core takes about as long.
const LOOK_OUT: Duration = Duration::from_micros(50);
/// Calls that come within this time come one upon the other.
const SOON: Duration = Duration::from_micros(200);

/// A thread that begins tasks in the order in which they were spawned.
///
/// ```
/// use portdaddy_core::{Coordinator, NewNote, Options, Worker};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let file = dir.path().join("pd").join("port-daddy.db");
/// # let pd = Coordinator::open(Options::default().db(&file).agent("writer")).unwrap();
/// let worker = Worker::start("notes").unwrap();
/// let (done, wait) = std::sync::mpsc::channel();
/// worker.spawn(async move {
///     let note = NewNote { text: "written elsewhere".into(), ..NewNote::default() };
///     done.send(pd.note(&note)).unwrap();
/// });
/// assert!(wait.recv().unwrap().is_ok());
/// worker.stop();
/// ```
#[derive(Debug)]
pub struct Worker {
    /// The process that it runs in; a forked child has no such thread, which may have had the queue's lock at the fork.
    pid: u32,
    queue: Arc<Queue>,
    /// None once it was stopped.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<Runnable>,
    stopped: bool,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// Whatever the operating system says when it gives no more threads.
    pub fn start(name: &str) -> std::io::Result<Worker> {
        let queue = Arc::new(Queue::default());
        let work = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work.work())?;
        Ok(Worker { pid: std::process::id(), queue, thread: Some(thread) })
    }

    /// Has the thread begin `future` after everything that was spawned before. A panic inside ends that future only:
    /// it is dropped. After [`stop`](Self::stop), and in a forked child, it is dropped, too.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if self.pid != std::process::id() {
            return;
        }
        let queue = Arc::clone(&self.queue);
        let begun = AtomicBool::new(false);
        let schedule = move |runnable: Runnable| {
            let woken = begun.swap(true, Ordering::SeqCst);
            match reactor::current().filter(|_| woken) {
                Some(reactor) => go_on(&reactor, runnable),
                None => queue.push(runnable),
            }
        };
        let (runnable, task) = async_task::spawn(future, schedule);
        task.detach();
        runnable.schedule();
    }

    /// Ends the thread once everything that was spawned has begun, and waits for that, unless it is called there. Does
    /// nothing in a forked child.
    pub fn stop(mut self) {
        if let Some(thread) = self.end()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) -> impl Sized + '_ {
        self.queue.state.lock()
    }

    /// Tells the thread, once.
    fn end(&mut self) -> Option<JoinHandle<()>> {
        let thread = self.thread.take()?;
        if self.pid != std::process::id() {
            // Not even let go of: what the handle names may be another thread's by now.
            std::mem::forget(thread);
            return None;
        }
        self.queue.state.lock().stopped = true;
        self.queue.changed.notify_one();
        Some(thread)
    }
}

impl Drop for Worker {
    /// Ends the thread as [`stop`](Self::stop) does, without waiting for it.
    fn drop(&mut self) {
        self.end();
    }
}

impl Coordinator {
    /// Runs a future on the database's waiting thread from its beginning: for what only waits, such as a subscription's
    /// next message. It must not block that thread; a panic inside ends that future only.
    pub fn spawn_waiting(&self, future: impl Future<Output = ()> + Send + 'static) {
        let reactor = Arc::clone(self.inner.db.wakes().reactor());
        let (runnable, task) = async_task::spawn(future, move |runnable| go_on(&reactor, runnable));
        task.detach();
        runnable.schedule();
    }
}

fn go_on(reactor: &Arc<Reactor>, runnable: Runnable) {
    reactor.run(Box::new(move || {
        runnable.run();
    }));
}

impl Queue {
    fn push(&self, runnable: Runnable) {
        let mut state = self.state.lock();
        if state.stopped {
            drop(state);
            return;
        }
        state.tasks.push_back(runnable);
        drop(state);
        self.changed.notify_one();
    }

    fn work(&self) {
        let parallel = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        // Whether the last task came so soon that looking out for the next one pays.
        let mut busy = false;
        let mut state = self.state.lock();
        loop {
            if let Some(runnable) = state.tasks.pop_front() {
                drop(state);
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| runnable.run()));
                state = self.state.lock();
                continue;
            }
            if state.stopped {
                return;
            }
            let idle = Instant::now();
            if busy && parallel {
                drop(state);
                while idle.elapsed() < LOOK_OUT && self.state.try_lock().is_none_or(|s| s.is_idle()) {
                    std::hint::spin_loop();
                }
                state = self.state.lock();
            }
            while state.is_idle() {
                state = self.changed.wait(state);
            }
            busy = idle.elapsed() < SOON;
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.tasks.is_empty() && !self.stopped
    }
}

/// Runs a future that never gives way, because it waits with its thread.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a wait that has a thread gave way"),
    }
}
