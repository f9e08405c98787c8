//! Copies of the database in a file of their own, and back.
//!
//! A backup is what was committed at one moment, while others go on to write. Restoring puts the *record* back: sessions,
//! notes, claims, messages, positions, salvages, the log, agents that are gone, ports. The *present* stays, because no
//! file can change it: who holds which lock, who waits, which agents live and by what proof, and the ports of those. So a
//! process that holds a lock while another restores holds it on, and one that has let go doesn't get it back.
//!
//! Nothing falls back that others rely on to rise: places in the order of commits and fencing tokens go on from the larger
//! of what the backup has and what the database had; numbers of scopes and boots, which open handles remember, are kept,
//! and the backup's are changed to fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde_json::json;

use crate::activity;
use crate::agents;
use crate::clock::{Clock, SystemClock};
use crate::coordinator::{Coordinator, Options, refuse_unsafe_look};
use crate::db::{self, Partial, Progress, Replacing, Staged, last_seq};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SystemRandom;
use crate::sys;

/// By how much tokens and places rise where a damaged database doesn't tell how far it was.
const LEAP: i64 = 1 << 42;
const LEAP_OF_SEQ: i64 = 1 << 32;

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Backup {
    /// Replaces a file that is there already.
    pub force: bool,
    /// Where another thread can see how far it is.
    pub progress: Progress,
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize)]
pub struct BackupMade {
    /// The file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// The last place in the order of commits that is in it: everything up to there is, and nothing after.
    pub seq: i64,
}

/// How a backup is restored.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// Also while living agents hold locks or wait.
    pub force: bool,
    /// Keeps no copy of what the database held before.
    pub no_keep: bool,
    /// Where another thread can see how far the first part of it is.
    pub progress: Progress,
}

/// A backup that was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The database.
    pub db: String,
    /// The backup.
    pub file: String,
    /// The copy of what the database held before.
    pub kept: Option<String>,
    /// The schema that the backup had.
    pub schema: i64,
    /// The last place in the order of commits that the backup had.
    pub seq: i64,
    /// Whether the database was damaged, and so was put aside as a whole.
    pub was_damaged: bool,
}

impl Coordinator {
    /// Copies the database into `file`, consistent as of one moment while others go on to write: everything committed
    /// before the call is in it. The file is for its owner alone, is on the disk when this returns, and appears under its
    /// name only when it is whole; where anything fails, nothing is left. It can be opened as a database.
    ///
    /// Locks, waits and proofs of life are in it as they were at that moment. Whoever opens the file as a database finds
    /// those whose processes are gone dead, and frees what they held. A fork waits until the copy is made.
    ///
    /// # Errors
    /// `INVALID` if the file exists and `force` isn't given, or is part of a database in use; `STORE_CORRUPT` if the
    /// database is damaged; `STORE_FULL` and other `STORE_*`.
    pub fn backup(&self, file: impl AsRef<Path>, options: &Backup) -> Result<BackupMade> {
        self.inner.check_open()?;
        let target = self.target(file.as_ref(), options.force)?;
        let partial = Partial::beside(&target, &*self.inner.db.inputs().random)?;
        let (bytes, seq) = self.inner.db.copy_to(partial.path(), &options.progress)?;
        if !partial.become_file(&target, options.force)? {
            return Err(taken(&target));
        }
        Ok(BackupMade { file: target.display().to_string(), bytes, seq })
    }

    /// Replaces what the database holds by what a backup holds, while other processes have it open. They go on with what
    /// was restored: sleepers wake and look, places in the order of commits and fencing tokens go on to rise. Locks, waits
    /// and living agents stay as they are now, whatever the backup says of them; what the backup's dead left is up for
    /// salvage. An older backup is migrated on the way.
    ///
    /// It is one transaction: who is killed in it has changed nothing. Writers wait meanwhile, and fail with `STORE_BUSY`
    /// after 5 s, which a database of several hundred MiB takes. A copy of what was there before is kept beside the database.
    ///
    /// # Errors
    /// `NOT_OWNER` if living agents hold locks or wait, and `force` isn't given; `STORE_CORRUPT` if the file is damaged or
    /// no backup, or if the database itself is damaged ([`restore`](crate::restore) then puts it aside); `STORE_NEWER`;
    /// other `STORE_*`.
    pub fn restore(&self, file: impl AsRef<Path>, options: &Restore) -> Result<Restored> {
        self.inner.check_open()?;
        let file = self.inner.place.cwd.join(file);
        check_source(&file, self.path())?;
        self.check_sound()?;
        self.restore_into_sound(&file, options)
    }

    fn restore_into_sound(&self, file: &Path, options: &Restore) -> Result<Restored> {
        let inputs = self.inner.db.inputs();
        let staged = Staged::of(file, self.path(), &*inputs.random, &options.progress)?;
        let kept = (!options.no_keep).then(|| kept_name(self.path(), inputs.clock.wall_ms()));
        let mut copied = false;
        let done = self.inner.db.replace(&staged, |replacing| {
            self.settle(replacing, options.force)?;
            if let Some(kept) = &kept {
                replacing.keep(kept)?;
                copied = true;
            }
            let seq = replace_rows(replacing.conn(), file)?;
            replacing.part(|tx| {
                for id in strings(tx, "SELECT id FROM agents WHERE state = 'alive'")? {
                    agents::check(tx, &id)?;
                }
                let agent = self.inner.caller.agent.as_deref();
                let detail = json!({"seq": seq, "kept": kept.as_ref().map(|path| path.display().to_string())});
                let subject = file.display().to_string();
                activity::record_as(tx, agent, self.inner.scope_row(tx)?, "store.restore", &subject, detail)
            })?;
            // A commit that fails from here on may count all the same, once the log is read again.
            copied = false;
            Ok(seq)
        });
        match done {
            Ok(seq) => Ok(Restored {
                db: self.path().display().to_string(),
                file: file.display().to_string(),
                kept: kept.map(|path| path.display().to_string()),
                schema: staged.schema,
                seq,
                was_damaged: false,
            }),
            Err(e) => {
                // What nobody changed needs no copy.
                kept.filter(|_| copied).iter().for_each(|kept| drop(std::fs::remove_file(kept)));
                Err(e)
            }
        }
    }

    /// Buries the dead and hands on what they held, so that all that is left is the present; and refuses to go on if
    /// somebody is in it.
    fn settle(&self, replacing: &mut Replacing<'_>, force: bool) -> Result<()> {
        let busy = replacing.part(|tx| {
            for id in strings(tx, "SELECT id FROM agents WHERE state = 'alive'")? {
                agents::check(tx, &id)?;
            }
            crate::locks::settle_all(tx)?;
            crate::waiters::remove_dead(tx)?;
            let mut busy = strings(tx, "SELECT agent || ' holds the lock ' || name FROM locks ORDER BY scope, name")?;
            // Who looks out for messages to itself loses nothing that it waits for.
            busy.extend(strings(
                tx,
                "SELECT ifnull(agent, 'somebody') || ' waits for the ' || kind || ' ' || name FROM waiters
                 WHERE kind <> 'inbox' ORDER BY ticket",
            )?);
            Ok(busy)
        })?;
        if busy.is_empty() || force {
            return Ok(());
        }
        let shown = busy.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if busy.len() > 5 { format!(", and {} more", busy.len() - 5) } else { String::new() };
        Err(Error::new(ErrorKind::NotOwner, format!("others are at work on what would be replaced: {shown}{more}"))
            .with("busy", busy)
            .hint("let them finish, or pass --force: they keep their locks and waits, and lose what was written since the backup"))
    }

    fn check_sound(&self) -> Result<()> {
        let said = self.inner.db.read(|conn| strings(conn, "PRAGMA quick_check(1)"))?;
        if said == ["ok"] { Ok(()) } else { Err(damaged(self.path(), &said.join("; "))) }
    }

    /// Where a backup goes, if it may.
    fn target(&self, file: &Path, force: bool) -> Result<PathBuf> {
        let cwd = &self.inner.place.cwd;
        let target = resolved(&cwd.join(file))?;
        if is_part_of(&target, self.path()) {
            return Err(Error::invalid(format!("{} is part of the database itself", target.display()))
                .with("path", target.display().to_string())
                .hint("name another file"));
        }
        let exists = match target.symlink_metadata() {
            Ok(found) if !found.is_file() => {
                return Err(Error::invalid(format!("{} is no regular file", target.display()))
                    .with("path", target.display().to_string())
                    .hint("name another file"));
            }
            found => found.is_ok(),
        };
        if exists && !force {
            return Err(taken(&target));
        }
        // SQLite would take the log of another database for the copy's.
        let strays: Vec<PathBuf> =
            ["-wal", "-journal"].iter().map(|end| db::beside(&target, end)).filter(|path| path.exists()).collect();
        if let (false, Some(stray)) = (exists, strays.first()) {
            return Err(Error::invalid(format!("{} is left of another database", stray.display()))
                .with("path", stray.display().to_string())
                .hint("move it away, or name another file"));
        }
        if exists && force {
            if !live_handles(&target).is_empty() {
                return Err(in_use(&target));
            }
            if !strays.is_empty() {
                db::take_log_in(&target).map_err(|e| in_use(&target).caused_by(e))?;
            }
        }
        Ok(target)
    }
}

/// Restores a backup, as [`Coordinator::restore`] does, also where the database can't be opened because it is damaged, or
/// isn't there. A damaged one that nobody has open is put aside as a whole, and the backup takes its place; tokens and
/// places in the order of commits then leap far ahead, where the damaged file doesn't tell how far it was.
///
/// # Errors
/// As [`Coordinator::restore`]; `NOT_OWNER` if a damaged database is open in other processes.
pub fn restore(options: Options, file: impl AsRef<Path>, restore: &Restore) -> Result<Restored> {
    let path = options.database()?;
    let file = &options.standing()?.cwd.join(file);
    // A database that isn't there is made by opening it; not for a backup that isn't one.
    check_source(file, &path)?;
    refuse_unsafe_look(&path)?;
    undo_interrupted(&path)?;
    let judged = sys::filesystem::identity(&path);
    let found = db::inspect(&path);
    let unreadable = found.as_ref().is_err_and(|e| e.kind() == ErrorKind::StoreCorrupt);
    // Another program's database is never put aside, whatever state it is in.
    let foreign = found.is_ok_and(|found| !found.ours && !found.empty);
    // Only what SQLite says of the database itself is a reason to put it aside.
    let opened = Coordinator::open(options).and_then(|pd| pd.check_sound().map(|()| pd));
    let failed = match opened {
        Ok(pd) => return pd.restore_into_sound(file, restore),
        Err(e) if e.kind() == ErrorKind::StoreCorrupt && !foreign => e,
        Err(e) => return Err(e),
    };
    if unreadable && !restore.force {
        return Err(Error::new(
            ErrorKind::StoreCorrupt,
            format!("{} isn't known for a database of port-daddy, or is badly damaged", path.display()),
        )
        .with("path", path.display().to_string())
        .hint("if it is the right file, pass --force: it is put aside, and the backup takes its place")
        .caused_by(failed));
    }
    replace_damaged(&path, judged, file, restore)
}

/// `judged`: the file that was found to be damaged.
fn replace_damaged(
    path: &Path,
    judged: Option<sys::filesystem::Identity>,
    file: &Path,
    restore: &Restore,
) -> Result<Restored> {
    let staged = Staged::of(file, path, &SystemRandom, &restore.progress)?;
    db::with_gate(path, || {
        if sys::filesystem::identity(path) != judged {
            return Err(just_replaced(path));
        }
        let mut holders = live_handles(path);
        holders.extend(sys::openers::of(path).into_iter().map(sys::process::named));
        holders.sort_unstable();
        holders.dedup();
        if !holders.is_empty() {
            return Err(Error::new(
                ErrorKind::NotOwner,
                format!("the database is damaged, and still open in: {}", holders.join(", ")),
            )
            .with("path", path.display().to_string())
            .hint("end these processes, then restore"));
        }
        let seq = staged.change(|conn| {
            let seq = last_seq(conn)?;
            let known = counters_of_damaged(path);
            let (last, token) = known.unwrap_or((seq + LEAP_OF_SEQ, LEAP));
            let sql =
                "UPDATE counters SET seq = max(?1, ?2), token = CASE WHEN ?4 THEN max(token, ?3) ELSE token + ?3 END";
            conn.execute(sql, (seq, last, token, known.is_some()))?;
            conn.execute("DELETE FROM waiters", [])?;
            Ok(seq)
        })?;
        let kept = kept_name(path, SystemClock.wall_ms());
        // Until the new file is there nobody may open the old one without its log: tokens would fall back.
        let mark = Mark::take(path, true)?;
        if sys::filesystem::identity(path) != judged {
            mark.remove()?;
            return Err(just_replaced(path));
        }
        mark.say(&kept)?;
        // The log goes first: it must never stand beside the new file. The database's name always has a file.
        let log = db::beside(path, "-wal");
        if log.exists() {
            let aside = db::beside(&kept, "-wal");
            std::fs::rename(&log, &aside).map_err(|e| Error::io("putting aside", &log, e))?;
            crate::fault::point("log-aside");
        }
        let _ = std::fs::remove_file(db::beside(path, "-shm"));
        std::fs::hard_link(path, &kept).map_err(|e| Error::io("putting aside", path, e))?;
        db::sync_dir(&kept);
        crate::fault::point("linked-aside");
        let schema = staged.schema;
        staged.become_database(path)?;
        crate::fault::point("put-in-place");
        mark.remove()?;
        Ok(Restored {
            db: path.display().to_string(),
            file: file.display().to_string(),
            kept: Some(kept.display().to_string()),
            schema,
            seq,
            was_damaged: true,
        })
    })
}

fn just_replaced(path: &Path) -> Error {
    Error::new(ErrorKind::StoreBusy, "somebody else has just put another database in its place")
        .with("path", path.display().to_string())
        .hint("look at that one; pd restore FILE replaces it, too")
}

/// Stands beside a damaged database while it is put aside, locked by who does it, and says where to. Nobody opens the database
/// meanwhile.
struct Mark {
    path: PathBuf,
    file: std::fs::File,
}

impl Mark {
    /// `StoreBusy` if another is at it.
    fn take(db: &Path, make: bool) -> Result<Mark> {
        let path = db::beside(db, db::RESTORING);
        let mut options = std::fs::OpenOptions::new();
        sys::filesystem::beside(options.read(true).write(true).create(make));
        let file = options.open(&path).map_err(|e| Error::io("opening", &path, e))?;
        let busy = || {
            Error::new(ErrorKind::StoreBusy, "another process restores this database")
                .with("path", db.display().to_string())
        };
        file.try_lock().map_err(|_| busy().hint("wait until it is done"))?;
        // One that was taken away since is no lock.
        if sys::filesystem::identity(&path) != sys::filesystem::identity_of(&file) {
            return Err(busy().hint("try again"));
        }
        Ok(Mark { path, file })
    }

    fn say(&self, kept: &Path) -> Result<()> {
        use std::io::Write;
        (&self.file)
            .write_all(kept.as_os_str().as_encoded_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Error::io("writing", &self.path, e))?;
        db::sync_dir(&self.path);
        Ok(())
    }

    fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io("removing", &self.path, e))?;
        db::sync_dir(&self.path);
        Ok(())
    }
}

/// Goes back to where a restore began that was killed while it put a damaged database aside, or says that it was done.
fn undo_interrupted(path: &Path) -> Result<()> {
    let mark = db::beside(path, db::RESTORING);
    if !mark.exists() {
        return Ok(());
    }
    let mark = Mark::take(path, false)?;
    let kept = PathBuf::from(std::fs::read_to_string(&mark.path).map_err(|e| Error::io("reading", &mark.path, e))?);
    let identity = sys::filesystem::identity;
    // Killed before it said where to, it had done nothing.
    let begun = !kept.as_os_str().is_empty();
    let replaced = begun && kept.exists() && identity(&kept) != identity(path);
    if begun && !replaced {
        let (log, aside) = (db::beside(path, "-wal"), db::beside(&kept, "-wal"));
        if aside.exists() && !log.exists() {
            std::fs::rename(&aside, &log).map_err(|e| Error::io("putting back", &aside, e))?;
        }
        if kept.exists() {
            std::fs::remove_file(&kept).map_err(|e| Error::io("removing", &kept, e))?;
        }
    }
    mark.remove()
}

/// How far a damaged database was, if it still tells: the last place in the order of commits, and the last token.
fn counters_of_damaged(path: &Path) -> Option<(i64, i64)> {
    let found = db::inspect(path).ok().filter(|found| found.ours)?;
    let token = found.conn.query_row("SELECT token FROM counters", [], |r| r.get(0)).ok()?;
    Some((last_seq(&found.conn).ok()?, token))
}

/// Refuses a backup that isn't there, or is the database itself.
fn check_source(file: &Path, db: &Path) -> Result<()> {
    std::fs::metadata(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("there is no file {}", file.display()))
            .with("path", file.display().to_string())
            .hint("name a file that pd backup has made"),
        _ => Error::io("looking at", file, e),
    })?;
    if is_part_of(&resolved(file)?, db) {
        return Err(Error::invalid(format!("{} is part of the database itself", file.display()))
            .with("path", file.display().to_string())
            .hint("name a file that pd backup has made"));
    }
    Ok(())
}

/// The path with all links followed, also of a file to come.
fn resolved(file: &Path) -> Result<PathBuf> {
    if file.is_dir() || file.file_name().is_none() {
        return Err(Error::invalid(format!("{} is a directory: a backup is a file", file.display()))
            .with("path", file.display().to_string())
            .hint("add a file name"));
    }
    db::absolute(file)
}

/// Whether a file is the database or one of those that belong to it, by whatever name.
fn is_part_of(file: &Path, db: &Path) -> bool {
    let ends = ["", "-wal", "-shm", "-journal", ".gate", ".gate-next", ".wake"];
    let same = |part: &Path| {
        part == file
            || sys::filesystem::identity(part).is_some_and(|found| sys::filesystem::identity(file) == Some(found))
    };
    ends.iter().any(|end| same(&db::beside(db, end))) || file.starts_with(db::live_dir(db))
}

fn taken(target: &Path) -> Error {
    Error::invalid(format!("{} exists", target.display()))
        .with("path", target.display().to_string())
        .hint("pass --force to replace it, or name another file")
}

fn in_use(target: &Path) -> Error {
    Error::invalid(format!("{} is a database in use", target.display()))
        .with("path", target.display().to_string())
        .hint("name another file")
}

fn damaged(path: &Path, said: &str) -> Error {
    Error::new(ErrorKind::StoreCorrupt, format!("{}: it is damaged: {said}", path.display()))
        .with("path", path.display().to_string())
        .hint("end whoever has it open, then pd restore FILE puts it aside and a backup in its place")
}

/// The processes with an open handle on the database at `path`, in words.
fn live_handles(path: &Path) -> Vec<String> {
    let dir = db::live_dir(path);
    let names =
        std::fs::read_dir(&dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let held = names.filter(|name| !name.starts_with('.') && sys::live::peek(&dir, name) == sys::live::Probe::Held);
    held.filter_map(|name| Some(sys::process::named_id(&sys::live::maker(&name)?))).collect()
}

/// What a copy of the database is called that is made at this moment (UTC).
fn kept_name(db: &Path, wall_ms: i64) -> PathBuf {
    let (days, secs) = (wall_ms.div_euclid(86_400_000), wall_ms.rem_euclid(86_400_000) / 1000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    let name = format!(".before-restore-{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}");
    let numbered = |n: u32| db::beside(db, &if n == 1 { name.clone() } else { format!("{name}-{n}") });
    (1..).map(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| numbered(1))
}

/// The date of a day, counted from 1 January 1970. With years that begin in March, leap days come last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn strings(conn: &Connection, sql: &str) -> Result<Vec<String>> {
    Ok(conn.prepare(sql)?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?)
}

/// Tables that a restore doesn't replace as a whole.
const PRESENT: [&str; 8] = ["counters", "boots", "scopes", "agents", "proofs", "locks", "waiters", "ports"];

/// Replaces the record by that of the attached backup, around the present. The last place that the backup had.
fn replace_rows(conn: &Connection, file: &Path) -> Result<i64> {
    let shape = |schema: &str| {
        // What SQLite makes by itself follows from the rest.
        let sql = "SELECT type || ' ' || name || ' ' || sql FROM {}.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
                   ORDER BY 1";
        strings(conn, &sql.replace("{}", schema))
    };
    if shape("main")? != shape("staged")? {
        return Err(Error::new(
            ErrorKind::StoreCorrupt,
            format!("{}: it has other tables than port-daddy makes", file.display()),
        )
        .with("path", file.display().to_string())
        .hint("restore from another backup: nothing was changed"));
    }
    let seq: i64 = conn.query_row(
        "SELECT max((SELECT seq FROM staged.counters), ifnull((SELECT max(seq) FROM staged.activity), 0),
                    ifnull((SELECT max(seq) FROM staged.notes), 0), ifnull((SELECT max(seq) FROM staged.messages), 0))",
        [],
        |r| r.get(0),
    )?;
    conn.execute(
        "UPDATE counters SET seq = max(seq, ifnull((SELECT max(seq) FROM main.activity), 0), ?1),
                token = max(token, (SELECT token FROM staged.counters)),
                counted_seq = (SELECT counted_seq FROM staged.counters),
                counted = (SELECT counted FROM staged.counters)",
        [seq],
    )?;
    let scopes = merge(conn, "scopes", ("id", "key", "name"))?;
    let boots = merge(conn, "boots", ("boot", "boot_id", "first_ms"))?;
    let copied = |table: &str, except: &str| -> Result<(String, String)> {
        let mut columns =
            strings(conn, &format!("SELECT name FROM pragma_table_info('{table}', 'main') ORDER BY cid"))?;
        columns.retain(|column| column != except);
        let values = columns.iter().map(|column| match column.as_str() {
            "scope" => renumbered(column, &scopes),
            "boot" => renumbered(column, &boots),
            other => other.to_owned(),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        Ok((columns.join(", "), values))
    };

    // Who is there now. Whoever else was ever there is part of the record.
    let present = strings(
        conn,
        "SELECT id FROM agents WHERE state = 'alive' UNION SELECT agent FROM locks
         UNION SELECT agent FROM waiters WHERE agent IS NOT NULL",
    )?;
    let present = json!(present).to_string();
    let here = "(SELECT value FROM json_each(?1))";
    conn.execute(&format!("DELETE FROM proofs WHERE agent NOT IN {here}"), [&present])?;
    conn.execute(&format!("DELETE FROM agents WHERE id NOT IN {here}"), [&present])?;
    conn.execute(&format!("DELETE FROM ports WHERE agent IS NULL OR agent NOT IN {here}"), [&present])?;
    let (columns, values) = copied("agents", "")?;
    conn.execute_batch(&format!("INSERT OR IGNORE INTO agents ({columns}) SELECT {values} FROM staged.agents"))?;
    let (columns, values) = copied("proofs", "id")?;
    let sql = format!(
        "INSERT INTO proofs ({columns}) SELECT {values} FROM staged.proofs WHERE agent NOT IN {here} ORDER BY id"
    );
    conn.execute(&sql, [&present])?;
    let (columns, values) = copied("ports", "")?;
    conn.execute_batch(&format!("INSERT OR IGNORE INTO ports ({columns}) SELECT {values} FROM staged.ports"))?;

    let tables =
        strings(conn, "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    for table in tables.iter().filter(|table| !PRESENT.contains(&table.as_str())) {
        let (columns, values) = copied(table, "")?;
        conn.execute_batch(&format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {values} FROM staged.{table}"
        ))?;
    }
    // One whom the backup thinks dead, and who isn't, has nothing to be salvaged.
    conn.execute(
        "UPDATE salvages SET state = 'returned', ended_ms = died_ms WHERE state = 'open'
            AND agent IN (SELECT id FROM agents WHERE state = 'alive')
            AND agent IN (SELECT value FROM json_each(?1))",
        [&present],
    )?;
    // The rest was looked at in the backup; here its rows meet those that stayed.
    for table in PRESENT {
        let broken = conn.prepare(&format!("PRAGMA main.foreign_key_check({table})"))?.exists([])?;
        if broken {
            return Err(Error::internal(format!("a restored row of {table} refers to nothing")));
        }
    }
    Ok(seq)
}

/// Adds the backup's rows of a table whose numbers others remember. What is known keeps its number here; for the rest, the
/// numbers that differ.
fn merge(conn: &Connection, table: &str, (id, key, value): (&str, &str, &str)) -> Result<BTreeMap<i64, i64>> {
    let mut moved = BTreeMap::new();
    let sql = format!("SELECT {id}, {key}, {value} FROM staged.{table} ORDER BY {id}");
    let rows: Vec<(i64, String, rusqlite::types::Value)> =
        conn.prepare(&sql)?.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_, _>>()?;
    for (old, name, rest) in rows {
        let known: Option<i64> = conn
            .prepare_cached(&format!("SELECT {id} FROM main.{table} WHERE {key} = ?1"))?
            .query_row([&name], |r| r.get(0))
            .optional()?;
        let new = match known {
            Some(new) => new,
            // Its own number, unless that is another's here.
            None => conn
                .prepare_cached(&format!(
                    "INSERT INTO main.{table} ({id}, {key}, {value})
                     VALUES (iif(?1 IN (SELECT {id} FROM main.{table}), NULL, ?1), ?2, ?3) RETURNING {id}"
                ))?
                .query_row((old, &name, &rest), |r| r.get(0))?,
        };
        if new != old {
            moved.insert(old, new);
        }
    }
    Ok(moved)
}

/// SQL for a column whose numbers have changed.
fn renumbered(column: &str, moved: &BTreeMap<i64, i64>) -> String {
    if moved.is_empty() {
        return column.to_owned();
    }
    let cases: String = moved.iter().map(|(old, new)| format!(" WHEN {old} THEN {new}")).collect();
    format!("CASE {column}{cases} ELSE {column} END")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_copy_is_named_after_its_moment() {
        for (days, date) in [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_783, (2026, 11, 26))] {
            assert_eq!(civil(days), date);
        }
        let name = kept_name(Path::new("/nowhere/db"), 20_783 * 86_400_000 + 3_723_000);
        assert_eq!(name, Path::new("/nowhere/db.before-restore-20261126-010203"));
    }

    #[test]
    fn numbers_that_did_not_move_need_no_change() {
        assert_eq!(renumbered("scope", &BTreeMap::new()), "scope");
        let moved = BTreeMap::from([(2, 7), (3, 2)]);
        assert_eq!(renumbered("scope", &moved), "CASE scope WHEN 2 THEN 7 WHEN 3 THEN 2 ELSE scope END");
    }
}
