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
    let fenced = fenced(text);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        if fenced.iter().any(|fenced| fenced.contains(&at)) {
            // An example.
        } else if let Some(names) = bare.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) {
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

/// Where a text has code in fences, from their first line to their last. One that never closes is none.
fn fenced(text: &str) -> Vec<Range<usize>> {
    let (mut all, mut open, mut at) = (Vec::new(), None, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let indented = bare.trim_start_matches(' ');
        let marks = |mark: char| indented.len() - indented.trim_start_matches(mark).len();
        let fits = bare.len() - indented.len() < 4;
        match open {
            Some((from, mark, length)) if fits && marks(mark) >= length && marks(mark) == indented.len() => {
                all.push(from..at + line.len());
                open = None;
            }
            None if fits => {
                let mark = ['`', '~'].into_iter().find(|&mark| marks(mark) >= 3);
                // After backticks on the same line they are code within the line.
                let mark = mark.filter(|mark| *mark == '~' || !indented[marks('`')..].contains('`'));
                open = mark.map(|mark| (at, mark, marks(mark)));
            }
            _ => {}
        }
        at += line.len();
    }
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_in_a_fence_is_not_the_block() {
        let (path, block) = (Path::new("AGENTS.md"), lines(&["codex".to_owned()], WORDS));
        for (before, after) in [("```md\n", "\n```\n"), ("  ~~~~\n~~~\n", "\n~~~~~ \n"), ("```\n```js\n", "\n```\n")] {
            let example = format!("{before}{block}{after}");
            assert!(find(path, &example).unwrap().is_none(), "{example}");
            let whole = format!("{example}{block}\n");
            assert_eq!(find(path, &whole).unwrap().unwrap().at, example.len()..example.len() + block.len());
        }
        // No end of a block is missed, and no block behind what is no fence.
        let torn = format!("```\n{BEGIN}codex -->\n```\n");
        assert!(find(path, &torn).unwrap().is_none());
        for before in ["```\n", "```a```\n", "    ```\n", "``\n"] {
            assert!(find(path, &format!("{before}{block}\n")).unwrap().is_some(), "{before}");
        }
    }
}
