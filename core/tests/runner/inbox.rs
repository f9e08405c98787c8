//! Messages to one agent: what is kept until it was shown, and what the sender learns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use portdaddy_core::{
    ActivityFilter, Coordinator, DirectMessage, DirectMessageFilter, Error, ErrorKind, Reach, Registration, Sent, Wait,
};
use portdaddy_testutil::{Process, Role, TempStore};

/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);
const CHILD: &str = "inbox::child";

/// What a child does as its agent: `watch` waits for one message; `read` reads all there is and shows none; `drain`
/// shows what it reads until it reads `end`; `send TO COUNT` sends.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let pd = role.open();
    let words: Vec<&str> = role.name.split(' ').collect();
    match words[..] {
        ["watch"] => {
            pd.register_agent(&Registration::default()).unwrap();
            role.say("ready");
            let mut follower = pd.follow_inbox_from().unwrap();
            let message = follower.next(&Wait::at_most(LONG)).unwrap().unwrap();
            role.say(&message.text);
        }
        ["read"] => {
            role.say(&texts(&pd.inbox().unwrap()));
            role.barrier();
        }
        ["drain"] => {
            role.say("ready");
            pd.follow_inbox(&Wait::at_most(LONG), |message| {
                role.say(&message.text);
                pd.inbox_shown(message.seq)?;
                Ok(!message.text.starts_with("end"))
            })
            .unwrap();
        }
        ["send", to, count] => {
            role.say("ready");
            role.barrier();
            for n in 0..count.parse().unwrap() {
                pd.send(to, &format!("{} {n}", role.agent)).unwrap();
            }
            role.say("done");
        }
        ref other => panic!("{other:?}"),
    }
}

fn texts(messages: &[DirectMessage]) -> String {
    messages.iter().map(|m| m.text.as_str()).collect::<Vec<_>>().join(",")
}

fn registered(store: &TempStore, agent: &str) -> Coordinator {
    let pd = store.open(agent);
    pd.register_agent(&Registration::default()).unwrap();
    pd
}

fn named(store: &TempStore, agent: &str, name: &str, identity: &str) -> Coordinator {
    let pd = store.open(agent);
    let (name, identity) = (Some(name.to_owned()), Some(identity.to_owned()));
    pd.register_agent(&Registration { name, identity, ..Default::default() }).unwrap();
    pd
}

/// Comes back once so many are recorded as waiting for messages.
fn until_watching(pd: &Coordinator, count: usize) {
    let deadline = Instant::now() + LONG;
    while pd.status().unwrap().waiters.iter().filter(|w| w.kind == "inbox").count() != count {
        assert!(Instant::now() < deadline, "never {count}");
        std::thread::yield_now();
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_is_sent_is_there_until_it_was_shown() {
    let store = TempStore::new();
    let (a, b) = (named(&store, "a", "Ann", "shop:api"), registered(&store, "b"));
    let sent: Vec<Sent> = ["one", "two\n\u{1b}[31m", "three"].map(|text| a.send("b", text).unwrap()).into();
    let (one, two) = (&sent[0].message, &sent[1].message);
    assert!(one.seq < two.seq && sent[0].recipient_name == "b" && sent[0].gone_ms.is_none());
    assert_eq!((one.sender.as_deref(), one.sender_name.as_deref()), (Some("a"), Some("Ann")));

    // Reading moves nothing, and others' messages are none of one's own.
    for _ in 0..2 {
        assert_eq!(texts(&b.inbox().unwrap()), "one,two\n\u{1b}[31m,three");
    }
    assert!(a.inbox().unwrap().is_empty());
    a.inbox_shown(i64::MAX).unwrap();
    b.inbox_shown(one.seq - 1).unwrap();
    assert_eq!(b.inbox().unwrap().len(), 3);
    b.inbox_shown(two.seq).unwrap();
    assert_eq!(texts(&b.inbox().unwrap()), "three");
    let all = b.direct_messages(&DirectMessageFilter::default()).unwrap();
    assert_eq!(all.iter().map(|m| m.shown_ms.is_some()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(texts(&b.direct_messages(&DirectMessageFilter { limit: Some(1) }).unwrap()), "three");

    // Another handle of the same agent goes on where this one was, and one may write to oneself.
    b.send("b", "remember").unwrap();
    assert_eq!(texts(&store.shell("b").inbox().unwrap()), "three,remember");
    // The log says that something was sent, and not what.
    let log = a.activity(&ActivityFilter { kind: Some("message.send".into()), ..Default::default() }).unwrap().entries;
    assert_eq!(log.len(), 4);
    assert_eq!((log[0].subject.as_str(), &log[0].detail["bytes"]), ("b", &3.into()));
    assert!(!serde_json::to_string(&log).unwrap().contains("three"));
}

#[test]
fn an_agent_is_named_by_its_id_or_by_what_it_alone_is_called() {
    let store = TempStore::new();
    let me = registered(&store, "me");
    let (_api, web) = (named(&store, "api-1", "Builder", "shop:api"), named(&store, "web-1", "Builder", "shop:web"));
    let to = |said: &str| me.send(said, "x").unwrap().message.recipient;
    assert_eq!((to("api-1"), to("shop:web")), ("api-1".to_owned(), "web-1".to_owned()));
    let e = me.send("Builder", "x").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Ambiguous);
    assert_eq!(e.fields()["candidates"].as_array().unwrap().len(), 2);
    // Those who are gone step back; and are found where nobody else is meant.
    web.unregister_agent().unwrap();
    assert_eq!(to("Builder"), "api-1");
    assert_eq!(me.send("shop:web", "x").unwrap().reach, Reach::Nobody);
    // Those of another scope, too.
    let repo = store.repository("blog");
    let elsewhere = store.open_in("api-2", &repo);
    let name = Some("Builder".to_owned());
    elsewhere.register_agent(&Registration { name, ..Default::default() }).unwrap();
    assert_eq!(to("Builder"), "api-1");
    assert_eq!(store.open_in("x", &repo).send("Builder", "x").unwrap().message.recipient, "api-2");

    let e = me.send("build", "x").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.next_step().unwrap().contains("did you mean Builder"), "{e}");
    assert_eq!(kind(me.send("zzz", "x")), ErrorKind::NotFound);
    assert_eq!(kind(me.send("", "x")), ErrorKind::Invalid);
}

#[test]
fn a_text_has_bounds_and_an_inbox_has_room_for_a_thousand() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), registered(&store, "b"));
    let whole = "x".repeat(64 << 10);
    for bad in ["", " \n", "a\0b", &(whole.clone() + "x")] {
        assert_eq!(kind(a.send("b", bad)), ErrorKind::Invalid);
    }
    assert!(b.inbox().unwrap().is_empty() && a.whoami().unwrap().registered.is_none(), "nothing was stored");
    a.send("b", &whole).unwrap();
    for n in 1..1000 {
        a.send("b", &n.to_string()).unwrap();
    }
    let e = a.send("b", "one too many").unwrap_err();
    assert_eq!((e.kind(), &e.fields()["waiting"]), (ErrorKind::InboxFull, &1000.into()));
    let first = b.inbox().unwrap();
    assert_eq!((first.len(), first[99].text.as_str()), (100, "99"));
    b.inbox_shown(first[0].seq).unwrap();
    a.send("b", "now there is room").unwrap();
    // Of what was shown the newest are kept.
    b.inbox_shown(i64::MAX).unwrap();
    for n in 0..5 {
        a.send("b", &n.to_string()).unwrap();
    }
    let all = b.direct_messages(&DirectMessageFilter { limit: Some(5000) }).unwrap();
    assert_eq!((all.len(), texts(&b.inbox().unwrap()).as_str()), (1000, "0,1,2,3,4"));
}

#[test]
fn who_is_no_agent_can_send_and_has_no_inbox() {
    let store = TempStore::new();
    let b = registered(&store, "b");
    let nobody = Coordinator::open(store.options().face(portdaddy_core::Face::Shell)).unwrap();
    assert!(nobody.caller().agent.is_none(), "{:?}", nobody.caller());
    let sent = nobody.send("b", "from a script").unwrap();
    assert!(sent.message.sender.is_none() && b.inbox().unwrap()[0].sender_name.is_none());
    for refused in [kind(nobody.inbox()), kind(nobody.inbox_shown(1)), kind(nobody.follow_inbox_from())] {
        assert_eq!(refused, ErrorKind::NoAgent);
    }
}

#[test]
fn a_follower_gets_each_message_once() {
    let store = TempStore::new();
    let (reader, writer) = (registered(&store, "r"), store.open("w"));
    for n in 0..150 {
        writer.send("r", &n.to_string()).unwrap();
    }
    let (said, heard) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || {
        reader.follow_inbox(&Wait::at_most(LONG), |message| {
            let last = message.text == "end";
            said.send(message.text).map_err(|e| Error::invalid(e.to_string()))?;
            Ok(!last)
        })
    });
    for n in 150..300 {
        writer.send("r", &n.to_string()).unwrap();
    }
    writer.send("r", "end").unwrap();
    for n in 0..300 {
        assert_eq!(heard.recv_timeout(LONG).unwrap(), n.to_string());
    }
    assert_eq!(heard.recv_timeout(LONG).unwrap(), "end");
    follower.join().unwrap().unwrap();
    // It marked nothing, and is recorded no more.
    assert_eq!(writer.send("r", "late").unwrap().reach, Reach::IfItLooks);
    assert_eq!(store.open("r").inbox().unwrap().len(), 100);
}

#[test]
fn following_ends_with_its_time_and_with_its_reader() {
    let store = TempStore::new();
    let pd = registered(&store, "a");
    pd.send("a", "x").unwrap();
    let mut heard = 0;
    pd.follow_inbox(&Wait::at_most(Duration::from_millis(1)), |message| {
        heard += message.text.len();
        Ok(true)
    })
    .unwrap();
    assert_eq!(heard, 1);
    let failed = pd.follow_inbox(&Wait::default(), |_| Err(Error::invalid("enough")));
    assert_eq!(failed.unwrap_err().message(), "enough");
    assert!(pd.status().unwrap().waiters.is_empty());
}

#[test]
fn whoever_is_told_that_one_is_woken_is_read_by_its_last_look() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), registered(&store, "b"));
    let mut watch = b.follow_inbox_from().unwrap();
    assert!(watch.next(&Wait::at_most(Duration::from_millis(1))).unwrap().is_none());
    assert_eq!(a.send("b", "first").unwrap().reach, Reach::Woken);
    assert_eq!(watch.next(&Wait::default()).unwrap().unwrap().text, "first");
    // It has what it waited for, and has not ended yet.
    assert_eq!(a.send("b", "second").unwrap().reach, Reach::Woken);
    assert_eq!(texts(&watch.finish().unwrap()), "second");
    assert_eq!(a.send("b", "third").unwrap().reach, Reach::IfItLooks);
}

#[test]
fn a_watcher_is_woken_and_a_killed_one_counts_for_nobody() {
    let store = TempStore::running();
    let a = store.open("a");
    let mut watcher = store.child(CHILD, "watch", "w");
    assert_eq!(watcher.said(), "ready");
    until_watching(&a, 1);
    assert_eq!(a.send("w", "wake up").unwrap().reach, Reach::Woken);
    assert_eq!(watcher.said(), "wake up");
    assert!(watcher.ended());
    // It showed nothing: its message is still there.
    let w = registered(&store, "w");
    assert_eq!(texts(&w.inbox().unwrap()), "wake up");
    w.inbox_shown(i64::MAX).unwrap();

    let mut killed = store.child(CHILD, "watch", "w");
    assert_eq!(killed.said(), "ready");
    until_watching(&a, 1);
    killed.kill();
    // Its agent has another handle here, and lives.
    assert_eq!(a.send("w", "are you there").unwrap().reach, Reach::IfItLooks);
    assert_eq!(texts(&w.inbox().unwrap()), "are you there");
    drop(w);
}

#[test]
fn a_dead_recipient_is_nobody_and_its_heir_is_told() {
    let store = TempStore::running();
    let a = store.open("a");
    let mut agent = store.child(CHILD, "watch", "w");
    assert_eq!(agent.said(), "ready");
    until_watching(&a, 1);
    store
        .open("w")
        .start_session(&portdaddy_core::NewSession { purpose: "Work".into(), ..Default::default() })
        .unwrap();
    agent.kill();
    let sent = a.send("w", "the amounts are cents").unwrap();
    assert_eq!(sent.reach, Reach::Nobody);
    assert!(sent.gone_ms.is_some());
    let briefing = a.salvage_claim("w").unwrap();
    assert_eq!(texts(&briefing.unseen), "the amounts are cents");
    assert!(briefing.text.contains("never shown:\n  [a] the amounts are cents"), "{}", briefing.text);
    // Should it turn out to live, it has it still.
    assert_eq!(texts(&store.open("w").inbox().unwrap()), "the amounts are cents");
}

#[test]
fn two_senders_and_two_readers_lose_nothing() {
    const EACH: usize = 100;
    let store = TempStore::running();
    let r = registered(&store, "r");
    let mut readers: Vec<Process> = (0..2).map(|_| store.child(CHILD, "drain", "r")).collect();
    readers.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    let senders = ["s1", "s2"];
    let mut sending: Vec<Process> = senders.iter().map(|s| store.child(CHILD, &format!("send r {EACH}"), s)).collect();
    sending.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    sending.iter_mut().for_each(Process::go);
    let listening: Vec<_> = readers
        .drain(..)
        .map(|mut reader| {
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                loop {
                    let text = reader.said();
                    if text.starts_with("end") {
                        return heard;
                    }
                    heard.push(text);
                }
            })
        })
        .collect();
    sending.iter_mut().for_each(|c| assert_eq!(c.said(), "done"));
    // Each reader ends with the first of these that it meets; one may be shown by the other.
    let ending = Instant::now() + LONG;
    while listening.iter().any(|thread| !thread.is_finished()) {
        assert!(Instant::now() < ending, "a reader never came to the end");
        store.open("s3").send("r", "end").unwrap();
        std::thread::yield_now();
    }
    let mut all = BTreeSet::new();
    for heard in listening {
        let heard = heard.join().unwrap();
        let once: BTreeSet<String> = heard.iter().cloned().collect();
        assert_eq!(once.len(), heard.len(), "one reader was given a message twice");
        all.extend(once);
    }
    let sent: BTreeSet<String> = senders.iter().flat_map(|s| (0..EACH).map(move |n| format!("{s} {n}"))).collect();
    assert_eq!(all, sent);
    assert!(r.inbox().unwrap().iter().all(|m| m.text == "end"));
}

#[test]
fn a_reader_that_dies_before_it_has_shown_gets_it_again() {
    let store = TempStore::running();
    let a = store.open("a");
    let r = registered(&store, "r");
    a.send("r", "one").unwrap();
    a.send("r", "two").unwrap();
    let mut reader = store.child(CHILD, "read", "r");
    assert_eq!(reader.said(), "one,two");
    reader.kill();
    assert_eq!(texts(&r.inbox().unwrap()), "one,two");
}
