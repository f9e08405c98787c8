//! What happens to the files while they are in use: removed, replaced, restored from a copy, closed to us, on a disk that is
//! full. Each is a clear error or made good, and afterwards no two hold one lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portdaddy_core::{
    Coordinator, Error, ErrorClass, ErrorKind, Event, Lock, LockOptions, NewNote, NoteFilter, Publish, Replay,
    Subscribe, Subscription, Wait,
};
use portdaddy_testutil::{Role, TempStore};
use rusqlite::Connection;
use serde_json::json;

const CHILD: &str = "media::child";
/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(60);
const NOTES: usize = 40;

fn note(pd: &Coordinator, text: &str) -> Result<(), Error> {
    pd.note(&NewNote { text: text.into(), ..NewNote::default() }).map(drop)
}

fn texts(pd: &Coordinator) -> Vec<String> {
    let all = NoteFilter { limit: Some(10_000), ..NoteFilter::default() };
    pd.notes(&all).unwrap().notes.into_iter().map(|note| note.text).collect()
}

fn at_once(pd: &Coordinator) -> Result<Option<Lock>, Error> {
    pd.lock("m", &LockOptions { blocking: false, ..LockOptions::default() })
}

fn listen(pd: &Coordinator, channel: &str) -> Subscription {
    let subscribe = Subscribe { patterns: channel.into(), replay: Replay::None, ..Subscribe::default() };
    pd.subscribe(&subscribe).unwrap()
}

fn hear(subscription: &mut Subscription) {
    match subscription.next(&Wait::at_most(LONG)).unwrap() {
        Some(Event::Message(_)) => {}
        other => panic!("nobody was woken: {other:?}"),
    }
}

fn file(store: &TempStore, end: &str) -> PathBuf {
    let mut name = store.db().into_os_string();
    name.push(end);
    name.into()
}

fn is_sound(db: &Path) {
    let conn = Connection::open(db).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    match role.name.as_str() {
        "come anew" => come_anew(&role),
        other => panic!("{other:?}"),
    }
}

/// Opens what is there now, takes the lock, and writes, in turns with its parent.
fn come_anew(role: &Role) {
    let try_open = || Coordinator::open(role.options()).and_then(|pd| at_once(&pd).map(|lock| (pd, lock)));
    let opened = match try_open() {
        Ok(opened) => {
            role.say("open");
            role.barrier();
            opened
        }
        Err(e) => {
            assert_eq!(e.kind().class(), ErrorClass::Store, "{e:?}");
            assert!(e.next_step().is_some(), "{e:?}");
            role.say(e.kind().code());
            // Once the older handle is closed, nothing is in the way.
            role.barrier();
            try_open().unwrap()
        }
    };
    let (pd, lock) = opened;
    let lock = lock.expect("nobody holds it");
    for n in 0..NOTES {
        note(&pd, &format!("first {n}")).unwrap();
    }
    role.say("written");
    role.barrier();
    for n in 0..NOTES {
        note(&pd, &format!("second {n}")).unwrap();
    }
    let mut news = listen(&pd, "to-the-child");
    role.say("written");
    role.barrier();
    pd.publish("to-the-parent", &json!(1), &Publish::default()).unwrap();
    hear(&mut news);
    lock.release().unwrap();
    role.say("released");
    role.barrier();
}

#[test]
fn whichever_file_of_sqlite_s_is_removed_or_replaced_in_use_who_had_it_open_says_so_and_harms_nobody() {
    for end in ["", "-wal", "-shm"] {
        for how in ["removed", "replaced"] {
            removed_or_replaced(end, how);
        }
    }
}

fn removed_or_replaced(end: &str, how: &str) {
    let store = TempStore::running();
    let (old, second) = (store.open("old"), store.open("second"));
    note(&old, "before").unwrap();
    // So much that closing the handle would empty the log.
    for _ in 0..12 {
        old.publish("large", &json!("x".repeat(120_000)), &Publish::default()).unwrap();
    }
    let path = file(&store, end);
    let copy = store.dir("copy").join("file");
    fs::copy(&path, &copy).unwrap();
    fs::remove_file(&path).unwrap();
    if how == "replaced" {
        fs::rename(&copy, &path).unwrap();
    }
    let mut new = store.child(CHILD, "come anew", "new");
    let said = new.said();
    let refused = |result: Result<(), Error>| {
        let e = result.expect_err("it goes on beside another");
        assert_eq!(e.kind(), ErrorKind::StoreIo, "{e:?}");
        assert!(e.message().contains(path.to_str().unwrap()) && e.message().contains("while it was open"), "{e}");
        assert!(e.next_step().unwrap().contains("close"), "{e:?}");
    };
    for pd in [&old, &second] {
        refused(note(pd, "lost"));
        refused(at_once(pd).map(drop));
        refused(pd.notes(&NoteFilter::default()).map(drop));
    }
    if !end.is_empty() {
        // All connections of a process that has the database open share its log.
        refused(Coordinator::open(store.options().agent("beside")).and_then(|pd| at_once(&pd).map(drop)));
    }
    if said == "open" {
        new.go();
        assert_eq!(new.said(), "written");
    }
    old.close();
    second.close();
    new.go();
    assert_eq!(new.said(), "written");
    if said != "open" {
        new.go();
        assert_eq!(new.said(), "written");
    }
    let pd = store.open("later");
    assert!(at_once(&pd).unwrap().is_none(), "{end:?} {how}: two hold one lock");
    let found = texts(&pd);
    let kept = found.iter().filter(|text| text.starts_with("first ") || text.starts_with("second ")).count();
    assert_eq!(kept, 2 * NOTES, "{end:?} {how}: what was acknowledged to the newer one is lost");
    let mut news = listen(&pd, "to-the-parent");
    new.go();
    hear(&mut news);
    pd.publish("to-the-child", &json!(1), &Publish::default()).unwrap();
    assert_eq!(new.said(), "released");
    is_sound(&store.db());
    at_once(&pd).unwrap().expect("it is free").release().unwrap();
}
