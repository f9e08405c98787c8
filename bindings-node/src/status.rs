//! The state of the whole, and of the installation.

use portdaddy_core::doctor;

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "status", run: Run::Now(|pd, _| json(&pd.status()?)) },
    Operation {
        name: "doctor",
        // Opens the database by itself: a failure to open it is one of the answers.
        run: Run::Client(|client, _| {
            client.check_open()?;
            json(&doctor(client.options()?))
        }),
    },
];
