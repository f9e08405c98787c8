use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::place::{Place, Run};
use crate::salvage::die_at_work;

fn db(place: &Place, end: &str) -> PathBuf {
    place.path(&format!("db/port-daddy.db{end}"))
}

/// The line of one check.
fn line(run: &Run, check: &str) -> String {
    let found = run.stdout.lines().find(|line| line.get(5..).is_some_and(|l| l.starts_with(&format!("{check}: "))));
    found.unwrap_or_else(|| panic!("no {check}: {}", run.shown())).to_owned()
}

fn says(place: &Place, args: &[&str], exit: i32, check: &str, words: &str) -> Run {
    let run = place.pd(args);
    assert_eq!(run.exit, exit, "{}", run.shown());
    let line = line(&run, check);
    assert!(line.contains(words), "{line}");
    run
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Another program, which goes with this.
struct Other(Child);

impl Other {
    fn start(place: &Place, script: &str) -> Other {
        Other(place.program("sh").args(["-c", script]).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        crate::place::signal(self.0.id(), name);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sound copy with other bytes in its header.
fn copy_with(place: &Place, name: &str, at: usize, bytes: &[u8]) {
    place.ok(&["backup", "--force", name]);
    let path = place.cwd().join(name);
    let mut content = std::fs::read(&path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(&path, content).unwrap();
}

#[test]
fn looking_makes_no_database_and_changes_none() {
    let place = Place::new();
    says(&place, &["doctor"], 0, "database", "isn't there yet: the first call makes it");
    assert!(!place.path("db").exists());
    place.ok(&["note", "one"]);
    // Version 2 of the schema differs by columns that the doctor doesn't look at.
    copy_with(&place, "old", 60, &[0, 0, 0, 2]);
    let before = std::fs::read(place.cwd().join("old")).unwrap();
    let run = says(&place, &["doctor", "--db", "old"], 0, "schema", "note schema: version 2 of 4");
    assert!(run.stderr.contains("Hint: schema: the next call migrates it"), "{}", run.stderr);
    assert!(line(&run, "agents").ends_with("1 alive"));
    assert_eq!(std::fs::read(place.cwd().join("old")).unwrap(), before);
    assert!(!place.cwd().join("old.wake").exists());
}

#[test]
fn a_sound_store_is_ok_in_every_line() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    let run = says(&place, &["doctor"], 0, "wake", "the kernel wakes waiters at once; a commit was read ");
    assert!(run.stdout.lines().all(|line| line.starts_with("ok   ")), "{}", run.shown());
    assert_eq!(run.stderr, "");
    for check in ["sqlite", "filesystem", "space", "size", "integrity", "gate", "handles", "others", "git"] {
        line(&run, check);
    }
    says(&place, &["doctor", "--quick"], 0, "integrity", "not looked at");
    let run = place.sh("PORT_DADDY_WAKE=poll pd doctor");
    assert!(line(&run, "wake").contains("polling, 1 to 50 ms") && line(&run, "wake").contains(" µs after"));
    let notes = place.ok(&["log", "--json"]);
    assert_eq!(notes.matches("\"type\"").count(), 1, "it leaves no row: {notes}");
    place.ok(&["doctor", "--fix"]);
    says(&place, &["doctor", "--fix"], 0, "fixed", "nothing: there was nothing to mend");
}

#[test]
fn a_file_that_cant_be_used_still_gets_a_full_report() {
    let place = Place::new();
    place.ok(&["note", &"x".repeat(100_000)]);
    copy_with(&place, "newer", 60, &[0, 0, 3, 0xe8]);
    let run =
        says(&place, &["doctor", "--db", "newer"], 1, "schema", "FAIL schema: version 1000, of a newer port-daddy");
    assert!(line(&run, "integrity").starts_with("ok ") && line(&run, "agents").ends_with("1 alive"));
    copy_with(&place, "foreign", 68, &[0, 0, 0, 7]);
    says(&place, &["doctor", "--db", "foreign"], 1, "schema", "FAIL schema: the file is a database of another program");
    place.write("text", &"no database\n".repeat(1000));
    let run = says(&place, &["doctor", "--db", "text"], 1, "database", "isn't a sound database");
    for check in ["sqlite", "filesystem", "permissions", "size", "gate", "caller", "scope", "git"] {
        line(&run, check);
    }
    place.ok(&["backup", "torn"]);
    let torn = place.cwd().join("torn");
    let mut content = std::fs::read(&torn).unwrap();
    let half = content.len() / 2;
    content[half..half + 4096].fill(0x5a);
    std::fs::write(&torn, content).unwrap();
    let run = says(&place, &["doctor", "--db", "torn"], 1, "integrity", "FAIL integrity: ");
    assert!(run.stderr.contains("pd restore FILE"), "{}", run.stderr);
    assert!(line(&run, "agents").ends_with("1 alive"));
}

#[test]
fn what_others_may_read_or_write_is_said_and_closed() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    mode(&db(&place, ""), 0o644);
    mode(&db(&place, ".wake"), 0o604);
    let closed = "note permissions: open to others: 2 files, such as ";
    let run = says(&place, &["doctor"], 0, "permissions", closed);
    assert!(line(&run, "permissions").ends_with("port-daddy.db (mode 644); but the directory keeps them out"));
    mode(&place.path("db"), 0o755);
    let run = says(&place, &["doctor"], 1, "permissions", "FAIL permissions: open to others: 2 files");
    assert!(run.stderr.contains("Hint: permissions: pd doctor --fix"), "{}", run.stderr);
    assert_eq!(db(&place, "").metadata().unwrap().mode() & 0o777, 0o644, "looking changes nothing");
    let run = says(&place, &["doctor", "--fix"], 0, "permissions", "ok ");
    for mended in ["port-daddy.db: mode 644 is now 600\n", "port-daddy.db.wake: mode 604 is now 600\n"] {
        assert!(run.stdout.contains(mended), "{}", run.shown());
    }
    mode(&place.path("db"), 0o775);
    says(&place, &["doctor"], 1, "permissions", "others may write to ");
    assert_eq!(place.pd(&["notes"]).exit, 6);
    says(&place, &["doctor", "--fix"], 0, "fixed", "/db: mode 775 is now 755");
    place.ok(&["notes"]);
}

#[test]
fn what_the_killed_left_is_said_and_cleared() {
    let mut place = Place::new();
    place.ok(&["note", "one"]);
    let mut waiting = place.start(&["sub", "nothing"]);
    place.until_waiting(1);
    waiting.signal("KILL");
    waiting.stdin();
    waiting.end();
    // Last: most commands bury the dead.
    place.agent("worker");
    die_at_work(&place, "pd begin work -q && pd lock theirs -q");
    place.agent("tester");
    let namespace = std::fs::metadata("/proc/self/ns/pid").unwrap().ino();
    let partial = place.path(&format!("db/.port-daddy.db.partial-1-1-{namespace}-abcdef"));
    std::fs::write(&partial, "x").unwrap();

    let run = says(&place, &["doctor"], 0, "agents", "note agents: 1 alive; dead, and not yet known to be: worker (");
    assert!(line(&run, "agents").contains("is gone)"), "{}", run.shown());
    assert!(line(&run, "locks").contains("note locks: 1 held; whose holders are gone: theirs by worker"));
    assert!(line(&run, "waits").contains("recorded, though they have ended: tester for nothing"));
    assert_eq!(line(&run, "leftovers"), "note leftovers: 1 files of ended processes, 1 unfinished copies");
    let again = says(&place, &["doctor"], 0, "leftovers", "note leftovers: 1 files");
    assert_eq!(line(&again, "agents"), line(&run, "agents"), "looking buries nobody");

    let run = place.pd(&["doctor", "--fix"]);
    assert_eq!(run.exit, 0, "{}", run.shown());
    let fixed: Vec<&str> = run.stdout.lines().filter_map(|line| line.strip_prefix("ok   fixed: ")).collect();
    for said in
        ["removed 1 files of ended processes", "removed 1 unfinished copies", "buried worker", "freed theirs, held by"]
    {
        assert!(fixed.iter().any(|line| line.starts_with(said)), "{said}: {}", run.shown());
    }
    assert!(fixed.contains(&"removed the wait of tester for nothing, which has ended"), "{}", run.shown());
    assert!(line(&run, "agents").contains("1 alive; 1 dead with unfinished sessions"));
    assert!(run.stderr.contains("Hint: agents: pd salvage"), "{}", run.stderr);
    assert_eq!((line(&run, "locks").as_str(), partial.exists()), ("ok   locks: 0 held", false));
    assert_eq!(line(&run, "waits"), "ok   waits: 0 waiting");
}

#[test]
fn who_is_stopped_or_has_it_open_is_named() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    let file = db(&place, "");
    let other = Other::start(&place, &format!("exec sleep 100 <{}", file.display()));
    let run = says(&place, &["doctor"], 0, "others", "note others: the database is also open in: process ");
    assert!(line(&run, "others").contains(&format!("process {} (sleep 100)", other.0.id())), "{}", run.shown());
    drop(other);

    let waiting = place.start(&["sub", "nothing"]);
    place.until_waiting(1);
    says(&place, &["doctor"], 0, "handles", "1 open handles and waiting commands, of version ");
    waiting.signal("STOP");
    let run = says(&place, &["doctor"], 0, "waits", "1 waiting; of them stopped: tester for nothing (process ");
    assert!(run.stderr.contains("kill -CONT PID"), "{}", run.stderr);
    waiting.signal("KILL");
    waiting.exit();
}

#[test]
fn a_stopped_process_that_keeps_writers_waiting_is_named() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    let gate = db(&place, ".gate");
    let ready = place.cwd().join("ready");
    let script = format!("exec 9<{}; flock 9 && touch {} && exec sleep 100", gate.display(), ready.display());
    let holder = Other::start(&place, &script);
    place.until(|| ready.exists());
    holder.signal("STOP");
    let pid = holder.0.id();
    let run = says(&place, &["doctor"], 1, "gate", &format!("FAIL gate: process {pid} ("));
    assert!(run.stderr.contains(&format!("Hint: gate: let it go on with kill -CONT {pid}")), "{}", run.stderr);
    assert!(line(&run, "writing").starts_with("ok "), "the gate is fairness only");
}

#[test]
fn several_versions_at_once_are_said() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    let waiting = place.start(&["sub", "nothing"]);
    place.until_waiting(1);
    let live = db(&place, ".live").read_dir().unwrap().next().unwrap().unwrap().path();
    let said = std::fs::read_to_string(&live).unwrap();
    let mut presence: Value = serde_json::from_str(&said).unwrap();
    presence["version"] = "0.0.9".into();
    // In place: its lock stays.
    std::fs::write(&live, presence.to_string()).unwrap();
    says(&place, &["doctor"], 0, "handles", "of version 0.0.9");
    let second = place.start(&["sub", "nothing"]);
    place.until_waiting(2);
    let version = place.ok(&["--version"]);
    let both = format!("of version 0.0.9 and {}", version.split_whitespace().last().unwrap());
    let run = says(&place, &["doctor"], 0, "handles", &both);
    assert!(run.stderr.contains("several versions can share a database"), "{}", run.stderr);
    drop((waiting, second));
}

#[test]
fn without_git_the_doctor_says_what_is_missing_by_it() {
    let place = Place::new();
    let mut command = place.command(&["doctor"]);
    let run = Run::of(&command.env("PATH", "/nowhere").output().unwrap());
    assert!(line(&run, "git").starts_with("note git: not found: "), "{}", run.shown());
    assert_eq!(run.exit, 0);
}

#[test]
fn fixing_empties_the_log() {
    let place = Place::new();
    place.ok(&["note", &"x".repeat(100_000)]);
    let before = db(&place, "-wal").metadata().unwrap().len();
    assert!(before > 100_000);
    says(&place, &["doctor", "--fix"], 0, "fixed", "emptied the log: ");
    assert!(db(&place, "-wal").metadata().unwrap().len() < before);
}

#[test]
fn a_process_that_has_loaded_two_copies_is_named() {
    let place = Place::new();
    place.ok(&["note", "one"]);
    // Two libraries that are nothing but their names; whoever builds this has the linker.
    let made = place.sh("for n in 1 2; do mkdir $n && echo | cc -shared -x c - -o $n/port_daddy.so || exit 1; done");
    assert_eq!(made.exit, 0, "{}", made.shown());
    let both = [1, 2].map(|n| place.cwd().join(format!("{n}/port_daddy.so")).display().to_string()).join(" ");
    let mut command = place.command(&["sub", "nothing"]);
    let waiting = Other(command.env("LD_PRELOAD", &both).stdout(Stdio::null()).spawn().unwrap());
    place.until_waiting(1);
    let words = format!("process {} (", waiting.0.id());
    let run = says(&place, &["doctor"], 0, "second copy", &words);
    assert!(
        line(&run, "second copy")
            .contains(&format!("has loaded 2 copies of port-daddy: {}", both.replace(' ', " and ")))
    );
}

#[test]
fn what_isnt_ours_is_left_as_it_is() {
    let place = Place::new();
    let team = place.path("team");
    std::fs::create_dir(&team).unwrap();
    mode(&team, 0o2775);
    let other = team.join("other.db");
    let look = |name: &str| place.pd(&["doctor", "--fix", "--db", team.join(name).to_str().unwrap()]);
    look("typo.db");
    std::fs::write(&other, "somebody's").unwrap();
    mode(&other, 0o664);
    look("other.db");
    assert_eq!([&team, &other].map(|path| path.metadata().unwrap().mode() & 0o7777), [0o2775, 0o664]);
    assert_eq!(std::fs::read_dir(&team).unwrap().count(), 1, "nothing is made");
}
