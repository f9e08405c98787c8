//! Where a call stands: the repository that its directory is in, and the scope that follows from it.
//!
//! Git's own files are read, never git itself run: it may be missing, slow, or told by a repository's configuration
//! to run programs. Whatever is malformed is no repository, and the search goes on in the directory above.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::identity::check_name;
use crate::origin::Origin;
use crate::sys::filesystem::open_regular;

const POINTER_MAX: u64 = 64 << 10;
const PACKED_REFS_MAX: u64 = 64 << 20;

/// What sessions, notes, channels, locks and claims live in. A call sees those of its own scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// What is stored: empty for the global scope, `name:NAME`, or `repo:` and a host and path, or a directory.
    pub key: String,
    /// For people: `global`, the given name, or the repository's.
    pub name: String,
}

impl Scope {
    /// The scope of calls outside any repository.
    pub fn global() -> Scope {
        Scope { key: String::new(), name: "global".to_owned() }
    }

    /// A scope that a call names.
    ///
    /// # Errors
    /// `INVALID` if `name` breaks the rule for names.
    pub fn named(name: &str) -> Result<Scope> {
        check_name("scope", name, 128)?;
        Ok(Scope { key: format!("name:{name}"), name: name.to_owned() })
    }
}

/// Where a call stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory, absolute and without symbolic links.
    pub cwd: PathBuf,
    /// The repository whose working tree it is in.
    pub repository: Option<Repository>,
}

/// A repository, seen from one of its working trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The root of this working tree, absolute and without symbolic links.
    pub worktree: PathBuf,
    /// Where this working tree's own state is (`HEAD`, the index).
    pub git_dir: PathBuf,
    /// What all linked working trees share, absolute and without symbolic links.
    pub common_dir: PathBuf,
    /// The scope's key, the same for all clones of one `origin`.
    pub key: String,
    /// The repository's name, for people.
    pub name: String,
}

/// What a working tree has checked out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The branch, unless HEAD is detached.
    pub branch: Option<String>,
    /// The full commit id, unless nothing was committed yet.
    pub commit: Option<String>,
}

impl Place {
    /// Finds where `cwd` is.
    ///
    /// # Errors
    /// `INVALID` if the directory doesn't exist or can't be entered.
    pub fn of(cwd: &Path) -> Result<Place> {
        let cwd = canonical(cwd).map_err(|e| {
            Error::invalid(format!("the directory {} can't be used: {e}", cwd.display()))
                .with("path", cwd.display().to_string())
                .hint("go to a directory that exists, then try again")
                .caused_by(e)
        })?;
        let repository = Repository::above(&cwd);
        Ok(Place { cwd, repository })
    }

    /// The scope of calls from here that don't name one.
    pub fn scope(&self) -> Scope {
        match &self.repository {
            Some(r) => Scope { key: r.key.clone(), name: r.name.clone() },
            None => Scope::global(),
        }
    }
}

impl Repository {
    fn above(cwd: &Path) -> Option<Repository> {
        for dir in cwd.ancestors() {
            if let Some(git) = Dirs::of_worktree(dir) {
                let Origin { key, name } = Origin::of(&git.common);
                let worktree = dir.to_owned();
                return Some(Repository { worktree, git_dir: git.own, common_dir: git.common, key, name });
            }
            // Inside `.git` or a bare repository there is no working tree, and what lies around it is another matter.
            if Dirs::at(dir).is_some() {
                return None;
            }
        }
        None
    }

    /// What is checked out here, as the files say at this moment.
    pub fn head(&self) -> Head {
        let path = self.git_dir.join("HEAD");
        // HEAD may be a symbolic link to the branch's file: git's oldest form.
        let link = fs::read_link(&path).ok().and_then(|to| to.to_str().map(str::to_owned));
        let Some(text) = link.map(|to| format!("ref: {to}")).or_else(|| read(&path, POINTER_MAX)) else {
            return Head::default();
        };
        let Some(name) = text.strip_prefix("ref:").map(str::trim) else {
            return Head { branch: None, commit: commit_id(&text) };
        };
        // A repository with the reftable format names `.invalid` here; its refs can't be read from files.
        let branch = name.strip_prefix("refs/heads/").filter(|b| *b != ".invalid" && is_ref_name(b)).map(str::to_owned);
        Head { branch, commit: self.commit_of(name) }
    }

    fn commit_of(&self, name: &str) -> Option<String> {
        let mut name = name.to_owned();
        for _ in 0..5 {
            let inside = Path::new(&name).components().all(|c| matches!(c, Component::Normal(_)));
            if !name.starts_with("refs/") || !inside {
                return None;
            }
            let loose = [&self.common_dir, &self.git_dir].into_iter().find_map(|d| read(&d.join(&name), POINTER_MAX));
            let Some(text) = loose else { return self.packed_commit_of(&name) };
            match text.strip_prefix("ref:") {
                Some(next) => name = next.trim().to_owned(),
                None => return commit_id(&text),
            }
        }
        None
    }

    fn packed_commit_of(&self, name: &str) -> Option<String> {
        let file = open(&self.common_dir.join("packed-refs"))?;
        let mut lines = BufReader::new(file.take(PACKED_REFS_MAX));
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).ok()? > 0 {
            if let Some((id, found)) = std::str::from_utf8(&line).ok().and_then(|l| l.trim_end().split_once(' '))
                && found == name
            {
                return commit_id(id);
            }
            line.clear();
        }
        None
    }
}

/// Whether git would let a branch be called so, as far as it matters to whoever shows it.
fn is_ref_name(name: &str) -> bool {
    !name.contains("..") && !name.contains(|c: char| c.is_control() || c == ' ')
}

fn commit_id(text: &str) -> Option<String> {
    let id = text.trim();
    (matches!(id.len(), 40 | 64) && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}

/// A git directory, and the one that it shares with its linked working trees (often the same).
pub(crate) struct Dirs {
    own: PathBuf,
    pub(crate) common: PathBuf,
}

impl Dirs {
    /// The git directory of a working tree whose root is `dir`.
    fn of_worktree(dir: &Path) -> Option<Dirs> {
        let dot_git = dir.join(".git");
        let kind = fs::metadata(&dot_git).ok()?;
        if kind.is_dir() {
            return Dirs::at(&dot_git);
        }
        let text = read(&dot_git, POINTER_MAX)?;
        let path = text.strip_prefix("gitdir:")?.trim();
        if path.is_empty() { None } else { Dirs::at(&dir.join(path)) }
    }

    /// `dir`, if it is a git directory itself.
    fn at(dir: &Path) -> Option<Dirs> {
        // Not `exists`: HEAD may be a symbolic link to a branch without commits.
        fs::symlink_metadata(dir.join("HEAD")).ok()?;
        let common = match read(&dir.join("commondir"), POINTER_MAX) {
            Some(path) => dir.join(path.trim()),
            None => dir.to_owned(),
        };
        if !common.join("objects").is_dir() || !common.join("refs").is_dir() {
            return None;
        }
        Some(Dirs { own: canonical(dir).ok()?, common: canonical(&common).ok()? })
    }

    /// The repository that git would take `path` for, when it clones from it.
    pub(crate) fn cloned_from(path: &Path) -> Option<Dirs> {
        let with_suffix = || {
            let mut name = path.as_os_str().to_owned();
            name.push(".git");
            PathBuf::from(name)
        };
        Dirs::of_worktree(path)
            .or_else(|| Dirs::at(path))
            .or_else(|| Dirs::of_worktree(&with_suffix()))
            .or_else(|| Dirs::at(&with_suffix()))
    }
}

/// Absolute and without symbolic links, in the form that people type.
pub(crate) fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    #[cfg(windows)]
    if let Some(plain) =
        path.to_str().and_then(|p| p.strip_prefix(r"\\?\")).filter(|p| p.as_bytes().get(1) == Some(&b':'))
    {
        return Ok(PathBuf::from(plain));
    }
    Ok(path)
}

/// The text of a regular file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn open(path: &Path) -> Option<fs::File> {
    open_regular(path).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        let output = command
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn temp() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    fn repository(at: &Path) -> PathBuf {
        fs::create_dir_all(at).unwrap();
        git(at, &["init", "-q", "-b", "main"]);
        git(at, &["commit", "-q", "--allow-empty", "-m", "first"]);
        at.to_owned()
    }

    fn found(dir: &Path) -> Repository {
        Place::of(dir).unwrap().repository.unwrap()
    }

    #[test]
    fn outside_a_repository_the_scope_is_global() {
        let (_keep, dir) = temp();
        let place = Place::of(&dir).unwrap();
        assert_eq!(place, Place { cwd: dir.clone(), repository: None });
        assert_eq!(place.scope(), Scope::global());
        assert_eq!(Scope::named("shop").unwrap().key, "name:shop");
        assert!(Scope::named("my shop").is_err());
        assert!(Place::of(&dir.join("gone")).is_err());
    }

    #[test]
    fn linked_worktrees_are_one_repository() {
        let (_keep, dir) = temp();
        let main = repository(&dir.join("shop"));
        git(&main, &["worktree", "add", "-q", "-b", "side", "../side tree"]);
        fs::create_dir_all(dir.join("side tree/a/b")).unwrap();
        let (one, two) = (found(&main), found(&dir.join("side tree/a/b")));
        assert_eq!(one.worktree, main);
        assert_eq!(two.worktree, dir.join("side tree"));
        assert_eq!(one.common_dir, main.join(".git"));
        assert_eq!(two.common_dir, one.common_dir);
        assert_eq!(two.git_dir, main.join(".git/worktrees/side-tree"));
        assert_eq!(one.key, format!("repo:{}", main.join(".git").display()));
        assert_eq!((&two.key, &two.name), (&one.key, &"shop".to_owned()));
        assert_eq!(two.head().branch.as_deref(), Some("side"));
        assert_eq!(two.head().commit, Some(git(&main, &["rev-parse", "HEAD"])));
    }

    #[test]
    fn clones_of_a_local_repository_share_its_key() {
        let (_keep, dir) = temp();
        let first = repository(&dir.join("first"));
        git(&dir, &["clone", "-q", "first", "second"]);
        git(&dir, &["clone", "-q", "second", "third"]);
        git(&dir, &["clone", "-q", "--bare", "first", "bare.git"]);
        git(&dir, &["clone", "-q", &format!("file://{}/bare.git", dir.display()), "fourth"]);
        let key = found(&first).key;
        for clone in ["second", "third", "fourth"] {
            assert_eq!(found(&dir.join(clone)).key, key, "{clone}");
        }
        // A relative path, a missing suffix, and an origin of the origin.
        git(&dir.join("fourth"), &["config", "remote.origin.url", "../bare"]);
        assert_eq!(found(&dir.join("fourth")).key, key);
        git(&first, &["remote", "add", "origin", "git@github.com:org/shop.git"]);
        let fourth = found(&dir.join("fourth"));
        assert_eq!((fourth.key.as_str(), fourth.name.as_str()), ("repo:github.com/org/shop", "shop"));
        git(&first, &["config", "remote.origin.url", "/nowhere/at/../all.git"]);
        assert_eq!(found(&first).key, "repo:/nowhere/all.git");
        assert_eq!(found(&first).name, "all");
    }

    #[test]
    fn origins_in_a_circle_have_one_key() {
        let (_keep, dir) = temp();
        for (name, origin) in [("a", "../b"), ("b", "../c"), ("c", "../b")] {
            let at = repository(&dir.join(name));
            git(&at, &["remote", "add", "origin", origin]);
        }
        let keys = ["a", "b", "c"].map(|n| found(&dir.join(n)).key);
        assert_eq!(keys, [(); 3].map(|()| format!("repo:{}", dir.join("b/.git").display())));
        git(&dir.join("a"), &["config", "remote.origin.url", "."]);
        assert_eq!(found(&dir.join("a")).key, format!("repo:{}", dir.join("a/.git").display()));
    }

    #[test]
    fn one_origin_in_many_spellings_is_one_key() {
        let (_keep, dir) = temp();
        let at = repository(&dir.join("x"));
        git(&at, &["remote", "add", "origin", "x"]);
        for url in [
            "git@github.com:org/repo.git",
            "github.com:org/repo",
            "git@github.com:/org/repo.git/",
            "[git@github.com:22]:org/repo",
            "ssh://git@github.com:22/org/repo",
            "ssh://git@github.com/org/repo.git",
            "https://user:secret@GitHub.com/org/repo.git/",
            "https://github.com:443/org//repo",
            "git://github.com/org/repo.git",
        ] {
            git(&at, &["config", "remote.origin.url", url]);
            assert_eq!(found(&at).key, "repo:github.com/org/repo", "{url}");
            assert_eq!(found(&at).name, "repo", "{url}");
        }
        for (url, key) in [
            ("ssh://git@git.example.org:2222/~me/repo", "repo:git.example.org:2222/~me/repo"),
            ("ssh://git@[::1]:22/repo", "repo:[::1]/repo"),
            ("codecommit::eu-west-1://me@repo", "repo:codecommit::repo"),
            ("https://example.org", "repo:example.org"),
        ] {
            git(&at, &["config", "remote.origin.url", url]);
            assert_eq!(found(&at).key, key);
        }
    }

    #[test]
    fn git_directories_have_no_working_tree() {
        let (_keep, dir) = temp();
        let at = repository(&dir.join("x"));
        assert_eq!(Place::of(&at.join(".git")).unwrap().repository, None);
        assert_eq!(Place::of(&at.join(".git/refs/heads")).unwrap().repository, None);
        git(&at, &["init", "-q", "--bare", "inner.git"]);
        assert_eq!(Place::of(&at.join("inner.git")).unwrap().repository, None);
    }

    #[test]
    fn a_malformed_git_is_passed_over() {
        let (_keep, dir) = temp();
        let at = repository(&dir.join("x"));
        for (name, text) in [("a", ""), ("b", "gitdir: /nowhere"), ("c", "gitdir:"), ("d", "nonsense")] {
            fs::create_dir(at.join(name)).unwrap();
            fs::write(at.join(name).join(".git"), text).unwrap();
            assert_eq!(found(&at.join(name)).worktree, at, "{name}");
        }
        fs::create_dir_all(at.join("e/.git")).unwrap();
        assert_eq!(found(&at.join("e")).worktree, at);
    }

    #[test]
    fn submodules_and_separate_git_directories_are_found() {
        let (_keep, dir) = temp();
        let inner = repository(&dir.join("inner"));
        let outer = repository(&dir.join("outer"));
        git(&outer, &["submodule", "--quiet", "add", "../inner", "lib"]);
        let module = found(&outer.join("lib"));
        assert_eq!(module.worktree, outer.join("lib"));
        assert_eq!(module.common_dir, outer.join(".git/modules/lib"));
        assert_eq!(module.key, found(&inner).key);
        fs::create_dir(dir.join("store")).unwrap();
        git(&dir, &["init", "-q", "--separate-git-dir", "store/.bare", "apart"]);
        assert_eq!(found(&dir.join("apart")).common_dir, dir.join("store/.bare"));
        assert_eq!(found(&dir.join("apart")).name, "store");
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_lead_to_the_same_place() {
        let (_keep, dir) = temp();
        let at = repository(&dir.join("x"));
        std::os::unix::fs::symlink(&at, dir.join("link")).unwrap();
        assert_eq!(found(&dir.join("link")), found(&at));
    }

    #[test]
    fn the_head_is_read_loose_packed_detached_and_unborn() {
        let (_keep, dir) = temp();
        let at = repository(&dir.join("x"));
        let commit = Some(git(&at, &["rev-parse", "HEAD"]));
        let on_main = Head { branch: Some("main".to_owned()), commit: commit.clone() };
        assert_eq!(found(&at).head(), on_main);
        git(&at, &["pack-refs", "--all"]);
        assert!(!at.join(".git/refs/heads/main").exists());
        assert_eq!(found(&at).head(), on_main);
        git(&at, &["checkout", "-q", "--detach"]);
        assert_eq!(found(&at).head(), Head { branch: None, commit });
        git(&at, &["checkout", "-q", "--orphan", "topic/new"]);
        assert_eq!(found(&at).head(), Head { branch: Some("topic/new".to_owned()), commit: None });
        for odd in ["../../../secret", "a\nb", "a\u{1b}[31m", "a b"] {
            fs::write(at.join(".git/HEAD"), format!("ref: refs/heads/{odd}\n")).unwrap();
            assert_eq!(found(&at).head(), Head::default(), "{odd:?}");
        }
    }
}
