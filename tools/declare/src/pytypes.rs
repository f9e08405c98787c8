//! Types of the Python binding's Rust sources as Python writes them.

use std::collections::BTreeMap;

use syn::{GenericArgument, PathArguments};

use crate::Result;
use crate::model::{Model, Shape};

/// Where a type stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Argument,
    Result,
    /// In what an operation gives, which nobody can change.
    Reply,
}

/// What the binding's own types of arguments take.
const ARGUMENTS: &[(&str, &str)] = &[
    ("Callback", "Callable[[Any], object]"),
    ("Files", "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"),
    ("Few", "int"),
    ("Names", "str | Sequence[str]"),
    ("PathText", "str | os.PathLike[str]"),
    ("Payload", "Any"),
    ("PortNumber", "int"),
    ("PortRange", "tuple[int, int]"),
    ("Replay", "Literal[\"latest\", \"none\", \"all\"] | int"),
    ("Status", "SessionStatus"),
    ("Text", "str"),
    ("Timeout", "timedelta | float"),
    ("Ttl", "timedelta | float"),
];

/// What is the same everywhere.
const PLAIN: &[(&str, &str)] = &[
    ("Count", "int"),
    ("Json", "Json"),
    ("Moment", "datetime"),
    ("PyAny", "Any"),
    ("PyBytes", "bytes"),
    ("PyDateTime", "datetime"),
    ("PyDelta", "timedelta"),
    ("PyDict", "dict[str, Any]"),
    ("PyList", "list[Any]"),
    ("PyObject", "Any"),
    ("PyString", "str"),
    ("PyTuple", "tuple[Any, ...]"),
    ("Self", "Self"),
    ("String", "str"),
    ("Value", "Json"),
    ("Whole", "int"),
    ("bool", "bool"),
    ("f64", "float"),
    ("i32", "int"),
    ("i64", "int"),
    ("str", "str"),
    ("u16", "int"),
    ("u32", "int"),
    ("u64", "int"),
    ("u8", "int"),
    ("usize", "int"),
];

/// What only Rust's reader needs to know.
const WRAPPERS: &[&str] = &["Borrowed", "Bound", "Py", "PyRef", "PyRefMut", "PyResult", "Result"];

/// The names that the binding's sources may use besides.
pub(crate) struct Known(BTreeMap<String, String>);

impl Known {
    /// The model's records and words, and `classes` of the binding, each with its name in Rust and in Python.
    pub(crate) fn of<'c>(model: &Model, classes: impl Iterator<Item = (&'c str, &'c str)>) -> Result<Known> {
        let given = model.types.iter().filter(|t| matches!(t.shape, Shape::Result(_) | Shape::Words(_)));
        let mut known: BTreeMap<String, String> = given.map(|t| (t.name.clone(), t.name.clone())).collect();
        for (rust, name) in classes {
            if known.insert(rust.to_owned(), name.to_owned()).is_some() {
                return Err(format!("{rust} is a class of the binding and a record"));
            }
        }
        Ok(Known(known))
    }

    pub(crate) fn python(&self, ty: &syn::Type, place: Place) -> Result<String> {
        let (name, inner) = match ty {
            syn::Type::Reference(to) => return self.python(&to.elem, place),
            syn::Type::Paren(inner) => return self.python(&inner.elem, place),
            syn::Type::Tuple(items) if items.elems.is_empty() => return Ok("None".to_owned()),
            syn::Type::Tuple(items) => {
                let items: Vec<String> = items.elems.iter().map(|ty| self.python(ty, place)).collect::<Result<_>>()?;
                return Ok(format!("tuple[{}]", items.join(", ")));
            }
            ty => parts(ty).ok_or("a type in a form that isn't known")?,
        };
        let found =
            |table: &[(&str, &str)]| table.iter().find(|(rust, _)| *rust == name).map(|(_, to)| (*to).to_owned());
        match (name.as_str(), inner) {
            ("Option", Some(inner)) => Ok(format!("{} | None", self.python(inner, place)?)),
            ("Vec", Some(inner)) if place == Place::Reply => Ok(format!("tuple[{}, ...]", self.python(inner, place)?)),
            ("Vec", Some(inner)) => Ok(format!("list[{}]", self.python(inner, place)?)),
            ("Reply", Some(inner)) if place == Place::Result => self.python(inner, Place::Reply),
            (wrapper, Some(inner)) if WRAPPERS.contains(&wrapper) => self.python(inner, place),
            (_, None) => {
                let own = (place == Place::Argument).then(|| found(ARGUMENTS)).flatten();
                let known = own.or_else(|| self.0.get(&name).cloned()).or_else(|| found(PLAIN));
                known.ok_or_else(|| format!("the type {name} isn't known"))
            }
            (_, Some(_)) => Err(format!("the generic type {name} isn't known")),
        }
    }
}

/// Whether this is what an operation gives.
pub(crate) fn is_reply(ty: &syn::Type) -> bool {
    match parts(ty) {
        Some((name, _)) if name == "Reply" => true,
        Some((name, Some(inner))) => WRAPPERS.contains(&name.as_str()) && is_reply(inner),
        _ => false,
    }
}

/// What stands in an `Option`, or the type itself.
pub(crate) fn without_option(ty: &syn::Type) -> &syn::Type {
    match parts(ty) {
        Some((name, Some(inner))) if name == "Option" => inner,
        Some((name, Some(inner))) if WRAPPERS.contains(&name.as_str()) => without_option(inner),
        _ => ty,
    }
}

/// The last name of a path, and the first type among its arguments.
fn parts(ty: &syn::Type) -> Option<(String, Option<&syn::Type>)> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(generic) => generic.args.iter().find_map(|argument| match argument {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        }),
        _ => None,
    };
    Some((last.ident.to_string(), inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Type;

    fn known() -> Known {
        let mut model = Model::default();
        for (name, shape) in [("Note", Shape::Result(Vec::new())), ("NoteFilter", Shape::Options(Vec::new()))] {
            model.types.push(Type { name: name.to_owned(), docs: String::new(), shape });
        }
        model.types.push(Type { name: "Status".to_owned(), docs: String::new(), shape: Shape::Result(Vec::new()) });
        Known::of(&model, [("LockHandle", "Lock")].into_iter()).unwrap()
    }

    fn python(ty: &str, place: Place) -> Result<String> {
        known().python(&syn::parse_str(ty).unwrap(), place)
    }

    #[test]
    fn types_are_written_as_in_python() {
        for (ty, place, expected) in [
            ("Option<&'a str>", Place::Argument, "str | None"),
            ("Option<Names>", Place::Argument, "str | Sequence[str] | None"),
            ("Vec<(u16, f64)>", Place::Argument, "list[tuple[int, float]]"),
            ("Status", Place::Argument, "SessionStatus"),
            ("PyResult<Reply<'py, Status>>", Place::Result, "Status"),
            ("PyResult<Vec<String>>", Place::Result, "list[str]"),
            ("Reply<'py, Option<Vec<Note>>>", Place::Result, "tuple[Note, ...] | None"),
            ("Reply<'py, ()>", Place::Result, "None"),
            ("PyResult<Py<LockHandle>>", Place::Result, "Lock"),
            ("&Bound<'py, PyAny>", Place::Argument, "Any"),
            ("PyRef<'py, Self>", Place::Result, "Self"),
        ] {
            assert_eq!(python(ty, place).unwrap(), expected, "{ty}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (ty, place, said) in [
            ("NoteFilter", Place::Argument, "the type NoteFilter isn't known"),
            ("Names", Place::Result, "the type Names isn't known"),
            ("Reply<Note>", Place::Argument, "the generic type Reply isn't known"),
            ("[u8; 2]", Place::Argument, "a type in a form that isn't known"),
        ] {
            assert_eq!(python(ty, place).unwrap_err(), said, "{ty}");
        }
        let twice = Known::of(&Model::default(), [("A", "A"), ("A", "B")].into_iter()).err().unwrap();
        assert_eq!(twice, "A is a class of the binding and a record");
    }

    #[test]
    fn replies_and_options_are_found_through_what_wraps_them() {
        let ty = |text| syn::parse_str::<syn::Type>(text).unwrap();
        assert!(is_reply(&ty("PyResult<Reply<'py, Note>>")) && !is_reply(&ty("Option<Note>")));
        assert_eq!(without_option(&ty("PyResult<Option<Note>>")), &ty("Note"));
        assert_eq!(without_option(&ty("PyResult<Note>")), &ty("Note"));
    }
}
