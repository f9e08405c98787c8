//! Locks, as their holders, waiters and thieves see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portdaddy_core::{
    Cancel, Coordinator, ErrorKind, Face, Lock, LockFilter, LockOptions, ScopeChoice, Tie, Unlock, Wait,
};
use portdaddy_testutil::{Process, Role, TempStore};

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);

fn now_or_never() -> LockOptions {
    LockOptions { blocking: false, ..LockOptions::default() }
}

fn at_most(timeout: Duration) -> LockOptions {
    LockOptions { wait: Wait::at_most(timeout), ..LockOptions::default() }
}

fn shell(store: &TempStore, agent: &str) -> Coordinator {
    Coordinator::open(store.options().agent(agent).face(Face::Shell)).unwrap()
}

/// Returns once so many wait for the lock.
fn until_waiting(pd: &Coordinator, name: &str, count: usize) {
    let deadline = Instant::now() + LONG;
    while pd.lock_info(name).unwrap().map_or(0, |l| l.waiters.len()) < count {
        assert!(Instant::now() < deadline, "nobody waits");
        std::thread::yield_now();
    }
}

#[test]
fn a_lock_excludes_and_its_token_rises() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let first = a.lock("m", &now_or_never()).unwrap().unwrap();
    assert!(b.lock("m", &now_or_never()).unwrap().is_none());
    assert!(a.lock("m", &now_or_never()).unwrap().is_none(), "not reentrant");
    let token = first.token();
    first.release().unwrap();
    let second = b.lock("m", &now_or_never()).unwrap().unwrap();
    assert!(second.token() > token && second.token() < 1 << 53);
    drop(second);
    assert!(a.lock_info("m").unwrap().is_none(), "dropping the guard releases");
}

#[test]
fn only_the_holder_unlocks() {
    let store = TempStore::running();
    let (a, b) = (shell(&store, "a"), shell(&store, "b"));
    a.lock("m", &now_or_never()).unwrap().unwrap().leave();
    let refused = b.unlock("m", &Unlock::default()).unwrap_err();
    assert_eq!((refused.kind(), &refused.fields()["holder"]), (ErrorKind::NotOwner, &"a".into()));
    b.unlock("m", &Unlock { force: true, token: None }).unwrap();
    assert_eq!(a.unlock("m", &Unlock::default()).unwrap_err().kind(), ErrorKind::NotHeld);
    let log = b.activity(&portdaddy_core::ActivityFilter { kind: Some("lock.force".into()), ..Default::default() });
    assert_eq!(log.unwrap().entries.len(), 1, "the log remembers");
}

#[test]
fn a_program_s_lock_is_not_its_shell_s_to_release() {
    let store = TempStore::running();
    let (program, command) = (store.open("a"), shell(&store, "a"));
    let lock = program.lock("m", &now_or_never()).unwrap().unwrap();
    assert_eq!(command.unlock("m", &Unlock::default()).unwrap_err().kind(), ErrorKind::NotOwner);
    program.unlock("m", &Unlock::default()).unwrap();
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::LeaseLost, "it was released by name meanwhile");
}

#[test]
fn a_stale_token_opens_nothing() {
    let store = TempStore::running();
    let (a, b) = (shell(&store, "a"), shell(&store, "b"));
    let old = a.lock("m", &now_or_never()).unwrap().unwrap();
    let token = old.token();
    old.release().unwrap();
    a.lock("m", &now_or_never()).unwrap().unwrap().leave();
    let with = |token| Unlock { force: false, token: Some(token) };
    assert_eq!(a.unlock("m", &with(token)).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(b.unlock("m", &with(token)).unwrap_err().kind(), ErrorKind::NotOwner);
    assert!(a.extend_lock("m", 1000, Some(token)).is_err());
    assert!(a.lock_info("m").unwrap().is_some());
}

#[test]
fn a_lease_ends_on_time_and_says_so() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), store.open("b"));
    let options = LockOptions { ttl_ms: Some(1000), ..now_or_never() };
    let lock = a.lock("m", &options).unwrap().unwrap();
    store.clock().advance(999);
    assert!(b.lock("m", &now_or_never()).unwrap().is_none());
    lock.extend(1000).unwrap();
    store.clock().advance(999);
    assert!(b.lock("m", &now_or_never()).unwrap().is_none(), "the lease was extended");
    store.clock().advance(1);
    let taken = b.lock("m", &now_or_never()).unwrap().unwrap();
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::LeaseLost);
    drop(taken);
    let unnoticed = a.lock("m", &options).unwrap().unwrap();
    store.clock().advance(5000);
    assert_eq!(unnoticed.release().unwrap_err().kind(), ErrorKind::LeaseLost, "late, though nobody took it");
    assert!(b.lock("m", &now_or_never()).unwrap().is_some());
}

#[test]
fn a_sleeping_machine_ends_no_lease() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), store.open("b"));
    let _lock = a.lock("m", &LockOptions { ttl_ms: Some(1000), ..now_or_never() }).unwrap().unwrap();
    store.clock().sleep(8 * 3600 * 1000);
    assert!(b.lock("m", &now_or_never()).unwrap().is_none());
}

#[test]
fn a_silent_agent_loses_its_lock_but_not_its_lease() {
    let store = TempStore::new();
    let dir = store.dir("x");
    let (a, b) = (store.shell_in("a", &dir), store.open_in("b", &dir));
    let lock = a.lock("plain", &now_or_never()).unwrap().unwrap();
    assert_eq!(lock.silence_ms(), Some(30 * 60 * 1000), "a shell caller without proof is told");
    lock.leave();
    a.lock("leased", &LockOptions { ttl_ms: Some(3_600_000), ..now_or_never() }).unwrap().unwrap().leave();
    store.clock().advance(29 * 60 * 1000);
    assert!(b.lock("plain", &now_or_never()).unwrap().is_none());
    store.clock().advance(60 * 1000);
    assert!(b.lock("plain", &now_or_never()).unwrap().is_some());
    assert!(b.lock("leased", &now_or_never()).unwrap().is_none(), "a lease outlives mere silence");
    store.clock().advance(3_600_000);
    assert!(b.lock("leased", &now_or_never()).unwrap().is_some());
}

#[test]
fn a_wait_times_out_and_leaves_nothing() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let held = a.lock("m", &now_or_never()).unwrap().unwrap();
    let late = b.lock("m", &at_most(Duration::from_millis(30))).unwrap_err();
    assert_eq!((late.kind(), &late.fields()["holder"]), (ErrorKind::Timeout, &"a".into()));
    assert!(held.info().unwrap().waiters.is_empty());
    held.release().unwrap();
    assert!(a.lock("m", &now_or_never()).unwrap().is_some(), "it was not granted to one who has left");
}

#[test]
fn a_wait_is_cancelled_from_another_thread() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let held = a.lock("m", &now_or_never()).unwrap().unwrap();
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let wait = Wait { timeout: Some(LONG), cancel: Some(cancel.clone()) };
            b.lock("m", &LockOptions { wait, ..LockOptions::default() }).unwrap_err().kind()
        });
        until_waiting(&a, "m", 1);
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), ErrorKind::Cancelled);
    });
    assert!(held.info().unwrap().waiters.is_empty());
}

#[test]
fn with_lock_releases_after_a_panic_and_refuses_itself() {
    let store = TempStore::running();
    let a = store.open("a");
    let nested = a.with_lock("m", &at_most(LONG), |_| {
        let inner = a.with_lock("other", &at_most(LONG), |_| a.with_lock("m", &at_most(LONG), |_| ()).unwrap_err());
        inner.unwrap()
    });
    assert_eq!(nested.unwrap().kind(), ErrorKind::Deadlock);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        a.with_lock("m", &at_most(LONG), |_| std::panic::resume_unwind(Box::new("no")))
    }));
    assert!(panicked.is_err());
    assert!(a.with_lock("m", &now_or_never(), |token| token).unwrap() > 0);
}

#[test]
fn two_agents_crosswise_are_told_at_once() {
    let store = TempStore::running();
    let (a, b) = (shell(&store, "a"), shell(&store, "b"));
    a.lock("one", &now_or_never()).unwrap().unwrap().leave();
    b.lock("two", &now_or_never()).unwrap().unwrap().leave();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| a.lock("two", &LockOptions { tie: Tie::Agent, ..at_most(LONG) }).unwrap().unwrap());
        until_waiting(&b, "two", 1);
        let deadlock = b.lock("one", &at_most(LONG)).unwrap_err();
        assert_eq!(deadlock.kind(), ErrorKind::Deadlock);
        assert!(deadlock.message().contains("b holds two and would wait for one; a holds one and waits for two"));
        assert_eq!(deadlock.fields()["cycle"].as_array().unwrap().len(), 2);
        let patient = LockOptions { patient: true, ..at_most(Duration::from_millis(20)) };
        assert_eq!(b.lock("one", &patient).unwrap_err().kind(), ErrorKind::Timeout, "the patient wait on");
        b.unlock("two", &Unlock::default()).unwrap();
        waiter.join().unwrap().leave();
    });
}

#[test]
fn threads_of_one_program_that_cross_are_no_false_deadlock() {
    let store = TempStore::running();
    let a = store.open("a");
    let one = a.lock("one", &now_or_never()).unwrap().unwrap();
    let two = a.lock("two", &now_or_never()).unwrap().unwrap();
    std::thread::scope(|scope| {
        // Each waits for what the main thread holds and will release: nothing here is stuck.
        let waiters =
            ["one", "two"].map(|name| scope.spawn(|| a.lock(name, &at_most(LONG)).unwrap().unwrap().release()));
        until_waiting(&a, "one", 1);
        until_waiting(&a, "two", 1);
        drop((one, two));
        waiters.into_iter().for_each(|w| w.join().unwrap().unwrap());
    });
}

#[test]
fn nested_with_locks_of_threads_that_cross_are_found() {
    let store = TempStore::running();
    let a = store.open("a");
    let barrier = std::sync::Barrier::new(2);
    let found = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (outer, inner) in [("one", "two"), ("two", "one")] {
            let (a, barrier, found) = (&a, &barrier, &found);
            scope.spawn(move || {
                a.with_lock(outer, &at_most(LONG), |_| {
                    barrier.wait();
                    if let Err(e) = a.with_lock(inner, &at_most(LONG), |_| ()) {
                        assert_eq!(e.kind(), ErrorKind::Deadlock);
                        found.fetch_add(1, Ordering::SeqCst);
                    }
                })
                .unwrap();
            });
        }
    });
    assert_eq!(found.load(Ordering::SeqCst), 1, "the second waiter, and only that one");
}

#[test]
fn locks_of_two_scopes_do_not_block_and_say_so() {
    let store = TempStore::running();
    let in_scope = |agent: &str, scope: &str| {
        Coordinator::open(store.options().agent(agent).scope(ScopeChoice::Named(scope.into()))).unwrap()
    };
    let (a, b) = (in_scope("a", "one"), in_scope("b", "two"));
    let _held = a.lock("db-migrations", &now_or_never()).unwrap().unwrap();
    let _other = b.lock("db-migrations", &now_or_never()).unwrap().unwrap();
    let notices = b.take_notices();
    assert!(notices.len() == 1 && notices[0].contains("in the scope one"), "{notices:?}");
    assert_eq!(b.locks(&LockFilter::default()).unwrap().elsewhere, 1);
    assert_eq!(b.locks(&LockFilter { all: true }).unwrap().locks.len(), 2);
}

#[test]
fn bad_names_and_leases_are_refused() {
    let store = TempStore::running();
    let a = store.open("a");
    for name in ["", "two words", "tab\there", "\u{1b}[31m", &"x".repeat(129)] {
        assert_eq!(a.lock(name, &now_or_never()).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    for ttl in [0, -1, i64::MAX] {
        let options = LockOptions { ttl_ms: Some(ttl), ..now_or_never() };
        assert_eq!(a.lock("m", &options).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(a.locks(&LockFilter { all: true }).unwrap().locks.is_empty());
}

/// A child's part: takes the lock, says its token, and holds it until it is let go.
fn hold(role: &Role, name: &str) {
    let pd = role.open();
    let lock = pd.lock(name, &at_most(LONG)).unwrap().unwrap();
    role.say(&lock.token().to_string());
    if role.barrier() {
        lock.release().unwrap();
        role.say("released");
    }
}

fn token(child: &mut Process) -> i64 {
    child.said().parse().unwrap()
}

#[test]
fn a_killed_holder_s_lock_is_the_next_waiter_s() {
    const ME: &str = "locks::a_killed_holder_s_lock_is_the_next_waiter_s";
    if let Some(role) = Role::of_this_process() {
        return hold(&role, "m");
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut holder = store.child(ME, "hold", "holder");
    let first = token(&mut holder);
    let mut waiter = store.child(ME, "hold", "waiter");
    until_waiting(&pd, "m", 1);
    holder.kill();
    let second = token(&mut waiter);
    assert!(second > first);
    let agents = pd.agents(&Default::default()).unwrap().agents;
    let dead = agents.iter().find(|a| a.id == "holder").unwrap();
    let proof = dead.death.as_deref().unwrap();
    assert!(proof.starts_with(&format!("process {}", holder.pid())) && proof.ends_with("is gone"), "{proof}");
}

#[test]
fn closing_a_handle_that_waits_for_its_own_lock_frees_it() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    a.lock("m", &now_or_never()).unwrap().unwrap().leave();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| a.lock("m", &at_most(LONG)).map(|_| ()).unwrap_err());
        until_waiting(&b, "m", 1);
        a.close();
        assert_eq!(waiter.join().unwrap().kind(), ErrorKind::Closed);
    });
    assert!(b.lock("m", &now_or_never()).unwrap().is_some());
}

#[test]
fn a_stopped_holder_keeps_its_lock() {
    const ME: &str = "locks::a_stopped_holder_keeps_its_lock";
    if let Some(role) = Role::of_this_process() {
        return hold(&role, "m");
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut holder = store.child(ME, "hold", "holder");
    token(&mut holder);
    holder.stop();
    assert_eq!(pd.lock("m", &at_most(Duration::from_millis(400))).unwrap_err().kind(), ErrorKind::Timeout);
    holder.resume();
    holder.go();
    assert_eq!(holder.said(), "released");
    assert!(pd.lock("m", &at_most(LONG)).unwrap().is_some());
}

#[test]
fn eight_waiters_are_served_in_order_of_arrival() {
    const ME: &str = "locks::eight_waiters_are_served_in_order_of_arrival";
    if let Some(role) = Role::of_this_process() {
        return hold(&role, "m");
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let held = pd.lock("m", &now_or_never()).unwrap().unwrap();
    let mut last = held.token();
    let mut waiters: Vec<Process> = Vec::new();
    for n in 0..8 {
        waiters.push(store.child(ME, "hold", &format!("waiter-{n}")));
        until_waiting(&pd, "m", n + 1);
    }
    held.release().unwrap();
    for waiter in &mut waiters {
        // Whoever comes later is refused, whatever happens between two hand-overs.
        assert!(pd.lock("m", &now_or_never()).unwrap().is_none(), "a newcomer barged in");
        let token = token(waiter);
        assert!(token > last, "served out of turn");
        last = token;
        waiter.go();
        assert_eq!(waiter.said(), "released");
    }
}

#[test]
fn a_waiter_killed_in_the_queue_is_passed_over() {
    const ME: &str = "locks::a_waiter_killed_in_the_queue_is_passed_over";
    if let Some(role) = Role::of_this_process() {
        return hold(&role, "m");
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let held = pd.lock("m", &now_or_never()).unwrap().unwrap();
    let mut killed = store.child(ME, "hold", "killed");
    until_waiting(&pd, "m", 1);
    let mut next = store.child(ME, "hold", "next");
    until_waiting(&pd, "m", 2);
    killed.kill();
    held.release().unwrap();
    token(&mut next);
}

/// Without a tick, whoever isn't told waits for ever.
#[cfg(target_os = "linux")]
#[test]
fn who_is_next_by_two_deaths_learns_of_both() {
    const ME: &str = "locks::who_is_next_by_two_deaths_learns_of_both";
    if let Some(role) = Role::of_this_process() {
        return hold(&role, "m");
    }
    for leaves in ["nobody", "by a cancel", "with its handle"] {
        for holder_first in [true, false] {
            let store = TempStore::running();
            let (pd, other, cancel) = (store.open("parent"), store.open("other"), Cancel::new());
            let held = pd.lock("m", &now_or_never()).unwrap().unwrap();
            let mut first = store.child(ME, "hold", "first");
            until_waiting(&pd, "m", 1);
            let mut second = store.child(ME, "hold", "second");
            until_waiting(&pd, "m", 2);
            let mut third = std::thread::scope(|scope| {
                let leaver = (leaves != "nobody").then(|| {
                    let wait = Wait { timeout: Some(LONG), cancel: Some(cancel.clone()) };
                    let options = LockOptions { wait, ..LockOptions::default() };
                    let other = &other;
                    let leaver = scope.spawn(move || other.lock("m", &options).map(|_| ()).unwrap_err().kind());
                    until_waiting(&pd, "m", 3);
                    leaver
                });
                let third = store.child(ME, "hold", "third");
                until_waiting(&pd, "m", if leaver.is_some() { 4 } else { 3 });
                third.until_watching();
                match leaves {
                    "by a cancel" => cancel.cancel(),
                    "with its handle" => other.close(),
                    _ => {}
                }
                if let Some(leaver) = leaver {
                    assert!(matches!(leaver.join().unwrap(), ErrorKind::Cancelled | ErrorKind::Closed));
                }
                third
            });
            first.stop();
            second.stop();
            held.release().unwrap();
            assert_eq!(pd.lock_info("m").unwrap().unwrap().agent, "first");
            let mut dying = [&mut first, &mut second];
            if !holder_first {
                dying.reverse();
            }
            dying.into_iter().for_each(Process::kill);
            token(&mut third);
        }
    }
}

/// Without a tick, whoever knows no lease's end sleeps beyond it.
#[cfg(target_os = "linux")]
#[test]
fn the_last_in_line_sees_the_ends_of_leases_that_those_before_it_were_given() {
    const ME: &str = "locks::the_last_in_line_sees_the_ends_of_leases_that_those_before_it_were_given";
    if let Some(role) = Role::of_this_process() {
        let ttl_ms = (role.name == "lease").then_some(200);
        let pd = role.open();
        let lock = pd.lock("m", &LockOptions { ttl_ms, ..at_most(LONG) }).unwrap().unwrap();
        role.say(&lock.token().to_string());
        role.barrier();
        return lock.leave();
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let held = pd.lock("m", &now_or_never()).unwrap().unwrap();
    let first = store.child(ME, "lease", "first");
    until_waiting(&pd, "m", 1);
    let second = store.child(ME, "lease", "second");
    until_waiting(&pd, "m", 2);
    let mut third = store.child(ME, "hold", "third");
    until_waiting(&pd, "m", 3);
    third.until_watching();
    first.stop();
    second.stop();
    held.release().unwrap();
    token(&mut third);
}

#[test]
fn no_lock_is_left_behind_by_a_call_that_meets_the_end_of_its_handle() {
    let store = TempStore::running();
    let see = store.open("see");
    for round in 0..200 {
        let pd = store.open("closing");
        std::thread::scope(|scope| {
            let calls = pd.clone();
            let calling = scope.spawn(move || {
                (0..).map(|n| calls.lock(&format!("m{n}"), &now_or_never())).find_map(|locked| match locked {
                    Ok(lock) => {
                        lock.into_iter().for_each(Lock::leave);
                        None
                    }
                    Err(e) => Some(e.kind()),
                })
            });
            std::thread::sleep(Duration::from_micros(500 + round * 37 % 1500));
            pd.close();
            assert_eq!(calling.join().unwrap(), Some(ErrorKind::Closed));
        });
        let left = see.locks(&LockFilter { all: true }).unwrap().locks;
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
}

#[test]
fn eight_processes_never_hold_it_together() {
    const ME: &str = "locks::eight_processes_never_hold_it_together";
    const TURNS: usize = 50;
    if let Some(role) = Role::of_this_process() {
        let (pd, count) = (role.open(), role.db.with_file_name("count"));
        role.say("ready");
        role.barrier();
        for _ in 0..TURNS {
            pd.with_lock("m", &at_most(LONG), |_| {
                // Lost if another is inside at the same time.
                let n: usize = std::fs::read_to_string(&count).unwrap().parse().unwrap();
                std::fs::write(&count, (n + 1).to_string()).unwrap();
            })
            .unwrap();
        }
        return role.say("done");
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let count = store.db().with_file_name("count");
    std::fs::write(&count, "0").unwrap();
    let mut children: Vec<Process> = (0..8).map(|n| store.child(ME, "count", &format!("agent-{n}"))).collect();
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    children.iter_mut().for_each(Process::go);
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "done"));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), (8 * TURNS).to_string());
    assert!(pd.locks(&LockFilter { all: true }).unwrap().locks.is_empty(), "nothing stays behind");
}

#[test]
fn polling_hands_over_too() {
    let store = TempStore::running();
    let poll = |agent: &str| Coordinator::open(store.options().agent(agent).poll(true)).unwrap();
    let (a, b) = (poll("a"), poll("b"));
    let held = a.lock("m", &now_or_never()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| b.lock("m", &at_most(LONG)).unwrap().unwrap().release().unwrap());
        until_waiting(&a, "m", 1);
        held.release().unwrap();
        waiter.join().unwrap();
    });
}
