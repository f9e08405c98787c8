//! Whether everyone gets a turn when eight processes write at once.

use crate::measure::{Spread, table};
use crate::role::Player;
use crate::setting::Setting;

const WRITERS: usize = 8;
const SECONDS: &str = "5";

pub(crate) fn run() {
    println!("{WRITERS} processes write as fast as they can for {SECONDS} s.\n");
    table(
        &["each writes", "writes/s together", "median wait", "99 % within", "worst wait", "most : fewest turns"],
        &[round("signals", "signals (survive a crash)"), round("notes", "notes (survive a power cut)")],
    );
}

fn round(what: &str, shown: &str) -> Vec<String> {
    let setting = Setting::new();
    let agent = |n: usize| format!("writer-{n}");
    let mut writers: Vec<Player> = (0..WRITERS).map(|n| Player::start(&setting, what, &agent(n), &[SECONDS])).collect();
    for writer in &mut writers {
        assert_eq!(writer.said(), "ready");
    }
    for writer in &mut writers {
        writer.go();
    }
    let said: Vec<Vec<f64>> =
        writers.iter_mut().map(|w| w.said().split(' ').map(|n| n.parse().expect("a number")).collect()).collect();
    let column = |i: usize| Spread::of(said.iter().map(|line| line[i]).collect());
    let turns = column(0);
    let seconds: f64 = SECONDS.parse().expect("a number");
    let together: f64 = said.iter().map(|line| line[0]).sum::<f64>() / seconds;
    vec![
        shown.to_owned(),
        format!("{together:.0}"),
        format!("{:.2} ms", column(1).median / 1e3),
        format!("{:.2} ms", column(2).most / 1e3),
        format!("{:.1} ms", column(3).most / 1e3),
        format!("{:.2}", turns.most / turns.least),
    ]
}
