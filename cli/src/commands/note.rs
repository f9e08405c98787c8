//! `pd note`

use std::io::Read as _;

use portdaddy_core::{Error, NewNote, Note};

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Write to the journal
///
/// The note goes to the session; without one, a session named after the note's agent is opened rather than lose it.
/// Once the command has ended with 0, the note survives a power cut.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd note \"Built CheckoutForm component\"
  pd note \"Created POST /api/payments endpoint\" --type commit
  git log -1 --format=%B | pd note -")]
pub(crate) struct Args {
    /// What to write; `-` reads it from stdin
    #[arg(value_name = "TEXT")]
    text: String,
    /// note, commit, blocker, handoff, or another word [default: note]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let text = text_or_stdin(args.text)?;
    let pd = app.open()?;
    let written = pd.note(&NewNote { text, kind: args.kind, session: None })?;
    if written.opened_session {
        app.ui.note(format_args!("opened {} for it (pd begin PURPOSE says what it is for)", written.note.session));
    }
    let note = &written.note;
    app.ui.answer(&written, &note.seq, |out| writeln!(out, "Noted in {}", note.session))?;
    Ok(DONE)
}

/// Far more than any text may hold, so that an endless stdin ends in an error and not in all of the memory.
const STDIN_LIMIT: u64 = 16 << 20;

/// The text itself, or all of stdin for `-`.
pub(super) fn text_or_stdin(text: String) -> Outcome<String> {
    if text != "-" {
        return Ok(text);
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::invalid(format!("stdin can't be read: {e}")).caused_by(e))?;
    if bytes.len() as u64 > STDIN_LIMIT {
        let what = format!("stdin is too large: it goes on after {STDIN_LIMIT} bytes");
        return Err(Error::invalid(what).hint("write it to a file, and name the file").into());
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|e| Error::invalid(format!("stdin can't be read as UTF-8 text: {}", e.utf8_error())))?;
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

/// `[Agent 1] Built CheckoutForm component`
pub(super) fn line(note: &Note) -> String {
    format!("[{}] {}", escape(&note.agent_name), escape(&note.text))
}
