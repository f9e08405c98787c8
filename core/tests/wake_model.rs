//! The wake protocol as a model, checked in every order of its steps: no wake-up is lost.
//!
//! Each action is one access to what processes share: a commit, a load or a change of a word, a call of the kernel. Beside
//! it stands the function that does it in `core/src`. What a model proves of them holds as long as they do the same in the
//! same order; `runner::wakes` has the library itself play without a tick. Accesses happen in one total order, as those of
//! the page do, which are all `SeqCst`.
//!
//! The property: where nobody can take another step, every wait has read everything that was committed, unless it was
//! cancelled. Where a writer dies between COMMIT and wake, or the page is replaced, the same, but each wait may tick twice.
//! For each rule of the order there is a protocol that breaks it, and must be found out.
#![allow(missing_docs, clippy::print_stderr, reason = "tests, which say how much they have looked at")]

use stateright::{Checker, HasDiscoveries, Model, Property};

/// `page::ANY`, moved on with every word while somebody sleeps on it.
const ANY: usize = 0;
/// The reactor's bell: a word of the process's own.
const BELL: usize = 3;
/// How often a wait may tick once nobody can take another step.
const TICKS: u8 = 2;

/// A rule of the order that a protocol doesn't keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The sample is taken after the read.
    SampleAfterRead,
    /// A wait that goes on from another has the sample from after that one's read.
    RestAfterRead,
    /// A call says that there is nothing, though it has not looked.
    NothingWithoutRead,
    /// The word is moved on, and its sleepers are woken, before the COMMIT.
    WakeBeforeCommit,
    /// The sleepers are woken before the word is moved on.
    WakeBeforeAdvance,
    /// The sleepers are counted before the word is moved on.
    LookBeforeAdvance,
    /// The word is loaded and stored, not added to.
    PlainStore,
    /// Nobody is woken.
    NoWake,
    /// A sleeper isn't counted.
    NotCounted,
    /// A sleeper is counted after the kernel has compared the word.
    CountedAfterCompare,
    /// The kernel doesn't compare the word with the sample.
    NoCompare,
    /// Who sleeps on `ANY` looks at its own words before it samples that one.
    AnyAfterLook,
    /// Who sleeps on `ANY` looks at its own words before it is counted.
    AnyCountedAfterLook,
    /// The word of those who sleep on very many isn't moved on.
    AnyForgotten,
    /// The waiting thread samples its bell after it has looked at what was left for it.
    BellAfterScan,
    /// The waiting thread sleeps on what its words are now, not on what they were before the tasks' reads.
    NapResampled,
    /// Who leaves something for the waiting thread doesn't ring.
    NoBell,
    /// Who leaves something rings first.
    BellBeforeLeave,
    /// Who cancels wakes first, and says so then.
    CancelAfterWake,
    /// A tick reads nothing where the file has changed.
    TickWithoutVersion,
    /// A tick doesn't look whether the page was replaced.
    TickWithoutRemap,
}

/// `page::Page`: words and counts of sleepers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Page {
    words: [u8; 4],
    counts: [u8; 4],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// What is committed, and can be read by the waits.
    rows: u8,
    /// Every commit: `PRAGMA data_version`.
    version: u8,
    pages: [Page; 2],
    /// The page that the path names.
    named: usize,
    cancelled: bool,
    threads: Vec<Thread>,
    /// What was left for the waiting thread, by task: `State::waits` and `State::ready`.
    left: Vec<Left>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Thread {
    Writer(Writer),
    Waiter(Waiter),
    /// A thread that begins a task, and ends when it gives way.
    Worker {
        task: usize,
        at: Begin,
        wait: Wait,
    },
    Reactor {
        at: React,
        bell: u8,
        sleep: Option<Sleep>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    /// What it does; the current one first.
    steps: Vec<Write>,
    /// How many more transactions after this one.
    more: u8,
    topic: usize,
    what: What,
    mapped: usize,
    /// The page that is being woken on.
    page: usize,
    counted: u8,
    loaded: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// A row for the waits of the model.
    Row,
    /// One for nobody: its topic has the same word.
    Other,
    /// `Cancel::cancel`.
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Write {
    Commit,
    Map,
    Advance,
    Load,
    Store,
    Count,
    Wake,
    AnyCount,
    AnyAdvance,
    AnyWake,
    Remap,
}

/// What a wait knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wait {
    topics: Vec<usize>,
    page: usize,
    /// `wake::Sample`
    sample: Vec<(usize, u8)>,
    seen: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    wait: Wait,
    at: At,
    sleep: Option<Sleep>,
    mapped: usize,
    /// Whether it sleeps on `ANY`, as who has too many words does.
    any: bool,
    registered: bool,
    version: Option<u8>,
    ticks: u8,
    /// How many of its calls may run out of time.
    timeouts: u8,
    /// What was committed when the present call began, and whether the call has read.
    from: u8,
    has_read: bool,
    timed_out: bool,
    lied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Sample(usize),
    Register,
    Read,
    LateSample(usize),
    Again,
    Check,
    Sleep,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Begin {
    Sample(usize),
    Read,
    Ring,
    Leave,
    Bell,
    BellWake,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum React {
    Bell,
    Take,
    Run(usize, usize),
    Scan,
    Late,
    Sleep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Left {
    Nothing,
    Waits(Wait),
    Ready(Wait),
}

/// `sleep_on` and `futex::sleep`: words, the values they had, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sleep {
    page: usize,
    words: Vec<(usize, u8)>,
    /// What the kernel is asked to sleep on.
    slots: Vec<(usize, u8)>,
    any: bool,
    at: Doze,
    queued: Vec<usize>,
    woken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doze {
    AnyLoad,
    Count(usize),
    AnyLook(usize),
    Look,
    Queue(usize),
    LateCount(usize),
    Asleep,
    Uncount(usize, bool),
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Step(usize),
    /// The writer does not look whether the page was replaced: it has just done so.
    StepPast(usize),
    Kill(usize),
    Replace,
    /// The time of the call runs out.
    TimeOut(usize),
    Tick(usize),
}

#[derive(Clone, Debug, Default)]
struct Protocol {
    broken: Option<Broken>,
    /// Writers: how many transactions, on which word, what for.
    writers: Vec<(u8, usize, Option<What>)>,
    /// Waits of threads: their words, whether through `ANY`, how many calls run out of time.
    waiters: Vec<(Vec<usize>, bool, u8)>,
    /// Waits of tasks: their words.
    tasks: Vec<Vec<usize>>,
    kills: bool,
    replaces: bool,
    /// The writers have opened the new page, and begin once the waits have ticked.
    settles: bool,
}

impl Protocol {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// `Db::write`, `Wakes::wake`
    fn steps(&self, what: What) -> Vec<Write> {
        use Write::{Advance, AnyAdvance, AnyCount, AnyWake, Commit, Count, Load, Map, Remap, Store, Wake};
        let commit = [Commit];
        let mut word = match self.broken {
            Some(Broken::WakeBeforeAdvance) => vec![Map, Count, Wake, Advance],
            Some(Broken::LookBeforeAdvance) => vec![Map, Count, Advance, Wake],
            Some(Broken::PlainStore) => vec![Map, Load, Store, Count, Wake],
            Some(Broken::NoWake) => vec![Map, Advance],
            _ => vec![Map, Advance, Count, Wake],
        };
        if !self.is(Broken::AnyForgotten) && self.waiters.iter().any(|(_, any, _)| *any) {
            word.extend([AnyCount, AnyAdvance, AnyWake]);
        }
        let early = if what == What::Cancel { Broken::CancelAfterWake } else { Broken::WakeBeforeCommit };
        let mut steps = if self.is(early) { [&word[..], &commit].concat() } else { [&commit, &word[..]].concat() };
        if self.replaces {
            steps.push(Remap);
        }
        steps
    }

    fn sleep(&self, page: usize, words: &[(usize, u8)], any: bool) -> Option<Sleep> {
        let at = match any {
            true if self.is(Broken::AnyAfterLook) || self.is(Broken::AnyCountedAfterLook) => Doze::AnyLook(0),
            true => Doze::AnyLoad,
            false if self.is(Broken::CountedAfterCompare) => Doze::Look,
            false => Doze::Count(0),
        };
        let slots = if any { Vec::new() } else { words.to_vec() };
        let (words, queued) = (words.to_vec(), Vec::new());
        Some(Sleep { page, words, slots, any, at, queued, woken: false })
    }
}

impl World {
    /// `futex::wake`
    fn wake(&mut self, page: usize, word: usize) {
        for thread in &mut self.threads {
            let (Thread::Waiter(Waiter { sleep, .. }) | Thread::Reactor { sleep, .. }) = thread else { continue };
            if let Some(sleep) = sleep.as_mut().filter(|sleep| sleep.page == page) {
                sleep.woken |= sleep.queued.contains(&word);
            }
        }
    }

    fn changed(&self, page: usize, words: &[(usize, u8)]) -> bool {
        words.iter().any(|&(word, value)| self.pages[page].words[word] != value)
    }

    /// `Wakes::remap_if_replaced`
    fn remap(&mut self, mapped: &mut usize) -> bool {
        let old = *mapped;
        *mapped = self.named;
        if old == self.named {
            return false;
        }
        for word in 0..BELL {
            if self.pages[old].counts[word] > 0 {
                self.pages[old].words[word] += 1;
                self.wake(old, word);
            }
        }
        true
    }

    fn take(&mut self, thread: usize) -> Thread {
        let over = Wait { topics: Vec::new(), page: 0, sample: Vec::new(), seen: 0 };
        std::mem::replace(&mut self.threads[thread], Thread::Worker { task: 0, at: Begin::Over, wait: over })
    }
}

impl Wait {
    /// `Wakes::sample`, a word at a time; whether it was the last.
    fn sample(&mut self, world: &World, page: usize, index: usize) -> bool {
        if index == 0 {
            self.sample.clear();
            self.page = page;
        }
        let word = self.topics[index];
        self.sample.push((word, world.pages[self.page].words[word]));
        index + 1 == self.topics.len()
    }

    /// `Waiting::read`; whether it found something.
    fn read(&mut self, world: &World) -> bool {
        std::mem::replace(&mut self.seen, world.rows) < world.rows
    }
}

impl Sleep {
    /// One step; none where it sleeps.
    fn step(&mut self, world: &mut World, protocol: &Protocol) -> Option<()> {
        let page = self.page;
        // The bell has no count: whoever rings wakes always.
        let counted: Vec<usize> = self.slots.iter().map(|(word, _)| *word).filter(|word| *word != BELL).collect();
        self.at = match self.at {
            // `sleep_on`, of who has more words than the kernel takes
            Doze::AnyLoad => {
                let bell = self.words.iter().copied().filter(|(word, _)| *word == BELL);
                self.slots = [(ANY, world.pages[page].words[ANY])].into_iter().chain(bell).collect();
                Doze::Count(0)
            }
            // `Page::count_in`
            Doze::Count(index) => {
                if let Some(word) = counted.get(index).filter(|_| !protocol.is(Broken::NotCounted)) {
                    world.pages[page].counts[*word] += 1;
                }
                match (index + 1 < counted.len(), self.any) {
                    (true, _) => Doze::Count(index + 1),
                    (false, true) if protocol.is(Broken::AnyAfterLook) => Doze::Queue(0),
                    (false, true) if protocol.is(Broken::AnyCountedAfterLook) => Doze::Queue(0),
                    (false, true) => Doze::AnyLook(0),
                    (false, false) => Doze::Look,
                }
            }
            Doze::AnyLook(index) if index == 0 && self.slots.is_empty() && protocol.is(Broken::AnyCountedAfterLook) => {
                self.slots = vec![(ANY, world.pages[page].words[ANY])];
                Doze::AnyLook(0)
            }
            Doze::AnyLook(index) => {
                let changed = world.changed(page, &self.words[index..=index]);
                let late = protocol.is(Broken::AnyAfterLook) || protocol.is(Broken::AnyCountedAfterLook);
                match (changed, index + 1 < self.words.len()) {
                    (true, _) if late => Doze::Over,
                    (true, _) => Doze::Uncount(0, false),
                    (false, true) => Doze::AnyLook(index + 1),
                    (false, false) if protocol.is(Broken::AnyAfterLook) => Doze::AnyLoad,
                    (false, false) if late => Doze::Count(0),
                    (false, false) => Doze::Look,
                }
            }
            // `futex::sleep_with`: the loop's beginning
            Doze::Look => match world.changed(page, &self.slots) && !protocol.is(Broken::NoCompare) {
                true => Doze::Uncount(0, self.any),
                false => Doze::Queue(0),
            },
            // futex_wait and futex_waitv: the kernel compares each word as it queues the sleeper there
            Doze::Queue(index) => {
                let slot = &self.slots[index..=index];
                if world.changed(page, slot) && !protocol.is(Broken::NoCompare) {
                    self.queued.clear();
                    self.woken = false;
                    Doze::Look
                } else {
                    self.queued.push(slot[0].0);
                    match index + 1 < self.slots.len() {
                        true => Doze::Queue(index + 1),
                        false if protocol.is(Broken::CountedAfterCompare) => Doze::LateCount(0),
                        false => Doze::Asleep,
                    }
                }
            }
            Doze::LateCount(index) => {
                world.pages[page].counts[counted[index]] += 1;
                if index + 1 < counted.len() { Doze::LateCount(index + 1) } else { Doze::Asleep }
            }
            Doze::Asleep => {
                if !self.woken {
                    return None;
                }
                self.queued.clear();
                self.woken = false;
                if protocol.is(Broken::NoCompare) { Doze::Uncount(0, false) } else { Doze::Look }
            }
            // Dropping `Counted`
            Doze::Uncount(index, again) => {
                if let Some(word) = counted.get(index) {
                    let count = &mut world.pages[page].counts[*word];
                    *count = count.saturating_sub(1);
                }
                match (index + 1 < counted.len(), again) {
                    (true, _) => Doze::Uncount(index + 1, again),
                    (false, true) if protocol.is(Broken::AnyAfterLook) => Doze::AnyLook(0),
                    (false, true) => Doze::AnyLoad,
                    (false, false) => Doze::Over,
                }
            }
            Doze::Over => return None,
        };
        Some(())
    }

    /// The time of the sleep is over.
    fn end(&mut self) {
        self.queued.clear();
        self.at = Doze::Uncount(0, false);
    }

    fn is_asleep(&self) -> bool {
        self.at == Doze::Asleep && !self.woken
    }
}

impl Writer {
    fn step(&mut self, world: &mut World, protocol: &Protocol, looks: bool) -> Option<()> {
        let has_ticked = |thread: &Thread| !matches!(thread, Thread::Waiter(waiter) if waiter.ticks == TICKS);
        if self.steps.is_empty() || protocol.settles && !world.threads.iter().all(has_ticked) {
            return None;
        }
        let step = self.steps.remove(0);
        let (page, word) = (self.page, self.topic);
        match step {
            // `Db::try_write`; `Cancel::cancel` stores its flag
            Write::Commit => match self.what {
                What::Cancel => world.cancelled = true,
                What::Row => (world.rows, world.version) = (world.rows + 1, world.version + 1),
                What::Other => world.version += 1,
            },
            // `Wakes::wake` takes the page that is mapped now. `Cancel::cancel` wakes those who are in its list.
            Write::Map => {
                self.page = self.mapped;
                let is_listed = |thread: &Thread| matches!(thread, Thread::Waiter(waiter) if waiter.registered);
                if self.what == What::Cancel && !world.threads.iter().any(is_listed) {
                    self.steps.retain(|step| *step == Write::Commit);
                }
            }
            // `Page::advance`
            Write::Advance => world.pages[page].words[word] += 1,
            Write::Load => self.loaded = world.pages[page].words[word],
            Write::Store => world.pages[page].words[word] = self.loaded + 1,
            // `Page::advance`, after its fence
            Write::Count => self.counted = world.pages[page].counts[word],
            Write::Wake if self.counted > 0 => world.wake(page, word),
            Write::Wake => {}
            Write::AnyCount if world.pages[page].counts[ANY] > 0 => {}
            Write::AnyCount => self.steps.retain(|step| !matches!(step, Write::AnyAdvance | Write::AnyWake)),
            Write::AnyAdvance => world.pages[page].words[ANY] += 1,
            Write::AnyWake => world.wake(page, ANY),
            // `Wakes::remap_if_replaced_and_due`
            Write::Remap if looks => {
                world.remap(&mut self.mapped);
            }
            Write::Remap => {}
        }
        if self.steps.is_empty() && self.more > 0 {
            self.more -= 1;
            self.steps = protocol.steps(self.what);
        }
        Some(())
    }
}

impl Waiter {
    /// The loops of `Subscription::receive` and `Waiting::sleep`.
    fn step(&mut self, world: &mut World, protocol: &Protocol) -> Option<()> {
        self.at = match self.at {
            // `Coordinator::waiting`, `Waiting::resample`
            At::Sample(index) => match self.wait.sample(world, self.mapped, index) {
                false => At::Sample(index + 1),
                true if protocol.is(Broken::SampleAfterRead) => At::Check,
                true => At::Register,
            },
            // `Coordinator::wait_on` puts it into the lists of who is to be woken at a cancel
            At::Register => {
                self.registered = true;
                At::Read
            }
            At::Read => {
                self.has_read = true;
                let found = self.wait.read(world);
                match (found, self.timed_out) {
                    // `Waiting::rest`: the call has its answer, and the next one goes on from here
                    (true, _) => {
                        self.begin(world);
                        match protocol.broken {
                            Some(Broken::RestAfterRead) => At::LateSample(0),
                            Some(Broken::SampleAfterRead) => At::Sample(0),
                            _ => At::Again,
                        }
                    }
                    // Time was over, and it has looked.
                    (false, true) => self.says_nothing(world),
                    (false, false) if protocol.is(Broken::SampleAfterRead) => At::Sample(0),
                    (false, false) => At::Check,
                }
            }
            At::LateSample(index) => {
                let last = self.wait.sample(world, self.mapped, index);
                if last { At::Again } else { At::LateSample(index + 1) }
            }
            // `Coordinator::wait_again`, `Wakes::is_unchanged`
            At::Again => {
                let changed = self.mapped != self.wait.page || world.changed(self.wait.page, &self.wait.sample);
                (self.from, self.registered) = (world.rows, true);
                if changed { At::Sample(0) } else { At::Check }
            }
            // `Waiting::sleep`
            At::Check if world.cancelled => At::Cancelled,
            // `Wakes::is_outdated`
            At::Check if self.mapped != self.wait.page => At::Sample(0),
            At::Check => {
                self.sleep = protocol.sleep(self.wait.page, &self.wait.sample, self.any);
                At::Sleep
            }
            At::Sleep => {
                let sleep = self.sleep.as_mut()?;
                if sleep.at != Doze::Over {
                    return sleep.step(world, protocol);
                }
                self.sleep = None;
                match (self.timed_out, self.has_read || protocol.is(Broken::NothingWithoutRead)) {
                    // `Page::changed` in `Wakes::sleep` comes before the look at the time.
                    _ if world.changed(self.wait.page, &self.wait.sample) => At::Sample(0),
                    (true, true) => self.says_nothing(world),
                    (true, false) => At::Read,
                    (false, _) => At::Sample(0),
                }
            }
            At::Cancelled => return None,
        };
        Some(())
    }

    /// A call begins.
    fn begin(&mut self, world: &World) {
        (self.from, self.has_read, self.timed_out, self.registered) = (world.rows, false, false, false);
    }

    fn says_nothing(&mut self, world: &World) -> At {
        self.lied |= self.wait.seen < self.from;
        self.begin(world);
        At::Sample(0)
    }

    /// `Waiting::sleep`, after a sleep without a change.
    fn tick(&mut self, world: &mut World, protocol: &Protocol) {
        self.ticks -= 1;
        let remapped = !protocol.is(Broken::TickWithoutRemap) && world.remap(&mut self.mapped);
        if protocol.is(Broken::TickWithoutVersion) && !remapped {
            return;
        }
        if remapped || self.version != Some(world.version) {
            self.version = Some(world.version);
            // It goes to `Over`, and from there to the next sample.
            if let Some(sleep) = &mut self.sleep {
                sleep.end();
            }
        }
    }
}

impl World {
    /// `Nap::poll` and `Reactor::leave`; whether it leaves something.
    fn nap(&mut self, task: usize, wait: &Wait) -> bool {
        let changed = self.changed(wait.page, &wait.sample);
        if !changed {
            self.left[task] = Left::Waits(wait.clone());
        }
        !changed
    }

    fn work(&mut self, protocol: &Protocol, task: usize, at: Begin, wait: &mut Wait) -> Option<Begin> {
        Some(match at {
            Begin::Sample(index) if wait.sample(self, 0, index) => Begin::Read,
            Begin::Sample(index) => Begin::Sample(index + 1),
            Begin::Read if wait.read(self) => Begin::Sample(0),
            Begin::Read if protocol.is(Broken::BellBeforeLeave) => Begin::Ring,
            Begin::Read => Begin::Leave,
            Begin::Ring => {
                self.pages[0].words[BELL] += 1;
                self.wake(0, BELL);
                Begin::Leave
            }
            Begin::Leave if !self.nap(task, wait) => Begin::Sample(0),
            Begin::Leave if protocol.is(Broken::NoBell) || protocol.is(Broken::BellBeforeLeave) => Begin::Over,
            Begin::Leave => Begin::Bell,
            Begin::Bell => {
                self.pages[0].words[BELL] += 1;
                Begin::BellWake
            }
            Begin::BellWake => {
                self.wake(0, BELL);
                Begin::Over
            }
            Begin::Over => return None,
        })
    }

    /// `reactor::work`
    fn react(&mut self, protocol: &Protocol, at: React, bell: &mut u8, sleep: &mut Option<Sleep>) -> Option<React> {
        let is_ready = |left: &Left| matches!(left, Left::Ready(_));
        Some(match at {
            React::Bell => {
                *bell = self.pages[0].words[BELL];
                React::Take
            }
            React::Take => match self.left.iter().position(is_ready) {
                Some(task) => React::Run(task, 0),
                None => React::Scan,
            },
            // A task that goes on: it samples, reads, and leaves its wait again, without a bell.
            React::Run(task, step) => {
                let Left::Ready(mut wait) = self.left[task].clone() else { return None };
                let words = wait.topics.len();
                let next = if step < words {
                    wait.sample(self, 0, step);
                    step + 1
                } else if step == words {
                    if wait.read(self) { 0 } else { step + 1 }
                } else if self.nap(task, &wait) {
                    return Some(React::Bell);
                } else {
                    0
                };
                self.left[task] = Left::Ready(wait);
                React::Run(task, next)
            }
            React::Scan => {
                let due: Vec<bool> = (self.left.iter())
                    .map(|left| matches!(left, Left::Waits(wait) if self.changed(wait.page, &wait.sample)))
                    .collect();
                if due.contains(&true) {
                    for (left, _) in self.left.iter_mut().zip(&due).filter(|(_, due)| **due) {
                        if let Left::Waits(wait) = std::mem::replace(left, Left::Nothing) {
                            *left = Left::Ready(wait);
                        }
                    }
                    return Some(React::Bell);
                }
                *sleep = self.collect(protocol, *bell);
                React::Late
            }
            React::Late => {
                for (word, value) in &mut sleep.as_mut()?.slots {
                    if protocol.is(if *word == BELL { Broken::BellAfterScan } else { Broken::NapResampled }) {
                        *value = self.pages[0].words[*word];
                    }
                }
                React::Sleep
            }
            React::Sleep => {
                let mut asleep = sleep.take()?;
                if asleep.at != Doze::Over {
                    let stepped = asleep.step(self, protocol);
                    *sleep = Some(asleep);
                    return stepped.map(|()| React::Sleep);
                }
                React::Bell
            }
        })
    }

    /// `reactor::words_by_page`
    fn collect(&self, protocol: &Protocol, bell: u8) -> Option<Sleep> {
        let mut words = Vec::new();
        for left in &self.left {
            if let Left::Waits(wait) = left {
                words.extend(wait.sample.iter().copied());
            }
        }
        words.sort_unstable();
        words.dedup();
        words.push((BELL, bell));
        protocol.sleep(0, &words, false)
    }
}

impl Protocol {
    fn apply(&self, world: &World, action: &Action) -> Option<World> {
        let mut next = world.clone();
        let (thread, looks) = match action {
            Action::Replace => {
                next.named = 1;
                return Some(next);
            }
            Action::Step(thread) => (*thread, true),
            Action::StepPast(thread) => (*thread, false),
            Action::Kill(thread) => {
                let Thread::Writer(writer) = &mut next.threads[*thread] else { return None };
                (writer.steps, writer.more) = (Vec::new(), 0);
                return Some(next);
            }
            Action::TimeOut(thread) | Action::Tick(thread) => {
                let Thread::Waiter(mut waiter) = next.take(*thread) else { return None };
                if matches!(action, Action::Tick(_)) {
                    waiter.tick(&mut next, self);
                } else {
                    waiter.timeouts -= 1;
                    waiter.timed_out = true;
                    waiter.sleep.as_mut()?.end();
                }
                next.threads[*thread] = Thread::Waiter(waiter);
                return Some(next);
            }
        };
        // What its own step wakes is never itself.
        let mut taken = next.take(thread);
        match &mut taken {
            Thread::Writer(writer) => writer.step(&mut next, self, looks)?,
            Thread::Waiter(waiter) => waiter.step(&mut next, self)?,
            Thread::Worker { task, at, wait } => *at = next.work(self, *task, *at, wait)?,
            Thread::Reactor { at, bell, sleep } => *at = next.react(self, *at, bell, sleep)?,
        }
        next.threads[thread] = taken;
        Some(next)
    }

    /// Whether nobody can take a step unless time passes.
    fn is_quiet(&self, world: &World) -> bool {
        let steps = |thread| self.apply(world, &Action::Step(thread)).is_some();
        !(self.replaces && world.named == 0 || (0..world.threads.len()).any(steps))
    }

    fn all_has_come(&self, world: &World) -> bool {
        world.threads.iter().all(|thread| match thread {
            Thread::Waiter(waiter) if world.cancelled => waiter.at == At::Cancelled,
            Thread::Waiter(waiter) => waiter.wait.seen == world.rows,
            _ => true,
        }) && world.left.iter().all(|left| match left {
            Left::Waits(wait) | Left::Ready(wait) => wait.seen == world.rows,
            Left::Nothing => true,
        })
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let wait = |topics: &[usize]| Wait { topics: topics.to_vec(), page: 0, sample: Vec::new(), seen: 0 };
        let mut threads = Vec::new();
        for &(transactions, topic, what) in &self.writers {
            let what = what.unwrap_or(What::Row);
            threads.push(Thread::Writer(Writer {
                steps: self.steps(what),
                more: transactions - 1,
                topic,
                what,
                mapped: usize::from(self.settles),
                page: 0,
                counted: 0,
                loaded: 0,
            }));
        }
        for (topics, any, timeouts) in &self.waiters {
            threads.push(Thread::Waiter(Waiter {
                wait: wait(topics),
                at: if self.is(Broken::SampleAfterRead) { At::Read } else { At::Sample(0) },
                sleep: None,
                mapped: 0,
                any: *any,
                registered: false,
                version: None,
                ticks: if self.kills || self.replaces { TICKS } else { 0 },
                timeouts: *timeouts,
                from: 0,
                has_read: false,
                timed_out: false,
                lied: false,
            }));
        }
        for (task, topics) in self.tasks.iter().enumerate() {
            threads.push(Thread::Worker { task, at: Begin::Sample(0), wait: wait(topics) });
        }
        if !self.tasks.is_empty() {
            threads.push(Thread::Reactor { at: React::Bell, bell: 0, sleep: None });
        }
        let left = vec![Left::Nothing; self.tasks.len()];
        let (pages, named, cancelled) = (Default::default(), 0, false);
        vec![World { rows: 0, version: 0, pages, named, cancelled, threads, left }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.replaces && world.named == 0 {
            actions.push(Action::Replace);
        }
        for (index, thread) in world.threads.iter().enumerate() {
            // Who can't take it is passed by.
            actions.push(Action::Step(index));
            match thread {
                Thread::Writer(writer) => {
                    if writer.steps.first() == Some(&Write::Remap) {
                        actions.push(Action::StepPast(index));
                    }
                    if self.kills && !writer.steps.is_empty() {
                        actions.push(Action::Kill(index));
                    }
                }
                Thread::Waiter(waiter) if waiter.sleep.as_ref().is_some_and(Sleep::is_asleep) => {
                    if waiter.timeouts > 0 {
                        actions.push(Action::TimeOut(index));
                    }
                    // Sooner or later it comes; what could be done before is done.
                    if waiter.ticks > if self.settles { TICKS - 1 } else { 0 } && self.is_quiet(world) {
                        actions.push(Action::Tick(index));
                    }
                }
                _ => {}
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.apply(world, &action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let no_wake_is_lost = |protocol: &Protocol, world: &World| {
            let ticks = |thread: &Thread| matches!(thread, Thread::Waiter(waiter) if waiter.ticks > 0);
            let may_tick = !protocol.settles && world.threads.iter().any(ticks);
            protocol.all_has_come(world) || may_tick || !protocol.is_quiet(world)
        };
        let no_call_lies = |_: &Protocol, world: &World| {
            !world.threads.iter().any(|thread| matches!(thread, Thread::Waiter(waiter) if waiter.lied))
        };
        vec![
            Property::always("no wake is lost", no_wake_is_lost),
            Property::always("no call says that there is nothing where something was", no_call_lies),
            Property::sometimes("all has come", |protocol, world: &World| {
                world.rows > 0 && protocol.all_has_come(world) && protocol.is_quiet(world)
            }),
        ]
    }
}

const ONE: usize = 1;
const TWO: usize = 2;

/// Several threads wait for the same, and one writes.
fn threads() -> Protocol {
    let writers = vec![(2, ONE, None)];
    Protocol { writers, waiters: vec![(vec![ONE], false, 0); 2], ..Protocol::default() }
}

/// Several threads write, and one waits.
fn writers() -> Protocol {
    let writers = vec![(2, ONE, None), (1, ONE, None)];
    Protocol { writers, waiters: vec![(vec![ONE], false, 0)], ..Protocol::default() }
}

/// A thread waits for two words, one of which is also another's.
fn several_words() -> Protocol {
    let writers = vec![(1, ONE, None), (1, TWO, None), (1, TWO, Some(What::Other))];
    Protocol { writers, waiters: vec![(vec![ONE, TWO], false, 0)], ..Protocol::default() }
}

/// A thread waits for more words than the kernel takes, another for one of them.
fn very_many_words() -> Protocol {
    let writers = vec![(2, ONE, None), (1, TWO, None)];
    Protocol { writers, waiters: vec![(vec![ONE, TWO], true, 0)], ..Protocol::default() }
}

/// Calls that run out of time, and a cancel.
fn calls() -> Protocol {
    let writers = vec![(2, ONE, None), (1, ONE, None)];
    Protocol { writers, waiters: vec![(vec![ONE], false, 2)], ..Protocol::default() }
}

fn cancels() -> Protocol {
    let writers = vec![(1, ONE, None), (1, ONE, Some(What::Cancel))];
    Protocol { writers, waiters: vec![(vec![ONE], false, 1)], ..Protocol::default() }
}

/// Two tasks for whom one thread waits.
fn tasks() -> Protocol {
    Protocol { writers: vec![(1, ONE, None)], tasks: vec![vec![ONE]; 2], ..Protocol::default() }
}

/// A task waits for two words.
fn task_of_several_words() -> Protocol {
    let writers = vec![(1, ONE, None), (1, TWO, None)];
    Protocol { writers, tasks: vec![vec![ONE, TWO]], ..Protocol::default() }
}

/// A writer may die at any step.
fn kills() -> Protocol {
    Protocol { kills: true, ..writers() }
}

/// The page may be replaced at any moment.
fn replaces() -> Protocol {
    let writers = vec![(2, ONE, None), (1, ONE, None)];
    Protocol { writers, waiters: vec![(vec![ONE], false, 0)], replaces: true, kills: true, ..Protocol::default() }
}

/// The page was replaced, and each wait has ticked once: it needs no more ticks.
fn settles() -> Protocol {
    Protocol { replaces: true, settles: true, ..writers() }
}

fn check(name: &str, protocol: Protocol) {
    let begun = std::time::Instant::now();
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    eprintln!(
        "{name}: {} states, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    checker.assert_properties();
}

#[test]
fn no_wake_is_lost_in_any_order_of_steps() {
    check("threads", threads());
    check("writers", writers());
    check("several words", several_words());
    check("very many words", very_many_words());
    check("calls", calls());
    check("cancels", cancels());
    check("tasks", tasks());
    check("a task of several words", task_of_several_words());
}

/// The same with more who take part. Takes minutes.
#[test]
#[ignore = "minutes: cargo test -p portdaddy-core --release --test wake_model -- --ignored --nocapture"]
fn no_wake_is_lost_among_more() {
    let of_two = || vec![(2, ONE, None), (1, ONE, None)];
    check("threads", Protocol { writers: of_two(), ..threads() });
    check("kills", Protocol { writers: of_two(), kills: true, ..threads() });
    check("tasks", Protocol { writers: vec![(2, ONE, None)], ..tasks() });
}

#[test]
fn a_tick_makes_good_what_a_kill_or_a_replaced_page_loses() {
    check("kills", kills());
    check("replaces", replaces());
    check("settles", settles());
}

#[test]
fn each_rule_of_the_order_is_needed() {
    let found = |protocol: Protocol, broken: Option<Broken>| {
        let checker =
            Protocol { broken, ..protocol }.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let mut found = ["no wake is lost", "no call says that there is nothing where something was"].into_iter();
        found.find_map(|property| Some((property, checker.discovery(property)?.into_actions())))
    };
    let rules: [(Broken, fn() -> Protocol); 21] = [
        (Broken::SampleAfterRead, writers),
        (Broken::RestAfterRead, writers),
        (Broken::NothingWithoutRead, calls),
        (Broken::WakeBeforeCommit, writers),
        (Broken::WakeBeforeAdvance, writers),
        (Broken::LookBeforeAdvance, writers),
        (Broken::PlainStore, writers),
        (Broken::NoWake, writers),
        (Broken::NotCounted, writers),
        (Broken::CountedAfterCompare, writers),
        (Broken::NoCompare, writers),
        (Broken::AnyAfterLook, very_many_words),
        (Broken::AnyCountedAfterLook, very_many_words),
        (Broken::AnyForgotten, very_many_words),
        (Broken::BellAfterScan, task_of_several_words),
        (Broken::NapResampled, task_of_several_words),
        (Broken::NoBell, task_of_several_words),
        (Broken::BellBeforeLeave, task_of_several_words),
        (Broken::CancelAfterWake, cancels),
        (Broken::TickWithoutVersion, kills),
        (Broken::TickWithoutRemap, settles),
    ];
    let mut missed = Vec::new();
    for (broken, protocol) in rules {
        match found(protocol(), Some(broken)) {
            Some((property, path)) => eprintln!("{broken:?}: after {} steps: not {property:?}: {path:?}", path.len()),
            None => missed.push(broken),
        }
    }
    assert!(missed.is_empty(), "not found out: {missed:?}");
}
