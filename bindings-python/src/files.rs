//! File claims.

use portdaddy_core::{ClaimFiles, ClaimFilter, ClaimList, ClaimedFiles, FileClaim, Ownership};
use pyo3::prelude::*;

use crate::args::{Files, PathText, Text, flag, plain};
use crate::client::{Client, Reply, now};

#[pymethods]
impl Client {
    /// Claims files for a session. What other sessions have claimed is left alone, unless forced; the rest is claimed.
    /// Claiming the same pattern again changes nothing. Patterns are relative to the client's directory; `path:10-50`
    /// claims lines.
    ///
    /// Raises InvalidError for a pattern that is none, or more than 1,000, and nothing is claimed then; NoAgentError,
    /// NoSessionError, NotFoundError, AmbiguousError, NotOwnerError for another agent's session, Store…Error.
    #[pyo3(signature = (files, *, force=false, session=None))]
    fn claim_files<'py>(
        slf: &Bound<'py, Self>,
        files: Files,
        #[pyo3(from_py_with = flag)] force: bool,
        session: Option<Text>,
    ) -> Reply<'py, ClaimedFiles> {
        let claim = ClaimFiles { files: files.0, force, session: plain(session) };
        now(slf, move |pd| pd.claim_files(&claim))
    }

    /// Gives claims up: those of the given patterns, or all of the session's where none is given. Lines matter only where
    /// they are given. What was given up is returned.
    ///
    /// Raises NotFoundError if the session has no such claim, and nothing is given up then; otherwise what claim_files
    /// raises.
    #[pyo3(signature = (files=None, *, session=None))]
    fn release_files<'py>(
        slf: &Bound<'py, Self>,
        files: Option<Files>,
        session: Option<Text>,
    ) -> Reply<'py, Vec<FileClaim>> {
        let files = files.map(|files| files.0).unwrap_or_default();
        now(slf, move |pd| pd.release_files(&files, plain(session).as_deref()))
    }

    /// Lists the claims of active sessions.
    ///
    /// Raises NotFoundError and AmbiguousError for the session, Store…Error.
    #[pyo3(signature = (*, all=false, session=None, agent=None))]
    fn file_claims<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = flag)] all: bool,
        session: Option<Text>,
        agent: Option<Text>,
    ) -> Reply<'py, ClaimList> {
        let filter = ClaimFilter { all, session: plain(session), agent: plain(agent) };
        now(slf, move |pd| pd.file_claims(&filter))
    }

    /// Which claims cover `path`, in whatever scope. Where it is a directory, also those on something below it.
    ///
    /// Raises InvalidError for a path outside the caller's working tree, Store…Error.
    fn who_owns<'py>(slf: &Bound<'py, Self>, path: PathText) -> Reply<'py, Ownership> {
        now(slf, move |pd| pd.who_owns(&path.0))
    }
}
