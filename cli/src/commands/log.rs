//! `pd log`

use portdaddy_core::{Activity, ActivityFilter, Wait};
use serde_json::Value;

use super::stream;
use crate::app::App;
use crate::duration::{Since, moment, parse_since};
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, escape, json_line, now_ms};

/// Show what happened, oldest first
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd log
  pd log --type lock. --since 1h
  pd log --agent frontend-builder --json
  pd log -f")]
pub(crate) struct Args {
    /// Only of this type, or of all that begin with it (lock.)
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only since then: a duration (30m) or a timestamp
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// The newest so many [default: 50]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let filter = ActivityFilter {
        limit: args.limit,
        kind: args.kind,
        agent: args.agent,
        since_ms: args.since.map(|s| s.at_ms(now_ms())),
        all: args.all,
        after_seq: None,
    };
    if args.follow {
        stream(
            |each| pd.follow_activity(&filter, &Wait::default(), each),
            |entry: Activity| match app.ui.mode() {
                Mode::Json => app.ui.stream_json(&entry),
                Mode::Quiet | Mode::People => app.ui.stream_line(&line(&entry, now_ms())?),
            },
        )?;
        return Ok(DONE);
    }
    let list = pd.activity(&filter)?;
    let now = now_ms();
    let lines = list.entries.iter().map(|entry| line(entry, now)).collect::<Outcome<Vec<_>>>()?;
    app.ui.listing(&list, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    app.ui.elsewhere(list.elsewhere, "entry", "entries");
    Ok(DONE)
}

/// `16:40:12 lock.grant       [Backend Agent] took db-migrations`
fn line(entry: &Activity, now: i64) -> Outcome<String> {
    let name = entry.agent_name.as_deref().unwrap_or("-");
    let (at, kind) = (moment(entry.at_ms, now), escape(&entry.kind));
    Ok(format!("{at} {kind:<16} [{}] {}", escape(name), escape(&sentence(entry)?)))
}

/// What was done, in words.
pub(crate) fn sentence(entry: &Activity) -> Outcome<String> {
    let subject = &entry.subject;
    let text = |name: &str| entry.detail[name].as_str().unwrap_or("?");
    let number = |name: &str| entry.detail[name].as_i64().unwrap_or(0);
    let waited = || format!("after {} ms", number("waited_ms"));
    Ok(match entry.kind.as_str() {
        "agent.register" => match entry.detail["identity"].as_str() {
            Some(identity) => format!("registered {subject} as {identity}"),
            None => format!("registered {subject}"),
        },
        "agent.dead" => format!("is dead: {}", text("proof")),
        "session.start" => format!("started {subject}: {}", text("purpose")),
        "session.end" => format!("ended {subject} ({})", text("status")),
        "files.claim" => format!("claimed {}", patterns(&entry.detail)),
        "publish" => format!("published {subject}, {} waiting", number("waiting")),
        "channel.wait" => format!("waits for {subject}"),
        "channel.receive" => match entry.detail["from"].as_str() {
            Some(from) => format!("received {subject} from {from} {}", waited()),
            None => format!("received {subject} {}", waited()),
        },
        "lock.wait" => format!("waits for {subject}, held by {}", text("held_by")),
        "lock.grant" => match entry.detail["from"].as_str() {
            Some(from) => format!("took {subject} over from {from} {}", waited()),
            None => format!("took {subject}"),
        },
        "lock.release" => format!("released {subject}"),
        "lock.force" => format!("took {subject} away from {}", text("holder")),
        "lock.expire" => format!("the lease of {subject} ran out"),
        "lock.orphan" => format!("left {subject} behind"),
        "store.restore" => format!("put back {subject}"),
        "port.claim" => format!("got port {} for {subject}", number("port")),
        _ => match &entry.detail {
            Value::Null => subject.clone(),
            Value::Object(fields) if fields.is_empty() => subject.clone(),
            detail => format!("{subject} {}", json_line(detail)?),
        },
    })
}

fn patterns(detail: &Value) -> String {
    let named: Vec<&str> = detail["patterns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let more = detail["count"].as_u64().map_or(0, |n| n.saturating_sub(named.len() as u64));
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
