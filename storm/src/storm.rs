//! The parent: starts actors, kills, stops and continues them, starts others in their place, and hands what they saw to the
//! checkers.

use std::collections::HashMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::actor::{self, Kind};
use crate::check::{self, Report};
use crate::face::PATIENCE;
use crate::history::{History, Life, Time, now};

const SECOND: Time = 1_000_000_000;
/// How long an actor may take to end by itself once its time is over.
const GRACE: Time = 45 * SECOND;
/// Where a process can fall: in the middle of what it does.
const POINTS: [&str; 7] =
    ["gated", "in-transaction", "committed", "committed-in-gate", "to-migrate", "migrating", "live-file"];

#[derive(Clone, clap::Args)]
pub(crate) struct Plan {
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// How many agents at once.
    #[arg(long, default_value_t = 12)]
    pub(crate) processes: usize,
    /// The faces, in turns.
    #[arg(long, value_delimiter = ',', default_value = "rust,pd,rust,node,pd,python")]
    pub(crate) kinds: Vec<Kind>,
    /// Without it another one each time.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// `pd`, built with `--cfg portdaddy_faults` as this program is.
    #[arg(long, default_value = "target/faults/debug/pd")]
    pub(crate) pd: PathBuf,
    /// Where the other faces are, with what they need.
    #[arg(long, default_value = "target/storm")]
    pub(crate) faces: PathBuf,
    /// On average one agent is killed or stopped so often, in milliseconds; 0: none.
    #[arg(long, default_value_t = 250)]
    pub(crate) blow_ms: u64,
    /// Nobody is stopped.
    #[arg(long)]
    pub(crate) no_stops: bool,
    /// A free lock reaches who waits for it within so long, not counting the time in which that one was stopped.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) bound_ms: u64,
    /// How long a lock is waited for, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) patience_ms: u64,
    /// Keeps database and histories there, and what broke promises.
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// The promises that actors break, as `PORT_DADDY_BROKEN`.
    #[arg(long, hide = true)]
    pub(crate) broken: Option<String>,
}

impl Plan {
    /// What the library of a process is to break.
    fn breaks(&self, command: &mut Command) {
        match &self.broken {
            Some(broken) => command.env("PORT_DADDY_BROKEN", broken),
            None => command.env_remove("PORT_DADDY_BROKEN"),
        };
    }
}

struct Slot {
    number: usize,
    agent: String,
    child: Child,
    /// Since when it is stopped, and when it goes on.
    stopped: Option<(Time, Time)>,
    killed: Option<Time>,
    armed: bool,
}

/// What was done to the actors.
#[derive(Clone, Copy, Default)]
pub(crate) struct Blows {
    pub(crate) lives: u64,
    pub(crate) kills: u64,
    pub(crate) falls: u64,
    pub(crate) stops: u64,
}

struct Storm<'a> {
    plan: &'a Plan,
    db: PathBuf,
    histories: PathBuf,
    began: Time,
    until: Time,
    born: usize,
    lives: HashMap<String, Life>,
    stops: Vec<(String, Time, Time)>,
    blows: Blows,
    crashes: Vec<String>,
}

/// Runs one storm in `dir`, and checks it.
pub(crate) fn run(plan: &Plan, dir: &Path) -> std::io::Result<(Report, Blows)> {
    let seed = plan.seed.unwrap_or_else(|| fastrand::u64(..));
    fastrand::seed(seed);
    let began = now();
    let (db, histories) = (dir.join("state").join("storm.db"), dir.join("histories"));
    std::fs::create_dir_all(&histories)?;
    let mut storm = Storm {
        plan,
        db,
        histories,
        began,
        until: began + plan.seconds * SECOND,
        born: 0,
        lives: HashMap::new(),
        stops: Vec::new(),
        blows: Blows::default(),
        crashes: Vec::new(),
    };
    storm.rage()?;
    let mut crashes = std::mem::take(&mut storm.crashes);
    let mut last = Command::new(std::env::current_exe()?);
    plan.breaks(last.arg("last").arg(&storm.db));
    let last = last.output()?;
    if !last.status.success() {
        crashes.push(format!("nobody can look any more: {}", String::from_utf8_lossy(&last.stderr)));
    }
    let mut report = Report::default();
    let journal = check::leftovers(&storm.db, &mut report);
    for position in 0..plan.processes {
        let history = storm.histories.join(format!("drain-{position}.jsonl"));
        crashes.extend(actor::drain(&storm.db, &format!("position-{position}"), &history).err());
    }
    let history = History::load(&storm.histories, began, storm.lives, storm.stops)?;
    check::all(&history, &journal, Duration::from_millis(plan.bound_ms), &mut report);
    for text in crashes {
        report.violation("crashes", now() - began, text);
    }
    Ok((report, storm.blows))
}

impl Storm<'_> {
    fn rage(&mut self) -> std::io::Result<()> {
        let mut slots: Vec<Slot> = Vec::new();
        for number in 0..self.plan.processes {
            slots.push(self.start(number)?);
        }
        let mut next_blow = self.began + SECOND / 4;
        while now() < self.until {
            std::thread::sleep(Duration::from_millis(2));
            let t = now();
            for slot in &mut slots {
                self.go_on(slot, t);
                if let Some(status) = slot.child.try_wait()? {
                    self.bury(slot, status.signal(), status.code());
                    if self.crashes.len() > 20 {
                        return Err(std::io::Error::other(format!("actors don't run: {}", self.crashes[0])));
                    }
                    *slot = self.start(slot.number)?;
                }
            }
            if self.plan.blow_ms > 0 && t >= next_blow {
                next_blow = t + fastrand::u64(..2 * self.plan.blow_ms) * SECOND / 1_000;
                let chosen = fastrand::usize(..slots.len());
                self.strike(&mut slots[chosen], t);
            }
        }
        self.end(slots)
    }

    fn start(&mut self, number: usize) -> std::io::Result<Slot> {
        let kind = self.plan.kinds[number % self.plan.kinds.len()];
        let agent = format!("{}-{number}-{}", format!("{kind:?}").to_lowercase(), self.born);
        let mut command = Command::new(std::env::current_exe()?);
        let first = self.born < self.plan.processes;
        self.born += 1;
        self.blows.lives += 1;
        command.arg("actor").arg("--kind").arg(format!("{kind:?}").to_lowercase());
        command.arg("--agent").arg(&agent).arg("--position").arg(format!("position-{number}"));
        command.arg("--db").arg(&self.db).arg("--history").arg(self.histories.join(format!("{agent}.jsonl")));
        command.args(["--began", &self.began.to_string(), "--until", &self.until.to_string()]);
        command.args(["--seed", &fastrand::u64(..).to_string()]);
        command.arg("--pd").arg(&self.plan.pd).arg("--faces").arg(&self.plan.faces);
        let faults = self.plan.blow_ms > 0;
        if faults {
            command.arg("--faults");
        }
        // The first ones fall over the making of the file.
        let point = if first {
            ["to-migrate", "migrating"][fastrand::usize(..2)]
        } else {
            POINTS[fastrand::usize(..POINTS.len())]
        };
        let armed = faults && kind == Kind::Rust && fastrand::u32(..3) == 0;
        if armed {
            let nth = if ["to-migrate", "migrating", "live-file"].contains(&point) { 1 } else { fastrand::u32(1..400) };
            let what = if self.plan.no_stops || fastrand::u32(..4) > 0 { "kill" } else { "stop" };
            command.env("PORT_DADDY_FAULT", format!("{point}={what}@{nth}"));
        }
        command.env(PATIENCE, self.plan.patience_ms.to_string());
        self.plan.breaks(&mut command);
        for name in ["PORT_DADDY_DB", "PORT_DADDY_AGENT", "PORT_DADDY_SESSION", "PORT_DADDY_SCOPE"] {
            command.env_remove(name);
        }
        let child = command.process_group(0).stdin(Stdio::null()).spawn()?;
        self.lives.insert(agent.clone(), Life { armed, ..Life::default() });
        Ok(Slot { number, agent, child, stopped: None, killed: None, armed })
    }

    fn signal(slot: &Slot, signal: Signal) {
        let group = Pid::from_child(&slot.child);
        // It may have ended.
        let _ = kill_process_group(group, signal);
    }

    fn strike(&mut self, slot: &mut Slot, t: Time) {
        if slot.killed.is_some() || slot.stopped.is_some() {
            return;
        }
        if self.plan.no_stops || fastrand::u32(..5) < 3 {
            slot.killed = Some(now());
            Self::signal(slot, Signal::KILL);
        } else {
            Self::signal(slot, Signal::STOP);
            slot.stopped = Some((t, t + fastrand::u64(20..900) * SECOND / 1_000));
        }
    }

    fn go_on(&mut self, slot: &mut Slot, t: Time) {
        if let Some((from, to)) = slot.stopped
            && t >= to
        {
            Self::signal(slot, Signal::CONT);
            self.stops.push((slot.agent.clone(), from, now()));
            self.blows.stops += 1;
            slot.stopped = None;
        } else if slot.armed && slot.stopped.is_none() && is_stopped(slot.child.id()) {
            // It stopped at a fault, some time since it was looked at last.
            self.stops.push((slot.agent.clone(), t.saturating_sub(SECOND / 50), t));
            slot.stopped = Some((t, t + SECOND / 4));
        }
    }

    fn bury(&mut self, slot: &Slot, signal: Option<i32>, code: Option<i32>) {
        let orderly = code == Some(0);
        if slot.killed.is_some() {
            self.blows.kills += 1;
        } else if signal.is_some() {
            self.blows.falls += 1;
        }
        if code.is_some_and(|code| code != 0) || (signal.is_some() && signal != Some(9)) {
            self.crashes.push(format!("{} ended with {code:?}, signal {signal:?}", slot.agent));
        }
        let life = self.lives.entry(slot.agent.clone()).or_default();
        *life = Life { killed: slot.killed, gone: now(), orderly, armed: slot.armed };
    }

    /// Half of them are killed in the middle of it, the others end in order.
    fn end(&mut self, mut slots: Vec<Slot>) -> std::io::Result<()> {
        for slot in &mut slots {
            if let Some((from, _)) = slot.stopped.take() {
                Self::signal(slot, Signal::CONT);
                self.stops.push((slot.agent.clone(), from, now()));
            }
            if self.plan.blow_ms > 0 && slot.killed.is_none() && fastrand::bool() {
                slot.killed = Some(now());
                Self::signal(slot, Signal::KILL);
            }
        }
        let deadline = now() + GRACE;
        for slot in &mut slots {
            loop {
                if let Some(status) = slot.child.try_wait()? {
                    self.bury(slot, status.signal(), status.code());
                    break;
                }
                if now() > deadline {
                    self.crashes.push(format!("{} hangs", slot.agent));
                    slot.killed = Some(now());
                    Self::signal(slot, Signal::KILL);
                }
                let t = now();
                self.go_on(slot, t);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // What killed drivers have left behind.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }
}

fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
}
