//! A checker that never fails is none: breaks one promise after the other in the library, and shows who notices.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use crate::actor::Kind;
use crate::storm::{self, Plan};

/// What is broken, in words, and which checkers are to notice: one of them at least.
const BROKEN: [(&str, &str, &[&str]); 16] = [
    (
        "transaction",
        "what is read may be changed before it is written",
        &["exclusion", "linearizability of locks", "tokens", "order", "turns", "ports", "journal"],
    ),
    ("holder", "a held lock is given away", &["exclusion", "linearizability of locks"]),
    ("token", "a token is given twice", &["tokens", "exclusion"]),
    ("turn", "the last in the queue is served first", &["turns"]),
    ("wake,tick", "nobody is woken", &["hand-over"]),
    ("death", "nobody's end is noticed", &["hand-over"]),
    ("life", "one who lives is taken for dead", &["deaths", "exclusion", "linearizability of locks"]),
    ("lease", "leases don't end", &["hand-over", "linearizability of locks"]),
    ("note", "a note is acknowledged and not kept", &["journal"]),
    ("seq", "a place in the order of commits is given twice", &["order"]),
    ("message", "a subscriber skips a message", &["publications"]),
    ("position", "a position doesn't move", &["publications"]),
    ("port", "a taken port is given away", &["ports", "linearizability of ports"]),
    ("overlap", "a claim that meets another is not told of it", &["claims"]),
    ("salvage", "a dead agent's work is given to two", &["salvage"]),
    ("waiter", "who dies waiting stays in the queue", &["leftovers", "hand-over"]),
];

/// What shows only to one who lives to give up: it is looked for without a kill.
const QUIET: [&str; 1] = ["wake,tick"];

/// Some show only where chance has it.
const TRIES: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each storm lasts, in seconds; up to ten of them.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only this one.
    #[arg(long)]
    only: Option<String>,
    #[arg(long, default_value = "target/faults/debug/pd")]
    pd: PathBuf,
}

pub(crate) fn run(args: &Args, out: &mut impl Write) -> Result<bool, String> {
    let mut all = true;
    for (broken, words, checkers) in BROKEN {
        if args.only.as_deref().is_some_and(|only| only != broken) {
            continue;
        }
        let noticed = prove(args, broken, checkers)?;
        all &= noticed.is_some();
        let result = noticed.unwrap_or_else(|| "NOT NOTICED".to_owned());
        writeln!(out, "{words} ({broken}): {result}").map_err(|e| e.to_string())?;
    }
    let word = if all { "every broken promise was noticed" } else { "a broken promise was not noticed" };
    writeln!(out, "{word}").map_err(|e| e.to_string())?;
    Ok(all)
}

fn prove(args: &Args, broken: &str, checkers: &[&str]) -> Result<Option<String>, String> {
    let began = Instant::now();
    let mut operations = 0;
    for _ in 0..TRIES {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let plan = Plan {
            seconds: args.seconds,
            processes: 8,
            kinds: vec![Kind::Rust, Kind::Rust, Kind::Pd, Kind::Rust],
            seed: None,
            pd: args.pd.clone(),
            faces: PathBuf::from("none"),
            blow_ms: if QUIET.contains(&broken) { 0 } else { 100 },
            no_stops: true,
            bound_ms: 1_000,
            patience_ms: 3_000,
            keep: None,
            broken: Some(broken.to_owned()),
        };
        let (report, _) = storm::run(&plan, dir.path()).map_err(|e| e.to_string())?;
        operations += report.counts.get("operations").copied().unwrap_or_default();
        if let Some(first) = report.violations.iter().find(|v| checkers.contains(&v.checker)) {
            let times = report.violations.iter().filter(|v| v.checker == first.checker).count();
            return Ok(Some(format!(
                "noticed by {} {:.2} s into the storm, {times} times ({operations} operations, {:.0} s in all)",
                first.checker,
                first.at as f64 / 1e9,
                began.elapsed().as_secs_f64(),
            )));
        }
    }
    Ok(None)
}
