//! Locks, by their tokens: each is granted once; one who has a greater token got it after the one before had given it up,
//! was dead or had let its lease end; and who was seen waiting comes before who came later.

use std::collections::{BTreeMap, HashMap};

use super::Report;
use crate::history::{Answer, Call, History, Time};

/// Leases count whole milliseconds, from one that may have begun before the call.
pub(super) const ROUNDING: Time = 2_000_000;

/// A grant that somebody was told of.
pub(super) struct Grant<'a> {
    pub(super) agent: &'a str,
    pub(super) token: i64,
    pub(super) waits: bool,
    pub(super) called: Time,
    pub(super) granted: Time,
    /// The earliest moment at which another could have it.
    pub(super) free: Time,
    /// How it ended, as far as it is known: when it was surely given up, or its holder killed.
    pub(super) released: Option<Time>,
    /// Whether it was ever asked to be given up.
    pub(super) kept: bool,
    pub(super) killed: Option<Time>,
    pub(super) expires: Option<Time>,
}

/// All grants, by name, in the order of tokens.
pub(super) fn grants(history: &History) -> BTreeMap<&str, Vec<Grant<'_>>> {
    let mut unlocks: HashMap<(&str, i64), (Time, Option<Time>)> = HashMap::new();
    for op in &history.ops {
        let Call::Unlock { name, token, .. } = &op.call else { continue };
        let done = op.answered.as_ref().filter(|(_, answer)| *answer == Answer::Done).map(|(t, _)| *t);
        let known = unlocks.entry((name, *token)).or_insert((op.called, None));
        known.1 = known.1.or(done);
    }
    // After a command that was killed an agent gives up whatever it has of that name.
    let mut any: HashMap<(&str, &str), Vec<Time>> = HashMap::new();
    for op in &history.ops {
        if let Call::Unlock { name, token: 0, .. } = &op.call {
            any.entry((&op.agent, name)).or_default().push(op.called);
        }
    }
    let mut all: BTreeMap<&str, Vec<Grant<'_>>> = BTreeMap::new();
    for op in &history.ops {
        let Call::Lock { name, wait, ttl_ms } = &op.call else { continue };
        let Some((granted, Answer::Granted(token))) = op.answered else { continue };
        let unlock = unlocks.get(&(name.as_str(), token));
        let dies = history.mortal(&op.agent);
        let expires = ttl_ms.map(|ttl| (op.called + ttl * 1_000_000).saturating_sub(ROUNDING));
        let given = any.get(&(op.agent.as_str(), name.as_str()));
        let given = given.and_then(|all| all.iter().copied().find(|called| *called > op.called));
        let ends = [unlock.map(|u| u.0), given, Some(dies), expires];
        all.entry(name).or_default().push(Grant {
            agent: &op.agent,
            token,
            waits: *wait,
            called: op.called,
            granted,
            free: ends.into_iter().flatten().min().unwrap_or(Time::MAX),
            kept: unlock.is_none() && given.is_none(),
            released: unlock.and_then(|u| u.1),
            killed: history.lives.get(&op.agent).and_then(|life| life.killed),
            expires,
        });
    }
    for grants in all.values_mut() {
        grants.sort_by_key(|grant| grant.token);
    }
    all
}

pub(super) fn check(history: &History, report: &mut Report) {
    let all = grants(history);
    let mut tokens: Vec<(i64, Time)> = all.values().flatten().map(|g| (g.token, g.granted)).collect();
    tokens.sort_unstable();
    for pair in tokens.windows(2) {
        if pair[0].0 == pair[1].0 {
            report.violation("tokens", pair[0].1.max(pair[1].1), format!("the token {} was given twice", pair[0].0));
        }
    }
    for (name, grants) in &all {
        report.count("grants", grants.len() as u64);
        let mut before: Option<&Grant<'_>> = None;
        for grant in grants {
            if let Some(last) = before
                && last.free > grant.granted
            {
                report.violation(
                    "exclusion",
                    grant.granted,
                    format!(
                        "{} had {name} with token {} while {} still held it with token {}",
                        grant.agent, grant.token, last.agent, last.token
                    ),
                );
            }
            if before.is_none_or(|last| grant.free > last.free) {
                before = Some(grant);
            }
        }
    }
    turns(history, &all, report);
}

/// Who was seen in the queue when another had not even asked must have been served before that one.
fn turns(history: &History, all: &BTreeMap<&str, Vec<Grant<'_>>>, report: &mut Report) {
    for op in &history.ops {
        let (Call::Look { name }, Some((seen, Answer::Held { waiters, .. }))) = (&op.call, &op.answered) else {
            continue;
        };
        let Some(grants) = all.get(name.as_str()) else { continue };
        // The grant that a waiter's wait ended with: the one whose call stood open at that moment. A look takes its time:
        // where two did, it is not known which was seen.
        let served = |agent: &str| {
            let stood = |g: &&Grant<'_>| g.agent == agent && g.waits && g.called < *seen && g.granted > op.called;
            let mut standing = grants.iter().filter(stood);
            standing.next().filter(|_| standing.next().is_none())
        };
        let known: Vec<&Grant<'_>> = waiters.iter().filter_map(|agent| served(agent)).collect();
        report.count("places in queues", known.len() as u64);
        for pair in known.windows(2) {
            if pair[0].token > pair[1].token {
                report.violation(
                    "turns",
                    pair[1].granted,
                    format!("{} had {name} before {}, who stood before it", pair[1].agent, pair[0].agent),
                );
            }
        }
        for early in known {
            let barged = grants.iter().find(|late| late.called > *seen && late.token < early.token);
            if let Some(late) = barged {
                report.violation(
                    "turns",
                    late.granted,
                    format!("{} came after {} and had {name} before it", late.agent, early.agent),
                );
            }
        }
    }
}
