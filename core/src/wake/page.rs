//! The shared page: 4096 bytes, in words of 32 bits in the machine's own order.
//!
//! | words | hold |
//! | --- | --- |
//! | 0 | [`MAGIC`], the version of this layout; 0 in a page that nobody has used yet |
//! | 1 | [`ANY`], moved on with every topic's word while somebody sleeps on it |
//! | 2 | the doctor's word, by which it measures a wake |
//! | 3 to 15 | nothing yet |
//! | 16 to 511 | sequence words, one for each hash of a topic |
//! | 512 to 1023 | how many sleep on the word 512 before |
//!
//! The file is made whole (real zeros, so that no write to the mapping can find the disk full, and on the disk before
//! it has its name, so that a power cut leaves no short one), then linked into place; whoever comes second takes the
//! first one's. It is never truncated: a process that touches a mapped page without a file behind it is killed by SIGBUS.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use crate::fault;

const BYTES: usize = 4096;
/// How many sequence words there are, and from where on the sleepers are counted.
pub(super) const WORDS: usize = 512;
/// The words before this one are no topic's.
pub(super) const FIRST_TOPIC: usize = 16;
/// The word of those who wait for more topics than a process can sleep on at once.
pub(super) const ANY: u16 = 1;
/// `PDW1`: the version of the layout and of the topics' hash.
const MAGIC: u32 = u32::from_be_bytes(*b"PDW1");

/// A mapping of the page, for as long as anyone uses it.
pub(super) struct Page {
    map: MmapRaw,
    /// Keeps the inode from being used again, so that comparing it means something.
    file: File,
}

impl Page {
    /// Maps the page at `path`, which is made if it is missing. An error where it can't be used.
    pub(super) fn open(path: &Path) -> Result<Page> {
        let file = match options().open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                create(path)?;
                options().open(path)?
            }
            opened => opened?,
        };
        let found = file.metadata()?;
        if !found.is_file() || found.len() < BYTES as u64 {
            return Err(Error::new(ErrorKind::InvalidData, "not a wake page"));
        }
        let map = MmapOptions::new().len(BYTES).map_raw(&file)?;
        let page = Page { map, file };
        match page.words()[0].compare_exchange(0, MAGIC, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(MAGIC) => Ok(page),
            Err(_) => Err(Error::new(ErrorKind::InvalidData, "another version's wake page")),
        }
    }

    fn words(&self) -> &[AtomicU32; 2 * WORDS] {
        // SAFETY: the mapping is 4096 bytes long, page-aligned, readable and writable, and lives as long as `self`.
        // Other processes change it only through atomics of the same size, as does this one.
        unsafe { &*self.map.as_mut_ptr().cast::<[AtomicU32; 2 * WORDS]>() }
    }

    pub(super) fn word(&self, index: u16) -> &AtomicU32 {
        &self.words()[usize::from(index) % WORDS]
    }

    fn count(&self, index: u16) -> &AtomicU32 {
        &self.words()[usize::from(index) % WORDS + WORDS]
    }

    pub(super) fn load(&self, index: u16) -> u32 {
        self.word(index).load(Ordering::SeqCst)
    }

    /// Moves the word on; how many sleep on it.
    pub(super) fn advance(&self, index: u16) -> u32 {
        fault::dawdle();
        self.word(index).fetch_add(1, Ordering::SeqCst);
        fault::dawdle();
        // With the fence in `sleeping`: either this finds the sleeper, or the sleeper's kernel finds the new value.
        fence(Ordering::SeqCst);
        self.sleepers(index)
    }

    pub(super) fn sleepers(&self, index: u16) -> u32 {
        self.count(index).load(Ordering::SeqCst)
    }

    /// The words that somebody sleeps on.
    pub(super) fn slept_on(&self) -> impl Iterator<Item = u16> {
        (0..WORDS as u16).filter(|index| self.sleepers(*index) > 0)
    }

    /// Whether any word is another than it was.
    pub(super) fn changed(&self, words: &[(u16, u32)]) -> bool {
        words.iter().any(|&(index, value)| self.load(index) != value)
    }

    /// Counts the caller as a sleeper on each of `words` until the guard is dropped.
    pub(super) fn count_in<'a>(&'a self, words: &'a [(u16, u32)]) -> Counted<'a> {
        for &(index, _) in words {
            self.count(index).fetch_add(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        fault::dawdle();
        Counted(self, words)
    }

    /// Whether `path` still names the mapped file.
    #[cfg(unix)]
    pub(super) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(mapped), Ok(named)) => (mapped.dev(), mapped.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    #[cfg(not(unix))]
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let _ = &self.file;
        path.exists()
    }
}

/// A sleeper that is counted.
pub(super) struct Counted<'a>(&'a Page, &'a [(u16, u32)]);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        for &(index, _) in self.1 {
            self.0.count(index).fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    crate::sys::filesystem::beside(&mut options);
    options
}

/// Makes the page under a name of its own and links it to `path`, unless another was quicker.
fn create(path: &Path) -> Result<()> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = path.as_os_str().to_owned();
    // The pid may be another namespace's too; the clock tells those apart.
    temporary.push(format!(".{}-{}-{number}.new", crate::sys::current_pid(), crate::sys::awake_ms()));
    let temporary = Path::new(&temporary);
    let made = (|| {
        let mut file = options().create_new(true).open(temporary)?;
        file.write_all(&[0; BYTES])?;
        file.sync_all()?;
        match std::fs::hard_link(temporary, path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    })();
    let _ = std::fs::remove_file(temporary);
    made
}
