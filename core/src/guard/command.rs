//! What git commands would do to work that isn't committed, or isn't the caller's.

use super::args::Args;
use super::shell::{Simple, Word, commands, entered, git_dir};

/// What is at risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Risk {
    /// Uncommitted content: of these paths, or of all.
    Uncommitted { tracked: bool, untracked: bool, ignored: bool, paths: Vec<String> },
    /// What is checked out, under everybody at work there.
    Tree,
    /// A word that is either a branch, as `Tree`, or a path.
    TreeOrPath(String),
    /// A new stash entry of what is uncommitted.
    Stash { untracked: bool, paths: Vec<String> },
    /// A stash entry: where it is in the list, unless that can't be told, and whether it goes.
    StashEntry { number: Option<usize>, drops: bool },
    /// All stash entries.
    StashClear,
    /// What is uncommitted goes into a commit, besides what is staged: of these paths, or all. `named`: the paths were chosen,
    /// so only what is known to be another's is.
    Sweep { untracked: bool, paths: Vec<String>, named: bool },
    /// What is staged goes into a commit.
    Staged,
    /// A working tree is removed.
    Worktree(String),
    /// The remote branch is overwritten: the remote, and the branch unless it is the one checked out.
    Push { remote: Option<String>, branch: Option<String> },
    /// Branches are deleted, moved or overwritten; `HEAD` for the one checked out, empty for any.
    Branch(Vec<String>),
}

/// A git command with a risk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As the text says it, `git reset --hard`.
    pub(super) command: String,
    /// Where it runs, relative to where the line does.
    pub(super) dir: String,
    pub(super) risk: Risk,
}

impl Risk {
    /// Whether something can be lost, not only be put into a commit.
    pub(super) fn destroys(&self) -> bool {
        !matches!(self, Risk::Sweep { .. } | Risk::Staged)
    }
}

/// The commands of a line that have a risk, where git is run in so many words.
pub(super) fn risky(line: &str) -> Vec<Found> {
    if !line.contains("git") {
        return Vec::new();
    }
    let mut found: Vec<Found> = Vec::new();
    // What `git add` has taken up before in the same line, by directory.
    let mut added: Vec<(String, Added)> = Vec::new();
    for simple in commands(line) {
        let Some((dir, words)) = git(&simple) else { continue };
        let Some((sub, args)) = words.split_first().filter(|(sub, _)| sub.certain) else { continue };
        let args = Args::of(&sub.text, args);
        if args.options.iter().any(|option| matches!(option.as_str(), "-h" | "--help")) {
            continue;
        }
        if sub.text == "add" && !args.has("n", &["--dry-run"]) {
            match added.iter_mut().find(|(where_, _)| *where_ == dir) {
                Some((_, before)) => before.and(Added::of(&args)),
                None => added.push((dir, Added::of(&args))),
            }
            continue;
        }
        let swept = added.iter().find(|(where_, _)| *where_ == dir);
        let Some(risk) = risk(&sub.text, &args, swept.map(|(_, swept)| swept)) else { continue };
        let mut command = "git".to_owned();
        for word in words.iter().take(8) {
            command.push(' ');
            command.extend(word.text.chars().filter(|c| !c.is_control()).take(60));
        }
        found.push(Found { command: command.chars().take(100).collect(), dir, risk });
    }
    found
}

/// What `git add` takes up.
struct Added {
    untracked: bool,
    /// None for all.
    paths: Vec<String>,
    named: bool,
}

impl Added {
    fn of(args: &Args) -> Added {
        let all = args.has("A", &["--all", "--no-ignore-removal"]);
        let update = args.has("u", &["--update"]);
        let wide = |path: &String| matches!(path.as_str(), "." | "*" | ":/" | ":" | "./");
        let paths = args.all_paths();
        let is_wide = paths.is_empty() || paths.iter().any(wide);
        Added {
            untracked: !update,
            paths: if is_wide { Vec::new() } else { paths },
            named: !(all || update || is_wide && args.is_told()),
        }
    }

    fn and(&mut self, more: Added) {
        self.untracked |= more.untracked;
        self.named &= more.named;
        match self.paths.is_empty() || more.paths.is_empty() {
            true => self.paths.clear(),
            false => self.paths.extend(more.paths),
        }
    }
}

/// The words behind `git` and its own options, and where it runs.
fn git(simple: &Simple) -> Option<(String, &[Word])> {
    let (first, mut words) = simple.words.split_first()?;
    let name = first.text.rsplit(['/', '\\']).next()?;
    if !first.certain || !matches!(name, "git" | "git.exe") {
        return None;
    }
    let mut dir = simple.dir.clone();
    while let Some(option) = words.first().filter(|word| word.text.starts_with('-')) {
        let text = option.text.as_str();
        let (name, inline) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let takes =
            matches!(name, "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" | "--config-env")
                && inline.is_none();
        let takes = takes && text != "--exec-path";
        let word = if takes { words.get(1)? } else { option };
        let value = Word { text: inline.unwrap_or(word.text.as_str()).to_owned(), ..*word };
        match name {
            "-C" | "--work-tree" => dir = entered(&dir, &value),
            "--git-dir" => dir = git_dir(&dir, &value),
            "--help" | "--version" => return None,
            _ => {}
        }
        words = words.get(1 + usize::from(takes)..)?;
    }
    Some((dir, words))
}

fn risk(sub: &str, args: &Args, swept: Option<&Added>) -> Option<Risk> {
    let first = args.plain.first().map(String::as_str);
    let tracked = |paths: Vec<String>| Risk::Uncommitted { tracked: true, untracked: false, ignored: false, paths };
    match sub {
        "stash" => stash(args, first),
        "reset" => match first {
            _ if !args.has("", &["--hard", "--merge", "--keep"]) => None,
            None | Some("HEAD" | "@") => Some(tracked(Vec::new())),
            Some(_) => Some(Risk::Tree),
        },
        "checkout" => checkout(args, first),
        "switch" => (!args.plain.is_empty() || !args.options.is_empty()).then_some(Risk::Tree),
        "restore" => {
            let staged_alone = args.has("S", &["--staged"]) && !args.has("W", &["--worktree"]);
            let paths = args.all_paths();
            (!staged_alone).then(|| tracked(paths))
        }
        "clean" => {
            let runs = args.has("f", &["--force"]) && !args.has("n", &["--dry-run"]);
            let ignored = args.has("xX", &[]);
            let paths = args.all_paths();
            runs.then_some(Risk::Uncommitted { tracked: false, untracked: true, ignored, paths })
        }
        "rebase" => {
            let harmless = ["--quit", "--edit-todo", "--show-current-patch", "--help"];
            (!args.has("h", &harmless)).then_some(Risk::Tree)
        }
        "merge" | "cherry-pick" | "revert" | "am" => args.has("", &["--abort", "--skip"]).then(|| tracked(Vec::new())),
        "pull" => args.has("r", &["--rebase", "--autostash"]).then_some(Risk::Tree),
        "filter-branch" | "filter-repo" => Some(Risk::Tree),
        "bisect" => matches!(first?, "start" | "good" | "bad" | "new" | "old" | "skip" | "reset" | "run" | "replay")
            .then_some(Risk::Tree),
        "rm" => (args.has("f", &["--force"]) && !args.has("n", &["--cached", "--dry-run"]))
            .then(|| tracked(args.all_paths())),
        "mv" => (args.has("f", &["--force"]) && !args.has("n", &["--dry-run"])).then(|| Risk::Uncommitted {
            tracked: true,
            untracked: true,
            ignored: false,
            // What is there is written over.
            paths: args.told(args.plain.last().cloned().into_iter().collect()),
        }),
        "read-tree" => (args.has("u", &[]) && args.has("m", &["--reset"])).then_some(Risk::Tree),
        "checkout-index" => {
            let paths = if args.has("a", &["--all"]) { Vec::new() } else { args.all_paths() };
            args.has("f", &["--force"]).then(|| tracked(paths))
        }
        "worktree" => match (first?, args.plain.get(1)) {
            ("remove", Some(path)) => Some(Risk::Worktree(path.clone())),
            _ => None,
        },
        "push" => push(args),
        "branch" => {
            let force = args.has("f", &["--force"]);
            let names = |names: &[String]| {
                let name = |name: &String| if args.untold.contains(name) { String::new() } else { name.clone() };
                names.iter().map(name).collect::<Vec<_>>()
            };
            let names = if args.has("r", &["--remotes"]) {
                return None;
            } else if args.has("D", &[]) || force && args.has("d", &["--delete"]) {
                names(&args.plain)
            } else if args.has("M", &[]) || force && args.has("m", &["--move"]) {
                let renamed = (args.plain.len() == 1).then(|| "HEAD".to_owned());
                renamed.into_iter().chain(names(&args.plain)).collect()
            } else if args.has("C", &[]) || force && args.has("c", &["--copy"]) {
                names(&args.plain[args.plain.len().saturating_sub(1)..])
            } else if force {
                names(&args.plain[..args.plain.len().min(1)])
            } else {
                Vec::new()
            };
            (!names.is_empty()).then_some(Risk::Branch(names))
        }
        "commit" => commit(args, swept),
        _ => None,
    }
}

fn stash(args: &Args, first: Option<&str>) -> Option<Risk> {
    let untracked = args.has("ua", &["--include-untracked", "--all"]);
    // Options before the first word are those of a push.
    let first = if args.led { None } else { first };
    let entry = |name: Option<&String>| {
        let name = name.map_or("0", String::as_str);
        let name = name.strip_prefix("refs/").unwrap_or(name);
        let number = name.strip_prefix("stash@{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(name);
        let number = if number == "stash" { Some(0) } else { number.parse().ok() };
        Some(Risk::StashEntry { number, drops: first != Some("apply") })
    };
    match first {
        None | Some("push" | "save") => {
            let mut paths: Vec<String> = args.paths.clone().unwrap_or_default();
            match first {
                Some("push") => paths.extend(args.plain.iter().skip(1).cloned()),
                None => paths.extend(args.plain.iter().cloned()),
                _ => {}
            }
            Some(Risk::Stash { untracked, paths: args.told(paths) })
        }
        Some("branch") => entry(args.plain.get(2)),
        Some("pop" | "apply" | "drop") => entry(args.plain.get(1)),
        Some("clear") => Some(Risk::StashClear),
        _ => None,
    }
}

fn checkout(args: &Args, first: Option<&str>) -> Option<Risk> {
    let paths = |paths: &[String]| {
        let paths = args.told(paths.to_vec());
        Some(Risk::Uncommitted { tracked: true, untracked: false, ignored: false, paths })
    };
    if let Some(behind) = args.paths.as_deref().filter(|paths| !paths.is_empty()) {
        return paths(behind);
    }
    if args.has("", &["--pathspec-from-file"]) {
        return paths(&[]);
    }
    if args.has("bB", &["--orphan", "--detach", "--track"]) || args.has("dt", &[]) {
        return Some(Risk::Tree);
    }
    let looks_like_path = |word: &str| {
        matches!(word, "." | "..")
            || word.starts_with("./")
            || word.starts_with("../")
            || word.starts_with(':')
            || word.ends_with('/')
            || word.contains(['*', '?'])
    };
    match args.plain.len() {
        0 if args.has("f", &["--force"]) => paths(&[]),
        0 => None,
        1 if looks_like_path(first?) => paths(&args.plain),
        1 if args.paths.is_some() || first == Some("-") => Some(Risk::Tree),
        1 if !args.is_told() => Some(Risk::Tree),
        1 => Some(Risk::TreeOrPath(first?.to_owned())),
        // A commit and paths, or paths alone.
        _ => paths(&args.plain),
    }
}

fn push(args: &Args) -> Option<Risk> {
    let rules = args.plain.get(1..).unwrap_or_default();
    let deletes = args.has("d", &["--delete", "--mirror", "--prune"]);
    let forced = args.has("f", &["--force", "--force-with-lease", "--force-if-includes", "--mirror"]);
    let is_forced = |rule: &&String| forced || deletes || rule.starts_with(['+', ':']);
    let rule = rules.iter().find(is_forced);
    if args.has("n", &["--dry-run"]) || !(forced || deletes || rule.is_some()) {
        return None;
    }
    let branch = rule.map(|rule| rule.trim_start_matches('+').rsplit(':').next().unwrap_or_default().to_owned());
    let branch =
        branch.map(|branch| branch.trim_start_matches("refs/heads/").to_owned()).filter(|branch| branch != "HEAD");
    Some(Risk::Push { remote: args.plain.first().cloned(), branch })
}

fn commit(args: &Args, swept: Option<&Added>) -> Option<Risk> {
    if args.has("", &["--dry-run", "--help", "--interactive", "--patch"]) {
        return None;
    }
    if args.has("a", &["--all"]) {
        let untracked = swept.is_some_and(|added| added.untracked && !added.named);
        return Some(Risk::Sweep { untracked, paths: Vec::new(), named: false });
    }
    // Words that are the values of options can't be told from paths but by the option before; so only `--` is sure.
    if args.paths.as_ref().is_some_and(|paths| !paths.is_empty()) && !args.has("i", &["--include"]) {
        return None;
    }
    if let Some(Added { untracked, paths, named }) = swept {
        return Some(Risk::Sweep { untracked: *untracked, paths: paths.clone(), named: *named });
    }
    Some(Risk::Staged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The risks of a line, in short.
    fn seen(line: &str) -> Vec<String> {
        let short = |found: Found| {
            let risk = match found.risk {
                Risk::Uncommitted { tracked, untracked, ignored, paths } => {
                    let kinds = [(tracked, "t"), (untracked, "u"), (ignored, "i")];
                    let kinds: String = kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| *kind).collect();
                    format!("uncommitted {kinds} {}", paths.join(" "))
                }
                Risk::Tree => "tree".to_owned(),
                Risk::TreeOrPath(word) => format!("tree or {word}"),
                Risk::Stash { untracked, paths } => {
                    format!("stash {} {}", if untracked { "u" } else { "t" }, paths.join(" "))
                }
                Risk::StashEntry { number, drops } => {
                    let number = number.map_or("?".to_owned(), |number| number.to_string());
                    format!("{} {number}", if drops { "entry" } else { "apply" })
                }
                Risk::StashClear => "clear".to_owned(),
                Risk::Sweep { untracked, paths, named } => {
                    let named = if named { "n" } else { "" };
                    format!("sweep {}{named} {}", if untracked { "u" } else { "t" }, paths.join(" "))
                }
                Risk::Staged => "staged".to_owned(),
                Risk::Worktree(path) => format!("worktree {path}"),
                Risk::Push { remote, branch } => format!("push {remote:?} {branch:?}").replace('"', ""),
                Risk::Branch(names) => format!("branch {}", names.join(" ")),
            };
            let dir = if found.dir.is_empty() { String::new() } else { format!("{}: ", found.dir) };
            format!("{dir}{}", risk.trim_end())
        };
        risky(line).into_iter().map(short).collect()
    }

    #[test]
    fn dangers_are_seen_and_the_harmless_is_not() {
        for (line, expected) in [
            ("git stash", &["stash t"][..]),
            ("git stash push -u -m 'wip x'", &["stash u"]),
            ("git stash push -- a b", &["stash t a b"]),
            ("git stash -u", &["stash u"]),
            ("git stash save half", &["stash t"]),
            ("git stash pop", &["entry 0"]),
            ("git stash apply stash@{2}", &["apply 2"]),
            ("git stash drop 1", &["entry 1"]),
            ("git stash drop refs/stash@{1}; git stash pop 'stash@{yesterday}'", &["entry 1", "entry ?"]),
            ("git stash branch x stash@{3}", &["entry 3"]),
            ("git stash clear", &["clear"]),
            ("git stash list; git stash show -p", &[]),
            ("git reset --hard", &["uncommitted t"]),
            ("git reset --hard HEAD", &["uncommitted t"]),
            ("git reset --hard origin/main", &["tree"]),
            ("git reset HEAD~1; git reset", &[]),
            ("git checkout -- a 'b c'", &["uncommitted t a b c"]),
            ("git checkout .", &["uncommitted t ."]),
            ("git checkout HEAD -- src/", &["uncommitted t src/"]),
            ("git checkout main", &["tree or main"]),
            ("git checkout -b new", &["tree"]),
            ("git checkout -", &["tree"]),
            ("git checkout", &[]),
            ("git switch main", &["tree"]),
            ("git switch -c x", &["tree"]),
            ("git restore a b", &["uncommitted t a b"]),
            ("git restore --staged a", &[]),
            ("git restore --staged --worktree a", &["uncommitted t a"]),
            ("git restore --source=HEAD~1 a", &["uncommitted t a"]),
            ("git clean -fd", &["uncommitted u"]),
            ("git clean -xdf build", &["uncommitted ui build"]),
            ("git clean -n; git clean -fn", &[]),
            ("git rebase main", &["tree"]),
            ("git rebase --abort", &["tree"]),
            ("git merge --abort", &["uncommitted t"]),
            ("git merge main; git pull; git pull --ff-only", &[]),
            ("git pull --rebase", &["tree"]),
            ("git pull -r origin main", &["tree"]),
            ("git worktree remove --force ../side", &["worktree ../side"]),
            ("git worktree add ../x; git worktree list", &[]),
            ("git push", &[]),
            ("git push -u origin main", &[]),
            ("git push --force", &["push None None"]),
            ("git push -f origin main", &["push Some(origin) Some(main)"]),
            ("git push --force-with-lease=main origin HEAD:main", &["push Some(origin) Some(main)"]),
            ("git push origin +x:y", &["push Some(origin) Some(y)"]),
            ("git push origin --delete old", &["push Some(origin) Some(old)"]),
            ("git push --dry-run -f", &[]),
            ("git branch -D old", &["branch old"]),
            ("git branch; git branch -a; git branch new", &[]),
            ("git commit -m 'all of it'", &["staged"]),
            ("git commit -am x", &["sweep t"]),
            ("git commit -a -m x", &["sweep t"]),
            ("git commit -m 'a' -- a b", &[]),
            ("git commit --amend --no-edit", &["staged"]),
            ("git commit -ma", &["staged"]),
            ("git add -A && git commit -m x", &["sweep u"]),
            ("git add . ; git commit -m x", &["sweep u"]),
            ("git add --all src && git commit -qm x", &["sweep u src"]),
            ("git add a b && git commit -m x", &["sweep un a b"]),
            ("git add src && git add lib && git commit -m x", &["sweep un src lib"]),
            ("git add $X && git commit -m x", &["sweep un"]),
            ("git add a && git add -A && git commit -m x", &["sweep u"]),
            ("git add a && git commit -m x -- a", &[]),
            ("git clean -fdx -e .env", &["uncommitted ui"]),
            ("git clean -fd -e n --exclude x y", &["uncommitted u y"]),
            ("git stash -m wip; git stash -u -m wip", &["stash t", "stash u"]),
            ("git stash -um wip -- a; git stash -ku", &["stash u a", "stash u"]),
            ("git stash push -m pop a", &["stash t a"]),
            (
                "git checkout -- src/{a,b}; git restore ~/x $Y; git checkout $Y",
                &["uncommitted t", "uncommitted t", "tree"],
            ),
            ("git push -uf", &["push None None"]),
            ("git push -fo x origin main", &["push Some(origin) Some(main)"]),
            ("git restore -SW b; git restore -s HEAD b", &["uncommitted t b", "uncommitted t b"]),
            ("git branch -D other main; git branch -df x", &["branch other main", "branch x"]),
            ("git branch -M new; git branch -mf a b; git branch -D $X", &["branch HEAD new", "branch a b", "branch"]),
            ("git branch -f main HEAD~1; git branch -C a b; git branch -m a b", &["branch main", "branch b"]),
            ("git read-tree -u --reset HEAD; git checkout-index -fa", &["tree", "uncommitted t"]),
            ("git checkout --pathspec-from-file list", &["uncommitted t"]),
            (
                "git restore --pathspec-from-file=list; git rm -f --pathspec-from-file x",
                &["uncommitted t", "uncommitted t"],
            ),
            (
                "git am --skip; git cherry-pick --skip; git mv -f a b",
                &["uncommitted t", "uncommitted t", "uncommitted tu b"],
            ),
            ("find . -name x -exec git checkout {} +", &["tree"]),
            ("find . -name x -exec git checkout -- {} \\;", &["uncommitted t"]),
            ("git diff --name-only | xargs git checkout --", &["uncommitted t"]),
            ("git stash --help; git reset --hard -h; git rebase -h; git switch --help; git push -f --help", &[]),
            ("git add -u && git commit -m x", &["sweep t"]),
            ("git add -A", &[]),
            ("git rm -rf old", &["uncommitted t old"]),
            ("git status && git log --oneline -5 && git diff", &[]),
            // Wherever it stands.
            ("cd sub && git stash", &["sub: stash t"]),
            ("git -C ../x reset --hard", &["../x: uncommitted t"]),
            ("git -c user.name=x --no-pager stash", &["stash t"]),
            ("git --git-dir=/r/.git reset --hard", &["/r: uncommitted t"]),
            ("git --git-dir .git reset --hard", &["uncommitted t"]),
            ("git --work-tree /w reset --hard", &["/w: uncommitted t"]),
            ("/usr/bin/git stash", &["stash t"]),
            ("sudo -u me env X=1 git stash", &["stash t"]),
            ("bash -c 'git reset --hard'", &["uncommitted t"]),
            ("npm test || git checkout .", &["uncommitted t ."]),
            ("x=$(git stash)", &["stash t"]),
            ("git \\\n  stash", &["stash t"]),
            ("\"git\" 'stash'", &["stash t"]),
            // The paths come from elsewhere.
            ("ls | xargs git checkout --", &["uncommitted t"]),
            // What is no command, or not certain.
            ("echo git stash", &[]),
            ("echo 'git reset --hard' > x", &[]),
            ("grep -r 'git clean -fd' .", &[]),
            ("cat <<E\ngit reset --hard\nE", &[]),
            ("# git stash", &[]),
            ("git commit -m \"$(cat <<'E'\ngit reset --hard\nE\n)\" -- a", &[]),
            ("git $X", &[]),
            ("$GIT stash", &[]),
            ("cd $X && git stash", &["stash t"]),
            ("cd \"$(git rev-parse --show-toplevel)\" && git reset --hard", &["$(toplevel): uncommitted t"]),
            ("git -C \"$PWD\" reset --hard; GIT_DIR=.git git reset --hard", &["uncommitted t", "uncommitted t"]),
            ("time -p git stash; env -S 'git stash'", &["stash t", "stash t"]),
            ("bash -ce 'git stash'; bash -c \"git reset --hard $X\"", &["stash t", "tree"]),
            ("bash <<E\ngit stash\nE", &["stash t"]),
            ("echo \"${x:-\"}\"}\"; git stash; echo $'it\\'s'; git reset --hard", &["stash t", "uncommitted t"]),
            ("git log --grep=stash", &[]),
            ("git --help stash", &[]),
            ("digit stash", &[]),
        ] {
            let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
            let seen = seen(line);
            assert_eq!(seen, expected, "{line}");
        }
    }

    #[test]
    fn the_command_is_told_in_short() {
        let found = risky(&format!("git reset --hard {}\u{1b}[31m", "x".repeat(500)));
        assert!(found[0].command.len() <= 100 && found[0].command.starts_with("git reset --hard xxx"));
        assert!(!found[0].command.contains('\u{1b}'));
    }
}
