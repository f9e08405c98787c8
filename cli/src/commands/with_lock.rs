//! `pd with-lock`

use std::ffi::OsString;
use std::time::Duration;

use portdaddy_core::{LockOptions, Tie, Wait};

use super::lock;
use crate::app::App;
use crate::child::{self, Child};
use crate::duration::{parse, parse_ms};
use crate::exit_code::Exit;
use crate::output::{Outcome, escape};

/// Run a command under a lock
///
/// Waits for the lock, runs the command, releases the lock and exits with the command's own code. The command finds
/// PORT_DADDY_LOCK_NAME and PORT_DADDY_LOCK_TOKEN in its environment, and keeps the lock while it runs, even if pd is
/// killed. A command that can't be run exits with 127.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd with-lock db-migrations -- npx prisma migrate dev
  pd with-lock deploy --timeout 10m -- ./deploy.sh production")]
pub(crate) struct Args {
    /// The lock's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Give up waiting after so long, with exit code 4
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    timeout: Option<Duration>,
    /// End the lease after so long, whatever the command does
    #[arg(long, value_name = "DURATION", value_parser = parse_ms)]
    ttl: Option<i64>,
    /// What for; others read it while they wait
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Wait on even where two wait for each other
    #[arg(long)]
    patient: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let options = LockOptions {
        wait: Wait { timeout: args.timeout, cancel: None },
        ttl_ms: args.ttl,
        purpose: Some(args.purpose.unwrap_or_else(|| child::shown(&args.command))),
        patient: args.patient,
        tie: Tie::Handle,
        ..LockOptions::default()
    };
    let lock = lock::take(&pd, &args.name, options, app.ui.mode())?;
    let (token, chain) = (lock.token().to_string(), lock.chain().to_owned());
    let ended = Child::new(&args.command)
        .env("PORT_DADDY_LOCK_NAME", &args.name)
        .env("PORT_DADDY_LOCK_TOKEN", &token)
        .env("PORT_DADDY_LOCK_CHAIN", &chain)
        .run(&pd)?;
    if let Err(e) = lock.release() {
        // The command's own result is the answer; that it ran on without the lock must be known all the same.
        app.ui.warning(format_args!("{}: {}", escape(&args.name), escape(e.message())));
    }
    Ok(ended.report(&mut app.ui))
}
