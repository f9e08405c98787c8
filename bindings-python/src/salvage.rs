//! Salvage: the work of the dead.

use std::sync::Arc;

use portdaddy_core::{Briefing, SalvageFilter, SalvageItem, SalvageList};
use pyo3::prelude::*;

use crate::args::{Text, flag, plain};
use crate::client::{Client, Reply, Shared, now, now_and};
use crate::sessions::{goes_on, over};

/// The sessions that came with the work end, or are another's.
fn given_up(client: &Arc<Shared>, item: &SalvageItem) {
    item.sessions.iter().for_each(|detail| over(client, &detail.session));
}

#[pymethods]
impl Client {
    /// Lists dead agents with unfinished sessions, and what stands in their working trees now. Takes up to ten seconds where
    /// git is slow.
    ///
    /// Raises InvalidError for a project that is none, Store…Error.
    #[pyo3(signature = (*, project=None, all=false))]
    fn salvage<'py>(
        slf: &Bound<'py, Self>,
        project: Option<Text>,
        #[pyo3(from_py_with = flag)] all: bool,
    ) -> Reply<'py, SalvageList> {
        let filter = SalvageFilter { project: plain(project), all };
        now(slf, move |pd| pd.salvage(&filter))
    }

    /// Takes over a dead agent's unfinished sessions with their claims and journal. Of those who try, exactly one wins. The
    /// decision survives a power cut.
    ///
    /// Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, is the caller itself,
    /// left nothing, or was claimed by another; InvalidError; Store…Error.
    fn salvage_claim<'py>(slf: &Bound<'py, Self>, agent: Text) -> Reply<'py, Briefing> {
        now_and(
            slf,
            move |pd| pd.salvage_claim(&agent.0),
            |client, briefing| briefing.sessions.iter().for_each(|session| goes_on(client, session)),
        )
    }

    /// Says that work taken over is finished: the sessions that came with it and are still active end as completed, with
    /// `note` in the journal of the newest.
    ///
    /// Raises NoAgentError; NotFoundError where that work is nobody's; NotOwnerError where another took it; InvalidError;
    /// Store…Error.
    #[pyo3(signature = (agent, note=None))]
    fn salvage_complete<'py>(slf: &Bound<'py, Self>, agent: Text, note: Option<Text>) -> Reply<'py, SalvageItem> {
        now_and(slf, move |pd| pd.salvage_complete(&agent.0, plain(note).as_deref()), given_up)
    }

    /// Gives work taken over back: the sessions that came with it and are still active are the dead agent's again, for
    /// another to claim.
    ///
    /// Raises what salvage_complete raises.
    fn salvage_abandon<'py>(slf: &Bound<'py, Self>, agent: Text) -> Reply<'py, SalvageItem> {
        now_and(slf, move |pd| pd.salvage_abandon(&agent.0), given_up)
    }

    /// Gives a dead agent's work up: its sessions end as abandoned and their claims are released.
    ///
    /// Raises NoAgentError; NotFoundError for an unknown agent; NotSalvageableError where it lives, left nothing, or was
    /// claimed; InvalidError; Store…Error.
    fn salvage_dismiss<'py>(slf: &Bound<'py, Self>, agent: Text) -> Reply<'py, SalvageItem> {
        now(slf, move |pd| pd.salvage_dismiss(&agent.0))
    }
}
