//! `pd send`

use portdaddy_core::{Reach, Sent};

use super::note::text_or_stdin;
use crate::app::App;
use crate::duration::length;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// Send a message to one agent
///
/// The agent is named by its id, or by a name or identity that only one has. The message waits until it is shown to it, 30
/// days at most; the answer says whether and when that will be. Once the command has ended with 0, it survives a power cut.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd send backend-builder \"The schema is wrong: amounts are in cents\"
  pd send payments:web \"I go on with your branch\"
  make 2>&1 | tail -n 5 | pd send \"$PORT_DADDY_AGENT\" -")]
pub(crate) struct Args {
    /// To whom: an id, a name or an identity
    #[arg(value_name = "AGENT")]
    to: String,
    /// What it says; `-` reads it from stdin
    #[arg(value_name = "TEXT")]
    text: String,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let text = text_or_stdin(args.text)?;
    let pd = app.open()?;
    let sent = pd.send(&args.to, &text)?;
    app.ui.answer(&sent, &sent.message.seq, |out| writeln!(out, "{}", outlook(&sent)))?;
    if sent.reach == Reach::Nobody {
        app.ui.hint("pd salvage shows what a dead agent left; its work can be continued");
    }
    Ok(DONE)
}

/// What will become of it, honestly.
fn outlook(sent: &Sent) -> String {
    let (id, name) = (&sent.message.recipient, &sent.recipient_name);
    let who = if id == name { escape(id).into_owned() } else { format!("{} ({})", escape(name), escape(id)) };
    match sent.reach {
        Reach::Woken => format!("Sent: {who} will be woken"),
        Reach::NextTurn => format!("Sent: {who} will see it on its next turn"),
        Reach::IfItLooks => format!("Sent: {who} sees it if it looks (pd inbox)"),
        Reach::Nobody => {
            let since = sent.gone_ms.map(|ms| format!(" for {}", length(now_ms() - ms))).unwrap_or_default();
            format!("Nobody is home: {who} has been gone{since}; the message waits")
        }
    }
}
