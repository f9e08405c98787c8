//! `pd pub`

use portdaddy_core::{Error, Publish};
use serde_json::Value;

use super::note;
use crate::app::App;
use crate::duration::parse_ms;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Send a signal on a channel
///
/// The message is kept: whoever subscribes later receives the newest one of the last 24 hours.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd pub payments:api '{\"status\":\"healthy\",\"port\":3101}'
  pd pub build:complete done
  jq -c . report.json | pd pub tests:report - --ttl 2h")]
pub(crate) struct Args {
    /// The channel's name
    #[arg(value_name = "CHANNEL")]
    channel: String,
    /// Any JSON; what isn't JSON is taken as a string; `-` reads it from stdin
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    payload: String,
    /// Forget the message after so long
    #[arg(long, value_name = "DURATION", value_parser = parse_ms)]
    ttl: Option<i64>,
    /// Keep so many messages of the channel [default: 10000]
    #[arg(long, value_name = "N")]
    keep: Option<u32>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let piped = args.payload == "-";
    let text = note::text_or_stdin(args.payload)?;
    if piped && text.is_empty() {
        // The program before the pipe failed, most likely: its silence is no signal.
        let empty = Error::invalid("stdin is empty: there is nothing to publish");
        return Err(empty.hint("an empty string is '\"\"', nothing in particular is null").into());
    }
    let payload = payload(&text)?;
    let pd = app.open()?;
    let published = pd.publish(&args.channel, &payload, &Publish { ttl_ms: args.ttl, keep: args.keep })?;
    app.ui.answer(&published, &published.seq, |out| {
        writeln!(out, "Published {} (seq {})", escape(&published.channel), published.seq)
    })?;
    Ok(DONE)
}

/// JSON, or a string; text that begins like JSON and is broken is a mistake, not a string.
pub(crate) fn payload(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).or_else(|e| {
        if !text.trim_start().starts_with(['{', '[', '"']) {
            return Ok(Value::String(text.to_owned()));
        }
        // The sentence says where: the parser's own words end with line and column.
        Err(Error::invalid(format!("the message begins like JSON and isn't: {e}"))
            .with("line", e.line())
            .with("column", e.column())
            .hint("quote it for the shell in '…', or write a string as '\"…\"'"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_json_or_a_string() {
        assert_eq!(payload("0").unwrap(), json!(0));
        assert_eq!(payload("null").unwrap(), json!(null));
        assert_eq!(payload("").unwrap(), json!(""));
        assert_eq!(payload("done").unwrap(), json!("done"));
        assert_eq!(payload("{\"a\":1}").unwrap(), json!({"a": 1}));
        assert_eq!(payload("[1").unwrap_err().fields()["column"], json!(2));
        assert!(payload("{status:healthy}").unwrap_err().message().contains("line 1 column 2"));
    }
}
