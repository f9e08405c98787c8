//! A block of lines at the end of a text file, and out of it again to the last byte.
//!
//! An empty line leads it, and how it ends says what was there before: behind text that ended a line, it ends its line,
//! too; behind text that didn't, it doesn't. Alone in the file, it ends no line in one that was there and empty, a line in
//! one that we made, and with an empty line more where the directory was there and empty, which has to stay.

use std::ops::Range;

/// What is left of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// This text.
    Text(String),
    /// Nothing but what we made: the file goes. `dir`: so does its directory, if that is empty then.
    Nothing { dir: bool },
}

/// How a file that is made ends.
pub(super) fn ending(empty_dir: bool) -> &'static str {
    if empty_dir { "\n\n" } else { "\n" }
}

/// Puts the block (lines ending in `\n`, the last in none) at the end of a text that is there.
pub(super) fn append(text: &str, block: &str) -> String {
    if text.is_empty() {
        return block.to_owned();
    }
    let newline = super::newline(text);
    let block = block.replace('\n', newline);
    if text.ends_with('\n') {
        format!("{text}{newline}{block}{newline}")
    } else {
        format!("{text}{newline}{newline}{block}")
    }
}

/// Takes the block out that stands at `range`, from its first byte to the last one of its last line without its end.
pub(super) fn take(text: &str, range: Range<usize>) -> Left {
    let newline = super::newline(&text[range.clone()]);
    let (before, after) = (&text[..range.start], &text[range.end..]);
    if before.is_empty() {
        return match after {
            "\n" => Left::Nothing { dir: true },
            "\n\n" => Left::Nothing { dir: false },
            _ => Left::Text(after.strip_prefix(newline).unwrap_or(after).to_owned()),
        };
    }
    let once = before.strip_suffix(newline).unwrap_or(before);
    let left = match after.strip_prefix(newline) {
        Some(rest) => format!("{once}{rest}"),
        None => format!("{}{after}", once.strip_suffix(newline).unwrap_or(once)),
    };
    Left::Text(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "<!-- b -->\nwords\n<!-- e -->";

    #[test]
    fn it_goes_in_and_out_of_every_ending() {
        for text in ["", "\n", "a", "a\n", "a\r\n", "a\r\nb", "a\n\n", "a\r", "a\nb\r\n", "a\r\nb\n", "ü \t"] {
            let with = append(text, BLOCK);
            let start = with.find("<!-- b").unwrap();
            let end = with.find("e -->").unwrap() + 5;
            assert_eq!(take(&with, start..end), Left::Text(text.to_owned()), "{with:?}");
        }
        for (empty_dir, dir) in [(false, true), (true, false)] {
            let made = format!("{BLOCK}{}", ending(empty_dir));
            assert_eq!(take(&made, 0..BLOCK.len()), Left::Nothing { dir });
        }
    }

    #[test]
    fn what_others_wrote_behind_it_stays() {
        let with = format!("{}more\n", append("a\n", BLOCK));
        let start = with.find("<!-- b").unwrap();
        assert_eq!(take(&with, start..with.find("e -->").unwrap() + 5), Left::Text("a\nmore\n".to_owned()));
    }
}
