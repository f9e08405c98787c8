//! Messages to one agent, from the command line.

use crate::callers::Harness;
use crate::place::{Place, assert_run};

fn place() -> Place {
    let mut place = Place::new();
    place.agent("bob").ok(&["agent", "register", "--name", "Backend Builder", "--identity", "shop:api"]);
    place.agent("alice");
    place
}

#[test]
fn what_is_sent_is_shown_once() {
    let mut place = place();
    assert_run!(place.pd(&["send", "bob", "The amounts are cents"]), @"Sent: Backend Builder (bob) sees it if it looks (pd inbox)");
    place.ok(&["send", "shop:api", "two\nlines \x1b[31mred"]);
    place.agent("bob");
    let peeked = place.json(&["inbox", "--peek"]);
    assert_eq!(peeked["messages"][1]["text"], "two\nlines \x1b[31mred");
    assert_run!(place.pd(&["inbox", "--limit", "1"]), @r"
    [alice] The amounts are cents
    2> Note: there are more: pd inbox shows them
    ");
    assert_run!(place.pd(&["inbox"]), @r"[alice] two\nlines \x1b[31mred");
    assert_run!(place.pd(&["inbox"]), @"2> Note: no new messages (--all shows those of before)");
    assert_run!(place.pd(&["inbox", "--all", "-q"]), @r"
    [alice] The amounts are cents
    [alice] two\nlines \x1b[31mred
    ");
    assert_eq!(place.json(&["inbox"])["messages"], serde_json::json!([]));
}

#[test]
fn the_sender_is_told_what_will_become_of_it() {
    let mut place = place();
    assert_run!(place.pd(&["send", "Backend", "x"]), @r#"
    2> Error: no agent is called "Backend"
    2> Hint: did you mean Backend Builder? pd agents --all lists everyone
    exit 1
    "#);
    place.agent("bob").ok(&["agent", "unregister"]);
    let gone = place.agent("alice").pd(&["send", "bob", "still there?"]);
    assert_eq!(gone.exit, 0);
    let said = "Nobody is home: Backend Builder (bob) has been gone for 0s; the message waits";
    assert!(gone.stdout.starts_with(said), "{}", gone.shown());
    let quiet = place.ok(&["send", "bob", "x", "-q"]);
    assert!(quiet.trim().parse::<i64>().is_ok(), "{quiet}");
    let sent = place.json(&["send", "bob", "x"]);
    assert_eq!((&sent["reach"], &sent["message"]["recipient"]), (&"nobody".into(), &"bob".into()));
}

#[test]
fn a_watch_ends_when_a_message_comes() {
    let mut place = place();
    let watch = place.agent("bob").start(&["inbox", "--watch", "--timeout", "20s"]);
    place.until_waiting(1);
    place.agent("alice");
    assert_run!(place.pd(&["send", "bob", "wake up"]), @"Sent: Backend Builder (bob) will be woken");
    let run = watch.end();
    assert_eq!((run.exit, run.stdout.as_str()), (0, "[alice] wake up\n"), "{}", run.shown());
    // It has shown it, and waits no more.
    assert_run!(place.pd(&["send", "bob", "again"]), @"Sent: Backend Builder (bob) sees it if it looks (pd inbox)");
    assert_eq!(place.agent("bob").ok(&["inbox", "--watch"]), "[alice] again\n", "what is there is no reason to wait");
    let late = place.pd(&["inbox", "--watch", "--timeout", "10ms"]);
    assert_eq!((late.exit, late.stdout.as_str()), (4, ""), "{}", late.shown());
    assert_eq!(place.pd(&["inbox", "--timeout", "10ms"]).exit, 2);
}

/// A harness's agent and its background command, which leaves its exit code in a file.
fn in_background(place: &mut Place, command: &str) -> (Harness, String) {
    place.agent("");
    let mut harness = Harness::start(place, "claude", 1);
    let id = harness.ask("pd begin Work -q >/dev/null; pd whoami -q").trim().to_owned();
    let at = place.path("").display().to_string();
    let script = format!("{command} >{at}/out 2>{at}/err; echo $? >{at}/exit.new; mv {at}/exit.new {at}/exit");
    harness.ask(&format!("{{ sh -c '{script}' >/dev/null 2>&1 & }}"));
    place.agent("alice");
    (harness, id)
}

#[test]
fn a_watch_that_its_harness_left_behind_keeps_nobody_alive_and_ends() {
    let mut place = Place::new();
    let (harness, id) = in_background(&mut place, "pd inbox --watch --timeout 60s");
    place.until_waiting(1);
    assert!(place.ok(&["send", "-q", &id, "x"]).trim().parse::<i64>().is_ok());
    place.until(|| place.path("exit").exists());
    assert_eq!(std::fs::read_to_string(place.path("exit")).unwrap(), "0\n", "it is woken while its agent lives");
    drop(harness);

    let mut place = Place::new();
    let (mut harness, id) = in_background(&mut place, "pd inbox --watch --timeout 60s");
    place.until_waiting(1);
    harness.child.kill().unwrap();
    harness.child.wait().unwrap();
    let sent = place.json(&["send", &id, "still there?"]);
    assert_eq!(sent["reach"], "nobody", "{sent}");
    place.until(|| place.path("exit").exists());
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!((read("exit").as_str(), read("out").as_str()), ("1\n", ""));
    assert!(read("err").contains(&format!("{id} is dead: nobody waits here any more")), "{}", read("err"));
    assert_eq!(place.json(&["agent", "show", &id])["state"], "dead");
    assert_eq!(place.json(&["salvage"])["items"][0]["agent"], id.as_str());
    // It was shown to nobody.
    let briefing = place.json(&["salvage", "claim", &id]);
    assert_eq!(briefing["unseen"][0]["text"], "still there?", "{briefing}");
}

#[test]
fn a_watch_of_an_agent_that_left_ends_and_does_not_bring_it_back() {
    let mut place = place();
    let watch = place.agent("bob").start(&["inbox", "--watch", "--timeout", "60s"]);
    place.until_waiting(1);
    place.ok(&["agent", "unregister"]);
    let sent = place.agent("alice").json(&["send", "bob", "x"]);
    assert_eq!(sent["reach"], "nobody", "{sent}");
    let run = watch.end();
    assert_eq!((run.exit, run.stdout.as_str()), (1, ""), "{}", run.shown());
    assert!(run.stderr.contains("bob has left"), "{}", run.shown());
    assert_eq!(place.json(&["agent", "show", "bob"])["state"], "left");
    assert_eq!(place.agent("bob").ok(&["inbox"]), "[alice] x\n");
}

#[test]
fn a_wait_for_signals_that_was_left_behind_keeps_nobody_alive_and_work_under_a_lock_does() {
    let mut place = Place::new();
    let (mut harness, id) = in_background(&mut place, "pd sub never:comes --follow --timeout 60s");
    place.until_waiting(1);
    harness.child.kill().unwrap();
    harness.child.wait().unwrap();
    assert_eq!(place.json(&["agent", "show", &id])["state"], "dead");

    let mut place = Place::new();
    let (mut harness, id) = in_background(&mut place, "pd with-lock deploy -- sleep 60");
    place.until(|| !place.json(&["locks"])["locks"].as_array().unwrap().is_empty());
    harness.child.kill().unwrap();
    harness.child.wait().unwrap();
    assert_eq!(place.json(&["agent", "show", &id])["state"], "active");
    assert_eq!(place.json(&["locks"])["locks"][0]["agent"], id.as_str());
    let pid = place.json(&["agent", "show", &id])["proofs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["kind"] == "command")
        .unwrap()["pid"]
        .to_string();
    assert!(place.program("kill").args(["-TERM", &pid]).status().unwrap().success());
    place.until(|| place.path("exit").exists());
    assert_eq!(place.json(&["agent", "show", &id])["state"], "dead");
}

#[test]
fn a_watch_that_was_killed_is_not_counted() {
    let mut place = place();
    let watch = place.agent("bob").start(&["inbox", "--watch"]);
    place.until_waiting(1);
    watch.signal("KILL");
    watch.end();
    place.agent("alice");
    assert_run!(place.pd(&["send", "bob", "x"]), @"Sent: Backend Builder (bob) sees it if it looks (pd inbox)");
}

#[test]
fn following_goes_on_with_what_is_sent() {
    let mut place = place();
    place.ok(&["send", "bob", "before"]);
    let mut follow = place.agent("bob").start(&["inbox", "--follow"]);
    let mut lines = follow.lines();
    assert_eq!(lines.next().unwrap(), "[alice] before");
    place.agent("alice").ok(&["send", "bob", "after"]);
    assert_eq!(lines.next().unwrap(), "[alice] after");
}

#[test]
fn what_was_not_printed_to_the_end_was_not_shown() {
    let mut place = place();
    place.ok(&["send", "bob", "precious"]);
    place.agent("bob");
    // A reader that goes away before it has read, and a disk without room.
    for broken in ["pd inbox | true", "pd inbox --watch >/dev/full", "pd inbox --follow >/dev/full"] {
        let _ = place.sh(&format!("trap '' PIPE; {broken}"));
        if broken.contains("true") {
            // Whether the reader went before or after the line was written is nobody's to say.
            if place.json(&["inbox", "--peek"])["messages"].as_array().unwrap().is_empty() {
                place.agent("alice").ok(&["send", "bob", "precious"]);
                place.agent("bob");
            }
            continue;
        }
        assert_eq!(place.json(&["inbox", "--peek"])["messages"].as_array().unwrap().len(), 1, "{broken}");
    }
    assert_run!(place.pd(&["inbox"]), @"[alice] precious");
}

#[test]
fn a_message_may_come_from_stdin_and_must_be_one() {
    let mut place = place();
    assert_eq!(place.sh("echo from a pipe | pd send bob - -q").exit, 0);
    let empty = place.pd(&["send", "bob", " "]);
    assert_eq!(empty.exit, 2, "{}", empty.shown());
    assert!(empty.stderr.contains("the message is empty"), "{}", empty.shown());
    place.agent("");
    let nobody = place.orphan(&["send", "bob", "from nobody"]);
    assert_eq!(nobody.exit, 0, "{}", nobody.shown());
    assert_eq!(place.orphan(&["inbox"]).exit, 2, "nobody has no messages");
}
