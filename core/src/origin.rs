//! Where a repository was cloned from, in a form that all its clones agree on.

use std::path::{Component, Path, PathBuf};

use crate::scope::{Dirs, canonical, read};

const CONFIG_MAX: u64 = 1 << 20;
/// The longest address that is taken for one: it is stored, and shown.
const URL_MAX: usize = 4096;
/// How many local origins are followed, one to the next.
const ORIGINS_MAX: usize = 8;

/// What makes clones of one repository the same: where they come from.
pub(crate) struct Origin {
    pub(crate) key: String,
    pub(crate) name: String,
}

impl Origin {
    pub(crate) fn of(common: &Path) -> Origin {
        let mut seen = vec![common.to_owned()];
        loop {
            let here = &seen[seen.len() - 1];
            let Some(url) = origin_url(here) else { return Origin::directory(here) };
            let path = match normalise(&url) {
                Url::Remote(key) => {
                    let name = key.rsplit(['/', ':']).next().unwrap_or(&key).to_owned();
                    return Origin { key: format!("repo:{key}"), name };
                }
                // Git resolves a relative path from the working tree; the main one is the same for all linked ones.
                Url::Local(path) => match here.file_name() {
                    Some(name) if name == ".git" => here.parent().unwrap_or(here).join(path),
                    _ => here.join(path),
                },
            };
            let Some(next) = Dirs::cloned_from(&path).map(|d| d.common) else {
                return Origin::directory(&canonical(&path).unwrap_or_else(|_| lexically_normal(&path)));
            };
            if let Some(start) = seen.iter().position(|s| *s == next) {
                // Each repository of the circle must come to the same key, wherever it began.
                return Origin::directory(seen[start..].iter().min().unwrap_or(&next));
            }
            if seen.len() > ORIGINS_MAX {
                return Origin::directory(&next);
            }
            seen.push(next);
        }
    }

    /// The origin of what has none: itself.
    fn directory(common: &Path) -> Origin {
        let named = match common.file_name() {
            Some(name) if name.to_string_lossy().starts_with('.') => common.parent().unwrap_or(common),
            _ => common,
        };
        let name = named.file_name().unwrap_or(named.as_os_str()).to_string_lossy();
        let name = name.strip_suffix(".git").filter(|n| !n.is_empty()).unwrap_or(&name).to_owned();
        Origin { key: format!("repo:{}", common.display()), name }
    }
}

enum Url {
    /// `host/path`, in a form that doesn't depend on how it was written.
    Remote(String),
    Local(String),
}

fn normalise(url: &str) -> Url {
    // `helper::address` is for a program of its own.
    if let Some((helper, address)) = url.split_once("::")
        && !helper.contains(['/', '[', ':'])
    {
        let (Url::Remote(address) | Url::Local(address)) = normalise(address);
        return Url::Remote(format!("{helper}::{address}"));
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "file" {
            // An authority is allowed (`file://host/path`) and means this machine.
            let path = rest.find('/').map_or(rest, |at| &rest[at..]);
            let drive = path.len() > 3 && path.as_bytes()[2] == b':' && cfg!(windows);
            return Url::Local(percent_decoded(if drive { &path[1..] } else { path }));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => ":443",
            "http" => ":80",
            "git" => ":9418",
            _ => ":22",
        };
        return Url::Remote(joined(host.strip_suffix(usual).unwrap_or(&host), path));
    }
    // `[user@]host:path`, which isn't a path on this machine unless a slash comes before the colon. A host in brackets
    // may hold colons and a port.
    let (host, path) = match url.rfind(']').filter(|at| url[*at..].starts_with("]:") && !url[..*at].contains('/')) {
        Some(at) => (&url[..at], &url[at + 2..]),
        None => match url.split_once(':') {
            Some((host, path)) if !(host.contains('/') || cfg!(windows) && host.len() == 1) => (host, path),
            _ => return Url::Local(url.to_owned()),
        },
    };
    let host = host.replace(['[', ']'], "").to_ascii_lowercase();
    let host = host.rsplit_once('@').map_or(host.as_str(), |(_, host)| host);
    Url::Remote(joined(host.strip_suffix(":22").unwrap_or(host), path))
}

fn joined(host: &str, path: &str) -> String {
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let segments = path.split('/').filter(|s| !s.is_empty());
    std::iter::once(host).chain(segments).collect::<Vec<_>>().join("/")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.filter(|c| b == b'%' && c.bytes().all(|d| d.is_ascii_hexdigit()));
        match code.and_then(|c| u8::from_str_radix(c, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            None => {
                bytes.push(b);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(fuzzing)]
pub(crate) fn key_and_name(config: &str) -> Option<(String, String)> {
    match normalise(&config_value(config, "remote", Some("origin"), "url")?) {
        Url::Remote(key) | Url::Local(key) => Some((key.clone(), key)),
    }
}

fn origin_url(common: &Path) -> Option<String> {
    let url = config_value(&read(&common.join("config"), CONFIG_MAX)?, "remote", Some("origin"), "url")?;
    (1..=URL_MAX).contains(&url.len()).then_some(url)
}

/// The last value of `section.subsection.key` in the text of one of git's configuration files.
fn config_value(text: &str, section: &str, subsection: Option<&str>, key: &str) -> Option<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut rest = text.chars().peekable();
    let mut wanted = false;
    let mut found = None;
    while let Some(c) = rest.next() {
        match c {
            '[' => {
                let (head, sub) = config_header(&mut rest);
                wanted = head.eq_ignore_ascii_case(section) && sub.as_deref() == subsection;
            }
            '#' | ';' => while rest.next_if(|c| *c != '\n').is_some() {},
            c if c.is_ascii_alphabetic() => {
                let mut name = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
                    name.push(c);
                }
                while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
                let value = rest.next_if_eq(&'=').map(|_| config_text(&mut rest));
                if let Some(value) = value
                    && wanted
                    && name.eq_ignore_ascii_case(key)
                {
                    found = Some(value);
                }
            }
            _ => {}
        }
    }
    found
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads `name]`, `name "sub"]` or the old `name.sub]`.
fn config_header(rest: &mut Chars<'_>) -> (String, Option<String>) {
    let mut name = String::new();
    let mut sub = None;
    while let Some(c) = rest.next_if(|c| *c != '\n') {
        match c {
            ']' => break,
            '"' => {
                let mut quoted = String::new();
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    match c {
                        '"' => break,
                        '\\' => quoted.extend(rest.next_if(|c| *c != '\n')),
                        c => quoted.push(c),
                    }
                }
                sub = Some(quoted);
            }
            c if c.is_whitespace() => {}
            c => name.push(c),
        }
    }
    match (name.split_once('.'), sub) {
        (Some((section, old)), None) => (section.to_owned(), Some(old.to_ascii_lowercase())),
        (_, sub) => (name, sub),
    }
}

/// Reads a value up to the end of its line.
fn config_text(rest: &mut Chars<'_>) -> String {
    let mut value = String::new();
    let mut kept = 0; // trailing blanks count only inside quotes
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match c {
            '\n' => break,
            '"' => {
                quoted = !quoted;
                kept = value.len();
            }
            '\\' => {
                match rest.next() {
                    Some('\n') => continue,
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('b') => value.push('\u{8}'),
                    Some(c) => value.push(c),
                    None => break,
                }
                kept = value.len();
            }
            '#' | ';' if !quoted => {
                while rest.next_if(|c| *c != '\n').is_some() {}
                break;
            }
            c if c.is_whitespace() && !quoted => {
                if !value.is_empty() {
                    value.push(c);
                }
            }
            c => {
                value.push(c);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    value
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_configuration_is_read_as_git_reads_it() {
        for text in [
            "[remote \"origin\"]\n\turl = VALUE\n",
            "\u{feff}[REMOTE \"origin\"]\r\n\tURL=VALUE\r\n",
            "[remote \"origin\"] url = VALUE ; why\n",
            "[remote \"origin\"]\nurl = \"VALUE\" # why\n",
            "[remote \"origin\"]\nurl = VA\\\nLUE\n",
            "[remote.Origin]\nurl = VALUE",
            "[remote \"origin\"]\nurl = old\n[core]\nurl = no\n[remote \"origin\"]\nfetch = x\nurl = VALUE\n[remote \"b\"]\nurl = no\n",
            "; [remote \"origin\"]\n# x\n[remote \"ori\\gin\"]\nurl = VALUE\nprune\n",
        ] {
            assert_eq!(config_value(text, "remote", Some("origin"), "url").as_deref(), Some("VALUE"), "{text}");
        }
        for text in
            ["", "[remote]\nurl = a\n", "[remote \"ORIGIN\"]\nurl = a\n", "[remote \"origin\"]\nurls = a\n", "[remote"]
        {
            assert_eq!(config_value(text, "remote", Some("origin"), "url"), None, "{text}");
        }
        // What git itself writes and reads.
        let dir = tempfile::tempdir().unwrap();
        for value in ["a b", " lead", "semi;colon", "ha#sh", "qu\"ote", "back\\slash", "tab\tx ", "new\nline"] {
            let file = dir.path().join("config");
            let written =
                Command::new("git").args(["config", "--file"]).arg(&file).args(["remote.origin.url", value]).status();
            assert!(written.unwrap().success());
            assert_eq!(origin_url(dir.path()).as_deref(), Some(value));
        }
    }
}
