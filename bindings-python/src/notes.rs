//! The journal.

use portdaddy_core::{NewNote, NoteFilter, NoteList, StreamSource, WrittenNote};
use pyo3::prelude::*;

use crate::args::{Count, Moment, Text, Whole, flag, plain};
use crate::client::{Client, Reply, now, now_and};
use crate::lifecycle::{Stake, stake};
use crate::stream::{Stream, open};

#[expect(clippy::too_many_arguments, reason = "Python's keywords")]
fn filter(
    limit: Option<Count>,
    session: Option<Text>,
    agent: Option<Text>,
    kind: Option<Text>,
    project: Option<Text>,
    since: Option<Moment>,
    grep: Option<Text>,
    all: bool,
    after_seq: Option<Whole>,
) -> NoteFilter {
    NoteFilter {
        limit: limit.map(|limit| limit.0),
        session: plain(session),
        agent: plain(agent),
        kind: plain(kind),
        project: plain(project),
        since_ms: since.map(|since| since.0),
        grep: plain(grep),
        all,
        after_seq: after_seq.map(|seq| seq.0),
    }
}

#[pymethods]
impl Client {
    /// Writes a note. Once this returns, it survives a power cut. An agent without an active session gets one, named after
    /// itself, rather than lose the note. `type` is a slug: `note` unless given, `commit`, `blocker`, `handoff`, …
    ///
    /// Raises InvalidError for a text or type that breaks a rule; NoAgentError; for a named session NotFoundError,
    /// AmbiguousError, NotOwnerError if it is another agent's, NoSessionError if it has ended; Store…Error.
    #[pyo3(signature = (text, *, r#type=None, session=None))]
    fn note<'py>(
        slf: &Bound<'py, Self>,
        text: Text,
        r#type: Option<Text>,
        session: Option<Text>,
    ) -> Reply<'py, WrittenNote> {
        let new = NewNote { text: text.0, kind: plain(r#type), session: plain(session) };
        now_and(
            slf,
            move |pd| pd.note(&new),
            |client, written| {
                if written.opened_session {
                    stake(client, Stake::Session(written.note.session.clone()));
                }
            },
        )
    }

    /// Reads the journal: the newest notes, oldest of them first; with `after_seq` the first ones after that place. There
    /// are at most 20, or `limit`. Only this session's, this author's (id or name), of this type, of this project, since
    /// this moment, that hold this text (`grep`, in whatever case); `all` for every scope's.
    ///
    /// Raises InvalidError for a type or project that is none; NotFoundError and AmbiguousError for the session and the
    /// agent; Store…Error.
    #[pyo3(signature = (*, limit=None, session=None, agent=None, r#type=None, project=None, since=None, grep=None,
        all=false, after_seq=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn notes<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Count>,
        session: Option<Text>,
        agent: Option<Text>,
        r#type: Option<Text>,
        project: Option<Text>,
        since: Option<Moment>,
        grep: Option<Text>,
        #[pyo3(from_py_with = flag)] all: bool,
        after_seq: Option<Whole>,
    ) -> Reply<'py, NoteList> {
        let filter = filter(limit, session, agent, r#type, project, since, grep, all, after_seq);
        now(slf, move |pd| pd.notes(&filter))
    }

    #[pyo3(signature = (*, limit=None, session=None, agent=None, r#type=None, project=None, since=None, grep=None,
        all=false, after_seq=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _follow_notes<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Count>,
        session: Option<Text>,
        agent: Option<Text>,
        r#type: Option<Text>,
        project: Option<Text>,
        since: Option<Moment>,
        grep: Option<Text>,
        #[pyo3(from_py_with = flag)] all: bool,
        after_seq: Option<Whole>,
    ) -> Reply<'py, Stream> {
        let filter = filter(limit, session, agent, r#type, project, since, grep, all, after_seq);
        open(slf, move |pd| Ok(StreamSource::Notes(Box::new(pd.follow_notes_from(&filter)?))))
    }
}
