//! `pd setup`: into files of every shape, and out of them to the last byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::place::Place;

/// Everything below a directory: a file's bytes and mode, a link's target, a directory's being there.
fn tree(dir: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if meta.is_dir() {
                dirs.push(path.clone());
                b"dir".to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            all.insert(name, (content, meta.permissions().mode()));
        }
    }
    all
}

fn settings(place: &Place, name: &str) -> Value {
    let text = fs::read_to_string(place.cwd().join(name)).unwrap();
    serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap_or_else(|e| panic!("{name}: {e}: {text}"))
}

/// Sets up, sees that a second time changes nothing, takes out, and sees that everything is as before.
fn round(place: &Place, args: &[&str], check: impl FnOnce(&Place)) {
    let home = place.cwd().parent().unwrap().to_owned();
    let before = tree(&home);
    let with = |extra: &[&'static str]| [&["setup"], args, extra].concat();
    let plain: Vec<_> =
        args.iter().copied().filter(|arg| *arg != "deny" && (!arg.starts_with("--") || *arg == "--user")).collect();
    let dry = place.ok(&with(&["--dry-run"]));
    assert_eq!(tree(&home), before, "a dry run writes nothing");
    let done = place.ok(&with(&[]));
    assert_eq!(dry, done);
    let after = tree(&home);
    assert_ne!(after, before);
    check(place);
    assert_eq!(place.ok(&with(&[])), "", "the second time there is nothing to do");
    assert_eq!(tree(&home), after);
    let out = [&["setup"], &plain[..], &["--remove"]].concat();
    place.ok(&out);
    let left = tree(&home);
    for (name, (bytes, mode)) in &before {
        let (now, now_mode) = left.get(name).unwrap_or_else(|| panic!("{name} is gone"));
        assert_eq!(String::from_utf8_lossy(now), String::from_utf8_lossy(bytes), "{name}");
        assert_eq!(now_mode, mode, "{name}");
    }
    assert_eq!(left, before, "{args:?}");
    assert_eq!(place.ok(&out), "", "there is nothing left to take out");
}

const ODD: &[&str] = &[
    "{}",
    "{}\n",
    "{\n}\n",
    "{ }",
    "{\"model\":\"opus\"}",
    "{\n  \"model\": \"opus\"\n}\n",
    "{\n\t\"env\": {\"A\": \"1\"},\n\t\"hooks\": {}\n}",
    "{\r\n    \"permissions\": {\r\n        \"allow\": []\r\n    }\r\n}\r\n",
    "\u{feff}{\n  \"model\": \"opus\"\n}\n",
    "{\"hooks\":{\"Stop\":[],\"PreToolUse\":[]}}",
    "{\n \"hooks\": {\n   \"PreToolUse\": [\n     {\"matcher\": \"Bash\", \"hooks\": [{\"type\": \"command\", \"command\": \"./guard.sh\"}]}\n   ],\n   \"Notification\": [ ]\n },\n \"z\": null\n}\n\n",
    "{\"hooks\": {\"PreToolUse\": [{\"matcher\": \"Bash\", \"hooks\": [{\"type\": \"command\", \"command\": \"a\"}]}  ,\n {\"hooks\":[]}\n]}, \"mcpServers\" : { }}",
    "   {\"a\" : [1,2 , 3],\n\n\n  \"hooks\"  :  {  \"SessionEnd\"  : [ {\"hooks\": [ {\"type\":\"command\",\"command\":\"\\u00e9\"} ]} ] }   }   ",
];

#[test]
fn claudes_settings_of_every_shape_come_back_to_the_byte() {
    for (i, text) in ODD.iter().enumerate() {
        let place = Place::new();
        place.write(".claude/settings.json", text);
        place.write("CLAUDE.md", if i % 2 == 0 { "# Rules" } else { "# Rules\r\n" });
        fs::set_permissions(place.cwd().join(".claude/settings.json"), fs::Permissions::from_mode(0o640)).unwrap();
        let theirs: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        round(&place, &["claude", "--mcp", "--strict", "--git", "deny"], |place| {
            let now = settings(place, ".claude/settings.json");
            for event in
                ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SubagentStop", "SessionEnd"]
            {
                let groups = now["hooks"][event].as_array().unwrap();
                let before = theirs["hooks"][event].as_array().cloned().unwrap_or_default();
                assert_eq!(groups[..before.len()], before[..], "{text}");
                assert_eq!(groups.len(), before.len() + 1, "{text}");
            }
            for (name, value) in theirs.as_object().unwrap() {
                assert!(name == "hooks" || now[name] == *value, "{name} of {text}");
            }
        });
    }
}

#[test]
fn every_harness_at_both_levels_with_and_without_files() {
    let mcp = ["{}", "{\"mcpServers\": {}}", "{\n  \"mcpServers\": {\n    \"x\": {\"command\": \"x\"}\n  }\n}"];
    let toml = [
        "",
        "\n",
        "model = \"o\"",
        "# mine\nmodel = \"o\"\n\n[mcp_servers.docs]\ncommand = \"docs\" # here\n",
        "model = \"o\"\r\n[tui]\r\nx = 1\r\n",
        "[mcp_servers]\nx.command = \"x\"\n",
    ];
    for level in [&[][..], &["--user"]] {
        for harness in ["claude", "codex", "cursor", "gemini"] {
            let args = [&[harness], level].concat();
            round(&Place::new(), &args, |_| {});
            // An empty directory stays.
            let place = Place::new();
            let at = if level.is_empty() { place.cwd() } else { place.path("") };
            fs::create_dir(at.join(format!(".{harness}"))).unwrap();
            round(&place, &args, |_| {});
        }
        for text in mcp {
            for (harness, file) in [("cursor", ".cursor/mcp.json"), ("gemini", ".gemini/settings.json")] {
                let place = Place::new();
                place.write(&format!("{}{file}", if level.is_empty() { "" } else { "../" }), text);
                round(&place, &[&[harness], level].concat(), |_| {});
            }
        }
        for text in toml {
            let place = Place::new();
            place.write(&format!("{}.codex/config.toml", if level.is_empty() { "" } else { "../" }), text);
            round(&place, &[&["codex"], level].concat(), |_| {});
        }
    }
    let place = Place::new();
    place.write(
        ".gemini/settings.json",
        "{\n  // mine\n  \"context\": {\"fileName\": [\"AGENTS.md\"]}, /* last */\n}\n",
    );
    round(&place, &["gemini"], |place| {
        assert!(!place.cwd().join("GEMINI.md").exists(), "it reads AGENTS.md by itself");
    });
}

#[test]
fn the_hooks_are_what_the_harness_documents() {
    let place = Place::new();
    place.ok(&["setup", "claude", "--strict", "--git", "allow"]);
    let hooks = &settings(&place, ".claude/settings.json")["hooks"];
    for (event, groups) in hooks.as_object().unwrap() {
        let hook = &groups[0]["hooks"][0];
        assert_eq!((hook["type"].as_str(), hook["command"].as_str()), (Some("command"), Some("pd")));
        assert!(hook["timeout"].as_u64().unwrap() <= 30, "seconds");
        let args: Vec<_> = hook["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        assert_eq!(args[..2], ["hook", event]);
        let rest = if event == "PreToolUse" { &["--strict", "--git", "allow"][..] } else { &[] };
        assert_eq!(&args[2..], rest);
        let matcher = groups[0]["matcher"].as_str();
        assert_eq!(matcher.is_some(), event.ends_with("ToolUse"), "{event}");
        // With nothing to say it says nothing, and it never fails the harness: as soon as there is such a command.
        if place.pd(&["hook", "--help"]).exit == 0 {
            let input = format!(
                "{{\"session_id\":\"s-1\",\"transcript_path\":\"/t\",\"cwd\":{:?},\"hook_event_name\":\"{event}\"}}",
                place.cwd().display().to_string()
            );
            place.write("input.json", &input);
            let line = format!("pd '{}' < input.json", args.join("' '"));
            assert_eq!(place.sh(&line).exit, 0, "{line}");
        }
    }
    // Other options take the place of those before.
    place.ok(&["setup", "claude"]);
    let hooks = &settings(&place, ".claude/settings.json")["hooks"];
    assert_eq!(hooks["PreToolUse"].as_array().unwrap().len(), 1);
    assert_eq!(hooks["PreToolUse"][0]["hooks"][0]["args"], serde_json::json!(["hook", "PreToolUse"]));
    // A user's own settings name the program itself.
    let run = place.pd(&["setup", "claude", "--user"]);
    assert!(run.exit == 0 && run.stderr.contains("calls pd twice"), "{}", run.shown());
    let user = settings(&place, "../.claude/settings.json");
    let program = user["hooks"]["Stop"][0]["hooks"][0]["command"].as_str().unwrap();
    assert_eq!(Path::new(program).canonicalize().unwrap(), Path::new(env!("CARGO_BIN_EXE_pd")).canonicalize().unwrap());
}

#[test]
fn what_is_no_settings_file_is_left_untouched() {
    for (file, text, args, words) in [
        (".claude/settings.json", "{\n  \"a\": 1,\n}\n", &["claude"][..], "line 2, column 9"),
        (".claude/settings.json", "", &["claude"], "line 1, column 1"),
        (".claude/settings.json", "{\"hooks\": []}", &["claude"], "\"hooks\" is no object"),
        (".claude/settings.json", "{\"hooks\": {\"Stop\": {}}}", &["claude"], "\"Stop\" is no list"),
        (".claude/settings.json", "{\"hooks\": {}, \"hooks\": {}}", &["claude"], "stands twice"),
        (".claude/settings.json", "[1]", &["claude"], "the document is no object"),
        (".claude/settings.json", "not json", &["claude", "--remove"], "line 1, column 1"),
        (".mcp.json", "{\"mcpServers\": 3}", &["claude", "--mcp"], "is no object"),
        (".codex/config.toml", "a = \n", &["codex"], "line 1"),
        (".codex/config.toml", "mcp_servers = {}\n", &["codex"], "mcp_servers"),
        ("AGENTS.md", "x\n<!-- port-daddy: claude -->\ny\n", &["claude"], "line 2"),
    ] {
        let place = Place::new();
        place.write(file, text);
        let before = tree(&place.cwd());
        let run = place.pd(&[&["setup"], args].concat());
        assert_eq!((run.exit, run.stdout.as_str()), (2, ""), "{file}: {text}: {}", run.shown());
        assert!(run.stderr.contains(file) && run.stderr.contains(words), "{text}: {}", run.stderr);
        assert!(run.stderr.contains("Hint: "), "{}", run.stderr);
        assert_eq!(tree(&place.cwd()), before, "{text}");
    }
    let place = Place::new();
    fs::create_dir_all(place.cwd().join(".claude")).unwrap();
    fs::write(place.cwd().join(".claude/settings.json"), b"{\"a\": \"\xff\"}").unwrap();
    assert!(place.pd(&["setup", "claude"]).stderr.contains("UTF-8"));
}

#[test]
fn a_link_is_followed_and_stays_one() {
    let place = Place::new();
    place.write("../dotfiles/settings.json", "{\"model\": \"opus\"}");
    place.write("CLAUDE.md", "# Both\n");
    symlink("CLAUDE.md", place.cwd().join("AGENTS.md")).unwrap();
    fs::create_dir(place.path(".claude")).unwrap();
    symlink("../dotfiles/settings.json", place.path(".claude/settings.json")).unwrap();
    round(&place, &["claude", "--user"], |place| {
        assert!(fs::symlink_metadata(place.path(".claude/settings.json")).unwrap().is_symlink());
        assert!(settings(place, "../dotfiles/settings.json")["hooks"].is_object());
    });
    round(&place, &["claude"], |place| {
        let text = fs::read_to_string(place.cwd().join("CLAUDE.md")).unwrap();
        assert_eq!((text.matches("<!-- port-daddy").count(), text.contains("@AGENTS.md")), (1, false));
    });
    fs::remove_file(place.path("dotfiles/settings.json")).unwrap();
    let run = place.pd(&["setup", "claude", "--user"]);
    assert!(run.exit == 2 && run.stderr.contains("symbolic link to nothing"), "{}", run.shown());
    // Only root can make what belongs to another.
    place.write("../dotfiles/settings.json", "{}");
    if std::os::unix::fs::lchown(place.path(".claude/settings.json"), Some(12345), None).is_ok() {
        let run = place.pd(&["setup", "claude", "--user"]);
        assert!(run.exit == 2 && run.stderr.contains("belongs to another user"), "{}", run.shown());
        assert_eq!(fs::read_to_string(place.path("dotfiles/settings.json")).unwrap(), "{}");
    }
}

/// A killed `pd setup` may leave what it wrote beside a file; the file itself is whole.
#[test]
fn what_a_killed_one_left_is_in_nobodys_way() {
    let place = Place::new();
    place.write(".claude/settings.json", "{}");
    place.write(".claude/.settings.json.port-daddy", "{ \"hal");
    place.ok(&["setup", "claude"]);
    assert!(!place.cwd().join(".claude/.settings.json.port-daddy").exists());
    assert!(settings(&place, ".claude/settings.json")["hooks"].is_object());
}

#[test]
fn two_harnesses_share_one_block_of_instructions() {
    let place = Place::new();
    place.write("AGENTS.md", "# Ours\n");
    let empty = tree(&place.cwd());
    place.ok(&["setup", "claude"]);
    let one = tree(&place.cwd());
    place.ok(&["setup", "codex"]);
    let text = fs::read_to_string(place.cwd().join("AGENTS.md")).unwrap();
    assert!(text.contains("<!-- port-daddy: claude, codex -->") && text.matches("/port-daddy").count() == 1, "{text}");
    assert!(text.lines().filter(|l| !l.starts_with("# ")).count() <= 10, "{text}");
    place.ok(&["setup", "codex", "--remove"]);
    assert_eq!(tree(&place.cwd()), one);
    place.ok(&["setup", "codex"]);
    place.ok(&["setup", "claude", "--remove"]);
    assert!(fs::read_to_string(place.cwd().join("AGENTS.md")).unwrap().contains("<!-- port-daddy: codex -->"));
    place.ok(&["setup", "codex", "--remove"]);
    assert_eq!(tree(&place.cwd()), empty);
    // What is imported already isn't imported again.
    place.write("CLAUDE.md", "See @AGENTS.md.\n");
    round(&place, &["claude"], |place| {
        assert_eq!(fs::read_to_string(place.cwd().join("CLAUDE.md")).unwrap(), "See @AGENTS.md.\n");
    });
}

#[test]
fn anothers_entry_of_our_name_stays() {
    let place = Place::new();
    let text = "{\"mcpServers\": {\"port-daddy\": {\"command\": \"node\", \"args\": [\"x.js\"]}}}";
    place.write(".cursor/mcp.json", text);
    let run = place.pd(&["setup", "cursor"]);
    assert!(run.exit == 0 && run.stderr.contains("another server called port-daddy"), "{}", run.shown());
    place.ok(&["setup", "cursor", "--remove"]);
    assert_eq!(fs::read_to_string(place.cwd().join(".cursor/mcp.json")).unwrap(), text);
}

#[test]
fn what_a_person_added_behind_ours_stays() {
    let place = Place::new();
    place.ok(&["setup", "claude"]);
    let path = place.cwd().join(".claude/settings.json");
    let text = fs::read_to_string(&path).unwrap();
    let theirs = text.replacen("{\n  \"hooks\"", "{\n  \"model\": \"opus\",\n  \"hooks\"", 1);
    fs::write(&path, &theirs).unwrap();
    place.ok(&["setup", "claude", "--remove"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"model\": \"opus\"\n}\n");
}

#[test]
fn several_at_once_lose_nothing() {
    for _ in 0..5 {
        let place = Place::new();
        place.write("AGENTS.md", "# Ours\n");
        place.write(".gemini/settings.json", "{\"a\": 1}");
        let before = tree(&place.cwd());
        let all = ["claude", "codex", "cursor", "gemini"];
        let runs: Vec<_> = all.iter().flat_map(|h| [h, h]).map(|h| place.start(&["setup", h, "--mcp"])).collect();
        for run in runs {
            let run = run.end();
            assert_eq!(run.exit, 0, "{}", run.shown());
        }
        let states = place.json(&["setup"]);
        for state in states["harnesses"].as_array().unwrap() {
            assert_eq!(
                (&state["project"]["mcp"], &state["project"]["instructions"]),
                (&true.into(), &true.into()),
                "{state}"
            );
        }
        let runs: Vec<_> = all.iter().map(|h| place.start(&["setup", h, "--remove"])).collect();
        runs.into_iter().for_each(|run| assert_eq!(run.end().exit, 0));
        assert_eq!(tree(&place.cwd()), before);
    }
}

#[test]
fn a_users_mcp_server_is_entered_by_claude_itself() {
    let place = Place::new();
    let said = place.json(&["setup", "claude", "--user", "--mcp"]);
    let run = said["run"][0].as_str().unwrap();
    assert!(run.starts_with("claude mcp add --scope user port-daddy -- /") && run.ends_with(" mcp"), "{run}");
    let mut elsewhere = place.command(&["setup", "claude", "--user", "-q"]);
    let out = elsewhere.env("CLAUDE_CONFIG_DIR", place.path("config")).output().unwrap();
    assert!(out.status.success());
    assert!(place.path("config/settings.json").exists() && place.path("config/CLAUDE.md").exists());
    let refused = place.pd(&["setup", "codex", "--strict"]);
    assert!(refused.exit == 2 && refused.stderr.contains("hooks"), "{}", refused.shown());
}
