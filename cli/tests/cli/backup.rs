use crate::place::Place;

#[test]
fn a_backup_is_made_looked_into_and_put_back() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    let to = place.cwd().join("backup.db");
    let said = place.ok(&["backup", "backup.db"]);
    assert!(said.starts_with(&format!("Backed up to {} (", to.display())) && said.ends_with(" KiB)\n"), "{said}");
    place.ok(&["note", "two"]);
    assert_eq!(place.ok(&["notes", "--db", "backup.db"]), "[tester] one\n");
    let again = place.pd(&["backup", "backup.db"]);
    assert_eq!(again.exit, 2);
    assert_eq!(
        again.stderr,
        format!("Error: {} exists\nHint: pass --force to replace it, or name another file\n", to.display())
    );
    assert_eq!(place.ok(&["-q", "backup", "--force", "backup.db"]), format!("{}\n", to.display()));
    place.ok(&["note", "three"]);
    let run = place.pd(&["restore", "backup.db"]);
    assert_eq!(run.exit, 0, "{}", run.shown());
    let db = place.path("db/port-daddy.db");
    assert_eq!(run.stdout, format!("Restored {} from {}\n", db.display(), to.display()));
    let kept = run.stderr.trim_end().strip_prefix("What it held before is in ").unwrap().to_owned();
    assert!(kept.starts_with(&format!("{}.before-restore-", db.display())), "{kept}");
    assert_eq!(place.ok(&["notes"]), "[tester] one\n[tester] two\n");
    assert!(place.ok(&["log"]).ends_with(&format!("[tester] put back {}\n", to.display())));
    let document = place.json(&["restore", &kept, "--no-keep"]);
    assert!(document["kept"].is_null() && document["was_damaged"] == false, "{document}");
    assert_eq!(place.ok(&["notes"]), "[tester] one\n[tester] two\n[tester] three\n");
}

#[test]
fn a_restore_asks_before_it_takes_work_away_and_changes_nothing_for_a_file_that_is_none() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    place.ok(&["backup", "backup.db"]);
    place.ok(&["lock", "deploy"]);
    let refused = place.pd(&["restore", "backup.db"]);
    assert_eq!(refused.exit, 3);
    assert_eq!(
        refused.stderr,
        "Error: others are at work on what would be replaced: tester holds the lock deploy\n\
         Hint: let them finish, or pass --force: they keep their locks and waits, and lose what was written since the backup\n"
    );
    place.ok(&["restore", "--force", "backup.db"]);
    assert_eq!(place.pd(&["lock", "deploy", "--agent", "other"]).exit, 1, "it is held as before");
    place.write("text", &"no database\n".repeat(1000));
    for (file, exit) in [("text", 6), ("missing", 1), ("../db/port-daddy.db", 2), (".", 2)] {
        let run = place.pd(&["restore", "--force", file]);
        assert_eq!(run.exit, exit, "{}", run.shown());
        assert!(run.stderr.contains("\nHint: "), "{}", run.stderr);
    }
    assert_eq!(place.ok(&["notes"]), "[tester] one\n");
}

#[test]
fn a_full_disk_leaves_no_part_of_a_backup() {
    let place = Place::new();
    place.ok(&["note", &"x".repeat(100_000)]);
    // No file may grow beyond 50 KiB, as on a full disk; the signal that says so is ignored.
    let run = place.sh("trap '' XFSZ; ulimit -f 50; pd backup backup.db");
    assert_eq!(run.exit, 6, "{}", run.shown());
    assert_eq!(place.cwd().read_dir().unwrap().count(), 0);
    place.ok(&["backup", "backup.db"]);
}

#[test]
fn a_backup_is_of_a_database_that_is_there_and_replaces_only_files() {
    let place = Place::new();
    let run = place.pd(&["backup", "b.db"]);
    assert!(run.exit != 0 && run.stderr.contains("there is no database"), "{}", run.shown());
    place.ok(&["note", "one"]);
    assert!(std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    let run = place.pd(&["backup", "--force", place.path("pipe").to_str().unwrap()]);
    assert!(run.exit == 2 && run.stderr.contains("is no regular file"), "{}", run.shown());
}
