//! Prints the stub of the Python binding's native module from the binding's own sources.

use std::collections::BTreeSet;

use crate::Result;
use crate::docs::WIDTH;
use crate::model::Model;
use crate::pymethods::{Class, Kind, Method, Module};
use crate::pytext::{bracketed, quoted, written_docstring};
use crate::pytypes::{self, Known, Place};
use crate::signature::Param;

const HEAD: &str = r#"# Generated from the sources of the binding by `make types`. Don't edit.
"""What is written in Rust."""

"#;

/// Where names come from that aren't the model's.
const IMPORTS: &[(&str, &[&str])] = &[
    ("collections.abc", &["Callable", "Coroutine", "Sequence"]),
    ("datetime", &["datetime", "timedelta"]),
    ("typing", &["Any", "Literal", "final"]),
];

/// What checkers know where Python's own typing doesn't yet.
const EXTENSIONS: &[&str] = &["Self", "disjoint_base"];

/// An asynchronous class gives a coroutine where another gives a result, and has all that the class above it has. What it
/// opens is asynchronous, too.
const ASYNCHRONOUS: &str = "Async";

pub(crate) fn print(module: &Module, model: &Model) -> Result<String> {
    let classes = module.classes.iter().map(|class| (class.rust.as_str(), class.name.as_str()));
    let names = module.classes.iter().map(|class| class.name.clone());
    let mut printer = Printer { known: Known::of(model, classes)?, classes: names.collect(), used: BTreeSet::new() };
    let mut body = String::new();
    let mut all = Vec::new();
    for class in &module.classes {
        body.push_str(&printer.class(class, module)?);
        all.push(quoted(&class.name));
    }
    for function in &module.functions {
        body.push('\n');
        body.push_str(&printer.method(function, "", false).map_err(|e| told(function, &function.name, &e))?);
        all.push(quoted(&function.name));
    }
    // Modules in Rust have one, which checkers compare.
    let all = bracketed("__all__ = [", &all, "]");
    Ok(HEAD.to_owned() + &imports(&printer.used, model) + "\n" + &all + &body)
}

fn told(method: &Method, name: &str, e: &str) -> String {
    format!("{}: {name}: {e}", method.file)
}

/// Imports what is `used`.
fn imports(used: &BTreeSet<String>, model: &Model) -> String {
    let mut out = String::new();
    if used.contains("os") {
        out.push_str("import os\n");
    }
    for (module, names) in IMPORTS {
        let names: Vec<&str> = names.iter().copied().filter(|name| used.contains(*name)).collect();
        if !names.is_empty() {
            out.push_str(&format!("from {module} import {}\n", names.join(", ")));
        }
    }
    let extensions: Vec<&str> = EXTENSIONS.iter().copied().filter(|name| used.contains(*name)).collect();
    if !extensions.is_empty() {
        out.push_str(&format!("\nfrom typing_extensions import {}\n", extensions.join(", ")));
    }
    let is_ours = |name: &str| name == "Json" || model.types.iter().any(|t| t.name == name);
    let ours: Vec<String> = used.iter().filter(|name| is_ours(name)).cloned().collect();
    if ours.is_empty() {
        return out;
    }
    let line = format!("from ._types import {}\n", ours.join(", "));
    let lines = if line.len() <= WIDTH { line } else { bracketed("from ._types import (", &ours, ")") };
    out + "\n" + &lines
}

struct Printer {
    known: Known,
    /// The names of the module's own classes.
    classes: BTreeSet<String>,
    /// The names in all types printed so far.
    used: BTreeSet<String>,
}

impl Printer {
    fn class(&mut self, class: &Class, module: &Module) -> Result<String> {
        let is_async = class.rust.starts_with(ASYNCHRONOUS);
        let above = class.extends.as_ref().and_then(|above| module.classes.iter().find(|c| c.rust == *above));
        let mut out = String::from("\n");
        // An open class with fields in Rust can't be a base beside another of that kind.
        let decorator = if class.is_open { "disjoint_base" } else { "final" };
        if !class.is_open || class.extends.is_none() {
            out.push_str(&format!("@{}\n", self.using(decorator)));
        }
        let base = above.filter(|_| !is_async).map(|above| format!("({})", above.name)).unwrap_or_default();
        out.push_str(&format!("class {}{base}:\n{}", class.name, written_docstring("    ", &class.docs)));
        // What the class above has would differ in what it gives: it is told anew.
        let own = |name: &str| class.methods.iter().any(|method| method.name == name);
        let taken_over = above.filter(|_| is_async).map_or(&[][..], |above| &above.methods[..]);
        let methods = class.methods.iter().chain(taken_over.iter().filter(|method| !own(&method.name)));
        let mut is_empty = class.docs.is_empty();
        let mut is_apart = !is_empty;
        for method in methods {
            let name = format!("{}.{}", class.name, method.name);
            let method = self.method(method, "    ", is_async).map_err(|e| told(method, &name, &e))?;
            // What has a docstring stands apart from what follows.
            out.push_str(if is_apart { "\n" } else { "" });
            is_apart = !method.ends_with(": ...\n");
            is_empty = false;
            out.push_str(&method);
        }
        if is_empty {
            out.push_str("    ...\n");
        }
        Ok(out)
    }

    fn method(&mut self, method: &Method, indent: &str, is_async: bool) -> Result<String> {
        let (decorator, owner) = match method.kind {
            Kind::New => ("", Some("cls")),
            Kind::Method => ("", Some("self")),
            Kind::Property => ("@property", Some("self")),
            Kind::ClassMethod => ("@classmethod", Some("cls")),
            Kind::Static if indent.is_empty() => ("", None),
            Kind::Static => ("@staticmethod", None),
        };
        let mut params: Vec<String> = owner.map(str::to_owned).into_iter().collect();
        for param in &method.params {
            params.push(self.param(param)?);
        }
        let result = self.result(method, is_async)?;
        let mut out = if decorator.is_empty() { String::new() } else { format!("{indent}{decorator}\n") };
        let docs = written_docstring(&format!("{indent}    "), &method.docs);
        let end = if docs.is_empty() { ": ..." } else { ":" };
        out.push_str(&bracketed(&format!("{indent}def {}(", method.name), &params, &format!(") -> {result}{end}")));
        Ok(out + &docs)
    }

    fn param(&mut self, param: &Param) -> Result<String> {
        match param {
            Param::Mark(mark) => Ok((*mark).to_owned()),
            Param::Rest(name) => Ok(format!("{name}: {}", self.using("Any"))),
            Param::Named { name, ty, default } => {
                let ty = self.known.python(ty, Place::Argument)?;
                let default = default.as_ref().map(|default| format!(" = {default}")).unwrap_or_default();
                Ok(format!("{name}: {}{default}", self.using(&ty)))
            }
        }
    }

    fn result(&mut self, method: &Method, is_async: bool) -> Result<String> {
        let Some(ty) = &method.result else { return Ok("None".to_owned()) };
        if method.kind == Kind::New {
            return Ok(self.using("Self").to_owned());
        }
        // Nothing ends an iteration.
        let is_next = matches!(method.name.as_str(), "__next__" | "__anext__");
        let printed = self.known.python(if is_next { pytypes::without_option(ty) } else { ty }, Place::Result)?;
        self.using(&printed);
        if is_async && pytypes::is_reply(ty) {
            let of_its_kind = format!("{ASYNCHRONOUS}{printed}");
            let printed = if self.classes.contains(&of_its_kind) { of_its_kind } else { printed };
            return Ok(self.using(&format!("Coroutine[Any, Any, {printed}]")).to_owned());
        }
        Ok(printed)
    }

    /// A type that is printed.
    fn using<'t>(&mut self, ty: &'t str) -> &'t str {
        let names = ty.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty());
        self.used.extend(names.map(str::to_owned));
        ty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Shape, Type};
    use crate::pymethods;

    fn stub(text: &str) -> Result<String> {
        let mut model = Model::default();
        for name in ["Note", "NoteList"] {
            model.types.push(Type { name: name.to_owned(), docs: String::new(), shape: Shape::Result(Vec::new()) });
        }
        print(&pymethods::module(&[("notes.rs".to_owned(), text.to_owned())])?, &model)
    }

    const SOURCE: &str = r#"
        /// A client of the shared database.
        #[pyclass(subclass, frozen, module = "port_daddy._native")]
        pub(crate) struct Client { inner: Coordinator }

        #[pymethods]
        impl Client {
            #[new]
            #[pyo3(signature = (db=None))]
            fn new(db: Option<PathText>) -> PyResult<Self> {}

            /// Reads the journal.
            ///
            /// Raises `InvalidError`.
            #[pyo3(signature = (*, limit=None, session=None, r#type="note", since=None, all=false, after_seq=None))]
            fn notes<'py>(&self, py: Python<'py>, limit: Option<Count>, session: Option<String>, r#type: String,
                since: Option<Moment>, all: bool, after_seq: Option<Whole>) -> Reply<'py, NoteList> {}

            /// Its id.
            #[getter]
            fn agent_id(&self) -> Option<String> {}
        }

        #[pyclass(extends = Client, frozen)]
        struct AsyncClient {}

        #[pymethods]
        impl AsyncClient {
            #[new]
            fn new() -> (Self, Client) {}
        }

        #[pyclass]
        struct Stream {}

        #[pymethods]
        impl Stream {
            fn __next__(&self) -> PyResult<Option<Note>> {}
        }

        #[pyfunction]
        fn version() -> &'static str {}
    "#;

    #[test]
    fn a_module_is_printed_with_an_asynchronous_twin() {
        let expected = r#"# Generated from the sources of the binding by `make types`. Don't edit.
"""What is written in Rust."""

import os
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, final

from typing_extensions import Self, disjoint_base

from ._types import Note, NoteList

__all__ = ["Client", "AsyncClient", "Stream", "version"]

@disjoint_base
class Client:
    """A client of the shared database."""

    def __new__(cls, db: str | os.PathLike[str] | None = None) -> Self: ...
    def notes(
        self,
        *,
        limit: int | None = None,
        session: str | None = None,
        type: str = "note",
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> NoteList:
        """Reads the journal.

        Raises `InvalidError`.
        """

    @property
    def agent_id(self) -> str | None:
        """Its id."""

@final
class AsyncClient:
    def __new__(cls) -> Self: ...
    def notes(
        self,
        *,
        limit: int | None = None,
        session: str | None = None,
        type: str = "note",
        since: datetime | None = None,
        all: bool = False,
        after_seq: int | None = None,
    ) -> Coroutine[Any, Any, NoteList]:
        """Reads the journal.

        Raises `InvalidError`.
        """

    @property
    def agent_id(self) -> str | None:
        """Its id."""

@final
class Stream:
    def __next__(self) -> Note: ...

def version() -> str: ...
"#;
        assert_eq!(stub(SOURCE).unwrap(), expected);
    }

    #[test]
    fn other_classes_stand_under_what_they_extend() {
        let text = "#[pyclass(subclass)] struct A; #[pyclass(subclass, extends = A)] struct B;";
        assert!(stub(text).unwrap().ends_with("\nclass A:\n    ...\n\nclass B(A):\n    ...\n"));
    }

    #[test]
    fn a_type_that_is_not_known_is_named_with_its_place() {
        let text = "#[pyclass] struct C; #[pymethods] impl C { fn a(&self, b: Strange) {} }";
        assert_eq!(stub(text).unwrap_err(), "notes.rs: C.a: the type Strange isn't known");
        let text = "#[pyfunction] fn f() -> Strange {}";
        assert_eq!(stub(text).unwrap_err(), "notes.rs: f: the type Strange isn't known");
    }
}
