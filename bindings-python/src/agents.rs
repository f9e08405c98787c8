//! Agents: who takes part.

use portdaddy_core::{Agent, AgentFilter, AgentList, NewSession, Registration, Session, StartedSession, Whoami};
use pyo3::prelude::*;

use crate::args::{Files, Text, flag, plain};
use crate::client::{Client, Reply, now, now_and};
use crate::sessions::{goes_on, over};

#[pymethods]
impl Client {
    /// Registers the calling agent, or changes what it said of itself. What is left out keeps what was said before.
    /// `type` is `ai`, `human`, `ci`, `cli`, or another word.
    ///
    /// Raises NoAgentError, InvalidError, Store…Error.
    #[pyo3(signature = (*, name=None, identity=None, purpose=None, r#type=None))]
    fn register_agent<'py>(
        slf: &Bound<'py, Self>,
        name: Option<Text>,
        identity: Option<Text>,
        purpose: Option<Text>,
        r#type: Option<Text>,
    ) -> Reply<'py, Agent> {
        let registration =
            Registration { name: plain(name), identity: plain(identity), purpose: plain(purpose), kind: plain(r#type) };
        now(slf, move |pd| pd.register_agent(&registration))
    }

    /// Says that the calling agent lives, and promises to go on saying so: from then on, without another proof of life,
    /// five minutes of silence count as its death. While a client is open, it is such a proof.
    ///
    /// Raises NoAgentError, Store…Error.
    fn heartbeat<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Agent> {
        now(slf, |pd| pd.heartbeat())
    }

    /// Says goodbye: releases the locks that the agent holds from the shell, ends its active sessions as abandoned and
    /// releases their claims; work that it has taken over is left for another. A lock that a client holds stays. A later call by the
    /// agent brings it back.
    ///
    /// Raises NoAgentError, NotFoundError for an agent that never registered, Store…Error.
    fn unregister_agent<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Agent> {
        now(slf, |pd| pd.unregister_agent())
    }

    /// Lists agents. Whoever is found dead by looking is buried. They are this scope's, or with `all` every scope's; with
    /// `left` also those that said goodbye, and those dead for more than a day who left nothing unfinished.
    ///
    /// Raises InvalidError for a project that is none, Store…Error.
    #[pyo3(signature = (*, all=false, project=None, left=false))]
    fn agents<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = flag)] all: bool,
        project: Option<Text>,
        #[pyo3(from_py_with = flag)] left: bool,
    ) -> Reply<'py, AgentList> {
        let filter = AgentFilter { all, project: plain(project), left };
        now(slf, move |pd| pd.agents(&filter))
    }

    /// One agent, in whatever scope.
    ///
    /// Raises NotFoundError, InvalidError, Store…Error.
    fn agent<'py>(slf: &Bound<'py, Self>, id: Text) -> Reply<'py, Agent> {
        now(slf, move |pd| pd.agent(&id.0))
    }

    /// Registers the caller and starts a session, in one call. The purpose and the identity are those of both.
    ///
    /// Raises what register_agent and start_session raise.
    #[pyo3(signature = (purpose, *, name=None, identity=None, r#type=None, files=None, force=false, phase=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn begin<'py>(
        slf: &Bound<'py, Self>,
        purpose: Text,
        name: Option<Text>,
        identity: Option<Text>,
        r#type: Option<Text>,
        files: Option<Files>,
        #[pyo3(from_py_with = flag)] force: bool,
        phase: Option<Text>,
    ) -> Reply<'py, StartedSession> {
        let identity = plain(identity);
        let registration = Registration {
            name: plain(name),
            identity: identity.clone(),
            purpose: Some(purpose.0.clone()),
            kind: plain(r#type),
        };
        let files = files.map(|files| files.0).unwrap_or_default();
        let session = NewSession { purpose: purpose.0, files, force, phase: plain(phase), identity };
        now_and(slf, move |pd| pd.begin(&registration, &session), |client, started| goes_on(client, &started.session))
    }

    /// Ends the caller's session as completed, with a last note if one is given.
    ///
    /// Raises what end_session raises.
    #[pyo3(signature = (note=None))]
    fn done<'py>(slf: &Bound<'py, Self>, note: Option<Text>) -> Reply<'py, Session> {
        now_and(slf, move |pd| pd.done(plain(note).as_deref()), over)
    }

    /// Who the caller is taken to be, and where it stands. Writes nothing.
    ///
    /// Raises Store…Error.
    fn whoami<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Whoami> {
        now(slf, |pd| pd.whoami())
    }
}
