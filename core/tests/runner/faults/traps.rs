//! What two guards keep from happening: a second copy of the library in one process, and a handle in a forked child. With
//! the guard on they are refused, and nothing is lost. With the guard off the loss is real.
//!
//! POSIX locks belong to a process. Closing any descriptor of a file drops all that the process has there, also those of
//! another copy of SQLite; and a forked child has none of those in which its memory believes.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, ErrorKind, NewNote, NewSession, NoteFilter, Random, SessionFilter, SystemRandom};
use portdaddy_testutil::{Process, Role, TempStore};
use rusqlite::Connection;

const CHILD: &str = "faults::traps::child";
const LONG: Duration = Duration::from_secs(60);
/// Notes that are in the log when it begins.
const BEFORE: usize = 30;

fn until(what: &str, f: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !f() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stays inside the transaction that asks for a new session's id, once it is armed, until it may go on.
struct Stay {
    armed: AtomicBool,
    dir: PathBuf,
}

impl Stay {
    fn beside(db: &Path) -> Arc<Stay> {
        Arc::new(Stay { armed: AtomicBool::new(false), dir: db.parent().unwrap().to_owned() })
    }
}

fn inside(dir: &Path) -> PathBuf {
    dir.join("it-is-inside")
}

fn may_go_on(dir: &Path) -> PathBuf {
    dir.join("it-may-go-on")
}

impl Random for Stay {
    fn fill(&self, bytes: &mut [u8]) {
        if self.armed.swap(false, Ordering::SeqCst) {
            std::fs::write(inside(&self.dir), "").unwrap();
            until("nobody lets it go on", || may_go_on(&self.dir).exists());
        }
        SystemRandom.fill(bytes);
    }
}

fn start_session(pd: &Coordinator) -> String {
    pd.start_session(&NewSession { purpose: "theirs".into(), ..NewSession::default() }).unwrap().session.id
}

fn note(pd: &Coordinator, text: &str) {
    pd.note(&NewNote { text: text.into(), ..NewNote::default() }).unwrap();
}

#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    match role.name.as_str() {
        "load a copy" => load_a_copy(&role),
        "fork" => fork(&role),
        "look" => {
            let all = NoteFilter { limit: Some(1000), ..NoteFilter::default() };
            let looked = Coordinator::open(role.options()).and_then(|pd| pd.notes(&all).map(|list| list.notes.len()));
            role.say(&looked.map_or_else(|e| e.to_string(), |notes| notes.to_string()));
        }
        other => panic!("{other}"),
    }
}

/// Writes with one copy of the library, and meanwhile loads another, which opens the file and closes it.
fn load_a_copy(role: &Role) {
    let library = std::env::var_os("SECOND_COPY").expect("`make test-faults` builds it, and says here where it is");
    let library = PathBuf::from(library);
    let (library, db) = [&library, &role.db].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap()).into();
    // SAFETY: the library is ours, and its functions are as `tests/second_copy` has them. It keeps its own SQLite to itself.
    let [opens, looks] = [c"second_copy_opens", c"second_copy_looks"].map(|name| unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        let function = libc::dlsym(library, name.as_ptr());
        assert!(!function.is_null(), "it can't be loaded");
        std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn(*const libc::c_char) -> libc::c_int>(function)
    });
    let stay = Stay::beside(&role.db);
    let pd = Coordinator::open(role.options().random(stay.clone())).unwrap();
    stay.armed.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let session = scope.spawn(|| start_session(&pd));
        until("it doesn't get in", || inside(&stay.dir).exists());
        // SAFETY: as above.
        let opened = unsafe { opens(db.as_ptr()) };
        if opened == 1 {
            // SAFETY: as above.
            assert_eq!(unsafe { looks(db.as_ptr()) }, 1, "a doctor's look drops the locks, too");
        }
        role.say(["opened", "refused", "failed"][opened as usize]);
        role.say(&session.join().unwrap());
    });
    role.barrier();
}

/// Starts a process that forks with the file open, waits for it and for its child, and tells by what signal either died.
fn fork(role: &Role) {
    // SAFETY: plain numbers; from here on it is told of its grandchild's end, too.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    in_child(|| {
        let pd = role.open();
        for n in 0..BEFORE {
            note(&pd, &format!("before {n}"));
        }
        let child = in_child(|| {
            let stay = Stay::beside(&role.db);
            match Coordinator::open(role.options().agent("forked").random(stay.clone())) {
                Ok(own) => {
                    stay.armed.store(true, Ordering::SeqCst);
                    role.say("opened");
                    role.say(&start_session(&own));
                    std::mem::forget(own);
                }
                Err(e) => role.say(if e.kind() == ErrorKind::Forked { "refused" } else { "failed" }),
            }
        });
        if std::env::var("PORT_DADDY_BROKEN").is_ok_and(|broken| broken.contains("fork")) {
            // It ends first, as a crash does.
            until("nobody is inside", || inside(role.db.parent().unwrap()).exists());
        } else {
            assert_eq!(died_of(child), Some(0));
            note(&pd, "after");
        }
        std::mem::forget(pd);
    });
    let mut signal = 0;
    while let Some(died) = died_of(-1) {
        signal = signal.max(died);
    }
    role.say(&format!("died of {signal}"));
}

/// Runs `f` in a forked child, which ends without destructors.
fn in_child(f: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child runs Rust code that allocates, which glibc allows after a fork.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        child => child,
    }
}

/// Waits for a child, or any; the signal that it died of, or 0. None if there is none left.
fn died_of(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is ours.
    let found = unsafe { libc::waitpid(child, &raw mut status, 0) };
    (found > 0).then(|| if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 })
}

/// What of these isn't there, or that there is nothing sound.
fn lost(store: &TempStore, notes: &[String], session: &str) -> Vec<String> {
    let conn = Connection::open(store.db()).unwrap();
    let sound = conn.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0));
    if sound.as_deref() != Ok("ok") {
        return vec![format!("damaged: {sound:?}")];
    }
    drop(conn);
    let pd = match Coordinator::open(store.options().agent("looker")) {
        Ok(pd) => pd,
        Err(e) => return vec![e.to_string()],
    };
    let all = NoteFilter { limit: Some(1000), ..NoteFilter::default() };
    let found: BTreeSet<String> = match pd.notes(&all) {
        Ok(list) => list.notes.into_iter().map(|note| note.text).collect(),
        Err(e) => return vec![e.to_string()],
    };
    let mut lost: Vec<String> = notes.iter().filter(|text| !found.contains(*text)).cloned().collect();
    match pd.sessions(&SessionFilter::default()) {
        Ok(list) if list.sessions.iter().any(|s| s.id == session) => {}
        Ok(_) => lost.push(session.to_owned()),
        Err(e) => lost.push(e.to_string()),
    }
    lost
}

/// A process with one copy inside a transaction loads another; and what the second did.
fn loads_a_copy(store: &TempStore, variables: &[(&str, &str)]) -> (Process, String) {
    let mut child = store.child_with(CHILD, "load a copy", "child", variables);
    let said = child.said();
    (child, said)
}

#[test]
fn a_second_copy_of_the_library_is_refused_and_nothing_is_lost() {
    let store = TempStore::running();
    let pd = store.open("parent");
    let (mut child, said) = loads_a_copy(&store, &[]);
    assert_eq!(said, "refused");
    std::thread::scope(|scope| {
        let mine = scope.spawn(|| note(&pd, "mine"));
        std::fs::write(may_go_on(store.db().parent().unwrap()), "").unwrap();
        mine.join().unwrap();
    });
    let session = child.said();
    assert_eq!(lost(&store, &["mine".into()], &session), [""; 0]);
}

#[test]
fn unless_it_is_refused_a_second_copy_loses_what_others_were_told_is_stored() {
    let store = TempStore::running();
    let pd = store.open("parent");
    let (mut child, said) = loads_a_copy(&store, &[("PORT_DADDY_BROKEN", "second-copy")]);
    assert_eq!(said, "opened");
    // The other's lock is gone: after its patience with the gate, this write goes through in the middle of that one.
    note(&pd, "mine");
    std::fs::write(may_go_on(store.db().parent().unwrap()), "").unwrap();
    let session = child.said();
    let lost = lost(&store, &["mine".into()], &session);
    assert!(!lost.is_empty(), "the trap is none");
}

fn before() -> Vec<String> {
    (0..BEFORE).map(|n| format!("before {n}")).collect()
}

#[test]
fn a_forked_child_is_refused_and_nothing_is_lost() {
    let store = TempStore::running();
    let mut forks = store.child(CHILD, "fork", "child");
    assert_eq!(forks.said(), "refused");
    assert_eq!(forks.said(), "died of 0");
    let pd = store.open("later");
    let session = start_session(&pd);
    assert_eq!(lost(&store, &[before(), vec!["after".into()]].concat(), &session), [""; 0]);
}

#[test]
fn unless_it_is_refused_a_forked_child_dies_in_the_middle_of_a_write_or_loses_what_was_stored() {
    let store = TempStore::running();
    let mut forks = store.child_with(CHILD, "fork", "child", &[("PORT_DADDY_BROKEN", "fork")]);
    assert_eq!(forks.said(), "opened");
    // It is inside a transaction. The lock by which all know that somebody is there was its parent's.
    let (dir, index) = (store.db().parent().unwrap().to_owned(), store.db().with_extension("db-shm"));
    until("nobody is inside", || inside(&dir).exists());
    let whole = std::fs::metadata(&index).unwrap().len();
    // So who comes next takes the index for a dead one's, and cuts it off.
    let (index, dir) = (&index, &dir);
    let mut said = None;
    until("the index is whole", || {
        let _looker = store.child(CHILD, "look", "looker");
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && std::fs::metadata(index).unwrap().len() == whole {
            std::thread::yield_now();
        }
        std::fs::metadata(index).unwrap().len() < whole
    });
    std::fs::write(may_go_on(dir), "").unwrap();
    let mut session = String::new();
    while said.is_none() {
        match forks.said() {
            end if end.starts_with("died of ") => said = Some(end),
            id => session = id,
        }
    }
    let lost = lost(&store, &before(), &session);
    assert!(said != Some("died of 0".into()) || !lost.is_empty(), "the trap is none");
}
