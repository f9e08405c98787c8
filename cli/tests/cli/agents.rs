use crate::place::{Place, assert_run};

#[test]
fn agents_are_listed_as_promised() {
    let mut place = Place::new();
    place.agent("");
    assert_run!(place.pd(&["agent", "register", "--agent", "frontend-builder", "--identity", "payments:web", "--purpose", "Building checkout UI", "--type", "ai"]), @"Registered frontend-builder");
    assert_run!(place.pd(&["agent", "heartbeat", "--agent", "frontend-builder"]), @"Alive: frontend-builder");
    place.ok(&["--agent", "backend-builder", "agent", "register", "--name", "Backend Agent"]);
    let agents = place.ok(&["agents"]);
    let mut lines: Vec<_> = agents.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{agents}");
    assert!(lines[0].starts_with("Active backend-builder \"Backend Agent\" ("), "{agents}");
    assert!(
        lines[1].starts_with("Active frontend-builder (payments:web, ") && lines[1].ends_with("s ago)"),
        "{agents}"
    );
    assert_eq!(place.ok(&["agents", "--project", "payments"]).lines().count(), 1);
    assert_run!(place.pd(&["agent", "show", "frontend-builder"]), @r"
    Active frontend-builder (payments:web, N ago)
      purpose: Building checkout UI
      type: ai
      scope: global
      active sessions: 0
    ");
    assert_run!(place.pd(&["agent", "unregister", "--agent", "frontend-builder"]), @"Unregistered frontend-builder");
    assert_eq!(place.pd(&["agent", "show", "nosuch"]).exit, 1);
}

#[test]
fn agents_of_other_scopes_are_counted_on_stderr() {
    let place = Place::new();
    place.ok(&["agent", "register", "--scope", "shop"]);
    assert_run!(place.pd(&["agents"]), @"2> Note: 1 agent of other scopes left out (--all shows them)");
    assert_eq!(place.ok(&["agents", "--all"]).lines().count(), 1);
}

#[test]
fn who_calls_is_told() {
    let mut place = Place::new();
    assert_run!(place.agent("").pd(&["whoami", "-q", "--agent", "me"]), @"me");
    let me = place.json(&["whoami", "--agent", "me"]);
    assert_eq!((&me["agent"], &me["source"]), (&"me".into(), &"named".into()));
}
