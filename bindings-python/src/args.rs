//! What Python passes: read where the call is made, with the argument's name, the rule and the value in every refusal.
//!
//! A value of the wrong type is a `TypeError`, as Python's own functions raise it; one that breaks a rule is `INVALID`. The
//! types here don't know the name of the argument that they are read from. PyO3 tells it by a note that it adds to the
//! exception, and the classes in `_error.py` put it in front of what is said here.

use std::time::Duration;

use portdaddy_core::{Error, SessionStatus};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDelta, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{Borrowed, intern};
use serde::Deserialize;
use serde::de::{self, IntoDeserializer};
use serde_json::{Map, Number, Value};

use crate::error::raised;

/// Deeper than core takes: far enough for it to say so, and no overflow of the stack.
const DEEPEST: usize = 200;

/// The type's name in Python's words.
pub(crate) fn type_name(obj: &Bound<'_, PyAny>) -> String {
    obj.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// An argument of the wrong type.
fn of_wrong_type(py: Python<'_>, rule: &str) -> PyErr {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || {
        PyResult::Ok(py.import(intern!(py, "port_daddy._error"))?.getattr(intern!(py, "ArgumentError"))?.unbind())
    });
    match class.and_then(|class| class.bind(py).call1((rule,))) {
        Ok(error) => PyErr::from_value(error),
        Err(e) => e,
    }
}

fn wrong_type(wanted: &str, obj: &Bound<'_, PyAny>) -> PyErr {
    of_wrong_type(obj.py(), &format!("must be {wanted}, not {}", type_name(obj)))
}

/// An argument that breaks a rule.
fn invalid(py: Python<'_>, rule: impl Into<String>) -> PyErr {
    raised(py, &Error::invalid(rule).with("option", serde_json::Value::Null))
}

fn invalid_with_hint(py: Python<'_>, rule: impl Into<String>, hint: &str) -> PyErr {
    raised(py, &Error::invalid(rule).with("option", serde_json::Value::Null).hint(hint))
}

/// Text. A `str` may hold half characters, which no file and no other language can.
pub(crate) struct Text(pub(crate) String);

fn text(obj: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = obj.cast::<PyString>().map_err(|_| wrong_type("a str", obj))?;
    match text.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(e) => Err(invalid_with_hint(
            obj.py(),
            format!("holds half a character: {}", e.value(obj.py())),
            "such text comes of bytes that are no UTF-8: decode them with errors=\"replace\"",
        )),
    }
}

impl FromPyObject<'_, '_> for Text {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        text(&obj).map(Text)
    }
}

pub(crate) fn plain(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0)
}

/// A path: text, or what `os.fspath` makes text of.
pub(crate) struct PathText(pub(crate) String);

fn path(obj: &Bound<'_, PyAny>) -> PyResult<String> {
    if obj.is_instance_of::<PyString>() {
        return text(obj);
    }
    if !obj.hasattr(intern!(obj.py(), "__fspath__"))? {
        return Err(wrong_type("a str or a path", obj));
    }
    text(&obj.call_method0(intern!(obj.py(), "__fspath__"))?)
}

impl FromPyObject<'_, '_> for PathText {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        path(&obj).map(PathText)
    }
}

/// One name, or several.
pub(crate) struct Names(pub(crate) Vec<String>);
/// One path or pattern, or several.
pub(crate) struct Files(pub(crate) Vec<String>);

/// Tells an error what it is about, as PyO3 does.
fn named(py: Python<'_>, e: PyErr, name: &str) -> PyErr {
    match e.value(py).call_method1(intern!(py, "add_note"), (format!("while processing '{name}'"),)) {
        Ok(_) => e,
        Err(failed) => failed,
    }
}

fn several(
    obj: &Bound<'_, PyAny>,
    what: &str,
    one: fn(&Bound<'_, PyAny>) -> PyResult<String>,
) -> PyResult<Vec<String>> {
    let wanted = || wrong_type(&format!("{what} or a sequence of them"), obj);
    if obj.is_instance_of::<PyString>() || obj.hasattr(intern!(obj.py(), "__fspath__"))? {
        return Ok(vec![one(obj)?]);
    }
    if obj.is_instance_of::<PyDict>() {
        return Err(wanted());
    }
    let items = obj.try_iter().map_err(|_| wanted())?;
    let read = |(n, item): (usize, PyResult<Bound<'_, PyAny>>)| {
        let item = item?;
        one(&item).map_err(|e| named(obj.py(), e, &format!("[{n}]")))
    };
    items.enumerate().map(read).collect()
}

impl FromPyObject<'_, '_> for Names {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        several(&obj, "a str", text).map(Names)
    }
}

impl FromPyObject<'_, '_> for Files {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        several(&obj, "a str, a path", path).map(Files)
    }
}

/// A flag, for `from_py_with`.
pub(crate) fn flag(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    obj.cast::<PyBool>().map(|flag| flag.is_true()).map_err(|_| wrong_type("a bool", obj))
}

fn number<T: TryFrom<i64>>(obj: &Bound<'_, PyAny>, bounds: &str) -> PyResult<T> {
    let py = obj.py();
    let whole = if obj.is_instance_of::<PyBool>() {
        None
    } else if obj.is_instance_of::<PyInt>() {
        Some(obj.clone())
    } else if obj.hasattr(intern!(py, "__index__"))? {
        // As numpy's whole numbers are.
        Some(obj.call_method0(intern!(py, "__index__"))?)
    } else {
        None
    };
    let whole = whole.ok_or_else(|| wrong_type("an int", obj))?;
    let fits = whole.extract::<i64>().ok().and_then(|number| T::try_from(number).ok());
    fits.ok_or_else(|| invalid(py, format!("must be a whole number {bounds}, not {whole}")))
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $ty:ty, $bounds:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) $ty);

        impl FromPyObject<'_, '_> for $name {
            type Error = PyErr;

            fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
                number(&obj, $bounds).map($name)
            }
        }
    )*};
}

numbers! {
    /// A whole number.
    Whole: i64, "of 64 bits";
    /// How many.
    Count: usize, "from 0 up";
    /// How many, where more are too many.
    Few: u32, "from 0 to 4294967295";
    /// A port.
    PortNumber: u16, "from 0 to 65535";
}

/// Two ports, both included.
pub(crate) struct PortRange(pub(crate) (u16, u16));

impl FromPyObject<'_, '_> for PortRange {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if !obj.is_instance_of::<PyTuple>() && !obj.is_instance_of::<PyList>() {
            return Err(wrong_type("a tuple of two ports", &obj));
        }
        if obj.len()? != 2 {
            return Err(invalid(obj.py(), format!("must be two ports, not {}", obj.len()?)));
        }
        let port = |n: usize| {
            PortNumber::extract(obj.get_item(n)?.as_borrowed()).map_err(|e| named(obj.py(), e, &format!("[{n}]")))
        };
        Ok(PortRange((port(0)?.0, port(1)?.0)))
    }
}

/// Seconds, or a timedelta.
fn seconds(obj: &Bound<'_, PyAny>) -> PyResult<f64> {
    if obj.is_instance_of::<PyDelta>() {
        return obj.call_method0(intern!(obj.py(), "total_seconds"))?.extract();
    }
    let number = obj.is_instance_of::<PyFloat>() || obj.is_instance_of::<PyInt>();
    if !number || obj.is_instance_of::<PyBool>() {
        return Err(wrong_type("seconds or a timedelta", obj));
    }
    // An int that no float can hold is for ever.
    Ok(obj.extract().unwrap_or(f64::INFINITY))
}

/// How long a wait of several calls may take, in seconds; none for ever.
#[pyfunction]
#[pyo3(signature = (timeout=None))]
pub(crate) fn _seconds(timeout: Option<Timeout>) -> Option<f64> {
    Timeout::of(timeout).map(|timeout| timeout.as_secs_f64())
}

/// How long to wait; none for ever, which is also what a clock can't count.
pub(crate) struct Timeout(pub(crate) Option<Duration>);

impl FromPyObject<'_, '_> for Timeout {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let seconds = seconds(&obj)?;
        if seconds.is_nan() || seconds < 0.0 {
            return Err(invalid(obj.py(), format!("must be seconds from 0 up, not {seconds}")));
        }
        Ok(Timeout(Duration::try_from_secs_f64(seconds).ok()))
    }
}

impl Timeout {
    pub(crate) fn of(timeout: Option<Timeout>) -> Option<Duration> {
        timeout.and_then(|timeout| timeout.0)
    }
}

/// How long a lease or a message lasts, in milliseconds, rounded up: never shorter than it was asked to be.
pub(crate) struct Ttl(pub(crate) i64);

impl FromPyObject<'_, '_> for Ttl {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let seconds = seconds(&obj)?;
        let ms = (seconds * 1_000.0).ceil();
        // The bounds are the library's; past these a number of milliseconds would overflow.
        if ms.abs() < 1e15 {
            Ok(Ttl(ms as i64))
        } else {
            Err(invalid(obj.py(), format!("must be seconds, at most 366 days, not {seconds}")))
        }
    }
}

/// A moment: an aware datetime, in milliseconds since 1970.
pub(crate) struct Moment(pub(crate) i64);

impl FromPyObject<'_, '_> for Moment {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let py = obj.py();
        let datetime = py.import(intern!(py, "datetime"))?.getattr(intern!(py, "datetime"))?;
        if !obj.is_instance(&datetime)? {
            return Err(wrong_type("an aware datetime", &obj));
        }
        if obj.call_method0(intern!(py, "utcoffset"))?.is_none() {
            return Err(invalid_with_hint(
                py,
                format!("must say its time zone, and {} doesn't", obj.str()?),
                "pass datetime.now(timezone.utc) - timedelta(…), or call astimezone() on it",
            ));
        }
        let seconds: f64 = obj.call_method0(intern!(py, "timestamp"))?.extract()?;
        Ok(Moment((seconds * 1_000.0).floor() as i64))
    }
}

/// A payload: whatever JSON can hold.
pub(crate) struct Payload(pub(crate) Value);

impl FromPyObject<'_, '_> for Payload {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        value(&obj, &mut Vec::new()).map(Payload)
    }
}

/// Where in a payload something is.
enum Step {
    Key(String),
    Item(usize),
}

fn place(steps: &[Step]) -> String {
    let shown: String = steps
        .iter()
        .map(|step| match step {
            Step::Key(key) => format!("[{key:?}]"),
            Step::Item(n) => format!("[{n}]"),
        })
        .collect();
    shown
}

/// An error about what stands there.
fn there(py: Python<'_>, steps: &[Step], e: PyErr) -> PyErr {
    if steps.is_empty() { e } else { named(py, e, &place(steps)) }
}

fn value(obj: &Bound<'_, PyAny>, steps: &mut Vec<Step>) -> PyResult<Value> {
    let py = obj.py();
    if obj.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = obj.cast::<PyBool>() {
        return Ok(flag.is_true().into());
    }
    if obj.is_instance_of::<PyString>() {
        return text(obj).map(Value::String).map_err(|e| there(py, steps, e));
    }
    if obj.is_instance_of::<PyInt>() {
        let number = obj.extract::<i64>().map(Number::from).or_else(|_| obj.extract::<u64>().map(Number::from));
        return number.map(Value::Number).map_err(|_| {
            there(py, steps, invalid(py, format!("is {obj}, and a whole number has at most 64 bits: pass it as a str")))
        });
    }
    if obj.is_instance_of::<PyFloat>() {
        let number: f64 = obj.extract()?;
        return Number::from_f64(number).map(Value::Number).ok_or_else(|| {
            there(py, steps, invalid(py, format!("is {obj}, which JSON can't hold: pass None, or a str")))
        });
    }
    if steps.len() > DEEPEST {
        return Err(invalid(py, "is nested too deeply: at most 100 levels"));
    }
    if let Ok(members) = obj.cast::<PyDict>() {
        let mut found = Map::new();
        for (key, member) in members.iter() {
            if !key.is_instance_of::<PyString>() {
                let kind = type_name(&key);
                return Err(there(py, steps, of_wrong_type(py, &format!("has a key that is no str, but {kind}"))));
            }
            let key = text(&key).map_err(|e| there(py, steps, e))?;
            steps.push(Step::Key(key.clone()));
            found.insert(key, value(&member, steps)?);
            steps.pop();
        }
        return Ok(Value::Object(found));
    }
    if obj.is_instance_of::<PyList>() || obj.is_instance_of::<PyTuple>() {
        let mut found = Vec::new();
        for (n, item) in obj.try_iter()?.enumerate() {
            steps.push(Step::Item(n));
            found.push(value(&item?, steps)?);
            steps.pop();
        }
        return Ok(Value::Array(found));
    }
    let kind = type_name(obj);
    let rule = format!("is a {kind}; JSON can hold dict, list, tuple, str, int, float, bool and None");
    Err(there(py, steps, of_wrong_type(py, &rule)))
}

/// How far a session has come, by its word.
pub(crate) struct Status(pub(crate) SessionStatus);

impl FromPyObject<'_, '_> for Status {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let word = text(&obj)?;
        SessionStatus::deserialize(word.as_str().into_deserializer()).map(Status).map_err(|_: de::value::Error| {
            invalid(obj.py(), format!("must be active, completed or abandoned, not {word:?}"))
        })
    }
}

/// Where a subscription begins: a word, or a place in the order of commits.
pub(crate) struct Replay(pub(crate) portdaddy_core::Replay);

impl FromPyObject<'_, '_> for Replay {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if !obj.is_instance_of::<PyString>() {
            if !obj.is_instance_of::<PyInt>() || obj.is_instance_of::<PyBool>() {
                return Err(wrong_type("latest, none, all or a seq", &obj));
            }
            let seq = Whole::extract(obj)?;
            return Ok(Replay(portdaddy_core::Replay::After(seq.0)));
        }
        match text(&obj)?.as_str() {
            "latest" => Ok(Replay(portdaddy_core::Replay::Latest)),
            "none" => Ok(Replay(portdaddy_core::Replay::None)),
            "all" => Ok(Replay(portdaddy_core::Replay::All)),
            word => Err(invalid(obj.py(), format!("must be latest, none, all or a seq, not {word:?}"))),
        }
    }
}

/// Something that can be called.
pub(crate) struct Callback(pub(crate) Py<PyAny>);

impl FromPyObject<'_, '_> for Callback {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if obj.is_callable() { Ok(Callback(obj.to_owned().unbind())) } else { Err(wrong_type("callable", &obj)) }
    }
}
