//! Codex's `config.toml`: one table at its end, found again by its name.

use std::ops::Range;
use std::path::Path;

use portdaddy_core::Error;
use toml_edit::{Document, Item};

use super::json::{Trouble, error};

/// What the file says of the server.
pub(super) enum Entry {
    Missing,
    /// Ours, at these bytes; `command` and `args` as they are there.
    Ours {
        at: Range<usize>,
        command: String,
    },
    /// Somebody's who took the name.
    Foreign,
}

const KIND: &str = "TOML with a table mcp_servers";

/// Looks for the server's table.
pub(super) fn entry(path: &Path, text: &str, name: &str) -> Result<Entry, Error> {
    let document = Document::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        error(path, text, KIND, &Trouble { at, what: e.message().replace('\n', ", ") })
    })?;
    let Some(servers) = document.get("mcp_servers") else { return Ok(Entry::Missing) };
    let Item::Table(servers) = servers else {
        let at = servers.span().map_or(0, |span| span.start);
        let what = "mcp_servers is no table of its own lines, which nothing can be added to".to_owned();
        return Err(error(path, text, KIND, &Trouble { at, what }));
    };
    let Some(server) = servers.get(name) else { return Ok(Entry::Missing) };
    let Some(table) = server.as_table() else { return Ok(Entry::Foreign) };
    let command = table.get("command").and_then(Item::as_str);
    let args: Option<Vec<_>> =
        table.get("args").and_then(Item::as_array).map(|all| all.iter().filter_map(|arg| arg.as_str()).collect());
    match (command, args.as_deref(), table.span()) {
        (Some(command), Some(["mcp"]), Some(head)) if super::is_pd(command) => {
            let end = table.iter().filter_map(|(_, item)| item.span()).map(|span| span.end).max().unwrap_or(head.end);
            let end = text[end..].find('\n').map_or(text.len(), |n| end + n);
            let end = if text[..end].ends_with('\r') { end - 1 } else { end };
            Ok(Entry::Ours { at: head.start..end, command: command.to_owned() })
        }
        _ => Ok(Entry::Foreign),
    }
}

/// The table's lines.
pub(super) fn block(name: &str, command: &str) -> String {
    let command = toml_edit::Value::from(command);
    format!("[mcp_servers.{name}]\ncommand = {command}\nargs = [\"mcp\"]")
}
