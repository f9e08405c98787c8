//! Ports.

use portdaddy_core::Result;

use crate::client::{Answer, Call, Operation, Run};
use crate::messages::wait;
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "claim", run: Run::Now(|pd, a| json(&pd.claim(&a.options()?)?)) },
    Operation {
        name: "release",
        run: Run::Now(|pd, a| {
            let pattern: String = a.value("pattern")?;
            json(&pd.release(&pattern, &a.options()?)?)
        }),
    },
    Operation { name: "services", run: Run::Now(|pd, a| json(&pd.services(&a.options()?)?)) },
    Operation { name: "waitForService", run: Run::Wait(|call| Box::pin(wait_for_service(call))) },
];

async fn wait_for_service(mut call: Call) -> Result<Answer> {
    let identities: Vec<String> = call.arguments.value("identities")?;
    let wait = wait(&mut call)?;
    let pd = call.client.coordinator()?;
    json(&pd.wait_for_service_async(&identities, &wait).await?).map(Answer::from)
}
