use crate::place::{Place, assert_run};

/// Lets an agent work inside a process that others take for a coding harness, and that then ends.
pub(crate) fn die_at_work(place: &Place, script: &str) {
    let harness = place.path("claude");
    std::os::unix::fs::symlink("/bin/sh", &harness).unwrap();
    let status = place.program(harness.to_str().unwrap()).args(["-c", &format!("{script}\ntrue")]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_work_of_the_dead_is_listed_taken_over_and_finished() {
    let mut place = Place::new();
    place.agent("database-builder");
    die_at_work(
        &place,
        "pd begin 'Database schema' --identity payments:db --name 'Database Agent' --files src/db/schema.ts -q &&
         pd note 'Created payments table' -q && pd lock db-migrations -q",
    );
    place.agent("successor").ok(&["begin", "Carrying on"]);
    let agents = place.ok(&["agents"]);
    let dead = agents.lines().find(|line| line.starts_with("Dead")).unwrap_or_else(|| panic!("{agents}"));
    assert!(
        dead.starts_with("Dead database-builder \"Database Agent\" (payments:db, ") && dead.ends_with(" ago) [stale]"),
        "{dead}"
    );
    let listed = place.ok(&["salvage", "--project", "payments"]);
    for part in [
        "Dead database-builder \"Database Agent\" (payments:db, ",
        "Database schema",
        "src/db/schema.ts",
        "[Database Agent] Created payments table",
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    // A dead agent's claims and locks are in nobody's way.
    assert_run!(place.pd(&["files", "add", "src/db/schema.ts"]), @r"
    Claimed src/db/schema.ts
    2> Note: src/db/schema.ts was claimed by session-ID (Database Agent), which is dead: pd salvage
    ");
    place.ok(&["lock", "db-migrations"]);
    let briefing = place.ok(&["salvage", "claim", "database-builder"]);
    assert!(briefing.contains("Created payments table"), "{briefing}");
    assert_eq!(place.agent("third").pd(&["salvage", "claim", "database-builder"]).exit, 1);
    assert_eq!(
        place.agent("successor").ok(&["salvage", "complete", "database-builder", "Finished"]),
        "Completed the work of database-builder\n"
    );
    assert_run!(place.pd(&["salvage"]), @"2> Nothing to salvage");
}
