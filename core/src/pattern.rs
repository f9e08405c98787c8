//! Channel names and patterns. In a pattern `*` is any run of characters, the empty one and `:` included, as in Redis.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, Result};
use crate::identity::{check_name, is_name_mark, shown};

const MAX: usize = 128;
const MOST_PATTERNS: usize = 1_000;

/// Checks a channel's name: `[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}`.
///
/// # Errors
/// `INVALID`, naming the value and the rule.
pub(crate) fn check_channel(name: &str) -> Result<()> {
    if name.contains('*') {
        return Err(Error::invalid(format!("the channel {} is a pattern: one name is needed here", shown(name)))
            .with("value", name)
            .hint("leave the * out"));
    }
    check_name("channel", name, MAX)
}

/// A channel's name in which `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChannelPattern(String);

impl ChannelPattern {
    /// Reads one pattern. A name is a pattern that matches itself alone.
    ///
    /// # Errors
    /// `INVALID`, naming the value and the rule.
    pub fn parse(text: &str) -> Result<ChannelPattern> {
        let well_formed = text.len() <= MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '*')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '*' || is_name_mark(c));
        if well_formed {
            return Ok(ChannelPattern(text.to_owned()));
        }
        Err(Error::invalid(format!(
            "the channel pattern {} isn't valid: it begins with a letter, a digit or *, and holds at most {MAX} of A-Z a-z 0-9 . _ : / @ - *",
            shown(text)
        ))
        .with("value", text)
        .hint("for example build:complete or build:*; a comma separates several"))
    }

    /// Reads patterns separated by commas. Blanks around each are dropped, repeated ones count once.
    ///
    /// # Errors
    /// `INVALID` if one is empty or malformed, or if there are more than 1,000.
    pub fn parse_list(text: &str) -> Result<Vec<ChannelPattern>> {
        let count = text.split(',').count();
        if count > MOST_PATTERNS {
            return Err(Error::invalid(format!(
                "{count} channel patterns are too many: at most {MOST_PATTERNS} a call"
            ))
            .with("count", count)
            .hint("use a * in place of many names"));
        }
        let mut seen = std::collections::HashSet::new();
        let mut list = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part.is_empty() {
                return Err(Error::invalid(format!("the list of channels {} has an empty entry", shown(text)))
                    .with("value", text)
                    .hint("name at least one channel, and put exactly one comma between two"));
            }
            if seen.insert(part) {
                list.push(ChannelPattern::parse(part)?);
            }
        }
        Ok(list)
    }

    /// Whether `channel` matches.
    pub fn matches(&self, channel: &str) -> bool {
        wildcard(&self.0, channel)
    }

    /// Whether it holds no `*`, so that it is the name of one channel.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every matching channel begins with: all before the first `*`.
    pub fn literal_prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or("")
    }

    /// The first `:`-separated segment of every matching channel, where the pattern fixes it.
    pub fn first_segment(&self) -> Option<&str> {
        let prefix = self.literal_prefix();
        match prefix.find(':') {
            Some(end) => Some(&prefix[..end]),
            None => self.is_exact().then_some(prefix),
        }
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for ChannelPattern {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// Whether `text` matches `pattern`, in which `*` is any run of characters.
///
/// The literals between the stars are looked for from left to right, each at its first place. That never backtracks:
/// an earlier place leaves the most text for the literals that follow.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for literal in middle.split('*').filter(|l| !l.is_empty()) {
        let Some(at) = text.find(literal) else { return false };
        text = &text[at + literal.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn names_and_patterns_follow_their_rules() {
        for good in ["a", "build:complete", "a/b@c.d_e-f", &"x".repeat(128)] {
            check_channel(good).unwrap();
            assert!(ChannelPattern::parse(good).unwrap().is_exact());
        }
        for bad in ["", ":a", "a b", "a,b", "a*", "é", &"x".repeat(129)] {
            assert_eq!(check_channel(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
        for good in ["*", "*:done", "build:*", "a**b"] {
            assert!(!ChannelPattern::parse(good).unwrap().is_exact());
        }
        for bad in ["", ":*", "a ?", "[a]"] {
            assert_eq!(ChannelPattern::parse(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn lists_trim_drop_repeats_and_refuse_empties() {
        let list = ChannelPattern::parse_list(" a, b:* ,a,c").unwrap();
        assert_eq!(list.iter().map(ChannelPattern::as_str).collect::<Vec<_>>(), ["a", "b:*", "c"]);
        for bad in ["", ",", "a,", ",a", "a,,b", "a, ,b"] {
            assert!(ChannelPattern::parse_list(bad).is_err(), "{bad:?}");
        }
        let many = |n: usize| (0..n).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
        assert_eq!(ChannelPattern::parse_list(&many(1000)).unwrap().len(), 1000);
        assert!(ChannelPattern::parse_list(&many(1001)).is_err());
    }

    #[test]
    fn what_a_pattern_fixes_is_known() {
        let cases = [
            ("build", "build", Some("build")),
            ("build:x", "build:x", Some("build")),
            ("build:*", "build:", Some("build")),
            ("build*", "build", None),
            ("bu*:x", "bu", None),
            ("*", "", None),
        ];
        for (pattern, prefix, segment) in cases {
            let p = ChannelPattern::parse(pattern).unwrap();
            assert_eq!((p.literal_prefix(), p.first_segment()), (prefix, segment), "{pattern}");
        }
    }

    #[test]
    fn a_hard_pattern_is_decided() {
        let pattern = ChannelPattern::parse(&format!("{}b", "a*".repeat(60))).unwrap();
        assert!(!pattern.matches(&"a".repeat(100_000)));
    }

    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|i| naive(rest, &text[i..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, tail)| t == c && naive(rest, tail)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*:]{0,8}", text in "[ab:]{0,10}") {
            prop_assert_eq!(wildcard(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
