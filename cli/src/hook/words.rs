//! What an agent is told, in words: facts, each on a line, in as few characters as say them. Text that others wrote is
//! quoted, with its controls escaped.

use std::borrow::Cow;
use std::path::Path;

use portdaddy_core::{AgentState, Colleague, Edit, LeftWork, News, Other, Overlapped, Signal, Written};

use super::Answer;
use crate::duration::ago;
use crate::output::{escape, now_ms};

/// Of a purpose, a payload, a path.
const PURPOSE: usize = 80;
const PAYLOAD: usize = 120;
const PATH: usize = 160;

/// Lines, as many as fit.
pub(super) struct Budget {
    text: String,
    chars: usize,
    most: usize,
}

impl Budget {
    /// What says that some were left out.
    const RESERVED: usize = 60;

    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), chars: 0, most }
    }

    /// Lets the whole become so long.
    pub(super) fn up_to(&mut self, most: usize) {
        self.most = most;
    }

    /// Lets so much more come.
    pub(super) fn further(&mut self, more: usize) {
        self.most = self.chars + more;
    }

    /// How many characters a line may have.
    fn left(&self) -> usize {
        self.most.saturating_sub(self.chars + 1 + Self::RESERVED)
    }

    /// Adds a line if it fits; whether it did.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let count = line.chars().count();
        let fits = count <= self.left();
        if fits {
            self.push(line, count);
        }
        fits
    }

    fn push(&mut self, line: &str, count: usize) {
        if !self.text.is_empty() {
            self.text.push('\n');
            self.chars += 1;
        }
        self.text.push_str(line);
        self.chars += count;
    }

    /// Says how many didn't fit; whether that fitted.
    pub(super) fn rest(&mut self, count: usize, where_to_look: &str) -> bool {
        let line = format!("{count} more: {where_to_look}");
        let length = line.chars().count();
        let fits = count == 0 || self.chars + 1 + length <= self.most;
        if count > 0 && fits {
            self.push(&line, length);
        }
        fits
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    /// As many lines as fit, and how many don't. How many were said or counted.
    fn all<'a, T>(&mut self, of: &'a [T], where_to_look: &str, word: impl Fn(&'a T) -> String) -> usize {
        let said = of.iter().take_while(|one| self.line(&word(one))).count();
        if self.rest(of.len() - said, where_to_look) { of.len() } else { said }
    }
}

pub(super) fn stale(path: &str, written: &Written) -> String {
    format!(
        "{} was written by {}{} {}, after you last read it: what you know of it is out of date until you read it again.",
        path_of(path),
        who(&written.agent, &written.agent_name),
        state(written.state),
        ago(written.at_ms, now_ms())
    )
}

pub(super) fn conflict(edit: &Edit, other: &Other) -> String {
    let path = &edit.path;
    let owner = &other.owner;
    let claim = &owner.claim;
    let as_pattern =
        if claim.pattern == edit.pattern { String::new() } else { format!(" (as {})", path_of(&claim.pattern)) };
    let who = who(&claim.agent, &claim.agent_name);
    if !other.lives() {
        return format!(
            "{} was claimed{as_pattern} {} by {who}, which is dead: {}. Its unfinished work: pd salvage claim {}",
            path_of(path),
            ago(claim.since_ms, now_ms()),
            purpose(&owner.purpose),
            claim.agent
        );
    }
    format!(
        "{} is claimed{as_pattern} by {who}{}, for {}, {}: {}.",
        path_of(path),
        state(owner.state),
        span(claim.since_ms),
        tree(owner.same_worktree, &claim.root, path),
        purpose(&owner.purpose)
    )
}

/// How many were said or counted, here and below.
pub(super) fn overlaps(said: &mut Budget, overlaps: &[Overlapped]) -> usize {
    said.all(overlaps, "pd files lists them", |o| {
        format!(
            "{}, which you have claimed, was claimed by {}{} {}, {}: {}.",
            path_of(&o.path),
            who(&o.agent, &o.agent_name),
            state(o.state),
            ago(o.at_ms, now_ms()),
            tree(o.same_worktree, &o.root, &o.path),
            purpose(&o.purpose)
        )
    })
}

pub(super) fn left_work(said: &mut Budget, left: &[LeftWork]) -> usize {
    said.all(left, "pd salvage lists them", |left| {
        let claims = match left.claims {
            0 => String::new(),
            1 => ", 1 claim".to_owned(),
            n => format!(", {n} claims"),
        };
        format!(
            "{} died {} with unfinished work: {}{claims}. To take it over: pd salvage claim {}",
            who(&left.agent, &left.agent_name),
            ago(left.died_ms, now_ms()),
            purpose(&left.purpose),
            left.agent
        )
    })
}

pub(super) fn colleagues(said: &mut Budget, colleagues: &[Colleague]) {
    if colleagues.is_empty() || !said.line("Also at work in this repository:") {
        return;
    }
    let _ = said.all(colleagues, "pd sessions lists them", |c| {
        let mut files: Vec<String> = c.claims.iter().map(|pattern| path_of(pattern).into_owned()).collect();
        let unnamed = c.claim_count.saturating_sub(files.len() as u64);
        if unnamed > 0 {
            files.push(format!("{unnamed} more"));
        }
        let files = if files.is_empty() { String::new() } else { format!("; files: {}", files.join(", ")) };
        let tree = c.worktree.as_deref().map_or(String::new(), |tree| format!(" in {}", path_of(tree)));
        format!(
            "- {}{}: {}, for {}{tree}{files}",
            who(&c.agent, &c.agent_name),
            state(c.state),
            purpose(&c.purpose),
            span(c.since_ms)
        )
    });
}

pub(super) fn signals(said: &mut Budget, signals: &[Signal]) -> usize {
    if signals.is_empty() || !said.line("Newest signals:") {
        return 0;
    }
    said.all(signals, "pd channels lists them", |signal| {
        let from = match (&signal.agent, &signal.agent_name) {
            (Some(id), Some(name)) => format!(" from {}", who(id, name)),
            _ => String::new(),
        };
        let mut payload = shortened(&signal.payload, PAYLOAD);
        if !signal.whole && !payload.ends_with('…') {
            payload.push('…');
        }
        format!("- {}{from} {}: {}", signal.channel, ago(signal.at_ms, now_ms()), escape(&payload))
    })
}

/// Messages to the agent are shown whole. One that is too long is begun if that is wanted, and stays unread.
pub(super) fn messages(said: &mut Budget, news: &News, answer: &mut Answer, begin: bool) {
    for message in &news.messages {
        let from = match (&message.sender, &message.sender_name) {
            (Some(id), Some(name)) => format!(" from {}", who(id, name)),
            _ => String::new(),
        };
        let head = format!("Message{from}, {}: ", ago(message.at_ms, now_ms()));
        let shown = if news.after_cut { &mut answer.cut } else { &mut answer.shown };
        if said.line(&format!("{head}{}", escape(&message.text))) {
            *shown = Some(message.seq);
            continue;
        }
        let room = said.left().saturating_sub(head.chars().count() + 40);
        if begin && room >= 400 {
            // An escaped character may be eight.
            let begun = shortened(&message.text, room / 8);
            said.line(&format!("{head}{} (pd inbox shows the rest)", escape(&begun)));
            answer.cut = Some(message.seq);
        }
        return;
    }
}

/// What the library wants the agent to know.
pub(super) fn notice(text: &str) -> String {
    format!("Port Daddy: {}.", escape(text))
}

/// A text of several lines that quotes others.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// A text that may come from anywhere, for the log of the harness.
pub(super) fn quoted(text: &str) -> String {
    escape(&shortened(text, 500)).into_owned()
}

/// The beginning of a text, at most so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

fn purpose(text: &str) -> String {
    format!("\"{}\"", escape(&shortened(text, PURPOSE)))
}

/// A path's end says more than its beginning.
fn path_of(path: &str) -> Cow<'_, str> {
    let count = path.chars().count();
    if count <= PATH {
        return escape(path);
    }
    let end: String = path.chars().skip(count - PATH + 1).collect();
    Cow::Owned(format!("…{}", escape(&end)))
}

/// How long ago.
fn span(since_ms: i64) -> String {
    ago(since_ms, now_ms()).trim_end_matches(" ago").to_owned()
}

fn who(id: &str, name: &str) -> String {
    if id == name { id.to_owned() } else { format!("{} ({id})", escape(&shortened(name, PURPOSE))) }
}

fn state(state: AgentState) -> &'static str {
    match state {
        AgentState::Active => "",
        AgentState::Stale => " (silent for long)",
        AgentState::Dead => " (dead)",
        AgentState::Left => " (gone)",
    }
}

/// Where a claim is, seen from where its file is, which stands outside of the agent's own working tree if it is absolute.
fn tree(same: bool, root: &str, path: &str) -> Cow<'static, str> {
    if same && Path::new(path).is_absolute() {
        "in the same place".into()
    } else if same {
        "in this working tree".into()
    } else {
        format!("in another working tree, {}, so a merge lies ahead", path_of(root)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_in_its_bounds() {
        let mut said = Budget::new(200);
        let lines: Vec<String> = (0..50).map(|i| format!("line {i}")).collect();
        assert_eq!(said.all(&lines, "pd lists them", Clone::clone), 50);
        // There is room for one such line; what comes after it is neither said nor counted.
        assert_eq!(said.all(&lines, "pd lists the others, and says where they are", Clone::clone), 0);
        let text = said.text();
        assert!(text.chars().count() <= 200 && text.ends_with("more: pd lists them"), "{text}");
        let mut said = Budget::new(10);
        assert!(!said.line("too long for this"));
        said.rest(0, "x");
        assert_eq!(said.text(), "");
    }

    #[test]
    fn texts_are_shortened_by_characters() {
        assert_eq!((shortened("äöü", 3), shortened("äöüß", 3)), ("äöü".into(), "äö…".into()));
        let path = format!("{}/file.rs", "é".repeat(300));
        assert!(path_of(&path).chars().count() == PATH && path_of(&path).ends_with("/file.rs"));
        assert_eq!(purpose("a\nb\u{202e}"), "\"a\\nb\\u{202e}\"");
    }
}
