//! The log of what was done.

use portdaddy_core::{ActivityFilter, ActivityList, StreamSource};
use pyo3::prelude::*;

use crate::args::{Count, Moment, Text, Whole, flag, plain};
use crate::client::{Client, Reply, now};
use crate::stream::{Stream, open};

fn filter(
    limit: Option<Count>,
    kind: Option<Text>,
    agent: Option<Text>,
    since: Option<Moment>,
    all: bool,
    after_seq: Option<Whole>,
) -> ActivityFilter {
    ActivityFilter {
        limit: limit.map(|limit| limit.0),
        kind: plain(kind),
        agent: plain(agent),
        since_ms: since.map(|since| since.0),
        all,
        after_seq: after_seq.map(|seq| seq.0),
    }
}

#[pymethods]
impl Client {
    /// Lists what was done, the newest entries, oldest first. There are at most 50, or `limit`. Only this type (with a final
    /// dot all that begin so: `lock.`), what this agent did or what happened to it, since this moment, after this place;
    /// `all` for every scope's.
    ///
    /// Raises InvalidError for a filter that can't match anything, Store…Error.
    #[pyo3(signature = (*, limit=None, r#type=None, agent=None, since=None, all=false, after_seq=None))]
    fn activity<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Count>,
        r#type: Option<Text>,
        agent: Option<Text>,
        since: Option<Moment>,
        #[pyo3(from_py_with = flag)] all: bool,
        after_seq: Option<Whole>,
    ) -> Reply<'py, ActivityList> {
        let filter = filter(limit, r#type, agent, since, all, after_seq);
        now(slf, move |pd| pd.activity(&filter))
    }

    #[pyo3(signature = (*, limit=None, r#type=None, agent=None, since=None, all=false, after_seq=None))]
    fn _follow_activity<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Count>,
        r#type: Option<Text>,
        agent: Option<Text>,
        since: Option<Moment>,
        #[pyo3(from_py_with = flag)] all: bool,
        after_seq: Option<Whole>,
    ) -> Reply<'py, Stream> {
        let filter = filter(limit, r#type, agent, since, all, after_seq);
        open(slf, move |pd| Ok(StreamSource::Activity(Box::new(pd.follow_activity_from(&filter)?))))
    }
}
