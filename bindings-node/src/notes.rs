//! The journal.

use portdaddy_core::StreamSource;

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "note", run: Run::Now(|pd, a| json(&pd.note(&a.options()?)?)) },
    Operation { name: "notes", run: Run::Now(|pd, a| json(&pd.notes(&a.options()?)?)) },
    Operation {
        name: "followNotes",
        run: Run::Client(|client, a| {
            let pd = client.coordinator()?;
            client.streams.open(&pd, a, |a| Ok(StreamSource::Notes(Box::new(pd.follow_notes_from(&a.options()?)?))))
        }),
    },
];
