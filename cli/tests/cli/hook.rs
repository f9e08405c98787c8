//! `pd hook` by the documented input of each event, which stands in `transcripts/` as Claude Code sends it.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::{Place, Run};

/// The documents' directory.
const PROJECT: &str = "/home/user/my-project";

macro_rules! transcripts {
    ($($name:literal),*) => { &[$(($name, include_str!(concat!("transcripts/", $name, ".json")))),*] };
}

const TRANSCRIPTS: &[(&str, &str)] = transcripts!(
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse-Edit",
    "PreToolUse-Write",
    "PreToolUse-NotebookEdit",
    "PreToolUse-Bash",
    "PostToolUse-Read",
    "PostToolUse-Write",
    "PostToolUse-Bash",
    "SubagentStart",
    "SubagentStop",
    "Stop",
    "SessionEnd"
);

/// A recorded event as it comes from an agent that works in `dir`.
pub(crate) fn recorded(name: &str, session: &str, dir: &Path) -> Value {
    let (_, text) = TRANSCRIPTS.iter().find(|(known, _)| *known == name).unwrap();
    let mut event: Value = serde_json::from_str(&text.replace(PROJECT, dir.to_str().unwrap())).unwrap();
    event["session_id"] = session.into();
    event
}

pub(crate) fn on_file(name: &str, session: &str, dir: &Path, file: &str) -> Value {
    let mut event = recorded(name, session, dir);
    let field = if name.ends_with("NotebookEdit") { "notebook_path" } else { "file_path" };
    event["tool_input"][field] = dir.join(file).to_str().unwrap().into();
    event
}

pub(crate) fn context(answer: &Value) -> &str {
    answer["hookSpecificOutput"]["additionalContext"].as_str().unwrap_or_default()
}

struct Agents {
    place: Place,
}

impl Agents {
    /// Agents in one repository.
    fn new() -> Self {
        let mut place = Place::new();
        place.agent("");
        place.write("src/a.ts", "one\n");
        let agents = Self { place };
        agents.git("init -q -b main && git add -A && git commit -qm Begin");
        agents
    }

    fn git(&self, words: &str) {
        let script = format!(
            "export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t; git {words}"
        );
        let run = self.place.sh(&script);
        assert_eq!(run.exit, 0, "git {words}: {}", run.shown());
    }

    fn raw(&self, args: &[&str], input: &[u8]) -> Run {
        let mut all = vec!["hook"];
        all.extend(args);
        let mut command = self.place.command(&all);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Wrong usage ends it before it reads.
        let written = child.stdin.take().unwrap().write_all(input);
        assert!(written.is_ok() || written.is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe));
        Run::of(&child.wait_with_output().unwrap())
    }

    /// Sends an event, which must be answered without a word on stderr; null for no answer.
    fn send_with(&self, event: &Value, args: &[&str]) -> Value {
        let mut all = vec![event["hook_event_name"].as_str().unwrap()];
        all.extend(args);
        let run = self.raw(&all, event.to_string().as_bytes());
        assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{event}: {}", run.shown());
        let answer: Value = serde_json::from_str(run.stdout.trim()).unwrap_or_default();
        assert_eq!(answer.is_null(), run.stdout.is_empty(), "{}", run.stdout);
        if !answer.is_null() {
            assert_eq!(answer["hookSpecificOutput"]["hookEventName"], event["hook_event_name"]);
        }
        answer
    }

    fn send(&self, event: &Value) -> Value {
        self.send_with(event, &[])
    }

    fn event(&self, name: &str, session: &str) -> Value {
        recorded(name, session, &self.place.cwd())
    }

    fn file(&self, name: &str, session: &str, file: &str) -> Value {
        on_file(name, session, &self.place.cwd(), file)
    }

    /// Starts a session of the harness.
    fn start(&self, session: &str) -> Value {
        self.send(&self.event("SessionStart", session))
    }

    /// A whole edit: what was said before it.
    fn edit(&self, session: &str, file: &str, content: &str) -> Value {
        let answer = self.send(&self.file("PreToolUse-Write", session, file));
        self.place.write(file, content);
        assert!(self.send(&self.file("PostToolUse-Write", session, file)).is_null());
        answer
    }

    fn sessions(&self) -> Vec<Value> {
        self.place.json(&["sessions", "--status", "any"])["sessions"].as_array().unwrap().clone()
    }

    fn claims(&self) -> Vec<Value> {
        self.place.json(&["files", "list"])["claims"].as_array().unwrap().clone()
    }

    fn failures(&self) -> Vec<Value> {
        let entries = self.place.json(&["log", "--type", "hook.failed", "--all"])["entries"].clone();
        entries.as_array().unwrap().clone()
    }
}

#[test]
fn every_recorded_event_is_taken_and_says_nothing_to_an_agent_that_is_alone() {
    let agents = Agents::new();
    for (name, _) in TRANSCRIPTS {
        assert!(agents.send(&agents.event(name, "abc123")).is_null(), "{name}");
    }
    assert_eq!(agents.failures(), Vec::<Value>::new());
}

#[test]
fn session_start_registers_the_agent_and_goes_on_with_its_session() {
    let agents = Agents::new();
    let env = agents.place.path("env");
    let start = |source: &str| {
        let mut event = agents.event("SessionStart", "abc123");
        event["source"] = source.into();
        let mut command = agents.place.command(&["hook", "SessionStart"]);
        command.env("CLAUDE_ENV_FILE", &env).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(event.to_string().as_bytes()).unwrap();
        assert_eq!(Run::of(&child.wait_with_output().unwrap()).shown(), "");
    };
    std::fs::write(&env, "export NODE_ENV=production").unwrap();
    start("startup");
    let exported = "export NODE_ENV=production\nexport PORT_DADDY_AGENT='claude-abc123'\n";
    assert_eq!(std::fs::read_to_string(&env).unwrap(), exported);
    let agent = agents.place.json(&["agent", "show", "claude-abc123"]);
    assert_eq!((&agent["type"], &agent["harness"]), (&json!("ai"), &json!("claude")), "{agent}");
    // The agent's own commands are the same agent, by the file or by the harness's variable.
    let run = agents.place.sh(&format!(
        ". {}; pd whoami -q; unset PORT_DADDY_AGENT; CLAUDE_CODE_SESSION_ID=abc123 pd whoami -q",
        env.display()
    ));
    assert_eq!(run.shown(), "claude-abc123\nclaude-abc123\n");
    for source in ["compact", "resume", "clear"] {
        start(source);
    }
    let sessions = agents.sessions();
    assert_eq!((sessions.len(), &sessions[0]["status"]), (1, &json!("active")));
    assert_eq!(std::fs::read_to_string(&env).unwrap(), exported);

    // A session that ended goes on as another for the same purpose.
    agents.send(&agents.event("UserPromptSubmit", "abc123"));
    assert!(agents.send(&agents.event("SessionEnd", "abc123")).is_null());
    start("resume");
    let purposes: Vec<_> = agents.sessions().iter().map(|s| (s["status"].clone(), s["purpose"].clone())).collect();
    let purpose = json!("Write a function to calculate the factorial of a number");
    assert_eq!(purposes, [(json!("completed"), purpose.clone()), (json!("active"), purpose)]);
}

#[test]
fn a_session_inside_another_is_an_agent_of_its_own() {
    let mut agents = Agents::new();
    agents.start("aaaaaa");
    agents.edit("aaaaaa", "src/a.ts", "two\n");
    // What the outer one's SessionStart has put into the environment of all its commands.
    agents.place.agent("claude-aaaaaa").ok(&["lock", "migrations"]);
    let env = agents.place.path("env");
    let mut command = agents.place.command(&["hook", "SessionStart"]);
    command.env("CLAUDE_ENV_FILE", &env).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut inner = command.spawn().unwrap();
    let event = agents.event("SessionStart", "bbbbbb");
    inner.stdin.take().unwrap().write_all(event.to_string().as_bytes()).unwrap();
    inner.wait_with_output().unwrap();
    assert_eq!(std::fs::read_to_string(&env).unwrap(), "export PORT_DADDY_AGENT='claude-bbbbbb'\n");
    let told = agents.send(&agents.file("PreToolUse-Edit", "bbbbbb", "src/a.ts"));
    assert!(context(&told).contains("is claimed by claude-aaaaaa"), "{told}");
    agents.send(&agents.event("SessionEnd", "bbbbbb"));
    agents.place.agent("");
    let states = |id: &str| agents.place.json(&["agent", "show", id])["state"].clone();
    assert_eq!((states("claude-aaaaaa"), states("claude-bbbbbb")), (json!("active"), json!("left")));
    let claims: Vec<_> = agents.claims().iter().map(|c| c["agent"].clone()).collect();
    assert_eq!(claims, [json!("claude-aaaaaa")]);
    assert_eq!(agents.place.json(&["locks"])["locks"][0]["agent"], "claude-aaaaaa");
    // A name that a person chose stays one.
    agents.place.agent("claude-review");
    agents.start("cccccc");
    assert_eq!(agents.place.json(&["whoami"])["registered"]["id"], "claude-review");
}

#[test]
fn what_is_told_afterwards_brings_nobody_back() {
    let mut agents = Agents::new();
    let state = |agents: &Agents, id: &str| agents.place.json(&["agent", "show", id])["state"].clone();
    agents.start("abc123");
    let (mut begin, mut end) = (agents.event("SubagentStart", "abc123"), agents.event("SubagentStop", "abc123"));
    for event in [&mut begin, &mut end] {
        event["agent_id"] = "part-1".into();
        event["stop_hook_active"] = false.into();
    }
    agents.send(&begin);
    let all = agents.place.json(&["agents"]);
    let part = all["agents"].as_array().unwrap().iter().find_map(|a| a["id"].as_str().filter(|id| id.contains('.')));
    let part = part.unwrap().to_owned();
    agents.place.agent("api").ok(&["send", &part, "one thing more"]);
    agents.place.agent("");
    // It is told, and that is marked, as one that has left.
    assert!(context(&agents.send(&end)).contains("one thing more"));
    assert!(agents.send(&end).is_null());
    assert_eq!((state(&agents, &part), state(&agents, "claude-abc123")), (json!("left"), json!("active")));

    agents.send(&agents.event("PostToolUse-Read", "bbb222"));
    agents.send(&agents.file("PreToolUse-Write", "abc123", "src/a.ts"));
    agents.send(&agents.event("SessionEnd", "abc123"));
    agents.place.agent("api").ok(&["send", "claude-abc123", "too late"]);
    agents.place.agent("");
    agents.place.write("src/a.ts", "by the one that left\n");
    for name in ["PostToolUse-Write", "PostToolUse-Bash", "Stop"] {
        let event = if name.ends_with("Write") {
            agents.file(name, "abc123", "src/a.ts")
        } else {
            agents.event(name, "abc123")
        };
        assert!(agents.send(&event).is_null(), "{name}");
        assert_eq!(state(&agents, "claude-abc123"), "left", "{name}");
    }
    let told = agents.send(&agents.file("PreToolUse-Edit", "bbb222", "src/a.ts"));
    assert!(context(&told).contains("src/a.ts was written by claude-abc123"), "{told}");
    // Who does something is back.
    assert!(context(&agents.send(&agents.event("UserPromptSubmit", "abc123"))).contains("too late"));
    assert_eq!(state(&agents, "claude-abc123"), "active");
}

#[test]
fn session_start_tells_who_and_what_is_there_in_at_most_1500_characters() {
    let mut agents = Agents::new();
    agents.start("bbb222");
    agents.edit("bbb222", "src/a.ts", "two\n");
    agents.place.agent("api");
    agents.place.ok(&["begin", "Build the payments API", "--files", "src/api/**"]);
    agents.place.ok(&["pub", "build:done", r#"{"ok":true}"#]);
    agents.place.agent("");
    let told = agents.start("abc123");
    let told = context(&told);
    for fact in [
        "Also at work in this repository:",
        "- api: \"Build the payments API\", for ",
        "; files: src/api/**",
        "- claude-bbb222: \"Claude Code session\"",
        "; files: src/a.ts",
        "Newest signals:\n- build:done from api ",
        r#": {"ok":true}"#,
    ] {
        assert!(told.contains(fact), "{fact:?} in {told}");
    }
    for number in 0..40 {
        agents.place.agent(&format!("agent-{number}"));
        agents.place.ok(&["begin", &"x".repeat(300), "--files", &format!("{}/{number}", "y".repeat(200))]);
        agents.place.ok(&["pub", &format!("channel:{number}"), &format!("\"{}\"", "z".repeat(2_000))]);
    }
    agents.place.agent("");
    let told = agents.start("abc123");
    let length = context(&told).chars().count();
    assert!((1_000..=1_500).contains(&length), "{length}: {told}");
    assert!(context(&told).contains("more: pd sessions lists them"), "{told}");
    assert!(context(&told).contains("more: pd channels lists them"), "{told}");
}

#[test]
fn an_edit_claims_its_file_and_both_are_told_of_a_conflict_once() {
    let agents = Agents::new();
    for tool in ["Edit", "Write", "NotebookEdit"] {
        assert!(agents.send(&agents.event(&format!("PreToolUse-{tool}"), "abc123")).is_null());
    }
    let patterns: Vec<_> = agents.claims().iter().map(|c| c["pattern"].clone()).collect();
    assert_eq!(patterns, [json!("src/a.ts"), json!("study.ipynb")]);
    assert_eq!(agents.sessions().len(), 1);
    agents.send(&agents.event("UserPromptSubmit", "abc123"));

    let told = agents.send(&agents.event("PreToolUse-Edit", "bbb222"));
    let text = context(&told);
    assert!(text.starts_with("src/a.ts is claimed by claude-abc123, for "), "{told}");
    assert!(
        text.ends_with(", in this working tree: \"Write a function to calculate the factorial of a number\"."),
        "{told}"
    );
    assert!(told["hookSpecificOutput"].get("permissionDecision").is_none(), "{told}");
    assert!(agents.send(&agents.event("PreToolUse-Edit", "bbb222")).is_null());

    // The other learns of it at its next event, whichever that is.
    let told = agents.send(&agents.event("PostToolUse-Bash", "abc123"));
    assert!(context(&told).starts_with("src/a.ts, which you have claimed, was claimed by claude-bbb222 "), "{told}");
    for name in ["PostToolUse-Bash", "PreToolUse-Edit", "UserPromptSubmit", "Stop"] {
        assert!(agents.send(&agents.event(name, "abc123")).is_null(), "{name}");
    }
    assert_eq!(agents.claims().len(), 3);
    // Names that mean something in patterns mean nothing here.
    for (n, name) in ["app/[id]/{a,b}*.tsx", "notes:10-50", "a#L1", "back\\slash"].into_iter().enumerate() {
        let (one, other) = (format!("{n}ccc33"), format!("{n}ddd44"));
        assert!(agents.send(&agents.file("PreToolUse-Edit", &one, name)).is_null(), "{name}");
        let told = agents.send(&agents.file("PreToolUse-Edit", &other, name));
        assert!(context(&told).contains(&format!("is claimed by claude-{one}")), "{name}: {told}");
    }
    assert!(agents.send(&agents.file("PreToolUse-Edit", "eee555", "app/i/a.tsx")).is_null());
}

#[test]
fn what_is_claimed_no_more_is_not_told() {
    let agents = Agents::new();
    let overlap = |one: &str, other: &str| {
        for session in [one, other] {
            agents.send(&agents.event("PreToolUse-Edit", session));
        }
    };
    let as_agent = |agent: &str, words: &str| {
        let run = agents.place.sh(&format!("PORT_DADDY_AGENT={agent} pd {words}"));
        assert_eq!(run.exit, 0, "{}", run.shown());
    };
    let owed = || {
        let db = rusqlite::Connection::open(agents.place.path("db/port-daddy.db")).unwrap();
        db.query_row("SELECT count(*) FROM overlaps", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    // The first gave it up.
    overlap("abc123", "bbb222");
    as_agent("claude-abc123", "files rm src/a.ts");
    assert_eq!(owed(), 1);
    assert!(agents.send(&agents.event("UserPromptSubmit", "abc123")).is_null());
    assert_eq!(owed(), 0);
    // The second did, or both are gone.
    overlap("abc124", "bbb223");
    as_agent("claude-bbb222", "files rm --all");
    as_agent("claude-bbb223", "files rm --all");
    assert!(agents.send(&agents.event("Stop", "abc124")).is_null());
    overlap("abc125", "bbb224");
    agents.send(&agents.event("SessionEnd", "abc125"));
    agents.send(&agents.event("SessionEnd", "bbb224"));
    let told = agents.start("abc125");
    assert!(!context(&told).contains("which you have claimed"), "{told}");
    // What stands by another claim is told.
    overlap("abc126", "bbb225");
    as_agent("claude-abc126", "files add 'src/**' --force");
    as_agent("claude-abc126", "files rm src/a.ts");
    let told = agents.send(&agents.event("Stop", "abc126"));
    assert!(context(&told).contains("src/a.ts, which you have claimed, was claimed by claude-bbb225 "), "{told}");
}

#[test]
fn strict_denies_only_what_a_living_agent_works_on_in_the_same_tree() {
    let agents = Agents::new();
    let strict = |event: &Value| agents.send_with(event, &["--strict"]);
    let edit = |session: &str| agents.event("PreToolUse-Edit", session);
    assert!(strict(&edit("abc123")).is_null());
    for _ in 0..2 {
        let denied = strict(&edit("bbb222"));
        let output = &denied["hookSpecificOutput"];
        assert_eq!(output["permissionDecision"], "deny");
        assert!(output["permissionDecisionReason"].as_str().unwrap().contains("claude-abc123"), "{denied}");
    }
    // Nothing was taken, so there is nothing to tell the other; who had it first goes on, also once it was taken after all.
    assert_eq!(agents.claims().len(), 1);
    assert!(strict(&agents.event("PostToolUse-Bash", "abc123")).is_null());
    agents.send(&edit("bbb222"));
    let told = strict(&edit("abc123"));
    assert!(told["hookSpecificOutput"].get("permissionDecision").is_none(), "{told}");

    // Another working tree: a merge ahead, and no reason to deny.
    agents.git("worktree add -q ../other");
    let other = agents.place.path("other");
    let told = strict(&on_file("PreToolUse-Edit", "ccc333", &other, "src/a.ts"));
    assert!(context(&told).contains("in another working tree, "), "{told}");
    assert!(context(&told).contains("so a merge lies ahead"), "{told}");
    assert!(told["hookSpecificOutput"].get("permissionDecision").is_none(), "{told}");

    // The dead block nobody. They are told of again, as dead.
    agents.send(&agents.event("SessionEnd", "abc123"));
    assert!(strict(&edit("bbb222")).is_null() || !context(&strict(&edit("bbb222"))).contains("abc123"));
}

#[test]
fn a_stale_write_is_told_and_denied_under_strict() {
    let agents = Agents::new();
    let read = |session: &str| assert!(agents.send(&agents.event("PostToolUse-Read", session)).is_null());
    read("abc123");
    agents.edit("bbb222", "src/a.ts", "two\n");
    let write = agents.event("PreToolUse-Write", "abc123");
    let denied = agents.send_with(&write, &["--strict"]);
    assert_eq!(denied["hookSpecificOutput"]["permissionDecision"], "deny");
    let told = agents.send(&write);
    let fact = "src/a.ts was written by claude-bbb222 ";
    for reason in [denied["hookSpecificOutput"]["permissionDecisionReason"].as_str().unwrap(), context(&told)] {
        assert!(reason.contains(fact) && reason.contains("until you read it again"), "{reason}");
    }
    agents.send(&agents.event("SessionEnd", "bbb222"));
    read("abc123");
    assert!(agents.send_with(&write, &["--strict"]).is_null());
}

#[test]
fn a_sub_agent_is_an_agent_of_its_own_that_ends() {
    let agents = Agents::new();
    agents.start("abc123");
    agents.send(&agents.event("PreToolUse-Edit", "abc123"));
    assert!(agents.send(&agents.event("SubagentStart", "abc123")).is_null());
    let inside = |agent: &str, file: &str| {
        let mut event = agents.file("PreToolUse-Edit", "abc123", file);
        event["agent_id"] = agent.into();
        event["agent_type"] = "Explore".into();
        event
    };
    // Its parent's files are no conflict; another sub-agent's are.
    assert!(agents.send_with(&inside("agent-abc123", "src/a.ts"), &["--strict"]).is_null());
    assert!(agents.send(&inside("agent-abc123", "src/b.ts")).is_null());
    assert!(context(&agents.send(&inside("agent-def456", "src/b.ts"))).contains("Explore (claude-abc123."));
    let sessions = agents.sessions();
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions[1]["purpose"], "Explore sub-agent");
    let child = sessions[1]["agent"].as_str().unwrap();
    assert!(child.starts_with("claude-abc123."), "{child}");
    let states = || -> Vec<Value> { agents.sessions().iter().map(|s| s["status"].clone()).collect() };
    agents.send(&agents.event("SubagentStop", "abc123"));
    assert_eq!(states(), [json!("active"), json!("completed"), json!("active")]);
    assert_eq!(agents.place.json(&["agent", "show", child])["state"], "left");
    // What the session's end finds of its sub-agents ends with it.
    agents.send(&agents.event("SessionEnd", "abc123"));
    assert_eq!(states(), [json!("completed"), json!("completed"), json!("completed")]);
}

#[test]
fn signals_are_told_once_and_the_end_of_a_turn_does_not_nag() {
    let mut agents = Agents::new();
    agents.start("abc123");
    let publish = |agents: &mut Agents, channel: &str| {
        agents.place.agent("api");
        agents.place.ok(&["pub", channel, "1"]);
        agents.place.agent("");
    };
    publish(&mut agents, "build:done");
    let prompt = agents.event("UserPromptSubmit", "abc123");
    let stop = agents.event("Stop", "abc123");
    assert!(context(&agents.send(&prompt)).contains("- build:done from api "));
    assert!(agents.send(&prompt).is_null());
    assert!(agents.send(&stop).is_null());
    // Some were told a moment ago: the next wait for a prompt.
    publish(&mut agents, "deploy:done");
    assert!(agents.send(&stop).is_null());
    let told = agents.send(&prompt);
    assert!(context(&told).contains("deploy:done") && !context(&told).contains("build:done"), "{told}");
    // One that was told none yet is told at the end of its turn, but not while it goes on because of that.
    agents.send(&agents.event("PreToolUse-Edit", "bbb222"));
    let mut stop = agents.event("Stop", "bbb222");
    stop["stop_hook_active"] = true.into();
    assert!(agents.send(&stop).is_null());
    stop["stop_hook_active"] = false.into();
    assert!(context(&agents.send(&stop)).contains("deploy:done"));
    assert!(agents.send(&stop).is_null());
    // Its own are no news.
    agents.place.agent("claude-abc123");
    agents.place.ok(&["pub", "own", "1"]);
    agents.place.agent("");
    assert!(agents.send(&prompt).is_null());
}

#[test]
fn a_directory_that_is_gone_leaves_the_one_above_it() {
    let agents = Agents::new();
    let gone = agents.place.path("work/gone/deep");
    std::fs::create_dir_all(&gone).unwrap();
    agents.send(&recorded("SessionStart", "abc123", &gone));
    agents.send(&recorded("SessionStart", "bbb222", &gone));
    std::fs::remove_dir_all(agents.place.path("work/gone")).unwrap();
    agents.send(&on_file("PreToolUse-Write", "abc123", &gone, "a.ts"));
    assert_eq!(agents.claims()[0]["pattern"], "gone/deep/a.ts");
    agents.send(&recorded("SessionEnd", "abc123", &gone));
    // Whatever is sent, a session can end.
    for (event, cwd) in [("SessionEnd", "gone"), ("SessionEnd", "")] {
        let mut event = agents.event(event, if cwd.is_empty() { "bbb222" } else { "ccc333" });
        event["cwd"] = cwd.into();
        agents.send(&event);
    }
    let states: Vec<_> = agents.sessions().iter().map(|s| s["status"].clone()).collect();
    assert_eq!(states, [json!("completed"), json!("completed")]);
    assert_eq!(agents.failures(), Vec::<Value>::new());
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_nobody_can_take_is_no_failure_and_counts_as_untold() {
    let mut agents = Agents::new();
    agents.start("abc123");
    agents.place.agent("api");
    agents.place.ok(&["send", "claude-abc123", "hello"]);
    agents.place.agent("");
    let prompt = agents.event("UserPromptSubmit", "abc123");
    agents.place.write("event.json", &prompt.to_string());
    for mode in ["", "--json", "-q"] {
        let run = agents.place.sh(&format!("pd {mode} hook UserPromptSubmit <event.json >/dev/full; echo $?"));
        assert_eq!(run.stdout, "0\n", "{mode}: {}", run.shown());
    }
    assert_eq!(agents.failures().len(), 3);
    assert!(context(&agents.send(&prompt)).ends_with(": hello"));
}

#[test]
fn half_a_character_in_a_command_leaves_git_guarded() {
    let agents = Agents::new();
    agents.start("abc123");
    agents.edit("bbb222", "src/a.ts", "two\n");
    let mut event = agents.event("PreToolUse-Bash", "abc123");
    event["tool_input"] = json!({"command": "echo HALF; git reset --hard"});
    let sent = event.to_string().replace("HALF", "\\ud83d");
    let run = agents.raw(&["PreToolUse"], sent.as_bytes());
    let answer: Value = serde_json::from_str(run.stdout.trim()).unwrap_or_default();
    assert_eq!(answer["hookSpecificOutput"]["permissionDecision"], "ask", "{}", run.shown());
}

#[test]
fn an_environment_file_that_cannot_be_written_costs_nothing_else() {
    let mut agents = Agents::new();
    agents.place.agent("api");
    agents.place.ok(&["begin", "Build the payments API"]);
    agents.place.agent("");
    agents.place.write("event.json", &agents.event("SessionStart", "abc123").to_string());
    let run = agents.place.sh("CLAUDE_ENV_FILE=/dev/null pd hook SessionStart <event.json");
    assert!(run.exit == 0 && run.stdout.contains("Build the payments API"), "{}", run.shown());
    assert!(run.stderr.contains("CLAUDE_ENV_FILE can't be written: it is no regular file"), "{}", run.stderr);
    assert_eq!(agents.failures().len(), 1);
}

#[test]
fn what_found_no_room_is_told_the_next_time() {
    // Whatever room the overlaps leave: none, a header's, a line's.
    for length in [1, 30, 45, 52, 60] {
        let mut agents = Agents::new();
        agents.start("abc123");
        let file = |n: usize| format!("some/name/{n}/file.ts");
        for n in 0..8 {
            agents.edit("abc123", &file(n), "one\n");
        }
        let mut prompt = agents.event("UserPromptSubmit", "bbb222");
        prompt["prompt"] = "p".repeat(length).into();
        agents.send(&prompt);
        for n in 0..8 {
            agents.send(&agents.file("PreToolUse-Edit", "bbb222", &file(n)));
        }
        agents.place.agent("api");
        agents.place.ok(&["pub", "build:done", "1"]);
        agents.place.agent("");
        let prompt = agents.event("UserPromptSubmit", "abc123");
        let told = [agents.send(&prompt), agents.send(&prompt)];
        let told: String = told.iter().map(context).collect();
        assert_eq!(told.matches("- build:done from api ").count(), 1, "{length}: {told}");
        assert!(agents.send(&prompt).is_null(), "{length}");
    }
}

#[test]
fn a_message_that_is_too_long_keeps_none_after_it_from_being_shown() {
    let mut agents = Agents::new();
    agents.start("abc123");
    agents.place.agent("api");
    agents.place.ok(&["send", "claude-abc123", &format!("long {}", "x".repeat(9_000))]);
    agents.place.agent("");
    let send = |from: usize, to: usize| {
        let script = format!("for n in $(seq {from} {to}); do pd send -q claude-abc123 \"number $n.\" || exit 1; done");
        assert_eq!(agents.place.sh(&script).exit, 0);
    };
    send(1, 110);
    let prompt = agents.event("UserPromptSubmit", "abc123");
    let mut told = String::new();
    for _ in 0..4 {
        told += context(&agents.send(&prompt));
    }
    for number in 1..=110 {
        assert_eq!(told.matches(&format!(": number {number}.")).count(), 1, "{number}: {told}");
    }
    assert_eq!(told.matches("(pd inbox shows the rest)").count(), 1);
    assert!(agents.send(&prompt).is_null());
    send(111, 111);
    assert!(context(&agents.send(&prompt)).ends_with(": number 111."));
}

#[test]
fn what_is_wrong_blocks_nothing_and_is_logged() {
    let agents = Agents::new();
    let edit = agents.event("PreToolUse-Edit", "abc123");
    let without = |field: &str| {
        let mut event = edit.clone();
        event.as_object_mut().unwrap().remove(field);
        event.to_string().into_bytes()
    };
    let with = |field: &str, value: Value| {
        let mut event = edit.clone();
        event[field] = value;
        event.to_string().into_bytes()
    };
    let huge = with("padding", "x".repeat(33 << 20).into());
    let cases: Vec<(&[&str], Vec<u8>, &str)> = vec![
        (&["PreToolUse"], b"".to_vec(), "not the documented JSON"),
        (&["PreToolUse"], b"{\"session_id\": ".to_vec(), "not the documented JSON"),
        (&["PreToolUse"], b"[1, 2]".to_vec(), "not the documented JSON"),
        (&["PreToolUse"], b"\xff\xfe{}".to_vec(), "not the documented JSON"),
        (&["PreToolUse"], without("session_id"), "session_id"),
        (&["PreToolUse"], without("cwd"), "cwd"),
        (&["PreToolUse"], with("session_id", "---".into()), "needs at least one letter or digit"),
        (&["PreToolUse"], with("session_id", json!(7)), "not the documented JSON"),
        (&["PreToolUse"], with("cwd", "no/such/directory".into()), "can't be used"),
        (&["PreToolUse"], huge, "too large"),
        (&["PostToolUse"], edit.to_string().into_bytes(), "was called for PostToolUse"),
        (&["NoSuchEvent"], b"{}".to_vec(), "nothing to do at the event"),
        (&["Evil\x1b[2J\u{202e}"], b"{}".to_vec(), "nothing to do at the event"),
    ];
    for (number, (args, input, reason)) in cases.iter().enumerate() {
        let run = agents.raw(args, input);
        assert_eq!((run.exit, run.stdout.as_str()), (0, ""), "{args:?} {reason}: {}", run.stderr);
        assert!(run.stderr.starts_with("Warning: pd hook ") && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(!run.stderr.contains('\x1b'), "{}", run.stderr);
        let failures = agents.failures();
        assert_eq!(failures.len(), number + 1, "{reason}");
        let said = failures[number]["detail"]["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{reason:?} in {said:?}");
    }
    // Wrong usage would be exit code 2, which forbids a harness to go on.
    for args in [&[][..], &["PreToolUse", "--git", "never"], &["PreToolUse", "--unknown"], &["a", "b"]] {
        let run = agents.raw(args, edit.to_string().as_bytes());
        assert_eq!((run.exit, run.stdout.as_str(), run.stderr.is_empty()), (0, "", false), "{args:?}");
    }
    let run = agents.place.sh("pd --scope hook --db x --nonsense hook PreToolUse </dev/null; echo $?");
    assert!(run.stdout == "0\n", "{}", run.shown());
    assert_eq!(agents.place.pd(&["note", "hook", "--nonsense"]).exit, 2);
    // Large is not too large: a file stands whole in the event that writes it.
    let large = with("tool_response", "x".repeat(8 << 20).into());
    assert_eq!(agents.raw(&["PreToolUse"], &large).shown(), "");
    // Fields of another shape, and tools that nobody knows, are nothing to do.
    for (tool, input) in [
        ("Edit", json!({"file_path": 7})),
        ("Edit", json!({})),
        ("Edit", json!("x")),
        ("Teleport", json!({"to": "Mars"})),
    ] {
        let mut event = edit.clone();
        (event["tool_name"], event["tool_input"]) = (tool.into(), input);
        assert!(agents.send(&event).is_null(), "{tool}");
    }
}

#[test]
fn paths_are_claimed_where_they_are() {
    let agents = Agents::new();
    agents.git("init -q -b main ../empty && git init -q --bare ../bare.git");
    agents.git("-c protocol.file.allow=always submodule --quiet add ../work sub 2>&1 && git commit -qm Sub");
    let outside = agents.place.path("outside.txt");
    let cwd = agents.place.cwd();
    let mut number = 0;
    let mut both = |dir: &Path, file: &Path| {
        number += 1;
        let (file, one, other) = (file.to_str().unwrap(), format!("aaaa{number}"), format!("bbbb{number}"));
        assert!(agents.send(&on_file("PreToolUse-Edit", &one, dir, file)).is_null(), "{file}");
        let told = agents.send(&on_file("PreToolUse-Edit", &other, dir, file));
        assert!(context(&told).contains(&format!("is claimed by claude-{one}")), "{file}: {told}");
    };
    both(&cwd, &outside);
    both(&cwd, &cwd.join("not/yet/there.rs"));
    both(&cwd, &cwd.join("sub/src/a.ts"));
    both(&agents.place.path("empty"), &agents.place.path("empty/first.rs"));
    both(&agents.place.path("bare.git"), &agents.place.path("bare.git/hooks/x"));
    both(&agents.place.path(""), &agents.place.path("beside.txt"));
    let roots: Vec<String> = agents.place.json(&["files", "list", "--all"])["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["root"].to_string())
        .collect();
    assert!(roots.iter().any(|r| r.ends_with("/work/sub\"")) && roots.iter().any(|r| r == "\"/\""), "{roots:?}");
    // A working tree that isn't the agent's own: whoever works there is told.
    agents.git("worktree add -q ../other");
    let other = agents.place.path("other");
    assert!(agents.send(&on_file("PreToolUse-Edit", "ccc333", &other, "src/z.ts")).is_null());
    let there = other.join("src/z.ts");
    let told = agents.send(&on_file("PreToolUse-Edit", "ddd444", &cwd, there.to_str().unwrap()));
    let there = std::fs::canonicalize(&other).unwrap().join("src/z.ts");
    let fact = format!("{} is claimed by claude-ccc333, ", there.display());
    assert!(context(&told).starts_with(&fact) && context(&told).contains(", in the same place: "), "{told}");
    // And whoever had it first hears where it is, wherever it stands by then.
    let told = agents.send(&agents.event("UserPromptSubmit", "ccc333"));
    let fact = format!("{}, which you have claimed, was claimed by claude-ddd444 ", there.display());
    assert!(context(&told).starts_with(&fact) && context(&told).contains(", in the same place: "), "{told}");
    assert_eq!(agents.failures(), Vec::<Value>::new());
}

#[test]
fn a_store_that_is_busy_or_refuses_stops_nobody() {
    let agents = Agents::new();
    agents.start("abc123");
    let db = agents.place.path("db/port-daddy.db");
    let holder = rusqlite::Connection::open(&db).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for name in ["PreToolUse-Edit", "SessionStart", "PostToolUse-Read", "SessionEnd"] {
        let event = agents.event(name, "bbb222");
        let run = agents.raw(&[event["hook_event_name"].as_str().unwrap()], event.to_string().as_bytes());
        assert_eq!((run.exit, run.stdout.as_str()), (0, ""), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("the store was busy for too long"), "{name}: {}", run.stderr);
    }
    holder.execute_batch("ROLLBACK").unwrap();
    drop(holder);
    assert!(agents.send(&agents.event("PreToolUse-Edit", "bbb222")).is_null());

    let event = agents.event("PreToolUse-Edit", "bbb222");
    let run = {
        let mut command = agents.place.command(&["hook", "PreToolUse", "--db", "/dev/null/x.db"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(event.to_string().as_bytes()).unwrap();
        Run::of(&child.wait_with_output().unwrap())
    };
    assert_eq!((run.exit, run.stdout.as_str(), run.stderr.lines().count()), (0, "", 1), "{}", run.stderr);
}
