//! Reads core's sources into the model. What it doesn't understand is an error, so that nothing is left out silently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, Fields, GenericArgument, Ident, Item, LitStr, PathArguments, Token, UseTree, Visibility};

use crate::model::{Field, Model, Shape, Ty, Type, Word};
use crate::{Result, docs, read};

/// Exported types that are `Serialize` but that no operation of a binding gives.
pub(crate) const ONLY_RUST: &[&str] = &[
    "Scope",
    // What the shell has besides: looking at all, git's safety, and what its hooks read.
    "ClaimOverlap",
    "CommitCheck",
    "Danger",
    "GitHook",
    "Overview",
    "OverviewFilter",
    "OverviewTotals",
    "Peer",
    "RestoreFiles",
    "RestoredFiles",
    "Signal",
    "Snapshot",
    "StagedByOther",
];

/// Options without which the operation fails, besides all plain texts: none may be empty.
const REQUIRED: &[(&str, &str)] = &[("ClaimFiles", "files")];

/// Reads the crate whose sources are in the directory `src`.
pub(crate) fn sources(src: &Path) -> Result<Model> {
    let mut files = Vec::new();
    rust_files(src, &mut files)?;
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let inside = file.strip_prefix(src).unwrap_or(&file).with_extension("");
        let module = inside.iter().next().unwrap_or_default().to_string_lossy().into_owned();
        sources.push((module, read(&file)?));
    }
    parse(&sources)
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Reads files, each given as the top module that it belongs to (`lib` for the crate's root) and its text.
fn parse(files: &[(String, String)]) -> Result<Model> {
    let mut exported = Vec::new();
    let mut items = Vec::new();
    for (module, text) in files {
        let file = syn::parse_file(text).map_err(|e| format!("{module}: {e}"))?;
        for item in file.items {
            match item {
                Item::Use(u) if module == "lib" && public(&u.vis) => names("", &u.tree, &mut exported),
                item => items.push((module.as_str(), item)),
            }
        }
    }
    let mut model = Model::default();
    let mut types = BTreeMap::new();
    for (module, item) in items {
        let is_exported = |name: &Ident| exported.contains(&(module.to_owned(), name.to_string()));
        match item {
            Item::Struct(s) if public(&s.vis) && is_exported(&s.ident) => {
                add(&mut types, &s.ident, &s.attrs, |serde| record(&s.ident, s.fields, serde))?;
            }
            Item::Enum(e) if public(&e.vis) && is_exported(&e.ident) => {
                add(&mut types, &e.ident, &e.attrs, |serde| choice(e.variants.into_iter().collect(), serde))?;
            }
            Item::Fn(f) if public(&f.vis) && is_exported(&f.sig.ident) => {
                model.methods.insert(f.sig.ident.to_string(), documentation(&f.attrs));
            }
            Item::Impl(block) if block.trait_.is_none() => {
                let Ty::Named(of) = ty(&block.self_ty).unwrap_or(Ty::Json) else { continue };
                for item in block.items {
                    let syn::ImplItem::Fn(f) = item else { continue };
                    if public(&f.vis) {
                        model.methods.insert(format!("{of}::{}", f.sig.ident), documentation(&f.attrs));
                    }
                }
            }
            Item::Macro(m) if m.ident.is_none() && m.mac.path.is_ident("kinds") => {
                model.codes = m.mac.parse_body::<Codes>().map_err(|e| format!("kinds!: {e}"))?.0;
            }
            _ => {}
        }
    }
    model.types = exported.iter().filter_map(|(_, name)| types.remove(name)).collect();
    known(&model)?;
    Ok(model)
}

fn public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The names that a `pub use` exports, each with its top module.
fn names(module: &str, tree: &UseTree, found: &mut Vec<(String, String)>) {
    match tree {
        UseTree::Path(path) if module.is_empty() => names(&path.ident.to_string(), &path.tree, found),
        UseTree::Path(path) => names(module, &path.tree, found),
        UseTree::Group(group) => group.items.iter().for_each(|tree| names(module, tree, found)),
        UseTree::Name(name) => found.push((module.to_owned(), name.ident.to_string())),
        UseTree::Rename(_) | UseTree::Glob(_) => {}
    }
}

/// Every type that is named is there.
fn known(model: &Model) -> Result<()> {
    fn check(ty: &Ty, known: &BTreeSet<&str>) -> Result<()> {
        match ty {
            Ty::Named(name) if !known.contains(name.as_str()) => Err(format!("the type {name} isn't declared")),
            Ty::Optional(inner) | Ty::List(inner) => check(inner, known),
            Ty::Tuple(items) => items.iter().try_for_each(|ty| check(ty, known)),
            _ => Ok(()),
        }
    }
    let names: BTreeSet<&str> = model.types.iter().map(|t| t.name.as_str()).collect();
    for t in &model.types {
        let told = |e| format!("{}: {e}", t.name);
        t.fields().iter().try_for_each(|field| check(&field.ty, &names)).map_err(told)?;
        if let Shape::Tagged { cases, .. } = &t.shape {
            cases.iter().try_for_each(|(_, ty)| check(ty, &names)).map_err(told)?;
        }
    }
    Ok(())
}

/// Adds a type if it is read from JSON or written to it.
fn add(
    types: &mut BTreeMap<String, Type>,
    name: &Ident,
    attrs: &[Attribute],
    shape: impl FnOnce(&Serde) -> Result<Shape>,
) -> Result<()> {
    let name = name.to_string();
    let told = |e: String| format!("{name}: {e}");
    let derives = derives(attrs).map_err(|e| told(e.to_string()))?;
    let serialized = derives.iter().any(|d| d == "Serialize" || d == "Deserialize");
    if serialized && !ONLY_RUST.contains(&name.as_str()) {
        let shape = shape(&Serde::of(attrs).map_err(told)?).map_err(told)?;
        types.insert(name.clone(), Type { docs: documentation(attrs), name, shape });
    }
    Ok(())
}

fn record(of: &Ident, fields: Fields, serde: &Serde) -> Result<Shape> {
    let Fields::Named(fields) = fields else { return Err("fields without names".to_owned()) };
    let mut read = Vec::new();
    for field in fields.named {
        let rust = field.ident.as_ref().map(Ident::to_string).unwrap_or_default();
        let told = |e: String| format!("{rust}: {e}");
        let serde = Serde::of(&field.attrs).map_err(told)?;
        if serde.skip {
            continue;
        }
        let ty = ty(&field.ty).map_err(told)?;
        let name = serde.rename.unwrap_or_else(|| rust.clone());
        let required = ty == Ty::Text || REQUIRED.iter().any(|(t, field)| of == t && rust == *field);
        read.push(Field { name, docs: documentation(&field.attrs), ty, required, rust });
    }
    // Options can be left out: core's own values stand in for them.
    Ok(if serde.default { Shape::Options(read) } else { Shape::Result(read) })
}

fn choice(variants: Vec<syn::Variant>, serde: &Serde) -> Result<Shape> {
    let mut words = Vec::new();
    let mut cases = Vec::new();
    for variant in variants {
        let rust = variant.ident.to_string();
        let name = match Serde::of(&variant.attrs)?.rename {
            Some(name) => name,
            None if serde.snake_case => snake_case(&rust),
            None => rust.clone(),
        };
        let word = Word { name, docs: documentation(&variant.attrs), rust };
        match variant.fields {
            Fields::Unit => words.push(word),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => cases.push((word, ty(&fields.unnamed[0].ty)?)),
            _ => return Err(format!("the variant {} has a form that isn't known", word.rust)),
        }
    }
    match (&serde.tag, &serde.content) {
        (None, None) if cases.is_empty() => Ok(Shape::Words(words)),
        (Some(tag), Some(content)) if words.is_empty() => {
            Ok(Shape::Tagged { tag: tag.clone(), content: content.clone(), cases })
        }
        _ => Err("variants with and without content, or content without a tag".to_owned()),
    }
}

fn ty(of: &syn::Type) -> Result<Ty> {
    let unknown = || "a type that isn't known".to_owned();
    match of {
        syn::Type::Tuple(tuple) => Ok(Ty::Tuple(tuple.elems.iter().map(ty).collect::<Result<_>>()?)),
        syn::Type::Path(path) => {
            let last = path.path.segments.last().ok_or_else(unknown)?;
            let inner = match &last.arguments {
                PathArguments::AngleBracketed(generic) => match generic.args.first() {
                    Some(GenericArgument::Type(inner)) => Some(Box::new(ty(inner)?)),
                    _ => return Err(unknown()),
                },
                _ => None,
            };
            match (last.ident.to_string().as_str(), inner) {
                ("Option", Some(inner)) => Ok(Ty::Optional(inner)),
                ("Vec", Some(inner)) => Ok(Ty::List(inner)),
                ("bool", None) => Ok(Ty::Bool),
                ("String", None) => Ok(Ty::Text),
                ("Value", None) => Ok(Ty::Json),
                ("u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64", None) => Ok(Ty::Int),
                (name, None) => Ok(Ty::Named(name.to_owned())),
                (name, Some(_)) => Err(format!("the generic type {name} isn't known")),
            }
        }
        _ => Err(unknown()),
    }
}

fn documentation(attrs: &[Attribute]) -> String {
    docs::plain(&doc_lines(attrs))
}

/// The lines of an item's doc comments.
pub(crate) fn doc_lines(attrs: &[Attribute]) -> Vec<String> {
    attrs.iter().filter_map(doc_line).collect()
}

fn doc_line(attr: &Attribute) -> Option<String> {
    match &attr.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn derives(attrs: &[Attribute]) -> syn::Result<Vec<String>> {
    let mut found = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("derive")) {
        attr.parse_nested_meta(|meta| {
            found.extend(meta.path.segments.last().map(|name| name.ident.to_string()));
            Ok(())
        })?;
    }
    Ok(found)
}

/// What the `serde` attributes of an item say.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    snake_case: bool,
    tag: Option<String>,
    content: Option<String>,
    default: bool,
    /// It is core's own.
    skip: bool,
}

impl Serde {
    fn of(attrs: &[Attribute]) -> Result<Serde> {
        let mut serde = Serde::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
            let read = attr.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
                let text = || Ok::<_, syn::Error>(meta.value()?.parse::<LitStr>()?.value());
                match name.as_str() {
                    "rename" => serde.rename = Some(text()?),
                    "rename_all" if text()? == "snake_case" => serde.snake_case = true,
                    "tag" => serde.tag = Some(text()?),
                    "content" => serde.content = Some(text()?),
                    "default" => serde.default = true,
                    "skip" => serde.skip = true,
                    "deny_unknown_fields" => {}
                    _ => return Err(meta.error(format!("the serde attribute {name} isn't known here"))),
                }
                Ok(())
            });
            read.map_err(|e| e.to_string())?;
        }
        Ok(serde)
    }
}

/// `OwnerGone` becomes `owner_gone`, as serde does it.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The body of `kinds!`: lines of `/// Docs` and `Name = "CODE", Class;`.
struct Codes(Vec<Word>);

impl Parse for Codes {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut codes = Vec::new();
        while !input.is_empty() {
            let docs = documentation(&input.call(Attribute::parse_outer)?);
            let rust = input.parse::<Ident>()?.to_string();
            input.parse::<Token![=]>()?;
            let name = input.parse::<LitStr>()?.value();
            input.parse::<Token![,]>()?;
            input.parse::<Ident>()?;
            input.parse::<Token![;]>()?;
            codes.push(Word { name, rust, docs });
        }
        Ok(Codes(codes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Model> {
        let exports = "pub use a::{Note, Status, Event, Found}; pub use a::look; mod a;";
        parse(&[("lib".to_owned(), exports.to_owned()), ("a".to_owned(), text.to_owned())])
    }

    #[test]
    fn options_keep_what_may_be_left_out_apart_from_what_may_not() {
        let model = parsed(
            "/// What to write.
            #[derive(Default, Deserialize)] #[serde(default, deny_unknown_fields)]
            pub struct Note {
                /// The text.
                pub text: String,
                /// A slug.
                #[serde(rename = \"type\")] pub kind: Option<String>,
                /// From and to.
                pub range: Option<(u16, u16)>,
            }",
        )
        .unwrap();
        let [Type { name, docs, shape: Shape::Options(fields) }] = &model.types[..] else { panic!("{model:?}") };
        assert_eq!((name.as_str(), docs.as_str()), ("Note", "What to write."));
        let told: Vec<_> = fields.iter().map(|f| (f.name.as_str(), f.rust.as_str(), &*f.docs, f.required)).collect();
        let expected = [
            ("text", "text", "The text.", true),
            ("type", "kind", "A slug.", false),
            ("range", "range", "From and to.", false),
        ];
        assert_eq!(told, expected);
        assert_eq!(fields[2].ty, Ty::Optional(Box::new(Ty::Tuple(vec![Ty::Int, Ty::Int]))));
    }

    #[test]
    fn words_and_tagged_objects() {
        let model = parsed(
            "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]
            pub enum Status { /** It goes. */ StillGoing, #[serde(rename = \"end\")] Done }
            #[derive(Serialize)] #[serde(tag = \"event\", content = \"data\", rename_all = \"snake_case\")]
            pub enum Event { Change(Status), Text(Vec<String>) }",
        )
        .unwrap();
        let Shape::Words(words) = &model.types[0].shape else { panic!("{model:?}") };
        assert_eq!(words.iter().map(|w| w.name.as_str()).collect::<Vec<_>>(), ["still_going", "end"]);
        assert_eq!(words[0].docs, "It goes.");
        let Shape::Tagged { tag, content, cases } = &model.types[1].shape else { panic!("{model:?}") };
        assert_eq!((tag.as_str(), content.as_str()), ("event", "data"));
        assert_eq!(cases[0].1, Ty::Named("Status".to_owned()));
        assert_eq!((cases[1].0.name.as_str(), &cases[1].1), ("text", &Ty::List(Box::new(Ty::Text))));
    }

    #[test]
    fn only_what_is_exported_and_serialized_is_a_type() {
        let model = parsed(
            "#[derive(Clone)] pub struct Note { pub a: Instant } #[derive(Serialize)] struct Status { a: Instant }
            #[derive(Serialize)] pub struct Other { pub a: Instant } #[derive(Serialize)] pub struct Found { pub n: i64 }",
        )
        .unwrap();
        assert_eq!(model.types.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["Found"]);
    }

    #[test]
    fn methods_functions_and_codes() {
        let model = parsed(
            "impl<T> Note { /// Takes one.\n pub fn take(&self) {} pub(crate) fn inner(&self) {} }
            /// Looks.\n pub fn look() {}
            impl Drop for Note { fn drop(&mut self) {} }
            kinds! { /// Bad.\n Invalid = \"INVALID\", Usage; /// Gone.\n Gone = \"OWNER_GONE\", No; }",
        )
        .unwrap();
        let methods: Vec<_> = model.methods.iter().map(|(name, docs)| (name.as_str(), docs.as_str())).collect();
        assert_eq!(methods, [("Note::take", "Takes one."), ("look", "Looks.")]);
        let codes: Vec<_> = model.codes.iter().map(|c| (c.name.as_str(), c.docs.as_str())).collect();
        assert_eq!(codes, [("INVALID", "Bad."), ("OWNER_GONE", "Gone.")]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for (text, said) in [
            ("#[derive(Serialize)] pub struct Note { pub at: Instant }", "Note: the type Instant isn't declared"),
            (
                "#[derive(Serialize)] pub struct Note { pub at: Cell<u8> }",
                "Note: at: the generic type Cell isn't known",
            ),
            ("#[derive(Serialize)] pub struct Note(pub u8);", "Note: fields without names"),
            (
                "#[derive(Serialize)] pub struct Note { #[serde(flatten)] pub a: u8 }",
                "Note: a: the serde attribute flatten isn't known here",
            ),
            (
                "#[derive(Serialize)] pub enum Event { A(u8), B }",
                "Event: variants with and without content, or content without a tag",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), said, "{text}");
        }
    }
}
