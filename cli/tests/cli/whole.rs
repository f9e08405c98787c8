use crate::place::Place;

#[test]
fn status_counts_and_doctor_checks() {
    let place = Place::new();
    place.ok(&["begin", "x", "--files", "a"]);
    place.ok(&["lock", "l"]);
    place.ok(&["pub", "c", "1"]);
    let status = place.json(&["status"]);
    for (what, count) in [("sessions", 1), ("claims", 1), ("locks", 1), ("channels", 1), ("messages", 1)] {
        assert_eq!(status[what], count, "{what}: {status}");
    }
    let text = place.ok(&["status"]);
    assert!(text.contains("agents: 1 active, 0 stale, 0 dead\nsessions: 1 active\n"), "{text}");
    let doctor = place.ok(&["doctor"]);
    assert!(doctor.lines().all(|line| line.starts_with("ok ")), "{doctor}");
}

#[test]
fn the_log_tells_what_happened() {
    let place = Place::new();
    place.ok(&["lock", "l"]);
    place.ok(&["unlock", "l"]);
    let log = place.ok(&["log", "--type", "lock."]);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].ends_with(" lock.grant       [tester] took l"), "{log}");
    assert!(lines[1].ends_with(" lock.release     [tester] released l"), "{log}");
    let mut follow = place.start(&["log", "-f", "--type", "lock.grant", "--json"]);
    let mut lines = follow.lines();
    lines.next().unwrap();
    place.ok(&["lock", "m"]);
    let entry: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!((&entry["type"], &entry["subject"]), (&"lock.grant".into(), &"m".into()));
}

#[test]
fn a_store_that_cant_be_used_says_so() {
    let place = Place::new();
    place.write("not-a-database", &"not a database\n".repeat(100));
    let run = place.pd(&["notes", "--db", "not-a-database"]);
    assert_eq!(run.exit, 6, "{}", run.shown());
    assert!(run.stderr.starts_with("Error: ") && run.stderr.contains("\nHint: "), "{}", run.stderr);
    let document = place.pd(&["notes", "--db", "not-a-database", "--json"]);
    assert_eq!((document.exit, document.stderr.as_str()), (6, ""));
    assert!(document.stdout.starts_with("{\"error\":{\"code\":\"STORE_"), "{}", document.stdout);
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let place = Place::new();
    place.ok(&["--agent", "a", "note", "one"]);
    place.ok(&["note", "two", "--agent", "b"]);
    assert_eq!(place.ok(&["-q", "notes"]), "[a] one\n[b] two\n");
    assert_eq!(place.ok(&["--agent", "b", "notes"]), "[b] two\n");
    assert_eq!(place.pd(&["notes", "--scope", "x", "--global"]).exit, 2);
}
