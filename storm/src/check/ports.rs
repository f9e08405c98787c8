//! No port is two identities' at once, and an identity that has one keeps it.

use std::collections::BTreeMap;

use super::Report;
use crate::history::{Answer, Call, History, Time};

pub(super) fn check(history: &History, report: &mut Report) {
    // Who had a port when, for certain: from one answer to the next call that may have ended it.
    let mut sure: BTreeMap<u16, Vec<(Time, Time, &str)>> = BTreeMap::new();
    let mut ends: BTreeMap<&str, Vec<Time>> = BTreeMap::new();
    for op in &history.ops {
        if let Call::GiveUp { identity } = &op.call {
            ends.entry(identity).or_default().push(op.called);
        }
    }
    // A release that was called before the claim was answered may come after it.
    let mut open: BTreeMap<&str, Vec<(Time, Time)>> = BTreeMap::new();
    for op in &history.ops {
        if let Call::GiveUp { identity } = &op.call {
            open.entry(identity).or_default().push((op.called, op.over()));
        }
    }
    for op in &history.ops {
        let (Call::Port { identity }, Some((t, Answer::Ports(ports)))) = (&op.call, &op.answered) else { continue };
        report.count("port claims", 1);
        let overlaps = |&(from, to): &(Time, Time)| from <= *t && to >= op.called;
        if open.get(identity.as_str()).is_some_and(|all| all.iter().any(overlaps)) {
            continue;
        }
        let end = ends.get(identity.as_str()).and_then(|all| all.iter().find(|end| *end > t)).copied();
        for port in ports {
            sure.entry(*port).or_default().push((*t, end.unwrap_or(Time::MAX), identity));
        }
    }
    let mut by_identity: BTreeMap<&str, Vec<(Time, Time, u16)>> = BTreeMap::new();
    for (port, times) in &mut sure {
        times.sort_unstable();
        let mut last: Option<(Time, Time, &str)> = None;
        for &time in times.iter() {
            by_identity.entry(time.2).or_default().push((time.0, time.1, *port));
            if let Some((_, until, identity)) = last
                && identity != time.2
                && until > time.0
            {
                report.violation("ports", time.0, format!("port {port} was {identity}'s, and {} was given it", time.2));
            }
            if last.is_none_or(|(_, until, _)| time.1 >= until) {
                last = Some(time);
            }
        }
    }
    for (identity, times) in &mut by_identity {
        times.sort_unstable();
        for pair in times.windows(2) {
            if pair[0].1 > pair[1].0 && pair[0].2 != pair[1].2 {
                let text = format!("{identity} had port {}, and then {}", pair[0].2, pair[1].2);
                report.violation("ports", pair[1].0, text);
            }
        }
    }
}
