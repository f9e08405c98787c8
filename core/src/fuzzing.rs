//! What fuzzing needs of the private parsers (`fuzz/`). Only in builds with `--cfg fuzzing`; no part of the library's face.

use std::path::Path;

use crate::error::Result;
use crate::glob::{FilePattern, work};
use crate::scope::Place;
use crate::{guard, identity, origin, pattern, ports};

/// A path that both match, and how many steps that took.
pub fn intersect(a: &FilePattern, b: &FilePattern) -> (Option<String>, u64) {
    work::of(|| a.intersect(b))
}

/// Every rule for a name or a text that a caller gives.
pub fn check_names(text: &str) -> [Result<()>; 6] {
    [
        identity::check_agent_id(text),
        identity::check_name("lock", text, 128),
        identity::check_text("note", text, 4096),
        identity::check_note_type(text),
        pattern::check_channel(text),
        ports::parse_range(text).map(|_| ()),
    ]
}

/// How many commands of git in a line of a shell could destroy something.
pub fn risks(line: &str) -> usize {
    guard::risks(line)
}

/// What a repository's configuration gives for its origin: the key, and the name for people.
pub fn origin(config: &str) -> Option<(String, String)> {
    origin::key_and_name(config)
}

/// What is found out about the repository at a path.
pub fn place(path: &Path) -> Result<(Place, Option<String>)> {
    let place = Place::of(path)?;
    let branch = place.repository.as_ref().and_then(|repository| repository.head().branch);
    Ok((place, branch))
}
