//! Processes: who they are, whose children, and whether they live.
//!
//! A pid alone names nobody: it is used again. A process is its pid, its start time and the namespace that counts the
//! pids; the boot is compared by the caller. Death is only declared when the kernel says so: `/proc` that shows
//! nothing may be another namespace's, or may hide processes (`hidepid`), so it is asked twice.

use super::pid_namespace;

/// Names one process of this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub pid: u32,
    /// Clock ticks since boot.
    pub start: u64,
    /// The namespace that `pid` is counted in, as of [`pid_namespace`].
    pub namespace: u64,
}

/// What can be read of a living process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessInfo {
    pub id: ProcessId,
    pub parent: u32,
    /// Its session's id is its own pid: a login shell, a terminal's first program, a daemon.
    pub session_leader: bool,
    /// `pts3`, `tty1`; `None` without a controlling terminal.
    pub tty: Option<String>,
    /// The kernel's short name, at most 15 bytes; a program may change its own.
    pub name: String,
    /// The command line; empty where the kernel gives none.
    pub args: Vec<String>,
}

/// Whether a process lives, as far as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    Yes,
    No,
    /// It is counted in another namespace, or the platform can't tell.
    Unknown,
}

/// This process. Its start is 0 where the platform doesn't tell. Read anew each time: after a fork it is another.
pub(crate) fn own() -> ProcessId {
    ProcessId { pid: super::current_pid(), start: platform::own_start(), namespace: pid_namespace() }
}

/// For people: the process and what it runs.
pub(crate) fn named(pid: u32) -> String {
    match command_line(pid) {
        Some(line) => format!("process {pid} ({line})"),
        None => format!("process {pid}"),
    }
}

/// The same of one that may be counted in another namespace, where a pid would name a process that it isn't.
pub(crate) fn named_id(id: &ProcessId) -> String {
    if id.namespace == pid_namespace() { named(id.pid) } else { format!("process {} of another container", id.pid) }
}

/// The process `pid` of our namespace. `None`: gone, a zombie, or the platform can't tell.
pub(crate) fn info(pid: u32) -> Option<ProcessInfo> {
    platform::info(pid)
}

/// The ancestors of `from`, its parent first, at most `most`. Ends after pid 1 (which in a container may be the harness).
pub(crate) fn ancestors(from: u32, most: usize) -> Vec<ProcessInfo> {
    let mut found: Vec<ProcessInfo> = Vec::new();
    let mut next = platform::parent(from);
    while let Some(process) = next.filter(|&pid| pid != 0 && found.len() < most).and_then(info) {
        next = (process.id.pid != 1).then_some(process.parent);
        found.push(process);
    }
    found
}

/// Whether `id` lives. One read of `/proc` while it does.
pub(crate) fn alive(id: &ProcessId) -> Alive {
    if id.namespace != pid_namespace() {
        return Alive::Unknown;
    }
    platform::alive(id)
}

/// The command line of `pid` for messages: control characters blanked, at most 200 characters.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    let process = info(pid)?;
    let line = if process.args.is_empty() { process.name } else { process.args.join(" ") };
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= 200 {
        return Some(line);
    }
    Some(line.chars().take(199).chain(['…']).collect())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod platform {
    use std::io::Read;
    use std::sync::OnceLock;

    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    use super::{Alive, ProcessId, ProcessInfo};
    use crate::sys::{current_pid, lacks_descriptors, pid_namespace};

    /// The fields of `/proc/PID/stat` that are used here.
    struct Stat {
        name: String,
        state: u8,
        parent: u32,
        session: u32,
        tty: u32,
        threads: u64,
        start: u64,
    }

    impl Stat {
        /// The name is in parentheses and may itself hold any character: what follows begins after the last `)`.
        fn parse(text: &[u8]) -> Option<Stat> {
            let open = text.iter().position(|&b| b == b'(')?;
            let close = text.iter().rposition(|&b| b == b')')?;
            let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
            let rest = std::str::from_utf8(&text[close + 1..]).ok()?;
            // The first of these is field 3 of proc_pid_stat(5).
            let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
            let field = |number: usize| fields.get(number - 3).copied();
            Some(Stat {
                name,
                state: *field(3)?.as_bytes().first()?,
                parent: field(4)?.parse().ok()?,
                session: field(6)?.parse().ok()?,
                tty: field(7)?.parse::<i32>().ok()? as u32,
                threads: field(20)?.parse().ok()?,
                start: field(22)?.parse().ok()?,
            })
        }

        /// A zombie's threads are all gone; one whose first thread alone has ended also shows a Z, and lives.
        fn gone(&self) -> bool {
            match self.state {
                b'Z' => self.threads <= 1,
                b'X' | b'x' => true,
                _ => false,
            }
        }
    }

    /// Whether `/proc` counts pids as we do: with a new pid namespace and the old `/proc` it doesn't.
    fn proc_is_ours() -> bool {
        static OURS: OnceLock<bool> = OnceLock::new();
        *OURS.get_or_init(|| {
            std::fs::read_link("/proc/self").is_ok_and(|to| to.as_os_str().to_str() == Some(&current_pid().to_string()))
        })
    }

    /// Reads a file of `/proc`, whose length isn't known before, in as few calls as possible.
    fn read(path: &str) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(4096);
        std::fs::File::open(path)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn stat(pid: u32) -> std::io::Result<Stat> {
        let text = read(&format!("/proc/{pid}/stat"))?;
        Stat::parse(&text).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    /// `/proc/self` is right even in another namespace's `/proc`.
    pub(super) fn own_start() -> u64 {
        std::fs::read("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)).map_or(0, |stat| stat.start)
    }

    pub(super) fn info(pid: u32) -> Option<ProcessInfo> {
        if !proc_is_ours() {
            return None;
        }
        let stat = stat(pid).ok().filter(|stat| !stat.gone())?;
        let line = read(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let args = if line.is_empty() {
            Vec::new()
        } else {
            line.split(|&b| b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
        };
        Some(ProcessInfo {
            id: ProcessId { pid, start: stat.start, namespace: pid_namespace() },
            parent: stat.parent,
            session_leader: stat.session == pid,
            tty: terminal(stat.tty),
            name: stat.name,
            args,
        })
    }

    pub(super) fn parent(pid: u32) -> Option<u32> {
        if crate::sys::is_own_pid(pid) {
            return rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
        }
        proc_is_ours().then(|| stat(pid).ok()).flatten().map(|stat| stat.parent)
    }

    pub(super) fn alive(id: &ProcessId) -> Alive {
        if !proc_is_ours() {
            return Alive::Unknown;
        }
        match stat(id.pid) {
            Ok(stat) if stat.start == id.start && !stat.gone() => Alive::Yes,
            Ok(_) => Alive::No,
            // ESRCH: it ended between open and read. Nothing there may also mean that it is hidden from us.
            Err(e) => match i32::try_from(id.pid).ok().and_then(Pid::from_raw).map(test_kill_process) {
                Some(Err(Errno::SRCH)) => Alive::No,
                // Nobody dies of our want of a descriptor.
                _ if lacks_descriptors(&e) => Alive::Yes,
                _ => Alive::Unknown,
            },
        }
    }

    /// The name of a terminal from its device number.
    fn terminal(device: u32) -> Option<String> {
        let major = (device >> 8) & 0xfff;
        let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
        match (major, minor) {
            (0, 0) => None,
            (136..=143, _) => Some(format!("pts{}", (major - 136) * 256 + minor)),
            (4, 0..=63) => Some(format!("tty{minor}")),
            (4, _) => Some(format!("ttyS{}", minor - 64)),
            _ => Some(format!("tty{major}:{minor}")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_may_hold_anything() {
            let text = b"42 (a) b (c) S 7 42 42 34819 42 4194304 1 2 3 4 5 6 7 8 20 0 3 0 987654 100 2";
            let stat = Stat::parse(text).unwrap();
            assert_eq!((stat.name.as_str(), stat.state, stat.parent, stat.session), ("a) b (c", b'S', 7, 42));
            assert_eq!((stat.threads, stat.start), (3, 987654));
            assert_eq!(terminal(stat.tty).as_deref(), Some("pts3"));
            assert!(Stat::parse(b"42 (cut").is_none());
        }

        #[test]
        fn terminals_have_names() {
            assert_eq!(terminal(0), None);
            assert_eq!(terminal(0x0401).as_deref(), Some("tty1"));
            assert_eq!(terminal(0x0440).as_deref(), Some("ttyS0"));
            // Minor 300 of 136: its high bits stand above the major.
            assert_eq!(terminal((136 << 8) | 0x2c | (1 << 20)).as_deref(), Some("pts300"));
        }

        #[test]
        fn a_process_whose_first_thread_ended_lives() {
            let stat =
                |threads| Stat::parse(format!("1 (x) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 5").as_bytes());
            assert!(stat(1).unwrap().gone());
            assert!(!stat(4).unwrap().gone());
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod platform {
    use super::{Alive, ProcessId, ProcessInfo};

    pub(super) fn own_start() -> u64 {
        0
    }

    pub(super) fn info(_pid: u32) -> Option<ProcessInfo> {
        None
    }

    #[cfg(unix)]
    pub(super) fn parent(pid: u32) -> Option<u32> {
        let parent = rustix::process::getppid()?;
        crate::sys::is_own_pid(pid).then_some(parent.as_raw_nonzero().get() as u32)
    }

    #[cfg(not(unix))]
    pub(super) fn parent(_pid: u32) -> Option<u32> {
        None
    }

    pub(super) fn alive(_id: &ProcessId) -> Alive {
        Alive::Unknown
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::current_pid;
    use crate::sys::testing::{Second, argument, barrier, say};

    #[test]
    fn we_are_alive_and_our_parents_are_known() {
        let own = info(current_pid()).unwrap();
        assert_eq!(own.id, super::own());
        assert_eq!(alive(&own.id), Alive::Yes);
        assert!(own.args[0].contains("portdaddy"), "{own:?}");
        let parents = ancestors(current_pid(), 20);
        assert_eq!(parents[0].id.pid, own.parent);
        assert!(parents.windows(2).all(|pair| pair[0].parent == pair[1].id.pid));
        assert_eq!(ancestors(current_pid(), 1).len(), 1);
    }

    #[test]
    fn child_says_its_pids() {
        if argument().is_some() {
            say("ready");
            say(&format!("{} {}", current_pid(), ancestors(current_pid(), 1)[0].id.pid));
            barrier();
        }
    }

    #[test]
    fn a_child_names_us_as_its_parent() {
        let mut child = Second::start("sys::process::tests::child_says_its_pids", "");
        assert_eq!(child.said(), format!("{} {}", child.child.id(), current_pid()));
    }

    #[test]
    fn a_zombie_and_a_reaped_process_are_gone_and_a_stopped_one_is_not() {
        let mut child = Command::new("sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn().unwrap();
        let id = info(child.id()).unwrap().id;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        assert_eq!(alive(&id), Alive::Yes);
        child.kill().unwrap();
        while alive(&id) == Alive::Yes {
            std::thread::yield_now();
        }
        assert_eq!(alive(&id), Alive::No, "a zombie until we wait for it");
        assert!(info(id.pid).is_none());
        child.wait().unwrap();
        assert_eq!(alive(&id), Alive::No);
        assert!(command_line(id.pid).is_none());
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let mut id = info(current_pid()).unwrap().id;
        id.start += 1;
        assert_eq!(alive(&id), Alive::No);
        id.namespace += 1;
        assert_eq!(alive(&id), Alive::Unknown);
    }

    #[test]
    fn a_command_line_is_short_and_plain() {
        use std::io::BufRead;
        let mut child = Command::new("sh")
            .args(["-c", "echo; read x", &"ü\n".repeat(300)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Right after exec the kernel shows no arguments yet.
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let line = command_line(child.id()).unwrap();
        assert!(line.starts_with("sh -c echo; read x ü ü "), "{line}");
        assert_eq!(line.chars().count(), 200);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
