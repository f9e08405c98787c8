//! From a pattern's text to its alternatives: lists of segments, braces expanded, `.` and empty segments gone.

use std::sync::Arc;

use super::{Class, FilePattern, Seg, Tok, work};
use crate::error::{Error, Result};

const MAX_BYTES: usize = 4096;
const MAX_EXPANSIONS: usize = 1000;
/// Bounds the memory and time of patterns like `{a,b,…}/` before a long tail, which expansion multiplies.
const MAX_EXPANDED: usize = 32_768;
/// The same from the first wildcard on, of all alternatives together. What stands before is compared as names; behind it,
/// comparing two patterns takes time of the product of these sizes. Without braces every pattern fits.
const MAX_WILD: usize = 5000;
/// Braces are parsed by recursion; nobody nests this deep.
const MAX_DEPTH: usize = 16;
/// No filesystem in use has longer file names. It also bounds the product of two segments.
const MAX_NAME: usize = 255;

/// What `/`-less paths can be made of: every Unicode scalar value but NUL and `/`.
const UNIVERSE: [(u32, u32); 3] = [(1, 0x2E), (0x30, 0xD7FF), (0xE000, 0x10FFFF)];

enum Node {
    Slash,
    Tok(Tok),
    /// The class and its text.
    Class(Class, String),
    Alt(Vec<Vec<Node>>),
}

/// A token of an expanded alternative; `None` is the separator.
type Piece = Option<Tok>;

pub(super) fn parse(text: &str) -> Result<FilePattern> {
    check_length(text)?;
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(wrong(text, &format!("has the control character U+{:04X}", c as u32))
            .hint("leave control characters out; `?` matches any one character"));
    }
    let mut parser = Parser { text, rest: text };
    let nodes = parser.sequence(0)?;
    if matches!(nodes.first(), Some(Node::Slash)) {
        return Err(wrong(text, "begins with '/', and a pattern is relative to its root")
            .hint("leave out the leading '/', or resolve the path against its root first"));
    }
    let (count, size) = measure(&nodes);
    if count > MAX_EXPANSIONS || size > MAX_EXPANDED {
        return Err(wrong(
            text,
            &format!(
                "expands to {count} alternatives of {size} characters, over the limit of {MAX_EXPANSIONS} and {MAX_EXPANDED}"
            ),
        )
        .hint("use '*' or '**' in place of some of the braces, or give several patterns"));
    }

    let braces = nodes.iter().any(|n| matches!(n, Node::Alt(_)));
    let mut alternatives: Vec<Vec<Seg>> = Vec::with_capacity(count);
    let mut all_plain = true;
    let mut wild = 0;
    for pieces in expand(&nodes) {
        let (segs, plain) = segments(text, &pieces)?;
        if braces && matches!(segs[..], [Seg::Deep]) && plain {
            return Err(wrong(text, "has an empty alternative, which would mean the whole root")
                .hint("fill the alternative, or write '**' for everything"));
        }
        all_plain &= plain;
        wild += size_from_first_wildcard(&segs);
        if !alternatives.contains(&segs) {
            alternatives.push(segs);
        }
    }
    if wild > MAX_WILD {
        return Err(wrong(
            text,
            &format!(
                "expands to {} alternatives of {wild} characters from their first wildcards on, over the limit of {MAX_WILD}",
                alternatives.len()
            ),
        )
        .hint("use '*' or '**' in place of some of the braces, or give several patterns"));
    }
    let text = canonical(&nodes, all_plain);
    check_length(&text)?;
    let literal = all_plain && alternatives.len() == 1;
    Ok(FilePattern { text, alternatives, literal })
}

fn wrong(text: &str, why: &str) -> Error {
    Error::invalid(format!("the file pattern {text:?} {why}")).with("pattern", text)
}

fn check_length(text: &str) -> Result<()> {
    if text.len() <= MAX_BYTES {
        return Ok(());
    }
    let start: String = text.chars().take(40).collect();
    Err(Error::invalid(format!("the file pattern {start:?}… has {} bytes, and the limit is {MAX_BYTES}", text.len()))
        .with("bytes", text.len())
        .hint("give several shorter patterns"))
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn escaped(&mut self) -> Result<char> {
        self.next().ok_or_else(|| {
            wrong(self.text, "ends with a lone '\\', which escapes the character after it")
                .hint("write '\\\\' for a backslash, and '/' between directories")
        })
    }

    /// Up to the end of the text or, inside braces, to the `,` or `}` that ends the branch.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            let at = self.rest.chars().next();
            if at.is_none() || (depth > 0 && matches!(at, Some(',' | '}'))) {
                return Ok(nodes);
            }
            let node = match self.next().unwrap_or_default() {
                '/' => Node::Slash,
                '*' => Node::Tok(Tok::Star),
                '?' => Node::Tok(Tok::One),
                '[' => self.class()?,
                '{' => {
                    let starts_segment = matches!(nodes.last(), None | Some(Node::Slash));
                    self.braces(depth + 1, starts_segment)?
                }
                '\\' => match self.escaped()? {
                    '/' => Node::Slash,
                    c => Node::Tok(Tok::Char(c)),
                },
                c => Node::Tok(Tok::Char(c)),
            };
            nodes.push(node);
        }
    }

    fn braces(&mut self, depth: usize, starts_segment: bool) -> Result<Node> {
        if depth > MAX_DEPTH {
            return Err(
                wrong(self.text, &format!("nests braces deeper than {MAX_DEPTH}")).hint("give several patterns")
            );
        }
        let mut branches = Vec::new();
        loop {
            let branch = self.sequence(depth)?;
            if starts_segment && matches!(branch.first(), Some(Node::Slash)) {
                return Err(wrong(
                    self.text,
                    "has an alternative that begins with '/', and a pattern is relative to its root",
                )
                .hint("give absolute paths as separate patterns"));
            }
            branches.push(branch);
            match self.next() {
                Some(',') => {}
                Some(_) => return Ok(Node::Alt(branches)),
                None => {
                    return Err(
                        wrong(self.text, "has a '{' that is never closed").hint("close it with '}', or write '\\{'")
                    );
                }
            }
        }
    }

    fn class(&mut self) -> Result<Node> {
        let whole = self.rest;
        let unclosed = |text| wrong(text, "has a '[' that is never closed").hint("close it with ']', or write '\\['");
        let negated = matches!(self.rest.chars().next(), Some('!' | '^'));
        if negated {
            self.next();
        }
        let mut ranges = Vec::new();
        loop {
            let first = match self.next().ok_or_else(|| unclosed(self.text))? {
                ']' => break,
                '\\' => self.escaped()?,
                c => c,
            };
            let mut ahead = self.rest.chars();
            let last = if ahead.next() == Some('-') && !matches!(ahead.next(), None | Some(']')) {
                self.next();
                match self.next().ok_or_else(|| unclosed(self.text))? {
                    '\\' => self.escaped()?,
                    c => c,
                }
            } else {
                first
            };
            if first > last {
                return Err(wrong(self.text, &format!("has the backward range {first}-{last}"))
                    .hint(format!("write [{last}-{first}]")));
            }
            ranges.push((first as u32, last as u32));
        }
        let empty = ranges.is_empty();
        let ranges = if negated { complement(ranges) } else { merged(ranges) };
        let ranges = common_ranges(&ranges, &UNIVERSE);
        if empty || ranges.is_empty() {
            return Err(wrong(self.text, "has a character class that matches no character of a file name")
                .hint("name characters other than '/' between the brackets, or write '\\['"));
        }
        let text = format!("[{}", &whole[..whole.len() - self.rest.len()]);
        Ok(Node::Class(Class(Arc::from(ranges)), text))
    }
}

fn merged(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(previous) if first <= previous.1 + 1 => previous.1 = previous.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn complement(ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    let mut from = 0;
    for (first, last) in merged(ranges) {
        if from < first {
            out.push((from, first - 1));
        }
        from = last + 1;
    }
    if from <= 0x10FFFF {
        out.push((from, 0x10FFFF));
    }
    out
}

/// What two sorted lists of ranges have in common.
pub(super) fn common_ranges(a: &[(u32, u32)], b: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        work::steps(1);
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            out.push((first, last));
        }
        if x.1 < y.1 { i += 1 } else { j += 1 }
    }
    out
}

/// How many alternatives a sequence expands to and how many tokens they have together; a class counts as its ranges.
fn measure(nodes: &[Node]) -> (usize, usize) {
    let (mut count, mut size) = (1usize, 0usize);
    for node in nodes {
        let (c, s) = match node {
            Node::Alt(branches) => branches
                .iter()
                .map(|b| measure(b))
                .fold((0usize, 0usize), |(c, s), (c2, s2)| (c.saturating_add(c2), s.saturating_add(s2))),
            Node::Class(Class(ranges), _) => (1, ranges.len()),
            _ => (1, 1),
        };
        size = size.saturating_mul(c).saturating_add(s.saturating_mul(count));
        count = count.saturating_mul(c);
    }
    (count, size)
}

fn expand(nodes: &[Node]) -> Vec<Vec<Piece>> {
    let mut done: Vec<Vec<Piece>> = vec![Vec::new()];
    for node in nodes {
        let piece = match node {
            Node::Slash => None,
            Node::Tok(tok) => Some(tok.clone()),
            Node::Class(class, _) => Some(Tok::Class(class.clone())),
            Node::Alt(branches) => {
                let tails: Vec<_> = branches.iter().flat_map(|b| expand(b)).collect();
                done = done.iter().flat_map(|head| tails.iter().map(|tail| [&head[..], tail].concat())).collect();
                continue;
            }
        };
        done.iter_mut().for_each(|head| head.push(piece.clone()));
    }
    done
}

/// What one alternative adds to the work of a comparison.
fn size_from_first_wildcard(segs: &[Seg]) -> usize {
    let token = |tok: &Tok| if let Tok::Class(Class(ranges)) = tok { ranges.len() } else { 1 };
    let segment = |seg: &Seg| match seg {
        Seg::Deep => 1,
        Seg::Lit(name) => name.chars().count() + 1,
        Seg::Glob(toks) => toks.iter().map(token).sum::<usize>() + 1,
    };
    segs.iter().skip_while(|seg| matches!(seg, Seg::Lit(_))).map(segment).sum()
}

/// The segments of one alternative, and whether it is plain.
fn segments(text: &str, pieces: &[Piece]) -> Result<(Vec<Seg>, bool)> {
    let mut segs: Vec<Seg> = Vec::new();
    let mut plain = true;
    let mut open_end = true;
    for run in pieces.split(Option::is_none) {
        let toks: Vec<&Tok> = run.iter().flatten().collect();
        let name: Option<String> = toks.iter().map(|t| if let Tok::Char(c) = t { Some(*c) } else { None }).collect();
        // After the last round this says whether the alternative ends in a directory's '/'.
        open_end = matches!(name.as_deref(), Some("" | "."));
        if open_end {
            continue;
        }
        if name.as_deref() == Some("..") {
            return Err(wrong(text, "has a '..' in it").hint("name the path without '..'"));
        }
        if toks.iter().filter(|t| !matches!(t, Tok::Star)).count() > MAX_NAME {
            return Err(wrong(text, &format!("has a segment of more than {MAX_NAME} characters"))
                .hint("no file name is that long: shorten it"));
        }
        plain &= name.is_some();
        match (name, &toks[..]) {
            (Some(name), _) => segs.push(Seg::Lit(name)),
            (None, [Tok::Star, Tok::Star]) => {
                if segs.last() != Some(&Seg::Deep) {
                    segs.push(Seg::Deep);
                }
            }
            (None, toks) => {
                let mut glob: Vec<Tok> = toks.iter().map(|t| (*t).clone()).collect();
                glob.dedup_by(|a, b| matches!((a, b), (Tok::Star, Tok::Star)));
                segs.push(Seg::Glob(glob));
            }
        }
    }
    if (plain || open_end) && segs.last() != Some(&Seg::Deep) {
        segs.push(Seg::Deep);
    }
    Ok((segs, plain))
}

/// The one text for all spellings of these nodes (`.//a` and `a`, `\a` and `a`), which is also safe to give as input.
fn canonical(nodes: &[Node], plain: bool) -> String {
    let mut parts = Vec::new();
    let mut open_end = false;
    for run in nodes.split(|n| matches!(n, Node::Slash)) {
        let mut part = String::new();
        write_nodes(run, false, &mut part);
        open_end = part.is_empty() || part == ".";
        if !open_end {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        return ".".to_owned();
    }
    let mut text = parts.join("/");
    if open_end && !plain {
        text.push('/');
    }
    // A name that ends like a line range keeps the mark that it isn't one.
    if let Some(tail) = super::line_tail(&text) {
        text.insert(tail, '\\');
    }
    text
}

fn write_nodes(nodes: &[Node], in_braces: bool, out: &mut String) {
    for node in nodes {
        match node {
            Node::Slash => out.push('/'),
            Node::Tok(Tok::Star) => out.push('*'),
            Node::Tok(Tok::One) => out.push('?'),
            Node::Tok(Tok::Char(c)) => {
                if matches!(c, '*' | '?' | '[' | '{' | '\\') || (in_braces && matches!(c, ',' | '}')) {
                    out.push('\\');
                }
                out.push(*c);
            }
            Node::Tok(Tok::Class(_)) => {}
            Node::Class(_, text) => out.push_str(text),
            Node::Alt(branches) => {
                out.push('{');
                for (i, branch) in branches.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_nodes(branch, true, out);
                }
                out.push('}');
            }
        }
    }
}
