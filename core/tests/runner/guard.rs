//! What git would do to others' work: whose files are known by what agents were seen to write.

use std::fs;
use std::path::Path;

use portdaddy_core::{AgentState, Coordinator, ErrorKind, NewSession, RestoreFiles};
use portdaddy_testutil::{Process, Role, TempStore, git};

const CHILD: &str = "guard::child";

/// What a child does: works in a directory, writes the files that it is told, and waits to be killed.
#[test]
fn child() {
    let Some(role) = Role::of_this_process() else { return };
    let mut words = role.name.split(' ');
    let dir = Path::new(words.next().unwrap());
    let pd = Coordinator::open(role.options().cwd(dir)).unwrap();
    begin(&pd, "Checkout UI");
    for name in words {
        fs::write(dir.join(name), "theirs").unwrap();
        pd.file_written(Path::new(name)).unwrap();
    }
    role.say("working");
    role.barrier();
}

fn begin(pd: &Coordinator, purpose: &str) {
    pd.start_session(&NewSession { purpose: purpose.into(), ..Default::default() }).unwrap();
}

fn peer(store: &TempStore, dir: &Path, files: &str) -> Process {
    let mut child = store.child(CHILD, format!("{} {files}", dir.display()).trim(), "B");
    assert_eq!(child.said(), "working");
    child
}

/// A repository with two files, in which `A` works.
fn place(store: &TempStore) -> (std::path::PathBuf, Coordinator) {
    let dir = store.repository("shop");
    for name in ["a", "b"] {
        fs::write(dir.join(name), name).unwrap();
    }
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "files"]);
    let pd = store.open_in("A", &dir);
    begin(&pd, "Payment API");
    (dir, pd)
}

#[test]
fn only_what_is_not_the_caller_s_own_is_in_danger() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let peer = peer(&store, &dir, "");
    fs::write(dir.join("a"), "mine").unwrap();
    pd.file_written(Path::new("a")).unwrap();
    for command in
        ["git stash", "git reset --hard", "git checkout -- .", "git commit -am x", "git add -A && git commit -m x"]
    {
        assert!(pd.guard(command).unwrap().is_none(), "{command}: all of it is its own");
    }
    // What is checked out is everybody's.
    assert!(pd.guard("git switch -c x").unwrap().unwrap().peers[0].files.is_empty());
    // Somebody wrote over it whom nobody saw.
    fs::write(dir.join("a"), "not mine").unwrap();
    let danger = pd.guard("git reset --hard").unwrap().unwrap();
    assert!(danger.text.contains("perhaps theirs: a"), "{}", danger.text);
    drop(peer);
}

#[test]
fn a_peer_s_files_are_named_while_it_lives_and_when_it_is_dead() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let mut peer = peer(&store, &dir, "b new");
    let danger = pd.guard("git stash -u").unwrap().unwrap();
    assert_eq!(
        (danger.peers[0].state, &danger.peers[0].files[..]),
        (AgentState::Active, &["b".into(), "new".into()][..])
    );
    assert_eq!(danger.snapshot.as_ref().unwrap().files, 2);
    // Untracked files stay where they are without -u.
    assert_eq!(pd.guard("git stash").unwrap().unwrap().peers[0].files, ["b"]);
    assert!(pd.guard("git checkout -- a").unwrap().is_none());
    // A commit of what is staged: the store says whose it is.
    git(&dir, &["add", "b"]);
    let danger = pd.guard("git commit -m x").unwrap().unwrap();
    assert!(!danger.destroys && danger.peers[0].files == ["b"], "{danger:?}");
    fs::write(dir.join("a"), "mine").unwrap();
    git(&dir, &["add", "a"]);
    let check = pd.commit_check(None).unwrap();
    assert_eq!(
        (check.of_others[0].path.as_str(), check.of_others[0].lives(), &check.rest[..]),
        ("b", true, &["a".into()][..])
    );
    // Another working tree is another matter, but for the branch.
    git(&dir, &["worktree", "add", "-q", "-b", "side", "../side"]);
    let side = store.open_in("C", &store.dir("side"));
    begin(&side, "Elsewhere");
    assert!(side.guard("git reset --hard; git stash; git rebase main").unwrap().is_none());
    assert!(side.guard("git push -f origin side").unwrap().is_none());
    assert!(side.guard("git push -f origin side:main").unwrap().is_some());
    assert!(side.guard(&format!("git -C {} reset --hard", dir.display())).unwrap().is_some());
    assert!(pd.guard("git worktree remove --force ../side").unwrap().is_some());

    peer.kill();
    let danger = pd.guard("git checkout -- b").unwrap().unwrap();
    assert_eq!(danger.peers[0].state, AgentState::Dead);
    assert!(danger.text.contains("dead, see pd salvage"), "{}", danger.text);
    assert!(!pd.commit_check(None).unwrap().of_others[0].lives());
    let name = danger.snapshot.unwrap().name;
    git(&dir, &["reset", "-q", "--hard"]);
    fs::remove_file(dir.join("new")).unwrap();
    let restored = pd.restore_snapshot(&name, &RestoreFiles::default()).unwrap();
    assert_eq!(restored.restored, ["a", "b", "new"]);
    assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "theirs");
}

#[test]
fn two_snapshots_at_once_are_both_whole() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let _peer = peer(&store, &dir, "b");
    for round in 0..5 {
        fs::write(dir.join("b"), format!("round {round}")).unwrap();
        let other = store.open_in("D", &dir);
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| pd.guard("git reset --hard").unwrap().unwrap());
            let two = scope.spawn(|| other.guard("git stash").unwrap().unwrap());
            (one.join().unwrap(), two.join().unwrap())
        });
        for danger in [one, two] {
            let name = danger.snapshot.unwrap_or_else(|| panic!("{}", danger.text)).name;
            assert_eq!(git(&dir, &["show", &format!("{name}:b")]), format!("round {round}"));
        }
    }
}

#[test]
fn what_is_too_large_is_left_out_and_old_snapshots_go() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    fs::File::create(dir.join("huge")).unwrap().set_len((64 << 20) + 1).unwrap();
    fs::write(dir.join("b"), "work").unwrap();
    let first = pd.take_snapshot().unwrap();
    assert_eq!((&first.left_out[..], first.files), (&["huge".into()][..], 1));
    let restored =
        pd.restore_snapshot(first.short_name(), &RestoreFiles { paths: vec!["huge".into()], ..Default::default() });
    assert_eq!(restored.unwrap().left_out, ["huge"]);
    fs::remove_file(dir.join("huge")).unwrap();
    for n in 0..3 {
        fs::write(dir.join("b"), format!("work {n}")).unwrap();
        store.clock().advance(2_000);
        pd.take_snapshot().unwrap();
    }
    assert_eq!(pd.snapshots().unwrap().len(), 4);
    store.clock().advance(15 * 24 * 3600 * 1000);
    fs::write(dir.join("b"), "much later").unwrap();
    let last = pd.take_snapshot().unwrap();
    let names: Vec<String> = pd.snapshots().unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, [last.name]);
    let gone = pd.restore_snapshot(&first.name, &RestoreFiles::default()).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn many_snapshots_of_one_agent_push_out_no_other_s() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let only = {
        fs::write(dir.join("b"), "an only copy").unwrap();
        store.open_in("D", &dir).take_snapshot().unwrap()
    };
    let mut names = vec![only.name.clone()];
    // The clock stands: the newest is the newest all the same.
    for n in 0..52 {
        fs::write(dir.join("b"), format!("work {n}")).unwrap();
        names.insert(0, pd.take_snapshot().unwrap().name);
    }
    let listed = || pd.snapshots().unwrap().into_iter().map(|s| s.name).collect::<Vec<_>>();
    assert_eq!(listed(), names);
    store.clock().advance(2 * 24 * 3600 * 1000);
    fs::write(dir.join("b"), "later").unwrap();
    names.insert(0, pd.take_snapshot().unwrap().name);
    names.drain(50..53);
    assert_eq!(listed(), names);
    assert_eq!(names[50], only.name);
}

#[test]
fn conflicts_and_submodules_are_no_obstacle() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let inner = store.repository("inner");
    git(&dir, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.to_str().unwrap(), "lib"]);
    git(&dir, &["commit", "-q", "-m", "lib"]);
    git(&dir, &["checkout", "-q", "-b", "side"]);
    fs::write(dir.join("a"), "side").unwrap();
    git(&dir, &["commit", "-q", "-am", "side"]);
    git(&dir, &["checkout", "-q", "main"]);
    fs::write(dir.join("a"), "main").unwrap();
    git(&dir, &["commit", "-q", "-am", "main"]);
    let merge = std::process::Command::new("git").args(["merge", "-q", "side"]).current_dir(&dir).output().unwrap();
    assert!(!merge.status.success());
    fs::write(dir.join("lib/loose"), "the submodule's own").unwrap();
    fs::write(dir.join("b"), "staged").unwrap();
    git(&dir, &["add", "b"]);
    fs::write(dir.join("b"), "and on").unwrap();
    let (conflict, index) = (fs::read(dir.join("a")).unwrap(), fs::read(dir.join(".git/index")).unwrap());
    let snapshot = pd.take_snapshot().unwrap();
    assert_eq!((snapshot.files, fs::read(dir.join(".git/index")).unwrap()), (2, index));
    assert_eq!(git(&dir, &["show", &format!("{}^2:b", snapshot.name)]), "staged");
    assert_eq!(git(&dir, &["show", &format!("{}^2:a", snapshot.name)]), "main");
    git(&dir, &["reset", "-q", "--hard"]);
    pd.restore_snapshot(&snapshot.name, &RestoreFiles::default()).unwrap();
    assert_eq!(fs::read(dir.join("a")).unwrap(), conflict);
    assert!(git(&dir, &["ls-tree", &snapshot.commit, "lib"]).starts_with("160000 commit "));
}
