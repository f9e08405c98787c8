//! `pd salvage`

use std::io::{self, Write};

use portdaddy_core::{SalvageFilter, SalvageItem, WorkLeft};

use super::{files, note};
use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// How many lines of each kind of work left are listed.
const SHOWN: usize = 10;

/// Take over what dead agents left unfinished
///
/// Lists dead agents with unfinished sessions: who, what for, dead since when and by what proof, their last notes, their
/// claims, and what lies uncommitted in their working trees.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "EXAMPLES:
  pd salvage --project payments
  pd salvage claim database-builder
  pd salvage complete database-builder \"Finished the migration\""
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
    /// Only identities of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Those of every scope
    #[arg(long)]
    all: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Take its sessions, claims and journal over, and get a briefing
    #[command(after_help = "EXAMPLES:
  pd salvage claim database-builder")]
    Claim {
        /// The dead agent
        #[arg(value_name = "AGENT")]
        dead: String,
    },
    /// Say that the work taken over is finished
    #[command(after_help = "EXAMPLES:
  pd salvage complete database-builder \"Finished the migration\"")]
    Complete {
        /// The dead agent
        #[arg(value_name = "AGENT")]
        dead: String,
        /// A last note; `-` reads it from stdin
        #[arg(value_name = "NOTE")]
        note: Option<String>,
    },
    /// Put the work taken over back into the list
    #[command(after_help = "EXAMPLES:
  pd salvage abandon database-builder")]
    Abandon {
        /// The dead agent
        #[arg(value_name = "AGENT")]
        dead: String,
    },
    /// Say that the work isn't worth taking over
    #[command(after_help = "EXAMPLES:
  pd salvage dismiss database-builder")]
    Dismiss {
        /// The dead agent
        #[arg(value_name = "AGENT")]
        dead: String,
    },
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let said = |verb: &'static str, item: SalvageItem, app: &mut App| {
        app.ui.answer(&item, &"", |out| writeln!(out, "{verb} the work of {}", escape(&item.agent)))
    };
    match args.command {
        None => {
            let list = pd.salvage(&SalvageFilter { project: args.project, all: args.all })?;
            app.ui.listing(&list, |out| list.items.iter().try_for_each(|item| show(item, out)))?;
            if list.items.is_empty() {
                app.ui.status("Nothing to salvage");
            } else {
                app.ui.hint("pd salvage claim AGENT takes the work over");
            }
            app.ui.elsewhere(list.elsewhere, "dead agent", "dead agents");
        }
        Some(Verb::Claim { dead }) => {
            let briefing = pd.salvage_claim(&dead)?;
            let text = briefing.text.lines().map(escape).collect::<Vec<_>>().join("\n");
            app.ui.listing(&briefing, |out| writeln!(out, "{text}"))?;
        }
        Some(Verb::Complete { dead, note }) => {
            let note = note.map(note::text_or_stdin).transpose()?;
            said("Completed", pd.salvage_complete(&dead, note.as_deref())?, app)?;
        }
        Some(Verb::Abandon { dead }) => said("Put back", pd.salvage_abandon(&dead)?, app)?,
        Some(Verb::Dismiss { dead }) => said("Dismissed", pd.salvage_dismiss(&dead)?, app)?,
    }
    Ok(DONE)
}

fn show(item: &SalvageItem, out: &mut dyn Write) -> io::Result<()> {
    let now = now_ms();
    let identity = item.identity.as_deref().map(|i| format!("{}, ", escape(i))).unwrap_or_default();
    write!(out, "Dead {}", escape(&item.agent))?;
    if item.agent_name != item.agent {
        write!(out, " \"{}\"", escape(&item.agent_name))?;
    }
    writeln!(out, " ({identity}{}): {}", ago(item.died_ms, now), escape(&item.death))?;
    if let Some(purpose) = &item.purpose {
        writeln!(out, "  purpose: {}", escape(purpose))?;
    }
    if let Some(by) = item.claimed_by_name.as_ref().or(item.claimed_by.as_ref()) {
        let since = item.claimed_ms.map(|at| format!(", {}", ago(at, now))).unwrap_or_default();
        writeln!(out, "  taken over by {}{since}", escape(by))?;
    }
    for detail in &item.sessions {
        writeln!(out, "  session: {} {}", detail.session.id, escape(&detail.session.purpose))?;
    }
    for claim in &item.claims {
        writeln!(out, "  claims: {}", files::pattern(claim))?;
    }
    for work in &item.work {
        work_left(work, out)?;
    }
    for note in &item.notes {
        writeln!(out, "  {} ({})", note::line(note), ago(note.at_ms, now))?;
    }
    Ok(())
}

fn work_left(work: &WorkLeft, out: &mut dyn Write) -> io::Result<()> {
    let branch = work.branch.as_deref().unwrap_or("no branch");
    write!(out, "  in: {} ({})", escape(&work.worktree), escape(branch))?;
    if let Some(problem) = &work.problem {
        write!(out, ", {}", escape(problem))?;
    }
    writeln!(out)?;
    for (what, lines) in [("uncommitted", &work.uncommitted), ("stashed", &work.stashes), ("unpushed", &work.unpushed)]
    {
        for line in lines.iter().take(SHOWN) {
            writeln!(out, "    {what}: {}", escape(line))?;
        }
        if lines.len() > SHOWN {
            writeln!(out, "    {what}: and {} more (--json shows them)", lines.len() - SHOWN)?;
        }
    }
    Ok(())
}
