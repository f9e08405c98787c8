//! Everything that SQLite does to the disk, recorded in order, and the disks that a power cut may leave of it.
//!
//! The recorder is a layer below the library's own (`db/vfs.rs` stands above whatever is SQLite's default). All processes
//! of a recording append to one file, each event in one write. An event is recorded once it is done and before SQLite
//! hears so: what came before another event, came before it in the file.
//!
//! What a power cut leaves: of each file what a completed sync covers, and of every later write any sectors, in any order.
//! A name that was made or removed, if its directory was synced since; otherwise either.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;
/// Writes that a disk which lies has not done yet.
const MOST_CACHED: usize = 300;
/// The database's files, by what stands behind its name. The index in shared memory is made anew by whoever comes first.
const ENDS: [&str; 3] = ["", "-wal", "-journal"];
const OPENED_AS: [c_int; 3] = [ffi::SQLITE_OPEN_MAIN_DB, ffi::SQLITE_OPEN_WAL, ffi::SQLITE_OPEN_MAIN_JOURNAL];
/// For events that concern no file.
const NO_FILE: u8 = 9;
/// Kind, file, number, length.
const HEADER: usize = 1 + 1 + 8 + 4;

pub(super) enum Event {
    /// The file is there, empty if it wasn't.
    Made(usize),
    Deleted(usize),
    Wrote(usize, usize, Vec<u8>),
    Truncated(usize, usize),
    /// By the sync's number.
    SyncBegan(usize, u64),
    Synced(usize, u64),
    /// The names in the directory are on the disk.
    DirectorySynced,
    /// What a process has to say.
    Said(String),
}

static LOG: OnceLock<File> = OnceLock::new();

fn append(kind: u8, file: u8, number: u64, bytes: &[u8]) {
    let mut record = Vec::with_capacity(HEADER + bytes.len());
    record.extend([kind, file]);
    record.extend(number.to_le_bytes());
    record.extend((bytes.len() as u32).to_le_bytes());
    record.extend(bytes);
    // One system call: the kernel puts it behind all others whole.
    let written = LOG.get().expect("it records").write(&record).expect("the log takes it");
    assert_eq!(written, record.len());
}

/// Puts words for the checker in their place among the events.
pub(super) fn say(words: &str) {
    append(b'!', NO_FILE, 0, words.as_bytes());
}

/// What a recording holds.
pub(super) fn read(log: &Path) -> Vec<Event> {
    let bytes = std::fs::read(log).unwrap();
    let (mut events, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let (kind, file) = (rest[0], usize::from(rest[1]));
        let number = u64::from_le_bytes(rest[2..10].try_into().unwrap());
        let end = HEADER + u32::from_le_bytes(rest[10..HEADER].try_into().unwrap()) as usize;
        let data = &rest[HEADER..end];
        events.push(match kind {
            b'm' => Event::Made(file),
            b'd' => Event::Deleted(file),
            b'w' => Event::Wrote(file, number as usize, data.to_vec()),
            b't' => Event::Truncated(file, number as usize),
            b'b' => Event::SyncBegan(file, number),
            b's' => Event::Synced(file, number),
            b'D' => Event::DirectorySynced,
            b'!' => Event::Said(String::from_utf8(data.to_vec()).unwrap()),
            other => panic!("{other}"),
        });
        rest = &rest[end..];
    }
    events
}

/// SQLite's layer as it was, its method that opens a directory, and its methods for files with ours above.
struct Own(*mut ffi::sqlite3_vfs, OpenDirectory);
type OpenDirectory = unsafe extern "C" fn(*const c_char, *mut c_int) -> c_int;

struct Methods {
    own: ffi::sqlite3_io_methods,
    ours: ffi::sqlite3_io_methods,
}

// SAFETY: a registered layer is never freed or changed, and used by every thread.
unsafe impl Send for Own {}
// SAFETY: as above.
unsafe impl Sync for Own {}

static OWN: OnceLock<Own> = OnceLock::new();
/// A table for each of the files: SQLite locks the database alone, and its methods differ.
static METHODS: [OnceLock<Methods>; 3] = [const { OnceLock::new() }; 3];

thread_local! {
    /// A directory was opened, which is done to sync it.
    static DIRECTORY: Cell<bool> = const { Cell::new(false) };
}

/// Records what this process does from now on. To be called before the library opens anything.
pub(super) fn record(log: &Path) {
    LOG.set(OpenOptions::new().create(true).append(true).open(log).unwrap()).expect("it is called once");
    // SAFETY: the default layer lives as long as the process; it is copied as layers above it do, leaked, and made the
    // default. Its system call has the type that SQLite gives it in its table.
    unsafe {
        let own = ffi::sqlite3_vfs_find(std::ptr::null());
        let (get, set) = ((*own).xGetSystemCall.unwrap(), (*own).xSetSystemCall.unwrap());
        let call = get(own, c"openDirectory".as_ptr()).expect("SQLite opens directories");
        OWN.set(Own(own, std::mem::transmute::<unsafe extern "C" fn(), OpenDirectory>(call))).ok().unwrap();
        let call = std::mem::transmute::<OpenDirectory, unsafe extern "C" fn()>(open_directory);
        assert_eq!(set(own, c"openDirectory".as_ptr(), Some(call)), ffi::SQLITE_OK);
        let mut ours = Box::new(*own);
        ours.zName = c"recorder".as_ptr();
        ours.pNext = std::ptr::null_mut();
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        ours.szOsFile = place_at(own) as c_int + size_of::<u64>() as c_int;
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(ours), 1), ffi::SQLITE_OK);
    }
}

/// Where in an open file's structure stands which of the files it is.
unsafe fn place_at(own: *mut ffi::sqlite3_vfs) -> usize {
    // SAFETY: see `Own`.
    unsafe { ((*own).szOsFile as usize).next_multiple_of(align_of::<u64>()) }
}

unsafe fn place(file: *mut ffi::sqlite3_file) -> *mut u64 {
    // SAFETY: SQLite gives the room that our layer asks for.
    unsafe { file.cast::<u8>().add(place_at(OWN.wait().0)).cast() }
}

/// Which of the files it is, and SQLite's own methods for it.
unsafe fn of(file: *mut ffi::sqlite3_file) -> (u8, &'static ffi::sqlite3_io_methods) {
    // SAFETY: our methods are called for files that we have opened alone.
    let which = unsafe { *place(file) };
    (which as u8, &METHODS[which as usize].wait().own)
}

unsafe extern "C" fn open_directory(name: *const c_char, descriptor: *mut c_int) -> c_int {
    DIRECTORY.set(true);
    // SAFETY: what SQLite asked for.
    unsafe { OWN.wait().1(name, descriptor) }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    // SAFETY: what SQLite asked for, of its own layer; the file has room for ours, and its methods live for ever.
    unsafe {
        let own = OWN.wait().0;
        let which = OPENED_AS.iter().position(|kind| flags & kind != 0);
        let code = (*own).xOpen.unwrap()(own, name, file, flags, opened);
        if let (ffi::SQLITE_OK, Some(which)) = (code, which) {
            let methods = METHODS[which].get_or_init(|| {
                let own = *(*file).pMethods;
                let mut ours = own;
                ours.xWrite = Some(write);
                ours.xTruncate = Some(truncate);
                ours.xSync = Some(sync);
                Methods { own, ours }
            });
            place(file).write(which as u64);
            (*file).pMethods = &raw const methods.ours;
            append(b'm', which as u8, 0, &[]);
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    DIRECTORY.set(false);
    // SAFETY: what SQLite asked for, of its own layer.
    let (code, name) = unsafe {
        let own = OWN.wait().0;
        ((*own).xDelete.unwrap()(own, name, sync_directory), CStr::from_ptr(name).to_string_lossy())
    };
    if code == ffi::SQLITE_OK {
        let which = (1..ENDS.len()).find(|which| name.ends_with(ENDS[*which])).expect("one of its files");
        append(b'd', which as u8, 0, &[]);
        if DIRECTORY.get() {
            append(b'D', NO_FILE, 0, &[]);
        }
    }
    code
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: what SQLite asked for, with a buffer of that length.
    unsafe {
        let (which, own) = of(file);
        let code = own.xWrite.unwrap()(file, from, amount, offset);
        if code == ffi::SQLITE_OK {
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount as usize);
            append(b'w', which, offset as u64, bytes);
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: what SQLite asked for.
    unsafe {
        let (which, own) = of(file);
        let code = own.xTruncate.unwrap()(file, size);
        if code == ffi::SQLITE_OK {
            append(b't', which, size as u64, &[]);
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = u64::from(std::process::id()) << 32 | NUMBER.fetch_add(1, Ordering::Relaxed);
    // SAFETY: what SQLite asked for.
    unsafe {
        let (which, own) = of(file);
        append(b'b', which, number, &[]);
        DIRECTORY.set(false);
        let code = own.xSync.unwrap()(file, flags);
        if code == ffi::SQLITE_OK {
            append(b's', which, number, &[]);
            if DIRECTORY.get() {
                append(b'D', NO_FILE, 0, &[]);
            }
        }
        code
    }
}

/// Numbers that look random, the same for the same seed.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }
}

/// A disk, as the events up to some moment have made it.
pub(super) struct Disk {
    files: [OnDisk; 3],
    passed: usize,
    /// A disk that says it has synced, and has not.
    lies: bool,
}

#[derive(Default)]
struct OnDisk {
    now: Option<Content>,
    /// What stands under the name after a power cut, if that is another than now.
    before: Option<Before>,
}

enum Before {
    Nothing,
    Other(Vec<u8>),
}

#[derive(Default)]
struct Content {
    synced: Vec<u8>,
    /// With their place among the events.
    since: Vec<(usize, Change)>,
    began: Vec<(u64, usize)>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    /// The parts in which it may reach the disk.
    fn sectors(&self) -> Vec<(usize, &[u8])> {
        let Change::Write(offset, bytes) = self else { return Vec::new() };
        let (mut at, mut rest, mut sectors) = (*offset, &bytes[..], Vec::new());
        while !rest.is_empty() {
            let (sector, others) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            sectors.push((at, sector));
            (at, rest) = (at + sector.len(), others);
        }
        sectors
    }

    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => put(content, *offset, bytes),
            Change::Truncate(size) => content.resize(*size, 0),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    /// With the database as it is already, if there is one.
    pub(super) fn new(database: Option<Vec<u8>>, lies: bool) -> Disk {
        let now = database.map(|synced| Content { synced, ..Content::default() });
        Disk { files: [OnDisk { now, before: None }, OnDisk::default(), OnDisk::default()], passed: 0, lies }
    }

    /// Goes on to the moment before the event of that number.
    pub(super) fn go_to(&mut self, events: &[Event], cut: usize) {
        for (at, event) in events.iter().enumerate().take(cut).skip(self.passed) {
            match event {
                Event::Made(file) => self.files[*file].make(),
                Event::Deleted(file) => self.files[*file].delete(),
                Event::Wrote(file, offset, bytes) => self.change(*file, at, Change::Write(*offset, bytes.clone())),
                Event::Truncated(file, size) => self.change(*file, at, Change::Truncate(*size)),
                Event::SyncBegan(file, number) => {
                    self.files[*file].now.iter_mut().for_each(|now| now.began.push((*number, at)));
                }
                Event::Synced(file, number) if !self.lies => self.files[*file].sync(*number),
                Event::DirectorySynced if !self.lies => self.files.iter_mut().for_each(|file| file.before = None),
                Event::Synced(..) | Event::DirectorySynced | Event::Said(_) => {}
            }
        }
        self.passed = cut;
    }

    fn change(&mut self, file: usize, at: usize, change: Change) {
        self.files[file].make();
        let Some(now) = &mut self.files[file].now else { return };
        now.since.push((at, change));
        // Even a liar writes in the end what it has no room for.
        if self.lies && now.since.len() > MOST_CACHED {
            let (_, oldest) = now.since.remove(0);
            oldest.apply(&mut now.synced);
        }
    }

    /// What is left of it if the power is cut now, as files beside the database at `db`.
    pub(super) fn cut(&self, db: &Path, numbers: &mut Numbers) {
        for (file, end) in self.files.iter().zip(ENDS) {
            let Some(content) = file.cut(numbers) else { continue };
            let mut path = db.as_os_str().to_owned();
            path.push(end);
            std::fs::write(path, content).unwrap();
        }
    }
}

impl OnDisk {
    fn make(&mut self) {
        if self.now.is_none() {
            self.now = Some(Content::default());
            self.before.get_or_insert(Before::Nothing);
        }
    }

    fn delete(&mut self) {
        if let Some(now) = self.now.take() {
            self.before.get_or_insert(Before::Other(now.synced));
        }
    }

    fn sync(&mut self, number: u64) {
        let Some(now) = &mut self.now else { return };
        let Some(began) = now.began.iter().position(|(one, _)| *one == number) else { return };
        let (_, place) = now.began.swap_remove(began);
        let since = std::mem::take(&mut now.since);
        let (covered, rest) = since.into_iter().partition(|(at, _)| *at < place);
        now.since = rest;
        let covered: Vec<(usize, Change)> = covered;
        covered.iter().for_each(|(_, change)| change.apply(&mut now.synced));
    }

    fn cut(&self, numbers: &mut Numbers) -> Option<Vec<u8>> {
        match &self.before {
            Some(Before::Nothing) if numbers.below(2) == 0 => None,
            Some(Before::Other(content)) if numbers.below(2) == 0 => Some(content.clone()),
            _ => self.now.as_ref().map(|now| now.cut(numbers)),
        }
    }
}

impl Content {
    fn cut(&self, numbers: &mut Numbers) -> Vec<u8> {
        let mut content = self.synced.clone();
        // Nothing of what wasn't synced; all up to some write; some writes; some sectors; some up to a write, all sectors of
        // the rest but some.
        let (way, end) = (numbers.below(5), numbers.below(self.since.len() + 1));
        for (at, (_, change)) in self.since.iter().enumerate() {
            match way {
                0 => break,
                1 if at >= end => break,
                2 if numbers.below(2) == 0 => {}
                3 | 4 if way == 3 || at >= end => {
                    for (offset, sector) in change.sectors() {
                        if numbers.below(3) > 0 {
                            put(&mut content, offset, sector);
                        }
                    }
                    if let (Change::Truncate(size), 0) = (change, numbers.below(2)) {
                        content.resize(*size, 0);
                    }
                }
                _ => change.apply(&mut content),
            }
        }
        content
    }
}
