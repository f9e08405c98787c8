//! The product of two patterns: segments against segments, and within a pair of segments characters against characters.
//!
//! Both searches go breadth first over pairs of positions, so the work is at most the product of the two lengths, and
//! what they find is shortest. No position is visited twice, however many stars there are.

use super::parse::common_ranges;
use super::{Seg, Tok, holds, work};

/// A path that both alternatives match, with the fewest segments.
pub(super) fn path_witness(a: &[Seg], b: &[Seg]) -> Option<String> {
    // Most pairs of claims part, or are equal, in their plain leading names; decide that without a table.
    let mut lead = 0;
    while let (Some(Seg::Lit(x)), Some(Seg::Lit(y))) = (a.get(lead), b.get(lead)) {
        if x != y {
            return None;
        }
        lead += 1;
    }
    let mut path: Vec<String> =
        a[..lead].iter().filter_map(|s| if let Seg::Lit(name) = s { Some(name.clone()) } else { None }).collect();
    path.extend(tail_witness(&a[lead..], &b[lead..])?);
    Some(if path.is_empty() { ".".to_owned() } else { path.join("/") })
}

const UNSEEN: u32 = u32::MAX;

fn tail_witness(a: &[Seg], b: &[Seg]) -> Option<Vec<String>> {
    if let ([Seg::Deep], [Seg::Deep]) = (a, b) {
        return Some(Vec::new());
    }
    let width = b.len() + 1;
    let goal = a.len() * width + b.len();
    // For each pair of positions, the pair it was reached from, and whether a segment was consumed on the way.
    let mut from: Vec<(u32, bool)> = vec![(UNSEEN, false); goal + 1];
    from[0].0 = 0;
    let mut level = vec![0];
    while !level.is_empty() {
        let mut k = 0;
        while k < level.len() {
            work::steps(1);
            let at: usize = level[k];
            let (i, j) = (at / width, at % width);
            let skips = [(a.get(i) == Some(&Seg::Deep), at + width), (b.get(j) == Some(&Seg::Deep), at + 1)];
            for (possible, to) in skips {
                if possible && from[to].0 == UNSEEN {
                    from[to] = (at as u32, false);
                    level.push(to);
                }
            }
            k += 1;
        }
        if from[goal].0 != UNSEEN {
            break;
        }
        let mut next = Vec::new();
        for &at in &level {
            let (i, j) = (at / width, at % width);
            let (Some(x), Some(y)) = (a.get(i), b.get(j)) else { continue };
            let to = at + if *x == Seg::Deep { 0 } else { width } + usize::from(*y != Seg::Deep);
            if from[to].0 == UNSEEN && names_meet(x, y) {
                from[to] = (at as u32, true);
                next.push(to);
            }
        }
        level = next;
    }
    if from[goal].0 == UNSEEN {
        return None;
    }
    let mut names = Vec::new();
    let mut at = goal;
    while at != 0 {
        let (before, consumed) = from[at];
        at = before as usize;
        if consumed {
            names.extend(name_witness(&a[at / width], &b[at % width]));
        }
    }
    names.reverse();
    Some(names)
}

/// For each pair of positions, row by row, whether some rest of a path leads from there to both ends.
pub(super) fn hopeful(a: &[Seg], b: &[Seg]) -> Vec<bool> {
    let width = b.len() + 1;
    let mut can = vec![false; (a.len() + 1) * width];
    for at in (0..can.len()).rev() {
        work::steps(1);
        let (i, j) = (at / width, at % width);
        let (x, y) = (a.get(i), b.get(j));
        can[at] = at + 1 == can.len()
            || (x == Some(&Seg::Deep) && can[at + width])
            || (y == Some(&Seg::Deep) && can[at + 1])
            || x.zip(y).is_some_and(|(x, y)| {
                let to = at + if *x == Seg::Deep { 0 } else { width } + usize::from(*y != Seg::Deep);
                can[to] && names_meet(x, y)
            });
    }
    can
}

/// A name that both segments match.
fn name_witness(x: &Seg, y: &Seg) -> Option<String> {
    match (x, y) {
        (Seg::Deep, Seg::Deep) => Some("x".to_owned()),
        (Seg::Lit(name), Seg::Deep) | (Seg::Deep, Seg::Lit(name)) => Some(name.clone()),
        (Seg::Lit(name), Seg::Lit(other)) => (name == other).then(|| name.clone()),
        (Seg::Lit(name), Seg::Glob(toks)) | (Seg::Glob(toks), Seg::Lit(name)) => {
            super::name_matches(toks, name).then(|| name.clone())
        }
        (Seg::Glob(toks), Seg::Deep) | (Seg::Deep, Seg::Glob(toks)) => glob_witness(toks, &[Tok::Star]),
        (Seg::Glob(p), Seg::Glob(q)) => glob_witness(p, q),
    }
}

/// Whether there is a name that both segments match.
fn names_meet(x: &Seg, y: &Seg) -> bool {
    match (x, y) {
        // What stands between the first star and the last is taken by the other's stars.
        (Seg::Glob(p), Seg::Glob(q)) if p.contains(&Tok::Star) && q.contains(&Tok::Star) => !part_at_an_end(p, q),
        _ => name_witness(x, y).is_some(),
    }
}

/// Whether no name can match both because of how it would begin or end: up to the first star of either, and from the last
/// one on, character stands against character.
fn part_at_an_end(p: &[Tok], q: &[Tok]) -> bool {
    let clash = |(x, y): (&Tok, &Tok)| {
        work::steps(1);
        common_char(x, y).is_none() && !(x.has('.') && y.has('.'))
    };
    let fixed = |(x, y): &(&Tok, &Tok)| !matches!(x, Tok::Star) && !matches!(y, Tok::Star);
    p.iter().zip(q).take_while(fixed).any(clash) || p.iter().rev().zip(q.iter().rev()).take_while(fixed).any(clash)
}

fn glob_witness(p: &[Tok], q: &[Tok]) -> Option<String> {
    if part_at_an_end(p, q) {
        return None;
    }
    let may_hide = |toks: &[Tok]| toks.first().is_some_and(|t| t.has('.'));
    // `*.ts` reads better as `x.ts` than as the shorter `.ts`: names with a leading dot come second.
    shortest(p, q, false).or_else(|| if may_hide(p) && may_hide(q) { shortest(p, q, true) } else { None })
}

/// What has been written of a name so far. `.` and `..` name no file, nor does nothing.
const EMPTY: usize = 0;
const DOT: usize = 1;
const DOT_DOT: usize = 2;
const NAME: usize = 3;

/// The shortest name that both match, of those that begin with a dot or of those that don't.
fn shortest(p: &[Tok], q: &[Tok], hidden: bool) -> Option<String> {
    let (row, cell) = ((q.len() + 1) * 4, 4);
    let goal = p.len() * row + q.len() * cell + NAME;
    // For each state, the state it was reached from and the character written on the way (NUL: none).
    let mut from: Vec<(u32, char)> = vec![(UNSEEN, '\0'); goal + 1];
    from[0].0 = 0;
    let mut level = vec![0];
    while !level.is_empty() {
        let mut k = 0;
        while k < level.len() {
            work::steps(1);
            let at: usize = level[k];
            let (x, y) = (p.get(at / row), q.get(at % row / cell));
            for (tok, to) in [(x, at + row), (y, at + cell)] {
                if matches!(tok, Some(Tok::Star)) && from[to].0 == UNSEEN {
                    from[to] = (at as u32, '\0');
                    level.push(to);
                }
            }
            k += 1;
        }
        if from[goal].0 != UNSEEN {
            break;
        }
        let mut next = Vec::new();
        for &at in &level {
            let (Some(x), Some(y)) = (p.get(at / row), q.get(at % row / cell)) else { continue };
            let written = at % cell;
            let to = at - written
                + if matches!(x, Tok::Star) { 0 } else { row }
                + if matches!(y, Tok::Star) { 0 } else { cell };
            let mut reach = |to: usize, c: char| {
                if from[to].0 == UNSEEN {
                    from[to] = (at as u32, c);
                    next.push(to);
                }
            };
            if (written != EMPTY || !hidden)
                && let Some(c) = common_char(x, y)
            {
                reach(to + NAME, c);
            }
            if (written != EMPTY || hidden) && x.has('.') && y.has('.') {
                let grown = match written {
                    EMPTY => DOT,
                    DOT => DOT_DOT,
                    _ => NAME,
                };
                reach(to + grown, '.');
            }
        }
        level = next;
    }
    if from[goal].0 == UNSEEN {
        return None;
    }
    let mut name = Vec::new();
    let mut at = goal;
    while at != 0 {
        let (before, c) = from[at];
        if c != '\0' {
            name.push(c);
        }
        at = before as usize;
    }
    Some(name.iter().rev().collect())
}

/// A character other than `.` that both tokens take, the most readable one.
fn common_char(x: &Tok, y: &Tok) -> Option<char> {
    match (x, y) {
        (Tok::Char(c), other) | (other, Tok::Char(c)) => (*c != '.' && other.has(*c)).then_some(*c),
        (Tok::Class(a), Tok::Class(b)) => readable(&common_ranges(&a.0, &b.0)),
        (Tok::Class(set), _) | (_, Tok::Class(set)) => readable(&set.0),
        _ => Some('x'),
    }
}

fn readable(ranges: &[(u32, u32)]) -> Option<char> {
    let all = || ranges.iter().flat_map(|r| (r.0..=r.1).filter_map(char::from_u32)).filter(|c| *c != '.');
    std::iter::once('x')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain('A'..='Z')
        .chain(['_', '-'])
        .find(|c| holds(ranges, *c))
        .or_else(|| all().find(|c| !c.is_control() && !c.is_whitespace()))
        .or_else(|| all().find(|c| !c.is_control()))
        .or_else(|| all().next())
}

#[cfg(test)]
mod tests {
    use super::super::FilePattern;
    use super::super::tests::{meet, pattern};
    use super::*;

    #[test]
    fn witnesses_read_like_paths() {
        for (a, b, witness) in [
            ("src/**/*.test.ts", "src/auth/**", "src/auth/x.test.ts"),
            ("src/*/a.ts", "src/b/*.ts", "src/b/a.ts"),
            ("src/api/payments/*", "src/api/payments/refund.ts", "src/api/payments/refund.ts"),
            ("src/api/*", "src/api/pay*", "src/api/pay"),
            ("src", "src/a/*.rs", "src/a/x.rs"),
            ("src", "src/**", "src"),
            ("src/a.ts", "src/a.ts", "src/a.ts"),
            ("", "*.rs", "x.rs"),
            ("**", ".", "."),
            ("**/x", "x/**", "x"),
            ("*.tar.*", "*.gz", "x.tar.gz"),
            ("a*", "*b", "ab"),
            (".*", "*", ".x"),
            ("*", "**", "x"),
            ("[!a-z]", "?", "0"),
            ("[a-m]", "[h-z]", "h"),
            ("{a,b}/c", "b/*", "b/c"),
            ("src/*/", "src/a/b/c", "src/a/b/c"),
            ("src/*/", "src/a", "src/a"),
        ] {
            assert_eq!(meet(a, b).as_deref(), Some(witness), "{a} and {b}");
            assert!(meet(b, a).is_some(), "{b} and {a}");
        }
    }

    #[test]
    fn patterns_that_never_meet() {
        for (a, b) in [
            ("src/a.ts", "src/b.ts"),
            ("src", "srcs"),
            ("src/*.ts", "src/*.rs"),
            ("src/*.ts", "src/a/*.ts"),
            ("[a-c]", "[d-f]"),
            ("[!a]", "[a]"),
            ("?", "??"),
            ("*/a", "{a,b}*"),
            ("*", "a/b"),
            ("[.]", "?"),
            ("[.][.]", "**"),
            ("a?b", "a/b"),
            ("**/test/*.js", "src/*"),
        ] {
            assert_eq!(meet(a, b), None, "{a} and {b}");
            assert_eq!(meet(b, a), None, "{b} and {a}");
        }
    }

    #[test]
    fn stars_multiply_no_work() {
        let a = pattern(&"a*".repeat(120));
        let b = pattern(&format!("{}b", "*a".repeat(120)));
        assert!(b.intersect(&a).is_some());
        assert_eq!(pattern(&format!("{}c", "a*".repeat(120))).intersect(&b), None);
        let deep = pattern(&format!("{}c", "**/a*/".repeat(120)));
        let other = pattern(&format!("{}b", "**/*a/".repeat(120)));
        assert_eq!(deep.intersect(&other), None);
    }

    /// Patterns of about `bytes` bytes that have to be told apart the hard way.
    fn hard(bytes: usize) -> Vec<(&'static str, FilePattern)> {
        let filled = |part: &str, end: &str| part.repeat((bytes - end.len()) / part.len()) + end;
        let segment = |part: &str, end: &str| part.repeat(255 / part.replace('*', "").len() - 1) + end;
        let many = |text: String| filled(&format!("**/{text}/"), "z");
        let ranges: String = (0x3400..0x3400 + 2 * (bytes as u32 / 4)).step_by(2).filter_map(char::from_u32).collect();
        // So many alternatives that the rest of the pattern, which each has, brings them close to the limit.
        let braces = format!("{}{}z", "{a,b}".repeat(6), "*a".repeat((bytes / 66).min(250)));
        let nested = (0..4).fold("*a".to_owned(), |text, _| format!("{{{text},?{text}}}"));
        [
            ("stars", many(segment("*a", "b"))),
            ("stars the other way", many(segment("a*", "c"))),
            ("questions", many(segment("*?", "z"))),
            ("classes", many(segment("*[ab]", "z"))),
            ("wide classes", format!("**/*[{}]*z", &ranges[..ranges.len() - ranges.len() % 3])),
            ("deep", filled("**/*/", "z")),
            ("deep names", filled("**/a/", "z")),
            ("braces", braces),
            ("nested braces", nested + "z"),
            ("plain", filled("a/", "z")),
        ]
        .map(|(name, text)| (name, FilePattern::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"))))
        .to_vec()
    }

    #[test]
    fn the_work_is_the_product_of_the_sizes_at_most() {
        for bytes in [256, 512, 1024] {
            let (all, square) = (hard(bytes), (bytes * bytes) as u64);
            let mut most = 0;
            for (i, (one, a)) in all.iter().enumerate() {
                for (other, b) in &all[..=i] {
                    let (_, work) = work::of(|| a.intersect(b));
                    assert!(work < 8 * square, "{one} and {other} of {bytes}: {work}");
                    most = most.max(work);
                }
            }
            assert!(most > square / 4, "the patterns of {bytes} are no hard ones: {most}");
        }
    }

    #[test]
    fn what_braces_multiply_is_bounded() {
        let heavy = format!("{}{}", "{a*,b*}".repeat(9), "*a".repeat(22));
        let e = FilePattern::parse(&heavy).unwrap_err();
        assert!(e.message().contains("from their first wildcards on, over the limit of 5000"), "{e}");
        assert!(e.next_step().unwrap().contains("several patterns"), "{e:?}");
        // Names before the first wildcard weigh nothing: 400 files in a deep directory are one pattern.
        let names: Vec<String> = (0..400).map(|n| format!("f{n:03}.ts")).collect();
        let listed = pattern(&format!("home/someone/projects/shop/src/components/{{{}}}", names.join(",")));
        assert!(listed.intersect(&pattern("home/*/projects/**/f399.*")).is_some());
        // The heaviest that is let pass, against itself.
        let heaviest = |end: &str| pattern(&format!("{}{}*{end}", "{a*,?b*}".repeat(5), "*a".repeat(64)));
        let (found, work) = work::of(|| heaviest("z").intersect(&heaviest("y")));
        assert_eq!((found, work < 10 * 5000), (None, true), "{work}");
        // Without a star there is no short way.
        let fixed = pattern(&format!("{}{}z", "{?,[a-c]}".repeat(5), "[bc]".repeat(130)));
        let (found, work) = work::of(|| heaviest("z").intersect(&fixed));
        assert_eq!(found, None);
        assert!(work > 5000 && work < 8 * 5000 * 5000, "{work}");
    }

    #[test]
    fn hope_ends_where_the_rests_part() {
        let (a, b) = (pattern("src/*/a.ts"), pattern("src/b/*.ts"));
        let can = hopeful(&a.alternatives[0], &b.alternatives[0]);
        assert!(can[0] && can[can.len() - 1]);
        assert!(!can[1]);
    }

    #[test]
    fn odd_classes_have_readable_members() {
        assert_eq!(readable(&[('!' as u32, '/' as u32 - 1)]), Some('-'));
        assert_eq!(readable(&[(1, 32)]), Some(' '));
        assert_eq!(readable(&[('.' as u32, '.' as u32)]), None);
    }
}
