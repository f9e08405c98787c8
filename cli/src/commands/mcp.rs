//! `pd mcp`

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::mcp::{Caller, serve};
use crate::output::Outcome;

/// Serve coding agents as an MCP server, over stdin and stdout
///
/// Ten tools: begin, done, status, note, claim_files, signal, wait, lock, port, salvage. It is started by an MCP client
/// and ends when that closes stdin. The tools act as the agent around the server, as pd does in its shell.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd setup codex
  claude mcp add port-daddy -- pd mcp
  pd mcp --agent reviewer")]
pub(crate) struct Args {}

pub(crate) fn run(_: Args, app: &mut App) -> Outcome<Exit> {
    serve(Caller::new(app.opener()))?;
    Ok(DONE)
}
