//! Waits that give way: many of them on one thread, in order, and nothing left behind however they end.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use portdaddy_core::{
    ActivityFilter, AgentState, Cancel, ClaimPort, Coordinator, ErrorKind, Event, LockOptions, NewNote, NoteFilter,
    Options, Publish, Result, Subscribe, Unlock, Wait, Worker,
};
use portdaddy_testutil::{Role, TempStore};
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);

/// Has the worker begin it, and gives what comes of it.
fn begin<T: Send + 'static>(worker: &Worker, future: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
    let (send, receive) = channel();
    worker.spawn(async move {
        let _ = send.send(future.await);
    });
    receive
}

fn until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !there() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn waiting(pd: &Coordinator, name: &str) -> usize {
    pd.lock_info(name).unwrap().map_or(0, |lock| lock.waiters.len())
}

fn held(pd: &Coordinator, name: &str) -> portdaddy_core::Lock {
    pd.lock(name, &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[test]
fn hundreds_of_waits_share_two_threads_and_keep_their_order() {
    const ME: &str = "tasks::hundreds_of_waits_share_two_threads_and_keep_their_order";
    let Some(role) = Role::of_this_process() else {
        // A process of its own: here other tests have threads, too.
        let store = TempStore::running();
        let mut child = store.child(ME, "wait", "waiter");
        assert_eq!(child.said(), "done");
        return;
    };
    let pd = role.open();
    let lock = held(&pd, "m");
    let before = threads();
    let worker = Worker::start("test").unwrap();
    let (said, order) = channel();
    for n in 0..300 {
        let (pd, said) = (pd.clone(), said.clone());
        worker.spawn(async move {
            let lock = pd.lock_async("m", &LockOptions::default()).await.unwrap().unwrap();
            said.send((n, lock.token())).unwrap();
        });
    }
    let mut signals = Vec::new();
    for n in 0..50 {
        let pd = pd.clone();
        let wait = async move { pd.wait_for_signal_async(&format!("c:{n}"), &Wait::default()).await.unwrap() };
        signals.push(begin(&worker, wait));
    }
    until("350 waiters", || pd.status().unwrap().waiters.len() == 350);
    // The worker, the one that waits, and the one that watches the lock's holder.
    if cfg!(target_os = "linux") {
        assert!(threads() <= before + 3, "{} threads, {before} before", threads());
    }
    for n in 0..50 {
        pd.publish(&format!("c:{n}"), &json!(n), &Publish::default()).unwrap();
    }
    for (n, signal) in signals.iter().enumerate() {
        assert_eq!(signal.recv_timeout(LONG).unwrap(), json!(n));
    }
    assert!(order.try_recv().is_err(), "nobody while it is held");
    lock.release().unwrap();
    let served: Vec<(i32, i64)> = (0..300).map(|_| order.recv_timeout(LONG).unwrap()).collect();
    assert!(served.iter().map(|(n, _)| *n).eq(0..300), "first come, first served");
    assert!(served.is_sorted_by(|a, b| a.1 < b.1));
    until("all released", || pd.lock_info("m").unwrap().is_none());
    worker.stop();
    role.say("done");
}

#[test]
fn tasks_are_woken_without_shared_memory_too() {
    let store = TempStore::running();
    let open = |agent: &str| Coordinator::open(store.options().agent(agent).poll(true)).unwrap();
    let (a, b) = (open("a"), open("b"));
    let worker = Worker::start("test").unwrap();
    let signal = begin(&worker, async move { b.wait_for_signal_async("c", &Wait::default()).await });
    until("a waiter", || a.status().unwrap().waiters.len() == 1);
    a.publish("c", &json!("now"), &Publish::default()).unwrap();
    assert_eq!(signal.recv_timeout(LONG).unwrap().unwrap(), json!("now"));
    worker.stop();
}

#[test]
fn a_cancelled_or_dropped_wait_leaves_nothing_behind() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let lock = held(&a, "m");
    let worker = Worker::start("test").unwrap();
    let cancel = Cancel::new();
    let options = LockOptions { wait: Wait { timeout: None, cancel: Some(cancel.clone()) }, ..LockOptions::default() };
    let asked = b.clone();
    let answer = begin(&worker, async move { asked.lock_async("m", &options).await.map(|_| ()) });
    until("a waiter", || waiting(&a, "m") == 1);
    cancel.cancel();
    assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(waiting(&a, "m"), 0);

    let options = LockOptions::default();
    {
        let mut wait = pin!(b.lock_async("m", &options));
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(waiting(&a, "m"), 1);
    }
    assert_eq!(waiting(&a, "m"), 0);
    let mut wait = Box::pin(b.lock_async("m", &options));
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    lock.release().unwrap();
    // It was granted and nobody knows.
    drop(wait);
    assert!(a.lock_info("m").unwrap().is_none());
    worker.stop();
}

#[test]
fn a_wait_that_gives_way_runs_out_of_time() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let _lock = held(&a, "m");
    let worker = Worker::start("test").unwrap();
    let short = Wait::at_most(Duration::from_millis(20));
    let asked = (b.clone(), short.clone());
    let lock = begin(&worker, async move {
        asked.0.lock_async("m", &LockOptions { wait: asked.1, ..LockOptions::default() }).await.map(|_| ())
    });
    let asked = (b.clone(), short.clone());
    let signal = begin(&worker, async move { asked.0.wait_for_signal_async("c", &asked.1).await.map(|_| ()) });
    let asked = (b.clone(), short);
    let service = begin(&worker, async move {
        asked.0.claim(&ClaimPort { identity: "x:y".into(), ..ClaimPort::default() })?;
        asked.0.wait_for_service_async(&["x:y"], &asked.1).await.map(|_| ())
    });
    for answer in [lock, signal, service] {
        assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert!(a.status().unwrap().waiters.is_empty());
    worker.stop();
}

#[test]
fn streams_give_way_between_their_items() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let mut messages = b.subscribe(&Subscribe { patterns: "c:*".into(), ..Subscribe::default() }).unwrap();
    let mut notes = b.follow_notes_from(&NoteFilter::default()).unwrap();
    let filter = ActivityFilter { kind: Some("channel.clear".into()), ..ActivityFilter::default() };
    let mut entries = b.follow_activity_from(&filter).unwrap();
    let (said, heard) = channel();
    let tell = said.clone();
    b.spawn_waiting(async move {
        let all = Wait::default();
        while let Ok(Some(event)) = messages.next_async(&all).await {
            if let Event::Message(delivery) = event {
                tell.send(delivery.message.payload.to_string()).unwrap();
            }
        }
        tell.send("end of messages".into()).unwrap();
    });
    let tell = said.clone();
    b.spawn_waiting(async move {
        while let Ok(Some(note)) = notes.next_async(&Wait::default()).await {
            tell.send(note.text).unwrap();
        }
        tell.send("end of notes".into()).unwrap();
    });
    b.spawn_waiting(async move {
        while let Ok(Some(entry)) = entries.next_async(&Wait::default()).await {
            said.send(entry.kind).unwrap();
        }
        said.send("end of activity".into()).unwrap();
    });
    let next = || heard.recv_timeout(LONG).unwrap();
    for n in 0..3 {
        a.publish(&format!("c:{n}"), &json!(n), &Publish::default()).unwrap();
        assert_eq!(next(), n.to_string());
        a.note(&NewNote { text: format!("note {n}"), ..NewNote::default() }).unwrap();
        assert_eq!(next(), format!("note {n}"));
        a.clear_channel("c:*").unwrap();
        assert_eq!(next(), "channel.clear");
    }
    b.close();
    let mut ends: Vec<String> = (0..3).map(|_| next()).collect();
    ends.sort();
    assert_eq!(ends, ["end of activity", "end of messages", "end of notes"]);
}

#[test]
fn a_panic_ends_one_task_only() {
    let store = TempStore::running();
    let pd = store.open("a");
    let worker = Worker::start("test").unwrap();
    let lost = begin(&worker, async { panic!("on purpose") });
    assert!(lost.recv_timeout(LONG).is_err());
    let (asked, waited) = (pd.clone(), pd.clone());
    let lost: Receiver<()> = begin(&worker, async move {
        waited.wait_for_signal_async("c", &Wait::default()).await.unwrap();
        panic!("on purpose, once it was woken");
    });
    let answer = begin(&worker, async move { asked.wait_for_signal_async("c", &Wait::default()).await });
    until("two waiters", || pd.status().unwrap().waiters.len() == 2);
    pd.publish("c", &json!(1), &Publish::default()).unwrap();
    assert!(lost.recv_timeout(LONG).is_err());
    assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap(), json!(1));
    worker.stop();
}

#[test]
fn what_a_stopped_worker_had_begun_goes_on() {
    let store = TempStore::running();
    let pd = store.open("a");
    let worker = Worker::start("test").unwrap();
    let asked = pd.clone();
    let answer = begin(&worker, async move { asked.wait_for_signal_async("c", &Wait::default()).await });
    worker.stop();
    pd.publish("c", &json!(1), &Publish::default()).unwrap();
    assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap(), json!(1));
}

#[test]
fn an_abandoned_handle_is_a_death() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    held(&a, "m").leave();
    a.start_session(&portdaddy_core::NewSession { purpose: "unfinished".into(), ..Default::default() }).unwrap();
    a.abandon();
    assert_eq!(a.note(&NewNote { text: "late".into(), ..NewNote::default() }).unwrap_err().kind(), ErrorKind::Closed);
    assert!(b.lock("m", &LockOptions { blocking: false, ..LockOptions::default() }).unwrap().is_some());
    assert_eq!(b.agent("a").unwrap().state, AgentState::Dead);
    assert_eq!(b.salvage(&Default::default()).unwrap().items.len(), 1);
    // The same process may open the file again.
    store.open("a").heartbeat().unwrap();
}

#[test]
fn a_grant_that_has_ended_is_told_by_its_token() {
    let store = TempStore::running();
    let pd = store.open("a");
    let lock = held(&pd, "m");
    let unlock = Unlock { token: Some(lock.token()), ..Unlock::default() };
    lock.leave();
    pd.unlock("m", &unlock).unwrap();
    assert_eq!(pd.unlock("m", &unlock).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(pd.unlock("m", &Unlock::default()).unwrap_err().kind(), ErrorKind::NotHeld);
}

#[test]
fn a_grant_is_released_without_a_sign_of_life() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    let lock = held(&a, "m");
    let token = lock.token();
    lock.leave();
    a.unregister_agent().unwrap();
    a.release_lock("m", token).unwrap();
    assert_eq!(b.agent("a").unwrap().state, AgentState::Left);
    assert_eq!(a.release_lock("m", token).unwrap_err().kind(), ErrorKind::LeaseLost);
    assert!(b.lock_info("m").unwrap().is_none());
}

#[test]
fn looking_at_a_lock_ends_a_grant_that_is_void() {
    let store = TempStore::running();
    let (a, b, c) = (store.open("a"), store.open("b"), store.open("c"));
    let options = LockOptions { blocking: false, ttl_ms: Some(50), ..LockOptions::default() };
    a.lock("m", &options).unwrap().unwrap().leave();
    store.clock().advance(60);
    assert!(c.lock_info("m").unwrap().is_none(), "its lease has ended");
    held(&a, "m").leave();
    a.abandon();
    assert!(c.lock_info("m").unwrap().is_none(), "its holder is gone");
    let _lock = held(&c, "m");
    let options = LockOptions::default();
    let mut wait = Box::pin(b.lock_async("m", &options));
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(waiting(&c, "m"), 1);
    b.abandon();
    assert_eq!(waiting(&c, "m"), 0, "a dead handle waits for nothing");
}

#[test]
fn a_death_is_noticed_without_shared_memory() {
    const ME: &str = "tasks::a_death_is_noticed_without_shared_memory";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        held(&pd, "m").leave();
        role.say("held");
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let open = |agent: &str| Coordinator::open(store.options().agent(agent).poll(true)).unwrap();
    let (pd, other) = (open("a"), open("b"));
    let worker = Worker::start("test").unwrap();
    for as_task in [true, false] {
        let mut holder = store.child(ME, "hold", "holder");
        assert_eq!(holder.said(), "held");
        let (asked, looker) = (pd.clone(), &other);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                if as_task {
                    let asked = asked.clone();
                    let taken = async move { asked.lock_async("m", &LockOptions::default()).await };
                    return begin(&worker, taken).recv_timeout(LONG).unwrap().unwrap().is_some();
                }
                let wait = Wait::at_most(LONG);
                asked.lock("m", &LockOptions { wait, ..LockOptions::default() }).unwrap().is_some()
            });
            until("a waiter", || waiting(looker, "m") == 1);
            // A killed process commits nothing, and nobody else does here.
            holder.kill();
            assert!(waiter.join().unwrap());
        });
        until("a free lock", || looker.lock_info("m").unwrap().is_none());
    }
    worker.stop();
}

#[test]
fn a_stuck_database_holds_up_no_other() {
    let (stuck, free) = (TempStore::running(), TempStore::running());
    let (slow, quick) = (stuck.open("a"), free.open("a"));
    let worker = Worker::start("test").unwrap();
    let wait_ms = |pd: &Coordinator, ms| {
        let pd = pd.clone();
        begin(&worker, async move { pd.wait_for_signal_async("c", &Wait::at_most(Duration::from_millis(ms))).await })
    };
    let late: Vec<_> = (0..3).map(|_| wait_ms(&slow, 500)).collect();
    let in_time = wait_ms(&quick, 1_000);
    until("waiters", || slow.status().unwrap().waiters.len() == 3 && quick.status().unwrap().waiters.len() == 1);
    let foreign = rusqlite::Connection::open(stuck.db()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(in_time.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(late.iter().all(|answer| answer.try_recv().is_err()), "those have to wait for the lock");
    let begun = Instant::now();
    for answer in late {
        assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "each waited the whole time for the same lock");
    foreign.execute_batch("ROLLBACK").unwrap();
    worker.stop();
}

#[test]
fn who_always_runs_keeps_nobody_from_its_time() {
    let store = TempStore::running();
    let pd = store.open("a");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = std::sync::Arc::clone(&stop);
    pd.spawn_waiting(std::future::poll_fn(move |cx| {
        if until.load(std::sync::atomic::Ordering::SeqCst) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    }));
    let worker = Worker::start("test").unwrap();
    let asked = pd.clone();
    let wait = Wait::at_most(Duration::from_millis(5));
    let answer = begin(&worker, async move { asked.wait_for_signal_async("c", &wait).await });
    let answered = answer.recv_timeout(Duration::from_secs(20));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(answered.expect("its time came").unwrap_err().kind(), ErrorKind::Timeout);
    worker.stop();
}

#[test]
fn futures_may_move_between_threads() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    async fn both(pd: Coordinator) -> Result<()> {
        pd.lock_async("m", &LockOptions::default()).await?;
        pd.wait_for_service_async(&["a:b"], &Wait::at_most(Duration::ZERO)).await.map(|_| ())
    }
    let store = TempStore::running();
    let pd = Coordinator::open(Options::agent(store.options(), "a")).unwrap();
    let worker = Worker::start("test").unwrap();
    let answer = begin(&worker, sendable(both(pd)));
    assert_eq!(answer.recv_timeout(LONG).unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    worker.stop();
}
