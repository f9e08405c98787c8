//! Ours and the peer in turns in one run, and the table of what came of it.

use std::time::{Duration, Instant};

use crate::measure::{Spread, quantile, table};
use crate::spent::{Spent, peak_mib};

/// What one side found in one round.
#[derive(Clone, Default)]
pub(crate) struct Round {
    /// Microseconds of each, in order.
    times: Vec<f64>,
    seconds: f64,
    /// Seconds on the CPU, of all who took part.
    cpu: f64,
    memory_mib: f64,
    /// How often each of several had its turn.
    turns: Vec<f64>,
}

impl Round {
    /// Of times that were measured before.
    pub(crate) fn of(mut times: Vec<f64>) -> Round {
        times.sort_by(f64::total_cmp);
        Round { times, ..Round::default() }
    }

    /// The same, with how often each of several had its turn.
    pub(crate) fn with_turns(self, turns: Vec<f64>) -> Round {
        Round { turns, ..self }
    }

    /// Runs it. `others`: what other processes take part; their use and this one's own are counted.
    pub(crate) fn run(others: &[u32], work: impl FnOnce() -> Vec<f64>) -> Round {
        let mut all = others.to_vec();
        all.push(std::process::id());
        let (before, begin) = (Spent::by(&all), Instant::now());
        let times = work();
        let seconds = begin.elapsed().as_secs_f64();
        let (cpu, memory_mib) = (Spent::by(&all).cpu_since(before), peak_mib(others));
        Round { seconds, cpu, memory_mib, ..Round::of(times) }
    }
}

/// Makes a call so often, and gives the microseconds of each.
pub(crate) fn calls(times: usize, mut call: impl FnMut()) -> Vec<f64> {
    let one = |_| {
        let start = Instant::now();
        call();
        crate::measure::us(start.elapsed())
    };
    (0..times).map(one).collect()
}

/// So often, with equal time between the beginnings.
pub(crate) fn paced(times: u32, period: Duration, mut call: impl FnMut()) {
    let begin = Instant::now();
    for n in 0..times {
        std::thread::sleep((begin + period * n).saturating_duration_since(Instant::now()));
        call();
    }
}

/// The rounds of both, by number.
pub(crate) struct Rounds {
    pub(crate) ours: Vec<Round>,
    pub(crate) peer: Vec<Round>,
}

/// Once each to warm up, then in turns. Who goes first changes, so that what one leaves behind meets both alike.
pub(crate) fn alternate(rounds: usize, mut ours: impl FnMut() -> Round, mut peer: impl FnMut() -> Round) -> Rounds {
    let mut found = Rounds { ours: Vec::new(), peer: Vec::new() };
    ours();
    peer();
    for round in 0..rounds {
        if round % 2 == 0 {
            found.ours.push(ours());
            found.peer.push(peer());
        } else {
            found.peer.push(peer());
            found.ours.push(ours());
        }
    }
    found
}

/// What is to be reached.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    /// A ratio to the peer of at most.
    AtMost(f64),
    /// A ratio of at least.
    AtLeast(f64),
    /// Our own figure, whatever the peer's.
    OwnAtMost(f64),
}

/// What a round is told by: its name, how a value is written, and what it is. None: it says nothing here.
type Figure = (&'static str, fn(f64) -> String, fn(&Round) -> Option<f64>);

const FIGURES: [Figure; 9] = [
    ("p50", micros, |round| Some(quantile(&round.times, 0.5))),
    ("p90", micros, |round| several(round, 10, 0.9)),
    ("p99", micros, |round| several(round, 100, 0.99)),
    ("p99.9", micros, |round| several(round, 1000, 0.999)),
    ("max", micros, |round| several(round, 2, 1.0)),
    (
        "per second",
        |value| format!("{value:.0}"),
        |round| (round.seconds > 0.0).then_some(round.times.len() as f64 / round.seconds),
    ),
    ("CPU of a round", |value| format!("{value:.3} s"), |round| (round.cpu > 0.0).then_some(round.cpu)),
    ("peak memory", |value| format!("{value:.0} MiB"), |round| (round.memory_mib > 0.0).then_some(round.memory_mib)),
    (
        "most : fewest turns",
        |value| format!("{value:.2}"),
        |round| {
            let turns = &round.turns;
            (!turns.is_empty()).then(|| Spread::of(turns.clone())).map(|turns| turns.most / turns.least.max(1.0))
        },
    ),
];

/// A quantile, if there are enough for it.
fn several(round: &Round, enough: usize, part: f64) -> Option<f64> {
    (round.times.len() >= enough).then(|| quantile(&round.times, part))
}

fn micros(value: f64) -> String {
    match value {
        ..100.0 => format!("{value:.1} µs"),
        ..10_000.0 => format!("{value:.0} µs"),
        _ => format!("{:.1} ms", value / 1e3),
    }
}

/// Rows of a [`comparison`]: one work, and the aims for its figures. `only`: which figures; all, if it names none.
pub(crate) fn rows(work: &str, rounds: &Rounds, aims: &[(&str, Aim)], only: &[&str]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, shown, value) in FIGURES {
        let values = |rounds: &[Round]| rounds.iter().map(value).collect::<Option<Vec<f64>>>();
        let (Some(ours), Some(peer)) = (values(&rounds.ours), values(&rounds.peer)) else { continue };
        if !(only.is_empty() || only.contains(&name)) {
            continue;
        }
        let ratios = Spread::of(ours.iter().zip(&peer).map(|(ours, peer)| ours / peer).collect());
        let (ours, peer) = (Spread::of(ours).median, Spread::of(peer).median);
        let aim = aims.iter().find(|(figure, _)| *figure == name).map(|(_, aim)| match *aim {
            Aim::AtMost(most) => (format!("≤ {most}"), ratios.median <= most),
            Aim::AtLeast(least) => (format!("≥ {least}"), ratios.median >= least),
            Aim::OwnAtMost(most) => (format!("ours ≤ {most}"), ours <= most),
        });
        rows.push(vec![
            if rows.is_empty() { work.to_owned() } else { String::new() },
            name.to_owned(),
            shown(ours),
            shown(peer),
            format!("{:.2}", ratios.median),
            format!("{:.2}–{:.2}", ratios.least, ratios.most),
            aim.map_or(String::new(), |(aim, met)| format!("{aim}: {}", if met { "met" } else { "missed" })),
        ]);
    }
    rows
}

/// The table of all works of a bench.
pub(crate) fn comparison(rows: &[Vec<String>]) {
    table(&["work", "figure", "ours", "peer", "ratio", "least–most", "aim"], rows);
}
