//! Which claims could overlap with a pattern, found through the indexes, and whether they do, decided exactly.
//!
//! Every claim is stored with its literal beginning, `prefix` (`src/api/` for `src/api/*`, `src/a.ts` for a plain path),
//! and with that beginning as an absolute path, `place`. Two patterns can only share a path if the segments of one's
//! beginning begin the other's. So the candidates are those at each directory above, those at the very place, and those
//! in the range below it. The first column finds the claims of other working trees and clones of a repository; the second
//! those that overlap on disk: nested working trees, submodules, and what lies outside git.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::{Connection, Params};

use super::{CLAIMS, ClaimOverlap, Conflict, FileClaim, Ground, Plan, Planned, Stored};
use crate::agents::{AgentState, state_of};
use crate::db::Now;
use crate::error::Result;
use crate::glob::{FilePattern, LineRange, existing_witness};
use crate::life::Liveness;

/// Overlaps for which the disk is asked for a path that exists.
const MOST_LOOKED_FOR: usize = 20;

/// Claims that one look at all of them reads, the newest ones; pairs of them that it meets, and of those compares, and overlaps that it reports.
const MOST_NEWEST: i64 = 5_000;
const MOST_LOOKED_AT: usize = 200_000;
const MOST_COMPARED: usize = 20_000;
const MOST_STANDING: usize = 1_000;

/// Claims of one agent that are compared with what came later.
const MOST_HELD: i64 = 10_000;

const OF_AGENT: &str = "c.session IN (SELECT id FROM sessions WHERE agent = ?1 AND status = 'active') LIMIT ?2";
const AT_PREFIX: &str = "c.repository = ?1 AND c.prefix = ?2";
const BELOW_PREFIX: &str = "c.repository = ?1 AND c.prefix >= ?2 AND c.prefix < ?3";
const IN_REPOSITORY: &str = "c.repository = ?1";
// What lies in the caller's own tree is found by its prefix already.
const AT_PLACE: &str = "c.place = ?1 AND NOT (c.repository = ?2 AND c.root = ?3)";
const BELOW_PLACE: &str = "c.place >= ?1 AND c.place < ?2 AND NOT (c.repository = ?3 AND c.root = ?4)";

/// A pattern, relative to its root and from the root of the disk.
pub(super) struct Shape {
    pub(super) pattern: FilePattern,
    absolute: FilePattern,
    /// Both are a file's path.
    pub(super) is_file: bool,
}

impl Shape {
    pub(super) fn new(root: &str, text: &str) -> Result<Shape> {
        let pattern = FilePattern::parse(text)?;
        let absolute = absolute(root, &pattern)?;
        Ok(Shape { pattern, absolute, is_file: false })
    }

    pub(super) fn into_file(self) -> Shape {
        Shape { pattern: self.pattern.into_file(), absolute: self.absolute.into_file(), is_file: true }
    }
}

fn absolute(root: &str, pattern: &FilePattern) -> Result<FilePattern> {
    let base = FilePattern::escape(slashes(root).trim_matches('/'));
    match (base.as_str(), pattern.as_str()) {
        ("", _) => Ok(pattern.clone()),
        (base, ".") => FilePattern::parse(base),
        (base, text) => FilePattern::parse(&format!("{base}/{text}")),
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

/// Which stored claims are known not to meet which patterns of a plan. Comparing thousands of patterns takes time that no
/// other writer should wait for, so it is done on a snapshot, and the transaction compares what came since. Claims are
/// known by what they say: a number may be given again.
#[derive(Default)]
pub(crate) struct Apart {
    compared: HashMap<String, usize>,
    /// Number of the pattern, number of the claim.
    meet: HashSet<(usize, usize)>,
}

impl Apart {
    /// Compares a plan with everything that lies near.
    pub(crate) fn of(conn: &Connection, plan: &Plan) -> Result<Apart> {
        let mut apart = Apart::default();
        let mut nearby = Nearby::new(conn);
        for (number, item) in plan.items.iter().enumerate() {
            for index in nearby.of(&plan.ground, item)? {
                let theirs = nearby.get(index);
                if item.meets(&plan.ground, theirs, FilePattern::intersect).is_some() {
                    let next = apart.compared.len();
                    let claim = *apart.compared.entry(theirs.key.clone()).or_insert(next);
                    apart.meet.insert((number, claim));
                }
            }
        }
        for theirs in nearby.found {
            let next = apart.compared.len();
            apart.compared.entry(theirs.key).or_insert(next);
        }
        Ok(apart)
    }

    pub(super) fn knows(&self, number: usize, theirs: &Candidate) -> bool {
        self.compared.get(&theirs.key).is_some_and(|claim| !self.meet.contains(&(number, *claim)))
    }
}

/// A claim that lies near. Its patterns are parsed when they are first compared: most are known to lie apart by then.
pub(super) struct Candidate {
    stored: Stored,
    /// All that decides what it meets.
    key: String,
    pattern: OnceCell<Option<FilePattern>>,
    absolute: OnceCell<Option<FilePattern>>,
}

impl Candidate {
    fn new(stored: Stored) -> Candidate {
        let FileClaim { root, pattern, lines, .. } = &stored.claim;
        let key = format!("{}\0{root}\0{pattern}\0{lines:?}\0{}", stored.repository, stored.is_file);
        Candidate { stored, key, pattern: OnceCell::new(), absolute: OnceCell::new() }
    }

    /// None for what this version can't read: it can't be compared, and a newer one will.
    fn pattern(&self) -> Option<&FilePattern> {
        let parse = || FilePattern::parse(&self.claim.pattern).ok().map(|pattern| self.as_meant(pattern));
        self.pattern.get_or_init(parse).as_ref()
    }

    fn absolute(&self) -> Option<&FilePattern> {
        let parse = || absolute(&self.claim.root, self.pattern()?).ok().map(|pattern| self.as_meant(pattern));
        self.absolute.get_or_init(parse).as_ref()
    }

    /// Where two stored claims meet.
    fn meets(&self, theirs: &Candidate) -> Option<Meeting> {
        meeting(
            (self.claim.lines, theirs.claim.lines),
            (&self.repository, &self.claim.root),
            theirs,
            || self.pattern()?.intersect(theirs.pattern()?),
            || self.absolute()?.intersect(theirs.absolute()?),
        )
    }

    fn as_meant(&self, pattern: FilePattern) -> FilePattern {
        if self.stored.is_file { pattern.into_file() } else { pattern }
    }
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
    pub(super) fn of(&mut self, ground: &Ground, item: &Planned) -> Result<BTreeSet<usize>> {
        let (repository, prefix, place) = (&ground.repository, &item.prefix, &item.place);
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
        // Outside git nothing is found by its prefix.
        let own = if repository.is_empty() { "" } else { &ground.root };
        let (above, below) = keys(place);
        for key in above.iter().filter(|key| !key.is_empty()) {
            all.extend(self.ask(AT_PLACE, key, (key, repository, own))?.iter());
        }
        let (from, to) = below.unwrap_or_else(|| ("/".to_owned(), "0".to_owned()));
        all.extend(self.ask(BELOW_PLACE, &from, (&from, &to, repository, own))?.iter());
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
                    self.found.push(Candidate::new(Stored::read(row)?));
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
        meeting(
            (self.lines, theirs.claim.lines),
            (&ground.repository, &ground.root),
            theirs,
            || touch(&self.shape.pattern, theirs.pattern()?),
            || touch(&self.shape.absolute, theirs.absolute()?),
        )
    }

    pub(super) fn overlap(&self, ground: &Ground, theirs: &Candidate, meeting: Meeting, state: AgentState) -> Overlap {
        let same_worktree = meeting.same_worktree();
        let on_disk = matches!(meeting, Meeting::Disk(_));
        let (mine, other) =
            if on_disk { (&self.shape.absolute, theirs.absolute()) } else { (&self.shape.pattern, theirs.pattern()) };
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
            mine: mine.clone(),
            theirs: other.unwrap_or(mine).clone(),
            root: if on_disk { PathBuf::from("/") } else { ground.path.clone() },
            within,
        }
    }
}

/// Where a pattern of a tree and a stored claim meet, by whichever of their forms can be compared.
fn meeting(
    lines: (Option<LineRange>, Option<LineRange>),
    (repository, root): (&str, &str),
    theirs: &Candidate,
    relative: impl Fn() -> Option<String>,
    on_disk: impl Fn() -> Option<String>,
) -> Option<Meeting> {
    if let (Some(mine), Some(other)) = lines
        && !mine.meets(other)
    {
        return None;
    }
    if theirs.claim.root == root {
        return relative().map(Meeting::Here);
    }
    // A working tree inside another of the same repository is another tree first: nobody edits through the outer.
    if !repository.is_empty()
        && theirs.repository == repository
        && let Some(path) = relative()
    {
        return Some(Meeting::OtherTree(path));
    }
    on_disk().map(Meeting::Disk)
}

/// What an agent claims, to see whether others' claims still overlap with it.
pub(crate) struct Held(Vec<Candidate>);

impl Held {
    pub(crate) fn of(conn: &Connection, agent: &str) -> Result<Held> {
        let mut statement = conn.prepare_cached(&query(OF_AGENT))?;
        let rows = statement.query_map((agent, MOST_HELD), |row| Stored::read(row).map(Candidate::new))?;
        Ok(Held(rows.collect::<Result<_, _>>()?))
    }

    /// Whether a session's claim stands and meets one of these. Of very many not all are known, so that it may.
    pub(crate) fn meets(&self, conn: &Connection, (session, root, pattern): (&str, &str, &str)) -> Result<bool> {
        let mut statement = conn.prepare_cached(&query("c.session = ?1 AND c.root = ?2 AND c.pattern = ?3"))?;
        let mut rows = statement.query((session, root, pattern))?;
        while let Some(row) = rows.next()? {
            let theirs = Candidate::new(Stored::read(row)?);
            if self.0.len() as i64 >= MOST_HELD || self.0.iter().any(|own| theirs.meets(own).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What claims there are, for a look at all of them.
pub(crate) struct Standing {
    /// The newest, oldest first.
    pub(crate) claims: Vec<FileClaim>,
    /// How many there are.
    pub(crate) count: u64,
    /// Which overlap with another session's, wherever that is.
    pub(crate) overlaps: Vec<ClaimOverlap>,
}

/// The newest claims of a scope, or of all, and which overlap. Only the newest of all are compared, and of those at most so
/// many pairs, the newest claims first.
pub(crate) fn standing(
    conn: &Connection,
    scope: Option<i64>,
    limit: usize,
    now: Now,
    liveness: &dyn Liveness,
) -> Result<Standing> {
    let count: i64 = conn
        .prepare_cached("SELECT count(*) FROM claims WHERE ?1 IS NULL OR scope = ?1")?
        .query_row([scope], |r| r.get(0))?;
    let mut claims: Vec<FileClaim> = conn
        .prepare_cached(&query("?1 IS NULL OR c.scope = ?1 ORDER BY c.id DESC LIMIT ?2"))?
        .query_map((scope, limit as i64), |row| Ok(Stored::read(row)?.claim))?
        .collect::<Result<_, _>>()?;
    claims.reverse();
    let mut statement = conn.prepare_cached(&format!(
        "SELECT q.*, k.prefix, k.place FROM
         (SELECT id, prefix, place FROM claims ORDER BY id DESC LIMIT ?1) k CROSS JOIN ({CLAIMS}) q ON q.id = k.id ORDER BY q.id"
    ))?;
    let mut all: Vec<(Candidate, String, String)> = Vec::new();
    let mut rows = statement.query([MOST_NEWEST])?;
    while let Some(row) = rows.next()? {
        all.push((Candidate::new(Stored::read(row)?), row.get(15)?, row.get(16)?));
    }
    // Who begins where: by the directory or path with which a pattern begins, and by session, whose own claims never count.
    type Beginnings<'a, K> = HashMap<K, HashMap<&'a str, Vec<usize>>>;
    let mut by_prefix: Beginnings<'_, (&str, &str)> = HashMap::new();
    let mut by_place: Beginnings<'_, &str> = HashMap::new();
    for (index, (claim, prefix, place)) in all.iter().enumerate() {
        let session = claim.claim.session.as_str();
        if !claim.repository.is_empty() {
            let key = (claim.repository.as_str(), whole(prefix));
            by_prefix.entry(key).or_default().entry(session).or_default().push(index);
        }
        by_place.entry(whole(place)).or_default().entry(session).or_default().push(index);
    }
    let (mut looks, mut left, mut met) = (MOST_LOOKED_AT, MOST_COMPARED, BTreeSet::new());
    'all: for (index, (claim, prefix, place)) in all.iter().enumerate().rev() {
        let session = claim.claim.session.as_str();
        let near = at_and_above(whole(prefix)).filter_map(|p| by_prefix.get(&(claim.repository.as_str(), p)));
        let near = near.chain(at_and_above(whole(place)).filter_map(|p| by_place.get(p)));
        for other in near.flatten().filter(|(theirs, _)| **theirs != session).flat_map(|(_, claims)| claims) {
            if looks == 0 || left == 0 || met.len() == MOST_STANDING {
                break 'all;
            }
            looks -= 1;
            let (older, newer) = ((*other).min(index), (*other).max(index));
            let theirs = &all[*other].0;
            let wanted = scope.is_none_or(|s| s == claim.scope || s == theirs.scope);
            if !wanted || met.contains(&(older, newer)) {
                continue;
            }
            let (first, second) = (&all[older].0, &all[newer].0);
            left -= 1;
            if second.meets(first).is_some() {
                met.insert((older, newer));
            }
        }
    }
    let mut states: HashMap<&str, AgentState> = HashMap::new();
    let mut state = |agent| -> Result<AgentState> {
        if let Some(state) = states.get(agent) {
            return Ok(*state);
        }
        let state = state_of(conn, agent, now, liveness)?;
        states.insert(agent, state);
        Ok(state)
    };
    let mut pairs: Vec<_> = met.into_iter().collect();
    pairs.sort_unstable_by_key(|(older, newer)| (*newer, *older));
    let mut overlaps = Vec::new();
    for (older, newer) in pairs {
        let (first, second) = (&all[older].0, &all[newer].0);
        let Some(meeting) = second.meets(first) else { continue };
        let same_worktree = meeting.same_worktree();
        let witness = match meeting {
            Meeting::Here(path) | Meeting::OtherTree(path) => path,
            Meeting::Disk(path) => shown(path, Some(&stored_path(&second.claim.root, ""))),
        };
        overlaps.push(ClaimOverlap {
            first_state: state(&first.claim.agent)?,
            second_state: state(&second.claim.agent)?,
            first: first.claim.clone(),
            second: second.claim.clone(),
            witness,
            same_worktree,
        });
    }
    Ok(Standing { claims, count: count.cast_unsigned(), overlaps })
}

/// A literal beginning as a path.
fn whole(beginning: &str) -> &str {
    beginning.strip_suffix('/').unwrap_or(beginning)
}

/// A path, the directories above it, and the root.
fn at_and_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rfind('/') {
        Some(at) => Some(&path[..at]),
        None => Some("").filter(|_| !path.is_empty()),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Random, SystemRandom};

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../db/migrations/0001_initial.sql")).unwrap();
        conn.execute_batch(
            "INSERT INTO scopes VALUES (1, '', 'global');
             INSERT INTO sessions (id, scope, agent, purpose, status, started_ms, seq)
             VALUES ('session-a', 1, 'a', 'p', 'active', 0, 1);",
        )
        .unwrap();
        conn
    }

    const TREES: [(&str, &str); 5] = [
        ("repo:one", "/home/u/one"),
        ("repo:one", "/home/u/one/trees/x"),
        ("repo:one", "/srv/one"),
        ("repo:two", "/home/u/one/src/lib"),
        ("", "/"),
    ];

    fn planned(tree: (&str, &str), text: &str) -> (Ground, Planned) {
        let (repository, root) = tree;
        let (path, root) = (PathBuf::from(root), root.to_owned());
        let ground = Ground { repository: repository.to_owned(), cwd: path.clone(), path, root };
        let planned = ground.planned(text, None).unwrap();
        (ground, planned)
    }

    fn store(conn: &Connection, ground: &Ground, item: &Planned) {
        let pattern = item.shape.pattern.as_str();
        conn.prepare_cached(
            "INSERT INTO claims (scope, session, repository, root, pattern, prefix, place, since_ms)
             VALUES (1, 'session-a', ?1, ?2, ?3, ?4, ?5, 0)",
        )
        .unwrap()
        .execute((&ground.repository, &ground.root, pattern, &item.prefix, &item.place))
        .unwrap();
    }

    /// Patterns of few names, so that many meet; also names that sort close to the separator.
    fn random_text(outside: bool) -> String {
        let mut bytes = [0u8; 8];
        SystemRandom.fill(&mut bytes);
        let pick = |b: u8, from: &[&str]| from[usize::from(b) % from.len()].to_owned();
        let names =
            ["src", "lib", "src.d", "src-x", "src0", "a.ts", "trees", "x", "*", "**", "s*", "{src,lib}", "?", "[ls]*"];
        let mut parts: Vec<String> = (0..usize::from(bytes[0] % 5)).map(|i| pick(bytes[i + 1], &names)).collect();
        if outside && bytes[6] % 3 > 0 {
            parts.insert(0, pick(bytes[7], &["home/u", "home", "srv/one", "home/u/one", "home/*/one", "**/one"]));
        }
        if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
    }

    #[test]
    fn the_indexes_find_what_a_full_scan_finds() {
        let conn = database();
        for i in 0..400 {
            let tree = TREES[i % TREES.len()];
            let (ground, item) = planned(tree, &random_text(tree.1 == "/"));
            store(&conn, &ground, &item);
        }
        let mut every = Nearby::new(&conn);
        every.ask("true", "", []).unwrap();
        assert_eq!(every.found.len(), 400);
        let (mut met, mut spared) = (0, 0);
        for i in 0..300 {
            let tree = TREES[i % TREES.len()];
            let text = random_text(tree.1 == "/");
            let (ground, item) = planned(tree, &text);
            let meets = |c: &Candidate| item.meets(&ground, c, FilePattern::intersect).is_some();
            let by_scan: BTreeSet<i64> = every.found.iter().filter(|c| meets(c)).map(|c| c.id).collect();
            let mut nearby = Nearby::new(&conn);
            let near = nearby.of(&ground, &item).unwrap();
            spared += 400 - near.len();
            let by_index: BTreeSet<i64> =
                near.iter().map(|i| nearby.get(*i)).filter(|c| meets(c)).map(|c| c.id).collect();
            assert_eq!(by_index, by_scan, "{text} in {}", ground.root);
            met += by_scan.len();
            let plan = Plan { ground, items: vec![item] };
            let apart = Apart::of(&conn, &plan).unwrap();
            for c in near.iter().map(|i| nearby.get(*i)) {
                assert_eq!(apart.knows(0, c), !by_scan.contains(&c.id), "{text} in {}", plan.ground.root);
            }
        }
        assert!(met > 1_000, "the patterns are such that many meet: {met}");
        assert!(spared > 10_000, "and that many need no look: {spared}");
    }

    #[test]
    fn standing_claims_meet_where_comparing_each_with_each_says_so() {
        let conn = database();
        conn.execute_batch(
            "INSERT INTO boots VALUES (1, 'boot', 0);
             INSERT INTO sessions (id, scope, agent, purpose, status, started_ms, seq)
             VALUES ('session-b', 1, 'b', 'p', 'active', 0, 2);",
        )
        .unwrap();
        for i in 0..120 {
            let tree = TREES[i % TREES.len()];
            let (ground, item) = planned(tree, &random_text(tree.1 == "/"));
            store(&conn, &ground, &item);
        }
        conn.execute_batch("UPDATE claims SET session = 'session-b' WHERE id % 3 = 0").unwrap();
        let mut every = Nearby::new(&conn);
        every.ask("true", "", []).unwrap();
        let name = |c: &FileClaim| format!("{} {} {}", c.session, c.root, c.pattern);
        let mut by_scan: Vec<String> = Vec::new();
        for (i, newer) in every.found.iter().enumerate() {
            for older in every.found[..i].iter().filter(|o| o.claim.session != newer.claim.session) {
                if newer.meets(older).is_some() {
                    by_scan.push(format!("{} / {}", name(&older.claim), name(&newer.claim)));
                }
            }
        }
        let now = Now { wall_ms: 0, awake_ms: 0, boot: 1 };
        let liveness = crate::life::SystemLiveness::new("/nonexistent");
        let Standing { claims, count, overlaps } = standing(&conn, None, 50, now, &liveness).unwrap();
        let by_look: Vec<String> =
            overlaps.iter().map(|o| format!("{} / {}", name(&o.first), name(&o.second))).collect();
        assert_eq!((claims.len(), count, by_look.len()), (50, 120, by_scan.len().min(MOST_STANDING)));
        assert!(by_look.iter().all(|pair| by_scan.contains(pair)));
        assert!(by_scan.len() > 100, "many meet: {}", by_scan.len());
    }

    #[test]
    fn keys_lie_at_above_and_below() {
        assert_eq!(keys(""), (vec![], None));
        assert_eq!(keys("/"), (vec![], None));
        let range = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
        let owned = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<_>>();
        assert_eq!(keys("src"), (owned(&["src", ""]), range("src/", "src0")));
        assert_eq!(keys("src/api/"), (owned(&["src/api", "src/", "src", ""]), range("src/api/", "src/api0")));
        assert_eq!(keys("/a/b"), (owned(&["/a/b", "/a/", "/a", "/"]), range("/a/b/", "/a/b0")));
    }

    #[test]
    fn every_look_uses_its_index() {
        let conn = database();
        for (condition, index) in [
            (AT_PREFIX, "claims_by_prefix (repository=? AND prefix=?)"),
            (BELOW_PREFIX, "claims_by_prefix (repository=? AND prefix>? AND prefix<?)"),
            (IN_REPOSITORY, "claims_by_prefix (repository=?)"),
            (AT_PLACE, "claims_by_place (place=?)"),
            (BELOW_PLACE, "claims_by_place (place>? AND place<?)"),
            ("c.session = ?1 ORDER BY c.id", "claims_by_session (session=?)"),
            (OF_AGENT, "claims_by_session (session=?)"),
            (OF_AGENT, "sessions_by_agent (agent=? AND status=?)"),
        ] {
            let plan = crate::db::plan_of(&conn, &query(condition));
            assert!(plan.contains(index), "{condition}: {plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{condition}: {plan}");
        }
    }
}
