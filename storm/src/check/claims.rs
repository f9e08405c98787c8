//! No two living sessions have claims that meet unless one of them was told; and nobody living is taken for dead.

use globset::{GlobBuilder, GlobMatcher};

use super::Report;
use crate::actor::PATTERNS;
use crate::history::{Answer, Call, History, Overlap, Time};

/// All paths that the storm's patterns can tell apart.
const PATHS: [&str; 9] = [
    "src/a/x.rs",
    "src/a/y.rs",
    "src/a/z.rs",
    "src/b/x.rs",
    "src/b/y.rs",
    "src/b/z.rs",
    "src/c/x.rs",
    "src/c/y.rs",
    "src/c/z.rs",
];

/// So many overlaps are named in one answer, and then one for each pattern.
const MOST_NAMED: usize = 1_000;

struct Claim<'a> {
    agent: &'a str,
    session: &'a str,
    pattern: usize,
    called: Time,
    answered: Time,
    /// Until then it certainly stands.
    until: Time,
    conflicts: &'a [Overlap],
    dead: &'a [Overlap],
}

/// Which pattern it is: they are stored relative to a root.
fn index(stored: &str) -> Option<usize> {
    PATTERNS.iter().position(|pattern| stored.ends_with(pattern))
}

fn meets() -> Vec<Vec<bool>> {
    let matcher = |pattern: &&str| -> GlobMatcher {
        GlobBuilder::new(pattern).literal_separator(true).build().expect("a pattern").compile_matcher()
    };
    let matchers: Vec<GlobMatcher> = PATTERNS.iter().map(matcher).collect();
    let both = |a: &GlobMatcher, b: &GlobMatcher| PATHS.iter().any(|path| a.is_match(path) && b.is_match(path));
    matchers.iter().map(|a| matchers.iter().map(|b| both(a, b)).collect()).collect()
}

pub(super) fn check(history: &History, report: &mut Report) {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for (number, op) in history.ops.iter().enumerate() {
        let (Call::Claim { session, .. }, Some((t, Answer::Claimed { claimed, conflicts, dead }))) =
            (&op.call, &op.answered)
        else {
            continue;
        };
        // Calls of one agent follow each other.
        let ends = |call: &Call| match call {
            Call::Drop { session: s } | Call::End { session: s } => s == session,
            _ => false,
        };
        let later = history.ops[number..].iter().find(|o| o.agent == op.agent && ends(&o.call)).map(|o| o.called);
        let until = later.unwrap_or(Time::MAX).min(history.mortal(&op.agent));
        for pattern in claimed.iter().filter_map(|stored| index(stored)) {
            let agent = op.agent.as_str();
            claims.push(Claim { agent, session, pattern, called: op.called, answered: *t, until, conflicts, dead });
        }
        for overlap in dead {
            if history.mortal(&overlap.agent) > *t {
                report.violation("deaths", *t, format!("{} was told that {} is dead", op.agent, overlap.agent));
            }
        }
    }
    report.count("file claims", claims.len() as u64);
    let meets = meets();
    let told = |one: &Claim<'_>, other: &Claim<'_>| {
        let names = |o: &&Overlap| o.session == other.session && index(&o.pattern) == Some(one.pattern);
        // So many are named in one answer; that it meets somebody's is told all the same.
        let cut = one.conflicts.len() >= MOST_NAMED;
        let meets_any = || one.conflicts.iter().any(|o| index(&o.pattern) == Some(one.pattern));
        one.conflicts.iter().chain(one.dead).any(|o| names(&o)) || (cut && meets_any())
    };
    let mut standing: Vec<usize> = Vec::new();
    for now in 0..claims.len() {
        let late = &claims[now];
        standing.retain(|&other| claims[other].until > late.called);
        for &other in &standing {
            let early = &claims[other];
            let stood = early.until > late.answered && late.until > early.answered;
            if !meets[early.pattern][late.pattern] || early.session == late.session || !stood {
                continue;
            }
            report.count("claims that meet", 1);
            // The later one is told; where they were made at the same time, one of the two is.
            let at_once = early.answered >= late.called;
            let was_told = told(late, early) || (at_once && told(early, late));
            if !was_told {
                let text = format!(
                    "{} claimed {} and wasn't told of {}, which {} had claimed",
                    late.agent, PATTERNS[late.pattern], PATTERNS[early.pattern], early.agent
                );
                report.violation("claims", late.answered, text);
            }
        }
        standing.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_meets_itself_and_not_all_others() {
        let meets = meets();
        for (index, row) in meets.iter().enumerate() {
            assert!(row[index] && row.iter().any(|meets| !meets), "{}", PATTERNS[index]);
        }
    }
}
