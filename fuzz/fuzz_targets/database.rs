//! A database, or one of the files beside it, that is anything at all: the first byte chooses which and how.
//!
//! From 128 on, the database is a sound one with other values: each is a byte for the column, one for its kind, and eight for
//! a number, or the text that the number gives the length of. Below, even: a file is the rest as it is. Odd: a file is a sound
//! one with pieces of it overwritten; each is two bytes for the place, in steps of 16, one for the length, and what is written.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portdaddy_core::{
    ActivityFilter, AgentFilter, ChannelFilter, ClaimFiles, ClaimFilter, ClaimPort, Coordinator, Error, ErrorKind,
    Face, LockFilter, LockOptions, MessageFilter, NewNote, NewSession, NewsFilter, NoteFilter, Options, OverviewFilter,
    Publish, Registration, SalvageFilter, ScopeChoice, ServiceFilter, SessionFilter, Subscribe, Surroundings, Wait,
};

/// The files that are replaced; what stands behind the database's own name.
const PARTS: [&str; 6] = ["", "-wal", "-shm", ".wake", ".gate", ".live/1-2-3-x"];

/// A sound database with something of everything, its log, and its page.
static SOUND: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let dir = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let pd = open(dir.path()).expect("a sound database");
    use_all(&pd).expect("all of it works");
    let read = |part| Some((part, fs::read(dir.path().join(format!("db{part}"))).ok()?));
    // With the handle still open: later, the log would be empty.
    ["", "-wal", ".wake"].into_iter().filter_map(read).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    let dir = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let part = PARTS[usize::from(how >> 1) % PARTS.len()];
    for (sound, content) in SOUND.iter() {
        fs::write(dir.path().join(format!("db{sound}")), content).expect("a file");
    }
    if *how >= 128 {
        set_values(&dir.path().join("db"), rest);
        // A statement may fail that never fails otherwise.
        let _ = open(dir.path()).and_then(|pd| use_all(&pd));
        return;
    }
    let path = dir.path().join(format!("db{part}"));
    fs::create_dir_all(path.parent().unwrap_or(dir.path())).expect("a directory");
    let sound = SOUND.iter().find(|(sound, _)| *sound == part);
    let content = match sound {
        Some((_, sound)) if how & 1 == 1 => patched(sound.clone(), rest),
        _ => rest.to_vec(),
    };
    fs::write(&path, content).expect("a file");
    let refused = used(dir.path());
    // What stands beside the database is no part of what is kept.
    assert!(!part.starts_with('.') || refused.is_none(), "{part} spoiled it: {refused:?}");
});

/// Opens the database and uses it. What went wrong, which must be said in a sentence.
fn used(dir: &Path) -> Option<Error> {
    let e = open(dir).and_then(|pd| use_all(&pd)).err()?;
    assert_ne!(e.kind(), ErrorKind::Internal, "{e:?}");
    assert!(!e.message().is_empty(), "{e:?}");
    Some(e)
}

/// Puts values of any size into the tables of a sound database.
fn set_values(db: &Path, mut rest: &[u8]) {
    let conn = rusqlite::Connection::open(db).expect("a database");
    let list = "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
    let columns: Vec<(String, String)> = (conn.prepare(list).expect("a statement"))
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .expect("columns");
    while let [column, kind, a, b, c, d, e, f, g, h, left @ ..] = rest {
        let (table, column) = &columns[usize::from(*column) % columns.len()];
        // As far as no sum or product of them overflows: in 35,000 years no time and no counter gets there.
        let number = i64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) % (1 << 50);
        let length = usize::from(*a).min(left.len());
        let text = String::from_utf8_lossy(&left[..length]);
        // What a constraint refuses stays as it is.
        let sql = format!("UPDATE {table} SET {column} = ?1");
        let _ = if kind % 2 == 0 { conn.execute(&sql, [number]) } else { conn.execute(&sql, [&text]) };
        rest = if kind % 2 == 0 { left } else { &left[length..] };
    }
}

fn patched(mut content: Vec<u8>, mut patches: &[u8]) -> Vec<u8> {
    while let [high, low, length, rest @ ..] = patches {
        let at = (usize::from(*high) << 8 | usize::from(*low)) * 16 % content.len();
        let (piece, left) = rest.split_at(rest.len().min(usize::from(*length)));
        let end = content.len().min(at + piece.len());
        content[at..end].copy_from_slice(&piece[..end - at]);
        patches = left;
    }
    content
}

fn open(dir: &Path) -> Result<Coordinator, Error> {
    let around = Surroundings::given([("HOME", "/")]);
    let options = Options::default().db(dir.join("db")).agent("fuzzer").scope(ScopeChoice::Global).cwd(dir);
    Coordinator::open(options.face(Face::Shell).surroundings(around))
}

/// A call or two of each concept. What one refuses, the next may still allow.
fn use_all(pd: &Coordinator) -> Result<(), Error> {
    let session = NewSession { purpose: "p".into(), files: vec!["src/*".into()], ..NewSession::default() };
    let lock = LockOptions { blocking: false, ..LockOptions::default() };
    let more = ClaimFiles { files: vec!["src/a.ts".into()], force: true, session: None };
    let me = Registration { identity: Some("a:b".into()), ..Registration::default() };
    let durable = Subscribe { patterns: "c,d".into(), durable: Some("s".into()), ..Subscribe::default() };
    let at_once = Wait::at_most(std::time::Duration::ZERO);
    let answers = [
        pd.register_agent(&me).map(drop),
        pd.start_session(&session).map(drop),
        pd.note(&NewNote { text: "n".into(), ..NewNote::default() }).map(drop),
        pd.publish("c", &serde_json::json!({"a": 1}), &Publish::default()).map(drop),
        pd.lock("m", &lock).map(|lock| lock.map(|lock| lock.leave()).is_some()).map(drop),
        pd.claim_files(&more).map(drop),
        pd.agents(&AgentFilter::default()).map(drop),
        pd.sessions(&SessionFilter::default()).map(drop),
        pd.notes(&NoteFilter::default()).map(drop),
        pd.messages(&MessageFilter::default()).map(drop),
        pd.channels(&ChannelFilter::default()).map(drop),
        pd.locks(&LockFilter { all: true }).map(drop),
        pd.file_claims(&ClaimFilter::default()).map(drop),
        pd.who_owns("src/a.ts").map(drop),
        pd.claim(&ClaimPort { identity: "a:b".into(), ..ClaimPort::default() }).map(drop),
        pd.services(&ServiceFilter::default()).map(drop),
        pd.subscribe(&durable).and_then(|mut subscription| subscription.next(&at_once)).map(drop),
        // For longer than all runs take: what begins with this file has the lock's rest.
        pd.extend_lock("m", 24 * 3_600_000, None).map(drop),
        pd.salvage_claim("other").map(drop).or(Ok(())),
        pd.salvage(&SalvageFilter::default()).map(drop),
        pd.activity(&ActivityFilter::default()).map(drop),
        pd.send("fuzzer", "x").map(drop),
        pd.inbox().map(drop),
        pd.file_read(std::path::Path::new("src/a.ts")).map(drop),
        pd.news(&NewsFilter::default()).map(drop),
        pd.overview(&OverviewFilter::default()).map(drop),
        pd.status().map(drop),
    ];
    answers.into_iter().collect()
}

fn memory() -> &'static str {
    if fs::metadata("/dev/shm").is_ok_and(|found| found.is_dir()) { "/dev/shm" } else { "/tmp" }
}
