//! Copies of the database in a file, and putting them back.

use portdaddy_core::{Backup, BackupMade, Restore, Restored};
use pyo3::prelude::*;

use crate::args::{PathText, flag};
use crate::client::{Client, Reply, now};

#[pymethods]
impl Client {
    /// Copies the database into `file`, consistent as of one moment while others go on to write: everything committed before
    /// the call is in it. With `force` it replaces a file that is there.
    ///
    /// Raises InvalidError if the file exists and `force` isn't given, or is part of a database in use; StoreCorruptError if
    /// the database is damaged; StoreFullError and other Store…Error.
    #[pyo3(signature = (file, *, force=false))]
    fn backup<'py>(
        slf: &Bound<'py, Self>,
        file: PathText,
        #[pyo3(from_py_with = flag)] force: bool,
    ) -> Reply<'py, BackupMade> {
        now(slf, move |pd| pd.backup(&file.0, &Backup { force, ..Backup::default() }))
    }

    /// Replaces what the database holds by what a backup holds, while other processes have it open. They go on with what was
    /// restored. Locks, waits and living agents stay as they are now, and tokens and positions go on to rise. A copy of what
    /// was there before is kept beside the database, unless `keep` is false.
    ///
    /// Raises NotOwnerError if living agents hold locks or wait, and `force` isn't given; StoreCorruptError if the file is
    /// damaged or no backup, or if the database itself is damaged; StoreNewerError; NotFoundError; other Store…Error.
    #[pyo3(signature = (file, *, force=false, keep=true))]
    fn restore<'py>(
        slf: &Bound<'py, Self>,
        file: PathText,
        #[pyo3(from_py_with = flag)] force: bool,
        #[pyo3(from_py_with = flag)] keep: bool,
    ) -> Reply<'py, Restored> {
        now(slf, move |pd| pd.restore(&file.0, &Restore { force, no_keep: !keep, ..Restore::default() }))
    }
}
