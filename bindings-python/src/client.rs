//! One client: a handle and what it was made with. `Client` blocks its caller, `AsyncClient` gives coroutines; every
//! operation is written once, in its concept's file, and `Client::now` and `Client::wait` run it either way.
//!
//! The handle of a `Client` is opened when it is made, that of an `AsyncClient` by its first call. A forked child opens one
//! of its own when it first calls.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portdaddy_core::{Coordinator, Error, Options, Result, ScopeChoice, Source, Wait, interruptible};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use serde::Serialize;

use crate::aio::{Call, Converting, Going, Later, Mailbox, Pending, converting};
use crate::args::{PathText, Text, flag, plain};
use crate::error::{closed, raised};
use crate::lifecycle::{OPENING, Stake, is_main_thread, keep, let_go, let_go_of_all};
use crate::types::to_python;

/// What an operation gives: its result, or a coroutine that gives it.
pub(crate) struct Outcome<'py, T>(Bound<'py, PyAny>, PhantomData<T>);
/// An operation's answer.
pub(crate) type Reply<'py, T> = PyResult<Outcome<'py, T>>;

impl<'py, T> Outcome<'py, T> {
    pub(crate) fn of(object: Bound<'py, PyAny>) -> Self {
        Outcome(object, PhantomData)
    }
}

impl<'py, T> IntoPyObject<'py> for Outcome<'py, T> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, _: Python<'py>) -> std::result::Result<Self::Output, Self::Error> {
        Ok(self.0)
    }
}

/// An operation that waits, as a task.
pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// What a client was made with.
#[derive(Clone, Default)]
pub(crate) struct Made {
    pub(crate) agent: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) db: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) global: bool,
    pub(crate) cwd: Option<String>,
}

impl Made {
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        if let Some(db) = &self.db {
            options = options.db(db);
        }
        if let Some(agent) = &self.agent {
            options = options.agent(agent);
        }
        if let Some(session) = &self.session {
            options = options.session(session);
        }
        if let Some(cwd) = &self.cwd {
            options = options.cwd(cwd);
        }
        match &self.scope {
            Some(name) => options.scope(ScopeChoice::Named(name.clone())),
            None if self.global => options.scope(ScopeChoice::Global),
            None => options,
        }
    }
}

/// The handle.
pub(crate) enum Handle {
    Unopened,
    Open(Coordinator),
    Over,
}

/// What the Python object, its calls and its streams share.
pub(crate) struct Shared {
    made: Mutex<Made>,
    /// Locked for instants, and changed under `OPENING` alone, so that a fork catches it neither locked nor half changed.
    handle: Mutex<Handle>,
    pub(crate) later: Later,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The handle, opened if it isn't yet.
    pub(crate) fn coordinator(&self, py: Python<'_>) -> Result<Coordinator> {
        match &*lock(&self.handle) {
            Handle::Open(pd) => return Ok(pd.clone()),
            Handle::Over => return Err(closed()),
            Handle::Unopened => {}
        }
        py.detach(|| self.open())
    }

    /// As `coordinator`, in a thread that doesn't know Python.
    pub(crate) fn open(&self) -> Result<Coordinator> {
        let _opening = lock(&OPENING);
        match &*lock(&self.handle) {
            Handle::Open(pd) => return Ok(pd.clone()),
            Handle::Over => return Err(closed()),
            Handle::Unopened => {}
        }
        let pd = Coordinator::open(lock(&self.made).options())?;
        *lock(&self.handle) = Handle::Open(pd.clone());
        Ok(pd)
    }

    /// The handle, if it is open.
    pub(crate) fn opened(&self) -> Option<Coordinator> {
        match &*lock(&self.handle) {
            Handle::Open(pd) => Some(pd.clone()),
            _ => None,
        }
    }

    pub(crate) fn made(&self) -> Made {
        lock(&self.made).clone()
    }

    /// Ends the handle, and what waits in it.
    pub(crate) fn end(&self, how: impl FnOnce(&Coordinator)) {
        let _opening = lock(&OPENING);
        let handle = std::mem::replace(&mut *lock(&self.handle), Handle::Over);
        if let Handle::Open(pd) = handle {
            how(&pd);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*lock(&self.handle), Handle::Over)
    }

    /// In a forked child: leaves the parent's handle behind. The next call opens one for the same agent.
    pub(crate) fn forked(&self) {
        let mut handle = lock(&self.handle);
        match std::mem::replace(&mut *handle, Handle::Unopened) {
            Handle::Open(pd) => {
                let caller = pd.caller();
                if caller.source == Source::Instance {
                    lock(&self.made).agent.clone_from(&caller.agent);
                }
                // Dropping it would close what is the parent's.
                std::mem::forget(pd);
            }
            other => *handle = other,
        }
        drop(handle);
        self.later.forked();
    }
}

/// Drops what waits for the store, in a thread that has the GIL, without it: a fork that keeps writers out may be waiting
/// for the GIL.
pub(crate) fn without_gil(f: impl FnOnce() + Send) {
    Python::attach(|py| py.detach(f));
}

/// A client of the shared database whose calls block until they are done.
#[pyclass(subclass, frozen, module = "port_daddy._native")]
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) is_async: bool,
}

impl Drop for Client {
    /// Forgotten: closed in order, unless it has something at stake or calls that go on.
    fn drop(&mut self) {
        if Arc::strong_count(&self.shared) == 1 {
            without_gil(|| self.shared.end(Coordinator::close));
            if self.is_async {
                Python::attach(|py| self.shared.later.forgotten(py));
            }
        }
    }
}

/// A client of the shared database whose operations are coroutines.
#[pyclass(extends = Client, subclass, frozen, module = "port_daddy._native")]
pub(crate) struct AsyncClient;

impl Made {
    /// What Python's arguments say.
    pub(crate) fn of(
        agent_id: Option<Text>,
        session: Option<Text>,
        db: Option<PathText>,
        scope: Option<Text>,
        global: bool,
        cwd: Option<PathText>,
    ) -> Result<Made> {
        let (scope, path) = (plain(scope), |path: Option<PathText>| path.map(|path| path.0));
        if let Some(scope) = scope.as_deref().filter(|_| global) {
            return Err(Error::invalid(format!("scope {scope:?} and global_scope exclude each other"))
                .with("option", "scope")
                .hint("leave one of them out"));
        }
        Ok(Made { agent: plain(agent_id), session: plain(session), db: path(db), scope, global, cwd: path(cwd) })
    }
}

impl Shared {
    fn new(made: Made) -> Arc<Shared> {
        Arc::new(Shared { made: Mutex::new(made), handle: Mutex::new(Handle::Unopened), later: Later::default() })
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (agent_id=None, *, session=None, db=None, scope=None, global_scope=false, cwd=None))]
    fn new(
        py: Python<'_>,
        agent_id: Option<Text>,
        session: Option<Text>,
        db: Option<PathText>,
        scope: Option<Text>,
        #[pyo3(from_py_with = flag)] global_scope: bool,
        cwd: Option<PathText>,
    ) -> PyResult<Client> {
        let made = Made::of(agent_id, session, db, scope, global_scope, cwd).map_err(|e| raised(py, &e))?;
        let shared = Shared::new(made);
        // Known to forks before there is anything to close. A signal waits until it is open: its handler might open, or fork.
        keep(&shared);
        py.detach(|| shared.open().map(drop)).map_err(|e| raised(py, &e))?;
        Ok(Client { shared, is_async: false })
    }

    /// The calling agent's id: the one given, found around the process, or made for this client. None before the
    /// database is open, unless it was given.
    #[getter]
    fn agent_id(&self) -> Option<String> {
        let given = || self.shared.made().agent;
        self.shared.opened().map_or_else(given, |pd| pd.caller().agent.clone())
    }

    /// The database file; none before it is open.
    #[getter]
    fn db(&self) -> Option<String> {
        self.shared.opened().map(|pd| pd.path().display().to_string())
    }

    /// Whether the client was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_over()
    }

    /// What another process needs to open the same database for the same agent: arguments by name.
    fn _reopening<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut made = self.shared.made();
        if let Some(pd) = self.shared.opened() {
            made.agent.clone_from(&pd.caller().agent);
            made.db = Some(pd.path().display().to_string());
        }
        let arguments = PyDict::new(py);
        arguments.set_item("agent_id", made.agent)?;
        arguments.set_item("session", made.session)?;
        arguments.set_item("db", made.db)?;
        arguments.set_item("scope", made.scope)?;
        arguments.set_item("global_scope", made.global)?;
        arguments.set_item("cwd", made.cwd)?;
        Ok(arguments)
    }

    /// What the caller should be told and has not asked for, as the library kept it.
    fn _library_notices(&self) -> Vec<String> {
        self.shared.opened().map_or_else(Vec::new, |pd| pd.take_notices())
    }

    /// Lets go: in order, or as a crash would.
    fn _end<'py>(slf: &Bound<'py, Self>, in_order: bool) -> Reply<'py, ()> {
        let how = if in_order { Coordinator::close } else { Coordinator::abandon };
        let shared = Arc::clone(&slf.get().shared);
        let_go_of_all(&shared);
        if slf.get().is_async {
            let end = move || {
                shared.end(how);
                Ok(())
            };
            return Pending::brief(end).coroutine(slf, None).map(Outcome::of);
        }
        slf.py().detach(|| shared.end(how));
        Ok(Outcome::of(slf.py().None().into_bound(slf.py())))
    }
}

#[pymethods]
impl AsyncClient {
    #[new]
    #[pyo3(signature = (agent_id=None, *, session=None, db=None, scope=None, global_scope=false, cwd=None))]
    fn new(
        py: Python<'_>,
        agent_id: Option<Text>,
        session: Option<Text>,
        db: Option<PathText>,
        scope: Option<Text>,
        #[pyo3(from_py_with = flag)] global_scope: bool,
        cwd: Option<PathText>,
    ) -> PyResult<PyClassInitializer<AsyncClient>> {
        let made = Made::of(agent_id, session, db, scope, global_scope, cwd).map_err(|e| raised(py, &e))?;
        let shared = Shared::new(made);
        keep(&shared);
        Ok(PyClassInitializer::from(Client { shared, is_async: true }).add_subclass(AsyncClient))
    }

    /// Begins a call whose outcome is set on `future`; `told` is called with what it tells of its progress.
    fn _begin(
        slf: &Bound<'_, Self>,
        pending: &Pending,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        told: Option<Py<PyAny>>,
    ) -> PyResult<Call> {
        Mailbox::begin(&slf.as_super().get().shared, pending, event_loop, future, told)
    }

    /// Releases one grant, whoever hears of it.
    fn _give_back(slf: &Bound<'_, Self>, name: Text, token: i64) -> PyResult<()> {
        let shared = Arc::clone(&slf.as_super().get().shared);
        let_go(&shared, Stake::Lock(token));
        let give_back = async move {
            if let Some(pd) = shared.opened() {
                // Whoever was to have it is gone: there is nobody to tell of a failure.
                let _ = pd.release_lock(&name.0, token);
            }
        };
        slf.as_super().get().shared.later.spawn(give_back).map_err(|e| raised(slf.py(), &e))
    }

    /// Ends the client's thread, and its place in the event loop.
    fn _stop(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.as_super().get().shared.later.stop(slf.py())
    }
}

/// Runs an operation that doesn't wait for others.
pub(crate) fn now<'py, T, F>(client: &Bound<'py, Client>, f: F) -> Reply<'py, T>
where
    T: Serialize + Send + 'static,
    F: FnOnce(&Coordinator) -> Result<T> + Send + 'static,
{
    now_and(client, f, |_, _| ())
}

/// The same, and does something with the result where it succeeded, with the GIL.
pub(crate) fn now_and<'py, T, F, G>(client: &Bound<'py, Client>, f: F, then: G) -> Reply<'py, T>
where
    T: Serialize + Send + 'static,
    F: FnOnce(&Coordinator) -> Result<T> + Send + 'static,
    G: FnOnce(&Arc<Shared>, &T) + Send + 'static,
{
    let (py, this) = (client.py(), client.get());
    let shared = Arc::clone(&this.shared);
    if this.is_async {
        let job = move || {
            let value = f(&shared.open()?)?;
            let done: Converting = Box::new(move |py| {
                then(&shared, &value);
                to_python(py, &value).map(Bound::unbind)
            });
            Ok(done)
        };
        return Pending::brief_of(job).coroutine(client, None).map(Outcome::of);
    }
    let pd = shared.coordinator(py).map_err(|e| raised(py, &e))?;
    let result = interruptibly(py, || f(&pd));
    if let Ok(Ok(value)) = &result {
        then(&shared, value);
    }
    answer(client, &pd, result)
}

/// Runs an operation that waits: `blocking` in the caller's thread, or `waiting` as a task.
pub(crate) fn wait<'py, T, B, W>(
    client: &Bound<'py, Client>,
    timeout: Option<Duration>,
    blocking: B,
    waiting: W,
) -> Reply<'py, T>
where
    T: Serialize + Send + 'static,
    B: FnOnce(&Coordinator, &Wait) -> Result<T> + Send,
    W: FnOnce(Coordinator, Wait) -> Waiting<T> + Send + 'static,
{
    let (py, this) = (client.py(), client.get());
    if this.is_async {
        let shared = Arc::clone(&this.shared);
        let job = move |cancel, _| -> Going {
            Box::pin(async move {
                let pd = shared.open()?;
                waiting(pd, Wait { timeout, cancel: Some(cancel) }).await.map(converting)
            })
        };
        return Pending::waiting(None, job).coroutine(client, None).map(Outcome::of);
    }
    let pd = this.shared.coordinator(py).map_err(|e| raised(py, &e))?;
    let result = interruptibly(py, || blocking(&pd, &Wait { timeout, cancel: None }));
    answer(client, &pd, result)
}

/// A result as Python has it, after what the caller is to be told besides.
pub(crate) fn answer<'py, T: Serialize>(
    client: &Bound<'py, Client>,
    pd: &Coordinator,
    result: PyResult<Result<T>>,
) -> Reply<'py, T> {
    let py = client.py();
    tell(client, pd)?;
    match result? {
        Ok(value) => to_python(py, &value).map(Outcome::of),
        Err(e) => Err(raised(py, &e)),
    }
}

pub(crate) fn tell(client: &Bound<'_, Client>, pd: &Coordinator) -> PyResult<()> {
    let notices = pd.take_notices();
    if !notices.is_empty() {
        client.call_method1(intern!(client.py(), "_tell"), (notices,))?;
    }
    Ok(())
}

/// Runs what may wait, without the GIL. In the main thread Python's signal handlers run meanwhile, and what one of them
/// raises ends the wait and is raised here.
pub(crate) fn interruptibly<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> PyResult<T> {
    if !is_main_thread(py)? {
        return Ok(py.detach(f));
    }
    let (value, raised) = py.detach(|| {
        let mut raised = None;
        let check = || match Python::attach(|py| py.check_signals()) {
            Ok(()) => false,
            Err(e) => {
                raised = Some(e);
                true
            }
        };
        let value = interruptible(check, f);
        (if raised.is_some() { None } else { Some(value) }, raised)
    });
    match (value, raised) {
        (Some(value), None) => Ok(value),
        (_, raised) => Err(raised.unwrap_or_else(|| PyErr::new::<pyo3::exceptions::PyKeyboardInterrupt, _>(()))),
    }
}
