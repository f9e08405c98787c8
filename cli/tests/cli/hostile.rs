//! What others could put in the way: files beside the database, names, texts, and a whole repository. Nothing of it may be
//! run, written to, or reach the terminal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::place::{Place, Run};
use crate::salvage::die_at_work;

/// An escape that sets a terminal's title, a colour, a bell, a C1 control, a line of its own, and text turned around.
const EVIL: &str = "\x1b]0;owned\x07\x1b[31mred\u{9b}2Jx\nError: forged\u{202e}detrever\u{2066}";

/// The beginning of what a refused file beside the database looks like.
fn refused(place: &Place, what: &str) -> String {
    for args in [["note", "x"], ["notes", "-q"]] {
        let run = place.pd(&args);
        assert_eq!(run.exit, 6, "{what}: {}", run.shown());
        assert!(run.stderr.contains("\nHint: "), "{what}: {}", run.shown());
    }
    let run = place.pd(&["agents", "--json"]);
    assert!(run.stdout.starts_with("{\"error\":{\"code\":\"STORE_PERMISSION\""), "{what}: {}", run.shown());
    place.pd(&["notes"]).stderr
}

fn beside(place: &Place, suffix: &str) -> PathBuf {
    place.path(&format!("db/port-daddy.db{suffix}"))
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory for the database that is ours alone, and nothing in it.
fn state(place: &Place) {
    fs::create_dir(place.path("db")).unwrap();
    chmod(place.path("db"), 0o700);
}

#[test]
fn nothing_is_written_through_a_planted_link() {
    for suffix in ["-wal", "-shm", ".gate", ".gate-next", ".wake"] {
        for exists in [true, false] {
            let place = Place::new();
            state(&place);
            let victim = place.path("victim");
            if exists {
                fs::write(&victim, "precious").unwrap();
            }
            symlink(&victim, beside(&place, suffix)).unwrap();
            let said = refused(&place, suffix);
            assert!(said.contains(&format!("port-daddy.db{suffix} is a symbolic link")), "{said}");
            assert_eq!(fs::read_to_string(&victim).ok().as_deref(), exists.then_some("precious"), "{suffix}");
            // As the hint says.
            fs::remove_file(beside(&place, suffix)).unwrap();
            place.ok(&["note", "x"]);
        }
    }
}

#[test]
fn proofs_of_life_are_neither_made_nor_swept_behind_a_planted_link() {
    let place = Place::new();
    state(&place);
    let victims = place.path("victims");
    fs::create_dir(&victims).unwrap();
    // As a proof is called, and as anything else is.
    for name in ["1-2-3-x", "thesis.tex"] {
        fs::write(victims.join(name), "precious").unwrap();
    }
    symlink(&victims, beside(&place, ".live")).unwrap();
    let said = refused(&place, ".live");
    assert!(said.contains("port-daddy.db.live is a symbolic link"), "{said}");
    for args in [["doctor"].as_slice(), &["sub", "x", "--timeout", "10ms"], &["with-lock", "m", "--", "true"]] {
        assert_ne!(place.pd(args).exit, 0, "{args:?}");
    }
    assert_eq!(fs::read_dir(&victims).unwrap().count(), 2);
}

#[test]
fn what_is_no_proof_of_life_is_not_swept() {
    let place = Place::new();
    place.ok(&["with-lock", "m", "--", "true"]);
    let stray = beside(&place, ".live").join("notes.txt");
    fs::write(&stray, "mine").unwrap();
    place.ok(&["doctor"]);
    assert_eq!(fs::read_to_string(stray).unwrap(), "mine");
}

#[test]
fn a_link_in_place_of_the_database_leads_to_a_database_or_nowhere() {
    let place = Place::new();
    state(&place);
    let victim = place.path("db/victim");
    fs::write(&victim, "precious words, and no database\n".repeat(100)).unwrap();
    symlink(&victim, beside(&place, "")).unwrap();
    let before = snapshot(&place.path("db"));
    assert_eq!(place.pd(&["note", "x"]).exit, 6);
    assert_eq!(snapshot(&place.path("db")).get(Path::new("victim")), before.get(Path::new("victim")));
    // One that leads where others may write is refused as that directory is.
    let open = place.path("open");
    fs::create_dir(&open).unwrap();
    chmod(&open, 0o777);
    fs::remove_file(beside(&place, "")).unwrap();
    symlink(open.join("db"), beside(&place, "")).unwrap();
    let said = refused(&place, "open");
    assert!(said.contains("other users may write to"), "{said}");
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
}

#[test]
fn a_linked_state_directory_is_judged_where_it_is() {
    let place = Place::new();
    let real = place.path("real");
    symlink(&real, place.path("db")).unwrap();
    assert_eq!(place.pd(&["note", "x"]).exit, 6, "it leads nowhere");
    fs::create_dir(&real).unwrap();
    chmod(&real, 0o777);
    let said = refused(&place, "world-writable");
    assert!(said.contains("other users may write to") && said.contains("(mode 0777)"), "{said}");
    assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
    chmod(&real, 0o700);
    place.ok(&["note", "x"]);
}

#[test]
fn what_others_may_write_to_is_refused() {
    let place = Place::new();
    place.ok(&["note", "x"]);
    for (what, mode) in [("", 0o666), ("-wal", 0o620), (".live", 0o1777), (".wake", 0o602)] {
        let path = beside(&place, what);
        fs::create_dir_all(beside(&place, ".live")).unwrap();
        chmod(&path, mode);
        let said = refused(&place, what);
        assert!(said.contains("can be changed by other users") && said.contains("chmod go-w"), "{said}");
        chmod(&path, if what == ".live" { 0o700 } else { 0o600 });
    }
    place.ok(&["note", "x"]);
    let shared = place.path("shared");
    fs::create_dir(&shared).unwrap();
    chmod(&shared, 0o1777);
    let run = place.pd(&["note", "x", "--db", shared.join("pd.db").to_str().unwrap()]);
    assert_eq!((run.exit, fs::read_dir(&shared).unwrap().count()), (6, 0), "{}", run.shown());
}

/// Whether a test may give files to another user, and be one. It says so if not.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can give files to another user");
    }
    root
}

#[test]
fn another_user_s_files_are_refused() {
    if !is_root() {
        return;
    }
    const SOMEBODY: u32 = 12_345;
    let place = Place::new();
    place.ok(&["with-lock", "m", "--", "true"]);
    for what in ["", "-wal", "-shm", ".gate", ".gate-next", ".wake", ".live"] {
        let path = beside(&place, what);
        std::os::unix::fs::chown(&path, Some(SOMEBODY), None).unwrap();
        let said = refused(&place, what);
        assert!(said.contains(&format!("port-daddy.db{what} belongs to another user (uid 12345; we are 0)")), "{said}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    std::os::unix::fs::chown(place.path("db"), Some(SOMEBODY), None).unwrap();
    assert!(refused(&place, "the directory").contains("belongs to another user"));
}

#[test]
fn another_user_s_database_is_neither_read_nor_changed() {
    if !is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    let place = Place::new();
    place.ok(&["note", "secret"]);
    // Into the directory, and into the one it stands in, but not into the files.
    for dir in [place.path(""), place.path("db")] {
        chmod(dir, 0o755);
    }
    // Where the tests were built may be closed to others.
    let program = place.path("pd");
    fs::copy(env!("CARGO_BIN_EXE_pd"), &program).unwrap();
    let before = snapshot(&place.path("db"));
    for args in [["notes"].as_slice(), &["note", "x"], &["status"], &["doctor"], &["agents", "--json"]] {
        let mut command = place.program(program.to_str().unwrap());
        let run = Run::of(&command.args(args).uid(NOBODY).gid(NOBODY).output().unwrap());
        assert_ne!(run.exit, 0, "{args:?}: {}", run.shown());
        assert!(!run.stdout.contains("secret") && !run.stderr.contains("secret"), "{}", run.shown());
    }
    assert_eq!(snapshot(&place.path("db")), before);
}

#[test]
fn pipes_and_devices_beside_the_database_hold_nobody_up() {
    for suffix in ["", "-wal", "-shm", ".gate", ".gate-next", ".wake", ".live", ".live/1-2-3-x"] {
        let place = Place::new();
        state(&place);
        let path = beside(&place, suffix);
        if suffix.contains('/') {
            fs::create_dir(path.parent().unwrap()).unwrap();
            chmod(path.parent().unwrap(), 0o700);
        }
        pipe(&path);
        for args in [["note", "x"].as_slice(), &["doctor"], &["with-lock", "m", "--", "true"], &["notes"]] {
            // Whether it is an error depends; that it ends, doesn't.
            let run = within_limit(&place, args);
            assert!([0, 6, 1].contains(&run.exit), "{suffix}, {args:?}: {}", run.shown());
        }
    }
    let place = Place::new();
    for device in ["/dev/zero", "/dev/null", "/dev/full"] {
        let run = within_limit(&place, &["note", "x", "--db", device]);
        assert_eq!(run.exit, 6, "{device}: {}", run.shown());
    }
}

fn pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
}

/// Runs `pd`, which must come to an end by itself.
fn within_limit(place: &Place, args: &[&str]) -> Run {
    let mut command = place.program("timeout");
    let run = Run::of(&command.args(["-s", "KILL", "20", env!("CARGO_BIN_EXE_pd")]).args(args).output().unwrap());
    assert!(run.exit != 137 && run.exit != -9, "pd {args:?} hangs");
    run
}

#[test]
fn names_that_look_like_options_paths_or_commands_are_only_names() {
    let place = Place::new();
    for text in ["--help", "-rf", "$(touch canary)", "`touch canary`", "; touch canary", "../../x", "%s%n", "'\"\\"] {
        place.ok(&["note", "--", text]);
        assert_eq!(place.ok(&["notes", "--limit", "1"]), format!("[tester] {text}\n"));
        place.ok(&["pub", "c", "--", text]);
        place.ok(&["files", "add", "--force", "--", &text.replace("../../", "").replace('\\', "")]);
        place.ok(&["begin", "--", text]);
        place.ok(&["done", "--", text]);
        // As a name it is refused in a sentence, and a file or a program is never made of it.
        for args in [
            ["lock", "--", text].as_slice(),
            &["unlock", "--", text],
            &["sub", "--", text],
            &["pub", "--", text, "1"],
            &["agent", "show", "--", text],
        ] {
            let run = place.pd(args);
            assert!([1, 2].contains(&run.exit), "{args:?}: {}", run.shown());
        }
        // An identity may begin with a dash.
        let run = place.pd(&["claim", "--", text]);
        assert_eq!(run.exit, if text.starts_with('-') { 0 } else { 2 }, "{text:?}: {}", run.shown());
        for option in ["--agent", "--scope", "--session"] {
            let run = place.pd(&["note", "x", &format!("{option}={text}")]);
            assert!([1, 2].contains(&run.exit), "{option}={text}: {}", run.shown());
        }
    }
    let words = place.path("work");
    assert_eq!(fs::read_dir(&words).unwrap().count(), 0, "something was made in {}", words.display());
    // SQLite knows names that are no files.
    for name in [":memory:", "file:x?mode=memory", "x?vfs=unix-none", "-x.db", "a b#c.db"] {
        place.ok(&["note", "x", &format!("--db=sub/{name}")]);
        assert!(words.join("sub").join(name).is_file(), "{name}");
    }
    for agent in ["../../x", "a\nb", "a b", "-x", "\x1b[31m", ""] {
        let run = Run::of(&place.command(&["note", "x"]).env("PORT_DADDY_AGENT", agent).output().unwrap());
        assert!(run.exit == 2 || agent.is_empty(), "{agent:?}: {}", run.shown());
        assert!(is_harmless(&run.stderr), "{agent:?}: {:?}", run.stderr);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_in_a_sentence() {
    let place = Place::new();
    let odd = OsString::from_vec(b"a\xff\xfe\x1b[31m".to_vec());
    for args in [["note"].as_slice(), &["pub", "c"], &["lock"], &["files", "add"], &["begin"], &["--agent"]] {
        let run = Run::of(&place.command(args).arg(&odd).output().unwrap());
        assert_eq!(run.exit, 2, "{args:?}: {}", run.shown());
        assert!(is_harmless(&run.stderr), "{args:?}: {:?}", run.stderr);
    }
    for bytes in [b"a\0b".as_slice(), b"\xff", b""] {
        let mut child = place.command(&["note", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bytes:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Whether a terminal would only show it: no control but the ends of lines, and no text turned around.
fn is_harmless(text: &str) -> bool {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().all(|c| c == '\n' || !(c.is_control() || turns(c)))
}

/// A process that listens on a port, with an argument of somebody's choice in its command line.
struct Listener(std::process::Child);

impl Listener {
    fn called(port: u16, argument: &str) -> Self {
        let socket = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "while :; do sleep 1; done", argument])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
        Self(command.spawn().unwrap())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All commands that show what others wrote.
const LISTINGS: &[&[&str]] = &[
    &["notes", "--all"],
    &["agents", "--all"],
    &["agent", "show", "evil"],
    &["sessions", "--all", "--status", "any"],
    &["files"],
    &["files", "list", "--all"],
    &["who-owns", "src/a.ts"],
    &["channels", "--all"],
    &["sub", "evil:*"],
    &["locks", "--all"],
    &["ps", "--all"],
    &["salvage", "--all"],
    &["log"],
    &["status"],
    &["whoami"],
    &["doctor"],
];

#[test]
fn nothing_that_others_write_reaches_the_terminal() {
    let mut place = Place::new();
    let evil = |text: &str| format!("{text}{EVIL}");
    place.agent("evil");
    repository_at(&place.cwd(), "evil");
    fs::create_dir_all(place.cwd().join("src")).unwrap();
    let odd = place.cwd().join(format!("src/{}", EVIL.replace('/', "")));
    fs::write(&odd, "").unwrap();
    place.ok(&["agent", "register", "--name", "E\u{202e}vil", "--identity", "evil:web", "--purpose", &evil("agent ")]);
    let name = place.pd(&["agent", "register", "--name", &evil("name ")]);
    assert!(is_harmless(&name.stderr), "{:?}", name.stderr);
    place.ok(&["begin", &evil("purpose "), "--files", "src/*", "w\u{202e}rong"]);
    let phase = place.pd(&["session", "phase", &evil("phase ")]);
    assert!(is_harmless(&phase.stdout) && is_harmless(&phase.stderr), "{}", phase.shown());
    place.ok(&["note", &evil("note ")]);
    place.ok(&["pub", "evil:ready", &serde_json::json!({ EVIL: EVIL }).to_string()]);
    place.ok(&["lock", "m", "--purpose", &evil("lock ")]);
    let port = place.ok(&["claim", "evil:web"]).trim().parse().unwrap();
    let _listener = Listener::called(port, EVIL);
    // One that dies, and leaves work behind.
    place.agent("dead");
    die_at_work(
        &place,
        "pd begin \"$(printf 'dead \\033[31m\\n')\" --files src/dead.ts -q && pd note \"$(printf 'l\\033[0m')\" -q",
    );
    place.agent("reader");
    place.ok(&["begin", "reading"]);
    assert!(place.ok(&["ps", "--all"]).contains("owned"), "it shows who listens");
    for args in LISTINGS {
        let shown = |more: &[&str]| {
            let run = place.pd(&[args, more].concat());
            assert_eq!(run.exit, 0, "{args:?}: {}", run.shown());
            assert!(
                is_harmless(&run.stdout) && is_harmless(&run.stderr),
                "{args:?} {more:?}: {run:?}",
                run = run.shown()
            );
            assert!(!run.shown().lines().any(|line| line.starts_with("Error: forged")), "{}", run.shown());
            run.stdout
        };
        shown(&[]);
        shown(&["-q"]);
        for line in shown(&["--json"]).lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
    // Refusals, warnings and hints that quote it.
    let id = place.json(&["sessions", "--all"])["sessions"][0]["id"].as_str().unwrap().to_owned();
    for args in [
        ["lock", "m"].as_slice(),
        &["lock", "m", "--wait", "10ms"],
        &["unlock", "m"],
        &["unlock", "m", "--force"],
        &["files", "add", "src"],
        &["files", "add", "src", "--force"],
        &["claim", "evil:web", "--port", "1"],
        &["note", "x", "--session", &id],
        &["session", "show", &id],
        &["note", "x", "--type", EVIL],
        &["note", "x", "--db", EVIL],
        &["lock", EVIL],
        &["pub", EVIL, "1"],
        &["pub", "c", &format!("{{{EVIL}")],
        &["sub", EVIL],
        &["files", "add", EVIL],
        &["who-owns", EVIL],
        &["notes", "--grep", EVIL],
        &["notes", "--since", EVIL],
        &["claim", EVIL],
        &["wait", EVIL],
        &["agent", "show", EVIL],
        &["salvage", "claim", EVIL],
        &["salvage", "claim", "dead"],
        &["session", "phase", EVIL],
        &["with-lock", "m2", "--", EVIL],
        &["note", "x", "--scope", EVIL],
        &["note", "x", "--agent", EVIL],
        &[EVIL],
        &["note", "x", EVIL],
        &["session", EVIL],
        &["lock", &format!("--{EVIL}")],
    ] {
        for more in [[].as_slice(), &["--json"]] {
            let run = place.pd(&[more, args].concat());
            assert!(
                is_harmless(&run.stdout) && is_harmless(&run.stderr),
                "{args:?}: {:?} {:?}",
                run.stdout,
                run.stderr
            );
        }
    }
}

/// Makes a git repository with a commit, as whoever runs the tests.
fn repository_at(dir: &Path, branch: &str) {
    git(dir, &["init", "-q", "-b", branch]);
    for (path, text) in [("a", "a\n"), ("b", "b\n"), ("-rf", "x\n"), ("new\nline", "x\n"), ("esc\x1b[31m", "x\n")] {
        fs::write(dir.join(path), text.repeat(20)).unwrap();
    }
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", "first \u{1b}[31m"]);
}

pub(crate) fn git(dir: &Path, args: &[&str]) {
    let mut command = std::process::Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.hooksPath=/dev/null"];
    let output = command.current_dir(dir).args(identity).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Everything below a directory: kind, mode, and content or target.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    fn walk(root: &Path, dir: &Path, all: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = match () {
                () if kind.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
                () if kind.is_file() => fs::read(&path).unwrap(),
                () if kind.is_fifo() => b"a pipe".to_vec(),
                () => Vec::new(),
            };
            all.insert(
                path.strip_prefix(root).unwrap().to_owned(),
                (entry.metadata().unwrap().permissions().mode(), content),
            );
            if kind.is_dir() {
                walk(root, &path, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, dir, &mut all);
    all
}

/// Puts a trap wherever git or a shell would run something of a repository. Each leaves a line in a file beside.
pub(crate) fn lay_traps(place: &Place) -> PathBuf {
    let (work, sprung) = (place.cwd(), place.path("sprung"));
    let trap = place.path("trap");
    fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\nexit 1\n", sprung.display())).unwrap();
    chmod(&trap, 0o755);
    let path = trap.to_str().unwrap();
    let alias = format!("!{path}");
    for (key, value) in [
        ("core.fsmonitor", path),
        ("core.hooksPath", "../.git/hooks"),
        ("core.pager", path),
        ("core.editor", path),
        ("core.sshCommand", path),
        ("core.askPass", path),
        ("core.alternateRefsCommand", path),
        ("sequence.editor", path),
        ("gpg.program", path),
        ("pager.status", path),
        ("pager.log", path),
        ("diff.external", path),
        ("diff.d.textconv", path),
        ("diff.d.command", path),
        ("filter.f.clean", path),
        ("filter.f.smudge", path),
        ("filter.f.required", "true"),
        ("filter.p.process", path),
        ("alias.status", &alias),
        ("alias.config", &alias),
        ("alias.stash", &alias),
        ("credential.helper", &alias),
        ("log.showSignature", "true"),
        ("remote.origin.url", "https://user:s3cret@git.example.org/own\u{1b}[31med.git"),
        ("remote.origin.uploadpack", path),
    ] {
        git(&work, &["config", key, value]);
    }
    fs::write(work.join("included"), format!("[core]\nfsmonitor = {path}\n[filter \"i\"]\nclean = {path}\n")).unwrap();
    git(&work, &["config", "include.path", "../included"]);
    fs::write(work.join(".gitattributes"), "a filter=f diff=d\nb filter=p\n-rf filter=i\n").unwrap();
    let hooks = work.join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "pre-commit",
        "post-commit",
        "pre-auto-gc",
        "fsmonitor-watchman",
        "post-merge",
    ] {
        fs::copy(&trap, hooks.join(hook)).unwrap();
    }
    // For a PATH with `.` in it, and for whoever looks for programs or settings in the directory.
    for name in ["git", "sh", "pd", "ps", "tty", "pager", "less", "cat"] {
        fs::copy(&trap, work.join(name)).unwrap();
    }
    for name in [".env", ".envrc", ".port-daddy", "port-daddy.toml", ".portdaddy.json", ".pd"] {
        fs::write(work.join(name), format!("PORT_DADDY_DB={path}\nPORT_DADDY_SCOPE=owned\n")).unwrap();
    }
    sprung
}

/// What people and agents run in a repository.
const DAY: &[&[&str]] = &[
    &["whoami"],
    &["doctor"],
    &["begin", "work", "--files", "src/*", "a"],
    &["note", "x"],
    &["files", "add", "--force", "--", "-rf", "b", "**/*"],
    &["who-owns", "a"],
    &["files", "list", "--all"],
    &["pub", "c", "1"],
    &["sub", "c"],
    &["lock", "m"],
    &["with-lock", "n", "--", "true"],
    &["claim", "a:b"],
    &["ps"],
    &["agents"],
    &["sessions"],
    &["notes"],
    &["channels"],
    &["locks"],
    &["log"],
    &["status"],
    &["salvage"],
    &["salvage", "--json"],
    &["salvage", "claim", "dead"],
    &["salvage", "abandon", "dead"],
    &["unlock", "m"],
    &["release", "a:b"],
    &["session", "phase", "testing"],
    &["done", "over"],
];

#[test]
fn a_hostile_repository_makes_pd_run_and_write_nothing() {
    let mut place = Place::new();
    let work = place.cwd();
    repository_at(&work, "evil");
    git(&work, &["update-ref", "refs/remotes/origin/evil", "HEAD"]);
    git(&work, &["commit", "-q", "--allow-empty", "-m", "second \u{1b}]0;owned\u{7}"]);
    place.agent("dead");
    die_at_work(&place, "pd begin 'left behind' --files a b -q && pd note 'half done' -q");
    let sprung = lay_traps(&place);
    // The same bytes under another time, so that git has to look into them; and a change.
    fs::write(work.join("a"), "a\n".repeat(20)).unwrap();
    fs::write(work.join("b"), "changed\n").unwrap();
    let before = snapshot(&work);
    place.agent("tester");
    for args in DAY {
        let mut command = place.command(args);
        let path = format!(".::{}", std::env::var("PATH").unwrap());
        let run = Run::of(&command.env("PATH", path).output().unwrap());
        assert_eq!(run.exit, 0, "{args:?}: {}", run.shown());
        assert!(is_harmless(&run.stdout) && is_harmless(&run.stderr), "{args:?}: {}", run.shown());
        assert!(!run.stdout.contains("s3cret") && !run.stdout.contains("\u{1b}"), "{args:?}: {}", run.shown());
        assert!(!sprung.exists(), "{args:?}: {}", fs::read_to_string(&sprung).unwrap());
    }
    let item = &place.json(&["salvage", "--all"])["items"][0];
    assert_eq!(item["work"][0]["problem"], serde_json::Value::Null, "git did look: {item}");
    assert!(item["work"][0]["uncommitted"].to_string().contains("M b"), "{item}");
    assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
    let after = snapshot(&work);
    let changed: Vec<_> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "pd changed {changed:?}");
    for entry in fs::read_dir(place.path("db")).unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = fs::read(&entry).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"s3cret"), "a password came into {}", entry.display());
    }
    // So that the traps are known to be some.
    let _ = place.program("git").args(["status", "-s"]).output().unwrap();
    assert!(sprung.exists());
}

#[test]
fn a_git_that_is_no_repository_holds_nobody_up() {
    type Lay = fn(&Path);
    let shapes: &[(&str, Lay)] = &[
        ("a pipe", |work| pipe(&work.join(".git"))),
        ("a link to itself", |work| symlink(".git", work.join(".git")).unwrap()),
        ("a link to a device", |work| symlink("/dev/zero", work.join(".git")).unwrap()),
        ("a link to the root", |work| symlink("/", work.join(".git")).unwrap()),
        ("one that names itself", |work| fs::write(work.join(".git"), "gitdir: .git\n").unwrap()),
        ("one that names its directory", |work| fs::write(work.join(".git"), "gitdir: ..\n").unwrap()),
        ("one that names a device", |work| fs::write(work.join(".git"), "gitdir: /dev/zero\n").unwrap()),
        ("one that names /proc", |work| fs::write(work.join(".git"), "gitdir: /proc/self/root\n").unwrap()),
        ("one that names a pipe", |work| {
            pipe(&work.join("pipe"));
            fs::write(work.join(".git"), "gitdir: pipe\n").unwrap();
        }),
        ("a huge one", |work| {
            let file = fs::File::create(work.join(".git")).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
        ("a directory of pipes", |work| {
            for dir in [".git/objects", ".git/refs/heads"] {
                fs::create_dir_all(work.join(dir)).unwrap();
            }
            fs::write(work.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
            for name in ["config", "packed-refs", "commondir", "refs/heads/main", "index"] {
                pipe(&work.join(".git").join(name));
            }
        }),
        ("a directory of devices", |work| {
            for dir in [".git/objects", ".git/refs/heads"] {
                fs::create_dir_all(work.join(dir)).unwrap();
            }
            for name in ["config", "packed-refs", "commondir", "refs/heads/main", "index", "HEAD"] {
                symlink("/dev/zero", work.join(".git").join(name)).unwrap();
            }
        }),
        ("a HEAD that is a pipe", |work| {
            git(work, &["init", "-q"]);
            fs::remove_file(work.join(".git/HEAD")).unwrap();
            pipe(&work.join(".git/HEAD"));
        }),
        ("a branch that is a circle", |work| {
            git(work, &["init", "-q", "-b", "main"]);
            fs::write(work.join(".git/refs/heads/main"), "ref: refs/heads/main\n").unwrap();
        }),
        ("an enormous configuration", |work| {
            git(work, &["init", "-q"]);
            let url = format!("[remote \"origin\"]\nurl = https://example.org/{}\n", "x".repeat(900_000));
            fs::write(work.join(".git/config"), url + &"[a \"b\"]\nc = d\n".repeat(1_000)).unwrap();
        }),
        ("refs packed without an end", |work| {
            git(work, &["init", "-q", "-b", "main"]);
            let file = fs::File::create(work.join(".git/packed-refs")).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
        ("origins in a circle", |work| {
            for (name, url) in [(".", "other"), ("other", "..")] {
                fs::create_dir_all(work.join(name)).unwrap();
                git(&work.join(name), &["init", "-q"]);
                git(&work.join(name), &["config", "remote.origin.url", url]);
            }
        }),
    ];
    for (what, lay) in shapes {
        let place = Place::new();
        lay(&place.cwd());
        let before = fs::read_dir(place.cwd()).unwrap().count();
        for args in [
            ["note", "x"].as_slice(),
            &["begin", "x", "--files", "a/*", "b"],
            &["doctor"],
            &["whoami"],
            &["salvage"],
            &["status"],
            &["session", "phase", "x"],
        ] {
            let run = within_limit(&place, args);
            assert_eq!(run.exit, 0, "{what}, {args:?}: {}", run.shown());
            assert!(
                run.stdout.len() < 20_000 && is_harmless(&run.stdout),
                "{what}, {args:?}: {} bytes",
                run.stdout.len()
            );
        }
        assert_eq!(fs::read_dir(place.cwd()).unwrap().count(), before, "{what}");
    }
}

#[test]
fn where_no_more_files_can_be_opened_it_is_not_the_permissions_and_ends_nobody_s_lease() {
    let place = Place::new();
    place.ok(&["lock", "m", "--ttl", "1h", "--agent", "holder"]);
    let said = "too many files are open";
    let mut heard = false;
    for most in 4..24 {
        let note = place.sh(&format!("ulimit -n {most}; pd note two --json"));
        let lock = place.sh(&format!("ulimit -n {most}; pd lock m --json"));
        assert!(matches!(lock.exit, 1 | 6), "{most}: {}", lock.shown());
        for run in [note, lock].iter().filter(|run| run.exit == 6) {
            heard |= run.stdout.contains(said);
            assert!(run.stdout.contains("ulimit -n"), "{most}: {}", run.shown());
        }
    }
    assert!(heard, "some limit is too low");
    let lock: serde_json::Value = serde_json::from_str(&place.ok(&["locks", "--json"])).unwrap();
    assert_eq!(lock["locks"][0]["agent"], "holder");
    assert!(!place.ok(&["agents"]).contains("Dead"), "nobody has died");
}
