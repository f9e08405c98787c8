//! The figures of this machine: calls of the library, measured on a database of their own.
//!
//! The database lies in a directory that `pd` itself, started again as the keeper, makes and removes: when the pipe from
//! us ends, by our end of whatever kind, the directory goes. The other processes that a figure needs are `pd`, too
//! (`role.rs`), and end with us likewise.

mod role;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portdaddy_core::{
    ClaimPort, Coordinator, Error, Face, LockOptions, NewNote, Options, Publish, ScopeChoice, Surroundings,
};
use serde::Serialize;
use serde_json::json;

use role::Player;
pub(crate) use role::play;

/// How many processes write at once.
const WRITERS: u32 = 8;
/// The variables that are heeded here, too.
const VARIABLES: [&str; 2] = ["PORT_DADDY_WAKE", "PORT_DADDY_RANGE"];
/// How long a process that is to be woken is left to fall asleep.
const ASLEEP: Duration = Duration::from_millis(1);

type Result<T> = std::result::Result<T, Error>;

/// What one kind of call costs.
#[derive(Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    /// How many were measured.
    pub(crate) calls: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) worst_us: f64,
    /// Of all processes together; none where there were pauses between the calls.
    pub(crate) per_second: Option<f64>,
}

/// What is measured, in order: its name, what it is for people, and how.
pub(crate) const FIGURES: [(&str, &str, Measure); 8] = [
    ("note", "a note, which survives a power cut", note),
    ("publish", "a signal published", publish),
    ("lock", "a lock taken and released", lock),
    ("claim", "a port that one has, claimed again", claim),
    ("delivery", "from publish to delivery in another process", delivery),
    ("hand_over", "a lock handed over to a waiter in another process", hand_over),
    ("eight_writers", "a signal, eight processes publishing at once", eight_writers),
    ("fsync", "one fsync of this disk, for comparison", fsync),
];

pub(crate) type Measure = fn(&Bench, Duration) -> Result<Times>;

/// Where it takes place.
pub(crate) struct Bench {
    pd: Coordinator,
    dir: PathBuf,
    // Last, so that the directory goes after everything in it.
    _keeper: Player,
}

impl Bench {
    /// In a new directory beside this database, or as near as there is one.
    pub(crate) fn beside(database: &Path) -> Result<Bench> {
        let place = database.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        let mut keeper = Player::start(&database_in(place), "keep", &[place.as_os_str()])?;
        let dir = place.join(keeper.said()?);
        let pd = Coordinator::open(options(Options::default().db(database_in(&dir)), "bench"))?;
        Ok(Bench { pd, dir, _keeper: keeper })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Measures for about so long.
    pub(crate) fn measure(
        &self,
        (name, what, how): (&'static str, &'static str, Measure),
        time: Duration,
    ) -> Result<Figure> {
        let mut times = how(self, time)?;
        times.each.sort_unstable();
        let calls = times.each.len();
        let (Some(worst), true) = (times.each.last(), calls > 0) else {
            return Err(Error::invalid(format!("there was no time for a single call: {what}"))
                .hint("name a longer time with --seconds"));
        };
        let us = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
        Ok(Figure {
            name,
            what,
            calls,
            p50_us: us(times.each[calls / 2]),
            p99_us: us(times.each[calls * 99 / 100]),
            worst_us: us(*worst),
            per_second: times.within.map(|within| (calls as f64 / within.as_secs_f64()).round()),
        })
    }

    fn player(&self, role: &str, rest: &[&str]) -> Result<Player> {
        let rest: Vec<_> = rest.iter().map(AsRef::as_ref).collect();
        let mut player = Player::start(&database_in(&self.dir), role, &rest)?;
        player.said()?;
        Ok(player)
    }
}

/// How long each call took, and in what time all of them were made, if there was no pause between them.
pub(crate) struct Times {
    each: Vec<Duration>,
    within: Option<Duration>,
}

/// Calls for so long; the first call is not counted.
fn calls(time: Duration, mut call: impl FnMut() -> Result<()>) -> Result<Times> {
    call()?;
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let start = Instant::now();
        call()?;
        each.push(start.elapsed());
    }
    Ok(Times { each, within: Some(begin.elapsed()) })
}

fn note(bench: &Bench, time: Duration) -> Result<Times> {
    let note = NewNote { text: "Built the payment form".to_owned(), ..NewNote::default() };
    calls(time, || bench.pd.note(&note).map(drop))
}

fn publish(bench: &Bench, time: Duration) -> Result<Times> {
    calls(time, || signal(&bench.pd, "bench:publish"))
}

fn signal(pd: &Coordinator, channel: &str) -> Result<()> {
    pd.publish(channel, &json!({"status": "healthy", "port": 3101}), &Publish::default()).map(drop)
}

fn lock(bench: &Bench, time: Duration) -> Result<Times> {
    calls(time, || take(&bench.pd, "bench", &LockOptions::default())?.release().map(drop))
}

fn take(pd: &Coordinator, name: &str, options: &LockOptions) -> Result<portdaddy_core::Lock> {
    pd.lock(name, options)?.ok_or_else(|| Error::invalid(format!("the lock {name} was not to be had")))
}

fn claim(bench: &Bench, time: Duration) -> Result<Times> {
    let claim = ClaimPort { identity: "bench:api".to_owned(), ..ClaimPort::default() };
    calls(time, || bench.pd.claim(&claim).map(drop))
}

fn delivery(bench: &Bench, time: Duration) -> Result<Times> {
    let mut listener = bench.player("listen", &[])?;
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        std::thread::sleep(ASLEEP);
        let from = moment();
        signal(&bench.pd, "bench:delivery")?;
        each.push(listener.said_when()?.saturating_sub(from));
    }
    Ok(Times { each, within: None })
}

/// Each time it is another lock, so that nobody has to wait until the other waits.
fn hand_over(bench: &Bench, time: Duration) -> Result<Times> {
    let name = |n: usize| format!("bench-{n}");
    let mut held = take(&bench.pd, &name(0), &LockOptions::default())?;
    let mut waiter = bench.player("wait", &[])?;
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        while bench.pd.lock_info(&name(each.len()))?.is_none_or(|info| info.waiters.is_empty()) {
            waiter.check()?;
            std::thread::sleep(ASLEEP);
        }
        std::thread::sleep(ASLEEP);
        let next = take(&bench.pd, &name(each.len() + 1), &LockOptions::default())?;
        let from = moment();
        held.release()?;
        each.push(waiter.said_when()?.saturating_sub(from));
        held = next;
    }
    Ok(Times { each, within: None })
}

fn eight_writers(bench: &Bench, time: Duration) -> Result<Times> {
    let ms = time.as_millis().to_string();
    let writers: Result<Vec<Player>> = (0..WRITERS).map(|n| bench.player("write", &[&n.to_string(), &ms])).collect();
    let (mut writers, begin, mut each) = (writers?, moment(), Vec::new());
    writers.iter_mut().for_each(Player::go);
    let mut end = begin;
    for writer in &mut writers {
        end = end.max(writer.said_when()?);
        each.extend(writer.said_times()?);
    }
    Ok(Times { each, within: Some(end.saturating_sub(begin)) })
}

/// Five pages of the WAL appended, as a commit does.
fn fsync(bench: &Bench, time: Duration) -> Result<Times> {
    let path = bench.dir.join("fsync");
    let failed = |e| Error::invalid(format!("{} can't be written: {e}", path.display())).caused_by(e);
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    let mut times = Times { each: Vec::new(), within: Some(Duration::ZERO) };
    let begin = Instant::now();
    while begin.elapsed() < time {
        file.write_all(&[7; 5 * 1048]).map_err(failed)?;
        let start = Instant::now();
        file.sync_all().map_err(failed)?;
        times.each.push(start.elapsed());
    }
    times.within = Some(times.each.iter().sum());
    Ok(times)
}

fn database_in(dir: &Path) -> PathBuf {
    // A directory of its own, which the library makes for its owner alone.
    dir.join("db").join("port-daddy.db")
}

/// A program's handle that knows its agent and looks at nothing else.
fn options(options: Options, agent: &str) -> Options {
    let heeded = VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    let options = options.face(Face::Library).agent(agent).scope(ScopeChoice::Named("bench".to_owned()));
    options.surroundings(Surroundings::given(heeded))
}

/// A moment on a clock that all processes of the machine share.
#[cfg(unix)]
fn moment() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(not(unix))]
#[allow(clippy::disallowed_methods, reason = "the only clock here that two processes share to the microsecond")]
fn moment() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
