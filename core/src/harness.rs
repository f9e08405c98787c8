//! The programs that a caller is recognised by: harnesses of coding agents, and interactive shells.
//!
//! A harness is known by what it sets in the environment of its commands, as its documentation says, and by its process:
//! the program's name, or the script that an interpreter runs.

use crate::sys::process::ProcessInfo;

/// A program that runs coding agents, and what it tells the commands that it starts.
pub(crate) struct Harness {
    pub(crate) name: &'static str,
    /// Holds the id of the running session.
    pub(crate) session: Option<&'static str>,
    /// Holds the pid of the harness.
    pub(crate) pid: Option<&'static str>,
    /// Set, without saying which session it is.
    pub(crate) markers: &'static [&'static str],
    /// Other names of its program.
    programs: &'static [&'static str],
    /// Parts of the path of a script that is its program.
    paths: &'static [&'static str],
}

const fn harness(name: &'static str) -> Harness {
    Harness { name, session: None, pid: None, markers: &[], programs: &[], paths: &[] }
}

/// Those that are known.
pub(crate) const HARNESSES: &[Harness] = &[
    Harness {
        session: Some("CLAUDE_CODE_SESSION_ID"),
        pid: Some("CLAUDE_PID"),
        markers: &["CLAUDECODE"],
        programs: &["claude-code"],
        paths: &["@anthropic-ai/claude-code"],
        ..harness("claude")
    },
    Harness {
        session: Some("CODEX_THREAD_ID"),
        markers: &["CODEX_SANDBOX"],
        programs: &["codex-cli"],
        paths: &["@openai/codex"],
        ..harness("codex")
    },
    Harness {
        markers: &["GEMINI_CLI"],
        programs: &["gemini-cli"],
        paths: &["@google/gemini-cli"],
        ..harness("gemini")
    },
    Harness { markers: &["CURSOR_AGENT"], paths: &["cursor-agent/versions"], ..harness("cursor-agent") },
    Harness { markers: &["OPENCODE"], paths: &["opencode-ai"], ..harness("opencode") },
    Harness { markers: &["QWEN_CODE"], programs: &["qwen-code"], paths: &["@qwen-code/qwen-code"], ..harness("qwen") },
    Harness { markers: &["GOOSE_TERMINAL"], ..harness("goose") },
    Harness { paths: &["@sourcegraph/amp"], ..harness("amp") },
    Harness { paths: &["@github/copilot"], ..harness("copilot") },
    Harness { paths: &["@charmland/crush"], ..harness("crush") },
    harness("aider"),
];

const SHELLS: &[&str] =
    &["sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "tcsh", "csh", "nu", "xonsh", "pwsh", "elvish"];

/// The last part of a path, without an extension that marks programs.
pub(crate) fn program(path: &str) -> &str {
    let base = path.rsplit(['/', '\\']).next().unwrap_or(path);
    base.strip_suffix(".exe").or_else(|| base.strip_suffix(".cmd")).unwrap_or(base)
}

/// The harness that a process is.
pub(crate) fn harness_of(process: &ProcessInfo) -> Option<&'static Harness> {
    let name = program(&process.name);
    let called = process.args.first().map_or(name, |a| program(a.split(' ').next().unwrap_or(a)));
    // The program lends its file to helpers that live for one command, and tells them apart by the name it calls them.
    if called.starts_with("codex-") && name.starts_with("codex") && by_name(called).is_none() {
        return None;
    }
    by_name(name).or_else(|| by_name(called)).or_else(|| {
        let interpreter = if is_interpreter(called) { called } else { name };
        let script = is_interpreter(interpreter).then(|| script(interpreter, &process.args)).flatten()?;
        let base = program(script);
        let stem = match base.rsplit_once('.') {
            Some((stem, "js" | "mjs" | "cjs" | "ts" | "mts" | "py" | "rb" | "sh")) => stem,
            _ => base,
        };
        by_name(stem).or_else(|| by_path(script))
    })
}

fn by_name(name: &str) -> Option<&'static Harness> {
    // Released binaries are named for what they were built for.
    let plain = name.strip_prefix("codex-").filter(|rest| rest.starts_with("x86_64") || rest.starts_with("aarch64"));
    let name = if plain.is_some() { "codex" } else { name };
    HARNESSES.iter().find(|h| h.name == name || h.programs.contains(&name))
}

fn by_path(script: &str) -> Option<&'static Harness> {
    let parts: Vec<&str> = script.split(['/', '\\']).collect();
    let holds = |path: &str| {
        let wanted: Vec<&str> = path.split('/').collect();
        parts.windows(wanted.len()).any(|part| part == wanted)
    };
    HARNESSES.iter().find(|h| h.paths.iter().any(|p| holds(p)))
}

fn is_interpreter(name: &str) -> bool {
    let versioned = |stem: &str| {
        name.strip_prefix(stem).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'w')))
    };
    // Node calls its main thread so.
    matches!(name, "nodejs" | "bun" | "deno" | "MainThread" | "node-MainThread")
        || ["node", "python", "pypy", "ruby"].into_iter().any(versioned)
        || SHELLS.contains(&name)
}

/// The script that an interpreter runs: its first argument that is no option and no option's value. None if the program
/// was given as text, in which the name of a harness means nothing.
fn script<'a>(interpreter: &str, args: &'a [String]) -> Option<&'a str> {
    let shell = SHELLS.contains(&interpreter);
    let valued: &[&str] = match interpreter {
        _ if shell => &["-o", "-O", "--rcfile", "--init-file"],
        i if i.starts_with("py") => &["-W", "-X"],
        i if i.starts_with("ruby") => &["-r", "-I", "-C"],
        _ => &["-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions", "--env-file"],
    };
    let mut rest = args.iter().skip(1).map(String::as_str);
    let mut subcommand = matches!(interpreter, "bun" | "deno");
    while let Some(arg) = rest.next() {
        match arg {
            "--" => return rest.next(),
            "-m" if interpreter.starts_with("py") => return rest.next().map(|m| m.split('.').next().unwrap_or(m)),
            "-e" | "-p" | "-pe" | "--eval" | "--print" | "eval" if !shell => return None,
            "-c" if !interpreter.starts_with("ruby") => return None,
            option if valued.contains(&option) => {
                rest.next();
            }
            "run" | "x" if subcommand => subcommand = false,
            option if option.starts_with('-') => {
                if shell && is_command_option(option) {
                    return None;
                }
            }
            script => return Some(script),
        }
    }
    None
}

/// `-c` among a shell's short options: `-lc`, `-ic`.
fn is_command_option(option: &str) -> bool {
    let letters = option.strip_prefix('-').unwrap_or("");
    letters.contains('c') && letters.bytes().all(|b| b"cilsxev".contains(&b)) || option == "--command"
}

/// The terminal's short name, if the process is an interactive shell that leads its session.
pub(crate) fn terminal_of(process: &ProcessInfo) -> Option<String> {
    let tty = process.tty.as_deref().filter(|_| process.session_leader)?;
    let name = program(&process.name);
    if !SHELLS.contains(&name.strip_prefix('-').unwrap_or(name)) {
        return None;
    }
    // A shell that was started for one command (`ssh -t host 'pd …'`) is gone with it; nobody types there.
    let options = process.args.iter().skip(1).take_while(|a| a.starts_with('-'));
    if options.into_iter().any(|a| is_command_option(a)) {
        return None;
    }
    let short: String = tty.strip_prefix("/dev/").unwrap_or(tty).chars().filter(char::is_ascii_alphanumeric).collect();
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::ProcessId;

    #[test]
    fn harness_processes_are_known_by_name_script_and_path() {
        let cases: &[(&str, &[&str], Option<&str>)] = &[
            ("claude", &["claude", "-p"], Some("claude")),
            ("2.0.76", &["/home/me/.local/bin/claude"], Some("claude")),
            ("claude.exe", &[], Some("claude")),
            ("node", &["node", "--no-warnings", "/usr/bin/claude"], Some("claude")),
            ("node-MainThread", &["node", "-r", "./x.js", "/l/@anthropic-ai/claude-code/cli.js"], Some("claude")),
            ("node", &["node", r"C:\npm\@openai\codex\bin\codex.js"], Some("codex")),
            ("node", &["node", "/h/.local/share/cursor-agent/versions/1/index.js"], Some("cursor-agent")),
            ("codex-x86_64-un", &["/v/codex-x86_64-unknown-linux-musl"], Some("codex")),
            ("codex", &["codex-linux-sandbox", "--", "bash"], None),
            ("codex-linux-san", &["/t/codex-linux-sandbox"], None),
            ("python3.12", &["/usr/bin/python3.12", "/home/me/.local/bin/aider", "--yes"], Some("aider")),
            ("python3", &["python3", "-m", "aider"], Some("aider")),
            ("python3", &["python3", "-I", "-W", "ignore", "/venv/bin/aider"], Some("aider")),
            ("python3", &["python3", "-c", "import claude"], None),
            ("python3", &["python3", "train.py", "claude"], None),
            ("bun", &["bun", "run", "opencode.ts"], Some("opencode")),
            ("sh", &["/bin/sh", "/usr/local/bin/claude"], Some("claude")),
            ("bash", &["bash", "-c", "claude -p hi | cat"], None),
            ("bash", &["bash", "-lc", "claude"], None),
            ("node", &["node", "-e", "claude"], None),
            ("node", &["node", "server.js", "claude"], None),
            ("node", &["node", "/src/cursor-agent/server.js"], None),
            ("vim", &["vim", "claude"], None),
            ("qwen", &["qwen"], Some("qwen")),
        ];
        for (name, args, expected) in cases {
            let found = harness_of(&process(name, args)).map(|h| h.name);
            assert_eq!(found, *expected, "{name} {args:?}");
        }
    }

    fn process(name: &str, args: &[&str]) -> ProcessInfo {
        ProcessInfo {
            id: ProcessId { pid: 20, start: 200, namespace: 1 },
            parent: 1,
            session_leader: false,
            tty: None,
            name: name.to_owned(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
        }
    }
}
