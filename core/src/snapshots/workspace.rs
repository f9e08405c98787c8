//! Where snapshots are made: a directory beside the database, which only we can enter.
//!
//! Whoever works there holds its lock shared. Whoever comes and can have it alone knows that nobody works there, and removes
//! what the killed left.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::db::sidecar;
use crate::git::Git;
use crate::ids::{Random, short};
use crate::sys::filesystem::{beside, private_dirs};

/// Between two tries for the lock, which somebody holds alone for a moment at most.
const PAUSE: Duration = Duration::from_millis(5);

/// A directory for one snapshot. Dropped, it is gone.
pub(super) struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    pub(super) fn make(db: &Path, random: &dyn Random, git: &Git<'_>) -> Result<Workspace, String> {
        let all = sidecar(db, "snapshots");
        let failed = |e: std::io::Error| format!("{} can't be used: {e}", all.display());
        match private_dirs().create(&all) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
        if !fs::symlink_metadata(&all).map_err(failed)?.is_dir() {
            return Err(format!("{} is no directory", all.display()));
        }
        let mut options = OpenOptions::new();
        beside(options.read(true).write(true).create(true).truncate(false));
        let lock = options.open(all.join("lock")).map_err(failed)?;
        if lock.try_lock().is_ok() {
            sweep(&all);
            lock.unlock().map_err(failed)?;
        }
        loop {
            match lock.try_lock_shared() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    git.in_time()?;
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let path = all.join(short(random, 12));
        private_dirs().create(&path).map_err(failed)?;
        Ok(Workspace { path, _lock: lock })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
