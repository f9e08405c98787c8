//! `pd setup`

use portdaddy_core::Error;
use serde_json::json;

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, escape};
use crate::setup::{Git, Harness, Level, Machine, Wish, set_up, states};

/// Wire pd into a coding harness: hooks, instructions, MCP server
///
/// Prints what it changes as a diff. It adds to settings that are there, keeps everything that isn't its own, and with
/// --remove takes out exactly what it put in. Without HARNESS it says which harnesses are here and what is set up.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd setup claude --dry-run
  pd setup claude
  pd setup claude --user --git deny
  pd setup codex --user
  pd setup claude --remove
  pd setup")]
pub(crate) struct Args {
    /// Which harness
    #[arg(value_name = "HARNESS")]
    harness: Option<Harness>,
    /// This repository's settings, which everyone working on it shares [the default]
    #[arg(long, conflicts_with = "user", requires = "harness")]
    project: bool,
    /// This user's settings, for every repository
    #[arg(long, requires = "harness")]
    user: bool,
    /// Only print what would change
    #[arg(long, requires = "harness")]
    dry_run: bool,
    /// Take out what was put in
    #[arg(long, requires = "harness", conflicts_with_all = ["strict", "git", "no_instructions"])]
    remove: bool,
    /// Refuse an edit of what another live agent has claimed (claude)
    #[arg(long, requires = "harness")]
    strict: bool,
    /// What to do about a git command that could destroy others' work [default: ask] (claude)
    #[arg(long, value_name = "POLICY", requires = "harness")]
    git: Option<Git>,
    /// Also enter the MCP server [the default but for claude]
    #[arg(long, requires = "harness")]
    mcp: bool,
    /// Don't enter the MCP server
    #[arg(long, requires = "harness", conflicts_with = "mcp")]
    no_mcp: bool,
    /// Leave AGENTS.md and what imports it alone
    #[arg(long, requires = "harness")]
    no_instructions: bool,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let machine = Machine::here()?;
    let Some(harness) = args.harness else { return survey(&machine, app) };
    if harness != Harness::Claude && (args.strict || args.git.is_some()) {
        let name = harness.name();
        let message = format!("--strict and --git are for hooks, and {name} gets none");
        return Err(Error::invalid(message).with("harness", name).hint("leave them out").into());
    }
    let wish = Wish {
        harness,
        level: if args.user { Level::User } else { Level::Project },
        remove: args.remove,
        strict: args.strict,
        git: args.git,
        mcp: args.mcp || !args.no_mcp && harness != Harness::Claude,
        instructions: !args.no_instructions,
    };
    let plan = set_up(&machine, &wish, args.dry_run)?;
    let files: Vec<_> = plan
        .changes
        .iter()
        .map(|change| json!({"path": change.path, "change": change.what, "diff": change.diff}))
        .collect();
    let document = json!({
        "harness": harness, "level": wish.level, "remove": wish.remove, "dry_run": args.dry_run,
        "files": files, "notes": plan.notes, "run": plan.run,
    });
    let bare: Vec<_> = plan.changes.iter().map(|change| escape(&change.path)).collect();
    app.ui.answer(&document, &bare.join("\n"), |out| {
        // The files are their owners', but what is in them may have power over the terminal.
        let mut lines = plan.changes.iter().flat_map(|change| change.diff.lines());
        lines.try_for_each(|line| writeln!(out, "{}", shown(line)))
    })?;
    if app.ui.mode() == Mode::People {
        for change in &plan.changes {
            let what = if args.dry_run { format!("Would be {}", change.what) } else { capital(change.what) };
            app.ui.status(format_args!("{what}: {}", escape(&change.path)));
        }
        if plan.changes.is_empty() {
            app.ui.status(if wish.remove { "Nothing of pd's is there" } else { "Everything is set up already" });
        }
        plan.notes.iter().for_each(|note| app.ui.note(escape(note)));
        plan.run.iter().for_each(|run| app.ui.hint(format_args!("run this yourself: {}", escape(run))));
    }
    Ok(DONE)
}

/// A line of a diff: its tabs are the file's indentation, and do no harm.
fn shown(line: &str) -> String {
    line.split('\t').map(escape).collect::<Vec<_>>().join("\t")
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

fn survey(machine: &Machine, app: &mut App) -> Outcome<Exit> {
    let states = states(machine);
    app.ui.listing(&json!({ "harnesses": states }), |out| {
        states.iter().try_for_each(|state| {
            let found = if state.found { "" } else { " (not found here)" };
            let mut said = Vec::new();
            for (level, parts) in [("project", &state.project), ("user", &state.user)] {
                let all = [("hooks", parts.hooks), ("mcp", parts.mcp), ("instructions", parts.instructions)];
                let there: Vec<_> = all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
                if !there.is_empty() {
                    said.push(format!("{level}: {}", there.join(", ")));
                }
            }
            let said = if said.is_empty() { "not set up".to_owned() } else { said.join("; ") };
            writeln!(out, "{}{found}: {said}", state.harness.name())
        })
    })?;
    Ok(DONE)
}
