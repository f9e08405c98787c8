//! What a dead agent left in its working tree, for salvage briefings.
//!
//! The repository is looked at, never changed. Filters are switched off, also those that the user has set up (`git lfs`), so
//! a file that has one and was touched may be shown as changed though it isn't. All of it is bounded in time and size.

mod hooks;
mod run;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::scope::Place;

pub use hooks::GitHook;
pub(crate) use run::{Call, Git};

const MOST_LINES: usize = 200;

/// The work in a working tree that is in no remote repository, as git shows it at this moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WorkLeft {
    /// The working tree's root.
    pub worktree: String,
    /// The branch, unless HEAD is detached.
    pub branch: Option<String>,
    /// The full commit id, unless nothing was committed yet.
    pub commit: Option<String>,
    /// Uncommitted files as git's short status shows them, `M src/a.ts`; at most 200.
    pub uncommitted: Vec<String>,
    /// Stash entries, newest first. All working trees of a repository share them. At most 200.
    pub stashes: Vec<String>,
    /// Commits that are on HEAD and on no remote-tracking branch, `abc1234 subject`, newest first; at most 200. None
    /// where the repository has no remote.
    pub unpushed: Vec<String>,
    /// Why the rest is missing, if something is.
    pub problem: Option<String>,
    /// Whether a list was cut.
    pub truncated: bool,
}

/// The version of git, or why there is none. Takes at most `limit`.
pub(crate) fn version(limit: Duration) -> Result<String, String> {
    let git = Git::within(Path::new("/"), limit);
    git.run(&["version"]).map(|said| said.text.trim().to_owned())
}

/// Looks at the work left in `worktree`. Takes at most `limit`, and then tells what it got.
pub(crate) fn work_left(worktree: &Path, limit: Duration) -> WorkLeft {
    let mut left = WorkLeft { worktree: worktree.display().to_string(), ..WorkLeft::default() };
    let repository = match Place::of(worktree) {
        Err(_) => return left.without("the worktree is gone"),
        Ok(place) => match place.repository.filter(|r| r.worktree == place.cwd) {
            None => return left.without("the worktree is no longer one of a git repository"),
            Some(repository) => repository,
        },
    };
    let head = repository.head();
    (left.branch, left.commit) = (head.branch, head.commit);
    let git = Git::within(&repository.worktree, limit);
    if let Err(problem) = left.ask(&git) {
        left.problem = Some(problem);
    }
    left
}

impl WorkLeft {
    fn without(mut self, problem: &str) -> Self {
        self.problem = Some(problem.to_owned());
        self
    }

    fn ask(&mut self, git: &Git<'_>) -> Result<(), String> {
        // Changes inside a submodule are left out: git would ask there, where other filters may be configured.
        let status = ["status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=dirty"];
        let status = git.run(&status)?;
        self.uncommitted = self.keep(status.cut, status_lines(&status.text));

        let most = format!("-n{}", MOST_LINES + 1);
        let stashes = git.run(&["stash", "list", "--no-show-signature", &most, "--format=%gd: %gs"])?;
        self.stashes = self.keep(stashes.cut, stashes.text.lines().map(str::to_owned));

        if self.commit.is_some() && !git.run(&["remote"])?.text.trim().is_empty() {
            let format = "--format=%h %s";
            let log =
                git.run(&["log", "--no-show-signature", "--no-color", &most, format, "HEAD", "--not", "--remotes"])?;
            self.unpushed = self.keep(log.cut, log.text.lines().map(str::to_owned));
        }
        Ok(())
    }

    fn keep(&mut self, cut: bool, lines: impl Iterator<Item = String>) -> Vec<String> {
        let mut lines: Vec<String> = lines.take(MOST_LINES + 1).collect();
        self.truncated |= cut || lines.len() > MOST_LINES;
        lines.truncate(MOST_LINES);
        lines
    }
}

/// The entries of `git status -z`: two letters, a blank and a path; after a rename, the old path is an entry by itself.
fn status_lines(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut entries = text.split('\0').filter(|e| !e.is_empty());
    std::iter::from_fn(move || {
        let entry = entries.next()?;
        let (letters, path) = entry.split_at_checked(3).unwrap_or((entry, ""));
        let old = if letters.contains(['R', 'C']) { entries.next() } else { None };
        let old = old.map(|o| format!("{o} -> ")).unwrap_or_default();
        Some(format!("{} {old}{path}", letters.trim()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::run::{MOST_FILTERS, is_git_variable};
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn git(dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_git_variable(name)) {
            command.env_remove(name);
        }
        let output = command
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("x");
        fs::create_dir(&at).unwrap();
        git(&at, &["init", "-q", "-b", "main"]);
        for name in ["a", "b", "c"] {
            fs::write(at.join(name), format!("{name}\n").repeat(20)).unwrap();
        }
        git(&at, &["add", "."]);
        git(&at, &["commit", "-q", "-m", "first"]);
        (dir, at)
    }

    #[test]
    fn work_that_is_nowhere_else_is_listed() {
        let (dir, at) = repository();
        git(dir.path(), &["clone", "-q", "--bare", "x", "hub.git"]);
        git(&at, &["remote", "add", "origin", "../hub.git"]);
        git(&at, &["fetch", "-q"]);
        fs::write(at.join("a"), "stashed").unwrap();
        git(&at, &["stash", "push", "-q", "-m", "half done"]);
        fs::write(at.join("a"), "committed").unwrap();
        git(&at, &["commit", "-q", "-am", "second: not pushed"]);
        fs::write(at.join("a"), "changed").unwrap();
        git(&at, &["mv", "b", "moved b"]);
        fs::write(at.join("new\nline"), "").unwrap();
        let left = work_left(&at, LIMIT);
        assert_eq!(left.problem, None);
        assert_eq!(left.worktree, at.display().to_string());
        assert_eq!(left.branch.as_deref(), Some("main"));
        assert_eq!(left.commit, Some(git(&at, &["rev-parse", "HEAD"])));
        assert_eq!(left.uncommitted, ["M a", "R b -> moved b", "?? new\nline"]);
        assert_eq!(left.stashes, ["stash@{0}: On main: half done"]);
        assert_eq!(left.unpushed, [format!("{} second: not pushed", git(&at, &["rev-parse", "--short", "HEAD"]))]);
        assert!(!left.truncated);
    }

    #[test]
    fn without_a_remote_nothing_is_unpushed_and_without_a_commit_nothing_fails() {
        let (dir, at) = repository();
        let left = work_left(&at, LIMIT);
        assert_eq!((left.problem, left.unpushed.len(), left.uncommitted.len()), (None, 0, 0));
        git(dir.path(), &["init", "-q", "-b", "main", "empty"]);
        git(&dir.path().join("empty"), &["remote", "add", "origin", "../x"]);
        let left = work_left(&dir.path().join("empty"), LIMIT);
        assert_eq!((left.problem, left.branch.as_deref(), left.commit), (None, Some("main"), None));
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let (_dir, at) = repository();
        for i in 0..=MOST_LINES {
            fs::write(at.join(format!("file-{i}")), "").unwrap();
        }
        let left = work_left(&at, LIMIT);
        assert_eq!((left.uncommitted.len(), left.truncated), (MOST_LINES, true));
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        let (dir, at) = repository();
        let problem = |path: &Path, limit| work_left(path, limit).problem;
        assert_eq!(problem(&at.join("gone"), LIMIT).as_deref(), Some("the worktree is gone"));
        let outside = Some("the worktree is no longer one of a git repository".to_owned());
        assert_eq!(problem(dir.path(), LIMIT), outside);
        fs::create_dir(at.join("sub")).unwrap();
        assert_eq!(problem(&at.join("sub"), LIMIT), outside);
        let late = work_left(&at, Duration::ZERO);
        assert_eq!(late.problem.as_deref(), Some("git took longer than 0 ms"));
        assert_eq!(late.branch.as_deref(), Some("main"));
        fs::write(at.join(".git/index"), "broken").unwrap();
        assert!(problem(&at, LIMIT).unwrap().starts_with("git failed: "));
    }

    /// What can be done to a repository so that a program of its own runs, and the file that each of them would leave.
    #[cfg(unix)]
    fn trapped(at: &Path, trap: &str) {
        git(at, &["remote", "add", "origin", "../x"]);
        for name in [
            "core.fsmonitor",
            "core.pager",
            "core.editor",
            "core.sshCommand",
            "core.askPass",
            "core.gitProxy",
            "core.alternateRefsCommand",
            "pager.log",
            "pager.status",
            "pager.stash",
            "gpg.program",
            "diff.external",
            "diff.d.command",
            "diff.d.textconv",
            "merge.m.driver",
            "filter.f.clean",
            "filter.f.smudge",
            "filter.p.process",
            "filter.dotted.name.clean",
            "alias.status",
            "alias.log",
            "credential.helper",
            "remote.origin.uploadpack",
            "uploadpack.packObjectsHook",
        ] {
            git(at, &["config", name, trap]);
        }
        for name in ["filter.f.required", "filter.p.required", "log.showSignature"] {
            git(at, &["config", name, "true"]);
        }
        fs::write(at.join(".git/info/attributes"), "a filter=f diff=d\nb filter=p\nc filter=dotted.name merge=m\n")
            .unwrap();
        for hook in ["post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc", "fsmonitor-watchman"]
        {
            fs::create_dir_all(at.join(".git/hooks")).unwrap();
            fs::copy(trap, at.join(".git/hooks").join(hook)).unwrap();
        }
        // The same bytes under another time: git has to compare the files, and would like to note that in the index.
        for name in ["a", "b", "c"] {
            fs::write(at.join(name), format!("{name}\n").repeat(20)).unwrap();
        }
    }

    /// A program that leaves a file behind, and that file.
    #[cfg(unix)]
    fn trap(dir: &Path) -> (String, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let (trap, sprung) = (dir.join("trap"), dir.join("sprung"));
        fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\n", sprung.display())).unwrap();
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
        (trap.to_str().unwrap().to_owned(), sprung)
    }

    #[cfg(unix)]
    #[test]
    fn a_repository_is_neither_changed_nor_allowed_to_run_its_programs() {
        let (dir, at) = repository();
        let (path, sprung) = trap(dir.path());
        trapped(&at, &path);
        let index = fs::read(at.join(".git/index")).unwrap();
        let left = work_left(&at, LIMIT);
        assert_eq!((left.problem, left.unpushed.len(), left.uncommitted.len()), (None, 1, 0));
        assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
        assert_eq!(fs::read(at.join(".git/index")).unwrap(), index);
        // So that it shows at all: plain git runs what is switched off here.
        let plain = Command::new("git").current_dir(&at).env("GIT_OPTIONAL_LOCKS", "0").args(["status", "-s"]).output();
        plain.unwrap();
        let ran = fs::read_to_string(&sprung).unwrap();
        assert!(ran.lines().count() >= 2, "the traps are no traps: {ran}");
    }

    #[cfg(unix)]
    #[test]
    fn filters_that_cannot_be_switched_off_keep_git_from_comparing() {
        let (dir, at) = repository();
        let (path, sprung) = trap(dir.path());
        git(&at, &["config", "core.safecrlf", "false"]);
        let config = fs::read_to_string(at.join(".git/config")).unwrap();
        let attributes = at.join(".git/info/attributes");
        fs::write(&attributes, "* filter=a=b\n").unwrap();
        fs::write(at.join("a"), "a\n".repeat(20)).unwrap();
        fs::write(at.join(".git/config"), format!("{config}[filter \"a=b\"]\nclean = {path}\n")).unwrap();
        assert!(work_left(&at, LIMIT).problem.unwrap().contains("filter \"a=b\": git status was not run"));
        let many: String = (0..=MOST_FILTERS).map(|n| format!("[filter \"f{n}\"]\nclean = {path}\n")).collect();
        fs::write(at.join(".git/config"), format!("{config}{many}")).unwrap();
        fs::write(&attributes, "* filter=f7\n").unwrap();
        assert!(work_left(&at, LIMIT).problem.unwrap().contains("more than 64 filters"));
        assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_submodule_s_programs_are_not_run_either() {
        let (dir, at) = repository();
        let (path, sprung) = trap(dir.path());
        git(dir.path(), &["clone", "-q", "x", "outer"]);
        let outer = dir.path().canonicalize().unwrap().join("outer");
        git(&outer, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", at.to_str().unwrap(), "lib"]);
        git(&outer, &["commit", "-q", "-m", "lib"]);
        let module = outer.join(".git/modules/lib");
        git(&outer.join("lib"), &["config", "filter.f.clean", &path]);
        git(&outer.join("lib"), &["config", "core.fsmonitor", &path]);
        fs::create_dir_all(module.join("info")).unwrap();
        fs::write(module.join("info/attributes"), "* filter=f\n").unwrap();
        fs::write(outer.join("lib/a"), "a\n".repeat(20)).unwrap();
        let left = work_left(&outer, LIMIT);
        assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
        assert_eq!((left.problem, left.uncommitted.len()), (None, 0));
    }

    #[cfg(unix)]
    #[test]
    fn objects_that_are_missing_are_not_fetched() {
        let (dir, at) = repository();
        let (path, sprung) = trap(dir.path());
        // A clone that says that it lacks objects, and names a program that would bring them.
        let tree = git(&at, &["rev-parse", "HEAD^{tree}"]);
        fs::remove_file(at.join(".git/objects").join(&tree[..2]).join(&tree[2..])).unwrap();
        fs::remove_file(at.join(".git/index")).unwrap();
        for (name, value) in [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", &format!("ext::{path}")),
            ("protocol.ext.allow", "always"),
            ("remote.origin.uploadpack", &path),
        ] {
            git(&at, &["config", name, value]);
        }
        let left = work_left(&at, LIMIT);
        assert!(left.problem.is_some(), "{left:?}");
        assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
        Command::new("git").current_dir(&at).args(["status", "-s"]).output().unwrap();
        assert!(sprung.exists(), "it is no trap");
    }

    #[cfg(unix)]
    #[test]
    fn a_git_that_hangs_is_ended() {
        let (_dir, at) = repository();
        // Git reads it, and nobody writes to it.
        let exclude = at.join(".git/info/exclude");
        fs::create_dir_all(exclude.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&exclude);
        assert!(Command::new("mkfifo").arg(&exclude).status().unwrap().success());
        let left = work_left(&at, Duration::from_millis(300));
        assert_eq!(left.problem.as_deref(), Some("git took longer than 300 ms"));
        assert_eq!(left.branch.as_deref(), Some("main"));
    }
}
