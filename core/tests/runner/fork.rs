//! Handles that live through a fork: nothing committed is lost, and each process proves its own life.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portdaddy_core::{
    ActivityFilter, AgentState, Cancel, Coordinator, ErrorKind, Event, Fork, Lock, LockOptions, NewNote, NoteFilter,
    Publish, Result, Subscribe, Subscription, Unlock, Wait, Worker,
};
use portdaddy_testutil::{Role, TempStore};
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);
const CHILDREN: usize = 8;
const NOTES: usize = 50;

fn note(pd: &Coordinator, text: String) {
    pd.note(&NewNote { text, ..NewNote::default() }).unwrap();
}

/// Forks with these handles made ready. The child runs `child` and ends; the parent gets its pid.
fn fork(handles: Vec<Coordinator>, child: impl FnOnce()) -> libc::pid_t {
    let fork = Fork::prepare(handles);
    // SAFETY: the child runs Rust code that allocates, which glibc allows after a fork, and ends without destructors.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            fork.in_child();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            std::io::stderr().flush().unwrap();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        pid => {
            fork.in_parent().unwrap();
            pid
        }
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

fn held(pd: &Coordinator, name: &str) -> Lock {
    pd.lock(name, &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap()
}

/// How many descriptors of SQLite's files this process has.
fn opened(db: &std::path::Path) -> usize {
    let files = ["", "-wal", "-shm"].map(|end| format!("{}{end}", db.display()));
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    links
        .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| files.iter().any(|f| to.as_os_str() == &**f)))
        .count()
}

fn is_sound(store: &TempStore) {
    let conn = rusqlite::Connection::open(store.db()).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

fn reap(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status}");
}

#[test]
fn forked_children_and_their_parent_lose_no_commit() {
    const ME: &str = "fork::forked_children_and_their_parent_lose_no_commit";
    let Some(role) = Role::of_this_process() else {
        let store = TempStore::running();
        let mut child = store.child(ME, "fork", "parent");
        assert_eq!(child.said(), "done");
        let pd = store.open("looker");
        let all = NoteFilter { limit: Some(100_000), ..NoteFilter::default() };
        let notes = pd.notes(&all).unwrap().notes;
        let from = |who: &str| notes.iter().filter(|note| note.text.starts_with(who)).count();
        assert_eq!(from("child "), CHILDREN * NOTES);
        assert_eq!(from("parent "), CHILDREN);
        assert_eq!(from("thread "), child.said().parse::<usize>().unwrap());
        pd.close();
        is_sound(&store);
        return;
    };
    let pd = role.open();
    note(&pd, "first".into());
    let lock = pd.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap();
    // Another thread writes all the while, and a task waits.
    let (stop, busy) = (Arc::new(AtomicBool::new(false)), pd.clone());
    let until = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut written = 0;
        while !until.load(Ordering::SeqCst) {
            note(&busy, format!("thread {written}"));
            written += 1;
        }
        written
    });
    let worker = Worker::start("test").unwrap();
    let (said, heard) = std::sync::mpsc::channel();
    let mut subscription = pd.subscribe(&Subscribe { patterns: "child:*".into(), ..Subscribe::default() }).unwrap();
    worker.spawn(async move {
        for _ in 0..CHILDREN {
            subscription.next_async(&Wait::default()).await.unwrap();
        }
        said.send(()).unwrap();
    });
    let mut children = Vec::new();
    for n in 0..CHILDREN {
        let old = pd.clone();
        children.push(fork(vec![pd.clone()], || {
            assert_eq!(old.whoami().unwrap_err().kind(), ErrorKind::Forked);
            std::mem::forget(old);
            let own = role.open();
            for i in 0..NOTES {
                note(&own, format!("child {n} {i}"));
            }
            // The lock is the parent's, and a wait works here, too.
            let wait = Wait::at_most(Duration::from_millis(5));
            let refused = own.lock("m", &LockOptions { wait, ..LockOptions::default() }).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Timeout);
            own.publish(&format!("child:{n}"), &json!(n), &Publish::default()).unwrap();
            own.close();
        }));
        note(&pd, format!("parent {n}"));
    }
    children.into_iter().for_each(reap);
    heard.recv_timeout(LONG).expect("the parent's task goes on");
    lock.release().expect("the parent's lock is still its own");
    stop.store(true, Ordering::SeqCst);
    let written = writer.join().unwrap();
    worker.stop();
    pd.close();
    role.say("done");
    role.say(&written.to_string());
}

#[test]
fn threads_that_wait_go_on_after_forks() {
    const ME: &str = "fork::threads_that_wait_go_on_after_forks";
    let Some(role) = Role::of_this_process() else {
        for variables in [&[][..], &[("PORT_DADDY_WAKE", "poll")]] {
            let store = TempStore::running();
            let mut child = store.child_with(ME, "fork", "waiter", variables);
            assert_eq!(child.said(), "done");
            let pd = store.open("looker");
            let all = NoteFilter { limit: Some(100_000), ..NoteFilter::default() };
            assert_eq!(pd.notes(&all).unwrap().notes.len(), CHILDREN * NOTES);
            pd.close();
            is_sound(&store);
        }
        return;
    };
    let pd = role.open();
    let holder = Coordinator::open(role.options().agent("holder")).unwrap();
    let lock = held(&holder, "m");
    std::thread::scope(|scope| {
        let locks = scope.spawn(|| {
            pd.lock("m", &LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() }).unwrap().unwrap()
        });
        let hears = scope.spawn(|| {
            let mut subscription = pd.subscribe(&Subscribe { patterns: "go".into(), ..Subscribe::default() }).unwrap();
            subscription.next(&Wait::at_most(LONG)).unwrap()
        });
        let mut follower = pd.follow_notes_from(&NoteFilter::default()).unwrap();
        let follows = scope.spawn(move || {
            for n in 0..CHILDREN * NOTES {
                assert!(follower.next(&Wait::at_most(LONG)).unwrap().is_some(), "{n}");
            }
        });
        let deadline = Instant::now() + LONG;
        while holder.status().unwrap().waiters.len() < 2 {
            assert!(Instant::now() < deadline, "nobody waits");
            std::thread::yield_now();
        }
        let mut children = Vec::new();
        for n in 0..CHILDREN {
            children.push(fork(vec![pd.clone(), holder.clone()], || {
                assert_eq!(opened(&role.db), 0, "a connection of the parent's came along");
                let own = role.open();
                assert!(opened(&role.db) > 0);
                for i in 0..NOTES {
                    note(&own, format!("child {n} {i}"));
                }
                own.close();
            }));
        }
        children.into_iter().for_each(reap);
        follows.join().unwrap();
        assert!(!locks.is_finished() && !hears.is_finished());
        lock.release().unwrap();
        locks.join().unwrap().release().unwrap();
        holder.publish("go", &json!("on"), &Publish::default()).unwrap();
        let Some(Event::Message(heard)) = hears.join().unwrap() else { panic!("no message") };
        assert_eq!(heard.message.payload, json!("on"));
    });
    role.say("done");
}

#[test]
fn what_a_child_inherits_can_be_used_and_dropped_there_without_harm() {
    const ME: &str = "fork::what_a_child_inherits_can_be_used_and_dropped_there_without_harm";
    let Some(role) = Role::of_this_process() else {
        let store = TempStore::running();
        let mut child = store.child(ME, "fork", "parent");
        assert_eq!(child.said(), "done");
        is_sound(&store);
        return;
    };
    let pd = role.open();
    let (worker, cancel, role) = (Arc::new(Worker::start("test").unwrap()), Cancel::new(), &role);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others use all of it meanwhile, and have its locks now and then.
        for n in 0..2 {
            let (pd, worker, cancel, stop) = (pd.clone(), Arc::clone(&worker), cancel.clone(), &stop);
            scope.spawn(move || {
                let now = || Wait { timeout: Some(Duration::ZERO), cancel: Some(cancel.clone()) };
                while !stop.load(Ordering::SeqCst) {
                    let waits = pd.clone();
                    worker.spawn(async move {
                        let wait = Wait::at_most(Duration::from_millis(1));
                        let _ = waits.wait_for_signal_async("nothing", &wait).await;
                    });
                    let _ = pd.wait_for_signal("nothing", &now());
                    drop(pd.lock(&format!("busy:{n}"), &LockOptions::default()).unwrap());
                    pd.take_notices();
                }
            });
        }
        for n in 0..100 {
            let mine = (pd.clone(), held(&pd, "m"), held(&pd, "n"), Arc::clone(&worker), cancel.clone());
            let subscribe = Subscribe { patterns: "x".into(), ..Subscribe::default() };
            let subscribed: [Subscription; 2] = std::array::from_fn(|_| {
                let mut subscription = pd.subscribe(&subscribe).unwrap();
                assert!(subscription.next(&Wait::at_most(Duration::from_nanos(1))).unwrap().is_none(), "it waits now");
                subscription
            });
            let mut notes = pd.follow_notes_from(&NoteFilter::default()).unwrap();
            let mut activity = pd.follow_activity_from(&ActivityFilter::default()).unwrap();
            reap(fork(vec![pd.clone()], move || {
                // SAFETY: ends this child if it hangs.
                unsafe { libc::alarm(LONG.as_secs() as libc::c_uint) };
                let (pd, lock, other, worker, cancel) = mine;
                let [mut one, two] = subscribed;
                let now = Wait::at_most(Duration::ZERO);
                let used = [
                    kind(pd.whoami()),
                    kind(pd.note(&NewNote { text: "no".into(), ..NewNote::default() })),
                    kind(pd.lock("o", &LockOptions::default())),
                    kind(pd.unlock("m", &Unlock::default())),
                    kind(lock.extend(1000)),
                    kind(lock.info()),
                    kind(lock.release()),
                    kind(one.next(&now)),
                    kind(one.take_read()),
                    kind(one.close()),
                    kind(notes.next(&now)),
                    kind(activity.next(&now)),
                ];
                assert_eq!(used, [Some(ErrorKind::Forked); 12]);
                assert!(pd.take_notices().is_empty());
                worker.spawn(async { unreachable!("there is no thread for it") });
                cancel.cancel();
                if n == 0 {
                    // A handle of its own works, but not with the parent's Cancel.
                    let own = role.open();
                    let refused = own.wait_for_signal("x", &Wait { timeout: None, cancel: Some(cancel.clone()) });
                    assert_eq!(kind(refused), Some(ErrorKind::Forked));
                    own.close();
                }
                drop((other, two, notes, activity, cancel));
                if let Some(worker) = Arc::into_inner(worker) {
                    worker.stop();
                }
                pd.close();
                drop(pd);
            }));
            assert!(!cancel.is_cancelled(), "the parent's is its own");
        }
        stop.store(true, Ordering::SeqCst);
    });
    // What the children let go of was the parent's all the same, until it let go itself.
    assert_eq!(pd.locks(&Default::default()).unwrap().locks.len(), 0);
    let lock = held(&pd, "m");
    reap(fork(vec![pd.clone()], || drop(lock)));
    role.say("done");
}

#[test]
fn a_child_does_not_keep_its_dead_parent_alive() {
    const ME: &str = "fork::a_child_does_not_keep_its_dead_parent_alive";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        pd.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap().leave();
        let child = fork(vec![pd.clone()], || {
            // SAFETY: waits until it is killed.
            unsafe { libc::pause() };
        });
        role.say(&child.to_string());
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let pd = store.open("looker");
    let mut parent = store.child(ME, "fork", "parent");
    let child: libc::pid_t = parent.said().parse().unwrap();
    parent.kill();
    let lock = pd.lock("m", &LockOptions { wait: Wait::at_most(LONG), ..LockOptions::default() });
    assert!(lock.unwrap().is_some());
    assert_eq!(pd.agent("parent").unwrap().state, AgentState::Dead);
    // SAFETY: a process that this test made. It lived on all the while.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
}

#[test]
fn a_fork_waits_for_calls_and_calls_for_the_fork() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before".into());
    let fork = Fork::prepare(vec![pd.clone()]);
    let later = pd.clone();
    let call = std::thread::spawn(move || note(&later, "meanwhile".into()));
    let deadline = Instant::now() + Duration::from_millis(50);
    while Instant::now() < deadline {
        assert!(!call.is_finished(), "a call went on with its connections closed");
        std::thread::yield_now();
    }
    fork.in_parent().unwrap();
    call.join().unwrap();
    assert_eq!(pd.notes(&NoteFilter::default()).unwrap().notes.len(), 2);
    drop(Fork::prepare(vec![pd.clone()]));
    note(&pd, "after one that was only prepared".into());
}
