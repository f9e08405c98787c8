//! Calls of an `AsyncClient`: begun on the client's thread in the order in which they are awaited, waiting on the
//! database's waiting thread, and ended on the event loop's, which a descriptor wakes. No other thread takes the GIL.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portdaddy_core::{Cancel, Coordinator, Error, ErrorKind, Result, Worker};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use serde::Serialize;

use crate::client::{Client, Shared, lock};
use crate::error::raised;
use crate::types::to_python;

/// What becomes a Python object on the event loop's thread. Dropped instead, it undoes what it holds.
pub(crate) type Converting = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
/// How a call ended.
type Ended = Result<Converting>;
/// A call that goes on.
pub(crate) type Going = Pin<Box<dyn Future<Output = Ended> + Send>>;

pub(crate) fn converting<T: Serialize + Send + 'static>(value: T) -> Converting {
    Box::new(move |py| to_python(py, &value).map(Bound::unbind))
}

/// What a call does, once it is begun.
enum Job {
    /// Doesn't wait for others, and can't be cancelled.
    Brief(Box<dyn FnOnce() -> Ended + Send>),
    /// Waits. Where a handle is given, it begins on its waiting thread, and doesn't queue behind what works.
    Waiting(Box<dyn FnOnce(Cancel, Progress) -> Going + Send>, Option<Coordinator>),
}

/// A call that was made and hasn't begun: what a coroutine holds until it is awaited.
#[pyclass(frozen, module = "port_daddy._native")]
pub(crate) struct Pending(Mutex<Option<Job>>);

impl Pending {
    pub(crate) fn brief<T: Serialize + Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Pending {
        Pending::of(Job::Brief(Box::new(|| f().map(converting))))
    }

    pub(crate) fn brief_of(f: impl FnOnce() -> Ended + Send + 'static) -> Pending {
        Pending::of(Job::Brief(Box::new(f)))
    }

    pub(crate) fn waiting(
        on: Option<Coordinator>,
        f: impl FnOnce(Cancel, Progress) -> Going + Send + 'static,
    ) -> Pending {
        Pending::of(Job::Waiting(Box::new(f), on))
    }

    fn of(job: Job) -> Pending {
        Pending(Mutex::new(Some(job)))
    }

    /// A coroutine that does the job when it is awaited. `told` is called with what a call tells of its progress.
    pub(crate) fn coroutine<'py>(
        self,
        client: &Bound<'py, Client>,
        told: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static SETTLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = client.py();
        let settle = SETTLE.get_or_try_init(py, || {
            PyResult::Ok(py.import(intern!(py, "port_daddy._aio"))?.getattr(intern!(py, "settle"))?.unbind())
        })?;
        settle.bind(py).call1((client, self, told))
    }
}

/// How a call that goes on tells its caller something.
#[derive(Clone)]
pub(crate) struct Progress {
    post: Arc<Post>,
    call: u64,
}

impl Progress {
    pub(crate) fn tell<T: Serialize + Send + 'static>(&self, value: T) {
        self.post.send(Letter::Progress(self.call, converting(value)));
    }
}

/// What an `AsyncClient` needs to run calls.
#[derive(Default)]
pub(crate) struct Later {
    worker: Mutex<Option<Worker>>,
    mailbox: Mutex<Option<Py<Mailbox>>>,
}

impl Later {
    /// In a forked child: the thread isn't there, and the loop is the parent's.
    pub(crate) fn forked(&self) {
        std::mem::forget(lock(&self.worker).take());
        std::mem::forget(lock(&self.mailbox).take());
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut worker = lock(&self.worker);
        let worker = match &mut *worker {
            Some(worker) => worker,
            none => none.insert(Worker::start("pd-client").map_err(|e| {
                Error::new(ErrorKind::Internal, "the client's thread could not be started")
                    .hint("the system may have too many threads or processes")
                    .caused_by(e)
            })?),
        };
        worker.spawn(future);
        Ok(())
    }

    /// Ends the thread, and leaves the loop as soon as what was begun has ended.
    pub(crate) fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let worker = lock(&self.worker).take();
        drop(worker);
        let mailbox = lock(&self.mailbox).take();
        mailbox.map_or(Ok(()), |mailbox| {
            mailbox.get().leaving.store(true, Ordering::SeqCst);
            mailbox.get().leave_if_over(py)
        })
    }

    /// Its client was forgotten: leaves the loop, whichever thread this is.
    pub(crate) fn forgotten(&self, py: Python<'_>) {
        drop(lock(&self.worker).take());
        let Some(mailbox) = lock(&self.mailbox).take() else { return };
        mailbox.get().leaving.store(true, Ordering::SeqCst);
        // A loop that is closed has no readers any more.
        let _ = mailbox.bind(py).getattr(intern!(py, "_leave")).and_then(|leave| {
            mailbox.get().event_loop.bind(py).call_method1(intern!(py, "call_soon_threadsafe"), (leave,))
        });
    }

    /// The mailbox in this loop.
    fn mailbox(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = event_loop.py();
        let there = lock(&self.mailbox).as_ref().map(|mailbox| mailbox.clone_ref(py));
        if let Some(mailbox) = there {
            let its = mailbox.get().event_loop.bind(py);
            if its.is(event_loop) {
                return Ok(mailbox);
            }
            if !its.call_method0(intern!(py, "is_closed"))?.extract::<bool>()? {
                return Err(PyRuntimeError::new_err(
                    "this AsyncPortDaddy belongs to another event loop that is still open: make one for each loop",
                ));
            }
        }
        let mailbox = Mailbox::new(event_loop)?;
        *lock(&self.mailbox) = Some(mailbox.clone_ref(py));
        Ok(mailbox)
    }
}

enum Letter {
    Ended(u64, Ended),
    Progress(u64, Converting),
}

/// What other threads leave for the loop's.
struct Post {
    letters: Mutex<Vec<Letter>>,
    bell: UnixStream,
    rung: AtomicBool,
}

impl Post {
    fn send(&self, letter: Letter) {
        lock(&self.letters).push(letter);
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It holds one byte at a time, so it is never full; where the loop is gone, nobody listens.
            let _ = (&self.bell).write(&[0]);
        }
    }
}

/// A coroutine that waits for its call to end.
enum Addressee {
    Caller {
        future: Py<PyAny>,
        told: Option<Py<PyAny>>,
    },
    /// It has given the call up, and only wants to know that nothing is left of it.
    GivenUp {
        ended: Py<PyAny>,
    },
}

/// Where the calls of one client end, on the thread of one event loop.
#[pyclass(frozen, module = "port_daddy._native")]
pub(crate) struct Mailbox {
    event_loop: Py<PyAny>,
    ear: UnixStream,
    post: Arc<Post>,
    /// Touched with the GIL alone.
    calls: Mutex<HashMap<u64, Addressee>>,
    /// The client is closed: nothing more begins here.
    leaving: AtomicBool,
}

impl Mailbox {
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = event_loop.py();
        let (ear, bell) = UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let post = Arc::new(Post { letters: Mutex::default(), bell, rung: AtomicBool::new(false) });
        let fd = ear.as_raw_fd();
        let (event_loop_of, calls, leaving) = (event_loop.clone().unbind(), Mutex::default(), AtomicBool::new(false));
        let this = Py::new(py, Mailbox { event_loop: event_loop_of, ear, post, calls, leaving })?;
        let deliver = this.bind(py).getattr(intern!(py, "_deliver"))?;
        event_loop.call_method1(intern!(py, "add_reader"), (fd, deliver))?;
        Ok(this)
    }

    fn leave_if_over(&self, py: Python<'_>) -> PyResult<()> {
        if !self.leaving.load(Ordering::SeqCst) || !lock(&self.calls).is_empty() {
            return Ok(());
        }
        let event_loop = self.event_loop.bind(py);
        if !event_loop.call_method0(intern!(py, "is_closed"))?.extract::<bool>()? {
            event_loop.call_method1(intern!(py, "remove_reader"), (self.ear.as_raw_fd(),))?;
        }
        Ok(())
    }

    /// Begins a call whose end is set on `future`.
    pub(crate) fn begin<'py>(
        shared: &Arc<Shared>,
        pending: &Pending,
        event_loop: &Bound<'py, PyAny>,
        future: Py<PyAny>,
        told: Option<Py<PyAny>>,
    ) -> PyResult<Call> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let py = event_loop.py();
        let Some(job) = lock(&pending.0).take() else {
            return Err(PyRuntimeError::new_err("the call was made already: a coroutine is awaited once"));
        };
        let mailbox = shared.later.mailbox(event_loop)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (waits, cancel) = (matches!(job, Job::Waiting(..)), Cancel::new());
        let given_up = Arc::new(AtomicBool::new(false));
        lock(&mailbox.get().calls).insert(number, Addressee::Caller { future, told });
        let post = Arc::clone(&mailbox.get().post);
        let duty = Duty { post: Arc::clone(&post), number, done: false };
        let begun = match job {
            Job::Brief(f) => shared.later.spawn(async move { duty.end(f()) }),
            Job::Waiting(f, on) => {
                let (cancel, given_up) = (cancel.clone(), Arc::clone(&given_up));
                let run = async move {
                    let mut ended = f(cancel, Progress { post, call: number }).await;
                    if given_up.load(Ordering::SeqCst) {
                        // What was granted to one who has given up is undone here, before that one hears of the end.
                        ended = Err(cancelled());
                    }
                    duty.end(ended);
                };
                match on {
                    Some(pd) => {
                        pd.spawn_waiting(run);
                        Ok(())
                    }
                    None => shared.later.spawn(run),
                }
            }
        };
        match begun {
            Ok(()) => Ok(Call { mailbox, number, cancel, given_up, waits }),
            Err(e) => {
                lock(&mailbox.get().calls).remove(&number);
                Err(raised(py, &e))
            }
        }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the wait was cancelled")
}

/// The duty to end a call. Dropped without it (a panic, a thread that ended), the call ends with an error.
struct Duty {
    post: Arc<Post>,
    number: u64,
    done: bool,
}

impl Duty {
    fn end(mut self, ended: Ended) {
        self.done = true;
        self.post.send(Letter::Ended(self.number, ended));
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.done {
            let error = Error::new(ErrorKind::Closed, "the call ended without an answer: its client was closed");
            self.post.send(Letter::Ended(self.number, Err(error)));
        }
    }
}

#[pymethods]
impl Mailbox {
    /// Leaves the loop, unless calls go on.
    fn _leave(&self, py: Python<'_>) -> PyResult<()> {
        self.leave_if_over(py)
    }

    /// Ends the calls whose outcome has come.
    fn _deliver(&self, py: Python<'_>) -> PyResult<()> {
        let mut heard = [0; 16];
        while (&self.ear).read(&mut heard).is_ok_and(|n| n == heard.len()) {}
        self.post.rung.store(false, Ordering::SeqCst);
        let letters = std::mem::take(&mut *lock(&self.post.letters));
        for letter in letters {
            match letter {
                Letter::Ended(call, outcome) => {
                    let addressee = lock(&self.calls).remove(&call);
                    match addressee {
                        Some(Addressee::Caller { future, .. }) => settle(future.bind(py), outcome)?,
                        Some(Addressee::GivenUp { ended }) => {
                            // What came all the same is undone.
                            py.detach(|| drop(outcome));
                            settle(ended.bind(py), Ok(converting(())))?;
                        }
                        None => py.detach(|| drop(outcome)),
                    }
                }
                Letter::Progress(call, value) => {
                    let told = match lock(&self.calls).get(&call) {
                        Some(Addressee::Caller { told: Some(told), .. }) => told.clone_ref(py),
                        _ => continue,
                    };
                    if let Err(e) = value(py).and_then(|value| told.call1(py, (value,))) {
                        e.write_unraisable(py, Some(told.bind(py)));
                    }
                }
            }
        }
        self.leave_if_over(py)
    }
}

/// Sets how a call ended, unless nobody waits for it any more.
fn settle(future: &Bound<'_, PyAny>, outcome: Ended) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(intern!(py, "done"))?.extract()? {
        py.detach(|| drop(outcome));
        return Ok(());
    }
    match outcome.map_err(|e| raised(py, &e)).and_then(|value| value(py)) {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(e) => future.call_method1(intern!(py, "set_exception"), (e,))?,
    };
    Ok(())
}

/// A call that has begun.
#[pyclass(frozen, module = "port_daddy._native")]
pub(crate) struct Call {
    mailbox: Py<Mailbox>,
    number: u64,
    cancel: Cancel,
    given_up: Arc<AtomicBool>,
    waits: bool,
}

#[pymethods]
impl Call {
    /// Gives the call up. If it waits, `ended` is done once nothing of it is left, and this gives true; otherwise what it
    /// does it may have done.
    #[pyo3(signature = (ended=None))]
    fn _cancel(&self, ended: Option<Py<PyAny>>) -> bool {
        let mut calls = lock(&self.mailbox.get().calls);
        let Some(addressee) = calls.remove(&self.number) else { return false };
        if let Some(ended) = ended.filter(|_| self.waits) {
            calls.insert(self.number, Addressee::GivenUp { ended });
        }
        drop(calls);
        drop(addressee);
        self.given_up.store(true, Ordering::SeqCst);
        self.cancel.cancel();
        self.waits
    }
}
