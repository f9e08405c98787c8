//! Which commands a line of shell runs, as far as that is certain.
//!
//! It knows quotes, separators, subshells, substitutions, here-documents, keywords, and what runs another command (`env`,
//! `sudo`, `bash -c`, `find -exec`). What only running it would tell (variables, functions, aliases, scripts) is passed over: no
//! command is claimed that isn't there in so many words. Where it can't be told in which directory one runs, that is taken to
//! be the line's own.

use std::collections::VecDeque;

/// A longer line is read so far.
const MOST: usize = 64 << 10;
/// Stands for the root of the working tree.
pub(super) const TOPLEVEL: &str = "$(toplevel)";
const ASKS_FOR_TOPLEVEL: &str = "git rev-parse --show-toplevel";
/// Shells in shells.
const MOST_DEPTH: usize = 8;

/// A word as the command would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Nothing in it depends on variables, substitutions or files.
    pub(super) certain: bool,
}

/// A command with its words, and the directory that it runs in.
#[derive(Clone, Debug)]
pub(super) struct Simple {
    pub(super) words: Vec<Word>,
    /// Relative to where the line runs, or absolute; below `~`, or `TOPLEVEL` of what comes before.
    pub(super) dir: String,
}

/// The commands of a line, in the order in which they stand there.
pub(super) fn commands(line: &str) -> Vec<Simple> {
    let mut found = Vec::new();
    read(line, String::new(), 0, &mut found);
    found
}

fn read(line: &str, dir: String, depth: usize, found: &mut Vec<Simple>) {
    if depth < MOST_DEPTH {
        let chars = line.chars().take(MOST).collect();
        let mut reader = Reader { chars, at: 0, depth, here: VecDeque::new(), found };
        reader.list(dir, false);
        // After a stray `)`.
        while reader.at < reader.chars.len() {
            reader.list(String::new(), false);
        }
    }
}

struct Reader<'f> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// Ends of here-documents that begin on the next line; whether tabs go, and where a shell reads it.
    here: VecDeque<(String, bool, Option<String>)>,
    found: &'f mut Vec<Simple>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Reads commands to the end, or to the `)` that closes them; that is passed.
    fn list(&mut self, mut dir: String, closes: bool) {
        let mut words: Vec<Word> = Vec::new();
        self.depth += 1;
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' => self.at += 1,
                '\\' if self.peek(1) == Some('\n') => self.at += 2,
                '#' => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                '\n' => {
                    self.at += 1;
                    self.end(&mut words, &mut dir);
                    self.skip_here();
                }
                ';' | '|' | '&' if c != '&' || self.peek(1) != Some('>') => {
                    self.at += 1;
                    self.end(&mut words, &mut dir);
                }
                '(' => {
                    self.at += 1;
                    self.end(&mut words, &mut dir);
                    if self.depth < MOST_DEPTH * 2 {
                        self.list(dir.to_owned(), true);
                    }
                }
                ')' => {
                    self.at += 1;
                    self.end(&mut words, &mut dir);
                    if closes {
                        break;
                    }
                }
                '<' | '>' | '&' => self.redirect(&words, &dir),
                _ => {
                    let word = self.word(&dir);
                    // `2>file`
                    let number =
                        word.text.chars().all(|c| c.is_ascii_digit()) && matches!(self.peek(0), Some('<' | '>'));
                    if !number {
                        words.push(word);
                    }
                }
            }
        }
        self.end(&mut words, &mut dir);
        self.depth -= 1;
    }

    /// What follows `<` or `>` is no word of the command.
    fn redirect(&mut self, words: &[Word], dir: &str) {
        let from = self.at;
        while matches!(self.peek(0), Some('<' | '>' | '&' | '|')) {
            self.at += 1;
        }
        let what: String = self.chars[from..self.at].iter().collect();
        if matches!(self.peek(0), Some('(')) {
            // `<(command)`
            return;
        }
        let tabs = what == "<<" && self.peek(0) == Some('-');
        self.at += usize::from(tabs);
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
        if self.peek(0).is_some_and(|c| !"\n;|&()<>".contains(c)) {
            let word = self.word(dir);
            let mut at = dir.to_owned();
            let reads = is_shell_of_its_input(past_wrappers(words, &mut at).0);
            match what.as_str() {
                "<<" => self.here.push_back((word.text, tabs, reads.then_some(at))),
                "<<<" if reads => read(&word.text, at, self.depth, self.found),
                _ => {}
            }
        }
    }

    fn skip_here(&mut self) {
        while let Some((end, tabs, reads)) = self.here.pop_front() {
            let mut script = String::new();
            while self.at < self.chars.len() {
                let from = self.at;
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
                let line: String = self.chars[from..self.at].iter().collect();
                self.at += 1;
                if (if tabs { line.trim_start_matches('\t') } else { &line }) == end {
                    break;
                }
                if reads.is_some() {
                    script.extend([line.as_str(), "\n"]);
                }
            }
            if let Some(dir) = reads {
                read(&script, dir, self.depth, self.found);
            }
        }
        self.at = self.at.min(self.chars.len());
    }

    fn word(&mut self, dir: &str) -> Word {
        let mut word = Word { text: String::new(), certain: true };
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    self.at += 1;
                    while let Some(c) = self.peek(0).filter(|c| *c != '\'') {
                        word.text.push(c);
                        self.at += 1;
                    }
                    self.at += 1;
                }
                '"' => self.quoted(&mut word, dir),
                '\\' => {
                    if let Some(c) = self.peek(1).filter(|c| *c != '\n') {
                        word.text.push(c);
                    }
                    self.at += 2;
                }
                '$' if self.peek(1) == Some('\'') => self.ansi_c(&mut word),
                '$' if self.peek(1) == Some('"') => self.at += 1,
                '$' | '`' => self.expansion(&mut word, dir, false),
                c => {
                    word.certain &= !matches!(c, '*' | '?' | '[' | '{' | '~');
                    word.text.push(c);
                    self.at += 1;
                }
            }
        }
        self.at = self.at.min(self.chars.len());
        word
    }

    fn quoted(&mut self, word: &mut Word, dir: &str) {
        self.at += 1;
        while let Some(c) = self.peek(0) {
            match c {
                '"' => break,
                '\\' => {
                    match self.peek(1) {
                        Some(c @ ('"' | '\\' | '$' | '`')) => word.text.push(c),
                        Some('\n') | None => {}
                        Some(c) => word.text.extend(['\\', c]),
                    }
                    self.at += 2;
                }
                '$' | '`' => self.expansion(word, dir, true),
                c => {
                    word.text.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
    }

    /// `$'it\'s'`
    fn ansi_c(&mut self, word: &mut Word) {
        self.at += 2;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '\'' => break,
                '\\' => {
                    match self.peek(0) {
                        Some('n') => word.text.push('\n'),
                        Some('t') => word.text.push('\t'),
                        Some(c @ ('\'' | '"' | '\\')) => word.text.push(c),
                        // Codes of characters.
                        _ => word.certain = false,
                    }
                    self.at += 1;
                }
                c => word.text.push(c),
            }
        }
    }

    /// Behind `${`, to the brace that closes it. Commands in it are found like others.
    fn braces(&mut self, dir: &str, is_quoted: bool) {
        let mut inside = Word { text: String::new(), certain: false };
        self.depth += 1;
        while let Some(c) = self.peek(0) {
            match c {
                '}' => {
                    self.at += 1;
                    break;
                }
                '\\' => self.at += 2,
                '"' => self.quoted(&mut inside, dir),
                '\'' if !is_quoted => {
                    self.at += 1;
                    while self.peek(0).is_some_and(|c| c != '\'') {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                '$' | '`' if self.depth < MOST_DEPTH * 2 => self.expansion(&mut inside, dir, is_quoted),
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.chars.len());
        self.depth -= 1;
    }

    /// `$x`, `${x}`, `$(command)`, `$((1))`, or a command in backquotes. The commands are found like others.
    fn expansion(&mut self, word: &mut Word, dir: &str, is_quoted: bool) {
        word.certain = false;
        let c = self.peek(0);
        self.at += 1;
        if c == Some('`') {
            let mut inner = String::new();
            while let Some(c) = self.peek(0).filter(|c| *c != '`') {
                self.at += 1 + usize::from(c == '\\');
                inner.push(if c == '\\' { self.chars.get(self.at - 1).copied().unwrap_or(' ') } else { c });
            }
            self.at += 1;
            if inner.trim() == ASKS_FOR_TOPLEVEL {
                word.text.push_str(TOPLEVEL);
            }
            read(&inner, dir.to_owned(), self.depth, self.found);
            return;
        }
        match self.peek(0) {
            Some('(') if self.depth < MOST_DEPTH * 2 => {
                self.at += 1;
                let (outer, from) = (std::mem::take(&mut self.here), self.at);
                self.list(dir.to_owned(), true);
                self.here = outer;
                let asked: String = self.chars[from..self.at].iter().collect();
                if asked.trim_end_matches(')').trim() == ASKS_FOR_TOPLEVEL {
                    word.text.push_str(TOPLEVEL);
                }
            }
            Some('{') if self.depth < MOST_DEPTH * 2 => {
                self.at += 1;
                let from = self.at;
                self.braces(dir, is_quoted);
                if let Some(name @ ("PWD" | "HOME")) =
                    self.chars.get(from..self.at - 1).map(|name| name.iter().collect::<String>()).as_deref()
                {
                    word.text.extend(["$", name]);
                }
            }
            _ => word.text.push('$'),
        }
    }

    /// The end of a command.
    fn end(&mut self, words: &mut Vec<Word>, dir: &mut String) {
        let words = std::mem::take(words);
        self.command(&words, dir, self.depth);
    }

    fn command(&mut self, words: &[Word], dir: &mut String, depth: usize) {
        // What is set before a command is for that alone.
        let mut at = dir.clone();
        let (words, fed) = past_wrappers(words, &mut at);
        let Some(first) = words.first().filter(|word| word.certain) else { return };
        let line = |words: &[Word]| words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        match name(first) {
            "cd" | "pushd" => {
                let to = words[1..].iter().find(|word| !matches!(word.text.as_str(), "--" | "-P" | "-L"));
                *dir = to.map_or_else(|| "~".to_owned(), |to| entered(dir, to));
            }
            "popd" => dir.clear(),
            "eval" => read(&line(&words[1..]), at, depth, self.found),
            "-S" | "--split-string" => read(&line(&words[1..]), at, depth, self.found),
            text if text.starts_with("-S") || text.starts_with("--split-string=") => {
                let text = first.text.trim_start_matches("--split-string=").trim_start_matches("-S");
                read(&format!("{text} {}", line(&words[1..])), at, depth, self.found);
            }
            "find" => {
                let runs = |word: &Word| matches!(word.text.as_str(), "-exec" | "-execdir" | "-ok" | "-okdir");
                let mut rest = words;
                while let Some(from) = rest.iter().position(runs) {
                    let ends = |word: &Word| matches!(word.text.as_str(), ";" | "+");
                    let to = rest[from..].iter().position(ends).map_or(rest.len(), |to| from + to);
                    if depth < MOST_DEPTH * 2 {
                        self.command(&rest[from + 1..to.max(from + 1)], &mut at.clone(), depth + 1);
                    }
                    rest = &rest[to.max(from + 1)..];
                }
            }
            name if SHELLS.contains(&name) => {
                let is_option = |word: &&Word| word.text.starts_with('-');
                let options = words[1..].iter().filter(is_option);
                if options.clone().any(|word| !word.text.starts_with("--") && word.text.contains('c')) {
                    let from = words.iter().position(is_c).unwrap_or_default();
                    // What is uncertain in it is uncertain in what is read from it.
                    if let Some(script) = words[from + 1..].iter().find(|word| !is_option(word)) {
                        read(&script.text, at, depth, self.found);
                    }
                }
            }
            _ => {
                let mut words = words.to_vec();
                if fed {
                    words.push(Word { text: String::new(), certain: false });
                }
                self.found.push(Simple { words, dir: at });
            }
        }
    }
}

const SHELLS: [&str; 5] = ["bash", "sh", "zsh", "dash", "ksh"];

/// The name of the program.
fn name(word: &Word) -> &str {
    let name = word.text.rsplit(['/', '\\']).next().unwrap_or_default();
    name.strip_suffix(".exe").unwrap_or(name)
}

/// `-c`, also among other letters.
fn is_c(word: &Word) -> bool {
    word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains('c')
}

/// `bash`, `bash -s`, `bash -e -`
fn is_shell_of_its_input(words: &[Word]) -> bool {
    words.split_first().is_some_and(|(first, rest)| {
        SHELLS.contains(&name(first)) && rest.iter().all(|word| word.text.starts_with('-') && !is_c(word))
    })
}

/// Where `cd` leads to. Where only running it would tell: where the line runs.
pub(super) fn entered(dir: &str, to: &Word) -> String {
    let text = to.text.as_str();
    if let Some(rest) = text.strip_prefix("$PWD").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return if rest.is_empty() { dir.to_owned() } else { joined(dir, &rest[1..]) };
    }
    if let Some(rest) = text.strip_prefix("$HOME").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return format!("~{rest}");
    }
    let is_told = to.certain || text == "~" || text.starts_with("~/") || text.starts_with(TOPLEVEL);
    if is_told && text != "-" && !text.is_empty() { joined(dir, text) } else { String::new() }
}

/// The command without what only says how it is run, and whether `xargs` adds words to it.
fn past_wrappers<'w>(mut words: &'w [Word], dir: &mut String) -> (&'w [Word], bool) {
    let mut fed = false;
    loop {
        let Some(first) = words.first() else { return (words, fed) };
        let text = first.text.as_str();
        let with_values: &[&str] = match text {
            "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "{" | "}" | "!" | "fi" | "done" => {
                words = &words[1..];
                continue;
            }
            "time" => &["-o", "-f", "--output", "--format"],
            "command" | "exec" | "nohup" | "builtin" | "setsid" | "stdbuf" => &["-a"],
            "nice" => &["-n"],
            "env" => &["-u", "-C", "--chdir", "--unset"],
            "sudo" | "doas" => &["-u", "-g", "-C", "-D", "-p", "--user", "--group", "--chdir"],
            "timeout" => &["-s", "-k", "--signal", "--kill-after"],
            "xargs" => &["-I", "-n", "-P", "-L", "-d", "-a", "-s"],
            _ if is_assignment(text) => {
                let value = |name: &str| text.strip_prefix(name).map(|text| Word { text: text.to_owned(), ..*first });
                if let Some(to) = value("GIT_DIR=") {
                    *dir = git_dir(dir, &to);
                } else if let Some(to) = value("GIT_WORK_TREE=") {
                    *dir = entered(dir, &to);
                }
                words = &words[1..];
                continue;
            }
            _ => return (words, fed),
        };
        if !first.certain {
            return (words, fed);
        }
        let wrapper = text;
        fed |= wrapper == "xargs";
        words = &words[1..];
        while let Some(word) = words.first().filter(|word| word.text.starts_with('-')) {
            let option = word.text.as_str();
            if wrapper == "env" && (option.starts_with("-S") || option.starts_with("--split-string")) {
                return (words, fed);
            }
            let takes = with_values.contains(&option);
            let leads = match wrapper {
                "env" => matches!(option, "-C" | "--chdir"),
                "sudo" | "doas" => matches!(option, "-D" | "--chdir"),
                _ => false,
            };
            if let Some(to) = words.get(1).filter(|_| leads) {
                *dir = entered(dir, to);
            } else if let Some(to) = option.strip_prefix("--chdir=") {
                *dir = entered(dir, &Word { text: to.to_owned(), ..*word });
            }
            words = words.get(1 + usize::from(takes)..).unwrap_or_default();
        }
        if wrapper == "timeout" {
            words = words.get(1..).unwrap_or_default();
        }
    }
}

/// The working tree whose git directory is named.
pub(super) fn git_dir(dir: &str, to: &Word) -> String {
    match to.text.strip_suffix(".git").map(|root| root.trim_end_matches('/')) {
        Some("") if !to.text.starts_with('/') => dir.to_owned(),
        Some(root) => entered(dir, &Word { text: root.to_owned(), ..*to }),
        None => entered(dir, to),
    }
}

fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A directory seen from another.
pub(super) fn joined(dir: &str, to: &str) -> String {
    match to.starts_with(['/', '~']) || dir.is_empty() {
        true => to.to_owned(),
        false => format!("{dir}/{to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(line: &str) -> Vec<String> {
        let words = |simple: Simple| {
            let words: Vec<_> = simple.words.iter().map(|word| word.text.clone()).collect();
            match simple.dir.as_str() {
                "" => words.join(" "),
                dir => format!("{dir}: {}", words.join(" ")),
            }
        };
        commands(line).into_iter().map(words).collect()
    }

    #[test]
    fn commands_are_found_wherever_they_stand() {
        for (line, expected) in [
            ("a b", &["a b"][..]),
            ("a && b; c | d & e || f\ng", &["a", "b", "c", "d", "e", "f", "g"]),
            ("a 'b c' \"d e\" f\\ g", &["a b c d e f g"]),
            ("(a; b) && c", &["a", "b", "c"]),
            ("cd x && a", &["x: a"]),
            ("cd x && cd y && a", &["x/y: a"]),
            ("(cd x && a); b", &["x: a", "b"]),
            ("cd \"$HOME\" && a", &["~: a"]),
            ("cd ~/x; a; cd; b", &["~/x: a", "~: b"]),
            ("cd x; cd - && a", &["a"]),
            ("cd x && cd \"$PWD\" && a; cd ${PWD}/y; b", &["x: a", "x/y: b"]),
            ("cd $(git rev-parse --show-toplevel) && a", &["git rev-parse --show-toplevel", "$(toplevel): a"]),
            ("cd `git rev-parse --show-toplevel`/x; a", &["git rev-parse --show-toplevel", "$(toplevel)/x: a"]),
            ("cd $X && a; popd; b", &["a", "b"]),
            ("bash -ce 'a'; bash -e -o pipefail -c 'b'; bash -c \"c $X d\"", &["a", "b", "c $X d"]),
            ("bash <<E\na b\nE\ncat <<'E'\nc\nE\nsudo sh -s <<<'d e'", &["a b", "cat", "d e"]),
            ("time -p a; env -S 'a b' c; env -i -S'a b'", &["a", "a b c", "a b"]),
            ("env -C x a; sudo -D y b; c", &["x: a", "y: b", "c"]),
            ("a \"${x:-\"}\"}\" b; c", &["a  b", "c"]),
            ("a ${x:-'}'} b; c ${x:-$(d)}", &["a  b", "d", "c "]),
            ("a \"${x:-it's}\" b; c", &["a  b", "c"]),
            ("a $'it\\'s' b; c $\"d\"", &["a it's b", "c d"]),
            ("ls | xargs -n 1 a b", &["ls", "a b "]),
            ("find . -name x -exec a b {} \\; -exec c {} + -print", &["a b {}", "c {}"]),
            ("cd /x; a", &["/x: a"]),
            ("X=1 Y=2 a", &["a"]),
            ("env -u Z X=1 sudo -u me nice -n 5 command a", &["a"]),
            ("timeout -k 5 10 a b", &["a b"]),
            ("GIT_DIR=/x a; GIT_DIR=.git b; GIT_DIR=y/.git c; d", &["/x: a", "b", "y: c", "d"]),
            ("if a; then b; else c; fi", &["a", "b", "c"]),
            ("for x in 1 2; do a; done", &["for x in 1 2", "a"]),
            ("while ! a; do { b; }; done", &["a", "b"]),
            ("bash -c 'a && b'", &["a", "b"]),
            ("bash -lc \"a; bash -c 'b c'\"", &["a", "b c"]),
            ("eval 'a b'", &["a b"]),
            ("a > b 2>&1 < c", &["a"]),
            ("a &> b; c", &["a", "c"]),
            ("a $(b c) d", &["b c", "a  d"]),
            ("a \"$(b; c)\"", &["b", "c", "a "]),
            ("a `b c`", &["b c", "a "]),
            ("a # b; c\nd", &["a", "d"]),
            ("cat <<EOF\ngit reset --hard\nEOF\na", &["cat", "a"]),
            ("cat <<-'E' > x\n\tb\n\tE\na", &["cat", "a"]),
            ("a -m \"$(cat <<'EOF'\nit's; (b)\nEOF\n)\" && c", &["cat", "a -m ", "c"]),
            ("a \\\n b", &["a b"]),
            ("echo 'git stash'", &["echo git stash"]),
            ("a ) b", &["a", "b"]),
            ("$x reset", &[]),
        ] {
            assert_eq!(lines(line), expected, "{line}");
        }
    }

    #[test]
    fn nonsense_ends() {
        for line in
            ["", "'", "\"", "$(", "`", "<<", "((((((((((((((((((((((((((((", "a <<X", "\\", "${", "$(`\"'<<(", ")))"]
        {
            lines(line);
        }
        lines(&"$(".repeat(100_000));
        lines(&"(a ".repeat(100_000));
        lines(&"bash -c 'bash -c ".repeat(1_000));
        lines(&"\"$(`".repeat(10_000));
        lines(&"\"${".repeat(20_000));
        lines(&"${x:-".repeat(20_000));
        lines(&"find -exec ".repeat(6_000));
        lines(&"bash <<<'".repeat(6_000));
    }
}
