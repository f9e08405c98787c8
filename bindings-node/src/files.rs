//! File claims.

use crate::client::{Operation, Run};
use crate::types::json;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "claimFiles", run: Run::Now(|pd, a| json(&pd.claim_files(&a.options()?)?)) },
    Operation {
        name: "releaseFiles",
        run: Run::Now(|pd, a| {
            let files: Vec<String> = a.value("files")?;
            json(&pd.release_files(&files, a.value::<Option<String>>("session")?.as_deref())?)
        }),
    },
    Operation { name: "fileClaims", run: Run::Now(|pd, a| json(&pd.file_claims(&a.options()?)?)) },
    Operation { name: "whoOwns", run: Run::Now(|pd, a| json(&pd.who_owns(&a.value::<String>("path")?)?)) },
];
