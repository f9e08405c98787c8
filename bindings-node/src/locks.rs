//! Locks. The guard stays behind: JavaScript releases by name and token.

use std::sync::Arc;

use portdaddy_core::{LockOptions, OnWait, Result, Unlock};
use serde::{Deserialize, Serialize};

use crate::client::{Answer, Call, Operation, Run};
use crate::messages::timed;
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "lock", run: Run::Wait(|call| Box::pin(lock(call))) },
    Operation {
        name: "unlock",
        run: Run::Now(|pd, a| {
            let name: String = a.value("name")?;
            let unlock: Unlock = a.options()?;
            json(&pd.unlock(&name, &unlock)?)
        }),
    },
    Operation {
        name: "releaseLock",
        run: Run::Now(|pd, a| json(&pd.release_lock(&a.value::<String>("name")?, a.value("token")?)?)),
    },
    Operation {
        name: "extendLock",
        run: Run::Now(|pd, a| {
            let (name, ttl): (String, i64) = (a.value("name")?, a.milliseconds("ttl")?);
            json(&pd.extend_lock(&name, ttl, a.value("token")?)?)
        }),
    },
    Operation { name: "locks", run: Run::Now(|pd, a| json(&pd.locks(&a.options()?)?)) },
    Operation { name: "lockInfo", run: Run::Now(|pd, a| json(&pd.lock_info(&a.value::<String>("name")?)?)) },
];

/// How JavaScript takes a lock.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TakeOptions {
    blocking: Option<bool>,
    timeout: Option<f64>,
    ttl: Option<i64>,
    purpose: Option<String>,
}

/// How the typed layer takes it: what stands around the call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Around {
    chain: Option<String>,
    progress: bool,
}

/// What JavaScript keeps of a lock.
#[derive(Serialize)]
struct Taken<'a> {
    token: i64,
    chain: &'a str,
}

async fn lock(mut call: Call) -> Result<Answer> {
    let name: String = call.arguments.value("name")?;
    let TakeOptions { blocking, timeout, ttl, purpose } = call.arguments.options()?;
    let Around { chain, progress } = call.arguments.options()?;
    let mut options = LockOptions::default();
    options.blocking = blocking.unwrap_or(options.blocking);
    options.wait = timed(&call, timeout)?;
    options.ttl_ms = ttl;
    options.purpose = purpose;
    options.chain = chain;
    if progress {
        let (client, id) = (call.client.clone(), call.id);
        let tell: OnWait = Arc::new(move |info| {
            // It tells of a wait that goes on whether it is heard or not.
            if let Ok(text) = json(info) {
                client.progress(id, text);
            }
        });
        options.on_wait = Some(tell);
    }
    let pd = call.client.coordinator()?;
    let lock = pd.lock_async(&name, &options).await?;
    let text = json(&lock.as_ref().map(|lock| Taken { token: lock.token(), chain: lock.chain() }))?;
    Ok(Answer { text, kept: lock })
}
