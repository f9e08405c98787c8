//! A lock that Python holds. What takes it into a block and releases it is native: Python's signal handlers run between
//! steps of Python code, and an exception of theirs in the middle would leave a lock that nobody releases.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portdaddy_core::{Error, ErrorKind};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::args::Text;
use crate::client::{Client, lock};
use crate::error::raised;
use crate::lifecycle::{Stake, let_go};

/// One grant of a lock, for a blocking client.
#[pyclass(subclass, frozen, module = "port_daddy._native")]
pub(crate) struct Guard {
    client: Py<Client>,
    name: String,
    token: i64,
    chain: String,
    pid: u32,
    released: AtomicBool,
    /// The block that it was entered for.
    standing: Mutex<Option<Py<PyAny>>>,
}

fn context<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "port_daddy._context"))?.getattr(name)
}

impl Guard {
    /// Releases it once. It isn't interrupted: whoever gives back shall be able to.
    fn let_go(&self, py: Python<'_>) -> PyResult<()> {
        if self.released.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let shared = Arc::clone(&self.client.get().shared);
        let (name, token) = (self.name.clone(), self.token);
        let released = py.detach(|| shared.opened().ok_or_else(crate::error::closed)?.release_lock(&name, token));
        match released {
            Err(e) if e.kind().code().starts_with("STORE_") => {
                // It is still held, and may be released later.
                self.released.store(false, Ordering::SeqCst);
                Err(raised(py, &e))
            }
            released => {
                let_go(&shared, Stake::Lock(token));
                released.map_err(|e| raised(py, &e))
            }
        }
    }

    fn is_forked(&self) -> bool {
        self.pid != std::process::id()
    }

    fn stand_no_more(&self, py: Python<'_>) -> PyResult<()> {
        let standing = lock(&self.standing).take();
        standing.map_or(Ok(()), |standing| context(py, "leave")?.call1((standing,)).map(drop))
    }
}

#[pymethods]
impl Guard {
    #[new]
    fn new(client: Py<Client>, name: Text, token: i64, chain: Text) -> Guard {
        Guard {
            client,
            name: name.0,
            token,
            chain: chain.0,
            pid: std::process::id(),
            released: AtomicBool::new(false),
            standing: Mutex::new(None),
        }
    }

    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: greater than that of every grant of any lock before, and below 2 ** 53.
    #[getter]
    fn token(&self) -> i64 {
        self.token
    }

    /// Whether it was released.
    #[getter]
    fn released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    #[getter]
    fn _client(&self, py: Python<'_>) -> Py<Client> {
        self.client.clone_ref(py)
    }

    /// Releases it, and hands it to the next in line. A second call does nothing. Ctrl-C doesn't interrupt it.
    ///
    /// Raises LeaseLostError if it was no longer this one's, ForkedError in a forked child, ClosedError, Store…Error; after the
    /// last it may be tried again.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_forked() && !self.released() {
            let text = format!("the lock {:?} was taken before a fork: it is the parent's", self.name);
            let error = Error::new(ErrorKind::Forked, text).with("lock", self.name.as_str());
            return Err(raised(py, &error.hint("release it in the parent, or take it in the child")));
        }
        self.let_go(py)
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let (py, this) = (slf.py(), slf.get());
        let entered = context(py, "enter").and_then(|enter| enter.call1((this.chain.as_str(),)));
        match entered {
            Ok(standing) => {
                *lock(&this.standing) = Some(standing.unbind());
                Ok(slf.clone())
            }
            Err(e) => {
                // There is no block that would release it.
                this.let_go(py)?;
                Err(e)
            }
        }
    }

    #[pyo3(signature = (kind, error, trace))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<Py<PyAny>>,
        error: Option<Py<PyAny>>,
        trace: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let _ = (kind, trace);
        // A forked child leaves the block, too: the lock is the parent's.
        let released = if self.is_forked() { Ok(()) } else { self.let_go(py) };
        self.stand_no_more(py)?;
        // The block's own failure says more than that of the release.
        if error.is_some() { Ok(()) } else { released }
    }
}

/// What takes a lock for each of its blocks, one at a time.
#[pyclass(subclass, frozen, module = "port_daddy._native")]
pub(crate) struct GuardBlock {
    held: Mutex<Vec<Py<Guard>>>,
}

#[pymethods]
impl GuardBlock {
    #[new]
    #[pyo3(signature = (*_arguments))]
    fn new(_arguments: &Bound<'_, PyTuple>) -> GuardBlock {
        GuardBlock { held: Mutex::default() }
    }

    /// Enters the block of a lock that was just taken.
    fn _hold(&self, guard: &Bound<'_, Guard>) -> PyResult<()> {
        Guard::__enter__(guard)?;
        lock(&self.held).push(guard.clone().unbind());
        Ok(())
    }

    #[pyo3(signature = (kind, error, trace))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<Py<PyAny>>,
        error: Option<Py<PyAny>>,
        trace: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let guard = lock(&self.held).pop();
        guard.map_or(Ok(()), |guard| guard.get().__exit__(py, kind, error, trace))
    }
}
