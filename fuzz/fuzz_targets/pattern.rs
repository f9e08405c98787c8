//! Two file patterns and a path, one a line: parsing them, and whether and where they meet.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use portdaddy_core::{FilePattern, fuzzing, relative_to, split_lines};

/// Paths that many patterns of few characters match.
const SOME: [&str; 12] = ["a", "b", "ab", ".a", "a.b", "a/b", "b/a", "a/b/c", "src/a.ts", "src/x/b.rs", "x/.y/z", "."];

/// The square of what a pattern may hold from its first wildcard on, and some for each of at most four states.
const MOST_STEPS: u64 = 12 * 5000 * 5000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let (one, two, path) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""), lines.next().unwrap_or("x"));
    for input in [one, two] {
        if let Ok((pattern, lines)) = split_lines(input) {
            assert!(lines.is_some() || pattern == input);
        }
        if let Ok(relative) = relative_to(input, Path::new("/repo/src"), Path::new("/repo")) {
            assert!(!relative.starts_with('/') || relative.starts_with("//"), "{relative:?}");
        }
    }
    let (a, b) = (FilePattern::parse(one), FilePattern::parse(two));
    for pattern in [&a, &b].into_iter().flatten() {
        let again = FilePattern::parse(pattern.as_str()).expect("a canonical text is a pattern");
        assert_eq!((&again, again.as_str()), (pattern, pattern.as_str()));
        if pattern.is_literal() && pattern.as_str() != "." {
            assert!(pattern.matches(&pattern.literal_prefix()), "{pattern}");
        }
        let _ = pattern.matches(path);
    }
    let Ok(escaped) = FilePattern::parse(&FilePattern::escape(path)) else { return };
    assert!(escaped.matches(path) || path.split('/').any(|name| name == ".."), "{path:?}");
    let (Ok(a), Ok(b)) = (a, b) else { return };
    // What takes long is looked at once.
    let variants = if one.len() * two.len() < 40_000 { 3 } else { 1 };
    let all = [(a.clone(), b.clone()), (a.clone().into_file(), b.clone()), (a.into_file(), b.into_file())];
    for (a, b) in all.into_iter().take(variants) {
        let (found, steps) = fuzzing::intersect(&a, &b);
        assert!(steps < MOST_STEPS, "{steps} steps for {a} and {b}");
        let (other, _) = fuzzing::intersect(&b, &a);
        assert_eq!(found.is_some(), other.is_some(), "{a} and {b}: {found:?}, the other way round {other:?}");
        for witness in found.iter().chain(&other) {
            assert!(a.matches(witness) && b.matches(witness), "{witness:?} is no witness for {a} and {b}");
        }
        for path in SOME.into_iter().chain([path]) {
            let both = !path.contains('\0') && a.matches(path) && b.matches(path);
            assert!(!both || found.is_some(), "{a} and {b} both match {path:?}");
        }
    }
});
