//! Which claims could overlap with a pattern, found through the indexes, and whether they do, decided exactly.
//!
//! Every claim is stored with its literal beginning, `prefix` (`src/api/` for `src/api/*`, `src/a.ts` for a plain path),
//! and with that beginning as an absolute path, `place`. Two patterns can only share a path if the segments of one's
//! beginning begin the other's. So the candidates are those at each directory above, those at the very place, and those
//! in the range below it. The first column finds the claims of other working trees and clones of a repository; the second
//! those that overlap on disk: nested working trees, submodules, and what lies outside git.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::{Connection, Params};

use super::{CLAIMS, Conflict, Ground, Planned, Stored};
use crate::agents::AgentState;
use crate::error::Result;
use crate::glob::{FilePattern, existing_witness};

/// Overlaps for which the disk is asked for a path that exists.
const MOST_LOOKED_FOR: usize = 20;

const AT_PREFIX: &str = "c.repository = ?1 AND c.prefix = ?2";
const BELOW_PREFIX: &str = "c.repository = ?1 AND c.prefix >= ?2 AND c.prefix < ?3";
const IN_REPOSITORY: &str = "c.repository = ?1";
const AT_PLACE: &str = "c.place = ?1";
const BELOW_PLACE: &str = "c.place >= ?1 AND c.place < ?2";

/// A pattern, relative to its root and from the root of the disk.
pub(super) struct Shape {
    pub(super) pattern: FilePattern,
    absolute: FilePattern,
}

impl Shape {
    pub(super) fn new(root: &str, text: &str) -> Result<Shape> {
        let pattern = FilePattern::parse(text)?;
        let base = FilePattern::escape(slashes(root).trim_matches('/'));
        let absolute = match (base.as_str(), pattern.as_str()) {
            ("", text) => FilePattern::parse(text)?,
            (base, ".") => FilePattern::parse(base)?,
            (base, text) => FilePattern::parse(&format!("{base}/{text}"))?,
        };
        Ok(Shape { pattern, absolute })
    }
}

fn slashes(path: &str) -> String {
    if cfg!(windows) { path.replace('\\', "/") } else { path.to_owned() }
}

/// The absolute path of a literal beginning, as it is stored: with `/` in front on every system.
pub(super) fn stored_path(root: &str, prefix: &str) -> String {
    match slashes(root).trim_matches('/') {
        "" => format!("/{prefix}"),
        base => format!("/{base}/{prefix}"),
    }
}

/// Where two patterns meet, with a path that both match.
pub(super) enum Meeting {
    /// In one working tree. The path is relative to it.
    Here(String),
    /// In another working tree or clone. The path is relative to both.
    OtherTree(String),
    /// On disk only. The path is relative to the root of the disk.
    Disk(String),
}

impl Meeting {
    pub(super) fn same_worktree(&self) -> bool {
        !matches!(self, Meeting::OtherTree(_))
    }
}

/// A claim that lies near.
pub(super) struct Candidate {
    stored: Stored,
    /// None for what this version can't read: it can't be compared, and a newer one will.
    shape: Option<Shape>,
}

impl std::ops::Deref for Candidate {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.stored
    }
}

/// The candidates of one call, each read once.
pub(super) struct Nearby<'c> {
    conn: &'c Connection,
    found: Vec<Candidate>,
    by_id: HashMap<i64, usize>,
    asked: HashMap<(&'static str, String), Rc<[usize]>>,
}

impl<'c> Nearby<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Nearby { conn, found: Vec::new(), by_id: HashMap::new(), asked: HashMap::new() }
    }

    pub(super) fn get(&self, index: usize) -> &Candidate {
        &self.found[index]
    }

    /// Every stored claim whose literal beginning lies above, at or below that of a pattern.
    pub(super) fn of(&mut self, repository: &str, prefix: &str, place: &str) -> Result<BTreeSet<usize>> {
        let mut all = BTreeSet::new();
        // Outside git the repository is the disk, which `place` covers.
        if !repository.is_empty() {
            let (above, below) = keys(prefix);
            for key in above {
                all.extend(self.ask(AT_PREFIX, &key, (repository, &key))?.iter());
            }
            let found = match &below {
                Some((from, to)) => self.ask(BELOW_PREFIX, from, (repository, from, to))?,
                None => self.ask(IN_REPOSITORY, "", [repository])?,
            };
            all.extend(found.iter());
        }
        let (above, below) = keys(place);
        for key in above.iter().filter(|key| !key.is_empty()) {
            all.extend(self.ask(AT_PLACE, key, [key])?.iter());
        }
        let (from, to) = below.unwrap_or_else(|| ("/".to_owned(), "0".to_owned()));
        all.extend(self.ask(BELOW_PLACE, &from, [&from, &to])?.iter());
        Ok(all)
    }

    fn ask(&mut self, condition: &'static str, key: &str, params: impl Params) -> Result<Rc<[usize]>> {
        if let Some(known) = self.asked.get(&(condition, key.to_owned())) {
            return Ok(known.clone());
        }
        let mut statement = self.conn.prepare_cached(&query(condition))?;
        let mut rows = statement.query(params)?;
        let mut indices = Vec::new();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let index = match self.by_id.get(&id) {
                Some(index) => *index,
                None => {
                    let stored = Stored::read(row)?;
                    let shape = Shape::new(&stored.claim.root, &stored.claim.pattern).ok();
                    self.found.push(Candidate { stored, shape });
                    self.by_id.insert(id, self.found.len() - 1);
                    self.found.len() - 1
                }
            };
            indices.push(index);
        }
        let indices: Rc<[usize]> = indices.into();
        self.asked.insert((condition, key.to_owned()), indices.clone());
        Ok(indices)
    }
}

fn query(condition: &str) -> String {
    format!("{CLAIMS} WHERE {condition}")
}

/// Which stored beginnings are comparable with `text`: those equal to one of the first, and those in the range. No range
/// is everything. A beginning ends in `/` where wildcards follow, and in none where it is the whole path.
fn keys(text: &str) -> (Vec<String>, Option<(String, String)>) {
    let path = text.strip_suffix('/').unwrap_or(text);
    if path.is_empty() {
        return (Vec::new(), None);
    }
    let mut above = vec![path.to_owned()];
    let mut rest = path;
    while let Some(at) = rest.rfind('/') {
        rest = &rest[..at];
        above.push(format!("{rest}/"));
        if !rest.is_empty() {
            above.push(rest.to_owned());
        }
    }
    if !path.starts_with('/') {
        above.push(String::new());
    }
    // `0` is the character after `/`.
    (above, Some((format!("{path}/"), format!("{path}0"))))
}

/// An overlap, and what is needed to look for a path of it on disk.
pub(crate) struct Overlap {
    pub(crate) conflict: Conflict,
    mine: FilePattern,
    theirs: FilePattern,
    /// What the two patterns are relative to, for a look at the disk.
    root: PathBuf,
    /// The caller's root in the form of stored paths, where `root` is another.
    within: Option<String>,
}

impl Planned {
    /// Whether `touch` finds a path of this and of a stored claim, and where.
    pub(super) fn meets(
        &self,
        ground: &Ground,
        theirs: &Candidate,
        touch: impl Fn(&FilePattern, &FilePattern) -> Option<String>,
    ) -> Option<Meeting> {
        if let (Some(mine), Some(other)) = (self.lines, theirs.claim.lines)
            && !mine.meets(other)
        {
            return None;
        }
        let shape = theirs.shape.as_ref()?;
        let relative = || touch(&self.shape.pattern, &shape.pattern);
        if theirs.claim.root == ground.root {
            return relative().map(Meeting::Here);
        }
        // A working tree inside another of the same repository is another tree first: nobody edits through the outer.
        if !ground.repository.is_empty()
            && theirs.repository == ground.repository
            && let Some(path) = relative()
        {
            return Some(Meeting::OtherTree(path));
        }
        touch(&self.shape.absolute, &shape.absolute).map(Meeting::Disk)
    }

    pub(super) fn overlap(&self, ground: &Ground, theirs: &Candidate, meeting: Meeting, state: AgentState) -> Overlap {
        let same_worktree = meeting.same_worktree();
        let on_disk = matches!(meeting, Meeting::Disk(_));
        let pick = |shape: &Shape| if on_disk { shape.absolute.clone() } else { shape.pattern.clone() };
        let (Meeting::Here(path) | Meeting::OtherTree(path) | Meeting::Disk(path)) = meeting;
        let within = on_disk.then(|| stored_path(&ground.root, ""));
        let conflict = Conflict {
            pattern: self.shape.pattern.as_str().to_owned(),
            lines: self.lines,
            with: theirs.claim.clone(),
            session_purpose: theirs.purpose.clone(),
            witness: shown(path, within.as_deref()),
            exists: false,
            same_worktree,
            holder_state: state,
        };
        Overlap {
            conflict,
            mine: pick(&self.shape),
            theirs: theirs.shape.as_ref().map_or_else(|| self.shape.pattern.clone(), pick),
            root: if on_disk { PathBuf::from("/") } else { ground.path.clone() },
            within,
        }
    }
}

/// A path from the root of the disk as the caller knows it: relative to its own root, if it lies there.
fn shown(path: String, within: Option<&str>) -> String {
    let Some(root) = within else { return path };
    let absolute = format!("/{path}");
    match absolute.strip_prefix(root) {
        Some("") | None => absolute,
        Some(inside) => inside.to_owned(),
    }
}

/// Looks for paths that exist, and gives the overlaps as the caller sees them. Reads the disk: not for transactions.
pub(crate) fn with_witnesses(conflicts: Vec<Overlap>, dead: Vec<Overlap>) -> (Vec<Conflict>, Vec<Conflict>) {
    let mut left = MOST_LOOKED_FOR;
    let mut seen = |overlap: Overlap| {
        let Overlap { mut conflict, mine, theirs, root, within } = overlap;
        if left > 0 {
            left -= 1;
            if let Some(path) = existing_witness(&mine, &theirs, &root) {
                (conflict.witness, conflict.exists) = (shown(path, within.as_deref()), true);
            }
        }
        conflict
    };
    let conflicts = conflicts.into_iter().map(&mut seen).collect();
    (conflicts, dead.into_iter().map(&mut seen).collect())
}
