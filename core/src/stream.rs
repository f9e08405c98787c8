//! A subscription or a journal for a program that holds it in another language: several may hold it, one at a time reads it,
//! and anyone may close it, also while it is read.
//!
//! What was read and not taken stays at hand, so nothing is lost where a read is given up at the moment at which it has
//! something. Nothing is read ahead while nobody asks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::activity::{Activity, ActivityFollower};
use crate::coordinator::Coordinator;
use crate::error::{Error, ErrorKind, Result};
use crate::inbox::{DirectMessage, InboxFollower};
use crate::notes::{Note, NoteFollower};
use crate::subscription::{Event, Subscription};
use crate::sync::Mutex;
use crate::tasks::at_once;
use crate::wait::{Cancel, Wait};

/// Items that one read brings to hand at most.
const MOST: usize = 256;

/// One thing that a [`Stream`] gives.
#[derive(Clone, Debug)]
pub enum Item {
    /// Of a subscription.
    Event(Event),
    /// Of the journal.
    Note(Note),
    /// Of the log.
    Activity(Activity),
    /// To the caller.
    DirectMessage(DirectMessage),
}

/// What a [`Stream`] reads.
#[derive(Debug)]
pub enum StreamSource {
    /// A subscription, and the name of its durable position.
    Subscription(Box<Subscription>, Option<String>),
    /// The journal.
    Notes(Box<NoteFollower>),
    /// The log.
    Activity(Box<ActivityFollower>),
    /// Messages to the caller.
    Inbox(Box<InboxFollower>),
}

impl StreamSource {
    async fn next(&mut self, blocking: bool, wait: &Wait) -> Result<Option<Item>> {
        Ok(match (self, blocking) {
            (StreamSource::Subscription(source, _), true) => source.next(wait)?.map(Item::Event),
            (StreamSource::Subscription(source, _), false) => source.next_async(wait).await?.map(Item::Event),
            (StreamSource::Notes(source), true) => source.next(wait)?.map(Item::Note),
            (StreamSource::Notes(source), false) => source.next_async(wait).await?.map(Item::Note),
            (StreamSource::Activity(source), true) => source.next(wait)?.map(Item::Activity),
            (StreamSource::Activity(source), false) => source.next_async(wait).await?.map(Item::Activity),
            (StreamSource::Inbox(source), true) => source.next(wait)?.map(Item::DirectMessage),
            (StreamSource::Inbox(source), false) => source.next_async(wait).await?.map(Item::DirectMessage),
        })
    }

    /// What was read together with the last item.
    fn take_read(&mut self) -> Result<Option<Item>> {
        Ok(match self {
            StreamSource::Subscription(source, _) => source.take_read()?.map(Item::Event),
            StreamSource::Notes(source) => source.take_read().map(Item::Note),
            StreamSource::Activity(source) => source.take_read().map(Item::Activity),
            StreamSource::Inbox(source) => source.take_read().map(Item::DirectMessage),
        })
    }

    fn close(self) -> Result<()> {
        match self {
            StreamSource::Subscription(source, _) => source.close(),
            StreamSource::Inbox(source) => source.close(),
            StreamSource::Notes(_) | StreamSource::Activity(_) => Ok(()),
        }
    }
}

/// Clones are one.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

struct Shared {
    pd: Coordinator,
    durable: Option<String>,
    place: Mutex<Place>,
    at_hand: Mutex<AtHand>,
}

#[derive(Default)]
struct AtHand {
    items: VecDeque<Item>,
    /// What ended a read after its first items.
    failed: Option<Error>,
}

/// Where the source is.
enum Place {
    Here(StreamSource),
    /// Lent to a read.
    Reading(Cancel),
    /// A read that was cancelled still has it; whoever waits for the end is woken then.
    Ending(Vec<Waker>),
    Ended,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("durable", &self.0.durable).finish_non_exhaustive()
    }
}

impl Stream {
    /// A stream of what `source` gives, which was made by `pd`.
    pub fn new(pd: &Coordinator, source: StreamSource) -> Stream {
        let durable = match &source {
            StreamSource::Subscription(_, durable) => durable.clone(),
            _ => None,
        };
        let (place, at_hand) = (Mutex::new(Place::Here(source)), Mutex::new(AtHand::default()));
        Stream(Arc::new(Shared { pd: pd.clone(), durable, place, at_hand }))
    }

    /// The handle that it was made by.
    pub fn coordinator(&self) -> &Coordinator {
        &self.0.pd
    }

    /// The next item of those at hand.
    ///
    /// # Errors
    /// What a read failed with after it had found others; once.
    pub fn take(&self) -> Result<Option<Item>> {
        let mut at_hand = self.0.at_hand.lock();
        match at_hand.items.pop_front() {
            Some(item) => Ok(Some(item)),
            None => at_hand.failed.take().map_or(Ok(None), Err),
        }
    }

    /// All items at hand.
    ///
    /// # Errors
    /// As [`take`](Self::take), where there is no item.
    pub fn take_all(&self) -> Result<Vec<Item>> {
        let mut at_hand = self.0.at_hand.lock();
        match at_hand.failed.take() {
            Some(e) if at_hand.items.is_empty() => Err(e),
            failed => {
                at_hand.failed = failed;
                Ok(at_hand.items.drain(..).collect())
            }
        }
    }

    /// Waits until something is at hand, for [`take`](Self::take): at once if something is already. Gives whether something
    /// is; otherwise the time ran out, or the stream was closed.
    ///
    /// # Errors
    /// `INVALID` while another read waits; `CANCELLED`; what its source fails with.
    pub fn read(&self, wait: &Wait) -> Result<bool> {
        at_once(self.fill(true, wait))
    }

    /// As [`read`](Self::read), for an event loop: it gives way while it waits. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(&self, wait: &Wait) -> Result<bool> {
        self.fill(false, wait).await
    }

    async fn fill(&self, blocking: bool, wait: &Wait) -> Result<bool> {
        if self.has_something() {
            return Ok(true);
        }
        let cancel = wait.cancel.clone().unwrap_or_default();
        let Some(mut lent) = self.lend(&cancel)? else { return Ok(false) };
        let Some(source) = &mut lent.source else { return Ok(false) };
        let found = source.next(blocking, &Wait { timeout: wait.timeout, cancel: Some(cancel.clone()) }).await;
        let found = match found {
            // It was closed while it was read.
            Err(e) if e.kind() == ErrorKind::Cancelled && self.is_closed() => return Ok(false),
            found => found?,
        };
        let Some(first) = found else { return Ok(false) };
        let mut at_hand = self.0.at_hand.lock();
        at_hand.items.push_back(first);
        while at_hand.items.len() < MOST {
            match source.take_read() {
                Ok(None) => break,
                Ok(Some(item)) => at_hand.items.push_back(item),
                // What was read comes first.
                Err(e) => {
                    at_hand.failed = Some(e);
                    break;
                }
            }
        }
        Ok(true)
    }

    fn has_something(&self) -> bool {
        let at_hand = self.0.at_hand.lock();
        !at_hand.items.is_empty() || at_hand.failed.is_some()
    }

    /// The source, for one read; none once it has ended.
    fn lend(&self, cancel: &Cancel) -> Result<Option<Lent<'_>>> {
        let mut place = self.0.place.lock();
        match std::mem::replace(&mut *place, Place::Reading(cancel.clone())) {
            Place::Here(source) => Ok(Some(Lent { stream: self, source: Some(source) })),
            Place::Reading(cancel) => {
                *place = Place::Reading(cancel);
                Err(Error::invalid("the stream is being waited for by another read")
                    .hint("let one read it, and pass on what comes"))
            }
            over => {
                *place = over;
                Ok(None)
            }
        }
    }

    /// Stores that everything up to `seq` was handled, for a durable subscription, also while it is read: the position is
    /// the name's.
    ///
    /// # Errors
    /// `INVALID` for a stream without a durable name, `STORE_*`.
    pub fn ack(&self, seq: i64) -> Result<()> {
        match &self.0.durable {
            Some(name) => self.0.pd.ack(name, seq),
            None => Err(Error::invalid("this stream has no position to store")
                .hint("subscribe with a name for it (as, durable)")),
        }
    }

    /// Ends it, or begins to: a read that has it is cancelled, and puts an end to it. What is at hand stays there.
    ///
    /// # Errors
    /// `STORE_*`.
    pub fn close(&self) -> Result<()> {
        let mut place = self.0.place.lock();
        match std::mem::replace(&mut *place, Place::Ended) {
            Place::Here(source) => {
                drop(place);
                source.close()
            }
            Place::Reading(cancel) => {
                *place = Place::Ending(Vec::new());
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

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0.place.lock(), Place::Ending(_) | Place::Ended)
    }

    /// Resolves once nothing of a closed stream is left.
    pub async fn ended(&self) {
        std::future::poll_fn(|cx| self.poll_ended(cx)).await;
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.0.place.lock() {
            Place::Ending(wakers) => {
                wakers.push(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

/// A source on loan.
struct Lent<'a> {
    stream: &'a Stream,
    /// Until it is given back.
    source: Option<StreamSource>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(source) = self.source.take() else { return };
        let mut place = self.stream.0.place.lock();
        if matches!(&*place, Place::Reading(_)) {
            *place = Place::Here(source);
            return;
        }
        // It was closed meanwhile: nothing of it is left once whoever closed it hears so.
        drop(place);
        drop(source);
        let ending = std::mem::replace(&mut *self.stream.0.place.lock(), Place::Ended);
        if let Place::Ending(wakers) = ending {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::coordinator::{Options, ScopeChoice};
    use crate::messages::Publish;
    use crate::subscription::Subscribe;

    fn stream(dir: &tempfile::TempDir) -> (Coordinator, Stream) {
        let options = Options::default().db(dir.path().join("db")).agent("a").scope(ScopeChoice::Global);
        let pd = Coordinator::open(options).unwrap();
        let how = Subscribe { patterns: "c:*".to_owned(), durable: Some("me".to_owned()), ..Subscribe::default() };
        let source = StreamSource::Subscription(Box::new(pd.subscribe(&how).unwrap()), how.durable);
        (pd.clone(), Stream::new(&pd, source))
    }

    fn payload(item: Option<Item>) -> serde_json::Value {
        match item {
            Some(Item::Event(Event::Message(delivery))) => delivery.message.payload,
            other => panic!("no message: {other:?}"),
        }
    }

    #[test]
    fn what_was_read_together_is_at_hand_until_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (pd, stream) = stream(&dir);
        assert!(!stream.read(&Wait::at_most(Duration::ZERO)).unwrap());
        for n in 0..3 {
            pd.publish("c:n", &json!(n), &Publish::default()).unwrap();
        }
        assert!(stream.read(&Wait::default()).unwrap());
        assert_eq!(payload(stream.take().unwrap()), 0);
        // Something is at hand: nothing is waited for.
        assert!(stream.read(&Wait::default()).unwrap());
        assert_eq!(stream.take_all().unwrap().len(), 2);
        assert!(stream.take().unwrap().is_none());
        stream.ack(7).unwrap();
    }

    #[test]
    fn a_read_that_waits_ends_with_the_stream_and_keeps_others_off() {
        let dir = tempfile::tempdir().unwrap();
        let (pd, stream) = stream(&dir);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| stream.read(&Wait::default()));
            while pd.status().unwrap().waiters.is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(stream.read(&Wait::default()).unwrap_err().kind(), ErrorKind::Invalid);
            stream.close().unwrap();
            assert!(!reader.join().unwrap().unwrap());
        });
        at_once(stream.ended());
        assert!(stream.is_closed() && pd.status().unwrap().waiters.is_empty());
        assert!(!stream.read(&Wait::default()).unwrap());
        stream.close().unwrap();
    }
}
