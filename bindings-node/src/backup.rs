//! Copies of the database in a file, and putting them back.

use portdaddy_core::{Backup, Restore};

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "backup",
        run: Run::Now(|pd, a| {
            let file: String = a.value("file")?;
            json(&pd.backup(file, &Backup { force: a.value("force")?, ..Backup::default() })?)
        }),
    },
    Operation {
        name: "restore",
        run: Run::Now(|pd, a| {
            let file: String = a.value("file")?;
            let (force, no_keep) = (a.value("force")?, a.value("noKeep")?);
            json(&pd.restore(file, &Restore { force, no_keep, ..Restore::default() })?)
        }),
    },
];
