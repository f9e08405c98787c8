//! Which commands a line of shell runs, as far as that is certain.
//!
//! It knows quotes, separators, subshells, substitutions, here-documents, keywords, and what runs another command (`env`,
//! `sudo`, `bash -c`). What only running it would tell (variables, functions, aliases, scripts) is passed over: no command is
//! claimed that isn't there in so many words.

use std::collections::VecDeque;

/// A longer line is read so far.
const MOST: usize = 64 << 10;
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
    /// Relative to where the line runs, or absolute. None where it can't be told.
    pub(super) dir: Option<String>,
}

/// The commands of a line, in the order in which they stand there.
pub(super) fn commands(line: &str) -> Vec<Simple> {
    let mut found = Vec::new();
    read(line, Some(String::new()), 0, &mut found);
    found
}

fn read(line: &str, dir: Option<String>, depth: usize, found: &mut Vec<Simple>) {
    if depth < MOST_DEPTH {
        let chars = line.chars().take(MOST).collect();
        let mut reader = Reader { chars, at: 0, depth, here: VecDeque::new(), found };
        reader.list(dir, false);
        // After a stray `)`.
        while reader.at < reader.chars.len() {
            reader.list(None, false);
        }
    }
}

struct Reader<'f> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// Ends of here-documents that begin on the next line.
    here: VecDeque<(String, bool)>,
    found: &'f mut Vec<Simple>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Reads commands to the end, or to the `)` that closes them; that is passed.
    fn list(&mut self, mut dir: Option<String>, closes: bool) {
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
                        self.list(dir.clone(), true);
                    }
                }
                ')' => {
                    self.at += 1;
                    self.end(&mut words, &mut dir);
                    if closes {
                        break;
                    }
                }
                '<' | '>' | '&' => self.redirect(&dir),
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
    fn redirect(&mut self, dir: &Option<String>) {
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
            if what == "<<" {
                self.here.push_back((word.text, tabs));
            }
        }
    }

    fn skip_here(&mut self) {
        while let Some((end, tabs)) = self.here.pop_front() {
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
            }
        }
        self.at = self.at.min(self.chars.len());
    }

    fn word(&mut self, dir: &Option<String>) -> Word {
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
                '$' | '`' => self.expansion(&mut word, dir),
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

    fn quoted(&mut self, word: &mut Word, dir: &Option<String>) {
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
                '$' | '`' => self.expansion(word, dir),
                c => {
                    word.text.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
    }

    /// `$x`, `${x}`, `$(command)`, `$((1))`, or a command in backquotes. The commands are found like others.
    fn expansion(&mut self, word: &mut Word, dir: &Option<String>) {
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
            read(&inner, dir.clone(), self.depth, self.found);
            return;
        }
        match self.peek(0) {
            Some('(') if self.depth < MOST_DEPTH * 2 => {
                self.at += 1;
                let outer = std::mem::take(&mut self.here);
                self.list(dir.clone(), true);
                self.here = outer;
            }
            Some('{') => {
                while self.peek(0).is_some_and(|c| c != '}') {
                    self.at += 1;
                }
                self.at += 1;
            }
            _ => word.text.push('$'),
        }
    }

    /// The end of a command.
    fn end(&mut self, words: &mut Vec<Word>, dir: &mut Option<String>) {
        let words = std::mem::take(words);
        self.command(&words, dir, self.depth);
    }

    fn command(&mut self, words: &[Word], dir: &mut Option<String>, depth: usize) {
        let words = past_wrappers(words, dir);
        let Some(first) = words.first().filter(|word| word.certain) else { return };
        let name = first.text.rsplit(['/', '\\']).next().unwrap_or_default();
        match name.strip_suffix(".exe").unwrap_or(name) {
            "cd" | "pushd" => {
                let to = words[1..].iter().find(|word| !matches!(word.text.as_str(), "--" | "-P" | "-L"));
                *dir = match to {
                    Some(to) if to.certain && to.text != "-" => joined(dir.as_deref(), &to.text),
                    _ => None,
                };
            }
            "popd" => *dir = None,
            "eval" if words[1..].iter().all(|word| word.certain) => {
                let line: Vec<&str> = words[1..].iter().map(|word| word.text.as_str()).collect();
                read(&line.join(" "), dir.clone(), depth, self.found);
            }
            "bash" | "sh" | "zsh" | "dash" | "ksh" => {
                let is_c = |word: &Word| {
                    word.text.starts_with('-') && !word.text.starts_with("--") && word.text.ends_with('c')
                };
                let script = words.iter().position(is_c).and_then(|at| words.get(at + 1));
                if let Some(script) = script.filter(|script| script.certain) {
                    read(&script.text, dir.clone(), depth, self.found);
                }
            }
            _ => self.found.push(Simple { words: words.to_vec(), dir: dir.clone() }),
        }
    }
}

/// The command without what only says how it is run.
fn past_wrappers<'w>(mut words: &'w [Word], dir: &mut Option<String>) -> &'w [Word] {
    loop {
        let Some(first) = words.first() else { return words };
        let text = first.text.as_str();
        let with_values: &[&str] = match text {
            "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "{" | "}" | "!" | "time" | "fi" | "done" => {
                words = &words[1..];
                continue;
            }
            "command" | "exec" | "nohup" | "builtin" | "setsid" | "stdbuf" => &["-a"],
            "nice" => &["-n"],
            "env" => &["-u", "-C", "--chdir", "--unset"],
            "sudo" | "doas" => &["-u", "-g", "-C", "-D", "-p", "--user", "--group", "--chdir"],
            "timeout" => &["-s", "-k", "--signal", "--kill-after"],
            "xargs" => &["-I", "-n", "-P", "-L", "-d", "-a", "-s"],
            _ if is_assignment(text) => {
                if text.starts_with("GIT_DIR=") || text.starts_with("GIT_WORK_TREE=") {
                    // Another repository than this one.
                    *dir = None;
                }
                words = &words[1..];
                continue;
            }
            _ => return words,
        };
        if !first.certain {
            return words;
        }
        let wrapper = text;
        words = &words[1..];
        while let Some(word) = words.first().filter(|word| word.text.starts_with('-')) {
            let takes = with_values.contains(&word.text.as_str());
            if (word.text.starts_with("--chdir") || word.text == "-C") && wrapper == "env" || word.text == "-D" {
                *dir = None;
            }
            words = words.get(1 + usize::from(takes)..).unwrap_or_default();
        }
        if wrapper == "timeout" {
            words = words.get(1..).unwrap_or_default();
        }
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
pub(super) fn joined(dir: Option<&str>, to: &str) -> Option<String> {
    let dir = dir?;
    Some(match (to.starts_with('/'), dir.is_empty()) {
        (true, _) | (_, true) => to.to_owned(),
        (false, false) => format!("{dir}/{to}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(line: &str) -> Vec<String> {
        let words = |simple: Simple| {
            let words: Vec<_> = simple.words.iter().map(|word| word.text.clone()).collect();
            match simple.dir {
                Some(dir) if dir.is_empty() => words.join(" "),
                Some(dir) => format!("{dir}: {}", words.join(" ")),
                None => format!("?: {}", words.join(" ")),
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
            ("cd \"$HOME\" && a", &["?: a"]),
            ("cd /x; a", &["/x: a"]),
            ("X=1 Y=2 a", &["a"]),
            ("env -u Z X=1 sudo -u me nice -n 5 command a", &["a"]),
            ("timeout -k 5 10 a b", &["a b"]),
            ("GIT_DIR=/x a", &["?: a"]),
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
    }
}
