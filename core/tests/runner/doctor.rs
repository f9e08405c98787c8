//! What the doctor finds that a command line can't bring about; the rest is in the command line's tests.

use portdaddy_core::{Check, Coordinator, Examination, LockOptions, Tie, Wait, doctor, examine};
use portdaddy_testutil::{Role, TempStore};

const CHILD: &str = "doctor::child";

/// Waits for a lock until it is killed.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let pd = role.open();
    role.say("ready");
    let _ = pd.lock("m", &LockOptions { tie: Tie::Handle, wait: Wait::default(), ..LockOptions::default() });
    role.say("granted");
    role.barrier();
}

fn check(store: &TempStore, name: &str) -> Check {
    let checks = doctor(store.options().agent("doctor"));
    checks.into_iter().find(|check| check.name == name).unwrap()
}

fn is_waiting(pd: &Coordinator) -> bool {
    !pd.status().unwrap().waiters.is_empty()
}

#[test]
fn who_was_forgotten_in_a_queue_is_found_and_gets_the_lock() {
    let store = TempStore::running();
    let pd = store.open("holder");
    let lock = pd.lock("m", &LockOptions { tie: Tie::Handle, ..LockOptions::default() }).unwrap().unwrap();
    let mut child = store.child(CHILD, "wait", "waiter");
    assert_eq!(child.said(), "ready");
    while !is_waiting(&pd) {
        std::thread::yield_now();
    }
    // It can't look by itself any more, as it would at its next tick.
    child.stop();
    // The library hands a lock over where it frees it; so this is some other program's doing.
    rusqlite::Connection::open(store.db()).unwrap().execute_batch("DELETE FROM locks").unwrap();
    let found = check(&store, "waits");
    assert!(!found.ok && found.detail == "waiting for what nobody holds: waiter for m", "{found:?}");
    let fix = Examination { fix: true, ..Examination::default() };
    let fixed = examine(store.options().agent("doctor"), fix);
    assert!(fixed.iter().any(|check| check.detail == "handed m on to waiter"), "{fixed:?}");
    assert!(check(&store, "waits").ok);
    child.resume();
    assert_eq!(child.said(), "granted");
    assert!(lock.release().is_err());
}

#[test]
fn measuring_a_wake_leaves_nothing_behind() {
    let store = TempStore::running();
    let pd = store.open("a");
    pd.register_agent(&Default::default()).unwrap();
    let (seq, entries) = (pd.status().unwrap().seq, pd.activity(&Default::default()).unwrap().entries.len());
    for _ in 0..3 {
        let wake = check(&store, "wake");
        assert!(wake.ok && wake.detail.contains(" µs after"), "{wake:?}");
    }
    assert_eq!((pd.status().unwrap().seq, pd.activity(&Default::default()).unwrap().entries.len()), (seq, entries));
}
