use std::io::Write as _;

use crate::place::{Place, assert_run};

#[test]
fn notes_are_one_line_each_oldest_first_and_nothing_else() {
    let mut place = Place::new();
    place.agent("agent-1").ok(&["agent", "register", "--name", "Agent 1"]);
    place.ok(&["note", "Built CheckoutForm component"]);
    place.ok(&["note", "Blocked waiting on payment API types", "--type", "blocker"]);
    place.agent("agent-2").ok(&["note", "Ready for integration tests"]);
    assert_run!(place.pd(&["notes", "--limit", "20"]), @r"
    [Agent 1] Built CheckoutForm component
    [Agent 1] Blocked waiting on payment API types
    [agent-2] Ready for integration tests
    ");
    assert_run!(place.pd(&["notes", "--limit", "1"]), @"[agent-2] Ready for integration tests");
    assert_run!(place.pd(&["notes", "--type", "blocker"]), @"[Agent 1] Blocked waiting on payment API types");
    assert_run!(place.pd(&["notes", "--agent", "agent-1", "--grep", "checkout"]), @"[Agent 1] Built CheckoutForm component");
    assert_run!(place.pd(&["notes", "--since", "1970-01-01T00:00:00Z", "--project", "nope"]), @"");
}

#[test]
fn a_note_without_a_session_opens_one() {
    let place = Place::new();
    assert_run!(place.pd(&["note", "hello"]), @r"
    Noted in session-ID
    2> Note: opened session-ID for it (pd begin PURPOSE says what it is for)
    ");
    assert_run!(place.pd(&["note", "again"]), @"Noted in session-ID");
    let quiet = place.pd(&["note", "third", "-q"]);
    assert!(quiet.stdout.trim().parse::<i64>().is_ok() && quiet.stderr.is_empty(), "{}", quiet.shown());
}

#[test]
fn text_of_others_stays_on_its_line_and_off_the_terminal() {
    let place = Place::new();
    place.ok(&["begin", "x", "--name", "e\u{202e}vil"]);
    place.ok(&["note", "one\ntwo \x1b[31mred\x07"]);
    assert_run!(place.pd(&["notes"]), @r"[e\u{202e}vil] one\ntwo \x1b[31mred\x07");
    let notes = place.json(&["notes"]);
    assert_eq!(notes["notes"][0]["text"], "one\ntwo \x1b[31mred\x07");
}

#[test]
fn a_note_may_come_from_stdin() {
    let place = Place::new();
    let mut note = place.start(&["note", "-", "-q"]);
    note.stdin().write_all("from a pipe\n".as_bytes()).unwrap();
    assert_eq!(note.end().exit, 0);
    assert_run!(place.pd(&["notes"]), @"[tester] from a pipe");
}

#[test]
fn following_goes_on_with_what_is_written() {
    let place = Place::new();
    place.ok(&["note", "before"]);
    let mut follow = place.start(&["notes", "-f"]);
    let mut lines = follow.lines();
    assert_eq!(lines.next().unwrap(), "[tester] before");
    place.ok(&["note", "after"]);
    assert_eq!(lines.next().unwrap(), "[tester] after");
}

#[test]
fn notes_of_other_scopes_are_counted_on_stderr() {
    let place = Place::new();
    place.ok(&["note", "here"]);
    place.ok(&["note", "there", "--scope", "shop", "-q"]);
    place.ok(&["note", "there too", "--scope", "shop", "-q"]);
    assert_run!(place.pd(&["notes"]), @r"
    [tester] here
    2> Note: 2 notes of other scopes left out (--all shows them)
    ");
    assert_eq!(place.ok(&["notes", "--all"]).lines().count(), 3);
    assert_eq!(place.json(&["notes"])["elsewhere"], 2);
}

#[test]
fn nobody_can_write_without_a_name() {
    let mut place = Place::new();
    assert_run!(place.agent("").orphan(&["note", "hi"]), @r"
    2> Error: no agent could be found for this call: nothing around it says who is calling
    2> Hint: pass --agent NAME or set PORT_DADDY_AGENT
    exit 2
    ");
}
