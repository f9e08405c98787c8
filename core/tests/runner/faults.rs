//! Processes that are killed or stopped at the worst moments. Only in a build with `--cfg portdaddy_faults`
//! (`make test-faults`): the library then stops or dies where `PORT_DADDY_FAULT` says.

mod builds;
mod power;
mod recorder;
mod traps;

use std::time::{Duration, Instant};

use portdaddy_core::{
    Backup, Coordinator, ErrorKind, LockOptions, NewNote, NoteFilter, Options, Publish, Replay, Restore, Subscribe,
    Wait, restore,
};
use portdaddy_testutil::{Process, Role, TempStore, without_tick};
use serde_json::json;

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);
const CHILD: &str = "faults::child";

fn note(pd: &Coordinator, text: &str) -> portdaddy_core::Result<()> {
    pd.note(&NewNote { text: text.into(), ..NewNote::default() }).map(|_| ())
}

fn notes(pd: &Coordinator) -> Vec<String> {
    pd.notes(&NoteFilter::default()).unwrap().notes.into_iter().map(|n| n.text).collect()
}

/// Does one thing, with a fault armed by its parent, and says so if it gets that far.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    if role.name.starts_with("put-") {
        // Nobody may have a damaged database open.
        let force = Restore { force: true, ..Restore::default() };
        restore(role.options(), role.db.with_file_name("backup"), &force).unwrap();
        return role.say("survived");
    }
    let pd = role.open();
    match role.name.as_str() {
        "open" => {}
        "note" => note(&pd, "the child's").unwrap(),
        "publish" => pd.publish("ready", &json!(1), &Publish::default()).map(|_| ()).unwrap(),
        "send" => pd.send("parent", "hello").map(|_| ()).unwrap(),
        "lock" => pd.lock("m", &LockOptions::default()).unwrap().unwrap().leave(),
        "backup" => pd.backup(role.db.with_file_name("backup"), &Backup::default()).map(|_| ()).unwrap(),
        "restore" => pd.restore(role.db.with_file_name("backup"), &Restore::default()).map(|_| ()).unwrap(),
        other => panic!("{other}"),
    }
    role.say("survived");
    role.barrier();
}

fn armed(store: &TempStore, role: &str, fault: &str) -> Process {
    store.child_with(CHILD, role, "child", &[("PORT_DADDY_FAULT", fault)])
}

fn until_stopped(child: &Process) {
    let deadline = Instant::now() + LONG;
    let stat = format!("/proc/{}/stat", child.pid());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(Instant::now() < deadline, "the child never stopped");
        std::thread::yield_now();
    }
}

#[test]
fn killed_inside_a_transaction_it_stores_nothing_and_blocks_nobody() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "before").unwrap();
    for role in ["note", "publish", "lock"] {
        assert!(!armed(&store, role, "in-transaction=kill").ended());
    }
    note(&pd, "after").unwrap();
    assert_eq!(notes(&pd), ["before", "after"]);
    assert!(pd.messages(&Default::default()).unwrap().is_empty());
    assert!(pd.lock_info("m").unwrap().is_none());
}

#[test]
fn killed_after_commit_what_was_committed_is_there() {
    let store = TempStore::running();
    let pd = store.open("parent");
    assert!(!armed(&store, "publish", "committed=kill").ended());
    let messages = pd.messages(&Default::default()).unwrap();
    assert!(matches!(&messages[..], [one] if one.channel == "ready"), "{messages:?}");
    note(&pd, "after").unwrap();
}

#[test]
fn a_wake_that_is_never_sent_is_made_good() {
    if without_tick("who is killed before it wakes wakes nobody") {
        return;
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut subscription =
        pd.subscribe(&Subscribe { patterns: "ready".into(), replay: Replay::None, ..Subscribe::default() }).unwrap();
    assert!(subscription.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none());
    std::thread::scope(|scope| {
        let subscriber = scope.spawn(move || subscription.next(&Wait::at_most(LONG)).unwrap());
        assert!(!armed(&store, "publish", "committed=kill").ended());
        assert!(subscriber.join().unwrap().is_some(), "nobody looked without being woken");
    });
}

#[test]
fn a_direct_message_whose_sender_dies_is_there_whole_or_not_at_all() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "here").unwrap();
    assert!(!armed(&store, "send", "in-transaction=kill").ended());
    assert!(pd.inbox().unwrap().is_empty());
    assert!(!armed(&store, "send", "committed=kill").ended());
    assert_eq!(pd.inbox().unwrap().len(), 1);
    if without_tick("who is killed before it wakes wakes nobody") {
        return;
    }
    pd.inbox_shown(i64::MAX).unwrap();
    let mut follower = pd.follow_inbox_from().unwrap();
    assert!(follower.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none());
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || follower.next(&Wait::at_most(LONG)).unwrap());
        assert!(!armed(&store, "send", "committed=kill").ended());
        assert!(watcher.join().unwrap().is_some(), "nobody looked without being woken");
    });
}

#[test]
fn who_cannot_tell_which_boot_it_is_ends_no_lease() {
    const ME: &str = "faults::who_cannot_tell_which_boot_it_is_ends_no_lease";
    let lease = LockOptions { blocking: false, ttl_ms: Some(3_600_000), ..LockOptions::default() };
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        let locks = ["m", "own"].map(|name| pd.lock(name, &lease).unwrap());
        role.say(&json!(locks.each_ref().map(Option::is_some)).to_string());
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let _held = pd.lock("m", &lease).unwrap().unwrap();
    let mut child = store.child_with(ME, "lock", "child", &[("PORT_DADDY_BOOT", "")]);
    assert_eq!(child.said(), "[false,true]");
    assert!(pd.lock("own", &lease).unwrap().is_none(), "nor are its own ended by others");
}

/// Without a tick, whoever knows no lease's end sleeps beyond it.
#[test]
fn of_a_lease_that_is_handed_on_by_one_who_dies_before_the_wake_all_learn() {
    const ME: &str = "faults::of_a_lease_that_is_handed_on_by_one_who_dies_before_the_wake_all_learn";
    if let Some(role) = Role::of_this_process() {
        let ttl_ms = (role.name == "lease").then_some(200);
        let pd = role.open();
        let options = LockOptions { ttl_ms, wait: Wait::at_most(LONG), ..LockOptions::default() };
        let lock = pd.lock("m", &options).unwrap().unwrap();
        role.say("granted");
        if role.name == "pass" {
            lock.release().unwrap();
        }
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let now = LockOptions { blocking: false, ..LockOptions::default() };
    let held = pd.lock("m", &now).unwrap().unwrap();
    let mut waiting = 0;
    let mut queued = |role: &str, agent: &str, variables: &[(&str, &str)]| {
        let child = store.child_with(ME, role, agent, variables);
        waiting += 1;
        let deadline = Instant::now() + LONG;
        while pd.lock_info("m").unwrap().unwrap().waiters.len() < waiting {
            assert!(Instant::now() < deadline, "nobody waits");
        }
        child
    };
    // Its first commit takes a place in the queue, its second hands the lock on.
    let mut passes = queued("pass", "passes", &[("PORT_DADDY_FAULT", "committed=kill@2")]);
    let mut leases = queued("lease", "leases", &[]);
    let mut last = queued("hold", "last", &[]);
    // Who holds the lock now, and nothing of what comes.
    last.until_watching();
    held.release().unwrap();
    for child in [&mut passes, &mut leases, &mut last] {
        assert_eq!(child.said(), "granted");
    }
}

#[test]
fn killed_right_after_it_was_granted_a_lock_the_next_one_gets_it() {
    let store = TempStore::running();
    let pd = store.open("parent");
    assert!(!armed(&store, "lock", "committed=kill").ended());
    let wait = Wait::at_most(LONG);
    assert!(pd.lock("m", &LockOptions { wait, ..LockOptions::default() }).unwrap().is_some());
}

#[test]
fn killed_while_creating_the_file_the_next_one_creates_it() {
    let store = TempStore::running();
    assert!(!armed(&store, "open", "migrating=kill").ended());
    let pd = store.open("parent");
    note(&pd, "first").unwrap();
    assert_eq!(notes(&pd), ["first"]);
}

#[test]
fn who_comes_second_to_a_new_file_ends_nobodys_wait() {
    let store = TempStore::running();
    let mut second = armed(&store, "open", "to-migrate=stop");
    until_stopped(&second);
    let (holder, waiter) = (store.open("holder"), store.open("waiter"));
    let held = holder.lock("m", &LockOptions::default()).unwrap().unwrap();
    let queue = || holder.lock_info("m").unwrap().unwrap().waiters.len();
    std::thread::scope(|scope| {
        let waits =
            scope.spawn(|| waiter.lock("m", &LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() }));
        let deadline = Instant::now() + LONG;
        while queue() == 0 {
            assert!(Instant::now() < deadline, "it never began to wait");
        }
        second.resume();
        assert_eq!(second.said(), "survived");
        assert_eq!(queue(), 1);
        held.release().unwrap();
        assert!(waits.join().unwrap().unwrap().is_some());
    });
}

#[test]
fn stopped_inside_a_transaction_it_delays_writers_for_a_bounded_time_and_readers_not_at_all() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "before").unwrap();
    let mut child = armed(&store, "publish", "in-transaction=stop");
    until_stopped(&child);
    assert_eq!(notes(&pd), ["before"], "reading goes on");
    let busy = note(&pd, "meanwhile").unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::StoreBusy);
    assert!(busy.next_step().unwrap().contains("stopped"), "{busy:?}");
    child.resume();
    assert_eq!(child.said(), "survived");
    note(&pd, "after").unwrap();
    assert_eq!(notes(&pd), ["before", "after"]);
}

#[test]
fn stopped_after_commit_it_delays_nobody() {
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut child = armed(&store, "publish", "committed=stop");
    until_stopped(&child);
    note(&pd, "meanwhile").unwrap();
    let other = Coordinator::open(Options::default().db(store.db()).agent("other").cwd(store.dir("x"))).unwrap();
    note(&other, "too").unwrap();
    child.resume();
    assert_eq!(child.said(), "survived");
}

/// Everything in the database's directory that isn't the database's for good.
fn others(store: &TempStore) -> Vec<String> {
    let entries = store.db().parent().unwrap().read_dir().unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with("port-daddy.db") || name.contains("before-restore")).collect()
}

#[test]
fn a_backup_killed_at_any_moment_leaves_no_file_under_its_name() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "one").unwrap();
    let to = store.db().with_file_name("backup");
    for fault in ["copying=kill", "copied=kill"] {
        assert!(!armed(&store, "backup", fault).ended());
        assert!(!to.exists());
        let left = others(&store);
        assert!(matches!(&left[..], [one] if one.starts_with(".backup.partial-")), "{left:?}");
    }
    pd.backup(&to, &Backup::default()).unwrap();
    assert_eq!(others(&store), ["backup"], "the next sweeps what the killed left");
}

#[test]
fn a_restore_killed_at_any_moment_has_changed_nothing_or_everything() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "one").unwrap();
    pd.backup(store.db().with_file_name("backup"), &Backup::default()).unwrap();
    note(&pd, "two").unwrap();
    // While the backup is copied; while what was there is; before the commit.
    for fault in ["copying=kill@1", "copying=kill@2", "copied=kill", "replacing=kill"] {
        assert!(!armed(&store, "restore", fault).ended());
        assert_eq!(notes(&pd), ["one", "two"], "{fault}");
        note(&pd, "three").unwrap();
        pd.restore(store.db().with_file_name("backup"), &Restore { no_keep: true, ..Restore::default() }).unwrap();
        assert_eq!(notes(&pd), ["one"]);
        note(&pd, "two").unwrap();
    }
    assert!(!armed(&store, "restore", "replaced=kill").ended());
    assert_eq!(notes(&pd), ["one"], "committed before it was killed");
    let mut woken = armed(&store, "restore", "replaced=stop");
    until_stopped(&woken);
    note(&pd, "goes on").unwrap();
    woken.resume();
    assert_eq!(woken.said(), "survived");
    let left = others(&store);
    assert!(left.iter().all(|name| !name.contains("partial")), "{left:?}");
}

#[test]
fn stopped_in_a_restore_it_delays_writers_for_a_bounded_time_and_readers_not_at_all() {
    let store = TempStore::running();
    let pd = store.open("parent");
    note(&pd, "one").unwrap();
    pd.backup(store.db().with_file_name("backup"), &Backup::default()).unwrap();
    note(&pd, "two").unwrap();
    let mut child = armed(&store, "restore", "replacing=stop");
    until_stopped(&child);
    assert_eq!(notes(&pd), ["one", "two"], "reading goes on");
    assert_eq!(note(&pd, "meanwhile").unwrap_err().kind(), ErrorKind::StoreBusy);
    let checks = portdaddy_core::doctor(store.options().agent("doctor"));
    let writing = checks.iter().find(|check| check.name == "writing").unwrap();
    let said = format!("process {} (", child.pid());
    assert!(!writing.ok && writing.detail.contains(&said) && writing.detail.ends_with("is stopped"), "{writing:?}");
    child.resume();
    assert_eq!(child.said(), "survived");
    assert_eq!(notes(&pd), ["one"]);
    note(&pd, "after").unwrap();
}

#[test]
fn killed_while_a_damaged_database_is_put_aside_its_name_always_has_one() {
    let store = TempStore::running();
    let to = store.db().with_file_name("backup");
    {
        let pd = store.open("parent");
        for _ in 0..100 {
            note(&pd, &"x".repeat(1_000)).unwrap();
        }
        pd.backup(&to, &Backup::default()).unwrap();
    }
    // All but the last note is in the file itself, where the damage is.
    rusqlite::Connection::open(store.db()).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    note(&store.open("parent"), "in the log").unwrap();
    let bytes = damage(&store);
    let log = store.db().with_file_name("port-daddy.db-wal");
    let logged = std::fs::read(&log).unwrap();
    for fault in ["copying=kill", "copied=kill"] {
        assert!(!armed(&store, "put-aside", fault).ended());
        assert_eq!(std::fs::read(store.db()).unwrap(), bytes, "{fault}");
    }
    // Without its log it would go on from an older token: nobody opens it, and the next restore begins anew.
    for fault in ["log-aside=kill", "linked-aside=kill"] {
        assert!(!armed(&store, "put-aside", fault).ended());
        assert!(!log.exists(), "{fault}");
        let refused = Coordinator::open(store.options().agent("early")).unwrap_err();
        assert!(refused.message().contains("interrupted"), "{fault}: {refused:?}");
        let failed = restore(store.options(), "no-such-file", &Restore::default()).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::NotFound);
    }
    let mut child = store.child(CHILD, "put-aside", "child");
    assert_eq!(child.said(), "survived");
    assert_eq!(notes(&store.open("parent")), vec!["x".repeat(1_000); 20], "the newest of the backup");
    let left = others(&store);
    assert!(left.iter().all(|name| !name.contains("partial")), "{left:?}");
    let size = |name: &str| store.db().with_file_name(name).metadata().unwrap().len();
    let logs: Vec<_> = left.iter().filter(|name| name.ends_with("-wal") && size(name) > 0).collect();
    assert!(matches!(&logs[..], [log] if std::fs::read(store.db().with_file_name(log)).unwrap() == logged), "{left:?}");
    // Killed when all was done, it is only to be said.
    damage(&store);
    assert!(!armed(&store, "put-aside", "put-in-place=kill").ended());
    assert!(Coordinator::open(store.options().agent("early")).is_err());
    let mut child = store.child(CHILD, "put-back", "child");
    assert_eq!(child.said(), "survived");
    assert_eq!(notes(&store.open("parent")), vec!["x".repeat(1_000); 20]);
}

/// Fills the middle of a database that nobody has open with noise.
fn damage(store: &TempStore) -> Vec<u8> {
    let mut bytes = std::fs::read(store.db()).unwrap();
    let quarter = bytes.len() / 4;
    bytes[quarter..3 * quarter].fill(0x5a);
    std::fs::write(store.db(), &bytes).unwrap();
    bytes
}

#[test]
fn who_could_not_leave_the_queue_or_give_a_lock_back_does_so_later() {
    let store = TempStore::running();
    let (holder, waiter, next) = (store.open("holder"), store.open("waiter"), store.open("next"));
    let lock = |pd: &Coordinator, name: &str, timeout| {
        pd.lock(name, &LockOptions { wait: Wait::at_most(timeout), ..LockOptions::default() })
    };
    let [waited_for, dropped, released] =
        ["waited-for", "dropped", "released"].map(|name| lock(&holder, name, LONG).unwrap().unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lock(&waiter, "waited-for", Duration::from_millis(200)).unwrap_err());
        let deadline = Instant::now() + LONG;
        while next.lock_info("waited-for").unwrap().is_none_or(|info| info.waiters.is_empty()) {
            assert!(Instant::now() < deadline, "nobody waits");
        }
        let mut stopped = armed(&store, "publish", "in-transaction=stop");
        until_stopped(&stopped);
        let giving_back = scope.spawn(|| {
            drop(dropped);
            released.release().unwrap_err()
        });
        // Each has waited for the store as long as it may. Its program goes on.
        assert_eq!(waiting.join().unwrap().kind(), ErrorKind::StoreBusy);
        assert_eq!(giving_back.join().unwrap().kind(), ErrorKind::StoreBusy);
        stopped.resume();
        assert_eq!(stopped.said(), "survived");
        waited_for.release().unwrap();
        for name in ["waited-for", "dropped", "released"] {
            let got = lock(&next, name, LONG).unwrap_or_else(|e| panic!("{name}: nobody else gets it: {e}"));
            got.unwrap().release().unwrap();
        }
    });
    drop((waiter, holder));
}
