//! The state of the whole, and of the installation.

use std::sync::Arc;

use portdaddy_core::{Check, Status};
use pyo3::prelude::*;

use crate::aio::Pending;
use crate::args::{PathText, Text, flag};
use crate::client::{Client, Made, Outcome, Reply, interruptibly, now};
use crate::error::{closed, raised};
use crate::types::to_python;

#[pymethods]
impl Client {
    /// Counts what the database holds, in all scopes. Whoever is found dead by looking is buried.
    ///
    /// Raises Store…Error.
    fn status<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Status> {
        now(slf, |pd| pd.status())
    }

    /// Looks whether all is well: the library, the file, its place, and who the caller is taken to be. Opens the database by
    /// itself, so that a failure to open it is one of the answers.
    fn doctor<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Vec<Check>> {
        let (py, shared) = (slf.py(), Arc::clone(&slf.get().shared));
        if shared.is_over() {
            return Err(raised(py, &closed()));
        }
        let look = move || portdaddy_core::doctor(shared.made().options());
        if slf.get().is_async {
            return Pending::brief(move || Ok(look())).coroutine(slf, None).map(Outcome::of);
        }
        to_python(py, &interruptibly(py, look)?).map(Outcome::of)
    }
}

/// What `PortDaddy.doctor` finds for a client that was made with these arguments, also where it can't be made.
#[pyfunction]
#[pyo3(signature = (agent_id=None, *, session=None, db=None, scope=None, global_scope=false, cwd=None))]
pub(crate) fn _doctor<'py>(
    py: Python<'py>,
    agent_id: Option<Text>,
    session: Option<Text>,
    db: Option<PathText>,
    scope: Option<Text>,
    #[pyo3(from_py_with = flag)] global_scope: bool,
    cwd: Option<PathText>,
) -> Reply<'py, Vec<Check>> {
    let made = Made::of(agent_id, session, db, scope, global_scope, cwd).map_err(|e| raised(py, &e))?;
    to_python(py, &interruptibly(py, || portdaddy_core::doctor(made.options()))?).map(Outcome::of)
}

/// The version of the library.
#[pyfunction]
pub(crate) fn _version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
