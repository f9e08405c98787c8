//! Linearizability, key by key: is there an order of all operations, each at one moment between its call and its answer,
//! in which every answer is right? (Wing and Gong's search, with Lowe's just-in-time refinement: all orders are followed at
//! once, and an operation has to have taken its moment when it answers.)
//!
//! What was in flight at a kill may take its moment until its process was known to be gone, or never.

#[cfg(test)]
use std::collections::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use super::{Report, locks::ROUNDING};
use crate::face::PORTS;
use crate::history::{Answer, Call, History, Op, Time};

/// What a key can hold, and what an operation makes of it.
pub(super) trait Model {
    type State: Clone + Eq + Hash + Ord;

    fn initial(&self) -> Self::State;

    /// The state after `op`, taking its moment no later than `now`. None: with its answer it can't have happened here.
    fn step(&self, state: &Self::State, op: &Op, now: Time) -> Option<Self::State>;

    /// Whether `op` changes nothing, whatever is there.
    fn only_looks(&self, op: &Op) -> bool;
}

/// What came of a search.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'a> {
    Holds,
    /// The first operation for which there is no order left.
    Contradiction(&'a Op),
    /// Too many orders were possible at once.
    Undecided,
}

/// So many orders are followed at once.
const WAYS: usize = 20_000;

pub(super) fn search<'a, M: Model>(model: &M, ops: &[&'a Op]) -> Verdict<'a> {
    // Calls before answers of the same moment: that allows more, not less.
    let mut events: Vec<(Time, bool, usize)> = Vec::with_capacity(ops.len() * 2);
    for (index, op) in ops.iter().enumerate() {
        events.push((op.called, false, index));
        if op.over() != Time::MAX {
            events.push((op.over(), true, index));
        }
    }
    events.sort_unstable();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    // A state, and which of the open operations have taken their moment.
    let mut ways: BTreeSet<(M::State, BTreeSet<usize>)> = BTreeSet::from([(model.initial(), BTreeSet::new())]);
    for (now, ends, index) in events {
        if !ends {
            open.insert(index);
            continue;
        }
        let mut reached: BTreeSet<(M::State, BTreeSet<usize>)> = BTreeSet::new();
        let mut fresh: Vec<_> = ways.into_iter().collect();
        while let Some((state, mut done)) = fresh.pop() {
            let steps: Vec<(usize, M::State)> = open
                .iter()
                .filter(|next| !done.contains(next))
                .filter_map(|next| Some((*next, model.step(&state, ops[*next], now)?)))
                .collect();
            // What only looks takes its moment where it can: no order is lost by that.
            done.extend(steps.iter().filter(|(next, _)| model.only_looks(ops[*next])).map(|(next, _)| *next));
            if !reached.insert((state.clone(), done.clone())) {
                continue;
            }
            if reached.len() > WAYS {
                return Verdict::Undecided;
            }
            for (next, after) in steps.into_iter().filter(|(next, _)| !done.contains(next)) {
                let mut done = done.clone();
                done.insert(next);
                fresh.push((after, done));
            }
        }
        let answered = ops[index].answered.is_some();
        ways = reached
            .into_iter()
            .filter(|(_, done)| !answered || done.contains(&index))
            .map(|(state, mut done)| {
                done.remove(&index);
                (state, done)
            })
            .collect();
        if ways.is_empty() {
            return Verdict::Contradiction(ops[index]);
        }
        open.remove(&index);
    }
    Verdict::Holds
}

/// A lock: who has it, with which token (0: not known), and from when on it may be taken from it.
pub(super) struct LockModel<'a> {
    pub(super) mortal: &'a dyn Fn(&str) -> Time,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LockState {
    holder: Option<(String, i64, Time)>,
    last: i64,
}

impl Model for LockModel<'_> {
    type State = LockState;

    fn initial(&self) -> LockState {
        LockState { holder: None, last: 0 }
    }

    fn only_looks(&self, op: &Op) -> bool {
        match (&op.call, op.answer()) {
            (_, None) | (Call::Lock { .. }, Some(Answer::Granted(_))) | (Call::Unlock { .. }, Some(Answer::Done)) => {
                false
            }
            (Call::Lock { .. }, Some(Answer::Failed(code))) => code != "LEASE_LOST",
            _ => true,
        }
    }

    fn step(&self, state: &LockState, op: &Op, now: Time) -> Option<LockState> {
        let LockState { holder, last } = state;
        let free = holder.as_ref().is_none_or(|(_, _, until)| *until <= now);
        let same = || Some(state.clone());
        let ghost = || free.then(|| LockState { holder: Some((op.agent.clone(), 0, 0)), last: *last });
        match (&op.call, op.answer()) {
            (Call::Lock { ttl_ms, .. }, Some(Answer::Granted(token))) => {
                let lease = ttl_ms.map(|ttl| (op.called + ttl * 1_000_000).saturating_sub(ROUNDING));
                let until = (self.mortal)(&op.agent).min(lease.unwrap_or(Time::MAX));
                (free && token > last)
                    .then(|| LockState { holder: Some((op.agent.clone(), *token, until)), last: *token })
            }
            // What took it is gone, or its lease was over before it could be told: it can be taken from it at any time.
            (Call::Lock { .. }, None) => ghost(),
            (Call::Lock { .. }, Some(Answer::Failed(code))) if code == "LEASE_LOST" => ghost(),
            (Call::Lock { wait: false, .. }, Some(Answer::No)) => holder.is_some().then(same)?,
            (Call::Unlock { token, .. }, Some(Answer::Done) | None) => match holder {
                Some((agent, held, _)) if *agent == op.agent && (held == token || *held == 0 || *token == 0) => {
                    Some(LockState { holder: None, last: *last })
                }
                _ => None,
            },
            (Call::Unlock { token, .. }, Some(Answer::Failed(code))) if code != "STORE_BUSY" && *token != 0 => {
                match holder {
                    Some((_, held, until)) if held == token && *until > now => None,
                    _ => same(),
                }
            }
            (Call::Look { .. }, Some(Answer::Held { holder: None, .. })) => free.then(same)?,
            (Call::Look { .. }, Some(Answer::Held { holder: Some((agent, token)), .. })) => match holder {
                Some((a, t, _)) if a == agent && (t == token || *t == 0) => same(),
                _ => None,
            },
            _ => same(),
        }
    }
}

pub(super) fn locks(history: &History, report: &mut Report) {
    let mut by_name: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in &history.ops {
        if let Call::Lock { name, .. } | Call::Unlock { name, .. } | Call::Look { name } = &op.call {
            by_name.entry(name).or_default().push(op);
        }
    }
    let model = LockModel { mortal: &|agent| history.mortal(agent) };
    judge("linearizability of locks", &model, by_name, report);
}

/// A port: which identity has it.
struct PortModel {
    port: u16,
}

impl Model for PortModel {
    type State = Option<String>;

    fn initial(&self) -> Self::State {
        None
    }

    fn only_looks(&self, op: &Op) -> bool {
        matches!((&op.call, op.answer()), (Call::GiveUp { .. }, Some(Answer::Ports(ports))) if !ports.contains(&self.port))
    }

    fn step(&self, state: &Self::State, op: &Op, _: Time) -> Option<Self::State> {
        match (&op.call, op.answer()) {
            (Call::Port { identity }, Some(Answer::Ports(_)) | None) => {
                state.as_ref().is_none_or(|has| has == identity).then(|| Some(identity.clone()))
            }
            (Call::GiveUp { identity }, Some(Answer::Ports(ports))) if ports.contains(&self.port) => {
                (state.as_ref() == Some(identity)).then_some(None)
            }
            // It was given up, and this port was not among what it had.
            (Call::GiveUp { identity }, Some(_)) => (state.as_ref() != Some(identity)).then(|| state.clone()),
            (Call::GiveUp { identity }, None) => (state.as_ref() == Some(identity)).then_some(None),
            _ => Some(state.clone()),
        }
    }
}

pub(super) fn ports(history: &History, report: &mut Report) {
    for port in PORTS.0..=PORTS.1 {
        let concerns = |op: &&Op| match (&op.call, op.answer()) {
            (Call::Port { .. }, Some(Answer::Ports(ports))) => ports.contains(&port),
            (Call::Port { .. } | Call::GiveUp { .. }, None) | (Call::GiveUp { .. }, Some(Answer::Ports(_))) => true,
            _ => false,
        };
        let ops: Vec<&Op> = history.ops.iter().filter(concerns).collect();
        judge("linearizability of ports", &PortModel { port }, BTreeMap::from([(format!("port {port}"), ops)]), report);
    }
}

fn judge<M: Model, K: std::fmt::Display>(
    checker: &'static str,
    model: &M,
    keys: BTreeMap<K, Vec<&Op>>,
    report: &mut Report,
) {
    for (key, ops) in keys {
        report.count("histories searched", 1);
        report.count("operations in them", ops.len() as u64);
        match search(model, &ops) {
            Verdict::Holds => {}
            Verdict::Undecided => report.count("histories given up", 1),
            Verdict::Contradiction(op) => {
                let (call, answer) = (&op.call, op.answer());
                let text = format!("{key}: no order explains what {} was told: {call:?}, {answer:?}", op.agent);
                report.violation(checker, op.over(), text);
            }
        }
    }
}

/// For each agent, from when on it is mortal; everyone else lives.
#[cfg(test)]
pub(super) fn mortal_from<'a>(deaths: &'a HashMap<&'a str, Time>) -> impl Fn(&str) -> Time + 'a {
    |agent| deaths.get(agent).copied().unwrap_or(Time::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(agent: &str, call: Call, called: Time, answered: Option<(Time, Answer)>) -> Op {
        Op { agent: agent.to_owned(), call, called, answered, by: 1_000 }
    }

    fn lock(agent: &str, called: Time, answered: Time, token: i64) -> Op {
        let call = Call::Lock { name: "m".to_owned(), wait: true, ttl_ms: None };
        op(agent, call, called, Some((answered, Answer::Granted(token))))
    }

    fn unlock(agent: &str, called: Time, answered: Time, token: i64) -> Op {
        let call = Call::Unlock { name: "m".to_owned(), token, lazy: false };
        op(agent, call, called, Some((answered, Answer::Done)))
    }

    fn tried(agent: &str, called: Time, answered: Time) -> Op {
        let call = Call::Lock { name: "m".to_owned(), wait: false, ttl_ms: None };
        op(agent, call, called, Some((answered, Answer::No)))
    }

    fn in_flight(agent: &str, called: Time) -> Op {
        op(agent, Call::Lock { name: "m".to_owned(), wait: true, ttl_ms: None }, called, None)
    }

    fn holds(ops: &[Op], deaths: &[(&str, Time)]) -> bool {
        let deaths: HashMap<&str, Time> = deaths.iter().copied().collect();
        let mortal = mortal_from(&deaths);
        let ops: Vec<&Op> = ops.iter().collect();
        search(&LockModel { mortal: &mortal }, &ops) == Verdict::Holds
    }

    #[test]
    fn one_after_the_other_holds() {
        assert!(holds(&[lock("a", 1, 2, 1), unlock("a", 3, 4, 1), lock("b", 2, 5, 2), tried("c", 2, 3)], &[]));
    }

    #[test]
    fn two_at_once_are_found() {
        assert!(!holds(&[lock("a", 1, 2, 1), lock("b", 3, 4, 2), unlock("a", 5, 6, 1)], &[]));
    }

    #[test]
    fn a_token_that_falls_is_found() {
        assert!(!holds(&[lock("a", 1, 2, 2), unlock("a", 3, 4, 2), lock("b", 5, 6, 1)], &[]));
    }

    #[test]
    fn a_refusal_while_it_was_free_is_found() {
        assert!(!holds(&[lock("a", 1, 2, 1), unlock("a", 3, 4, 1), tried("c", 5, 6)], &[]));
    }

    #[test]
    fn a_claim_that_finds_its_port_may_come_after_the_release_beside_it() {
        let port = |called, answered| {
            let call = Call::Port { identity: "p".to_owned() };
            op("a", call, called, Some((answered, Answer::Ports(vec![9]))))
        };
        let give_up = |called, answered| {
            let call = Call::GiveUp { identity: "p".to_owned() };
            op("b", call, called, Some((answered, Answer::Ports(vec![9]))))
        };
        let holds = |ops: &[Op]| search(&PortModel { port: 9 }, &ops.iter().collect::<Vec<_>>()) == Verdict::Holds;
        assert!(holds(&[port(1, 2), port(3, 6), give_up(4, 5), give_up(7, 8)]));
        assert!(!holds(&[port(1, 2), give_up(4, 5), give_up(7, 8)]));
    }

    #[test]
    fn the_dead_hold_nothing_and_the_living_do() {
        let ops = [lock("a", 1, 2, 1), lock("b", 3, 9, 2)];
        assert!(!holds(&ops, &[]));
        assert!(holds(&ops, &[("a", 5)]));
        assert!(!holds(&ops, &[("a", 10)]));
    }

    #[test]
    fn what_was_in_flight_may_have_happened_or_not() {
        assert!(holds(&[in_flight("a", 1), tried("b", 2, 3)], &[]));
        assert!(holds(&[in_flight("a", 1), lock("b", 2, 3, 1)], &[]));
        assert!(!holds(&[in_flight("a", 4), tried("b", 2, 3)], &[]));
    }
}
