//! What happened, as each process saw it: a file for each agent, one JSON object a line, each written by one `write` so that
//! a kill loses no line that was written before it.
//!
//! A call without an answer is in flight at its process's death: it may have happened, up to the moment at which the process
//! was known to be gone.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds on the clock that all processes share.
pub(crate) type Time = u64;

/// Once its process is known to be gone, what it had begun in a child of its own ends within this time.
const AFTERMATH: Time = 1_000_000_000;

pub(crate) fn now() -> Time {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned()
}

/// What an actor asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// `wait`: until it is granted; else only if it is free.
    Lock {
        name: String,
        wait: bool,
        ttl_ms: Option<u64>,
    },
    /// Token 0: whatever this agent may hold of that name. `lazy`: nobody answers for it; it ends with its process.
    Unlock {
        name: String,
        token: i64,
        lazy: bool,
    },
    /// Who holds it, who waits.
    Look {
        name: String,
    },
    Publish {
        channel: String,
        id: String,
    },
    Receive {
        position: String,
    },
    /// Waits for what nobody publishes.
    Never {
        ms: u64,
    },
    Ack {
        position: String,
        seq: i64,
    },
    Note {
        text: String,
    },
    Start,
    End {
        session: String,
    },
    Claim {
        session: String,
        files: Vec<String>,
        force: bool,
    },
    /// Gives all claims of a session back.
    Drop {
        session: String,
    },
    Port {
        identity: String,
    },
    GiveUp {
        identity: String,
    },
    /// Whose work is there to be salvaged.
    Dead,
    Salvage {
        agent: String,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Done,
    No,
    Failed(String),
    Granted(i64),
    Held {
        holder: Option<(String, i64)>,
        waiters: Vec<String>,
    },
    /// The place in the order of commits.
    At(i64),
    /// What was received: seq and id. The position moved to `acked`, or may have moved up to `maybe`.
    Messages {
        got: Vec<(i64, String)>,
        acked: Option<i64>,
        maybe: Option<i64>,
        warned: Vec<String>,
    },
    Session(String),
    Claimed {
        claimed: Vec<String>,
        conflicts: Vec<Overlap>,
        dead: Vec<Overlap>,
    },
    Ports(Vec<u16>),
    Agents(Vec<String>),
}

/// The pattern of the caller; the session and agent of the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overlap {
    pub(crate) pattern: String,
    pub(crate) session: String,
    pub(crate) agent: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    t: Time,
    op: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<Call>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    /// What ran it is gone: it happened by now, or never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lost: bool,
}

/// An agent's file, to write to.
pub(crate) struct Recorder {
    file: File,
    last: u64,
}

impl Recorder {
    pub(crate) fn append(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)?, last: 0 })
    }

    pub(crate) fn next_op(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn call(&mut self, op: u64, call: &Call) {
        self.write(&Line { t: now(), op, call: Some(call.clone()), answer: None, lost: false });
    }

    pub(crate) fn answer(&mut self, op: u64, answer: &Answer) {
        self.write(&Line { t: now(), op, call: None, answer: Some(answer.clone()), lost: false });
    }

    pub(crate) fn lost(&mut self, op: u64) {
        self.write(&Line { t: now(), op, call: None, answer: None, lost: true });
    }

    fn write(&mut self, line: &Line) {
        let mut text = serde_json::to_vec(line).expect("a line is JSON");
        text.push(b'\n');
        self.file.write_all(&text).expect("the history is written");
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) agent: String,
    pub(crate) call: Call,
    pub(crate) called: Time,
    /// When it ended, and how. None: it may have happened, up to `by`.
    pub(crate) answered: Option<(Time, Answer)>,
    pub(crate) by: Time,
}

impl Op {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.answered.as_ref().map(|(_, answer)| answer)
    }

    /// When it was over for certain.
    pub(crate) fn over(&self) -> Time {
        self.answered.as_ref().map_or(self.by, |(t, _)| *t)
    }
}

/// What the parent knows of an agent's process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Before this it lived, for certain; None: it was never killed and didn't fall.
    pub(crate) killed: Option<Time>,
    /// By then it was gone.
    pub(crate) gone: Time,
    /// It ended by itself, in order.
    pub(crate) orderly: bool,
    /// It may have fallen at a fault before it was killed.
    pub(crate) armed: bool,
}

/// All that happened.
pub(crate) struct History {
    pub(crate) began: Time,
    pub(crate) ops: Vec<Op>,
    pub(crate) lives: HashMap<String, Life>,
    /// When an agent was stopped: who, from, to.
    pub(crate) stops: Vec<(String, Time, Time)>,
    mortal: HashMap<String, Time>,
}

impl History {
    /// Reads the files of all agents.
    pub(crate) fn load(
        dir: &Path,
        began: Time,
        mut lives: HashMap<String, Life>,
        stops: Vec<(String, Time, Time)>,
    ) -> std::io::Result<Self> {
        let (mut ops, mut mortal) = (Vec::new(), HashMap::new());
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let agent = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let life = lives.entry(agent.clone()).or_default();
            let mut mine: HashMap<u64, Op> = HashMap::new();
            let mut last = began;
            for line in BufReader::new(File::open(&path)?).split(b'\n') {
                // The last one may be cut short by a kill.
                let Ok(line) = serde_json::from_slice::<Line>(&line?) else { continue };
                last = last.max(line.t);
                if let Some(call) = line.call {
                    let op = Op { agent: agent.clone(), call, called: line.t, answered: None, by: Time::MAX };
                    mine.insert(line.op, op);
                } else if let Some(op) = mine.get_mut(&line.op) {
                    match line.answer {
                        Some(answer) => op.answered = Some((line.t, answer)),
                        None => op.by = line.t,
                    }
                }
            }
            for op in mine.values_mut() {
                let lazy = matches!(op.call, Call::Unlock { lazy: true, .. });
                if op.by == Time::MAX && !lazy && life.gone != 0 {
                    op.by = life.gone + AFTERMATH;
                }
            }
            // One that fell at a fault lived at least as long as it wrote; one that ended in order leaves once its last
            // operation is over.
            let dies = match life.killed {
                Some(killed) if !life.armed => killed,
                _ if life.gone == 0 => Time::MAX,
                _ => last,
            };
            mortal.insert(agent, dies);
            ops.extend(mine.into_values());
        }
        ops.sort_by_key(|op| op.called);
        Ok(Self { began, ops, lives, stops, mortal })
    }

    /// From when on an agent may be taken for dead.
    pub(crate) fn mortal(&self, agent: &str) -> Time {
        self.mortal.get(agent).copied().unwrap_or(Time::MAX)
    }

    /// How long of this time an agent was stopped.
    pub(crate) fn stopped_within(&self, agent: &str, from: Time, to: Time) -> Time {
        let mine = self.stops.iter().filter(|(who, ..)| who == agent);
        mine.map(|(_, a, b)| (*b).min(to).saturating_sub((*a).max(from))).sum()
    }
}
