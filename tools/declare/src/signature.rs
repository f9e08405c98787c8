//! The parameters of a method of the Python binding, as its `#[pyo3(signature = (...))]` gives them to Python.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, FnArg, Ident, Lit, Pat, Token};

use crate::pymethods::type_name;
use crate::{Result, pytext};

#[derive(Clone, Debug)]
pub(crate) enum Param {
    /// `*` or `/`.
    Mark(&'static str),
    /// `*args` or `**kwargs`, with the stars.
    Rest(String),
    Named {
        name: String,
        ty: Box<syn::Type>,
        default: Option<String>,
    },
}

/// The parameters of a method; the first belongs to Rust alone where it `has_owner`.
pub(crate) fn params(sig: &syn::Signature, has_owner: bool, signature: Option<Signature>) -> Result<Vec<Param>> {
    let taken = taken(sig, has_owner)?;
    let Some(Signature(signature)) = signature else {
        let named = |(name, ty)| Param::Named { name, ty: Box::new(ty), default: None };
        return Ok(taken.into_iter().map(named).collect());
    };
    let find = |name: &str| {
        let found = taken.iter().find(|(taken, _)| taken == name);
        found.ok_or_else(|| format!("its signature names {name}, which isn't among its parameters"))
    };
    let mut found = Vec::new();
    let mut named = 0;
    for given in signature {
        named += usize::from(!matches!(given, Given::Mark(_)));
        found.push(match given {
            Given::Mark(mark) => Param::Mark(mark),
            Given::Rest(stars, name) => find(&name).map(|_| Param::Rest(format!("{stars}{name}")))?,
            Given::Named(name, default) => {
                let ty = Box::new(find(&name)?.1.clone());
                Param::Named { name, ty, default: default.as_ref().map(python_value).transpose()? }
            }
        });
    }
    if named == taken.len() { Ok(found) } else { Err("its signature doesn't name every parameter".to_owned()) }
}

/// The parameters that Python's caller gives, in Rust's order.
fn taken(sig: &syn::Signature, has_owner: bool) -> Result<Vec<(String, syn::Type)>> {
    let mut found = Vec::new();
    let mut seen_owner = !has_owner;
    for input in &sig.inputs {
        let FnArg::Typed(typed) = input else {
            seen_owner = true;
            continue;
        };
        if type_name(&typed.ty).is_some_and(|name| name == "Python") {
            continue;
        }
        if !std::mem::replace(&mut seen_owner, true) {
            continue;
        }
        let Pat::Ident(name) = &*typed.pat else { return Err("a parameter without a name".to_owned()) };
        found.push((name.ident.unraw().to_string(), (*typed.ty).clone()));
    }
    Ok(found)
}

/// What `signature = (...)` holds.
pub(crate) struct Signature(Vec<Given>);

enum Given {
    Mark(&'static str),
    Rest(&'static str, String),
    Named(String, Option<Expr>),
}

impl Parse for Signature {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = |input: ParseStream<'_>| input.call(Ident::parse_any).map(|name| name.unraw().to_string());
        let mut found = Vec::new();
        while !input.is_empty() {
            found.push(if input.parse::<Option<Token![/]>>()?.is_some() {
                Given::Mark("/")
            } else if input.parse::<Option<Token![*]>>()?.is_some() {
                let is_double = input.parse::<Option<Token![*]>>()?.is_some();
                match (is_double, input.is_empty() || input.peek(Token![,])) {
                    (false, true) => Given::Mark("*"),
                    (false, false) => Given::Rest("*", name(input)?),
                    (true, _) => Given::Rest("**", name(input)?),
                }
            } else {
                let name = name(input)?;
                let has_default = input.parse::<Option<Token![=]>>()?.is_some();
                Given::Named(name, if has_default { Some(input.parse()?) } else { None })
            });
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Signature(found))
    }
}

/// A default as Python writes it.
fn python_value(value: &Expr) -> Result<String> {
    let unknown = || "a default that isn't known".to_owned();
    match value {
        Expr::Path(path) if path.path.is_ident("None") => Ok("None".to_owned()),
        Expr::Unary(minus) if matches!(minus.op, syn::UnOp::Neg(_)) => Ok(format!("-{}", python_value(&minus.expr)?)),
        Expr::Lit(literal) => match &literal.lit {
            Lit::Bool(value) => Ok(if value.value { "True" } else { "False" }.to_owned()),
            Lit::Int(value) => Ok(value.base10_digits().to_owned()),
            Lit::Float(value) => Ok(value.base10_digits().to_owned()),
            Lit::Str(value) => Ok(pytext::quoted(&value.value())),
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}
