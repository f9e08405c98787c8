//! `pd lock`

use std::sync::{Arc, Mutex};
use std::time::Duration;

use portdaddy_core::{Coordinator, Error, ErrorKind, Lock, LockFilter, LockInfo, LockOptions, Tie, Wait};

use super::locks;
use crate::app::App;
use crate::duration::{length, parse, parse_ms};
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, Patience, escape, now_ms};

/// Take an exclusive lock
///
/// Doesn't wait: if it is held, says by whom and exits 1. The lock lives until `pd unlock`, its --ttl, or the death of
/// the agent that holds it. It isn't reentrant.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_negates_reqs = true,
    after_help = "EXAMPLES:
  pd lock db-migrations && { npx prisma migrate dev; pd unlock db-migrations; }
  pd lock db-migrations || echo \"Migrations already running, skipping\"
  pd lock db-migrations --wait 5m --purpose \"adding the refunds table\"
  pd lock extend db-migrations --ttl 10m"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
    /// The lock's name (after `--` if it is the name of a subcommand)
    #[arg(value_name = "NAME", required_unless_present = "wait")]
    name: Option<String>,
    /// Wait while it is held, for ever or so long (then exit code 4)
    #[arg(long, value_name = "DURATION", num_args = 0..=1)]
    wait: Option<Option<String>>,
    /// End the lease after so long, whatever its holder does
    #[arg(long, value_name = "DURATION", value_parser = parse_ms)]
    ttl: Option<i64>,
    /// What for; others read it while they wait
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Wait on even where two wait for each other
    #[arg(long)]
    patient: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Give a held lock a new end
    #[command(after_help = "EXAMPLES:
  pd lock extend db-migrations --ttl 10m")]
    Extend {
        /// The lock's name
        #[arg(value_name = "NAME")]
        name: String,
        /// When it ends, from now
        #[arg(long, value_name = "DURATION", value_parser = parse_ms)]
        ttl: i64,
    },
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    if let Some(Verb::Extend { name, ttl }) = args.command {
        let info = pd.extend_lock(&name, ttl, None)?;
        app.ui.answer(&info, &info.token, |out| {
            writeln!(out, "Extended {} (token {}, ends in {})", escape(&name), info.token, length(ttl))
        })?;
        return Ok(DONE);
    }
    let blocking = args.wait.is_some();
    let (name, timeout) = name_and_timeout(args.name, args.wait.flatten())?;
    let options = LockOptions {
        blocking,
        wait: Wait { timeout, cancel: None },
        ttl_ms: args.ttl,
        purpose: args.purpose,
        patient: args.patient,
        tie: Tie::Agent,
        ..LockOptions::default()
    };
    let lock = take(&pd, &name, options, app.ui.mode())?;
    let (token, silence) = (lock.token(), lock.silence_ms());
    let document = if app.ui.mode() == Mode::Json { Some(lock.info()?) } else { None };
    lock.leave();
    app.ui.answer(&document, &token, |out| writeln!(out, "Locked {} (token {token})", escape(&name)))?;
    if let Some(ms) = silence {
        app.ui.note(format_args!(
            "no process proves this agent's life: the lock ends after {} without a call (pd agent heartbeat)",
            length(ms)
        ));
    }
    Ok(DONE)
}

/// The name and how long to wait: in `pd lock --wait NAME` the name stands where a duration could.
fn name_and_timeout(name: Option<String>, wait: Option<String>) -> Result<(String, Option<Duration>), Error> {
    match (name, wait) {
        (Some(name), None) => Ok((name, None)),
        (Some(name), Some(wait)) => Ok((name, Some(parse(&wait).map_err(Error::invalid)?))),
        (None, Some(wait)) if parse(&wait).is_err() => Ok((wait, None)),
        (None, _) => Err(Error::invalid("the lock's NAME is missing").hint("pd lock db-migrations --wait 5m")),
    }
}

/// Takes a lock as the shell does, and says after a second whom it waits for.
pub(super) fn take(pd: &Coordinator, name: &str, options: LockOptions, mode: Mode) -> Outcome<Lock> {
    let patience = Arc::new(Mutex::new(None));
    let told = Arc::clone(&patience);
    let on_wait = move |info: &LockInfo| {
        let text = format!("Waiting for {}, held by {}", escape(&info.name), locks::holder(info, now_ms()));
        if let Ok(mut patience) = told.lock() {
            *patience = Some(Patience::begin(mode, move || Some(text)));
        }
    };
    let options = LockOptions {
        chain: std::env::var("PORT_DADDY_LOCK_CHAIN").ok().filter(|chain| !chain.is_empty()),
        on_wait: Some(Arc::new(on_wait)),
        ..options
    };
    // The holder may let go between the refusal and the look at who it was: then there is nobody to name, and the
    // lock is worth a second try.
    for _ in 0..2 {
        if let Some(lock) = pd.lock(name, &options)? {
            return Ok(lock);
        }
        let held = pd.locks(&LockFilter { all: false })?.locks.into_iter().find(|lock| lock.name == name);
        if let Some(info) = held {
            return Err(refused(&info).into());
        }
    }
    Err(Error::new(ErrorKind::LockHeld, format!("{name} is held, by a different holder at every look"))
        .with("lock", name)
        .hint("wait for it with --wait")
        .into())
}

fn refused(info: &LockInfo) -> Error {
    let message = format!("{} is held by {}", info.name, locks::holder(info, now_ms()));
    let error = Error::new(ErrorKind::LockHeld, message)
        .with("lock", info.name.as_str())
        .with("agent", info.agent.as_str())
        .with("agent_name", info.agent_name.as_str())
        .with("token", info.token)
        .with("since_ms", info.since_ms)
        .hint("wait for it with --wait");
    match &info.purpose {
        Some(purpose) => error.with("purpose", purpose.as_str()),
        None => error,
    }
}
