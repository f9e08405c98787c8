//! The state of the whole, and whether all is well with it.

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::agents;
use crate::coordinator::{Coordinator, Options};
use crate::db::last_seq;
use crate::error::{Error, Result};
use crate::life::{self, Verdict};
use crate::sys;

/// From this version on SQLite resets its write-ahead log without losing commits.
const OLDEST_SOUND_SQLITE: i32 = 3_051_003;

/// What the database holds, whatever the scope.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The database file.
    pub db: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The size of its write-ahead log in bytes.
    pub wal_bytes: u64,
    /// The version of its schema.
    pub schema: i64,
    /// The last place in the order of commits.
    pub seq: i64,
    /// The name of the scope that the caller stands in.
    pub scope: String,
    /// How many agents do how.
    pub agents: AgentCounts,
    /// Active sessions.
    pub sessions: u64,
    /// File claims.
    pub claims: u64,
    /// Locks held.
    pub locks: u64,
    /// Who waits for what, the longest wait first.
    pub waiters: Vec<Waiting>,
    /// Channels with at least one message kept.
    pub channels: u64,
    /// Messages kept.
    pub messages: u64,
    /// Ports assigned.
    pub ports: u64,
    /// Dead agents whose unfinished work nobody has taken.
    pub salvage: u64,
}

/// How many agents do how. Those that said goodbye aren't counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgentCounts {
    /// Alive and heard of lately.
    pub active: u64,
    /// Alive as far as can be told, but silent for long.
    pub stale: u64,
    /// Dead.
    pub dead: u64,
}

/// Someone who waits.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// The agent, if the waiting call has one.
    pub agent: Option<String>,
    /// What for: `lock` or `channel`.
    pub kind: String,
    /// The lock, or the channel patterns that haven't delivered yet.
    pub name: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// The name of the scope.
    pub scope: String,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What: `integrity`, `filesystem`.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Check {
    fn new(name: &str, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn of(name: &str, result: Result<String>) -> Self {
        match result {
            Ok(detail) => Self::new(name, true, detail),
            Err(e) => Self::failed(name, &e),
        }
    }

    fn failed(name: &str, e: &Error) -> Self {
        let check = Self::new(name, false, e.to_string());
        match e.next_step() {
            Some(hint) => check.hint(hint),
            None => check,
        }
    }
}

impl Coordinator {
    /// Counts what the database holds, in all scopes. Whoever is found dead by looking is buried.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn status(&self) -> Result<Status> {
        self.bury_the_dead()?;
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let path = self.path();
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        self.inner.db.read(|conn| {
            let mut counts = AgentCounts::default();
            let states: Vec<(String, bool)> = conn
                .prepare_cached("SELECT id, state = 'dead' FROM agents WHERE state <> 'left'")?
                .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (id, dead) in states {
                let verdict = if dead { None } else { agents::verdict(conn, &id, now, &*inputs.liveness)? };
                match verdict {
                    Some(Verdict::Alive { stale: false }) => counts.active += 1,
                    Some(Verdict::Alive { stale: true }) => counts.stale += 1,
                    _ => counts.dead += 1,
                }
            }
            let mut waiters = Vec::new();
            for (waiting, live) in waiting(conn)? {
                if life::live_held(&*inputs.liveness, &live) {
                    waiters.push(waiting);
                }
            }
            Ok(Status {
                db: path.display().to_string(),
                size_bytes: size(path),
                wal_bytes: size(&wal(path)),
                schema: conn.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?,
                seq: last_seq(conn)?,
                scope: self.inner.scope.name.clone(),
                agents: counts,
                sessions: count(conn, "SELECT count(*) FROM sessions WHERE status = 'active'")?,
                claims: count(conn, "SELECT count(*) FROM claims")?,
                locks: count(conn, "SELECT count(*) FROM locks")?,
                waiters,
                channels: count(conn, "SELECT count(*) FROM channels WHERE count > 0")?,
                messages: count(conn, "SELECT coalesce(sum(count), 0) FROM channels")?,
                ports: count(conn, "SELECT count(*) FROM ports")?,
                salvage: count(
                    conn,
                    "SELECT count(*) FROM salvages v WHERE state = 'open'
                       AND EXISTS (SELECT 1 FROM sessions s WHERE s.agent = v.agent AND s.status = 'active')",
                )?,
            })
        })
    }

    fn checks(&self) -> Vec<Check> {
        let inner = &self.inner;
        let path = self.path();
        let dir = path.parent().unwrap_or(Path::new("/"));
        let integrity = inner.db.read(|conn| {
            let said: Vec<String> =
                conn.prepare("PRAGMA quick_check(5)")?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
            Ok(said)
        });
        let integrity = match integrity {
            Ok(said) if said == ["ok"] => Check::new("integrity", true, "quick_check: ok"),
            Ok(said) => Check::new("integrity", false, said.join("; "))
                .hint("stop using this file: restore it from a backup, or name another with PORT_DADDY_DB or --db"),
            Err(e) => Check::failed("integrity", &e),
        };
        let schema = inner.db.read(|conn| {
            let version: i64 = conn.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?;
            Ok(format!("version {version}"))
        });
        let on_disk =
            sys::filesystem::check(dir).map(|()| format!("{} can be shared between processes", dir.display()));
        let wake = if inner.db.wakes().is_polling() {
            "polling, 1 to 50 ms (forced by PORT_DADDY_WAKE=poll, or nothing better here)"
        } else {
            "the kernel wakes waiters at once"
        };
        vec![
            integrity,
            Check::of("schema", schema),
            Check::of("filesystem", on_disk),
            permissions(path, dir),
            // That a writer gets through tells more than any look at modes.
            Check::of(
                "writing",
                inner.db.write(crate::db::Durability::Process, |tx| {
                    // A transaction that changes nothing begins even where nothing can be written.
                    let version: i64 = tx.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?;
                    tx.execute_batch(&format!("PRAGMA user_version = {version}"))?;
                    Ok("a write got through".to_owned())
                }),
            ),
            Check::new("wake", true, wake),
            self.caller_check(),
            Check::new("scope", true, format!("{} ({})", inner.scope.name, shown_key(&inner.scope.key))),
            self.leftovers(),
        ]
    }

    fn caller_check(&self) -> Check {
        let caller = &self.inner.caller;
        let how = serde_json::to_value(caller.source).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " ")));
        let how = how.unwrap_or_default();
        match &caller.agent {
            Some(agent) => Check::new("caller", true, format!("{agent}, found by: {how}")),
            None => Check::new("caller", true, "nobody: what needs an agent will say so")
                .hint("pass --agent NAME or set PORT_DADDY_AGENT"),
        }
    }

    /// What ended processes left behind. Harmless; others sweep it as they meet it.
    fn leftovers(&self) -> Check {
        let dir = self.inner.db.live_dir();
        let (mut held, mut gone) = (0u64, 0u64);
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Check::new("leftovers", true, "no process has the database open");
            }
            Err(e) => return Check::failed("leftovers", &Error::io("reading", &dir, e)),
        };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        for name in names.filter(|name| sys::live::is_name(name)) {
            match sys::live::probe(&dir, &name) {
                sys::live::Probe::Held => held += 1,
                sys::live::Probe::Gone => gone += 1,
            }
        }
        Check::new("leftovers", true, format!("{held} open handles or waiting commands, {gone} files of ended ones"))
    }
}

/// Looks whether all is well: the library, the file, its place, and who the caller is taken to be. Opens the database by
/// itself, so that a failure to open it is one of the answers.
pub fn doctor(options: Options) -> Vec<Check> {
    let number = rusqlite::version_number();
    let sqlite =
        Check::new("sqlite", number >= OLDEST_SOUND_SQLITE, format!("SQLite {}, bundled", rusqlite::version()));
    let mut checks = vec![sqlite];
    match Coordinator::open(options) {
        Ok(coordinator) => {
            checks.push(Check::new("database", true, coordinator.path().display().to_string()));
            checks.extend(coordinator.checks());
        }
        Err(e) => checks.push(Check::failed("database", &e)),
    }
    checks
}

fn waiting(conn: &Connection) -> Result<Vec<(Waiting, String)>> {
    Ok(conn
        .prepare_cached(
            "SELECT w.agent, w.kind, w.name, w.since_ms, s.name, w.live
             FROM waiters w JOIN scopes s ON s.id = w.scope ORDER BY w.ticket",
        )?
        .query_map([], |r| {
            let waiting =
                Waiting { agent: r.get(0)?, kind: r.get(1)?, name: r.get(2)?, since_ms: r.get(3)?, scope: r.get(4)? };
            Ok((waiting, r.get(5)?))
        })?
        .collect::<Result<_, _>>()?)
}

fn count(conn: &Connection, sql: &str) -> Result<u64> {
    Ok(conn.prepare_cached(sql)?.query_row([], |r| r.get::<_, i64>(0))?.cast_unsigned())
}

fn wal(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn shown_key(key: &str) -> &str {
    if key.is_empty() { "outside any repository" } else { key }
}

#[cfg(unix)]
fn permissions(path: &Path, dir: &Path) -> Check {
    use std::os::unix::fs::MetadataExt;
    let mode =
        |path: &Path| std::fs::metadata(path).map(|m| m.mode() & 0o777).map_err(|e| Error::io("looking at", path, e));
    match (mode(dir), mode(path)) {
        (Ok(of_dir), Ok(of_file)) => {
            let detail = format!("directory {of_dir:03o}, file {of_file:03o}");
            // What others may read tells them about your work; what they may write decides over it.
            let ok = of_dir & 0o022 == 0 && of_file & 0o022 == 0 && (of_dir & 0o005 == 0 || of_file & 0o004 == 0);
            let check = Check::new("permissions", ok, detail);
            if ok { check } else { check.hint(format!("chmod go-rwx {}", path.display())) }
        }
        (Err(e), _) | (_, Err(e)) => Check::failed("permissions", &e),
    }
}

#[cfg(not(unix))]
fn permissions(path: &Path, _dir: &Path) -> Check {
    Check::new("permissions", true, format!("those of {}", path.display()))
}
