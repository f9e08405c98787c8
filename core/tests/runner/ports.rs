use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use portdaddy_core::{Cancel, ClaimPort, Coordinator, ErrorKind, PortClaim, Release, ServiceFilter, Wait};

use portdaddy_testutil::{Process, Role, TempStore, git};

const CHILD: &str = "ports::child";

/// What a child does: `claim IDENTITY FIRST-LAST`, `any IDENTITY`, `exactly IDENTITY PORT`, `listen PORT`.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let words: Vec<&str> = role.name.split(' ').collect();
    let pd = role.open();
    match words[..] {
        ["claim", identity, range] => {
            let (first, last) = range.split_once('-').unwrap();
            let range = Some((first.parse().unwrap(), last.parse().unwrap()));
            role.say("ready");
            role.barrier();
            let claim = pd.claim(&ClaimPort { identity: identity.into(), range, ..Default::default() }).unwrap();
            role.say(&claim.port.to_string());
            role.barrier();
        }
        ["any", identity] => role.say(&port_or_error(pd.claim(&claim(identity)))),
        ["exactly", identity, port] => {
            let port = Some(port.parse().unwrap());
            role.say(&port_or_error(pd.claim(&ClaimPort { port, ..claim(identity) })));
        }
        ["listen", port] => {
            role.say("ready");
            role.barrier();
            let _listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
            role.say("listening");
            role.barrier();
        }
        _ => panic!("{words:?}"),
    }
}

fn port_or_error(claimed: portdaddy_core::Result<PortClaim>) -> String {
    claimed.map_or_else(|e| serde_json::to_string(&e).unwrap(), |claim| claim.port.to_string())
}

fn claim(identity: &str) -> ClaimPort {
    ClaimPort { identity: identity.into(), ..Default::default() }
}

/// A port that something listens on as long as the listener lives, with room above it.
fn occupied() -> (TcpListener, u16) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if (2048..65_000).contains(&port) {
            return (listener, port);
        }
    }
}

fn at_once(children: &mut [Process]) -> Vec<u16> {
    for child in children.iter_mut() {
        assert_eq!(child.said(), "ready");
    }
    children.iter_mut().for_each(Process::go);
    children.iter_mut().map(|c| c.said().parse().unwrap()).collect()
}

#[test]
fn sixteen_processes_at_once_get_sixteen_ports_that_nothing_listens_on() {
    let store = TempStore::running();
    let (_listener, first) = occupied();
    let role = |i: u16| format!("claim app{i}:web {first}-{}", first + 300);
    let mut children: Vec<Process> = (0..16).map(|i| store.child(CHILD, &role(i), &format!("agent-{i}"))).collect();
    let ports = at_once(&mut children);
    let different: BTreeSet<u16> = ports.iter().copied().collect();
    assert_eq!(different.len(), 16, "{ports:?}");
    assert!(!different.contains(&first), "{ports:?}");
    assert_eq!(
        store.open("looker").services(&ServiceFilter { all: true, ..Default::default() }).unwrap().services.len(),
        16
    );
}

#[test]
fn sixteen_processes_with_one_identity_get_one_port() {
    let store = TempStore::running();
    let (_listener, first) = occupied();
    let role = format!("claim payments:api {first}-{}", first + 300);
    let mut children: Vec<Process> = (0..16).map(|i| store.child(CHILD, &role, &format!("agent-{i}"))).collect();
    let ports: BTreeSet<u16> = at_once(&mut children).into_iter().collect();
    assert_eq!(ports.len(), 1, "{ports:?}");
}

#[test]
fn an_identity_keeps_its_port_in_its_working_tree() {
    let store = TempStore::running();
    let repository = store.repository("one");
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "first"]);
    let other = store.dir("trees").join("two");
    git(&repository, &["worktree", "add", "-q", other.to_str().unwrap()]);
    let open = |dir: &std::path::Path, agent: &str| Coordinator::open(store.options().agent(agent).cwd(dir)).unwrap();

    let first = open(&repository, "a").claim(&claim("payments:frontend")).unwrap();
    assert!(!first.existing && !first.listening && first.port >= 3100);
    assert_eq!(first.worktree.as_deref(), repository.to_str());
    let again = open(&repository, "b").claim(&claim("payments:frontend")).unwrap();
    assert!(again.existing);
    assert_eq!((again.port, again.agent.as_deref()), (first.port, Some("b")));

    let second = open(&other, "c").claim(&claim("payments:frontend")).unwrap();
    assert!(!second.existing && second.port != first.port);
    let shared = ClaimPort { shared: true, ..claim("payments:frontend") };
    let shared_there = open(&other, "c").claim(&shared).unwrap();
    let shared_here = open(&repository, "a").claim(&shared).unwrap();
    assert_eq!(shared_there.port, shared_here.port);
    assert_eq!(shared_here.worktree, None);

    // What is released is this tree's; a living agent's port elsewhere stays even when all are named.
    let c = open(&other, "c");
    let a = open(&repository, "a");
    a.claim(&claim("payments:frontend")).unwrap();
    c.claim(&claim("payments:frontend")).unwrap();
    let released = a.release("payments:*", &Release::default()).unwrap();
    assert_eq!(released.iter().map(|c| c.port).collect::<Vec<_>>(), [first.port]);
    let e = a.release("payments:*", &Release::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.next_step().unwrap().contains("--all-worktrees"), "{e:?}");
    let released = a.release("payments:*", &Release { all_worktrees: true, ..Default::default() }).unwrap();
    assert_eq!(released.len(), 1, "the shared one, last claimed by the caller: {released:?}");
    let e = a.release("payments:*", &Release { all_worktrees: true, ..Default::default() }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotOwner);
    assert_eq!(c.services(&ServiceFilter::default()).unwrap().services[0].port, second.port);
}

#[test]
fn a_requested_port_is_that_port_or_an_error_that_names_who_has_it() {
    let store = TempStore::running();
    let (listener, port) = occupied();
    // The listener is this process: foreign to the child, our own to us.
    let said = store.child(CHILD, &format!("exactly web {port}"), "b").said();
    let e: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(e["code"], "PORT_TAKEN", "{said}");
    assert_eq!(e["fields"]["pid"], std::process::id());
    assert!(e["message"].as_str().unwrap().contains("runner"), "{said}");

    let a = store.open("a");
    let mine = a.claim(&ClaimPort { port: Some(port), ..claim("api") }).unwrap();
    assert!(mine.listening && !mine.existing);
    assert_eq!(mine.listener.unwrap().pid, std::process::id());
    drop(listener);

    let e = store.open("b").claim(&ClaimPort { port: Some(port), ..claim("web") }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PortTaken);
    assert_eq!(e.fields()["identity"], "api");
    assert_eq!(e.fields()["agent"], "a");

    // A request for another free port moves the assignment.
    let (listener, other) = occupied();
    drop(listener);
    let moved = a.claim(&ClaimPort { port: Some(other), ..claim("api") }).unwrap();
    assert_eq!((moved.port, moved.existing), (other, false));
    assert_eq!(a.services(&ServiceFilter::default()).unwrap().services.len(), 1);
    assert!(a.claim(&ClaimPort { port: Some(other), ..claim("api") }).unwrap().existing);

    for wrong in [
        ClaimPort { port: Some(0), ..claim("x") },
        claim("not an identity"),
        ClaimPort { range: Some((9, 3)), ..claim("x") },
    ] {
        assert_eq!(a.claim(&wrong).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn what_the_dead_left_is_given_away_last_and_the_oldest_first() {
    let store = TempStore::running();
    // Two free ports beside each other. The one before them is held for as long as the test runs, so that another run of it
    // on this machine chooses others.
    let free = |port: u16| TcpListener::bind(("0.0.0.0", port));
    let (_guard, first) = (20_000..30_000)
        .step_by(3)
        .filter_map(|port| Some((free(port).ok()?, port + 1)))
        .find(|(_, first)| free(*first).is_ok() && free(*first + 1).is_ok())
        .unwrap();
    let range = Some((first, first + 1));
    let role = |name: &str| format!("claim {name} {first}-{}", first + 1);
    let mut dead: Vec<(Process, u16)> = Vec::new();
    for name in ["one", "two"] {
        let mut child = store.child(CHILD, &role(name), name);
        let port = at_once(std::slice::from_mut(&mut child))[0];
        dead.push((child, port));
    }
    let pd = store.open("heir");
    let e = pd.claim(&ClaimPort { range, ..claim("third") }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PortsExhausted, "both owners live: {e}");
    assert!(e.message().contains(&first.to_string()), "{e}");

    dead.iter_mut().for_each(|(child, _)| child.kill());
    let given = pd.claim(&ClaimPort { range, ..claim("third") }).unwrap();
    assert_eq!(given.port, dead[0].1);
    let listener = TcpListener::bind(("127.0.0.1", dead[1].1)).unwrap();
    let e = pd.claim(&ClaimPort { range, ..claim("fourth") }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::PortsExhausted, "something listens there: {e}");
    drop(listener);
    assert_eq!(pd.claim(&ClaimPort { range, ..claim("fourth") }).unwrap().port, dead[1].1);
}

#[test]
fn waiting_for_a_service_ends_when_something_listens() {
    let store = TempStore::running();
    let pd = store.open("tester");
    let e = pd.wait_for_service(&["api", "web"], &Wait::at_most(Duration::ZERO)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(e.message().contains("api has no port"), "{e}");
    // One that the kernel gives: another run of these tests, with a database of its own, begins at the same lowest port.
    let (listener, port) = occupied();
    drop(listener);
    let api = pd.claim(&ClaimPort { port: Some(port), ..claim("api") }).unwrap();
    let e = pd.wait_for_service(&["api"], &Wait::at_most(Duration::ZERO)).unwrap_err();
    assert!(e.message().contains(&format!("port {} of api", api.port)), "{e}");
    assert_eq!(e.fields()["missing"], serde_json::json!(["api"]));

    let mut child = store.child(CHILD, &format!("listen {}", api.port), "server");
    assert_eq!(child.said(), "ready");
    let up = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| pd.wait_for_service(&["api"], &Wait::at_most(Duration::from_secs(30))));
        child.go();
        assert_eq!(child.said(), "listening");
        waiting.join().unwrap().unwrap()
    });
    assert!(up[0].listening);
    assert_eq!(up[0].listener.as_ref().unwrap().pid, child.pid());

    let cancel = Cancel::new();
    cancel.cancel();
    let wait = Wait { timeout: None, cancel: Some(cancel) };
    assert_eq!(pd.wait_for_service(&["web"], &wait).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(pd.wait_for_service::<&str>(&[], &wait).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn the_environment_names_the_range() {
    let store = TempStore::running();
    let (_listener, first) = occupied();
    let any = |range: &str| store.child_with(CHILD, "any web", "a", &[("PORT_DADDY_RANGE", range)]).said();
    for wrong in ["80-90", "9000", "9000-8000"] {
        let e: serde_json::Value = serde_json::from_str(&any(wrong)).unwrap();
        assert_eq!((&e["code"], &e["fields"]["variable"]), (&"INVALID".into(), &"PORT_DADDY_RANGE".into()), "{e}");
    }
    let e: serde_json::Value = serde_json::from_str(&any(&format!("{first}-{first}"))).unwrap();
    assert_eq!(e["code"], "PORTS_EXHAUSTED", "something listens on the only one: {e}");
    let port: u16 = any(&format!("{first}-{}", first + 300)).parse().unwrap();
    assert!((first + 1..=first + 300).contains(&port));
    assert_eq!(any("3100-3101"), port.to_string(), "what it has, it keeps");
}
