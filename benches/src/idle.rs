//! What waiting costs: `pd sub` processes that wait, as many tasks in one process, and one signal that ends them all.

use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use portdaddy_core::{Coordinator, Publish, Replay, Subscribe, Wait};
use serde_json::json;

use crate::measure::{moment, ms, table};
use crate::role::{Player, say, wait};
use crate::setting::Setting;
use crate::spent::{Spent, peak_mib};

const SUBSCRIBERS: usize = 200;
/// Until a waiter looks as seldom as it ever will, and the commands' own starting is over.
const SETTLE: Duration = Duration::from_secs(15);
const WATCHED: Duration = Duration::from_secs(60);
const CHANNEL: &str = "bench-of-the-idle:everyone-may-go-home-now";

pub(crate) fn run() {
    // Each in a database of its own, watched in the same minute.
    let (processes, tasks) = (Setting::new(), Setting::new());
    let (to_processes, to_tasks) = (processes.open("watcher"), tasks.open("watcher"));
    let mut waiting: Vec<Child> = (0..SUBSCRIBERS).map(|n| subscriber(&processes, n)).collect();
    let mut player = Player::start(&tasks, "wait", "waiter", &[&SUBSCRIBERS.to_string()]);
    assert_eq!(player.said(), "ready");
    for pd in [&to_processes, &to_tasks] {
        while pd.status().expect("the status").waiters.len() < SUBSCRIBERS {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    std::thread::sleep(SETTLE);
    let pids: Vec<u32> = waiting.iter().map(Child::id).collect();
    let count = || [Spent::by(&pids), Spent::by(&[player.child.id()])];
    let before = count();
    std::thread::sleep(WATCHED);
    let after = count();
    let memory = [peak_mib(&pids), peak_mib(&[player.child.id()])];
    let signal = |pd: &Coordinator| {
        let begin = moment();
        pd.publish(CHANNEL, &json!({"go": true}), &Publish::default()).expect("a signal");
        begin
    };
    let begin = signal(&to_processes);
    for child in &mut waiting {
        let status = child.wait().expect("our own child");
        assert!(status.success(), "{status}");
    }
    let processes_end = ms(moment() - begin);
    let begin = signal(&to_tasks);
    assert_eq!(player.said(), "ended");
    let ends = [processes_end, ms(moment() - begin)];
    println!(
        "{SUBSCRIBERS} waits, half on one channel, half on a pattern of their own each: as a `pd sub` process each, and as tasks"
    );
    println!("(`next_async`) of one process. Watched for {} s.\n", WATCHED.as_secs());
    let rows: Vec<Vec<String>> = ["`pd sub` processes", "tasks of one process"]
        .iter()
        .enumerate()
        .map(|(i, what)| {
            let (cpu, naps) = (after[i].cpu_since(before[i]), after[i].voluntary - before[i].voluntary);
            vec![
                (*what).to_owned(),
                format!("{:.1} ms = {:.3} % of a core", cpu * 1e3, cpu / WATCHED.as_secs_f64() * 100.0),
                format!("{:.2}", naps as f64 / WATCHED.as_secs_f64()),
                format!("{:.1} µs", cpu * 1e6 / naps as f64),
                format!("{:.0} MiB", memory[i]),
                format!("{:.0} ms", ends[i]),
            ]
        })
        .collect();
    let head = [
        "waits",
        "CPU of all together",
        "wake-ups per second",
        "CPU of one",
        "peak memory, shared counted each time",
        "one signal, until all have ended",
    ];
    table(&head, &rows);
}

fn subscriber(setting: &Setting, n: usize) -> Child {
    let mut command = setting.pd(&["sub", &pattern(n), "--new"]);
    command.env("PORT_DADDY_AGENT", format!("waiter-{n}"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pd runs")
}

/// Half on the channel, half on patterns that match it.
fn pattern(n: usize) -> String {
    if n.is_multiple_of(2) { CHANNEL.to_owned() } else { format!("{}*", &CHANNEL[..3 + n / 2 % (CHANNEL.len() - 3)]) }
}

/// A process's part: waits so often for the same channel, as tasks on the database's waiting thread, and ends with the last.
pub(crate) fn wait_in_tasks(pd: &Coordinator, count: usize) {
    let (ended, ends) = channel();
    for n in 0..count {
        let how = Subscribe { patterns: pattern(n), replay: Replay::None, ..Subscribe::default() };
        let mut subscription = pd.subscribe(&how).expect("a subscription");
        let ended = ended.clone();
        pd.spawn_waiting(async move {
            let _ = subscription.next_async(&Wait::default()).await.expect("a signal");
            let _ = ended.send(());
        });
    }
    say("ready");
    ends.iter().take(count).for_each(drop);
    say("ended");
    wait();
}
