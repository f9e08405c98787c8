//! The journal: what is written, who reads what, and following it.

use std::time::Duration;

use portdaddy_core::{EndSession, Error, ErrorKind, NewNote, NewSession, NoteFilter, Registration, Wait};
use portdaddy_testutil::{Process, Role, TempStore};

fn text(text: &str) -> NewNote {
    NewNote { text: text.into(), ..Default::default() }
}

fn session(purpose: &str) -> NewSession {
    NewSession { purpose: purpose.into(), ..Default::default() }
}

fn texts(notes: &[portdaddy_core::Note]) -> Vec<&str> {
    notes.iter().map(|n| n.text.as_str()).collect()
}

#[test]
fn a_note_without_a_session_opens_one() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let pd = store.open_in("api", &repo);
    pd.register_agent(&Registration { name: Some("Backend Agent".into()), ..Default::default() }).unwrap();
    let first = pd.note(&text("hello")).unwrap();
    let second = pd.note(&text("again")).unwrap();
    assert!(first.opened_session && !second.opened_session);
    assert_eq!(first.note.session, second.note.session);
    assert!(first.note.seq < second.note.seq);
    assert_eq!((first.note.agent_name.as_str(), first.note.scope.as_str()), ("Backend Agent", "shop"));
    let opened = pd.session(&first.note.session).unwrap().session;
    assert_eq!((opened.purpose.as_str(), opened.branch.as_deref()), ("Backend Agent", Some("main")));

    // A session that is named is meant: no other is opened in its place.
    pd.end_session(&EndSession::default()).unwrap();
    let ended = NewNote { session: Some(first.note.session), ..text("late") };
    assert_eq!(pd.note(&ended).unwrap_err().kind(), ErrorKind::NoSession);
    let unknown = NewNote { session: Some("nope".into()), ..text("lost") };
    assert_eq!(pd.note(&unknown).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_note_has_a_text_and_a_type() {
    let store = TempStore::new();
    let pd = store.open("a");
    let whole = "x".repeat(1 << 20);
    for bad in [text(""), text(&(whole.clone() + "x")), NewNote { kind: Some("No Slug".into()), ..text("x") }] {
        assert_eq!(pd.note(&bad).unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(pd.note(&text(&whole)).unwrap().note.text.len(), 1 << 20);
    let typed = pd.note(&NewNote { kind: Some("commit".into()), ..text("two\nlines") }).unwrap().note;
    assert_eq!(serde_json::to_value(&typed).unwrap()["type"], "commit");
}

#[test]
fn reading_filters_and_counts_what_is_left_out() {
    let store = TempStore::new();
    let (shop, blog) = (store.repository("shop"), store.repository("blog"));
    let (a, b, other) = (store.open_in("a", &shop), store.open_in("b", &shop), store.open_in("c", &blog));
    a.register_agent(&Registration {
        name: Some("Ann".into()),
        identity: Some("pay:web".into()),
        ..Default::default()
    })
    .unwrap();
    a.note(&text("one")).unwrap();
    b.note(&NewNote { kind: Some("blocker".into()), ..text("Two ÄRGER") }).unwrap();
    store.clock().advance(60_000);
    let since = b.note(&text("three")).unwrap().note;
    other.note(&text("two elsewhere")).unwrap();

    let read = |filter: NoteFilter| {
        let list = a.notes(&filter).unwrap();
        (texts(&list.notes).join(","), list.elsewhere)
    };
    let base = NoteFilter::default;
    assert_eq!(read(base()), ("one,Two ÄRGER,three".into(), 1));
    assert_eq!(read(NoteFilter { limit: Some(2), ..base() }), ("Two ÄRGER,three".into(), 1));
    assert_eq!(read(NoteFilter { all: true, ..base() }), ("one,Two ÄRGER,three,two elsewhere".into(), 0));
    assert_eq!(read(NoteFilter { agent: Some("b".into()), ..base() }), ("Two ÄRGER,three".into(), 0));
    assert_eq!(read(NoteFilter { agent: Some("Ann".into()), ..base() }), ("one".into(), 0));
    assert_eq!(read(NoteFilter { agent: Some("c".into()), ..base() }), (String::new(), 1));
    assert_eq!(read(NoteFilter { kind: Some("blocker".into()), ..base() }), ("Two ÄRGER".into(), 0));
    assert_eq!(read(NoteFilter { grep: Some("TWO".into()), ..base() }), ("Two ÄRGER".into(), 1));
    assert_eq!(read(NoteFilter { grep: Some("ärger".into()), ..base() }), ("Two ÄRGER".into(), 0));
    assert_eq!(read(NoteFilter { grep: Some("%".into()), ..base() }), (String::new(), 0));
    assert_eq!(read(NoteFilter { project: Some("pay".into()), ..base() }), ("one".into(), 0));
    assert_eq!(read(NoteFilter { since_ms: Some(since.at_ms), ..base() }), ("three".into(), 1));
    assert_eq!(read(NoteFilter { session: Some(since.session.clone()), ..base() }), ("Two ÄRGER,three".into(), 0));
    let first = a.notes(&base()).unwrap().notes[0].seq;
    assert_eq!(read(NoteFilter { after_seq: Some(first), limit: Some(1), ..base() }), ("Two ÄRGER".into(), 1));
    assert_eq!(
        a.notes(&NoteFilter { agent: Some("nobody".into()), ..base() }).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_note_in_a_named_session_goes_to_its_scope() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let inside = store.open_in("a", &repo);
    let id = inside.start_session(&session("Work")).unwrap().session.id;
    let outside = store.open("a");
    let note = outside.note(&NewNote { session: Some(id), ..text("from outside") }).unwrap().note;
    assert_eq!(note.scope, "shop");
    assert_eq!(texts(&inside.notes(&NoteFilter::default()).unwrap().notes), ["from outside"]);
}

#[test]
fn a_follower_gets_each_note_once() {
    let store = TempStore::new();
    let (reader, writer) = (store.open("r"), store.open("w"));
    for i in 0..30 {
        writer.note(&text(&format!("old {i}"))).unwrap();
    }
    let (said, heard) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || {
        let wait = Wait::at_most(Duration::from_secs(60));
        reader.follow_notes(&NoteFilter { limit: Some(2), ..Default::default() }, &wait, |note| {
            let last = note.text == "end";
            said.send(note.text).map_err(|e| Error::invalid(e.to_string()))?;
            Ok(!last)
        })
    });
    let next = || heard.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!((next(), next()), ("old 28".to_owned(), "old 29".to_owned()));
    for i in 0..600 {
        writer.note(&text(&format!("new {i}"))).unwrap();
    }
    writer.note(&text("end")).unwrap();
    for i in 0..600 {
        assert_eq!(next(), format!("new {i}"));
    }
    assert_eq!(next(), "end");
    follower.join().unwrap().unwrap();
}

#[test]
fn following_ends_with_its_time_and_with_its_reader() {
    let store = TempStore::new();
    let pd = store.open("a");
    pd.note(&text("x")).unwrap();
    let mut heard = 0;
    let count = |note: portdaddy_core::Note| {
        heard += note.text.len();
        Ok(true)
    };
    pd.follow_notes(&NoteFilter::default(), &Wait::at_most(Duration::from_millis(1)), count).unwrap();
    assert_eq!(heard, 1);
    let failed = pd.follow_notes(&NoteFilter::default(), &Wait::default(), |_| Err(Error::invalid("enough")));
    assert_eq!(failed.unwrap_err().message(), "enough");
}

#[test]
fn the_log_of_one_command_after_another_stays_short() {
    let store = TempStore::new();
    let dir = store.dir("shop");
    let wal = store.db().with_file_name("port-daddy.db-wal");
    let mut longest = 0;
    for n in 0..150 {
        // Each is alone with the file, and must read the whole log before it can do anything.
        store.shell_in("a", &dir).note(&NewNote { text: format!("note {n}"), ..Default::default() }).unwrap();
        longest = longest.max(wal.metadata().unwrap().len());
    }
    assert!(longest < 300 * 4120, "{longest} bytes");
}

#[test]
fn eight_processes_lose_no_note_and_wait_their_turn() {
    const ME: &str = "notes::eight_processes_lose_no_note_and_wait_their_turn";
    const EACH: usize = 40;
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        role.say("ready");
        role.barrier();
        for n in 0..EACH {
            pd.note(&NewNote { text: format!("{} {n}", role.agent), ..NewNote::default() }).unwrap();
        }
        return role.say("done");
    }
    let store = TempStore::running();
    let mut children: Vec<Process> = (0..8).map(|n| store.child(ME, "write", &format!("agent-{n}"))).collect();
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    children.iter_mut().for_each(Process::go);
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "done"));
    let list = store.open("reader").notes(&NoteFilter { limit: Some(1000), ..NoteFilter::default() }).unwrap();
    assert_eq!(list.notes.len(), 8 * EACH);
    assert!(list.notes.is_sorted_by(|a, b| a.seq < b.seq));
    for n in 0..8 {
        let own: Vec<_> = list.notes.iter().filter(|note| note.agent == format!("agent-{n}")).collect();
        let in_order = own.iter().enumerate().all(|(i, note)| note.text == format!("agent-{n} {i}"));
        assert!(own.len() == EACH && in_order, "agent-{n} lost or doubled a note");
        assert!(own.iter().all(|note| note.session == own[0].session), "one session each");
    }
}
