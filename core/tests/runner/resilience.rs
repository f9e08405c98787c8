//! What must hold when the ground gives way: files removed, handles closed in use, panics, forks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use portdaddy_core::{
    AgentFilter, AgentState, Coordinator, ErrorClass, ErrorKind, Event, Face, LockFilter, LockOptions, NewSession,
    Publish, Random, Registration, Subscribe, SystemRandom, Tie, Wait,
};
use portdaddy_testutil::{Process, Role, TempStore, without_tick};
use serde_json::json;

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);

fn now_or_never() -> LockOptions {
    LockOptions { blocking: false, ..LockOptions::default() }
}

fn at_most(timeout: Duration) -> LockOptions {
    LockOptions { wait: Wait::at_most(timeout), ..LockOptions::default() }
}

fn until_waiting(pd: &Coordinator, name: &str, count: usize) {
    let deadline = Instant::now() + LONG;
    while pd.lock_info(name).unwrap().map_or(0, |l| l.waiters.len()) < count {
        assert!(Instant::now() < deadline, "nobody waits");
        std::thread::yield_now();
    }
}

fn hold(role: &Role) {
    let pd = role.open();
    let lock = pd.lock("m", &at_most(LONG)).unwrap().unwrap();
    role.say("held");
    if role.barrier() {
        lock.release().unwrap();
        role.say("released");
        role.barrier();
    }
}

#[test]
fn once_the_dead_are_buried_nothing_of_their_waits_stays() {
    const ME: &str = "resilience::once_the_dead_are_buried_nothing_of_their_waits_stays";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        role.say("ready");
        if role.name == "subscribe" {
            let never = Subscribe { patterns: "never:published".into(), ..Subscribe::default() };
            pd.subscribe(&never).unwrap().next(&Wait::at_most(LONG)).unwrap();
        } else {
            let _ = pd.lock("m", &at_most(LONG));
        }
        return;
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let held = pd.lock("m", &now_or_never()).unwrap().unwrap();
    let mut waiting: Vec<Process> =
        ["lock", "subscribe", "lock"].map(|role| store.child(ME, role, &format!("{role}r"))).into();
    for child in &mut waiting {
        assert_eq!(child.said(), "ready");
    }
    let deadline = Instant::now() + LONG;
    while pd.status().unwrap().waiters.len() < 3 {
        assert!(Instant::now() < deadline, "they never waited");
        std::thread::yield_now();
    }
    waiting.iter_mut().for_each(Process::kill);
    drop(waiting);
    // Killed while it made its file, which is not found by any name that is stored.
    let live = store.db().with_file_name("port-daddy.db.live");
    let names = || std::fs::read_dir(&live).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mine = names().find(|name| name.starts_with(&format!("{}-", std::process::id()))).unwrap();
    let [pid, start, namespace] = mine.splitn(4, '-').take(3).collect::<Vec<_>>()[..] else { panic!("{mine}") };
    std::fs::write(live.join(format!(".{pid}-{start}0-{namespace}-x.new")), "").unwrap();
    pd.agents(&AgentFilter::default()).unwrap();
    drop(held);
    assert_eq!(names().collect::<Vec<_>>(), [mine], "this handle's own is left");
    pd.close();
    let conn = rusqlite::Connection::open(store.db()).unwrap();
    let left: i64 = conn.query_row("SELECT count(*) FROM waiters", [], |r| r.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_holder_whose_live_file_was_removed_keeps_its_lock() {
    const ME: &str = "resilience::a_holder_whose_live_file_was_removed_keeps_its_lock";
    if let Some(role) = Role::of_this_process() {
        return hold(&role);
    }
    let store = TempStore::running();
    let pd = store.open("parent");
    let mut holder = store.child(ME, "hold", "holder");
    assert_eq!(holder.said(), "held");
    std::fs::remove_dir_all(store.db().with_file_name("port-daddy.db.live")).unwrap();
    assert!(pd.lock("m", &now_or_never()).unwrap().is_none(), "a living holder's lock was taken");
    let other = store.open("other");
    let agents = other.agents(&AgentFilter::default()).unwrap().agents;
    assert!(agents.iter().all(|a| a.state == AgentState::Active), "{agents:?}");
    assert_eq!(other.locks(&LockFilter::default()).unwrap().locks.len(), 1);
    holder.kill();
    assert!(other.lock("m", &at_most(LONG)).unwrap().is_some(), "a dead one's is free");
}

#[test]
fn what_killed_programs_leave_is_swept() {
    const ME: &str = "resilience::what_killed_programs_leave_is_swept";
    if let Some(role) = Role::of_this_process() {
        let _pd = role.open();
        role.say("open");
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let live = store.db().with_file_name("port-daddy.db.live");
    let mut children: Vec<_> = (0..3).map(|_| store.child(ME, "open", "reader")).collect();
    children.iter_mut().for_each(|child| assert_eq!(child.said(), "open"));
    children.iter_mut().for_each(Process::kill);
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 3);
    let _pd = store.open("parent");
    assert_eq!(std::fs::read_dir(&live).unwrap().count(), 1, "only the living one's is left");
}

/// Panics when it is told to.
struct Unsteady(Arc<AtomicBool>);

impl Random for Unsteady {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(!self.0.load(Ordering::SeqCst), "on purpose");
        SystemRandom.fill(bytes);
    }
}

#[test]
fn a_panic_inside_a_write_blocks_nobody() {
    let store = TempStore::running();
    let panics = Arc::new(AtomicBool::new(false));
    let a = Coordinator::open(store.options().agent("a").random(Arc::new(Unsteady(panics.clone())))).unwrap();
    let b = store.open("b");
    panics.store(true, Ordering::SeqCst);
    let new = NewSession { purpose: "x".into(), ..NewSession::default() };
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| a.start_session(&new))).unwrap_err();
    panics.store(false, Ordering::SeqCst);
    b.publish("c", &json!(1), &Publish::default()).unwrap();
    a.start_session(&new).unwrap();
}

#[test]
fn closing_a_handle_ends_the_waits_in_it() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let _held = a.lock("m", &now_or_never()).unwrap().unwrap();
    let (send, ended) = channel();
    let waiter = (b.clone(), send.clone());
    std::thread::spawn(move || waiter.1.send(waiter.0.lock("m", &LockOptions::default()).map(drop)));
    let subscriber = (b.clone(), send);
    std::thread::spawn(move || {
        subscriber.1.send(subscriber.0.wait_for_signal("never:comes", &Wait::default()).map(drop))
    });
    until_waiting(&a, "m", 1);
    let deadline = Instant::now() + LONG;
    while a.status().unwrap().waiters.len() < 2 {
        assert!(Instant::now() < deadline, "nobody waits");
    }
    b.close();
    for _ in 0..2 {
        let error = ended.recv_timeout(LONG).expect("the wait goes on").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
}

#[test]
fn locks_of_two_databases_close_no_cycle() {
    let (one, two) = (TempStore::running(), TempStore::running());
    let (mine, theirs) = (one.open("a"), two.open("b"));
    let held = theirs.lock("m", &now_or_never()).unwrap().unwrap();
    let token = held.token();
    mine.with_lock("m", &at_most(LONG), |mine| {
        assert_eq!(mine, token, "each database counts for itself");
        let options = at_most(Duration::from_millis(20));
        assert_eq!(two.open("c").lock("m", &options).unwrap_err().kind(), ErrorKind::Timeout);
        // Nor under a command that runs under a lock of the other database.
    })
    .unwrap();
    let lock = mine.lock("m", &at_most(LONG)).unwrap().unwrap();
    let chain = Some(lock.chain().replace(&lock.token().to_string(), &token.to_string()));
    let options = LockOptions { chain: chain.clone(), ..at_most(Duration::from_millis(20)) };
    assert_eq!(two.open("c").lock("m", &options).unwrap_err().kind(), ErrorKind::Timeout);
    let mine_too = LockOptions { chain: Some(lock.chain().to_owned()), ..at_most(LONG) };
    assert_eq!(one.open("c").lock("m", &mine_too).unwrap_err().kind(), ErrorKind::Deadlock);
}

#[test]
fn a_database_that_was_replaced_is_noticed() {
    let store = TempStore::running();
    let a = store.open("a");
    let lock = a.lock("m", &now_or_never()).unwrap().unwrap();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::rename(
            store.db().with_file_name(format!("port-daddy.db{suffix}")),
            store.dir("old").join(suffix.to_owned() + "x"),
        )
        .unwrap();
    }
    let gone = a.publish("c", &json!(1), &Publish::default()).unwrap_err();
    assert_eq!(gone.kind().class(), ErrorClass::Store, "{gone}");
    let b = store.open("b");
    let other = b.lock("m", &now_or_never()).unwrap().unwrap();
    assert_eq!(a.publish("c", &json!(1), &Publish::default()).unwrap_err().kind().class(), ErrorClass::Store);
    assert!(lock.release().is_err(), "its holder hears that it wasn't alone");
    other.release().unwrap();
}

#[test]
fn a_wait_on_a_database_that_was_removed_ends() {
    if without_tick("removing a file wakes nobody") {
        return;
    }
    let store = TempStore::running();
    let a = store.open("a");
    let (send, ended) = channel();
    let waiter = a.clone();
    std::thread::spawn(move || send.send(waiter.wait_for_signal("never:comes", &Wait::default()).map(drop)));
    let deadline = Instant::now() + LONG;
    while a.status().unwrap().waiters.is_empty() {
        assert!(Instant::now() < deadline, "nobody waits");
    }
    std::fs::remove_file(store.db()).unwrap();
    let error = ended.recv_timeout(LONG).expect("the wait goes on").unwrap_err();
    assert_eq!(error.kind().class(), ErrorClass::Store, "{error}");
}

#[test]
fn an_agent_that_left_while_its_shell_waited_is_back_when_it_is_granted_the_lock() {
    let store = TempStore::running();
    let shell = |agent: &str| Coordinator::open(store.options().agent(agent).face(Face::Shell)).unwrap();
    let (b, waiting, leaving) = (store.open("b"), shell("a"), shell("a"));
    let held = b.lock("m", &now_or_never()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let options = LockOptions { tie: Tie::Agent, ..at_most(LONG) };
        let waiter = scope.spawn(|| waiting.lock("m", &{ options }).unwrap().unwrap().leave());
        until_waiting(&b, "m", 1);
        leaving.unregister_agent().unwrap();
        held.release().unwrap();
        waiter.join().unwrap();
    });
    let info = b.lock_info("m").unwrap().unwrap();
    assert_eq!((info.agent.as_str(), info.holder_state), ("a", AgentState::Active), "nobody would ever free it");
}

#[test]
fn one_who_left_and_calls_again_is_proven_alive_by_its_handles() {
    let store = TempStore::new();
    let (one, two, other) = (store.open("a"), store.open("a"), store.open("b"));
    for handle in [&one, &two] {
        handle.register_agent(&Registration::default()).unwrap();
    }
    one.unregister_agent().unwrap();
    two.register_agent(&Registration::default()).unwrap();
    one.register_agent(&Registration::default()).unwrap();
    two.close();
    store.clock().advance(24 * 3600 * 1000);
    let agents = other.agents(&AgentFilter::default()).unwrap().agents;
    let a = agents.iter().find(|a| a.id == "a").unwrap();
    assert_eq!(a.state, AgentState::Stale, "{a:?}");
    // The other way round: the one that stayed is a proof still, whoever brought the agent back.
    let stayed = store.open("a");
    stayed.register_agent(&Registration::default()).unwrap();
    one.unregister_agent().unwrap();
    store.shell("a").register_agent(&Registration::default()).unwrap();
    store.clock().advance(24 * 3600 * 1000);
    assert_eq!(other.agent("a").unwrap().state, AgentState::Stale);
    stayed.close();
}

#[test]
fn the_longest_timeout_is_no_panic() {
    let store = TempStore::running();
    let a = store.open("a");
    a.publish("c", &json!(1), &Publish::default()).unwrap();
    assert_eq!(a.wait_for_signal("c", &Wait::at_most(Duration::MAX)).unwrap(), json!(1));
    let held = a.lock("m", &now_or_never()).unwrap().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| a.lock("m", &at_most(Duration::MAX)).unwrap().unwrap().release().unwrap());
        until_waiting(&a, "m", 1);
        held.release().unwrap();
        waiter.join().unwrap();
        let mut subscription = a.subscribe(&Subscribe { patterns: "d".into(), ..Subscribe::default() }).unwrap();
        let next = scope.spawn(move || subscription.next(&Wait::at_most(Duration::MAX)).unwrap());
        let deadline = Instant::now() + LONG;
        while a.status().unwrap().waiters.is_empty() {
            assert!(Instant::now() < deadline && !next.is_finished(), "nobody waits");
        }
        a.publish("d", &json!(2), &Publish::default()).unwrap();
        assert!(matches!(next.join().unwrap(), Some(Event::Message(_))));
    });
}

#[test]
fn a_lease_that_has_ended_closes_no_cycle() {
    if without_tick("a clock that is moved by hand wakes nobody") {
        return;
    }
    let store = TempStore::new();
    let (x, y, me) = (store.open("x"), store.open("y"), store.open("me"));
    let see = store.open("see");
    std::thread::scope(|scope| {
        me.with_lock("p", &at_most(LONG), |_| {
            let x = scope.spawn(|| {
                // Waits inside `w` for `n`, whose lease will have ended.
                until_held(&see, "n");
                x.with_lock("w", &at_most(LONG), |_| x.with_lock("n", &at_most(LONG), |_| ()).unwrap()).unwrap();
            });
            let y = scope.spawn(|| {
                let leased = LockOptions { ttl_ms: Some(3_600_000), ..at_most(LONG) };
                y.with_lock("n", &leased, |_| y.with_lock("p", &at_most(LONG), |_| ()).unwrap()).unwrap_err()
            });
            until_waiting(&see, "n", 1);
            until_waiting(&see, "p", 1);
            store.clock().advance(3_600_000);
            me.with_lock("w", &at_most(LONG), |_| ()).expect("x gets n now, and then lets w go");
            x.join().unwrap();
            y
        })
        .unwrap()
        .join()
        .map(|error| assert_eq!(error.kind(), ErrorKind::LeaseLost))
        .unwrap();
    });
}

fn until_held(pd: &Coordinator, name: &str) {
    let deadline = Instant::now() + LONG;
    while pd.lock_info(name).unwrap().is_none() {
        assert!(Instant::now() < deadline, "nobody holds it");
        std::thread::yield_now();
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_of_an_open_handle_can_t_open_the_same_file() {
    const ME: &str = "resilience::a_forked_child_of_an_open_handle_can_t_open_the_same_file";
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(code: i32) -> !;
    }
    // SAFETY: the process that forks is a child of the test of its own, and the fork only opens and exits.
    let in_fork = |f: &dyn Fn() -> i32| unsafe {
        let pid = fork();
        if pid == 0 {
            _exit(f());
        }
        let mut status = 0;
        assert_eq!(waitpid(pid, &raw mut status, 0), pid);
        status >> 8
    };
    if let Some(role) = Role::of_this_process() {
        let open = || match Coordinator::open(role.options().agent("child")) {
            Ok(pd) => i32::from(pd.publish("c", &json!(1), &Publish::default()).is_err()) * 2,
            Err(e) if e.kind() == ErrorKind::Forked => 1,
            Err(_) => 3,
        };
        let pd = role.open();
        pd.publish("c", &json!(1), &Publish::default()).unwrap();
        let refused = in_fork(&open);
        pd.close();
        let after = in_fork(&open);
        role.say(&format!("{refused} {after} {}", open()));
        return;
    }
    let store = TempStore::running();
    assert_eq!(store.child(ME, "fork", "parent").said(), "1 0 0");
}
