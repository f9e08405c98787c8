//! What fuzzing needs of the private parsers (`fuzz/`). Only in builds with `--cfg fuzzing`.

use std::ffi::OsString;

use portdaddy_core::Error;
use serde_json::Value;

/// The message that `pd pub CHANNEL TEXT` would send.
pub fn payload(text: &str) -> Result<Value, Error> {
    crate::commands::publish::payload(text)
}

/// A document as `--json` prints it.
pub fn json_line(document: &Value) -> Option<String> {
    crate::output::json_line(document).ok()
}

/// Others' text as it is printed.
pub fn escape(text: &str) -> String {
    crate::output::escape(text).into_owned()
}

/// Reads durations and moments, and prints what they come to.
pub fn durations(text: &str) -> [Option<String>; 2] {
    use crate::duration::{ago, moment, parse, parse_ms, parse_since};
    let length = parse(text).ok().map(|length| format!("{length:?}"));
    assert!(parse_ms(text).is_err() || length.is_some());
    let now = 1_700_000_000_000;
    let since = parse_since(text).ok().map(|since| since.at_ms(now));
    [length, since.map(|ms| format!("{} {}", ago(ms, now), moment(ms, now)))]
}

/// Whether the arguments are a command; nothing is run.
pub fn parses(args: Vec<OsString>) -> bool {
    crate::app::parse(&args).is_ok()
}
