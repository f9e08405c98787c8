//! What is lost where a process can only poll: `PORT_DADDY_WAKE=poll` against the futex.

use std::time::Duration;

use crate::alternate::{Round, alternate, comparison, paced, rows};
use crate::listener::{self, Which};
use crate::measure::table;
use crate::role::Player;
use crate::setting::Setting;
use crate::spent::Spent;

const ROUNDS: usize = 5;
const TIMES: u32 = 100;
const PERIOD: Duration = Duration::from_millis(20);
const IDLE: usize = 20;
/// Until a poller looks as seldom as it ever will.
const SETTLE: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(10);

pub(crate) fn run() {
    let (polling, woken) = (Setting::polling(), Setting::new());
    let (their_pd, our_pd) = (polling.open("publisher"), woken.open("publisher"));
    let mut theirs = listener::start(&polling, "listener", Which::Ours);
    let mut ours = listener::start(&woken, "listener", Which::Ours);
    let round = |listener: &mut Player, send: &dyn Fn()| {
        let pids = [listener.child.id()];
        Round::run(&pids, || {
            listener.tell(TIMES);
            paced(TIMES, PERIOD, send);
            listener.said_numbers()
        })
    };
    let found = alternate(
        ROUNDS,
        || round(&mut theirs, &|| listener::publish(&their_pd)),
        || round(&mut ours, &|| listener::publish(&our_pd)),
    );
    println!(
        "From `publish` to another process at 50/s, {ROUNDS} rounds of {TIMES} messages, in turns. Here \"ours\" polls, and the peer is"
    );
    println!("the same code with the futex.\n");
    comparison(&rows("polling : futex", &found, &[], &[]));

    let start = |setting: &Setting| -> Vec<Player> {
        let mut players: Vec<Player> =
            (0..IDLE).map(|n| listener::start(setting, &format!("idle-{n}"), Which::Ours)).collect();
        players.iter_mut().for_each(|player| player.tell(1));
        players
    };
    let mut idle = [start(&polling), start(&woken)];
    std::thread::sleep(SETTLE);
    let count = |players: &Vec<Player>| Spent::by(&players.iter().map(|p| p.child.id()).collect::<Vec<_>>());
    let before = idle.each_ref().map(count);
    std::thread::sleep(WATCHED);
    let after = idle.each_ref().map(count);
    // They end when they have had their message.
    listener::publish(&their_pd);
    listener::publish(&our_pd);
    for player in idle.iter_mut().flatten() {
        player.said();
    }
    println!("\n{IDLE} processes with a subscription each that nothing reaches, over {} s:\n", WATCHED.as_secs());
    let rows = ["polling", "futex"].iter().zip(before.iter().zip(&after)).map(|(how, (before, after))| {
        let (all, each) = (WATCHED.as_secs_f64(), WATCHED.as_secs_f64() * IDLE as f64);
        vec![
            (*how).to_owned(),
            format!("{:.3} % of a core", after.cpu_since(*before) / all * 100.0),
            format!("{:.2}", (after.voluntary - before.voluntary) as f64 / each),
        ]
    });
    table(&["waiting by", "CPU of all together", "wake-ups of one, per second"], &rows.collect::<Vec<_>>());
}
