//! What the operating system knows: clocks, processes, file locks, ports, filesystems.
//!
//! All platform code of the crate is here and in `wake`. Where a platform can't tell, the answer is `None` or
//! `Unknown`, never a guess: a wrong "dead" takes a living agent's locks away.

pub(crate) mod beneath;
pub(crate) mod filesystem;
pub(crate) mod live;
pub(crate) mod openers;
pub(crate) mod ports;
pub(crate) mod process;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod sock_diag;
pub(crate) mod watch;

use std::sync::OnceLock;

/// Milliseconds on the clock that stops while the machine sleeps. Comparable between processes of one boot.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn awake_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[cfg(target_os = "macos")]
pub(crate) fn awake_ms() -> i64 {
    (apple::uptime_ns() / 1_000_000) as i64
}

/// Counts from this process's first call: enough for one process, not comparable between two.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
pub(crate) fn awake_ms() -> i64 {
    static ANCHOR: OnceLock<std::time::Instant> = OnceLock::new();
    ANCHOR.get_or_init(std::time::Instant::now).elapsed().as_millis() as i64
}

/// Where Linux tells which boot this is.
pub(crate) const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

static BOOT: OnceLock<String> = OnceLock::new();

/// A text that differs between two boots of the machine; empty where it can't be told.
pub(crate) fn boot_id() -> String {
    let _ = learn_boot_id();
    BOOT.get().cloned().unwrap_or_default()
}

/// Whether it can be told which boot this is. Who can't tell asks the file anew each time.
pub(crate) fn knows_boot() -> bool {
    BOOT.get().is_some_and(|id| !id.is_empty())
}

/// Finds out which boot this is, once for all: later on the process may have no descriptor left to do so.
///
/// # Errors
/// As reading it has. A platform, or a sandbox, that doesn't tell is none.
pub(crate) fn learn_boot_id() -> std::io::Result<()> {
    if BOOT.get().is_none() {
        let id = match crate::fault::boot_id() {
            Some(id) => id,
            None => read_boot_id()?,
        };
        let _ = BOOT.set(id);
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_boot_id() -> std::io::Result<String> {
    match std::fs::read_to_string(BOOT_ID) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) if lacks_descriptors(&e) => Err(e),
        Err(_) => Ok(String::new()),
    }
}

#[cfg(target_os = "macos")]
fn read_boot_id() -> std::io::Result<String> {
    Ok(apple::boot_session().unwrap_or_default())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn read_boot_id() -> std::io::Result<String> {
    Ok(String::new())
}

/// The namespace in which this process's pids are counted; 0 where there is only one, or it can't be told.
pub(crate) fn pid_namespace() -> u64 {
    static NAMESPACE: OnceLock<u64> = OnceLock::new();
    *NAMESPACE.get_or_init(read_pid_namespace)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map(|m| m.ino()).unwrap_or(0)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_pid_namespace() -> u64 {
    0
}

/// This process's pid, asked anew each time: after a fork it is another.
pub(crate) fn current_pid() -> u32 {
    std::process::id()
}

/// Whether `pid` is this very process.
pub(crate) fn is_own_pid(pid: u32) -> bool {
    pid == current_pid()
}

/// Whether this process, or the machine, can open no further file. SQLite says only that it couldn't open one.
pub(crate) fn out_of_descriptors() -> bool {
    std::fs::File::open("/").is_err_and(|e| lacks_descriptors(&e))
}

/// Whether something failed because this process, or the machine, can open no further file.
#[cfg(unix)]
pub(crate) fn lacks_descriptors(e: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(e), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(not(unix))]
pub(crate) fn lacks_descriptors(_: &std::io::Error) -> bool {
    false
}

/// What an armed fault point does to this process: `stop` or `kill`. Anything else is a test's mistake.
#[cfg(all(portdaddy_faults, unix))]
pub(crate) fn fault(what: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    let signal = match what {
        "stop" => Signal::STOP,
        "kill" => Signal::KILL,
        other => panic!("no such fault: {other}"),
    };
    let _ = kill_process(getpid(), signal);
    // Another thread may be the one to take the signal; this one must not get any further before it works.
    std::thread::sleep(std::time::Duration::from_millis(500));
}

#[cfg(all(portdaddy_faults, not(unix)))]
pub(crate) fn fault(what: &str) {
    match what {
        "kill" => std::process::abort(),
        other => panic!("no such fault here: {other}"),
    }
}

#[cfg(target_os = "macos")]
mod apple {
    use std::ffi::{CStr, c_char, c_int, c_void};

    const CLOCK_UPTIME_RAW: u32 = 8;

    // Both are in libSystem, which every program is linked with.
    unsafe extern "C" {
        fn clock_gettime_nsec_np(clock: u32) -> u64;
        fn sysctlbyname(name: *const c_char, old: *mut c_void, len: *mut usize, new: *mut c_void, n: usize) -> c_int;
    }

    pub(super) fn uptime_ns() -> u64 {
        // SAFETY: takes and returns plain numbers.
        unsafe { clock_gettime_nsec_np(CLOCK_UPTIME_RAW) }
    }

    /// `kern.bootsessionuuid`.
    pub(super) fn boot_session() -> Option<String> {
        let mut text = [0u8; 64];
        let mut len = text.len();
        let name = c"kern.bootsessionuuid";
        // SAFETY: the kernel writes at most `len` bytes into `text`, and sets `len` to what it wrote.
        let failed =
            unsafe { sysctlbyname(name.as_ptr(), text.as_mut_ptr().cast(), &mut len, std::ptr::null_mut(), 0) };
        if failed != 0 {
            return None;
        }
        CStr::from_bytes_until_nul(&text).ok()?.to_str().ok().map(str::to_owned)
    }
}

/// Real second processes for the tests of this crate: the test binary runs one of its own tests again.
#[cfg(test)]
pub(crate) mod testing {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    const ROLE: &str = "PD_TEST_CHILD";

    /// A child process that stands at a barrier: it has said `ready`, and waits on its stdin.
    pub(crate) struct Second {
        pub(crate) child: Child,
        pub(crate) stdin: Option<ChildStdin>,
        pub(crate) stdout: BufReader<ChildStdout>,
    }

    impl Second {
        /// Runs the test `name` (full path without the crate) in a new process with `argument`, up to its first line.
        pub(crate) fn start(name: &str, argument: &str) -> Second {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture", "--test-threads=1"])
                .env(ROLE, argument)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let stdin = child.stdin.take();
            let stdout = BufReader::new(child.stdout.take().unwrap());
            let mut second = Second { child, stdin, stdout };
            assert_eq!(second.said(), "ready");
            second
        }

        /// The next line that the child said through [`say`].
        pub(crate) fn said(&mut self) -> String {
            loop {
                let mut line = String::new();
                assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the child ended without a word");
                // libtest prints "test NAME ... " without an end of line before the test runs.
                if let Some((_, said)) = line.split_once("pd>") {
                    return said.trim().to_owned();
                }
            }
        }

        /// Lets the child past its barrier.
        pub(crate) fn go(&mut self) {
            self.stdin = None;
        }

        /// SIGKILL, and waits until it is gone.
        pub(crate) fn kill(&mut self) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }

        #[cfg(unix)]
        pub(crate) fn signal(&self, signal: rustix::process::Signal) {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, signal).unwrap();
        }
    }

    impl Drop for Second {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// In the child: what [`Second::start`] was given. `None` in an ordinary test run.
    pub(crate) fn argument() -> Option<String> {
        std::env::var(ROLE).ok()
    }

    /// In the child: tells the parent.
    pub(crate) fn say(what: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "pd>{what}").unwrap();
        out.flush().unwrap();
    }

    /// In the child: waits until the parent lets go, or is gone.
    pub(crate) fn barrier() {
        let _ = std::io::stdin().read(&mut [0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_and_never_back() {
        let before = awake_ms();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 3 {
            std::hint::spin_loop();
        }
        assert!(awake_ms() > before);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_names_its_boot_and_its_namespace() {
        assert_eq!(boot_id().len(), 36, "{:?}", boot_id());
        assert_ne!(pid_namespace(), 0);
        assert!(is_own_pid(current_pid()));
    }
}
