//! The arguments of a git command, told apart.

use super::shell::Word;

/// The arguments of a git command.
pub(super) struct Args {
    pub(super) options: Vec<String>,
    /// What is no option nor the value of one, before `--`.
    pub(super) plain: Vec<String>,
    /// What stands behind `--`.
    pub(super) paths: Option<Vec<String>>,
    /// Before it stands an option.
    pub(super) led: bool,
    /// Words that only the shell could tell.
    pub(super) untold: Vec<String>,
    /// Letters that take a value.
    valued: &'static str,
}

/// Options of a command that take a value: letters, and those of them and of the long ones whose value may be the next word.
fn valued(sub: &str) -> (&'static str, &'static [&'static str]) {
    match sub {
        "commit" => (
            "mFCctSu",
            &[
                "-m",
                "-F",
                "-C",
                "-c",
                "-t",
                "--message",
                "--file",
                "--author",
                "--date",
                "--template",
                "--fixup",
                "--squash",
                "--trailer",
                "--cleanup",
                "--reuse-message",
                "--reedit-message",
                "--pathspec-from-file",
            ],
        ),
        "stash" => ("m", &["-m", "--message", "--pathspec-from-file"]),
        "clean" => ("e", &["-e", "--exclude"]),
        "checkout" => ("bB", &["-b", "-B", "--orphan", "--conflict", "--pathspec-from-file"]),
        "switch" => ("cC", &["-c", "-C", "--create", "--force-create", "--orphan", "--conflict"]),
        "restore" => ("s", &["-s", "--source", "--conflict", "--pathspec-from-file"]),
        "reset" | "rm" | "add" => ("", &["--pathspec-from-file", "--chmod"]),
        "push" => ("o", &["-o", "--push-option", "--repo", "--receive-pack", "--exec"]),
        "branch" => ("u", &["-u", "--set-upstream-to"]),
        "merge" | "pull" | "cherry-pick" | "revert" => ("msXSF", &["-m", "-s", "-X", "-F", "--strategy"]),
        "am" => ("pCS", &[]),
        _ => ("", &[]),
    }
}

impl Args {
    pub(super) fn of(sub: &str, words: &[Word]) -> Args {
        let (valued, split) = valued(sub);
        let mut args =
            Args { options: Vec::new(), plain: Vec::new(), paths: None, led: false, untold: Vec::new(), valued };
        args.led = words.first().is_some_and(|word| word.text.len() > 1 && word.text.starts_with('-'));
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            match &mut args.paths {
                None if text == "--" => args.paths = Some(Vec::new()),
                None if text.len() > 1 && text.starts_with('-') => {
                    args.options.push(text.to_owned());
                    // `-qm text`: the value is the next word where the letter comes last.
                    let ends = text[1..].find(|c| valued.contains(c)).filter(|at| at + 2 == text.len());
                    let last = ends.map(|at| format!("-{}", &text[at + 1..]));
                    let name = if text.starts_with("--") { Some(text) } else { last.as_deref() };
                    if name.is_some_and(|name| split.contains(&name)) {
                        words.next();
                    }
                    continue;
                }
                None => args.plain.push(text.to_owned()),
                Some(paths) => paths.push(text.to_owned()),
            }
            if !word.certain {
                args.untold.push(text.to_owned());
            }
        }
        args
    }

    /// Whether one of these letters or long options is there. In a cluster of letters, what follows one that takes a value
    /// is that value.
    pub(super) fn has(&self, letters: &str, long: &[&str]) -> bool {
        self.options.iter().any(|option| {
            if option.starts_with("--") {
                return long.contains(&option.split('=').next().unwrap_or_default());
            }
            let cluster = &option[1..];
            let end = cluster.find(|c| self.valued.contains(c)).unwrap_or(cluster.len());
            cluster.char_indices().any(|(at, letter)| at <= end && letters.contains(letter))
        })
    }

    /// Whether the words say what they say.
    pub(super) fn is_told(&self) -> bool {
        self.untold.is_empty() && !self.has("", &["--pathspec-from-file"])
    }

    /// None, which is all, where one can't be told.
    pub(super) fn told(&self, paths: Vec<String>) -> Vec<String> {
        if self.is_told() { paths } else { Vec::new() }
    }

    pub(super) fn all_paths(&self) -> Vec<String> {
        self.told(self.plain.iter().chain(self.paths.iter().flatten()).cloned().collect())
    }
}
