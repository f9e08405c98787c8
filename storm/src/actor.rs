//! One agent of the storm: calls at random through one face, each recorded before and after, until its time is over.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::face::{CHANNELS, Face, Library, Piped, Shell};
use crate::history::{Answer, Call, Recorder, Time, now};

/// A lock's name is used for so long, and then never again: that bounds what a checker has to look at together.
const EPOCH: Time = 3_000_000_000;
const LOCKS: usize = 3;
const IDENTITIES: usize = 16;
/// Patterns of a small tree, so that many meet. `check::claims` has the paths.
pub(crate) const PATTERNS: [&str; 8] = [
    "src/a/x.rs",
    "src/b/x.rs",
    "src/c/y.rs",
    "src/a/**",
    "src/*/x.rs",
    "src/{b,c}/*.rs",
    "src/**/y.rs",
    "src/[ab]/z.rs",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Rust,
    Pd,
    Node,
    Python,
}

/// How an actor's process is started.
#[derive(clap::Args)]
pub(crate) struct Role {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    agent: String,
    /// The name of the position that it reads from.
    #[arg(long)]
    position: String,
    #[arg(long)]
    db: PathBuf,
    /// The file of its history.
    #[arg(long)]
    history: PathBuf,
    /// When the storm began, and when to end.
    #[arg(long)]
    began: Time,
    #[arg(long)]
    until: Time,
    #[arg(long)]
    seed: u64,
    /// What runs the other faces.
    #[arg(long)]
    pd: PathBuf,
    #[arg(long)]
    faces: PathBuf,
    /// Whether single commands fall at faults.
    #[arg(long)]
    faults: bool,
}

struct Actor {
    role: Role,
    face: Box<dyn Face>,
    recorder: Recorder,
    session: Option<String>,
    claimed: bool,
}

pub(crate) fn run(role: Role) -> Result<(), String> {
    fastrand::seed(role.seed);
    let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", role.agent);
    let recorder = Recorder::append(&role.history).map_err(|e| wrong(&e))?;
    let face: Box<dyn Face> = match role.kind {
        Kind::Rust => Box::new(Library::open(&role.db, &role.agent).map_err(|e| wrong(&e))?),
        Kind::Pd => Box::new(Shell::new(role.pd.clone(), role.db.clone(), &role.agent, role.faults)),
        Kind::Node | Kind::Python => {
            let (program, file) = if role.kind == Kind::Node { ("node", "face.mjs") } else { ("python3", "face.py") };
            let mut command = Command::new(program);
            command.arg(role.faces.join(file)).arg(&role.db).arg(&role.agent);
            command.env("PYTHONPATH", role.faces.join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
            Box::new(Piped::start(command).map_err(|e| wrong(&e))?)
        }
    };
    let mut actor = Actor { role, face, recorder, session: None, claimed: false };
    while now() < actor.role.until {
        actor.step();
        std::thread::sleep(Duration::from_micros(fastrand::u64(..3_000)));
    }
    actor.end_session();
    actor.face.close();
    Ok(())
}

/// `storm hold`: what `pd with-lock` runs. It has the lock now, and gives it back when it ends.
pub(crate) fn hold(history: &std::path::Path, lock: u64, unlock: u64, ms: u64, name: &str) -> Result<(), String> {
    let token = std::env::var("PORT_DADDY_LOCK_TOKEN").ok().and_then(|t| t.parse().ok()).ok_or("no token")?;
    let mut recorder = Recorder::append(history).map_err(|e| e.to_string())?;
    recorder.answer(lock, &Answer::Granted(token));
    std::thread::sleep(Duration::from_millis(ms));
    recorder.call(unlock, &Call::Unlock { name: name.to_owned(), token, lazy: true });
    Ok(())
}

impl Actor {
    fn perform(&mut self, call: &Call) -> Option<Answer> {
        let op = self.recorder.next_op();
        self.recorder.call(op, call);
        let answer = self.face.perform(call);
        match &answer {
            Some(answer) => self.recorder.answer(op, answer),
            None => self.recorder.lost(op),
        }
        answer
    }

    fn session(&mut self) -> Option<String> {
        if self.session.is_none()
            && let Some(Answer::Session(id)) = self.perform(&Call::Start)
        {
            self.session = Some(id);
            self.claimed = false;
        }
        self.session.clone()
    }

    fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            self.perform(&Call::End { session });
        }
    }

    fn step(&mut self) {
        match fastrand::u32(..100) {
            0..36 => self.lock(),
            36..52 => {
                let (id, channel) = (self.unique(), if fastrand::bool() { "storm:a" } else { "storm:b" });
                self.perform(&Call::Publish { channel: channel.to_owned(), id });
            }
            52..63 => self.receive(),
            63..66 => {
                self.perform(&Call::Never { ms: fastrand::u64(20..200) });
            }
            66..72 => {
                let text = self.unique();
                self.perform(&Call::Note { text });
            }
            72..80 => self.look(),
            80..86 => self.claim(),
            86..89 => {
                if let Some(session) = self.session() {
                    // What may not have been given back is claimed yet.
                    self.claimed &= self.perform(&Call::Drop { session }) != Some(Answer::Done);
                }
            }
            89..91 => self.end_session(),
            91..95 => {
                let identity = identity();
                self.perform(&Call::Port { identity });
            }
            95..98 => {
                let identity = identity();
                self.perform(&Call::GiveUp { identity });
            }
            _ => self.salvage(),
        }
    }

    /// What nobody else writes.
    fn unique(&self) -> String {
        format!("{}:{}", self.role.agent, now())
    }

    fn name(&self) -> String {
        format!("{}.{}", fastrand::usize(..LOCKS), (now() - self.role.began) / EPOCH)
    }

    fn look(&mut self) {
        let name = self.name();
        self.perform(&Call::Look { name });
    }

    fn lock(&mut self) {
        let name = self.name();
        let ttl_ms = (fastrand::u32(..5) == 0).then(|| fastrand::u64(5..40));
        let call = Call::Lock { name: name.clone(), wait: fastrand::u32(..10) < 7, ttl_ms };
        // Now and then long enough to be killed over.
        let ms = if fastrand::u32(..20) == 0 { fastrand::u64(40..120) } else { fastrand::u64(..6) };
        if matches!(call, Call::Lock { wait: true, ttl_ms: None, .. })
            && fastrand::bool()
            && self.face.hold(&call, &mut self.recorder, &self.role.history, ms)
        {
            return;
        }
        let token = match self.perform(&call) {
            Some(Answer::Granted(token)) => token,
            // Whoever was killed while it took the lock may have it, in this agent's name.
            None => 0,
            _ => return,
        };
        if token != 0 {
            std::thread::sleep(Duration::from_millis(ms));
            if fastrand::u32(..4) == 0 {
                self.perform(&Call::Look { name: name.clone() });
            }
        }
        // Some leave it to its lease.
        if token != 0 && ttl_ms.is_some() && fastrand::u32(..3) == 0 {
            return;
        }
        // A command that is killed leaves the lock to its agent, which goes on.
        for _ in 0..5 {
            if self.perform(&Call::Unlock { name: name.clone(), token, lazy: false }).is_some() {
                break;
            }
        }
    }

    fn receive(&mut self) {
        let position = self.role.position.clone();
        let Some(Answer::Messages { got, acked: None, .. }) = self.perform(&Call::Receive { position }) else { return };
        if self.role.kind != Kind::Pd
            && let Some((seq, _)) = got.last()
        {
            self.perform(&Call::Ack { position: self.role.position.clone(), seq: *seq });
        }
    }

    fn claim(&mut self) {
        let Some(session) = self.session() else { return };
        // What a session has claimed already it is told nothing new about.
        if self.claimed && self.perform(&Call::Drop { session: session.clone() }) != Some(Answer::Done) {
            return;
        }
        let mut files = vec![PATTERNS[fastrand::usize(..PATTERNS.len())].to_owned()];
        let another = PATTERNS[fastrand::usize(..PATTERNS.len())].to_owned();
        if fastrand::bool() && !files.contains(&another) {
            files.push(another);
        }
        self.claimed = true;
        self.perform(&Call::Claim { session, files, force: fastrand::u32(..4) == 0 });
    }

    fn salvage(&mut self) {
        let Some(Answer::Agents(dead)) = self.perform(&Call::Dead) else { return };
        if let Some(agent) = fastrand::choice(dead) {
            self.perform(&Call::Salvage { agent });
        }
    }
}

fn identity() -> String {
    format!("storm:p{}", fastrand::usize(..IDENTITIES))
}

/// For the last reader: everything from a position, until nothing is left.
pub(crate) fn drain(db: &std::path::Path, position: &str, history: &std::path::Path) -> Result<(), String> {
    let mut recorder = Recorder::append(history).map_err(|e| e.to_string())?;
    let mut face = Library::open(db, &format!("drain-{position}")).map_err(|e| e.to_string())?;
    loop {
        let op = recorder.next_op();
        let call = Call::Receive { position: position.to_owned() };
        recorder.call(op, &call);
        let answer = face.perform(&call).ok_or("no answer")?;
        recorder.answer(op, &answer);
        match answer {
            Answer::Messages { got, .. } if got.is_empty() => break,
            Answer::Messages { .. } => {}
            other => return Err(format!("{CHANNELS} can't be drained: {other:?}")),
        }
    }
    face.close();
    Ok(())
}
