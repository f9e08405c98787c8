//! Our entries in JSON settings: Claude Code's hooks, and the MCP server of any harness.

use std::path::Path;

use portdaddy_core::Error;
use serde_json::{Value, json};

use super::json::{Dialect, Item, Step, Trouble, add, document, error, remove, value};
use super::store::Original;
use super::{After, Git, SERVER, block, is_pd};

/// Claude Code's events, which tools they are wanted for, and how many seconds a call may take.
const EVENTS: &[(&str, Option<&str>, u32)] = &[
    ("SessionStart", None, 10),
    ("UserPromptSubmit", None, 5),
    ("PreToolUse", Some("Edit|Write|MultiEdit|NotebookEdit|Bash"), 30),
    ("PostToolUse", Some("Read|Edit|Write|MultiEdit|NotebookEdit|Bash"), 5),
    ("Stop", None, 5),
    ("SubagentStop", None, 5),
    ("SessionEnd", None, 5),
];

/// The groups to put into the lists of Claude Code's hooks, by event.
pub(super) fn hooks(command: &str, strict: bool, git: Option<Git>) -> Vec<(&'static str, Value)> {
    EVENTS
        .iter()
        .map(|(event, matcher, timeout)| {
            let mut args = vec!["hook", event];
            if *event == "PreToolUse" {
                args.extend(strict.then_some("--strict"));
                args.extend(git.iter().flat_map(|git| ["--git", git.word()]));
            }
            let hook = json!({"type": "command", "command": command, "args": args, "timeout": timeout});
            let group = match matcher {
                Some(matcher) => json!({"matcher": matcher, "hooks": [hook]}),
                None => json!({"hooks": [hook]}),
            };
            (*event, group)
        })
        .collect()
}

fn is_our_hook(hook: &Value) -> bool {
    let command = hook["command"].as_str().unwrap_or_default();
    match hook["args"].as_array() {
        Some(args) => is_pd(command) && args.first().is_some_and(|arg| arg == "hook"),
        // As one line for the shell.
        None => command.strip_prefix("pd hook").is_some_and(|rest| rest.starts_with(' ')),
    }
}

/// One of our hooks: its event, its group, and its place in it if others are there, too.
fn our_hooks(settings: &Value) -> Vec<(&str, usize, Option<usize>)> {
    let mut found = Vec::new();
    for (event, groups) in settings["hooks"].as_object().into_iter().flatten() {
        for (i, group) in groups.as_array().into_iter().flatten().enumerate() {
            let Some(hooks) = group["hooks"].as_array() else { continue };
            if !hooks.is_empty() && hooks.iter().all(is_our_hook) {
                found.push((event.as_str(), i, None));
            } else {
                let ours = hooks.iter().enumerate().filter(|(_, hook)| is_our_hook(hook));
                found.extend(ours.map(|(place, _)| (event.as_str(), i, Some(place))));
            }
        }
    }
    found
}

/// Whether there are any.
pub(super) fn has_hooks(settings: &Value) -> bool {
    !our_hooks(settings).is_empty()
}

/// A settings file being edited.
struct Editing<'a> {
    path: &'a Path,
    dialect: Dialect,
    mark: &'static str,
    text: String,
    /// Nothing is left of the object that is the document, and it was made by us.
    emptied: bool,
}

impl<'a> Editing<'a> {
    fn new(path: &'a Path, dialect: Dialect, text: &str) -> Self {
        let mark = if text.starts_with('\u{feff}') { "\u{feff}" } else { "" };
        Self { path, dialect, mark, text: text[mark.len()..].to_owned(), emptied: false }
    }

    fn wrong(&self, trouble: &Trouble) -> Error {
        let kind = if self.dialect == Dialect::Plain { "JSON" } else { "JSON with comments" };
        error(self.path, &self.text, kind, trouble)
    }

    fn value(&self) -> Result<Value, Error> {
        let value = value(&self.text, self.dialect).map_err(|t| self.wrong(&t))?;
        if value.is_object() {
            return Ok(value);
        }
        Err(self.wrong(&Trouble { at: 0, what: "the document is no object".to_owned() }))
    }

    fn add(&mut self, path: &[&str], item: Item) -> Result<(), Error> {
        self.text = add(&self.text, self.dialect, path, item).map_err(|t| self.wrong(&t))?;
        self.emptied = false;
        Ok(())
    }

    fn remove(&mut self, path: &[Step], index: usize) -> Result<(), Error> {
        let (text, emptied) = remove(&self.text, self.dialect, path, index).map_err(|t| self.wrong(&t))?;
        (self.text, self.emptied) = (text, emptied);
        Ok(())
    }

    fn remove_hooks(&mut self) -> Result<(), Error> {
        loop {
            let settings = self.value()?;
            // From the end, as each was put there.
            let Some((event, group, hook)) = our_hooks(&settings).pop() else { return Ok(()) };
            match hook {
                None => self.remove(&[Step::Name("hooks"), Step::Name(event)], group)?,
                Some(hook) => {
                    let path = [Step::Name("hooks"), Step::Name(event), Step::Index(group), Step::Name("hooks")];
                    self.remove(&path, hook)?;
                }
            }
        }
    }

    /// The file that the edits leave.
    fn after(self, before: &str) -> After {
        if self.emptied && self.mark.is_empty() {
            match self.text.trim_start_matches(['{', '\n', '}']) {
                "" if self.text.ends_with("}\n") => return After::Gone { dir: true },
                "" if self.text.ends_with("}\n\n") => return After::Gone { dir: false },
                _ => {}
            }
        }
        let text = format!("{}{}", self.mark, self.text);
        if text == before { After::Same } else { After::Text(text) }
    }
}

/// How a file that we made before ended: its successor does, too.
fn ending_of(before: &str) -> &'static str {
    block::ending(before.ends_with("\n\n"))
}

/// A settings file that is made for this alone.
fn made(value: &Value, ending: &str) -> After {
    After::Text(format!("{}{ending}", document(value)))
}

/// Puts Claude Code's hooks in, in place of what we put in before.
pub(super) fn add_hooks(
    path: &Path,
    original: &Original,
    hooks: &[(&'static str, Value)],
    ending: &str,
) -> Result<After, Error> {
    let anew = |ending: &str| {
        let lists: serde_json::Map<_, _> =
            hooks.iter().map(|(event, group)| ((*event).to_owned(), json!([group]))).collect();
        made(&json!({ "hooks": lists }), ending)
    };
    let Some(before) = &original.text else { return Ok(anew(ending)) };
    let mut file = Editing::new(path, Dialect::Plain, before);
    let settings = file.value()?;
    let ours = our_hooks(&settings);
    let same = ours.len() == hooks.len()
        && hooks.iter().all(|(event, wanted)| {
            let stands = |(at, group, hook): &(&str, usize, Option<usize>)| {
                at == event && hook.is_none() && settings["hooks"][*at][*group] == *wanted
            };
            ours.iter().any(stands)
        });
    if same {
        return Ok(After::Same);
    }
    drop(settings);
    file.remove_hooks()?;
    if file.emptied {
        return Ok(anew(ending_of(before)));
    }
    for (event, group) in hooks {
        file.add(&["hooks", event], Item::Element(group))?;
    }
    Ok(file.after(before))
}

/// Takes Claude Code's hooks out.
pub(super) fn remove_hooks(path: &Path, original: &Original) -> Result<After, Error> {
    let Some(before) = &original.text else { return Ok(After::Same) };
    let mut file = Editing::new(path, Dialect::Plain, before);
    file.remove_hooks()?;
    Ok(file.after(before))
}

/// Whose the server's entry is.
#[derive(PartialEq, Eq)]
pub(super) enum Whose {
    Nobodys,
    Ours,
    Foreign,
}

pub(super) fn server(settings: &Value) -> Whose {
    let entry = &settings["mcpServers"][SERVER];
    let ours = is_pd(entry["command"].as_str().unwrap_or_default()) && entry["args"] == json!(["mcp"]);
    match (entry, ours) {
        (Value::Null, _) => Whose::Nobodys,
        (_, true) => Whose::Ours,
        _ => Whose::Foreign,
    }
}

/// Puts the MCP server in. `None`: somebody else's entry has its name.
pub(super) fn add_server(
    path: &Path,
    original: &Original,
    dialect: Dialect,
    command: &str,
    ending: &str,
) -> Result<Option<After>, Error> {
    let entry = json!({"command": command, "args": ["mcp"]});
    let Some(before) = &original.text else {
        return Ok(Some(made(&json!({"mcpServers": { SERVER: entry }}), ending)));
    };
    let mut file = Editing::new(path, dialect, before);
    let settings = file.value()?;
    match server(&settings) {
        Whose::Foreign => return Ok(None),
        Whose::Ours if settings["mcpServers"][SERVER] == entry => return Ok(Some(After::Same)),
        Whose::Ours => {
            let place = place(&settings);
            file.remove(&[Step::Name("mcpServers")], place)?;
            if file.emptied {
                return Ok(Some(made(&json!({"mcpServers": { SERVER: entry }}), ending_of(before))));
            }
        }
        Whose::Nobodys => {}
    }
    file.add(&["mcpServers"], Item::Member(SERVER, &entry))?;
    Ok(Some(file.after(before)))
}

/// Takes the MCP server out, if it is ours.
pub(super) fn remove_server(path: &Path, original: &Original, dialect: Dialect) -> Result<After, Error> {
    let Some(before) = &original.text else { return Ok(After::Same) };
    let mut file = Editing::new(path, dialect, before);
    let settings = file.value()?;
    if server(&settings) == Whose::Ours {
        file.remove(&[Step::Name("mcpServers")], place(&settings))?;
    }
    Ok(file.after(before))
}

fn place(settings: &Value) -> usize {
    settings["mcpServers"].as_object().and_then(|all| all.keys().position(|name| name == SERVER)).unwrap_or_default()
}

/// What a settings file says, for looking only.
pub(super) fn look(text: &str, dialect: Dialect) -> Option<Value> {
    value(text.trim_start_matches('\u{feff}'), dialect).ok()
}
