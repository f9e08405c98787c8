//! `pd sub`

use std::time::{Duration, Instant};

use portdaddy_core::{Delivery, Error, ErrorKind, Event, Replay, Subscribe, Subscription, Wait, Warning};
use serde_json::json;

use super::agents;
use crate::app::App;
use crate::duration::{length, parse};
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, Ui, escape, json_line};

/// Wait for signals: one JSON a line, and the end once every pattern has delivered
///
/// A subscription begins with the newest message of each channel (at most 24 hours old), so who comes late receives
/// what was sent. In a pattern `*` stands for any characters; a comma separates several patterns. It ends on arrival, so that a harness can run it in the
/// background and be woken by that.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd sub payments:schema
  pd sub payments:api,payments:queries --timeout 5m
  pd sub 'payments:*' --follow
  pd sub build:complete --new && make deploy
  pd sub 'events:*' --as worker-1 --follow --json")]
pub(crate) struct Args {
    /// Channels, or patterns with `*`, separated by commas
    #[arg(value_name = "PATTERNS")]
    patterns: String,
    /// Go on for ever
    #[arg(short, long, conflicts_with = "count")]
    follow: bool,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Give up after so long, with exit code 4
    #[arg(long, value_name = "DURATION", value_parser = parse)]
    timeout: Option<Duration>,
    /// Only what is sent from now on: --replay none
    #[arg(long, conflicts_with = "replay")]
    new: bool,
    /// What to begin with: none, latest, all, or everything after a seq
    #[arg(long, value_name = "REPLAY", default_value = "latest", value_parser = replay)]
    replay: Replay,
    /// Keep the position under this name, and go on there next time (at least once)
    #[arg(long = "as", value_name = "NAME")]
    durable: Option<String>,
    /// Wait on even where two wait for each other
    #[arg(long)]
    patient: bool,
    /// Fail if nobody is left who could send it
    #[arg(long)]
    fail_if_gone: bool,
}

fn replay(text: &str) -> Result<Replay, String> {
    match text {
        "none" => Ok(Replay::None),
        "latest" => Ok(Replay::Latest),
        "all" => Ok(Replay::All),
        seq => seq.parse().map(Replay::After).map_err(|_| "write none, latest, all, or a seq".to_owned()),
    }
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let replay = if args.new { Replay::None } else { args.replay };
    let mut subscription = pd.subscribe(&Subscribe {
        patterns: args.patterns.clone(),
        replay,
        durable: args.durable.clone(),
        fail_on_deadlock: !args.patient,
        patient: args.patient,
        fail_if_gone: args.fail_if_gone,
        alone: true,
        ..Subscribe::default()
    })?;
    let deadline = args.timeout.map(|t| Instant::now() + t);
    let mut patience = Some(app.ui.while_waiting({
        let patterns = args.patterns.clone();
        move || Some(format!("Waiting for {}", escape(&patterns)))
    }));
    let mut delivered = 0;
    loop {
        let enough = match args.count {
            Some(count) => delivered >= count,
            None => !args.follow && subscription.is_done(),
        };
        // What is latched on the other channels of a pattern is printed too before the end.
        if enough && (args.count.is_some() || subscription.caught_up()) {
            break;
        }
        let timeout = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        match subscription.next(&Wait { timeout, cancel: None })? {
            Some(Event::Message(delivery)) => {
                patience = None;
                print(&delivery, &mut app.ui)?;
                delivered += 1;
                if args.durable.is_some() {
                    subscription.ack(delivery.message.seq)?;
                }
            }
            Some(Event::Warning(warning)) => warn(&warning, &mut app.ui)?,
            None => return Err(timed_out(&args, &subscription, delivered).into()),
        }
    }
    drop(patience);
    subscription.close()?;
    Ok(DONE)
}

fn print(delivery: &Delivery, ui: &mut Ui) -> Outcome {
    if ui.mode() == Mode::Json {
        return ui.stream_json(delivery);
    }
    let message = &delivery.message;
    if delivery.replayed {
        let from = message.agent_name.as_deref().unwrap_or("nobody in particular");
        let state = delivery.sender_state.map(|state| format!(" ({})", agents::life_word(state))).unwrap_or_default();
        let (channel, age) = (escape(&message.channel), length(delivery.age_ms));
        ui.note(format_args!("{channel} is {age} old, from {}{state}", escape(from)));
    }
    ui.stream_line(&json_line(&message.payload)?)
}

fn warn(warning: &Warning, ui: &mut Ui) -> Outcome {
    if ui.mode() == Mode::Json {
        return ui.stream_json(&json!({ "warning": warning }));
    }
    ui.warning(escape(&warning.text));
    Ok(())
}

fn timed_out(args: &Args, subscription: &Subscription, delivered: u64) -> Error {
    let waited = args.timeout.unwrap_or_default();
    let done = subscription.done_patterns();
    let missing: Vec<_> = args.patterns.split(',').map(str::trim).filter(|pattern| !done.contains(pattern)).collect();
    let what = if missing.is_empty() {
        format!("nothing more came on {}", args.patterns)
    } else {
        format!("nothing came on {}", missing.join(", "))
    };
    let within = if waited.is_zero() { "yet".to_owned() } else { format!("within {waited:?}") };
    Error::new(ErrorKind::Timeout, format!("{what} {within}"))
        .with("patterns", args.patterns.as_str())
        .with("missing", missing)
        .with("delivered", delivered)
        .with("timeout_ms", i64::try_from(waited.as_millis()).unwrap_or(i64::MAX))
        .hint("pd channels shows what was sent, pd agents who is alive")
}
