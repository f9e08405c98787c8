//! A lock that several processes take in turn: from one's call of `release` until the next has it. The peer is flock(2).

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use portdaddy_core::{Coordinator, LockOptions};
use rustix::fs::{FlockOperation, flock};

use crate::alternate::{Aim, Round, Rounds, alternate, comparison, rows};
use crate::measure::{moment, us};
use crate::role::{Player, say, say_numbers, told};
use crate::setting::Setting;

const ROUNDS: usize = 7;
const A_ROUND: Duration = Duration::from_millis(1_000);
/// Long enough that the others are asleep.
const HELD: Duration = Duration::from_millis(1);
/// Before one asks again. With flock, who asks at once mostly has it back before the one that was woken runs.
const PAUSE: Duration = Duration::from_micros(300);

pub(crate) fn run() {
    let (two, many) = (among(2), among(16));
    println!(
        "Several processes take a lock, hold it for {} ms, release it and ask again {} µs later; {ROUNDS} rounds of {} ms, in turns.",
        HELD.as_millis(),
        PAUSE.as_micros(),
        A_ROUND.as_millis()
    );
    println!(
        "From the call of `release` until the next, which waited by then in another process, has it. The peer is a blocking"
    );
    println!("flock(2) in its place; in the last rows it is ours with two, measured before.\n");
    let aim = [("p50", Aim::AtMost(2.0))];
    let mut table = rows("2 processes", &two, &aim, &[]);
    table.extend(rows("16 processes", &many, &[], &[]));
    let growth = Rounds { ours: many.ours, peer: two.ours };
    table.extend(rows("ours, 16 : 2", &growth, &[("p50", Aim::AtMost(1.25))], &["p50", "p90", "p99", "max"]));
    comparison(&table);
}

fn among(processes: usize) -> Rounds {
    let setting = Setting::new();
    let file = setting.path().join("flock");
    File::create(&file).expect("a file");
    let start = |rest: &[&str]| -> Vec<Player> {
        let one = |n: usize| Player::start(&setting, "turns", &format!("taker-{n}"), rest);
        let mut players: Vec<Player> = (0..processes).map(one).collect();
        for player in &mut players {
            assert_eq!(player.said(), "ready");
        }
        players
    };
    let mut ours = start(&["ours"]);
    let mut theirs = start(&["flock", file.to_str().expect("UTF-8")]);
    alternate(ROUNDS, || round(&mut ours), || round(&mut theirs))
}

/// One turn: when it was asked for, when it was had, when it was let go, and whose it was.
struct Turn {
    asked: f64,
    had: f64,
    left: f64,
    who: usize,
}

fn round(players: &mut [Player]) -> Round {
    let pids: Vec<u32> = players.iter().map(|player| player.child.id()).collect();
    let mut counts = Vec::new();
    let found = Round::run(&pids, || {
        let until = (moment() + A_ROUND).as_nanos();
        players.iter_mut().for_each(|player| player.tell(until));
        let mut turns = Vec::new();
        for (who, player) in players.iter_mut().enumerate() {
            let said = player.said_numbers();
            counts.push(said.len() as f64 / 3.0);
            turns.extend(said.chunks(3).map(|t| Turn { asked: t[0], had: t[1], left: t[2], who }));
        }
        turns.sort_by(|a, b| a.had.total_cmp(&b.had));
        let handed = turns.windows(2).filter(|pair| pair[0].who != pair[1].who && pair[1].asked < pair[0].left);
        handed.map(|pair| pair[1].had - pair[0].left).collect()
    });
    found.with_turns(counts)
}

/// A process's part: until each moment that it is told, takes its turns, and says of each when it asked, had it and let go.
pub(crate) fn take_turns(rest: &[&str], open: impl FnOnce() -> Coordinator) {
    match rest {
        ["ours"] => {
            let pd = open();
            turns(|held| {
                let lock = pd.lock("turn", &LockOptions::default()).expect("the lock").expect("a wait without end");
                held();
                lock.release().expect("it is ours");
            });
        }
        ["flock", path] => {
            let file = File::open(Path::new(path)).expect("the file");
            turns(|held| {
                flock(&file, FlockOperation::LockExclusive).expect("the lock");
                held();
                flock(&file, FlockOperation::Unlock).expect("it is ours");
            });
        }
        _ => panic!("turns of what?"),
    }
}

fn turns(turn: impl Fn(&mut dyn FnMut())) {
    say("ready");
    while let Some(line) = told() {
        let until = Duration::from_nanos(line.parse().expect("a moment"));
        let begun = until.saturating_sub(A_ROUND);
        let mut said = Vec::new();
        while moment() < until {
            said.push(us(moment() - begun));
            turn(&mut || {
                said.push(us(moment() - begun));
                std::thread::sleep(HELD);
                said.push(us(moment() - begun));
            });
            std::thread::sleep(PAUSE);
        }
        say_numbers(&said);
    }
}
