//! JSON settings edited by their text: what is put in can be taken out again to the last byte, whatever surrounds it.
//!
//! Nothing is remembered about a file. How our text stands in it tells what was there before:
//!
//! * Behind another item, ours follows that item's comma on a line of its own; both go again.
//! * In a list or object that was empty, ours stands right behind the opening bracket, which no list that we made does:
//!   so an empty one that was there stays, and one of ours goes with its last item.

use std::ops::Range;

use jsonc_parser::ast::{Object, Value as Node};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use portdaddy_core::Error;
use serde_json::Value;

/// Why a text can't be edited, and at which byte.
pub(super) struct Trouble {
    pub(super) at: usize,
    pub(super) what: String,
}

type Edited<T> = Result<T, Trouble>;

/// What a kind of file allows beyond JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Nothing.
    Plain,
    /// Comments, and commas behind the last item.
    Comments,
}

/// What is put into a list or an object.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Element(&'a Value),
    Member(&'a str, &'a Value),
}

fn options(dialect: Dialect) -> ParseOptions {
    ParseOptions {
        allow_comments: dialect == Dialect::Comments,
        allow_trailing_commas: dialect == Dialect::Comments,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn parsed(text: &str, dialect: Dialect) -> Edited<Node<'_>> {
    let result = parse_to_ast(text, &CollectOptions::default(), &options(dialect))
        .map_err(|e| Trouble { at: e.range().start, what: e.kind().to_string().to_lowercase() })?;
    result.value.ok_or_else(|| Trouble { at: text.len(), what: "it holds no value".to_owned() })
}

fn range(node: &Node) -> Range<usize> {
    let range = match node {
        Node::StringLit(n) => n.range,
        Node::NumberLit(n) => n.range,
        Node::BooleanLit(n) => n.range,
        Node::Object(n) => n.range,
        Node::Array(n) => n.range,
        Node::NullKeyword(n) => n.range,
    };
    range.start..range.end
}

/// The document's value.
pub(super) fn value(text: &str, dialect: Dialect) -> Edited<Value> {
    let node = parsed(text, dialect)?;
    check_members(&node)?;
    Ok(plain(&node))
}

fn plain(node: &Node) -> Value {
    match node {
        Node::StringLit(s) => Value::String(s.value.to_string()),
        Node::NumberLit(n) => serde_json::from_str(n.value).unwrap_or(Value::Null),
        Node::BooleanLit(b) => Value::Bool(b.value),
        Node::NullKeyword(_) => Value::Null,
        Node::Array(a) => a.elements.iter().map(plain).collect(),
        Node::Object(o) => {
            Value::Object(o.properties.iter().map(|p| (p.name.as_str().to_owned(), plain(&p.value))).collect())
        }
    }
}

/// Of two members of one name, each reader takes another: not ours to choose.
fn check_members(node: &Node) -> Edited<()> {
    match node {
        Node::Object(o) => o.properties.iter().enumerate().try_for_each(|(i, p)| {
            if o.properties[..i].iter().any(|q| q.name.as_str() == p.name.as_str()) {
                let what = format!("{:?} stands twice in one object", p.name.as_str());
                return Err(Trouble { at: p.range.start, what });
            }
            check_members(&p.value)
        }),
        Node::Array(a) => a.elements.iter().try_for_each(check_members),
        _ => Ok(()),
    }
}

/// A list or an object in the text, by its items.
struct Container {
    range: Range<usize>,
    items: Vec<Range<usize>>,
    /// Where its member stands in the object around it; none for the document itself.
    within: Option<usize>,
}

impl Container {
    fn of(node: &Node, within: Option<usize>) -> Option<Self> {
        let items = match node {
            Node::Object(o) => o.properties.iter().map(|p| p.range.start..p.range.end).collect(),
            Node::Array(a) => a.elements.iter().map(range).collect(),
            _ => return None,
        };
        Some(Self { range: range(node), items, within })
    }
}

fn expected<'a, 'b>(node: &'b Node<'a>, name: &str) -> Edited<&'b Object<'a>> {
    match node {
        Node::Object(object) => Ok(object),
        other => {
            let what = if name.is_empty() { "the document".to_owned() } else { format!("{name:?}") };
            Err(Trouble { at: range(other).start, what: format!("{what} is no object") })
        }
    }
}

/// Puts an item at the end of the list or object at `path`, making what is missing on the way.
pub(super) fn add(text: &str, dialect: Dialect, path: &[&str], item: Item) -> Edited<String> {
    let root = parsed(text, dialect)?;
    let mut node = &root;
    let mut name = "";
    for (depth, part) in path.iter().enumerate() {
        let object = expected(node, name)?;
        let Some(member) = object.properties.iter().find(|p| p.name.as_str() == *part) else {
            let mut made = match item {
                Item::Element(value) => Value::Array(vec![value.clone()]),
                Item::Member(name, value) => serde_json::json!({ name: value }),
            };
            for outer in path[depth + 1..].iter().rev() {
                made = serde_json::json!({ *outer: made });
            }
            return Ok(insert(text, node, Item::Member(part, &made)));
        };
        (node, name) = (&member.value, part);
    }
    match (item, node) {
        (Item::Element(_), Node::Array(_)) => {}
        (Item::Element(_), other) => {
            return Err(Trouble { at: range(other).start, what: format!("{name:?} is no list") });
        }
        (Item::Member(..), other) => {
            expected(other, name)?;
        }
    }
    Ok(insert(text, node, item))
}

fn insert(text: &str, node: &Node, item: Item) -> String {
    let Some(container) = Container::of(node, None) else { return text.to_owned() };
    let style = Style::of(text);
    let mut edited = text.to_owned();
    let Some(last) = container.items.last() else {
        // Right behind the bracket: it was there before, and is to stay.
        let indent = line_indent(text, container.range.start);
        edited.insert_str(container.range.start + 1, &style.item(item, indent));
        return edited;
    };
    let own = line_indent(text, last.start);
    let indent = if text[..last.start].ends_with(own) && starts_line(text, last.start - own.len()) {
        own.to_owned()
    } else {
        format!("{}{}", line_indent(text, container.range.start), style.unit)
    };
    let lead = format!("{}{indent}{}", style.newline, style.item(item, &indent));
    match comma_after(text, last.end, container.range.end) {
        Some(comma) => edited.insert_str(remarks_end(text, comma + 1), &format!("{lead},")),
        None => {
            edited.insert_str(remarks_end(text, last.end), &lead);
            edited.insert(last.end, ',');
        }
    }
    edited
}

/// Takes out the item at `index` of the list or object at `path`, and what we made around it. Also says whether the whole
/// document was made for it.
pub(super) fn remove(text: &str, dialect: Dialect, path: &[Step], index: usize) -> Edited<(String, bool)> {
    let root = parsed(text, dialect)?;
    let mut chain: Vec<Container> = Vec::new();
    let mut node = &root;
    let mut within = None;
    for step in path {
        chain.extend(Container::of(node, within));
        let next = match (step, node) {
            (Step::Name(name), Node::Object(o)) => o
                .properties
                .iter()
                .position(|p| p.name.as_str() == *name)
                .map(|place| (place, &o.properties[place].value)),
            (Step::Index(i), Node::Array(a)) => a.elements.get(*i).map(|element| (*i, element)),
            _ => None,
        };
        let Some((place, inner)) = next else { return Ok((text.to_owned(), false)) };
        (node, within) = (inner, Some(place));
    }
    chain.extend(Container::of(node, within));
    let mut index = index;
    while let Some(container) = chain.pop() {
        let Some(item) = container.items.get(index) else { break };
        let inside = container.range.start + 1..container.range.end - 1;
        let bare = text[inside.start..item.start].trim().is_empty() && text[item.end..inside.end].trim().is_empty();
        let made = container.items.len() == 1 && item.start != inside.start && bare;
        match container.within {
            Some(place) if made && !chain.is_empty() => index = place,
            _ => return Ok((cut(text, &container, index), made && chain.is_empty())),
        }
    }
    Ok((text.to_owned(), false))
}

/// A step into a document.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

fn cut(text: &str, container: &Container, index: usize) -> String {
    let item = container.items[index].clone();
    let comma = comma_after(text, item.end, container.range.end);
    let blank_before = text[..item.start].trim_end_matches([' ', '\t', '\r', '\n']).len();
    let mut edited = text.to_owned();
    if let Some(next) = container.items.get(index + 1) {
        let end = comma.map_or(next.start, |comma| {
            let rest = &text[comma + 1..next.start];
            comma + 1 + rest.len() - rest.trim_start().len()
        });
        edited.replace_range(item.start..end, "");
    } else if let Some(comma) = comma {
        edited.replace_range(blank_before.max(container.range.start + 1)..comma + 1, "");
    } else {
        edited.replace_range(blank_before.max(container.range.start + 1)..item.end, "");
        let before = index.checked_sub(1).map(|i| container.items[i].end);
        if let Some(comma) = before.and_then(|end| comma_after(text, end, item.start)) {
            edited.remove(comma);
        }
    }
    edited
}

/// The place of the comma that follows an item.
fn comma_after(text: &str, from: usize, until: usize) -> Option<usize> {
    let mut at = from;
    while at < until {
        let rest = &text[at..until];
        match rest.as_bytes()[0] {
            b',' => return Some(at),
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'/' => at += remark(rest)?,
            _ => return None,
        }
    }
    None
}

/// The length of the comment that the text begins with.
fn remark(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find(['\n', '\r']).unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| text.find("*/").map(|end| end + 2))?
}

/// Where the comments end that stand behind an item on its own line.
fn remarks_end(text: &str, from: usize) -> usize {
    let mut end = from;
    loop {
        let rest = &text[end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        match remark(&rest[blank..]) {
            Some(length) => end += blank + length,
            None => return end,
        }
    }
}

fn starts_line(text: &str, at: usize) -> bool {
    at == 0 || text[..at].ends_with('\n')
}

/// What the line that holds `at` is indented with.
fn line_indent(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |n| n + 1)..at];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// How the file is written.
struct Style {
    newline: &'static str,
    unit: String,
}

impl Style {
    fn of(text: &str) -> Self {
        let newline = super::newline(text);
        let indented = text.lines().skip(1).find(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty());
        let unit = indented.map_or("  ", |line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]);
        Self { newline, unit: unit.to_owned() }
    }

    fn item(&self, item: Item, indent: &str) -> String {
        match item {
            Item::Element(value) => self.write(value, indent),
            Item::Member(name, value) => format!("{}: {}", quoted(name), self.write(value, indent)),
        }
    }

    fn write(&self, value: &Value, indent: &str) -> String {
        let inner = format!("{indent}{}", self.unit);
        let (open, close, items): (_, _, Vec<String>) = match value {
            Value::Array(all) if all.iter().all(Value::is_string) => {
                return value.to_string().replace("\",\"", "\", \"");
            }
            Value::Array(all) => ("[", "]", all.iter().map(|v| self.write(v, &inner)).collect()),
            Value::Object(all) => {
                let member = |(name, v): (&String, _)| format!("{}: {}", quoted(name), self.write(v, &inner));
                ("{", "}", all.iter().map(member).collect())
            }
            simple => return simple.to_string(),
        };
        if items.is_empty() {
            return format!("{open}{close}");
        }
        let lead = format!("{}{inner}", self.newline);
        format!("{open}{lead}{}{}{indent}{close}", items.join(&format!(",{lead}")), self.newline)
    }
}

fn quoted(name: &str) -> String {
    Value::from(name).to_string()
}

/// A new document that holds only this.
pub(super) fn document(value: &Value) -> String {
    Style { newline: "\n", unit: "  ".to_owned() }.write(value, "")
}

/// The error for a file that can't be edited.
pub(super) fn error(path: &std::path::Path, text: &str, kind: &str, trouble: &Trouble) -> Error {
    let before = &text[..text.floor_char_boundary(trouble.at)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let shown = path.display().to_string();
    Error::invalid(format!("{shown} can't be edited, line {line}, column {column}: {} (expected {kind})", trouble.what))
        .with("path", shown)
        .with("line", line)
        .with("column", column)
        .hint("nothing was written: correct the file by hand, or move it away, and run the command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str, dialect: Dialect, path: &[&str], item: Item) -> String {
        let added = add(text, dialect, path, item).ok().unwrap();
        let value = value(&added, dialect).ok().unwrap_or_else(|| panic!("{added}"));
        assert!(value.is_object());
        added
    }

    #[test]
    fn an_element_goes_in_and_out_of_every_shape() {
        let ours = serde_json::json!({"hooks": [{"command": "pd", "args": ["hook", "Stop"]}]});
        for (text, dialect) in [
            ("{}", Dialect::Plain),
            ("{ }\n", Dialect::Plain),
            ("{\n}\n", Dialect::Plain),
            ("{\"a\":1}", Dialect::Plain),
            ("{\"hooks\":{}}", Dialect::Plain),
            ("{\"hooks\":{\"Stop\":[]}}", Dialect::Plain),
            ("{\r\n\t\"hooks\": {\r\n\t\t\"Stop\": [ ]\r\n\t}\r\n}", Dialect::Plain),
            ("{\"hooks\":{\"Stop\":[1 , 2 ]},\"z\":{}}", Dialect::Plain),
            ("{\n // none\n}", Dialect::Comments),
            ("{\"hooks\": {\"Stop\": [ // none yet\n]}}", Dialect::Comments),
            ("{\"hooks\": {\"Stop\": [\n  1 /* one */ , // and, so\n  ], /* x */ }, }", Dialect::Comments),
            ("{\"hooks\": {\"Stop\": [\n  1 // one, \"\n  ]}}", Dialect::Comments),
        ] {
            let added = round(text, dialect, &["hooks", "Stop"], Item::Element(&ours));
            let twice = round(&added, dialect, &["hooks", "Stop"], Item::Element(&ours));
            let path = [Step::Name("hooks"), Step::Name("Stop")];
            let out = |text: &str| {
                let last = value(text, dialect).ok().unwrap()["hooks"]["Stop"].as_array().unwrap().len() - 1;
                remove(text, dialect, &path, last).ok().unwrap().0
            };
            assert_eq!(out(&twice), added);
            assert_eq!(out(&added), text, "by way of {added}");
        }
    }

    /// Documents of random shape and spacing, the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }

        fn blank(&mut self, comments: bool) -> String {
            let all = ["", "", " ", "\n", "\r\n", "\t", "\n    ", " /* a, \"b\" ] */ ", "// } ,\n", "//\r\n  "];
            let kinds = if comments { all.len() } else { 7 };
            (0..self.below(3)).map(|_| all[self.below(kinds as u64) as usize]).collect()
        }

        fn items(&mut self, comments: bool, open: &str, close: &str, items: Vec<String>) -> String {
            let mut text = open.to_owned() + &self.blank(comments);
            for (i, item) in items.iter().enumerate() {
                text += item;
                text += &self.blank(comments);
                if i + 1 < items.len() || comments && self.below(3) == 0 {
                    text.push(',');
                }
                text += &self.blank(comments);
            }
            text + close
        }

        fn value(&mut self, comments: bool, depth: u32) -> String {
            match self.below(if depth > 2 { 3 } else { 5 }) {
                0 => "-1.5e3".to_owned(),
                1 => "\"é, ] } // \\\" \"".to_owned(),
                2 => "null".to_owned(),
                3 => {
                    let items = (0..self.below(3)).map(|_| self.value(comments, depth + 1)).collect();
                    self.items(comments, "[", "]", items)
                }
                _ => self.object(comments, depth + 1, &[]),
            }
        }

        fn object(&mut self, comments: bool, depth: u32, more: &[String]) -> String {
            let names = (0..self.below(3)).map(|i| format!("m{i}")).collect::<Vec<_>>();
            let mut items: Vec<_> = names
                .iter()
                .map(|name| {
                    format!(
                        "\"{name}\"{}:{}{}",
                        self.blank(comments),
                        self.blank(comments),
                        self.value(comments, depth)
                    )
                })
                .collect();
            for item in more {
                items.insert(self.below(items.len() as u64 + 1) as usize, item.clone());
            }
            self.items(comments, "{", "}", items)
        }

        fn document(&mut self, comments: bool) -> String {
            let mut members = Vec::new();
            if self.below(3) > 0 {
                let mut lists = Vec::new();
                if self.below(3) > 0 {
                    let elements = (0..self.below(3)).map(|_| self.value(comments, 2)).collect();
                    lists.push(format!("\"Stop\":{}", self.items(comments, "[", "]", elements)));
                }
                members.push(format!("\"hooks\" : {}", self.object(comments, 2, &lists)));
            }
            let (before, after) = (self.blank(comments), self.blank(comments));
            before + &self.object(comments, 1, &members) + &after
        }
    }

    #[test]
    fn what_goes_in_comes_out_of_any_document() {
        let mut random = Random(7);
        let ours = serde_json::json!({"hooks": [{"args": ["hook", "Stop"]}]});
        let (list, member) = ([Step::Name("hooks"), Step::Name("Stop")], [Step::Name("servers")]);
        for round in 0..4_000 {
            let dialect = if round % 2 == 0 { Dialect::Plain } else { Dialect::Comments };
            let text = random.document(dialect == Dialect::Comments);
            let theirs = value(&text, dialect).unwrap_or_else(|t| panic!("{text}: {}", t.what));
            let count = theirs["hooks"]["Stop"].as_array().map_or(0, Vec::len);
            let mut texts = vec![text];
            for _ in 0..2 {
                texts.push(
                    add(&texts[texts.len() - 1], dialect, &["hooks", "Stop"], Item::Element(&ours)).ok().unwrap(),
                );
            }
            texts.push(add(&texts[2], dialect, &["servers"], Item::Member("pd", &ours)).ok().unwrap());
            let all = value(&texts[3], dialect).unwrap_or_else(|t| panic!("{}: {}", texts[3], t.what));
            assert_eq!(all["hooks"]["Stop"].as_array().unwrap()[count..], [ours.clone(), ours.clone()], "{}", texts[3]);
            assert_eq!(all["servers"]["pd"], ours);
            let out = remove(&texts[3], dialect, &member, 0).ok().unwrap().0;
            assert_eq!(out, texts[2]);
            for place in [1, 0] {
                let out = remove(&texts[place + 1], dialect, &list, count + place).ok().unwrap().0;
                assert_eq!(out, texts[place], "by way of {}", texts[place + 1]);
            }
        }
    }

    #[test]
    fn others_items_behind_ours_stay() {
        let path = [Step::Name("a")];
        for (text, index, left) in [
            ("{\"a\": [1,\n 2, 3]}", 1, "{\"a\": [1,\n 3]}"),
            ("{\"a\": [1, 2]}", 0, "{\"a\": [2]}"),
            ("{\"a\": [ 1 ], \"b\": 2}", 0, "{\"b\": 2}"),
        ] {
            assert_eq!(remove(text, Dialect::Plain, &path, index).ok().unwrap().0, left);
        }
    }

    #[test]
    fn what_has_another_shape_is_refused_with_its_place() {
        for (text, at) in
            [("[]", 0), ("{\"hooks\": []}", 10), ("{\"hooks\": {\"Stop\": 1}}", 19), ("", 0), ("{\"a\" 1}", 5)]
        {
            let one = Value::from(1);
            let trouble = add(text, Dialect::Plain, &["hooks", "Stop"], Item::Element(&one)).err().unwrap();
            assert_eq!(trouble.at, at, "{text}: {}", trouble.what);
        }
        assert!(value("{\"a\": 1, \"a\": 2}", Dialect::Plain).is_err());
        assert!(value("{} // x", Dialect::Plain).is_err());
    }
}
