//! Sleeping on words of the shared page: Linux's futexes, the shared kind, which the kernel finds by inode and offset.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::futex::{self, ClockId, Flags, Timespec, Wait, WaitFlags, WaitvFlags};

use crate::interrupt;

pub(super) const AVAILABLE: bool = true;

/// As many words as one futex_waitv takes.
pub(super) const AT_ONCE: usize = 128;
/// How long to sleep before looking at the words that the kernel doesn't watch for us.
const SLICE: Duration = Duration::from_millis(5);

/// Sleeps until one of `words` is another than it was, at most `timeout`. In a thread that has a check to ask, a signal
/// handler ends it, too. The caller is counted as a sleeper by now.
pub(super) fn sleep(words: &[(&AtomicU32, u32)], timeout: Duration) {
    // Before Linux 5.16, and under some seccomp filters, there is no futex_waitv.
    static HAS_WAITV: AtomicBool = AtomicBool::new(true);
    sleep_with(words, timeout, &HAS_WAITV);
}

fn sleep_with(words: &[(&AtomicU32, u32)], timeout: Duration, has_waitv: &AtomicBool) {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        if words.iter().any(|(word, value)| word.load(Ordering::SeqCst) != *value) {
            return;
        }
        let left = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return,
            Some(left) => left,
            None => timeout,
        };
        let slept = match words {
            [(word, value)] => wait(word, *value, left),
            _ if has_waitv.load(Ordering::Relaxed) => {
                let left = if words.len() > AT_ONCE { left.min(SLICE) } else { left };
                wait_for_any(&words[..words.len().min(AT_ONCE)], left)
            }
            _ => wait(words[0].0, words[0].1, left.min(SLICE)),
        };
        match slept {
            // What its handler has done may be a reason to sleep no more.
            Err(Errno::INTR) if interrupt::signalled() => return,
            // Woken, changed before we slept, a signal, or time: the loop looks which.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(_) if words.len() > 1 && has_waitv.swap(false, Ordering::Relaxed) => {}
            // Nothing works here that should: don't spin.
            Err(_) => std::thread::sleep(left.min(SLICE)),
        }
    }
}

/// Wakes all who sleep on `word`, in every process.
pub(super) fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> Result<(), Errno> {
    futex::wait(word, Flags::empty(), value, Some(&timespec(timeout)))
}

fn wait_for_any(words: &[(&AtomicU32, u32)], timeout: Duration) -> Result<(), Errno> {
    let waits: Vec<Wait> = words
        .iter()
        .map(|&(word, value)| {
            let mut wait = Wait::new();
            wait.val = value.into();
            wait.uaddr = word.as_ptr().cast::<std::ffi::c_void>().into();
            wait.flags = WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    // Unlike futex_wait's, this time is a point on the clock.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    let until = timespec(now.saturating_add(timeout));
    futex::waitv(&waits, WaitvFlags::empty(), Some(&until), ClockId::Monotonic).map(|_| ())
}

/// The kernel takes no more seconds than fit into an i64; a century is as good as for ever.
fn timespec(duration: Duration) -> Timespec {
    let duration = duration.min(Duration::from_secs(100 * 365 * 86_400));
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_waitv_the_second_word_is_looked_at_too() {
        let [first, second] = [AtomicU32::new(0), AtomicU32::new(0)];
        let words = [(&first, 0), (&second, 0)];
        let old_kernel = AtomicBool::new(false);
        sleep_with(&words, Duration::from_millis(12), &old_kernel);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| sleep_with(&words, Duration::from_secs(600), &old_kernel));
            second.fetch_add(1, Ordering::SeqCst);
            sleeper.join().unwrap();
        });
    }
    #[test]
    fn a_signal_ends_the_sleep_of_one_who_has_a_check() {
        extern "C" fn handle(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, without SA_RESTART, for a signal that no other test uses.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()), 0);
        }
        let [one, other] = [AtomicU32::new(0), AtomicU32::new(0)];
        for words in [vec![(&one, 0)], vec![(&one, 0), (&other, 0)]] {
            std::thread::scope(|scope| {
                let (said, heard) = std::sync::mpsc::channel();
                let sleeper = scope.spawn(move || {
                    // SAFETY: the calling thread's own name.
                    said.send(unsafe { libc::pthread_self() }).unwrap();
                    let slept = Instant::now();
                    interrupt::interruptible(|| false, || sleep(&words, Duration::from_secs(30)));
                    assert!(slept.elapsed() < Duration::from_secs(30));
                });
                let thread = heard.recv().unwrap();
                while !sleeper.is_finished() {
                    // SAFETY: the scope has not joined it.
                    unsafe { libc::pthread_kill(thread, libc::SIGURG) };
                    std::thread::yield_now();
                }
            });
        }
    }
}
