//! Sessions: units of work.

use portdaddy_core::{EndSession, NewSession, Session, SessionDetail, SessionFilter, SessionList, StartedSession};
use pyo3::prelude::*;

use crate::args::{Count, Files, Status, Text, flag, plain};
use std::sync::Arc;

use crate::client::{Client, Reply, Shared, now, now_and};
use crate::lifecycle::{Stake, let_go, stake};

/// A session that was begun through a client, which is kept until it ends.
pub(crate) fn goes_on(client: &Arc<Shared>, session: &Session) {
    stake(client, Stake::Session(session.id.clone()));
}

pub(crate) fn over(client: &Arc<Shared>, session: &Session) {
    let_go(client, Stake::Session(session.id.clone()));
}

#[pymethods]
impl Client {
    /// Starts a session for the calling agent, and claims the files that are free (with `force`, all). It starts even if
    /// none is: what others have claimed is in `conflicts`.
    ///
    /// Raises InvalidError for a purpose, pattern, phase or identity that breaks a rule, and nothing is stored then;
    /// NoAgentError, Store…Error.
    #[pyo3(signature = (purpose, *, files=None, force=false, phase=None, identity=None))]
    fn start_session<'py>(
        slf: &Bound<'py, Self>,
        purpose: Text,
        files: Option<Files>,
        #[pyo3(from_py_with = flag)] force: bool,
        phase: Option<Text>,
        identity: Option<Text>,
    ) -> Reply<'py, StartedSession> {
        let files = files.map(|files| files.0).unwrap_or_default();
        let new = NewSession { purpose: purpose.0, files, force, phase: plain(phase), identity: plain(identity) };
        now_and(slf, move |pd| pd.start_session(&new), |client, started| goes_on(client, &started.session))
    }

    /// Ends a session and releases its claims. It is the caller's newest active one unless named, and completed unless
    /// `status` is `abandoned`. Once this returns, the end and the last note survive a power cut.
    ///
    /// Raises InvalidError for a note that breaks a rule, and for `active` as the end; NoAgentError; NoSessionError if there
    /// is none or it has ended already; NotFoundError, AmbiguousError; NotOwnerError for another agent's session;
    /// Store…Error.
    #[pyo3(signature = (note=None, *, session=None, status=None))]
    fn end_session<'py>(
        slf: &Bound<'py, Self>,
        note: Option<Text>,
        session: Option<Text>,
        status: Option<Status>,
    ) -> Reply<'py, Session> {
        let status = status.map(|status| status.0);
        let end = EndSession { session: plain(session), status, note: plain(note) };
        now_and(slf, move |pd| pd.end_session(&end), over)
    }

    /// Lists sessions: the newest, oldest of them first. There are at most 50, or `limit`.
    ///
    /// Raises InvalidError for a project that is none, Store…Error.
    #[pyo3(signature = (*, all=false, status=None, agent=None, project=None, limit=None))]
    fn sessions<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = flag)] all: bool,
        status: Option<Status>,
        agent: Option<Text>,
        project: Option<Text>,
        limit: Option<Count>,
    ) -> Reply<'py, SessionList> {
        let (status, limit) = (status.map(|status| status.0), limit.map(|limit| limit.0));
        let filter = SessionFilter { all, status, agent: plain(agent), project: plain(project), limit };
        now(slf, move |pd| pd.sessions(&filter))
    }

    /// One session, in whatever scope, with its claims and notes. Any unique prefix of its id will do, with or without
    /// `session-`.
    ///
    /// Raises NotFoundError, AmbiguousError, Store…Error.
    fn _session<'py>(slf: &Bound<'py, Self>, id: Text) -> Reply<'py, SessionDetail> {
        now(slf, move |pd| pd.session(&id.0))
    }

    /// Says what a session is doing now. The session is the agent's newest active one unless named.
    ///
    /// Raises InvalidError for an empty phase or one over 64 bytes; otherwise what end_session raises.
    #[pyo3(signature = (phase, *, session=None))]
    fn set_phase<'py>(slf: &Bound<'py, Self>, phase: Text, session: Option<Text>) -> Reply<'py, Session> {
        now(slf, move |pd| pd.set_phase(&phase.0, plain(session).as_deref()))
    }
}
