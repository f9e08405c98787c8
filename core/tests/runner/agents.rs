//! Agents: what they say of themselves, what proves their lives, and what becomes of those that die.

use portdaddy_core::{
    Agent, AgentFilter, AgentState, Coordinator, ErrorKind, LockOptions, NewNote, NewSession, ProofKind, Registration,
    ScopeChoice, SessionFilter, SessionStatus, Source,
};
use portdaddy_testutil::{Process, Role, TempStore};

const CHILD: &str = "agents::child";
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// What a child does: begins a session, takes the lock `role.name`, and waits to be killed or let go.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let pd = role.open();
    pd.start_session(&NewSession { purpose: "work".into(), ..Default::default() }).unwrap();
    let lock = pd.lock(&role.name, &now_or_never()).unwrap().unwrap();
    role.say("working");
    role.barrier();
    drop(lock);
    pd.close();
    role.say("closed");
    role.barrier();
}

/// An agent in a process of its own, at work.
fn working(store: &TempStore, agent: &str, lock: &str) -> Process {
    let mut process = store.child(CHILD, lock, agent);
    assert_eq!(process.said(), "working");
    process
}

fn now_or_never() -> LockOptions {
    LockOptions { blocking: false, ..Default::default() }
}

fn note(pd: &Coordinator) {
    pd.note(&NewNote { text: "x".into(), ..Default::default() }).unwrap();
}

fn listed(pd: &Coordinator, filter: &AgentFilter) -> Vec<String> {
    pd.agents(filter).unwrap().agents.into_iter().map(|a| a.id).collect()
}

/// How an agent does, as a list shows it, which agrees with a look at it alone.
fn seen(pd: &Coordinator, id: &str) -> Agent {
    let all = pd.agents(&AgentFilter { all: true, ..Default::default() }).unwrap().agents;
    let listed = all.into_iter().find(|a| a.id == id).unwrap();
    assert_eq!(listed.state, pd.agent(id).unwrap().state);
    listed
}

#[test]
fn what_an_agent_says_of_itself_is_kept_until_it_says_otherwise() {
    let store = TempStore::new();
    let (pd, other) = (store.open("a"), store.open("b"));
    let first = pd
        .register_agent(&Registration {
            name: Some("Backend Agent".into()),
            identity: Some("payments:api".into()),
            purpose: Some("builds".into()),
            kind: Some("ai".into()),
        })
        .unwrap();
    assert_eq!((first.state, first.display_name()), (AgentState::Active, "Backend Agent"));
    store.clock().advance(MINUTE);
    pd.register_agent(&Registration { purpose: Some("tests".into()), ..Default::default() }).unwrap();
    let seen = other.agent("a").unwrap();
    assert_eq!((seen.name.as_deref(), seen.identity.as_deref()), (Some("Backend Agent"), Some("payments:api")));
    assert_eq!((seen.purpose.as_deref(), seen.kind.as_str()), (Some("tests"), "ai"));
    assert_eq!((seen.registered_ms, seen.seen_ms), (first.registered_ms, first.seen_ms + MINUTE));
    assert!(matches!(&seen.proofs[..], [p] if p.kind == ProofKind::Instance && p.this_boot), "{:?}", seen.proofs);

    for bad in [
        Registration { name: Some("x".repeat(129)), ..Default::default() },
        Registration { identity: Some("a:b:c:d".into()), ..Default::default() },
        Registration { identity: Some("pay*".into()), ..Default::default() },
        Registration { purpose: Some("x".repeat(4097)), ..Default::default() },
        Registration { kind: Some("x".repeat(65)), ..Default::default() },
    ] {
        assert_eq!(other.register_agent(&bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert_eq!(pd.agent("b").unwrap_err().kind(), ErrorKind::NotFound, "nothing of it is stored");
    assert_eq!(pd.agent("a b").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn silence_alone_makes_stale_and_then_dead() {
    let store = TempStore::new();
    let (pd, looker) = (store.shell("quiet"), store.open("looker"));
    note(&pd);
    let clock = store.clock();
    clock.advance(5 * MINUTE - 1);
    assert_eq!(seen(&looker, "quiet").state, AgentState::Active);
    clock.advance(1);
    assert_eq!(seen(&looker, "quiet").state, AgentState::Stale);
    clock.advance(25 * MINUTE - 1);
    assert_eq!(seen(&looker, "quiet").state, AgentState::Stale);
    clock.advance(1);
    let dead = seen(&looker, "quiet");
    assert_eq!((dead.state, dead.death.as_deref()), (AgentState::Dead, Some("silent for 30 min")));
    assert!(dead.unfinished && dead.died_ms.is_some());
    // A call shows that it was not so.
    note(&pd);
    let back = seen(&looker, "quiet");
    assert_eq!((back.state, back.death, back.died_ms), (AgentState::Active, None, None));
    assert!(pd.take_notices().is_empty(), "nobody took its work: nothing to tell");
}

#[test]
fn any_call_is_a_sign_of_life() {
    let store = TempStore::new();
    let (pd, looker) = (store.shell("a"), store.open("looker"));
    for _ in 0..10 {
        note(&pd);
        store.clock().advance(4 * MINUTE);
        assert_eq!(seen(&looker, "a").state, AgentState::Active);
    }
}

#[test]
fn a_heartbeat_is_a_promise() {
    let store = TempStore::new();
    let (pd, looker) = (store.shell("a"), store.open("looker"));
    let clock = store.clock();
    for _ in 0..5 {
        assert_eq!(pd.heartbeat().unwrap().state, AgentState::Active);
        clock.advance(2 * MINUTE - 1);
        assert_eq!(seen(&looker, "a").state, AgentState::Active);
        clock.advance(1);
        assert_eq!(seen(&looker, "a").state, AgentState::Stale);
    }
    clock.advance(3 * MINUTE - 1);
    assert_eq!(seen(&looker, "a").state, AgentState::Stale);
    clock.advance(1);
    let dead = seen(&looker, "a");
    assert_eq!((dead.state, dead.death.as_deref()), (AgentState::Dead, Some("silent for 5 min")));
    // A program's handle vouches for its agent whatever it promised.
    let program = store.open("program");
    program.heartbeat().unwrap();
    clock.advance(600 * MINUTE);
    assert_eq!(seen(&looker, "program").state, AgentState::Stale);
}

#[test]
fn a_machine_that_sleeps_kills_nobody() {
    let store = TempStore::new();
    let (silent, promised, looker) = (store.shell("silent"), store.shell("promised"), store.open("looker"));
    note(&silent);
    promised.heartbeat().unwrap();
    store.clock().advance(MINUTE);
    store.clock().sleep(72 * 60 * MINUTE);
    for id in ["silent", "promised"] {
        let agent = seen(&looker, id);
        assert_eq!((agent.state, agent.silent_ms), (AgentState::Active, MINUTE), "{id}");
    }
    store.clock().advance(4 * MINUTE);
    assert_eq!(seen(&looker, "promised").state, AgentState::Dead);
}

#[test]
fn a_killed_program_is_found_dead_at_once_with_the_proof() {
    let store = TempStore::running();
    let looker = store.open("looker");
    let mut process = working(&store, "builder", "m");
    assert_eq!(seen(&looker, "builder").state, AgentState::Active);
    #[cfg(unix)]
    {
        process.stop();
        assert_eq!(seen(&looker, "builder").state, AgentState::Active, "a stopped process isn't dead");
        process.resume();
    }
    let pid = process.pid();
    process.kill();
    let dead = &looker.agents(&AgentFilter::default()).unwrap().agents[..];
    let [dead] = dead else { panic!("{dead:?}") };
    assert_eq!((dead.id.as_str(), dead.state, dead.unfinished), ("builder", AgentState::Dead, true));
    let proof = dead.death.as_deref().unwrap();
    assert!(proof.starts_with(&format!("process {pid} (")) && proof.ends_with("is gone"), "{proof}");
    assert!(looker.lock("m", &now_or_never()).unwrap().is_some(), "its lock is free");
}

#[test]
fn an_orderly_close_is_no_death() {
    let store = TempStore::running();
    let looker = store.open("looker");
    let mut process = working(&store, "builder", "m");
    process.go();
    assert_eq!(process.said(), "closed");
    process.kill();
    let agent = seen(&looker, "builder");
    assert_eq!((agent.state, agent.proofs.len(), agent.active_sessions), (AgentState::Active, 0, 1));
}

#[test]
fn of_two_instances_of_an_agent_one_may_die() {
    let store = TempStore::running();
    let looker = store.open("looker");
    let mut survivor = working(&store, "twin", "kept");
    let mut victim = working(&store, "twin", "freed");
    victim.kill();
    assert_eq!(seen(&looker, "twin").state, AgentState::Active);
    assert!(looker.lock("kept", &now_or_never()).unwrap().is_none());
    let freed = looker.lock("freed", &now_or_never()).unwrap();
    assert!(freed.is_some(), "the dead instance's lock is free");
    // The one that lived to close in order had the last word.
    survivor.go();
    assert_eq!(survivor.said(), "closed");
    let agent = seen(&looker, "twin");
    assert_eq!(agent.state, AgentState::Active, "{agent:?}");
}

#[test]
fn who_comes_back_goes_on_unless_its_work_was_taken() {
    let store = TempStore::new();
    let (pd, heir) = (store.shell("a"), store.open("heir"));
    note(&pd);
    store.clock().advance(31 * MINUTE);
    assert_eq!(seen(&heir, "a").state, AgentState::Dead);
    note(&pd);
    assert_eq!(heir.salvage_claim("a").unwrap_err().kind(), ErrorKind::NotSalvageable);
    store.clock().advance(31 * MINUTE);
    heir.salvage_claim("a").unwrap();
    note(&pd);
    let told = pd.take_notices();
    assert!(matches!(&told[..], [one] if one.contains("salvaged by heir")), "{told:?}");
    note(&pd);
    assert!(pd.take_notices().is_empty(), "it is told once");
    assert_eq!(seen(&heir, "a").state, AgentState::Active);
    // The next time it is another death.
    store.clock().advance(31 * MINUTE);
    assert_eq!(seen(&heir, "a").state, AgentState::Dead);
    note(&pd);
    assert!(pd.take_notices().is_empty());
}

#[test]
fn who_leaves_leaves_nothing_behind() {
    let store = TempStore::new();
    let (pd, shell, looker) = (store.open("a"), store.shell("a"), store.open("looker"));
    assert_eq!(pd.unregister_agent().unwrap_err().kind(), ErrorKind::NotFound);
    let files = vec!["src/*".to_owned()];
    pd.start_session(&NewSession { purpose: "p".into(), files, ..Default::default() }).unwrap();
    shell.lock("m", &now_or_never()).unwrap().unwrap().leave();
    let guarded = pd.lock("n", &now_or_never()).unwrap().unwrap();
    let left = pd.unregister_agent().unwrap();
    assert_eq!((left.state, left.active_sessions), (AgentState::Left, 0));
    assert!(looker.lock_info("m").unwrap().is_none());
    assert!(looker.lock_info("n").unwrap().is_some(), "what a program runs under a guard isn't cut short");
    guarded.release().unwrap();
    assert!(looker.who_owns("src/a.rs").unwrap().owners.is_empty());
    let ended = looker.sessions(&SessionFilter { all: true, ..Default::default() }).unwrap().sessions;
    assert!(matches!(&ended[..], [one] if one.status == SessionStatus::Abandoned), "{ended:?}");
    assert!(looker.salvage(&Default::default()).unwrap().items.is_empty(), "it said goodbye: nothing to salvage");
    assert_eq!(listed(&looker, &AgentFilter::default()), Vec::<String>::new());
    assert_eq!(listed(&looker, &AgentFilter { left: true, ..Default::default() }), ["a"]);
    store.clock().advance(1000 * MINUTE);
    assert_eq!(looker.agent("a").unwrap().state, AgentState::Left, "who left doesn't die");
    note(&pd);
    let back = seen(&looker, "a");
    assert_eq!((back.state, back.proofs.len()), (AgentState::Active, 1), "its handle vouches for it again");
}

#[test]
fn agents_are_listed_by_scope_and_project() {
    let store = TempStore::new();
    let (shop, blog) = (store.repository("shop"), store.repository("blog"));
    for (id, dir, identity) in
        [("web", &shop, "payments:web"), ("api", &shop, "payments:api"), ("post", &blog, "blog"), ("odd", &blog, "pay")]
    {
        let pd = store.open_in(id, dir);
        pd.register_agent(&Registration { identity: Some(identity.into()), ..Default::default() }).unwrap();
        store.clock().advance(SECOND);
    }
    // Closed handles: their agents fall back on silence, which is short.
    let looker = store.open_in("looker", &shop);
    let here = looker.agents(&AgentFilter::default()).unwrap();
    assert_eq!(here.agents.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(here.elsewhere, 2);
    let all = looker.agents(&AgentFilter { all: true, ..Default::default() }).unwrap();
    assert_eq!((all.agents.len(), all.elsewhere), (4, 0));
    let project = |p: &str, all| {
        let list = looker.agents(&AgentFilter { project: Some(p.into()), all, ..Default::default() }).unwrap();
        (list.agents.len(), list.elsewhere)
    };
    assert_eq!((project("payments", false), project("blog", false), project("blog", true)), ((2, 0), (0, 1), (1, 0)));
    assert_eq!(project("pay", true), (1, 0), "a project is a whole segment");
    // Whoever works in a scope is seen there, wherever it last called from.
    let web = Coordinator::open(store.options().agent("web").cwd(&shop)).unwrap();
    web.start_session(&NewSession { purpose: "p".into(), ..Default::default() }).unwrap();
    let elsewhere = store.options().agent("web").scope(ScopeChoice::Named("other".into()));
    Coordinator::open(elsewhere).unwrap().heartbeat().unwrap();
    assert!(listed(&looker, &AgentFilter::default()).contains(&"web".to_owned()));
}

#[test]
fn each_program_without_a_name_is_an_agent_of_its_own() {
    let store = TempStore::new();
    let (one, other) = (Coordinator::open(store.options()).unwrap(), Coordinator::open(store.options()).unwrap());
    let id = |pd: &Coordinator| pd.caller().agent.clone().unwrap();
    assert!(id(&one).starts_with("sdk-") && id(&one) != id(&other));
    assert_eq!(one.caller().source, Source::Instance);
    note(&one);
    assert_eq!(one.agent(&id(&one)).unwrap().kind, "sdk");
    assert!(one.lock("m", &now_or_never()).unwrap().is_some_and(|l| l.info().unwrap().agent == id(&one)));
    let held = one.lock("n", &now_or_never()).unwrap().unwrap();
    assert!(other.lock("n", &now_or_never()).unwrap().is_none());
    held.release().unwrap();
    // A command without a name is nobody, and says how to be somebody.
    let nobody = Coordinator::open(store.options().face(portdaddy_core::Face::Shell)).unwrap();
    let e = nobody.heartbeat().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoAgent);
    assert!(e.next_step().unwrap().contains("PORT_DADDY_AGENT"), "{e:?}");
}

#[test]
fn a_command_that_only_looks_is_a_sign_of_life() {
    let store = TempStore::new();
    let looker = store.open("looker");
    note(&store.shell("a"));
    for _ in 0..4 {
        store.clock().advance(20 * MINUTE);
        store.shell("a").notes(&portdaddy_core::NoteFilter::default()).unwrap();
        assert_eq!(seen(&looker, "a").state, AgentState::Active);
    }
    store.shell("stranger").notes(&portdaddy_core::NoteFilter::default()).unwrap();
    assert_eq!(looker.agent("stranger").unwrap_err().kind(), ErrorKind::NotFound, "looking registers nobody");
}
