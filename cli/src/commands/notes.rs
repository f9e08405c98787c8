//! `pd notes`

use portdaddy_core::{Note, NoteFilter, Wait};

use super::{note, stream};
use crate::app::App;
use crate::duration::{Since, parse_since};
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, now_ms};

/// Read the journal of all agents, oldest first
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd notes --limit 20
  pd notes --type blocker --since 2h
  pd notes --session ab3 --json
  pd notes -f")]
pub(crate) struct Args {
    /// The newest so many [default: 20]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only this session's
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only this agent's
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only identities of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only since then: a duration (30m) or a timestamp
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// Only with this text in them, whatever its case
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let filter = NoteFilter {
        limit: args.limit,
        session: args.session,
        agent: args.agent,
        kind: args.kind,
        project: args.project,
        since_ms: args.since.map(|s| s.at_ms(now_ms())),
        grep: args.grep,
        all: args.all,
        after_seq: None,
    };
    if args.follow {
        stream(
            |each| pd.follow_notes(&filter, &Wait::default(), each),
            |note: Note| match app.ui.mode() {
                Mode::Json => app.ui.stream_json(&note),
                Mode::Quiet | Mode::People => app.ui.stream_line(&note::line(&note)),
            },
        )?;
        return Ok(DONE);
    }
    let list = pd.notes(&filter)?;
    app.ui.listing(&list, |out| list.notes.iter().try_for_each(|n| writeln!(out, "{}", note::line(n))))?;
    app.ui.elsewhere(list.elsewhere, "note", "notes");
    Ok(DONE)
}
