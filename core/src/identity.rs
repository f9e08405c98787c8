//! Names: identities (`project:stack:context`), agent ids, lock names, and the bounds of free text.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::pattern::wildcard;

const SEGMENTS: usize = 3;
const SEGMENT_MAX: usize = 64;
pub(crate) const AGENT_MAX: usize = 128;

/// What an agent or a service is: `project[:stack[:context]]`, each segment `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

impl Identity {
    /// Reads an identity.
    ///
    /// # Errors
    /// `INVALID` if it has no segment, more than three, or a character that a segment can't hold.
    pub fn parse(text: &str) -> Result<Identity> {
        check_segments("identity", text, false)?;
        Ok(Identity(text.to_owned()))
    }

    /// The first segment.
    pub fn project(&self) -> &str {
        self.0.split(':').next().unwrap_or(&self.0)
    }

    /// The whole, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// An identity in which `*` is any run of characters within a segment. A last segment that is `*` alone
/// stands for all deeper ones too: `payments:*` matches `payments:web` and `payments:web:dev`, not `payments`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentityPattern(String);

impl IdentityPattern {
    /// Reads a pattern. An identity is a pattern that matches itself alone.
    ///
    /// # Errors
    /// `INVALID` as for [`Identity::parse`].
    pub fn parse(text: &str) -> Result<IdentityPattern> {
        check_segments("identity pattern", text, true)?;
        Ok(IdentityPattern(text.to_owned()))
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds no `*`.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `identity` matches.
    pub fn matches(&self, identity: &str) -> bool {
        let mut wanted = self.0.split(':').peekable();
        let mut given = identity.split(':');
        while let Some(pattern) = wanted.next() {
            let Some(segment) = given.next() else { return false };
            if pattern == "*" && wanted.peek().is_none() {
                return !segment.is_empty();
            }
            if !wildcard(pattern, segment) {
                return false;
            }
        }
        given.next().is_none()
    }
}

/// Whether `identity` is `project` itself or lies below it: `payments` and `payments:web`, not `payments2`.
pub(crate) fn in_project(identity: &str, project: &str) -> bool {
    identity.strip_prefix(project).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for IdentityPattern {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

fn check_segments(what: &'static str, text: &str, star: bool) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (star && c == '*');
    let segments = text.split(':').count();
    if segments <= SEGMENTS && text.split(':').all(|s| (1..=SEGMENT_MAX).contains(&s.len()) && s.chars().all(allowed)) {
        return Ok(());
    }
    let star = if star { ", and * for any run of characters" } else { "" };
    Err(Error::invalid(format!(
        "the {what} {} isn't valid: it is project[:stack[:context]], each segment 1 to {SEGMENT_MAX} of A-Z a-z 0-9 . _ -{star}",
        shown(text)
    ))
    .with("value", text)
    .hint("for example payments, payments:frontend or payments:frontend:dev"))
}

/// Checks an agent's id: `[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}`.
///
/// # Errors
/// `INVALID`, naming the value and the rule.
pub(crate) fn check_agent_id(id: &str) -> Result<()> {
    if well_formed(id, AGENT_MAX, |c| matches!(c, '.' | '_' | '@' | ':' | '-')) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the agent id {} isn't valid: it begins with a letter or digit and holds at most {AGENT_MAX} of A-Z a-z 0-9 . _ @ : -",
        shown(id)
    ))
    .with("value", id)
    .hint("use a short name without spaces, for example backend-agent"))
}

/// Checks a name of `kind` ("lock", "channel", "scope"): `[A-Za-z0-9][A-Za-z0-9._:/@-]*`, at most `max` long.
///
/// # Errors
/// `INVALID`, naming the value and the rule.
pub(crate) fn check_name(kind: &str, name: &str, max: usize) -> Result<()> {
    if well_formed(name, max, is_name_mark) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the {kind} name {} isn't valid: it begins with a letter or digit and holds at most {max} of A-Z a-z 0-9 . _ : / @ -",
        shown(name)
    ))
    .with("value", name)
    .hint("replace spaces and other characters, for example with -"))
}

/// The characters of a name besides letters and digits.
pub(crate) fn is_name_mark(c: char) -> bool {
    matches!(c, '.' | '_' | ':' | '/' | '@' | '-')
}

fn well_formed(text: &str, max: usize, mark: impl Fn(char) -> bool) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || mark(c))
}

/// Checks free text, `what` being its name ("purpose"): not blank, no NUL, at most `max_bytes`.
/// It may hold several lines.
///
/// # Errors
/// `INVALID`, naming the rule and, where it is short, the value.
pub(crate) fn check_text(what: &str, text: &str, max_bytes: usize) -> Result<()> {
    let said = if text.trim().is_empty() {
        format!("the {what} is empty: it needs at least one visible character")
    } else if text.contains('\0') {
        format!("the {what} {} holds a NUL character, which text can't", shown(text))
    } else if text.len() > max_bytes {
        let e = format!("the {what} is {} bytes long: at most {max_bytes} are allowed", text.len());
        return Err(Error::invalid(e)
            .with("bytes", text.len())
            .with("max_bytes", max_bytes)
            .hint("shorten it, or put the long part in a file and name the file"));
    } else {
        return Ok(());
    };
    Err(Error::invalid(said))
}

/// Checks the type of a note: a slug `[a-z0-9][a-z0-9-]{0,31}`.
///
/// # Errors
/// `INVALID`, naming the value and the rule.
pub(crate) fn check_note_type(slug: &str) -> Result<()> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if slug.len() <= 32 && slug.starts_with(first) && slug.chars().all(|c| first(c) || c == '-') {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the note type {} isn't valid: it begins with a letter or digit and holds at most 32 of a-z 0-9 -",
        shown(slug)
    ))
    .with("value", slug)
    .hint("for example note, commit, blocker or handoff"))
}

/// A value as an error shows it: quoted, control characters escaped, at most about 80 characters.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn identities_have_one_to_three_segments() {
        for good in ["payments", "payments:web", "a.b_c-d:1:2", &"x".repeat(64)] {
            assert_eq!(Identity::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ":", "a:", ":a", "a:b:c:d", "a b", "a/b", "ä", "a*", &"x".repeat(65), "a\n"] {
            let e = Identity::parse(bad).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Invalid, "{bad:?}");
            assert!(!e.message().contains('\n'), "{e}");
        }
        assert_eq!(Identity::parse("payments:web:dev").unwrap().project(), "payments");
        assert_eq!(serde_json::to_string(&Identity::parse("a:b").unwrap()).unwrap(), "\"a:b\"");
    }

    #[test]
    fn identity_patterns_match_within_segments_and_below_a_last_star() {
        let cases = [
            ("payments", "payments", true),
            ("payments", "payments:web", false),
            ("payments:*", "payments:web", true),
            ("payments:*", "payments:web:dev", true),
            ("payments:*", "payments", false),
            ("payments:*", "payments2:web", false),
            ("*", "payments:web:dev", true),
            ("pay*", "payments", true),
            ("pay*", "payments:web", false),
            ("*:web", "payments:web", true),
            ("*:web", "payments:api:web", false),
            ("p*s:w*b:*", "payments:web:dev", true),
            ("p*s:w*b:*", "payments:web", false),
            ("*:*:dev", "a:b:dev", true),
        ];
        for (pattern, identity, expected) in cases {
            assert_eq!(IdentityPattern::parse(pattern).unwrap().matches(identity), expected, "{pattern} {identity}");
        }
        assert!(IdentityPattern::parse("a:b:c:*").is_err());
        assert!(in_project("payments:web", "payments"));
        assert!(in_project("payments", "payments"));
        assert!(!in_project("payments2", "payments"));
    }

    #[test]
    fn ids_names_and_slugs_follow_their_rules() {
        for good in ["a", "claude-3f9a2c", "me@host:1", &"x".repeat(128)] {
            check_agent_id(good).unwrap();
        }
        for bad in ["", "-a", "a b", "a\tb", "a/b", &"x".repeat(129)] {
            let e = check_agent_id(bad).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Invalid);
            assert!(e.message().contains("begins with a letter"), "{e}");
        }
        check_name("lock", "db/migrations:prod@eu", 128).unwrap();
        assert!(check_name("lock", "abc", 2).is_err());
        assert!(check_name("lock", "two words", 128).unwrap_err().message().contains("lock name \"two words\""));
        for good in ["note", "a", "hand-off", "1"] {
            check_note_type(good).unwrap();
        }
        for bad in ["", "-a", "Note", "a_b", &"x".repeat(33)] {
            assert!(check_note_type(bad).is_err());
        }
    }

    #[test]
    fn text_is_bounded_and_never_blank() {
        check_text("note", "two\nlines", 9).unwrap();
        for bad in ["", " \n\t", "a\0b", "0123456789"] {
            assert_eq!(check_text("note", bad, 9).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn shown_values_are_escaped_and_short() {
        assert_eq!(shown("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(shown("\u{202e}x"), "\"\\u{202e}x\"");
        let long = shown(&"ä".repeat(1000));
        assert!(long.chars().count() < 110 && long.contains("2000 bytes"), "{long}");
    }
}
