//! How long a message takes from the call of `publish` until another process has it: ours, and Redis.

use std::time::Duration;

use crate::alternate::{Aim, Round, Rounds, alternate, comparison, paced, rows};
use crate::listener::{self, Which};
use crate::peer::{self, Redis};
use crate::role::Player;
use crate::setting::Setting;

/// How many a second, for how long a round, and how many rounds.
const OFTEN: (u32, u32, usize) = (2_000, 3, 5);
const SELDOM: (u32, u32, usize) = (50, 5, 5);

pub(crate) fn run() {
    let often = at(OFTEN);
    let seldom = at(SELDOM);
    println!(
        "Rounds of {} s at 2,000/s and of {} s at 50/s, {} of each, in turns; medians of the rounds, and of",
        OFTEN.1, SELDOM.1, OFTEN.2
    );
    println!("their ratios. CPU: publisher and listener, and the server. Memory: the listener, and the server.\n");
    let (p50, p99) = (("p50", Aim::AtMost(0.6)), ("p99", Aim::AtMost(1.0)));
    let mut table = rows("2,000/s", &often, &[p50, p99, ("p99.9", Aim::AtMost(2.0))], &[]);
    // 250 messages have no 99.9th percentile: their largest stands for it.
    table.extend(rows("50/s", &seldom, &[p50, p99, ("max", Aim::AtMost(2.0))], &[]));
    comparison(&table);
}

fn at((rate, seconds, rounds): (u32, u32, usize)) -> Rounds {
    let setting = Setting::new();
    let pd = setting.open("publisher");
    let mut redis = Redis::connect(&peer::port());
    let mut ours = listener::start(&setting, "listener", Which::Ours);
    let mut theirs = listener::start(&setting, "", Which::Redis);
    let (here, there) = ([ours.child.id()], [theirs.child.id(), redis.server()]);
    let (count, period) = (rate * seconds, Duration::from_secs(1) / rate);
    let round = |listener: &mut Player, all: &[u32], send: &mut dyn FnMut()| {
        Round::run(all, || {
            listener.tell(count);
            paced(count, period, send);
            listener.said_numbers()
        })
    };
    alternate(
        rounds,
        || round(&mut ours, &here, &mut || listener::publish(&pd)),
        || round(&mut theirs, &there, &mut || listener::publish_to_redis(&mut redis)),
    )
}
