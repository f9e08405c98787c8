//! `pd channels`

use std::fmt::Write as _;

use portdaddy_core::ChannelFilter;
use serde_json::json;

use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit, NO};
use crate::output::{Outcome, escape, now_ms};

/// List the channels, or clear them
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "EXAMPLES:
  pd channels
  pd channels 'payments:*'
  pd channels clear payments:api"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
    /// Only channels of this pattern
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Forget the messages of the channels of a pattern
    #[command(after_help = "EXAMPLES:
  pd channels clear payments:api
  pd channels clear 'payments:*'")]
    Clear {
        /// A channel, or a pattern with `*`
        #[arg(value_name = "CHANNEL")]
        channel: String,
    },
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    if let Some(Verb::Clear { channel }) = args.command {
        let removed = pd.clear_channel(&channel)?;
        let messages = if removed == 1 { "message" } else { "messages" };
        app.ui.answer(&json!({ "removed": removed }), &removed, |out| {
            writeln!(out, "Cleared {} ({removed} {messages})", escape(&channel))
        })?;
        return Ok(if removed == 0 { NO } else { DONE });
    }
    let list = pd.channels(&ChannelFilter { pattern: args.pattern, all: args.all })?;
    let now = now_ms();
    app.ui.listing(&list, |out| {
        list.channels.iter().try_for_each(|channel| {
            let messages = if channel.count == 1 { "message" } else { "messages" };
            let mut line = format!("{} ({} {messages}", escape(&channel.name), channel.count);
            if channel.count > 0 {
                let _ = write!(line, ", newest {}", ago(channel.last_ms, now));
            }
            if channel.waiting > 0 {
                let _ = write!(line, ", {} waiting", channel.waiting);
            }
            writeln!(out, "{line})")
        })
    })?;
    app.ui.elsewhere(list.elsewhere, "channel", "channels");
    Ok(DONE)
}
