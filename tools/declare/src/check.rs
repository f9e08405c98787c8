//! Compares the documentation of a binding's methods with that of core: each method's begins with core's first sentence,
//! so that one thing is said in one way.

use std::collections::BTreeMap;

use crate::model::Model;
use crate::names::Names;
use crate::pymethods::Module;
use crate::{Result, docs, python, typescript};

/// How a language calls and documents the operations.
struct Language {
    /// Its name for what is a method in Rust, from that and from its cell in `docs/parity.md`; nothing where it has none.
    method: fn(&str, &str) -> Option<String>,
    /// Core's documentation for its reader.
    text: fn(&Names, &str) -> Result<String>,
    names: Names,
    /// Its column in `docs/parity.md`.
    column: usize,
    /// Rust methods that are no method of the class.
    elsewhere: &'static [(&'static str, &'static str)],
    /// Methods that are documented in the language's own words.
    own_words: &'static [(&'static str, &'static str)],
}

fn typescript(model: &Model) -> Language {
    Language {
        method: |rust, _| Some(typescript::method(rust)),
        text: |names, docs| Ok(names.text(docs)),
        names: typescript::names(model),
        column: 4,
        elsewhere: &[
            ("Coordinator::open", "the constructor"),
            ("inherit_proof", "a descriptor for child processes, which the command line alone hands on"),
            ("ack", "a method of Subscription"),
        ],
        own_words: &[
            ("follow_notes", "gives an iterable instead of calling a function"),
            ("follow_activity", "gives an iterable instead of calling a function"),
            ("follow_inbox", "gives an iterable instead of calling a function"),
            ("with_lock", "a function throws or rejects instead of panicking"),
        ],
    }
}

fn python(model: &Model) -> Language {
    Language {
        method: |_, cell| cell.split('`').nth(1).map(str::to_owned),
        text: python::text,
        names: python::names(model),
        column: 5,
        elsewhere: &[
            ("Coordinator::open", "the class, or a function"),
            ("inherit_proof", "a descriptor for child processes, which the command line alone hands on"),
            ("ack", "a method of the subscription"),
            ("close", "written in Python"),
            ("follow_activity", "written in Python"),
            ("follow_inbox", "written in Python"),
            ("follow_notes", "written in Python"),
            ("lock", "written in Python"),
            ("session", "written in Python"),
            ("subscribe", "written in Python"),
            ("take_notices", "written in Python"),
            ("with_lock", "written in Python"),
        ],
        own_words: &[],
    }
}

/// A method of the class, and what its documentation begins with; nothing where that is free.
struct Expected {
    name: String,
    begins: Option<String>,
}

/// One line for each JavaScript method: its name and the first sentence of its documentation.
pub(crate) fn methods(model: &Model, parity: &str) -> Result<String> {
    let line = |e: Expected| format!("{}: {}\n", e.name, e.begins.as_deref().unwrap_or("(in its own words)"));
    Ok(expected(model, parity, &typescript(model))?.into_iter().map(line).collect())
}

/// The methods that `docs/parity.md` names in its column for Rust, as the language has them.
fn expected(model: &Model, parity: &str, language: &Language) -> Result<Vec<Expected>> {
    let mut found: Vec<Expected> = Vec::new();
    for row in parity.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').collect();
        let Some(rust) = cells.get(2).and_then(|cell| cell.split('`').nth(1)) else { continue };
        let cell = cells.get(language.column).copied().unwrap_or_default();
        // The operation has no place there.
        if cell.trim() == "–" {
            continue;
        }
        let Some(name) = (language.method)(rust, cell) else { continue };
        if language.elsewhere.iter().any(|(name, _)| *name == rust) || found.iter().any(|e| e.name == name) {
            continue;
        }
        let said = model.methods.get(&format!("Coordinator::{rust}")).or_else(|| model.methods.get(rust));
        let said = said.ok_or_else(|| format!("docs/parity.md names {rust}, which core doesn't have"))?;
        let own_words = language.own_words.iter().any(|(name, _)| *name == rust);
        let begins = if own_words { None } else { Some((language.text)(&language.names, docs::first_sentence(said))?) };
        found.push(Expected { name, begins });
    }
    Ok(found)
}

/// Checks the class in the TypeScript source `text`, which `file` is the name of.
pub(crate) fn class(model: &Model, parity: &str, file: &str, text: &str) -> Result<String> {
    let there = members(text).ok_or_else(|| format!("{file}: no class PortDaddy"))?;
    compare(file, &there, &expected(model, parity, &typescript(model))?)
}

/// Checks the class `Client` of the Python binding.
pub(crate) fn client(model: &Model, parity: &str, module: &Module) -> Result<String> {
    let place = "bindings-python/src";
    let client = module.classes.iter().find(|class| class.name == "Client");
    let methods = &client.ok_or_else(|| format!("{place}: no class Client"))?.methods;
    let there = methods.iter().map(|method| (method.name.as_str(), method.docs.replace('\n', " "))).collect();
    compare(place, &there, &expected(model, parity, &python(model))?)
}

/// Compares the documentation of methods, on one line each, with what is expected.
fn compare(place: &str, there: &BTreeMap<&str, String>, expected: &[Expected]) -> Result<String> {
    let mut wrong = Vec::new();
    for Expected { name, begins } in expected {
        match (there.get(name.as_str()).map(String::as_str), begins) {
            (None, _) => wrong.push(format!("{name}: there is no such method")),
            (Some(""), None) => wrong.push(format!("{name}: no documentation")),
            (Some(said), Some(begins)) if !said.starts_with(begins.as_str()) => {
                wrong.push(format!(
                    "{name}: must begin with\n    {begins}\n  not with\n    {}",
                    docs::first_sentence(said)
                ));
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(format!("{place}: {} methods are documented as in core\n", expected.len()));
    }
    Err(format!("{place}: not documented as in core:\n  {}", wrong.join("\n  ")))
}

/// The members of the class by name, with the text of their first JSDoc comment. The source is formatted: members
/// are indented by two spaces, and the class ends at a brace in the first column.
fn members(text: &str) -> Option<BTreeMap<&str, String>> {
    let is_head = |line: &&str| line.trim_start_matches("export ").starts_with("class PortDaddy ");
    let mut lines = text.lines().skip_while(|line| !is_head(line));
    lines.next()?;
    let mut found = BTreeMap::new();
    let mut docs: Option<String> = None;
    let mut in_comment = false;
    for line in lines.take_while(|line| *line != "}") {
        let Some(code) = line.strip_prefix("  ") else { continue };
        if let Some(begun) = code.strip_prefix("/**") {
            in_comment = !begun.ends_with("*/");
            docs = Some(begun.trim_end_matches("*/").trim().to_owned());
        } else if in_comment {
            in_comment = !code.ends_with("*/");
            let said = code.trim_end_matches("*/").trim().trim_start_matches('*').trim();
            if let Some(docs) = docs.as_mut().filter(|_| !said.is_empty()) {
                docs.push_str(if docs.is_empty() { "" } else { " " });
                docs.push_str(said);
            }
        } else if !code.starts_with([' ', '/']) && !code.is_empty() {
            let docs = docs.take().unwrap_or_default();
            if let Some(name) = method_name(code) {
                // Overloads: the first one speaks for all.
                found.entry(name).or_insert_with(|| docs.replace("*\\/", "*/"));
            }
        }
    }
    Some(found)
}

/// The name in the first line of a method.
fn method_name(code: &str) -> Option<&str> {
    let code = ["public ", "override ", "async ", "*"].iter().fold(code, |code, word| code.trim_start_matches(word));
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0 && code[end..].starts_with(['(', '<'])).then_some(&code[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pymethods;

    const PARITY: &str = "
| operation | Rust | pd | JavaScript | Python |
| --- | --- | --- | --- | --- |
| open | tested `Coordinator::open` | – | not yet | not yet |
| beat | tested `heartbeat` | tested `pd agent heartbeat` | not yet | not yet |
| follow | tested `follow_notes` | tested `pd notes -f` | not yet | not yet |
| end | tested `end_session` | tested `pd session end` | not yet | not yet |
| abandon | tested `end_session` | tested `pd session abandon` | not yet | not yet |
| run | – | tested `pd run` | – | – |
| check | tested `doctor` | tested `pd doctor` | not yet | not yet |
";

    const CLASS: &str = "
/** Another. */
export class Other {
  /** Not this. */
  doctor() {}
}

export class PortDaddy extends EventEmitter<{ notice: [string] }> {
  #closed = false;

  /**
   * Says that it lives, with `afterSeq` under
   * `src/**\\/a`. More.
   */
  async sendHeartbeat(): Promise<Agent> {
    /** Inside. */
    doctor();
  }

  /** Follows. */
  followNotes(): Follow<Note> {}

  /** Ends one. */
  endSession(note?: string): Promise<Session>;
  endSession(options: EndSession): Promise<Session>;

  /** Looks. And more. */
  doctor<T>(): Promise<Check[]> {}
}
";

    fn model() -> Model {
        let mut model = Model::default();
        for (name, said) in [
            ("Coordinator::heartbeat", "Says that it lives, with `after_seq` under `src/**/a`. Further."),
            ("Coordinator::follow_notes", "Gives each to `f`."),
            ("Coordinator::end_session", "Ends one."),
            ("Other::after_seq", "Renames what is in backticks."),
            ("doctor", "Looks. Further."),
        ] {
            model.methods.insert(name.to_owned(), said.to_owned());
        }
        model
    }

    fn checked(class_text: &str) -> Result<String> {
        class(&model(), PARITY, "client.ts", class_text)
    }

    #[test]
    fn each_method_stands_once_with_its_first_sentence() {
        let told = methods(&model(), PARITY).unwrap();
        let expected = "sendHeartbeat: Says that it lives, with `afterSeq` under `src/**/a`.
followNotes: (in its own words)
endSession: Ends one.
doctor: Looks.
";
        assert_eq!(told, expected);
        let unknown = methods(&Model::default(), PARITY).unwrap_err();
        assert_eq!(unknown, "docs/parity.md names heartbeat, which core doesn't have");
    }

    #[test]
    fn a_class_that_says_the_same_passes() {
        assert_eq!(checked(CLASS).unwrap(), "client.ts: 4 methods are documented as in core\n");
    }

    #[test]
    fn what_differs_is_named() {
        for (from, to, said) in [
            ("  doctor<T>", "  physician<T>", "doctor: there is no such method"),
            ("/** Looks. And", "/** Sees. And", "doctor: must begin with\n    Looks.\n  not with\n    Sees."),
            ("  /** Follows. */\n", "", "followNotes: no documentation"),
            ("  /** Ends one. */\n", "", "endSession: must begin with\n    Ends one.\n  not with\n    "),
            ("under\n", "over\n", "sendHeartbeat: must begin with"),
        ] {
            let e = checked(&CLASS.replacen(from, to, 1)).unwrap_err();
            assert!(e.starts_with("client.ts: not documented as in core:\n  ") && e.contains(said), "{e}");
        }
        assert_eq!(checked("class Other {\n}\n").unwrap_err(), "client.ts: no class PortDaddy");
    }

    #[test]
    fn the_python_class_has_what_its_column_names() {
        let text = "#[pyclass] struct Client; #[pymethods] impl Client {
            /// Says that it lives, with `after_seq`
            /// under `src/**/a`. More.
            fn beat(&self) {}
        }";
        let parity = PARITY.replacen("not yet | not yet |\n| follow", "not yet | tested `beat` |\n| follow", 1);
        let told = |text: &str, parity: &str| {
            client(&model(), parity, &pymethods::module(&[("a.rs".to_owned(), text.to_owned())]).unwrap())
        };
        assert_eq!(told(text, &parity).unwrap(), "bindings-python/src: 1 methods are documented as in core\n");
        assert!(told(&text.replace("under", "over"), &parity).unwrap_err().contains("beat: must begin with"));
        let missing = told(text, &parity.replace("`beat`", "`beats`")).unwrap_err();
        assert!(missing.ends_with("\n  beats: there is no such method"), "{missing}");
        assert_eq!(told("", &parity).unwrap_err(), "bindings-python/src: no class Client");
    }

    #[test]
    fn core_can_be_documented_in_python() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let model = crate::parse::sources(&root.join("core/src")).unwrap();
        let parity = crate::read(&root.join("docs/parity.md")).unwrap();
        let named = Language { method: |rust, _| Some(rust.to_owned()), ..python(&model) };
        assert!(expected(&model, &parity, &named).unwrap().len() > 30);
    }
}
