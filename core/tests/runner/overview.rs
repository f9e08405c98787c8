use std::time::Duration;

use portdaddy_core::{
    AgentState, ClaimFiles, ClaimPort, Coordinator, LockOptions, NewNote, NewSession, OverviewFilter, ScopeChoice, Wait,
};
use portdaddy_testutil::TempStore;

fn session(pd: &Coordinator, purpose: &str, files: &[&str]) {
    let files = files.iter().map(|f| (*f).to_owned()).collect();
    pd.start_session(&NewSession { purpose: purpose.into(), files, force: true, ..Default::default() }).unwrap();
}

#[test]
fn one_look_shows_everything_of_a_scope() {
    let store = TempStore::running();
    let repository = store.repository("shop");
    let (a, b) = (store.open_in("a", &repository), store.open_in("b", &repository));
    session(&a, "A", &["src/api/**", "docs/x.md"]);
    session(&b, "B", &["src/api/pay.ts", "docs/y.md"]);
    let _lock = a.lock("l", &LockOptions::default()).unwrap().unwrap();
    a.claim(&ClaimPort { identity: "api".into(), ..Default::default() }).unwrap();
    b.note(&NewNote { text: "hello".into(), ..Default::default() }).unwrap();
    let elsewhere =
        Coordinator::open(store.options().agent("c").scope(ScopeChoice::Named("elsewhere".into()))).unwrap();
    session(&elsewhere, "C", &[]);

    let seen = a.overview(&OverviewFilter::default()).unwrap();
    let totals = seen.totals;
    assert_eq!((totals.agents, totals.sessions, totals.locks, totals.claims), (2, 2, 1, 4));
    assert_eq!((totals.conflicts, totals.ports), (1, 1));
    let conflict = &seen.conflicts[0];
    assert_eq!((conflict.first.pattern.as_str(), conflict.second.agent.as_str()), ("src/api/**", "b"));
    assert!(conflict.witness == "src/api/pay.ts" && conflict.same_worktree);
    assert_eq!((seen.locks[0].agent.as_str(), seen.notes[0].text.as_str()), ("a", "hello"));
    assert!(seen.activity.windows(2).all(|two| two[0].seq < two[1].seq));
    assert_eq!(seen.status.sessions, 3, "counts are of the whole");
    let all = a.overview(&OverviewFilter { all: true, ..Default::default() }).unwrap();
    assert_eq!((all.totals.agents, all.totals.sessions), (3, 3));
    let one = a.overview(&OverviewFilter { limit: Some(1), ..Default::default() }).unwrap();
    assert_eq!((one.totals, one.agents.len(), one.claims.len(), one.activity.len()), (totals, 1, 1, 1));
    assert_eq!(one.sessions[0].purpose, "B", "the newest");
}

#[test]
fn a_look_writes_nothing_and_buries_the_dead() {
    let store = TempStore::running();
    let pd = store.open("worker");
    session(&pd, "W", &["src/**"]);
    let before = pd.status().unwrap().seq;
    let looker = store.shell("looker");
    let look = || looker.overview(&OverviewFilter::default()).unwrap();
    assert_eq!(look().status.seq, before);
    assert!(look().agents.iter().all(|a| a.id == "worker"), "who looks is no agent");
    let silent = store.shell("silent");
    silent.heartbeat().unwrap();
    session(&silent, "S", &["src/a.ts"]);
    store.clock().advance(3_600_000);
    let seen = look();
    let state = |id: &str| seen.agents.iter().find(|a| a.id == id).unwrap().state;
    assert_eq!(state("silent"), AgentState::Dead);
    assert_eq!((seen.conflicts[0].second_state, seen.status.salvage), (AgentState::Dead, 1));
}

#[test]
fn thousands_of_rows_are_counted_and_cut() {
    let store = TempStore::running();
    let (a, b) = (store.open("a"), store.open("b"));
    for (pd, side) in [(&a, "a"), (&b, "b")] {
        session(pd, side, &[]);
        let files = (0..1_000).map(|n| format!("{}/{n}.ts", if n < 20 { "both" } else { side })).collect();
        pd.claim_files(&ClaimFiles { files, force: true, ..Default::default() }).unwrap();
    }
    let seen = a.overview(&OverviewFilter::default()).unwrap();
    assert_eq!((seen.totals.claims, seen.claims.len()), (2_000, 100));
    assert_eq!((seen.totals.conflicts, seen.conflicts.len()), (20, 20));
    // However many older ones there are, what came last is compared.
    for number in 0..4 {
        let files = (0..1_000).map(|n| format!("c{number}/{n}.ts")).collect();
        b.claim_files(&ClaimFiles { files, force: true, ..Default::default() }).unwrap();
    }
    let seen = a.overview(&OverviewFilter::default()).unwrap();
    assert_eq!((seen.totals.claims, seen.claims.len()), (6_000, 100));
    assert_eq!(seen.totals.conflicts, 0, "the others are too old");
    a.claim_files(&ClaimFiles { files: vec!["c0/7.ts".into(), "c3/**".into()], force: true, ..Default::default() })
        .unwrap();
    let seen = a.overview(&OverviewFilter::default()).unwrap();
    assert_eq!(seen.totals.conflicts, 1_000);
    // Where everything overlaps with everything, the look comes to an end all the same.
    let files = (0..300).map(|n| format!("**/*{n}*")).collect();
    b.claim_files(&ClaimFiles { files, force: true, ..Default::default() }).unwrap();
    let seen = a.overview(&OverviewFilter::default()).unwrap();
    assert!((100..=1_000).contains(&seen.totals.conflicts), "{:?}", seen.totals);
}

#[test]
fn changes_are_told_once_they_are_committed() {
    let store = TempStore::running();
    let (watcher, writer) = (store.open("watcher"), store.open("writer"));
    let mut looks = 0;
    // Each look sees what the last one's callback wrote, without anybody asking again.
    watcher
        .follow_changes(&Wait::at_most(Duration::from_secs(30)), || {
            let notes = watcher.overview(&OverviewFilter::default())?.notes.len();
            if notes == looks {
                looks += 1;
                writer.note(&NewNote { text: format!("{looks}"), ..Default::default() })?;
            }
            Ok(looks < 5)
        })
        .unwrap();
    assert_eq!(looks, 5);
    watcher.follow_changes(&Wait::at_most(Duration::from_millis(1)), || Ok(true)).unwrap();
}
