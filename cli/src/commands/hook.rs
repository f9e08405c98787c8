//! `pd hook`

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::hook;
use crate::output::Outcome;

/// Answer an event of a coding harness; its hooks call this
///
/// Reads the event's JSON on stdin, as Claude Code documents it, and prints the answer that Claude Code documents; nothing
/// where there is nothing new. Events: SessionStart, UserPromptSubmit, PreToolUse, PostToolUse, SubagentStart, SubagentStop,
/// Stop, SessionEnd. It fails open: whatever goes wrong, it exits 0, blocks nothing, and says so in `pd log`.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd hook SessionStart < event.json
  pd hook PreToolUse --strict < event.json
  pd hook PreToolUse --git deny < event.json
  pd log --type hook.failed")]
pub(crate) struct Args {
    /// The event
    #[arg(value_name = "EVENT")]
    event: String,
    /// Deny edits of files that a living agent works on in the same working tree, or wrote since they were read
    #[arg(long)]
    strict: bool,
    /// What becomes of git commands that would destroy the work of others
    #[arg(long, value_enum, default_value = "ask", value_name = "POLICY")]
    git: hook::Git,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let Args { event, strict, git } = args;
    hook::answer(&event, hook::Policy { strict, git }, app);
    Ok(DONE)
}
