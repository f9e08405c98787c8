//! Whether everyone gets a turn when many processes write at once: with the gate, and with SQLite's busy timeout alone.

use std::path::{Path, PathBuf};

use crate::alternate::{Aim, Round, alternate, comparison, rows};
use crate::role::Player;
use crate::setting::Setting;

const WRITERS: [usize; 2] = [8, 32];
const SECONDS: &str = "1";
const ROUNDS: usize = 5;

pub(crate) fn run() {
    let own = std::env::current_exe().expect("this program's path");
    let without =
        PathBuf::from(std::env::var_os("PD_BENCH_NO_GATE").expect("PD_BENCH_NO_GATE: benches/run.sh sets it"));
    println!(
        "So many processes write as fast as they can for {SECONDS} s, {ROUNDS} rounds of each build, in turns. The times are those of"
    );
    println!("all calls; the largest is the worst wait. The peer is the same code, built to pass the gate by.\n");
    let mut table = Vec::new();
    for writers in WRITERS {
        for (what, shown) in [("signals", "signals (survive a crash)"), ("notes", "notes (survive a power cut)")] {
            let found = alternate(ROUNDS, || round(&own, writers, what), || round(&without, writers, what));
            let aims = [
                ("max", Aim::AtMost(0.1)),
                ("per second", Aim::AtLeast(1.0)),
                ("most : fewest turns", Aim::OwnAtMost(1.5)),
            ];
            table.extend(rows(&format!("{writers} writers, {shown}"), &found, &aims, &[]));
        }
    }
    comparison(&table);
}

fn round(program: &Path, writers: usize, what: &str) -> Round {
    let setting = Setting::new();
    // One after the other, so that without the gate nobody fails before it begins.
    let start = |n: usize| {
        let mut player = Player::start_as(program, &setting, what, &format!("writer-{n}"), &[SECONDS]);
        assert_eq!(player.said(), "ready");
        player
    };
    let mut players: Vec<Player> = (0..writers).map(start).collect();
    let pids: Vec<u32> = players.iter().map(|player| player.child.id()).collect();
    let mut turns = Vec::new();
    let found = Round::run(&pids, || {
        players.iter_mut().for_each(|player| player.tell("go"));
        let said: Vec<Vec<f64>> = players.iter_mut().map(Player::said_numbers).collect();
        turns = said.iter().map(|times| times.len() as f64).collect();
        said.concat()
    });
    found.with_turns(turns)
}
