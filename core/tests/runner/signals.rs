//! Publish and subscribe, as their callers see it.

use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

use portdaddy_core::{
    AgentState, Cancel, ChannelFilter, Coordinator, Delivery, Error, ErrorKind, Event, Face, MessageFilter, Publish,
    Registration, Replay, ScopeChoice, Subscribe, Subscription, Wait, WarningCode,
};
use portdaddy_testutil::{ManualClock, Process, Role, TempStore};
use serde_json::{Value, json};

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600 * 1000;

fn to(patterns: &str) -> Subscribe {
    Subscribe { patterns: patterns.into(), ..Subscribe::default() }
}

fn replaying(patterns: &str, replay: Replay) -> Subscribe {
    Subscribe { replay, ..to(patterns) }
}

fn alone(patterns: &str) -> Subscribe {
    Subscribe { alone: true, ..to(patterns) }
}

fn put(pd: &Coordinator, channel: &str, payload: Value) -> i64 {
    pd.publish(channel, &payload, &Publish::default()).unwrap().seq
}

fn at_hand(sub: &mut Subscription) -> Vec<Delivery> {
    let mut found = Vec::new();
    while let Some(event) = sub.next(&Wait::at_most(Duration::ZERO)).unwrap() {
        match event {
            Event::Message(delivery) => found.push(delivery),
            Event::Warning(warning) => panic!("{warning:?}"),
        }
    }
    found
}

fn payloads(sub: &mut Subscription) -> Vec<Value> {
    at_hand(sub).into_iter().map(|d| d.message.payload).collect()
}

fn message(sub: &mut Subscription) -> Delivery {
    match sub.next(&Wait::at_most(LONG)).unwrap() {
        Some(Event::Message(delivery)) => delivery,
        other => panic!("{other:?}"),
    }
}

fn warning(sub: &mut Subscription) -> (WarningCode, String) {
    match sub.next(&Wait::at_most(LONG)).unwrap() {
        Some(Event::Warning(warning)) => (warning.code, warning.text),
        other => panic!("{other:?}"),
    }
}

/// Makes the channel known without a signal, so that those who wait for it can be counted.
fn make_known(store: &TempStore, channel: &str) {
    let past = ManualClock::running();
    past.sleep(-25 * 3600 * 1000);
    put(&Coordinator::open(store.options().agent("past").clock(Arc::new(past))).unwrap(), channel, Value::Null);
}

fn waiting(pd: &Coordinator, channel: &str) -> u64 {
    let filter = ChannelFilter { pattern: Some(channel.into()), all: false };
    pd.channels(&filter).unwrap().channels.first().map_or(0, |c| c.waiting)
}

fn until_waiting(pd: &Coordinator, channel: &str, count: u64) {
    let start = Instant::now();
    while waiting(pd, channel) != count {
        assert!(start.elapsed() < LONG, "{} instead of {count} wait for {channel}", waiting(pd, channel));
        std::thread::yield_now();
    }
}

/// This test binary once more, in the role that [`child`] plays.
fn start(store: &TempStore, role: &[&str]) -> Process {
    let mut process = store.child("signals::child", &role.join(" "), role[1]);
    assert_eq!(process.said(), "ready");
    process
}

fn said(process: &mut Process) -> Value {
    serde_json::from_str(&process.said()).unwrap()
}

#[test]
fn what_nobody_was_woken_for_is_found_all_the_same() {
    let store = TempStore::new();
    let me = store.open("me");
    // One that can only poll wakes nobody.
    let silent = Coordinator::open(store.options().agent("silent").poll(true)).unwrap();
    let mut sub = me.subscribe(&to("c")).unwrap();
    for n in 0..3 {
        put(&silent, "c", json!(n));
        assert_eq!(payloads(&mut sub), [json!(n)], "who only looks always reads");
    }
    // Waits too short for a tick, one after the other.
    for n in 3..6 {
        put(&silent, "c", json!(n));
        let begun = Instant::now();
        let event = loop {
            assert!(begun.elapsed() < LONG, "never found");
            if let Some(event) = sub.next(&Wait::at_most(Duration::from_millis(20))).unwrap() {
                break event;
            }
        };
        let Event::Message(delivery) = event else { panic!("{event:?}") };
        assert_eq!(delivery.message.payload, json!(n));
    }
    // A single wait that is too short for a tick, in a thread and as a task: what was committed before it, it has.
    for n in 6..10 {
        put(&silent, "c", json!(n));
        let wait = Wait::at_most(Duration::from_millis(20));
        let event = if n % 2 == 0 { sub.next(&wait) } else { at_once(sub.next_async(&wait)) };
        let Some(Event::Message(delivery)) = event.unwrap() else { panic!("not found") };
        assert_eq!(delivery.message.payload, json!(n));
    }
}

/// Runs a future to its end in this thread.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let (mut future, mut context) = (std::pin::pin!(future), std::task::Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// What a child process does; nothing in an ordinary run.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let words: Vec<&str> = role.name.split(' ').collect();
    let ready = || {
        role.say("ready");
        role.barrier();
    };
    let collect = |pd: &Coordinator, how: &Subscribe, count: usize| {
        let mut sub = pd.subscribe(how).unwrap();
        let mut got = Vec::new();
        while got.len() < count {
            let delivery = message(&mut sub);
            got.push(json!([delivery.message.seq, delivery.message.payload]));
            if delivery.message.payload == json!("end") {
                break;
            }
        }
        role.say(&json!(got).to_string());
    };
    match words.as_slice() {
        ["publish", _, channel, count] => {
            let pd = role.open();
            ready();
            for n in 0..count.parse::<u64>().unwrap() {
                put(&pd, channel, json!({"by": role.agent, "n": n}));
            }
            role.say("done");
        }
        ["collect", _, pattern, count] => {
            let pd = role.open();
            ready();
            collect(&pd, &to(pattern), count.parse().unwrap());
        }
        ["collect-all", _, pattern, count] => {
            let pd = role.open();
            ready();
            collect(&pd, &replaying(pattern, Replay::All), count.parse().unwrap());
        }
        ["live", _, identity] => {
            let pd = role.open();
            pd.register_agent(&Registration { identity: Some((*identity).to_owned()), ..Registration::default() })
                .unwrap();
            ready();
        }
        ["sub", _, patterns] => {
            let pd = Coordinator::open(role.options().face(Face::Shell)).unwrap();
            let mut sub = pd.subscribe(&alone(patterns)).unwrap();
            role.say("ready");
            let next = sub.next(&Wait::default()).map_or_else(|e| json!(e), |event| json!(event));
            role.say(&next.to_string());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_subscribes_late_still_receives_the_newest_of_each_channel() {
    let store = TempStore::running();
    let (api, tests) = (store.open("api"), store.open("tests"));
    put(&api, "payments:schema", json!({"version": 1}));
    put(&api, "payments:api", json!("old"));
    put(&api, "other:api", json!("no"));
    let newest = put(&api, "payments:api", json!({"status": "ready"}));
    let mut sub = tests.subscribe(&to("payments:*")).unwrap();
    let got = at_hand(&mut sub);
    assert_eq!(
        got.iter().map(|d| d.message.payload.clone()).collect::<Vec<_>>(),
        [json!({"version": 1}), json!({"status": "ready"})]
    );
    assert!(got.iter().all(|d| d.replayed && d.sender_state == Some(AgentState::Active)));
    assert_eq!((got[1].message.seq, got[1].message.agent.as_deref()), (newest, Some("api")));
    assert_eq!((sub.is_done(), sub.caught_up()), (true, true));
    put(&api, "payments:queries", json!(0));
    let live = message(&mut sub);
    assert_eq!((live.replayed, live.message.payload, live.sender_state), (false, json!(0), None));
    assert_eq!(tests.wait_for_signal("payments:api", &Wait::at_most(LONG)).unwrap(), json!({"status": "ready"}));
}

#[test]
fn every_json_value_arrives_as_it_was() {
    let store = TempStore::running();
    let pd = store.open("a");
    let mut sub = pd.subscribe(&replaying("x", Replay::None)).unwrap();
    let values = [json!(0), json!(false), json!(""), json!(null), json!([]), json!({"a": {"b": [1.5, "é\n"]}})];
    for value in &values {
        put(&pd, "x", value.clone());
    }
    assert_eq!(payloads(&mut sub), values);
}

#[test]
fn a_payload_keeps_its_members_order_and_its_digits() {
    let store = TempStore::running();
    let pd = store.open("a");
    let text = r#"{"status":"healthy","port":3101,"a":0.30000000000000004,"n":18446744073709551615}"#;
    put(&pd, "x", serde_json::from_str(text).unwrap());
    assert_eq!(payloads(&mut pd.subscribe(&to("x")).unwrap())[0].to_string(), text);
}

#[test]
fn replay_can_be_none_all_or_from_a_place() {
    let store = TempStore::running();
    let pd = store.open("a");
    let seqs: Vec<i64> = (0..4).map(|n| put(&pd, "x", json!(n))).collect();
    let get = |replay| payloads(&mut pd.subscribe(&replaying("x", replay)).unwrap());
    assert_eq!(get(Replay::Latest), [3]);
    assert!(get(Replay::None).is_empty());
    assert_eq!(get(Replay::All), [0, 1, 2, 3]);
    assert_eq!(get(Replay::After(seqs[1])), [2, 3]);
    assert!(get(Replay::After(i64::MAX)).is_empty());
}

#[test]
fn a_signal_that_has_expired_or_is_a_day_old_is_no_signal() {
    let store = TempStore::running();
    let pd = store.open("a");
    put(&pd, "x", json!("old"));
    pd.publish("x", &json!("short"), &Publish { ttl_ms: Some(1000), keep: None }).unwrap();
    put(&pd, "y", json!("y"));
    assert_eq!(payloads(&mut pd.subscribe(&to("x")).unwrap()), ["short"]);
    store.clock().sleep(1001);
    assert!(payloads(&mut pd.subscribe(&to("x")).unwrap()).is_empty(), "an older one doesn't come back");
    assert_eq!(payloads(&mut pd.subscribe(&replaying("x", Replay::All)).unwrap()), ["old"]);
    assert_eq!(payloads(&mut pd.subscribe(&to("y")).unwrap()), ["y"]);
    // Swept away by a later publish, it still doesn't come back.
    put(&pd, "z", json!("z"));
    assert!(payloads(&mut pd.subscribe(&to("x")).unwrap()).is_empty());
    store.clock().sleep(DAY);
    assert!(payloads(&mut pd.subscribe(&to("*")).unwrap()).is_empty());
    assert_eq!(payloads(&mut pd.subscribe(&replaying("*", Replay::All)).unwrap()), ["old", "y", "z"]);
    store.clock().sleep(7 * DAY);
    put(&pd, "new", json!("new"));
    let list = pd.channels(&ChannelFilter::default()).unwrap();
    assert_eq!(list.channels.iter().map(|c| (c.name.as_str(), c.count)).collect::<Vec<_>>(), [("new", 1)]);
}

#[test]
fn a_channel_keeps_its_newest_messages_only() {
    let store = TempStore::running();
    let pd = store.open("a");
    for n in 0..500 {
        pd.publish("x", &json!(n), &Publish { keep: Some(3), ttl_ms: None }).unwrap();
        pd.publish("y", &json!(n), &Publish::default()).unwrap();
    }
    let get = |filter: &MessageFilter| -> Vec<Value> {
        pd.messages(filter).unwrap().into_iter().map(|m| m.payload).collect()
    };
    let of = |p: &str| MessageFilter { patterns: Some(p.into()), ..MessageFilter::default() };
    assert_eq!(get(&of("x")), [497, 498, 499]);
    assert_eq!(get(&MessageFilter { limit: Some(2), ..of("y") }), [498, 499]);
    assert_eq!(get(&MessageFilter { limit: Some(2), after_seq: Some(0), ..of("y") }), [0, 1]);
    assert_eq!(pd.channels(&ChannelFilter::default()).unwrap().channels[0].count, 3);
    assert_eq!(pd.clear_channel("y*").unwrap(), 500);
    assert!(get(&of("y")).is_empty());
}

#[test]
fn what_is_past_a_bound_is_refused_whole() {
    let store = TempStore::running();
    let pd = store.open("a");
    let mut deep = json!(1);
    for _ in 0..101 {
        deep = json!([deep]);
    }
    let refused = |channel: &str, payload: &Value, publish: &Publish| {
        let e = pd.publish(channel, payload, publish).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
    };
    // Two quotes make it one byte too many.
    refused("x", &json!("x".repeat((1 << 20) - 1)), &Publish::default());
    refused("x", &deep, &Publish::default());
    refused("x*", &json!(1), &Publish::default());
    refused("x", &json!(1), &Publish { ttl_ms: Some(0), keep: None });
    refused("x", &json!(1), &Publish { ttl_ms: None, keep: Some(0) });
    assert!(pd.messages(&MessageFilter::default()).unwrap().is_empty());
    put(&pd, "x", json!("x".repeat((1 << 20) - 2)));
    assert_eq!(pd.messages(&MessageFilter::default()).unwrap().len(), 1);
    for bad in ["", "a,,b", "a b"] {
        assert_eq!(pd.subscribe(&to(bad)).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_others_publish() {
    const EACH: u64 = 600;
    let store = TempStore::running();
    let pd = store.open("main");
    let each = EACH.to_string();
    let mut publishers: Vec<Process> = ["p1", "p2"].map(|p| start(&store, &["publish", p, "hot:x", &each])).into();
    // Everything; from the newest on, by name and by pattern: these begin while the others publish.
    let mut all = start(&store, &["collect-all", "s0", "hot:x", &(2 * EACH).to_string()]);
    let mut latest = [
        start(&store, &["collect", "s1", "hot:x", "1000000"]),
        start(&store, &["collect", "s2", "hot:*", "1000000"]),
        start(&store, &["collect", "s3", "*", "1000000"]),
    ];
    publishers.iter_mut().for_each(Process::go);
    all.go();
    latest.iter_mut().for_each(Process::go);
    for publisher in &mut publishers {
        assert_eq!(publisher.said(), "done");
    }
    put(&pd, "hot:x", json!("end"));
    let stored = pd.messages(&MessageFilter { limit: Some(10_000), ..MessageFilter::default() }).unwrap();
    let stored: Vec<Value> = stored.iter().map(|m| json!([m.seq, m.payload])).collect();
    assert_eq!(stored.len() as u64, 2 * EACH + 1);
    assert_eq!(said(&mut all), json!(stored[..stored.len() - 1]));
    for subscriber in &mut latest {
        let got = said(subscriber);
        let got = got.as_array().unwrap();
        // From its first on, without a gap.
        assert_eq!(got.as_slice(), &stored[stored.len() - got.len()..]);
    }
}

#[test]
fn twenty_processes_are_woken_by_one_publish() {
    let store = TempStore::running();
    let pd = store.open("main");
    make_known(&store, "go:now");
    let mut others: Vec<Process> = (0..20)
        .map(|n| start(&store, &["sub", &format!("s{n}"), if n % 2 == 0 { "go:now" } else { "go:*" }]))
        .collect();
    until_waiting(&pd, "go:now", 20);
    let published = pd.publish("go:now", &json!(1), &Publish::default()).unwrap();
    assert_eq!(published.waiting, 20);
    for other in &mut others {
        let said = said(other);
        assert_eq!(
            (&said["event"], &said["data"]["message"]["seq"]),
            (&json!("message"), &json!(published.seq)),
            "{said}"
        );
    }
    until_waiting(&pd, "go:now", 0);
}

#[test]
fn a_killed_subscriber_doesn_t_count() {
    let store = TempStore::running();
    let pd = store.open("main");
    make_known(&store, "x");
    let mut other = start(&store, &["sub", "s", "x"]);
    until_waiting(&pd, "x", 1);
    other.kill();
    assert_eq!(pd.publish("x", &json!(1), &Publish::default()).unwrap().waiting, 0);
}

#[test]
fn a_wait_ends_by_time_cancelling_and_dropping() {
    let store = TempStore::running();
    let pd = store.open("a");
    make_known(&store, "x");
    let mut sub = pd.subscribe(&to("x,y")).unwrap();
    assert!(sub.next(&Wait::at_most(Duration::from_millis(5))).unwrap().is_none());
    assert_eq!(waiting(&pd, "x"), 1);
    put(&pd, "y", json!(1));
    assert_eq!(message(&mut sub).message.payload, 1);
    assert_eq!((waiting(&pd, "x"), waiting(&pd, "y"), sub.done_patterns()), (1, 0, vec!["y"]));
    drop(sub);
    assert_eq!(waiting(&pd, "x"), 0);
    let e = pd.wait_for_signal("x", &Wait::at_most(Duration::from_millis(5))).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let ended = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let wait = Wait { timeout: None, cancel: Some(cancel.clone()) };
            pd.wait_for_signal("x", &wait).unwrap_err()
        });
        until_waiting(&pd, "x", 1);
        cancel.cancel();
        waiter.join().unwrap()
    });
    assert_eq!(ended.kind(), ErrorKind::Cancelled);
    assert_eq!(waiting(&pd, "x"), 0);
}

#[test]
fn a_durable_position_goes_on_where_it_was_acknowledged() {
    let store = TempStore::running();
    let pd = store.open("a");
    let how = Subscribe { durable: Some("worker".into()), ..replaying("x", Replay::All) };
    for n in 0..4 {
        put(&pd, "x", json!(n));
    }
    let mut sub = pd.subscribe(&how).unwrap();
    assert_eq!(message(&mut sub).message.payload, 0);
    let second = message(&mut sub);
    sub.ack(second.message.seq).unwrap();
    assert_eq!(message(&mut sub).message.payload, 2);
    sub.close().unwrap();
    let mut sub = pd.subscribe(&how).unwrap();
    assert_eq!(payloads(&mut sub), [2, 3], "what was given out and not acknowledged comes again");
    sub.ack(1).unwrap();
    assert_eq!(payloads(&mut pd.subscribe(&how).unwrap()), [2, 3], "it never moves back");
    assert_eq!(pd.subscribe(&to("x")).unwrap().ack(1).unwrap_err().kind(), ErrorKind::Invalid);
    for n in 4..9 {
        pd.publish("x", &json!(n), &Publish { keep: Some(2), ttl_ms: None }).unwrap();
    }
    let mut sub = pd.subscribe(&how).unwrap();
    assert_eq!(warning(&mut sub).0, WarningCode::Pruned);
    assert_eq!(payloads(&mut sub), [7, 8]);
}

/// Someone who waits in a thread of his own, as a shell command would.
fn in_background<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    pd: Coordinator,
    how: Subscribe,
) -> mpsc::Receiver<Result<Value, Error>> {
    let (tell, told) = mpsc::channel();
    scope.spawn(move || {
        let mut sub = pd.subscribe(&how).unwrap();
        let result = sub.next(&Wait::at_most(LONG)).map(|e| match e {
            Some(Event::Message(d)) => d.message.payload,
            other => panic!("{other:?}"),
        });
        drop(sub);
        let _ = tell.send(result);
    });
    told
}

#[test]
fn agents_that_wait_for_each_other_are_told_of_the_cycle() {
    let store = TempStore::running();
    let (a, b, c) = (store.shell("agentA"), store.shell("agentB"), store.shell("agentC"));
    let sdk = store.open("agentB");
    make_known(&store, "agentB:ready");
    make_known(&store, "agentC:ready");
    put(&c, "c:known", json!(1));
    std::thread::scope(|scope| {
        let first = in_background(scope, a, alone("agentB:ready"));
        until_waiting(&b, "agentB:ready", 1);
        let e = b.subscribe(&alone("agentA:ready")).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Deadlock);
        assert!(
            e.message().contains("agentA waits for agentB:ready, and agentB would wait for agentA:ready"),
            "{}",
            e.message()
        );
        assert_eq!(
            e.fields()["cycle"],
            json!([
                {"agent": "agentB", "waits_for": "agentA:ready"},
                {"agent": "agentA", "waits_for": "agentB:ready"}
            ])
        );
        // Through a third, and by a pattern.
        let second = in_background(scope, b, alone("agentC:ready"));
        until_waiting(&c, "agentC:ready", 1);
        let e = c.subscribe(&alone("agentA:*")).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
        assert_eq!(e.fields()["cycle"].as_array().unwrap().len(), 3, "{e}");
        // Whoever is patient, or does other things meanwhile, is warned.
        let patient = Subscribe { patient: true, ..alone("agentA:*") };
        assert_eq!(warning(&mut c.subscribe(&patient).unwrap()).0, WarningCode::Deadlock);
        let mut program = sdk.subscribe(&to("agentA:x")).unwrap();
        assert_eq!(warning(&mut program).0, WarningCode::Deadlock);
        let strict = Subscribe { fail_on_deadlock: true, ..to("agentA:x") };
        let e = sdk.subscribe(&strict).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Deadlock);
        // What is nobody's, one's own, or merely begins alike is no edge.
        for fine in ["free:x", "agentC:x", "agentAB:x", "agent*"] {
            let mut sub = c.subscribe(&alone(fine)).unwrap();
            assert!(sub.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none(), "{fine}");
        }
        put(&c, "agentC:ready", json!(3));
        assert_eq!(second.recv_timeout(LONG).unwrap().unwrap(), 3);
        put(&c, "agentB:ready", json!(2));
        assert_eq!(first.recv_timeout(LONG).unwrap().unwrap(), 2);
    });
}

#[test]
fn of_two_who_begin_at_once_exactly_one_is_refused() {
    let store = TempStore::running();
    let (a, b, main) = (store.shell("agentA"), store.shell("agentB"), store.open("main"));
    put(&a, "known", json!(1));
    put(&b, "known", json!(1));
    for round in 0..30 {
        let start = Barrier::new(2);
        let wait = |pd: &Coordinator, channel: &str| {
            let mut sub = pd.subscribe(&Subscribe { replay: Replay::None, ..alone(channel) }).unwrap();
            start.wait();
            let result = sub.next(&Wait::at_most(LONG));
            if result.is_err() {
                // The other waits, or will: it can be let go.
                put(&main, "agentA:ready", json!(round));
                put(&main, "agentB:ready", json!(round));
            }
            result
        };
        let results: Vec<Result<Option<Event>, Error>> = std::thread::scope(|scope| {
            let one = scope.spawn(|| wait(&a, "agentB:ready"));
            let other = scope.spawn(|| wait(&b, "agentA:ready"));
            [one.join().unwrap(), other.join().unwrap()].into()
        });
        let refused = results.iter().filter(|r| r.as_ref().is_err_and(|e| e.kind() == ErrorKind::Deadlock)).count();
        assert_eq!(refused, 1, "{results:?}");
        assert!(results.iter().any(|r| matches!(r, Ok(Some(Event::Message(_))))), "{results:?}");
    }
}

#[test]
fn a_channel_that_could_be_several_agents_closes_no_cycle() {
    let store = TempStore::running();
    let (a, b, twin) = (store.shell("a"), store.shell("b"), store.open("twin"));
    let identity = |i: &str| Registration { identity: Some(i.into()), ..Registration::default() };
    a.register_agent(&identity("pay:web")).unwrap();
    b.register_agent(&identity("pay:api")).unwrap();
    make_known(&store, "pay:api");
    std::thread::scope(|scope| {
        let first = in_background(scope, a, alone("pay:api"));
        until_waiting(&b, "pay:api", 1);
        let e = b.subscribe(&alone("pay:web:done")).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Deadlock);
        twin.register_agent(&identity("pay:web")).unwrap();
        let mut sub = b.subscribe(&alone("pay:web:done")).unwrap();
        assert!(sub.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none());
        put(&b, "pay:api", json!(1));
        first.recv_timeout(LONG).unwrap().unwrap();
    });
}

#[test]
fn a_killed_waiter_closes_no_cycle() {
    let store = TempStore::running();
    let b = store.shell("agentB");
    make_known(&store, "agentB:ready");
    let mut other = start(&store, &["sub", "agentA", "agentB:ready"]);
    until_waiting(&b, "agentB:ready", 1);
    let refused = b.subscribe(&alone("agentA:ready")).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Deadlock);
    other.kill();
    let mut sub = b.subscribe(&alone("agentA:ready")).unwrap();
    assert!(sub.next(&Wait::at_most(Duration::from_millis(1))).is_ok());
}

#[test]
fn the_death_of_a_channel_s_owner_is_told() {
    let store = TempStore::running();
    let pd = store.open("tests");
    let mut owner = start(&store, &["live", "database-builder", "pay:db"]);
    let mut sub = pd.subscribe(&to("pay:db:done")).unwrap();
    assert!(sub.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| warning(&mut sub));
        owner.kill();
        let (code, text) = waiter.join().unwrap();
        assert_eq!(code, WarningCode::OwnerGone);
        assert!(text.starts_with("database-builder, whose channel pay:db:done is, is dead: process"), "{text}");
    });
    assert!(sub.next(&Wait::at_most(Duration::from_millis(5))).unwrap().is_none(), "told once");
    let strict = Subscribe { fail_if_gone: true, ..to("database-builder:x") };
    let e = pd.subscribe(&strict).unwrap().next(&Wait::at_most(LONG)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::OwnerGone);
    // Whatever was signalled before it died still counts.
    put(&pd, "database-builder:x", json!(1));
    assert_eq!(payloads(&mut pd.subscribe(&strict).unwrap()), [1]);
}

#[test]
fn a_channel_of_another_scope_is_pointed_out_once() {
    let store = TempStore::running();
    let pd = store.open("a");
    let there = Coordinator::open(store.options().agent("b").scope(ScopeChoice::Named("shop".into()))).unwrap();
    put(&there, "build:done", json!(1));
    let mut sub = pd.subscribe(&to("build:*")).unwrap();
    let (code, text) = warning(&mut sub);
    assert_eq!(code, WarningCode::OtherScope);
    assert!(text.contains("--scope shop") && text.contains("PORT_DADDY_SCOPE=shop"), "{text}");
    assert!(sub.next(&Wait::at_most(Duration::from_millis(5))).unwrap().is_none());
    put(&pd, "build:done", json!(2));
    assert_eq!(message(&mut sub).message.payload, 2);
    assert_eq!(pd.channels(&ChannelFilter::default()).unwrap().elsewhere, 1);
}
