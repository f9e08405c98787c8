//! One publication to many waiting processes: until the last of them has it.

use std::time::Duration;

use crate::alternate::{Aim, Round, alternate, comparison, paced, rows};
use crate::listener::{self, Which};
use crate::peer::{self, Redis};
use crate::role::Player;
use crate::setting::Setting;

const PROCESSES: usize = 50;
const ROUNDS: usize = 9;
const TIMES: u32 = 40;
/// Between two, so that all are asleep again.
const PERIOD: Duration = Duration::from_millis(30);

pub(crate) fn run() {
    let setting = Setting::new();
    let pd = setting.open("publisher");
    let mut redis = Redis::connect(&peer::port());
    let start = |which| -> Vec<Player> {
        (0..PROCESSES).map(|n| listener::start(&setting, &format!("listener-{n}"), which)).collect()
    };
    let (mut ours, mut theirs) = (start(Which::Ours), start(Which::Redis));
    let pids = |players: &[Player]| players.iter().map(|player| player.child.id()).collect::<Vec<_>>();
    let (here, mut there) = (pids(&ours), pids(&theirs));
    there.push(redis.server());
    let found = alternate(
        ROUNDS,
        || Round::run(&here, || last_served(&mut ours, || listener::publish(&pd))),
        || Round::run(&there, || last_served(&mut theirs, || listener::publish_to_redis(&mut redis))),
    );
    println!(
        "{ROUNDS} rounds of {TIMES} publications to {PROCESSES} processes, in turns: from the call of `publish` until the last has it.\n"
    );
    let figures = ["p50", "p90", "max", "CPU of a round", "peak memory"];
    comparison(&rows("the last one served", &found, &[("p50", Aim::AtMost(1.0))], &figures));
}

fn last_served(players: &mut [Player], send: impl FnMut()) -> Vec<f64> {
    for player in &mut *players {
        player.tell(TIMES);
    }
    std::thread::sleep(PERIOD);
    paced(TIMES, PERIOD, send);
    let mut last = vec![0.0_f64; TIMES as usize];
    for player in players {
        for (last, latency) in last.iter_mut().zip(player.said_numbers()) {
            *last = last.max(latency);
        }
    }
    last
}
