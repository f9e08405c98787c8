//! Calls that end from inside their own thread, and what they leave behind: nothing.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portdaddy_core::{
    ActivityFilter, Coordinator, ErrorKind, LockOptions, NewNote, NoteFilter, Result, Subscribe, Wait, interruptible,
};
use portdaddy_testutil::{Role, TempStore};
use rusqlite::Connection;

/// Only a failure takes so long.
const LONG: Duration = Duration::from_secs(60);

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !there() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

fn held(pd: &Coordinator, name: &str) -> portdaddy_core::Lock {
    pd.lock(name, &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap()
}

/// Who waits for the lock.
fn waiting(pd: &Coordinator, name: &str) -> Vec<String> {
    pd.lock_info(name).unwrap().map_or_else(Vec::new, |lock| lock.waiters.into_iter().map(|w| w.agent).collect())
}

fn note(pd: &Coordinator, text: &str) -> Result<()> {
    pd.note(&NewNote { text: text.to_owned(), ..NewNote::default() }).map(|_| ())
}

fn notes(pd: &Coordinator) -> Vec<String> {
    pd.notes(&NoteFilter::default()).unwrap().notes.into_iter().map(|note| note.text).collect()
}

/// The write lock of SQLite, had by another program.
fn locked(store: &TempStore) -> Connection {
    let conn = Connection::open(store.db()).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    conn
}

fn waiting_long() -> LockOptions {
    LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() }
}

/// Gives up when it is asked for this time.
fn at_ask(last: u32) -> impl FnMut() -> bool {
    let mut asked = 0;
    move || {
        asked += 1;
        assert!(asked <= last, "asked again");
        asked == last
    }
}

#[test]
fn an_interrupted_waiter_leaves_its_place_to_the_next() {
    for poll in [false, true] {
        let store = TempStore::running();
        let open = |agent: &str| Coordinator::open(store.options().agent(agent).poll(poll)).unwrap();
        let (a, b, c) = (open("a"), open("b"), open("c"));
        let lock = held(&a, "m");
        let interrupted = AtomicBool::new(false);
        let check = || interrupted.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| interruptible(&check, || b.lock("m", &waiting_long()).map(|_| ())));
            until("b waits", || waiting(&a, "m") == ["b"]);
            let next = scope.spawn(|| c.lock("m", &waiting_long()).unwrap().unwrap().release());
            until("c waits, too", || waiting(&a, "m") == ["b", "c"]);
            interrupted.store(true, Ordering::SeqCst);
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Cancelled, "the call was interrupted"));
            assert_eq!(waiting(&a, "m"), ["c"]);
            lock.release().unwrap();
            next.join().unwrap().unwrap();
        });
        assert!(a.lock_info("m").unwrap().is_none());
    }
}

#[test]
fn a_lock_granted_while_its_waiter_is_interrupted_is_nobody_s_or_the_next_one_s() {
    for poll in [false, true] {
        for next in [false, true] {
            let store = TempStore::running();
            let open = |agent: &str| Coordinator::open(store.options().agent(agent).poll(poll)).unwrap();
            let (a, b, c) = (open("a"), open("b"), open("c"));
            let mut lock = Some(held(&a, "m"));
            std::thread::scope(|scope| {
                let mut third = None;
                // The holder lets go when the waiter is just being interrupted.
                let check = || {
                    if next {
                        third = Some(scope.spawn(|| c.lock("m", &waiting_long()).unwrap().unwrap()));
                        until("c waits, too", || waiting(&a, "m") == ["b", "c"]);
                    }
                    lock.take().expect("asked once").release().unwrap();
                    assert_eq!(a.lock_info("m").unwrap().unwrap().agent, "b");
                    true
                };
                let refused = interruptible(check, || b.lock("m", &waiting_long()));
                assert_eq!(kind(refused), Some(ErrorKind::Cancelled));
                assert_eq!(third.is_some(), next);
                if let Some(third) = third {
                    let lock = third.join().unwrap();
                    assert_eq!(a.lock_info("m").unwrap().unwrap().agent, "c");
                    lock.release().unwrap();
                }
            });
            assert!(a.lock_info("m").unwrap().is_none());
            assert!(a.status().unwrap().waiters.is_empty());
        }
    }
}

#[test]
fn every_wait_can_be_interrupted() {
    for poll in [false, true] {
        let store = TempStore::running();
        let pd = Coordinator::open(store.options().agent("a").poll(poll)).unwrap();
        note(&pd, "something").unwrap();
        // An error is told from it, too.
        let long = Wait::at_most(LONG);
        let mut subscription = pd.subscribe(&Subscribe { patterns: "c".into(), ..Subscribe::default() }).unwrap();
        let mut notes = pd.follow_notes_from(&NoteFilter { after_seq: Some(1_000), ..NoteFilter::default() }).unwrap();
        let newest = pd.activity(&ActivityFilter::default()).unwrap().entries.iter().map(|e| e.seq).max();
        let filter = ActivityFilter { after_seq: newest, kind: Some("none.".into()), ..ActivityFilter::default() };
        let mut activity = pd.follow_activity_from(&filter).unwrap();
        assert_eq!(kind(interruptible(at_ask(3), || pd.wait_for_signal("c", &long))), Some(ErrorKind::Cancelled));
        assert_eq!(
            kind(interruptible(at_ask(3), || pd.wait_for_service(&["nobody:here"], &long))),
            Some(ErrorKind::Cancelled)
        );
        assert_eq!(kind(interruptible(at_ask(3), || subscription.next(&long))), Some(ErrorKind::Cancelled));
        assert_eq!(kind(interruptible(at_ask(3), || notes.next(&long))), Some(ErrorKind::Cancelled));
        assert_eq!(kind(interruptible(at_ask(3), || activity.next(&long))), Some(ErrorKind::Cancelled));
        // The subscription itself goes on.
        pd.publish("c", &serde_json::json!(1), &Default::default()).unwrap();
        assert!(subscription.next(&Wait::at_most(LONG)).unwrap().is_some());
        assert!(pd.status().unwrap().waiters.is_empty());
    }
}

#[test]
fn a_write_that_is_interrupted_stores_nothing_and_is_in_nobody_s_way_while_it_asks() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    let mut other = Some(locked(&store));
    let mut asked = 0;
    let check = || {
        asked += 1;
        if asked == 2 {
            other.take().unwrap().execute_batch("ROLLBACK").unwrap();
            // The handle is free, for another thread as well as for this one; a fork finds nobody inside.
            std::thread::scope(|scope| scope.spawn(|| note(&pd, "by another").unwrap()).join().unwrap());
            note(&pd, "by the check").unwrap();
            portdaddy_core::Fork::prepare(vec![pd.clone()]).in_parent().unwrap();
        }
        asked == 2
    };
    assert_eq!(kind(interruptible(check, || note(&pd, "interrupted"))), Some(ErrorKind::Cancelled));
    assert_eq!(notes(&pd), ["before", "by another", "by the check"]);
}

#[test]
fn once_interrupted_nothing_waits_any_more() {
    let store = TempStore::running();
    let (pd, holder) = (store.open("a"), store.open("b"));
    note(&pd, "before").unwrap();
    let lock = held(&holder, "m");
    let other = locked(&store);
    interruptible(at_ask(1), || {
        assert_eq!(kind(note(&pd, "one")), Some(ErrorKind::Cancelled));
        assert_eq!(kind(note(&pd, "two")), Some(ErrorKind::Cancelled));
        other.execute_batch("ROLLBACK").unwrap();
        note(&pd, "what needs no wait goes on").unwrap();
        assert_eq!(kind(pd.lock("m", &waiting_long())), Some(ErrorKind::Cancelled));
    });
    assert_eq!(notes(&pd), ["before", "what needs no wait goes on"]);
    assert!(waiting(&pd, "m").is_empty());
    lock.release().unwrap();
}

#[test]
fn a_check_that_goes_on_leaves_a_write_its_whole_patience() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    let other = locked(&store);
    let (begun, mut asked) = (Instant::now(), 0);
    let check = || {
        asked += 1;
        assert!(asked < 1_000, "it begins anew each time");
        false
    };
    assert_eq!(kind(interruptible(check, || note(&pd, "too late"))), Some(ErrorKind::StoreBusy));
    assert!(begun.elapsed() >= Duration::from_secs(5) && asked > 5, "{asked} asked");
    let mut last = Some(other);
    let check = || {
        if let Some(other) = last.take() {
            other.execute_batch("ROLLBACK").unwrap();
        }
        false
    };
    interruptible(check, || note(&pd, "in time")).unwrap();
    assert_eq!(notes(&pd), ["before", "in time"]);
}

#[test]
fn a_turn_that_another_thread_has_is_waited_for_interruptibly() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    let other = locked(&store);
    let gate = File::open(store.db().with_extension("db.gate")).unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| note(&pd, "first"));
        // It has its turn and the gate, and waits for SQLite's lock, for five seconds at most.
        until("the other writes", || gate.try_lock().is_err() || gate.unlock().is_err());
        assert_eq!(kind(interruptible(at_ask(2), || note(&pd, "second"))), Some(ErrorKind::Cancelled));
        other.execute_batch("ROLLBACK").unwrap();
        first.join().unwrap().unwrap();
    });
    assert_eq!(notes(&pd), ["before", "first"]);
}

#[test]
fn the_gate_is_waited_for_interruptibly() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    let gate = File::open(store.db().with_extension("db.gate")).unwrap();
    gate.lock().unwrap();
    // Without a check it would go on without the gate after half a second.
    assert_eq!(kind(interruptible(at_ask(1), || note(&pd, "interrupted"))), Some(ErrorKind::Cancelled));
    interruptible(|| false, || note(&pd, "without the gate")).unwrap();
    gate.unlock().unwrap();
    note(&pd, "after").unwrap();
    assert_eq!(notes(&pd), ["before", "without the gate", "after"]);
}

#[test]
fn opening_can_be_interrupted() {
    let store = TempStore::running();
    std::fs::create_dir(store.db().parent().unwrap()).unwrap();
    let other = Connection::open(store.db()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let open = || Coordinator::open(store.options().agent("a"));
    assert_eq!(kind(interruptible(at_ask(2), open)), Some(ErrorKind::Cancelled));
    let mut other = Some(other);
    let check = || {
        drop(other.take());
        false
    };
    let pd = interruptible(check, open).unwrap();
    note(&pd, "it works").unwrap();
}

#[test]
fn cleaning_up_waits_for_the_write_lock_all_the_same() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let lock = held(&a, "m");
    let gate = File::open(store.db().with_extension("db.gate")).unwrap();
    std::thread::scope(|scope| {
        let check = || {
            let (other, gate) = (locked(&store), &gate);
            scope.spawn(move || {
                until("b writes that it is gone", || gate.try_lock().is_err() || gate.unlock().is_err());
                other.execute_batch("ROLLBACK").unwrap();
            });
            true
        };
        assert_eq!(kind(interruptible(check, || b.lock("m", &waiting_long()))), Some(ErrorKind::Cancelled));
    });
    assert!(waiting(&a, "m").is_empty());
    lock.release().unwrap();
    assert!(a.lock_info("m").unwrap().is_none());
}

static SIGNALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(_: libc::c_int) {
    SIGNALLED.store(true, Ordering::SeqCst);
}

#[test]
fn a_signal_ends_a_wait() {
    const ME: &str = "interrupt::a_signal_ends_a_wait";
    let Some(role) = Role::of_this_process() else {
        for variables in [&[][..], &[("PORT_DADDY_WAKE", "poll")]] {
            for what in ["lock", "signal"] {
                let store = TempStore::running();
                let pd = store.open("holder");
                let lock = held(&pd, "m");
                let mut child = store.child_with(ME, what, "waiter", variables);
                until("it waits", || pd.status().unwrap().waiters.len() == 1);
                // SAFETY: a child of this test.
                assert_eq!(unsafe { libc::kill(child.pid().cast_signed(), libc::SIGINT) }, 0);
                assert_eq!(child.said(), "CANCELLED");
                assert!(pd.status().unwrap().waiters.is_empty());
                lock.release().unwrap();
                assert!(pd.lock_info("m").unwrap().is_none());
                child.go();
                assert!(child.ended());
            }
        }
        return;
    };
    // SAFETY: the handler only sets a flag. No SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut()), 0);
    }
    let pd = role.open();
    let ended = interruptible(
        || SIGNALLED.load(Ordering::SeqCst),
        || match role.name.as_str() {
            "lock" => pd.lock("m", &waiting_long()).map(|_| ()),
            _ => pd.wait_for_signal("c", &Wait::at_most(LONG)).map(|_| ()),
        },
    );
    role.say(ended.unwrap_err().kind().code());
    role.barrier();
}
