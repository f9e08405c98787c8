//! What `pd hook` does at each event of a harness.
//!
//! ```text
//! read stdin (bounded) → open the library as the session's agent, in the event's directory → the event's own part
//!   → print the answer, if there is one → only then mark what it says as told
//! ```
//!
//! Nothing that goes wrong reaches the harness: it gets no answer and exit code 0, and the activity log an entry. A store that
//! is busy is waited for a second, after which the hook gives up; a watchdog ends what hangs elsewhere.

mod edit;
mod input;
mod news;
mod shell;
mod start;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portdaddy_core::{Coordinator, Error, ErrorKind, Surroundings, ToTell, interruptible};
use serde_json::{Value, json};

use crate::app::App;
use crate::output::{Failure, gave_up, json_line};
use input::{Event, Input};

/// How long a hook waits for the store. Claude Code gives SessionEnd 1.5 s.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where git is asked for a snapshot, which bounds itself.
const PATIENCE_WITH_GIT: Duration = Duration::from_secs(15);
/// How long the entry in the log may take, where the store was in the way.
const LAST_PATIENCE: Duration = Duration::from_millis(200);
/// What the watchdog adds.
const GRACE: Duration = Duration::from_millis(300);

/// What becomes of git commands that would destroy the work of others.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Git {
    /// The person is asked
    Ask,
    /// They are denied
    Deny,
    /// They run, and the agent is told
    Allow,
}

/// What the hook's command line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) strict: bool,
    pub(crate) git: Git,
}

/// What a hook answers, and what is to be done once it is printed.
#[derive(Default)]
struct Answer {
    /// Paragraphs for the agent.
    context: Vec<String>,
    /// `deny` or `ask`, and why.
    decision: Option<(&'static str, String)>,
    told: Vec<ToTell>,
    /// Messages to the agent were shown up to here, or their beginning was.
    shown: Option<i64>,
    cut: Option<i64>,
    /// What went wrong besides, for the log.
    troubles: Vec<String>,
}

/// A hook at work.
struct Hook<'a> {
    pd: &'a Coordinator,
    input: &'a Input,
    policy: Policy,
}

/// Reads the event, does what it asks for, and prints the answer.
pub(crate) fn answer(event: &str, policy: Policy, app: &mut App) {
    let began = Instant::now();
    let given = Mutex::new(None);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(event, policy, app, began, &given)));
    let reason = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(e)) => e,
        Err(_) => Error::new(ErrorKind::Internal, "pd has a defect"),
    };
    fail(event, &reason, given.into_inner().ok().flatten(), app);
}

/// The library's handle, once it is open, for whoever says that the hook failed.
type Given = Mutex<Option<Coordinator>>;

fn run(name: &str, policy: Policy, app: &mut App, began: Instant, given: &Given) -> Result<(), Error> {
    watch(PATIENCE + LAST_PATIENCE + GRACE, name);
    let input = input::read(&mut std::io::stdin().lock(), name)?;
    let patience = match input.event {
        Event::PreToolUse | Event::PostToolUse if input.speaks_of_git() => PATIENCE_WITH_GIT,
        _ => PATIENCE,
    };
    if patience > PATIENCE {
        watch(patience + LAST_PATIENCE + GRACE, name);
    }
    let deadline = began + patience;
    interruptible(
        || Instant::now() >= deadline,
        || {
            let around = Surroundings::system().in_session("claude", &input.session_id, input.agent_id.as_deref())?;
            let pd = Coordinator::open(app.options().cwd(input.standing()).surroundings(around))?;
            if let Ok(mut given) = given.lock() {
                *given = Some(pd.clone());
            }
            let hook = Hook { pd: &pd, input: &input, policy };
            let mut answer = hook.answer()?;
            // What the library wants the caller to know is for the agent, not for the harness's log.
            answer.context.splice(0..0, pd.take_notices().iter().map(|notice| words::notice(notice)));
            hook.print(&answer, app)?;
            hook.mark(&answer)?;
            for trouble in &answer.troubles {
                app.ui.warning(format_args!("pd hook {name}: {}", words::quoted(trouble)));
                pd.hook_failed(name, trouble)?;
            }
            Ok(())
        },
    )
}

impl Hook<'_> {
    fn answer(&self) -> Result<Answer, Error> {
        match self.input.event {
            Event::SessionStart => self.session_start(),
            Event::UserPromptSubmit => self.prompt(),
            Event::PreToolUse => self.before_tool(),
            Event::PostToolUse => self.after_tool(),
            Event::SubagentStart => self.sub_agent_start(),
            Event::Stop => self.stop(),
            Event::SubagentStop => self.sub_agent_stop(),
            Event::SessionEnd => self.pd.leave().map(|_| Answer::default()),
        }
    }

    fn before_tool(&self) -> Result<Answer, Error> {
        let tool = self.input.tool();
        let mut answer = match (tool.edits(), tool.runs()) {
            (Some(path), _) => self.before_edit(path)?,
            (None, Some(command)) => self.before_command(command)?,
            (None, None) => Answer::default(),
        };
        self.meanwhile(&mut answer)?;
        Ok(answer)
    }

    /// What the tool did is remembered also of one that has left meanwhile, and has nothing to be told.
    fn after_tool(&self) -> Result<Answer, Error> {
        let has_left = self.pd.afterwards()?;
        let tool = self.input.tool();
        if let Some(path) = tool.edits() {
            self.pd.file_written(Path::new(path))?;
        } else if let Some(path) = tool.reads() {
            self.pd.file_read(Path::new(path))?;
        } else if let Some(command) = tool.runs() {
            self.pd.guarded(command)?;
        }
        let mut answer = Answer::default();
        if !has_left {
            self.meanwhile(&mut answer)?;
        }
        Ok(answer)
    }

    /// One line on stdout, or none.
    fn print(&self, answer: &Answer, app: &mut App) -> Result<(), Error> {
        let mut output = json!({ "hookEventName": self.input.event.name() });
        let fields = output.as_object_mut();
        let Some(fields) = fields else { return Ok(()) };
        if let Some((decision, why)) = &answer.decision {
            fields.insert("permissionDecision".into(), Value::from(*decision));
            fields.insert("permissionDecisionReason".into(), Value::from(why.as_str()));
        }
        // At its end a session has nobody to tell.
        if !answer.context.is_empty() && self.input.event != Event::SessionEnd {
            fields.insert("additionalContext".into(), Value::from(answer.context.join("\n\n")));
        }
        if fields.len() == 1 {
            return Ok(());
        }
        let line = json_line(&json!({ "hookSpecificOutput": output }));
        match line.and_then(|line| app.ui.stream_line(&line)) {
            Ok(()) => Ok(()),
            Err(Failure::Error(e)) => Err(e),
            Err(Failure::BrokenPipe) => Err(Error::new(ErrorKind::StoreIo, "the harness didn't wait for the answer")),
        }
    }

    fn mark(&self, answer: &Answer) -> Result<(), Error> {
        self.pd.told(&answer.told)?;
        answer.shown.map_or(Ok(()), |seq| self.pd.inbox_shown(seq))?;
        answer.cut.map_or(Ok(()), |seq| self.pd.inbox_cut(seq))
    }
}

/// Says on stderr, and in the log where that can be had, that the hook did nothing.
fn fail(event: &str, error: &Error, given: Option<Coordinator>, app: &mut App) {
    let reason = match error.kind() {
        ErrorKind::Cancelled => "the store was busy for too long".to_owned(),
        _ => error.message().to_owned(),
    };
    // What stdout didn't take is no reason for an exit code.
    app.ui.discard();
    app.ui.warning(format_args!("pd hook {} failed: {}", words::quoted(event), words::quoted(&reason)));
    let deadline = Instant::now() + LAST_PATIENCE;
    interruptible(
        || Instant::now() >= deadline,
        || {
            let pd = given.map_or_else(|| Coordinator::open(app.options()), Ok);
            if let Ok(pd) = pd {
                let _ = pd.hook_failed(event, &reason);
                // Closing in order would wait for the store once more.
                pd.abandon();
            }
        },
    );
}

/// Ends the process as if nothing had been asked, when something outside of the store hangs: a disk, a pipe.
fn watch(limit: Duration, event: &str) {
    static LIMIT: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut end) = LIMIT.lock() else { return };
    let is_first = end.is_none();
    *end = Some(Instant::now() + limit);
    drop(end);
    if !is_first {
        return;
    }
    let event = event.to_owned();
    std::thread::spawn(move || {
        loop {
            let end = LIMIT.lock().ok().and_then(|end| *end);
            let left = end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left);
        }
        gave_up(&format!("pd hook {event}"));
        end_process();
    });
}

#[expect(clippy::disallowed_methods, reason = "the thread that would give the exit code hangs")]
fn end_process() -> ! {
    std::process::exit(0)
}
