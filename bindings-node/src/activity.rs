//! The log of what was done.

use portdaddy_core::StreamSource;

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "activity", run: Run::Now(|pd, a| json(&pd.activity(&a.options()?)?)) },
    Operation {
        name: "followActivity",
        run: Run::Client(|client, a| {
            let pd = client.coordinator()?;
            client
                .streams
                .open(&pd, a, |a| Ok(StreamSource::Activity(Box::new(pd.follow_activity_from(&a.options()?)?))))
        }),
    },
];
