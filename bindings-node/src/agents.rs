//! Agents: who takes part.

use portdaddy_core::Registration;

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "registerAgent", run: Run::Now(|pd, a| json(&pd.register_agent(&a.options()?)?)) },
    Operation { name: "sendHeartbeat", run: Run::Now(|pd, _| json(&pd.heartbeat()?)) },
    Operation { name: "unregisterAgent", run: Run::Now(|pd, _| json(&pd.unregister_agent()?)) },
    Operation { name: "agents", run: Run::Now(|pd, a| json(&pd.agents(&a.options()?)?)) },
    Operation { name: "agent", run: Run::Now(|pd, a| json(&pd.agent(&a.value::<String>("id")?)?)) },
    Operation {
        name: "begin",
        run: Run::Now(|pd, a| {
            let registration: Registration = a.options()?;
            json(&pd.begin(&registration, &a.options()?)?)
        }),
    },
    Operation { name: "done", run: Run::Now(|pd, a| json(&pd.done(a.value::<Option<String>>("note")?.as_deref())?)) },
    Operation { name: "whoami", run: Run::Now(|pd, _| json(&pd.whoami()?)) },
];
