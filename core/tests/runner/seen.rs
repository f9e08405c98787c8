//! Stale writes, implicit claims, and what an agent is told by itself.

use std::path::Path;

use portdaddy_core::{
    AgentState, ClaimFiles, Coordinator, ErrorKind, Face, NewsFilter, Publish, SalvageFilter, Session, Surroundings,
    ToTell,
};
use portdaddy_testutil::{Process, Role, TempStore};
use serde_json::json;

const FILE: &str = "src/a.rs";

fn write(dir: &Path, text: &str) {
    std::fs::create_dir_all(dir.join("src")).unwrap();
    std::fs::write(dir.join(FILE), text).unwrap();
}

fn stale(pd: &Coordinator) -> Option<String> {
    pd.stale_write(Path::new(FILE)).unwrap().map(|written| written.agent)
}

fn all() -> NewsFilter {
    NewsFilter { overlaps: true, messages: true, signals: Some(0), left_work: true, again: false }
}

#[test]
fn a_write_over_what_another_wrote_since_is_noticed_until_it_is_read() {
    let store = TempStore::new();
    let dir = store.repository("repo");
    let (a, b) = (store.shell_in("a", &dir), store.shell_in("b", &dir));
    write(&dir, "one");
    // Who never saw it has nothing to lose.
    assert_eq!(stale(&a), None);
    a.file_read(Path::new(FILE)).unwrap();
    assert_eq!(stale(&a), None);
    // What nobody recorded is nobody's.
    write(&dir, "by an editor");
    assert_eq!(stale(&a), None);
    write(&dir, "two");
    b.file_written(Path::new(FILE)).unwrap();
    assert_eq!((stale(&a).as_deref(), stale(&b)), (Some("b"), None));
    let written = a.stale_write(Path::new(FILE)).unwrap().unwrap();
    assert_eq!((written.agent_name.as_str(), written.state), ("b", AgentState::Active));
    assert!(written.path.ends_with(FILE));
    // Back to what it saw: nothing is lost.
    write(&dir, "one");
    assert_eq!(stale(&a), None);
    write(&dir, "two");
    assert_eq!(stale(&a).as_deref(), Some("b"));
    a.file_read(Path::new(FILE)).unwrap();
    assert_eq!(stale(&a), None);
    // The newest of several writers is named; a file that is gone is a change, too.
    let c = store.shell_in("c", &dir);
    write(&dir, "three");
    b.file_written(Path::new(FILE)).unwrap();
    std::fs::remove_file(dir.join(FILE)).unwrap();
    c.file_written(Path::new(FILE)).unwrap();
    assert_eq!(stale(&a).as_deref(), Some("c"));
    // Its own write is what it saw last, whoever wrote before.
    write(&dir, "four");
    a.file_written(Path::new(FILE)).unwrap();
    assert_eq!((stale(&a), stale(&b).as_deref(), stale(&c).as_deref()), (None, Some("a"), Some("a")));
    // The same by another name.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&dir, dir.parent().unwrap().join("link")).unwrap();
        let there = store.shell_in("b", &dir.parent().unwrap().join("link/src"));
        assert_eq!(there.stale_write(Path::new("a.rs")).unwrap().map(|w| w.agent).as_deref(), Some("a"));
    }
}

#[test]
fn what_is_no_file_is_refused_and_a_large_one_is_known_by_its_time() {
    let store = TempStore::new();
    let dir = store.dir("plain");
    let (a, b) = (store.shell_in("a", &dir), store.shell_in("b", &dir));
    assert_eq!(a.file_read(&dir).unwrap_err().kind(), ErrorKind::Invalid);
    std::fs::create_dir(dir.join("src")).unwrap();
    let large = std::fs::File::create(dir.join(FILE)).unwrap();
    large.set_len(17 << 20).unwrap();
    a.file_read(Path::new(FILE)).unwrap();
    large.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    b.file_written(Path::new(FILE)).unwrap();
    assert_eq!(stale(&a).as_deref(), Some("b"));
}

#[test]
fn another_process_writes_what_this_one_has_read() {
    const ME: &str = "seen::another_process_writes_what_this_one_has_read";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        let dir = std::path::PathBuf::from(std::env::var("FILE").unwrap());
        pd.file_read(&dir).unwrap();
        role.say("read");
        role.barrier();
        let text = format!("by {}", pd.caller().agent.clone().unwrap());
        std::fs::write(&dir, text).unwrap();
        pd.file_written(&dir).unwrap();
        role.say("written");
        role.barrier();
        let by = pd.stale_write(&dir).unwrap().map(|w| w.agent).unwrap_or_default();
        role.say(&format!("stale {by:?}"));
        return;
    }
    let store = TempStore::running();
    let file = store.dir("shared").join("x");
    std::fs::write(&file, "base").unwrap();
    let variables = [("FILE", file.to_str().unwrap())];
    let mut one = store.child_with(ME, "write", "one", &variables);
    let mut other = store.child_with(ME, "write", "other", &variables);
    for child in [&mut one, &mut other] {
        assert_eq!(child.said(), "read");
    }
    one.go();
    assert_eq!(one.said(), "written");
    other.go();
    assert_eq!(other.said(), "written");
    // The last write stands: its writer is up to date, the first one isn't.
    one.go();
    other.go();
    assert_eq!((one.said(), other.said()), ("stale \"other\"".to_owned(), "stale \"\"".to_owned()));
}

#[test]
fn of_two_who_begin_an_edit_at_once_each_learns_of_the_other() {
    const ME: &str = "seen::of_two_who_begin_an_edit_at_once_each_learns_of_the_other";
    const ROUNDS: usize = 20;
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        role.say("ready");
        for round in 0..ROUNDS {
            role.barrier();
            let edit = pd.begin_edit(&Path::new("/tmp/pd-none").join(round.to_string()), false, "Work").unwrap();
            assert!(edit.claimed);
            let others: Vec<_> = edit.others.iter().map(|o| o.owner.claim.agent.clone()).collect();
            role.say(&serde_json::to_string(&others).unwrap());
        }
        role.barrier();
        let owed: Vec<_> = pd.news(&all()).unwrap().overlaps.into_iter().map(|o| o.pattern).collect();
        role.say(&serde_json::to_string(&owed).unwrap());
        return;
    }
    let store = TempStore::running();
    let mut children: Vec<Process> = ["one", "other"].iter().map(|agent| store.child(ME, "edit", agent)).collect();
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    let mut first = [0; 2];
    for _ in 0..ROUNDS {
        children.iter_mut().for_each(Process::go);
        let found: Vec<Vec<String>> = children.iter_mut().map(|c| serde_json::from_str(&c.said()).unwrap()).collect();
        // Both may find the other's claim; never neither, and whoever didn't is owed it.
        assert!(found.iter().any(|others| !others.is_empty()), "{found:?}");
        for (n, others) in found.iter().enumerate() {
            first[n] += usize::from(others.is_empty());
        }
    }
    children.iter_mut().for_each(Process::go);
    let owed: Vec<Vec<String>> = children.iter_mut().map(|c| serde_json::from_str(&c.said()).unwrap()).collect();
    assert_eq!(owed.iter().map(Vec::len).sum::<usize>(), ROUNDS, "{owed:?}");
    assert!((0..2).all(|n| owed[n].len() >= first[n]), "{owed:?} {first:?}");
    // One session each, however many hooks opened it.
    let looker = store.open("looker");
    assert_eq!(looker.sessions(&Default::default()).unwrap().sessions.len(), 2);
}

#[test]
fn parallel_hooks_of_one_agent_open_one_session() {
    const ME: &str = "seen::parallel_hooks_of_one_agent_open_one_session";
    if let Some(role) = Role::of_this_process() {
        let pd = role.open();
        role.say("ready");
        role.barrier();
        let edit = pd.begin_edit(Path::new(FILE), true, "Work").unwrap();
        role.say(&format!("{} {}", edit.claimed, edit.others.len()));
        return;
    }
    let store = TempStore::running();
    let mut children: Vec<Process> = (0..6).map(|_| store.child(ME, "edit", "same")).collect();
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "ready"));
    children.iter_mut().for_each(Process::go);
    children.iter_mut().for_each(|c| assert_eq!(c.said(), "true 0"));
    let looker = store.open("looker");
    assert_eq!(looker.sessions(&Default::default()).unwrap().sessions.len(), 1);
    assert_eq!(looker.file_claims(&Default::default()).unwrap().claims.len(), 1);
}

#[test]
fn what_was_told_is_told_again_only_when_it_has_changed() {
    let store = TempStore::new();
    let dir = store.repository("repo");
    write(&dir, "one");
    let (a, b) = (store.shell_in("a", &dir), store.shell_in("b", &dir));
    a.begin_edit(Path::new(FILE), false, "First").unwrap();
    let edit = |pd: &Coordinator| {
        let edit = pd.begin_edit(Path::new(FILE), false, "Second").unwrap();
        let news: Vec<ToTell> = edit.others.iter().filter(|o| o.is_news).map(|o| o.to_tell.clone()).collect();
        (edit.others.len(), news)
    };
    let (count, news) = edit(&b);
    assert_eq!((count, news.len()), (1, 1));
    // Nothing is told before it was shown.
    assert_eq!(edit(&b).1, news);
    b.told(&news).unwrap();
    assert_eq!(edit(&b), (1, vec![]));

    let owed = a.news(&all()).unwrap();
    assert_eq!((owed.overlaps.len(), owed.overlaps[0].purpose.as_str()), (1, "Second"));
    assert_eq!(a.news(&all()).unwrap().overlaps.len(), 1);
    a.told(&owed.to_tell()).unwrap();
    assert_eq!(a.news(&all()).unwrap().overlaps.len(), 0);
    // It is the same conflict that the first meets when it edits again.
    assert_eq!(edit(&a), (1, vec![]));
    // Claims that were forced otherwise are told, too.
    let forced = ClaimFiles { files: vec!["src/**".into()], force: true, session: None };
    store.shell_in("c", &dir).begin(&Default::default(), &new("Third")).unwrap();
    store.shell_in("c", &dir).claim_files(&forced).unwrap();
    for pd in [&a, &b] {
        let owed = pd.news(&all()).unwrap();
        assert_eq!((owed.overlaps.len(), owed.overlaps[0].agent.as_str()), (1, "c"));
    }
    // It dies of silence: changed, and left for others.
    store.clock().advance(29 * 60_000);
    a.heartbeat().unwrap();
    store.clock().advance(4 * 60_000);
    assert_eq!(edit(&a).1.len(), 2);
    let left = a.news(&all()).unwrap().left_work;
    assert_eq!(left.iter().map(|l| l.agent.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    a.told(&a.news(&all()).unwrap().to_tell()).unwrap();
    assert_eq!(a.news(&all()).unwrap().left_work.len(), 0);
    assert_eq!(a.news(&NewsFilter { again: true, ..all() }).unwrap().left_work.len(), 2);
    assert_eq!(a.salvage(&SalvageFilter::default()).unwrap().items.len(), 2);
}

fn new(purpose: &str) -> portdaddy_core::NewSession {
    portdaddy_core::NewSession { purpose: purpose.into(), ..Default::default() }
}

#[test]
fn the_newest_signal_of_each_channel_is_told_within_a_day() {
    let store = TempStore::new();
    let (a, b) = (store.shell("a"), store.shell("b"));
    let publish = |channel: &str, payload| b.publish(channel, &payload, &Publish::default()).unwrap();
    publish("old", json!(1));
    store.clock().advance(25 * 3_600_000);
    publish("x", json!(1));
    publish("x", json!({"text": "y".repeat(1_000)}));
    b.publish("brief", &json!(1), &Publish { ttl_ms: Some(1_000), keep: None }).unwrap();
    publish("z", json!(2));
    store.clock().advance(2_000);
    let told = a.news(&all()).unwrap();
    let shown: Vec<_> = told.signals.iter().map(|s| (s.channel.as_str(), s.whole)).collect();
    assert_eq!(shown, [("z", true), ("x", false)]);
    assert_eq!(told.signals[1].payload.chars().count(), 400);
    a.told(&told.to_tell()).unwrap();
    assert_eq!(a.news(&all()).unwrap().signals.len(), 0);
    // One that came late has nothing told, and its own are no news to anyone that sent them.
    assert_eq!(store.shell("late").news(&all()).unwrap().signals.len(), 2);
    assert_eq!(b.news(&all()).unwrap().signals.len(), 0);
    publish("x", json!(3));
    let pause = NewsFilter { signals: Some(60_000), ..NewsFilter::default() };
    assert_eq!(a.news(&pause).unwrap().signals.len(), 0);
    store.clock().advance(60_000);
    assert_eq!(a.news(&pause).unwrap().signals.len(), 1);
}

#[test]
fn the_signals_of_each_scope_are_told_by_themselves() {
    let store = TempStore::new();
    let (one, other) = (store.repository("one"), store.repository("other"));
    let publish = |dir: &Path, channel| {
        store.shell_in("b", dir).publish(channel, &json!(1), &Publish::default()).unwrap();
    };
    publish(&other, "early");
    publish(&one, "late");
    for (dir, channel) in [(&one, "late"), (&other, "early")] {
        let a = store.shell_in("a", dir);
        let news = a.news(&all()).unwrap();
        assert_eq!(news.signals.iter().map(|s| s.channel.as_str()).collect::<Vec<_>>(), [channel]);
        // What was not shown is not told.
        a.told(&news.to_tell_of(0, 0, 0)).unwrap();
        assert_eq!(a.news(&all()).unwrap().signals.len(), 1);
        a.told(&news.to_tell()).unwrap();
        assert_eq!(a.news(&all()).unwrap().signals.len(), 0);
    }
}

#[test]
fn an_agent_that_arrives_goes_on_and_one_that_leaves_ends_its_sessions() {
    let store = TempStore::new();
    let dir = store.repository("repo");
    let open = |agent: &str| store.shell_in(agent, &dir);
    let (a, namesakes) = (open("a"), [open("a.b"), open("a.0abc12")]);
    let around = Surroundings::given([("PORT_DADDY_AGENT", "a")]).in_session("claude", "1", Some("part")).unwrap();
    let child = Coordinator::open(store.options().cwd(&dir).face(Face::Shell).surroundings(around)).unwrap();
    let part = child.caller().agent.clone().unwrap();
    let arrival = a.arrive("Implicit").unwrap();
    assert!(!arrival.continued);
    assert_eq!((a.arrive("Other").unwrap().session.id, a.arrive("x").unwrap().continued), (arrival.session.id, true));
    a.describe_session("Implicit", "Build it").unwrap();
    a.describe_session("Implicit", "Something else").unwrap();
    let session = |pd: &Coordinator| -> Session { pd.whoami().unwrap().session.unwrap() };
    assert_eq!(session(&a).purpose, "Build it");
    child.arrive("Part").unwrap();
    // A name says nothing of where an agent comes from.
    namesakes.iter().for_each(|namesake| drop(namesake.arrive("Not related").unwrap()));
    let others = |pd: &Coordinator| pd.begin_edit(Path::new("shared.rs"), false, "x").unwrap().others.len();
    assert_eq!((others(&a), others(&child), others(&namesakes[1]), others(&child)), (0, 0, 2, 1));
    let overlaps =
        |pd: &Coordinator| pd.news(&NewsFilter { overlaps: true, ..NewsFilter::default() }).unwrap().overlaps.len();
    assert_eq!((overlaps(&a), overlaps(&child)), (1, 1));
    assert_eq!(a.leave().unwrap().len(), 2);
    assert_eq!((a.agent("a").unwrap().state, a.agent(&part).unwrap().state), (AgentState::Left, AgentState::Left));
    namesakes.iter().for_each(|namesake| assert_eq!(session(namesake).purpose, "Not related"));
    assert_eq!(open("a").arrive("Again").unwrap().session.purpose, "Build it");
    assert_eq!(open("nobody").leave().unwrap().len(), 0);
    assert_eq!(a.arrive("").unwrap_err().kind(), ErrorKind::Invalid);
}
