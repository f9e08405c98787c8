//! `storm`: many processes on one database, killed, stopped and raced; what they saw is checked.
//!
//! `make storm` builds and runs it. It needs a build with `--cfg portdaddy_faults`.

mod actor;
mod check;
mod face;
mod hand_over;
mod history;
mod prove;
mod storm;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use check::{Report, percentile};
use storm::{Blows, Plan};

/// Many processes on one database, killed, stopped and raced; what they saw is checked
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run a storm and check it
    Run(Plan),
    /// Break one promise after the other, and show which checker notices
    Prove(prove::Args),
    /// Kill holders of a lock, and measure how long the next one waits
    HandOver(hand_over::Args),
    #[command(hide = true)]
    Actor(actor::Role),
    #[command(hide = true)]
    Hold { history: PathBuf, lock: u64, unlock: u64, ms: u64, name: String },
    #[command(hide = true)]
    Last { db: PathBuf },
    #[command(hide = true)]
    Waiter { db: PathBuf, agent: String },
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let result = match Args::parse().command {
        Command::Run(plan) => run(&plan, &mut out),
        Command::Prove(args) => prove::run(&args, &mut out),
        Command::HandOver(args) => hand_over::run(&args, &mut out),
        Command::Actor(role) => actor::run(role).map(|()| true),
        Command::Hold { history, lock, unlock, ms, name } => {
            actor::hold(&history, lock, unlock, ms, &name).map(|()| true)
        }
        Command::Last { db } => check::look(&db).map(|()| true).map_err(|e| e.to_string()),
        Command::Waiter { db, agent } => hand_over::wait(&db, &agent).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "storm: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan, out: &mut impl Write) -> Result<bool, String> {
    let temporary = tempfile::tempdir().map_err(|e| e.to_string())?;
    let dir = plan.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let (report, blows) = storm::run(plan, &dir).map_err(|e| e.to_string())?;
    print(&report, blows, out).map_err(|e| e.to_string())?;
    Ok(report.violations.is_empty())
}

fn print(report: &Report, blows: Blows, out: &mut impl Write) -> std::io::Result<()> {
    let Blows { lives, kills, falls, stops } = blows;
    writeln!(out, "{lives} processes; {kills} killed, {falls} fell at a fault, {stops} stopped and continued")?;
    for (what, count) in &report.counts {
        writeln!(out, "{count:>9} {what}")?;
    }
    let refusals: Vec<String> = report.refusals.iter().map(|(code, count)| format!("{code} {count}")).collect();
    writeln!(out, "refusals: {}", if refusals.is_empty() { "none".to_owned() } else { refusals.join(", ") })?;
    for (what, times) in [("a release", &report.after_release), ("a kill", &report.after_death)] {
        let ms = |part| percentile(times, part) as f64 / 1e6;
        let (p50, p99, most) = (ms(0.5), ms(0.99), ms(1.0));
        writeln!(out, "a lock after {what}, {} times: p50 {p50:.2} ms, p99 {p99:.2}, max {most:.2}", times.len())?;
    }
    for violation in report.violations.iter().take(20) {
        writeln!(out, "VIOLATION of {violation}")?;
    }
    let found = report.violations.len();
    writeln!(out, "{} violations", if found == 0 { "no".to_owned() } else { found.to_string() })
}
