//! Which version of a file an agent has seen, so that it learns before it writes that another wrote since.
//!
//! An agent's row for a path says what it last read or wrote. When it is about to write, and what stands on disk is not that,
//! the newest later write of another agent says whose it is. What nobody recorded (an editor, a formatter) is nobody's, and
//! isn't reported.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::agents::{AgentState, state_of};
use crate::coordinator::Coordinator;
use crate::db::{Durability, Tx};
use crate::error::{Error, Result};
use crate::sys::filesystem::open_regular;

/// A larger file is known by its size and time alone.
const MOST_HASHED: u64 = 16 << 20;
/// What was seen longer ago is forgotten, so many rows at each write.
const KEPT_MS: i64 = 14 * 24 * 3600 * 1000;
const FORGOTTEN_AT_ONCE: usize = 32;

/// The last write of a file by an agent.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The file, absolute and without symbolic links.
    pub path: String,
    /// Who wrote it.
    pub agent: String,
    /// The agent's name for people, else its id.
    pub agent_name: String,
    /// How the agent is doing.
    pub state: AgentState,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

impl Coordinator {
    /// Remembers that the caller has read a file, relative to the handle's directory, as it is now.
    ///
    /// # Errors
    /// `INVALID` for a path that can't be one of a file, `NO_AGENT`, `STORE_*`.
    pub fn file_read(&self, path: &Path) -> Result<()> {
        self.remember_seen(path, false)
    }

    /// Remembers that the caller has written a file, relative to the handle's directory: what stands there now is its own.
    ///
    /// # Errors
    /// As [`file_read`](Self::file_read).
    pub fn file_written(&self, path: &Path) -> Result<()> {
        self.remember_seen(path, true)
    }

    /// Who wrote a file since the caller last saw it, where what stands there now is not what the caller saw. None, too,
    /// where the caller never saw it.
    ///
    /// # Errors
    /// As [`file_read`](Self::file_read).
    pub fn stale_write(&self, path: &Path) -> Result<Option<Written>> {
        let path = self.real_path(path)?;
        let Some(agent) = self.inner.caller.agent.clone() else { return Err(crate::caller::no_agent_error()) };
        let (now, inputs) = (self.inner.now()?, self.inner.db.inputs());
        let text = path.display().to_string();
        let seen = self.inner.db.read(|conn| {
            let seen: Option<(String, i64)> = conn
                .prepare_cached("SELECT hash, seq FROM seen_files WHERE path = ?1 AND agent = ?2")?
                .query_row([&text, &agent], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()?;
            let Some((hash, seq)) = seen else { return Ok(None) };
            let later = "SELECT s.agent, coalesce(a.name, s.agent), s.at_ms FROM seen_files s LEFT JOIN agents a ON a.id = s.agent
                         WHERE s.path = ?1 AND s.agent <> ?2 AND s.wrote = 1 AND s.seq > ?3 ORDER BY s.seq DESC LIMIT 1";
            let later = conn
                .prepare_cached(later)?
                .query_row((&text, &agent, seq), |r| Ok((r.get::<_, String>(0)?, r.get(1)?, r.get(2)?)))
                .optional()?;
            let Some((writer, agent_name, at_ms)) = later else { return Ok(None) };
            let state = state_of(conn, &writer, now, &*inputs.liveness)?;
            Ok(Some((hash, Written { path: text.clone(), agent: writer, agent_name, state, at_ms })))
        })?;
        Ok(seen.filter(|(hash, _)| hash_of(&path).ok().as_ref() != Some(hash)).map(|(_, written)| written))
    }

    fn remember_seen(&self, path: &Path, wrote: bool) -> Result<()> {
        let path = self.real_path(path)?;
        let hash = hash_of(&path).map_err(|e| {
            Error::invalid(format!("{} can't be read: {e}", path.display())).with("path", path.display().to_string())
        })?;
        self.act(Durability::Process, |tx, actor| {
            remember(tx, actor.agent()?, &path.display().to_string(), &hash, wrote)
        })
    }

    /// Absolute and without symbolic links, whether or not a file stands there.
    pub(crate) fn real_path(&self, path: &Path) -> Result<PathBuf> {
        let path = self.inner.place.cwd.join(path);
        let real = path.canonicalize().or_else(|e| match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => parent.canonicalize().map(|parent| parent.join(name)),
            _ => Err(e),
        });
        // Where the directories are yet to be made, the path says what it can.
        Ok(real.unwrap_or(path))
    }
}

fn remember(tx: &Tx<'_>, agent: &str, path: &str, hash: &str, wrote: bool) -> Result<()> {
    let seq = tx.next_seq()?;
    // Who reads what it wrote itself has still written it. 2: it wrote what stood there before another did, and has seen that.
    let sql = "INSERT INTO seen_files (path, agent, hash, seq, at_ms, wrote) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (path, agent) DO UPDATE SET hash = excluded.hash, seq = excluded.seq, at_ms = excluded.at_ms,
                   wrote = CASE WHEN excluded.wrote THEN 1 WHEN wrote > 0 AND hash <> excluded.hash THEN 2 ELSE wrote END";
    tx.prepare_cached(sql)?.execute((path, agent, hash, seq, tx.now.wall_ms, wrote))?;
    let forget = "DELETE FROM seen_files WHERE (path, agent) IN
                  (SELECT path, agent FROM seen_files WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
    tx.prepare_cached(forget)?.execute((tx.now.wall_ms - KEPT_MS, FORGOTTEN_AT_ONCE as i64))?;
    Ok(())
}

/// Who last wrote each of the files below `root` of which that is known: path, agent, hash of the content, when.
pub(crate) fn last_writers(conn: &Connection, root: &str) -> Result<Vec<(String, String, String, i64)>> {
    let below = format!("{}/", root.trim_end_matches('/'));
    let after = format!("{}0", root.trim_end_matches('/'));
    let sql = "SELECT path, agent, hash, at_ms, max(seq) FROM seen_files WHERE path > ?1 AND path < ?2 AND wrote = 1 GROUP BY path";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([below, after], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// That an agent wrote a file.
pub(crate) struct Write {
    pub(crate) path: String,
    pub(crate) agent: String,
    /// Of what it last wrote or read.
    pub(crate) hash: String,
    /// That is what it wrote, not what it read after another wrote.
    pub(crate) is_own: bool,
}

/// Every agent's write of the files below `root`; of a file, the last that is still its writer's own comes first.
pub(crate) fn writes(conn: &Connection, root: &str) -> Result<Vec<Write>> {
    let below = format!("{}/", root.trim_end_matches('/'));
    let after = format!("{}0", root.trim_end_matches('/'));
    let sql = "SELECT path, agent, hash, wrote = 1 FROM seen_files WHERE path > ?1 AND path < ?2 AND wrote > 0
               ORDER BY wrote = 1 DESC, seq DESC";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([below, after], |r| {
        Ok(Write { path: r.get(0)?, agent: r.get(1)?, hash: r.get(2)?, is_own: r.get(3)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The content's hash; empty where there is no file.
pub(crate) fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if meta.len() > MOST_HASHED {
        let changed = meta.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        return Ok(format!("{} bytes at {changed}", meta.len()));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
