//! Pieces of Python's source.

use crate::docs::{WIDTH, wrapped};

pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// A tuple after what it is given to.
pub(crate) fn tuple(head: &str, items: &[String]) -> String {
    match items {
        [one] => format!("{head}({one},)\n"),
        _ => bracketed(&format!("{head}("), items, ")"),
    }
}

/// Items between brackets, on one line where that fits.
pub(crate) fn bracketed(head: &str, items: &[String], end: &str) -> String {
    let line = format!("{head}{}{end}\n", items.join(", "));
    if line.chars().count() <= WIDTH + 1 {
        return line;
    }
    let indent = &head[..head.len() - head.trim_start().len()];
    let items: String = items.iter().map(|item| format!("{indent}    {item},\n")).collect();
    format!("{head}\n{items}{indent}{end}\n")
}

const QUOTES: &str = "\"\"\"";

/// A docstring, wrapped; nothing where there is nothing to say.
pub(crate) fn docstring(indent: &str, text: &str) -> String {
    quoted_lines(indent, wrapped(&opened(text), WIDTH - indent.len()))
}

/// A docstring whose lines stay as they are. Only where the first is too long with its quotation marks, its paragraph
/// is wrapped.
pub(crate) fn written_docstring(indent: &str, text: &str) -> String {
    let text = opened(text);
    let (first, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let width = WIDTH - indent.len();
    let mut lines: Vec<String> = first.lines().map(str::to_owned).collect();
    if lines.first().is_some_and(|line| line.chars().count() > width) {
        lines = wrapped(&first.replace('\n', " "), width);
    }
    if !rest.is_empty() {
        lines.push(String::new());
        lines.extend(rest.lines().map(str::to_owned));
    }
    quoted_lines(indent, lines)
}

/// The beginning and the text of a docstring; nothing where there is none.
fn opened(text: &str) -> String {
    let text = text.trim_end().replace('\\', "\\\\").replace(QUOTES, "\\\"\\\"\\\"");
    // A quotation mark at the end would be one with those that end the docstring.
    match text.strip_suffix('"') {
        _ if text.is_empty() => text,
        Some(before) => format!("{QUOTES}{before}\\\""),
        None => format!("{QUOTES}{text}"),
    }
}

fn quoted_lines(indent: &str, mut lines: Vec<String>) -> String {
    match &mut lines[..] {
        [] => {}
        [line] if line.is_empty() => lines.clear(),
        [line] if indent.len() + line.chars().count() + QUOTES.len() <= WIDTH => line.push_str(QUOTES),
        _ => lines.push(QUOTES.to_owned()),
    }
    lines.iter().map(|line| format!("{indent}{line}").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stand_on_one_line_where_that_fits() {
        let item = "a".repeat(40);
        assert_eq!(bracketed("x = [", &["a".to_owned(), "b".to_owned()], "]"), "x = [a, b]\n");
        let long = bracketed("  x = [", &[item.clone(), item.clone(), item.clone()], "]");
        assert_eq!(long, format!("  x = [\n      {item},\n      {item},\n      {item},\n  ]\n"));
        assert_eq!(tuple("x = ", &["a".to_owned()]), "x = (a,)\n");
        assert_eq!(quoted("a \"b\" \\"), r#""a \"b\" \\""#);
    }

    #[test]
    fn docstrings_are_wrapped_and_never_end_early() {
        assert_eq!(docstring("", "A \"\"\" and \\ and \"b\""), "\"\"\"A \\\"\\\"\\\" and \\\\ and \"b\\\"\"\"\"\n");
        assert_eq!(docstring("", ""), "");
        let long = docstring("    ", &"word ".repeat(40));
        assert!(long.lines().all(|line| line.len() <= WIDTH) && long.ends_with(" word\n    \"\"\"\n"), "{long}");
    }

    #[test]
    fn docstrings_that_are_written_already_stay() {
        assert_eq!(written_docstring("", "A \\."), "\"\"\"A \\\\.\"\"\"\n");
        assert_eq!(written_docstring("", ""), "");
        let kept = written_docstring("  ", "A\nb.\n\n- c\n    d");
        assert_eq!(kept, "  \"\"\"A\n  b.\n\n  - c\n      d\n  \"\"\"\n");
        let first = "a".repeat(100);
        let long = written_docstring("  ", &format!("{first} 12345678901234 b\nc.\n\nd\ne"));
        assert_eq!(long, format!("  \"\"\"{first} 12345678901234\n  b c.\n\n  d\n  e\n  \"\"\"\n"));
    }
}
