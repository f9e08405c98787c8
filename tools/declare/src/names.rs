//! What the names that core's documentation mentions are called in another language.

use std::collections::BTreeMap;

use crate::docs;
use crate::model::{Field, Model, Shape, Word};

pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// The names of a language that calls methods and fields so.
    pub(crate) fn of(model: &Model, method: impl Fn(&str) -> String, field: impl Fn(&Field) -> String) -> Names {
        let methods = model.methods.keys().filter_map(|name| name.rsplit("::").next());
        let mut pairs: Vec<(&str, String)> = methods.map(|name| (name, method(name))).collect();
        for t in &model.types {
            pairs.extend(t.fields().iter().map(|f| (f.rust.as_str(), field(f))));
            if let Shape::Words(words) = &t.shape {
                pairs.extend(words.iter().map(|word| (word.rust.as_str(), word.name.clone())));
            }
        }
        // A name that means several things stays as it is, and so does one that is a type's as well.
        let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (rust, name) in pairs {
            found.entry(rust.to_owned()).and_modify(|n| *n = n.take().filter(|n| *n == name)).or_insert(Some(name));
        }
        model.types.iter().for_each(|t| drop(found.remove(&t.name)));
        Names(found.into_iter().filter_map(|(rust, name)| Some((rust, name?))).collect())
    }

    /// Documentation for that language's reader.
    pub(crate) fn text(&self, docs: &str) -> String {
        docs::rename(docs, |code| self.0.get(code).cloned())
    }

    /// The documentation of something that is one of several words.
    pub(crate) fn words(&self, docs: &str, words: &[Word]) -> String {
        let list: Vec<String> =
            words.iter().map(|word| format!("- `{}`: {}", word.name, self.text(&word.docs))).collect();
        format!("{}\n\n{}", self.text(docs), list.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ty, Type};

    fn field(rust: &str, name: &str) -> Field {
        Field { name: name.to_owned(), rust: rust.to_owned(), docs: String::new(), required: false, ty: Ty::Int }
    }

    #[test]
    fn a_name_with_two_meanings_stays() {
        let mut model = Model::default();
        let word = Word { name: "b".to_owned(), rust: "B".to_owned(), docs: String::new() };
        for (name, shape) in [
            ("A", Shape::Options(vec![field("ttl_ms", "ttl"), field("at_ms", "at")])),
            ("B", Shape::Result(vec![field("ttl_ms", "ttl_ms")])),
            ("C", Shape::Words(vec![word])),
        ] {
            model.types.push(Type { name: name.to_owned(), docs: String::new(), shape });
        }
        model.methods.insert("Coordinator::with_lock".to_owned(), String::new());
        let names = Names::of(&model, str::to_uppercase, |field| field.name.clone());
        let text = names.text("`ttl_ms` `at_ms` `B` `with_lock` with_lock `OTHER_CODE`");
        assert_eq!(text, "`ttl_ms` `at` `B` `WITH_LOCK` with_lock `OTHER_CODE`");
    }
}
