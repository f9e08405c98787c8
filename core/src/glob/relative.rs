//! From what a caller typed to a pattern below the root.

use std::path::{Path, PathBuf};

use super::FilePattern;
use crate::error::{Error, Result};

/// Makes `input`, absolute or relative to `cwd`, relative to `root`, for [`FilePattern::parse`]. Wildcards stay as they are;
/// `./`, `..` and doubled `/` go, and a trailing `/` stays only after a wildcard. The root itself is `.`.
///
/// `cwd` and `root` are canonical and only compared as text. An absolute input may name the root through a symbolic link
/// (`/tmp` for `/private/tmp`): then its existing plain directories are resolved on disk.
///
/// Fails with `INVALID` for an empty input, a path that leaves the root, and a `..` that follows a wildcard.
pub fn relative_to(input: &str, cwd: &Path, root: &Path) -> Result<String> {
    if input.is_empty() {
        return Err(Error::invalid("the file pattern is empty").hint("name a path; '.' is the current directory"));
    }
    let typed = if cfg!(windows) { input.replace('\\', "/") } else { input.to_owned() };
    let root_names = names(root)?;
    let absolute = is_absolute(&typed);
    // A shell or a program that completes a path writes the root's own name as it is, whatever characters it holds.
    let root_text = root_names.iter().map(|n| format!("/{n}")).collect::<String>();
    let root_text = if cfg!(windows) { root_text.trim_start_matches('/') } else { &root_text };
    let in_root = typed.strip_prefix(root_text).filter(|rest| absolute && (rest.is_empty() || rest.starts_with('/')));
    let start = match (in_root, absolute) {
        (Some(_), _) => root_names.clone(),
        (None, true) => Vec::new(),
        (None, false) => names(cwd)?,
    };
    let mut parts: Vec<String> = start.iter().map(|n| FilePattern::escape(n)).collect();
    let pieces = split(in_root.unwrap_or(&typed));
    for piece in &pieces {
        match plain(piece).as_deref() {
            Some("" | ".") => {}
            Some("..") => match parts.pop() {
                Some(last) if plain(&last).is_none() => {
                    return Err(Error::invalid(format!("the file pattern {input:?} has a '..' after a wildcard"))
                        .with("pattern", input)
                        .hint("write the pattern without '..'"));
                }
                _ => {}
            },
            _ => parts.push((*piece).to_owned()),
        }
    }
    let below = match below(&parts, &root_names) {
        Some(rest) => Some(rest.to_vec()),
        None if absolute => through_links(&parts, root),
        None => None,
    };
    let Some(below) = below else {
        return Err(Error::invalid(format!("the path {input:?} is outside the root {}", root.display()))
            .with("path", input)
            .with("root", root.display().to_string())
            .hint("name a path below the root, or run this in the working tree that the path belongs to"));
    };
    if below.is_empty() {
        return Ok(".".to_owned());
    }
    let open_end = matches!(pieces.last().copied(), Some("" | "."));
    let wild = below.iter().any(|part| plain(part).is_none());
    Ok(below.join("/") + if open_end && wild { "/" } else { "" })
}

fn is_absolute(typed: &str) -> bool {
    typed.starts_with('/')
        || (cfg!(windows) && typed.as_bytes().get(1) == Some(&b':') && typed.as_bytes().get(2) == Some(&b'/'))
}

/// The segments of a path that is given by the system.
fn names(path: &Path) -> Result<Vec<String>> {
    let text = path.to_str().ok_or_else(|| {
        Error::invalid(format!("the directory {} isn't valid UTF-8", path.display()))
            .hint("file claims need a directory whose name is UTF-8: rename it or claim from another")
    })?;
    let text = if cfg!(windows) { text.replace('\\', "/").replacen("//?/", "", 1) } else { text.to_owned() };
    Ok(text.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect())
}

/// Splits at each `/` that is outside of classes and braces.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut braces, mut in_class) = (Vec::new(), 0, 0usize, false);
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            '/' if braces == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The name that a segment without wildcards stands for.
fn plain(segment: &str) -> Option<String> {
    let mut name = String::with_capacity(segment.len());
    let mut chars = segment.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' | '{' => return None,
            // A lone backslash stays for `parse` to complain about.
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
    Some(name)
}

/// What remains below the root.
fn below<'a>(parts: &'a [String], root: &[String]) -> Option<&'a [String]> {
    let inside = parts.len() >= root.len() && parts.iter().zip(root).all(|(p, n)| plain(p).as_ref() == Some(n));
    inside.then(|| &parts[root.len()..])
}

/// The shortest leading path that resolves to the root or below gives the place; what follows stays as it was typed.
fn through_links(parts: &[String], root: &Path) -> Option<Vec<String>> {
    let mut leading = PathBuf::from(if cfg!(windows) { "" } else { "/" });
    for (i, part) in parts.iter().enumerate() {
        let name = plain(part)?;
        // A drive alone, `C:`, would mean the current directory on it.
        leading.push(if cfg!(windows) && i == 0 { name + "/" } else { name });
        let real = leading.canonicalize().ok()?;
        if let Ok(inside) = real.strip_prefix(root) {
            let inside = names(inside).ok()?;
            return Some(inside.iter().map(|n| FilePattern::escape(n)).chain(parts[i + 1..].iter().cloned()).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(input: &str, cwd: &str) -> Result<String> {
        relative_to(input, Path::new(cwd), Path::new("/repo"))
    }

    #[test]
    fn inputs_become_relative_to_the_root() {
        for (input, cwd, expected) in [
            ("a.ts", "/repo", "a.ts"),
            ("a.ts", "/repo/src", "src/a.ts"),
            ("./a.ts", "/repo/src", "src/a.ts"),
            ("../a//b/", "/repo/src", "a/b"),
            ("..", "/repo/src", "."),
            (".", "/repo", "."),
            (".", "/repo/src", "src"),
            ("*/", "/repo/src", "src/*/"),
            ("**/*.ts", "/repo/src", "src/**/*.ts"),
            ("{a/../b,c}/x", "/repo", "{a/../b,c}/x"),
            ("[a/]/..b", "/repo", "[a/]/..b"),
            ("/repo/src/*.ts", "/elsewhere", "src/*.ts"),
            ("/repo", "/elsewhere", "."),
            ("/x/../repo/./a", "/elsewhere", "a"),
            ("page.tsx", "/repo/app/[id]", "app/\\[id]/page.tsx"),
            ("../x", "/repo/app/[id]", "app/x"),
            ("\\*.ts", "/repo", "\\*.ts"),
            ("../../repo/a", "/repo/src", "a"),
        ] {
            assert_eq!(at(input, cwd).unwrap(), expected, "{input} in {cwd}");
        }
        for odd in ["/home/[x]/repo", "/home/[x/re{po"].map(Path::new) {
            assert_eq!(relative_to(&format!("{}/a*/", odd.display()), odd, odd).unwrap(), "a*/");
            assert_eq!(relative_to("b", odd, odd).unwrap(), "b");
        }
        let odd = Path::new("/home/[x]/repo");
        assert_eq!(relative_to("/home/\\[x]/repo/a", odd, odd).unwrap(), "a");
        assert_eq!(relative_to("/etc/x", Path::new("/"), Path::new("/")).unwrap(), "etc/x");
        assert_eq!(relative_to("etc/x", Path::new("/"), Path::new("/")).unwrap(), "etc/x");
        assert_eq!(relative_to("../..", Path::new("/a"), Path::new("/")).unwrap(), ".");
    }

    #[test]
    fn what_leaves_the_root_is_refused() {
        for input in ["../x", "..", "/repos/x", "/", "/re*/x", "../../../.."] {
            let e = at(input, "/repo").unwrap_err();
            assert!(e.message().contains("outside the root /repo") && e.next_step().is_some(), "{input}: {e:?}");
        }
        assert!(at("*/../x", "/repo").unwrap_err().message().contains("after a wildcard"));
        assert!(at("", "/repo").unwrap_err().message().contains("empty"));
    }

    #[cfg(unix)]
    #[test]
    fn a_root_behind_a_link_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("real");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::os::unix::fs::symlink(&root, base.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("sub"), base.join("deep")).unwrap();
        let through = |tail: &str| relative_to(&format!("{}/{tail}", base.display()), &root, &root);
        assert_eq!(through("link/src/new*.ts").unwrap(), "src/new*.ts");
        assert_eq!(through("deep/x").unwrap(), "sub/x");
        assert_eq!(through("link").unwrap(), ".");
        assert!(through("other/x").is_err());
    }
}
