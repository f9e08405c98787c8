//! The file: how it comes to be, what is refused as one, and what happens when the disk or the process won't play along.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use portdaddy_core::{
    ActivityFilter, AgentFilter, ChannelFilter, ClaimFiles, ClaimFilter, ClaimPort, Coordinator, EndSession, Error,
    ErrorKind, Face, LockFilter, LockOptions, MessageFilter, NewNote, NewSession, NoteFilter, Options, Publish,
    Registration, Release, Replay, SalvageFilter, ServiceFilter, SessionFilter, Subscribe, Surroundings, Unlock, Wait,
};
use portdaddy_testutil::{Process, Role, TempStore};
use rusqlite::Connection;
use serde_json::json;

const CHILD: &str = "store::child";
/// Long enough never to pass for an answer.
const LONG: Duration = Duration::from_secs(30);

/// What a child does: `create`; `modes`; `full`; `mounted read-only`; `fork`.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    match role.name.as_str() {
        "create" => {
            role.say("ready");
            role.barrier();
            let pd = role.open();
            note(&pd, &role.agent).unwrap();
            role.say("created");
            role.barrier();
        }
        #[cfg(unix)]
        "modes" => {
            let pd = role.open();
            note(&pd, "x").unwrap();
            assert_all_private(role.db.parent().unwrap());
            role.say("private");
        }
        "full" => fill_the_disk(&role),
        #[cfg(unix)]
        "mounted read-only" => {
            let refused = Coordinator::open(role.options()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::StoreReadOnly, "{refused:?}");
            assert!(refused.next_step().unwrap().contains("PORT_DADDY_DB"), "{refused:?}");
            // A command that only looks needs to write nothing.
            let looker = Coordinator::open(role.options().face(Face::Shell)).unwrap();
            assert_eq!(notes(&looker), ["before"]);
            let refused = note(&looker, "x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::StoreReadOnly, "{refused:?}");
            assert_eq!(notes(&looker), ["before"]);
            role.say("done");
        }
        #[cfg(unix)]
        "fork" => use_after_fork(&role),
        other => panic!("{other:?}"),
    }
}

fn note(pd: &Coordinator, text: &str) -> Result<(), Error> {
    pd.note(&NewNote { text: text.into(), ..Default::default() }).map(|_| ())
}

fn notes(pd: &Coordinator) -> Vec<String> {
    let all = NoteFilter { all: true, limit: Some(1000), ..Default::default() };
    pd.notes(&all).unwrap().notes.into_iter().map(|n| n.text).collect()
}

/// The error of a handle that isn't to be had.
fn refused(options: Options) -> Error {
    match Coordinator::open(options) {
        Ok(pd) => panic!("{pd:?} was opened"),
        Err(e) => e,
    }
}

fn pragma(conn: &Connection, name: &str) -> i64 {
    conn.query_row(&format!("PRAGMA {name}"), [], |r| r.get(0)).unwrap()
}

fn assert_sound(db: &Path) {
    let conn = Connection::open(db).unwrap();
    let found: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(found, "ok");
    assert_eq!(conn.query_row("SELECT count(*) FROM counters", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
}

/// What `PRAGMA` and tables make another program's database.
fn foreign(store: &TempStore, sql: &str) -> Vec<u8> {
    let db = store.db();
    make_private(db.parent().unwrap());
    let _ = fs::remove_file(&db);
    Connection::open(&db).unwrap().execute_batch(sql).unwrap();
    fs::read(db).unwrap()
}

pub(super) fn make_private(dir: &Path) {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir).unwrap();
}

#[test]
fn eight_processes_create_one_store() {
    for _ in 0..3 {
        let store = TempStore::running();
        let mut children: Vec<Process> = (0..8).map(|n| store.child(CHILD, "create", &format!("a{n}"))).collect();
        children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
        children.iter_mut().for_each(Process::go);
        children.iter_mut().for_each(|c| assert_eq!(c.said(), "created"));
        let mut found = notes(&store.open("looker"));
        found.sort();
        assert_eq!(found, ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"]);
        assert_sound(&store.db());
    }
}

#[test]
fn a_creator_killed_at_any_moment_leaves_a_store_or_nothing() {
    let store = TempStore::running();
    for round in 0..24 {
        let mut creator = store.child(CHILD, "create", "creator");
        assert_eq!(creator.said(), "ready");
        creator.go();
        let moment = Instant::now() + Duration::from_micros(400) * round;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        creator.kill();
        let pd = store.open("next");
        note(&pd, "works").unwrap();
        pd.close();
        assert_sound(&store.db());
        fs::remove_dir_all(store.db().parent().unwrap()).unwrap();
    }
}

#[cfg(unix)]
fn assert_all_private(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(dir), 0o700, "{}", dir.display());
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_all_private(&path);
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn its_files_are_their_owner_s_alone_whatever_the_umask() {
    let store = TempStore::running();
    let mut careless = store.child_by(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""], CHILD, "modes", "a", &[]);
    assert_eq!(careless.said(), "private");
    assert!(careless.ended());
    let made: Vec<String> = fs::read_dir(store.db().parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    for part in ["port-daddy.db", "-wal", "-shm", ".wake", ".gate", ".live"] {
        assert!(made.iter().any(|name| name.ends_with(part)), "{part} was not looked at: {made:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::new();
    let dir = store.dir("open");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
    let e = refused(store.options().db(dir.join("pd.db")));
    assert_eq!(e.kind(), ErrorKind::StorePermission);
    assert!(e.message().contains(dir.to_str().unwrap()) && e.message().contains("0777"), "{e}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left there");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
    note(&Coordinator::open(store.options().db(dir.join("pd.db")).agent("a")).unwrap(), "x").unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    for text in ["hello\n".to_owned(), "twenty words of prose ".repeat(1000)] {
        let store = TempStore::new();
        make_private(store.db().parent().unwrap());
        fs::write(store.db(), &text).unwrap();
        let e = refused(store.options());
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "{e:?}");
        assert!(e.message().contains(store.db().to_str().unwrap()), "{e}");
        assert_eq!(fs::read_to_string(store.db()).unwrap(), text);
    }
}

#[test]
fn another_program_s_database_is_refused_and_left_alone() {
    for sql in [
        "CREATE TABLE recipes (name TEXT)",
        "PRAGMA application_id = 7; CREATE TABLE recipes (name TEXT)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1; CREATE TABLE recipes (name TEXT)",
        "PRAGMA user_version = 99; CREATE TABLE recipes (name TEXT)",
        "PRAGMA journal_mode = WAL; PRAGMA user_version = 99; CREATE TABLE recipes (name TEXT)",
    ] {
        let store = TempStore::new();
        let before = foreign(&store, sql);
        let e = refused(store.options());
        assert_eq!(e.kind(), ErrorKind::StoreCorrupt, "{sql}: {e:?}");
        assert!(e.message().contains("another program"), "{sql}: {e}");
        assert_eq!(fs::read(store.db()).unwrap(), before, "{sql}");
    }
}

#[test]
fn an_empty_file_is_adopted() {
    let store = TempStore::new();
    make_private(store.db().parent().unwrap());
    fs::write(store.db(), "").unwrap();
    note(&store.open("a"), "x").unwrap();
    assert_sound(&store.db());
}

#[test]
fn a_newer_version_s_file_is_refused() {
    let store = TempStore::new();
    let (open, foreign) = (store.open("a"), Connection::open(store.db()).unwrap());
    note(&open, "before").unwrap();
    let newer = pragma(&foreign, "user_version") + 1;
    foreign.execute_batch("ALTER TABLE agents ADD COLUMN mood TEXT").unwrap();
    foreign.pragma_update(None, "user_version", newer).unwrap();
    let e = refused(store.options());
    assert_eq!((e.kind(), &e.fields()["schema"]), (ErrorKind::StoreNewer, &json!(newer)));
    assert!(e.next_step().unwrap().contains("upgrade"), "{e:?}");
    // Who has it open already reads on, and writes nothing.
    let e = note(&open, "after").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreNewer);
    assert!(e.message().contains(store.db().to_str().unwrap()), "{e}");
    assert_eq!(open.lock("m", &LockOptions::default()).unwrap_err().kind(), ErrorKind::StoreNewer);
    assert_eq!(notes(&open), ["before"]);
    assert_eq!(open.agent("a").unwrap().id, "a", "what only looks after the dead still looks");
    assert_eq!(open.agents(&AgentFilter::default()).unwrap().agents.len(), 1);
    // And when the newer version is taken back, it goes on.
    foreign.pragma_update(None, "user_version", newer - 1).unwrap();
    note(&open, "after").unwrap();
}

/// Runs `f` as a user whom modes apply to: root ignores them. The store becomes that user's.
#[cfg(target_os = "linux")]
pub(super) fn as_ordinary_user(store: &TempStore, f: impl FnOnce() + Send) {
    use rustix::process::{Gid, Uid, geteuid};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    const NOBODY: u32 = 65534;
    if !geteuid().is_root() {
        return f();
    }
    fn give(path: &Path) {
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|e| give(&e.unwrap().path()));
        }
    }
    give(store.path());
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            // Of this thread alone, and of those that it starts.
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            f();
        });
        if let Err(panic) = user.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_file_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::new();
    note(&store.open("a"), "before").unwrap();
    fs::set_permissions(store.db(), PermissionsExt::from_mode(0o400)).unwrap();
    as_ordinary_user(&store, || {
        let pd = store.open("b");
        let e = note(&pd, "x").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::StoreReadOnly, "{e:?}");
        assert!(e.message().contains(store.db().to_str().unwrap()), "{e}");
        assert!(e.next_step().unwrap().contains("PORT_DADDY_DB"), "{e:?}");
        assert_eq!(notes(&pd), ["before"]);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_directory_is_named_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt;
    let store = TempStore::new();
    let dir = store.dir("closed");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o500)).unwrap();
    as_ordinary_user(&store, || {
        for db in [dir.join("pd.db"), dir.join("deeper/pd.db")] {
            let e = refused(store.options().db(&db));
            assert_eq!(e.kind(), ErrorKind::StorePermission, "{e:?}");
            assert!(e.message().contains(dir.to_str().unwrap()), "{e}");
            assert!(e.next_step().unwrap().contains("PORT_DADDY_DB"), "{e:?}");
        }
    });
}

/// How to run a command that may mount what nobody else sees; none, with the reason said, where that is forbidden.
#[cfg(target_os = "linux")]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn with_mounts() -> Option<&'static [&'static str]> {
    let by: &[&str] = if rustix::process::geteuid().is_root() { &["unshare", "-m"] } else { &["unshare", "-Urm"] };
    let dir = tempfile::tempdir().unwrap();
    let tried = std::process::Command::new(by[0])
        .args(&by[1..])
        .args(["mount", "-t", "tmpfs", "none"])
        .arg(dir.path())
        .output();
    match tried {
        Ok(tried) if tried.status.success() => Some(by),
        other => {
            eprintln!("skipped: {by:?} may mount nothing here: {other:?}");
            None
        }
    }
}

/// Runs a child in mounts of its own, after `script`, which has the store's directory as `$dir`.
#[cfg(target_os = "linux")]
pub(super) fn child_in_mounts(store: &TempStore, script: &str, child: &str, role: &str) -> Option<Process> {
    let dir = store.db().parent().unwrap().to_str().unwrap().to_owned();
    let script = format!("{script} && exec \"$0\" \"$@\"");
    let by = [with_mounts()?, &["sh", "-c", &script]].concat();
    Some(store.child_by(&by, child, role, "a", &[("dir", &dir)]))
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_read_only_disk_looking_works() {
    let store = TempStore::running();
    let pd = store.open("a");
    note(&pd, "before").unwrap();
    pd.close();
    let script = "mount --bind \"$dir\" \"$dir\" && mount -o remount,ro,bind \"$dir\"";
    let Some(mut child) = child_in_mounts(&store, script, CHILD, "mounted read-only") else { return };
    assert_eq!(child.said(), "done");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing_and_harms_nothing() {
    let store = TempStore::running();
    make_private(store.db().parent().unwrap());
    let script = "mount -t tmpfs -o size=8m,mode=0700 none \"$dir\"";
    let Some(mut child) = child_in_mounts(&store, script, CHILD, "full") else { return };
    assert_eq!(child.said(), "done");
}

fn fill_the_disk(role: &Role) {
    use std::io::Write;
    let dir = role.db.parent().unwrap();
    let filler = dir.join("filler");
    fs::write(&filler, vec![b'x'; 5 << 20]).unwrap();
    let pd = role.open();
    let looker = Coordinator::open(role.options().agent("looker").face(Face::Shell)).unwrap();
    let text = "x".repeat(50_000);
    let mut stored = 0;
    let refusal = loop {
        match note(&pd, &text) {
            Ok(()) => stored += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::StoreFull, "{refusal:?}");
    assert!(refusal.message().contains(role.db.to_str().unwrap()), "{refusal}");
    // To the last byte.
    let mut rest = fs::File::create(dir.join("rest")).unwrap();
    while rest.write_all(&[0; 512]).is_ok() {}
    let mut small = 0;
    let refusal = loop {
        match note(&pd, "small") {
            Ok(()) => small += 1,
            Err(e) => break e,
        }
        assert!(small < 100, "the disk isn't full");
    };
    assert_eq!(refusal.kind(), ErrorKind::StoreFull, "{refusal:?}");
    // What needs fewer pages may still find room: until not even a sign of life does.
    let mut beats = 0;
    let refusal = loop {
        match pd.heartbeat() {
            Ok(_) => beats += 1,
            Err(e) => break e,
        }
        assert!(beats < 100, "the disk isn't full");
    };
    assert_eq!(refusal.kind(), ErrorKind::StoreFull, "{refusal:?}");
    assert_eq!(pd.lock("m", &LockOptions::default()).unwrap_err().kind(), ErrorKind::StoreFull);
    let e = pd.publish("x", &json!(text), &Publish::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreFull);
    let e = refused(role.options().agent("late"));
    assert_eq!(e.kind(), ErrorKind::StoreFull, "{e:?}");
    assert_eq!((notes(&pd).len(), notes(&looker).len()), (stored + small, stored + small), "all that was acknowledged");
    assert!(pd.messages(&MessageFilter::default()).unwrap().is_empty());
    assert!(pd.locks(&LockFilter { all: true }).unwrap().locks.is_empty());
    let late = Coordinator::open(role.options().agent("late").face(Face::Shell)).unwrap();
    assert_eq!(notes(&late).len(), stored + small);

    drop(rest);
    fs::remove_file(dir.join("rest")).unwrap();
    fs::remove_file(filler).unwrap();
    for pd in [&pd, &looker, &late, &role.open()] {
        note(pd, "again").unwrap();
    }
    assert_eq!(notes(&pd).len(), stored + small + 4);
    assert_sound(&role.db);
    role.say("done");
}

#[test]
fn the_place_is_the_call_s_the_variable_s_or_the_user_s() {
    let store = TempStore::new();
    let home = store.dir("home");
    let at = |variables: &[(&str, &str)]| {
        let around = Surroundings::given(variables.iter().copied());
        Coordinator::open(Options::default().cwd(&home).surroundings(around)).map(|pd| pd.path().to_path_buf())
    };
    let e = at(&[]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::StoreLocation);
    assert!(e.next_step().unwrap().contains("PORT_DADDY_DB"), "{e:?}");
    let text = home.to_str().unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(at(&[("HOME", text)]).unwrap(), home.join(".local/state/port-daddy/port-daddy.db"));
        let state = home.join("state");
        let variables = [("HOME", text), ("XDG_STATE_HOME", state.to_str().unwrap())];
        assert_eq!(at(&variables).unwrap(), state.join("port-daddy/port-daddy.db"));
    }
    let named = home.join("a/b/c.db");
    assert_eq!(at(&[("HOME", text), ("PORT_DADDY_DB", named.to_str().unwrap())]).unwrap(), named);
    #[cfg(unix)]
    assert_all_private(&home.join("a"));
    assert_eq!(at(&[("PORT_DADDY_DB", "")]).unwrap_err().kind(), ErrorKind::StoreLocation, "empty is as if not set");
    assert_eq!(refused(store.options().db("")).kind(), ErrorKind::Invalid);
}

#[test]
fn a_relative_path_starts_where_the_handle_stands() {
    let store = TempStore::new();
    let dir = store.dir("here");
    let by_call = Coordinator::open(store.options().db("state/pd.db").cwd(&dir)).unwrap();
    assert_eq!(by_call.path(), dir.join("state/pd.db"));
    let around = Surroundings::given([("PORT_DADDY_DB", "state/../state/pd.db")]);
    let by_variable = Coordinator::open(Options::default().cwd(&dir).surroundings(around)).unwrap();
    assert_eq!(by_variable.path(), by_call.path());
}

#[test]
fn a_directory_is_no_database() {
    let store = TempStore::new();
    let dir = store.dir("some");
    for path in [dir.clone(), dir.join("..")] {
        let e = refused(store.options().db(&path));
        assert_eq!(e.kind(), ErrorKind::Invalid, "{e:?}");
        assert!(e.message().contains("directory"), "{e}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_and_its_target_are_one_store() {
    let store = TempStore::new();
    let links = store.dir("links");
    make_private(&links);
    for (name, target) in [("there", store.db()), ("yet-to-be", store.path().join("state/other.db"))] {
        let link = links.join(name);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        if name == "there" {
            note(&store.open("a"), "x").unwrap();
        }
        let by_link = Coordinator::open(store.options().db(&link).agent("b")).unwrap();
        note(&by_link, "by link").unwrap();
        let by_name = Coordinator::open(store.options().db(&target).agent("c")).unwrap();
        assert_eq!(by_link.path(), by_name.path());
        assert!(notes(&by_name).contains(&"by link".to_owned()));
    }
    assert_eq!(fs::read_dir(&links).unwrap().count(), 2, "SQLite's sidecars stand beside the target");
}

#[test]
fn a_deleted_wake_page_delays_and_loses_nothing() {
    let store = TempStore::running();
    let (waiter, known) = (store.open("waiter"), store.open("known"));
    let page = store.db().with_extension("db.wake");
    let signal = |pd: &Coordinator, n: u32| {
        pd.publish("x", &json!(n), &Publish::default()).unwrap();
    };
    std::thread::scope(|scope| {
        let mut sub =
            waiter.subscribe(&Subscribe { patterns: "x".into(), replay: Replay::None, ..Default::default() }).unwrap();
        let waiting = scope.spawn(move || {
            for n in 0..3 {
                match sub.next(&Wait::at_most(LONG)).unwrap() {
                    Some(portdaddy_core::Event::Message(delivery)) => assert_eq!(delivery.message.payload, n),
                    other => panic!("{n}: {other:?}"),
                }
            }
        });
        let fresh = loop {
            if page.exists() {
                fs::remove_file(&page).unwrap();
                // A page of its own, that the sleeper knows nothing of.
                break store.open("fresh");
            }
        };
        assert!(page.exists());
        signal(&fresh, 0);
        signal(&known, 1);
        signal(&fresh, 2);
        waiting.join().unwrap();
    });
}

#[cfg(unix)]
fn use_after_fork(role: &Role) {
    let pd = role.open();
    let lock = pd.lock("m", &LockOptions::default()).unwrap().unwrap();
    note(&pd, "before").unwrap();
    // SAFETY: this process runs nothing but this test; the child uses the handle and ends without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let told = |kind: ErrorKind| kind == ErrorKind::Forked;
        let kinds = [
            note(&pd, "child").unwrap_err().kind(),
            pd.notes(&NoteFilter::default()).unwrap_err().kind(),
            pd.agents(&AgentFilter::default()).unwrap_err().kind(),
            pd.lock_info("m").unwrap_err().kind(),
            pd.extend_lock("m", 1000, None).unwrap_err().kind(),
        ];
        let mut failed = i32::from(!kinds.into_iter().all(told));
        failed |= i32::from(lock.release().is_ok()) << 1;
        drop(pd);
        // A handle of its own would share the copy of SQLite that believes in the parent's locks.
        let own = Coordinator::open(role.options().agent("child"));
        failed |= i32::from(!own.is_err_and(|e| told(e.kind()))) << 2;
        // SAFETY: ends the process at once, with nothing of the parent's run.
        unsafe { libc::_exit(failed) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above; `status` is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "wait status {status:#x}");
    note(&pd, "after").unwrap();
    assert_eq!(notes(&pd), ["before", "after"]);
    assert!(pd.agent("a").unwrap().proofs.iter().any(|p| !p.live.is_empty()), "the proof of life is still there");
    lock.info().unwrap();
    role.say("forked");
    role.barrier();
}

#[cfg(unix)]
#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let store = TempStore::running();
    let mut parent = store.child(CHILD, "fork", "a");
    assert_eq!(parent.said(), "forked");
    let looker = store.open("looker");
    let held = looker.lock_info("m").unwrap().unwrap();
    assert_eq!(held.agent, "a");
    note(&looker, "looked").unwrap();
    assert_eq!(notes(&looker), ["before", "after", "looked"]);
    parent.go();
    assert!(parent.ended());
    assert_sound(&store.db());
}

#[test]
fn a_second_copy_of_the_library_in_one_process_is_refused() {
    let store = TempStore::new();
    let live = store.db().with_extension("db.live");
    let pd = store.open("a");
    let own = fs::read_dir(&live).unwrap().next().unwrap().unwrap();
    let mut presence: serde_json::Value = serde_json::from_slice(&fs::read(own.path()).unwrap()).unwrap();
    let version = presence["version"].clone();
    presence["version"] = json!("0.0.9");
    pd.close();
    // What another copy, with a list of its own, would have put there.
    let path = live.join(format!("{}-another", std::process::id()));
    fs::write(&path, presence.to_string()).unwrap();
    let file = fs::File::open(&path).unwrap();
    file.lock().unwrap();
    let e = refused(store.options());
    assert_eq!(e.kind(), ErrorKind::SecondCopy);
    assert!(e.message().contains("0.0.9") && e.message().contains(version.as_str().unwrap()), "{e}");
    assert_eq!((&e.fields()["other_version"], &e.fields()["version"]), (&json!("0.0.9"), &version));
    // Once that is closed, or for the file of another process that merely looks alike, there is nothing to refuse.
    drop(file);
    // A process that another test starts at this moment holds the descriptor until it is a program of its own.
    let deadline = Instant::now() + Duration::from_secs(10);
    while fs::File::open(&path).unwrap().try_lock().is_err() {
        assert!(Instant::now() < deadline, "the lock stays held");
        std::thread::yield_now();
    }
    store.open("a").close();
    presence["start"] = json!(1);
    fs::write(&path, presence.to_string()).unwrap();
    let file = fs::File::open(&path).unwrap();
    file.lock().unwrap();
    store.open("a");
}

#[cfg(unix)]
#[test]
fn a_handle_that_ended_as_a_crash_is_no_second_copy_though_a_command_has_its_proof() {
    let store = TempStore::new();
    let pd = store.open("a");
    let inherited = pd.inherit_proof().unwrap();
    pd.abandon();
    note(&store.open("a"), "goes on").unwrap();
    drop(inherited);
}

#[test]
fn handles_of_one_copy_share_a_process() {
    let store = TempStore::new();
    let handles: Vec<Coordinator> = (0..4).map(|n| store.open(&format!("a{n}"))).collect();
    std::thread::scope(|scope| {
        for pd in &handles {
            scope.spawn(|| (0..20).for_each(|_| note(pd, "x").unwrap()));
        }
    });
    // One that closes takes nothing from the others.
    handles[0].close();
    note(&handles[1], "y").unwrap();
    assert_eq!(notes(&handles[2]).len(), 81);
    drop(handles);
    assert_sound(&store.db());
}

#[test]
fn a_closed_handle_says_so_whatever_it_is_asked() {
    let store = TempStore::new();
    let pd = store.open("a");
    let session = pd.start_session(&NewSession { purpose: "p".into(), ..Default::default() }).unwrap().session.id;
    let lock = pd.lock("m", &LockOptions::default()).unwrap().unwrap();
    let mut sub = pd.subscribe(&Subscribe { patterns: "x".into(), ..Default::default() }).unwrap();
    pd.claim(&ClaimPort { identity: "web".into(), ..Default::default() }).unwrap();
    let clone = pd.clone();
    clone.close();
    clone.close();
    let files = || vec!["a".to_owned()];
    let wait = Wait::at_most(Duration::ZERO);
    let answers: Vec<(&str, Result<(), Error>)> = vec![
        ("register_agent", pd.register_agent(&Registration::default()).map(drop)),
        ("heartbeat", pd.heartbeat().map(drop)),
        ("unregister_agent", pd.unregister_agent().map(drop)),
        ("agents", pd.agents(&AgentFilter::default()).map(drop)),
        ("agent", pd.agent("a").map(drop)),
        (
            "begin",
            pd.begin(&Registration::default(), &NewSession { purpose: "p".into(), ..Default::default() }).map(drop),
        ),
        ("done", pd.done(None).map(drop)),
        ("whoami", pd.whoami().map(drop)),
        ("start_session", pd.start_session(&NewSession { purpose: "p".into(), ..Default::default() }).map(drop)),
        ("end_session", pd.end_session(&EndSession::default()).map(drop)),
        ("sessions", pd.sessions(&SessionFilter::default()).map(drop)),
        ("session", pd.session(&session).map(drop)),
        ("set_phase", pd.set_phase("x", None).map(drop)),
        ("note", note(&pd, "x")),
        ("notes", pd.notes(&NoteFilter::default()).map(drop)),
        ("claim_files", pd.claim_files(&ClaimFiles { files: files(), ..Default::default() }).map(drop)),
        ("release_files", pd.release_files(&files(), None).map(drop)),
        ("file_claims", pd.file_claims(&ClaimFilter::default()).map(drop)),
        ("who_owns", pd.who_owns("a").map(drop)),
        ("publish", pd.publish("x", &json!(1), &Publish::default()).map(drop)),
        ("messages", pd.messages(&MessageFilter::default()).map(drop)),
        ("channels", pd.channels(&ChannelFilter::default()).map(drop)),
        ("clear_channel", pd.clear_channel("x").map(drop)),
        ("subscribe", pd.subscribe(&Subscribe { patterns: "x".into(), ..Default::default() }).map(drop)),
        ("next", sub.next(&wait).map(drop)),
        ("wait_for_signal", pd.wait_for_signal("x", &wait).map(drop)),
        ("lock", pd.lock("n", &LockOptions::default()).map(drop)),
        ("with_lock", pd.with_lock("n", &LockOptions::default(), |_| ())),
        ("lock.info", lock.info().map(drop)),
        ("lock.extend", lock.extend(1000).map(drop)),
        ("lock.release", lock.release()),
        ("unlock", pd.unlock("m", &Unlock::default()).map(drop)),
        ("extend_lock", pd.extend_lock("m", 1000, None).map(drop)),
        ("locks", pd.locks(&LockFilter::default()).map(drop)),
        ("lock_info", pd.lock_info("m").map(drop)),
        ("claim", pd.claim(&ClaimPort { identity: "web".into(), ..Default::default() }).map(drop)),
        ("release", pd.release("web", &Release::default()).map(drop)),
        ("services", pd.services(&ServiceFilter::default()).map(drop)),
        ("wait_for_service", pd.wait_for_service(&["web"], &wait).map(drop)),
        ("salvage", pd.salvage(&SalvageFilter::default()).map(drop)),
        ("salvage_claim", pd.salvage_claim("b").map(drop)),
        ("salvage_complete", pd.salvage_complete("b", None).map(drop)),
        ("salvage_abandon", pd.salvage_abandon("b").map(drop)),
        ("salvage_dismiss", pd.salvage_dismiss("b").map(drop)),
        ("status", pd.status().map(drop)),
        ("activity", pd.activity(&ActivityFilter::default()).map(drop)),
        #[cfg(unix)]
        ("inherit_proof", pd.inherit_proof().map(drop)),
    ];
    let wrong: Vec<_> =
        answers.iter().filter(|(_, a)| a.as_ref().err().map(Error::kind) != Some(ErrorKind::Closed)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let live = store.db().with_extension("db.live");
    assert_eq!(fs::read_dir(live).unwrap().count(), 0, "nothing proves a closed handle's life");
}

#[test]
fn a_bad_variable_is_named() {
    let store = TempStore::new();
    for (name, value) in
        [("PORT_DADDY_SCOPE", "two words"), ("PORT_DADDY_WAKE", "loudly"), ("PORT_DADDY_AGENT", "two words")]
    {
        let e = refused(store.options_with(&[(name, value)]));
        assert_eq!(e.kind(), ErrorKind::Invalid);
        assert!(e.message().contains(name) && e.message().contains(value), "{e}");
    }
    let pd = Coordinator::open(store.options_with(&[("PORT_DADDY_RANGE", "9-x")]).agent("a")).unwrap();
    let e = pd.claim(&portdaddy_core::ClaimPort { identity: "a:b".into(), ..Default::default() }).unwrap_err();
    assert!(e.kind() == ErrorKind::Invalid && e.message().contains("PORT_DADDY_RANGE"), "{e}");
}
