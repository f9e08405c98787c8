//! Proof of life by a locked file.
//!
//! An open library instance keeps one file under `….live/` locked exclusively. The lock belongs to the open file
//! description: the kernel drops it when the last process that has the descriptor is gone, however it went, also at a
//! reboot. It is immune to pid reuse and holds across pid namespaces.
//!
//! 1. The owner creates the file under a temporary name, locks it, writes what it has to say and renames it into
//!    place. So a file under its final name without a lock is a dead owner's, never one in the making.
//! 2. A probe opens the file by name and tries a *shared* lock: it fails while the owner's holds, and two probes at
//!    once don't take each other for the owner. If it gets the lock, it removes the leftover.
//!    A file whose maker runs is left alone though: closed without its rows being withdrawn, it must stay to say so.
//! 3. An owner that goes in order unlinks the file, then closes it. It never unlocks explicitly: that would release
//!    the lock for every process that inherited the descriptor, and in a forked child for the parent too.
//!
//! Names are never used twice, and name the process that made the file ([`name_for`]): if somebody has removed the
//! file of one that still runs, that one lives all the same. Any other error but "it isn't there" counts as held: no
//! death is declared on an error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::process::{self, Alive, ProcessId};
use super::{current_pid, is_own_pid};
use crate::error::{Error, Result};

/// A locked file under `….live/`; the lock vanishes with the last process that has the descriptor.
pub(crate) struct LiveFile {
    path: PathBuf,
    name: String,
    file: File,
    /// Who created it: a forked child must not unlink it.
    pid: u32,
    abandoned: bool,
}

/// The name of a live file of `process`; `unique` tells it from others of the same.
pub(crate) fn name_for(process: &ProcessId, unique: &str) -> String {
    format!("{}-{}-{}-{unique}", process.pid, process.start, process.namespace)
}

/// The process that made the file of that name, if it says so.
pub(crate) fn maker(name: &str) -> Option<ProcessId> {
    let mut parts = name.splitn(4, '-');
    let id = ProcessId {
        pid: parts.next()?.parse().ok()?,
        start: parts.next()?.parse().ok()?,
        namespace: parts.next()?.parse().ok()?,
    };
    parts.next().map(|_| id)
}

/// The pid of that process, where pids are counted as ours are.
pub(crate) fn maker_pid(name: &str) -> Option<u32> {
    maker(name).filter(|id| id.namespace == super::pid_namespace()).map(|id| id.pid)
}

/// Whether a file may be one of ours, by its name. Others are left alone, and so are those in the making: they aren't locked
/// yet, and would be taken for a leftover.
pub(crate) fn is_name(name: &str) -> bool {
    maker(name).is_some()
}

/// Whether the process that a name from [`name_for`] names still runs.
pub(crate) fn maker_lives(name: &str) -> bool {
    maker(name).is_some_and(|id| process::alive(&id) == Alive::Yes)
}

impl LiveFile {
    /// Creates the file `name`, which was never used before, with `content`, locked before anyone can see it.
    /// `dir` is created if it is missing.
    pub(crate) fn create(dir: &Path, name: &str, content: &[u8]) -> Result<LiveFile> {
        create_dir(dir).map_err(|e| Error::io("creating", dir, e))?;
        let path = dir.join(name);
        let temporary = dir.join(format!(".{name}.new"));
        let made = (|| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            super::filesystem::beside(&mut options);
            let mut file = options.open(&temporary)?;
            file.try_lock()?;
            file.write_all(content)?;
            crate::fault::point("live-file");
            std::fs::rename(&temporary, &path)?;
            Ok(file)
        })();
        match made {
            Ok(file) => Ok(LiveFile { path, name: name.to_owned(), file, pid: current_pid(), abandoned: false }),
            Err(e) => {
                let _ = std::fs::remove_file(&temporary);
                Err(Error::io("creating", &path, e))
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Withdraws the proof in order: nobody takes it for a death. Dropping does the same.
    pub(crate) fn withdraw(self) {}

    /// Ends the proof without withdrawing it, as the process's end would: whoever looks next takes it for a death.
    pub(crate) fn abandon(mut self) {
        self.abandoned = true;
    }

    /// A duplicate without close-on-exec: every command that this process starts while the duplicate exists inherits
    /// it, and then holds the lock on after our own end. Drop it once the command is started.
    #[cfg(unix)]
    pub(crate) fn inheritable(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        Ok(rustix::io::dup(&self.file)?)
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        if is_own_pid(self.pid) && !self.abandoned {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn create_dir(dir: &Path) -> std::io::Result<()> {
    match super::filesystem::private_dirs().create(dir) {
        // Not through a symbolic link: what lies in somebody else's directory is no proof, and isn't ours to sweep.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.symlink_metadata()?.is_dir() => Ok(()),
        made => made,
    }
}

/// Far more than a live file says of itself.
const MOST_BYTES: u64 = 4096;

/// What a live file says.
pub(crate) fn content(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    open(&dir.join(name)).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    super::filesystem::beside(options.read(true));
    options.open(path)
}

/// Whether a live file is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Held,
    Gone,
}

/// Whether any process holds the live file `name`, our own included. Removes what a dead owner left.
pub(crate) fn probe(dir: &Path, name: &str) -> Probe {
    look(dir, name, true)
}

/// The same, and leaves everything where it is.
pub(crate) fn peek(dir: &Path, name: &str) -> Probe {
    look(dir, name, false)
}

fn look(dir: &Path, name: &str, sweep: bool) -> Probe {
    let path = dir.join(name);
    let file = match open(&path) {
        Ok(file) => file,
        // An owner that goes in order takes its rows back first. If it runs on and the file isn't there, then someone
        // has removed it, or the whole directory.
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return if maker_lives(name) { Probe::Held } else { Probe::Gone };
        }
        Err(_) => return Probe::Held,
    };
    match file.try_lock_shared() {
        Ok(()) => {
            if sweep && still_at(&file, &path) && !maker_lives(name) {
                let _ = std::fs::remove_file(&path);
            }
            Probe::Gone
        }
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Probe::Held,
    }
}

/// What dead owners left: files that nobody has met since, and those that were never finished. One in the making may not be
/// locked yet: only its maker's end tells.
pub(crate) fn leftovers(dir: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let is_left = |name: &String| match name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".new")) {
        Some(unfinished) => maker(unfinished).is_some_and(|id| process::alive(&id) == Alive::No),
        None => is_name(name) && !maker_lives(name) && peek(dir, name) == Probe::Gone,
    };
    names.filter(is_left).map(|name| dir.join(name)).collect()
}

/// Removes them; how many.
pub(crate) fn sweep(dir: &Path) -> usize {
    // Names are never used twice: what was left once is nobody's for ever.
    leftovers(dir).iter().filter(|path| std::fs::remove_file(path).is_ok()).count()
}

/// Whether `path` still names the file that is open.
#[cfg(unix)]
fn still_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn still_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{Second, argument, barrier, say};

    const CHILD: &str = "sys::live::tests::child_holds_a_live_file";

    #[test]
    fn child_holds_a_live_file() {
        if let Some(dir) = argument() {
            let live = LiveFile::create(Path::new(&dir), "a", b"hello").unwrap();
            say("ready");
            barrier();
            live.withdraw();
            say("withdrawn");
        }
    }

    #[test]
    fn a_living_owner_holds_it_and_withdraws_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("live");
        let live = LiveFile::create(&dir, "a", b"content").unwrap();
        assert_eq!(live.name(), "a");
        assert_eq!(std::fs::read(dir.join("a")).unwrap(), b"content");
        assert_eq!(probe(&dir, "a"), Probe::Held, "our own counts too");
        assert_eq!(probe(&dir, "b"), Probe::Gone);
        live.withdraw();
        assert_eq!(probe(&dir, "a"), Probe::Gone);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "no temporary file stays");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_somebody_removed_is_no_death() {
        let dir = tempfile::tempdir().unwrap();
        let me = process::own();
        let name = name_for(&me, "x-y");
        let live = LiveFile::create(dir.path(), &name, b"").unwrap();
        std::fs::remove_file(dir.path().join(&name)).unwrap();
        assert_eq!(probe(dir.path(), &name), Probe::Held);
        let earlier = ProcessId { start: me.start + 1, ..me.clone() };
        assert_eq!(probe(dir.path(), &name_for(&earlier, "x")), Probe::Gone, "the pid is another's now");
        drop(live);
        let name = name_for(&me, "z");
        LiveFile::create(dir.path(), &name, b"").unwrap().abandon();
        assert_eq!((probe(dir.path(), &name), probe(dir.path(), &name)), (Probe::Gone, Probe::Gone));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_dead_maker_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let me = process::own();
        let dead = name_for(&ProcessId { start: me.start + 1, ..me.clone() }, "x");
        let unfinished = |name: &str| format!(".{name}.new");
        let mine = name_for(&me, "y");
        for name in [&dead, &unfinished(&dead), &unfinished(&mine), "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let live = LiveFile::create(dir.path(), &name_for(&me, "z"), b"").unwrap();
        sweep(dir.path());
        let mut left: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [unfinished(&mine), live.name().to_owned(), "notes.txt".to_owned()]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_no_proofs() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, linked, own) =
            (dir.path().join("elsewhere"), dir.path().join("linked"), dir.path().join("own"));
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &linked).unwrap();
        assert!(LiveFile::create(&linked, "a", b"").is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        std::fs::create_dir(&own).unwrap();
        std::fs::write(elsewhere.join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("precious"), own.join("1-2-3-a")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(own.join("1-2-3-b")).status().unwrap().success());
        assert_eq!((content(&own, "1-2-3-a"), content(&own, "1-2-3-b")), (None, Some(Vec::new())));
        // Nobody is declared dead for what can't be looked at.
        assert_eq!(probe(&own, "1-2-3-a"), Probe::Held);
        probe(&own, "1-2-3-b");
        assert!(elsewhere.join("precious").exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_we_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("live");
        let _live = LiveFile::create(&dir, "a", b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("a"))), (0o700, 0o600));
    }

    #[test]
    fn probes_at_once_do_not_see_each_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"what a killed owner leaves").unwrap();
        let other = File::open(dir.path().join("a")).unwrap();
        other.try_lock_shared().unwrap();
        assert_eq!(probe(dir.path(), "a"), Probe::Gone);
        assert!(!dir.path().join("a").exists(), "the leftover is removed");
    }

    #[cfg(unix)]
    #[test]
    fn a_killed_owner_is_gone_and_a_stopped_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Second::start(CHILD, dir.path().to_str().unwrap());
        assert_eq!(probe(dir.path(), "a"), Probe::Held);
        child.signal(rustix::process::Signal::STOP);
        assert_eq!(probe(dir.path(), "a"), Probe::Held);
        child.kill();
        assert_eq!(probe(dir.path(), "a"), Probe::Gone);
    }

    #[test]
    fn an_owner_that_withdraws_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Second::start(CHILD, dir.path().to_str().unwrap());
        child.go();
        assert_eq!(child.said(), "withdrawn");
        assert!(!dir.path().join("a").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_child_that_inherited_it_holds_it_on() {
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        let live = LiveFile::create(dir.path(), "a", b"").unwrap();
        let inherited = live.inheritable().unwrap();
        let mut orphan = Command::new("sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn().unwrap();
        drop(inherited);
        // The owner's end without its withdrawal: the file stays, under a name that nobody unlinks.
        std::fs::hard_link(dir.path().join("a"), dir.path().join("left")).unwrap();
        drop(live);
        assert_eq!(probe(dir.path(), "left"), Probe::Held);
        orphan.kill().unwrap();
        orphan.wait().unwrap();
        // Another test's child, forked but not yet past its exec, may have the descriptor for a moment.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while probe(dir.path(), "left") == Probe::Held {
            assert!(std::time::Instant::now() < deadline, "still held after its last holder ended");
            std::thread::yield_now();
        }
    }
}
