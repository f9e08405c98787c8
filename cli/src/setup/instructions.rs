//! What agents are told: a few marked lines in `AGENTS.md`, and a line that imports it where a harness reads another file.
//!
//! Several harnesses read one `AGENTS.md`. So the block's first line names those that were set up, and it goes with the last.

use std::ops::Range;
use std::path::Path;

use portdaddy_core::Error;

use super::json::{Trouble, error};
use super::store::Original;
use super::{After, block};

const BEGIN: &str = "<!-- port-daddy: ";
const END: &str = "<!-- /port-daddy -->";

/// What every agent should know.
pub(super) const WORDS: &str = "\
Other agents may work in this repository at the same time; `pd` coordinates them. Where its hooks run, claims, signals and
the end of sessions need nothing from you; heed what it tells you about others.
- `pd begin \"what for\" --files PATH`, `pd note \"what I did\"`, `pd done`: your session; `pd notes`, `pd status`: others'.
- `pd salvage`: unfinished work of agents that died, and `pd salvage claim AGENT` to go on with it.
- `pd git snapshots`, `pd git restore`: work saved before a git command that could have destroyed it.";

struct Found {
    at: Range<usize>,
    harnesses: Vec<String>,
}

fn find(path: &Path, text: &str) -> Result<Option<Found>, Error> {
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        if let Some(names) = bare.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) {
            start = Some((at, names.split(", ").map(str::to_owned).collect()));
        } else if bare == END
            && let Some((from, harnesses)) = start.take()
        {
            return Ok(Some(Found { at: from..at + bare.len(), harnesses }));
        }
        at += line.len();
    }
    match start {
        Some((from, _)) => {
            let what = format!("the block that begins here has no line {END}");
            Err(error(path, text, "a whole block, or none", &Trouble { at: from, what }))
        }
        None => Ok(None),
    }
}

/// The harnesses whose block a text has.
pub(super) fn harnesses(path: &Path, text: &str) -> Vec<String> {
    find(path, text).ok().flatten().map(|found| found.harnesses).unwrap_or_default()
}

/// Puts the block in for one harness, or takes it out.
pub(super) fn edit(
    path: &Path,
    original: &Original,
    harness: &str,
    words: &str,
    wanted: bool,
    ending: &str,
) -> Result<After, Error> {
    let Some(text) = &original.text else {
        let made = || After::Text(format!("{}{ending}", lines(&[harness.to_owned()], words)));
        return Ok(if wanted { made() } else { After::Same });
    };
    let Some(Found { at, mut harnesses }) = find(path, text)? else {
        if !wanted {
            return Ok(After::Same);
        }
        return Ok(After::Text(block::append(text, &lines(&[harness.to_owned()], words))));
    };
    let named = harnesses.iter().any(|name| name == harness);
    match (wanted, named) {
        (true, false) => harnesses.push(harness.to_owned()),
        (false, false) => return Ok(After::Same),
        (false, true) => harnesses.retain(|name| name != harness),
        (true, true) => {}
    }
    if harnesses.is_empty() {
        return Ok(match block::take(text, at) {
            block::Left::Text(text) => After::Text(text),
            block::Left::Nothing { dir } => After::Gone { dir },
        });
    }
    let mut edited = text.clone();
    edited.replace_range(at.clone(), &lines(&harnesses, words).replace('\n', super::newline(&text[at])));
    Ok(if edited == *text { After::Same } else { After::Text(edited) })
}

fn lines(harnesses: &[String], words: &str) -> String {
    format!("{BEGIN}{} -->\n{words}\n{END}", harnesses.join(", "))
}

/// Whether a text imports `AGENTS.md` by words of its own.
pub(super) fn imports(path: &Path, text: &str) -> bool {
    let own = find(path, text).ok().flatten().map_or(0..0, |found| found.at);
    let rest = [&text[..own.start], &text[own.end..]];
    rest.iter().flat_map(|part| part.split_whitespace()).any(|word| {
        let word = word.strip_prefix('@').map(|w| w.trim_start_matches("./").trim_start_matches("../"));
        word.is_some_and(|w| w.trim_end_matches(['.', ',', ')']) == "AGENTS.md" || w == "AGENTS.md")
    })
}
