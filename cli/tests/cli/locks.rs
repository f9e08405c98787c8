use std::io::BufRead as _;

use crate::place::{Place, assert_run};

#[test]
fn a_lock_is_exclusive_and_says_whose() {
    let mut place = Place::new();
    place.agent("database").ok(&["begin", "Migrations", "--name", "Database Agent"]);
    assert_run!(place.orphan(&["lock", "db-migrations"]), @r"
    Locked db-migrations (token N)
    2> Note: no process proves this agent's life: the lock ends after 30m without a call (pd agent heartbeat)
    ");
    place.agent("tests");
    assert_run!(place.pd(&["lock", "db-migrations"]), @r"
    2> Error: db-migrations is held by Database Agent (alive, since N ago): Migrations
    2> Hint: wait for it with --wait
    exit 1
    ");
    assert_run!(place.sh("pd lock db-migrations -q 2>/dev/null || echo 'Migrations already running, skipping'"), @"Migrations already running, skipping");
    assert_run!(place.pd(&["unlock", "db-migrations"]), @r#"
    2> Error: the lock "db-migrations" is held by Database Agent and can't be released by tests
    2> Hint: ask its holder, or pass --force to take it away (the activity log remembers)
    exit 3
    "#);
    assert_run!(place.pd(&["locks"]), @"db-migrations held by Database Agent (alive, since N ago): Migrations (token N)");
    place.agent("database");
    assert_run!(place.pd(&["unlock", "db-migrations"]), @"Unlocked db-migrations");
    assert_eq!(place.pd(&["unlock", "db-migrations"]).exit, 1);
}

#[test]
fn tokens_rise_and_a_refusal_is_a_document() {
    let place = Place::new();
    let token = |name| place.ok(&["lock", name, "-q"]).trim().parse::<u64>().unwrap();
    let first = token("a");
    place.ok(&["unlock", "a"]);
    assert!(token("a") > first);
    let refused = place.pd(&["lock", "a", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((refused.exit, refused.stderr.as_str()), (1, ""));
    assert_eq!(document["error"]["code"], "LOCK_HELD");
    assert_eq!(document["error"]["fields"]["agent"], "tester");
}

#[test]
fn waiting_ends_with_the_lock_or_the_time() {
    let mut place = Place::new();
    place.agent("one").ok(&["lock", "x"]);
    let timed_out = place.agent("two").pd(&["lock", "x", "--wait", "50ms"]);
    assert_eq!(timed_out.exit, 4, "{}", timed_out.shown());
    let waiter = place.start(&["lock", "x", "--wait"]);
    place.until_waiting(1);
    place.agent("one").ok(&["unlock", "x"]);
    let got = waiter.end();
    assert_eq!(got.exit, 0, "{}", got.shown());
    assert_eq!(place.json(&["locks"])["locks"][0]["agent"], "two");
}

#[test]
fn a_long_wait_says_whom_it_waits_for() {
    let mut place = Place::new();
    place.agent("one").ok(&["lock", "x", "--purpose", "a migration"]);
    let mut waiter = place.agent("two").command(&["lock", "x", "--wait"]);
    let mut waiter = waiter.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(waiter.stderr.take().unwrap()).read_line(&mut line).unwrap();
    waiter.kill().unwrap();
    waiter.wait().unwrap();
    assert!(
        line.starts_with("Waiting for x, held by one (alive, since ") && line.ends_with("): a migration\n"),
        "{line}"
    );
}

#[test]
fn extend_is_a_subcommand_and_may_be_a_name() {
    let place = Place::new();
    place.ok(&["lock", "x", "--ttl", "5m"]);
    assert_run!(place.pd(&["lock", "extend", "x", "--ttl", "10m"]), @"Extended x (token N, ends in 10m)");
    place.ok(&["lock", "--", "extend"]);
    assert_eq!(place.json(&["locks"])["locks"][0]["name"], "extend");
    place.ok(&["lock", "--wait", "y"]);
    place.ok(&["lock", "--wait", "5s", "z"]);
    place.ok(&["lock", "help"]);
    assert_eq!(place.json(&["locks"])["locks"].as_array().unwrap().len(), 5);
    assert_eq!(place.pd(&["lock", "--wait", "5s"]).exit, 2);
    assert_eq!(place.pd(&["lock"]).exit, 2);
    assert_eq!(place.pd(&["lock", "x", "--wait", "soon"]).exit, 2);
}

#[test]
fn force_takes_anothers_lock_away_and_is_remembered() {
    let mut place = Place::new();
    place.agent("one").ok(&["lock", "x"]);
    place.agent("two").ok(&["unlock", "x", "--force"]);
    let log = place.json(&["log", "--type", "lock.force"]);
    assert_eq!(log["entries"][0]["agent"], "two");
}

#[test]
fn with_lock_runs_under_the_lock_and_passes_the_exit_code_on() {
    let place = Place::new();
    let script =
        "echo $PORT_DADDY_LOCK_NAME; test -n \"$PORT_DADDY_LOCK_TOKEN\" || exit 99; pd locks -q | wc -l; exit 7";
    let run = place.pd(&["with-lock", "deploy", "--", "sh", "-c", script]);
    assert_eq!((run.exit, run.stdout.replace(' ', "").as_str()), (7, "deploy\n1\n"), "{}", run.shown());
    assert_run!(place.pd(&["locks"]), @"");
    assert_run!(place.pd(&["with-lock", "deploy", "--", "no-such-command"]), @r#"
    2> Error: the command "no-such-command" can't be run: No such file or directory (os error 2)
    2> Hint: check its name and your PATH
    exit 127
    "#);
    assert_eq!(place.pd(&["with-lock", "deploy", "--", "sh", "-c", "kill -KILL $$"]).exit, 137);
    assert_run!(place.pd(&["locks"]), @"");
}

#[test]
fn with_lock_inside_itself_is_a_deadlock() {
    let place = Place::new();
    let run = place.pd(&["with-lock", "x", "--", "pd", "with-lock", "x", "--", "true"]);
    assert_eq!(run.exit, 5, "{}", run.shown());
    assert!(run.stderr.starts_with("Error: "), "{}", run.stderr);
}

#[test]
fn with_lock_passes_signals_on() {
    let place = Place::new();
    let script = "trap 'echo stopped; exit 3' TERM; echo ready; while :; do read line || exit 9; done";
    let mut run = place.start(&["with-lock", "x", "--", "sh", "-c", script]);
    let _stdin = run.stdin();
    let mut lines = run.lines();
    assert_eq!(lines.next().unwrap(), "ready");
    run.signal("TERM");
    // The shell runs its trap once `read` was interrupted.
    assert_eq!(lines.next().unwrap(), "stopped");
    assert_eq!(run.end().exit, 3);
    assert_run!(place.pd(&["locks"]), @"");
}

#[test]
fn an_orphaned_command_keeps_the_lock_while_it_runs() {
    let place = Place::new();
    let mut run = place.start(&["with-lock", "x", "--", "sh", "-c", "echo ready; read line; true"]);
    let stdin = run.stdin();
    let mut lines = run.lines();
    assert_eq!(lines.next().unwrap(), "ready");
    run.signal("KILL");
    assert_eq!(run.exit(), -9);
    assert_eq!(place.pd(&["lock", "x"]).exit, 1, "the orphan still runs");
    drop(stdin);
    assert_eq!(lines.next(), None);
    place.until(|| place.pd(&["lock", "x"]).exit == 0);
}
