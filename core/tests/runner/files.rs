//! File claims: what is claimed, what meets, and whose a path is.

use std::fs;
use std::path::Path;

use portdaddy_core::{
    AgentState, ClaimFiles, ClaimFilter, ClaimedFiles, Conflict, Coordinator, ErrorKind, NewSession, Registration,
    StartedSession,
};
use portdaddy_testutil::{Process, Role, TempStore, git};

fn start(pd: &Coordinator, purpose: &str, files: &[&str]) -> StartedSession {
    let files = files.iter().map(|f| (*f).to_owned()).collect();
    pd.start_session(&NewSession { purpose: purpose.into(), files, ..Default::default() }).unwrap()
}

fn claim(pd: &Coordinator, files: &[&str], force: bool) -> ClaimedFiles {
    let files = files.iter().map(|f| (*f).to_owned()).collect();
    pd.claim_files(&ClaimFiles { files, force, session: None }).unwrap()
}

fn patterns(claims: &[portdaddy_core::FileClaim]) -> Vec<&str> {
    claims.iter().map(|c| c.pattern.as_str()).collect()
}

fn write(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

#[test]
fn the_day_of_the_tutorial() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    write(&repo, "src/middleware/auth.ts");
    let backend = store.open_in("backend", &repo);
    backend.register_agent(&Registration { name: Some("Backend Agent".into()), ..Default::default() }).unwrap();
    let first = start(
        &backend,
        "Building payment API",
        &["src/api/payments/*", "src/types/Payment.ts", "src/middleware/auth.ts"],
    );
    assert_eq!(first.claimed.len(), 3);

    let oauth = store.open_in("oauth", &repo);
    let second = start(&oauth, "OAuth integration", &["src/middleware/auth.ts", "src/oauth/*"]);
    assert_eq!(patterns(&second.claimed), ["src/oauth/*"]);
    let [conflict] = &second.conflicts[..] else { panic!("{:?}", second.conflicts) };
    assert_eq!(conflict.pattern, "src/middleware/auth.ts");
    assert_eq!((&conflict.with.session, conflict.with.agent_name.as_str()), (&first.session.id, "Backend Agent"));
    assert_eq!(conflict.session_purpose, "Building payment API");
    assert_eq!((conflict.witness.as_str(), conflict.exists), ("src/middleware/auth.ts", true));
    assert_eq!((conflict.same_worktree, conflict.holder_state), (true, AgentState::Active));

    let forced = claim(&oauth, &["src/middleware/auth.ts", "src/free.ts"], true);
    assert_eq!(forced.conflicts.len(), 1);
    assert_eq!(forced.claimed.iter().map(|c| c.forced).collect::<Vec<_>>(), [true, false]);
    // Again: nothing changes, and nothing is asked again.
    let again = claim(&oauth, &["src/middleware/auth.ts", "./src//free.ts"], false);
    assert_eq!((again.claimed.len(), again.conflicts.len()), (2, 0));
    assert_eq!(oauth.file_claims(&ClaimFilter::default()).unwrap().claims.len(), 6);
}

#[test]
fn patterns_meet_patterns_both_ways_with_a_witness_that_exists() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    write(&repo, "src/auth/login.test.ts");
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo));
    start(&a, "Tests", &["src/**/*.test.ts"]);
    let found = start(&b, "Auth", &["src/auth/**", "src/b/*.rs"]);
    let [conflict] = &found.conflicts[..] else { panic!("{:?}", found.conflicts) };
    assert_eq!((conflict.witness.as_str(), conflict.exists), ("src/auth/login.test.ts", true));
    assert_eq!(patterns(&found.claimed), ["src/b/*.rs"]);
    let back = claim(&a, &["src"], false);
    assert_eq!(back.conflicts[0].with.pattern, "src/b/*.rs");
    assert!(!back.conflicts[0].exists);
}

#[test]
fn lines_meet_only_where_they_overlap() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo));
    start(&a, "Top", &["f.rs:10-50"]);
    let found = start(&b, "Rest", &["f.rs:51-60", "f.rs#L50", "f.rs"]);
    assert_eq!(found.claimed.len(), 1);
    assert_eq!(found.conflicts.iter().map(|c| c.lines.map(|l| l.first)).collect::<Vec<_>>(), [Some(50), None]);
}

#[test]
fn input_is_relative_to_the_directory_and_a_file_that_exists_is_meant_as_it_is() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    write(&repo, "app/[id]/page.tsx");
    write(&repo, "app/i/page.tsx");
    let a = store.open_in("a", &repo.join("app"));
    let claimed = start(&a, "x", &["[id]/page.tsx", "./api/../web/", repo.join("abs/*.ts").to_str().unwrap()]).claimed;
    assert_eq!(patterns(&claimed), ["app/\\[id]/page.tsx", "app/web", "abs/*.ts"]);
    assert_eq!(claimed[0].root, repo.to_str().unwrap());
    assert_eq!(a.who_owns("[id]/page.tsx").unwrap().owners.len(), 1);
    assert_eq!(a.who_owns("i/page.tsx").unwrap().owners.len(), 0);
    let outside = a.claim_files(&ClaimFiles { files: vec!["../../other".into()], ..Default::default() });
    assert_eq!(outside.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn another_working_tree_is_a_merge_ahead() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    // Inside the first one, as coding agents like to put them.
    git(&repo, &["worktree", "add", "-q", "trees/two", "-b", "two"]);
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo.join("trees/two")));
    start(&a, "One", &["src/**"]);
    let found = start(&b, "Two", &["src/x.rs"]);
    assert_eq!((found.conflicts.len(), found.conflicts[0].same_worktree), (1, false));
    // What the outer one claims of the inner by its path is the same file.
    claim(&a, &["trees/two/docs"], false);
    let found = claim(&b, &["docs/a.md"], false);
    assert_eq!((found.conflicts.len(), found.conflicts[0].same_worktree), (1, true));
    assert_eq!(found.conflicts[0].witness, "docs/a.md");
}

#[test]
fn claims_meet_on_disk_across_repositories_and_outside() {
    let store = TempStore::new();
    let outer = store.repository("outer");
    let inner = store.repository("outer/vendor/lib");
    write(&inner, "src/a.rs");
    let (top, low, out) = (store.open_in("top", &outer), store.open_in("low", &inner), store.open("out"));
    start(&low, "Inner", &["src/a.rs"]);
    let found = start(&top, "Outer", &["vendor/**", "docs"]);
    let [conflict] = &found.conflicts[..] else { panic!("{:?}", found.conflicts) };
    assert_eq!((conflict.witness.as_str(), conflict.exists), ("vendor/lib/src/a.rs", true));
    assert!(conflict.same_worktree);
    // Outside any repository, by the path from the root of the disk.
    let found = start(&out, "All", &["outer/docs/x"]);
    assert_eq!(found.conflicts[0].with.pattern, "docs");
    assert!(found.conflicts[0].witness.ends_with("/outer/docs/x"), "{}", found.conflicts[0].witness);
    // And from inside, what only the absolute path tells.
    claim(&top, &["docs"], false);
    claim(&out, &["outer/vendor/lib/tests"], false);
    let found = claim(&low, &["tests/t.rs"], false);
    assert_eq!(found.conflicts[0].witness, "tests/t.rs");
}

#[test]
fn the_dead_block_nobody_and_the_ended_are_gone() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let dead = store.shell_in("dead", &repo);
    start(&dead, "Unfinished", &["src"]);
    let b = store.open_in("b", &repo);
    assert_eq!(start(&b, "Too early", &["src/a"]).conflicts.len(), 1);
    store.clock().advance(31 * 60_000);
    let owners = b.who_owns("src/a").unwrap().owners;
    assert_eq!((owners.len(), owners[0].state), (1, AgentState::Dead));
    let found = claim(&b, &["src/a", "src/b"], false);
    assert_eq!((found.claimed.len(), found.conflicts.len(), found.dead_overlaps.len()), (2, 0, 2));
    assert_eq!(found.dead_overlaps[0].holder_state, AgentState::Dead);
    assert!(!found.claimed[0].forced);
    b.done(None).unwrap();
    assert_eq!(start(&store.open_in("c", &repo), "Next", &["src/a"]).dead_overlaps.len(), 1);
    assert_eq!(b.who_owns("src/b").unwrap().owners.len(), 1, "only the dead one's");
}

#[test]
fn one_agents_sessions_meet_as_well() {
    let store = TempStore::new();
    let a = store.open_in("a", &store.repository("shop"));
    start(&a, "One", &["src"]);
    assert_eq!(start(&a, "Two", &["src/x"]).conflicts.len(), 1);
}

#[test]
fn releasing_is_exact() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo));
    start(&a, "Work", &["src/*", "f.rs:1-5", "f.rs:8", "docs"]);
    let e = a.release_files(&["src/*".into(), "nothing".into()], None).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let names = |list: Vec<portdaddy_core::FileClaim>| patterns(&list).join(" ");
    assert_eq!(names(a.release_files(&["./src/*".into(), "f.rs:8".into()], None).unwrap()), "src/* f.rs");
    assert_eq!(names(a.release_files(&["f.rs".into()], None).unwrap()), "f.rs");
    assert_eq!(names(a.release_files(&[], None).unwrap()), "docs");
    assert_eq!(names(a.release_files(&[], None).unwrap()), "");
    assert_eq!(start(&b, "Free", &["src/x", "docs"]).conflicts.len(), 0);
    let not_mine = b.release_files(&[], Some(&a.whoami().unwrap().session.unwrap().id));
    assert_eq!(not_mine.unwrap_err().kind(), ErrorKind::NotOwner);
}

#[test]
fn a_path_has_owners_above_it_and_a_directory_those_below() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    write(&repo, "src/api/a.ts");
    let (a, b, c) = (store.open_in("a", &repo), store.open_in("b", &repo), store.open("c"));
    start(&a, "Api", &["src/api/*"]);
    start(&b, "Rust", &[]);
    claim(&b, &["**/*.rs"], true);
    let who = |path: &str| a.who_owns(path).unwrap().owners.iter().map(|o| o.claim.agent.clone()).collect::<String>();
    assert_eq!(who("src/api/a.ts"), "a");
    assert_eq!(who("src/api/a.rs"), "ab");
    assert_eq!(who("src"), "ab");
    assert_eq!(who("README.md"), "");
    let all = c.who_owns("shop/src/api/new.rs").unwrap();
    assert_eq!(all.owners.len(), 2);
    assert_eq!(all.owners[0].purpose, "Api");
}

#[test]
fn lists_see_their_scope() {
    let store = TempStore::new();
    let (shop, blog) = (store.repository("shop"), store.repository("blog"));
    let (a, b) = (store.open_in("a", &shop), store.open_in("b", &blog));
    let id = start(&a, "A", &["x", "y"]).session.id;
    start(&b, "B", &["z"]);
    let list = |filter: ClaimFilter| {
        let list = b.file_claims(&filter).unwrap();
        (patterns(&list.claims).join(" "), list.elsewhere)
    };
    assert_eq!(list(ClaimFilter::default()), ("z".into(), 2));
    assert_eq!(list(ClaimFilter { all: true, ..Default::default() }), ("x y z".into(), 0));
    assert_eq!(list(ClaimFilter { session: Some(id), ..Default::default() }), ("x y".into(), 0));
    assert_eq!(list(ClaimFilter { agent: Some("a".into()), ..Default::default() }), (String::new(), 2));
}

#[test]
fn a_thousand_patterns_in_one_call() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo));
    let many: Vec<String> = (0..1000).map(|i| format!("src/m{}/f{i}.rs", i % 50)).collect();
    let files: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(start(&a, "All", &files).claimed.len(), 1000);
    let found = start(&b, "Everything", &["**", "src/m1/*"]);
    assert_eq!((found.claimed.len(), found.conflicts.len()), (0, 1001));
    assert_eq!(claim(&b, &files, false).claimed.len(), 0);
}

#[test]
fn of_those_who_claim_at_once_one_is_first() {
    let store = TempStore::new();
    let repo = store.repository("shop");
    for round in 0..10 {
        let agents: Vec<Coordinator> = (0..4).map(|i| store.open_in(&format!("a{i}"), &repo)).collect();
        let barrier = std::sync::Barrier::new(agents.len());
        let pattern = format!("r{round}/**/*.ts");
        let conflicts: Vec<usize> = std::thread::scope(|scope| {
            let claims: Vec<_> = agents
                .iter()
                .map(|pd| {
                    scope.spawn(|| {
                        barrier.wait();
                        start(pd, "Race", &[&pattern]).conflicts.len()
                    })
                })
                .collect();
            claims.into_iter().map(|claim| claim.join().unwrap()).collect()
        });
        // The others' claims are refused, so each of them meets the first one's and no other.
        assert_eq!(conflicts.iter().filter(|n| **n == 0).count(), 1, "{conflicts:?}");
        assert_eq!(conflicts.iter().sum::<usize>(), 3, "{conflicts:?}");
    }
}

#[test]
fn a_claimed_file_has_nothing_below_it() {
    let store = TempStore::new();
    let repo = store.repository("repo");
    std::fs::create_dir_all(repo.join("src/lib")).unwrap();
    std::fs::write(repo.join("src/main"), "").unwrap();
    let (a, b) = (store.open_in("a", &repo), store.open_in("b", &repo));
    // A file, a directory, a file and a directory that aren't there yet.
    let files = ["src/main", "src/lib", "src/new.ts", "later"].map(str::to_owned).to_vec();
    a.start_session(&NewSession { purpose: "p".into(), files, ..NewSession::default() }).unwrap();
    let session = NewSession { purpose: "q".into(), ..NewSession::default() };
    b.start_session(&session).unwrap();
    let meets = |pattern: &str| {
        let claim = ClaimFiles { files: vec![pattern.into()], ..ClaimFiles::default() };
        b.claim_files(&claim).unwrap().conflicts.into_iter().map(|c| c.with.pattern).collect::<Vec<_>>()
    };
    assert_eq!(meets("src/**/*.test.ts"), ["src/lib"]);
    assert_eq!(meets("later/x.ts"), ["later"]);
    assert_eq!(meets("src/new.ts"), ["src/new.ts"]);
    assert_eq!(meets("src/ma*"), ["src/main"]);
}

#[test]
fn of_eight_processes_that_claim_one_file_at_once_one_gets_it() {
    const ME: &str = "files::of_eight_processes_that_claim_one_file_at_once_one_gets_it";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        role.say("ready");
        role.barrier();
        let started = start(&pd, "race", &["src/{a,b}.ts", "own/*"]);
        let met = |c: &Conflict| (c.with.agent.clone(), c.witness.clone());
        let conflicts: Vec<_> =
            started.conflicts.iter().filter(|c| c.pattern.ends_with("src/{a,b}.ts")).map(met).collect();
        role.say(&serde_json::to_string(&(role.agent.as_str(), conflicts)).unwrap());
        role.barrier();
        return;
    }
    let store = TempStore::running();
    let mut children: Vec<Process> = (0..8).map(|n| store.child(ME, "claim", &format!("agent-{n}"))).collect();
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    children.iter_mut().for_each(Process::go);
    let said: Vec<(String, Vec<(String, String)>)> =
        children.iter_mut().map(|c| serde_json::from_str(&c.said()).unwrap()).collect();
    let winners: Vec<&String> = said.iter().filter(|(_, met)| met.is_empty()).map(|(agent, _)| agent).collect();
    assert_eq!(winners.len(), 1, "{said:?}");
    for (agent, met) in said.iter().filter(|(_, met)| !met.is_empty()) {
        assert!(met.len() == 1 && &met[0].0 == winners[0], "{agent} met {met:?}, not {winners:?}");
    }
}
