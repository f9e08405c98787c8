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
    assert!(pd.guard("git worktree remove --force side").unwrap().is_some(), "git takes the end of the path as well");

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
fn what_a_peer_wrote_or_claims_stays_at_stake_after_the_caller_wrote_it_too() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let _peer = peer(&store, &dir, "b");
    let write = |name: &str| {
        fs::write(dir.join(name), "theirs and mine").unwrap();
        pd.file_written(Path::new(name)).unwrap();
    };
    write("b");
    let danger = pd.guard("git reset --hard").unwrap().unwrap();
    assert_eq!(danger.peers[0].files, ["b"]);
    assert_eq!(danger.snapshot.unwrap().files, 1);
    // Whoever wrote it first has looked at what became of it: it is in there all the same.
    let again = store.open_in("B", &dir);
    again.file_read(Path::new("b")).unwrap();
    assert_eq!(pd.guard("git checkout -- b").unwrap().unwrap().peers[0].files, ["b"]);
    assert!(again.guard("git checkout -- b").unwrap().is_some(), "and it isn't its alone");
    // Claimed, and never seen to be written by it.
    git(&dir, &["checkout", "-q", "--", "."]);
    let other = store.open_in("D", &dir);
    other.start_session(&NewSession { purpose: "Cart".into(), files: vec!["a".into()], ..Default::default() }).unwrap();
    write("a");
    let danger = pd.guard("git checkout -- a").unwrap().unwrap();
    assert_eq!((danger.peers[0].agent.as_str(), &danger.peers[0].files[..]), ("D", &["a".into()][..]));
}

#[test]
fn a_stash_entry_is_not_its_who_only_touched_the_stash_and_is_kept_where_nobody_knows_whose() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let _peer = peer(&store, &dir, "");
    let stash = |content: &str| {
        fs::write(dir.join("b"), content).unwrap();
        git(&dir, &["stash", "-q"]);
        git(&dir, &["rev-parse", "stash@{0}"])
    };
    let (_, unseen) = (stash("first"), stash("second"));
    // Looked at before or after: nobody's stay nobody's.
    pd.guarded("git stash apply").unwrap();
    pd.guarded("git stash drop 5").unwrap();
    // Nobody has to be asked, but the entry is in a snapshot.
    assert!(pd.guard("git stash drop").unwrap().is_none());
    assert!(pd.snapshots().unwrap()[0].kept.contains(&unseen), "{:?}", pd.snapshots());
    git(&dir, &["stash", "drop", "-q"]);
    pd.guarded("git stash drop").unwrap();
    assert!(pd.guard("git stash clear").unwrap().is_some(), "it is perhaps the peer's");
    // What a line made is the caller's, whatever it took before.
    pd.guard("git stash pop && git stash").unwrap();
    git(&dir, &["stash", "drop", "-q"]);
    stash("mine");
    pd.guarded("git stash pop && git stash").unwrap();
    let before = pd.snapshots().unwrap().len();
    assert!(pd.guard("git stash pop").unwrap().is_none() && pd.guard("git stash clear").unwrap().is_none());
    assert_eq!(pd.snapshots().unwrap().len(), before, "its own needs no snapshot");
    let other = store.open_in("D", &dir);
    assert_eq!(other.guard("git stash apply").unwrap().unwrap().peers[0].agent, "A");
}

#[test]
fn who_works_by_path_from_elsewhere_is_a_peer_and_who_works_in_a_nested_repository_is_none() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let docs = store.repository("docs");
    let nested = dir.join("trees/x");
    git(&dir, &["worktree", "add", "-q", "-b", "side", "trees/x"]);
    fs::write(dir.join(".git/info/exclude"), "trees\n").unwrap();
    let (other, inner) = (store.open_in("D", &docs), store.open_in("E", &nested));
    begin(&other, "Docs");
    let all = NewSession { purpose: "Side".into(), files: vec!["**".into()], ..Default::default() };
    inner.start_session(&all).unwrap();
    fs::write(nested.join("a"), "its own tree").unwrap();
    inner.file_written(Path::new("a")).unwrap();
    fs::write(dir.join("b"), "unseen").unwrap();
    assert!(pd.guard("git reset --hard; git switch side").unwrap().is_none(), "nobody works in this tree");
    fs::write(dir.join("b"), "by path").unwrap();
    other.file_written(&dir.join("b")).unwrap();
    let danger = pd.guard("git reset --hard").unwrap().unwrap();
    assert_eq!(danger.peers.len(), 1);
    assert_eq!((danger.peers[0].agent.as_str(), &danger.peers[0].files[..]), ("D", &["b".into()][..]));
    // A claim does for that, too.
    let outer = store.open_in("F", dir.parent().unwrap());
    let a = NewSession { purpose: "Both".into(), files: vec!["shop/a".into()], ..Default::default() };
    outer.start_session(&a).unwrap();
    fs::write(dir.join("a"), "claimed").unwrap();
    let danger = pd.guard("git checkout -- a").unwrap().unwrap();
    assert_eq!((danger.peers[0].agent.as_str(), &danger.peers[0].files[..]), ("F", &["a".into()][..]));
}

#[test]
fn a_commit_of_what_was_added_in_the_same_line_takes_a_peer_s_files_along() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    fs::create_dir(dir.join("src")).unwrap();
    let _peer = peer(&store, &dir, "src/new");
    fs::write(dir.join("src/nobodys"), "x").unwrap();
    let danger = pd.guard("git add src && git commit -m x").unwrap().unwrap();
    assert!(!danger.destroys && danger.peers[0].files == ["src/new"], "{danger:?}");
    assert!(pd.guard("git add a src/nobodys && git commit -m x").unwrap().is_none(), "they were chosen");
    git(&dir, &["add", "src/new"]);
    assert!(pd.guard("git add a && git commit -m x").unwrap().is_some(), "it is staged");
}

#[test]
fn every_branch_of_a_command_is_looked_at() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    git(&dir, &["branch", "other"]);
    git(&dir, &["worktree", "add", "-q", "-b", "side", "../side"]);
    let side = store.open_in("D", &store.dir("side"));
    begin(&side, "Elsewhere");
    let tip = git(&dir, &["rev-parse", "side"]);
    let danger = pd.guard("git branch -D other side").unwrap().unwrap();
    assert_eq!((danger.peers[0].agent.as_str(), danger.peers.len()), ("D", 1));
    assert!(danger.snapshot.unwrap().kept.contains(&tip));
    assert!(pd.guard("git branch -D other").unwrap().is_none());
    // A new name for the branch that the other is on, which is the one checked out there.
    assert_eq!(side.guard("git branch -M new").unwrap().map(|danger| danger.peers.len()), None);
    begin(&store.open_in("E", &store.dir("side")), "There, too");
    assert_eq!(side.guard("git branch -M new").unwrap().unwrap().peers[0].agent, "E");
}

#[test]
fn a_danger_behind_many_harmless_commands_is_found_and_what_is_not_looked_at_is_said() {
    let store = TempStore::running();
    let (dir, pd) = place(&store);
    let peer = peer(&store, &dir, "b");
    // They touch nothing of the peer's.
    let many = |n: usize| (0..n).map(|n| format!("git checkout -- a{n}; ")).collect::<String>();
    let line = format!("{} git reset --hard", many(20));
    let danger = pd.guard(&line).unwrap().unwrap();
    assert_eq!((danger.command.as_str(), &danger.peers[0].files[..]), ("git reset --hard", &["b".into()][..]));
    assert!(pd.guard(&many(20)).unwrap().is_none());
    let danger = pd.guard(&format!("{} git reset --hard", many(40))).unwrap().unwrap();
    assert!(danger.text.contains("16 more git commands that weren't looked at"), "{}", danger.text);
    let danger = pd.guard(&format!("git reset --hard; {}", many(40))).unwrap().unwrap();
    assert!(danger.text.ends_with("17 more git commands weren't looked at."), "{}", danger.text);
    assert!(danger.text.chars().count() <= 600 && danger.snapshot.is_some());
    drop(peer);
}

#[test]
fn paths_are_seen_from_where_the_line_has_gone() {
    let store = TempStore::running();
    let (dir, _) = place(&store);
    let _peer = peer(&store, &dir, "b");
    fs::create_dir(dir.join("sub")).unwrap();
    let pd = store.open_in("D", &dir.join("sub"));
    begin(&pd, "Below");
    for line in [
        "cd \"$(git rev-parse --show-toplevel)\" && git checkout -- b",
        "cd .. && git checkout -- b",
        "cd $(git rev-parse --show-toplevel)/sub; git checkout -- ../b",
        "git -C \"$PWD\" checkout -- ../{a,b}",
        "cd /; cd - && git reset --hard",
        "cd \"$SOMEWHERE\" && git reset --hard",
    ] {
        assert_eq!(pd.guard(line).unwrap().expect(line).peers[0].files, ["b"], "{line}");
    }
    assert!(pd.guard("git checkout -- b").unwrap().is_none(), "that is sub/b");
    assert!(pd.guard("cd / && git reset --hard").unwrap().is_none());
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
