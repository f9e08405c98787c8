//! What a harness sends: one JSON document, of which only what is needed is kept.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::PathBuf;

use portdaddy_core::{Error, ErrorKind};
use serde::Deserialize;

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

/// The document's fields as they may come.
#[derive(Deserialize)]
struct Document {
    session_id: String,
    cwd: PathBuf,
    hook_event_name: Option<String>,
    agent_id: Option<String>,
    agent_type: Option<String>,
    prompt: Option<String>,
    tool_name: Option<String>,
    tool_input: Option<ToolInput>,
    stop_hook_active: Option<bool>,
}

/// What a tool is given, of any tool. What has another shape than documented counts as left out.
#[derive(Default, Deserialize)]
struct ToolInput {
    #[serde(default, deserialize_with = "text")]
    file_path: Option<String>,
    #[serde(default, deserialize_with = "text")]
    notebook_path: Option<String>,
    #[serde(default, deserialize_with = "text")]
    command: Option<String>,
}

fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(serde_json::Value::deserialize(from)?.as_str().map(str::to_owned))
}

/// An event, as far as it matters here.
pub(super) struct Input {
    pub(super) event: Event,
    pub(super) session_id: String,
    pub(super) cwd: PathBuf,
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
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid(format!("the event is not the documented JSON: {e}")))?;
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
