//! One order of commits: what was over before something else began has the smaller place.

use super::Report;
use crate::history::{Answer, History, Time};

pub(super) fn check(history: &History, report: &mut Report) {
    let mut placed: Vec<(i64, Time, Time, &str)> = Vec::new();
    for op in &history.ops {
        if let Some((t, Answer::At(seq))) = &op.answered {
            placed.push((*seq, op.called, *t, &op.agent));
        }
    }
    placed.sort_unstable();
    report.count("places in the order of commits", placed.len() as u64);
    for pair in placed.windows(2) {
        if pair[0].0 == pair[1].0 {
            report.violation("order", pair[1].2, format!("the place {} was given twice", pair[0].0));
        }
    }
    let mut first_over = Time::MAX;
    for (seq, called, over, agent) in placed.into_iter().rev() {
        if first_over < called {
            report.violation("order", over, format!("{agent} got the place {seq} after one behind it was over"));
        }
        first_over = first_over.min(over);
    }
}
