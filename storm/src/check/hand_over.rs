//! In bounded time: a lock that is free for one who waits is its own soon.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Report, locks};
use crate::history::{Answer, Call, History, Time};

/// The value below which this part of a sorted list lies.
pub(crate) fn percentile(sorted: &[Time], part: f64) -> Time {
    let index = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

/// By name: calls that may have had the lock without anybody knowing, and until when.
fn ghosts(history: &History) -> BTreeMap<&str, Vec<(Time, Time)>> {
    let mut all: BTreeMap<&str, Vec<(Time, Time)>> = BTreeMap::new();
    for op in &history.ops {
        match &op.call {
            Call::Lock { name, .. } if op.answered.is_none() => {
                all.entry(name).or_default().push((op.called, op.by));
            }
            Call::Lock { name, .. } if op.answer() == Some(&Answer::Failed("LEASE_LOST".to_owned())) => {
                all.entry(name).or_default().push((op.called, op.over()));
            }
            Call::Unlock { name, token: 0, .. } => all.entry(name).or_default().push((op.called, op.over())),
            _ => {}
        }
    }
    all
}

pub(super) fn check(history: &History, bound: Duration, report: &mut Report) {
    let bound = bound.as_nanos() as Time;
    let ghosts = ghosts(history);
    for (name, grants) in &locks::grants(history) {
        let ghosts = ghosts.get(name).map(Vec::as_slice).unwrap_or_default();
        for pair in grants.windows(2) {
            let (last, next) = (&pair[0], &pair[1]);
            if !next.waits {
                continue;
            }
            let ended = match (last.released, last.killed, last.expires) {
                (Some(released), ..) => Some((released, false)),
                (None, Some(killed), None) if last.kept && killed > last.granted => Some((killed, true)),
                _ => None,
            };
            let Some((ended, death)) = ended else { continue };
            let between = |&&(called, over): &&(Time, Time)| called < next.granted && over > ended;
            let since = ghosts.iter().filter(between).map(|(_, over)| *over).fold(ended.max(next.called), Time::max);
            let took = next.granted.saturating_sub(since);
            let undisturbed = took.saturating_sub(history.stopped_within(next.agent, since, next.granted));
            if next.called < ended && since == ended {
                if death { &mut report.after_death } else { &mut report.after_release }.push(took);
            }
            report.count("waits", 1);
            if undisturbed > bound {
                let text = format!("{} waited for {name} for {} ms that it was free", next.agent, took / 1_000_000);
                report.violation("hand-over", next.granted, text);
            }
        }
    }
    for op in &history.ops {
        if let (Call::Lock { name, wait: true, .. }, Some((t, Answer::Failed(code)))) = (&op.call, &op.answered)
            && code == "TIMEOUT"
        {
            report.violation("hand-over", *t, format!("{} gave up on {name}, which nobody holds for long", op.agent));
        }
    }
    report.after_death.sort_unstable();
    report.after_release.sort_unstable();
}
