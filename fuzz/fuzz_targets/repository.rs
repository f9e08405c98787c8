//! What is read of a repository that somebody else made: the first byte chooses which of git's files the rest is.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use portdaddy_core::fuzzing;

const FILES: [&str; 6] =
    [".git/config", ".git/HEAD", ".git/commondir", ".git/packed-refs", ".git/refs/heads/main", "inner/.git"];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    if let Ok(config) = std::str::from_utf8(content) {
        fuzzing::origin(config);
    }
    let dir = tempfile::tempdir_in(memory()).expect("a temporary directory");
    let root = dir.path();
    for made in [".git/objects", ".git/refs/heads", "inner/deep"] {
        fs::create_dir_all(root.join(made)).expect("a directory");
    }
    fs::write(root.join(".git/HEAD"), "ref: refs/heads/main\n").expect("a file");
    fs::write(root.join(FILES[usize::from(*which) % FILES.len()]), content).expect("a file");
    for at in ["", "inner", "inner/deep", ".git/refs"] {
        let (place, branch) = fuzzing::place(&root.join(at)).expect("it exists");
        let Some(repository) = place.repository else { continue };
        assert!(place.cwd.starts_with(&repository.worktree));
        assert!(!repository.key.is_empty() && branch.is_none_or(|branch| !branch.contains('\n')));
    }
});

fn memory() -> &'static str {
    if fs::metadata("/dev/shm").is_ok_and(|found| found.is_dir()) { "/dev/shm" } else { "/tmp" }
}
