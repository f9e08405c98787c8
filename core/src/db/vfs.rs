//! SQLite's own file layer, but for one needless fsync at the first durable commit of a process, and for how the frames of
//! a commit are written (`gather.rs`).
//!
//! SQLite opens the WAL with the flag "create", takes it therefore for a new file, and syncs its directory together
//! with the first sync of the file: in a command that writes one note that is half of its fsyncs. Where the WAL holds
//! more than its header, its name is on the disk already: whoever wrote that header synced the file and the directory
//! before writing anything behind it (`walFrames`; the header is synced whatever the durability). Then, and only then,
//! the file is opened as what it is, an old one.
//!
//! The WAL is looked at by its name, never opened: closing it would drop SQLite's locks.

use std::ffi::{CStr, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::ffi;

use super::gather;

/// The name under which the layer is registered with SQLite.
pub(super) const NAME: &CStr = c"port-daddy";

/// Bytes of a WAL's header.
const HEADER: u64 = 32;

/// SQLite's own layer, as it was when ours was registered.
struct Own(*mut ffi::sqlite3_vfs);

// SAFETY: a registered `sqlite3_vfs` is never freed, and SQLite itself uses it from every thread.
unsafe impl Send for Own {}
// SAFETY: as above; we only read it.
unsafe impl Sync for Own {}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// Registers the layer once. Whether there is one; without it, the default does the same with one more fsync.
pub(super) fn registered() -> bool {
    OWN.get_or_init(register).is_some()
}

fn register() -> Option<Own> {
    // SAFETY: a null name asks for the default; the answer lives as long as the process.
    let own = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    // SAFETY: not null, and a plain structure of numbers and pointers, made to be copied by layers above.
    let mut ours = Box::new(unsafe { *own.as_ref()? });
    ours.zName = NAME.as_ptr();
    ours.pNext = std::ptr::null_mut();
    ours.xOpen = Some(open);
    ours.szOsFile = gather::room(ours.szOsFile);
    // SAFETY: leaked, so that it lives as long as SQLite keeps it. 0: not the default.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::leak(ours), 0) };
    (code == ffi::SQLITE_OK).then_some(Own(own))
}

/// `xOpen`: SQLite's own, with other flags for a WAL whose name is on the disk.
unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    // The layer is only found by name once it is registered, just before this is set: nobody comes here without.
    let Some(own) = OWN.wait().as_ref() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: see `Own`.
    let Some(own_open) = (unsafe { (*own.0).xOpen }) else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite gives a WAL's name as a C string.
    if flags & ffi::SQLITE_OPEN_WAL != 0 && !name.is_null() && is_on_disk(unsafe { CStr::from_ptr(name) }) {
        // SAFETY: the arguments are those that SQLite gave.
        let code = unsafe { own_open(own.0, name, file, flags & !ffi::SQLITE_OPEN_CREATE, opened) };
        // The last of another program's connections may have deleted it meanwhile.
        if code == ffi::SQLITE_OK {
            // SAFETY: it is open, and SQLite has made it as large as our layer asks.
            unsafe { gather::wrap(file, (*own.0).szOsFile) };
            return code;
        }
    }
    // SAFETY: as above.
    let code = unsafe { own_open(own.0, name, file, flags, opened) };
    if code == ffi::SQLITE_OK && flags & ffi::SQLITE_OPEN_WAL != 0 {
        // SAFETY: as above.
        unsafe { gather::wrap(file, (*own.0).szOsFile) };
    }
    code
}

fn is_on_disk(name: &CStr) -> bool {
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > HEADER)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn only_what_lies_behind_a_header_proves_that_the_name_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db-wal");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        assert!(!is_on_disk(&name), "nothing there");
        for (bytes, known) in [(0, false), (32, false), (33, true)] {
            std::fs::write(&path, vec![0; bytes]).unwrap();
            assert_eq!(is_on_disk(&name), known, "{bytes} bytes");
        }
    }

    #[test]
    fn a_log_is_made_where_there_is_none_and_read_where_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let open = || {
            assert!(registered());
            rusqlite::Connection::open_with_flags_and_vfs(&path, Default::default(), NAME).unwrap()
        };
        let first = open();
        first.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        let wal = dir.path().join("db-wal");
        assert!(wal.metadata().unwrap().len() > HEADER);
        let second = open();
        second.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        drop(first);
        // The last one to close deletes the log here, and the next makes another.
        drop(second);
        assert!(!wal.exists());
        let third = open();
        third.execute_batch("INSERT INTO t VALUES (3)").unwrap();
        assert_eq!(third.query_row("SELECT sum(x) FROM t", [], |r| r.get(0)), Ok(6));
        assert!(wal.exists());
    }
}
