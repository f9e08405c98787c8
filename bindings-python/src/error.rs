//! How an error of the library is raised in Python: as the class of its kind, with its fields.

use std::error::Error as _;

use portdaddy_core::{Error, ErrorKind};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::types::from_value;

/// The classes of `_errors.py`, by code.
static BY_CODE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// The exception that this error is.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|e| e)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let classes = BY_CODE.get_or_try_init(py, || {
        let classes = py.import(intern!(py, "port_daddy._errors"))?.getattr(intern!(py, "BY_CODE"))?;
        PyResult::Ok(classes.cast_into::<PyDict>()?.unbind())
    })?;
    let class = classes.bind(py).as_any().get_item(error.kind().code())?;
    let fields = PyDict::new(py);
    for (name, value) in error.fields() {
        fields.set_item(PyString::intern(py, name), from_value(py, value)?)?;
    }
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let cause = if causes.is_empty() { None } else { Some(causes.join(": ")) };
    let exception = class.call1((error.message(), error.next_step(), fields, cause))?;
    Ok(PyErr::from_value(exception))
}

/// Finds the classes while they can be imported: at the interpreter's end nothing can.
#[pyfunction]
pub(crate) fn _ready(py: Python<'_>) -> PyResult<()> {
    raised(py, &Error::invalid(""));
    from_value(py, &serde_json::Value::Null).map(drop)
}

/// Every error code.
#[pyfunction]
pub(crate) fn _error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// An error of this kind with a field and a cause, for tests of how each is raised.
#[pyfunction]
pub(crate) fn _error_of(py: Python<'_>, code: &str) -> PyResult<Py<PyAny>> {
    let Some(kind) = ErrorKind::ALL.iter().find(|kind| kind.code() == code) else {
        return Err(raised(py, &Error::invalid(format!("there is no code {code:?}"))));
    };
    let error = Error::new(*kind, "no \"luck\"")
        .with("held_by", serde_json::json!({"agent_name": "a"}))
        .hint("wait")
        .caused_by("bad luck");
    Ok(raised(py, &error).into_value(py).into_any())
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed").hint("make a new PortDaddy for more calls")
}
