//! Who a command is taken to come from, told by the processes above it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::place::Place;

/// A program that runs an agent: a script by the name of a harness, which does one thing after each word that it reads.
pub(crate) struct Harness {
    pub(crate) child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Harness {
    pub(crate) fn start(place: &Place, name: &str, number: usize) -> Self {
        let dir = place.path(&format!("bin{number}"));
        std::fs::create_dir(&dir).unwrap();
        let script = dir.join(name);
        let text = "#!/bin/sh\nwhile read -r words; do eval \"$words\"; done\n";
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        // Run by its interpreter: a file that was just written may still be open in a child of another test.
        let mut command = place.program("sh");
        let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, words, answers }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.words, "{command}; echo \"done $?\"").unwrap();
    }

    /// What the command that it was told said, without its end.
    fn answer(&mut self) -> String {
        let mut answer = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "it ended: {answer}");
            match line.strip_prefix("done ") {
                Some("0\n") => return answer,
                Some(code) => panic!("exit {code}: {answer}"),
                None => answer.push_str(&line),
            }
        }
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

#[test]
fn five_agents_in_one_directory_are_told_apart_by_their_harnesses() {
    let mut place = Place::new();
    place.agent("");
    let names = ["claude", "claude", "claude", "codex", "codex"];
    let mut harnesses: Vec<Harness> =
        names.iter().enumerate().map(|(number, name)| Harness::start(&place, name, number)).collect();
    // All at once, each time.
    for (number, harness) in harnesses.iter_mut().enumerate() {
        harness.tell(&format!("pd begin 'Work {number}'"));
    }
    harnesses.iter_mut().for_each(|h| drop(h.answer()));
    for round in 0..3 {
        for (number, harness) in harnesses.iter_mut().enumerate() {
            harness.tell(&format!("pd note 'Note {number} {round}'"));
        }
        harnesses.iter_mut().for_each(|h| drop(h.answer()));
    }
    let ids: Vec<String> = harnesses.iter_mut().map(|h| h.ask("pd whoami -q").trim().to_owned()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
    for (id, name) in ids.iter().zip(names) {
        assert!(id.starts_with(&format!("{name}-")), "{ids:?}");
    }

    place.agent("looker");
    let sessions = place.json(&["sessions"]);
    let sessions = sessions["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 5);
    let agent_of: BTreeMap<&str, (&str, &str)> =
        sessions.iter().map(|s| (text(s, "id"), (text(s, "agent"), text(s, "purpose")))).collect();
    let notes = place.json(&["notes", "--limit", "100"]);
    let notes: Vec<&Value> = notes["notes"].as_array().unwrap().iter().filter(|n| n["type"] == "note").collect();
    assert_eq!(notes.len(), 15, "{notes:?}");
    for note in notes {
        let number = text(note, "text").split(' ').nth(1).unwrap();
        let (agent, purpose) = agent_of[text(note, "session")];
        assert_eq!((agent, text(note, "agent")), (ids[number.parse::<usize>().unwrap()].as_str(), agent));
        assert_eq!(purpose, format!("Work {number}"));
    }

    // The end of one is its agent's alone, and is known at once.
    let pid = harnesses[3].child.id();
    harnesses[3].child.kill().unwrap();
    harnesses[3].child.wait().unwrap();
    let agents = place.json(&["agents"]);
    for agent in agents["agents"].as_array().unwrap() {
        let dead = agent["id"] == ids[3].as_str();
        assert_eq!(text(agent, "state"), if dead { "dead" } else { "active" }, "{agent}");
        if dead {
            assert_eq!(text(agent, "death"), format!("process {pid} (codex) is gone"));
        }
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn commands_typed_into_a_shell_are_its_agent_s_until_it_ends() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no script(1) to type into a terminal with");
        return;
    }
    let mut place = Place::new();
    place.agent("");
    let path = |name: &str| place.path(name);
    let keys = path("keys");
    assert!(place.program("mkfifo").arg(&keys).status().unwrap().success());
    // Outside of whatever the tests run in, as `Place::orphan` does.
    let at = path("").display().to_string();
    let script = format!(
        "(while kill -0 $$ 2>/dev/null; do :; done; SHELL=/bin/sh exec script -q {at}/typescript <{at}/keys >/dev/null 2>&1) &"
    );
    assert!(place.program("sh").args(["-c", &script]).status().unwrap().success());
    let mut keys = std::fs::OpenOptions::new().write(true).open(keys).unwrap();
    let mut typed = |words: &str| {
        let end = path("end");
        writeln!(keys, "{words}; echo $$ >{at}/end.new; mv {at}/end.new {at}/end").unwrap();
        place.until(|| end.exists());
        let pid = std::fs::read_to_string(&end).unwrap();
        std::fs::remove_file(end).unwrap();
        pid.trim().to_owned()
    };
    typed("pd begin 'Typing'");
    typed("pd note 'one'");
    let pid = typed(&format!("pd whoami --json >{at}/who"));
    let who: Value = serde_json::from_str(&std::fs::read_to_string(path("who")).unwrap()).unwrap();
    assert_eq!(text(&who, "source"), "shell");
    let id = text(&who, "agent");
    assert!(id.starts_with("tty-"), "{id}");
    let notes = place.json(&["notes", "--agent", id, "--type", "note"]);
    assert_eq!(notes["notes"].as_array().unwrap().len(), 1, "{notes}");
    let agent = || {
        let agents = place.json(&["agents"]);
        agents["agents"].as_array().unwrap().iter().find(|a| a["id"] == id).unwrap().clone()
    };
    assert_eq!(text(&agent(), "state"), "active");
    assert_eq!(agent()["proofs"][0]["kind"], "shell");
    assert!(place.program("kill").args(["-9", &pid]).status().unwrap().success());
    place.until(|| text(&agent(), "state") == "dead");
    assert_eq!(text(&agent(), "death"), format!("shell {pid} (sh) is gone"));
}
