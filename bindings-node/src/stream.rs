//! What JavaScript reads bit by bit: subscriptions, and the journals that are followed. JavaScript numbers its streams.
//!
//! A stream is read by one `next` at a time, which takes the source out of its place and puts it back. Everything at
//! hand goes over at once; nothing is read ahead while nobody asks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use portdaddy_core::{
    ActivityFollower, Cancel, Coordinator, Error, ErrorKind, NoteFollower, Result, Subscription, Wait,
};

use crate::call::Arguments;
use crate::client::{Answer, Call, Operation, Run};
use crate::types::json;

/// Items that one `next` gives at most.
const MOST_ITEMS: usize = 256;
/// Bytes of text after which a `next` looks for no more.
const MOST_BYTES: usize = 1 << 20;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "next", run: Run::Wait(|call| Box::pin(next(call))) },
    Operation {
        name: "ack",
        run: Run::Client(|client, arguments| {
            let stream = client.streams.find(arguments)?;
            let seq = arguments.value("seq")?;
            stream.ack(seq)
        }),
    },
    Operation { name: "endStream", run: Run::Wait(|call| Box::pin(end(call))) },
];

/// Where a stream's items come from.
pub(crate) enum Source {
    Messages(Subscription),
    Notes(NoteFollower),
    Activity(ActivityFollower),
}

impl Source {
    /// The next item as JSON text.
    async fn next(&mut self, wait: &Wait) -> Result<Option<String>> {
        match self {
            Source::Messages(source) => source.next_async(wait).await?.map(|item| json(&item)).transpose(),
            Source::Notes(source) => source.next_async(wait).await?.map(|item| json(&item)).transpose(),
            Source::Activity(source) => source.next_async(wait).await?.map(|item| json(&item)).transpose(),
        }
    }

    /// What was read together with the last item.
    fn take_read(&mut self) -> Result<Option<String>> {
        match self {
            Source::Messages(source) => source.take_read()?.map(|item| json(&item)).transpose(),
            Source::Notes(source) => source.take_read().map(|item| json(&item)).transpose(),
            Source::Activity(source) => source.take_read().map(|item| json(&item)).transpose(),
        }
    }

    fn close(self) -> Result<()> {
        match self {
            Source::Messages(subscription) => subscription.close(),
            Source::Notes(_) | Source::Activity(_) => Ok(()),
        }
    }
}

/// The open streams of a client.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Arc<Stream>>>);

struct Stream {
    pd: Coordinator,
    place: Mutex<Place>,
    /// The name of its position, for a durable subscription.
    durable: Option<String>,
}

enum Place {
    Here(Box<Source>, Option<Error>),
    /// A `next` has it.
    Reading(Cancel),
    /// A cancelled `next` still has it; whoever waits for the end is woken then.
    Ending(Option<Waker>),
    Ended,
}

impl Streams {
    /// Opens the stream whose number is the next argument.
    pub(crate) fn open(
        &self,
        pd: &Coordinator,
        arguments: &mut Arguments,
        make: impl FnOnce(&mut Arguments) -> Result<(Source, Option<String>)>,
    ) -> Result<String> {
        let id: u64 = arguments.value("stream")?;
        let (source, durable) = make(arguments)?;
        match self.0.lock().entry(id) {
            Entry::Occupied(_) => return Err(arguments.wrong("stream", "is the number of an open stream")),
            Entry::Vacant(place) => place.insert(Arc::new(Stream {
                pd: pd.clone(),
                place: Mutex::new(Place::Here(Box::new(source), None)),
                durable,
            })),
        };
        json(&())
    }

    /// The handle of the open stream that the arguments name.
    pub(crate) fn handle_of(&self, arguments: &str) -> Option<Coordinator> {
        let [id] = serde_json::from_str::<[u64; 1]>(arguments).ok()?;
        self.0.lock().get(&id).map(|stream| stream.pd.clone())
    }

    fn find(&self, arguments: &mut Arguments) -> Result<Arc<Stream>> {
        let id: u64 = arguments.value("stream")?;
        self.0.lock().get(&id).cloned().ok_or_else(not_open)
    }

    /// Ends all, with the client.
    pub(crate) fn clear(&self) {
        let streams = std::mem::take(&mut *self.0.lock());
        for stream in streams.into_values() {
            // The handle has gone, and what it waited for with it.
            let _ = stream.end();
        }
    }
}

fn not_open() -> Error {
    Error::new(ErrorKind::Closed, "the stream is not open").hint("subscribe or follow once more")
}

impl Stream {
    /// Ends it, or begins to: then a `next` that was cancelled puts an end to it.
    fn end(&self) -> Result<()> {
        let mut place = self.place.lock();
        match std::mem::replace(&mut *place, Place::Ended) {
            Place::Here(source, _) => {
                drop(place);
                source.close()
            }
            Place::Reading(cancel) => {
                *place = Place::Ending(None);
                drop(place);
                cancel.cancel();
                Ok(())
            }
            over => {
                *place = over;
                Ok(())
            }
        }
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.place.lock() {
            Place::Ending(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// While a `next` waits as well: the position is the name's, not the subscription's.
    fn ack(&self, seq: i64) -> Result<String> {
        match &self.durable {
            Some(name) => json(&self.pd.ack(name, seq)?),
            None => Err(Error::invalid("ack: this stream has no position to store")
                .with("operation", "ack")
                .hint("subscribe with a name for it (as)")),
        }
    }
}

/// A source on loan to a `next`.
struct Reading {
    stream: Arc<Stream>,
    source: Option<Box<Source>>,
    /// What ended an earlier batch after its first items.
    failed: Option<Error>,
}

impl Reading {
    fn begin(stream: Arc<Stream>, cancel: &Cancel, arguments: &Arguments) -> Result<Self> {
        let mut place = stream.place.lock();
        match std::mem::replace(&mut *place, Place::Ended) {
            Place::Here(source, failed) => {
                *place = Place::Reading(cancel.clone());
                drop(place);
                Ok(Reading { stream, source: Some(source), failed })
            }
            Place::Ended => Err(not_open()),
            reading => {
                *place = reading;
                Err(arguments.wrong("stream", "is being waited for by another next"))
            }
        }
    }

    async fn batch(&mut self, cancel: &Cancel) -> Result<String> {
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        let Some(source) = &mut self.source else { return Err(not_open()) };
        let mut text = "[".to_owned();
        let first = source.next(&Wait { timeout: None, cancel: Some(cancel.clone()) }).await?;
        text.extend(first);
        for _ in 1..MOST_ITEMS {
            if text.len() > MOST_BYTES {
                break;
            }
            match source.take_read() {
                Ok(None) => break,
                Ok(Some(item)) => text.extend([",", &item]),
                // What was read goes over first.
                Err(e) => {
                    self.failed = Some(e);
                    break;
                }
            }
        }
        text.push(']');
        Ok(text)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Some(source) = self.source.take() else { return };
        let mut place = self.stream.place.lock();
        if matches!(&*place, Place::Reading(_)) {
            *place = Place::Here(source, self.failed.take());
            return;
        }
        // It was ended meanwhile: nothing of it is left once whoever ended it hears so.
        drop(place);
        drop(source);
        let ending = std::mem::replace(&mut *self.stream.place.lock(), Place::Ended);
        if let Place::Ending(Some(waker)) = ending {
            waker.wake();
        }
    }
}

async fn end(mut call: Call) -> Result<Answer> {
    let id: u64 = call.arguments.value("stream")?;
    let stream = call.client.streams.0.lock().remove(&id).ok_or_else(not_open)?;
    stream.end()?;
    std::future::poll_fn(|cx| stream.poll_ended(cx)).await;
    json(&()).map(Answer::from)
}

async fn next(mut call: Call) -> Result<Answer> {
    let stream = call.client.streams.find(&mut call.arguments)?;
    let mut reading = Reading::begin(stream, &call.cancel, &call.arguments)?;
    reading.batch(&call.cancel).await.map(Answer::from)
}
