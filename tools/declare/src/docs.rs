//! Documentation: from rustdoc to text that reads in every language.

/// Columns of a line of what is printed.
pub(crate) const WIDTH: usize = 120;

/// The text of doc comments, given line by line, without links and without what only Rust's reader needs (examples,
/// and all from the first heading on). Paragraphs stand on one line each, apart by an empty line.
pub(crate) fn plain(lines: &[String]) -> String {
    let mut paragraphs = vec![String::new()];
    let mut in_example = false;
    for line in lines.iter().map(|line| line.trim()) {
        if line.starts_with("```") {
            in_example = !in_example;
        } else if in_example {
            continue;
        } else if line.starts_with('#') {
            break;
        } else if line.is_empty() {
            paragraphs.push(String::new());
        } else if let Some(last) = paragraphs.last_mut() {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(line);
        }
    }
    paragraphs.retain(|p| !p.is_empty());
    without_links(&paragraphs.join("\n\n"))
}

/// A link to a name, with or without its target, becomes the name in backticks.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        out.push_str(&format!("{before}`{name}`"));
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    out + rest
}

/// The text up to the first full stop that ends a sentence, without those in code.
pub(crate) fn first_sentence(text: &str) -> &str {
    let text = text.split("\n\n").next().unwrap_or_default();
    let mut in_code = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        in_code ^= c == '`';
        if c == '.' && !in_code && chars.peek().is_none_or(|(_, next)| next.is_whitespace()) {
            return &text[..=at];
        }
    }
    text
}

/// Replaces what stands in backticks by what `name` gives for it.
pub(crate) fn rename(text: &str, name: impl Fn(&str) -> Option<String>) -> String {
    let mut parts: Vec<String> = text.split('`').map(str::to_owned).collect();
    for code in parts.iter_mut().skip(1).step_by(2) {
        if let Some(new) = name(code) {
            *code = new;
        }
    }
    parts.join("`")
}

/// Breaks a text into lines of at most `width` columns.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        // The further lines of an item of a list stand below its text.
        let hang = if paragraph.starts_with("- ") { "  " } else { "" };
        let mut line = String::new();
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::replace(&mut line, format!("{hang}{word}")));
            } else {
                line.push_str(if line.is_empty() { "" } else { " " });
                line.push_str(word);
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| format!(" {line}")).collect()
    }

    #[test]
    fn rustdoc_becomes_paragraphs_without_links_examples_and_headings() {
        let text = lines(
            "Gives it to [`notes`](Self::notes)\nor [`Warning`].\n\nSecond.\n```no_run\nlet a = 1;\n\n```\nThird.\n\n# Errors\n`INVALID`.",
        );
        assert_eq!(plain(&text), "Gives it to `notes` or `Warning`.\n\nSecond. Third.");
        assert_eq!(plain(&[]), "");
        assert_eq!(without_links("`project[:stack[:context]]` and [`open"), "`project[:stack[:context]]` and [`open");
    }

    #[test]
    fn a_sentence_ends_at_a_full_stop_before_a_space() {
        assert_eq!(first_sentence("Lists agents. Whoever"), "Lists agents.");
        assert_eq!(first_sentence("In `a. b` of 0.1 ends.\n\nNext."), "In `a. b` of 0.1 ends.");
        assert_eq!(first_sentence("No stop\n\nNext."), "No stop");
    }

    #[test]
    fn long_lines_are_broken_and_items_of_lists_hang() {
        assert_eq!(wrapped("aa bb cc\n\n- dd ee ff", 6), ["aa bb", "cc", "", "- dd", "  ee", "  ff"]);
        assert_eq!(wrapped("toolong", 3), ["toolong"]);
    }

    #[test]
    fn only_code_is_renamed() {
        let upper = |s: &str| (s == "a").then(|| "A".to_owned());
        assert_eq!(rename("a `a` a `b`", upper), "a `A` a `b`");
    }
}
