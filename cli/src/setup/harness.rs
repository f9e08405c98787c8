//! The harnesses: which files each reads, as its documentation says, and what goes into them.

use std::path::{Path, PathBuf};

use portdaddy_core::Error;
use serde::Serialize;
use serde_json::Value;

use super::json::Dialect;
use super::settings::{self, Whose};
use super::store::{self, Original};
use super::{After, Machine, Plan, SERVER, Wish, block, ending, instructions, toml};

/// A coding harness that can be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Harness {
    /// Claude Code: hooks, instructions, MCP
    Claude,
    /// Codex: MCP, instructions
    Codex,
    /// Cursor: MCP, instructions
    Cursor,
    /// Gemini CLI: MCP, instructions
    Gemini,
}

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Those of the repository, which others share.
    Project,
    /// Those of this user, for every repository.
    User,
}

/// What `pd hook` does before a git command that could destroy others' work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Git {
    /// The harness asks its user
    Ask,
    /// It is refused
    Deny,
    /// It is told, and allowed
    Allow,
}

impl Git {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// What of a harness is set up at one level.
#[derive(Default, Serialize)]
pub(crate) struct Parts {
    pub(crate) hooks: bool,
    pub(crate) mcp: bool,
    pub(crate) instructions: bool,
}

/// A harness on this machine.
#[derive(Serialize)]
pub(crate) struct State {
    pub(crate) harness: Harness,
    /// Whether its program or its directory was found.
    pub(crate) found: bool,
    pub(crate) project: Parts,
    pub(crate) user: Parts,
}

const ALL: [Harness; 4] = [Harness::Claude, Harness::Codex, Harness::Cursor, Harness::Gemini];

impl Harness {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Gemini => "gemini",
        }
    }

    /// Where its settings are.
    fn dir(self, machine: &Machine, level: Level) -> PathBuf {
        match (self, level) {
            (Self::Claude, Level::User) => machine.claude.clone(),
            (Self::Codex, Level::User) => machine.codex.clone(),
            (_, Level::User) => machine.home.join(format!(".{}", self.name())),
            (_, Level::Project) => machine.root.join(format!(".{}", self.name())),
        }
    }

    /// The file with the MCP server; none where only the harness's own command may write it.
    fn servers(self, machine: &Machine, level: Level) -> Option<(PathBuf, Dialect)> {
        let dir = self.dir(machine, level);
        match (self, level) {
            (Self::Claude, Level::Project) => Some((machine.root.join(".mcp.json"), Dialect::Plain)),
            (Self::Claude, Level::User) => None,
            (Self::Codex, _) => Some((dir.join("config.toml"), Dialect::Plain)),
            (Self::Cursor, _) => Some((dir.join("mcp.json"), Dialect::Plain)),
            (Self::Gemini, _) => Some((dir.join("settings.json"), Dialect::Comments)),
        }
    }

    /// The file with the instructions themselves.
    fn agents_md(self, machine: &Machine, level: Level) -> Option<PathBuf> {
        match (self, level) {
            (_, Level::Project) => Some(machine.root.join("AGENTS.md")),
            (Self::Claude, Level::User) => Some(machine.claude.join("CLAUDE.md")),
            (Self::Codex, Level::User) => Some(machine.codex.join("AGENTS.md")),
            (Self::Gemini, Level::User) => Some(self.dir(machine, level).join("GEMINI.md")),
            (Self::Cursor, Level::User) => None,
        }
    }

    /// The file that a project's harness reads instead of `AGENTS.md`, and how it imports that.
    fn importer(self, machine: &Machine, level: Level) -> Option<(PathBuf, &'static str)> {
        let root = &machine.root;
        match (self, level) {
            (Self::Claude, Level::Project) => {
                let (at_root, inner) = (root.join("CLAUDE.md"), root.join(".claude/CLAUDE.md"));
                let inside = inner.is_file() && std::fs::symlink_metadata(&at_root).is_err();
                Some(if inside { (inner, "@../AGENTS.md") } else { (at_root, "@AGENTS.md") })
            }
            (Self::Gemini, Level::Project) => Some((root.join("GEMINI.md"), "@./AGENTS.md")),
            _ => None,
        }
    }
}

/// What has to be done for a wish.
pub(super) fn plan(machine: &Machine, wish: &Wish) -> Result<Plan, Error> {
    let Wish { harness, level, remove, .. } = *wish;
    let command = machine.command(level);
    let mut plan = Plan::default();
    if harness == Harness::Claude {
        let hooks = settings::hooks(command, wish.strict, wish.git);
        let path = harness.dir(machine, level).join("settings.json");
        plan.edit(machine, path, |path, original| match remove {
            true => settings::remove_hooks(path, original),
            false => settings::add_hooks(path, original, &hooks, ending(machine, original)),
        })?;
    }
    if remove || wish.mcp {
        server(&mut plan, machine, wish, command)?;
    }
    if remove || wish.instructions {
        told(&mut plan, machine, wish)?;
    }
    if !remove {
        remarks(&mut plan, machine, wish);
    }
    Ok(plan)
}

fn server(plan: &mut Plan, machine: &Machine, wish: &Wish, command: &str) -> Result<(), Error> {
    let Wish { harness, level, remove, .. } = *wish;
    let Some((path, dialect)) = harness.servers(machine, level) else {
        // That file holds much else, and the harness writes it while it runs.
        if remove && wish.mcp {
            plan.run.push(format!("claude mcp remove --scope user {SERVER}"));
        } else if !remove {
            plan.run.push(format!("claude mcp add --scope user {SERVER} -- {} mcp", quoted(command)));
        }
        return Ok(());
    };
    let mut foreign = false;
    let shown = machine.shown(&path);
    plan.edit(machine, path, |path, original| {
        let end = ending(machine, original);
        match (harness, remove) {
            (Harness::Codex, _) => codex(path, original, command, remove, end, &mut foreign),
            (_, true) => settings::remove_server(path, original, dialect),
            (_, false) => settings::add_server(path, original, dialect, command, end).map(|after| {
                foreign = after.is_none();
                after.unwrap_or(After::Same)
            }),
        }
    })?;
    if foreign {
        plan.notes.push(format!("{shown} has another server called {SERVER}, which was left as it is"));
    }
    Ok(())
}

fn codex(
    path: &Path,
    original: &Original,
    command: &str,
    remove: bool,
    ending: &str,
    foreign: &mut bool,
) -> Result<After, Error> {
    let lines = toml::block(SERVER, command);
    let Some(text) = &original.text else {
        return Ok(if remove { After::Same } else { After::Text(format!("{lines}{ending}")) });
    };
    let edited = match (toml::entry(path, text, SERVER)?, remove) {
        (toml::Entry::Missing, true) => return Ok(After::Same),
        (toml::Entry::Foreign, _) => {
            *foreign = !remove;
            return Ok(After::Same);
        }
        (toml::Entry::Ours { at, .. }, true) => {
            return Ok(match block::take(text, at) {
                block::Left::Text(text) => After::Text(text),
                block::Left::Nothing { dir } => After::Gone { dir },
            });
        }
        (toml::Entry::Ours { command: there, .. }, false) if there == command => return Ok(After::Same),
        (toml::Entry::Ours { at, .. }, false) => {
            let mut edited = text.clone();
            edited.replace_range(at.clone(), &lines.replace('\n', super::newline(&text[at])));
            edited
        }
        (toml::Entry::Missing, false) => block::append(text, &lines),
    };
    // A table of that name may be closed to additions in ways that only a reader notices.
    toml::entry(path, &edited, SERVER)?;
    Ok(After::Text(edited))
}

/// Instructions, and what imports them.
fn told(plan: &mut Plan, machine: &Machine, wish: &Wish) -> Result<(), Error> {
    let Wish { harness, level, remove, .. } = *wish;
    let Some(agents) = harness.agents_md(machine, level) else {
        if !remove {
            plan.notes.push("Cursor keeps a user's rules in its own settings: no instructions were written".to_owned());
        }
        return Ok(());
    };
    let put = |words: &'static str| {
        move |path: &Path, original: &Original| {
            let end = ending(machine, original);
            instructions::edit(path, original, harness.name(), words, !remove, end)
        }
    };
    plan.edit(machine, agents.clone(), put(instructions::WORDS))?;
    let Some((path, import)) = harness.importer(machine, level) else { return Ok(()) };
    if path.canonicalize().is_ok_and(|real| agents.canonicalize().is_ok_and(|agents| agents == real)) {
        return Ok(());
    }
    let read_already = harness == Harness::Gemini && gemini_reads_agents(machine);
    plan.edit(machine, path, |path, original| {
        let imported = original.text.as_deref().is_some_and(|text| instructions::imports(path, text));
        if !remove && (imported || read_already) {
            return Ok(After::Same);
        }
        put(import)(path, original)
    })
}

/// Whether the project's or the user's settings name `AGENTS.md` among the files with context.
fn gemini_reads_agents(machine: &Machine) -> bool {
    [Level::Project, Level::User].into_iter().any(|level| {
        let text =
            std::fs::read_to_string(Harness::Gemini.dir(machine, level).join("settings.json")).unwrap_or_default();
        let names = settings::look(&text, Dialect::Comments).map(|s| {
            if s["context"]["fileName"].is_null() {
                s["contextFileName"].clone()
            } else {
                s["context"]["fileName"].clone()
            }
        });
        match names {
            Some(Value::String(name)) => name == "AGENTS.md",
            Some(Value::Array(names)) => names.iter().any(|name| name == "AGENTS.md"),
            _ => false,
        }
    })
}

fn remarks(plan: &mut Plan, machine: &Machine, wish: &Wish) {
    if wish.harness != Harness::Claude {
        let name = wish.harness.name();
        plan.notes.push(format!(
            "{name}: no hooks were written, so its edits and git commands are not looked at; its agents claim and \
             signal by the MCP tools or pd"
        ));
        if wish.harness == Harness::Codex && wish.level == Level::Project {
            plan.notes.push("Codex reads a project's .codex/config.toml only where the project is trusted".to_owned());
        }
    }
    let other = if wish.level == Level::Project { Level::User } else { Level::Project };
    if parts(machine, wish.harness, other).hooks {
        let (here, there) = if other == Level::User { ("project", "user") } else { ("user", "project") };
        plan.notes.push(format!(
            "{there} settings have pd's hooks, too: with both, each event calls pd twice here (pd setup claude --{here} \
             --remove takes these out again)"
        ));
    }
    if wish.level == Level::Project && !machine.on_path {
        plan.notes.push("the settings call pd by its name, and no pd is on the PATH here".to_owned());
    }
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Every harness, and what of it is set up.
pub(super) fn states(machine: &Machine) -> Vec<State> {
    ALL.into_iter()
        .map(|harness| State {
            harness,
            found: harness.dir(machine, Level::User).is_dir() || installed(harness),
            project: parts(machine, harness, Level::Project),
            user: parts(machine, harness, Level::User),
        })
        .collect()
}

fn installed(harness: Harness) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(harness.name()).is_file())
}

/// Looks without complaint: what can't be read isn't set up.
fn parts(machine: &Machine, harness: Harness, level: Level) -> Parts {
    let text = |path: &Path| store::read(path).ok().and_then(|original| original.text);
    let mut parts = Parts::default();
    if harness == Harness::Claude {
        let settings = text(&harness.dir(machine, level).join("settings.json"));
        parts.hooks =
            settings.and_then(|t| settings::look(&t, Dialect::Plain)).is_some_and(|s| settings::has_hooks(&s));
    }
    if let Some((path, dialect)) = harness.servers(machine, level)
        && let Some(text) = text(&path)
    {
        parts.mcp = if harness == Harness::Codex {
            matches!(toml::entry(&path, &text, SERVER), Ok(toml::Entry::Ours { .. }))
        } else {
            settings::look(&text, dialect).is_some_and(|s| settings::server(&s) == Whose::Ours)
        };
    }
    if let Some(path) = harness.agents_md(machine, level)
        && let Some(text) = text(&path)
    {
        parts.instructions = instructions::harnesses(&path, &text).iter().any(|name| name == harness.name());
    }
    parts
}
