//! How long a lock takes from one process to the next in line.

use std::process::Command;
use std::time::Duration;

use portdaddy_core::{Coordinator, LockFilter, LockOptions};

use crate::contended;
use crate::measure::{Spread, moment, ms, table};
use crate::role::{Player, say, wait};
use crate::setting::Setting;

const TIMES: usize = 50;

pub(crate) fn run() {
    let setting = Setting::new();
    let pd = setting.open("watcher");
    let killed = (0..TIMES).map(|_| once(&setting, &pd, true)).collect();
    let orderly = (0..TIMES).map(|_| once(&setting, &pd, false)).collect();
    let row = |what: &str, times: Vec<f64>| {
        let Spread { least, median, most } = Spread::of(times);
        vec![what.to_owned(), format!("{median:.2} ms"), format!("{least:.2} ms"), format!("{most:.2} ms")]
    };
    println!(
        "{TIMES} times each, from the kill or the call of `release` to the moment at which the next has the lock.\n"
    );
    table(
        &["from", "median", "least", "most"],
        &[row("SIGKILL of the holder", killed), row("`release` by the holder", orderly)],
    );
    println!();
    contended::run();
}

/// A process's part: takes the lock, says when it has it, and when it lets go.
pub(crate) fn hold(pd: &Coordinator) {
    say("ready");
    let lock = pd.lock("bench", &LockOptions::default()).expect("the lock").expect("a wait without end");
    say(moment().as_nanos());
    wait();
    say(moment().as_nanos());
    lock.release().expect("it is ours");
}

fn once(setting: &Setting, pd: &Coordinator, kill: bool) -> f64 {
    let mut holder = Player::start(setting, "hold", "holder", &[]);
    assert_eq!(holder.said(), "ready");
    holder.said_when();
    let mut next = Player::start(setting, "hold", "next", &[]);
    assert_eq!(next.said(), "ready");
    until_asleep(pd, next.child.id());
    let from = if kill {
        let from = moment();
        holder.child.kill().expect("our own child");
        from
    } else {
        holder.go();
        holder.said_when()
    };
    let taken = next.said_when();
    next.go();
    ms(taken.saturating_sub(from))
}

/// Until the lock has a waiter, and that waiter's process sleeps.
fn until_asleep(pd: &Coordinator, pid: u32) {
    let waits = || {
        let list = pd.locks(&LockFilter { all: true }).expect("the locks");
        list.locks.iter().any(|lock| !lock.waiters.is_empty())
    };
    while !waits() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let state = || Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps").stdout;
    while !state().starts_with(b"S") {
        std::thread::sleep(Duration::from_millis(1));
    }
}
