//! Files as they are found and as they are left: read whole, written beside themselves and put in place by one rename.
//!
//! Two `pd setup` take turns by a lock on the directory that they set up. Other programs don't ask: so a file is compared
//! with what was read right before it is replaced, and a new one only takes a free place. What still can't be excluded is
//! a program that writes between that look and the rename.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portdaddy_core::{Error, ErrorKind};

/// No settings are longer.
const LONGEST: u64 = 4 << 20;
/// How long another `pd setup` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands in a file's place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dir {
    Missing,
    Empty,
    Used,
}

/// A file as it was read.
pub(super) struct Original {
    /// As it is spoken of.
    pub(super) path: PathBuf,
    /// The file itself, behind symbolic links.
    target: PathBuf,
    pub(super) linked: bool,
    /// None: there is no file.
    pub(super) text: Option<String>,
    pub(super) dir: Dir,
}

/// Why a file wasn't written.
pub(super) enum Refusal {
    /// It isn't what was read any more.
    Changed,
    Error(Error),
}

fn failed(doing: &str, path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::StorePermission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StoreFull,
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::StoreReadOnly,
        _ => ErrorKind::StoreIo,
    };
    Error::new(kind, format!("{doing} {} failed: {e}", path.display()))
        .with("path", path.display().to_string())
        .hint("check the path and its permissions; nothing of the file was changed")
        .caused_by(e)
}

fn refused(path: &Path, why: &str, hint: &str) -> Error {
    let shown = path.display().to_string();
    Error::invalid(format!("{shown} {why}")).with("path", shown).hint(hint)
}

/// Reads what stands at `path`.
pub(super) fn read(path: &Path) -> Result<Original, Error> {
    let dir_path = path.parent().unwrap_or(Path::new("."));
    let dir = match fs::read_dir(dir_path) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                Dir::Used
            } else {
                Dir::Empty
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(dir_path).is_err() => Dir::Missing,
        Err(e) => return Err(failed("reading the directory", dir_path, e)),
    };
    if dir == Dir::Missing && !dir_path.parent().is_some_and(Path::is_dir) {
        return Err(refused(path, "has no directory that it could be made in", "make the directory first"));
    }
    let (mut target, mut linked) = (path.to_owned(), false);
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Original { path: path.to_owned(), target, linked, text: None, dir });
        }
        Err(e) => return Err(failed("reading", path, e)),
        Ok(meta) if meta.is_symlink() => {
            check_owner(path, &meta)?;
            target = fs::canonicalize(path).map_err(|_| {
                refused(path, "is a symbolic link to nothing", "make the file that it names, or remove the link")
            })?;
            check_owner(path, &fs::metadata(&target).map_err(|e| failed("reading", path, e))?)?;
            linked = true;
        }
        Ok(_) => {}
    }
    let meta = fs::metadata(&target).map_err(|e| failed("reading", path, e))?;
    if !meta.is_file() {
        return Err(refused(path, "is no file", "move it away, or set up another directory"));
    }
    if meta.len() > LONGEST {
        return Err(refused(path, "is longer than 4 MiB, which no settings are", "is it the right file?"));
    }
    let bytes = fs::read(&target).map_err(|e| failed("reading", path, e))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        refused(path, "isn't UTF-8, so it can't be edited", "nothing was written: save it as UTF-8 and try again")
    })?;
    Ok(Original { path: path.to_owned(), target, linked, text: Some(text), dir })
}

/// A link that another user can turn, or a file of another's behind it, is not to be followed.
fn check_owner(path: &Path, meta: &fs::Metadata) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            let hint = "nothing was written: put a file or link of your own in its place";
            return Err(refused(path, "is a symbolic link that, or whose file, belongs to another user", hint));
        }
    }
    let _ = (path, meta);
    Ok(())
}

/// Puts `text` in the file's place, or takes the file away.
pub(super) fn write(original: &Original, text: Option<&str>) -> Result<(), Refusal> {
    let Original { path, target, .. } = original;
    let error = |doing: &str, e: io::Error| Refusal::Error(failed(doing, path, e));
    let Some(text) = text else {
        unchanged(original)?;
        return fs::remove_file(target).map_err(|e| error("removing", e));
    };
    let dir = target.parent().unwrap_or(Path::new("."));
    if !dir.exists() {
        fs::create_dir(dir).or_else(|e| if dir.is_dir() { Ok(()) } else { Err(e) }).map_err(|e| error("making", e))?;
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // Its owner holds the lock, so what stands there was left by one that was killed.
    let beside = dir.join(format!(".{name}.port-daddy"));
    let _ = fs::remove_file(&beside);
    let placed = fill(&beside, target, text).map_err(|e| error("writing", e)).and_then(|()| {
        unchanged(original)?;
        if original.text.is_some() {
            return fs::rename(&beside, target).map_err(|e| error("replacing", e));
        }
        // Unlike a rename it replaces nothing.
        match fs::hard_link(&beside, target) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Refusal::Changed),
            Err(_) => fs::rename(&beside, target).map_err(|e| error("writing", e)),
        }
    });
    let _ = fs::remove_file(&beside);
    placed?;
    // So that the name is as safe as the bytes; not every system can.
    let _ = File::open(dir).and_then(|dir| dir.sync_all());
    Ok(())
}

/// Writes the new text beside its place, with the old one's mode and owner.
fn fill(beside: &Path, target: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = fs::metadata(target) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let new = file.metadata()?;
            if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

fn unchanged(original: &Original) -> Result<(), Refusal> {
    let now = match fs::read(&original.target) {
        Ok(bytes) => Some(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Refusal::Error(failed("reading", &original.path, e))),
    };
    if now.as_deref() == original.text.as_deref().map(str::as_bytes) { Ok(()) } else { Err(Refusal::Changed) }
}

/// Takes turns with other `pd setup` in a directory, until the file is dropped.
pub(super) fn turn(dir: &Path) -> Result<Option<File>, Error> {
    // Where a directory can't be opened, comparing has to do.
    let Ok(file) = File::open(dir) else { return Ok(None) };
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if begun.elapsed() > PATIENCE => {
                let message = format!("another program has {} locked", dir.display());
                return Err(
                    Error::new(ErrorKind::StoreBusy, message).hint("wait for the other pd setup, then try again")
                );
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What is said of a file that others changed again and again.
pub(super) fn restless(path: &Path) -> Error {
    let shown = path.display().to_string();
    Error::new(ErrorKind::StoreBusy, format!("{shown} was changed by another program while pd setup edited it"))
        .with("path", shown)
        .hint("nothing of that change was overwritten: run the command again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_it_was_read_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        let missing = read(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(write(&missing, Some("ours")), Err(Refusal::Changed)));
        let seen = read(&path).unwrap();
        fs::write(&path, "theirs too").unwrap();
        assert!(matches!(write(&seen, Some("ours")), Err(Refusal::Changed)));
        assert!(matches!(write(&seen, None), Err(Refusal::Changed)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs too");
        assert!(write(&read(&path).unwrap(), Some("ours")).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
