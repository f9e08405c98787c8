//! Who is alive: proofs of life, what their loss means, and the rules that turn both into a verdict.
//!
//! A proof is a thing the kernel vouches for: a lock on a file that vanishes with the last process that has it open, or
//! a process identified by pid, start time and boot. Silence counts only for agents without a proof that holds, and is
//! measured on a clock that stops while the machine sleeps, so nobody dies of a closed lid.

use std::path::PathBuf;

use rusqlite::Connection;
use serde::Serialize;

use crate::db::{Now, Tx};
use crate::error::Result;
use crate::sys;
use crate::sys::process::ProcessId;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// What kind of thing proves a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// An open handle of this library, by its locked file. Strong.
    Instance,
    /// A command that stays (`pd sub`, `pd with-lock`, `pd run`), by its locked file. Proves life while it runs; its
    /// end proves nothing. One that only waits proves nothing where all strong proofs are lost: it was left behind.
    Command,
    /// A harness's process. Strong.
    Process,
    /// An interactive shell: its end proves death, its life proves little.
    Shell,
}

impl ProofKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Command => "command",
            Self::Process => "process",
            Self::Shell => "shell",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "instance" => Self::Instance,
            "command" => Self::Command,
            "process" => Self::Process,
            _ => Self::Shell,
        }
    }
}

/// One proof of life, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// What it is.
    pub kind: ProofKind,
    /// The locked file's name (instance, command); empty for a process.
    pub live: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot.
    pub start: u64,
    /// The pid namespace that `pid` belongs to.
    pub namespace: u64,
    /// Whether it was recorded in this boot.
    pub this_boot: bool,
    /// The process's name, for people.
    pub what: String,
    /// Whether it is a command that does nothing but wait.
    #[serde(skip)]
    pub waits: bool,
}

/// Whether a proof holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The kernel vouches for it.
    Yes,
    /// The kernel says that it is gone.
    No,
    /// It can't be told from here (another pid namespace).
    Unknown,
}

/// Where the library asks whether a proof holds. [`SystemLiveness`] asks the kernel.
pub trait Liveness: Send + Sync + 'static {
    /// Whether the proof holds now. Must not block.
    fn holds(&self, proof: &Proof) -> Holds;
}

/// Asks the kernel.
#[derive(Clone, Debug)]
pub struct SystemLiveness {
    live_dir: PathBuf,
    /// Removes the live files that the dead left, as it meets them.
    sweeps: bool,
}

impl SystemLiveness {
    /// For the proofs of the database whose live files are in `live_dir`.
    pub fn new(live_dir: impl Into<PathBuf>) -> Self {
        Self { live_dir: live_dir.into(), sweeps: true }
    }

    /// One who only looks.
    pub(crate) fn that_only_looks(live_dir: impl Into<PathBuf>) -> Self {
        Self { live_dir: live_dir.into(), sweeps: false }
    }
}

impl Liveness for SystemLiveness {
    fn holds(&self, proof: &Proof) -> Holds {
        if crate::fault::broken("death") {
            return Holds::Yes;
        }
        #[cfg(portdaddy_faults)]
        if crate::fault::now_and_then("life") {
            return Holds::No;
        }
        if !proof.live.is_empty() {
            // A locked file tells by itself, whatever the boot: locks don't outlive the machine.
            let look = if self.sweeps { sys::live::probe } else { sys::live::peek };
            return match look(&self.live_dir, &proof.live) {
                sys::live::Probe::Held => Holds::Yes,
                sys::live::Probe::Gone => Holds::No,
            };
        }
        if !proof.this_boot {
            return Holds::No;
        }
        match sys::process::alive(&process_id(proof)) {
            sys::process::Alive::Yes => Holds::Yes,
            sys::process::Alive::No => Holds::No,
            sys::process::Alive::Unknown => Holds::Unknown,
        }
    }
}

pub(crate) fn process_id(proof: &Proof) -> ProcessId {
    ProcessId { pid: proof.pid, start: proof.start, namespace: proof.namespace }
}

/// Whether a live file is held, by name alone.
pub(crate) fn live_held(liveness: &dyn Liveness, live: &str) -> bool {
    let proof = Proof {
        kind: ProofKind::Command,
        live: live.to_owned(),
        pid: 0,
        start: 0,
        namespace: 0,
        this_boot: true,
        what: String::new(),
        waits: false,
    };
    liveness.holds(&proof) != Holds::No
}

/// What the proofs and the silence of an agent amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive {
        stale: bool,
    },
    /// `proven`: by the kernel rather than by silence.
    Dead {
        proof: String,
        proven: bool,
    },
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signs {
    pub(crate) silent_ms: i64,
    pub(crate) promised: bool,
}

/// The rules: a proof that holds beats silence, a lost proof beats a promise, and silence decides for the rest.
pub(crate) fn judge(proofs: &[Proof], signs: Signs, liveness: &dyn Liveness) -> Verdict {
    let by_silence = |stale: i64, dead: i64| {
        if signs.silent_ms >= dead {
            Verdict::Dead { proof: format!("silent for {}", minutes(signs.silent_ms)), proven: false }
        } else {
            Verdict::Alive { stale: signs.silent_ms >= stale }
        }
    };
    let mut strong_lost = None;
    let mut strong_unknown = false;
    let mut weak_lost = None;
    let mut weak_holds = false;
    let mut waits = false;
    for proof in proofs {
        let holds = liveness.holds(proof);
        match (proof.kind, holds) {
            // A harness that is killed leaves the commands behind that it had in the background.
            (ProofKind::Command, Holds::Yes) if proof.waits => waits = true,
            (ProofKind::Instance | ProofKind::Process | ProofKind::Command, Holds::Yes) => {
                return Verdict::Alive { stale: signs.silent_ms >= 2 * MINUTE };
            }
            (ProofKind::Instance | ProofKind::Process, Holds::No) => strong_lost = Some(proof),
            (ProofKind::Instance | ProofKind::Process, Holds::Unknown) => strong_unknown = true,
            (ProofKind::Shell, Holds::No) => weak_lost = Some(proof),
            (ProofKind::Shell, _) => weak_holds = true,
            (ProofKind::Command, _) => {}
        }
    }
    // What can't be looked at from here is no evidence of death: silence decides.
    match (strong_lost, weak_lost) {
        (Some(lost), _) if !strong_unknown => Verdict::Dead { proof: gone(lost), proven: true },
        _ if waits => Verdict::Alive { stale: signs.silent_ms >= 2 * MINUTE },
        _ if weak_holds => by_silence(10 * MINUTE, 60 * MINUTE),
        (None, Some(lost)) if !strong_unknown => Verdict::Dead { proof: gone(lost), proven: true },
        _ if signs.promised => by_silence(2 * MINUTE, 5 * MINUTE),
        _ => by_silence(5 * MINUTE, 30 * MINUTE),
    }
}

fn gone(proof: &Proof) -> String {
    if !proof.this_boot {
        return format!("the machine was restarted since process {} ({})", proof.pid, proof.what);
    }
    match proof.kind {
        ProofKind::Shell => format!("shell {} ({}) is gone", proof.pid, proof.what),
        _ => format!("process {} ({}) is gone", proof.pid, proof.what),
    }
}

fn minutes(ms: i64) -> String {
    if ms < 2 * MINUTE { format!("{} s", ms / SECOND) } else { format!("{} min", ms / MINUTE) }
}

/// How long a shell caller without any proof may be silent before its locks are given away.
pub(crate) const SILENCE_WITHOUT_PROOF_MS: i64 = 30 * MINUTE;
/// The same once it has sent an explicit heartbeat.
pub(crate) const SILENCE_AFTER_PROMISE_MS: i64 = 5 * MINUTE;
/// The same for an interactive shell that still runs.
pub(crate) const SILENCE_OF_A_SHELL_MS: i64 = 60 * MINUTE;

/// The stored proofs of an agent.
pub(crate) fn proofs(conn: &Connection, agent: &str, boot: i64) -> Result<Vec<Proof>> {
    let mut statement = conn.prepare_cached(PROOFS)?;
    let rows = statement.query_map([agent], |r| {
        let proof = Proof {
            kind: ProofKind::parse(r.get_ref(0)?.as_str()?),
            live: r.get(1)?,
            pid: r.get(2)?,
            start: r.get::<_, i64>(3)?.cast_unsigned(),
            namespace: r.get::<_, i64>(4)?.cast_unsigned(),
            this_boot: r.get::<_, i64>(5)? == boot,
            what: r.get(6)?,
            waits: r.get(7)?,
        };
        Ok((r.get::<_, i64>(8)?, proof))
    })?;
    let mut proofs = rows.collect::<Result<Vec<_>, _>>()?;
    // Sorted here: they are few, and SQLite would set up a sorter for them each time.
    proofs.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    Ok(proofs.into_iter().map(|(_, proof)| proof).collect())
}

const PROOFS: &str = "SELECT kind, live, pid, start, namespace, boot, what, waits, id FROM proofs WHERE agent = ?1";

/// Stores a proof of `agent`; true if it is new, or proves more than before.
pub(crate) fn record(tx: &Tx<'_>, agent: &str, proof: &Proof) -> Result<bool> {
    let changed = tx
        .prepare_cached(
            "INSERT INTO proofs (agent, kind, live, pid, start, namespace, boot, what, waits)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET waits = excluded.waits WHERE waits > excluded.waits",
        )?
        .execute((
            agent,
            proof.kind.as_str(),
            &proof.live,
            proof.pid,
            proof.start.cast_signed(),
            proof.namespace.cast_signed(),
            tx.now.boot,
            &proof.what,
            proof.waits,
        ))?;
    Ok(changed > 0)
}

/// Takes back the proof that was a live file: no death, the agent falls back on its others.
pub(crate) fn withdraw(tx: &Tx<'_>, live: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM proofs WHERE live = ?1 AND live <> ''")?.execute([live])?;
    Ok(())
}

/// Forgets the lost proofs of an agent that has just called, and so is alive by other means.
pub(crate) fn forget_lost(tx: &Tx<'_>, agent: &str) -> Result<()> {
    forget_lost_of(tx, agent, |_| true)
}

/// Forgets the crashed instances of an agent that another instance has outlived. Its harness is another matter.
pub(crate) fn forget_lost_instances(tx: &Tx<'_>, agent: &str) -> Result<()> {
    forget_lost_of(tx, agent, |kind| kind == ProofKind::Instance)
}

fn forget_lost_of(tx: &Tx<'_>, agent: &str, which: impl Fn(ProofKind) -> bool) -> Result<()> {
    for proof in proofs(tx, agent, tx.now.boot)? {
        if which(proof.kind) && tx.liveness().holds(&proof) == Holds::No {
            tx.prepare_cached(
                "DELETE FROM proofs WHERE agent = ?1 AND kind = ?2 AND live = ?3 AND pid = ?4 AND start = ?5",
            )?
            .execute((agent, proof.kind.as_str(), &proof.live, proof.pid, proof.start.cast_signed()))?;
        }
    }
    Ok(())
}

/// How long it has been silent: since its last sign of life in this boot, else since the boot.
pub(crate) fn silence(now: Now, seen_awake_ms: i64, boot: i64) -> i64 {
    if boot == now.boot { (now.awake_ms - seen_awake_ms).max(0) } else { now.awake_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(Vec<(u32, Holds)>);
    impl Liveness for Said {
        fn holds(&self, proof: &Proof) -> Holds {
            self.0.iter().find(|(pid, _)| *pid == proof.pid).map_or(Holds::Unknown, |(_, holds)| *holds)
        }
    }

    fn proof(kind: ProofKind, pid: u32) -> Proof {
        Proof {
            kind,
            live: String::new(),
            pid,
            start: 1,
            namespace: 1,
            this_boot: true,
            what: "sh".into(),
            waits: false,
        }
    }

    fn verdict(proofs: &[(ProofKind, Holds)], silent_min: i64, promised: bool) -> Verdict {
        let numbered: Vec<_> = proofs.iter().zip(1u32..).collect();
        let said = Said(numbered.iter().map(|((_, holds), pid)| (*pid, *holds)).collect());
        let proofs: Vec<_> = numbered.iter().map(|((kind, _), pid)| proof(*kind, *pid)).collect();
        judge(&proofs, Signs { silent_ms: silent_min * MINUTE, promised }, &said)
    }

    fn dead(v: &Verdict) -> Option<bool> {
        match v {
            Verdict::Dead { proven, .. } => Some(*proven),
            Verdict::Alive { .. } => None,
        }
    }

    #[test]
    fn every_row_of_the_table_of_lives() {
        use Holds::{No, Unknown, Yes};
        use ProofKind::{Command, Instance, Process, Shell};
        let alive = |stale| Verdict::Alive { stale };
        // A strong proof that holds: never dead.
        assert_eq!(verdict(&[(Instance, Yes)], 1, false), alive(false));
        assert_eq!(verdict(&[(Process, Yes), (Instance, No)], 100_000, true), alive(true));
        // All strong proofs gone: dead at once, though a shell lives on.
        assert_eq!(dead(&verdict(&[(Instance, No)], 0, false)), Some(true));
        assert_eq!(dead(&verdict(&[(Process, No), (Shell, Yes)], 0, true)), Some(true));
        // A weak proof that holds: 10 and 60 minutes.
        assert_eq!(verdict(&[(Shell, Yes)], 9, true), alive(false));
        assert_eq!(verdict(&[(Shell, Yes)], 59, true), alive(true));
        assert_eq!(dead(&verdict(&[(Shell, Yes)], 60, false)), Some(false));
        // A weak proof, gone: at once.
        assert_eq!(dead(&verdict(&[(Shell, No)], 0, false)), Some(true));
        // A promise: 2 and 5 minutes. None: 5 and 30.
        assert_eq!(verdict(&[], 4, true), alive(true));
        assert_eq!(dead(&verdict(&[], 5, true)), Some(false));
        assert_eq!(verdict(&[], 4, false), alive(false));
        assert_eq!(verdict(&[], 29, false), alive(true));
        assert_eq!(dead(&verdict(&[], 30, false)), Some(false));
        // A waiting command proves life while it runs, and nothing by its end.
        assert_eq!(verdict(&[(Command, Yes), (Shell, No)], 100, false), alive(true));
        assert_eq!(verdict(&[(Command, No)], 1, false), alive(false));
        assert_eq!(verdict(&[(Command, Yes), (Process, No)], 100, false), alive(true));
        // One that only waits outlives no harness.
        let of_one_that_waits = |others: &[(ProofKind, Holds)]| {
            let all = [&[(Command, Yes)], others].concat();
            let numbered: Vec<_> = all.iter().zip(1u32..).collect();
            let said = Said(numbered.iter().map(|((_, holds), pid)| (*pid, *holds)).collect());
            let mut proofs: Vec<_> = numbered.iter().map(|((kind, _), pid)| proof(*kind, *pid)).collect();
            proofs[0].waits = true;
            judge(&proofs, Signs { silent_ms: 100 * MINUTE, promised: true }, &said)
        };
        for living in
            [&[][..], &[(Shell, No)], &[(Shell, Yes)], &[(Process, Unknown)], &[(Process, No), (Process, Yes)]]
        {
            assert_eq!(of_one_that_waits(living), alive(true), "{living:?}");
        }
        assert_eq!(of_one_that_waits(&[(Process, No), (Command, Yes)]), alive(true));
        for lost in [&[(Process, No)][..], &[(Instance, No)], &[(Process, No), (Shell, Yes)]] {
            assert_eq!(dead(&of_one_that_waits(lost)), Some(true), "{lost:?}");
        }
        // What can't be seen from here proves no death.
        assert_eq!(verdict(&[(Process, Unknown)], 4, false), alive(false));
        assert_eq!(dead(&verdict(&[(Process, Unknown), (Instance, No)], 1, false)), None);
    }
}
