//! Signals: publishing, subscribing, and waiting for one.

use portdaddy_core::{ChannelFilter, ChannelList, Message, MessageFilter, Publish, Published, StreamSource, Subscribe};
use pyo3::prelude::*;

use crate::args::{Count, Few, Names, Payload, Replay, Text, Timeout, Ttl, Whole, flag, plain};
use crate::client::{Client, Reply, now, wait};
use crate::stream::{Stream, open};
use crate::types::Json;

#[pymethods]
impl Client {
    /// Publishes a message: stores it, and wakes whoever waits for its channel. Needs no agent. The payload is any JSON
    /// value of at most 1 MiB; it is kept for 7 days or `ttl` (seconds or a timedelta), and 10,000 messages or `keep` of its
    /// channel.
    ///
    /// Raises TypeError for a payload that isn't made of dict, list, tuple, str, int, float, bool and None; InvalidError for
    /// a channel that is no name, a payload that is too large, nested deeper than 100 or holds what JSON can't (NaN,
    /// infinity, an int of more than 64 bits), a ttl or number that isn't positive; nothing is stored then. Store…Error.
    #[pyo3(signature = (channel, payload, *, ttl=None, keep=None))]
    fn publish<'py>(
        slf: &Bound<'py, Self>,
        channel: Text,
        payload: Payload,
        ttl: Option<Ttl>,
        keep: Option<Few>,
    ) -> Reply<'py, Published> {
        let how = Publish { ttl_ms: ttl.map(|ttl| ttl.0), keep: keep.map(|keep| keep.0) };
        now(slf, move |pd| pd.publish(&channel.0, &payload.0, &how))
    }

    #[pyo3(signature = (patterns, *, replay=None, durable=None, fail_on_deadlock=false, fail_if_gone=false,
        purpose=None))]
    fn _subscribe<'py>(
        slf: &Bound<'py, Self>,
        patterns: Names,
        replay: Option<Replay>,
        durable: Option<Text>,
        #[pyo3(from_py_with = flag)] fail_on_deadlock: bool,
        #[pyo3(from_py_with = flag)] fail_if_gone: bool,
        purpose: Option<Text>,
    ) -> Reply<'py, Stream> {
        let how = Subscribe {
            patterns: patterns.0.join(","),
            replay: replay.map(|replay| replay.0).unwrap_or_default(),
            durable: plain(durable),
            fail_on_deadlock,
            fail_if_gone,
            purpose: plain(purpose),
            // A program does other things meanwhile.
            alone: false,
            patient: false,
        };
        open(slf, move |pd| Ok(StreamSource::Subscription(Box::new(pd.subscribe(&how)?), how.durable)))
    }

    /// Waits for a channel's signal and gives its payload: at once if the channel's newest message is at most 24 hours old.
    /// It waits for ever, or `timeout` (seconds or a timedelta).
    ///
    /// Raises TimedOutError, InvalidError for a channel that is no name, Store…Error.
    #[pyo3(signature = (channel, *, timeout=None))]
    fn wait_for_signal<'py>(slf: &Bound<'py, Self>, channel: Text, timeout: Option<Timeout>) -> Reply<'py, Json> {
        let name = channel.0.clone();
        let blocking = move |pd: &portdaddy_core::Coordinator, wait: &portdaddy_core::Wait| {
            pd.wait_for_signal(&name, wait).map(Json)
        };
        wait(slf, Timeout::of(timeout), blocking, move |pd, wait| {
            Box::pin(async move { pd.wait_for_signal_async(&channel.0, &wait).await.map(Json) })
        })
    }

    /// Lists stored messages, oldest first: the newest, or the first ones after a seq. They are of all channels of the
    /// scope, or of those that `patterns` names; at most 100, or `limit`.
    ///
    /// Raises InvalidError, Store…Error.
    #[pyo3(signature = (patterns=None, *, after_seq=None, limit=None, all=false))]
    fn messages<'py>(
        slf: &Bound<'py, Self>,
        patterns: Option<Names>,
        after_seq: Option<Whole>,
        limit: Option<Count>,
        #[pyo3(from_py_with = flag)] all: bool,
    ) -> Reply<'py, Vec<Message>> {
        let filter = MessageFilter {
            patterns: patterns.map(|patterns| patterns.0.join(",")),
            after_seq: after_seq.map(|seq| seq.0),
            limit: limit.map(|limit| limit.0),
            all,
        };
        now(slf, move |pd| pd.messages(&filter))
    }

    /// Lists the channels that have messages.
    ///
    /// Raises InvalidError, Store…Error.
    #[pyo3(signature = (pattern=None, *, all=false))]
    fn channels<'py>(
        slf: &Bound<'py, Self>,
        pattern: Option<Names>,
        #[pyo3(from_py_with = flag)] all: bool,
    ) -> Reply<'py, ChannelList> {
        let filter = ChannelFilter { pattern: pattern.map(|pattern| pattern.0.join(",")), all };
        now(slf, move |pd| pd.channels(&filter))
    }

    /// Removes the messages of the caller's scope on these channels: names or patterns, separated by commas. Gives how many
    /// there were.
    ///
    /// Raises InvalidError, Store…Error.
    fn clear_channel<'py>(slf: &Bound<'py, Self>, pattern: Names) -> Reply<'py, u64> {
        now(slf, move |pd| pd.clear_channel(&pattern.0.join(",")))
    }
}
