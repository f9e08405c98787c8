//! What a harness sends: one JSON document, of which only what is needed is kept.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use portdaddy_core::{Error, ErrorKind};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A document may be so large; a file that is written stands in it whole.
const MOST: u64 = 32 << 20;

/// An event that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    SessionStart,
    UserPromptSubmit,
    PreToolUse,
    PostToolUse,
    SubagentStart,
    SubagentStop,
    Stop,
    SessionEnd,
}

impl Event {
    const ALL: [Event; 8] = [
        Event::SessionStart,
        Event::UserPromptSubmit,
        Event::PreToolUse,
        Event::PostToolUse,
        Event::SubagentStart,
        Event::SubagentStop,
        Event::Stop,
        Event::SessionEnd,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Event::SessionStart => "SessionStart",
            Event::UserPromptSubmit => "UserPromptSubmit",
            Event::PreToolUse => "PreToolUse",
            Event::PostToolUse => "PostToolUse",
            Event::SubagentStart => "SubagentStart",
            Event::SubagentStop => "SubagentStop",
            Event::Stop => "Stop",
            Event::SessionEnd => "SessionEnd",
        }
    }
}

/// The document's fields as they may come. What doesn't say who calls and where counts as left out if it has another shape
/// than documented.
#[derive(Deserialize)]
struct Document {
    session_id: String,
    cwd: PathBuf,
    hook_event_name: Option<String>,
    agent_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    agent_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    prompt: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    tool_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    tool_input: Option<ToolInput>,
    #[serde(default, deserialize_with = "lenient")]
    stop_hook_active: Option<bool>,
}

/// What a tool is given, of any tool.
#[derive(Default, Deserialize)]
struct ToolInput {
    #[serde(default, deserialize_with = "lenient")]
    file_path: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    notebook_path: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    command: Option<String>,
}

/// A value of a type, or of any other, which is none.
fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Known(T),
        Other(IgnoredAny),
    }
    Ok(match Either::deserialize(from)? {
        Either::Known(value) => Some(value),
        Either::Other(_) => None,
    })
}

/// Reads a document, also where a text was cut in the middle of a character: JavaScript writes half a surrogate pair then,
/// which is read as U+FFFD.
fn parse(bytes: &mut [u8]) -> serde_json::Result<Document> {
    let parsed = serde_json::from_slice(bytes);
    if parsed.is_ok() || !mend_surrogates(bytes) {
        return parsed;
    }
    serde_json::from_slice(bytes)
}

/// Puts U+FFFD in the place of each escape that is half a pair; whether there was one. Elsewhere than in texts JSON has no
/// backslash.
fn mend_surrogates(bytes: &mut [u8]) -> bool {
    let code = |bytes: &[u8], at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut at, mut mended) = (0, false);
    while at < bytes.len() {
        at += match (bytes[at], code(bytes, at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(code(bytes, at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                bytes[at + 2..at + 6].copy_from_slice(b"fffd");
                mended = true;
                6
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    mended
}

/// An event, as far as it matters here.
pub(super) struct Input {
    pub(super) event: Event,
    pub(super) session_id: String,
    cwd: PathBuf,
    /// Of a sub-agent.
    pub(super) agent_id: Option<String>,
    /// At most 60 characters of it.
    pub(super) agent_type: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) stop_hook_active: bool,
    tool_name: String,
    tool_input: ToolInput,
}

/// The tool that an event is about.
pub(super) struct Tool<'a>(&'a str, &'a ToolInput);

impl<'a> Tool<'a> {
    /// The file that it writes.
    pub(super) fn edits(&self) -> Option<&'a str> {
        match self.0 {
            "Edit" | "Write" | "MultiEdit" => self.1.file_path.as_deref(),
            "NotebookEdit" => self.1.notebook_path.as_deref().or(self.1.file_path.as_deref()),
            _ => None,
        }
        .filter(|path| !path.is_empty())
    }

    /// The file that it reads.
    pub(super) fn reads(&self) -> Option<&'a str> {
        (self.0 == "Read").then_some(self.1.file_path.as_deref()).flatten().filter(|path| !path.is_empty())
    }

    /// The shell command that it runs.
    pub(super) fn runs(&self) -> Option<&'a str> {
        (self.0 == "Bash").then_some(self.1.command.as_deref()).flatten()
    }
}

impl Input {
    pub(super) fn tool(&self) -> Tool<'_> {
        Tool(&self.tool_name, &self.tool_input)
    }

    /// The event's directory, or what is left of the path to it: agents remove working trees that they stand in.
    pub(super) fn standing(&self) -> &Path {
        let there = self.cwd.ancestors().find(|path| path.is_dir());
        // Whatever becomes of the place, a session must be able to end.
        let anywhere = (self.event == Event::SessionEnd).then_some(Path::new("/"));
        there.or(anywhere).unwrap_or(&self.cwd)
    }

    pub(super) fn speaks_of_git(&self) -> bool {
        self.tool().runs().is_some_and(|command| command.contains("git"))
    }

    /// What a session is opened for while nothing better is known.
    pub(super) fn purpose(&self) -> Cow<'static, str> {
        match (&self.agent_id, self.agent_type.as_deref()) {
            (Some(_), Some(kind)) if !kind.is_empty() => format!("{kind} sub-agent").into(),
            (Some(_), _) => "Sub-agent".into(),
            (None, _) => "Claude Code session".into(),
        }
    }
}

/// Reads all of the document, so that the harness can write it, but keeps no more than what is allowed.
pub(super) fn read(from: &mut impl Read, name: &str) -> Result<Input, Error> {
    let failed = |e: io::Error| Error::new(ErrorKind::Invalid, format!("stdin can't be read: {e}"));
    let mut bytes = Vec::new();
    from.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    let rest = io::copy(from, &mut io::sink()).map_err(failed)?;
    if rest > 0 {
        return Err(Error::invalid(format!("the event is too large: more than {} MiB", MOST >> 20)));
    }
    let event = Event::ALL.into_iter().find(|event| event.name() == name);
    let event = event.ok_or_else(|| Error::invalid(format!("there is nothing to do at the event {name:?}")))?;
    let document =
        parse(&mut bytes).map_err(|e| Error::invalid(format!("the event is not the documented JSON: {e}")))?;
    let sent = document.hook_event_name.as_deref().unwrap_or(name);
    if sent != name {
        return Err(Error::invalid(format!("it was called for {name}, and the event is {sent:?}")));
    }
    Ok(Input {
        event,
        session_id: document.session_id,
        cwd: document.cwd,
        agent_id: document.agent_id.filter(|id| !id.is_empty()),
        agent_type: document.agent_type.map(|kind| kind.chars().filter(|c| !c.is_control()).take(60).collect()),
        prompt: document.prompt,
        stop_hook_active: document.stop_hook_active.unwrap_or(false),
        tool_name: document.tool_name.unwrap_or_default(),
        tool_input: document.tool_input.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Document, String> {
        parse(&mut text.as_bytes().to_vec()).map_err(|e| e.to_string())
    }

    #[test]
    fn half_a_character_is_read_as_such() {
        for (sent, read) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\ude00\ud83d\ud83d\ude00.", "\u{fffd}\u{fffd}\u{1f600}."),
            (r"\ud83d\\ud83d\n", "\u{fffd}\\ud83d\n"),
            (r"\\\ud83d", "\\\u{fffd}"),
            (r"\ud83d\u0041", "\u{fffd}A"),
        ] {
            let text = format!(r#"{{"session_id": "a", "cwd": "/", "prompt": "{sent}", "other": "\ud83d"}}"#);
            assert_eq!(parsed(&text).unwrap().prompt.as_deref(), Some(read), "{sent}");
        }
        assert!(parsed(r#"{"session_id": "a", "cwd": "/", "prompt": "\ud8"}"#).is_err());
        assert!(parsed(r#"{"session_id": "a", "cwd": "/", "prompt": "\ud83d"#).is_err());
    }

    #[test]
    fn what_has_another_shape_counts_as_left_out() {
        let text = r#"{"session_id": "a", "cwd": "/", "prompt": 1, "tool_name": ["Edit"], "tool_input": "x",
                       "stop_hook_active": "yes", "agent_type": null}"#;
        let document = parsed(text).unwrap();
        assert!(document.prompt.is_none() && document.tool_name.is_none() && document.tool_input.is_none());
        assert!(document.stop_hook_active.is_none() && document.agent_type.is_none());
        let text =
            r#"{"session_id": "a", "cwd": "/", "tool_input": {"file_path": {}, "command": "git", "content": [1]}}"#;
        let input = parsed(text).unwrap().tool_input.unwrap();
        assert_eq!((input.file_path, input.command.as_deref()), (None, Some("git")));
        assert!(parsed(r#"{"session_id": 1, "cwd": "/"}"#).is_err());
    }
}
