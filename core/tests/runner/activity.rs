use std::time::Duration;

use portdaddy_core::{ActivityFilter, ClaimPort, ErrorKind, Release, ScopeChoice, Status, Wait, doctor};
use portdaddy_testutil::TempStore;

fn kinds(entries: &[portdaddy_core::Activity]) -> Vec<&str> {
    entries.iter().map(|e| e.kind.as_str()).collect()
}

#[test]
fn what_was_done_is_listed_in_order_and_by_scope() {
    let store = TempStore::running();
    let pd = store.open("a");
    let port = pd.claim(&ClaimPort { identity: "api".into(), ..Default::default() }).unwrap().port;
    pd.release("api", &Release::default()).unwrap();
    let elsewhere =
        portdaddy_core::Coordinator::open(store.options().agent("b").scope(ScopeChoice::Named("elsewhere".into())))
            .unwrap();
    elsewhere.claim(&ClaimPort { identity: "web".into(), ..Default::default() }).unwrap();

    let list = pd.activity(&ActivityFilter::default()).unwrap();
    assert_eq!((kinds(&list.entries), list.elsewhere), (vec!["port.claim", "port.release"], 1));
    assert!(list.entries[0].seq < list.entries[1].seq);
    assert_eq!(list.entries[0].detail["port"], port);
    assert_eq!((list.entries[0].agent.as_deref(), list.entries[0].subject.as_str()), (Some("a"), "api"));

    let all = |filter: ActivityFilter| pd.activity(&ActivityFilter { all: true, ..filter }).unwrap().entries;
    assert_eq!(all(ActivityFilter::default()).len(), 3);
    assert_eq!(all(ActivityFilter { kind: Some("port.release".into()), ..Default::default() }).len(), 1);
    assert_eq!(all(ActivityFilter { kind: Some("port.".into()), ..Default::default() }).len(), 3);
    assert_eq!(all(ActivityFilter { kind: Some("port".into()), ..Default::default() }).len(), 0);
    assert_eq!(all(ActivityFilter { agent: Some("b".into()), ..Default::default() })[0].scope, "elsewhere");
    assert_eq!(all(ActivityFilter { limit: Some(1), ..Default::default() })[0].subject, "web");
    let after = Some(list.entries[0].seq);
    assert_eq!(kinds(&all(ActivityFilter { after_seq: after, ..Default::default() })), ["port.release", "port.claim"]);
    assert!(all(ActivityFilter { since_ms: Some(i64::MAX), ..Default::default() }).is_empty());
    let wrong = ActivityFilter { kind: Some(String::new()), ..Default::default() };
    assert_eq!(pd.activity(&wrong).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_follower_sees_each_entry_once_and_may_call() {
    let store = TempStore::running();
    let pd = store.open("a");
    pd.claim(&ClaimPort { identity: "first".into(), ..Default::default() }).unwrap();
    let mut seen = Vec::new();
    pd.follow_activity(&ActivityFilter::default(), &Wait::at_most(Duration::from_secs(30)), |entry| {
        seen.push(entry.subject);
        if seen.len() < 4 {
            let identity = format!("app{}", seen.len());
            pd.claim(&ClaimPort { identity, ..Default::default() })?;
        }
        Ok(seen.len() < 4)
    })
    .unwrap();
    assert_eq!(seen, ["first", "app1", "app2", "app3"]);
    let nothing = |_| -> portdaddy_core::Result<bool> { panic!("nothing new") };
    let none = ActivityFilter { limit: Some(0), ..Default::default() };
    pd.follow_activity(&none, &Wait::at_most(Duration::from_millis(1)), nothing).unwrap();
}

#[test]
fn the_state_of_the_whole_is_counted() {
    let store = TempStore::running();
    let pd = store.open("a");
    pd.claim(&ClaimPort { identity: "api".into(), ..Default::default() }).unwrap();
    let Status { agents, ports, sessions, seq, schema, size_bytes, wal_bytes, scope, .. } = pd.status().unwrap();
    assert_eq!((agents.active, agents.stale, agents.dead), (1, 0, 0));
    assert_eq!((ports, sessions), (1, 0));
    assert!(seq > 0 && schema > 0 && size_bytes + wal_bytes > 0);
    assert_eq!(scope, "global");
}

#[test]
fn the_doctor_finds_a_sound_store_sound_and_tells_why_another_is_not() {
    let store = TempStore::running();
    assert!(doctor(store.options().agent("a")).iter().all(|c| c.ok && c.name != "integrity"));
    assert!(!store.db().exists(), "looking makes no store");
    drop(store.open("a"));
    let checks = doctor(store.options().agent("a"));
    assert!(checks.iter().all(|c| c.ok), "{checks:#?}");
    for name in
        ["sqlite", "database", "integrity", "filesystem", "permissions", "writing", "wake", "caller", "leftovers"]
    {
        assert!(checks.iter().any(|c| c.name == name), "{name}");
    }
    std::fs::write(store.db().with_file_name("text.db"), "this is no database, however long it may go on for").unwrap();
    let checks = doctor(store.options().agent("a").db(store.db().with_file_name("text.db")));
    let failed: Vec<_> = checks.iter().filter(|c| !c.ok).collect();
    assert!(matches!(&failed[..], [one] if one.name == "database" && one.hint.is_some()), "{failed:#?}");
}
