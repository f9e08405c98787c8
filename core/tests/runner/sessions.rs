//! Sessions: how they begin, whose they are, how they end.

use portdaddy_core::{EndSession, ErrorKind, NewNote, NewSession, Registration, SessionFilter, SessionStatus};
use portdaddy_testutil::{TempStore, git};

fn new(purpose: &str) -> NewSession {
    NewSession { purpose: purpose.into(), ..Default::default() }
}

fn end(session: &str) -> EndSession {
    EndSession { session: Some(session.into()), ..Default::default() }
}

#[test]
fn a_session_remembers_where_it_began() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let commit = git(&repo, &["rev-parse", "HEAD"]);
    let pd = store.open_in("api", &repo);
    pd.register_agent(&Registration {
        name: Some("Backend Agent".into()),
        identity: Some("payments:api".into()),
        ..Default::default()
    })
    .unwrap();
    let started = pd.start_session(&NewSession { phase: Some("reading".into()), ..new("Build it") }).unwrap();
    let session = started.session;
    assert!(session.id.starts_with("session-") && session.id.len() == "session-".len() + 5, "{}", session.id);
    assert_eq!((session.agent.as_str(), session.agent_name.as_str()), ("api", "Backend Agent"));
    assert_eq!(session.identity.as_deref(), Some("payments:api"));
    assert_eq!(session.status, SessionStatus::Active);
    assert_eq!(session.phase.as_deref(), Some("reading"));
    assert_eq!(session.worktree.as_deref(), Some(repo.to_str().unwrap()));
    assert_eq!(session.branch.as_deref(), Some("main"));
    assert_eq!(session.commit, Some(commit));
    assert_eq!(session.scope, "shop");

    let given = NewSession { identity: Some("payments:db".into()), ..new("Other") };
    assert_eq!(pd.start_session(&given).unwrap().session.identity.as_deref(), Some("payments:db"));
    let outside = store.open("b").start_session(&new("Outside")).unwrap().session;
    assert_eq!((outside.repository, outside.branch, outside.scope.as_str()), (None, None, "global"));
}

#[test]
fn what_breaks_a_rule_stores_nothing() {
    let store = TempStore::new();
    let pd = store.open("a");
    for bad in [
        new(""),
        new(" \n"),
        new(&"x".repeat(4097)),
        NewSession { files: vec!["ok".into(), "a[".into()], ..new("x") },
        NewSession { files: vec!["f".into(); 1001], ..new("x") },
        NewSession { identity: Some("a:b:c:d".into()), ..new("x") },
        NewSession { phase: Some("x".repeat(65)), ..new("x") },
    ] {
        assert_eq!(pd.start_session(&bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert!(pd.sessions(&SessionFilter { all: true, ..Default::default() }).unwrap().sessions.is_empty());
    assert!(pd.start_session(&new(&"x".repeat(4096))).is_ok());
}

#[test]
fn only_its_agent_ends_a_session_and_only_once() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), store.open("b"));
    let id = a.start_session(&NewSession { files: vec!["src".into()], ..new("Work") }).unwrap().session.id;
    let e = b.end_session(&end(&id)).unwrap_err();
    assert_eq!((e.kind(), e.fields()["owner"].as_str()), (ErrorKind::NotOwner, Some("a")));
    assert_eq!(b.set_phase("x", Some(&id)).unwrap_err().kind(), ErrorKind::NotOwner);
    let other = NewNote { text: "x".into(), session: Some(id.clone()), ..Default::default() };
    assert_eq!(b.note(&other).unwrap_err().kind(), ErrorKind::NotOwner);

    assert_eq!(a.set_phase("testing", None).unwrap().phase.as_deref(), Some("testing"));
    let active = EndSession { status: Some(SessionStatus::Active), ..Default::default() };
    assert_eq!(a.end_session(&active).unwrap_err().kind(), ErrorKind::Invalid);
    let ended = a.done(Some("All done")).unwrap();
    assert_eq!((ended.id.as_str(), ended.status, ended.notes), (id.as_str(), SessionStatus::Completed, 1));
    assert!(ended.ended_ms.is_some());
    let detail = a.session(&id).unwrap();
    assert!(detail.claims.is_empty());
    assert_eq!(detail.notes[0].text, "All done");

    store.clock().advance(180_000);
    let e = a.end_session(&end(&id)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSession);
    assert!(e.message().contains("completed 3 min ago"), "{e}");
    assert_eq!(a.done(None).unwrap_err().kind(), ErrorKind::NoSession);
}

#[test]
fn a_session_is_found_by_any_unique_prefix() {
    let store = TempStore::new();
    let pd = store.open("a");
    let mut ids: Vec<String> = (0..40).map(|i| pd.start_session(&new(&i.to_string())).unwrap().session.id).collect();
    ids.sort();
    for id in &ids {
        let suffix = &id["session-".len()..];
        assert_eq!(pd.session(suffix).unwrap().session.id, *id);
        assert_eq!(pd.session(id).unwrap().session.id, *id);
        for length in 1..suffix.len() {
            let fits: Vec<_> =
                ids.iter().filter(|other| other["session-".len()..].starts_with(&suffix[..length])).collect();
            match pd.session(&suffix[..length]) {
                Ok(found) => assert_eq!(vec![&found.session.id], fits),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Ambiguous);
                    let named = e.fields()["candidates"].as_array().unwrap().len();
                    assert_eq!(named, fits.len().min(8));
                }
            }
        }
    }
    for none in ["", "session-", "zzzzzz", "%", "session-_"] {
        assert_eq!(pd.session(none).unwrap_err().kind(), ErrorKind::NotFound, "{none}");
    }
}

#[test]
fn lists_see_their_scope_and_count_the_rest() {
    let store = TempStore::new();
    let (shop, blog) = (store.repository("shop"), store.repository("blog"));
    let (a, b) = (store.open_in("a", &shop), store.open_in("b", &blog));
    for purpose in ["one", "two", "three"] {
        a.start_session(&NewSession { identity: Some("pay:x".into()), ..new(purpose) }).unwrap();
    }
    b.start_session(&NewSession { identity: Some("pays".into()), ..new("other") }).unwrap();
    a.done(None).unwrap();
    let list = |filter: SessionFilter| {
        let list = a.sessions(&filter).unwrap();
        (list.sessions.iter().map(|s| s.purpose.clone()).collect::<Vec<_>>().join(" "), list.elsewhere)
    };
    let base = SessionFilter::default;
    assert_eq!(list(base()), ("one two three".into(), 1));
    assert_eq!(list(SessionFilter { limit: Some(2), ..base() }), ("two three".into(), 1));
    assert_eq!(list(SessionFilter { all: true, ..base() }), ("one two three other".into(), 0));
    assert_eq!(list(SessionFilter { status: Some(SessionStatus::Completed), ..base() }), ("three".into(), 0));
    assert_eq!(list(SessionFilter { agent: Some("b".into()), ..base() }), (String::new(), 1));
    assert_eq!(list(SessionFilter { project: Some("pay".into()), all: true, ..base() }), ("one two three".into(), 0));
    assert_eq!(list(SessionFilter { project: Some("pays".into()), all: true, ..base() }), ("other".into(), 0));
}

#[test]
fn the_session_that_the_surroundings_name_comes_first() {
    let store = TempStore::new();
    let pd = store.open("a");
    let first = pd.start_session(&new("first")).unwrap().session.id;
    let second = pd.start_session(&new("second")).unwrap().session.id;
    assert_eq!(pd.set_phase("x", None).unwrap().id, second);
    let variables = [("PORT_DADDY_AGENT", "a"), ("PORT_DADDY_SESSION", first.as_str())];
    let told = portdaddy_core::Coordinator::open(store.options_with(&variables)).unwrap();
    assert_eq!(told.whoami().unwrap().session.unwrap().id, first);
    assert_eq!(told.set_phase("y", None).unwrap().id, first);
    assert_eq!(told.set_phase("z", Some(&second)).unwrap().id, second);
}

#[test]
fn leaving_abandons_what_is_unfinished() {
    let store = TempStore::new();
    let (a, b) = (store.open("a"), store.open("b"));
    let id = a.start_session(&NewSession { files: vec!["src".into()], ..new("Work") }).unwrap().session.id;
    a.unregister_agent().unwrap();
    let detail = b.session(&id).unwrap();
    assert_eq!(detail.session.status, SessionStatus::Abandoned);
    assert!(detail.claims.is_empty());
}
