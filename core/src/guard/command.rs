//! What git commands would do to work that isn't committed, or isn't the caller's.

use super::shell::{Simple, Word, commands, joined};

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
    /// Everything uncommitted goes into a commit.
    Sweep { untracked: bool, paths: Vec<String> },
    /// What is staged goes into a commit.
    Staged,
    /// A working tree is removed.
    Worktree(String),
    /// The remote branch is overwritten: the remote, and the branch unless it is the one checked out.
    Push { remote: Option<String>, branch: Option<String> },
    /// A branch is deleted or moved.
    Branch(String),
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

/// The commands of a line that have a risk, where git is run in so many words.
pub(super) fn risky(line: &str) -> Vec<Found> {
    if !line.contains("git") {
        return Vec::new();
    }
    let mut found: Vec<Found> = Vec::new();
    // What `git add` has swept up before in the same line, by directory: untracked files too, and which paths.
    let mut added: Vec<(String, (bool, Vec<String>))> = Vec::new();
    for simple in commands(line) {
        let Some((dir, words)) = git(&simple) else { continue };
        let Some((sub, args)) = words.split_first().filter(|(sub, _)| sub.certain) else { continue };
        let args = Args::of(args);
        if sub.text == "add" && !args.has("n", &["--dry-run"]) {
            let all = args.has("A", &["--all", "--no-ignore-removal"]);
            let wide = args.plain.iter().any(|path| matches!(path.as_str(), "." | "*" | ":/" | ":" | "./"));
            let update = args.has("u", &["--update"]);
            if all || wide || update {
                let paths = if wide || args.plain.is_empty() { Vec::new() } else { args.plain.clone() };
                added.push((dir, (!update, paths)));
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

/// The words behind `git` and its own options, and where it runs.
fn git(simple: &Simple) -> Option<(String, &[Word])> {
    let (first, mut words) = simple.words.split_first()?;
    let name = first.text.rsplit(['/', '\\']).next()?;
    if !first.certain || !matches!(name, "git" | "git.exe") {
        return None;
    }
    let mut dir = simple.dir.clone()?;
    while let Some(option) = words.first().filter(|word| word.text.starts_with('-')) {
        let text = option.text.as_str();
        let (name, inline) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let takes =
            matches!(name, "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" | "--config-env")
                && inline.is_none();
        let takes = takes && text != "--exec-path";
        let word = if takes { words.get(1)? } else { option };
        let value = inline.unwrap_or(word.text.as_str());
        match name {
            "-C" | "--work-tree" => dir = word.certain.then(|| joined(Some(&dir), value))??,
            "--git-dir" => {
                let root =
                    value.strip_suffix(".git").map(|root| root.trim_end_matches('/')).filter(|_| word.certain)?;
                dir = if root.is_empty() && !value.starts_with('/') { dir } else { joined(Some(&dir), root)? };
            }
            "--help" | "--version" => return None,
            _ => {}
        }
        words = words.get(1 + usize::from(takes)..)?;
    }
    Some((dir, words))
}

/// The arguments of a git command.
struct Args {
    options: Vec<String>,
    /// What is no option, before `--`.
    plain: Vec<String>,
    /// What stands behind `--`.
    paths: Option<Vec<String>>,
}

impl Args {
    fn of(words: &[Word]) -> Args {
        let mut args = Args { options: Vec::new(), plain: Vec::new(), paths: None };
        for word in words {
            match (&mut args.paths, word.text.as_str()) {
                (Some(paths), text) => paths.push(text.to_owned()),
                (None, "--") => args.paths = Some(Vec::new()),
                (None, text) if text.len() > 1 && text.starts_with('-') => args.options.push(text.to_owned()),
                (None, text) => args.plain.push(text.to_owned()),
            }
        }
        args
    }

    /// Whether one of these letters or long options is there. In a cluster of letters, what follows one that takes a value
    /// is that value: such clusters are none of the commands' that this is asked for, but `commit`'s.
    fn has(&self, letters: &str, long: &[&str]) -> bool {
        self.options.iter().any(|option| {
            let name = option.split('=').next().unwrap_or_default();
            if option.starts_with("--") {
                return long.contains(&name);
            }
            let cluster = option[1..].split(['m', 'F', 'C', 'S', 'u']).next().unwrap_or_default();
            let whole = &option[1..];
            letters.chars().any(|letter| cluster.contains(letter) || (whole.starts_with(letter)))
        })
    }

    fn all_paths(&self) -> Vec<String> {
        self.plain.iter().chain(self.paths.iter().flatten()).cloned().collect()
    }
}

fn risk(sub: &str, args: &Args, swept: Option<&(bool, Vec<String>)>) -> Option<Risk> {
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
            let mut paths = args.all_paths();
            // `-s HEAD path`
            if args.options.iter().any(|option| matches!(option.as_str(), "-s" | "--source")) && paths.len() > 1 {
                paths.remove(0);
            }
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
        "merge" | "cherry-pick" | "revert" | "am" => args.has("", &["--abort"]).then(|| tracked(Vec::new())),
        "pull" => args.has("r", &["--rebase", "--autostash"]).then_some(Risk::Tree),
        "filter-branch" | "filter-repo" => Some(Risk::Tree),
        "bisect" => matches!(first?, "start" | "good" | "bad" | "new" | "old" | "skip" | "reset" | "run" | "replay")
            .then_some(Risk::Tree),
        "rm" => (args.has("f", &["--force"]) && !args.has("n", &["--cached", "--dry-run"]))
            .then(|| tracked(args.all_paths())),
        "worktree" => match (first?, args.plain.get(1)) {
            ("remove", Some(path)) => Some(Risk::Worktree(path.clone())),
            _ => None,
        },
        "push" => push(args),
        "branch" => {
            let force = args.has("f", &["--force"]);
            let moves = args.has("DMC", &[]) || force;
            (moves && first.is_some()).then(|| Risk::Branch(first.unwrap_or_default().to_owned()))
        }
        "commit" => commit(args, swept),
        _ => None,
    }
}

fn stash(args: &Args, first: Option<&str>) -> Option<Risk> {
    let untracked = args.has("ua", &["--include-untracked", "--all"])
        || args.options.iter().any(|option| matches!(option.as_str(), "-u" | "-a"));
    let entry = |name: Option<&String>| {
        let name = name.map_or("0", String::as_str);
        let name = name.strip_prefix("refs/").unwrap_or(name);
        let number = name.strip_prefix("stash@{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(name);
        let number = if number == "stash" { Some(0) } else { number.parse().ok() };
        Some(Risk::StashEntry { number, drops: first != Some("apply") })
    };
    match first {
        None | Some("push" | "save") => {
            if args.has("", &["--help"]) {
                return None;
            }
            let mut paths: Vec<String> = args.paths.clone().unwrap_or_default();
            // `-m text` is no path.
            let words = args.plain.iter().skip(1).cloned();
            if first == Some("push")
                && !args.options.iter().any(|option| option.ends_with('m') || option == "--message")
            {
                paths.extend(words);
            }
            Some(Risk::Stash { untracked, paths })
        }
        Some("branch") => entry(args.plain.get(2)),
        Some("pop" | "apply" | "drop") => entry(args.plain.get(1)),
        Some("clear") => Some(Risk::StashClear),
        _ => None,
    }
}

fn checkout(args: &Args, first: Option<&str>) -> Option<Risk> {
    let paths = |paths: &[String]| {
        Some(Risk::Uncommitted { tracked: true, untracked: false, ignored: false, paths: paths.to_vec() })
    };
    if let Some(behind) = args.paths.as_deref().filter(|paths| !paths.is_empty()) {
        return paths(behind);
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

fn commit(args: &Args, swept: Option<&(bool, Vec<String>)>) -> Option<Risk> {
    if args.has("", &["--dry-run", "--help", "--interactive", "--patch"]) {
        return None;
    }
    if let Some((untracked, paths)) = swept {
        return Some(Risk::Sweep { untracked: *untracked, paths: paths.clone() });
    }
    if args.has("a", &["--all"]) {
        return Some(Risk::Sweep { untracked: false, paths: Vec::new() });
    }
    // Words that are the values of options can't be told from paths but by the option before; so only `--` is sure.
    if args.paths.as_ref().is_some_and(|paths| !paths.is_empty()) && !args.has("i", &["--include"]) {
        return None;
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
                Risk::Sweep { untracked, paths } => {
                    format!("sweep {} {}", if untracked { "u" } else { "t" }, paths.join(" "))
                }
                Risk::Staged => "staged".to_owned(),
                Risk::Worktree(path) => format!("worktree {path}"),
                Risk::Push { remote, branch } => format!("push {remote:?} {branch:?}").replace('"', ""),
                Risk::Branch(name) => format!("branch {name}"),
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
            ("git add a b && git commit -m x", &["staged"]),
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
            ("ls | xargs git checkout --", &[]),
            // What is no command, or not certain.
            ("echo git stash", &[]),
            ("echo 'git reset --hard' > x", &[]),
            ("grep -r 'git clean -fd' .", &[]),
            ("cat <<E\ngit reset --hard\nE", &[]),
            ("# git stash", &[]),
            ("git commit -m \"$(cat <<'E'\ngit reset --hard\nE\n)\" -- a", &[]),
            ("git $X", &[]),
            ("$GIT stash", &[]),
            ("cd $X && git stash", &[]),
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
