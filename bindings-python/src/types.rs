//! How results become Python's: a struct becomes an instance of the class of its name in `_types.py`, which says by
//! `_wire` what each field is called there. A field that `_wire` doesn't name is a failure, so none is left out silently.

use std::collections::HashMap;
use std::fmt;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use serde::ser::{self, Serialize, Serializer};
use serde_json::Value;

use crate::error::raised;

/// What a field holds besides what its JSON says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Milliseconds since 1970: an aware datetime.
    Moment,
    /// Milliseconds: a timedelta.
    Span,
    /// Somebody's JSON: its arrays are lists.
    Json,
}

struct Field {
    name: String,
    attribute: Py<PyString>,
    kind: Kind,
}

struct Class {
    class: Py<PyType>,
    fields: Vec<Field>,
}

/// The classes, by the name of the struct.
struct Classes {
    by_name: HashMap<String, Class>,
    /// `datetime.fromtimestamp`, `datetime.timezone.utc` and `datetime.timedelta`.
    from_timestamp: Py<PyAny>,
    utc: Py<PyAny>,
    timedelta: Py<PyAny>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&Classes> {
    CLASSES.get_or_try_init(py, || {
        let record = py.import(intern!(py, "port_daddy._record"))?.getattr("Record")?;
        let mut by_name = HashMap::new();
        for (name, class) in py.import(intern!(py, "port_daddy._types"))?.dict().iter() {
            let Ok(class) = class.cast_into::<PyType>() else { continue };
            if class.is(&record) || !class.is_subclass(&record)? {
                continue;
            }
            let wire: Vec<(String, Bound<'_, PyString>, String)> = class.getattr("_wire")?.extract()?;
            let field = |(name, attribute, kind): (String, Bound<'_, PyString>, String)| {
                let kind = match kind.as_str() {
                    "" => Kind::Plain,
                    "moment" => Kind::Moment,
                    "span" => Kind::Span,
                    "json" => Kind::Json,
                    _ => return Err(Failure(format!("{name} is of no known kind: {kind}")).into()),
                };
                Ok(Field { name, attribute: attribute.unbind(), kind })
            };
            let fields = wire.into_iter().map(field).collect::<PyResult<_>>()?;
            by_name.insert(name.extract()?, Class { class: class.unbind(), fields });
        }
        let module = py.import(intern!(py, "datetime"))?;
        Ok(Classes {
            by_name,
            from_timestamp: module.getattr("datetime")?.getattr("fromtimestamp")?.unbind(),
            utc: module.getattr("timezone")?.getattr("utc")?.unbind(),
            timedelta: module.getattr("timedelta")?.unbind(),
        })
    })
}

/// A result as Python has it.
pub(crate) fn to_python<'py, T: Serialize + ?Sized>(py: Python<'py>, value: &T) -> PyResult<Bound<'py, PyAny>> {
    let classes = classes(py)?;
    value.serialize(ToPython { py, classes, kind: Kind::Plain }).map_err(PyErr::from)
}

/// Somebody's JSON as Python has it.
pub(crate) fn from_value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    let classes = classes(py)?;
    value.serialize(ToPython { py, classes, kind: Kind::Json }).map_err(PyErr::from)
}

/// Somebody's JSON as a result.
pub(crate) struct Json(pub(crate) Value);

/// The name by which the serializer knows it.
const JSON: &str = "port_daddy.Json";

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_newtype_struct(JSON, &self.0)
    }
}

/// Why a result has no form in Python: a defect.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl ser::Error for Failure {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Failure(text.to_string())
    }
}

impl From<PyErr> for Failure {
    fn from(e: PyErr) -> Self {
        Failure(e.to_string())
    }
}

impl From<Failure> for PyErr {
    fn from(Failure(text): Failure) -> Self {
        let error = portdaddy_core::Error::new(portdaddy_core::ErrorKind::Internal, text)
            .hint("this is a bug in port-daddy; please report it");
        Python::attach(|py| raised(py, &error))
    }
}

type Built<'py> = Result<Bound<'py, PyAny>, Failure>;

#[derive(Clone, Copy)]
struct ToPython<'py> {
    py: Python<'py>,
    classes: &'py Classes,
    kind: Kind,
}

impl<'py> ToPython<'py> {
    fn number(self, ms: i64) -> Built<'py> {
        let py = self.py;
        match self.kind {
            Kind::Plain | Kind::Json => Ok(ms.into_pyobject(py).map_err(PyErr::from)?.into_any()),
            Kind::Moment => {
                let seconds = ms as f64 / 1_000.0;
                Ok(self.classes.from_timestamp.bind(py).call1((seconds, self.classes.utc.bind(py)))?)
            }
            Kind::Span => {
                // Days, seconds, microseconds.
                let parts = (0, ms.div_euclid(1_000), ms.rem_euclid(1_000) * 1_000);
                Ok(self.classes.timedelta.bind(py).call1(parts)?)
            }
        }
    }

    fn unknown(self, name: &str) -> Failure {
        Failure(format!("{name} has no form in Python"))
    }
}

impl<'py> Serializer for ToPython<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;
    type SerializeSeq = Items<'py>;
    type SerializeTuple = Items<'py>;
    type SerializeTupleStruct = ser::Impossible<Bound<'py, PyAny>, Failure>;
    type SerializeTupleVariant = ser::Impossible<Bound<'py, PyAny>, Failure>;
    type SerializeMap = Members<'py>;
    type SerializeStruct = Instance<'py>;
    type SerializeStructVariant = ser::Impossible<Bound<'py, PyAny>, Failure>;

    fn serialize_bool(self, v: bool) -> Built<'py> {
        Ok(pyo3::types::PyBool::new(self.py, v).to_owned().into_any())
    }

    fn serialize_i8(self, v: i8) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_i16(self, v: i16) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_i32(self, v: i32) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_i64(self, v: i64) -> Built<'py> {
        self.number(v)
    }

    fn serialize_u8(self, v: u8) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_u16(self, v: u16) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_u32(self, v: u32) -> Built<'py> {
        self.number(v.into())
    }

    fn serialize_u64(self, v: u64) -> Built<'py> {
        Ok(v.into_pyobject(self.py).map_err(PyErr::from)?.into_any())
    }

    fn serialize_f32(self, v: f32) -> Built<'py> {
        self.serialize_f64(v.into())
    }

    fn serialize_f64(self, v: f64) -> Built<'py> {
        Ok(v.into_pyobject(self.py).map_err(PyErr::from)?.into_any())
    }

    fn serialize_char(self, v: char) -> Built<'py> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Built<'py> {
        Ok(PyString::new(self.py, v).into_any())
    }

    fn serialize_bytes(self, _: &[u8]) -> Built<'py> {
        Err(self.unknown("bytes"))
    }

    fn serialize_none(self) -> Built<'py> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Built<'py> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Built<'py> {
        Ok(self.py.None().into_bound(self.py))
    }

    fn serialize_unit_struct(self, name: &'static str) -> Built<'py> {
        Err(self.unknown(name))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, word: &'static str) -> Built<'py> {
        Ok(PyString::intern(self.py, word).into_any())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Built<'py> {
        let kind = if name == JSON { Kind::Json } else { self.kind };
        value.serialize(ToPython { kind, ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Built<'py> {
        Err(self.unknown(name))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'py>, Failure> {
        Ok(Items { within: self, items: Vec::with_capacity(len.unwrap_or_default()) })
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'py>, Failure> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Failure> {
        Err(self.unknown(name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failure> {
        Err(self.unknown(name))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'py>, Failure> {
        Ok(Members { within: self, dict: PyDict::new(self.py), key: None })
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Instance<'py>, Failure> {
        let class = self.classes.by_name.get(name).ok_or_else(|| self.unknown(name))?;
        // SAFETY: the class is a type without arguments of its own to `__new__`; a null result is an exception, which
        // `from_owned_ptr_or_err` takes.
        let instance = unsafe {
            let new = ffi::PyType_GenericNew(
                class.class.bind(self.py).as_type_ptr(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            Bound::from_owned_ptr_or_err(self.py, new)?
        };
        Ok(Instance { within: self, name, instance, fields: class.fields.iter() })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failure> {
        Err(self.unknown(name))
    }
}

/// A list of somebody's JSON, or a tuple of a result's.
struct Items<'py> {
    within: ToPython<'py>,
    items: Vec<Bound<'py, PyAny>>,
}

impl<'py> ser::SerializeSeq for Items<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.items.push(value.serialize(self.within)?);
        Ok(())
    }

    fn end(self) -> Built<'py> {
        let py = self.within.py;
        Ok(match self.within.kind {
            Kind::Json => PyList::new(py, self.items)?.into_any(),
            _ => PyTuple::new(py, self.items)?.into_any(),
        })
    }
}

impl<'py> ser::SerializeTuple for Items<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Built<'py> {
        ser::SerializeSeq::end(self)
    }
}

/// A dict.
struct Members<'py> {
    within: ToPython<'py>,
    dict: Bound<'py, PyDict>,
    key: Option<Bound<'py, PyAny>>,
}

impl<'py> ser::SerializeMap for Members<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        self.key = Some(key.serialize(self.within)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let key = self.key.take().ok_or_else(|| Failure("a value without a key".to_owned()))?;
        Ok(self.dict.set_item(key, value.serialize(self.within)?)?)
    }

    fn end(self) -> Built<'py> {
        Ok(self.dict.into_any())
    }
}

/// An instance of a class of `_types.py`, field by field.
struct Instance<'py> {
    within: ToPython<'py>,
    name: &'static str,
    instance: Bound<'py, PyAny>,
    fields: std::slice::Iter<'py, Field>,
}

impl<'py> ser::SerializeStruct for Instance<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Failure> {
        let py = self.within.py;
        let Some(field) = self.fields.next().filter(|field| field.name == name) else {
            return Err(Failure(format!("the field {}.{name} has no name in Python: run make types", self.name)));
        };
        let value = value.serialize(ToPython { kind: field.kind, ..self.within })?;
        // SAFETY: sets a slot of an instance that nobody else has yet, past the class's `__setattr__`, which refuses.
        let failed = unsafe {
            ffi::PyObject_GenericSetAttr(self.instance.as_ptr(), field.attribute.as_ptr(), value.as_ptr()) != 0
        };
        if failed { Err(PyErr::fetch(py).into()) } else { Ok(()) }
    }

    fn end(mut self) -> Built<'py> {
        match self.fields.next() {
            None => Ok(self.instance),
            Some(field) => Err(Failure(format!("the field {}.{} is missing: run make types", self.name, field.name))),
        }
    }
}
