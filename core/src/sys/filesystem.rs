//! Where the database may lie: its directory, who may write there, and the filesystem below.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

const WAY_OUT: &str = "name a database on a local disk with PORT_DADDY_DB or --db";

/// Refuses a filesystem on which processes can't share a write-ahead log: network filesystems, those of virtual
/// machines and FUSE. `dir` need not exist yet. What the platform can't tell is let pass.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let Some(found) = dir.ancestors().find(|ancestor| ancestor.exists()) else { return Ok(()) };
    let Some(name) = platform::unsafe_filesystem(found) else { return Ok(()) };
    let what = format!("{} is on {name}, where processes can't safely share a database", dir.display());
    Err(Error::new(ErrorKind::StoreFilesystem, what)
        .with("path", dir.display().to_string())
        .with("filesystem", name)
        .hint(WAY_OUT))
}

/// The kind of filesystem that `dir` is on, as the mount table calls it, and the bytes that are free for us there.
pub(crate) fn kind_and_room(dir: &Path) -> (Option<String>, Option<u64>) {
    let Some(found) = dir.ancestors().find(|ancestor| ancestor.exists()) else { return (None, None) };
    #[cfg(unix)]
    let room = rustix::fs::statvfs(found).ok().map(|room| room.f_bavail.saturating_mul(room.f_frsize));
    #[cfg(not(unix))]
    let room = None;
    (platform::kind(found), room)
}

/// Creates `dir` and its missing parents for us alone, and refuses one that others may write to: they could put
/// another database in place.
pub(crate) fn prepare_dir(dir: &Path) -> Result<()> {
    private_dirs().recursive(true).create(dir).map_err(|e| Error::io("creating the directory", dir, e))?;
    let found = std::fs::metadata(dir).map_err(|e| Error::io("looking at", dir, e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let us = rustix::process::geteuid().as_raw();
        if found.uid() != us && found.uid() != 0 {
            let what = format!("{} belongs to another user (uid {}; we are {us})", dir.display(), found.uid());
            return Err(Error::new(ErrorKind::StorePermission, what)
                .with("path", dir.display().to_string())
                .hint("name a database in a directory of your own with PORT_DADDY_DB or --db"));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            let what = format!(
                "other users may write to {} (mode {mode:04o}): the database's directory must be its owner's alone",
                dir.display()
            );
            let hint = if mode & 0o1000 != 0 || found.uid() != us {
                "name a database in a directory of your own below it with PORT_DADDY_DB or --db".to_owned()
            } else {
                format!("run chmod go-w {}, or name another with PORT_DADDY_DB or --db", quoted(dir))
            };
            return Err(Error::new(ErrorKind::StorePermission, what)
                .with("path", dir.display().to_string())
                .with("mode", mode)
                .hint(hint));
        }
    }
    #[cfg(not(unix))]
    let _ = found;
    Ok(())
}

/// Makes directories for us alone.
pub(crate) fn private_dirs() -> std::fs::DirBuilder {
    #[cfg_attr(not(unix), allow(unused_mut, reason = "other platforms have no mode"))]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Lets nobody else read a file that these options create.
pub(crate) fn private(options: &mut std::fs::OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// For a file that stands beside the database: only we can read it, and opening it neither follows a symbolic link nor waits
/// for the other end of a pipe that somebody put there.
pub(crate) fn beside(options: &mut std::fs::OpenOptions) {
    private(options);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags.bits() as i32);
    }
}

/// Opens a regular file to read: opening a named pipe would wait for its other end, and a device is nobody's to touch.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<std::fs::File> {
    let regular = |found: std::fs::Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::other("it is no regular file")),
    };
    regular(std::fs::metadata(path)?)?;
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    // It may be another by now.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    regular(file.metadata()?)?;
    Ok(file)
}

/// Whether it is a file that can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && (may_run(&found) || cfg!(not(unix))))
}

/// Whether somebody may run it as a program.
pub(crate) fn may_run(found: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::mode(found) & 0o111 != 0;
    #[cfg(not(unix))]
    {
        let _ = found;
        false
    }
}

/// Whether nobody but its owner may read or write it.
pub(crate) fn is_private(found: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::mode(found) & 0o077 == 0;
    #[cfg(not(unix))]
    {
        let _ = found;
        false
    }
}

/// Makes a file that can be run, in one step, by way of `spare` beside it. Where one is there already it is replaced, or it is
/// an error (`AlreadyExists`).
pub(crate) fn make_program(path: &Path, spare: &str, content: &[u8], replace: bool) -> std::io::Result<()> {
    let spare = path.with_file_name(spare);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o777);
    let mut file = options.open(&spare)?;
    let written = std::io::Write::write_all(&mut file, content);
    drop(file);
    let done = written.and_then(|()| if replace { std::fs::rename(&spare, path) } else { link(&spare, path) });
    let _ = std::fs::remove_file(&spare);
    done
}

/// Gives a file a further name, which nothing may have yet. On filesystems without such names it gets the new one only.
fn link(path: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(path, to) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists && to.symlink_metadata().is_err() => {
            std::fs::rename(path, to)
        }
        done => done,
    }
}

/// Gives a file a further name, in a directory beside it: whatever leads from a link to its target still does.
pub(crate) fn set_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Ok(target) = std::fs::read_link(path) {
        let target = if target.is_absolute() { target } else { Path::new("..").join(target) };
        return std::os::unix::fs::symlink(target, aside);
    }
    link(path, aside)
}

/// Puts what was set aside in its old place, in one step.
pub(crate) fn put_again(aside: &Path, path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(target) = std::fs::read_link(aside).ok().and_then(|t| t.strip_prefix("..").map(Path::to_owned).ok()) {
        let mut spare = aside.as_os_str().to_owned();
        spare.push(".again");
        let _ = std::fs::remove_file(&spare);
        std::os::unix::fs::symlink(target, &spare)?;
        std::fs::rename(&spare, path)?;
        return std::fs::remove_file(aside);
    }
    std::fs::rename(aside, path)
}

/// Opens such a file to look at it.
pub(crate) fn open_beside(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    beside(options.read(true));
    options.open(path)
}

/// Refuses a database that somebody else could have put there or could change, and sidecars (their whole paths) that are
/// symbolic links or another user's. Its directory is nobody else's (see [`prepare_dir`]), but may have been open to others
/// once. What isn't there yet is let pass; nothing is opened.
#[cfg(unix)]
pub(crate) fn check_files<'a>(database: &'a Path, sidecars: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let us = rustix::process::geteuid().as_raw();
    let refused = |path: &Path, why: String, hint: String| {
        let path = path.display().to_string();
        Err(Error::new(ErrorKind::StorePermission, format!("{path} {why}")).with("path", path).hint(hint))
    };
    let elsewhere = "or name another database with PORT_DADDY_DB or --db";
    for path in std::iter::once(database).chain(sidecars) {
        let Ok(found) = std::fs::symlink_metadata(path) else { continue };
        if found.is_symlink() {
            let why = "is a symbolic link, which none of the files beside the database may be".to_owned();
            return refused(path, why, format!("remove the link, {elsewhere}"));
        }
        if found.uid() != us && found.uid() != 0 {
            let why = format!("belongs to another user (uid {}; we are {us})", found.uid());
            return refused(path, why, format!("look who put it there and remove it, {elsewhere}"));
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            let why = format!("can be changed by other users (mode {mode:04o})");
            return refused(path, why, format!("run chmod go-w {}, {elsewhere}", quoted(path)));
        }
        if path == database && !found.is_file() {
            return Err(Error::new(ErrorKind::StoreCorrupt, format!("{} is no regular file", path.display()))
                .with("path", path.display().to_string())
                .hint("name another database with PORT_DADDY_DB or --db"));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check_files<'a>(_database: &'a Path, _sidecars: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    Ok(())
}

/// As a shell takes it.
#[cfg(unix)]
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@%,:".contains(c)) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// The user's own directory for the database, as `env` has it; not created here.
pub(crate) fn state_dir(env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        let local = absolute("LOCALAPPDATA").ok_or_else(|| no_home("LOCALAPPDATA", env("LOCALAPPDATA")))?;
        return Ok(local.join("port-daddy"));
    }
    let home = || absolute("HOME").ok_or_else(|| no_home("HOME", env("HOME")));
    if cfg!(target_os = "macos") {
        return Ok(home()?.join("Library/Application Support/port-daddy"));
    }
    match absolute("XDG_STATE_HOME") {
        Some(state) => Ok(state.join("port-daddy")),
        None => Ok(home()?.join(".local/state/port-daddy")),
    }
}

fn no_home(name: &str, value: Option<String>) -> Error {
    let why = match value.as_deref() {
        None => "is not set".to_owned(),
        Some("") => "is empty".to_owned(),
        Some(value) => format!("is {value:?}, which is no absolute path"),
    };
    Error::new(ErrorKind::StoreLocation, format!("there is no place for the database: {name} {why}"))
        .with("variable", name)
        .hint(format!("set {name}, or name the database with PORT_DADDY_DB or --db"))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod platform {
    use std::path::Path;

    /// `f_type` of statfs(2), and a name where the mount table gives none. All FUSE (virtiofs, sshfs, ntfs-3g, …) is one.
    const UNSAFE: &[(u32, &str)] = &[
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "FUSE"),
        (0x786f_4256, "vboxsf"),
        (0xbacb_acbc, "vmhgfs"),
        (0x7c7c_6673, "prl_fs"),
        (0x00c3_6400, "ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x564c, "NCP"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x7461_636f, "OCFS2"),
        (0x0116_1970, "GFS2"),
        (0x1983_0326, "BeeGFS"),
        (0xaad7_aaea, "PanFS"),
        (0x2003_0528, "OrangeFS"),
    ];

    pub(super) fn unsafe_filesystem(path: &Path) -> Option<String> {
        // Some magic numbers have the top bit set, and the field is signed on some machines.
        let kind = rustix::fs::statfs(path).ok()?.f_type as u32;
        let name = unsafe_kind(kind)?;
        Some(mounted_as(path).unwrap_or_else(|| name.to_owned()))
    }

    pub(super) fn kind(path: &Path) -> Option<String> {
        mounted_as(path)
    }

    fn unsafe_kind(kind: u32) -> Option<&'static str> {
        UNSAFE.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
    }

    /// The filesystem's name in the mount table: `fuse.sshfs` says more than FUSE.
    fn mounted_as(path: &Path) -> Option<String> {
        use std::os::unix::fs::MetadataExt;
        let device = std::fs::metadata(path).ok()?.dev();
        let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        mounted_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &device)
    }

    /// A line is `id parent major:minor root point options [tag…] - type source options`.
    fn mounted_in(table: &str, device: &str) -> Option<String> {
        let line = table.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
        Some(line.split_once(" - ")?.1.split(' ').next()?.to_owned())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_mount_table_names_a_filesystem() {
            let table =
                "36 35 98:0 /a /b rw master:1 - ext4 /dev/root rw\n40 35 0:55 / /mnt/c rw - fuse.sshfs me:/ rw\n";
            assert_eq!(mounted_in(table, "0:55").as_deref(), Some("fuse.sshfs"));
            assert_eq!(mounted_in(table, "98:0").as_deref(), Some("ext4"));
            assert_eq!(mounted_in(table, "0:1"), None);
        }

        #[test]
        fn network_filesystems_are_refused_and_local_ones_pass() {
            for (kind, name) in [
                (libc_number(libc::NFS_SUPER_MAGIC), "NFS"),
                (libc_number(libc::SMB_SUPER_MAGIC), "SMB"),
                (0xfe53_4d42, "SMB"),
                (libc_number(libc::FUSE_SUPER_MAGIC), "FUSE"),
                (0x0102_1997, "9p"),
            ] {
                assert_eq!(unsafe_kind(kind), Some(name), "{kind:x}");
            }
            for kind in [
                libc_number(libc::EXT4_SUPER_MAGIC),
                libc_number(libc::TMPFS_MAGIC),
                libc_number(libc::BTRFS_SUPER_MAGIC),
                libc_number(libc::XFS_SUPER_MAGIC),
                libc_number(libc::OVERLAYFS_SUPER_MAGIC),
                0x2fc1_2fc1,
            ] {
                assert_eq!(unsafe_kind(kind), None, "{kind:x}");
            }
        }

        fn libc_number(magic: impl TryInto<i64>) -> u32 {
            magic.try_into().ok().unwrap() as u32
        }

        #[test]
        fn each_magic_number_is_named_once() {
            let mut seen = std::collections::BTreeSet::new();
            assert!(UNSAFE.iter().all(|(magic, _)| seen.insert(magic)));
        }
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::path::Path;

    pub(super) fn kind(path: &Path) -> Option<String> {
        let found = rustix::fs::statfs(path).ok()?;
        Some(found.f_fstypename.iter().map(|&c| c as u8 as char).take_while(|&c| c != '\0').collect())
    }

    pub(super) fn unsafe_filesystem(path: &Path) -> Option<String> {
        let name = kind(path)?;
        let refused = ["nfs", "smbfs", "afpfs", "webdav", "ftp", "cddafs"].contains(&name.as_str());
        (refused || name.contains("fuse") || name.contains("virtiofs") || name.contains("9p")).then_some(name)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
mod platform {
    pub(super) fn kind(_path: &std::path::Path) -> Option<String> {
        None
    }

    pub(super) fn unsafe_filesystem(_path: &std::path::Path) -> Option<String> {
        None
    }
}

/// Device and inode.
pub(crate) type Identity = (u64, u64);

/// What tells the file at `path` from another that takes its name: device and inode. It is only asked about, never
/// opened. `None` where there is none, or the platform can't tell.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// The same of one that is open.
#[cfg(unix)]
pub(crate) fn identity_of(file: &std::fs::File) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
pub(crate) fn identity(_path: &Path) -> Option<Identity> {
    None
}

#[cfg(not(unix))]
pub(crate) fn identity_of(_file: &std::fs::File) -> Option<Identity> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_local_disk_passes_also_for_a_directory_to_come() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        check(&dir.path().join("a/b")).unwrap();
    }

    #[test]
    fn a_new_directory_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        prepare_dir(&deep).unwrap();
        assert_eq!((mode(&deep), mode(&dir.path().join("a"))), (0o700, 0o700));
        prepare_dir(&deep).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("an open one");
        std::fs::create_dir(&open).unwrap();
        for refused in [0o770, 0o777, 0o702] {
            set_mode(&open, refused);
            let e = prepare_dir(&open).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::StorePermission);
            assert!(e.message().contains(open.to_str().unwrap()), "{e}");
            assert!(e.next_step().unwrap().contains(&format!("chmod go-w '{}'", open.display())), "{e:?}");
        }
        set_mode(&open, 0o1777);
        let e = prepare_dir(&open).unwrap_err();
        assert!(!e.next_step().unwrap().contains("chmod"), "nobody should close a shared /tmp: {e:?}");
        set_mode(&open, 0o755);
        prepare_dir(&open).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(prepare_dir(&file).unwrap_err().kind(), ErrorKind::StoreIo);
    }

    #[test]
    fn the_state_directory_follows_the_environment() {
        let at = |state: Option<&str>, home: Option<&str>| {
            state_dir(&|name| match name {
                "XDG_STATE_HOME" => state.map(str::to_owned),
                "HOME" => home.map(str::to_owned),
                _ => None,
            })
        };
        assert_eq!(at(Some("/s"), None).unwrap(), Path::new("/s/port-daddy"));
        for ignored in [None, Some(""), Some("relative")] {
            assert_eq!(at(ignored, Some("/h")).unwrap(), Path::new("/h/.local/state/port-daddy"));
        }
        for (home, why) in [(None, "is not set"), (Some(""), "is empty"), (Some("h"), "\"h\"")] {
            let e = at(None, home).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::StoreLocation);
            assert!(e.message().contains(why), "{e}");
            assert!(e.next_step().unwrap().contains("PORT_DADDY_DB"));
        }
    }
}
