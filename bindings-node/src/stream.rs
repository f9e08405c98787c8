//! What JavaScript reads bit by bit: subscriptions, and the journals that are followed. JavaScript numbers its streams.
//!
//! A stream is read by one `next` at a time. Everything at hand goes over at once; nothing is read ahead while nobody asks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use portdaddy_core::{Coordinator, Error, ErrorKind, Item, Result, Stream, StreamSource, Wait};
use serde::{Serialize, Serializer};

use crate::call::Arguments;
use crate::client::{Answer, Call, Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "next", run: Run::Wait(|call| Box::pin(next(call))) },
    Operation {
        name: "ack",
        run: Run::Client(|client, arguments| {
            let stream = client.streams.find(arguments)?;
            let seq = arguments.value("seq")?;
            json(&stream.ack(seq)?)
        }),
    },
    Operation { name: "endStream", run: Run::Wait(|call| Box::pin(end(call))) },
];

/// The open streams of a client.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Stream>>);

impl Streams {
    /// Opens the stream whose number is the next argument.
    pub(crate) fn open(
        &self,
        pd: &Coordinator,
        arguments: &mut Arguments,
        make: impl FnOnce(&mut Arguments) -> Result<StreamSource>,
    ) -> Result<String> {
        let id: u64 = arguments.value("stream")?;
        let source = make(arguments)?;
        match self.0.lock().entry(id) {
            Entry::Occupied(_) => return Err(arguments.wrong("stream", "is the number of an open stream")),
            Entry::Vacant(place) => place.insert(Stream::new(pd, source)),
        };
        json(&())
    }

    /// The handle of the open stream that the arguments name.
    pub(crate) fn handle_of(&self, arguments: &str) -> Option<Coordinator> {
        let [id] = serde_json::from_str::<[u64; 1]>(arguments).ok()?;
        self.0.lock().get(&id).map(|stream| stream.coordinator().clone())
    }

    fn find(&self, arguments: &mut Arguments) -> Result<Stream> {
        let id: u64 = arguments.value("stream")?;
        self.0.lock().get(&id).cloned().ok_or_else(not_open)
    }

    /// Ends all, with the client.
    pub(crate) fn clear(&self) {
        let streams = std::mem::take(&mut *self.0.lock());
        for stream in streams.into_values() {
            // The handle has gone, and what it waited for with it.
            let _ = stream.close();
        }
    }
}

fn not_open() -> Error {
    Error::new(ErrorKind::Closed, "the stream is not open").hint("subscribe or follow once more")
}

/// An item as JavaScript gets it.
struct Bare<'a>(&'a Item);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Item::Event(event) => event.serialize(s),
            Item::Note(note) => note.serialize(s),
            Item::Activity(activity) => activity.serialize(s),
            Item::DirectMessage(message) => message.serialize(s),
        }
    }
}

async fn end(mut call: Call) -> Result<Answer> {
    let id: u64 = call.arguments.value("stream")?;
    let stream = call.client.streams.0.lock().remove(&id).ok_or_else(not_open)?;
    stream.close()?;
    stream.ended().await;
    json(&()).map(Answer::from)
}

async fn next(mut call: Call) -> Result<Answer> {
    let stream = call.client.streams.find(&mut call.arguments)?;
    if !stream.read_async(&Wait { timeout: None, cancel: Some(call.cancel.clone()) }).await? {
        // It ended meanwhile.
        return Err(Error::new(ErrorKind::Cancelled, "the wait was cancelled"));
    }
    let items = stream.take_all()?;
    json(&items.iter().map(Bare).collect::<Vec<_>>()).map(Answer::from)
}
