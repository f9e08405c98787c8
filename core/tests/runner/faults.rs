//! Processes that are killed or stopped at the worst moments. Only in a build with `--cfg portdaddy_faults`
//! (`make test-faults`): the library then stops or dies where `PORT_DADDY_FAULT` says.

mod builds;
mod power;
mod recorder;
mod traps;

use std::time::{Duration, Instant};

use portdaddy_core::{
    Coordinator, ErrorKind, LockOptions, NewNote, NoteFilter, Options, Publish, Replay, Subscribe, Wait,
};
use portdaddy_testutil::{Process, Role, TempStore};
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
    let pd = role.open();
    match role.name.as_str() {
        "open" => {}
        "note" => note(&pd, "the child's").unwrap(),
        "publish" => pd.publish("ready", &json!(1), &Publish::default()).map(|_| ()).unwrap(),
        "lock" => pd.lock("m", &LockOptions::default()).unwrap().unwrap().leave(),
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
