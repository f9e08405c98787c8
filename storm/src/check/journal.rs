//! Every note that was acknowledged is there, once, and in the place that was said; and none that nobody wrote.

use std::collections::HashMap;

use super::Report;
use crate::history::{Answer, Call, History, now};

pub(super) fn check(history: &History, stored: &[(i64, String)], report: &mut Report) {
    let mut written: HashMap<&str, (i64, u32)> = HashMap::new();
    for (seq, text) in stored {
        let known = written.entry(text).or_insert((*seq, 0));
        known.1 += 1;
    }
    let mut known = 0;
    for op in &history.ops {
        let Call::Note { text } = &op.call else { continue };
        let there = written.get(text.as_str());
        known += there.map_or(0, |(_, times)| u64::from(*times));
        match (&op.answered, there) {
            (Some((t, Answer::At(seq))), None) => {
                report.violation("journal", *t, format!("{text} was acknowledged at {seq}, and isn't there"));
            }
            (Some((t, Answer::At(seq))), Some((at, _))) if at != seq => {
                report.violation("journal", *t, format!("{text} was acknowledged at {seq}, and is at {at}"));
            }
            (_, Some((_, times))) if *times > 1 => {
                report.violation("journal", op.over(), format!("{text} is there {times} times"));
            }
            _ => {}
        }
    }
    report.count("notes", stored.len() as u64);
    if known != stored.len() as u64 {
        let strange = stored.len() as u64 - known.min(stored.len() as u64);
        report.violation("journal", now(), format!("{strange} notes are there that nobody wrote"));
    }
}
