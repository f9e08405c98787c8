//! Waking other processes without a daemon. A wake is a hint: only latency depends on it, never correctness.
//!
//! Every process maps one page, the database's `….wake`: 512 sequence words, and as many counts of sleepers.
//!
//! ```text
//! writer:   COMMIT;  word += 1;  if its sleepers > 0 { wake them all }
//! sleeper:  s = word;  read the database;  nothing there?  sleepers += 1;  sleep while word == s;  sleepers -= 1
//! ```
//!
//! The sample comes strictly before the read. No wake is lost between the two: the kernel compares the word once more
//! before it lets the sleeper sleep, and counts and words are changed in one total order, so a writer that finds no
//! sleepers has changed the word before that comparison.
//!
//! Who sleeps on more words than the kernel takes at once sleeps on one that moves with all of them (`page::ANY`).
//!
//! Two kinds of sleepers: a thread that waits itself ([`Wakes::sleep`]), and a task that gave way ([`Wakes::nap`]); for
//! all of those the process has one thread a database ([`reactor`]).
//!
//! What can still go wrong is made good by the sleeper's tick: a writer killed between COMMIT and wake, a writer that
//! doesn't know the page, a page that was replaced ([`Wakes::remap_if_replaced`]). A sleeper that is killed leaves its
//! count raised for ever; that costs writers a system call at each wake of that word, nothing else.
//!
//! Topics are hashed onto words, and two may share one: a sleeper then looks, finds nothing and sleeps on. The hash and
//! the page's layout are the same in every version that opens a page of this version; another version's page is left
//! alone, and the library polls.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod futex;
mod page;
mod poll;
pub(crate) mod reactor;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::fault;
use crate::interrupt;
use crate::sync::RwLock;
use page::{ANY, FIRST_TOPIC, Page, WORDS};
use reactor::{Nap, Reactor};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod futex {
    //! No shared futex is used on this platform: the library polls.
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    pub(super) const AVAILABLE: bool = false;
    pub(super) const AT_ONCE: usize = 1;

    pub(super) fn sleep(_words: &[(&AtomicU32, u32)], timeout: Duration) {
        std::thread::sleep(timeout);
    }

    pub(super) fn wake(_word: &AtomicU32) {}
}

/// Names one of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Topic(u16);

impl Topic {
    /// The doctor's, by which it measures how long a wake takes. No other topic has this word.
    pub(crate) const DOCTOR: Topic = Topic(2);

    /// The word for what `parts` name. The same in all versions and processes: FNV-1a of 64 bits, the parts separated
    /// by a byte that UTF-8 doesn't have.
    pub(crate) fn of(parts: &[&str]) -> Topic {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                eat(0xff);
            }
            part.bytes().for_each(&mut eat);
        }
        Topic((hash % (WORDS - FIRST_TOPIC) as u64) as u16 + FIRST_TOPIC as u16)
    }

    /// The word for one waiter's ticket.
    pub(crate) fn ticket(id: i64) -> Topic {
        Topic::of(&["ticket", &id.to_string()])
    }
}

/// The wake words of one open database.
pub(crate) struct Wakes {
    path: PathBuf,
    reactor: Arc<Reactor>,
    force_poll: bool,
    /// `None`: polling.
    page: RwLock<Option<Arc<Page>>>,
    /// When it was mapped, and how many milliseconds later it was looked whether it was replaced.
    opened: Instant,
    looked_ms: AtomicU64,
}

/// How often one who only wakes looks whether the page was replaced: about as often as a sleeper's first tick.
const LOOK_EVERY_MS: u64 = 250;

/// The values of some words at one moment. Taken before the database is read.
#[derive(Clone)]
pub(crate) struct Sample {
    page: Option<Arc<Page>>,
    /// Index and value.
    words: Arc<[(u16, u32)]>,
    /// How many times it was slept on. With polling each sleep is longer than the last, until something is found and
    /// a new sample taken; words need no such thing.
    quiet: u32,
}

impl Wakes {
    /// Maps the page at `path`, which is made if it is missing. With `force_poll` (`PORT_DADDY_WAKE=poll`), without a
    /// futex, or without a usable page: polling, which is never an error.
    pub(crate) fn open(path: &Path, force_poll: bool) -> Result<Wakes> {
        let force_poll = force_poll || !futex::AVAILABLE;
        let page = if force_poll { None } else { Page::open(path).ok().map(Arc::new) };
        let (page, opened, looked_ms) = (RwLock::new(page), Instant::now(), AtomicU64::new(0));
        Ok(Wakes { path: path.to_owned(), reactor: Reactor::of(path), force_poll, page, opened, looked_ms })
    }

    /// Remembers the words of `topics` as they are now.
    pub(crate) fn sample(&self, topics: &[Topic]) -> Sample {
        let page = self.page.read().clone();
        let mut words = Vec::new();
        if let Some(page) = &page {
            let mut indices: Vec<u16> = topics.iter().map(|topic| topic.0).collect();
            indices.sort_unstable();
            indices.dedup();
            words = indices.into_iter().map(|index| (index, page.load(index))).collect();
        }
        fault::dawdle();
        Sample { page, words: words.into(), quiet: 0 }
    }

    /// The same, for one who goes on polling at the pace of an older sample.
    pub(crate) fn sample_at_pace(&self, topics: &[Topic], older: &Sample) -> Sample {
        Sample { quiet: older.quiet, ..self.sample(topics) }
    }

    /// Whether a sample would be the same now: nobody has woken its words. Never while polling.
    pub(crate) fn is_unchanged(&self, sample: &Sample) -> bool {
        sample.page.as_ref().is_some_and(|page| !page.changed(&sample.words)) && !self.is_outdated(sample)
    }

    /// Tells those who sleep on `topic`. To be called after COMMIT. No system call when nobody sleeps.
    pub(crate) fn wake(&self, topic: Topic) {
        let Some(page) = self.page.read().clone() else { return };
        if page.advance(topic.0) > 0 {
            fault::dawdle();
            futex::wake(page.word(topic.0));
        }
        if page.sleepers(ANY) > 0 {
            page.advance(ANY);
            futex::wake(page.word(ANY));
        }
    }

    /// Tells everyone who sleeps on anything, in whatever process: all that they have read may have changed.
    pub(crate) fn wake_all(&self) {
        let Some(page) = self.page.read().clone() else { return };
        for index in 0..WORDS as u16 {
            // Also words that nobody sleeps on: somebody may have sampled one, and be reading now.
            if (index == ANY || usize::from(index) >= FIRST_TOPIC) && page.advance(index) > 0 {
                futex::wake(page.word(index));
            }
        }
    }

    /// Sleeps until a word of the sample has changed, at most `timeout`. Whether one has. With polling it sleeps for a
    /// step at most and returns false: look each time, and keep the sample while nothing is there.
    ///
    /// # Errors
    /// `CANCELLED` if the thread's check has given up.
    pub(crate) fn sleep(&self, sample: &mut Sample, timeout: Duration) -> Result<bool> {
        if self.is_outdated(sample) {
            return Ok(true);
        }
        let mut left = timeout.min(sample.step());
        let until = Instant::now() + left;
        loop {
            let piece = interrupt::pause(left)?;
            match &sample.page {
                Some(page) if !sample.words.is_empty() => {
                    sleep_on(&[(page, &sample.words)], None, piece);
                    if page.changed(&sample.words) {
                        return Ok(true);
                    }
                }
                _ => std::thread::sleep(piece),
            }
            left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// The waiting thread of this database.
    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    /// As [`sleep`](Self::sleep), without a thread: the database's waiting thread sleeps for this task.
    pub(crate) async fn nap(&self, sample: &mut Sample, timeout: Duration) -> bool {
        if self.is_outdated(sample) {
            return true;
        }
        let until = Instant::now() + timeout.min(sample.step());
        Nap::new(Arc::clone(&self.reactor), sample.page.clone(), Arc::clone(&sample.words), until).await
    }

    /// Every lock that another thread could have at a fork.
    #[cfg(test)]
    pub(crate) fn hold_all(&self) -> impl Sized + '_ {
        (self.page.write(), self.reactor.hold_all())
    }

    /// Whether nobody wakes the sample's words any more, because their page isn't ours now.
    fn is_outdated(&self, sample: &Sample) -> bool {
        let Some(page) = &sample.page else { return false };
        !self.page.read().as_ref().is_some_and(|now| Arc::ptr_eq(now, page))
    }

    /// Whether there are no words, and every sleep is a step of polling.
    pub(crate) fn is_polling(&self) -> bool {
        self.page.read().is_none()
    }

    /// Looks from time to time whether the page was replaced.
    pub(crate) fn remap_if_replaced_and_due(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now - self.looked_ms.load(Ordering::Relaxed).min(now) >= LOOK_EVERY_MS {
            self.looked_ms.store(now, Ordering::Relaxed);
            let _ = self.remap_if_replaced();
        }
    }

    /// Maps the page anew if the file at the path is another than the mapped one, or missing (someone deleted or
    /// restored it), or has become usable. Whether it did: then take a new sample, and look. To be called at a tick.
    pub(crate) fn remap_if_replaced(&self) -> Result<bool> {
        if self.force_poll || self.page.read().as_ref().is_some_and(|page| page.is_at(&self.path)) {
            return Ok(false);
        }
        let mut page = self.page.write();
        if page.as_ref().is_some_and(|page| page.is_at(&self.path)) {
            return Ok(true);
        }
        let was_polling = page.is_none();
        let old = std::mem::replace(&mut *page, Page::open(&self.path).ok().map(Arc::new));
        if let Some(old) = old {
            // Whoever sleeps on the old one, in any process, finds out that it isn't woken there any more.
            for index in old.slept_on() {
                old.advance(index);
                futex::wake(old.word(index));
            }
        }
        Ok(!(was_polling && page.is_none()))
    }
}

impl Sample {
    /// How long one sleep may be: with words as long as one likes, with polling one step, longer each time.
    fn step(&mut self) -> Duration {
        if self.page.is_some() {
            return Duration::MAX;
        }
        let step = poll::step(self.quiet);
        self.quiet = self.quiet.saturating_add(1);
        step
    }
}

/// Words of a page, by index, and the values they had.
type Words<'a> = (&'a Arc<Page>, &'a [(u16, u32)]);

/// Sleeps until one of the words has changed, or the bell, at most `timeout`; to the moment of asking in a thread that has
/// a check.
fn sleep_on(pages: &[Words<'_>], bell: Option<(&AtomicU32, u32)>, timeout: Duration) {
    let words = pages.iter().map(|(_, words)| words.len()).sum::<usize>();
    if words + usize::from(bell.is_some()) <= futex::AT_ONCE {
        let _counted: Vec<_> = pages.iter().map(|(page, words)| page.count_in(words)).collect();
        let each =
            pages.iter().flat_map(|(page, words)| words.iter().map(|(index, value)| (page.word(*index), *value)));
        futex::sleep(&each.chain(bell).collect::<Vec<_>>(), timeout);
        return;
    }
    let deadline = Instant::now() + timeout;
    loop {
        let any: Vec<[(u16, u32); 1]> = pages.iter().map(|(page, _)| [(ANY, page.load(ANY))]).collect();
        let _counted: Vec<_> = pages.iter().zip(&any).map(|((page, _), any)| page.count_in(any)).collect();
        // After the count and the sample: whoever changes a word from here on moves `ANY`, too.
        let changed = pages.iter().any(|(page, words)| page.changed(words));
        let left = deadline.saturating_duration_since(Instant::now());
        let rung = bell.is_some_and(|(bell, value)| bell.load(Ordering::SeqCst) != value);
        let asks = interrupt::due().is_some_and(|due| due <= Instant::now());
        if changed || rung || asks || left.is_zero() {
            return;
        }
        let each = pages.iter().zip(&any).map(|((page, _), [(index, value)])| (page.word(*index), *value));
        futex::sleep(&each.chain(bell).collect::<Vec<_>>(), left);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::{Second, argument, barrier, say};

    const LONG: Duration = Duration::from_secs(5);

    fn at() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.wake");
        (dir, path)
    }

    #[test]
    fn topics_are_the_same_for_ever() {
        // Other versions of this library, and other processes, rely on these numbers.
        assert_eq!(Topic::of(&["lock", "db-migrations"]), Topic(353));
        assert_eq!(Topic::ticket(42), Topic(84));
        assert_ne!(Topic::of(&["ab", "c"]), Topic::of(&["a", "bc"]));
        for n in 0..5000 {
            let topic = Topic::ticket(n);
            assert!((FIRST_TOPIC..WORDS).contains(&usize::from(topic.0)));
        }
    }

    #[test]
    fn a_word_changed_after_the_sample_ends_the_sleep_at_once() {
        let (_dir, path) = at();
        let (one, other) = (Wakes::open(&path, false).unwrap(), Wakes::open(&path, false).unwrap());
        assert!(!one.is_polling());
        let topics = [Topic::of(&["a"]), Topic::of(&["b"]), Topic::of(&["b"])];
        for chosen in [&topics[..1], &topics[..]] {
            let mut sample = one.sample(chosen);
            assert!(!one.sleep(&mut sample, Duration::from_millis(1)).unwrap());
            other.wake(Topic::of(&["c"]));
            assert!(!one.sleep(&mut sample, Duration::from_millis(1)).unwrap(), "another's word");
            other.wake(chosen[chosen.len() - 1]);
            assert!(one.sleep(&mut sample, LONG).unwrap());
        }
    }

    #[test]
    fn a_sleeper_on_several_words_is_woken_by_any() {
        let (_dir, path) = at();
        let (one, other) = (Wakes::open(&path, false).unwrap(), Wakes::open(&path, false).unwrap());
        let few: Vec<Topic> = (0..5).map(Topic::ticket).collect();
        // More than the kernel waits for at once.
        let many: Vec<Topic> = (16..512).map(Topic).collect();
        for (topics, counted) in [(few, None), (many, Some(ANY))] {
            let mut sample = one.sample(&topics);
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| {
                    let slept = Instant::now();
                    one.sleep(&mut sample, LONG).unwrap() && slept.elapsed() < LONG
                });
                let last = topics[topics.len() - 1];
                let sleepers = || other.page.read().as_ref().unwrap().sleepers(counted.unwrap_or(last.0));
                while sleepers() == 0 {
                    std::thread::yield_now();
                }
                other.wake(last);
                assert!(sleeper.join().unwrap());
                assert_eq!(sleepers(), 0);
            });
        }
    }

    #[test]
    fn no_wake_is_lost_in_a_ping_pong() {
        for extra in [0, 3, 300] {
            let (_dir, path) = at();
            let (ping, pong) = (Topic(100), Topic(200));
            // Several topics go through futex_waitv, very many through the word of all.
            let with = |topic: Topic| -> Vec<Topic> { (0..extra).map(|n| Topic(20 + n)).chain([topic]).collect() };
            let player = |hear: Topic, tell: Topic, begins: bool| {
                let wakes = Wakes::open(&path, false).unwrap();
                let topics = with(hear);
                let value = |sample: &Sample| sample.words.iter().find(|(word, _)| *word == hear.0).unwrap().1;
                for round in 0..10_000 {
                    if begins {
                        wakes.wake(tell);
                    }
                    loop {
                        let mut sample = wakes.sample(&topics);
                        if value(&sample) > round {
                            break;
                        }
                        let slept = Instant::now();
                        let changed = wakes.sleep(&mut sample, LONG).unwrap();
                        assert!(changed && slept.elapsed() < LONG, "a wake was lost in round {round}");
                    }
                    if !begins {
                        wakes.wake(tell);
                    }
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| player(ping, pong, false));
                player(pong, ping, true);
            });
        }
    }

    #[test]
    fn child_answers_a_wake() {
        let Some(path) = argument() else { return };
        let wakes = Wakes::open(Path::new(&path), false).unwrap();
        let mut sample = wakes.sample(&[Topic::of(&["ask"])]);
        say("ready");
        assert!(wakes.sleep(&mut sample, LONG).unwrap());
        wakes.wake(Topic::of(&["answer"]));
        barrier();
    }

    #[test]
    fn two_processes_wake_each_other() {
        let (_dir, path) = at();
        let child = Second::start("wake::tests::child_answers_a_wake", path.to_str().unwrap());
        let wakes = Wakes::open(&path, false).unwrap();
        let mut answer = wakes.sample(&[Topic::of(&["answer"])]);
        wakes.wake(Topic::of(&["ask"]));
        assert!(wakes.sleep(&mut answer, LONG).unwrap());
        drop(child);
    }

    #[test]
    fn a_killed_sleeper_only_leaves_its_count() {
        let (_dir, path) = at();
        let wakes = Wakes::open(&path, false).unwrap();
        let ask = Topic::of(&["ask"]);
        let mut child = Second::start("wake::tests::child_answers_a_wake", path.to_str().unwrap());
        while wakes.page.read().as_ref().unwrap().sleepers(ask.0) == 0 {
            std::thread::yield_now();
        }
        child.kill();
        assert_eq!(wakes.page.read().as_ref().unwrap().sleepers(ask.0), 1);
        let mut sample = wakes.sample(&[ask]);
        wakes.wake(ask);
        assert!(wakes.sleep(&mut sample, LONG).unwrap());
    }

    #[test]
    fn without_words_it_polls() {
        let (_dir, path) = at();
        let wakes = Wakes::open(&path, true).unwrap();
        assert!(wakes.is_polling() && !path.exists());
        wakes.wake(Topic(20));
        let mut sample = wakes.sample(&[Topic(20)]);
        let start = Instant::now();
        assert!(!wakes.sleep(&mut sample, LONG).unwrap());
        assert!(start.elapsed() < LONG, "a step, not the whole time");
        assert_eq!((sample.quiet, wakes.sample(&[Topic(20)]).quiet), (1, 0));
        assert!(!wakes.remap_if_replaced().unwrap());
    }

    #[test]
    fn a_page_that_is_short_or_another_version_s_is_not_used() {
        let (_dir, path) = at();
        std::fs::write(&path, [0; 100]).unwrap();
        let wakes = Wakes::open(&path, false).unwrap();
        assert!(wakes.is_polling());
        assert!(!wakes.remap_if_replaced().unwrap());
        std::fs::write(&path, [7; 4096]).unwrap();
        assert!(Wakes::open(&path, false).unwrap().is_polling());
        assert_eq!(std::fs::read(&path).unwrap(), [7; 4096], "left as it was");
        std::fs::remove_file(&path).unwrap();
        assert!(wakes.remap_if_replaced().unwrap(), "polling ends when there is a page");
        assert!(!wakes.is_polling());
    }

    #[test]
    fn a_replaced_page_is_mapped_anew() {
        let (_dir, path) = at();
        let wakes = Wakes::open(&path, false).unwrap();
        assert!(!wakes.remap_if_replaced().unwrap());
        let mut old = wakes.sample(&[Topic(20)]);
        std::fs::remove_file(&path).unwrap();
        let other = Wakes::open(&path, false).unwrap();
        assert!(wakes.remap_if_replaced().unwrap());
        assert!(wakes.sleep(&mut old, LONG).unwrap(), "a sample of the old page is no reason to sleep");
        let mut sample = wakes.sample(&[Topic(20)]);
        other.wake(Topic(20));
        assert!(wakes.sleep(&mut sample, LONG).unwrap());
    }

    #[test]
    fn many_who_open_at_once_share_one_page() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let (dir, path) = at();
        let all: Vec<Wakes> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| Wakes::open(&path, false).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut samples: Vec<Sample> = all.iter().map(|wakes| wakes.sample(&[Topic(20)])).collect();
        all[0].wake(Topic(20));
        assert!(all.iter().zip(&mut samples).all(|(wakes, sample)| wakes.sleep(sample, LONG).unwrap()));
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (4096, 0o600));
        assert!(found.blocks() * 512 >= 4096, "not sparse");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
