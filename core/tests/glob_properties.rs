//! Random patterns against a reference that shares no code with the library: it keeps the syntax as a tree, expands braces,
//! and matches by trying everything. What is decided is compared with every path of a small universe.

use portdaddy_core::FilePattern;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Node {
    Char(char),
    Escaped(char),
    Star,
    One,
    Class(bool, Vec<(char, char)>),
    Slash,
    Braces(Vec<Vec<Node>>),
}

fn render(nodes: &[Node]) -> String {
    nodes
        .iter()
        .map(|node| match node {
            Node::Char(c) => c.to_string(),
            Node::Escaped(c) => format!("\\{c}"),
            Node::Star => "*".into(),
            Node::One => "?".into(),
            Node::Class(negated, ranges) => {
                let ranges: String =
                    ranges.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
                format!("[{}{ranges}]", if *negated { "!" } else { "" })
            }
            Node::Slash => "/".into(),
            Node::Braces(branches) => {
                format!("{{{}}}", branches.iter().map(|b| render(b)).collect::<Vec<_>>().join(","))
            }
        })
        .collect()
}

fn expand(nodes: &[Node]) -> Vec<Vec<Node>> {
    let Some((first, rest)) = nodes.split_first() else { return vec![vec![]] };
    let heads: Vec<Vec<Node>> = match first {
        Node::Braces(branches) => branches.iter().flat_map(|b| expand(b)).collect(),
        node => vec![vec![node.clone()]],
    };
    let tails = expand(rest);
    heads.iter().flat_map(|h| tails.iter().map(|t| [&h[..], &t[..]].concat())).collect()
}

enum Segment {
    Any,
    Of(Vec<Node>),
}

/// The alternatives of a pattern, as the table in the documentation says.
struct Reference(Vec<Vec<Segment>>);

impl Reference {
    fn of(nodes: &[Node]) -> Reference {
        Reference(expand(nodes).iter().map(|flat| Self::alternative(flat)).collect())
    }

    fn alternative(flat: &[Node]) -> Vec<Segment> {
        let plain = flat.iter().all(|n| matches!(n, Node::Char(_) | Node::Escaped(_) | Node::Slash));
        let runs: Vec<&[Node]> = flat.split(|n| matches!(n, Node::Slash)).collect();
        let gone = |run: &[Node]| matches!(run, [] | [Node::Char('.') | Node::Escaped('.')]);
        let mut segments: Vec<Segment> = runs
            .iter()
            .filter(|run| !gone(run))
            .map(|run| match run {
                [Node::Star, Node::Star] => Segment::Any,
                run => Segment::Of(run.to_vec()),
            })
            .collect();
        if plain || gone(runs[runs.len() - 1]) {
            segments.push(Segment::Any);
        }
        segments
    }

    fn matches(&self, path: &[Vec<char>]) -> bool {
        self.0.iter().any(|segments| path_matches(segments, path))
    }
}

fn path_matches(segments: &[Segment], path: &[Vec<char>]) -> bool {
    match segments.split_first() {
        None => path.is_empty(),
        Some((Segment::Any, rest)) => (0..=path.len()).any(|n| path_matches(rest, &path[n..])),
        Some((Segment::Of(nodes), rest)) => {
            path.split_first().is_some_and(|(name, below)| name_matches(nodes, name) && path_matches(rest, below))
        }
    }
}

fn name_matches(nodes: &[Node], name: &[char]) -> bool {
    let Some((node, rest)) = nodes.split_first() else { return name.is_empty() };
    if matches!(node, Node::Star) {
        return (0..=name.len()).any(|n| name_matches(rest, &name[n..]));
    }
    name.split_first().is_some_and(|(c, below)| {
        let takes = match node {
            Node::Char(own) | Node::Escaped(own) => own == c,
            Node::Class(negated, ranges) => ranges.iter().any(|(a, b)| (*a..=*b).contains(c)) != *negated,
            _ => true,
        };
        takes && name_matches(rest, below)
    })
}

fn parts(path: &str) -> Vec<Vec<char>> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(|name| name.chars().collect()).collect()
}

/// All names of up to `max` characters.
fn names(max: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last = vec![String::new()];
    for _ in 0..max {
        last = last.iter().flat_map(|n| ['a', 'b', 'c', '.'].map(|c| format!("{n}{c}"))).collect();
        all.extend(last.iter().cloned());
    }
    all.retain(|n| !matches!(n.as_str(), "." | ".."));
    all
}

/// Deep paths of short names and shallow paths of longer ones.
fn universe() -> Vec<(String, Vec<Vec<char>>)> {
    let mut paths = vec![".".to_owned()];
    let shapes = [&[4][..], &[2, 2], &[3, 1], &[1, 3], &[1, 1, 2], &[2, 1, 1], &[1, 2, 1], &[1, 1, 1, 1]];
    for lengths in shapes {
        let mut found = vec![String::new()];
        for length in lengths {
            let names = names(*length);
            let join = |dir: &String, n: &String| if dir.is_empty() { n.clone() } else { format!("{dir}/{n}") };
            found = found.iter().flat_map(|dir| names.iter().map(move |n| join(dir, n))).collect();
        }
        paths.extend(found);
    }
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(|path| (path.clone(), parts(&path))).collect()
}

fn pieces() -> impl Strategy<Value = Vec<Node>> {
    let range =
        prop::sample::select(vec![('a', 'a'), ('b', 'b'), ('c', 'c'), ('.', '.'), ('a', 'b'), ('b', 'c'), ('.', 'b')]);
    let class = (any::<bool>(), prop::collection::vec(range, 1..3))
        .prop_map(|(negated, ranges)| vec![Node::Class(negated, ranges)]);
    let leaf = prop_oneof![
        6 => prop::sample::select(vec!['a', 'b', '.']).prop_map(|c| vec![Node::Char(c)]),
        1 => prop::sample::select(vec!['a', '.', '*', '?']).prop_map(|c| vec![Node::Escaped(c)]),
        3 => Just(vec![Node::Star]),
        2 => Just(vec![Node::One]),
        2 => class,
        5 => Just(vec![Node::Slash]),
        2 => Just(vec![Node::Slash, Node::Star, Node::Star, Node::Slash]),
        1 => Just(vec![Node::Star, Node::Star, Node::Slash]),
        1 => Just(vec![Node::Slash, Node::Star, Node::Star]),
    ];
    let nested = leaf.prop_recursive(2, 8, 3, |inner| {
        let branch = prop::collection::vec(inner, 0..3).prop_map(|parts| parts.concat());
        prop::collection::vec(branch, 1..3).prop_map(|branches| vec![Node::Braces(branches)])
    });
    prop::collection::vec(nested, 0..7).prop_map(|parts| parts.concat())
}

/// Patterns as trees, without those that the library refuses (the unit tests name them).
fn patterns() -> impl Strategy<Value = (Vec<Node>, FilePattern)> {
    pieces().prop_filter_map("refused", |nodes| FilePattern::parse(&render(&nodes)).ok().map(|p| (nodes, p)))
}

fn check(
    universe: &[(String, Vec<Vec<char>>)],
    (nodes_a, a): &(Vec<Node>, FilePattern),
    (nodes_b, b): &(Vec<Node>, FilePattern),
) -> Result<bool, TestCaseError> {
    let (ref_a, ref_b) = (Reference::of(nodes_a), Reference::of(nodes_b));
    let witness = a.intersect(b);
    prop_assert_eq!(witness.is_some(), b.intersect(a).is_some(), "{} and {} differ in order", a, b);
    if let Some(path) = &witness {
        let names = parts(path);
        prop_assert!(ref_a.matches(&names) && ref_b.matches(&names), "{} isn't in both {} and {}", path, a, b);
        prop_assert!(a.matches(path) && b.matches(path), "{} doesn't match both {} and {}", path, a, b);
        let prefix = |p: &FilePattern| parts(&p.literal_prefix());
        let compatible = prefix(a).iter().zip(&prefix(b)).all(|(x, y)| x == y);
        prop_assert!(compatible, "the prefixes of {} and {} exclude each other", a, b);
    }
    for (path, names) in universe {
        let in_a = ref_a.matches(names);
        prop_assert_eq!(a.matches(path), in_a, "{} against {}", a, path);
        let in_both = in_a && ref_b.matches(names);
        prop_assert!(!in_both || witness.is_some(), "{} is in both {} and {}, said not to meet", path, a, b);
    }
    for pattern in [a, b] {
        prop_assert_eq!(&FilePattern::parse(pattern.as_str()).unwrap(), pattern);
    }
    Ok(witness.is_some())
}

#[test]
fn intersection_is_exact() {
    let universe = universe();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 5000,
        max_global_rejects: 200_000,
        max_local_rejects: 200_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let counts = std::cell::Cell::new([0; 2]);
    runner
        .run(&(patterns(), patterns()), |(a, b)| {
            let mut now = counts.get();
            now[usize::from(check(&universe, &a, &b)?)] += 1;
            counts.set(now);
            Ok(())
        })
        .unwrap();
    let [apart, meeting] = counts.get();
    assert!(apart > 500 && meeting > 500, "the patterns should be mixed, not {apart} apart and {meeting} meeting");
}
