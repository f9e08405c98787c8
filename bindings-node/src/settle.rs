//! How a call ends: exactly once, on the JavaScript thread, through one function per client.

use std::collections::HashMap;

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use parking_lot::{Mutex, RwLock};
use portdaddy_core::{Cancel, Error, ErrorKind, Result};

use crate::error::{carrier, closed};

/// What `settle` is called with: call, kind, text, notices.
pub(crate) type Settled = FnArgs<(i64, &'static str, String, Option<String>)>;

/// Doesn't keep the process alive by itself, and its queue has no bound: calls in flight are the bound.
type ToJavaScript = ThreadsafeFunction<Settled, (), Settled, Status, false, true>;

/// The calls of a client that haven't settled, and the way back.
pub(crate) struct Calls {
    pending: Mutex<Pending>,
    /// None once the client is over and its last call has settled: JavaScript's function is let go.
    settle: RwLock<Option<ToJavaScript>>,
}

struct Pending {
    cancels: HashMap<i64, Cancel>,
    closed: bool,
}

impl Calls {
    pub(crate) fn new(settle: &Function<'_, Settled, ()>) -> napi::Result<Self> {
        let settle =
            settle.build_threadsafe_function::<Settled>().weak::<true>().build_callback(|settled| Ok(settled.value))?;
        let pending = Pending { cancels: HashMap::new(), closed: false };
        Ok(Self { pending: Mutex::new(pending), settle: RwLock::new(Some(settle)) })
    }

    /// Begins a call, unless the client is closed. With `last` it is closed from now on.
    pub(crate) fn begin(&self, call: i64, last: bool) -> Result<Cancel> {
        let mut pending = self.pending.lock();
        if pending.closed {
            return Err(closed());
        }
        pending.closed = last;
        let cancel = Cancel::new();
        pending.cancels.insert(call, cancel.clone());
        Ok(cancel)
    }

    pub(crate) fn cancel(&self, call: i64) {
        let cancel = self.pending.lock().cancels.get(&call).cloned();
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// Refuses new calls, and cancels the waits of those that haven't settled.
    pub(crate) fn close(&self) {
        let cancels: Vec<Cancel> = {
            let mut pending = self.pending.lock();
            pending.closed = true;
            pending.cancels.values().cloned().collect()
        };
        cancels.iter().for_each(Cancel::cancel);
        self.let_go_if_over();
    }

    /// Closed, and every call has settled.
    pub(crate) fn is_over(&self) -> bool {
        let pending = self.pending.lock();
        pending.closed && pending.cancels.is_empty()
    }

    /// Tells JavaScript something about a call that goes on.
    pub(crate) fn progress(&self, call: i64, text: String) {
        self.send((call, "progress", text, None));
    }

    /// Settles a call, and tells whether JavaScript will hear of it.
    pub(crate) fn settle(&self, call: i64, answer: Result<String>, notices: Option<String>) -> bool {
        let delivered = match answer {
            Ok(text) => self.send((call, "value", text, notices)),
            Err(e) => self.send((call, "error", carrier(&e), notices)),
        };
        let over = {
            let mut pending = self.pending.lock();
            pending.cancels.remove(&call);
            pending.closed && pending.cancels.is_empty()
        };
        if over {
            self.let_go();
        }
        delivered
    }

    fn send(&self, settled: (i64, &'static str, String, Option<String>)) -> bool {
        let settle = self.settle.read();
        settle.as_ref().is_some_and(|f| f.call(settled.into(), ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok)
    }

    fn let_go_if_over(&self) {
        if self.is_over() {
            self.let_go();
        }
    }

    /// What was sent still arrives.
    pub(crate) fn let_go(&self) {
        self.settle.write().take();
    }

    /// Whether what is still to be settled keeps the process alive.
    #[expect(deprecated, reason = "the advice to clone instead is about the life of the function, not of the process")]
    pub(crate) fn keep_alive(&self, env: &Env, keep: bool) -> napi::Result<()> {
        match self.settle.write().as_mut() {
            None => Ok(()),
            Some(settle) if keep => settle.refer(env),
            Some(settle) => settle.unref(env),
        }
    }
}

/// The duty to settle a call. Dropped without it (a panic, a thread that ended), the call settles with an error.
pub(crate) struct Duty<F: FnOnce() -> Option<String>> {
    calls: std::sync::Arc<Calls>,
    call: i64,
    /// What the caller is to be told besides; none once it is settled.
    notices: Option<F>,
}

impl<F: FnOnce() -> Option<String>> Duty<F> {
    pub(crate) fn new(calls: std::sync::Arc<Calls>, call: i64, notices: F) -> Self {
        Self { calls, call, notices: Some(notices) }
    }

    /// Whether JavaScript will hear of it.
    pub(crate) fn settle(mut self, answer: Result<String>) -> bool {
        self.end(answer)
    }

    fn end(&mut self, answer: Result<String>) -> bool {
        let Some(notices) = self.notices.take() else { return false };
        self.calls.settle(self.call, answer, notices())
    }
}

impl<F: FnOnce() -> Option<String>> Drop for Duty<F> {
    fn drop(&mut self) {
        self.end(Err(Error::new(ErrorKind::Internal, "the operation ended without an answer")
            .hint("this is a bug in port-daddy; please report it")));
    }
}
