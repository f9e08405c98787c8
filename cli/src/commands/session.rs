//! `pd session start|end|abandon|show|phase`

use portdaddy_core::{EndSession, Error, NewSession, Session, SessionStatus, StartedSession};

use super::{files, note};
use crate::app::App;
use crate::duration::ago;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// Start, end and look at units of work
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd session start \"Building payment API\" --files \"src/api/*\" src/types.ts
  pd session end \"API ready\"")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Start a session and claim files
    ///
    /// The session starts even where others have claimed overlapping files: each overlap is a warning, and what is free
    /// is claimed. --force claims the rest too.
    #[command(after_help = "EXAMPLES:
  pd session start \"Building checkout UI\" --files \"src/checkout/*\" src/app.tsx
  pd session start \"OAuth integration\" --files src/auth.ts --force
  pd session start --files src/db/schema.ts \"Database schema\"")]
    Start {
        #[command(flatten)]
        work: Work,
        /// What the work belongs to: project[:stack[:context]]
        #[arg(long, value_name = "IDENTITY")]
        identity: Option<String>,
    },
    /// End a session, and give its file claims back
    #[command(after_help = "EXAMPLES:
  pd session end
  pd session end \"Payment API complete\"
  pd session end --status abandoned \"Superseded\"")]
    End {
        /// A last note; `-` reads it from stdin
        #[arg(value_name = "NOTE")]
        note: Option<String>,
        /// How it ended
        #[arg(long, value_name = "STATUS", default_value = "completed", value_parser = ["completed", "abandoned"])]
        status: String,
    },
    /// End a session as abandoned
    #[command(after_help = "EXAMPLES:
  pd session abandon
  pd session abandon \"The approach doesn't work\"")]
    Abandon {
        /// A last note; `-` reads it from stdin
        #[arg(value_name = "NOTE")]
        note: Option<String>,
    },
    /// Show a session with its claims and its notes
    #[command(after_help = "EXAMPLES:
  pd session show session-ab3
  pd session show ab3 --json")]
    Show {
        /// The session's id, or the beginning of it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Say how far the session is
    #[command(after_help = "EXAMPLES:
  pd session phase testing")]
    Phase {
        /// A word for the phase
        #[arg(value_name = "PHASE")]
        phase: String,
    },
}

/// What a session is about.
#[derive(clap::Args)]
pub(super) struct Work {
    /// What the session is for
    #[arg(value_name = "PURPOSE")]
    purpose: Option<String>,
    /// Files to claim: paths, directories, globs (* ? ** [a-z] {a,b}), or lines (src/a.rs:10-50)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    files: Vec<String>,
    /// Claim files that others have claimed, too
    #[arg(long)]
    pub(super) force: bool,
    /// How far the work is, in a word
    #[arg(long, value_name = "PHASE")]
    pub(super) phase: Option<String>,
}

impl Work {
    /// The purpose and the files. `--files a b "purpose"` leaves the purpose at the end of the list, where only its
    /// place tells it from a file: it must not look like one.
    pub(super) fn split(&self, command: &str) -> Outcome<(String, Vec<String>)> {
        let mut files = self.files.clone();
        if let Some(purpose) = &self.purpose {
            return Ok((purpose.clone(), files));
        }
        let looks_like_a_file = |s: &String| !s.contains(' ') && s.contains(['/', '*', '.']);
        if files.len() >= 2
            && let Some(purpose) = files.pop_if(|last| !looks_like_a_file(last))
        {
            return Ok((purpose, files));
        }
        let usage = Error::invalid("the PURPOSE is missing: a session says what it is for");
        Err(usage.hint(format!("pd {command} \"Building checkout UI\" --files src/checkout")).into())
    }
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    match args.command {
        Verb::Start { work, identity } => {
            let (purpose, files) = work.split("session start")?;
            let new = NewSession { purpose, files, force: work.force, phase: work.phase, identity };
            let started_session = app.open()?.start_session(&new)?;
            started(&started_session, app)?;
        }
        Verb::End { note, status } => {
            let status = if status == "abandoned" { SessionStatus::Abandoned } else { SessionStatus::Completed };
            end(note, status, app)?;
        }
        Verb::Abandon { note } => end(note, SessionStatus::Abandoned, app)?,
        Verb::Show { id } => show(&id, app)?,
        Verb::Phase { phase } => {
            let session = app.open()?.set_phase(&phase, None)?;
            app.ui
                .answer(&session, &session.id, |out| writeln!(out, "{} is in phase {}", session.id, escape(&phase)))?;
        }
    }
    Ok(DONE)
}

fn end(note: Option<String>, status: SessionStatus, app: &mut App) -> Outcome {
    refuse_id(note.as_deref())?;
    let note = note.map(note::text_or_stdin).transpose()?;
    let session = app.open()?.end_session(&EndSession { session: None, status: Some(status), note })?;
    ended(&session, app)
}

/// A session's id where a last note belongs means that session, and would end another one.
pub(super) fn refuse_id(note: Option<&str>) -> Outcome {
    let Some(id) = note else { return Ok(()) };
    let is_id = id.strip_prefix("session-").is_some_and(|suffix| {
        !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if !is_id {
        return Ok(());
    }
    let mistake = Error::invalid(format!("{id} is the id of a session, and here stands a last note"));
    Err(mistake.hint(format!("to end that session: --session {id}; without an id your own ends")).into())
}

/// What `begin` and `session start` print.
pub(super) fn started(started: &StartedSession, app: &mut App) -> Outcome {
    files::warn(&started.conflicts, &started.dead_overlaps, &started.claimed, app);
    let id = &started.session.id;
    app.ui.answer(started, id, |out| writeln!(out, "Started {id}"))
}

/// What `done` and `session end` print.
pub(super) fn ended(session: &Session, app: &mut App) -> Outcome {
    let verb = if session.status == SessionStatus::Abandoned { "Abandoned" } else { "Completed" };
    app.ui.answer(session, &session.id, |out| writeln!(out, "{verb} {}", session.id))
}

fn show(id: &str, app: &mut App) -> Outcome {
    let detail = app.open()?.session(id)?;
    let (session, now) = (&detail.session, now_ms());
    app.ui.listing(&detail, |out| {
        writeln!(out, "{}", super::sessions::line(session, now))?;
        if let Some(identity) = &session.identity {
            writeln!(out, "  identity: {}", escape(identity))?;
        }
        if let Some(worktree) = &session.worktree {
            let branch = session.branch.as_deref().unwrap_or("no branch");
            writeln!(out, "  in: {} ({})", escape(worktree), escape(branch))?;
        }
        for claim in &detail.claims {
            writeln!(out, "  claims: {}", files::pattern(claim))?;
        }
        for note in &detail.notes {
            writeln!(out, "  {} ({})", note::line(note), ago(note.at_ms, now))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(purpose: Option<&str>, files: &[&str]) -> Work {
        let files = files.iter().map(|s| (*s).to_owned()).collect();
        Work { purpose: purpose.map(str::to_owned), files, force: false, phase: None }
    }

    #[test]
    fn the_purpose_may_stand_after_the_files() {
        let split = |w: Work| w.split("begin").ok();
        assert_eq!(split(work(Some("p"), &["a", "b"])), Some(("p".into(), vec!["a".into(), "b".into()])));
        assert_eq!(split(work(None, &["src/a.rs", "fix it"])), Some(("fix it".into(), vec!["src/a.rs".into()])));
        assert_eq!(split(work(None, &["src/a.rs", "src/b.rs"])), None);
        assert_eq!(split(work(None, &["only this"])), None);
    }
}
