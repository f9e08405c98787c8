//! Who has a file open, as far as `/proc` shows it to us: processes of our own user, in our own pid namespace. Files are only
//! named here, never opened.

use std::path::Path;

/// The other processes that have the file at `path` open. Empty where the platform doesn't tell.
pub(crate) fn of(path: &Path) -> Vec<u32> {
    platform::of(path)
}

/// Whether a process is stopped, as by SIGSTOP or a debugger.
pub(crate) fn is_stopped(pid: u32) -> bool {
    platform::is_stopped(pid)
}

/// The native libraries of this project that a process has loaded.
pub(crate) fn copies(pid: u32) -> Vec<String> {
    platform::copies(pid)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod platform {
    use std::collections::BTreeSet;
    use std::path::Path;

    pub(super) fn of(path: &Path) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut found: Vec<u32> = pids.filter(|pid| !crate::sys::is_own_pid(*pid) && has_open(*pid, path)).collect();
        found.sort_unstable();
        found
    }

    fn has_open(pid: u32, path: &Path) -> bool {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == path))
    }

    pub(super) fn is_stopped(pid: u32) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it may hold any character.
        let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('T' | 't'))
    }

    pub(super) fn copies(pid: u32) -> Vec<String> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let files: BTreeSet<&str> = maps.lines().filter_map(|line| line.get(line.find('/')?..)).collect();
        let is_ours = |file: &&str| {
            (file.ends_with(".node") || file.ends_with(".so"))
                && ["port-daddy", "port_daddy", "portdaddy"].iter().any(|name| file.contains(name))
        };
        files.into_iter().filter(is_ours).map(str::to_owned).collect()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod platform {
    use std::path::Path;

    pub(super) fn of(_path: &Path) -> Vec<u32> {
        Vec::new()
    }

    pub(super) fn is_stopped(_pid: u32) -> bool {
        false
    }

    pub(super) fn copies(_pid: u32) -> Vec<String> {
        Vec::new()
    }
}
