//! What `pd setup` does: which files of a coding harness say what, and how that gets in and out of them.
//!
//! A plan is made from the files as they are, shown, and carried out file by file. Nothing is remembered elsewhere: what is
//! ours is known by what it says, and what was there before by how ours stands in it (`json`, `block`). So a project's
//! files can be set up by one person and cleared by another.

mod block;
mod harness;
mod instructions;
mod json;
mod settings;
mod store;
mod toml;

use std::path::{Path, PathBuf};

use portdaddy_core::{Error, Place};

pub(crate) use harness::{Git, Harness, Level, State};
use store::{Dir, Original, Refusal};

/// The name of the MCP server in every harness's settings.
const SERVER: &str = "port-daddy";
/// How often a plan is made anew because a file changed meanwhile.
const TRIES: usize = 5;

/// What is wanted.
pub(crate) struct Wish {
    pub(crate) harness: Harness,
    pub(crate) level: Level,
    pub(crate) remove: bool,
    pub(crate) strict: bool,
    pub(crate) git: Option<Git>,
    pub(crate) mcp: bool,
    pub(crate) instructions: bool,
}

/// Where things are on this machine.
pub(crate) struct Machine {
    /// The repository's working tree, else the working directory.
    root: PathBuf,
    home: PathBuf,
    claude: PathBuf,
    codex: PathBuf,
    /// `pd` by its path, for settings of this user alone.
    program: String,
    /// Whether the name `pd` finds a program.
    pub(crate) on_path: bool,
}

impl Machine {
    pub(crate) fn here() -> Result<Self, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cwd = std::env::current_dir().map_err(|e| {
            Error::invalid(format!("the working directory can't be read: {e}")).hint("change to one that exists")
        })?;
        let home = std::env::home_dir()
            .filter(|h| h.is_absolute())
            .ok_or_else(|| Error::invalid("the home directory isn't known").hint("set HOME to an absolute path"))?;
        let root = Place::of(&cwd)?.repository.map_or_else(|| cwd.clone(), |r| r.worktree);
        let own = std::env::current_exe().ok();
        let named: Vec<PathBuf> =
            set("PATH").iter().flat_map(std::env::split_paths).map(|dir| dir.join("pd")).collect();
        // The name on the PATH outlives an upgrade; but only if it is this program, not another's or a wrapper.
        let real = own.as_ref().and_then(|own| own.canonicalize().ok());
        let same = named.iter().find(|p| p.is_absolute() && p.canonicalize().ok() == real);
        let program = same.cloned().or(own).unwrap_or_else(|| "pd".into());
        let program = program.into_os_string().into_string().map_err(|path| {
            Error::invalid(format!("the path of pd isn't UTF-8: {}", path.display())).hint("install pd elsewhere")
        })?;
        Ok(Self {
            claude: set("CLAUDE_CONFIG_DIR").map_or_else(|| home.join(".claude"), |dir| cwd.join(dir)),
            codex: set("CODEX_HOME").map_or_else(|| home.join(".codex"), |dir| cwd.join(dir)),
            on_path: named.iter().any(|p| p.is_file()),
            root,
            home,
            program,
        })
    }

    /// What the settings call: others of a project have `pd` elsewhere.
    fn command(&self, level: Level) -> &str {
        if level == Level::Project { "pd" } else { &self.program }
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// What becomes of a file.
enum After {
    Same,
    Text(String),
    /// It goes: it held nothing but what we made. `dir`: its directory, too, if that is empty then.
    Gone {
        dir: bool,
    },
}

/// One file's change.
pub(crate) struct Change {
    original: Original,
    after: After,
    /// Its path, as shown.
    pub(crate) path: String,
    /// `created`, `changed` or `removed`.
    pub(crate) what: &'static str,
    pub(crate) diff: String,
}

/// What will be done, and what should be known about it.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    pub(crate) notes: Vec<String>,
    /// What the harness wants to be told by its own command.
    pub(crate) run: Vec<String>,
}

impl Plan {
    fn edit(
        &mut self,
        machine: &Machine,
        path: PathBuf,
        edit: impl FnOnce(&Path, &Original) -> Result<After, Error>,
    ) -> Result<(), Error> {
        let original = store::read(&path)?;
        let mut after = edit(&path, &original)?;
        if let (After::Gone { .. }, true, Some(text)) = (&after, original.linked, &original.text) {
            // The link is somebody's, and is to lead somewhere.
            after = After::Text(if text.trim_start().starts_with('{') { "{}\n" } else { "" }.to_owned());
        }
        let (old, new) = match &after {
            After::Same => return Ok(()),
            After::Text(text) => (original.text.as_deref().unwrap_or_default(), text.as_str()),
            After::Gone { .. } => (original.text.as_deref().unwrap_or_default(), ""),
        };
        let shown = machine.shown(&path);
        let slash = if shown.starts_with('/') { "" } else { "/" };
        let (from, to) = (format!("a{slash}{shown}"), format!("b{slash}{shown}"));
        let (what, from, to) = match (&original.text, &after) {
            (None, _) => ("created", "/dev/null", to.as_str()),
            (_, After::Gone { .. }) => ("removed", from.as_str(), "/dev/null"),
            _ => ("changed", from.as_str(), to.as_str()),
        };
        let diff =
            similar::TextDiff::from_lines(old, new).unified_diff().context_radius(3).header(from, to).to_string();
        self.changes.push(Change { original, after, path: shown, what, diff });
        Ok(())
    }
}

/// Plans, and carries the plan out unless `dry`.
pub(crate) fn set_up(machine: &Machine, wish: &Wish, dry: bool) -> Result<Plan, Error> {
    let own = if wish.level == Level::Project { &machine.root } else { &machine.home };
    let mut changed = PathBuf::new();
    for _ in 0..TRIES {
        let turn = if dry { None } else { store::turn(own)? };
        let plan = harness::plan(machine, wish)?;
        if dry {
            return Ok(plan);
        }
        match carry_out(machine, &plan) {
            Ok(()) => return Ok(plan),
            Err((Refusal::Error(e), _)) => return Err(e),
            Err((Refusal::Changed, path)) => changed = path,
        }
        drop(turn);
    }
    Err(store::restless(&changed))
}

fn carry_out(machine: &Machine, plan: &Plan) -> Result<(), (Refusal, PathBuf)> {
    let mut emptied: Vec<(&Path, bool)> = Vec::new();
    for change in &plan.changes {
        let text = match &change.after {
            After::Same => continue,
            After::Text(text) => Some(text.as_str()),
            After::Gone { dir } => {
                emptied.extend(change.original.path.parent().map(|parent| (parent, *dir)));
                None
            }
        };
        store::write(&change.original, text).map_err(|refusal| (refusal, change.original.path.clone()))?;
    }
    for (dir, made) in &emptied {
        let kept = emptied.iter().any(|(other, made)| other == dir && !made);
        if *made && !kept && *dir != machine.root && *dir != machine.home {
            // Others' files in it keep it.
            let _ = std::fs::remove_dir(dir);
        }
    }
    Ok(())
}

/// How a file that is made anew ends: see `block`.
fn ending(machine: &Machine, original: &Original) -> &'static str {
    let own = original.path.parent().is_some_and(|dir| dir == machine.root || dir == machine.home);
    block::ending(original.dir == Dir::Empty && !own)
}

/// The line end that a text uses.
fn newline(text: &str) -> &'static str {
    let first = text.find('\n').unwrap_or(0);
    if text[..first].ends_with('\r') { "\r\n" } else { "\n" }
}

/// Whether a command is this program's name or path.
fn is_pd(command: &str) -> bool {
    let base = command.rsplit(['/', '\\']).next().unwrap_or(command);
    matches!(base.strip_suffix(".exe").unwrap_or(base), "pd" | "port-daddy")
}

/// The state of every harness here.
pub(crate) fn states(machine: &Machine) -> Vec<State> {
    harness::states(machine)
}
