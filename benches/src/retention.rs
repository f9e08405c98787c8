//! What retention leaves, and what it costs: four weeks of publications in a minute.
//!
//! The clock runs fast, the same in every process, so that what is kept for 7 days expires while more is published. Half
//! of the publications go to a few channels, which soon have more than the 10,000 messages that are kept.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portdaddy_core::{ActivityFilter, ChannelFilter, Clock, Coordinator, Publish, SystemClock, Wait};
use serde_json::json;

use crate::measure::{moment, ms, table, us};
use crate::role::{Player, say};
use crate::setting::{self, Setting};

/// How many processes publish at once, and for how many seconds; `PD_BENCH_RETENTION=SECONDS` is one process for so long.
const ROUNDS: [(usize, u64); 2] = [(1, 40), (2, 30)];
const CHANNELS: u64 = 1_000;
/// So many of the channels share half of the publications.
const BUSY: u64 = 10;
/// All publishers together stop after so many, or when the time is over, or rather than fill the disk with the WAL.
const MOST: usize = 10_000_000;
const LARGEST_WAL: u64 = 4_000_000_000;
const DAYS: u64 = 28;
const MARKS: [u64; 3] = [10, 50, 100];
/// What the activity log is to keep.
const LOG: u64 = 100_000;

pub(crate) fn run() {
    println!(
        "About 200 bytes each on {CHANNELS} channels, half of them on {BUSY}, retained as by default, while the clock \
         goes on by {DAYS} days.\n"
    );
    match std::env::var("PD_BENCH_RETENTION") {
        Ok(seconds) => round(1, seconds.parse().expect("PD_BENCH_RETENTION: seconds")),
        Err(_) => ROUNDS.into_iter().for_each(|(count, seconds)| round(count, seconds)),
    }
}

fn round(count: usize, seconds: u64) {
    let setting = Setting::new();
    let from = moment();
    let mut publishers: Vec<Player> = (0..count)
        .map(|n| {
            let rest = [from.as_nanos().to_string(), seconds.to_string(), (MOST / count).to_string()];
            Player::start(&setting, "publications", &format!("publisher-{n}"), &rest.each_ref().map(String::as_str))
        })
        .collect();
    let pd = setting::open_at(&setting.db(), &setting.repository(), "watcher", Arc::new(Fast::new(from, seconds)));
    let mut rows = Vec::new();
    for mark in MARKS {
        let published: u64 = publishers.iter_mut().map(|p| p.said().parse::<u64>().expect("a number")).sum();
        rows.push(vec![
            format!("{mark} %"),
            published.to_string(),
            stored(&pd).to_string(),
            megabytes(size(&setting.db())),
            megabytes(wal(&setting.db())),
            format!("{:+}", i128::from(logged(&pd)) - i128::from(LOG)),
        ]);
    }
    let mut times = Times::default();
    let mut published = 0;
    for publisher in &mut publishers {
        let said = publisher.said();
        published += said.split(' ').next().expect("a number").parse::<u64>().expect("a number");
        times.add(&said);
    }
    let who = if count == 1 { "One process".to_owned() } else { format!("{count} processes at once") };
    let took = (moment() - from).as_secs_f64().min(seconds as f64);
    println!("{who}: {published} publications in {took:.0} s, {:.0}/s.", published as f64 / took);
    if wal(&setting.db()) > LARGEST_WAL {
        println!("Ended before its time, when the WAL had grown over {} GB.", LARGEST_WAL / 1_000_000_000);
    }
    println!();
    table(&["done", "published", "stored", "the file", "its WAL", "the activity log over its bound"], &rows);
    println!();
    let shares = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("slowest", 1.0)];
    let mut head = vec!["a publication"];
    head.extend(shares.map(|(name, _)| name));
    let mut row = vec!["takes".to_owned()];
    row.extend(shares.map(|(_, share)| format!("{:.3} ms", times.at(share) / 1e3)));
    table(&head, &[row]);
    println!();
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the file").len()
}

fn wal(db: &Path) -> u64 {
    size(&db.with_extension("db-wal"))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn stored(pd: &Coordinator) -> u64 {
    let channels = pd.channels(&ChannelFilter { pattern: None, all: true }).expect("the channels");
    channels.channels.iter().map(|c| c.count).sum()
}

/// How many entries the activity log has.
fn logged(pd: &Coordinator) -> u64 {
    let newest = |limit| ActivityFilter { limit: Some(limit), all: true, ..ActivityFilter::default() };
    let last = pd.activity(&newest(1)).expect("the log").entries.last().map_or(0, |entry| entry.seq);
    let all = ActivityFilter { after_seq: Some(0), all: true, ..ActivityFilter::default() };
    let mut count = 0;
    let until_last = |entry: portdaddy_core::Activity| {
        count += u64::from(entry.seq <= last);
        Ok(entry.seq < last)
    };
    pd.follow_activity(&all, &Wait::at_most(Duration::ZERO), until_last).expect("the log");
    count
}

/// A clock that all processes of the bench share: it began at one moment, and runs so much faster than the system's.
struct Fast {
    from: Duration,
    times: f64,
}

impl Fast {
    fn new(from: Duration, seconds: u64) -> Fast {
        Fast { from, times: (DAYS * 24 * 3600) as f64 / seconds as f64 }
    }
}

impl Clock for Fast {
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + (ms(moment().saturating_sub(self.from)) * self.times) as i64
    }

    fn awake_ms(&self) -> i64 {
        SystemClock.awake_ms()
    }
}

/// Publishes until the time is over, says how many at each mark, and how long the calls took.
pub(crate) fn publish(db: &str, repository: &str, agent: &str, rest: &[&str]) {
    let [from, seconds, most] = rest.iter().map(|n| n.parse().expect("a number")).collect::<Vec<u64>>()[..] else {
        panic!("when it began, for how many seconds, how many publications");
    };
    let from = Duration::from_nanos(from);
    let clock = Arc::new(Fast::new(from, seconds));
    let pd = setting::open_at(db.as_ref(), repository.as_ref(), agent, clock);
    let mut dice = u64::from(std::process::id());
    let (mut times, mut published) = (Times::default(), 0);
    for mark in MARKS {
        let until = from + Duration::from_millis(seconds * mark * 10);
        let fits = |published: u64| !published.is_multiple_of(1024) || wal(db.as_ref()) <= LARGEST_WAL;
        while moment() < until && published < most && fits(published) {
            let (channel, payload) = message(&mut dice);
            let start = Instant::now();
            pd.publish(&channel, &payload, &Publish::default()).expect("a publication");
            times.count(us(start.elapsed()));
            published += 1;
        }
        say(published);
    }
    say(format!("{published} {times}"));
}

/// A channel and about 200 bytes.
fn message(dice: &mut u64) -> (String, serde_json::Value) {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let thrown = *dice >> 33;
    let channel = if thrown.is_multiple_of(2) { thrown / 2 % BUSY } else { BUSY + thrown / 2 % (CHANNELS - BUSY) };
    let payload = json!({
        "status": "built", "commit": format!("{thrown:040x}"), "branch": "feature/payments-checkout-page",
        "artifact": "target/release/payments-api", "log": "/var/log/builds/payments-api.log", "seconds": thrown % 90,
    });
    (format!("package-{channel:03}:built"), payload)
}

/// How often a call took how long, to a hundredth; and the longest.
#[derive(Default)]
struct Times {
    counts: std::collections::BTreeMap<u32, u64>,
    slowest: f64,
}

impl Times {
    fn count(&mut self, us: f64) {
        *self.counts.entry((us.max(1.0).ln() * 100.0) as u32).or_default() += 1;
        self.slowest = self.slowest.max(us);
    }

    /// Reads what another process has written.
    fn add(&mut self, said: &str) {
        let mut words = said.split(' ').skip(1);
        let slowest: f64 = words.next().expect("the slowest").parse().expect("a time");
        self.slowest = self.slowest.max(slowest);
        for word in words {
            let (at, count) = word.split_once(':').expect("how often it took how long");
            *self.counts.entry(at.parse().expect("a place")).or_default() += count.parse::<u64>().expect("a number");
        }
    }

    /// The time within which this share of the calls was done, in µs.
    fn at(&self, share: f64) -> f64 {
        let wanted = (self.counts.values().sum::<u64>() as f64 * share) as u64;
        let mut before = 0;
        for (at, count) in &self.counts {
            before += count;
            if before > wanted {
                return (f64::from(*at + 1) / 100.0).exp().min(self.slowest);
            }
        }
        self.slowest
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.slowest)?;
        self.counts.iter().try_for_each(|(at, count)| write!(f, " {at}:{count}"))
    }
}
