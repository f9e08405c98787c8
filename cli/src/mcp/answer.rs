//! What a call gives back: a few words, the same facts as a document, and neither longer than a model should have to read.

use portdaddy_core::Error;
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};

use crate::output::escape;

/// The longest document, in bytes of JSON, and the longest text.
pub(super) const LONGEST: usize = 8 << 10;
const LONGEST_TEXT: usize = 4 << 10;
/// The longest text of another's, in characters.
const LONGEST_WORDS: usize = 1_000;

/// What a tool has to say.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) document: Value,
}

pub(super) fn result(answer: Result<Answer, Error>) -> CallToolResult {
    match answer {
        Ok(Answer { text, document }) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(short(&text))]);
            result.structured_content = Some(bounded(document));
            result
        }
        Err(e) => {
            let hint = e.next_step().map(|hint| format!(". {hint}")).unwrap_or_default();
            let text = format!("{}: {}{hint}", e.kind().code(), e.message());
            let mut result = CallToolResult::error(vec![ContentBlock::text(short(&text))]);
            result.structured_content = Some(bounded(json!({ "error": e })));
            result
        }
    }
}

/// Lines, without power over whatever shows them.
fn short(text: &str) -> String {
    let mut safe = text.lines().map(escape).collect::<Vec<_>>().join("\n");
    if safe.len() > LONGEST_TEXT {
        safe.truncate(safe.floor_char_boundary(LONGEST_TEXT));
        safe.push_str("\n… (cut)");
    }
    safe
}

/// The document within its bound: long words are cut, then lists, the longest first, and `left_out` says how many items of which.
fn bounded(mut document: Value) -> Value {
    soften(&mut document, LONGEST_WORDS);
    if !document.is_object() {
        document = json!({ "value": document });
    }
    let mut left_out = Map::new();
    let mut rounds = 0;
    // Room for what is said about the cuts.
    while size(&document) + 200 > LONGEST {
        let over = size(&document) + 200 - LONGEST;
        rounds += 1;
        let Some((name, list)) = longest_list(&mut document, rounds < 100) else {
            let limit = longest_words(&document) / 2;
            if limit < 16 {
                document = json!({"cut": "the result is too long to be shown"});
                break;
            }
            soften(&mut document, limit);
            continue;
        };
        // The journal ends with what is newest; other lists begin with what matters most.
        let from_front = name == "notes";
        let mut gone = 0;
        let mut saved = 0;
        while saved < over && gone < list.len() {
            saved += size(&list[if from_front { gone } else { list.len() - 1 - gone }]) + 1;
            gone += 1;
        }
        if from_front {
            list.drain(..gone);
        } else {
            list.truncate(list.len() - gone);
        }
        let before = left_out.get(&name).and_then(Value::as_u64).unwrap_or(0);
        left_out.insert(name, json!(before + gone as u64));
    }
    if let (Value::Object(object), false) = (&mut document, left_out.is_empty()) {
        object.insert("left_out".to_owned(), Value::Object(left_out));
    }
    document
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// Cuts long strings, and escapes what has power over a terminal in all of them.
fn soften(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) => {
            let count = text.chars().count();
            let kept: String = text.chars().take(limit).collect();
            let lines: Vec<_> =
                kept.split('\n').map(|l| l.split('\t').map(escape).collect::<Vec<_>>().join("\t")).collect();
            *text = lines.join("\n");
            if count > limit {
                *text += &format!("… ({} more characters)", count - limit);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|v| soften(v, limit)),
        Value::Object(all) => all.values_mut().for_each(|v| soften(v, limit)),
        _ => {}
    }
}

fn longest_words(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(all) => all.iter().map(longest_words).max().unwrap_or(0),
        Value::Object(all) => all.values().map(longest_words).max().unwrap_or(0),
        _ => 0,
    }
}

/// The list that takes most room among those that hold no other (or among all, when that would take long), by its name.
fn longest_list(value: &mut Value, innermost: bool) -> Option<(String, &mut Vec<Value>)> {
    let mut lists = Vec::new();
    survey(value, "", "", &mut lists);
    let wanted = lists.into_iter().filter(|list| list.innermost || !innermost);
    let List { pointer, name, .. } = wanted.max_by_key(|list| list.size)?;
    value.pointer_mut(&pointer).and_then(Value::as_array_mut).map(|list| (name, list))
}

struct List {
    size: usize,
    pointer: String,
    name: String,
    innermost: bool,
}

/// Finds every list that isn't empty.
fn survey(value: &Value, pointer: &str, name: &str, lists: &mut Vec<List>) {
    let before = lists.len();
    match value {
        Value::Array(all) if !all.is_empty() => {
            for (i, item) in all.iter().enumerate() {
                survey(item, &format!("{pointer}/{i}"), name, lists);
            }
            let innermost = lists.len() == before;
            lists.push(List { size: size(value), pointer: pointer.to_owned(), name: name.to_owned(), innermost });
        }
        Value::Object(all) => {
            for (key, item) in all {
                let part = key.replace('~', "~0").replace('/', "~1");
                survey(item, &format!("{pointer}/{part}"), key, lists);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_document_is_cut_and_says_by_how_much() {
        let notes: Vec<_> = (0..1_000).map(|i| json!({"seq": i, "text": format!("note {i}")})).collect();
        let cut = bounded(json!({"notes": notes, "elsewhere": 0}));
        let kept = cut["notes"].as_array().unwrap();
        assert!(size(&cut) <= LONGEST && kept.len() > 100, "{}", size(&cut));
        assert_eq!(cut["left_out"]["notes"], json!(1_000 - kept.len()));
        assert_eq!(kept.last().unwrap()["seq"], 999);
        let cut = bounded(json!({"payload": "x".repeat(1 << 20), "list": [["a".repeat(20_000)]]}));
        assert!(size(&cut) <= LONGEST && cut["payload"].as_str().unwrap().contains("more characters"));
        let wide: Map<_, _> = (0..5_000).map(|i| (i.to_string(), json!(i))).collect();
        assert!(size(&bounded(json!({ "payload": wide }))) <= LONGEST);
    }

    #[test]
    fn others_words_have_no_power() {
        let cut = bounded(json!({"text": "a\u{1b}[31m\nb\u{202e}"}));
        assert_eq!(cut["text"], "a\\x1b[31m\nb\\u{202e}");
        assert_eq!(short("a\u{7}\nb"), "a\\x07\nb");
    }
}
