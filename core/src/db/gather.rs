//! The frames of a commit go to the WAL in one write instead of two for each page.
//!
//! SQLite writes a frame's header (24 bytes) and its page one after the other, and the next frame behind them. Here they
//! are gathered, and written when the frame comes that commits, which its header says. Until then nobody needs them: other
//! connections read frames only once the index in shared memory knows them, which SQLite tells it after that write has
//! returned. If the write fails, so does the commit. What else is done with the file comes after what was gathered: it is
//! written first.
//!
//! SQLite also rewrites headers alone, of frames that it wrote before in the same transaction. These go to the file at once:
//! only what is written behind everything before is gathered.
//!
//! Frames that don't commit are not left behind: the writing connection doesn't spill (`PRAGMA cache_spill`), so that
//! SQLite writes frames in commits alone. If a commit all the same failed between two frames (memory ran out), the rest of
//! them must never be written: by then others may have written there. Every transaction therefore has a number, and
//! frames of an earlier one are thrown away.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

/// Bytes of a frame's header.
const FRAME_HEADER: usize = 24;
/// The smallest page, and the largest.
const PAGES: std::ops::RangeInclusive<usize> = 512..=65_536;
/// Bytes that are gathered at most.
const MOST: usize = 1 << 20;

/// Bytes of one write: SQLite's own method takes less than 128 KiB at once, and counts more wrongly.
const PIECE: usize = 1 << 16;

type Offset = ffi::sqlite3_int64;

thread_local! {
    /// The transaction that writes in this thread; 0 outside of one.
    static TRANSACTION: Cell<u64> = const { Cell::new(0) };
}

/// Begins a transaction that writes, in this thread.
pub(super) fn begin() {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    TRANSACTION.set(NEXT.fetch_add(1, Ordering::Relaxed));
}

/// It is over: nothing of it may be written any more.
pub(super) fn end() {
    TRANSACTION.set(0);
}

/// What was gathered for one open file. It lies behind SQLite's own part of the file's structure.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    offset: Offset,
    transaction: u64,
    /// The end of what that transaction has written or gathered.
    end: Offset,
}

/// SQLite's own methods for a WAL, ours above them, and the size of its own part of an open file.
struct Methods {
    own: ffi::sqlite3_io_methods,
    own_at: usize,
    ours: ffi::sqlite3_io_methods,
    own_size: usize,
}

static METHODS: OnceLock<Methods> = OnceLock::new();

/// How much room an open file needs, if SQLite's own part takes `own_size`.
pub(super) fn room(own_size: c_int) -> c_int {
    rounded(own_size as usize) as c_int + size_of::<*mut Gathered>() as c_int
}

fn rounded(own_size: usize) -> usize {
    own_size.next_multiple_of(align_of::<*mut Gathered>())
}

/// Gathers what is written to a WAL that SQLite has just opened.
///
/// # Safety
/// `file` is open, and has room for [`room`] bytes; `own_size` is that of its own part.
pub(super) unsafe fn wrap(file: *mut ffi::sqlite3_file, own_size: c_int) {
    // SAFETY: an open file has methods, which live as long as the process.
    let Some(own) = (unsafe { (*file).pMethods.as_ref() }) else { return };
    let methods = METHODS.get_or_init(|| {
        let mut ours = *own;
        // What isn't here has nothing to do with what was written.
        ours.xClose = Some(close);
        ours.xRead = Some(read);
        ours.xWrite = Some(write);
        ours.xTruncate = Some(truncate);
        ours.xSync = Some(sync);
        ours.xFileSize = Some(file_size);
        // Pages are not mapped.
        ours.iVersion = ours.iVersion.min(2);
        Methods { own: *own, own_at: std::ptr::from_ref(own).addr(), ours, own_size: own_size as usize }
    });
    if methods.own_at != std::ptr::from_ref(own).addr() || methods.own_size != own_size as usize {
        return;
    }
    // SAFETY: the room behind SQLite's own part, which is ours alone; and the file's methods, which live for ever.
    unsafe {
        place(file, methods).write(Box::into_raw(Box::default()));
        (*file).pMethods = &raw const methods.ours;
    }
}

/// Where a wrapped file's gathered frames hang.
unsafe fn place(file: *mut ffi::sqlite3_file, methods: &Methods) -> *mut *mut Gathered {
    // SAFETY: the caller's file has that room, and it is aligned as SQLite's allocations are, to eight bytes.
    unsafe { file.cast::<u8>().add(rounded(methods.own_size)).cast() }
}

/// The methods, and what was gathered for a file that was wrapped.
unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> Option<(&'static Methods, &'a mut Gathered)> {
    let methods = METHODS.get()?;
    // SAFETY: our methods are called for wrapped files alone, by one thread at a time, as all of a connection's.
    unsafe { (*place(file, methods)).as_mut().map(|gathered| (methods, gathered)) }
}

impl Gathered {
    /// Where this transaction's writing has come to; anything lies behind where it has written nothing.
    fn reached(&self) -> Offset {
        if self.transaction == TRANSACTION.get() { self.end } else { 0 }
    }

    /// Writes what was gathered, unless it belongs to a transaction that is over.
    unsafe fn flush(&mut self, file: *mut ffi::sqlite3_file, own: &ffi::sqlite3_io_methods) -> c_int {
        if self.bytes.is_empty() {
            return ffi::SQLITE_OK;
        }
        let Some(own_write) = own.xWrite else { return ffi::SQLITE_IOERR };
        let mut code = ffi::SQLITE_OK;
        if self.transaction == TRANSACTION.get() {
            let mut offset = self.offset;
            for piece in self.bytes.chunks(PIECE) {
                #[cfg(test)]
                tests::WRITES.set(tests::WRITES.get() + 1);
                // SAFETY: SQLite's own method, with a buffer of that length.
                code = unsafe { own_write(file, piece.as_ptr().cast(), piece.len() as c_int, offset) };
                if code != ffi::SQLITE_OK {
                    break;
                }
                offset += piece.len() as Offset;
            }
        }
        self.bytes.clear();
        code
    }
}

/// Whether the last header among `bytes` is that of a frame that commits: it says how large the database is then.
fn commits(header: &[u8]) -> bool {
    header[4..8] != [0; 4]
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: Offset) -> c_int {
    // SAFETY: see `of`.
    let Some((methods, gathered)) = (unsafe { of(file) }) else { return ffi::SQLITE_IOERR };
    let length = amount as usize;
    let transaction = TRANSACTION.get();
    let follows = !gathered.bytes.is_empty() && gathered.transaction == transaction && offset == gathered.end;
    let is_header = length == FRAME_HEADER && transaction != 0 && offset >= gathered.reached();
    let is_page = follows && PAGES.contains(&length);
    if !(is_header && (follows || gathered.bytes.is_empty()) || is_page) {
        // SAFETY: as above.
        let code = unsafe { gathered.flush(file, &methods.own) };
        if code != ffi::SQLITE_OK {
            return code;
        }
        if !is_header {
            gathered.end = gathered.reached().max(offset + Offset::from(amount));
            gathered.transaction = transaction;
            let Some(own_write) = methods.own.xWrite else { return ffi::SQLITE_IOERR };
            // SAFETY: what SQLite asked for.
            return unsafe { own_write(file, from, amount, offset) };
        }
    }
    if gathered.bytes.is_empty() {
        (gathered.offset, gathered.transaction) = (offset, transaction);
    }
    gathered.end = offset + Offset::from(amount);
    // SAFETY: SQLite gives a buffer of that length.
    gathered.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) });
    let page_commits = is_page && {
        let header = gathered.bytes.len() - length - FRAME_HEADER;
        commits(&gathered.bytes[header..header + FRAME_HEADER])
    };
    if page_commits || (is_page && gathered.bytes.len() > MOST) {
        // SAFETY: as above.
        return unsafe { gathered.flush(file, &methods.own) };
    }
    ffi::SQLITE_OK
}

/// Writes what was gathered, then does what SQLite asks its own method for.
macro_rules! afterwards {
    ($file:ident, $method:ident, $($argument:expr),*) => {{
        // SAFETY: see `of`.
        let Some((methods, gathered)) = (unsafe { of($file) }) else { return ffi::SQLITE_IOERR };
        // SAFETY: as above.
        match unsafe { gathered.flush($file, &methods.own) } {
            // SAFETY: what SQLite asked for.
            ffi::SQLITE_OK => methods.own.$method.map_or(ffi::SQLITE_IOERR, |own| unsafe { own($file, $($argument),*) }),
            code => code,
        }
    }};
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, offset: Offset) -> c_int {
    afterwards!(file, xRead, to, amount, offset)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: Offset) -> c_int {
    afterwards!(file, xTruncate, size)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    afterwards!(file, xSync, flags)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut Offset) -> c_int {
    afterwards!(file, xFileSize, size)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let Some(methods) = METHODS.get() else { return ffi::SQLITE_IOERR };
    // SAFETY: made by `wrap`, and not used again: the file is closed. What no commit wrote is nobody's.
    unsafe {
        let gathered = place(file, methods).replace(std::ptr::null_mut());
        if !gathered.is_null() {
            drop(Box::from_raw(gathered));
        }
        methods.own.xClose.map_or(ffi::SQLITE_IOERR, |own| own(file))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::Connection;

    use super::super::vfs;
    use super::*;

    thread_local! {
        /// How often this thread wrote what was gathered.
        pub(super) static WRITES: Cell<usize> = const { Cell::new(0) };
    }

    fn open(path: &Path) -> Connection {
        assert!(vfs::registered());
        let conn = Connection::open_with_flags_and_vfs(path, Default::default(), vfs::NAME).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL; PRAGMA cache_spill=OFF;
             CREATE TABLE IF NOT EXISTS t (x)",
        )
        .unwrap();
        conn
    }

    /// One that may write frames in the middle of a transaction, as ours never do: `cache_flush` does it.
    fn open_spilling(path: &Path) -> Connection {
        let conn = open(path);
        conn.execute_batch("PRAGMA cache_spill=ON").unwrap();
        conn
    }

    fn wal(path: &Path) -> u64 {
        path.with_file_name("db-wal").metadata().unwrap().len()
    }

    fn insert(conn: &Connection, rows: usize) {
        for _ in 0..rows {
            conn.execute("INSERT INTO t VALUES (zeroblob(3000))", []).unwrap();
        }
    }

    fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap()
    }

    #[test]
    fn a_commit_is_in_the_file_when_it_returns_and_others_see_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let (writer, reader) = (open(&path), open(&path));
        insert(&reader, 1);
        for rows in [1, 3, 40] {
            let (before, seen) = (wal(&path), count(&reader));
            begin();
            writer.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&writer, rows);
            assert_eq!(wal(&path), before, "something was written before the commit");
            let writes = WRITES.get();
            writer.execute_batch("COMMIT").unwrap();
            end();
            let bytes = wal(&path) - before;
            assert!(bytes > 3000 * rows as u64);
            assert_eq!(WRITES.get() - writes, bytes.div_ceil(PIECE as u64) as usize, "{rows} rows");
            assert_eq!(count(&reader), seen + rows as i64);
        }
        // Larger than what is gathered at most.
        begin();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&writer, 500);
        writer.execute_batch("COMMIT").unwrap();
        end();
        assert_eq!(count(&reader), 545);
        let sound: String = reader.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }

    #[test]
    fn what_was_rolled_back_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let (writer, other) = (open_spilling(&path), open(&path));
        insert(&other, 1);
        let written = wal(&path);
        begin();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&writer, 5);
        // As if memory ran out between two frames: they are gathered, and no commit follows.
        writer.cache_flush().unwrap();
        assert_eq!(wal(&path), written);
        // Whoever ends a transaction in which something was gathered finds it thrown away.
        end();
        writer.execute_batch("ROLLBACK").unwrap();
        assert_eq!(wal(&path), written);
        let writes = WRITES.get();
        // As many frames as were gathered, in their place: what comes next would stand right behind.
        insert(&other, 5);
        assert_eq!(count(&writer), 6);
        begin();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&writer, 1);
        writer.execute_batch("COMMIT").unwrap();
        end();
        assert_eq!(WRITES.get() - writes, 1, "the last commit alone");
        drop(writer);
        assert_eq!(count(&open(&path)), 7);
        let sound: String = other.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }

    #[test]
    fn headers_that_are_written_anew_are_in_the_file_when_the_commit_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = open_spilling(&path);
        insert(&writer, 1);
        begin();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&writer, 5);
        writer.cache_flush().unwrap();
        // Frames that were written already change: all checksums from there on are computed anew.
        writer.execute("UPDATE t SET x = 1", []).unwrap();
        writer.execute_batch("COMMIT").unwrap();
        end();
        // As another process finds it after a crash of this one.
        for end in ["", "-wal"] {
            std::fs::copy(dir.path().join(format!("db{end}")), dir.path().join(format!("copy{end}"))).unwrap();
        }
        assert_eq!(count(&open(&dir.path().join("copy"))), 6);
    }

    #[test]
    fn outside_of_a_transaction_of_ours_nothing_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = open(&path);
        let before = wal(&path);
        insert(&writer, 1);
        assert!(wal(&path) > before);
    }
}
