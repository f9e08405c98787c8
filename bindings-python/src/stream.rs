//! What Python reads bit by bit: subscriptions, and the journals that are followed.

use std::sync::Arc;

use portdaddy_core::{Coordinator, Event, Item, Result, StreamSource, Wait};
use pyo3::prelude::*;
use serde::{Serialize, Serializer};

use crate::aio::{Converting, Going, Pending, converting};
use crate::args::{Timeout, Whole};
use crate::client::{Client, Outcome, Reply, interruptibly, tell, without_gil};
use crate::error::raised;
use crate::types::to_python;

/// A stream of a `Client`.
#[pyclass(subclass, frozen, module = "port_daddy._native")]
pub(crate) struct Stream {
    stream: portdaddy_core::Stream,
    client: Py<Client>,
}

impl Drop for Stream {
    /// A subscription's end writes.
    fn drop(&mut self) {
        // What isn't there any more can't be closed; a wait that it leaves behind goes with its client.
        without_gil(|| drop(self.stream.close()));
    }
}

/// A stream of an `AsyncClient`.
#[pyclass(extends = Stream, frozen, module = "port_daddy._native")]
pub(crate) struct AsyncStream;

/// An item as its own class.
struct Bare<'a>(&'a Item);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            Item::Event(Event::Message(delivery)) => delivery.serialize(s),
            Item::Event(Event::Warning(warning)) => warning.serialize(s),
            Item::Note(note) => note.serialize(s),
            Item::Activity(activity) => activity.serialize(s),
            Item::DirectMessage(message) => message.serialize(s),
        }
    }
}

/// Opens a stream of what `make` makes.
pub(crate) fn open<'py, F>(client: &Bound<'py, Client>, make: F) -> Reply<'py, Stream>
where
    F: FnOnce(&Coordinator) -> Result<StreamSource> + Send + 'static,
{
    let (py, shared) = (client.py(), Arc::clone(&client.get().shared));
    let of = client.clone().unbind();
    if client.get().is_async {
        let begin = move || {
            let pd = shared.open()?;
            let stream = portdaddy_core::Stream::new(&pd, make(&pd)?);
            let made: Converting = Box::new(move |py| {
                let new = PyClassInitializer::from(Stream { stream, client: of }).add_subclass(AsyncStream);
                Ok(Py::new(py, new)?.into_any())
            });
            Ok(made)
        };
        return Pending::brief_of(begin).coroutine(client, None).map(Outcome::of);
    }
    let pd = shared.coordinator(py).map_err(|e| raised(py, &e))?;
    let source = interruptibly(py, || make(&pd));
    tell(client, &pd)?;
    let stream = portdaddy_core::Stream::new(&pd, source?.map_err(|e| raised(py, &e))?);
    Ok(Outcome::of(Bound::new(py, Stream { stream, client: of })?.into_any()))
}

#[pymethods]
impl Stream {
    /// The next item of those at hand, if there is one.
    fn _take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let item = self.stream.take().map_err(|e| raised(py, &e))?;
        item.map(|item| to_python(py, &Bare(&item))).transpose()
    }

    /// Waits until something is at hand, and gives whether something is: otherwise the time ran out, or it was closed.
    #[pyo3(signature = (timeout=None))]
    fn _read<'py>(&self, py: Python<'py>, timeout: Option<Timeout>) -> Reply<'py, bool> {
        let most = Timeout::of(timeout);
        let client = self.client.bind(py);
        if client.get().is_async {
            let stream = self.stream.clone();
            let pd = stream.coordinator().clone();
            let job = move |cancel, _| -> Going {
                Box::pin(async move {
                    let wait = Wait { timeout: most, cancel: Some(cancel) };
                    stream.read_async(&wait).await.map(converting)
                })
            };
            return Pending::waiting(Some(pd), job).coroutine(client, None).map(Outcome::of);
        }
        let read = interruptibly(py, || self.stream.read(&Wait { timeout: most, cancel: None }));
        tell(client, self.stream.coordinator())?;
        let found = read?.map_err(|e| raised(py, &e))?;
        to_python(py, &found).map(Outcome::of)
    }

    /// Stores that everything up to `seq` was handled.
    fn _ack<'py>(&self, py: Python<'py>, seq: Whole) -> Reply<'py, ()> {
        let stream = self.stream.clone();
        self.brief(py, move || stream.ack(seq.0))
    }

    /// Ends it.
    fn _close<'py>(&self, py: Python<'py>) -> Reply<'py, ()> {
        let client = self.client.bind(py);
        let stream = self.stream.clone();
        if client.get().is_async {
            let job = move |_, _| -> Going {
                Box::pin(async move {
                    stream.close()?;
                    // A read that had it is over, too.
                    stream.ended().await;
                    Ok(converting(()))
                })
            };
            return Pending::waiting(None, job).coroutine(client, None).map(Outcome::of);
        }
        self.brief(py, move || stream.close())
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.stream.is_closed()
    }
}

impl Stream {
    fn brief<'py>(&self, py: Python<'py>, f: impl FnOnce() -> Result<()> + Send + 'static) -> Reply<'py, ()> {
        let client = self.client.bind(py);
        if client.get().is_async {
            return Pending::brief(f).coroutine(client, None).map(Outcome::of);
        }
        interruptibly(py, f)?.map_err(|e| raised(py, &e))?;
        Ok(Outcome::of(py.None().into_bound(py)))
    }
}
