//! Writing below a directory and never out of it: no symbolic link on the way is followed.

use std::io::{self, Read};
use std::path::Path;

/// What to put in place.
pub(crate) enum Content<'a> {
    File {
        from: &'a mut dyn Read,
        executable: bool,
        /// Nobody else may read it.
        private: bool,
    },
    Link(&'a std::ffi::OsStr),
}

/// Puts a file at `path` below `root`, in one step: whoever looks sees what was there or all of the new. Directories that
/// are missing are made. `spare` is a name that nothing there has.
#[cfg(unix)]
pub(crate) fn put(root: &Path, path: &Path, content: Content<'_>, spare: &str) -> io::Result<()> {
    use rustix::fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RawMode, fchmod, mkdirat, openat, renameat, statat, symlinkat, unlinkat,
    };
    use std::ffi::OsStr;

    let dir_flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let astray = || io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the working tree");
    let mut names: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => names.push(name),
            _ => return Err(astray()),
        }
    }
    let name = names.pop().ok_or_else(astray)?;
    let mut dir = openat(CWD, root, dir_flags, Mode::empty())?;
    for part in names {
        dir = match openat(&dir, part, dir_flags, Mode::empty()) {
            Ok(next) => next,
            Err(rustix::io::Errno::NOENT) => {
                match mkdirat(&dir, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                openat(&dir, part, dir_flags, Mode::empty())?
            }
            Err(e) => return Err(e.into()),
        };
    }
    let written = match content {
        Content::Link(target) => symlinkat(target, &dir, spare).map_err(io::Error::from),
        Content::File { from, executable, private } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let run = |mode: RawMode| if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
            let only_ours = if private { 0o700 } else { 0o777 };
            // As what it replaces, else what the user's umask leaves, as git does.
            let before = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .ok()
                .filter(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile)
                .map(|found| Mode::from_raw_mode(run(found.st_mode & 0o777) & only_ours));
            let mode = before.unwrap_or(Mode::from_raw_mode(run(0o666) & only_ours));
            openat(&dir, spare, flags, mode).map_err(io::Error::from).and_then(|file| {
                let mut file = std::fs::File::from(file);
                io::copy(from, &mut file)?;
                before.map_or(Ok(()), |mode| fchmod(&file, mode).map_err(io::Error::from))
            })
        }
    };
    let done = written.and_then(|()| renameat(&dir, spare, &dir, name).map_err(io::Error::from));
    if done.is_err() {
        let _ = unlinkat(&dir, spare, AtFlags::empty());
    }
    done
}

/// Puts a file at `path` below `root`.
#[cfg(not(unix))]
pub(crate) fn put(root: &Path, path: &Path, content: Content<'_>, spare: &str) -> io::Result<()> {
    let astray = || io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the working tree");
    let mut dir = root.to_owned();
    let mut names: Vec<_> = path.components().collect();
    let Some(std::path::Component::Normal(name)) = names.pop() else { return Err(astray()) };
    for part in names {
        let std::path::Component::Normal(part) = part else { return Err(astray()) };
        dir.push(part);
        match std::fs::symlink_metadata(&dir) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(astray()),
            Err(_) => std::fs::create_dir(&dir)?,
        }
    }
    let Content::File { from, .. } = content else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "symbolic links can't be made here"));
    };
    let spare = dir.join(spare);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&spare)?;
    let done = io::copy(from, &mut file).and_then(|_| std::fs::rename(&spare, dir.join(name)));
    if done.is_err() {
        let _ = std::fs::remove_file(&spare);
    }
    done
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn file(root: &Path, path: &str) -> io::Result<()> {
        put(
            root,
            Path::new(path),
            Content::File {
                from: &mut b"new".as_slice(),
                executable: path.ends_with('x'),
                private: path.ends_with(".env"),
            },
            ".s",
        )
    }

    #[test]
    fn what_was_private_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        for (path, before, after) in
            [(".env", None, 0o600), ("a.env", Some(0o644), 0o600), ("b", Some(0o640), 0o640), ("x", Some(0o600), 0o700)]
        {
            if let Some(before) = before {
                fs::write(dir.path().join(path), "old").unwrap();
                fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(before)).unwrap();
            }
            file(dir.path(), path).unwrap();
            assert_eq!(mode(path), after, "{path}");
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        for path in ["link/a", "../outside/a", "a/../../outside/a", "", ".."] {
            assert!(file(&root, path).is_err(), "{path}");
        }
        assert!(file(&root, outside.join("a").to_str().unwrap()).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // A link in the file's own place is replaced, not followed.
        fs::write(outside.join("b"), "precious").unwrap();
        symlink(outside.join("b"), root.join("b")).unwrap();
        file(&root, "b").unwrap();
        assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "precious");
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "new");
        file(&root, "c/d/x").unwrap();
        assert_eq!(fs::metadata(root.join("c/d/x")).unwrap().permissions().mode() & 0o100, 0o100);
        fs::create_dir(root.join("e")).unwrap();
        assert!(file(&root, "e").is_err());
        assert!(!root.join(".s").exists());
    }
}
