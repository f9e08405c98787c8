//! The pre-commit hook of a repository: ours, and the one that was there.
//!
//! What was there is moved aside and run first, and its exit code counts. Ours lets the commit go on where `pd` is missing or
//! fails. Where a repository has its hooks elsewhere (`core.hooksPath`, as husky does), nothing is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Call, Git};
use crate::coordinator::Coordinator;
use crate::error::{Error, Result};
use crate::scope::Repository;
use crate::sys::filesystem::make_program;

const LIMIT: Duration = Duration::from_secs(5);
const MARK: &str = "# Installed by `pd git install-hooks`";
const ASIDE: &str = "pre-commit.before-port-daddy";

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
        let before = fs::read_to_string(&hook.path).ok();
        if before.as_deref() == Some(&script) {
            return Ok(hook.now(false));
        }
        let dir = hook.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir).map_err(|e| hook.failed(&e))?;
        if !hook.is_ours() && hook.path.symlink_metadata().is_ok() {
            if hook.aside.symlink_metadata().is_ok() {
                return Err(Error::invalid(format!("{} is in the way", hook.aside.display()))
                    .with("path", hook.aside.display().to_string())
                    .hint("it was a hook that was there before; move it away, then try again"));
            }
            fs::rename(&hook.path, &hook.aside).map_err(|e| hook.failed(&e))?;
        }
        make_program(&hook.path, script.as_bytes()).map_err(|e| hook.failed(&e))?;
        Ok(hook.now(true))
    }

    /// Removes the hook, and puts back the one that was there before.
    ///
    /// # Errors
    /// As [`install_git_hook`](Self::install_git_hook).
    pub fn remove_git_hook(&self) -> Result<GitHook> {
        let hook = Hook::of(self.inner.repository()?)?;
        if !hook.is_ours() {
            return Ok(hook.now(false));
        }
        match hook.aside.symlink_metadata() {
            Ok(_) => fs::rename(&hook.aside, &hook.path),
            Err(_) => fs::remove_file(&hook.path),
        }
        .map_err(|e| hook.failed(&e))?;
        Ok(hook.now(true))
    }
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

    fn is_ours(&self) -> bool {
        fs::read(&self.path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(MARK))
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
