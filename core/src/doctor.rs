//! Whether all is well: the library, the file, its place, who has it open, and what should not last in it.
//!
//! Looking changes nothing: the file isn't created, migrated or swept, and whatever can't be looked at is a finding while
//! the rest is looked at all the same. SQLite's files are opened by SQLite alone; of other processes only what `/proc` says
//! is read. Fixing does what any later call would do by and by, with every proof looked at again inside its transaction,
//! and makes permissions stricter; it never makes a decision that is the user's.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;

use crate::agents;
use crate::coordinator::{Coordinator, Options, Presence, Standing, refuse_unsafe_look};
use crate::db::{self, Db, Durability, Inspected, Now, Partial, beside};
use crate::error::{Error, ErrorKind, Result};
use crate::life::{self, Liveness, Verdict};
use crate::sys;
use crate::sys::process::named;
use crate::wake::Topic;

/// From this version on SQLite resets its write-ahead log without losing commits.
const OLDEST_SOUND_SQLITE: i32 = 3_051_003;
/// Less free space than this is nearly none: a log grows by as much in a busy minute.
const LITTLE_ROOM: u64 = 16 << 20;
/// A log of this size has waited for a checkpoint for long.
const LARGE_LOG: u64 = 64 << 20;
/// A log of this size is not worth a word.
const LITTLE_LOG: u64 = 64 << 10;
/// How long what should pass at once may last before it is a finding.
const MOMENT: Duration = Duration::from_millis(500);
/// How often a wake is measured.
const ROUNDS: usize = 15;
const MIB: u64 = 1 << 20;

/// What to look at, and whether to mend it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Examination {
    /// Leaves out what takes long in a large file: reading all of it.
    pub quick: bool,
    /// Mends what is safe to mend first: permissions, what the dead left, a log that has grown.
    pub fix: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What: `integrity`, `filesystem`.
    pub name: String,
    /// Whether it is as it should be. With a hint as well, it is worth knowing all the same.
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

    fn good(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, true, detail)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn of(name: &str, result: Result<Check>) -> Self {
        result.unwrap_or_else(|e| Self::failed(name, &e))
    }

    fn failed(name: &str, e: &Error) -> Self {
        let check = Self::new(name, false, e.to_string());
        match e.next_step() {
            Some(hint) => check.hint(hint),
            None => check,
        }
    }
}

/// Looks whether all is well: the library, the file, its place, and who the caller is taken to be. Needs no open handle, so
/// that a file that can't be opened is one of the answers; and who has it open, and what the dead left, are others. Makes no
/// database, and changes none.
pub fn doctor(options: Options) -> Vec<Check> {
    examine(options, Examination::default())
}

/// The same, with a choice of what to look at, and whether to mend what is safe to mend. What was mended comes first, each as
/// a check called `fixed`.
pub fn examine(options: Options, what: Examination) -> Vec<Check> {
    let number = rusqlite::version_number();
    let versions = format!("SQLite {}, in port-daddy {}", rusqlite::version(), env!("CARGO_PKG_VERSION"));
    let mut checks = vec![Check::new("sqlite", number >= OLDEST_SOUND_SQLITE, versions)];
    let standing = options.standing();
    match options.database() {
        Ok(path) => checks.extend(at(&path, options, what)),
        Err(e) => checks.push(Check::failed("database", &e)),
    }
    match standing {
        Ok(standing) => checks.extend(caller(&standing)),
        Err(e) => checks.push(Check::failed("caller", &e)),
    }
    checks.push(git());
    checks
}

fn at(path: &Path, options: Options, what: Examination) -> Vec<Check> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut checks = Vec::new();
    if what.fix {
        checks.extend(fix_files(path, dir));
    }
    // Nothing of it is opened that no other call would open; and to close a look drops the locks that a second copy of the
    // library, or the parent of a forked process, has on it.
    let refused = db::check_parts(path).map_err(|e| ("database", e));
    if let Err((what, e)) = refused.and_then(|()| refuse_unsafe_look(path).map_err(|e| ("opening", e))) {
        checks.extend([filesystem(dir), room(dir), permissions(path, dir), Check::failed(what, &e)]);
        return checks;
    }
    let (moment, liveness) = (options.clock_now(), options.looking(db::live_dir(path)));
    // Before a handle is opened here, which would be one of those that are found.
    let (processes, gate) = (processes(path), gate(path));
    // Only where that neither makes nor migrates anything.
    let filesystem = filesystem(dir);
    let opened = (filesystem.ok && is_current(path)).then(|| Coordinator::open(options));
    if let (true, Some(Ok(pd))) = (what.fix, &opened) {
        checks.extend(fix_rows(pd));
    }
    if what.fix && checks.is_empty() {
        checks.push(Check::good("fixed", "nothing: there was nothing to mend"));
    }
    let is_safe = filesystem.ok;
    checks.extend([filesystem, room(dir), permissions(path, dir)]);
    if is_safe {
        checks.extend(file(path, what.quick, moment, &*liveness));
    } else {
        checks.push(Check::good("database", format!("{}, not opened there", path.display())));
    }
    match &opened {
        None => {}
        Some(Err(e)) => checks.push(Check::failed("opening", e)),
        Some(Ok(pd)) => checks.extend(writing(&pd.inner.db)),
    }
    checks.push(gate);
    checks.extend(processes);
    checks
}

/// Whether the file is ours, and needs no migration.
fn is_current(path: &Path) -> bool {
    path.exists() && db::inspect(path).is_ok_and(|found| found.is_current())
}

fn caller(standing: &Standing) -> [Check; 2] {
    let Standing { caller, scope, .. } = standing;
    let how = serde_json::to_value(caller.source).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " ")));
    let how = how.unwrap_or_default();
    let caller = match &caller.agent {
        Some(agent) => Check::good("caller", format!("{agent}, found by: {how}")),
        None => Check::good("caller", "nobody: what needs an agent will say so")
            .hint("pass --agent NAME or set PORT_DADDY_AGENT"),
    };
    let key = if scope.key.is_empty() { "outside any repository" } else { &scope.key };
    [caller, Check::good("scope", format!("{} ({key})", scope.name))]
}

fn git() -> Check {
    match crate::git::version(Duration::from_secs(2)) {
        Ok(version) => Check::good("git", version),
        Err(why) => Check::good("git", format!("not found: {why}"))
            .hint("install git, if pd salvage is to show what the dead have not committed"),
    }
}

fn filesystem(dir: &Path) -> Check {
    let kind = sys::filesystem::kind_and_room(dir).0.unwrap_or_else(|| "a filesystem".to_owned());
    let good = || Check::good("filesystem", format!("{kind}: {} can be shared between processes", dir.display()));
    Check::of("filesystem", sys::filesystem::check(dir).map(|()| good()))
}

fn room(dir: &Path) -> Check {
    let Some(free) = sys::filesystem::kind_and_room(dir).1 else {
        return Check::good("space", "the platform doesn't tell how much is free");
    };
    let check = Check::new("space", free >= LITTLE_ROOM, format!("{} MiB free", free / MIB));
    if check.ok { check } else { check.hint("free some disk space: every write needs some") }
}

/// The database and what belongs to it, as far as it is there.
#[cfg(unix)]
fn parts(path: &Path) -> Vec<PathBuf> {
    let ends = ["", "-wal", "-shm", ".wake", ".gate", ".gate-next", ".live"];
    ends.iter().map(|end| beside(path, end)).filter(|part| part.exists()).collect()
}

/// Whatever others may read or write of it by its own mode.
#[cfg(unix)]
fn too_open(path: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let open = |part: &PathBuf| std::fs::metadata(part).is_ok_and(|found| found.mode() & 0o077 != 0);
    parts(path).into_iter().filter(open).collect()
}

#[cfg(unix)]
fn permissions(path: &Path, dir: &Path) -> Check {
    use std::os::unix::fs::MetadataExt;
    let us = rustix::process::geteuid().as_raw();
    let Ok(of_dir) = std::fs::metadata(dir) else {
        return Check::good("permissions", format!("{} isn't there yet", dir.display()));
    };
    if of_dir.mode() & 0o022 != 0 {
        let detail = format!("others may write to {} (mode {:03o})", dir.display(), of_dir.mode() & 0o7777);
        // Nobody should close a shared directory.
        let hint = if of_dir.mode() & 0o1000 == 0 && of_dir.uid() == us {
            format!("chmod go-w {}", sys::filesystem::quoted(dir))
        } else {
            "name a database in a directory of your own with PORT_DADDY_DB or --db".to_owned()
        };
        return Check::new("permissions", false, detail).hint(hint);
    }
    for part in parts(path) {
        let Ok(found) = std::fs::metadata(&part) else { continue };
        if found.uid() != us {
            let detail = format!("{} belongs to another user (uid {}; we are {us})", part.display(), found.uid());
            return Check::new("permissions", false, detail)
                .hint("give it back with chown, or name a database of your own with PORT_DADDY_DB or --db");
        }
    }
    let open = too_open(path);
    if let Some(part) = open.first() {
        let mode = std::fs::metadata(part).map_or(0, |found| found.mode() & 0o777);
        let mut detail = format!("open to others: {} files, such as {} (mode {mode:03o})", open.len(), part.display());
        // What nobody else can reach is only one chmod away from being read.
        let closed = of_dir.mode() & 0o011 == 0;
        if closed {
            detail.push_str("; but the directory keeps them out");
        }
        return Check::new("permissions", closed, detail).hint("pd doctor --fix");
    }
    let mode = of_dir.mode() & 0o777;
    Check::good("permissions", format!("directory {mode:03o}, {} files for their owner alone", parts(path).len()))
}

#[cfg(not(unix))]
fn permissions(path: &Path, _dir: &Path) -> Check {
    Check::good("permissions", format!("those of {}", path.display()))
}

/// The file and what it holds, by a connection that neither makes nor migrates it.
fn file(path: &Path, quick: bool, moment: (i64, i64), liveness: &dyn Liveness) -> Vec<Check> {
    if !path.exists() {
        return vec![Check::good("database", format!("{} isn't there yet: the first call makes it", path.display()))];
    }
    let found = match db::inspect(path) {
        Ok(found) => found,
        Err(e) => return vec![Check::failed("database", &e), on_disk(path, None)],
    };
    let mut checks = vec![
        Check::good("database", path.display().to_string()),
        on_disk(path, Some(&found.conn)),
        schema(&found),
        if quick { Check::good("integrity", "not looked at") } else { integrity(&found.conn) },
    ];
    if found.ours && found.version > 0 {
        // A newer version's tables are there, too: migrations only add.
        let rows = now(&found.conn, moment).and_then(|now| rows(&found.conn, now, liveness));
        match rows {
            Ok(rows) => checks.extend(rows),
            Err(e) => checks.push(Check::failed("agents", &e)),
        }
    }
    checks
}

fn now(conn: &Connection, (wall_ms, awake_ms): (i64, i64)) -> Result<Now> {
    Ok(Now { wall_ms, awake_ms, boot: db::known_boot(conn)?.unwrap_or(0) })
}

fn on_disk(path: &Path, conn: Option<&Connection>) -> Check {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let (file, log) = (size(path), size(&beside(path, "-wal")));
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let mut detail = format!("{} KiB, log {} KiB", kib(file), kib(log));
    let pages = |name: &str| conn?.query_row(&format!("PRAGMA {name}"), [], |r| r.get::<_, i64>(0)).ok();
    if let (Some(count), Some(size), Some(free)) = (pages("page_count"), pages("page_size"), pages("freelist_count")) {
        detail.push_str(&format!("; {count} pages of {size} bytes, {free} of them free"));
    }
    let check = Check::good("size", detail);
    if log < LARGE_LOG {
        return check;
    }
    check.hint(
        "the log has not been put back for long, perhaps because somebody reads without a pause: pd doctor --fix tries",
    )
}

fn schema(found: &Inspected) -> Check {
    let (version, known) = (found.version, db::own_version());
    if found.empty {
        return Check::good("schema", "the file is empty: the first call makes its tables");
    }
    if !found.ours {
        return Check::new("schema", false, "the file is a database of another program")
            .hint("name another with PORT_DADDY_DB or --db");
    }
    match version {
        v if v == known => Check::good("schema", format!("version {version}")),
        v if v < known => Check::good("schema", format!("version {version} of {known}"))
            .hint("the next call migrates it, and older versions of port-daddy refuse it from then on"),
        _ => {
            let detail =
                format!("version {version}, of a newer port-daddy: this one knows {known}, and doesn't write there");
            Check::new("schema", false, detail)
                .hint("upgrade port-daddy, or name another database with PORT_DADDY_DB or --db")
        }
    }
}

fn integrity(conn: &Connection) -> Check {
    match db::complaints(conn, "quick_check", 5) {
        Ok(said) if said.is_empty() => Check::good("integrity", "every page and every reference is sound"),
        Ok(said) => Check::new("integrity", false, said.join("; "))
            .hint("end whoever has it open, then put a backup in its place: pd restore FILE"),
        Err(e) => Check::failed("integrity", &e),
    }
}

/// What the rows say of agents, locks and waits, against what the kernel says of their processes.
fn rows(conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<[Check; 3]> {
    Ok([agents_of(conn, now, liveness)?, locks_of(conn, now, liveness)?, waits_of(conn, now, liveness)?])
}

fn agents_of(conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<Check> {
    let ids: Vec<String> = conn
        .prepare("SELECT id FROM agents WHERE state = 'alive' ORDER BY id")?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let (mut alive, mut dead) = (0, Vec::new());
    for id in ids {
        match agents::verdict(conn, &id, now, liveness)? {
            Some(Verdict::Dead { proof, .. }) => dead.push(format!("{id} ({proof})")),
            _ => alive += 1,
        }
    }
    let unfinished: i64 = conn.query_row(
        "SELECT count(DISTINCT agent) FROM sessions s WHERE status = 'active'
            AND EXISTS (SELECT 1 FROM agents a WHERE a.id = s.agent AND a.state = 'dead')",
        [],
        |r| r.get(0),
    )?;
    let mut detail = format!("{alive} alive");
    if !dead.is_empty() {
        detail.push_str(&format!("; dead, and not yet known to be: {}", listed(&dead)));
    }
    if unfinished > 0 {
        detail.push_str(&format!("; {unfinished} dead with unfinished sessions"));
    }
    let check = Check::good("agents", detail);
    Ok(match (dead.is_empty(), unfinished) {
        (false, _) => check.hint("pd doctor --fix buries the dead, and frees what they held; so does any pd agents"),
        (true, 1..) => check.hint("pd salvage shows what they left"),
        _ => check,
    })
}

fn locks_of(conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<Check> {
    let held: i64 = conn.query_row("SELECT count(*) FROM locks", [], |r| r.get(0))?;
    let (void, _) = crate::locks::unsettled(conn, now, liveness)?;
    Ok(if void.is_empty() {
        Check::good("locks", format!("{held} held"))
    } else {
        Check::good("locks", format!("{held} held; whose holders are gone: {}", listed(&void)))
            .hint("pd doctor --fix frees them; so does whoever asks for one")
    })
}

fn waits_of(conn: &Connection, now: Now, liveness: &dyn Liveness) -> Result<Check> {
    let waiters = crate::waiters::all(conn)?;
    let who = |w: &crate::waiters::Waiter| format!("{} for {}", w.agent.as_deref().unwrap_or("somebody"), w.name);
    let (mut ended, mut stopped) = (Vec::new(), Vec::new());
    for waiter in &waiters {
        if !life::live_held(liveness, &waiter.live) {
            ended.push(who(waiter));
        } else if let Some(pid) = sys::live::maker_pid(&waiter.live)
            && sys::openers::is_stopped(pid)
        {
            stopped.push(format!("{} ({})", who(waiter), named(pid)));
        }
    }
    // It is handed over in the transaction that frees it. Who has it so for longer than a moment was forgotten.
    let mut forgotten = crate::locks::unsettled(conn, now, liveness)?.1;
    if !forgotten.is_empty() {
        std::thread::sleep(MOMENT);
        let still = crate::locks::unsettled(conn, now, liveness)?.1;
        forgotten.retain(|who| still.contains(who));
    }
    if !forgotten.is_empty() {
        return Ok(Check::new("waits", false, format!("waiting for what nobody holds: {}", listed(&forgotten)))
            .hint("pd doctor --fix gives it to them"));
    }
    let waiting = waiters.len() - ended.len();
    if !ended.is_empty() {
        return Ok(Check::good(
            "waits",
            format!("{waiting} waiting; recorded, though they have ended: {}", listed(&ended)),
        )
        .hint("pd doctor --fix removes their rows; so does whoever meets them"));
    }
    if !stopped.is_empty() {
        return Ok(Check::good("waits", format!("{waiting} waiting; of them stopped: {}", listed(&stopped)))
            .hint("continue them with kill -CONT PID, or end them: what is handed to them stays with them"));
    }
    Ok(Check::good("waits", format!("{waiting} waiting")))
}

/// Whether a write gets through, and how long another takes to see it.
fn writing(db: &Db) -> Vec<Check> {
    if let Err(e) = touch(db, None) {
        let mut check = Check::failed("writing", &e);
        if e.kind() == ErrorKind::StoreBusy
            && let Some(pid) = sys::openers::of(db.path()).into_iter().find(|pid| sys::openers::is_stopped(*pid))
        {
            check.detail = format!("{}; {} has it open, and is stopped", check.detail, named(pid));
            check.hint = Some(format!("let it go on with kill -CONT {pid}, or end it"));
        }
        return vec![check, Check::good("wake", "not measured: no write gets through")];
    }
    vec![Check::good("writing", "a write got through"), wake(db)]
}

/// Writes without changing anything: a transaction without a statement begins even where nothing can be written.
fn touch(db: &Db, wake: Option<Topic>) -> Result<()> {
    db.write(Durability::Process, |tx| {
        let version: i64 = tx.prepare_cached("PRAGMA user_version")?.query_row([], |r| r.get(0))?;
        tx.execute_batch(&format!("PRAGMA user_version = {version}"))?;
        wake.into_iter().for_each(|topic| tx.wake(topic));
        Ok(())
    })
}

fn wake(db: &Db) -> Check {
    let how = if db.wakes().is_polling() {
        "polling, 1 to 50 ms (forced by PORT_DADDY_WAKE=poll, or nothing better here)"
    } else {
        "the kernel wakes waiters at once"
    };
    match latency(db) {
        Ok(Some(took)) => {
            Check::good("wake", format!("{how}; a commit was read {} µs after it began", took.as_micros()))
        }
        Ok(None) => Check::new("wake", false, format!("{how}; but whoever sleeps here was not woken"))
            .hint("waiters look by themselves within 6 s; PORT_DADDY_WAKE=poll makes that 50 ms"),
        Err(e) => Check::failed("wake", &e),
    }
}

/// From the beginning of a write to the moment when one who slept has read it: the middle one of several. None if nobody was
/// woken.
fn latency(db: &Db) -> Result<Option<Duration>> {
    let (asleep, is_asleep) = mpsc::channel();
    let (read, was_read) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || -> Result<()> {
            let reader = db.reader();
            for _ in 0..ROUNDS {
                let mut sample = db.wakes().sample(&[Topic::DOCTOR]);
                let before = reader.data_version()?;
                let polls = db.wakes().is_polling();
                let deadline = Instant::now() + 2 * MOMENT;
                if asleep.send(()).is_err() {
                    break;
                }
                // Somebody else's commit shows here, too: it counts once our own word has moved.
                let woken = loop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let moved = db.wakes().sleep(&mut sample, left)?;
                    if moved || polls && reader.data_version()? != before {
                        break true;
                    }
                    if left.is_zero() {
                        break false;
                    }
                };
                let seen = reader.data_version()? != before;
                if read.send((woken && seen).then(Instant::now)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let mut took = Vec::new();
        while is_asleep.recv().is_ok() {
            // It has said so a moment before it sleeps.
            std::thread::sleep(Duration::from_millis(1));
            let begun = Instant::now();
            touch(db, Some(Topic::DOCTOR))?;
            match was_read.recv() {
                Ok(Some(read)) => took.push(read.saturating_duration_since(begun)),
                _ => return Ok(None),
            }
        }
        took.sort_unstable();
        Ok(took.get(took.len() / 2).copied())
    })
}

/// Who is writing now, as far as the queue of writers shows it.
fn gate(path: &Path) -> Check {
    let gate = db::sidecar(path, "gate");
    let until = Instant::now() + MOMENT;
    loop {
        // Asked for a moment, and shared: whoever asks at the same time waits for no longer than this.
        let held = match sys::filesystem::open_beside(&gate) {
            Ok(file) => matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)),
            Err(_) => return Check::good("gate", "nobody has written yet"),
        };
        if !held {
            return Check::good("gate", "writers get their turns");
        }
        let stopped = sys::openers::of(&gate).into_iter().find(|pid| sys::openers::is_stopped(*pid));
        if let Some(pid) = stopped {
            return Check::new("gate", false, format!("{} is stopped, and keeps writers waiting", named(pid)))
                .hint(format!("let it go on with kill -CONT {pid}, or end it"));
        }
        if Instant::now() >= until {
            return Check::good("gate", format!("writers queue: it was not free for {} ms", MOMENT.as_millis()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who has the database open, and what ended processes left.
fn processes(path: &Path) -> Vec<Check> {
    let dir = db::live_dir(path);
    let (mut open_handles, mut handles, mut versions) = (0, Vec::new(), Vec::new());
    let names =
        std::fs::read_dir(&dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    for name in names.filter(|name| sys::live::is_name(name)) {
        if sys::live::peek(&dir, &name) == sys::live::Probe::Held {
            let content = sys::live::content(&dir, &name);
            let presence = content.and_then(|b| serde_json::from_slice::<Presence>(&b).ok());
            open_handles += 1;
            handles.extend(sys::live::maker_pid(&name));
            versions.extend(presence.map(|presence| presence.version));
        }
    }
    let gone = sys::live::leftovers(&dir).len();
    let partial = Partial::left(path).len();
    versions.sort_unstable();
    versions.dedup();
    let mut detail = format!("{open_handles} open handles and waiting commands");
    if !versions.is_empty() {
        detail.push_str(&format!(", of version {}", versions.join(" and ")));
    }
    let mut open = Check::good("handles", detail);
    if versions.len() > 1 {
        open = open
            .hint("several versions can share a database, but the oldest refuses it once a newer one has migrated it");
    }
    let leftovers = Check::good("leftovers", format!("{gone} files of ended processes, {partial} unfinished copies"));
    let leftovers = if gone + partial == 0 { leftovers } else { leftovers.hint("pd doctor --fix removes them") };

    handles.sort_unstable();
    handles.dedup();
    let mut checks = vec![open, leftovers, strangers(path, &handles)];
    for pid in &handles {
        let copies = sys::openers::copies(*pid);
        if copies.len() > 1 {
            let detail =
                format!("{} has loaded {} copies of port-daddy: {}", named(*pid), copies.len(), copies.join(" and "));
            checks.push(Check::good("second copy", detail).hint(
                "one process must not open one database through two copies: the second is refused; load one copy only",
            ));
        }
    }
    checks
}

/// Processes that have the file open without having said so. A command that neither waits nor runs another says nothing.
fn strangers(path: &Path, handles: &[u32]) -> Check {
    let unknown = || -> Vec<u32> {
        let mut pids = sys::openers::of(path);
        pids.retain(|pid| !handles.contains(pid));
        pids
    };
    let mut found = unknown();
    if !found.is_empty() {
        // Commands come and go.
        std::thread::sleep(MOMENT);
        let still = unknown();
        found.retain(|pid| still.contains(pid));
    }
    if found.is_empty() {
        return Check::good("others", "no other program has the database open");
    }
    let names: Vec<String> = found.iter().map(|pid| named(*pid)).collect();
    Check::good("others", format!("the database is also open in: {}", listed(&names))).hint(
        "a pd command that is at work or stopped, or another program: that one should not write there, and never be \
               the same process as one that uses port-daddy",
    )
}

/// The first of many.
fn listed(all: &[String]) -> String {
    const MOST: usize = 5;
    let shown = all.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > MOST { format!("{shown} and {} more", all.len() - MOST) } else { shown }
}

/// Mends what needs no handle.
fn fix_files(path: &Path, dir: &Path) -> Vec<Check> {
    let mut fixed = Vec::new();
    #[cfg(unix)]
    fix_permissions(path, dir, &mut fixed);
    #[cfg(not(unix))]
    let _ = dir;
    let gone = sys::live::sweep(&db::live_dir(path));
    if gone > 0 {
        fixed.push(Check::good("fixed", format!("removed {gone} files of ended processes")));
    }
    let partial = Partial::sweep(path);
    if partial > 0 {
        fixed.push(Check::good("fixed", format!("removed {partial} unfinished copies")));
    }
    fixed
}

/// By name, without opening anything; a link is not followed to what isn't part of the database.
#[cfg(unix)]
fn fix_permissions(path: &Path, dir: &Path, fixed: &mut Vec<Check>) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let us = rustix::process::geteuid().as_raw();
    let mut tighten = |part: &Path, away: u32| {
        let Ok(found) = std::fs::symlink_metadata(part) else { return };
        let mode = found.mode() & 0o7777;
        if found.is_symlink() || found.uid() != us || mode & away == 0 {
            return;
        }
        let to = mode & !away;
        match std::fs::set_permissions(part, std::fs::Permissions::from_mode(to)) {
            Ok(()) => {
                let detail = format!("{}: mode {mode:03o} is now {to:03o}", part.display());
                fixed.push(Check::good("fixed", detail));
            }
            Err(e) => fixed.push(Check::failed("fixed", &Error::io("changing the mode of", part, e))),
        }
    };
    // Nobody else makes these: without them the file may be another program's.
    if !path.is_file() || ![".gate", ".wake", ".live"].iter().any(|end| beside(path, end).exists()) {
        return;
    }
    // What holds anything else, or has the sticky bit, is shared on purpose.
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_ours = |entry: std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(name);
    let alone = std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().all(is_ours));
    if alone && std::fs::metadata(dir).is_ok_and(|found| found.mode() & 0o1000 == 0) {
        tighten(dir, 0o022);
    }
    parts(path).iter().for_each(|part| tighten(part, 0o077));
}

/// Mends what is in the database.
fn fix_rows(pd: &Coordinator) -> Vec<Check> {
    let mut fixed = Vec::new();
    match pd.tidy() {
        Ok(done) => fixed.extend(done.into_iter().map(|done| Check::good("fixed", done))),
        Err(e) => fixed.push(Check::failed("fixed", &e)),
    }
    match pd.inner.db.empty_log() {
        Ok((before, after)) if before > LITTLE_LOG && before > after => {
            fixed.push(Check::good(
                "fixed",
                format!("emptied the log: {} KiB, now {} KiB", before / 1024, after / 1024),
            ));
        }
        Ok(_) => {}
        Err(e) => fixed.push(Check::failed("fixed", &e)),
    }
    fixed
}
