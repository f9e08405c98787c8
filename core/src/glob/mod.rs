//! File patterns: which paths they match, and whether two of them share a path.
//!
//! A pattern is relative to a root and separated by `/`. Paths are compared as text, character by character (Unicode
//! scalar values, case counts), and hidden files are ordinary.
//!
//! | syntax | matches |
//! | --- | --- |
//! | `*` | any run of characters within a segment, also none; a segment as a whole is never empty |
//! | `?` | one character, never `/` |
//! | `**` as a whole segment | any number of segments, also none: `src/**` matches `src` too |
//! | `[abc]`, `[a-z]`, `[!a]`, `[^a]` | one character in, or not in, the class, never `/` |
//! | `{a,b}` | either; may be nested, and hold wildcards and `/` |
//! | `\` | takes the next character as it is |
//! | a plain path | the path and everything below it |
//! | a trailing `/` | the directory and everything below it, also after a wildcard: `src/*/` |
//!
//! Braces are expanded first, as a shell does, and each alternative is taken by itself: in `{docs,*.md}` the plain `docs`
//! covers what is below it and `*.md` doesn't. `.` and `""` are the root with everything below it.

mod disk;
mod intersect;
mod parse;
mod relative;
pub(crate) mod work;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use disk::existing_witness;
pub use relative::relative_to;

/// A parsed file pattern, relative to a root, `/`-separated, normalised.
///
/// ```
/// use portdaddy_core::FilePattern;
/// let tests = FilePattern::parse("src/**/*.test.ts")?;
/// let auth = FilePattern::parse("src/auth/**")?;
/// assert_eq!(tests.intersect(&auth).as_deref(), Some("src/auth/x.test.ts"));
/// # Ok::<(), portdaddy_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePattern {
    text: String,
    /// One list of segments for each brace alternative. A plain one, and one with a trailing `/`, ends in [`Seg::Deep`].
    alternatives: Vec<Vec<Seg>>,
    literal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seg {
    /// `**`
    Deep,
    Lit(String),
    /// At least one token, never two stars in a row.
    Glob(Vec<Tok>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tok {
    Star,
    One,
    Char(char),
    Class(Class),
}

/// Sorted ranges of scalar values that are neither empty nor adjacent, both ends inclusive; never NUL or `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class(Arc<[(u32, u32)]>);

impl Tok {
    /// Whether the token, or one round of a star, takes `c`.
    fn has(&self, c: char) -> bool {
        match self {
            Tok::Star | Tok::One => true,
            Tok::Char(own) => *own == c,
            Tok::Class(Class(ranges)) => holds(ranges, c),
        }
    }
}

/// Whether sorted ranges hold a character. A class may have two thousand of them, and it is asked often.
fn holds(ranges: &[(u32, u32)], c: char) -> bool {
    let after = ranges.partition_point(|range| range.0 <= c as u32);
    after > 0 && c as u32 <= ranges[after - 1].1
}

impl FilePattern {
    /// Parses a pattern that is already relative to its root (see [`relative_to`]).
    ///
    /// Fails with `INVALID` for a class that is empty or unclosed, an unclosed brace, a lone `\` at the end, control
    /// characters, a leading `/`, a `..` segment, more than 4,096 bytes, a segment of more than 255 characters, and braces
    /// with an empty alternative or with more than 1,000 (together 32,768 characters) after expansion. From their first wildcards on, these may have 5,000
    /// characters together, a class counting as its ranges: that bounds the work of comparing two patterns.
    pub fn parse(text: &str) -> Result<FilePattern> {
        parse::parse(text)
    }

    /// The canonical text, which is what is stored: parsing it gives the same pattern. The root is `.`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no wildcard: one path and everything below it.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// The same path taken for a file: nothing is below it. Patterns with wildcards stay what they are.
    #[must_use]
    pub fn into_file(mut self) -> FilePattern {
        if self.literal {
            for segs in self.alternatives.iter_mut().filter(|segs| segs.len() > 1) {
                segs.pop_if(|last| matches!(last, Seg::Deep));
            }
        }
        self
    }

    /// The leading plain directories, or the whole path of a literal pattern, without escapes:
    /// `src/api/*` gives `src/api/`, `src/a.ts` gives `src/a.ts`, and `**/x` gives nothing.
    ///
    /// Two patterns can only overlap if the segments of one's prefix begin the other's.
    pub fn literal_prefix(&self) -> String {
        let mut prefix = self.prefix_segments().join("/");
        if !self.literal && !prefix.is_empty() {
            prefix.push('/');
        }
        prefix
    }

    fn prefix_segments(&self) -> Vec<&str> {
        let leading = |segs: &'_ [Seg]| segs.iter().take_while(|s| matches!(s, Seg::Lit(_))).count();
        let Some((first, others)) = self.alternatives.split_first() else { return Vec::new() };
        let shared = others.iter().fold(leading(first), |n, segs| {
            first[..n.min(leading(segs))].iter().zip(segs).take_while(|(a, b)| a == b).count()
        });
        first[..shared].iter().filter_map(|s| if let Seg::Lit(name) = s { Some(name.as_str()) } else { None }).collect()
    }

    /// Whether the pattern matches `path`: relative to the root, `/`-separated, without a leading slash. Empty and `.`
    /// segments are passed over; a path with `..` matches nothing.
    pub fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        !names.contains(&"..") && self.alternatives.iter().any(|segs| path_matches(segs, &names))
    }

    /// A path that both match, if there is any: exact, whatever exists on disk. The root is `.`.
    pub fn intersect(&self, other: &FilePattern) -> Option<String> {
        self.alternatives.iter().find_map(|a| other.alternatives.iter().find_map(|b| intersect::path_witness(a, b)))
    }

    /// The pattern text that matches `path` as it is: wildcards escaped.
    pub fn escape(path: &str) -> String {
        let mut out = String::with_capacity(path.len());
        for c in path.chars() {
            if matches!(c, '*' | '?' | '[' | '{' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out
    }
}

impl fmt::Display for FilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Going back only to the last star is enough, because what stands between two stars may as well match as early as it can.
fn path_matches(segs: &[Seg], names: &[&str]) -> bool {
    let (mut s, mut n) = (0, 0);
    let mut retry = None;
    loop {
        work::steps(1);
        match segs.get(s) {
            Some(Seg::Deep) => {
                s += 1;
                retry = Some((s, n));
                continue;
            }
            Some(seg) if n < names.len() && segment_matches(seg, names[n]) => {
                (s, n) = (s + 1, n + 1);
                continue;
            }
            None if n == names.len() => return true,
            _ => {}
        }
        match retry {
            Some((after, from)) if from < names.len() => {
                (s, n) = (after, from + 1);
                retry = Some((s, n));
            }
            _ => return false,
        }
    }
}

fn segment_matches(seg: &Seg, name: &str) -> bool {
    match seg {
        Seg::Deep => true,
        Seg::Lit(own) => own == name,
        Seg::Glob(toks) => name_matches(toks, name),
    }
}

/// The same for the characters of one name.
fn name_matches(toks: &[Tok], name: &str) -> bool {
    let mut t = 0;
    let mut rest = name.chars();
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        work::steps(1);
        match toks.get(t) {
            Some(Tok::Star) => {
                t += 1;
                retry = Some((t, rest.clone()));
                continue;
            }
            Some(tok) if rest.next().is_some_and(|c| tok.has(c)) => {
                t += 1;
                continue;
            }
            None if rest.as_str().is_empty() => return true,
            _ => {}
        }
        match &mut retry {
            Some((after, from)) => {
                if from.next().is_none() {
                    return false;
                }
                (t, rest) = (*after, from.clone());
            }
            None => return false,
        }
    }
}

/// Lines of a file, both ends inclusive, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LineRange {
    /// The first line.
    pub first: u32,
    /// The last line, which belongs to the range.
    pub last: u32,
}

impl LineRange {
    /// Whether some line is in both.
    pub fn meets(self, other: LineRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// As in `path:10-50`: `10-50`, or `10` for one line.
impl fmt::Display for LineRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Where a text's tail `:10-50`, `:10`, `#L10-L50` or `#L10` begins, if it has one that isn't escaped.
fn line_tail(text: &str) -> Option<usize> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let at = text.rfind([':', '#'])?;
    let tail = &text[at + 1..];
    let lines = if text.as_bytes()[at] == b':' {
        tail.split_once('-').map_or(digits(tail), |(a, b)| digits(a) && digits(b))
    } else {
        let line = |s: &str| s.strip_prefix('L').is_some_and(digits);
        tail.split_once('-').map_or(line(tail), |(a, b)| line(a) && line(b))
    };
    let backslashes = text[..at].bytes().rev().take_while(|b| *b == b'\\').count();
    (at > 0 && lines && backslashes % 2 == 0).then_some(at)
}

/// Splits `path:10-50`, `path:10`, `path#L10-L50` or `path#L10` into the pattern's text and the lines. Any other tail
/// belongs to the pattern, and so does one whose `:` or `#` is escaped by `\`.
///
/// Fails with `INVALID` for line 0, a backward range, a number over 4,294,967,295, and for `path:10:5`, which is a line and a
/// column as compilers print them.
pub fn split_lines(input: &str) -> Result<(&str, Option<LineRange>)> {
    let Some(at) = line_tail(input) else { return Ok((input, None)) };
    let (path, tail) = (&input[..at], &input[at + 1..]);
    let wrong = |why: &str| Error::invalid(format!("the lines of {input:?} {why}")).with("value", input);
    let number = |s: &str| {
        s.trim_start_matches('L')
            .parse::<u32>()
            .map_err(|e| wrong("are out of range").caused_by(e).hint("lines count from 1 to 4294967295"))
    };
    let (first, last) = tail.split_once('-').unwrap_or((tail, tail));
    let (first, last) = (number(first)?, number(last)?);
    if first == 0 || last == 0 {
        return Err(wrong("name line 0, and lines count from 1").hint(format!("write {path}:1-{}", last.max(1))));
    }
    if first > last {
        return Err(wrong("run backward").hint(format!("write {path}:{last}-{first}")));
    }
    if let Some(column) = line_tail(path) {
        let file = &path[..column];
        return Err(wrong("are given twice, or are a line and a column")
            .hint(format!("write {file}:{}, or '\\:' for a colon in the file's name", &path[column + 1..])));
    }
    Ok((path, Some(LineRange { first, last })))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn pattern(text: &str) -> FilePattern {
        FilePattern::parse(text).unwrap()
    }

    /// The witness, checked to be one.
    pub(super) fn meet(a: &str, b: &str) -> Option<String> {
        let (a, b) = (pattern(a), pattern(b));
        let witness = a.intersect(&b);
        if let Some(path) = &witness {
            assert!(a.matches(path) && b.matches(path), "{path} is no witness for {a} and {b}");
        }
        witness
    }

    #[test]
    fn matching_follows_the_table() {
        for (text, yes, no) in [
            ("src", vec!["src", "src/a", "src/a/b", "./src//a"], vec!["srcs", "a/src", ".", "src/../src"]),
            ("src/", vec!["src", "src/a"], vec!["srcs"]),
            (".", vec!["", ".", "a", "a/b"], vec!["..", "../a"]),
            ("", vec![".", "a/b"], vec![".."]),
            ("src/**", vec!["src", "src/a", "src/a/b"], vec!["srcs", "."]),
            ("src/*", vec!["src/a", "src/.a"], vec!["src", "src/a/b"]),
            ("src/*/", vec!["src/a", "src/a/b/c"], vec!["src"]),
            ("**/a?", vec!["ab", "x/y/ab"], vec!["a", "ab/c"]),
            ("a**b", vec!["ab", "axb"], vec!["a/b"]),
            ("a/**/b*", vec!["a/b", "a/x/y/bc"], vec!["a/x", "ab"]),
            ("[!a-c]x", vec!["dx", "/dx"], vec!["ax", "x", "/x"]),
            ("[a\\]-]", vec!["a", "]", "-"], vec!["\\", "b"]),
            ("[é-ü]", vec!["ö"], vec!["e"]),
            ("{docs,*.md}", vec!["docs", "docs/a/b", "x.md"], vec!["x.md/a"]),
            ("a{,/b{1,2}}/*.rs", vec!["a/x.rs", "a/b1/x.rs", "a/b2/x.rs"], vec!["a/b/x.rs"]),
            ("{*,a}*/c", vec!["x/y/c", "c", "ab/c"], vec!["ab"]),
            ("\\*.rs", vec!["*.rs", "*.rs/below"], vec!["a.rs"]),
            ("a,b}", vec!["a,b}"], vec!["a"]),
        ] {
            for path in yes {
                assert!(pattern(text).matches(path), "{text} should match {path}");
            }
            for path in no {
                assert!(!pattern(text).matches(path), "{text} should not match {path}");
            }
        }
    }

    #[test]
    fn canonical_texts_parse_to_themselves() {
        for (text, canonical) in [
            ("", "."),
            ("./", "."),
            ("./src//a/./", "src/a"),
            ("src/*/", "src/*/"),
            ("src/*/.", "src/*/"),
            ("\\a\\*", "a\\*"),
            ("{a,b}/", "{a,b}"),
            ("{a\\,b,[,}]}//*", "{a\\,b,[,}]}/*"),
            ("a:10", "a\\:10"),
            ("a:10:5", "a:10\\:5"),
            ("**/**", "**/**"),
        ] {
            let parsed = pattern(text);
            assert_eq!(parsed.as_str(), canonical, "{text}");
            assert_eq!(pattern(canonical), parsed, "{text}");
            assert_eq!(split_lines(canonical).unwrap(), (canonical, None));
        }
    }

    #[test]
    fn a_file_has_nothing_below_it() {
        let file = pattern("src/a.ts").into_file();
        assert!(file.matches("src/a.ts") && !file.matches("src/a.ts/x.test.ts"));
        assert_eq!(file.intersect(&pattern("src/**/*.test.ts")), None);
        assert_eq!(file.intersect(&pattern("src/**")).as_deref(), Some("src/a.ts"));
        assert_eq!(file.intersect(&pattern("src")).as_deref(), Some("src/a.ts"));
        assert_eq!(file.literal_prefix(), "src/a.ts");
        assert_eq!(pattern("src/*").into_file(), pattern("src/*"));
    }

    #[test]
    fn prefixes_are_the_plain_leading_directories() {
        for (text, prefix, literal) in [
            ("src/api/*", "src/api/", false),
            ("src/a.ts", "src/a.ts", true),
            ("**/x", "", false),
            (".", "", true),
            ("src/**", "src/", false),
            ("src/{a,b}.ts", "src/", false),
            ("{src/a,src/b/c}/d", "src/", false),
            ("{src,src/a*}", "src/", false),
            ("a\\*/b", "a*/b", true),
            ("{a}", "a", true),
        ] {
            assert_eq!(
                (pattern(text).literal_prefix().as_str(), pattern(text).is_literal()),
                (prefix, literal),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = "a".repeat(5000);
        let name = format!("{}*", "a".repeat(256));
        let braces = "{a,b}".repeat(10);
        let huge = format!("{{{}}}/{}", vec!["a"; 900].join(","), "b*/".repeat(100));
        let nested = format!("{}a{}", "{".repeat(20), "}".repeat(20));
        for (text, why) in [
            ("a[", "never closed"),
            ("a[b", "never closed"),
            ("a[b-", "never closed"),
            ("[]", "matches no character"),
            ("[!]", "matches no character"),
            ("[/]", "matches no character"),
            ("[b-a]", "backward range"),
            ("{a,b", "never closed"),
            ("{a,{b}", "never closed"),
            ("a\\", "lone"),
            ("[a\\", "lone"),
            ("a\0b", "control character U+0000"),
            ("a\n", "control character U+000A"),
            ("/a", "begins with '/'"),
            ("{/a,b}", "begins with '/'"),
            ("a/../b", "'..'"),
            ("{..,a}", "'..'"),
            ("{,a}", "empty alternative"),
            ("./{,a}", "empty alternative"),
            (&long, "5000 bytes"),
            (&name, "more than 255"),
            (&braces, "expands to 1024"),
            (&huge, "over the limit"),
            (&nested, "nests braces"),
        ] {
            let e = FilePattern::parse(text).unwrap_err();
            assert_eq!(e.kind(), crate::ErrorKind::Invalid);
            assert!(e.message().contains(why), "{}: {}", text.escape_debug(), e.message());
            assert!(e.next_step().is_some(), "{}", e.message());
        }
    }

    #[test]
    fn escaped_paths_match_only_themselves() {
        let path = "app/[id]/{x}*?\\.tsx";
        let escaped = pattern(&FilePattern::escape(path));
        assert!(escaped.is_literal() && escaped.matches(path));
        assert_eq!(escaped.literal_prefix(), path);
        assert!(!escaped.matches("app/i/{x}*?\\.tsx"));
    }

    #[test]
    fn lines_are_split_only_from_exact_tails() {
        let range = |first, last| Some(LineRange { first, last });
        for (input, path, lines) in [
            ("src/a.ts:10-50", "src/a.ts", range(10, 50)),
            ("src/a.ts:10", "src/a.ts", range(10, 10)),
            ("src/a.ts#L10-L50", "src/a.ts", range(10, 50)),
            ("src/a.ts#L7", "src/a.ts", range(7, 7)),
            ("src/a.ts", "src/a.ts", None),
            ("src/a.ts:x", "src/a.ts:x", None),
            ("src/a.ts:10-", "src/a.ts:10-", None),
            ("src/a.ts#10", "src/a.ts#10", None),
            ("src/a.ts#L1-5", "src/a.ts#L1-5", None),
            ("a\\:10", "a\\:10", None),
            ("a\\\\:10", "a\\\\", range(10, 10)),
            (":10", ":10", None),
            ("", "", None),
        ] {
            assert_eq!(split_lines(input).unwrap(), (path, lines), "{input}");
        }
        for (input, why) in [
            ("a:0", "line 0"),
            ("a:0-5", "line 0"),
            ("a:5-4", "backward"),
            ("a#L5-L4", "backward"),
            ("a:99999999999", "out of range"),
            ("src/a.rs:10:5", "a line and a column"),
        ] {
            let e = split_lines(input).unwrap_err();
            assert!(e.message().contains(why) && e.next_step().is_some(), "{input}: {e:?}");
        }
    }

    #[test]
    fn line_ranges_meet_at_shared_lines() {
        let range = |first, last| LineRange { first, last };
        assert!(range(1, 5).meets(range(5, 9)));
        assert!(range(1, 9).meets(range(4, 5)));
        assert!(!range(1, 4).meets(range(5, 9)));
        assert_eq!((range(1, 4).to_string(), range(3, 3).to_string()), ("1-4".into(), "3".into()));
    }
}
