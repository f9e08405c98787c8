//! Messages to one agent.

use portdaddy_core::{DirectMessage, DirectMessageFilter, Sent, StreamSource};
use pyo3::prelude::*;

use crate::args::{Count, Text, Whole};
use crate::client::{Client, Reply, now};
use crate::stream::{Stream, open};

#[pymethods]
impl Client {
    /// Sends a message to one agent, named by its id; or by a name or identity that one agent has: among those alive
    /// before others, and among those of the caller's scope before others. Once this returns, it survives a power cut, and
    /// waits until it is shown, 30 days at most. `reach` of the result says whether the agent will see it.
    ///
    /// Raises InvalidError for a text that breaks a rule (1 byte to 64 KiB); NotFoundError, AmbiguousError for the
    /// recipient; InboxFullError if 1,000 messages wait for it already; Store…Error.
    #[pyo3(signature = (agent, text))]
    fn send<'py>(slf: &Bound<'py, Self>, agent: Text, text: Text) -> Reply<'py, Sent> {
        now(slf, move |pd| pd.send(&agent.0, &text.0))
    }

    /// The caller's messages that were not shown yet, oldest first; at most 100. Reading marks none as shown: that is for
    /// `inbox_shown`.
    ///
    /// Raises NoAgentError, Store…Error.
    #[pyo3(signature = ())]
    fn inbox<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Vec<DirectMessage>> {
        now(slf, |pd| pd.inbox())
    }

    /// Says that the caller's messages up to this place were shown. They are kept for 7 days, the newest 1,000, and not
    /// given again.
    ///
    /// Raises NoAgentError, Store…Error.
    #[pyo3(signature = (seq))]
    fn inbox_shown<'py>(slf: &Bound<'py, Self>, seq: Whole) -> Reply<'py, ()> {
        now(slf, move |pd| pd.inbox_shown(seq.0))
    }

    /// The caller's newest messages, shown or not, oldest first. There are at most 20, or `limit`. Marks nothing.
    ///
    /// Raises NoAgentError, Store…Error.
    #[pyo3(signature = (*, limit=None))]
    fn direct_messages<'py>(slf: &Bound<'py, Self>, limit: Option<Count>) -> Reply<'py, Vec<DirectMessage>> {
        let filter = DirectMessageFilter { limit: limit.map(|limit| limit.0) };
        now(slf, move |pd| pd.direct_messages(&filter))
    }

    #[pyo3(signature = ())]
    fn _follow_inbox<'py>(slf: &Bound<'py, Self>) -> Reply<'py, Stream> {
        open(slf, |pd| Ok(StreamSource::Inbox(Box::new(pd.follow_inbox_from()?))))
    }
}
