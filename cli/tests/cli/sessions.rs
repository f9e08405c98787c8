use crate::place::{Place, assert_run};

#[test]
fn a_session_starts_shows_and_ends() {
    let place = Place::new();
    assert_run!(place.pd(&["session", "start", "Building payment API", "--files", "src/api/*", "src/types.ts"]), @"Started session-ID");
    place.ok(&["note", "half way"]);
    assert_run!(place.pd(&["session", "phase", "testing"]), @"session-ID is in phase testing");
    let id = place.json(&["sessions"])["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_run!(place.pd(&["session", "show", &id["session-".len()..]]), @r"
    session-ID [tester] Building payment API (active, testing, N ago, 1 note)
      claims: src/api/*
      claims: src/types.ts
      [tester] half way (N ago)
    ");
    assert_run!(place.pd(&["session", "end", "API ready"]), @"Completed session-ID");
    assert_run!(place.pd(&["sessions"]), @"");
    assert_run!(place.pd(&["sessions", "--status", "any"]), @"session-ID [tester] Building payment API (completed, testing, N ago, 2 notes)");
    assert_run!(place.pd(&["files", "list"]), @"");
}

#[test]
fn begin_and_done_are_all_at_once() {
    let place = Place::new();
    let started =
        place.pd(&["begin", "Checkout UI", "--identity", "shop:web", "--name", "Frontend", "--type", "ai", "-q"]);
    assert_eq!((started.exit, started.stderr.as_str()), (0, ""));
    let me = place.ok(&["whoami"]).replace(&place.path("db/port-daddy.db").display().to_string(), "DB");
    let expected = format!(
        "agent: tester (environment)\nname: Frontend\nidentity: shop:web\nsession: {} (Checkout UI)\nscope: global\ndatabase: DB\n",
        started.stdout.trim()
    );
    assert_eq!(me, expected);
    assert_eq!(place.ok(&["whoami", "-q"]), "tester\n");
    assert_eq!(place.ok(&["done", "shipped", "-q"]), started.stdout);
    assert_run!(place.pd(&["notes"]), @"[Frontend] shipped");
    assert_eq!(place.pd(&["done"]).exit, 1);
}

#[test]
fn abandoning_says_so() {
    let place = Place::new();
    place.ok(&["begin", "a try"]);
    assert_run!(place.pd(&["session", "abandon", "it doesn't work"]), @"Abandoned session-ID");
    assert_eq!(place.json(&["sessions", "--status", "abandoned"])["sessions"][0]["purpose"], "a try");
}

#[test]
fn options_may_stand_anywhere() {
    let place = Place::new();
    let orders: [&[&str]; 6] = [
        &["session", "start", "p q", "--files", "a", "b", "--force"],
        &["session", "start", "--force", "p q", "--files", "a", "b"],
        &["session", "start", "--files", "a", "--files", "b", "--force", "p q"],
        &["session", "start", "--files", "a", "b", "--force", "p q"],
        &["session", "start", "--files", "a", "b", "p q"],
        &["begin", "--files", "a", "b", "p q", "--force"],
    ];
    for args in orders {
        let mut all = vec!["--json"];
        all.extend(args);
        let run = place.pd(&all);
        let started: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(started["session"]["purpose"], "p q", "{args:?}");
        assert_eq!(started["claimed"].as_array().unwrap().len(), 2, "{args:?}: {started}");
        place.ok(&["done"]);
    }
    assert_run!(place.pd(&["session", "start", "--files", "src/a.ts", "src/b.ts"]), @r#"
    2> Error: the PURPOSE is missing: a session says what it is for
    2> Hint: pd session start "Building checkout UI" --files src/checkout
    exit 2
    "#);
}

#[test]
fn anothers_session_is_refused() {
    let mut place = Place::new();
    let id = place.ok(&["begin", "mine", "-q"]);
    place.agent("other");
    assert_eq!(place.pd(&["note", "into it", "--session", id.trim()]).exit, 3);
    assert_eq!(place.pd(&["session", "end", "--session", id.trim()]).exit, 3);
    assert_eq!(place.pd(&["session", "show", "nosuch"]).exit, 1);
}

#[test]
fn another_session_s_id_is_no_last_note() {
    let mut place = Place::new();
    let others = place.agent("other").ok(&["begin", "theirs", "-q"]).trim().to_owned();
    place.agent("tester").ok(&["begin", "mine", "-q"]);
    for args in [["session", "end", &others].as_slice(), &["session", "abandon", &others], &["done", &others]] {
        let run = place.pd(args);
        assert_eq!(run.exit, 2, "{}", run.shown());
        assert!(run.stderr.contains(&format!("--session {others}")), "{}", run.stderr);
    }
    assert_eq!(place.json(&["sessions"])["sessions"].as_array().unwrap().len(), 2);
    // Named as the hint says, it is another's.
    assert_eq!(place.pd(&["session", "end", "--session", &others]).exit, 3);
}
