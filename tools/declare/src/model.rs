//! What core's sources say, without Rust: types, codes and methods with their documentation.

use std::collections::BTreeMap;

/// All that a binding declares.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// In the order in which `lib.rs` names them.
    pub(crate) types: Vec<Type>,
    /// The codes of errors.
    pub(crate) codes: Vec<Word>,
    /// The documentation of public methods by `Type::method`, and of exported functions by name.
    pub(crate) methods: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) shape: Shape,
}

#[derive(Debug)]
pub(crate) enum Shape {
    /// What an operation gives: every field is there.
    Result(Vec<Field>),
    /// What an operation takes: what isn't required may be left out.
    Options(Vec<Field>),
    /// One of some words.
    Words(Vec<Word>),
    /// One of some objects, told apart by the member `tag`; what each carries is in the member `content`.
    Tagged { tag: String, content: String, cases: Vec<(Word, Ty)> },
}

#[derive(Debug)]
pub(crate) struct Field {
    /// As in JSON, in snake_case, and as in Rust.
    pub(crate) name: String,
    pub(crate) rust: String,
    pub(crate) docs: String,
    pub(crate) ty: Ty,
    /// Whether an option has to be given.
    pub(crate) required: bool,
}

#[derive(Debug)]
pub(crate) struct Word {
    /// As in JSON, and as in Rust.
    pub(crate) name: String,
    pub(crate) rust: String,
    pub(crate) docs: String,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Ty {
    Bool,
    Int,
    Text,
    Json,
    Optional(Box<Ty>),
    List(Box<Ty>),
    Tuple(Vec<Ty>),
    Named(String),
}

impl Type {
    pub(crate) fn fields(&self) -> &[Field] {
        match &self.shape {
            Shape::Result(fields) | Shape::Options(fields) => fields,
            Shape::Words(_) | Shape::Tagged { .. } => &[],
        }
    }
}
