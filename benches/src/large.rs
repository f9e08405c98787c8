//! The same calls on a file in which much is stored and on an empty one.

use std::time::Instant;

use portdaddy_core::{
    AgentFilter, ClaimFiles, ClaimPort, Coordinator, LockFilter, LockOptions, NewNote, NewSession, NoteFilter, Publish,
};
use serde_json::json;

use crate::alternate::{Aim, Round, alternate, calls, comparison, rows};
use crate::fill::{Amounts, fill};
use crate::hyperfine;
use crate::setting::{Setting, pd};

const MUCH: Amounts = Amounts {
    notes: 1_000_000,
    messages: 1_000_000,
    channels: 1_000,
    claims: 10_000,
    locks: 1_000,
    agents: 1_000,
    activity: 100_000,
};
/// What a late subscriber meets elsewhere: 100 messages over 10 channels.
const LITTLE: Amounts = Amounts { notes: 1, messages: 100, channels: 10, claims: 1, locks: 1, agents: 1, activity: 1 };
const ROUNDS: usize = 7;
const RUNS: usize = 15;

/// A call, and how often a round makes it.
type Call = (&'static str, usize, fn(&Coordinator));

const CALLS: [Call; 8] = [
    ("`note`", 200, |pd| drop(pd.note(&NewNote { text: "Built it".to_owned(), ..NewNote::default() }).expect("noted"))),
    ("`claim` of a port that one has", 200, |pd| {
        let claim = ClaimPort { identity: "bench:api".to_owned(), ..ClaimPort::default() };
        pd.claim(&claim).expect("its port");
    }),
    ("`claim_files` of one, and its release", 200, |pd| {
        let claim = ClaimFiles { files: vec!["packages/p007/src/new.ts".to_owned()], ..ClaimFiles::default() };
        assert_eq!(pd.claim_files(&claim).expect("an answer").claimed.len(), 1);
        pd.release_files(&[], None).expect("given up");
    }),
    ("`lock`, then `release`", 200, |pd| {
        let lock = pd.lock("m", &LockOptions::default()).expect("the lock").expect("a wait without end");
        lock.release().expect("it is ours");
    }),
    ("`publish`", 200, |pd| drop(pd.publish("quiet:api", &json!({"n": 1}), &Publish::default()).expect("published"))),
    ("`notes`, the newest 20", 200, |pd| {
        pd.notes(&NoteFilter { limit: Some(20), ..NoteFilter::default() }).expect("the notes");
    }),
    ("`agents`", 20, |pd| drop(pd.agents(&AgentFilter::default()).expect("the agents"))),
    ("`locks`", 20, |pd| drop(pd.locks(&LockFilter::default()).expect("the locks"))),
];

/// Commands, and what happens before each run, unmeasured.
const COMMANDS: [(&str, Option<&str>); 8] = [
    ("note x", None),
    ("claim bench:api -q", None),
    ("lock m", Some("unlock m --force")),
    ("unlock n", Some("lock n")),
    ("pub quiet:api 1", None),
    ("notes --limit 20", None),
    ("agents", None),
    ("locks", None),
];

pub(crate) fn run() {
    let (large, empty, little) = (Setting::new(), Setting::new(), Setting::new());
    let begin = Instant::now();
    fill(&large, MUCH);
    let (took, size) = (begin.elapsed().as_secs_f64(), std::fs::metadata(large.db()).expect("the file").len() >> 20);
    fill(&little, LITTLE);
    println!(
        "A file of {size} MiB, filled in {took:.0} s, against one with nothing in it (and, for `pd sub`, one with 100 messages over"
    );
    println!(
        "10 channels). {ROUNDS} rounds, in turns. `agents` and `locks` give 1,000 times the answer. Within one process:\n"
    );
    comparison(&in_process(&large, &empty));
    println!("\nWhole processes, {RUNS} runs of each in a round:\n");
    let mut table = whole(&large, &empty);
    let late = |pattern: &str| {
        let command = format!("{} sub {pattern}", pd().display());
        alternate(ROUNDS, || process(&large, &command, None), || process(&little, &command, None))
    };
    let (aim, figures) = ([("p50", Aim::AtMost(3.0))], ["p50", "p90"]);
    table.extend(rows("`pd sub 'payments:*'`, 1,000 channels : 10", &late("payments:*"), &aim, &figures));
    table.extend(rows("`pd sub 'payments:c00*'`, 10 channels : 10", &late("payments:c00*"), &aim, &figures));
    comparison(&table);
}

fn in_process(large: &Setting, empty: &Setting) -> Vec<Vec<String>> {
    let open = |setting: &Setting| {
        let pd = setting.open("caller");
        let session = NewSession { purpose: "Measuring".to_owned(), ..NewSession::default() };
        pd.start_session(&session).expect("a session");
        pd
    };
    let (large, empty) = (open(large), open(empty));
    let mut table = Vec::new();
    for (name, times, call) in CALLS {
        let round = |pd: &Coordinator| Round::run(&[], || calls(times, || call(pd)));
        let found = alternate(ROUNDS, || round(&large), || round(&empty));
        table.extend(rows(name, &found, &[("p50", Aim::AtMost(1.5))], &["p50", "p99", "max"]));
    }
    table
}

fn whole(large: &Setting, empty: &Setting) -> Vec<Vec<String>> {
    for setting in [large, empty] {
        setting.do_pd(&["begin", "Measuring"]);
        setting.do_pd(&["lock", "m"]);
    }
    let mut table = Vec::new();
    for (args, before) in COMMANDS {
        let own = |args: &str| format!("{} {args}", pd().display());
        let (command, before) = (own(args), before.map(own));
        let round = |setting: &Setting| process(setting, &command, before.as_deref());
        let found = alternate(ROUNDS, || round(large), || round(empty));
        table.extend(rows(&format!("`pd {args}`"), &found, &[("p50", Aim::AtMost(1.5))], &["p50", "p90"]));
    }
    table
}

fn process(setting: &Setting, command: &str, before: Option<&str>) -> Round {
    let seconds = hyperfine::run(setting, command, before, RUNS);
    Round::of(seconds.into_iter().map(|seconds| seconds * 1e6).collect())
}
