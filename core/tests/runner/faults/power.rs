//! Power cuts: of what processes did to the disk, images are made as a cut at some moment may leave them, and opened after
//! the next start of the machine. `PD_TEST_IMAGES` says how many (300), `PD_TEST_SEED` which.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portdaddy_core::{
    Coordinator, EndSession, Face, LockOptions, NewNote, NewSession, Options, Publish, ScopeChoice, Surroundings,
};
use portdaddy_testutil::{Role, TempStore};
use rusqlite::Connection;
use serde_json::json;

use super::recorder::{self, Disk, Event, Numbers};

const CHILD: &str = "faults::power::child";
const LOG: &str = "PD_TEST_LOG";
const SEED: &str = "PD_TEST_SEED";
/// What one process does in a recording.
const CALLS: usize = 240;

/// Writes under the recorder: as a program that keeps its handle, or as commands that each open one; as a `holder`, who does
/// nothing that must survive a power cut; not at all, as one who only `looks`.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    recorder::record(&PathBuf::from(std::env::var_os(LOG).unwrap()));
    let mut numbers = Numbers(std::env::var(SEED).unwrap().parse().unwrap());
    let program = (role.name != "command").then(|| open(&role, &role.agent, Face::Library));
    role.say("open");
    role.barrier();
    if role.name == "looks" {
        return;
    }
    let calls = match (role.name.as_str(), role.agent.as_str()) {
        // In the end it is alone, and its log is put back while nobody writes.
        ("program", "a") => 2 * CALLS,
        ("program", _) => CALLS / 3,
        _ => CALLS,
    };
    for call in 0..calls {
        match &program {
            Some(pd) => one_call(&role, pd, &mut numbers, call),
            None => one_call(&role, &open(&role, &role.agent, Face::Shell), &mut numbers, call),
        }
        // A log begins anew only if nobody has written since its pages were put back.
        if call % 6 == 5 {
            std::thread::sleep(Duration::from_millis(40));
        }
    }
    role.say("done");
    role.barrier();
}

fn open(role: &Role, agent: &str, face: Face) -> Coordinator {
    Coordinator::open(role.options().agent(agent).scope(ScopeChoice::Global).face(face)).unwrap()
}

/// Does something, and says before and afterwards that it did.
fn acknowledged<T>(role: &Role, call: usize, f: impl FnOnce() -> T, words: impl FnOnce(&T) -> String) -> T {
    recorder::say(&format!("+ {}.{call}", role.agent));
    let value = f();
    recorder::say(&format!("= {}.{call} {}", role.agent, words(&value)));
    value
}

fn one_call(role: &Role, pd: &Coordinator, numbers: &mut Numbers, call: usize) {
    let at_once = LockOptions { blocking: false, ..LockOptions::default() };
    let what = match (role.name.as_str(), numbers.below(10)) {
        ("holder", what) => {
            if what < 5 {
                3
            } else {
                7
            }
        }
        // Closing a handle empties a large log, and here it is to become so large that a thread puts it back.
        ("program", 9) if call > 40 => 5,
        (_, what) => what,
    };
    match what {
        0..=2 => {
            let text = format!("{} {call}", role.agent);
            let write = || pd.note(&NewNote { text: text.clone(), ..NewNote::default() }).unwrap().note.seq;
            acknowledged(role, call, write, |seq| format!("note {seq} {text}"));
        }
        3 | 4 => {
            let publish = || pd.publish("small", &json!(call), &Publish::default()).unwrap().seq;
            acknowledged(role, call, publish, |seq| format!("message {seq}"));
        }
        5 | 6 => {
            // The log grows by these, and the next of them removes them.
            let (payload, few) = (json!("x".repeat(120_000)), Publish { keep: Some(4), ..Publish::default() });
            let publish = || pd.publish("large", &payload, &few).unwrap().seq;
            acknowledged(role, call, publish, |seq| format!("place {seq}"));
        }
        7 => {
            let lock = || pd.lock(&role.agent, &at_once).unwrap().unwrap();
            acknowledged(role, call, lock, |lock| format!("token {}", lock.token())).release().unwrap();
        }
        8 => {
            let new = NewSession { purpose: "to end".into(), ..NewSession::default() };
            let session = pd.start_session(&new).unwrap().session.id;
            let end = EndSession { session: Some(session), ..EndSession::default() };
            acknowledged(role, call, || pd.end_session(&end).unwrap().id, |id| format!("ended {id}"));
        }
        _ => {
            let dead = format!("{}-{call}", role.agent);
            let dying = open(role, &dead, Face::Library);
            dying.start_session(&NewSession { purpose: "to leave".into(), ..NewSession::default() }).unwrap();
            dying.abandon();
            let claim = || pd.salvage_claim(&dead).map(drop).unwrap();
            acknowledged(role, call, claim, |()| format!("salvage {dead} claimed"));
        }
    }
}

/// Something that a process was told is done.
struct Acknowledged {
    began: usize,
    at: usize,
    what: What,
}

enum What {
    Note(i64, String),
    Message(i64),
    /// In the order of commits, of something that is gone by now.
    Place(i64),
    Token(i64),
    Ended(String),
    Salvaged(String),
}

impl What {
    /// It is told only once it survives a power cut.
    fn is_durable(&self) -> bool {
        matches!(self, What::Note(..) | What::Ended(_) | What::Salvaged(_))
    }

    fn seq(&self) -> Option<i64> {
        match self {
            What::Note(seq, _) | What::Message(seq) | What::Place(seq) => Some(*seq),
            _ => None,
        }
    }
}

struct Recording {
    /// The database as it was on the disk.
    before: Option<Vec<u8>>,
    events: Vec<Event>,
    acknowledged: Vec<Acknowledged>,
}

impl Recording {
    /// Two processes at work on a new file.
    fn of(roles: [&str; 2], seed: u64, variables: &[(&str, &str)]) -> Recording {
        Recording::on(&TempStore::running(), roles, seed, variables)
    }

    fn on(store: &TempStore, roles: [&str; 2], seed: u64, variables: &[(&str, &str)]) -> Recording {
        let before = std::fs::read(store.db()).ok();
        let log = store.dir("log").join("events");
        let (seeds, log_text) = ([seed, seed + 1].map(|seed| seed.to_string()), log.to_str().unwrap());
        let mut children = Vec::new();
        for ((seed, agent), role) in seeds.iter().zip(["a", "b"]).zip(roles) {
            let own = [(LOG, log_text), (SEED, seed.as_str()), ("PORT_DADDY_BOOT", "the first")];
            let mut child = store.child_with(CHILD, role, agent, &[&own, variables].concat());
            assert_eq!(child.said(), "open");
            children.push((child, role));
        }
        let mut at_work: Vec<_> = children.iter_mut().filter(|(_, role)| *role != "looks").collect();
        at_work.iter_mut().for_each(|(child, _)| child.go());
        at_work.iter_mut().for_each(|(child, _)| assert_eq!(child.said(), "done"));
        let events = recorder::read(&log);
        let acknowledged = acknowledged_in(&events);
        assert!(acknowledged.len() > CALLS / 2, "{} calls", acknowledged.len());
        Recording { before, events, acknowledged }
    }

    /// How often the log began, and how often it was emptied.
    fn beginnings(&self) -> (usize, usize) {
        let count = |is: fn(&Event) -> bool| self.events.iter().filter(|event| is(event)).count();
        (count(|e| matches!(e, Event::Wrote(1, 0, _))), count(|e| matches!(e, Event::Truncated(1, 0))))
    }

    /// Cuts the power at so many moments, and gives what was lost at each.
    fn losses(&self, images: usize, seed: u64, lies: bool) -> Vec<String> {
        let mut numbers = Numbers(seed);
        let durable: Vec<usize> = self.acknowledged.iter().filter(|a| a.what.is_durable()).map(|a| a.at + 1).collect();
        // At any moment, and right after somebody was told.
        let mut cuts: Vec<usize> = (0..images)
            .map(|image| match image % 2 {
                1 if !durable.is_empty() => durable[numbers.below(durable.len())],
                _ => numbers.below(self.events.len() + 1),
            })
            .collect();
        cuts.sort_unstable();
        let mut disk = Disk::new(self.before.clone(), lies);
        let mut losses = Vec::new();
        for cut in cuts {
            disk.go_to(&self.events, cut);
            let dir = temporary();
            let db = dir.path().join("port-daddy.db");
            disk.cut(&db, &mut numbers);
            if numbers.below(2) == 0 {
                // Shared memory as it happened to be written out.
                std::fs::write(dir.path().join("port-daddy.db-shm"), vec![numbers.below(256) as u8; 32_768]).unwrap();
            }
            let lost = self.lost(&db, cut);
            losses.extend(lost.into_iter().map(|what| format!("cut at {cut}: {what}")));
        }
        losses
    }

    /// What an image lacks of what had been acknowledged before the cut.
    fn lost(&self, db: &Path, cut: usize) -> Vec<String> {
        let told = || self.acknowledged.iter().filter(|a| a.at < cut);
        let options = Options::default().db(db).agent("looker").scope(ScopeChoice::Global).cwd(db.parent().unwrap());
        let pd = match Coordinator::open(options.surroundings(Surroundings::given([("", ""); 0]))) {
            Ok(pd) => pd,
            Err(e) => return vec![format!("the file can't be opened: {e}")],
        };
        let mut lost = Vec::new();
        let conn = Connection::open(db).unwrap();
        let sound: String =
            conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap_or_else(|e| e.to_string());
        let dangling = conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]);
        if sound != "ok" || !matches!(dangling, Ok(false)) {
            return vec![format!("damaged: {sound}, {dangling:?}")];
        }
        let found = Found::read(&conn);
        // A durable commit makes durable all that came before it, and nothing is missing before anything that is there.
        let before = told().filter(|a| a.what.is_durable()).map(|a| a.began).max().unwrap_or(0);
        for one in told() {
            let expected = one.what.is_durable() || one.at < before || one.what.seq().is_some_and(|s| s <= found.last);
            if expected && !found.has(&one.what) {
                lost.push(one.what.words());
            }
        }
        for one in &self.acknowledged {
            if let What::Note(seq, text) = &one.what
                && found.notes.get(seq).is_some_and(|there| there != text)
            {
                lost.push(format!("another note stands in the place of {text}"));
            }
        }
        // Going on, nobody's place and nobody's token is given again.
        let after = pd.note(&NewNote { text: "after".into(), ..NewNote::default() });
        let after = match after {
            Ok(written) => written.note.seq,
            Err(e) => return vec![format!("nothing can be written: {e}")],
        };
        let durable = told().filter(|a| a.what.is_durable() || a.at < before);
        let last = durable.filter_map(|a| a.what.seq()).max().unwrap_or(0);
        if after <= last {
            lost.push(format!("place {after} given again, after {last}"));
        }
        for name in ["a", "b"] {
            let lock = pd.lock(name, &LockOptions { blocking: false, ..LockOptions::default() });
            let lock = match lock {
                Ok(Some(lock)) => lock,
                other => return vec![format!("the dead hold {name}: {other:?}")],
            };
            let highest = told().filter_map(|a| if let What::Token(token) = a.what { Some(token) } else { None }).max();
            if let Some(highest) = highest.filter(|highest| lock.token() <= *highest) {
                lost.push(format!("token {} given after {highest}", lock.token()));
            }
        }
        lost
    }
}

/// What an image holds.
struct Found {
    notes: BTreeMap<i64, String>,
    messages: BTreeSet<i64>,
    ended: BTreeSet<String>,
    salvaged: BTreeSet<String>,
    last: i64,
    token: i64,
}

impl Found {
    fn read(conn: &Connection) -> Found {
        let texts = |sql: &str| {
            let mut statement = conn.prepare(sql).unwrap();
            statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut notes = conn.prepare("SELECT seq, text FROM notes").unwrap();
        let mut messages = conn.prepare("SELECT seq FROM messages").unwrap();
        let number = |sql: &str| conn.query_row(sql, [], |r| r.get(0)).unwrap();
        Found {
            notes: notes.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect(),
            messages: messages.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect(),
            ended: texts("SELECT id FROM sessions WHERE status = 'completed'"),
            salvaged: texts("SELECT agent FROM salvages WHERE state = 'claimed'"),
            last: number("SELECT max(seq, ifnull((SELECT max(seq) FROM activity), 0)) FROM counters"),
            token: number("SELECT token FROM counters"),
        }
    }

    fn has(&self, what: &What) -> bool {
        match what {
            What::Note(seq, text) => self.notes.get(seq) == Some(text),
            What::Message(seq) => self.messages.contains(seq),
            What::Place(seq) => *seq <= self.last,
            What::Token(token) => *token <= self.token,
            What::Ended(id) => self.ended.contains(id),
            What::Salvaged(agent) => self.salvaged.contains(agent),
        }
    }
}

impl What {
    fn words(&self) -> String {
        match self {
            What::Note(seq, text) => format!("note {seq} ({text}) is lost"),
            What::Message(seq) => format!("message {seq} is lost, and what came after it isn't"),
            What::Place(seq) => format!("place {seq} is lost"),
            What::Token(token) => format!("token {token} was not stored"),
            What::Ended(id) => format!("the end of {id} is lost"),
            What::Salvaged(agent) => format!("who salvaged {agent} is lost"),
        }
    }
}

fn acknowledged_in(events: &[Event]) -> Vec<Acknowledged> {
    let (mut began, mut all) = (BTreeMap::new(), Vec::new());
    for (at, event) in events.iter().enumerate() {
        let Event::Said(words) = event else { continue };
        let words: Vec<&str> = words.splitn(5, ' ').collect();
        let number = || words[3].parse().unwrap();
        let what = match words[..] {
            ["+", call] => {
                began.insert(call, at);
                continue;
            }
            ["=", _, "note", _, text] => What::Note(number(), text.to_owned()),
            ["=", _, "message", _] => What::Message(number()),
            ["=", _, "place", _] => What::Place(number()),
            ["=", _, "token", _] => What::Token(number()),
            ["=", _, "ended", id] => What::Ended(id.to_owned()),
            ["=", _, "salvage", agent, _] => What::Salvaged(agent.to_owned()),
            _ => panic!("{words:?}"),
        };
        all.push(Acknowledged { began: began[words[1]], at, what });
    }
    all
}

/// In memory where there is such a place: there is much to write, and nothing of it is to last.
fn temporary() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish() >> 1)
}

fn images() -> usize {
    std::env::var("PD_TEST_IMAGES").ok().and_then(|images| images.parse().ok()).unwrap_or(300)
}

#[allow(clippy::print_stderr, reason = "the figures of a run that was done by hand")]
fn report(what: &str, images: usize, losses: &[String]) {
    let cuts: BTreeSet<&str> = losses.iter().filter_map(|loss| loss.split(": ").next()).collect();
    eprintln!("{what}: {images} images, something lost in {}", cuts.len());
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_to_survive_it_and_gives_no_token_twice() {
    let seed = seed();
    for role in ["program", "command", "holder"] {
        let recording = Recording::of([role; 2], seed, &[]);
        let (begun, emptied) = recording.beginnings();
        match role {
            "program" => assert!(begun > 2, "no thread has put the log back: it began {begun} times"),
            "command" => assert!(emptied > 2, "commands have emptied the log {emptied} times"),
            _ => {}
        }
        let images = if role == "holder" { images() / 10 } else { images() / 2 };
        let losses = recording.losses(images, seed, false);
        report(role, images, &losses);
        assert!(losses.is_empty(), "{SEED}={seed}, {role}s: {losses:#?}");
    }
}

#[test]
fn a_power_cut_after_a_restore_finds_the_log_though_another_process_made_it() {
    let store = TempStore::running();
    let pd = store.open("before");
    pd.note(&NewNote { text: "before".into(), ..NewNote::default() }).unwrap();
    pd.close();
    // A copy of the database alone, as backups are. Who looks first makes the log, and never syncs.
    let conn = Connection::open(store.db()).unwrap();
    // What is opened after the cut was started anew since.
    conn.execute("UPDATE boots SET boot_id = 'an earlier one'", []).unwrap();
    let emptied: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0)).unwrap();
    assert_eq!(emptied, 0);
    drop(conn);
    let _ = std::fs::remove_file(store.db().with_extension("db-wal"));
    let seed = seed();
    let recording = Recording::on(&store, ["looks", "command"], seed, &[]);
    let losses = recording.losses(images() / 10, seed, false);
    report("after a restore", images() / 10, &losses);
    assert!(losses.is_empty(), "{SEED}={seed}: {losses:#?}");
}

#[test]
fn a_library_that_does_not_sync_is_found_out() {
    let seed = seed();
    for role in ["program", "command"] {
        let recording = Recording::of([role; 2], seed, &[("PORT_DADDY_BROKEN", "sync")]);
        let losses = recording.losses(60, seed, false);
        report(role, 60, &losses);
        for loss in ["note ", "the end of ", "who salvaged "] {
            assert!(losses.iter().any(|l| l.contains(&format!(": {loss}"))), "no {loss}was lost: {losses:#?}");
        }
    }
    let recording = Recording::of(["holder"; 2], seed, &[("PORT_DADDY_BROKEN", "sync")]);
    let losses = recording.losses(30, seed, false);
    report("holder", 30, &losses);
    assert!(losses.iter().any(|l| l.contains("given after")), "no token was given twice: {losses:#?}");
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let seed = seed();
    let recording = Recording::of(["command"; 2], seed, &[]);
    let losses = recording.losses(60, seed, true);
    report("a disk that lies", 60, &losses);
    assert!(losses.iter().any(|loss| loss.contains(" is lost")), "{losses:#?}");
    assert!(losses.iter().any(|loss| loss.contains("damaged") || loss.contains("can't be opened")), "{losses:#?}");
}
