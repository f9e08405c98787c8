//! The pre-commit hook of a repository: ours, and the one that was there.
//!
//! What was there is moved aside and run first, and its exit code counts. One that somebody changed since is left alone. Ours lets the commit go on where `pd` is missing or
//! fails. Where a repository has its hooks elsewhere (`core.hooksPath`, as husky does), nothing is touched.

use std::fs;
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Call, Git};
use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use crate::ids::short;
use crate::scope::Repository;
use crate::sys::filesystem::{identity, make_program, put_again, set_aside};

const LIMIT: Duration = Duration::from_secs(5);
const MARK: &str = "# Installed by `pd git install-hooks`";
/// Under its own name: a hook may look at it to see which one it is.
const ASIDE: &str = "port-daddy.before/pre-commit";
/// Tries, where others change the file at the same moment.
const TRIES: usize = 10;

/// What became of a repository's pre-commit hook.
#[derive(Clone, Debug, Serialize)]
pub struct GitHook {
    /// The hook's file.
    pub path: String,
    /// Whether ours is there now.
    pub installed: bool,
    /// Whether anything was changed.
    pub changed: bool,
    /// The hook that was there before, which ours runs first.
    pub runs_first: Option<String>,
}

impl Coordinator {
    /// Installs the pre-commit hook of the repository that the handle's directory is in; a hook that is there is run
    /// first. `strict` lets it refuse commits with files that another live session wrote last. Again changes nothing.
    ///
    /// # Errors
    /// `INVALID` outside a working tree, where the repository has its hooks elsewhere, or where the file can't be written.
    pub fn install_git_hook(&self, strict: bool) -> Result<GitHook> {
        let hook = Hook::of(self.inner.repository()?)?;
        let script = script(strict);
        let spare = format!("pre-commit.{}", short(&*self.inner.db.inputs().random, 12));
        let dir = hook.aside.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(hook.path.parent().unwrap_or(dir)).map_err(|e| hook.failed(&e))?;
        for _ in 0..TRIES {
            let stands = hook.stands();
            match stands {
                Stands::Ours(text) if text == script => return Ok(hook.now(false)),
                Stands::Changed => return Err(hook.changed()),
                Stands::Theirs => {
                    fs::create_dir_all(dir).map_err(|e| hook.failed(&e))?;
                    match set_aside(&hook.path, &hook.aside) {
                        // Somebody else is at it, or was killed at it.
                        Err(e) if e.kind() == AlreadyExists && identity(&hook.path) == identity(&hook.aside) => {}
                        // Or is done.
                        Err(e) if e.kind() == AlreadyExists && hook.is_ours() => continue,
                        Err(e) if e.kind() == AlreadyExists => {
                            return Err(Error::invalid(format!("{} is in the way", hook.aside.display()))
                                .with("path", hook.aside.display().to_string())
                                .hint("it was a hook that was there before; move it away, then try again"));
                        }
                        Err(e) if e.kind() == NotFound => continue,
                        done => done.map_err(|e| hook.failed(&e))?,
                    }
                }
                Stands::Ours(_) | Stands::Nothing => {}
            }
            match make_program(&hook.path, &spare, script.as_bytes(), !matches!(stands, Stands::Nothing)) {
                Err(e) if e.kind() == AlreadyExists => {}
                done => return done.map_err(|e| hook.failed(&e)).map(|()| hook.now(true)),
            }
        }
        Err(hook.failed(&std::io::Error::other("others change it all the time")))
    }

    /// Removes the hook, and puts back the one that was there before.
    ///
    /// # Errors
    /// As [`install_git_hook`](Self::install_git_hook).
    pub fn remove_git_hook(&self) -> Result<GitHook> {
        let hook = Hook::of(self.inner.repository()?)?;
        match hook.stands() {
            Stands::Ours(_) => {}
            Stands::Changed => return Err(hook.changed()),
            Stands::Theirs | Stands::Nothing => return Ok(hook.now(false)),
        }
        match hook.aside.symlink_metadata() {
            Ok(_) => put_again(&hook.aside, &hook.path),
            Err(_) => fs::remove_file(&hook.path),
        }
        .map_err(|e| hook.failed(&e))?;
        // If nobody put anything else there.
        let _ = hook.aside.parent().map(fs::remove_dir);
        Ok(hook.now(true))
    }
}

/// What is at the hook's place.
enum Stands {
    Nothing,
    /// Ours, as it was installed.
    Ours(String),
    /// Ours, with somebody's changes.
    Changed,
    Theirs,
}

struct Hook {
    path: PathBuf,
    aside: PathBuf,
}

impl Hook {
    fn of(repository: &Repository) -> Result<Hook> {
        let git = Git::within(&repository.worktree, LIMIT);
        let args = ["config", "-z", "--get-all", "core.hooksPath"];
        let said = git
            .bytes(Call { args: &args, also: 1, ..Call::default() })
            .map_err(|problem| crate::snapshots::no_answer(repository, &problem))?;
        // The last is what we set ourselves, so that no hook runs.
        let set = String::from_utf8_lossy(&said);
        let mut set: Vec<&str> = set.split('\0').filter(|value| !value.is_empty()).collect();
        set.pop();
        if let Some(elsewhere) = set.last() {
            return Err(Error::invalid(format!("this repository has its hooks in {elsewhere:?} (core.hooksPath)"))
                .with("hooks_path", *elsewhere)
                .hint("add this line to the pre-commit hook there: pd git pre-commit || true"));
        }
        let dir = repository.common_dir.join("hooks");
        if dir.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(Error::invalid(format!(
                "{} is a symbolic link: other repositories may share it",
                dir.display()
            ))
            .with("path", dir.display().to_string())
            .hint("add this line to the pre-commit hook there: pd git pre-commit || true"));
        }
        Ok(Hook { path: dir.join("pre-commit"), aside: dir.join(ASIDE) })
    }

    fn stands(&self) -> Stands {
        if self.path.symlink_metadata().is_err() {
            return Stands::Nothing;
        }
        let text = fs::read(&self.path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        match text {
            text if [true, false].into_iter().any(|strict| text == script(strict)) => Stands::Ours(text),
            text if text.contains(MARK) => Stands::Changed,
            _ => Stands::Theirs,
        }
    }

    fn is_ours(&self) -> bool {
        matches!(self.stands(), Stands::Ours(_) | Stands::Changed)
    }

    fn changed(&self) -> Error {
        let path = self.path.display().to_string();
        Error::invalid(format!("{path} was changed since pd installed it")).with("path", path).hint(format!(
            "move what was added to {} (a program of its own, which is run first), remove the file, then try again",
            self.aside.display()
        ))
    }

    fn now(self, changed: bool) -> GitHook {
        let installed = self.is_ours();
        let runs_first = Some(self.aside).filter(|aside| installed && aside.symlink_metadata().is_ok());
        let shown = |path: PathBuf| path.display().to_string();
        GitHook { path: shown(self.path), installed, changed, runs_first: runs_first.map(shown) }
    }

    fn failed(&self, e: &std::io::Error) -> Error {
        let path = self.path.display().to_string();
        Error::invalid(format!("{path} can't be changed: {e}")).with("path", path).hint("look at its permissions")
    }
}

fn script(strict: bool) -> String {
    let check = match strict {
        true => {
            "pd git pre-commit --strict\n# 3: refused. Whatever else goes wrong there holds nobody up.\n[ $? -ne 3 ] || exit 1"
        }
        false => "pd git pre-commit",
    };
    format!(
        "#!/bin/sh\n{MARK}; `pd git install-hooks --remove` removes it.\n\
         before=\"$(dirname \"$0\")/{ASIDE}\"\n\
         if [ -x \"$before\" ]; then\n    \"$before\" \"$@\" || exit $?\nfi\n\
         command -v pd >/dev/null 2>&1 || exit 0\n{check}\nexit 0\n"
    )
}
