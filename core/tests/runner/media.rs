//! What happens to the files while they are in use: removed, replaced, restored from a copy, closed to us, on a disk that is
//! full. Each is a clear error or made good, and afterwards no two hold one lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portdaddy_core::{
    Coordinator, Error, ErrorClass, ErrorKind, Event, Face, Lock, LockOptions, NewNote, NoteFilter, Publish, Replay,
    Subscribe, Subscription, Wait,
};
use portdaddy_testutil::{Role, TempStore, without_tick};
use rusqlite::Connection;
use serde_json::json;

use crate::store;

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
        "contend" => {
            let pd = role.open();
            role.say("ready");
            role.barrier();
            contend(&pd, &role.db);
            role.say("done");
        }
        "checkpoint on a full disk" => checkpoint_on_a_full_disk(&role),
        "no room for a page" => no_room_for_a_page(&role),
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

/// Takes the lock again and again; nobody else may be inside meanwhile.
fn contend(pd: &Coordinator, db: &Path) {
    let inside = db.with_file_name("inside");
    for n in 0..20 {
        let lock = pd.lock("m", &LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() }).unwrap().unwrap();
        fs::File::create_new(&inside).expect("two hold one lock");
        note(pd, &format!("contended {n}")).unwrap();
        fs::remove_file(&inside).unwrap();
        lock.release().unwrap();
    }
}

#[test]
fn without_the_library_s_own_files_as_they_were_all_still_exclude_and_wake_each_other() {
    if without_tick("who wakes on another page wakes nobody") {
        return;
    }
    for end in [".gate", ".gate-next", ".wake", ".live"] {
        for how in ["removed", "replaced"] {
            let store = TempStore::running();
            let pd = store.open("parent");
            note(&pd, "before").unwrap();
            let holder = store.open("holder");
            let held = holder.lock("held", &LockOptions::default()).unwrap().unwrap();
            let mut child = store.child(CHILD, "contend", "first");
            assert_eq!(child.said(), "ready");
            let path = file(&store, end);
            fs::rename(&path, store.dir("away").join("it")).unwrap();
            match (how, end) {
                ("removed", _) => {}
                (_, ".live") => store::make_private(&path),
                (_, ".wake") => fs::write(&path, [0; 4096]).unwrap(),
                _ => fs::write(&path, "").unwrap(),
            }
            // One more comes after it.
            let mut later = store.child(CHILD, "contend", "second");
            assert_eq!(later.said(), "ready");
            child.go();
            later.go();
            contend(&pd, &store.db());
            assert_eq!([child.said(), later.said()], ["done", "done"], "{end} {how}");
            assert_eq!(texts(&pd).len(), 61, "{end} {how}");
            let info = pd.lock_info("held").unwrap().expect("who lives keeps its lock");
            assert_eq!(info.agent, "holder", "{end} {how}");
            held.release().unwrap();
            let mut news = listen(&pd, "news");
            let other = store.open("other");
            std::thread::scope(|scope| {
                let hearing = scope.spawn(move || hear(&mut news));
                other.publish("news", &json!(1), &Publish::default()).unwrap();
                hearing.join().unwrap();
            });
            is_sound(&store.db());
        }
    }
}

#[test]
fn a_file_that_is_closed_to_us_while_we_use_it_is_an_error_that_names_it_and_ends_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::new();
    let (dir, live) = (store.db().parent().unwrap().to_owned(), file(&store, ".live"));
    store.open("first").close();
    store::as_ordinary_user(&store, || {
        let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let named = |e: Error, kinds: &[ErrorKind], path: &Path| {
            assert!(kinds.contains(&e.kind()), "{e:?}");
            assert!(e.message().contains(path.to_str().unwrap()) && e.next_step().is_some(), "{e:?}");
        };
        let pd = store.open("a");
        note(&pd, "before").unwrap();
        // Who has it open goes on; who comes now may look, and is told what can't be written.
        set(&store.db(), 0o400);
        note(&pd, "while it is read-only").unwrap();
        assert_eq!(texts(&pd).len(), 2);
        let late = store.shell("late");
        assert_eq!(texts(&late).len(), 2);
        named(note(&late, "x").unwrap_err(), &[ErrorKind::StoreReadOnly], &store.db());
        drop(late);
        set(&store.db(), 0);
        note(&pd, "while it is closed").unwrap();
        let refused = |agent: &str| Coordinator::open(store.options().agent(agent)).map(drop).unwrap_err();
        assert_eq!(texts(&pd).len(), 3);
        set(&store.db(), 0o600);

        // No proof of life can be put there. What is open has its own.
        set(&live, 0o500);
        named(refused("c"), &[ErrorKind::StorePermission], &live);
        at_once(&pd).unwrap().unwrap().release().unwrap();
        set(&live, 0o700);

        // Nothing new is needed in the directory; and where others may write, nobody comes in.
        set(&dir, 0o500);
        note(&pd, "while the directory is read-only").unwrap();
        note(&store.open("d"), "one more").unwrap();
        set(&dir, 0o722);
        named(refused("e"), &[ErrorKind::StorePermission], &dir);
        note(&pd, "while others may write").unwrap();
        set(&dir, 0o700);
        note(&store.open("f"), "as before").unwrap();
        assert_eq!(texts(&pd).len(), 7);
        pd.close();
        is_sound(&store.db());
    });
}

#[test]
fn a_file_that_can_t_be_looked_at_is_not_taken_for_a_removed_one() {
    let store = TempStore::new();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    let (db, aside) = (store.db(), store.path().join("aside"));
    let dir = db.parent().unwrap();
    fs::rename(dir, &aside).unwrap();
    // It leads to itself.
    std::os::unix::fs::symlink(dir, dir).unwrap();
    let e = note(&pd, "meanwhile").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreIo);
    assert!(e.message().contains("the database can't be looked at"), "{e}");
    fs::remove_file(dir).unwrap();
    fs::rename(&aside, dir).unwrap();
    note(&pd, "after").unwrap();
    assert_eq!(texts(&pd), ["before", "after"]);
}

/// Leaves so many bytes free.
fn fill(dir: &Path, free: usize) {
    use std::io::Write;
    let mut filler = fs::File::create(dir.join("filler")).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
    let size = filler.metadata().unwrap().len();
    filler.set_len(size - free as u64).unwrap();
}

fn on_a_small_disk(role: &str) {
    let store = TempStore::running();
    store::make_private(store.db().parent().unwrap());
    let script = "mount -t tmpfs -o size=8m,mode=0700 none \"$dir\"";
    let Some(mut child) = store::child_in_mounts(&store, script, CHILD, role) else { return };
    assert_eq!(child.said(), "done");
}

#[test]
fn a_disk_that_is_full_when_the_log_is_put_back_loses_nothing_and_it_is_put_back_later() {
    on_a_small_disk("checkpoint on a full disk");
}

fn checkpoint_on_a_full_disk(role: &Role) {
    let dir = role.db.parent().unwrap();
    let log = role.db.with_extension("db-wal");
    let program = Coordinator::open(role.options().agent("program")).unwrap();
    let text = "x".repeat(50_000);
    (0..20).for_each(|_| note(&program, &text).unwrap());
    let before = fs::metadata(&log).unwrap().len();
    // Room for some notes, not for what the log holds, which a command's note puts back.
    fill(dir, 256 << 10);
    let command = || Coordinator::open(role.options().agent("command").face(Face::Shell)).unwrap();
    let mut stored = 20;
    let refused = loop {
        match note(&command(), "in the last room") {
            Ok(()) => stored += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::StoreFull, "{refused:?}");
    assert!(fs::metadata(&log).unwrap().len() >= before, "there was room to put it back");
    assert_eq!(texts(&program).len(), stored);
    is_sound(&role.db);
    fs::remove_file(dir.join("filler")).unwrap();
    note(&command(), "with room again").unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), 0, "it was not put back");
    note(&program, "the same handle").unwrap();
    assert_eq!(texts(&program).len(), stored + 2);
    is_sound(&role.db);
    role.say("done");
}

#[test]
fn a_disk_with_no_room_for_the_wake_page_or_a_proof_of_life_is_a_full_disk_and_ends_with_it() {
    on_a_small_disk("no room for a page");
}

fn no_room_for_a_page(role: &Role) {
    let dir = role.db.parent().unwrap();
    let page = role.db.with_extension("db.wake");
    Coordinator::open(role.options().agent("first")).unwrap().close();
    fs::remove_file(&page).unwrap();
    fill(dir, 0);
    let looker = Coordinator::open(role.options().agent("looker").face(Face::Shell)).unwrap();
    assert!(texts(&looker).is_empty());
    assert!(!page.exists(), "there was room for it");
    let full = |e: Error| assert_eq!(e.kind(), ErrorKind::StoreFull, "{e:?}");
    full(Coordinator::open(role.options().agent("program")).map(drop).unwrap_err());
    full(looker.wait_for_signal("x", &Wait::at_most(Duration::from_millis(10))).map(drop).unwrap_err());
    full(note(&looker, "x").unwrap_err());
    fs::remove_file(dir.join("filler")).unwrap();
    // The same handle goes on, and finds room for the page when it next looks.
    let deadline = Instant::now() + LONG;
    while !page.exists() {
        assert!(Instant::now() < deadline, "it polls for ever");
        note(&looker, "x").unwrap();
    }
    let program = Coordinator::open(role.options().agent("program")).unwrap();
    let mut news = listen(&program, "news");
    looker.publish("news", &json!(1), &Publish::default()).unwrap();
    hear(&mut news);
    role.say("done");
}
