//! From the kill of a lock's holder to its next holder.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, LockOptions, Options, ScopeChoice, Wait};

use crate::check::percentile;
use crate::face::SCOPE;
use crate::history::{Time, now};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many holders are killed.
    #[arg(long, default_value_t = 500)]
    kills: usize,
    /// How many wait besides the next one.
    #[arg(long, default_value_t = 3)]
    others: usize,
}

fn open(db: &Path, agent: &str) -> Result<Coordinator, String> {
    let scope = ScopeChoice::Named(SCOPE.to_owned());
    Coordinator::open(Options::default().db(db).agent(agent).scope(scope)).map_err(|e| e.to_string())
}

/// `storm waiter`: waits for the lock, says when it has it, and keeps it until it is killed.
pub(crate) fn wait(db: &Path, agent: &str) -> Result<(), String> {
    let pd = open(db, agent)?;
    let options = LockOptions { wait: Wait::at_most(Duration::from_secs(600)), ..LockOptions::default() };
    let lock = pd.lock("m", &options).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", now()).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
    // Until it is killed, or nobody is there any more to do so.
    let _ = std::io::stdin().lock().lines().next();
    drop(lock);
    Ok(())
}

struct Waiter {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Waiter {
    fn start(db: &Path, number: usize) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.arg("waiter").arg(db).arg(format!("waiter-{number}"));
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| e.to_string())?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, stdout })
    }

    fn granted(&mut self) -> Result<Time, String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|e| e.to_string())?;
        line.trim().parse().map_err(|_| format!("a waiter ended: {line:?}"))
    }
}

pub(crate) fn run(args: &Args, out: &mut impl Write) -> Result<bool, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let db = dir.path().join("state").join("hand-over.db");
    let pd = open(&db, "parent")?;
    let queue = args.others + 1;
    let mut waiters = std::collections::VecDeque::new();
    let mut born = 0;
    let mut times = Vec::with_capacity(args.kills);
    for kill in 0..=args.kills {
        // In a known order: the next one begins to wait when the one before is seen in the queue.
        while waiters.len() < queue + 1 {
            waiters.push_back(Waiter::start(&db, born)?);
            born += 1;
            if waiters.len() == 1 {
                waiters[0].granted()?;
            } else {
                seen(&pd, waiters.len() - 1)?;
            }
        }
        if kill == args.kills {
            break;
        }
        let mut holder = waiters.pop_front().ok_or("no holder")?;
        let from = now();
        holder.child.kill().map_err(|e| e.to_string())?;
        times.push(waiters[0].granted()?.saturating_sub(from));
        holder.child.wait().map_err(|e| e.to_string())?;
    }
    for mut waiter in waiters {
        let _ = waiter.child.kill();
        let _ = waiter.child.wait();
    }
    times.sort_unstable();
    let ms = |part| percentile(&times, part) as f64 / 1e6;
    let (p50, p99, most) = (ms(0.5), ms(0.99), ms(1.0));
    let line = format!("from SIGKILL of a holder to the next one, {} kills: ", times.len());
    writeln!(out, "{line}p50 {p50:.3} ms, p99 {p99:.3} ms, max {most:.3} ms").map_err(|e| e.to_string())?;
    Ok(true)
}

fn seen(pd: &Coordinator, waiters: usize) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let info = pd.lock_info("m").map_err(|e| e.to_string())?;
        if info.is_some_and(|info| info.waiters.len() >= waiters) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("a waiter never joined the queue".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
