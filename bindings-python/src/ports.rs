//! Ports.

use portdaddy_core::{ClaimPort, Coordinator, PortClaim, Release, ServiceFilter, ServiceList, Wait};
use pyo3::prelude::*;

use crate::args::{Names, PortNumber, PortRange, Text, Timeout, flag, plain};
use crate::client::{Client, Reply, now, wait};

#[pymethods]
impl Client {
    /// Gives an identity its port: the one it has in this working tree, today as yesterday, else the lowest of the range
    /// that is assigned to nobody, that nothing listens on and that browsers don't block. The range is `range`, both ends
    /// included, else `PORT_DADDY_RANGE`, else 3100 to 9999. With `port` it is that one and no other; with `shared` one port
    /// serves all working trees. Needs no agent.
    ///
    /// Raises InvalidError for an identity, port or range that breaks a rule; PortTakenError where the requested port is
    /// assigned to another or a foreign process listens there; PortsExhaustedError; Store…Error.
    #[pyo3(signature = (identity, *, port=None, range=None, shared=false))]
    fn claim<'py>(
        slf: &Bound<'py, Self>,
        identity: Text,
        port: Option<PortNumber>,
        range: Option<PortRange>,
        #[pyo3(from_py_with = flag)] shared: bool,
    ) -> Reply<'py, PortClaim> {
        let (port, range) = (port.map(|port| port.0), range.map(|range| range.0));
        let claim = ClaimPort { identity: identity.0, port, range, shared };
        now(slf, move |pd| pd.claim(&claim))
    }

    /// Gives up the ports of this working tree whose identity is, or matches, `pattern`. With `shared` it is those shared by
    /// all working trees, with `all_worktrees` those of every working tree, except what another living agent has in another.
    ///
    /// Raises InvalidError; NotFoundError where nothing matches; NotOwnerError where all that matches is in other working
    /// trees and belongs to living agents; Store…Error.
    #[pyo3(signature = (pattern, *, shared=false, all_worktrees=false))]
    fn release<'py>(
        slf: &Bound<'py, Self>,
        pattern: Text,
        #[pyo3(from_py_with = flag)] shared: bool,
        #[pyo3(from_py_with = flag)] all_worktrees: bool,
    ) -> Reply<'py, Vec<PortClaim>> {
        let release = Release { shared, all_worktrees };
        now(slf, move |pd| pd.release(&pattern.0, &release))
    }

    /// Lists assigned ports, lowest first: this scope's, and all that are shared or of this working tree.
    ///
    /// Raises InvalidError for a pattern that is none, Store…Error.
    #[pyo3(signature = (pattern=None, *, all=false))]
    fn services<'py>(
        slf: &Bound<'py, Self>,
        pattern: Option<Text>,
        #[pyo3(from_py_with = flag)] all: bool,
    ) -> Reply<'py, ServiceList> {
        let filter = ServiceFilter { pattern: plain(pattern), all };
        now(slf, move |pd| pd.services(&filter))
    }

    /// Waits until something listens on the port of each identity: on that of this working tree, else the shared one, else
    /// the only one in this scope. Identities may get their ports while this waits. It waits for ever, or `timeout` (seconds
    /// or a timedelta).
    ///
    /// Raises InvalidError; TimedOutError, naming what isn't up; Store…Error.
    #[pyo3(signature = (identities, *, timeout=None))]
    fn wait_for_service<'py>(
        slf: &Bound<'py, Self>,
        identities: Names,
        timeout: Option<Timeout>,
    ) -> Reply<'py, Vec<PortClaim>> {
        let names = identities.0.clone();
        let blocking = move |pd: &Coordinator, wait: &Wait| pd.wait_for_service(&names, wait);
        wait(slf, Timeout::of(timeout), blocking, move |pd, wait| {
            Box::pin(async move { pd.wait_for_service_async(&identities.0, &wait).await })
        })
    }
}
