//! Copies of the whole while others write, and putting them back under those who have it open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portdaddy_core::{
    AgentState, Backup, ClaimPort, Coordinator, ErrorKind, LockOptions, MessageFilter, NewNote, NoteFilter, Publish,
    Replay, Restore, Subscribe, Tie, Wait, restore,
};
use portdaddy_testutil::{Process, Role, TempStore};
use serde_json::json;

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);
const CHILD: &str = "backup::child";

fn note(pd: &Coordinator, text: &str) -> i64 {
    pd.note(&NewNote { text: text.into(), ..NewNote::default() }).unwrap().note.seq
}

fn notes(pd: &Coordinator) -> Vec<String> {
    let all = NoteFilter { limit: Some(100_000), ..NoteFilter::default() };
    pd.notes(&all).unwrap().notes.into_iter().map(|n| n.text).collect()
}

fn places(pd: &Coordinator) -> BTreeSet<i64> {
    let all = NoteFilter { limit: Some(100_000), ..NoteFilter::default() };
    pd.notes(&all).unwrap().notes.into_iter().map(|n| n.seq).collect()
}

fn exclusive() -> LockOptions {
    LockOptions { tie: Tie::Handle, wait: Wait::at_most(LONG), ..LockOptions::default() }
}

/// Plays a part until its parent lets go.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let pd = role.open();
    match role.name.as_str() {
        // Writes without a pause.
        "write" => {
            let over = over();
            note(&pd, "begun");
            role.say("ready");
            let mut written = 1;
            while !over() {
                let text = format!("{written} {}", "x".repeat(200));
                match pd.note(&NewNote { text, ..NewNote::default() }) {
                    Ok(_) => written += 1,
                    // A restore takes a while.
                    Err(e) => assert_eq!(e.kind(), ErrorKind::StoreBusy, "{e:?}"),
                }
            }
            role.say(&written.to_string());
        }
        // Takes the same lock again and again, and looks whether it is alone under it.
        "exclude" => {
            let over = over();
            let alone = role.db.with_file_name("alone");
            role.say("ready");
            let (mut turns, mut last) = (0, 0);
            while !over() {
                let lock = pd.lock("m", &exclusive()).unwrap().unwrap();
                assert!(lock.token() > last, "{} after {last}", lock.token());
                last = lock.token();
                std::fs::OpenOptions::new().write(true).create_new(true).open(&alone).expect("alone under the lock");
                std::fs::remove_file(&alone).unwrap();
                lock.release().unwrap();
                turns += 1;
            }
            role.say(&format!("{turns} {last}"));
        }
        "hold" => {
            let lock = pd.lock("m", &exclusive()).unwrap().unwrap();
            role.say(&lock.token().to_string());
            role.barrier();
            lock.release().unwrap();
            role.say("released");
            role.barrier();
        }
        "wait" => {
            role.say("ready");
            let lock = pd.lock("m", &exclusive()).unwrap().unwrap();
            role.say(&lock.token().to_string());
            lock.release().unwrap();
        }
        "listen" => {
            let patterns = "news".to_owned();
            let mut all = pd.subscribe(&Subscribe { patterns, replay: Replay::None, ..Subscribe::default() }).unwrap();
            role.say("ready");
            let heard = all.next(&Wait::at_most(LONG)).unwrap().unwrap();
            let portdaddy_core::Event::Message(heard) = heard else { panic!("{heard:?}") };
            role.say(&heard.message.payload.to_string());
        }
        "die" => {
            pd.lock("held-by-the-dead", &LockOptions::default()).unwrap().unwrap().leave();
            note(&pd, "the last words");
            role.say("ready");
            role.barrier();
        }
        other => panic!("{other}"),
    }
    role.barrier();
}

/// Whether the parent has let go.
fn over() -> impl Fn() -> bool {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        drop(sender);
    });
    move || receiver.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
}

fn children(store: &TempStore, role: &str, number: usize) -> Vec<Process> {
    let start = |n| {
        let mut child = store.child(CHILD, role, &format!("{role}-{n}"));
        assert_eq!(child.said(), "ready");
        child
    };
    (0..number).map(start).collect()
}

fn end(children: Vec<Process>) -> Vec<String> {
    children
        .into_iter()
        .map(|mut child| {
            child.go();
            child.said()
        })
        .collect()
}

fn file(store: &TempStore, name: &str) -> PathBuf {
    store.path().join(name)
}

fn open_copy(store: &TempStore, path: &Path) -> Coordinator {
    Coordinator::open(store.options().db(path).agent("reader")).unwrap()
}

fn sound(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let said: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(said, "ok");
    assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
}

/// What is in the directory besides the database and its own.
fn strays(store: &TempStore) -> Vec<String> {
    let dir = store.db().parent().unwrap().read_dir().unwrap();
    let mut names: Vec<String> = dir.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains("partial"));
    names
}

#[test]
fn a_backup_under_writers_is_all_that_was_committed_up_to_one_place() {
    let store = TempStore::running();
    let pd = store.open("parent");
    let writers = children(&store, "write", 3);
    for n in 0..5 {
        let acknowledged = note(&pd, "before the backup");
        let to = file(&store, &format!("backup-{n}"));
        let made = pd.backup(&to, &Backup::default()).unwrap();
        assert!(made.seq >= acknowledged, "{made:?}: {acknowledged}");
        assert_eq!(made.bytes, to.metadata().unwrap().len());
        sound(&to);
        let copy = open_copy(&store, &to);
        let all = places(&pd);
        assert_eq!(places(&copy), all.iter().copied().filter(|seq| *seq <= made.seq).collect());
        assert!(all.len() > places(&copy).len() || !all.is_empty());
    }
    assert!(end(writers).iter().all(|written| written.parse::<u64>().unwrap() > 1));
    assert!(strays(&store).is_empty());
}

#[cfg(unix)]
#[test]
fn a_backup_is_its_owners_alone_and_replaces_nothing_unasked() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "one");
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let taken = pd.backup(&to, &Backup::default()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Invalid);
    assert!(taken.next_step().unwrap().contains("--force"));
    note(&pd, "two");
    let force = Backup { force: true, ..Backup::default() };
    pd.backup(&to, &force).unwrap();
    {
        // Used as a database, it has a log of its own, which must not be taken for the next copy's.
        let copy = open_copy(&store, &to);
        assert_eq!(notes(&copy), ["one", "two"]);
        note(&copy, "in the copy");
        assert_eq!(pd.backup(&to, &force).unwrap_err().kind(), ErrorKind::Invalid, "it is in use");
    }
    note(&pd, "three");
    pd.backup(&to, &force).unwrap();
    assert_eq!(notes(&open_copy(&store, &to)), ["one", "two", "three"]);
    let names: Vec<_> = store.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
}

#[cfg(unix)]
#[test]
fn a_backup_never_goes_where_the_database_is() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "one");
    let db = store.db();
    let end = |end: &str| PathBuf::from(format!("{}{end}", db.display()));
    std::os::unix::fs::symlink(&db, file(&store, "link")).unwrap();
    std::fs::hard_link(&db, file(&store, "hard")).unwrap();
    std::os::unix::fs::symlink(end("-wal"), file(&store, "log")).unwrap();
    let force = Backup { force: true, ..Backup::default() };
    let parts = ["", "-wal", "-shm", "-journal", ".gate", ".wake", ".live/x"].map(end);
    for to in parts.into_iter().chain(["link", "hard", "log", ""].map(|name| file(&store, name))) {
        let e = pd.backup(&to, &force).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Invalid, "{}: {e:?}", to.display());
        assert!(e.next_step().is_some());
    }
    let e = pd.backup(file(&store, "nowhere/backup"), &force).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreIo, "{e:?}");
    // SQLite would read another database's log into the new file.
    std::fs::write(file(&store, "new-wal"), "x").unwrap();
    assert_eq!(pd.backup(file(&store, "new"), &force).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(notes(&pd), ["one"]);
    sound(&db);
}

#[test]
fn what_a_killed_backup_left_is_swept_by_the_next() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "one");
    let mut child = store.child(CHILD, "hold", "b");
    child.said();
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap();
    let of = |pid: u32, start: u64| file(&store, &format!(".backup.partial-{pid}-{start}-{namespace}-abcdef"));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
    let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let (dead, living) = (of(child.pid(), start + 1), of(child.pid(), start));
    std::fs::write(&dead, "x").unwrap();
    std::fs::write(&living, "x").unwrap();
    pd.backup(file(&store, "backup"), &Backup::default()).unwrap();
    assert!(!dead.exists() && living.exists());
}

#[test]
fn a_restore_under_writers_and_waiters_lets_all_go_on() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "before");
    pd.publish("news", &json!("old"), &Publish::default()).unwrap();
    let to = file(&store, "backup");
    let made = pd.backup(&to, &Backup::default()).unwrap();
    let writers = children(&store, "write", 2);
    let excluding = children(&store, "exclude", 2);
    let mut listening = children(&store, "listen", 1);
    let mut last = 0;
    for _ in 0..5 {
        last = last.max(note(&pd, "after"));
        let restored = pd.restore(&to, &Restore { force: true, ..Restore::default() }).unwrap();
        assert_eq!((restored.seq, restored.was_damaged), (made.seq, false));
        let here = notes(&pd);
        assert_eq!(here[0], "before");
        assert!(!here.contains(&"after".to_owned()), "{here:?}");
        let kept = restored.kept.unwrap();
        sound(Path::new(&kept));
        assert!(notes(&open_copy(&store, Path::new(&kept))).contains(&"after".to_owned()));
        let seq = note(&pd, "since");
        assert!(seq > last, "{seq} after {last}");
    }
    pd.publish("news", &json!("new"), &Publish::default()).unwrap();
    assert_eq!(listening[0].said(), "\"new\"", "it is woken, and hears nothing twice");
    for said in end(excluding) {
        assert!(said.split_once(' ').unwrap().0.parse::<u64>().unwrap() > 0, "{said}");
    }
    end(writers);
    sound(&store.db());
    assert!(strays(&store).is_empty());
}

#[test]
fn who_holds_or_waits_during_a_restore_holds_and_waits_on() {
    let store = TempStore::running();
    let pd = store.open("parent");
    pd.lock("released-since", &exclusive()).unwrap().unwrap().leave();
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    pd.unlock("released-since", &Default::default()).unwrap();
    let mut holder = store.child(CHILD, "hold", "holder");
    let token: i64 = holder.said().parse().unwrap();
    let mut waiter = children(&store, "wait", 1).remove(0);
    let deadline = Instant::now() + LONG;
    while pd.lock_info("m").unwrap().unwrap().waiters.is_empty() {
        assert!(Instant::now() < deadline);
    }
    let refused = pd.restore(&to, &Restore::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotOwner);
    assert!(refused.message().contains("holder holds the lock m, wait-0 waits for the lock m"), "{refused}");
    let kept = |name: &str| {
        store
            .db()
            .parent()
            .unwrap()
            .read_dir()
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().contains(name))
    };
    assert!(!kept("before-restore") && !kept("partial"), "what was refused leaves nothing");
    pd.restore(&to, &Restore { force: true, no_keep: true, ..Restore::default() }).unwrap();
    assert!(!kept("before-restore"));
    assert_eq!(pd.lock_info("m").unwrap().unwrap().token, token);
    assert!(pd.lock_info("released-since").unwrap().is_none(), "nobody gets a lock back");
    holder.go();
    assert_eq!(holder.said(), "released");
    assert!(waiter.said().parse::<i64>().unwrap() > token);
}

#[test]
fn the_backups_dead_are_up_for_salvage_and_their_locks_are_free() {
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut child = store.child(CHILD, "die", "worker");
    assert_eq!(child.said(), "ready");
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    child.kill();
    let copy = open_copy(&store, &to);
    assert_eq!(copy.agent("worker").unwrap().state, AgentState::Dead, "a backup that is opened knows it, too");
    drop(copy);
    pd.restore(&to, &Restore { force: true, ..Restore::default() }).unwrap();
    assert!(pd.lock_info("held-by-the-dead").unwrap().is_none());
    let dead = pd.salvage(&Default::default()).unwrap().items;
    assert_eq!(dead[0].agent, "worker");
    pd.lock("held-by-the-dead", &LockOptions::default()).unwrap().unwrap().release().unwrap();
}

#[test]
fn an_agent_that_lives_now_stays_alive_whatever_the_backup_says() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "before");
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    // It wrote for the first time after the backup, and believes its proofs of life to be stored.
    let late = store.open("late");
    note(&late, "after");
    let claim = ClaimPort { identity: "late:web".into(), ..ClaimPort::default() };
    let port = late.claim(&claim).unwrap().port;
    pd.restore(&to, &Restore::default()).unwrap();
    store.clock().advance(3 * 3_600_000);
    assert_ne!(pd.agent("late").unwrap().state, AgentState::Dead);
    assert_eq!(late.claim(&claim).unwrap().port, port);
    note(&late, "goes on");
    assert_eq!(notes(&pd), ["before", "goes on"]);
    sound(&store.db());
}

#[test]
fn a_backup_of_another_database_keeps_the_numbers_that_handles_remember() {
    let (one, other) = (TempStore::running(), TempStore::running());
    let named = |store: &TempStore, agent: &str, scope: &str| {
        let options = store.options().agent(agent).scope(portdaddy_core::ScopeChoice::Named(scope.into()));
        Coordinator::open(options).unwrap()
    };
    let theirs = named(&other, "them", "b");
    note(&theirs, "theirs in b");
    note(&named(&other, "them", "a"), "theirs in a");
    let to = file(&other, "backup");
    theirs.backup(&to, &Backup::default()).unwrap();
    let (a, b) = (named(&one, "a", "a"), named(&one, "b", "b"));
    note(&a, "ours");
    let last = note(&b, "ours");
    a.restore(&to, &Restore::default()).unwrap();
    assert_eq!((notes(&a), notes(&b)), (vec!["theirs in a".to_owned()], vec!["theirs in b".to_owned()]));
    assert!(note(&b, "goes on") > last);
    assert_eq!(notes(&b), ["theirs in b", "goes on"]);
    sound(&one.db());
}

#[test]
fn what_is_no_sound_backup_changes_nothing() {
    let store = TempStore::running();
    let pd = store.open("a");
    for n in 0..200 {
        note(&pd, &format!("{n} {}", "x".repeat(500)));
    }
    let good = file(&store, "good");
    pd.backup(&good, &Backup::default()).unwrap();
    let changed = |name: &str, sql: &str| {
        let path = file(&store, name);
        std::fs::copy(&good, &path).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    };
    let torn = file(&store, "torn");
    let mut bytes = std::fs::read(&good).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0x5a);
    std::fs::write(&torn, bytes).unwrap();
    let text = file(&store, "text");
    std::fs::write(&text, "no database\n".repeat(1000)).unwrap();
    let empty = file(&store, "empty");
    std::fs::write(&empty, "").unwrap();
    let missing = file(&store, "missing");
    let cases = [
        (torn, ErrorKind::StoreCorrupt),
        (text, ErrorKind::StoreCorrupt),
        (empty, ErrorKind::StoreCorrupt),
        (missing, ErrorKind::NotFound),
        (store.db(), ErrorKind::Invalid),
        (changed("newer", "PRAGMA user_version = 1000"), ErrorKind::StoreNewer),
        (changed("foreign", "PRAGMA application_id = 7"), ErrorKind::StoreCorrupt),
        (changed("more", "CREATE TABLE more (a)"), ErrorKind::StoreCorrupt),
        (changed("refers", "PRAGMA foreign_keys=OFF; UPDATE sessions SET scope = 77"), ErrorKind::StoreCorrupt),
    ];
    for (path, kind) in cases {
        for e in [
            pd.restore(&path, &Restore::default()).unwrap_err(),
            restore(store.options().agent("b"), &path, &Restore::default()).unwrap_err(),
        ] {
            assert_eq!(e.kind(), kind, "{}: {e:?}", path.display());
            assert!(e.next_step().is_some() && e.message().contains(path.to_str().unwrap()), "{e:?}");
        }
    }
    assert_eq!(notes(&pd).len(), 200);
    assert!(strays(&store).is_empty());
}

#[test]
fn a_backup_on_a_medium_that_cant_be_written_is_restored() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "one");
    let dir = file(&store, "a medium? 100%");
    std::fs::create_dir(&dir).unwrap();
    let to = dir.join("backup");
    pd.backup(&to, &Backup::default()).unwrap();
    std::fs::set_permissions(&to, PermissionsExt::from_mode(0o400)).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o500)).unwrap();
    note(&pd, "two");
    pd.restore(&to, &Restore::default()).unwrap();
    assert_eq!(notes(&pd), ["one"]);
    assert_eq!(dir.read_dir().unwrap().count(), 1);
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn a_backup_is_restored_where_no_database_is() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "one");
    pd.publish("c", &json!(1), &Publish::default()).unwrap();
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    let new = TempStore::running();
    let restored = restore(new.options().agent("b"), &to, &Restore::default()).unwrap();
    assert_eq!(restored.db, new.db().display().to_string());
    let pd = new.open("c");
    assert_eq!(notes(&pd), ["one"]);
    assert_eq!(pd.messages(&MessageFilter::default()).unwrap().len(), 1);
}

/// Overwrites the middle of the file, which nobody has open.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let from = bytes.len() / 4;
    let to = bytes.len() - 1024;
    bytes[from..to].fill(0x5a);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_database_is_put_aside_and_its_tokens_are_never_given_again() {
    let store = TempStore::running();
    let to = file(&store, "backup");
    let (token, seq) = {
        let pd = store.open("a");
        for n in 0..200 {
            note(&pd, &format!("{n} {}", "x".repeat(500)));
        }
        pd.backup(&to, &Backup::default()).unwrap();
        let token = pd.lock("m", &exclusive()).unwrap().unwrap().token();
        (token, note(&pd, "lost"))
    };
    // Everything is in the file itself.
    rusqlite::Connection::open(store.db()).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    damage(&store.db());
    let mut child = None;
    if let Ok(open) = Coordinator::open(store.options().agent("b")) {
        // Whoever still has it open would go on in the old file.
        let e = open.restore(&to, &Restore::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "{e:?}");
        child = Some(open);
    }
    drop(child);
    let restored = restore(store.options().agent("b"), &to, &Restore { force: true, ..Restore::default() }).unwrap();
    assert!(restored.was_damaged && Path::new(&restored.kept.unwrap()).exists());
    let pd = store.open("a");
    assert_eq!(notes(&pd).len(), 200);
    assert!(note(&pd, "goes on") > seq);
    assert!(pd.lock("m", &exclusive()).unwrap().unwrap().token() > token);
    sound(&store.db());
}

#[test]
fn a_damaged_database_that_somebody_has_open_stays_where_it_is() {
    let store = TempStore::running();
    let to = file(&store, "backup");
    {
        let pd = store.open("a");
        for n in 0..200 {
            note(&pd, &format!("{n} {}", "x".repeat(500)));
        }
        pd.backup(&to, &Backup::default()).unwrap();
    }
    rusqlite::Connection::open(store.db()).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut child = store.child(CHILD, "hold", "holder");
    child.said();
    damage(&store.db());
    let e = restore(store.options().agent("b"), &to, &Restore { force: true, ..Restore::default() }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotOwner, "{e:?}");
    assert!(e.message().contains(&child.pid().to_string()), "{e}");
    child.kill();
    restore(store.options().agent("b"), &to, &Restore { force: true, ..Restore::default() }).unwrap();
    assert_eq!(notes(&store.open("a")).len(), 200);
}

#[test]
fn another_programs_database_is_never_put_aside() {
    let (store, other) = (TempStore::running(), TempStore::running());
    let pd = store.open("a");
    note(&pd, "one");
    let to = file(&store, "backup");
    pd.backup(&to, &Backup::default()).unwrap();
    std::fs::create_dir(other.db().parent().unwrap()).unwrap();
    std::fs::set_permissions(other.db().parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    for version in [0, 5] {
        let theirs = rusqlite::Connection::open(other.db()).unwrap();
        theirs.execute_batch(&format!("CREATE TABLE IF NOT EXISTS t (a); PRAGMA user_version = {version}")).unwrap();
        drop(theirs);
        let before = std::fs::read(other.db()).unwrap();
        let force = Restore { force: true, ..Restore::default() };
        let e = restore(other.options().agent("b"), &to, &force).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "{e:?}");
        assert_eq!(std::fs::read(other.db()).unwrap(), before);
    }
    // What isn't even a database is put aside where that is asked for.
    std::fs::write(other.db(), "no database\n".repeat(1000)).unwrap();
    let e = restore(other.options().agent("b"), &to, &Restore::default()).unwrap_err();
    assert!(e.kind() == ErrorKind::StoreCorrupt && e.next_step().unwrap().contains("--force"), "{e:?}");
    let done = restore(other.options().agent("b"), &to, &Restore { force: true, ..Restore::default() }).unwrap();
    assert!(std::fs::read_to_string(done.kept.unwrap()).unwrap().starts_with("no database"));
    assert_eq!(notes(&other.open("c")), ["one"]);
}
