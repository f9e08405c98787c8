//! A database, or one of the files beside it, that is anything at all: the first byte chooses which and how.
//!
//! Even: a file is the rest as it is. Odd: a file is a sound one with pieces of it overwritten; each piece is two bytes for
//! the place, in steps of 16 bytes, one for the length, and what is written there.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portdaddy_core::{
    ActivityFilter, AgentFilter, ChannelFilter, ClaimFiles, ClaimFilter, Coordinator, Error, ErrorKind, Face,
    LockFilter, LockOptions, MessageFilter, NewNote, NewSession, NoteFilter, Options, Publish, SalvageFilter,
    ScopeChoice, SessionFilter, Surroundings,
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
    let path = dir.path().join(format!("db{part}"));
    fs::create_dir_all(path.parent().unwrap_or(dir.path())).expect("a directory");
    let sound = SOUND.iter().find(|(sound, _)| *sound == part);
    let content = match sound {
        Some((_, sound)) if how & 1 == 1 => patched(sound.clone(), rest),
        _ => rest.to_vec(),
    };
    fs::write(&path, content).expect("a file");
    let used = open(dir.path()).and_then(|pd| use_all(&pd));
    if let Err(e) = used {
        assert_ne!(e.kind(), ErrorKind::Internal, "{e:?}");
        assert!(!e.message().is_empty(), "{e:?}");
        // What stands beside the database is no part of what is kept.
        assert!(!part.starts_with('.'), "{part} spoiled it: {e:?}");
    }
});

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
    let answers = [
        pd.start_session(&session).map(drop),
        pd.note(&NewNote { text: "n".into(), ..NewNote::default() }).map(drop),
        pd.publish("c", &serde_json::json!({"a": 1}), &Publish::default()).map(drop),
        pd.lock("m", &lock).map(drop),
        pd.claim_files(&more).map(drop),
        pd.agents(&AgentFilter::default()).map(drop),
        pd.sessions(&SessionFilter::default()).map(drop),
        pd.notes(&NoteFilter::default()).map(drop),
        pd.messages(&MessageFilter::default()).map(drop),
        pd.channels(&ChannelFilter::default()).map(drop),
        pd.locks(&LockFilter { all: true }).map(drop),
        pd.file_claims(&ClaimFilter::default()).map(drop),
        pd.who_owns("src/a.ts").map(drop),
        pd.salvage(&SalvageFilter::default()).map(drop),
        pd.activity(&ActivityFilter::default()).map(drop),
        pd.status().map(drop),
    ];
    answers.into_iter().collect()
}

fn memory() -> &'static str {
    if fs::metadata("/dev/shm").is_ok_and(|found| found.is_dir()) { "/dev/shm" } else { "/tmp" }
}
