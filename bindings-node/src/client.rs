//! One client: a handle, its thread, and the calls that JavaScript makes.
//!
//! The handle is opened on the client's own thread before the first operation that needs it; if that fails, the next
//! operation tries again. After a fork only the parent has the thread: the child's calls are refused before anything is
//! locked.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use napi::Env;
use napi::bindgen_prelude::Function;
use napi_derive::napi;
use parking_lot::Mutex;
use portdaddy_core::{Cancel, Coordinator, Error, ErrorKind, Options, Result, ScopeChoice, Worker};
use serde::Deserialize;

use crate::call::{self, Arguments};
use crate::error::{closed, forked, thrown};

use crate::settle::{Calls, Duty, Settled};
use crate::stream::Streams;
use crate::types::json;

/// One operation, by its name in JavaScript.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: Run,
}

/// How an operation is run.
pub(crate) enum Run {
    /// Done once it returns.
    Now(fn(&Coordinator, &mut Arguments) -> Result<String>),
    /// Done once it returns, and concerns the client itself.
    Client(fn(&Shared, &mut Arguments) -> Result<String>),
    /// Waits, and can be cancelled.
    Wait(fn(Call) -> Waiting),
}

/// What comes of an operation that waits.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// A result, and what must be undone if JavaScript doesn't hear of it.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) kept: Option<portdaddy_core::Lock>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Answer { text, kept: None }
    }
}

/// A call of an operation that waits.
pub(crate) struct Call {
    pub(crate) client: Arc<Shared>,
    pub(crate) id: i64,
    pub(crate) arguments: Arguments,
    pub(crate) cancel: Cancel,
}

pub(crate) const OPERATIONS: &[Operation] = &[Operation {
    name: "close",
    run: Run::Client(|client, _| {
        client.end(Coordinator::close);
        json(&())
    }),
}];

/// What a client was made with, as JavaScript names it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClientOptions {
    db: Option<String>,
    agent_id: Option<String>,
    session: Option<String>,
    scope: Option<String>,
    global: bool,
    cwd: Option<String>,
}

/// The handle.
enum Handle {
    Unopened,
    Open(Coordinator),
    Over,
}

/// What the JavaScript object, the thread and the calls share.
pub(crate) struct Shared {
    pid: u32,
    options: String,
    calls: Arc<Calls>,
    handle: Mutex<Handle>,
    /// From the first call to the end.
    worker: Mutex<Option<Worker>>,
    pub(crate) streams: Streams,
}

impl Shared {
    pub(crate) fn options(&self) -> Result<Options> {
        let named: ClientOptions = call::options("PortDaddy", &self.options)?;
        let mut options = Options::default();
        if let Some(db) = named.db {
            options = options.db(db);
        }
        if let Some(agent) = named.agent_id {
            options = options.agent(agent);
        }
        if let Some(session) = named.session {
            options = options.session(session);
        }
        if let Some(cwd) = named.cwd {
            options = options.cwd(cwd);
        }
        match (named.scope, named.global) {
            (None, false) => Ok(options),
            (None, true) => Ok(options.scope(ScopeChoice::Global)),
            (Some(name), false) => Ok(options.scope(ScopeChoice::Named(name))),
            (Some(name), true) => {
                Err(Error::invalid(format!("PortDaddy: scope {name:?} and global exclude each other"))
                    .with("operation", "PortDaddy")
                    .with("option", "scope")
                    .hint("leave one of them out"))
            }
        }
    }

    /// The handle, opened if it isn't yet.
    pub(crate) fn coordinator(&self) -> Result<Coordinator> {
        let mut handle = self.handle.lock();
        match &*handle {
            Handle::Open(coordinator) => Ok(coordinator.clone()),
            Handle::Over => Err(closed()),
            Handle::Unopened => {
                let coordinator = Coordinator::open(self.options()?)?;
                *handle = Handle::Open(coordinator.clone());
                Ok(coordinator)
            }
        }
    }

    /// Refuses what was called before the client ended and comes after.
    pub(crate) fn check_open(&self) -> Result<()> {
        if matches!(*self.handle.lock(), Handle::Over) { Err(closed()) } else { Ok(()) }
    }

    pub(crate) fn progress(&self, call: i64, text: String) {
        self.calls.progress(call, text);
    }

    /// What the caller is to be told besides.
    fn notices(&self) -> Option<String> {
        let notices = match &*self.handle.lock() {
            Handle::Open(coordinator) => coordinator.take_notices(),
            _ => Vec::new(),
        };
        if notices.is_empty() { None } else { json(&notices).ok() }
    }

    /// Ends handle, waits and thread. Calls that haven't begun settle with `CLOSED`.
    fn end(&self, how: impl FnOnce(&Coordinator)) {
        let handle = std::mem::replace(&mut *self.handle.lock(), Handle::Over);
        if let Handle::Open(coordinator) = handle {
            how(&coordinator);
        }
        self.streams.clear();
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            worker.stop();
        }
    }

    fn run_now(&self, operation: &Operation, text: &str) -> Result<String> {
        let mut arguments = Arguments::parse(operation.name, text)?;
        match operation.run {
            Run::Now(run) => run(&self.coordinator()?, &mut arguments),
            Run::Client(run) => run(self, &mut arguments),
            Run::Wait(_) => Err(Error::new(ErrorKind::Internal, "an operation that waits was not waited for")),
        }
    }
}

async fn run(client: Arc<Shared>, operation: &'static Operation, id: i64, text: String, cancel: Cancel) {
    let notices = {
        let client = client.clone();
        move || client.notices()
    };
    let duty = Duty::new(client.calls.clone(), id, notices);
    let Run::Wait(wait) = operation.run else {
        duty.settle(client.run_now(operation, &text));
        return;
    };
    let answer = match Arguments::parse(operation.name, &text) {
        Err(e) => Err(e),
        Ok(_) if cancel.is_cancelled() => Err(cancelled()),
        Ok(arguments) => wait(Call { client, id, arguments, cancel: cancel.clone() }).await,
    };
    match answer {
        // A lock that was granted to one who has given up: the guard releases it.
        Ok(Answer { kept: Some(lock), .. }) if cancel.is_cancelled() => {
            drop(lock);
            duty.settle(Err(cancelled()))
        }
        Ok(Answer { text, kept }) => {
            let heard = duty.settle(Ok(text));
            if let Some(lock) = kept.filter(|_| heard) {
                lock.leave();
            }
            heard
        }
        Err(e) => duty.settle(Err(e)),
    };
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the wait was cancelled")
}

/// Every client that isn't over, by the environment that it lives in.
static CLIENTS: Mutex<BTreeMap<usize, Vec<Arc<Shared>>>> = Mutex::new(BTreeMap::new());

/// Keeps a client until its environment ends, when it ends as a crash would end it.
fn keep(env: &Env, client: &Arc<Shared>) -> napi::Result<()> {
    let key = env.raw().addr();
    let mut clients = CLIENTS.lock();
    if !clients.contains_key(&key) {
        env.add_env_cleanup_hook((), move |()| end_all(key))?;
    }
    let of_env = clients.entry(key).or_default();
    of_env.retain(|client| !client.calls.is_over());
    of_env.push(client.clone());
    Ok(())
}

fn end_all(env: usize) {
    let clients = CLIENTS.lock().remove(&env).unwrap_or_default();
    for client in clients.into_iter().filter(|client| client.pid == std::process::id()) {
        client.calls.close();
        client.end(Coordinator::abandon);
        // Nobody is left to hear of what settles from now on.
        client.calls.let_go();
    }
}

static BY_NAME: LazyLock<HashMap<&'static str, &'static Operation>> =
    LazyLock::new(|| crate::OPERATIONS.iter().copied().flatten().map(|o| (o.name, o)).collect());

/// A handle on the shared database for JavaScript.
#[napi]
pub struct Client {
    shared: Arc<Shared>,
}

#[napi]
impl Client {
    /// `options` is a JSON object; nothing is opened yet. `settle` is called once per call, and for its progress.
    #[napi(constructor)]
    pub fn new(env: Env, options: String, settle: Function<'_, Settled, ()>) -> napi::Result<Self> {
        let shared = Arc::new(Shared {
            pid: std::process::id(),
            options,
            calls: Calls::new(&settle)?,
            handle: Mutex::new(Handle::Unopened),
            worker: Mutex::new(None),
            streams: Streams::default(),
        });
        keep(&env, &shared)?;
        Ok(Self { shared })
    }

    /// Starts an operation with a JSON array of its arguments. Throws what can't be settled, its message the error's JSON.
    #[napi]
    pub fn start(&self, call: i64, operation: String, arguments: String) -> napi::Result<()> {
        self.try_start(call, &operation, arguments).map_err(|e| thrown(&e))
    }

    /// Cancels the wait of a call.
    #[napi]
    pub fn cancel(&self, call: i64) {
        if !self.is_forked() {
            self.shared.calls.cancel(call);
        }
    }

    /// Keeps the process alive while a call is pending.
    #[napi(js_name = "ref")]
    pub fn refer(&self, env: Env) -> napi::Result<()> {
        if self.is_forked() { Ok(()) } else { self.shared.calls.keep_alive(&env, true) }
    }

    /// Lets the process end.
    #[napi]
    pub fn unref(&self, env: Env) -> napi::Result<()> {
        if self.is_forked() { Ok(()) } else { self.shared.calls.keep_alive(&env, false) }
    }

    /// Ends the client with its process: in order, or as a crash would. Blocks.
    #[napi]
    pub fn exit(&self, in_order: bool) {
        if self.is_forked() {
            return;
        }
        self.shared.calls.close();
        self.shared.end(if in_order { Coordinator::close } else { Coordinator::abandon });
    }

    fn is_forked(&self) -> bool {
        self.shared.pid != std::process::id()
    }

    fn try_start(&self, call: i64, operation: &str, arguments: String) -> Result<()> {
        if self.is_forked() {
            return Err(forked());
        }
        let operation = *BY_NAME.get(operation).ok_or_else(|| {
            Error::invalid(format!("there is no operation {operation:?}")).with("operation", operation)
        })?;
        let shared = &self.shared;
        let cancel = shared.calls.begin(call, operation.name == "close")?;
        let mut worker = shared.worker.lock();
        let worker = match &mut *worker {
            Some(worker) => worker,
            none => match Worker::start("pd-client") {
                Ok(worker) => none.insert(worker),
                Err(e) => {
                    let error = Error::new(ErrorKind::Internal, "the client's thread could not be started")
                        .hint("the system may have too many threads or processes")
                        .caused_by(e);
                    shared.calls.settle(call, Err(error), None);
                    return Ok(());
                }
            },
        };
        // What only waits needn't queue behind what works.
        let waits = if operation.name == "next" { shared.streams.handle_of(&arguments) } else { None };
        let run = run(shared.clone(), operation, call, arguments, cancel);
        match waits {
            Some(pd) => pd.spawn_waiting(run),
            None => worker.spawn(run),
        }
        Ok(())
    }
}
