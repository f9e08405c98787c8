//! Locks. What Python keeps of a lock is its token; being forgotten doesn't release it.

use std::sync::Arc;

use portdaddy_core::{Coordinator, Lock, LockFilter, LockInfo, LockList, LockOptions, OnWait, Tie, Unlock, Wait};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::aio::{Converting, Going, Pending, Progress};
use crate::args::{Callback, Text, Timeout, Ttl, Whole, flag, plain};
use crate::client::{Client, Outcome, Reply, Shared, interruptibly, now, now_and, tell};
use crate::error::raised;
use crate::lifecycle::{Stake, let_go, stake};
use crate::types::to_python;

/// What Python keeps of a grant: its token, and what calls under the lock pass on. Its client lives as long.
/// The caller may be interrupted or cancelled before it has a name for what it gets: it finds it in `grants`, too.
fn kept(py: Python<'_>, client: &Arc<Shared>, lock: Option<Lock>, grants: Option<&Py<PyList>>) -> PyResult<Py<PyAny>> {
    let Some(lock) = lock else { return Ok(py.None()) };
    let kept = (lock.token(), lock.chain()).into_pyobject(py)?;
    if let Some(grants) = grants {
        grants.bind(py).append(&kept)?;
    }
    stake(client, Stake::Lock(lock.token()));
    lock.leave();
    Ok(kept.into_any().unbind())
}

#[pymethods]
impl Client {
    /// Takes a lock, and gives its token and the chain that calls under it pass on. They are appended to `grants` as well.
    #[pyo3(signature = (name, *, blocking=true, timeout=None, ttl=None, purpose=None, on_wait=None, chain=None,
        grants=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn _lock<'py>(
        slf: &Bound<'py, Self>,
        name: Text,
        #[pyo3(from_py_with = flag)] blocking: bool,
        timeout: Option<Timeout>,
        ttl: Option<Ttl>,
        purpose: Option<Text>,
        on_wait: Option<Callback>,
        chain: Option<Text>,
        grants: Option<Py<PyList>>,
    ) -> Reply<'py, Option<(i64, String)>> {
        let py = slf.py();
        let options = LockOptions {
            blocking,
            wait: Wait { timeout: Timeout::of(timeout), cancel: None },
            ttl_ms: ttl.map(|ttl| ttl.0),
            purpose: plain(purpose),
            patient: false,
            tie: Tie::Handle,
            chain: plain(chain),
            on_wait: None,
        };
        let shared = Arc::clone(&slf.get().shared);
        if slf.get().is_async {
            let tells = on_wait.is_some();
            let job = move |cancel, progress: Progress| -> Going {
                Box::pin(async move {
                    let mut options = options;
                    options.wait.cancel = Some(cancel);
                    if tells {
                        let tell: OnWait = Arc::new(move |info| progress.tell(info.clone()));
                        options.on_wait = Some(tell);
                    }
                    let lock = shared.open()?.lock_async(&name.0, &options).await?;
                    let converting: Converting = Box::new(move |py| kept(py, &shared, lock, grants.as_ref()));
                    Ok(converting)
                })
            };
            return Pending::waiting(None, job).coroutine(slf, on_wait.map(|told| told.0)).map(Outcome::of);
        }
        let pd = shared.coordinator(py).map_err(|e| raised(py, &e))?;
        let mut options = options;
        if let Some(Callback(told)) = on_wait {
            let tell: OnWait = Arc::new(move |info: &LockInfo| {
                Python::attach(|py| {
                    if let Err(e) = to_python(py, info).and_then(|info| told.call1(py, (info,))) {
                        e.write_unraisable(py, Some(told.bind(py)));
                    }
                });
            });
            options.on_wait = Some(tell);
        }
        let lock = interruptibly(py, || pd.lock(&name.0, &options));
        tell(slf, &pd)?;
        let lock = lock?.map_err(|e| raised(py, &e))?;
        kept(py, &shared, lock, grants.as_ref()).map(|kept| Outcome::of(kept.into_bound(py)))
    }

    /// Releases a lock by name: the caller's own, or with `force` anyone's. With `token` it is only that grant.
    ///
    /// Raises NotHeldError if nobody holds it, NotOwnerError if another does, LeaseLostError if `token` is of a grant that
    /// has ended, NoAgentError, InvalidError, Store…Error.
    #[pyo3(signature = (name, *, force=false, token=None))]
    fn unlock<'py>(
        slf: &Bound<'py, Self>,
        name: Text,
        #[pyo3(from_py_with = flag)] force: bool,
        token: Option<Whole>,
    ) -> Reply<'py, LockInfo> {
        let unlock = Unlock { force, token: token.map(|token| token.0) };
        now_and(slf, move |pd| pd.unlock(&name.0, &unlock), |client, info| let_go(client, Stake::Lock(info.token)))
    }

    /// Releases one grant.
    fn _release_lock<'py>(slf: &Bound<'py, Self>, name: Text, token: i64) -> Reply<'py, ()> {
        let release = move |pd: &Coordinator| pd.release_lock(&name.0, token);
        now_and(slf, release, move |client, ()| let_go(client, Stake::Lock(token)))
    }

    /// Ends the lease of a lock this long from now, whatever its TTL was. The time is seconds or a timedelta; with `token` it
    /// is only that grant.
    ///
    /// Raises what unlock raises, and InvalidError for a TTL that isn't positive.
    #[pyo3(signature = (name, ttl, *, token=None))]
    fn extend_lock<'py>(slf: &Bound<'py, Self>, name: Text, ttl: Ttl, token: Option<Whole>) -> Reply<'py, LockInfo> {
        let token = token.map(|token| token.0);
        now(slf, move |pd| pd.extend_lock(&name.0, ttl.0, token))
    }

    /// Lists the held locks and who waits for them. Whoever is found dead by looking is buried.
    ///
    /// Raises Store…Error.
    #[pyo3(signature = (*, all=false))]
    fn locks<'py>(slf: &Bound<'py, Self>, #[pyo3(from_py_with = flag)] all: bool) -> Reply<'py, LockList> {
        let filter = LockFilter { all };
        now(slf, move |pd| pd.locks(&filter))
    }

    /// The lock of that name in the caller's scope, if it is held.
    ///
    /// Raises InvalidError, Store…Error.
    fn lock_info<'py>(slf: &Bound<'py, Self>, name: Text) -> Reply<'py, Option<LockInfo>> {
        now(slf, move |pd| pd.lock_info(&name.0))
    }
}
