//! Two agents that never call `pd` by themselves: all that happens between them happens in the hooks of their harnesses,
//! which are real processes.

use serde_json::Value;

use crate::callers::Harness;
use crate::hook::{context, on_file, recorded};
use crate::place::Place;

/// An agent whose harness sends events and edits files as a coding agent's does.
struct Agent<'a> {
    place: &'a Place,
    harness: Harness,
    session: &'static str,
}

impl<'a> Agent<'a> {
    fn start(place: &'a Place, session: &'static str, number: usize) -> Self {
        Self { place, harness: Harness::start(place, "claude", number), session }
    }

    fn send(&mut self, event: &Value) -> Value {
        let file = self.place.path(&format!("event-{}", self.session));
        std::fs::write(&file, event.to_string()).unwrap();
        let name = event["hook_event_name"].as_str().unwrap();
        let answer = self.harness.ask(&format!("pd hook {name} <{}", file.display()));
        if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).unwrap() }
    }

    fn event(&mut self, name: &str) -> Value {
        let event = recorded(name, self.session, &self.place.cwd());
        self.send(&event)
    }

    fn on(&mut self, name: &str, file: &str) -> Value {
        let event = on_file(name, self.session, &self.place.cwd(), file);
        self.send(&event)
    }

    /// Reads a file, then adds a line as its Edit tool would. What the hooks said before it wrote.
    fn edit(&mut self, file: &str, line: &str) -> Value {
        assert!(self.on("PostToolUse-Read", file).is_null());
        let told = self.on("PreToolUse-Edit", file);
        let path = self.place.cwd().join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(path, format!("{text}{line}\n")).unwrap();
        told
    }
}

#[test]
fn two_agents_that_only_send_events_are_told_of_each_other_and_one_goes_on_with_the_others_work() {
    let mut place = Place::new();
    place.agent("");
    place.write("src/a.ts", "base\n");
    let git = "export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t
        git init -q -b main && git add -A && git commit -qm Begin";
    assert_eq!(place.sh(git).shown(), "");
    let place = &place;
    let (mut a, mut b) = (Agent::start(place, "aaa111", 0), Agent::start(place, "bbb222", 1));
    assert!(a.event("SessionStart").is_null());
    assert!(context(&b.event("SessionStart")).contains("claude-aaa111"));
    assert!(a.event("UserPromptSubmit").is_null());

    // Both edit one file: the later is told before it writes, the earlier at its next event, each once.
    assert!(a.edit("src/a.ts", "from a").is_null());
    assert!(a.on("PostToolUse-Write", "src/a.ts").is_null());
    let told = b.edit("src/a.ts", "from b");
    assert!(context(&told).contains("src/a.ts is claimed by claude-aaa111"), "{told}");
    assert!(b.on("PostToolUse-Write", "src/a.ts").is_null());
    // It is told whose the claim is, and that what it has read is out of date.
    let told = a.on("PreToolUse-Edit", "src/a.ts");
    assert!(context(&told).contains("src/a.ts was written by claude-bbb222"), "{told}");
    assert!(context(&told).contains("src/a.ts, which you have claimed, was claimed by claude-bbb222"), "{told}");
    assert!(a.edit("src/a.ts", "from a again").is_null());
    assert!(a.on("PostToolUse-Write", "src/a.ts").is_null());
    assert_eq!(std::fs::read_to_string(place.cwd().join("src/a.ts")).unwrap(), "base\nfrom a\nfrom b\nfrom a again\n");
    let expected = place.json(&["files", "list"]);
    assert_eq!(expected["claims"].as_array().unwrap().len(), 2, "{expected}");

    // The first dies at work. The other's next prompt says so, once.
    assert!(a.edit("src/new.ts", "unfinished").is_null());
    a.harness.child.kill().unwrap();
    a.harness.child.wait().unwrap();
    assert!(b.on("PostToolUse-Read", "src/a.ts").is_null());
    let told = b.event("UserPromptSubmit");
    let text = context(&told);
    assert!(text.contains("claude-aaa111 died ") && text.contains("pd salvage claim claude-aaa111"), "{told}");
    assert!(text.contains("Write a function to calculate the factorial of a number"), "{told}");
    assert!(b.event("UserPromptSubmit").is_null());
    assert!(context(&b.event("SessionStart")).contains("pd salvage claim claude-aaa111"));
    // Its claim blocks nobody, and the news that its agent is dead is told once, too.
    let told = b.on("PreToolUse-Edit", "src/new.ts");
    assert!(context(&told).contains("is dead"), "{told}");
    assert!(b.on("PreToolUse-Edit", "src/new.ts").is_null());

    let briefing = b.harness.ask("pd salvage claim claude-aaa111 --agent claude-bbb222");
    assert!(briefing.contains("src/new.ts") && briefing.contains("src/a.ts"), "{briefing}");
    let sessions = place.json(&["sessions"]);
    let mine = sessions["sessions"].as_array().unwrap().iter().filter(|s| s["agent"] == "claude-bbb222").count();
    assert_eq!(mine, 2, "{sessions}");
    assert_eq!(std::fs::read_to_string(place.cwd().join("src/new.ts")).unwrap(), "unfinished\n");
    assert!(b.event("SessionEnd").is_null());
    let failed = place.json(&["log", "--type", "hook.failed", "--all"]);
    assert_eq!(failed["entries"], serde_json::json!([]));
}
