//! Sessions: units of work.

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "startSession", run: Run::Now(|pd, a| json(&pd.start_session(&a.options()?)?)) },
    Operation { name: "endSession", run: Run::Now(|pd, a| json(&pd.end_session(&a.options()?)?)) },
    Operation { name: "sessions", run: Run::Now(|pd, a| json(&pd.sessions(&a.options()?)?)) },
    Operation { name: "session", run: Run::Now(|pd, a| json(&pd.session(&a.value::<String>("id")?)?)) },
    Operation {
        name: "setPhase",
        run: Run::Now(|pd, a| {
            let phase: String = a.value("phase")?;
            json(&pd.set_phase(&phase, a.value::<Option<String>>("session")?.as_deref())?)
        }),
    },
];
