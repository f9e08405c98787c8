//! Reads what the Python binding's own sources expose: the classes with their methods, and the functions.

use std::path::Path;

use syn::ext::IdentExt;
use syn::{Attribute, Expr, Ident, ImplItem, Item, LitStr, Meta, Token};

use crate::signature::{self, Param, Signature};
use crate::{Result, parse, read};

/// What pyo3 calls only itself.
const HIDDEN: &[&str] = &["__traverse__", "__clear__"];

/// Options of a class that nobody sees who uses it.
const INNER_OPTIONS: &[&str] = &["frozen", "module", "unsendable", "weakref", "dict", "skip_from_py_object"];

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) classes: Vec<Class>,
    pub(crate) functions: Vec<Method>,
}

#[derive(Debug)]
pub(crate) struct Class {
    /// In Rust, and in Python.
    pub(crate) rust: String,
    pub(crate) name: String,
    pub(crate) docs: String,
    /// Whether there may be classes under it.
    pub(crate) is_open: bool,
    /// The class above it, by its name in Rust.
    pub(crate) extends: Option<String>,
    pub(crate) methods: Vec<Method>,
}

#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(crate) file: String,
    pub(crate) name: String,
    /// As written, line by line.
    pub(crate) docs: String,
    pub(crate) kind: Kind,
    pub(crate) params: Vec<Param>,
    pub(crate) result: Option<syn::Type>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    New,
    Method,
    Property,
    ClassMethod,
    /// A function, too.
    Static,
}

/// Reads the crate whose sources are in the directory `src`: its files in the order in which `lib.rs` names them.
pub(crate) fn sources(src: &Path) -> Result<Module> {
    let lib = read(&src.join("lib.rs"))?;
    let mut files = Vec::new();
    for item in syn::parse_file(&lib).map_err(|e| format!("lib.rs: {e}"))?.items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_none() {
            let name = format!("{}.rs", module.ident.unraw());
            let text = read(&src.join(&name))?;
            files.push((name, text));
        }
    }
    files.insert(0, ("lib.rs".to_owned(), lib));
    module(&files)
}

/// Reads files, each given as its name and its text.
pub(crate) fn module(files: &[(String, String)]) -> Result<Module> {
    let mut module = Module::default();
    let mut methods = Vec::new();
    for (file, text) in files {
        for item in syn::parse_file(text).map_err(|e| format!("{file}: {e}"))?.items {
            match item {
                Item::Struct(s) => {
                    let told = |e: String| format!("{file}: {}: {e}", s.ident);
                    if let Some(class) = class(&s.ident, &s.attrs).map_err(told)? {
                        methods.extend(fields(file, &s).map_err(told)?.into_iter().map(|m| (class.rust.clone(), m)));
                        module.classes.push(class);
                    }
                }
                Item::Enum(e) if has(&e.attrs, "pyclass") => {
                    return Err(format!("{file}: {}: classes that are enums aren't known here", e.ident));
                }
                Item::Impl(block) if has(&block.attrs, "pymethods") => {
                    let of = type_name(&block.self_ty).unwrap_or_default();
                    for item in block.items {
                        let ImplItem::Fn(f) = item else {
                            return Err(format!("{file}: {of}: something that is no method"));
                        };
                        let method = method(file, &f.attrs, &f.sig, Kind::Method)
                            .map_err(|e| format!("{file}: {of}.{}: {e}", f.sig.ident))?;
                        methods.push((of.clone(), method));
                    }
                }
                Item::Fn(f) if has(&f.attrs, "pyfunction") => {
                    let told = |e| format!("{file}: {}: {e}", f.sig.ident);
                    module.functions.push(method(file, &f.attrs, &f.sig, Kind::Static).map_err(told)?);
                }
                _ => {}
            }
        }
    }
    for (of, method) in methods.into_iter().filter(|(_, method)| !HIDDEN.contains(&method.name.as_str())) {
        let class = module.classes.iter_mut().find(|class| class.rust == of);
        class.ok_or_else(|| format!("{}: {of} is no class", method.file))?.methods.push(method);
    }
    Ok(module)
}

fn has(attrs: &[Attribute], name: &str) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident(name))
}

/// The last name in a type's path.
pub(crate) fn type_name(ty: &syn::Type) -> Option<String> {
    match ty {
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        syn::Type::Reference(to) => type_name(&to.elem),
        _ => None,
    }
}

/// A struct as a class, if it is one.
fn class(name: &Ident, attrs: &[Attribute]) -> Result<Option<Class>> {
    let Some(attr) = attrs.iter().find(|attr| attr.path().is_ident("pyclass")) else { return Ok(None) };
    let rust = name.to_string();
    let docs = written(attrs);
    let mut class = Class { name: rust.clone(), rust, docs, is_open: false, extends: None, methods: Vec::new() };
    if matches!(attr.meta, Meta::Path(_)) {
        return Ok(Some(class));
    }
    let read = attr.parse_nested_meta(|meta| {
        let option = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        match option.as_str() {
            "subclass" => class.is_open = true,
            "extends" => class.extends = Some(meta.value()?.parse::<Ident>()?.to_string()),
            "name" => class.name = meta.value()?.parse::<LitStr>()?.value(),
            inner if !INNER_OPTIONS.contains(&inner) => {
                return Err(meta.error(format!("the pyclass option {inner} isn't known here")));
            }
            _ if meta.input.peek(Token![=]) => drop(meta.value()?.parse::<Expr>()?),
            _ => {}
        }
        Ok(())
    });
    read.map_err(|e| e.to_string())?;
    Ok(Some(class))
}

/// The fields of a class that are there in Python, as properties.
fn fields(file: &str, of: &syn::ItemStruct) -> Result<Vec<Method>> {
    let mut found = Vec::new();
    for field in of.fields.iter().filter(|field| has(&field.attrs, "pyo3")) {
        let name = field.ident.as_ref().ok_or("fields without names")?.unraw().to_string();
        let mut method = Method {
            file: file.to_owned(),
            docs: written(&field.attrs),
            kind: Kind::Property,
            params: Vec::new(),
            result: Some(field.ty.clone()),
            name,
        };
        for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("pyo3")) {
            let read = attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    method.name = meta.value()?.parse::<LitStr>()?.value();
                } else if !meta.path.is_ident("get") {
                    return Err(meta.error("an option of a field that isn't known here"));
                }
                Ok(())
            });
            read.map_err(|e| e.to_string())?;
        }
        found.push(method);
    }
    Ok(found)
}

fn method(file: &str, attrs: &[Attribute], sig: &syn::Signature, kind: Kind) -> Result<Method> {
    let mut method = Method {
        file: file.to_owned(),
        name: sig.ident.unraw().to_string(),
        docs: written(attrs),
        kind,
        params: Vec::new(),
        result: match &sig.output {
            syn::ReturnType::Default => None,
            syn::ReturnType::Type(_, ty) => Some((**ty).clone()),
        },
    };
    let mut signature = None;
    for attr in attrs {
        let name = attr.path().get_ident().map(Ident::to_string).unwrap_or_default();
        match name.as_str() {
            "new" => (method.kind, method.name) = (Kind::New, "__new__".to_owned()),
            "getter" => {
                method.kind = Kind::Property;
                method.name = method.name.trim_start_matches("get_").to_owned();
                if let Meta::List(_) = attr.meta {
                    method.name = attr.parse_args::<Ident>().map_err(|e| e.to_string())?.unraw().to_string();
                }
            }
            "staticmethod" => method.kind = Kind::Static,
            "classmethod" => method.kind = Kind::ClassMethod,
            "setter" | "deleter" | "classattr" => return Err(format!("the attribute {name} isn't known here")),
            "pyo3" => {
                let read = attr.parse_nested_meta(|meta| {
                    let option = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
                    match option.as_str() {
                        "name" => method.name = meta.value()?.parse::<LitStr>()?.value(),
                        "text_signature" => drop(meta.value()?.parse::<Expr>()?),
                        "signature" => {
                            let inside;
                            let value = meta.value()?;
                            syn::parenthesized!(inside in value);
                            signature = Some(inside.parse::<Signature>()?);
                        }
                        _ => return Err(meta.error(format!("the pyo3 option {option} isn't known here"))),
                    }
                    Ok(())
                });
                read.map_err(|e| e.to_string())?;
            }
            _ => {}
        }
    }
    // The instance, or the class: `self`, or the first parameter, whatever it is called.
    let has_owner = !matches!(method.kind, Kind::New | Kind::Static);
    method.params = signature::params(sig, has_owner, signature)?;
    Ok(method)
}

/// Doc comments as they stand.
fn written(attrs: &[Attribute]) -> String {
    let lines = parse::doc_lines(attrs);
    let lines: Vec<&str> = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Module> {
        module(&[("a.rs".to_owned(), text.to_owned())])
    }

    fn in_class(method: &str) -> Result<Method> {
        let mut module = parsed(&format!("#[pyclass] struct C; #[pymethods] impl C {{ {method} }}"))?;
        Ok(module.classes.remove(0).methods.remove(0))
    }

    /// The parameters as they stand in Python, without their types.
    fn shown(method: &Method) -> String {
        let show = |param: &Param| match param {
            Param::Mark(mark) => (*mark).to_owned(),
            Param::Rest(name) => name.clone(),
            Param::Named { name, default, .. } => {
                default.as_ref().map_or_else(|| name.clone(), |default| format!("{name}={default}"))
            }
        };
        method.params.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn classes_gather_their_methods_from_every_file() {
        let files = [
            ("a.rs", "#[pymethods] impl Client { fn a(&self) {} } impl Client { fn inner(&self) {} }"),
            (
                "b.rs",
                "/// One.\n///\n///   Two.\n#[pyclass(subclass, frozen, module = \"m\")] struct Client;
                #[pyclass(extends = Client, name = \"Later\")] struct Async { #[pyo3(get)] n: u8, m: u8 }
                #[pymethods] impl Client { fn b(&self) {} fn __clear__(&self) {} }
                #[pyfunction] fn look() {} fn other() {} struct Other;",
            ),
        ];
        let module = module(&files.map(|(file, text)| (file.to_owned(), text.to_owned()))).unwrap();
        let [client, later] = &module.classes[..] else { panic!("{module:?}") };
        assert_eq!((client.docs.as_str(), client.is_open, client.name.as_str()), ("One.\n\n  Two.", true, "Client"));
        assert_eq!(client.methods.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((later.rust.as_str(), later.name.as_str(), later.is_open), ("Async", "Later", false));
        assert_eq!((later.extends.as_deref(), later.methods[0].kind), (Some("Client"), Kind::Property));
        assert_eq!(module.functions.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["look"]);
    }

    #[test]
    fn methods_are_called_as_their_attributes_say() {
        for (text, name, kind, params) in [
            ("fn a(&self, py: Python<'_>, b: u8, c: u8) {}", "a", Kind::Method, "b, c"),
            ("fn a<'py>(slf: Bound<'py, Self>, b: u8) {}", "a", Kind::Method, "b"),
            (
                "#[new] #[pyo3(signature = (a, /, *, r#type=None))] fn n(a: u8, r#type: u8) {}",
                "__new__",
                Kind::New,
                "a, /, *, type=None",
            ),
            ("#[getter] fn get_agent_id(&self) -> u8 {}", "agent_id", Kind::Property, ""),
            ("#[getter(b)] fn a(slf: PyRef<'_, Self>) -> u8 {}", "b", Kind::Property, ""),
            ("#[staticmethod] fn a(b: u8) {}", "a", Kind::Static, "b"),
            ("#[classmethod] fn a(cls: &Bound<'_, PyType>, b: u8) {}", "a", Kind::ClassMethod, "b"),
            (
                "#[pyo3(name = \"with\", signature = (*a, **b))] fn c(&self, a: u8, b: u8) {}",
                "with",
                Kind::Method,
                "*a, **b",
            ),
            (
                "#[pyo3(signature = (a=false, b=-1, c=\"\\\"\", d=0.5))] fn a(&self, a: A, b: B, c: C, d: D) {}",
                "a",
                Kind::Method,
                "a=False, b=-1, c=\"\\\"\", d=0.5",
            ),
        ] {
            let method = in_class(text).unwrap();
            assert_eq!((method.name.as_str(), method.kind, shown(&method).as_str()), (name, kind, params), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (text, said) in [
            ("#[pyo3(signature = (b))] fn a(&self) {}", "its signature names b, which isn't among its parameters"),
            ("#[pyo3(signature = ())] fn a(&self, b: u8) {}", "its signature doesn't name every parameter"),
            ("#[pyo3(signature = (b=B))] fn a(&self, b: u8) {}", "a default that isn't known"),
            ("#[pyo3(pass_module)] fn a(&self) {}", "the pyo3 option pass_module isn't known here"),
            ("#[setter] fn a(&self, b: u8) {}", "the attribute setter isn't known here"),
            ("fn a(&self, _: u8) {}", "a parameter without a name"),
        ] {
            assert_eq!(in_class(text).unwrap_err(), format!("a.rs: C.a: {said}"), "{text}");
        }
        for (text, said) in [
            ("#[pyclass(eq)] struct C;", "a.rs: C: the pyclass option eq isn't known here"),
            ("#[pyclass] struct C { #[pyo3(set)] a: u8 }", "a.rs: C: an option of a field that isn't known here"),
            ("#[pyclass] enum C { A }", "a.rs: C: classes that are enums aren't known here"),
            ("#[pymethods] impl C { const A: u8 = 1; }", "a.rs: C: something that is no method"),
            ("#[pymethods] impl C { fn a(&self) {} }", "a.rs: C is no class"),
        ] {
            assert_eq!(parsed(text).unwrap_err(), said, "{text}");
        }
    }
}
