//! Whether SQLite's three files are still those that are open.
//!
//! Whoever has the database open keeps the three that it opened, whatever becomes of their names; who comes later opens
//! what stands under the names then. If one is another, the two know nothing of each other's commits: what the earlier
//! writes is lost or overwrites the later's, and the locks of the index in shared memory exclude nobody. So every call
//! looks by `stat` first, and every checkpoint.
//!
//! All connections of a process that have the same database open share one log's index, whenever they were opened: a
//! handle that is opened beside another has the files of that one.

use std::path::{Path, PathBuf};

use super::OPEN_HERE;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::sys::filesystem::{Identity, identity};

/// What stands behind the database's name, and what the file is.
const FILES: [(&str, &str); 3] =
    [("", "the database"), ("-wal", "the database's log"), ("-shm", "the index of the database's log")];

/// Those that one process has open; none for what wasn't there.
pub(crate) type Identities = [Option<Identity>; 3];

pub(super) struct Files {
    paths: [PathBuf; 3],
    opened: Mutex<Identities>,
}

impl Files {
    /// Of the database at `path`. Nothing is known of them yet.
    pub(super) fn new(path: &Path) -> Files {
        let paths = FILES.map(|(end, _)| {
            let mut path = path.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        });
        Files { paths, opened: Mutex::default() }
    }

    /// The database's.
    pub(super) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// To be called before the first connection is opened: all connections of this process share the log of the others.
    ///
    /// # Errors
    /// `STORE_IO` where another handle of this process has files open that were removed or replaced.
    pub(super) fn check_shared(&self) -> Result<()> {
        let (database, pid) = (identity(&self.paths[0]), std::process::id());
        let open = OPEN_HERE.lock();
        let own = open.iter().filter(|here| here.path == self.paths[0] && here.pid == pid);
        let shared = own.filter_map(|here| here.files).find(|files| files[0] == database);
        shared.map_or(Ok(()), |files| self.check_all(&files))
    }

    /// To be called once a connection is open, by the handle of that number in [`OPEN_HERE`].
    pub(super) fn learn(&self, number: u64) {
        let found = self.paths.each_ref().map(|path| identity(path));
        *self.opened.lock() = found;
        let mut open = OPEN_HERE.lock();
        open.iter_mut().filter(|here| here.number == number).for_each(|here| here.files = Some(found));
    }

    /// # Errors
    /// `STORE_IO` where one was removed or replaced.
    pub(super) fn check(&self) -> Result<()> {
        let opened = *self.opened.lock();
        self.check_all(&opened)
    }

    /// The same of the database alone, while none is open.
    pub(super) fn check_database(&self) -> Result<()> {
        let opened = self.opened.lock()[0];
        self.check_one(0, opened)
    }

    fn check_all(&self, opened: &Identities) -> Result<()> {
        opened.iter().enumerate().try_for_each(|(file, opened)| self.check_one(file, *opened))
    }

    fn check_one(&self, file: usize, opened: Option<Identity>) -> Result<()> {
        let path = &self.paths[file];
        if opened.is_none() || identity(path) == opened {
            return Ok(());
        }
        // One that can't be looked at may be there still.
        if let Err(e) = path.symlink_metadata()
            && e.kind() != std::io::ErrorKind::NotFound
        {
            let what = format!("{} can't be looked at: {e}", FILES[file].1);
            let hint = "let its directory be entered again, or name another database with PORT_DADDY_DB";
            return Err(Error::new(ErrorKind::StoreIo, what).about_path(path).hint(hint).caused_by(e));
        }
        let what = format!("{} was removed or replaced while it was open", FILES[file].1);
        let hint = "what it held is gone for this program: close all its handles on the database, and open a new one";
        Err(Error::new(ErrorKind::StoreIo, what).about_path(path).hint(hint))
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(super) fn hold_all(&self) -> impl Sized + '_ {
        self.opened.lock()
    }
}
