//! Two builds of the library with different schemas at work on one file. `PORT_DADDY_MIGRATION` makes a process the newer
//! one: it has one more migration.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, ErrorKind, LockOptions, NewNote, NoteFilter, Publish, Replay, Subscribe, Wait};
use portdaddy_testutil::{Process, Role, TempStore, without_tick};
use rusqlite::Connection;
use serde_json::json;

use crate::versions::{contents, missing, present, restored, version};

const CHILD: &str = "faults::builds::child";
const LONG: Duration = Duration::from_secs(60);
const NEWER: (&str, &str) = (
    "PORT_DADDY_MIGRATION",
    "ALTER TABLE notes ADD COLUMN mood TEXT; CREATE TABLE moods (name TEXT PRIMARY KEY) STRICT;",
);

fn at_once() -> LockOptions {
    LockOptions { blocking: false, ..LockOptions::default() }
}

fn waiting() -> LockOptions {
    LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() }
}

fn note(pd: &Coordinator, text: &str) -> portdaddy_core::Result<i64> {
    pd.note(&NewNote { text: text.into(), ..NewNote::default() }).map(|written| written.note.seq)
}

fn texts(pd: &Coordinator) -> BTreeSet<String> {
    let all = NoteFilter { limit: Some(100_000), ..NoteFilter::default() };
    pd.notes(&all).unwrap().notes.into_iter().map(|note| note.text).collect()
}

/// What a call came to, in a word for the parent.
fn word<T>(result: portdaddy_core::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(e) => {
            let out = e.kind() != ErrorKind::StoreNewer || e.next_step().is_some_and(|hint| hint.contains("upgrade"));
            assert!(out, "it names no way out: {e:?}");
            e.kind().code().to_owned()
        }
    }
}

#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    match role.name.as_str() {
        "open" => {
            let _pd = role.open();
            role.say("open");
            role.barrier();
        }
        "hold" => {
            let pd = role.open();
            let lock = pd.lock("m", &at_once()).unwrap().unwrap();
            role.say("held");
            role.barrier();
            role.say(&texts(&pd).into_iter().collect::<Vec<_>>().join(","));
            role.say(&word(note(&pd, "too old")));
            role.say(&word(pd.publish("c", &json!(1), &Publish::default())));
            role.say(&word(lock.release()));
            role.barrier();
        }
        "wait" => {
            let pd = role.open();
            role.say("waits");
            role.say(&word(pd.lock("m", &waiting())));
            role.barrier();
        }
        "listen" => {
            let pd = role.open();
            let mut listening = pd
                .subscribe(&Subscribe { patterns: "news".into(), replay: Replay::None, ..Subscribe::default() })
                .unwrap();
            role.say("listens");
            role.say(&word(listening.next(&Wait::at_most(LONG))));
            role.barrier();
        }
        "write" => write(&role),
        "migrate" => {
            let pd = role.open();
            role.say(&note(&pd, &role.agent).unwrap().to_string());
            role.barrier();
        }
        "news" => {
            let pd = role.open();
            note(&pd, "by the new").unwrap();
            pd.publish("news", &json!(1), &Publish::default()).unwrap();
            role.say("published");
            role.barrier();
            role.say(if pd.lock("m", &at_once()).unwrap().is_none() { "held by another" } else { "taken" });
            role.barrier();
            role.say("waits");
            role.say(&word(pd.lock("m", &waiting())));
            role.barrier();
        }
        other => panic!("{other}"),
    }
}

/// Writes until it is refused, and tells what it had acknowledged.
fn write(role: &Role) {
    let pd = role.open();
    role.say("writes");
    role.barrier();
    let mut written = 0;
    let refused = loop {
        match note(&pd, &format!("{} {written}", role.agent)) {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 100_000, "nobody has migrated the file");
    };
    assert_eq!(refused.kind(), ErrorKind::StoreNewer, "{refused:?}");
    // Once refused it stays so.
    let again = [word(note(&pd, "too old")), word(pd.lock("m", &at_once())), word(pd.heartbeat())];
    assert_eq!(again, [ErrorKind::StoreNewer.code(); 3]);
    role.say(&written.to_string());
}

fn newer(store: &TempStore, role: &str, agent: &str) -> Process {
    store.child_with(CHILD, role, agent, &[NEWER])
}

fn until(what: &str, mut f: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !f() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_older_build_reads_on_and_writes_no_more_and_its_lock_passes_at_its_death() {
    if without_tick("a migration wakes nobody") {
        return;
    }
    let store = TempStore::running();
    let old = store.open("old");
    note(&old, "by the old").unwrap();
    let mut holder = store.child(CHILD, "hold", "holder");
    assert_eq!(holder.said(), "held");
    let mut waiter = store.child(CHILD, "wait", "waiter");
    assert_eq!(waiter.said(), "waits");
    until("nobody waits", || old.lock_info("m").unwrap().is_some_and(|lock| lock.waiters.len() == 1));
    let mut listener = store.child(CHILD, "listen", "listener");
    assert_eq!(listener.said(), "listens");
    until("nobody listens", || old.status().unwrap().waiters.len() == 2);

    let mut one = newer(&store, "open", "new");
    assert_eq!(one.said(), "open");
    assert!(one.ended());
    let versions = [present(), version(&store.db())];
    assert_eq!(versions[0] + 1, versions[1], "nobody has migrated it");

    // Who waits in an older build could neither keep the lock in order nor give it back: its wait is over.
    assert_eq!(waiter.said(), ErrorKind::StoreNewer.code());
    // The older ones hear of what the newer one does, and refuse to write; what they hold stays theirs.
    let mut writer = newer(&store, "news", "new");
    assert_eq!(writer.said(), "published");
    assert_eq!(listener.said(), ErrorKind::StoreNewer.code());
    holder.go();
    assert_eq!(holder.said(), "by the new,by the old");
    for _ in ["note", "publish", "release"] {
        assert_eq!(holder.said(), ErrorKind::StoreNewer.code());
    }
    writer.go();
    assert_eq!(writer.said(), "held by another");
    // The lock passes to the newer one, though the older waiter's program runs on.
    writer.go();
    assert_eq!(writer.said(), "waits");
    holder.kill();
    assert_eq!(writer.said(), "done");
    assert_eq!(word(note(&old, "too old")), ErrorKind::StoreNewer.code());
    assert_eq!(texts(&old).len(), 2);
    drop((waiter, listener));
}

#[test]
fn a_migration_among_writers_at_full_speed_loses_nothing_and_no_older_build_writes_after_it() {
    for _ in 0..races() {
        let store = TempStore::running();
        let mut writers: Vec<Process> = ["a", "b"].map(|agent| store.child(CHILD, "write", agent)).into();
        writers.iter_mut().for_each(|child| assert_eq!(child.said(), "writes"));
        let looker = store.open("looker");
        writers.iter_mut().for_each(Process::go);
        until("nobody writes", || texts(&looker).len() > 20);
        let mut new: Vec<Process> = ["x", "y"].map(|agent| newer(&store, "migrate", agent)).into();
        let first: Vec<i64> = new.iter_mut().map(|child| child.said().parse().unwrap()).collect();
        let written: Vec<usize> = writers.iter_mut().map(|child| child.said().parse().unwrap()).collect();
        let found = texts(&looker);
        for (agent, written) in ["a", "b"].iter().zip(written) {
            let there = found.iter().filter(|text| text.starts_with(&format!("{agent} "))).count();
            assert_eq!(there, written, "what {agent} was told is stored, and nothing else");
        }
        // In the order of commits, everything by older builds comes before anything by newer ones.
        let conn = Connection::open(store.db()).unwrap();
        let last: i64 =
            conn.query_row("SELECT max(seq) FROM notes WHERE agent IN ('a', 'b')", [], |r| r.get(0)).unwrap();
        assert!(first.iter().all(|seq| *seq > last), "{first:?} {last}");
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }
}

fn races() -> usize {
    std::env::var("PD_TEST_RACES").ok().and_then(|races| races.parse().ok()).unwrap_or(5)
}

#[test]
fn a_file_from_the_future_is_refused_with_the_way_out_and_left_alone() {
    let store = TempStore::running();
    assert_eq!(newer(&store, "open", "new").said(), "open");
    let before = contents(&store.db());
    let refused = Coordinator::open(store.options().agent("old")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StoreNewer);
    assert!(refused.message().contains(store.db().to_str().unwrap()), "{refused}");
    assert_eq!(refused.fields()["schema"], json!(present() + 1));
    assert_eq!(refused.fields()["known"], json!(present()));
    assert!(refused.next_step().unwrap().contains("upgrade"), "{refused:?}");
    assert_eq!(contents(&store.db()), before);
}

#[test]
fn killed_in_the_middle_of_a_migration_the_file_stays_what_it_was() {
    for old in 1..=present() {
        let store = restored(old);
        let before = contents(&store.db());
        let migrations = present() + 1 - old;
        for nth in 1..=migrations {
            let fault = format!("migrating=kill@{nth}");
            let mut killed = store.child_with(CHILD, "open", "new", &[NEWER, ("PORT_DADDY_FAULT", &fault)]);
            assert!(!killed.ended());
            assert_eq!(version(&store.db()), old, "killed after {nth} of {migrations}");
            assert_eq!(contents(&store.db()), before);
        }
        let mut whole = newer(&store, "open", "new");
        assert_eq!(whole.said(), "open");
        assert_eq!(version(&store.db()), present() + 1);
        let lost = missing(&before, &contents(&store.db()));
        assert!(lost.is_empty(), "from version {old}: {lost:#?}");
    }
}
