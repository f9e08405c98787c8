//! Prints the model as TypeScript.

use crate::docs::{WIDTH, wrapped};
use crate::model::{Field, Model, Shape, Ty, Type};
use crate::names::Names;

/// Methods that aren't called as in Rust.
const RENAMED: &[(&str, &str)] = &[("heartbeat", "sendHeartbeat")];

const HEAD: &str = "// Generated from the sources of portdaddy-core by `make types`. Don't edit.

/** Whatever JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
";

pub(crate) fn print(model: &Model) -> String {
    let names = names(model);
    let mut out = HEAD.to_owned();
    let codes: Vec<String> = model.codes.iter().map(|code| quoted(&code.name)).collect();
    out.push('\n');
    out.push_str(&comment("", &names.words("Why an operation failed: the code of an error.", &model.codes)));
    out.push_str(&union("ErrorCode", &codes));
    out.push_str("\n/** Every error code. */\nexport const ERROR_CODES: readonly ErrorCode[] = [\n");
    codes.iter().for_each(|code| out.push_str(&format!("  {code},\n")));
    out.push_str("];\n");
    for t in &model.types {
        out.push('\n');
        out.push_str(&declaration(t, &names));
    }
    out
}

/// The name of a method in JavaScript.
pub(crate) fn method(rust: &str) -> String {
    RENAMED.iter().find(|(from, _)| *from == rust).map_or_else(|| camel_case(rust), |(_, to)| (*to).to_owned())
}

/// `after_seq` becomes `afterSeq`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

/// What the names in Rust's documentation are called in JavaScript.
pub(crate) fn names(model: &Model) -> Names {
    Names::of(model, method, |field| camel_case(&field.name))
}

fn declaration(t: &Type, names: &Names) -> String {
    let docs = names.text(&t.docs);
    match &t.shape {
        Shape::Result(fields) | Shape::Options(fields) => {
            let is_option = matches!(t.shape, Shape::Options(_));
            let fields: String = fields.iter().map(|f| member(f, is_option, names)).collect();
            format!("{}export interface {} {{\n{fields}}}\n", comment("", &docs), t.name)
        }
        Shape::Words(words) => {
            let values: Vec<String> = words.iter().map(|word| quoted(&word.name)).collect();
            comment("", &names.words(&t.docs, words)) + &union(&t.name, &values)
        }
        Shape::Tagged { tag, content, cases } => {
            let objects: Vec<String> = cases
                .iter()
                .map(|(word, ty)| format!("{{ {tag}: {}; {content}: {} }}", quoted(&word.name), print_type(ty)))
                .collect();
            comment("", &docs) + &union(&t.name, &objects)
        }
    }
}

fn member(field: &Field, is_option: bool, names: &Names) -> String {
    let mark = if is_option && !field.required { "?" } else { "" };
    let docs = comment("  ", &names.text(&field.docs));
    // What is only read may be a list that nobody changes.
    let list = is_option && matches!(&field.ty, Ty::List(_));
    let readonly = if list { "readonly " } else { "" };
    format!("{docs}  {}{mark}: {readonly}{};\n", camel_case(&field.name), print_type(&field.ty))
}

fn print_type(ty: &Ty) -> String {
    match ty {
        Ty::Bool => "boolean".to_owned(),
        Ty::Int => "number".to_owned(),
        Ty::Text => "string".to_owned(),
        Ty::Json => "Json".to_owned(),
        Ty::Named(name) => name.clone(),
        Ty::Optional(inner) => format!("{} | null", print_type(inner)),
        Ty::List(inner) if matches!(**inner, Ty::Optional(_)) => format!("({})[]", print_type(inner)),
        Ty::List(inner) => format!("{}[]", print_type(inner)),
        Ty::Tuple(items) => format!("[{}]", items.iter().map(print_type).collect::<Vec<_>>().join(", ")),
    }
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// A union type, on one line where that fits.
fn union(name: &str, members: &[String]) -> String {
    let line = format!("export type {name} = {};\n", members.join(" | "));
    if line.len() <= WIDTH {
        return line;
    }
    format!("export type {name} =\n  | {};\n", members.join("\n  | "))
}

/// A JSDoc comment, wrapped; nothing where there is nothing to say.
fn comment(indent: &str, text: &str) -> String {
    // Patterns of files hold what would end the comment.
    let text = text.replace("*/", "*\\/");
    if text.is_empty() {
        return String::new();
    }
    if !text.contains('\n') && indent.len() + text.len() + "/**  */".len() <= WIDTH {
        return format!("{indent}/** {text} */\n");
    }
    let mut out = format!("{indent}/**\n");
    let lead = format!("{indent} * ");
    for line in wrapped(&text, WIDTH - lead.len()) {
        out.push_str(format!("{lead}{line}").trim_end());
        out.push('\n');
    }
    out + indent + " */\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::model::Word;
    use crate::{parse, read};

    fn field(rust: &str, name: &str, ty: Ty) -> Field {
        Field { name: name.to_owned(), rust: rust.to_owned(), docs: format!("`{rust}`."), required: ty == Ty::Text, ty }
    }

    fn word(rust: &str, name: &str) -> Word {
        Word { name: name.to_owned(), rust: rust.to_owned(), docs: format!("Like `{rust}`.") }
    }

    fn named(name: &str, docs: &str, shape: Shape) -> Type {
        Type { name: name.to_owned(), docs: docs.to_owned(), shape }
    }

    fn printed(shape: Shape) -> String {
        let t = named("T", "Of `since_ms` and `StillOn`.", shape);
        let mut model = Model::default();
        model.types.push(t);
        let names = names(&model);
        declaration(&model.types[0], &names)
    }

    #[test]
    fn results_name_every_field_and_options_what_is_needed() {
        let fields = || {
            let list = Ty::List(Box::new(Ty::Optional(Box::new(Ty::Named("Note".to_owned())))));
            let moment = Ty::Optional(Box::new(Ty::Int));
            vec![field("text", "text", Ty::Text), field("since_ms", "since_ms", moment), field("kind", "type", list)]
        };
        let expected = "/** Of `sinceMs` and `StillOn`. */
export interface T {
  /** `text`. */
  text: string;
  /** `sinceMs`. */
  sinceMs: number | null;
  /** `type`. */
  type: (Note | null)[];
}
";
        assert_eq!(printed(Shape::Result(fields())), expected);
        let options = expected.replace("sinceMs:", "sinceMs?:").replace(" type: (", " type?: readonly (");
        assert_eq!(printed(Shape::Options(fields())), options);
    }

    #[test]
    fn words_are_a_union_with_a_list_of_what_they_mean() {
        let words = vec![word("StillOn", "still_on"), word("Done", "done")];
        let expected = "/**
 * Of `since_ms` and `still_on`.
 *
 * - `still_on`: Like `still_on`.
 * - `done`: Like `done`.
 */
export type T = 'still_on' | 'done';
";
        assert_eq!(printed(Shape::Words(words)), expected);
    }

    #[test]
    fn tagged_objects_are_a_union_of_objects() {
        let cases = vec![(word("A", "a"), Ty::Int), (word("B", "b"), Ty::Json)];
        let shape = Shape::Tagged { tag: "event".to_owned(), content: "data".to_owned(), cases };
        let expected = "export type T = { event: 'a'; data: number } | { event: 'b'; data: Json };\n";
        assert!(printed(shape).ends_with(expected));
    }

    #[test]
    fn long_lines_are_broken_and_comments_never_end_early() {
        let long = comment("  ", &format!("- {}src/**/x", "word ".repeat(30)));
        assert!(long.lines().all(|line| line.len() <= WIDTH) && long.lines().count() == 4, "{long}");
        assert!(long.contains("\n   *   word") && long.ends_with(" src/**\\/x\n   */\n"), "{long}");
        let members: Vec<String> = (0..40).map(|n| format!("'{n}'")).collect();
        assert!(union("N", &members).starts_with("export type N =\n  | '0'\n  | '1'\n"));
    }

    /// Every exported type whose source says that it is read from JSON or written to it, found by looking at lines.
    fn serialized(core: &Path) -> BTreeSet<String> {
        let lib = read(&core.join("lib.rs")).unwrap();
        let exports: String = lib.lines().skip_while(|line| !line.starts_with("pub use")).collect();
        let exported: BTreeSet<&str> = exports.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let mut found = BTreeSet::new();
        let mut open = vec![core.to_owned()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = read(&path).unwrap();
            let mut derived = false;
            for line in text.lines() {
                derived |= line.starts_with("#[derive(") && line.contains("erialize");
                let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) else {
                    derived &= line.starts_with("#[") || line.starts_with("///");
                    continue;
                };
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                if derived && exported.contains(name) {
                    found.insert(name.to_owned());
                }
                derived = false;
            }
        }
        found
    }

    #[test]
    fn all_that_core_exports_is_declared_and_documented() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/src");
        let model = parse::sources(&core).unwrap();
        let text = print(&model);
        let names = serialized(&core);
        assert!(names.len() > 50 && names.contains("NewNote") && names.contains("LineRange"), "{names:?}");
        assert!(parse::ONLY_RUST.iter().all(|name| names.contains(*name)), "a name there is of nothing");
        for name in names.iter().filter(|name| !parse::ONLY_RUST.contains(&name.as_str())) {
            let found = [format!("\nexport interface {name} {{\n"), format!("\nexport type {name} =")];
            assert!(found.iter().any(|head| text.contains(head)), "{name} is missing");
        }
        for t in &model.types {
            assert!(!t.docs.is_empty(), "{} has no documentation", t.name);
            for field in t.fields() {
                assert!(!field.docs.is_empty(), "{}.{} has no documentation", t.name, field.rust);
            }
            let words: &[Word] = if let Shape::Words(words) = &t.shape { words } else { &[] };
            assert!(words.iter().all(|word| !word.docs.is_empty()), "{} has words without documentation", t.name);
        }
        assert!(model.codes.len() > 20 && model.codes.iter().all(|code| !code.docs.is_empty()));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(text, print(&parse::sources(&core).unwrap()));
    }
}
