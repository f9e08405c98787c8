//! Every publication that was acknowledged reaches every position, once and in order; what a killed reader had not
//! acknowledged comes again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Report;
use crate::face::BATCH;
use crate::history::{Answer, Call, History, Op, Time};

/// What was published: where it was acknowledged to be, and where each id is, if that was told.
struct Published<'a> {
    at: BTreeMap<i64, (Time, &'a str)>,
    ids: HashMap<&'a str, Option<i64>>,
}

/// Where a position may stand.
#[derive(Default)]
struct Position<'a> {
    /// Up to here nothing may come again.
    least: i64,
    /// Up to here what comes next may begin later.
    most: i64,
    /// A command moves the position as it prints, and may have died with whoever read that: so many may be read already.
    unseen: usize,
    /// The program that reads on from what it read last, whatever is acknowledged.
    reader: Option<(&'a str, i64)>,
    ever: BTreeSet<i64>,
}

pub(super) fn check(history: &History, report: &mut Report) {
    let mut published = Published { at: BTreeMap::new(), ids: HashMap::new() };
    let mut readers: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        match &op.call {
            Call::Publish { id, .. } => {
                let seq = match &op.answered {
                    Some((t, Answer::At(seq))) => {
                        published.at.insert(*seq, (*t, id));
                        Some(*seq)
                    }
                    _ => None,
                };
                published.ids.insert(id, seq);
            }
            Call::Receive { position } | Call::Ack { position, .. } => readers.entry(position).or_default().push(op),
            _ => {}
        }
    }
    report.count("publications", published.at.len() as u64);
    let ids = &mut published.ids;
    // One whose answer was lost has one place, too: where it was first seen.
    for op in &history.ops {
        if let Some(Answer::Messages { got, .. }) = op.answer() {
            for (seq, id) in got {
                if let Some(at @ None) = ids.get_mut(id.as_str()) {
                    *at = Some(*seq);
                }
            }
        }
    }
    for (name, ops) in readers {
        let mut position = Position::default();
        for op in ops {
            position.follow(name, op, &published, report);
        }
        // It was read to the end: nothing may be missing.
        for (seq, (t, id)) in &published.at {
            let last = position.ever.last().is_some_and(|last| last > seq);
            if position.ever.contains(seq) {
                continue;
            }
            if !last && position.unseen > 0 {
                position.unseen -= 1;
            } else {
                report.violation("publications", *t, format!("{id} at {seq} never came to {name}"));
            }
        }
    }
}

impl<'a> Position<'a> {
    fn follow(&mut self, name: &str, op: &'a Op, published: &Published<'_>, report: &mut Report) {
        let command = op.agent.starts_with("pd-");
        match (&op.call, &op.answered) {
            (Call::Receive { .. }, Some((t, Answer::Messages { got, acked, maybe, warned }))) => {
                for text in warned {
                    report.violation("publications", *t, format!("{name} was told that messages are gone: {text}"));
                }
                report.count("deliveries", got.len() as u64);
                self.read(name, op, *t, got, published, report);
                if let Some((last, _)) = got.last() {
                    self.reader = (!command).then_some((op.agent.as_str(), *last));
                }
                self.moved(*acked);
                self.most = self.most.max(maybe.unwrap_or_default());
            }
            (Call::Receive { .. }, None) if command => self.unseen += BATCH,
            (Call::Ack { seq, .. }, Some((_, Answer::Done))) => self.moved(Some(*seq)),
            (Call::Ack { seq, .. }, _) => self.most = self.most.max(*seq),
            _ => {}
        }
    }

    fn moved(&mut self, to: Option<i64>) {
        self.least = self.least.max(to.unwrap_or_default());
        self.most = self.most.max(self.least);
    }

    /// One batch: nothing twice, nothing left out, nothing that nobody published.
    fn read(
        &mut self,
        name: &str,
        op: &Op,
        t: Time,
        got: &[(i64, String)],
        published: &Published<'_>,
        report: &mut Report,
    ) {
        let mut wrong =
            |text: String| report.violation("publications", t, format!("{}, from {name}: {text}", op.agent));
        // From where it reads: what comes is behind `last`, and whatever is behind `from` comes.
        let (mut last, mut from) = match self.reader {
            Some((agent, last)) if agent == op.agent => (last, last),
            _ => (self.least, self.most),
        };
        for (seq, id) in got {
            if *seq <= last {
                wrong(format!("{seq} came after {last}"));
            }
            for (missed, (_, id)) in published.at.range((from + 1).min(*seq)..*seq) {
                if self.unseen > 0 {
                    self.unseen -= 1;
                    self.ever.insert(*missed);
                } else {
                    wrong(format!("{id} at {missed} was left out before {seq}"));
                }
            }
            match published.ids.get(id.as_str()) {
                None => wrong(format!("{id} was never published")),
                Some(Some(at)) if at != seq => wrong(format!("{id} is at {at}, and came as {seq}")),
                Some(_) => {}
            }
            self.ever.insert(*seq);
            (last, from) = (*seq, *seq);
        }
        if !got.is_empty() {
            self.unseen = 0;
        }
    }
}
