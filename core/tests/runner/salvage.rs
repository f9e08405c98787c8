use portdaddy_core::{
    ClaimFiles, ClaimFilter, Coordinator, EndSession, Error, ErrorKind, NewNote, NewSession, Registration,
    SalvageFilter, SalvageState, SessionFilter, SessionStatus,
};

use portdaddy_testutil::{Process, Role, TempStore, git};

const CHILD: &str = "salvage::child";

/// What a child does: `work DIR` begins some work and waits to be killed; `take AGENT` claims an agent's work.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    match role.name.split_once(' ').unwrap() {
        ("work", dir) => {
            let pd = Coordinator::open(role.options().cwd(dir)).unwrap();
            begin_work(&pd);
            role.say("working");
            role.barrier();
        }
        ("take", agent) => {
            let pd = role.open();
            role.say("ready");
            role.barrier();
            role.say(&match pd.salvage_claim(agent) {
                Ok(briefing) => format!("won {}", briefing.sessions.len()),
                Err(e) => serde_json::to_string(&e).unwrap(),
            });
            role.barrier();
        }
        other => panic!("{other:?}"),
    }
}

fn begin_work(pd: &Coordinator) {
    let identity = Some("payments:db".to_owned());
    let registration = Registration { name: Some("Database Agent".into()), identity, ..Default::default() };
    pd.register_agent(&registration).unwrap();
    let new =
        NewSession { purpose: "Schema for payments".into(), files: vec!["migrations/*".into()], ..Default::default() };
    pd.start_session(&new).unwrap();
    pd.note(&NewNote { text: "Created the payments table\nwith webhook_id".into(), ..Default::default() }).unwrap();
}

/// A killed agent `db` that left work in `dir`.
fn killed(store: &TempStore, dir: &std::path::Path) {
    let mut child = store.child(CHILD, &format!("work {}", dir.display()), "db");
    assert_eq!(child.said(), "working");
    child.kill();
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn the_work_of_a_killed_agent_is_listed_claimed_and_completed() {
    let store = TempStore::running();
    let repository = store.repository("app");
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "first"]);
    std::fs::write(repository.join("schema.sql"), "create table payments").unwrap();
    killed(&store, &repository);

    let open = |agent: &str| Coordinator::open(store.options().agent(agent).cwd(&repository)).unwrap();
    let heir = open("heir");
    let list = heir.salvage(&SalvageFilter { project: Some("payments".into()), ..Default::default() }).unwrap();
    assert_eq!((list.items.len(), list.elsewhere), (1, 0));
    let item = &list.items[0];
    assert_eq!((item.agent.as_str(), item.agent_name.as_str()), ("db", "Database Agent"));
    assert!(item.death.contains("is gone"), "{}", item.death);
    assert_eq!(item.state, SalvageState::Open);
    assert_eq!(item.sessions[0].session.purpose, "Schema for payments");
    assert_eq!(item.claims[0].pattern, "migrations/*");
    assert_eq!(item.notes.len(), 1);
    assert_eq!(item.work[0].uncommitted, ["?? schema.sql"]);
    let other = SalvageFilter { project: Some("pay".into()), ..Default::default() };
    assert!(heir.salvage(&other).unwrap().items.is_empty());

    let elsewhere = store.open("looker").salvage(&SalvageFilter::default()).unwrap();
    assert_eq!((elsewhere.items.len(), elsewhere.elsewhere), (0, 1));
    let all = SalvageFilter { all: true, ..Default::default() };
    assert_eq!(store.open("looker").salvage(&all).unwrap().items.len(), 1);

    let briefing = heir.salvage_claim("db").unwrap();
    assert_eq!(briefing.item.sessions[0].session.agent, "db");
    assert_eq!(briefing.sessions[0].agent, "heir");
    for said in [
        "Database Agent (db)",
        "payments:db",
        "is gone",
        "Schema for payments",
        "migrations/*",
        "webhook_id",
        "?? schema.sql",
        "Branch: main",
        "pd salvage complete db",
        "pd salvage abandon db",
    ] {
        assert!(briefing.text.contains(said), "{said} is missing in\n{}", briefing.text);
    }
    assert_eq!(heir.file_claims(&ClaimFilter::default()).unwrap().claims[0].agent, "heir");
    assert!(heir.salvage(&SalvageFilter::default()).unwrap().items.is_empty());
    assert_eq!(heir.salvage(&all).unwrap().items[0].claimed_by.as_deref(), Some("heir"));

    let late = open("late");
    let e = late.salvage_claim("db").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotSalvageable);
    assert!(e.message().contains("claimed by heir"), "{e}");
    assert_eq!(kind(late.salvage_complete("db", None)), ErrorKind::NotOwner);
    assert_eq!(kind(late.salvage_abandon("db")), ErrorKind::NotOwner);
    assert_eq!(kind(late.salvage_dismiss("db")), ErrorKind::NotSalvageable);

    let done = heir.salvage_complete("db", Some("migrated")).unwrap();
    assert_eq!(done.state, SalvageState::Completed);
    assert_eq!(done.sessions[0].session.status, SessionStatus::Completed);
    assert_eq!(done.notes.last().unwrap().text, "migrated");
    assert!(heir.file_claims(&ClaimFilter { all: true, ..Default::default() }).unwrap().claims.is_empty());
    assert_eq!(kind(heir.salvage_complete("db", None)), ErrorKind::NotFound);
}

#[test]
fn of_ten_who_claim_at_once_exactly_one_wins() {
    let store = TempStore::running();
    killed(&store, &store.dir("work"));
    let mut children: Vec<Process> = (0..10).map(|i| store.child(CHILD, "take db", &format!("heir-{i}"))).collect();
    for child in &mut children {
        assert_eq!(child.said(), "ready");
    }
    children.iter_mut().for_each(Process::go);
    let said: Vec<String> = children.iter_mut().map(Process::said).collect();
    let winner = said.iter().position(|s| s == "won 1").unwrap();
    for (index, said) in said.iter().enumerate().filter(|(index, _)| *index != winner) {
        let e: serde_json::Value = serde_json::from_str(said).unwrap_or_else(|_| panic!("{index} too: {said}"));
        assert_eq!(e["code"], "NOT_SALVAGEABLE");
        assert_eq!(e["fields"]["claimed_by"], format!("heir-{winner}"));
        assert!(e["fields"]["claimed_ms"].is_i64());
    }
}

#[test]
fn only_the_dead_are_salvaged() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    begin_work(&a);
    let e = b.salvage_claim("a").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotSalvageable);
    assert!(e.message().contains("a is alive: process"), "{e}");
    assert_eq!(kind(b.salvage_dismiss("a")), ErrorKind::NotSalvageable);
    let e = a.salvage_claim("a").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotSalvageable);
    assert!(e.message().contains("the caller itself"), "{e}");
    assert_eq!(kind(b.salvage_claim("nobody")), ErrorKind::NotFound);
    assert_eq!(kind(b.salvage_claim("not an id")), ErrorKind::Invalid);
    assert_eq!(kind(b.salvage_complete("a", None)), ErrorKind::NotFound);
    assert!(b.salvage(&SalvageFilter::default()).unwrap().items.is_empty());
}

#[test]
fn abandoned_work_is_open_again_and_dismissed_work_is_not() {
    let store = TempStore::running();
    killed(&store, &store.dir("work"));
    let (a, b) = (store.open("a"), store.open("b"));
    a.salvage_claim("db").unwrap();
    let given_back = a.salvage_abandon("db").unwrap();
    assert_eq!(given_back.state, SalvageState::Open);
    assert_eq!(given_back.sessions[0].session.agent, "db");
    assert_eq!(b.salvage(&SalvageFilter::default()).unwrap().items.len(), 1);
    b.salvage_claim("db").unwrap();
    b.salvage_abandon("db").unwrap();
    let dismissed = a.salvage_dismiss("db").unwrap();
    assert_eq!(dismissed.state, SalvageState::Dismissed);
    assert_eq!(dismissed.sessions[0].session.status, SessionStatus::Abandoned);
    assert!(dismissed.claims.is_empty());
    assert_eq!(kind(b.salvage_claim("db")), ErrorKind::NotSalvageable);
    // The files are free again.
    let files = vec![store.dir("work").join("migrations/*").display().to_string()];
    b.start_session(&NewSession { purpose: "anew".into(), ..Default::default() }).unwrap();
    let claimed = b.claim_files(&ClaimFiles { files, ..Default::default() }).unwrap();
    assert!(claimed.conflicts.is_empty() && claimed.dead_overlaps.is_empty(), "{claimed:?}");
}

#[test]
fn a_claimer_that_leaves_gives_back_what_it_has_not_completed() {
    let store = TempStore::running();
    killed(&store, &store.dir("work"));
    let (leaver, quitter, last) = (store.shell("leaver"), store.open("quitter"), store.open("last"));
    for heir in [&leaver, &quitter] {
        heir.start_session(&NewSession { purpose: "its own".into(), ..Default::default() }).unwrap();
        assert_eq!(heir.salvage_claim("db").unwrap().sessions.len(), 1);
        assert!(last.salvage(&SalvageFilter::default()).unwrap().items.is_empty());
        match heir.caller().agent.as_deref() {
            // Its own work is done; the other's isn't.
            Some("leaver") => assert_eq!(heir.leave().unwrap().len(), 1),
            _ => drop(heir.unregister_agent().unwrap()),
        }
        let items = last.salvage(&SalvageFilter::default()).unwrap().items;
        let of: Vec<_> = items.iter().map(|i| (i.agent.as_str(), i.state, i.claims.len())).collect();
        assert_eq!(of, [("db", SalvageState::Open, 1)]);
    }
    last.salvage_claim("db").unwrap();
    last.salvage_complete("db", None).unwrap();
    assert_eq!(last.leave().unwrap().len(), 0);
    assert!(leaver.salvage(&SalvageFilter { all: true, ..Default::default() }).unwrap().items.is_empty());
}

#[test]
fn a_claimer_that_dies_leaves_what_it_inherited() {
    let store = TempStore::running();
    killed(&store, &store.dir("work"));
    let mut heir = store.child(CHILD, "take db", "heir");
    assert_eq!(heir.said(), "ready");
    heir.go();
    assert_eq!(heir.said(), "won 1");
    heir.kill();
    let last = store.open("last");
    let list = last.salvage(&SalvageFilter { project: Some("payments".into()), all: true }).unwrap();
    let open: Vec<&str> =
        list.items.iter().filter(|i| i.state == SalvageState::Open).map(|i| i.agent.as_str()).collect();
    assert_eq!(open, ["heir"]);
    let taken = last.salvage_claim("heir").unwrap();
    assert_eq!(taken.sessions[0].purpose, "Schema for payments");
    assert_eq!(kind(last.salvage_complete("db", None)), ErrorKind::NotFound);
    last.salvage_complete("heir", None).unwrap();
    let done = SessionFilter { all: true, status: Some(SessionStatus::Completed), ..Default::default() };
    assert_eq!(last.sessions(&done).unwrap().sessions.len(), 1);
}

#[test]
fn an_agent_that_comes_back_goes_on_or_is_told_once() {
    let store = TempStore::running();
    let dir = store.dir("work");
    killed(&store, &dir);
    let heir = store.open("heir");
    assert_eq!(heir.salvage(&SalvageFilter::default()).unwrap().items.len(), 1);
    // The same agent starts again: its work is its own.
    let again = store.open("db");
    again.note(&NewNote { text: "back".into(), ..Default::default() }).unwrap();
    assert!(again.take_notices().is_empty());
    assert!(heir.salvage(&SalvageFilter::default()).unwrap().items.is_empty());
    assert_eq!(kind(heir.salvage_claim("db")), ErrorKind::NotSalvageable);
    again.end_session(&EndSession::default()).unwrap();
    again.close();

    killed(&store, &dir);
    heir.salvage_claim("db").unwrap();
    let again = store.open("db");
    again.heartbeat().unwrap();
    let told = again.take_notices();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("your work was salvaged by heir"), "{told:?}");
    again.heartbeat().unwrap();
    assert!(again.take_notices().is_empty());
    // Given back, it goes to the agent that lives.
    let given_back = heir.salvage_abandon("db").unwrap();
    assert_eq!(given_back.state, SalvageState::Returned);
    assert_eq!(given_back.sessions[0].session.agent, "db");
    assert!(heir.salvage(&SalvageFilter::default()).unwrap().items.is_empty());
}
