use std::io::Write as _;
use std::process::Stdio;

use crate::place::{Place, Run, assert_run};

#[test]
fn who_comes_late_still_receives() {
    let mut place = Place::new();
    place.agent("backend").ok(&["agent", "register", "--name", "Backend Agent"]);
    assert_run!(place.pd(&["pub", "payments:api", r#"{"status":"healthy","port":3101}"#]), @"Published payments:api (seq N)");
    place.agent("tests");
    assert_run!(place.pd(&["sub", "payments:*"]), @r#"
    {"status":"healthy","port":3101}
    2> Note: payments:api is N old, from Backend Agent (alive)
    "#);
    assert_eq!(place.ok(&["sub", "payments:*", "-q"]), "{\"status\":\"healthy\",\"port\":3101}\n");
    let envelope = place.json(&["sub", "payments:api"]);
    assert_eq!(envelope["message"]["payload"]["port"], 3101);
    assert_eq!(envelope["message"]["agent"], "backend");
    assert_eq!(envelope["replayed"], true);
}

#[test]
fn every_listed_pattern_must_deliver() {
    let place = Place::new();
    place.ok(&["pub", "payments:api", "1"]);
    let both = place.start(&["sub", "payments:api,payments:queries", "-q"]);
    place.until_waiting(1);
    place.ok(&["pub", "payments:queries", "2"]);
    assert_run!(both.end(), @r"
    1
    2
    ");
    // A pattern with `*` prints all that is latched.
    assert_eq!(place.ok(&["sub", "payments:*", "-q"]), "1\n2\n");
}

#[test]
fn following_counting_and_timing_out() {
    let place = Place::new();
    let mut follow = place.start(&["sub", "build:*", "--follow", "-q"]);
    place.until_waiting(1);
    let mut lines = follow.lines();
    for payload in ["\"one\"", "null", "false"] {
        place.ok(&["pub", "build:step", payload]);
        assert_eq!(lines.next().unwrap(), payload);
    }
    assert_eq!(place.ok(&["sub", "build:step", "--replay", "all", "--count", "2", "-q"]), "\"one\"\nnull\n");
    assert_run!(place.pd(&["sub", "build:step,other", "--new", "--timeout", "50ms"]), @r"
    2> Error: nothing came on build:step, other within 50ms
    2> Hint: pd channels shows what was sent, pd agents who is alive
    exit 4
    ");
}

#[test]
fn a_durable_position_goes_on_where_it_stopped() {
    let place = Place::new();
    for n in ["1", "2", "3"] {
        place.ok(&["pub", "jobs", n]);
    }
    assert_eq!(place.ok(&["sub", "jobs", "--as", "worker", "--replay", "all", "--count", "2", "-q"]), "1\n2\n");
    assert_eq!(place.ok(&["sub", "jobs", "--as", "worker", "--count", "1", "-q"]), "3\n");
}

#[test]
fn what_begins_like_json_must_be_json() {
    let place = Place::new();
    assert_run!(place.pd(&["pub", "a", "{status:1}"]), @r#"
    2> Error: the message begins like JSON and isn't: key must be a string at line 1 column 2
    2> Hint: quote it for the shell in '…', or write a string as '"…"'
    exit 2
    "#);
    place.ok(&["pub", "a", "plain words"]);
    assert_eq!(place.ok(&["sub", "a", "-q"]), "\"plain words\"\n");
    place.ok(&["pub", "a", "-7"]);
    assert_eq!(place.ok(&["sub", "a", "-q"]), "-7\n");
    let mut piped = place.start(&["pub", "a", "-", "-q"]);
    piped.stdin().write_all(b"[1,\n2]\n").unwrap();
    assert_eq!(piped.end().exit, 0);
    assert_eq!(place.ok(&["sub", "a", "-q"]), "[1,2]\n");
}

#[test]
fn two_who_wait_for_each_other_are_told() {
    let mut place = Place::new();
    place.agent("agentA").ok(&["agent", "register"]);
    place.agent("agentB").ok(&["agent", "register"]);
    let _first = place.agent("agentA").start(&["sub", "agentB:ready"]);
    place.until_waiting(1);
    let second = place.agent("agentB").pd(&["sub", "agentA:ready", "--timeout", "20s"]);
    assert_eq!(second.exit, 5, "{}", second.shown());
    assert!(second.stderr.starts_with("Error: "), "{}", second.stderr);
    let patient = place.pd(&["sub", "agentA:ready", "--timeout", "50ms", "--patient"]);
    assert_eq!(patient.exit, 4, "{}", patient.shown());
}

#[test]
fn channels_are_listed_and_cleared() {
    let place = Place::new();
    place.ok(&["pub", "payments:api", "1"]);
    place.ok(&["pub", "payments:api", "2"]);
    assert_run!(place.pd(&["channels"]), @"payments:api (2 messages, newest N ago)");
    assert_run!(place.pd(&["channels", "other*"]), @"");
    assert_run!(place.pd(&["channels", "clear", "payments:*"]), @"Cleared payments:* (2 messages)");
    assert_run!(place.pd(&["channels"]), @"");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    place.ok(&["pub", "noise", "1"]);
    let mut child =
        place.command(&["sub", "noise", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    place.until(|| {
        place.ok(&["pub", "noise", "2"]);
        child.try_wait().unwrap().is_some()
    });
    let run = Run::of(&child.wait_with_output().unwrap());
    assert_eq!(run.exit, 0, "{}", run.shown());
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("Error"), "{}", run.stderr);
}

#[test]
fn an_empty_or_endless_stdin_is_no_message() {
    let place = Place::new();
    assert_run!(place.pd(&["pub", "a", "-"]), @r#"
    2> Error: stdin is empty: there is nothing to publish
    2> Hint: an empty string is '""', nothing in particular is null
    exit 2
    "#);
    for args in [["pub", "a", "-"].as_slice(), &["note", "-"]] {
        let endless = std::fs::File::open("/dev/zero").unwrap();
        let run = Run::of(&place.command(args).stdin(endless).output().unwrap());
        assert!(run.exit == 2 && run.stderr.starts_with("Error: stdin is too large"), "{}", run.shown());
    }
    assert_run!(place.pd(&["channels"]), @"");
}
