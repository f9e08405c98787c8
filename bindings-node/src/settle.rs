//! How a call ends: exactly once, on the JavaScript thread, through one function per client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeCallContext, ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use parking_lot::{Mutex, RwLock};
use portdaddy_core::{Cancel, Error, ErrorKind, Result};

use crate::error::{carrier, closed};

/// What `settle` is called with: call, kind, text, notices.
pub(crate) type Settled = FnArgs<(i64, &'static str, String, Option<String>)>;

const PROGRESS: &str = "progress";

/// Doesn't keep the process alive by itself, and its queue has no bound: calls in flight are the bound.
type ToJavaScript = ThreadsafeFunction<Settled, (), Settled, Status, false, true>;

/// The calls of a client that haven't settled, and the way back.
pub(crate) struct Calls {
    pending: Mutex<Pending>,
    /// Calls that JavaScript hasn't heard the end of. Changed on its thread alone, after what `settle` sent has arrived.
    unheard: AtomicU64,
    /// None once the client is over and JavaScript has heard of every call: its function is let go, on its own thread,
    /// so that one who keeps the process alive for the last call still can.
    settle: RwLock<Option<ToJavaScript>>,
}

struct Pending {
    cancels: HashMap<i64, Cancel>,
    closed: bool,
}

impl Calls {
    pub(crate) fn new(settle: &Function<'_, Settled, ()>) -> napi::Result<Arc<Self>> {
        let pending = Mutex::new(Pending { cancels: HashMap::new(), closed: false });
        let this = Arc::new(Self { pending, unheard: AtomicU64::new(0), settle: RwLock::new(None) });
        let calls = Arc::downgrade(&this);
        let heard = move |settled: ThreadsafeCallContext<Settled>| {
            if let Some(calls) = calls.upgrade().filter(|_| settled.value.data.1 != PROGRESS) {
                calls.unheard.fetch_sub(1, Ordering::Relaxed);
                calls.let_go_if_over();
            }
            Ok(settled.value)
        };
        let settle = settle.build_threadsafe_function::<Settled>().weak::<true>().build_callback(heard)?;
        *this.settle.write() = Some(settle);
        Ok(this)
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
        self.unheard.fetch_add(1, Ordering::Relaxed);
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

    /// Closed, and JavaScript has heard of every call. Asked on its thread.
    pub(crate) fn is_over(&self) -> bool {
        self.unheard.load(Ordering::Relaxed) == 0 && self.pending.lock().closed
    }

    /// Tells JavaScript something about a call that goes on.
    pub(crate) fn progress(&self, call: i64, text: String) {
        self.send((call, PROGRESS, text, None));
    }

    /// Settles a call, and tells whether JavaScript will hear of it.
    pub(crate) fn settle(&self, call: i64, answer: Result<String>, notices: Option<String>) -> bool {
        self.pending.lock().cancels.remove(&call);
        match answer {
            Ok(text) => self.send((call, "value", text, notices)),
            Err(e) => self.send((call, "error", carrier(&e), notices)),
        }
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
    calls: Arc<Calls>,
    call: i64,
    /// What the caller is to be told besides; none once it is settled.
    notices: Option<F>,
}

impl<F: FnOnce() -> Option<String>> Duty<F> {
    pub(crate) fn new(calls: Arc<Calls>, call: i64, notices: F) -> Self {
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
