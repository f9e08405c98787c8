//! The life of a process's clients: what a fork and the end of the process do with them.
//!
//! A fork (`os.register_at_fork`) finds nothing of SQLite's open and no lock of ours taken:
//!
//! ```text
//! before:  no handle is being opened or closed (OPENING is held until the fork is over);
//!          core closes every connection (Fork::prepare), without the GIL, which others may need to get out of its way
//! parent:  core opens them again
//! child:   the parent's handles are left behind; each client opens one of its own when it is next used
//! ```
//!
//! All other locks of this crate are held for instants and with the GIL, which the forking thread has.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

use portdaddy_core::{Coordinator, Fork};
use pyo3::intern;
use pyo3::prelude::*;

use crate::client::{Shared, lock};
use crate::error::raised;

/// Held while a handle is opened or closed.
pub(crate) static OPENING: Mutex<()> = Mutex::new(());

/// The clients that were made and aren't gone.
static CLIENTS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// What a client has at stake: as long as it has anything, it isn't closed by being forgotten.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Stake {
    /// A lock's token.
    Lock(i64),
    /// A session's id.
    Session(String),
}

/// What keeps forgotten clients open, by client and stake.
type Kept = HashMap<(usize, Stake), Arc<Shared>>;

/// What was taken and begun, and neither released nor ended through the same client, which is kept here. What ended otherwise
/// (by a TTL, or through another client) stays, and keeps its client open until the process ends.
static STAKES: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn at(client: &Arc<Shared>, stake: Stake) -> (usize, Stake) {
    (Arc::as_ptr(client).addr(), stake)
}

/// The interpreter's main thread, which alone runs signal handlers.
static MAIN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// A fork that this thread is about to make.
    static FORKING: RefCell<Option<(Fork, MutexGuard<'static, ()>)>> = const { RefCell::new(None) };
}

/// Remembers a client for forks and the end of the process.
pub(crate) fn keep(client: &Arc<Shared>) {
    let mut clients = lock(&CLIENTS);
    clients.retain(|client| client.strong_count() > 0);
    clients.push(Arc::downgrade(client));
}

/// Remembers what a client has at stake.
pub(crate) fn stake(client: &Arc<Shared>, stake: Stake) {
    lock(&STAKES).insert(at(client, stake), Arc::clone(client));
}

/// Forgets what was released or ended.
pub(crate) fn let_go(client: &Arc<Shared>, stake: Stake) {
    let let_go = lock(&STAKES).remove(&at(client, stake));
    drop(let_go);
}

/// Forgets all that a client had at stake: it is over, or its handle is the parent's.
pub(crate) fn let_go_of_all(client: &Arc<Shared>) {
    let let_go: Vec<_> = lock(&STAKES).extract_if(|_, of| Arc::ptr_eq(of, client)).collect();
    drop(let_go);
}

fn clients() -> Vec<Arc<Shared>> {
    lock(&CLIENTS).iter().filter_map(Weak::upgrade).collect()
}

fn this_thread(py: Python<'_>) -> PyResult<u64> {
    py.import(intern!(py, "_thread"))?.call_method0(intern!(py, "get_ident"))?.extract()
}

pub(crate) fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        static IDENT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let mut ident = IDENT.get();
    if ident == 0 {
        ident = this_thread(py)?;
        IDENT.set(ident);
    }
    Ok(ident == MAIN.load(Ordering::Relaxed))
}

/// Called when the module is loaded, with the main thread's ident.
#[pyfunction]
pub(crate) fn _main_thread(ident: u64) {
    MAIN.store(ident, Ordering::Relaxed);
}

/// Before a fork, in the thread that forks.
#[pyfunction]
pub(crate) fn _before_fork(py: Python<'_>) {
    // Who opens or closes needs no GIL for it, but whoever waits for that shouldn't keep it from others.
    let opening = Unsent(py.detach(|| Unsent(lock(&OPENING))).0);
    let handles: Vec<Coordinator> = clients().iter().filter_map(|client| client.opened()).collect();
    let fork = py.detach(move || Unsent(Fork::prepare(handles))).0;
    FORKING.set(Some((fork, opening.0)));
}

/// Guards of locks that stay in the thread that took them: `detach` runs its closure in the caller's.
struct Unsent<T>(T);

// SAFETY: the value never leaves its thread.
unsafe impl<T> Send for Unsent<T> {}

/// After a fork, in the parent.
#[pyfunction]
pub(crate) fn _after_fork_in_parent(py: Python<'_>) -> PyResult<()> {
    let Some((fork, opening)) = FORKING.take() else { return Ok(()) };
    let fork = Unsent(fork);
    let resumed = py.detach(move || {
        let fork = fork;
        fork.0.in_parent()
    });
    drop(opening);
    resumed.map_err(|e| raised(py, &e))
}

/// After a fork, in the child.
#[pyfunction]
pub(crate) fn _after_fork_in_child(py: Python<'_>) -> PyResult<()> {
    MAIN.store(this_thread(py)?, Ordering::Relaxed);
    let Some((fork, opening)) = FORKING.take() else { return Ok(()) };
    for client in clients() {
        client.forked();
        let_go_of_all(&client);
    }
    fork.in_child();
    drop(opening);
    Ok(())
}

/// At the end of the process: lets go of all that its clients hold, in order or as a crash would.
#[pyfunction]
#[pyo3(signature = (in_order))]
pub(crate) fn _end_all(py: Python<'_>, in_order: bool) {
    let how = if in_order { Coordinator::close } else { Coordinator::abandon };
    let clients = clients();
    py.detach(|| clients.iter().for_each(|client| client.end(how)));
}
