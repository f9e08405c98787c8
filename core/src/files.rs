//! File claims: who works on which files, and where two claims overlap.
//!
//! Claims are advisory: an overlap is reported with facts, and taken anyway where the caller insists. A claim belongs to
//! a session and lives as long as it: ending the session deletes its claims, and a dead agent's block nobody. What is
//! decided in the transaction is only text against text, and of that only what came since a snapshot in which all was
//! compared; the disk is looked at before (what an input means) and after (which path of an overlap exists).

mod overlap;

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::activity;
use crate::agents::{Actor, AgentState, state_of};
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::{Error, ErrorKind, Result};
use crate::glob::{FilePattern, LineRange, relative_to, split_lines};
use crate::scope::Place;
use crate::sessions::{self, Session};

pub(crate) use overlap::{Apart, Held, Overlap, Standing, standing, with_witnesses};
use overlap::{Nearby, Shape, stored_path};

/// Patterns in one call.
const MOST_PATTERNS: usize = 1_000;
/// Overlaps reported in full; after that, one for each pattern says that it isn't free.
const MOST_REPORTED: usize = 1_000;
/// Patterns and overlaps that one row of the activity log names.
const MOST_LOGGED: usize = 100;

/// A session's claim on files.
#[derive(Clone, Debug, Serialize)]
pub struct FileClaim {
    /// The session.
    pub session: String,
    /// The session's agent.
    pub agent: String,
    /// Its name for people, else its id.
    pub agent_name: String,
    /// The pattern, relative to `root`.
    pub pattern: String,
    /// The working tree's root; `/` outside git.
    pub root: String,
    /// The lines; none for the whole of each file.
    pub lines: Option<LineRange>,
    /// Whether it was taken against another's claim.
    pub forced: bool,
    /// When it was made, in milliseconds since 1970.
    pub since_ms: i64,
    /// The scope's name.
    pub scope: String,
}

/// Another session's claim that overlaps with a pattern.
#[derive(Clone, Debug, Serialize)]
pub struct Conflict {
    /// The caller's pattern, relative to its root.
    pub pattern: String,
    /// The caller's lines.
    pub lines: Option<LineRange>,
    /// The other's claim.
    pub with: FileClaim,
    /// What the other's session is for.
    pub session_purpose: String,
    /// A path that both match, relative to the caller's root, or absolute where it lies outside.
    pub witness: String,
    /// Whether `witness` exists on disk.
    pub exists: bool,
    /// False where the other works in another working tree or clone: a merge ahead, not an overwrite.
    pub same_worktree: bool,
    /// How the other's agent is doing.
    pub holder_state: AgentState,
}

/// Two claims of different sessions that overlap.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimOverlap {
    /// The older claim.
    pub first: FileClaim,
    /// How its agent is doing. A dead agent's claim blocks nobody.
    pub first_state: AgentState,
    /// The newer claim.
    pub second: FileClaim,
    /// How its agent is doing.
    pub second_state: AgentState,
    /// A path that both match, relative to the root of the newer one where it lies there; whether it exists is not looked at.
    pub witness: String,
    /// False where they stand in different working trees or clones: a merge ahead, not an overwrite.
    pub same_worktree: bool,
}

/// What to claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimFiles {
    /// Patterns, relative to the handle's directory: at most 1,000. `path:10-50` claims lines.
    pub files: Vec<String>,
    /// Claims what others have claimed as well.
    pub force: bool,
    /// The session, by id or unique prefix; without it the agent's newest active one.
    pub session: Option<String>,
}

/// What became of the patterns of one call.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimedFiles {
    /// The session that claims.
    pub session: String,
    /// What it has claimed now, or had before.
    pub claimed: Vec<FileClaim>,
    /// Overlaps with the claims of living agents. Their patterns are claimed only by force.
    pub conflicts: Vec<Conflict>,
    /// Overlaps with the claims of dead agents, which block nothing: their work can be salvaged.
    pub dead_overlaps: Vec<Conflict>,
}

/// Which claims to list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimFilter {
    /// Every scope's, not only the caller's.
    pub all: bool,
    /// Only this session's, by id or unique prefix, in whatever scope.
    pub session: Option<String>,
    /// Only this agent's.
    pub agent: Option<String>,
}

/// The claims of a scope, and how many others were left out.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimList {
    /// Oldest first.
    pub claims: Vec<FileClaim>,
    /// How many of other scopes were left out.
    pub elsewhere: u64,
}

/// Who has claimed a path.
#[derive(Clone, Debug, Serialize)]
pub struct Ownership {
    /// The path, relative to the caller's root.
    pub path: String,
    /// Oldest claim first.
    pub owners: Vec<Owner>,
}

/// A claim that covers a path, or lies below it where it is a directory.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// The claim.
    pub claim: FileClaim,
    /// How its agent is doing.
    pub state: AgentState,
    /// What its session is for.
    pub purpose: String,
    /// False where it is in another working tree or clone of the repository.
    pub same_worktree: bool,
}

/// Patterns as they will be stored, and the tree that they are relative to.
pub(crate) struct Plan {
    ground: Ground,
    items: Vec<Planned>,
}

/// The tree that patterns are relative to.
struct Ground {
    /// The repository's key, empty outside git.
    repository: String,
    path: PathBuf,
    root: String,
    cwd: PathBuf,
}

/// One pattern of a call.
struct Planned {
    shape: Shape,
    prefix: String,
    place: String,
    lines: Option<LineRange>,
}

/// What became of a plan. The disk has not been asked yet.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) claimed: Vec<FileClaim>,
    pub(crate) conflicts: Vec<Overlap>,
    pub(crate) dead: Vec<Overlap>,
}

impl Coordinator {
    /// Claims files for a session. What other sessions have claimed is left alone, unless forced; the rest is claimed.
    /// Claiming the same pattern again changes nothing.
    ///
    /// # Errors
    /// `INVALID` for a pattern that is none, or more than 1,000; nothing is claimed then. `NO_AGENT`, `NO_SESSION`,
    /// `NOT_FOUND`, `AMBIGUOUS`, `NOT_OWNER` for another agent's session, `STORE_*`.
    pub fn claim_files(&self, claim: &ClaimFiles) -> Result<ClaimedFiles> {
        if claim.files.is_empty() {
            return Err(Error::invalid("no files are named").hint("name at least one path or pattern"));
        }
        let plan = plan(&self.inner.place, &claim.files)?;
        let apart = self.inner.db.read(|conn| Apart::of(conn, &plan))?;
        let (session, outcome) = self.act(Durability::Process, |tx, actor| {
            let id = sessions::resolve(&self.inner, tx, actor, claim.session.as_deref())?;
            let session = sessions::load(tx, &id)?;
            let outcome = insert(tx, actor, &session, &plan, &apart, claim.force)?;
            Ok((id, outcome))
        })?;
        let Outcome { claimed, conflicts, dead } = outcome;
        let (conflicts, dead_overlaps) = with_witnesses(conflicts, dead);
        Ok(ClaimedFiles { session, claimed, conflicts, dead_overlaps })
    }

    /// Gives claims up: those of the given patterns, or all of the session's where none is given. Lines matter only where
    /// they are given. What was given up is returned.
    ///
    /// # Errors
    /// `NOT_FOUND` if the session has no such claim; nothing is given up then. Otherwise as
    /// [`claim_files`](Self::claim_files).
    pub fn release_files(&self, files: &[String], session: Option<&str>) -> Result<Vec<FileClaim>> {
        let plan = plan(&self.inner.place, files)?;
        self.act(Durability::Process, |tx, actor| {
            let id = sessions::resolve(&self.inner, tx, actor, session)?;
            let held = claims_of(tx, &id)?;
            let mut released = vec![plan.items.is_empty(); held.len()];
            for item in &plan.items {
                let mut found = false;
                for (own, gone) in held.iter().zip(&mut released) {
                    if item.is(&plan.ground, own) {
                        (*gone, found) = (true, true);
                    }
                }
                if !found {
                    return Err(not_claimed(&id, item, &held));
                }
            }
            let released: Vec<Stored> =
                held.into_iter().zip(released).filter(|(_, gone)| *gone).map(|(c, _)| c).collect();
            for claim in &released {
                tx.prepare_cached("DELETE FROM claims WHERE id = ?1")?.execute([claim.id])?;
            }
            if !released.is_empty() {
                let patterns = released.iter().map(|c| c.claim.pattern.as_str());
                activity::record(tx, actor, "files.release", &id, logged(patterns))?;
            }
            Ok(released.into_iter().map(|c| c.claim).collect())
        })
    }

    /// Lists the claims of active sessions.
    ///
    /// # Errors
    /// `NOT_FOUND` and `AMBIGUOUS` for the session, `STORE_*`.
    pub fn file_claims(&self, filter: &ClaimFilter) -> Result<ClaimList> {
        self.inner.db.read(|conn| {
            let session = filter.session.as_deref().map(|s| sessions::find(conn, s)).transpose()?;
            let here = self.inner.known_scope_row(conn)?;
            let mut list = ClaimList { claims: Vec::new(), elsewhere: 0 };
            let sql = match session {
                Some(_) => format!("{CLAIMS} WHERE c.session = ?1 ORDER BY c.id"),
                None => format!("{CLAIMS} WHERE ?1 IS NULL ORDER BY c.id"),
            };
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query([&session])?;
            while let Some(row) = rows.next()? {
                let stored = Stored::read(row)?;
                if filter.agent.as_ref().is_some_and(|agent| *agent != stored.claim.agent) {
                    continue;
                }
                if filter.all || session.is_some() || Some(stored.scope) == here {
                    list.claims.push(stored.claim);
                } else {
                    list.elsewhere += 1;
                }
            }
            Ok(list)
        })
    }

    /// Which claims cover `path`, in whatever scope. Where it is a directory, also those on something below it.
    ///
    /// # Errors
    /// `INVALID` for a path outside the caller's working tree, `STORE_*`.
    pub fn who_owns(&self, path: &str) -> Result<Ownership> {
        let ground = Ground::of(&self.inner.place);
        let (path, lines) = split_lines(path)?;
        // A path, whatever characters it holds.
        let item = ground.planned(&escaped(path), lines)?;
        let relative = item.shape.pattern.literal_prefix();
        let is_directory = ground.path.join(&relative).is_dir();
        let owners = self.owners(&ground, &item, is_directory)?;
        let path = if relative.is_empty() { ".".to_owned() } else { relative };
        Ok(Ownership { path, owners })
    }

    /// Which claims meet the one pattern of a plan for a file, oldest first.
    pub(crate) fn owners_of(&self, plan: &Plan) -> Result<Vec<Owner>> {
        match plan.items.as_slice() {
            [item] => self.owners(&plan.ground, item, false),
            _ => Ok(Vec::new()),
        }
    }

    fn owners(&self, ground: &Ground, item: &Planned, is_directory: bool) -> Result<Vec<Owner>> {
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let mut owners = self.inner.db.read(|conn| {
            let mut nearby = Nearby::new(conn);
            let mut states: HashMap<String, AgentState> = HashMap::new();
            let mut owners = Vec::new();
            for index in nearby.of(ground, item)? {
                let theirs = nearby.get(index);
                let touch = |path: &FilePattern, claim: &FilePattern| match is_directory {
                    true => path.intersect(claim),
                    false => Some(path.literal_prefix()).filter(|path| claim.matches(path)),
                };
                let Some(meeting) = item.meets(ground, theirs, touch) else { continue };
                let claim = theirs.claim.clone();
                let state = match states.get(&claim.agent) {
                    Some(state) => *state,
                    None => state_of(conn, &claim.agent, now, &*inputs.liveness)?,
                };
                states.insert(claim.agent.clone(), state);
                let (purpose, same_worktree) = (theirs.purpose.clone(), meeting.same_worktree());
                owners.push((theirs.id, Owner { claim, state, purpose, same_worktree }));
            }
            Ok(owners)
        })?;
        owners.sort_by_key(|(id, _)| *id);
        Ok(owners.into_iter().map(|(_, owner)| owner).collect())
    }
}

/// The root that patterns are relative to which are claimed from here.
pub(crate) fn root_of(place: &Place) -> String {
    Ground::of(place).root
}

/// Parses patterns, all or none.
pub(crate) fn plan(place: &Place, inputs: &[String]) -> Result<Plan> {
    if inputs.len() > MOST_PATTERNS {
        return Err(Error::invalid(format!(
            "{} file patterns are too many for one call: at most {MOST_PATTERNS} are allowed",
            inputs.len()
        ))
        .with("patterns", inputs.len())
        .hint("claim directories or wildcards such as 'src/api/**' instead of single files"));
    }
    let ground = Ground::of(place);
    let items = inputs.iter().map(|input| ground.parse(input)).collect::<Result<_>>()?;
    Ok(Plan { ground, items })
}

/// A plan for one file, whatever characters its path holds.
pub(crate) fn plan_file(place: &Place, path: &std::path::Path) -> Result<Plan> {
    let text = path.to_str().ok_or_else(|| {
        Error::invalid(format!("the path {} isn't valid UTF-8", path.display()))
            .hint("rename the file, or leave it unclaimed")
    })?;
    let ground = Ground::of(place);
    let mut item = ground.planned(&escaped(text), None)?;
    item.shape = item.shape.into_file();
    Ok(Plan { ground, items: vec![item] })
}

impl Plan {
    /// The first pattern, relative to its tree, and the tree's root.
    pub(crate) fn first(&self) -> (&str, &str) {
        (self.items.first().map_or(".", |item| item.shape.pattern.as_str()), &self.ground.root)
    }
}

impl Ground {
    fn of(place: &Place) -> Ground {
        let (repository, path) = match &place.repository {
            Some(repository) => (repository.key.clone(), repository.worktree.clone()),
            None => (String::new(), PathBuf::from("/")),
        };
        Ground { repository, root: path.display().to_string(), path, cwd: place.cwd.clone() }
    }

    fn parse(&self, input: &str) -> Result<Planned> {
        let (path, lines) = split_lines(input)?;
        // `app/[id]/page.tsx` is what a shell writes for a file of that name: what exists is meant as it is.
        let exists = path.contains(['*', '?', '[', '{']) && self.cwd.join(path).symlink_metadata().is_ok();
        let mut planned = if exists { self.planned(&escaped(path), lines)? } else { self.planned(path, lines)? };
        if planned.shape.pattern.is_literal() && self.is_file(&planned, path) {
            planned.shape = planned.shape.into_file();
        }
        Ok(planned)
    }

    /// Whether a plain path is a file's, which has nothing below it. The disk decides; what isn't there yet is a file if
    /// lines of it are meant or its name has an extension.
    fn is_file(&self, planned: &Planned, input: &str) -> bool {
        let path = self.path.join(&planned.prefix);
        match path.metadata() {
            Ok(found) => !found.is_dir(),
            Err(_) if input.ends_with('/') => false,
            Err(_) => planned.lines.is_some() || path.extension().is_some(),
        }
    }

    fn planned(&self, path: &str, lines: Option<LineRange>) -> Result<Planned> {
        let text = relative_to(path, &self.cwd, &self.path)?;
        let shape = Shape::new(&self.root, &text)?;
        let prefix = shape.pattern.literal_prefix();
        let place = stored_path(&self.root, &prefix);
        Ok(Planned { shape, prefix, place, lines })
    }
}

impl Planned {
    /// Whether a stored claim is this one.
    fn is(&self, ground: &Ground, stored: &Stored) -> bool {
        let claim = &stored.claim;
        // A salvaged session has claims in the working tree of the one who died.
        let same_tree =
            claim.root == ground.root || (!ground.repository.is_empty() && ground.repository == stored.repository);
        same_tree && claim.pattern == self.shape.pattern.as_str() && (self.lines.is_none() || self.lines == claim.lines)
    }
}

/// A path on Windows is written with the character that escapes in patterns.
fn escaped(path: &str) -> String {
    if cfg!(windows) { FilePattern::escape(&path.replace('\\', "/")) } else { FilePattern::escape(path) }
}

/// Stores the claims of a plan for the actor's session, as far as they are free or `force` says so.
pub(crate) fn insert(
    tx: &Tx<'_>,
    actor: &Actor,
    session: &Session,
    plan: &Plan,
    apart: &Apart,
    force: bool,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if plan.items.is_empty() {
        return Ok(outcome);
    }
    let ground = &plan.ground;
    let mut own: HashMap<(String, String, Option<LineRange>), FileClaim> = claims_of(tx, &session.id)?
        .into_iter()
        .map(|c| ((c.claim.root.clone(), c.claim.pattern.clone(), c.claim.lines), c.claim))
        .collect();
    let mut nearby = Nearby::new(tx);
    let mut states: HashMap<String, AgentState> = HashMap::new();
    let mut new = Vec::new();
    for (number, item) in plan.items.iter().enumerate() {
        let key = (ground.root.clone(), item.shape.pattern.as_str().to_owned(), item.lines);
        if let Some(claim) = own.get(&key) {
            // Once for a pattern that one call names twice.
            if !outcome.claimed.iter().any(|c| c.pattern == claim.pattern && c.lines == claim.lines) {
                outcome.claimed.push(claim.clone());
            }
            continue;
        }
        let mut blocked = false;
        for index in nearby.of(ground, item)? {
            let theirs = nearby.get(index);
            if theirs.claim.session == session.id || apart.knows(number, theirs) {
                continue;
            }
            let Some(meeting) = item.meets(ground, theirs, FilePattern::intersect) else { continue };
            if crate::fault::broken("overlap") {
                continue;
            }
            let agent = &theirs.claim.agent;
            let state = match states.get(agent) {
                Some(state) => *state,
                None => {
                    // May bury it.
                    crate::agents::check(tx, agent)?;
                    let state = state_of(tx, agent, tx.now, tx.liveness())?;
                    states.insert(agent.clone(), state);
                    state
                }
            };
            let lives = matches!(state, AgentState::Active | AgentState::Stale);
            let list = if lives { &mut outcome.conflicts } else { &mut outcome.dead };
            if list.len() < MOST_REPORTED || (lives && !blocked) {
                list.push(item.overlap(ground, theirs, meeting, state));
            } else if lives {
                break;
            }
            blocked |= lives;
        }
        if blocked && !force {
            continue;
        }
        tx.prepare_cached(
            "INSERT INTO claims (scope, session, repository, root, pattern, file, prefix, place, first_line, last_line,
                                 forced, since_ms)
             VALUES ((SELECT scope FROM sessions WHERE id = ?1), ?1, ?2, ?3, ?4, ?11, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            &session.id,
            &ground.repository,
            &ground.root,
            item.shape.pattern.as_str(),
            &item.prefix,
            &item.place,
            item.lines.map(|l| l.first),
            item.lines.map(|l| l.last),
            blocked,
            tx.now.wall_ms,
            item.shape.is_file,
        ))?;
        let claim = FileClaim {
            session: session.id.clone(),
            agent: session.agent.clone(),
            agent_name: session.agent_name.clone(),
            pattern: item.shape.pattern.as_str().to_owned(),
            root: ground.root.clone(),
            lines: item.lines,
            forced: blocked,
            since_ms: tx.now.wall_ms,
            scope: session.scope.clone(),
        };
        new.push(claim.pattern.clone());
        own.insert(key, claim.clone());
        outcome.claimed.push(claim);
    }
    if !new.is_empty() {
        activity::record(tx, actor, "files.claim", &session.id, logged(new.iter().map(String::as_str)))?;
    }
    if force {
        crate::news::owe(tx, session, &ground.root, outcome.conflicts.iter().map(|o| &o.conflict))?;
    }
    if !outcome.conflicts.is_empty() {
        let with = outcome.conflicts.iter().take(MOST_LOGGED).map(|o| {
            let Conflict { pattern, with, .. } = &o.conflict;
            json!({"pattern": pattern, "session": with.session, "agent": with.agent, "claim": with.pattern})
        });
        let detail = json!({"forced": force, "count": outcome.conflicts.len(), "with": with.collect::<Vec<_>>()});
        activity::record(tx, actor, "files.conflict", &session.id, detail)?;
    }
    Ok(outcome)
}

/// Deletes a session's claims; how many there were.
pub(crate) fn release_session(tx: &Tx<'_>, session: &str) -> Result<usize> {
    Ok(tx.prepare_cached("DELETE FROM claims WHERE session = ?1")?.execute([session])?)
}

/// A session's claims, oldest first.
pub(crate) fn of_session(conn: &Connection, session: &str) -> Result<Vec<FileClaim>> {
    Ok(claims_of(conn, session)?.into_iter().map(|c| c.claim).collect())
}

/// A claim as stored.
struct Stored {
    id: i64,
    scope: i64,
    repository: String,
    purpose: String,
    /// The pattern is a file's path.
    is_file: bool,
    claim: FileClaim,
}

/// The session comes second: what is asked for is always the claim.
const CLAIMS: &str = "SELECT c.id, c.scope, c.repository, s.purpose, c.session, s.agent, coalesce(a.name, s.agent),
        c.pattern, c.root, c.first_line, c.last_line, c.forced, c.since_ms, o.name, c.file
 FROM claims c CROSS JOIN sessions s ON s.id = c.session CROSS JOIN scopes o ON o.id = c.scope
      LEFT JOIN agents a ON a.id = s.agent";

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
        let lines = match (row.get(9)?, row.get(10)?) {
            (Some(first), Some(last)) => Some(LineRange { first, last }),
            _ => None,
        };
        let claim = FileClaim {
            session: row.get(4)?,
            agent: row.get(5)?,
            agent_name: row.get(6)?,
            pattern: row.get(7)?,
            root: row.get(8)?,
            lines,
            forced: row.get(11)?,
            since_ms: row.get(12)?,
            scope: row.get(13)?,
        };
        let is_file = row.get(14)?;
        Ok(Stored {
            id: row.get(0)?,
            scope: row.get(1)?,
            repository: row.get(2)?,
            purpose: row.get(3)?,
            is_file,
            claim,
        })
    }
}

fn claims_of(conn: &Connection, session: &str) -> Result<Vec<Stored>> {
    let mut statement = conn.prepare_cached(&format!("{CLAIMS} WHERE c.session = ?1 ORDER BY c.id"))?;
    let rows = statement.query_map([session], Stored::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn logged<'a>(patterns: impl ExactSizeIterator<Item = &'a str>) -> serde_json::Value {
    json!({"count": patterns.len(), "patterns": patterns.take(MOST_LOGGED).collect::<Vec<_>>()})
}

fn not_claimed(session: &str, item: &Planned, held: &[Stored]) -> Error {
    let pattern = item.shape.pattern.as_str();
    let lines = item.lines.map(|l| format!(":{l}")).unwrap_or_default();
    let some: Vec<&str> = held.iter().take(5).map(|c| c.claim.pattern.as_str()).collect();
    let hint = match (some.is_empty(), held.len() > some.len()) {
        (true, _) => "it has no claims".to_owned(),
        (false, false) => format!("it has: {}", some.join(", ")),
        (false, true) => format!("it has: {}, … (pd files lists them)", some.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("{session} has no claim {pattern}{lines}"))
        .with("session", session)
        .with("pattern", pattern)
        .hint(hint)
}
