//! What must hold of every history. Each checker is told nothing but what the processes saw, and, at the end, what the
//! file holds once all are dead.

mod claims;
mod hand_over;
mod journal;
mod leftovers;
mod linear;
mod locks;
mod order;
mod ports;
mod publications;
mod salvage;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Answer, History, Time};

pub(crate) use hand_over::percentile;
pub(crate) use leftovers::{check as leftovers, look};

/// A promise that was not kept.
pub(crate) struct Violation {
    pub(crate) checker: &'static str,
    pub(crate) at: Time,
    pub(crate) text: String,
}

/// What the checkers found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) violations: Vec<Violation>,
    /// What was checked, how often.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Refusals by code.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// How long a lock's next holder waited once its holder had released it, or was killed, in nanoseconds, sorted.
    pub(crate) after_release: Vec<Time>,
    pub(crate) after_death: Vec<Time>,
}

impl Report {
    pub(crate) fn violation(&mut self, checker: &'static str, at: Time, text: impl Into<String>) {
        self.violations.push(Violation { checker, at, text: text.into() });
    }

    pub(crate) fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at {:.3} s)", self.checker, self.text, self.at as f64 / 1e9)
    }
}

/// All checkers, on a history and the journal that it left.
pub(crate) fn all(history: &History, journal: &[(i64, String)], bound: Duration, report: &mut Report) {
    report.count("operations", history.ops.len() as u64);
    for op in &history.ops {
        match op.answer() {
            None => report.count("in flight at a kill", 1),
            Some(Answer::Failed(code)) => *report.refusals.entry(code.clone()).or_default() += 1,
            Some(_) => {}
        }
    }
    refusals(history, report);
    locks::check(history, report);
    linear::locks(history, report);
    linear::ports(history, report);
    let given_up = report.counts.get("histories given up").copied().unwrap_or_default();
    if given_up * 50 > report.counts.get("histories searched").copied().unwrap_or_default() {
        report.violation(
            "linearizability",
            history.began,
            format!("{given_up} histories were too wide to be searched"),
        );
    }
    hand_over::check(history, bound, report);
    ports::check(history, report);
    publications::check(history, report);
    order::check(history, report);
    claims::check(history, report);
    salvage::check(history, report);
    journal::check(history, journal, report);
    for violation in &mut report.violations {
        violation.at = violation.at.saturating_sub(history.began);
    }
    report.violations.sort_by_key(|violation| violation.at);
}

/// What an agent that keeps to the rules may be refused with.
const EXPECTED: [&str; 9] = [
    "TIMEOUT",
    "LEASE_LOST",
    "NOT_HELD",
    "NOT_OWNER",
    "NOT_FOUND",
    "NOT_SALVAGEABLE",
    "NO_SESSION",
    "STORE_BUSY",
    "PORT_TAKEN",
];

fn refusals(history: &History, report: &mut Report) {
    for op in &history.ops {
        if let Some((t, Answer::Failed(code))) = &op.answered
            && !EXPECTED.contains(&code.as_str())
        {
            report.violation("refusals", *t, format!("{} was refused {:?} with {code}", op.agent, op.call));
        }
    }
}
