//! Prints the model as Python: a class for each record that operations give, and one for each error code.

use std::collections::BTreeSet;

use crate::Result;
use crate::model::{Field, Model, Shape, Ty, Type, Word};
use crate::names::Names;
use crate::pytext::{bracketed, docstring, quoted, tuple};

/// Records that give the fields of another which they hold as their own, too.
const FORWARDED: &[(&str, &str)] = &[("Delivery", "message")];

/// Kinds of errors that aren't called as in Rust: Python has a `TimeoutError` of its own.
const ERRORS_RENAMED: &[(&str, &str)] = &[("Timeout", "TimedOut")];

/// Python's own errors that some kinds are as well.
const BUILT_IN: &[(&str, &str)] = &[("Timeout", "TimeoutError"), ("Invalid", "ValueError")];

/// What core's documentation says for those who count milliseconds or know JSON, and what it says in Python, where
/// times are `datetime` and `timedelta`.
const PHRASES: &[(&str, &str)] = &[
    (", in milliseconds since 1970", ""),
    (", in milliseconds that the machine was awake", " while the machine was awake"),
    (", in milliseconds", ""),
    ("this many milliseconds from now", "this long from now"),
    ("; null where", "; `None` where"),
];

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

const TYPES_HEAD: &str = r#"# Generated from the sources of portdaddy-core by `make types`. Don't edit.
"""What operations give: immutable records, and the words in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from ._record import Record

# Whatever JSON can hold. Not every checker knows aliases that name themselves.
Json = Any
"#;

const ERRORS_HEAD: &str = r#"# Generated from the sources of portdaddy-core by `make types`. Don't edit.
"""Why operations fail: a class for each error code."""

from __future__ import annotations

from typing import ClassVar, get_args

from ._error import PortDaddyError
from ._types import ErrorCode
"#;

/// The records and words.
pub(crate) fn types(model: &Model) -> Result<String> {
    let names = names(model);
    let mut out = TYPES_HEAD.to_owned();
    let mut all = vec!["Json".to_owned(), "ErrorCode".to_owned()];
    out.push_str(&alias("ErrorCode", "Why an operation failed: the code of an error.", &model.codes, &names)?);
    for t in &model.types {
        match &t.shape {
            Shape::Result(fields) => out.push_str(&record(t, fields, model, &names)?),
            Shape::Words(words) => out.push_str(&alias(&t.name, &t.docs, words, &names)?),
            // Options are given by keyword; events are told apart by what calls with them.
            Shape::Options(_) | Shape::Tagged { .. } => continue,
        }
        all.push(t.name.clone());
    }
    let all: Vec<String> = all.iter().map(|name| quoted(name)).collect();
    Ok(out + "\n\n" + &bracketed("__all__ = [", &all, "]"))
}

/// The classes of errors.
pub(crate) fn errors(model: &Model) -> Result<String> {
    let names = names(model);
    let mut out = ERRORS_HEAD.to_owned();
    let mut by_code = Vec::new();
    let mut all = Vec::new();
    for kind in &model.codes {
        let name = find(ERRORS_RENAMED, &kind.rust).unwrap_or(&kind.rust).to_owned() + "Error";
        let built_in = find(BUILT_IN, &kind.rust).map(|base| format!(", {base}")).unwrap_or_default();
        let docs = docstring("    ", &text(&names, &kind.docs)?);
        let code = quoted(&kind.name);
        out.push_str(&format!("\n\nclass {name}(PortDaddyError{built_in}):\n{docs}\n"));
        out.push_str(&format!("    code: ClassVar[ErrorCode] = {code}\n"));
        by_code.push(format!("{code}: {name}"));
        all.push(quoted(&name));
    }
    out.push_str("\n\nERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)\n\"\"\"Every error code.\"\"\"\n\n");
    out.push_str(&bracketed("BY_CODE: dict[str, type[PortDaddyError]] = {", &by_code, "}"));
    out.push_str("\"\"\"The class of each error code.\"\"\"\n\n");
    all.extend([quoted("BY_CODE"), quoted("ERROR_CODES")]);
    Ok(out + &bracketed("__all__ = [", &all, "]"))
}

/// What the names in Rust's documentation are called in Python.
pub(crate) fn names(model: &Model) -> Names {
    Names::of(model, str::to_owned, attribute)
}

/// Documentation for Python's reader.
pub(crate) fn text(names: &Names, docs: &str) -> Result<String> {
    let said = PHRASES.iter().fold(names.text(docs), |said, (from, to)| said.replace(from, to));
    if said.contains("millisecond") { Err(format!("what is this in Python: {said}")) } else { Ok(said) }
}

/// The attribute of a record: its name has no unit, and is no keyword.
fn attribute(field: &Field) -> String {
    let name = field.name.strip_suffix("_ms").unwrap_or(&field.name);
    if KEYWORDS.contains(&name) { format!("{name}_") } else { name.to_owned() }
}

fn alias(name: &str, docs: &str, words: &[Word], names: &Names) -> Result<String> {
    let values: Vec<String> = words.iter().map(|word| quoted(&word.name)).collect();
    let docs = docstring("", &text(names, &names.words(docs, words))?);
    Ok(format!("\n\n{}{docs}", bracketed(&format!("{name} = Literal["), &values, "]")))
}

fn record(t: &Type, fields: &[Field], model: &Model, names: &Names) -> Result<String> {
    let told = |e: String| format!("{}: {e}", t.name);
    let attributes: Vec<String> = fields.iter().map(attribute).collect();
    if let Some(twice) = twice(&attributes) {
        return Err(told(format!("two fields are called {twice}")));
    }
    let slots: Vec<String> = attributes.iter().map(|name| quoted(name)).collect();
    let mut wire = Vec::new();
    let mut members = String::new();
    for field in fields {
        let told = |e: String| told(format!("{}: {e}", field.rust));
        let (kind, ty) = kind(field).map_err(told)?;
        let name = attribute(field);
        let docs = docstring("    ", &text(names, &field.docs).map_err(told)?);
        wire.push(format!("({}, {}, {})", quoted(&field.name), quoted(&name), quoted(kind)));
        members.push_str(&format!("    {name}: {ty}\n{docs}"));
    }
    if let Some(through) = find(FORWARDED, &t.name) {
        members.push_str(&forwarded(through, fields, model, names).map_err(told)?);
    }
    let docs = docstring("    ", &text(names, &t.docs).map_err(told)?);
    let slots = tuple("    __slots__ = ", &slots);
    let wire = tuple("    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = ", &wire);
    Ok(format!("\n\nclass {}(Record):\n{docs}\n{slots}{wire}\n{members}", t.name))
}

/// Properties that give the fields of the record in the field `through`.
fn forwarded(through: &str, fields: &[Field], model: &Model, names: &Names) -> Result<String> {
    let ty = fields.iter().find(|field| field.name == through).map(|field| &field.ty);
    let Some(Ty::Named(inner)) = ty else { return Err(format!("{through} is no record")) };
    let inner = model.types.iter().filter(|t| t.name == *inner).flat_map(Type::fields);
    let mut out = String::new();
    for field in inner.filter(|field| fields.iter().all(|own| own.name != field.name)) {
        let name = attribute(field);
        let (_, ty) = kind(field)?;
        let docs = docstring("        ", &text(names, &field.docs)?);
        out.push_str(&format!("\n    @property\n    def {name}(self) -> {ty}:\n{docs}"));
        out.push_str(&format!("        return self.{through}.{name}\n"));
    }
    Ok(out)
}

/// How a field comes out of JSON, and its type then.
fn kind(field: &Field) -> Result<(&'static str, String)> {
    if !field.name.ends_with("_ms") {
        // The arrays of somebody's JSON stay lists.
        let kind = if field.ty == Ty::Json { "json" } else { "" };
        return Ok((kind, print_type(&field.ty)));
    }
    let (kind, ty) = match field.docs.as_str() {
        docs if docs.contains("milliseconds since 1970") => ("moment", "datetime"),
        docs if docs.contains("milliseconds") => ("span", "timedelta"),
        _ => return Err("milliseconds, which the documentation doesn't say".to_owned()),
    };
    match &field.ty {
        Ty::Int => Ok((kind, ty.to_owned())),
        Ty::Optional(inner) if **inner == Ty::Int => Ok((kind, format!("{ty} | None"))),
        _ => Err("milliseconds that are no number".to_owned()),
    }
}

fn print_type(ty: &Ty) -> String {
    match ty {
        Ty::Bool => "bool".to_owned(),
        Ty::Int => "int".to_owned(),
        Ty::Text => "str".to_owned(),
        Ty::Json => "Json".to_owned(),
        Ty::Named(name) => name.clone(),
        Ty::Optional(inner) => format!("{} | None", print_type(inner)),
        Ty::List(inner) => format!("tuple[{}, ...]", print_type(inner)),
        Ty::Tuple(items) => format!("tuple[{}]", items.iter().map(print_type).collect::<Vec<_>>().join(", ")),
    }
}

pub(crate) fn find<'t>(table: &[(&str, &'t str)], name: &str) -> Option<&'t str> {
    table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// A name that is there twice.
fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::docs::WIDTH;
    use crate::parse;

    fn field(name: &str, docs: &str, ty: Ty) -> Field {
        Field { name: name.to_owned(), rust: name.to_owned(), docs: docs.to_owned(), required: false, ty }
    }

    fn word(rust: &str, name: &str) -> Word {
        Word { name: name.to_owned(), rust: rust.to_owned(), docs: format!("Like `{rust}`.") }
    }

    fn model(types: Vec<(&str, Shape)>) -> Model {
        let named =
            |(name, shape): (&str, Shape)| Type { name: name.to_owned(), docs: "Of `at_ms`.".to_owned(), shape };
        Model { types: types.into_iter().map(named).collect(), ..Model::default() }
    }

    fn printed(types: Vec<(&str, Shape)>) -> Result<String> {
        let told = super::types(&model(types))?;
        Ok(told[told.find("\"\"\"Why an operation failed").unwrap()..].to_owned())
    }

    #[test]
    fn records_have_typed_attributes_without_units() {
        let list = Ty::List(Box::new(Ty::Optional(Box::new(Ty::Named("Note".to_owned())))));
        let fields = vec![
            field("with", "One.", Ty::Named("Note".to_owned())),
            field("at_ms", "When, in milliseconds since 1970; null where never.", Ty::Optional(Box::new(Ty::Int))),
            field("silent_ms", "How long, in milliseconds that the machine was awake.", Ty::Int),
            field("all", "`at_ms`.", list),
        ];
        let note = vec![field("pair", "Two.", Ty::Tuple(vec![Ty::Text, Ty::Json]))];
        let options = Shape::Options(vec![field("limit", "", Ty::Int)]);
        let told = printed(vec![("T", Shape::Result(fields)), ("Note", Shape::Result(note)), ("O", options)]).unwrap();
        let expected = r#"

class T(Record):
    """Of `at`."""

    __slots__ = ("with_", "at", "silent", "all")
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("with", "with_", ""),
        ("at_ms", "at", "moment"),
        ("silent_ms", "silent", "span"),
        ("all", "all", ""),
    )

    with_: Note
    """One."""
    at: datetime | None
    """When; `None` where never."""
    silent: timedelta
    """How long while the machine was awake."""
    all: tuple[Note | None, ...]
    """`at`."""


class Note(Record):
    """Of `at`."""

    __slots__ = ("pair",)
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = (("pair", "pair", ""),)

    pair: tuple[str, Json]
    """Two."""


__all__ = ["Json", "ErrorCode", "T", "Note"]
"#;
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn words_are_literals() {
        let told = printed(vec![("T", Shape::Words(vec![word("StillOn", "still_on"), word("Done", "done")]))]).unwrap();
        let expected = "T = Literal[\"still_on\", \"done\"]
\"\"\"Of `at_ms`.

- `still_on`: Like `still_on`.
- `done`: Like `done`.
\"\"\"
";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn what_a_delivery_forwards_are_properties() {
        let fields = vec![field("message", "It.", Ty::Named("M".to_owned())), field("seq", "Its own.", Ty::Int)];
        let inner = vec![field("seq", "Its.", Ty::Int), field("at_ms", "When, in milliseconds since 1970.", Ty::Int)];
        let told = printed(vec![("Delivery", Shape::Result(fields)), ("M", Shape::Result(inner))]).unwrap();
        let expected = "    \"\"\"Its own.\"\"\"

    @property
    def at(self) -> datetime:
        \"\"\"When.\"\"\"
        return self.message.at


class M";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn errors_have_python_s_own_as_bases() {
        let codes = vec![word("Timeout", "TIMEOUT"), word("LockHeld", "LOCK_HELD")];
        let model = Model { codes, ..Model::default() };
        let expected = r#"

class TimedOutError(PortDaddyError, TimeoutError):
    """Like `Timeout`."""

    code: ClassVar[ErrorCode] = "TIMEOUT"


class LockHeldError(PortDaddyError):
    """Like `LockHeld`."""

    code: ClassVar[ErrorCode] = "LOCK_HELD"


ERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)
"""Every error code."""

BY_CODE: dict[str, type[PortDaddyError]] = {"TIMEOUT": TimedOutError, "LOCK_HELD": LockHeldError}
"""The class of each error code."""

__all__ = ["TimedOutError", "LockHeldError", "BY_CODE", "ERROR_CODES"]
"#;
        assert_eq!(errors(&model).unwrap(), ERRORS_HEAD.to_owned() + expected);
    }

    #[test]
    fn what_has_no_name_or_unit_is_an_error() {
        for (fields, said) in [
            (vec![field("at", "", Ty::Int), field("at_ms", "", Ty::Int)], "T: two fields are called at"),
            (vec![field("at_ms", "When.", Ty::Int)], "T: at_ms: milliseconds, which the documentation doesn't say"),
            (vec![field("at_ms", ", in milliseconds", Ty::Text)], "T: at_ms: milliseconds that are no number"),
            (vec![field("n", "A millisecond.", Ty::Int)], "T: n: what is this in Python: A millisecond."),
        ] {
            assert_eq!(printed(vec![("T", Shape::Result(fields))]).unwrap_err(), said);
        }
        let lost = printed(vec![("Delivery", Shape::Result(Vec::new()))]).unwrap_err();
        assert_eq!(lost, "Delivery: message is no record");
    }

    #[test]
    fn all_that_operations_give_is_declared_and_documented() {
        let read = || parse::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/src")).unwrap();
        let model = read();
        let (types, errors) = (super::types(&model).unwrap(), errors(&model).unwrap());
        for t in &model.types {
            let head = match &t.shape {
                Shape::Result(_) => format!("\nclass {}(Record):\n    \"\"\"", t.name),
                Shape::Words(_) => format!("\n{} = Literal[", t.name),
                _ => continue,
            };
            assert!(types.contains(&head), "{} is missing", t.name);
        }
        for code in &model.codes {
            assert!(errors.contains(&format!("    code: ClassVar[ErrorCode] = \"{}\"\n", code.name)), "{}", code.name);
        }
        assert!(types.contains("        return self.message.payload\n"));
        for told in [&types, &errors] {
            assert!(told.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{told}");
            assert!(!told.contains("millisecond") && !told.contains("1970"), "{told}");
        }
        assert_eq!(types, super::types(&read()).unwrap());
    }
}
