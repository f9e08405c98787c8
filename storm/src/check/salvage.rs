//! A dead agent's work goes to one other; and nobody living is taken for dead.

use std::collections::HashMap;

use super::Report;
use crate::history::{Answer, Call, History};

pub(super) fn check(history: &History, report: &mut Report) {
    let mut winners: HashMap<&str, &str> = HashMap::new();
    for op in &history.ops {
        match (&op.call, &op.answered) {
            (Call::Dead, Some((t, Answer::Agents(agents)))) => {
                for agent in agents.iter().filter(|agent| history.mortal(agent) > *t) {
                    report.violation("deaths", *t, format!("{} was told that {agent} is dead", op.agent));
                }
            }
            (Call::Salvage { agent }, Some((t, Answer::Done))) => {
                report.count("salvages", 1);
                if history.mortal(agent) > *t {
                    report.violation("deaths", *t, format!("{} was given the work of {agent}, which lives", op.agent));
                }
                if let Some(first) = winners.insert(agent, &op.agent) {
                    report.violation("salvage", *t, format!("{agent}'s work went to {first} and to {}", op.agent));
                }
            }
            _ => {}
        }
    }
}
