//! `pd inbox`

use std::time::Duration;

use portdaddy_core::{Coordinator, DirectMessage, DirectMessageFilter, Error, ErrorKind, Wait};

use crate::app::App;
use crate::duration::{length, parse};
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, escape, now_ms};

/// Younger messages are shown without their age.
const FRESH_MS: i64 = 60_000;

/// Read the messages to oneself
///
/// Shows those that were not shown yet, oldest first, and then says so: they aren't shown again. What was not printed to the
/// end stays. --watch waits for the next one and ends when it is there, so that a harness can run it in the background and be
/// woken; whoever sends meanwhile is told so.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd inbox
  pd inbox --watch
  pd inbox --watch --timeout 10m --json
  pd inbox --follow
  pd inbox --all --limit 50")]
pub(crate) struct Args {
    /// Wait until there is one, and end with it (made to be run in the background)
    #[arg(short, long)]
    watch: bool,
    /// Go on for ever with what is sent from now on, one a line
    #[arg(short, long, conflicts_with = "watch")]
    follow: bool,
    /// Give up after so long without one, with exit code 4
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    timeout: Option<Duration>,
    /// Show them again next time
    #[arg(long)]
    peek: bool,
    /// The newest, also those shown before; changes nothing
    #[arg(long, conflicts_with_all = ["watch", "follow", "peek", "timeout"])]
    all: bool,
    /// At most so many [default: 100; with --all 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "follow")]
    limit: Option<u32>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    if args.timeout.is_some() && !args.watch && !args.follow {
        let e = Error::invalid("--timeout is given, and nothing is waited for");
        return Err(e.hint("add --watch to wait for a message").into());
    }
    let pd = app.open()?;
    let limit = args.limit.map(|n| n as usize);
    if args.all {
        let messages = pd.direct_messages(&DirectMessageFilter { limit })?;
        return list(&messages, app);
    }
    if args.follow {
        return follow(&args, &pd, app);
    }
    let mut messages = if args.watch { watch(&args, &pd, app)? } else { pd.inbox()? };
    messages.truncate(limit.unwrap_or(if args.watch { usize::MAX } else { 100 }));
    list(&messages, app)?;
    let Some(last) = messages.last() else {
        app.ui.note("no new messages (--all shows those of before)");
        return Ok(DONE);
    };
    // Only what has left this process counts as shown.
    app.ui.flush()?;
    if !args.peek {
        pd.inbox_shown(last.seq)?;
        if !pd.inbox()?.is_empty() {
            app.ui.note("there are more: pd inbox shows them");
        }
    }
    Ok(DONE)
}

/// Waits for the first, and takes what has come with it.
fn watch(args: &Args, pd: &Coordinator, app: &App) -> Outcome<Vec<DirectMessage>> {
    let mut follower = pd.follow_inbox_from()?;
    let patience = app.ui.while_waiting(|| Some("Waiting for a message".to_owned()));
    let first = follower.next(&Wait { timeout: args.timeout, cancel: None })?;
    drop(patience);
    // One that came at the last moment counts: its sender may have been told that it is seen.
    let mut messages: Vec<DirectMessage> = first.into_iter().collect();
    messages.extend(follower.finish()?);
    if messages.is_empty() { Err(timed_out(args).into()) } else { Ok(messages) }
}

fn follow(args: &Args, pd: &Coordinator, app: &mut App) -> Outcome<Exit> {
    let mut follower = pd.follow_inbox_from()?;
    let wait = Wait { timeout: args.timeout, cancel: None };
    while let Some(message) = follower.next(&wait)? {
        match app.ui.mode() {
            Mode::Json => app.ui.stream_json(&message)?,
            Mode::Quiet | Mode::People => app.ui.stream_line(&line(&message))?,
        }
        if !args.peek {
            pd.inbox_shown(message.seq)?;
        }
    }
    Err(timed_out(args).into())
}

fn list(messages: &[DirectMessage], app: &mut App) -> Outcome<Exit> {
    let document = serde_json::json!({ "messages": messages });
    app.ui.listing(&document, |out| messages.iter().try_for_each(|m| writeln!(out, "{}", line(m))))?;
    Ok(DONE)
}

/// `[Backend Agent, 5m ago] The schema is wrong`
fn line(message: &DirectMessage) -> String {
    let from = message.sender_name.as_deref().unwrap_or("somebody");
    let age = now_ms() - message.at_ms;
    let age = if age < FRESH_MS { String::new() } else { format!(", {} ago", length(age)) };
    format!("[{}{age}] {}", escape(from), escape(&message.text))
}

fn timed_out(args: &Args) -> Error {
    let waited = args.timeout.unwrap_or_default();
    Error::new(ErrorKind::Timeout, format!("no message came within {waited:?}"))
        .with("timeout_ms", i64::try_from(waited.as_millis()).unwrap_or(i64::MAX))
        .hint("pd inbox --all shows those of before")
}
