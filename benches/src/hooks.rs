//! What a harness pays for its hooks: whole `pd hook` processes among 20 living agents, and the characters of context that
//! they add over a scripted day.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use portdaddy_core::{Coordinator, NewSession, Publish};
use serde_json::{Value, json};

use crate::measure::{ms, quantile, table};
use crate::setting::{Setting, pd};

const AGENTS: usize = 20;
const RUNS: usize = 1_000;
const WARM_UP: usize = 10;
/// The day: so many agents, each with so many turns of seven events.
const DAY_AGENTS: usize = 5;
const TURNS: usize = 120;
const QUIET_TURNS: usize = 20;

pub(crate) fn run() {
    latency();
    day();
}

fn event(setting: &Setting, session: &str, name: &str, tool: &str, file: &str) -> Value {
    let path = setting.repository().join(file);
    let mut event = json!({
        "session_id": session, "transcript_path": "/nowhere.jsonl", "cwd": setting.repository(),
        "permission_mode": "default", "hook_event_name": name,
    });
    match (name, tool) {
        ("SessionStart", _) => event["source"] = "startup".into(),
        ("UserPromptSubmit", _) => event["prompt"] = format!("Go on with the work of {session}").into(),
        ("Stop", _) => event["stop_hook_active"] = false.into(),
        (_, "Bash") => {
            event["tool_name"] = tool.into();
            event["tool_input"] = json!({"command": "npm test"});
        }
        _ => {
            event["tool_name"] = tool.into();
            event["tool_input"] = json!({"file_path": path, "old_string": "a", "new_string": "b".repeat(2_000)});
        }
    }
    event
}

fn latency() {
    let setting = Setting::new();
    std::fs::create_dir(setting.repository().join("src")).expect("a directory");
    std::fs::write(setting.repository().join("src/shared.rs"), "fn main() {}\n").expect("a file");
    let _living: Vec<Coordinator> = (0..AGENTS)
        .map(|n| {
            let agent = setting.open(&format!("agent-{n}"));
            let files = vec!["src/shared.rs".to_owned(), format!("src/part{n}/**"), format!("tests/part{n}/*.rs")];
            let purpose = format!("Build part {n} of the whole");
            agent
                .begin(&Default::default(), &NewSession { purpose, files, force: true, ..NewSession::default() })
                .expect("begun");
            agent
                .publish(&format!("part{n}:ready"), &json!({"port": 3000 + n}), &Publish::default())
                .expect("published");
            agent
        })
        .collect();
    let input = setting.path().join("event.json");
    let shared = event(&setting, "aaaaaa", "PreToolUse", "Edit", "src/shared.rs");
    let start = event(&setting, "bbbbbb", "SessionStart", "", "");
    let fresh = |n: usize| event(&setting, "cccccc", "PreToolUse", "Edit", &format!("src/new{n}.rs"));
    let names = [
        "`pd hook PreToolUse` (Edit) of a file that all 20 have claimed",
        "`pd hook PreToolUse` (Edit) of another file each time",
        "`pd hook SessionStart`",
        "`git status`",
        "`true`",
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for n in 0..RUNS + WARM_UP {
        for (kind, times) in times.iter_mut().enumerate() {
            let event = match kind {
                0 => Some(shared.to_string()),
                1 => Some(fresh(n).to_string()),
                2 => Some(start.to_string()),
                _ => None,
            };
            let mut command = match (kind, &event) {
                (2, _) => setting.pd(&["hook", "SessionStart"]),
                (_, Some(_)) => setting.pd(&["hook", "PreToolUse"]),
                (3, _) => setting.command(Path::new("git"), &["status", "--porcelain"]),
                _ => setting.command(Path::new("true"), &[]),
            };
            if let Some(event) = event {
                std::fs::write(&input, event).expect("the event");
                command.env_remove("PORT_DADDY_AGENT").stdin(File::open(&input).expect("the event"));
            }
            let began = Instant::now();
            let done = command.output().expect("it runs");
            let took = began.elapsed();
            assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
            if n >= WARM_UP {
                times.push(ms(took));
            }
        }
    }
    println!(
        "Whole processes, {RUNS} of each in turns, among {AGENTS} living agents with sessions, claims and signals.\n"
    );
    let rows: Vec<Vec<String>> = names
        .iter()
        .zip(times)
        .map(|(name, mut times)| {
            times.sort_by(f64::total_cmp);
            let at = |part| format!("{:.2} ms", quantile(&times, part));
            vec![(*name).to_owned(), at(0.5), at(0.99), at(1.0)]
        })
        .collect();
    table(&["command", "p50", "p99", "most"], &rows);
}

/// A harness as `pd` recognises one: a program of that name, whose hooks are its children.
struct Harness {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: String,
}

impl Harness {
    fn start(setting: &Setting, number: usize) -> Harness {
        let script = setting.path().join("claude");
        // Once: a shell that has just been started reads it.
        if !script.exists() {
            let text = "while read -r words; do eval \"$words\"; echo; echo done; done\n";
            std::fs::write(&script, text).expect("a script");
        }
        let mut command: Command = setting.command(Path::new("sh"), &[script.to_str().expect("UTF-8")]);
        command.env_remove("PORT_DADDY_AGENT").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let words = child.stdin.take().expect("its stdin");
        let answers = BufReader::new(child.stdout.take().expect("its stdout"));
        Harness { child, words, answers, session: format!("{number:06}") }
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.words, "{command}").expect("told");
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).expect("an answer"), 0, "the harness ended");
            if line == "done\n" {
                return answer;
            }
            answer.push_str(&line);
        }
    }

    /// The characters of context that an event adds.
    fn send(&mut self, setting: &Setting, name: &str, tool: &str, file: &str) -> usize {
        let input: PathBuf = setting.path().join("event.json");
        std::fs::write(&input, event(setting, &self.session, name, tool, file).to_string()).expect("the event");
        let answer = self.ask(&format!("{} hook {name} <{}", pd().display(), input.display()));
        let answer: Value = serde_json::from_str(answer.trim()).unwrap_or_default();
        answer["hookSpecificOutput"]["additionalContext"].as_str().map_or(0, |text| text.chars().count())
    }

    /// A prompt, a file read and edited, a command, the end of the turn.
    fn turn(&mut self, setting: &Setting, file: &str) -> usize {
        let mut chars = self.send(setting, "UserPromptSubmit", "", "");
        chars += self.send(setting, "PostToolUse", "Read", file);
        chars += self.send(setting, "PreToolUse", "Edit", file);
        std::fs::write(setting.repository().join(file), format!("{} {}", self.session, self.words_so_far()))
            .expect("edited");
        chars += self.send(setting, "PostToolUse", "Edit", file);
        chars += self.send(setting, "PreToolUse", "Bash", "");
        chars += self.send(setting, "PostToolUse", "Bash", "");
        chars + self.send(setting, "Stop", "", "")
    }

    fn words_so_far(&self) -> String {
        format!("{:?}", Instant::now())
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn day() {
    let setting = Setting::new();
    std::fs::create_dir(setting.repository().join("src")).expect("a directory");
    let mut agents: Vec<Harness> = (0..DAY_AGENTS).map(|n| Harness::start(&setting, n)).collect();
    let mut starts: Vec<usize> = agents.iter_mut().map(|a| a.send(&setting, "SessionStart", "", "")).collect();
    let mut turns: Vec<usize> = Vec::new();
    let mut next = DAY_AGENTS;
    for turn in 0..TURNS {
        for (n, agent) in agents.iter_mut().enumerate() {
            // One turn in ten is on a file that all share; one in twelve publishes; each day an agent or two die.
            let step = turn * DAY_AGENTS + n;
            let shared = (step * 7).is_multiple_of(10);
            let file =
                if shared { format!("src/shared{}.rs", step % 4) } else { format!("src/part{n}-{}.rs", turn % 8) };
            if step % 12 == 5 {
                agent.ask(&format!("{} pub 'part{n}:done' '{{\"step\":{step},\"ok\":true}}' -q", pd().display()));
            }
            let mut chars = 0;
            if (turn, n) == (40, 1) || (turn, n) == (90, 3) {
                *agent = Harness::start(&setting, next);
                next += 1;
                chars = agent.send(&setting, "SessionStart", "", "");
                starts.push(chars);
            }
            turns.push(chars + agent.turn(&setting, &file));
        }
    }
    let mut quiet = 0;
    for turn in 0..=QUIET_TURNS {
        for (n, agent) in agents.iter_mut().enumerate() {
            let chars = agent.turn(&setting, &format!("src/part{n}-0.rs"));
            // The first is told what the day still held.
            quiet += if turn == 0 { 0 } else { chars };
        }
    }
    let silent = turns.iter().filter(|chars| **chars == 0).count();
    let mean = turns.iter().sum::<usize>() as f64 / turns.len() as f64;
    let mut sorted: Vec<f64> = turns.iter().map(|chars| *chars as f64).collect();
    sorted.sort_by(f64::total_cmp);
    println!(
        "\nA day of {DAY_AGENTS} agents with {TURNS} turns each (seven events a turn; one turn in ten on a shared file, 50 signals, two deaths), \
         characters of context a turn: mean {mean:.0} (the aim: under 600), 99th percentile {:.0}, most {:.0}; {silent} of {} turns had none. \
         A session's start had at most {} (the bound: 1,500). {} turns afterwards in which nothing was new had {quiet} in all.",
        quantile(&sorted, 0.99),
        quantile(&sorted, 1.0),
        turns.len(),
        starts.iter().max().expect("starts"),
        QUIET_TURNS * DAY_AGENTS,
    );
}
