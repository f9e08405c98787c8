//! What Python passes: read where the call is made, with the name, the rule and the value in every refusal.
//!
//! A value of the wrong type is a `TypeError`, as Python's own functions raise it; one that breaks a rule is `INVALID`.
//! Python's extraction knows an argument's name only for the first, so numbers keep what is wrong with them until the
//! operation names them.

use std::time::Duration;

use portdaddy_core::{Error, Result, SessionStatus};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
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

fn wrong_type(rule: &str, obj: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("must be {rule}, not {}", type_name(obj)))
}

/// An argument that breaks a rule that no type tells.
pub(crate) fn wrong(name: &'static str, rule: &str) -> Error {
    Error::invalid(format!("{name} {rule}")).with("option", name)
}

/// Text. A `str` may hold half characters, which no file and no other language can.
pub(crate) struct Text(pub(crate) String);

fn text(obj: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = obj.cast::<PyString>().map_err(|_| wrong_type("a str", obj))?;
    match text.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(e) => Err(raised(
            obj.py(),
            &Error::invalid(format!("a str holds half a character: {}", e.value(obj.py())))
                .hint("such text comes of bytes that are no UTF-8: decode them with errors=\"replace\""),
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
    match obj.call_method0(intern!(obj.py(), "__fspath__")) {
        Ok(path) => text(&path),
        Err(_) => Err(wrong_type("a str or a path", obj)),
    }
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
        one(&item).map_err(|e| {
            if e.is_instance_of::<PyTypeError>(obj.py()) {
                PyTypeError::new_err(format!("[{n}] {}", e.value(obj.py())))
            } else {
                e
            }
        })
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

/// A whole number, as it was passed.
pub(crate) struct Whole(std::result::Result<i64, String>);

impl FromPyObject<'_, '_> for Whole {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if !obj.is_instance_of::<PyInt>() || obj.is_instance_of::<PyBool>() {
            return Err(wrong_type("an int", &obj));
        }
        Ok(Whole(obj.extract().map_err(|_| obj.to_string())))
    }
}

impl Whole {
    /// The number, in words where it doesn't fit.
    fn within<T: TryFrom<i64>>(self, name: &'static str, bounds: &str) -> Result<T> {
        let number = self.0.map_err(|number| wrong(name, &format!("must be {bounds}, not {number}")))?;
        T::try_from(number).map_err(|_| wrong(name, &format!("must be {bounds}, not {number}")))
    }
}

pub(crate) fn whole(name: &'static str, number: Option<Whole>) -> Result<Option<i64>> {
    number.map(|number| number.within(name, "a whole number of 64 bits")).transpose()
}

pub(crate) fn count(name: &'static str, number: Option<Whole>) -> Result<Option<usize>> {
    number.map(|number| number.within(name, "a whole number from 0 up")).transpose()
}

pub(crate) fn small(name: &'static str, number: Option<Whole>) -> Result<Option<u32>> {
    number.map(|number| number.within(name, "a whole number from 0 to 4294967295")).transpose()
}

pub(crate) fn port(name: &'static str, number: Whole) -> Result<u16> {
    number.within(name, "a whole number from 0 to 65535")
}

/// A length of time: seconds or a timedelta.
pub(crate) struct Span(f64);

impl FromPyObject<'_, '_> for Span {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if obj.is_instance_of::<PyDelta>() {
            return obj.call_method0(intern!(obj.py(), "total_seconds"))?.extract().map(Span);
        }
        let number = obj.is_instance_of::<PyFloat>() || obj.is_instance_of::<PyInt>();
        if !number || obj.is_instance_of::<PyBool>() {
            return Err(wrong_type("seconds or a timedelta", &obj));
        }
        // An int that no float can hold is for ever.
        Ok(Span(obj.extract().unwrap_or(f64::INFINITY)))
    }
}

/// How long to wait; for ever where a clock can't count it.
pub(crate) fn timeout(name: &'static str, span: Option<Span>) -> Result<Option<Duration>> {
    let Some(Span(seconds)) = span else { return Ok(None) };
    if !(seconds >= 0.0) {
        return Err(wrong(name, &format!("must be seconds from 0 up, not {seconds}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Milliseconds, rounded up: a lease is never shorter than it was asked to be.
pub(crate) fn milliseconds(name: &'static str, span: Option<Span>) -> Result<Option<i64>> {
    let Some(Span(seconds)) = span else { return Ok(None) };
    let ms = (seconds * 1_000.0).ceil();
    // What is beyond the bounds is told by the library; past this they would overflow.
    if ms.abs() < 1e15 {
        Ok(Some(ms as i64))
    } else {
        Err(wrong(name, &format!("must be seconds, at most 366 days, not {seconds}")))
    }
}

/// A moment: an aware datetime.
pub(crate) struct Moment(std::result::Result<f64, String>);

impl FromPyObject<'_, '_> for Moment {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let py = obj.py();
        let datetime = py.import(intern!(py, "datetime"))?.getattr(intern!(py, "datetime"))?;
        if !obj.is_instance(&datetime)? {
            return Err(wrong_type("an aware datetime", &obj));
        }
        if obj.call_method0(intern!(py, "utcoffset"))?.is_none() {
            return Ok(Moment(Err(obj.str()?.to_string())));
        }
        Ok(Moment(Ok(obj.call_method0(intern!(py, "timestamp"))?.extract()?)))
    }
}

/// Milliseconds since 1970.
pub(crate) fn moment(name: &'static str, moment: Option<Moment>) -> Result<Option<i64>> {
    match moment {
        None => Ok(None),
        Some(Moment(Ok(seconds))) => Ok(Some((seconds * 1_000.0).floor() as i64)),
        Some(Moment(Err(naive))) => Err(wrong(name, &format!("must say its time zone, and {naive} doesn't"))
            .hint("pass datetime.now(timezone.utc) - timedelta(…), or call astimezone() on it")),
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
    format!("payload{shown}")
}

fn refused(py: Python<'_>, steps: &[Step], rule: &str) -> PyErr {
    raised(py, &Error::invalid(format!("{} {rule}", place(steps))).with("option", "payload"))
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
        return text(obj).map(Value::String);
    }
    if obj.is_instance_of::<PyInt>() {
        let number = obj.extract::<i64>().map(Number::from).or_else(|_| obj.extract::<u64>().map(Number::from));
        return number.map(Value::Number).map_err(|_| {
            refused(py, steps, &format!("is {obj}, and a whole number has at most 64 bits: pass it as a str"))
        });
    }
    if obj.is_instance_of::<PyFloat>() {
        let number: f64 = obj.extract()?;
        return Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| refused(py, steps, &format!("is {obj}, which JSON can't hold: pass None, or a str")));
    }
    if steps.len() > DEEPEST {
        return Err(raised(
            py,
            &Error::invalid("payload is nested too deeply: at most 100 levels").with("option", "payload"),
        ));
    }
    if let Ok(members) = obj.cast::<PyDict>() {
        let mut found = Map::with_capacity(members.len());
        for (key, member) in members.iter() {
            if !key.is_instance_of::<PyString>() {
                let kind = type_name(&key);
                return Err(PyTypeError::new_err(format!("{}: keys must be str, not {kind}", place(steps))));
            }
            let key = text(&key)?;
            steps.push(Step::Key(key.clone()));
            found.insert(key, value(&member, steps)?);
            steps.pop();
        }
        return Ok(Value::Object(found));
    }
    if obj.is_instance_of::<PyList>() || obj.is_instance_of::<PyTuple>() {
        let mut found = Vec::with_capacity(obj.len()?);
        for (n, item) in obj.try_iter()?.enumerate() {
            steps.push(Step::Item(n));
            found.push(value(&item?, steps)?);
            steps.pop();
        }
        return Ok(Value::Array(found));
    }
    Err(PyTypeError::new_err(format!(
        "{} is a {}, which JSON can't hold: a payload is made of dict, list, str, int, float, bool and None",
        place(steps),
        type_name(obj)
    )))
}

/// How far a session has come, by its word.
pub(crate) struct Status(pub(crate) SessionStatus);

impl FromPyObject<'_, '_> for Status {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let word = text(&obj)?;
        SessionStatus::deserialize(word.as_str().into_deserializer()).map(Status).map_err(|e: de::value::Error| {
            raised(obj.py(), &wrong("status", &format!("{word:?} is none: {e}")))
        })
    }
}

/// Where a subscription begins: a word, or a place in the order of commits.
pub(crate) enum Replay {
    Word(String),
    After(Whole),
}

impl FromPyObject<'_, '_> for Replay {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if obj.is_instance_of::<PyString>() {
            return text(&obj).map(Replay::Word);
        }
        Whole::extract(obj).map(Replay::After).map_err(|_| wrong_type("latest, none, all or an int", &obj))
    }
}

impl Replay {
    pub(crate) fn read(self) -> Result<portdaddy_core::Replay> {
        match self {
            Replay::After(seq) => Ok(portdaddy_core::Replay::After(whole("replay", Some(seq))?.unwrap_or_default())),
            Replay::Word(word) => match word.as_str() {
                "latest" => Ok(portdaddy_core::Replay::Latest),
                "none" => Ok(portdaddy_core::Replay::None),
                "all" => Ok(portdaddy_core::Replay::All),
                _ => Err(wrong("replay", &format!("must be latest, none, all or a seq, not {word:?}"))),
            },
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
