//! What processes use, as Linux counts it.

/// What processes have used so far, all their threads together.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) cpu_ns: u64,
    pub(crate) voluntary: u64,
}

impl Spent {
    pub(crate) fn by(processes: &[u32]) -> Spent {
        let mut spent = Spent::default();
        for pid in processes {
            spent.cpu_ns += cpu_ns(*pid);
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("Linux, and a living process");
            for task in tasks.flatten() {
                // A thread that ends meanwhile counts for nothing.
                let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
                spent.voluntary += line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0);
            }
        }
        spent
    }

    /// Seconds on the CPU from an earlier count to this one.
    pub(crate) fn cpu_since(self, before: Spent) -> f64 {
        self.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9
    }
}

/// The most memory that processes had at once, in MiB.
pub(crate) fn peak_mib(processes: &[u32]) -> f64 {
    let one = |pid: &u32| -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux, and a living process");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("its memory");
        line.trim().trim_end_matches("kB").trim().parse().expect("KiB")
    };
    processes.iter().map(one).sum::<f64>() / 1024.0
}

/// What a process has used so far, with its threads that have ended.
fn cpu_ns(pid: u32) -> u64 {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both are given a place of their own to write to, and the second a clock that the first has made.
    let read = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    assert!(read, "a living process");
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned()
}
