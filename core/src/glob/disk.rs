//! A witness that exists.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use super::intersect::{hopeful, path_witness};
use super::{FilePattern, Seg, segment_matches, work};

const MAX_ENTRIES: usize = 2000;
/// Pairs of brace alternatives that are followed on disk.
const MAX_PAIRS: usize = 64;
/// Positions in patterns that are followed on disk: many `**` can stand at as many places of one path, and deep
/// directories offer them again and again.
const MAX_PLACES: usize = 500_000;
/// Directories full of what nobody edits by hand.
const SKIPPED: [&str; 3] = [".git", "target", "node_modules"];

struct Pair<'a> {
    a: &'a [Seg],
    b: &'a [Seg],
    hopeful: Vec<bool>,
}

/// Where a path stands: a pair of alternatives and the positions in both, as one number.
type Place = (usize, usize);

impl Pair<'_> {
    fn width(&self) -> usize {
        self.b.len() + 1
    }

    /// Adds a position and those that `**` reaches from it without a segment, as far as they can still end well.
    fn settle(&self, pair: usize, at: usize, places: &mut BTreeSet<Place>) {
        work::steps(1);
        if !self.hopeful[at] || places.len() >= MAX_PLACES || !places.insert((pair, at)) {
            return;
        }
        let (i, j) = (at / self.width(), at % self.width());
        if self.a.get(i) == Some(&Seg::Deep) {
            self.settle(pair, at + self.width(), places);
        }
        if self.b.get(j) == Some(&Seg::Deep) {
            self.settle(pair, at + 1, places);
        }
    }
}

fn step(pairs: &[Pair<'_>], places: &BTreeSet<Place>, name: &str) -> BTreeSet<Place> {
    let mut next = BTreeSet::new();
    for &(p, at) in places {
        let pair = &pairs[p];
        let (Some(x), Some(y)) = (pair.a.get(at / pair.width()), pair.b.get(at % pair.width())) else { continue };
        if segment_matches(x, name) && segment_matches(y, name) {
            let to = at + if *x == Seg::Deep { 0 } else { pair.width() } + usize::from(*y != Seg::Deep);
            pair.settle(p, to, &mut next);
        }
    }
    next
}

/// A path below `root` that exists and that both match, if one is found among the first 2,000 directory entries (fewer
/// where the patterns have very many `**`): the walk starts below the longer literal prefix, goes breadth first and by name,
/// follows no symbolic links, and enters only directories that can still hold such a path. `.git`, `target` and `node_modules`
/// are left out unless a pattern names them.
pub fn existing_witness(a: &FilePattern, b: &FilePattern, root: &Path) -> Option<String> {
    let pairs: Vec<Pair<'_>> = a
        .alternatives
        .iter()
        .flat_map(|x| b.alternatives.iter().map(move |y| (x, y)))
        .filter(|(x, y)| path_witness(x, y).is_some())
        .take(MAX_PAIRS)
        .map(|(a, b)| Pair { a, b, hopeful: hopeful(a, b) })
        .collect();
    let is_end = |places: &BTreeSet<Place>| places.iter().any(|(p, at)| at + 1 == pairs[*p].hopeful.len());
    let named = |name: &str| {
        a.alternatives.iter().chain(&b.alternatives).flatten().any(|s| matches!(s, Seg::Lit(own) if own == name))
    };

    let (short, long) = (a.prefix_segments(), b.prefix_segments());
    let prefix = if short.len() > long.len() { short } else { long };
    let mut places = BTreeSet::new();
    pairs.iter().enumerate().for_each(|(p, pair)| pair.settle(p, 0, &mut places));
    for name in &prefix {
        places = step(&pairs, &places, name);
    }
    let start = prefix.join("/");
    if places.is_empty() || root.join(&start).symlink_metadata().is_err() {
        return None;
    }
    if is_end(&places) {
        return Some(if start.is_empty() { ".".to_owned() } else { start });
    }

    let (mut left, mut places_left) = (MAX_ENTRIES, MAX_PLACES);
    let mut queue = VecDeque::from([(start, places)]);
    while let Some((dir, places)) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(root.join(&dir)) else { continue };
        let mut found: Vec<(String, bool)> = entries
            .take(left)
            .inspect(|_| left -= 1)
            .flatten()
            .filter_map(|e| Some((e.file_name().into_string().ok()?, e.file_type().is_ok_and(|t| t.is_dir()))))
            .collect();
        found.sort_unstable();
        for (name, is_dir) in found {
            if SKIPPED.contains(&name.as_str()) && !named(&name) {
                continue;
            }
            if places.len() > places_left {
                return None;
            }
            places_left -= places.len();
            let places = step(&pairs, &places, &name);
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if is_end(&places) {
                return Some(path);
            }
            if is_dir && !places.is_empty() {
                queue.push_back((path, places));
            }
        }
        if left == 0 {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::pattern;
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_witness_exists() {
        let dir = tree(&[
            "src/auth/login.test.ts",
            "src/auth/login.ts",
            "src/b/a.ts",
            "a/node_modules/m/x.js",
            "web/y.js",
            "[id]/page.tsx",
        ]);
        for (a, b, expected) in [
            ("src/**/*.test.ts", "src/auth/**", Some("src/auth/login.test.ts")),
            ("src/*/a.ts", "src/b/*.ts", Some("src/b/a.ts")),
            ("src/auth/login.ts", "**/*.ts", Some("src/auth/login.ts")),
            ("src", "src/**", Some("src")),
            (".", "**", Some(".")),
            ("src/*.ts", "**", None),
            ("missing", "**", None),
            ("src/a.ts", "src/b.ts", None),
            ("**/*.js", "**", Some("web/y.js")),
            ("a/**/*.js", "**", None),
            ("a/**/*.js", "**/node_modules/**", Some("a/node_modules/m/x.js")),
            ("\\[id]/*", "*/page.tsx", Some("[id]/page.tsx")),
            ("{x,src/b}/*.ts", "src/{auth,b}/a*", Some("src/b/a.ts")),
        ] {
            let found = existing_witness(&pattern(a), &pattern(b), dir.path());
            assert_eq!(found.as_deref(), expected, "{a} and {b}");
        }
    }

    #[test]
    fn the_walk_is_bounded_however_deep_the_disk_and_the_patterns_are() {
        let deep = "x/".repeat(400);
        let dir = tree(&[&format!("{deep}x")]);
        let (a, b) = (pattern(&format!("{}y", "**/*/".repeat(400))), pattern(&format!("{}*", "**/?/".repeat(400))));
        let (found, work) = work::of(|| existing_witness(&a, &b, dir.path()));
        assert_eq!(found, None);
        let positions = 801 * 801;
        assert!(work < 4 * positions + 8 * MAX_PLACES as u64, "{work}");
    }

    #[test]
    fn hopeless_directories_are_not_entered() {
        let many: Vec<String> = (0..3000).map(|i| format!("big/{i:04}.txt")).collect();
        let mut paths: Vec<&str> = many.iter().map(String::as_str).collect();
        paths.push("small/sub/x.rs");
        let dir = tree(&paths);
        let find = |a, b| existing_witness(&pattern(a), &pattern(b), dir.path());
        assert_eq!(find("{small,other}/*/x.rs", "**/*.rs").as_deref(), Some("small/sub/x.rs"));
        assert_eq!(find("*/sub/*.rs", "**").as_deref(), None, "the walk ends after its 2,000 entries");
        assert_eq!(find("s*/sub/*.rs", "**/x.rs").as_deref(), Some("small/sub/x.rs"));
    }
}
