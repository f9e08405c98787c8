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

/// A docstring, wrapped; nothing where there is nothing to say.
pub(crate) fn docstring(indent: &str, text: &str) -> String {
    let quotes = "\"\"\"";
    let text = text.trim_end().replace('\\', "\\\\").replace(quotes, "\\\"\\\"\\\"");
    if text.is_empty() {
        return String::new();
    }
    // A quotation mark at the end would be one with those that end the docstring.
    let text = text.strip_suffix('"').map_or_else(|| text.clone(), |text| format!("{text}\\\""));
    let mut lines = wrapped(&format!("{quotes}{text}"), WIDTH - indent.len());
    match &mut lines[..] {
        [line] if indent.len() + line.chars().count() + quotes.len() <= WIDTH => line.push_str(quotes),
        _ => lines.push(quotes.to_owned()),
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
}
