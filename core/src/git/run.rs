//! The only place that runs `git`.
//!
//! A repository's configuration is kept from running programs: what git would run is switched off by name, hooks and filters
//! included. Each call is bounded in time and in what it may say.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind as Io, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

const MOST_BYTES: u64 = 1 << 20;
/// What compares no files: there is no need to ask for filters first. Whatever else writes an index, if only a copy, compares
/// those that may have changed since it was written.
const COMPARE_NOTHING: &[&str] = &[
    "version",
    "config",
    "rev-parse",
    "for-each-ref",
    "update-ref",
    "cat-file",
    "commit-tree",
    "remote",
    "log",
    "reflog",
];
/// Filters that a repository may name. Far more than anybody has; each takes four arguments.
pub(super) const MOST_FILTERS: usize = 64;

/// Runs git in a working tree, until a moment.
pub(crate) struct Git<'a> {
    worktree: &'a Path,
    limit: Duration,
    deadline: Instant,
    /// The options that switch off the repository's filters, once they were needed.
    filters: OnceLock<Result<Vec<String>, String>>,
}

/// What git said.
pub(crate) struct Said {
    pub(crate) text: String,
    /// Whether there was more than is read.
    pub(crate) cut: bool,
}

/// One run of git.
#[derive(Default)]
pub(crate) struct Call<'a> {
    pub(crate) args: &'a [&'a str],
    /// An exit code that is no failure, besides 0.
    pub(crate) also: i32,
    /// What it reads.
    pub(crate) input: Vec<u8>,
    /// Where what it says goes, instead of coming back.
    pub(crate) into: Option<File>,
    /// Another index than the working tree's.
    pub(crate) index: Option<&'a Path>,
    /// In whose name it commits, and when (seconds since 1970).
    pub(crate) committer: Option<(&'a str, i64)>,
    /// The most bytes that come back; more is an error. 0: as usual.
    pub(crate) most: u64,
}

impl<'a> Git<'a> {
    /// All that is run with it takes at most `limit`.
    pub(crate) fn within(worktree: &'a Path, limit: Duration) -> Self {
        Self { worktree, limit, deadline: Instant::now() + limit, filters: OnceLock::new() }
    }

    /// The options that switch off every filter that is configured: to compare a file, git runs the one that its
    /// attributes name.
    fn without_filters(&self) -> Result<Vec<String>, String> {
        let keys = r"^filter\..*\.(clean|smudge|process|required)$";
        // 1: there is none.
        let found = self.run_or(&["config", "-z", "--name-only", "--get-regexp", keys], 1)?;
        let mut names: Vec<&str> = found
            .text
            .split('\0')
            .filter_map(|key| key.strip_prefix("filter.")?.rsplit_once('.'))
            .map(|k| k.0)
            .collect();
        names.sort_unstable();
        names.dedup();
        if found.cut || names.len() > MOST_FILTERS {
            return Err(format!("the repository configures more than {MOST_FILTERS} filters: git status was not run"));
        }
        let off = |name: &str| {
            // `-c` takes the first `=` for the end of the key.
            if name.contains('=') {
                return Err(format!("the repository configures a filter {name:?}: git status was not run"));
            }
            let set = |what: &str| ["-c".to_owned(), format!("filter.{name}.{what}")];
            Ok([set("clean="), set("smudge="), set("process="), set("required=false")].into_iter().flatten())
        };
        Ok(names.into_iter().map(off).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Result<Said, String> {
        self.run_or(args, 0)
    }

    /// Runs git; `also` is an exit code that is no failure.
    pub(crate) fn run_or(&self, args: &[&str], also: i32) -> Result<Said, String> {
        let (mut bytes, cut) = self.call(Call { args, also, ..Call::default() })?;
        if cut {
            // The last entry may have been cut in the middle.
            let whole = bytes.iter().rposition(|b| matches!(b, b'\n' | 0)).unwrap_or(0);
            bytes.truncate(whole);
        }
        Ok(Said { text: String::from_utf8_lossy(&bytes).into_owned(), cut })
    }

    /// Runs git, and gives all that it said.
    pub(crate) fn bytes(&self, call: Call<'_>) -> Result<Vec<u8>, String> {
        let most = if call.most == 0 { MOST_BYTES } else { call.most };
        match self.call(call)? {
            (bytes, false) => Ok(bytes),
            (_, true) => Err(format!("git said more than {} MiB", most >> 20)),
        }
    }

    /// Runs git, and gives the one word that it said.
    pub(crate) fn word(&self, call: Call<'_>) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.bytes(call)?).trim().to_owned())
    }

    fn call(&self, call: Call<'_>) -> Result<(Vec<u8>, bool), String> {
        let most = if call.most == 0 { MOST_BYTES } else { call.most };
        let filters = match call.args.first() {
            Some(verb) if COMPARE_NOTHING.contains(verb) => &[][..],
            _ => self.filters.get_or_init(|| self.without_filters()).as_ref().map_err(Clone::clone)?,
        };
        let mut command = Command::new(program().ok_or("git isn't installed")?);
        // Variables of a hook or of a wrapping git would point it at another repository, or make it write traces.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_git_variable(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(self.worktree)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            // Objects that are missing could be fetched, by a program that the repository names.
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "none")
            // Not what `core.worktree` says.
            .env("GIT_WORK_TREE", self.worktree)
            .env("GIT_PAGER", "cat")
            .env("LC_ALL", "C")
            .args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
            .args(["-c", "credential.helper=", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
            .args(filters)
            .args(call.args)
            .stdin(if call.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(call.into.map_or_else(Stdio::piped, Stdio::from))
            .stderr(Stdio::piped());
        if let Some(index) = call.index {
            command.env("GIT_INDEX_FILE", index);
        }
        if let Some((name, seconds)) = call.committer {
            for whose in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{whose}_NAME"), name)
                    .env(format!("GIT_{whose}_EMAIL"), "port-daddy@localhost")
                    .env(format!("GIT_{whose}_DATE"), format!("{seconds} +0000"));
            }
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|e| match e.kind() {
            Io::NotFound => "git isn't installed".to_owned(),
            _ => format!("git can't be run: {e}"),
        })?;
        // It may end without having read all: that it complains of what it got is said by its exit code.
        if let Some(mut stdin) = child.stdin.take() {
            std::thread::spawn(move || stdin.write_all(&call.input));
        }
        let output = collect(child.stdout.take(), most);
        let errors = collect(child.stderr.take(), MOST_BYTES);
        let mut bytes = self.next(&mut child, &output)?;
        if bytes.len() as u64 > most {
            end(&mut child);
            bytes.truncate(most as usize);
            return Ok((bytes, true));
        }
        let complaint = self.next(&mut child, &errors)?;
        // Both pipes are closed: it has nothing left to do but to exit.
        let status = child.wait().map_err(|e| format!("git can't be waited for: {e}"))?;
        if !status.success() && status.code() != Some(call.also) {
            let complaint = String::from_utf8_lossy(&complaint);
            let line = complaint.lines().find(|l| !l.trim().is_empty()).unwrap_or("no reason given").trim();
            return Err(format!("git failed: {line}"));
        }
        Ok((bytes, false))
    }

    /// What comes through `pipe`; when the time is over, the end of `child`.
    fn next(&self, child: &mut Child, pipe: &Pipe) -> Result<Vec<u8>, String> {
        pipe.recv_timeout(self.deadline.saturating_duration_since(Instant::now())).map_err(|_| {
            end(child);
            self.late()
        })
    }

    fn late(&self) -> String {
        format!("git took longer than {}", seconds(self.limit))
    }

    /// The same with a part of the time that is left: what takes longer can be left out.
    pub(crate) fn hurried(&self, part: f64) -> Self {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let deadline = Instant::now() + left.mul_f64(part);
        Self { worktree: self.worktree, limit: self.limit, deadline, filters: self.filters.clone() }
    }

    /// Whether half of the time is over: what can be left out then should be.
    pub(crate) fn is_pressed(&self) -> bool {
        self.deadline.saturating_duration_since(Instant::now()) < self.limit / 2
    }

    /// An error once the time is over, for work between the runs.
    pub(crate) fn in_time(&self) -> Result<(), String> {
        if Instant::now() < self.deadline { Ok(()) } else { Err(self.late()) }
    }
}

/// The program `git` in a directory that `PATH` names absolutely. It runs in the working tree, where `.` in `PATH` would be
/// the repository's.
fn program() -> Option<OsString> {
    if cfg!(windows) {
        return Some("git".into());
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("git"));
    found.into_iter().find(|git| crate::sys::filesystem::is_program(git)).map(PathBuf::into_os_string)
}

type Pipe = mpsc::Receiver<Vec<u8>>;

/// Reads a pipe to its end, or until there is more than is wanted, in a thread of its own: a program that git started may
/// keep the pipe open after git is gone, and nobody shall wait for that.
fn collect(pipe: Option<impl Read + Send + 'static>, most: u64) -> Pipe {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(most + 1).read_to_end(&mut bytes);
        }
        let _ = send.send(bytes);
    });
    receive
}

/// Ends git and, where the system has process groups, whatever it started. Only for a child that wasn't waited for: its
/// pid is still its own, and so is its group's.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = rustix::process::Pid::from_raw(child.id() as i32) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether it is one of the variables that git listens to.
pub(crate) fn is_git_variable(name: &OsStr) -> bool {
    name.to_string_lossy().to_ascii_uppercase().starts_with("GIT_")
}

fn seconds(limit: Duration) -> String {
    if limit < Duration::from_secs(1) { format!("{} ms", limit.as_millis()) } else { format!("{} s", limit.as_secs()) }
}
