//! `pd locks`

use portdaddy_core::{LockFilter, LockInfo};

use super::agents;
use crate::app::App;
use crate::duration::{ago, length};
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// List the held locks: by whom, since when, what for, and who waits
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd locks
  pd locks --all --json")]
pub(crate) struct Args {
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let list = app.open()?.locks(&LockFilter { all: args.all })?;
    let now = now_ms();
    app.ui.listing(&list, |out| {
        list.locks.iter().try_for_each(|lock| {
            writeln!(out, "{} held by {} (token {})", escape(&lock.name), holder(lock, now), lock.token)?;
            lock.waiters.iter().try_for_each(|waiter| {
                writeln!(out, "  waiting: {} (since {})", escape(&waiter.agent_name), ago(waiter.since_ms, now))
            })
        })
    })?;
    app.ui.elsewhere(list.elsewhere, "lock", "locks");
    Ok(DONE)
}

/// `Database Agent (alive, since 3m ago): adding the refunds table`
pub(super) fn holder(lock: &LockInfo, now: i64) -> String {
    let name = escape(&lock.agent_name);
    let ends = lock.expires_ms.map(|at| format!(", ends in {}", length(at - now))).unwrap_or_default();
    let purpose = lock.purpose.as_deref().map(|text| format!(": {}", escape(text))).unwrap_or_default();
    format!("{name} ({}, since {}{ends}){purpose}", agents::life_word(lock.holder_state), ago(lock.since_ms, now))
}
