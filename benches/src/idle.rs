//! What waiting costs: fifty `pd sub` that wait, and one signal that ends them all.

use std::process::{Child, Stdio};
use std::time::Duration;

use portdaddy_core::Publish;
use serde_json::json;

use crate::measure::{moment, ms, table};
use crate::setting::Setting;

const SUBSCRIBERS: usize = 50;
/// Until a waiter looks as seldom as it ever will, and the commands' own starting is over.
const SETTLE: Duration = Duration::from_secs(15);
const WATCHED: Duration = Duration::from_secs(30);
const CHANNEL: &str = "bench-of-the-idle:everyone-may-go-home-now";

pub(crate) fn run() {
    let setting = Setting::new();
    let pd = setting.open("watcher");
    let mut waiting: Vec<Child> = (0..SUBSCRIBERS).map(|n| subscriber(&setting, n)).collect();
    while pd.status().expect("the status").waiters.len() < SUBSCRIBERS {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(SETTLE);
    let before = Spent::by(&waiting);
    std::thread::sleep(WATCHED);
    let after = Spent::by(&waiting);
    let seconds = WATCHED.as_secs_f64();
    let cpu_ms = (after.cpu_ns - before.cpu_ns) as f64 / 1e6;
    let naps = (after.voluntary - before.voluntary) as f64;
    let begin = moment();
    pd.publish(CHANNEL, &json!({"go": true}), &Publish::default()).expect("a signal");
    for child in &mut waiting {
        let status = child.wait().expect("our own child");
        assert!(status.success(), "{status}");
    }
    let all = ms(moment() - begin);
    println!("{SUBSCRIBERS} waiting `pd sub`, half on one channel, half on a pattern of their own each.\n");
    table(
        &["what", "figure"],
        &[
            vec![
                format!("CPU of all together over {seconds:.0} s"),
                format!("{cpu_ms:.1} ms = {:.3} % of a core", cpu_ms / seconds / 10.0),
            ],
            vec!["wake-ups of one, per second".to_owned(), format!("{:.2}", naps / seconds / SUBSCRIBERS as f64)],
            vec!["CPU of one wake-up".to_owned(), format!("{:.1} µs", cpu_ms * 1e3 / naps)],
            vec![format!("one signal, until all {SUBSCRIBERS} have ended with 0"), format!("{all:.0} ms")],
        ],
    );
}

fn subscriber(setting: &Setting, n: usize) -> Child {
    let pattern = if n.is_multiple_of(2) { CHANNEL.to_owned() } else { format!("{}*", &CHANNEL[..3 + n / 2]) };
    let mut command = setting.pd(&["sub", &pattern, "--new"]);
    command.env("PORT_DADDY_AGENT", format!("waiter-{n}"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pd runs")
}

/// What processes have used so far, all their threads together.
struct Spent {
    cpu_ns: u64,
    voluntary: u64,
}

impl Spent {
    fn by(processes: &[Child]) -> Spent {
        let mut spent = Spent { cpu_ns: 0, voluntary: 0 };
        for child in processes {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).expect("Linux, and a living process");
            for task in tasks.flatten() {
                let read = |name: &str| std::fs::read_to_string(task.path().join(name)).expect("a living thread");
                let cpu = read("schedstat").split(' ').next().and_then(|n| n.parse::<u64>().ok());
                spent.cpu_ns += cpu.expect("nanoseconds on the CPU");
                let status = read("status");
                let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
                spent.voluntary += line.and_then(|n| n.trim().parse::<u64>().ok()).expect("a count");
            }
        }
        spent
    }
}
