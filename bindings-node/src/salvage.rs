//! Salvage: the work of the dead.

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "salvage", run: Run::Now(|pd, a| json(&pd.salvage(&a.options()?)?)) },
    Operation { name: "salvageClaim", run: Run::Now(|pd, a| json(&pd.salvage_claim(&a.value::<String>("agent")?)?)) },
    Operation {
        name: "salvageComplete",
        run: Run::Now(|pd, a| {
            let agent: String = a.value("agent")?;
            json(&pd.salvage_complete(&agent, a.value::<Option<String>>("note")?.as_deref())?)
        }),
    },
    Operation {
        name: "salvageAbandon",
        run: Run::Now(|pd, a| json(&pd.salvage_abandon(&a.value::<String>("agent")?)?)),
    },
    Operation {
        name: "salvageDismiss",
        run: Run::Now(|pd, a| json(&pd.salvage_dismiss(&a.value::<String>("agent")?)?)),
    },
];
