//! `pd log`

use portdaddy_core::{Activity, ActivityFilter, Wait};
use serde_json::Value;

use super::stream;
use crate::app::App;
use crate::duration::{Since, ago, parse_since};
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

/// `3m ago [Backend Agent] lock.grant db-migrations {"token":7}`
fn line(entry: &Activity, now: i64) -> Outcome<String> {
    let name = entry.agent_name.as_deref().unwrap_or("-");
    let detail = match &entry.detail {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        detail => format!(" {}", json_line(detail)?),
    };
    let (kind, subject) = (escape(&entry.kind), escape(&entry.subject));
    Ok(format!("{} [{}] {kind} {subject}{detail}", ago(entry.at_ms, now), escape(name)))
}
