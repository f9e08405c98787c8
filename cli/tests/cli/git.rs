//! Git among peers: two agents in one working tree, real git, and work that comes back byte for byte.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::hostile::{git, lay_traps, snapshot};
use crate::place::{Place, Run};
use crate::salvage::die_at_work;

/// A process that others take for a coding harness, in which an agent began a session, and that goes on.
struct Harness(Child);

impl Harness {
    fn of(place: &Place, agent: &str, begin: &str) -> Self {
        use std::io::{BufRead as _, BufReader};
        let dir = place.path(&format!("bin-{agent}"));
        fs::create_dir(&dir).unwrap();
        symlink("/bin/sh", dir.join("claude")).unwrap();
        let mut command = place.program(dir.join("claude").to_str().unwrap());
        let script = format!("{begin} >/dev/null 2>&1 && echo ready && read -r end");
        command.env("PORT_DADDY_AGENT", agent).args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A repository with a commit, where `B` works, whose life its harness proves. Commands come from `A`.
fn shared() -> (Place, Harness) {
    let mut place = Place::new();
    repository(&place);
    let harness = Harness::of(&place, "B", "pd begin 'Checkout UI' --name Berta --files b.txt 'new/*' -q");
    place.agent("A").ok(&["begin", "Payment API", "-q"]);
    let agents = place.json(&["agents"]);
    let berta = agents["agents"].as_array().unwrap().iter().find(|agent| agent["id"] == "B").unwrap();
    assert_eq!((&berta["state"], &berta["proofs"][0]["kind"]), (&"active".into(), &"process".into()), "{berta}");
    (place, harness)
}

fn repository(place: &Place) {
    let work = place.cwd();
    git(&work, &["init", "-q", "-b", "main"]);
    for name in ["a.txt", "b.txt", "gone.txt"] {
        place.write(name, &format!("{name}\n"));
    }
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "first"]);
}

/// What `B` has at hand and has not committed.
fn work_of_b(place: &Place) -> std::collections::BTreeMap<std::path::PathBuf, (u32, Vec<u8>)> {
    place.write("b.txt", "half\r\ndone");
    place.write("new/deep/untracked.bin", "\u{0}\u{1}\u{fffd}\r\n");
    place.write("new/run.sh", "#!/bin/sh\n");
    fs::set_permissions(place.cwd().join("new/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    files(place)
}

/// All files but git's own.
fn files(place: &Place) -> std::collections::BTreeMap<std::path::PathBuf, (u32, Vec<u8>)> {
    let mut all = snapshot(&place.cwd());
    all.retain(|path, _| !path.starts_with(".git"));
    all
}

/// The danger of a command, which there is, and the name of the snapshot.
fn danger(place: &Place, command: &str) -> (Value, String) {
    let run = place.pd(&["git", "check", "--json", command]);
    assert_eq!(run.exit, 3, "{command}: {}", run.shown());
    let danger: Value = serde_json::from_str(&run.stdout).unwrap();
    let name = danger["snapshot"]["name"].as_str().unwrap_or_else(|| panic!("{danger}")).to_owned();
    (danger, name.strip_prefix("refs/port-daddy/snapshots/").unwrap().to_owned())
}

fn no_danger(place: &Place, command: &str) {
    let run = place.pd(&["git", "check", command]);
    assert_eq!((run.exit, run.shown().as_str()), (0, ""), "{command}");
}

fn text(danger: &Value) -> &str {
    let text = danger["text"].as_str().unwrap();
    assert!(text.chars().count() <= 600, "{text}");
    text
}

/// Makes a program. Not by ourselves: a file that we had open may be open in a child of another test, and then isn't run.
fn program(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut sh = Command::new("sh");
    let mut child = sh.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn run_git(place: &Place, line: &str) {
    let run = place.sh(&format!("git config user.name t; git config user.email t@example.org; {line}"));
    assert_eq!(run.exit, 0, "{line}: {}", run.shown());
}

#[test]
fn a_reset_is_told_before_and_the_work_comes_back() {
    let (place, _berta) = shared();
    let before = work_of_b(&place);
    let (said, name) = danger(&place, "git reset --hard && git clean -fd");
    for part in ["git reset --hard would throw away", "Berta (\"Checkout UI\", active)", "b.txt", &name] {
        assert!(text(&said).contains(part), "{part}: {said}");
    }
    assert_eq!(said["peers"][0]["agent"], "B");
    assert_eq!(said["destroys"], true);
    run_git(&place, "git reset -q --hard && git clean -qfd");
    assert!(!place.cwd().join("new").exists());
    let restored = place.json(&["git", "restore", &name]);
    assert_eq!(restored["restored"].as_array().unwrap().len(), 3, "{restored}");
    assert_eq!(files(&place), before);
}

#[test]
fn a_stash_is_its_agent_s_and_another_that_pops_it_is_told() {
    let (mut place, _berta) = shared();
    let before = work_of_b(&place);
    let (said, name) = danger(&place, "git stash -u");
    assert!(text(&said).contains("would stash uncommitted work away"), "{said}");
    run_git(&place, "git stash -q -u");
    assert_ne!(files(&place), before);
    // As the hook does after the command.
    place.ok(&["git", "check", "--after", "git stash -u"]);
    no_danger(&place, "git stash pop");
    // B's work is back without the stash.
    place.agent("B").ok(&["git", "restore", &name]);
    assert_eq!(files(&place), before);
    run_git(&place, "git add -A; git commit -qm mine");
    let (said, _) = danger(&place, "git stash pop");
    assert!(text(&said).contains("isn't yours, made") && text(&said).contains("A (\"Payment API\", "), "{said}");
    let kept = said["snapshot"]["kept"][0].as_str().unwrap().to_owned();
    run_git(&place, "git stash drop -q");
    // The entry is gone, and what it held is not.
    run_git(&place, &format!("git reset -q --hard HEAD~1; git stash apply -q {kept}"));
    assert_eq!(files(&place), before);
}

#[test]
fn a_sweeping_commit_is_told_before_and_what_it_took_stays() {
    let (place, _berta) = shared();
    let before = work_of_b(&place);
    place.write("a.txt", "mine");
    for command in ["git add -A && git commit -m x", "git commit -am x"] {
        let (said, _) = danger(&place, command);
        assert!(text(&said).contains("would commit uncommitted work of others in work: Berta"), "{said}");
        assert!(text(&said).contains("git commit -- FILES"), "{said}");
        assert_eq!(said["destroys"], false);
    }
    let (_, name) = danger(&place, "git add . && git commit -m x");
    no_danger(&place, "git commit -m x -- a.txt");
    no_danger(&place, "git add a.txt && git commit -m x");
    run_git(&place, "git add -A && git commit -qm x && git revert -n HEAD && git commit -qm back");
    assert!(!place.cwd().join("new/run.sh").exists());
    place.ok(&["git", "restore", &name, "b.txt", "new"]);
    let mut after = files(&place);
    after.remove(Path::new("a.txt"));
    assert!(after.iter().all(|(path, file)| before.get(path) == Some(file)), "{after:?}");
    assert_eq!(after.len(), before.len() - 1);
}

#[test]
fn nobody_else_there_nothing_is_said_and_nothing_taken() {
    let mut place = Place::new();
    repository(&place);
    place.agent("A").ok(&["begin", "Alone", "-q"]);
    place.write("a.txt", "changed");
    for command in
        ["git reset --hard", "git stash -u", "git checkout -b x", "git add -A && git commit -m x", "git push -f"]
    {
        no_danger(&place, command);
    }
    assert_eq!(place.ok(&["git", "snapshots"]), "");
    // Outside of a repository, and in a bare one, there is nothing either.
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let run =
        |dir: &Path| Run::of(&place.command(&["git", "check", "git reset --hard"]).current_dir(dir).output().unwrap());
    assert_eq!(run(&elsewhere).exit, 0);
    git(&elsewhere, &["init", "-q", "--bare", "x.git"]);
    assert_eq!(run(&elsewhere.join("x.git")).exit, 0);
    let refused = Run::of(&place.command(&["git", "snapshot"]).current_dir(&elsewhere).output().unwrap());
    assert_eq!(refused.exit, 2, "{}", refused.shown());
    assert!(refused.stderr.contains("is in no working tree"), "{}", refused.shown());
}

#[test]
fn a_dead_peer_s_work_is_kept_and_named() {
    let mut place = Place::new();
    repository(&place);
    place.agent("B");
    die_at_work(&place, "pd begin 'Left behind' --files b.txt >/dev/null");
    place.write("b.txt", "salvage me");
    place.agent("A").ok(&["begin", "Tidying", "-q"]);
    let (said, name) = danger(&place, "git checkout -- .");
    assert!(text(&said).contains("B (\"Left behind\", dead, see pd salvage): b.txt"), "{said}");
    run_git(&place, "git checkout -q -- .");
    place.ok(&["git", "restore", &name]);
    assert_eq!(fs::read_to_string(place.cwd().join("b.txt")).unwrap(), "salvage me");
    // Its own files are in nobody's way.
    no_danger(&place, "git checkout -- a.txt");
}

#[test]
fn bytes_modes_links_and_odd_names_come_back_as_they_were() {
    let place = Place::new();
    repository(&place);
    let work = place.cwd();
    for (key, value) in [("core.autocrlf", "true"), ("core.safecrlf", "false")] {
        git(&work, &["config", key, value]);
    }
    place.write(".gitattributes", "*.txt text eol=crlf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n");
    place.write("x.id", "$Id: mine $\r\n");
    for name in ["crlf.txt", "-dash", "new\nline", "tab\there", "\"quoted\"", "ünï", "dir/a b"] {
        place.write(name, "one\r\ntwo\nthree\r\n");
    }
    fs::write(work.join("binary"), (0..=255).collect::<Vec<u8>>()).unwrap();
    fs::write(work.join("x.u16"), b"\xff\xfea\0\r\0\n\0").unwrap();
    fs::set_permissions(work.join("-dash"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../nowhere\n", work.join("dir/link")).unwrap();
    fs::remove_file(work.join("gone.txt")).unwrap();
    place.write("a.txt", "staged\r\n");
    git(&work, &["add", "a.txt"]);
    place.write("a.txt", "and then\r\n");
    let (index, before) = (fs::read(work.join(".git/index")).unwrap(), files(&place));
    let head = fs::read(work.join(".git/HEAD")).unwrap();
    let name = place.ok(&["git", "snapshot", "-q"]).trim().to_owned();
    assert_eq!(fs::read(work.join(".git/index")).unwrap(), index);
    assert_eq!((fs::read(work.join(".git/HEAD")).unwrap(), files(&place)), (head, before.clone()));
    assert!(!work.join(".git/index.lock").exists());
    // Nothing changed: it is the same.
    assert_eq!(place.ok(&["git", "snapshot", "-q"]).trim(), name);
    run_git(&place, "git reset -q --hard && git clean -qfd && rm gone.txt");
    place.ok(&["git", "restore", &name]);
    assert_eq!(files(&place), before);
    // What was staged is there as well.
    run_git(&place, &format!("test \"$(git show refs/port-daddy/snapshots/{name}^2:a.txt)\" = staged"));
}

#[test]
fn before_the_first_commit_there_is_work_as_well() {
    let place = Place::new();
    git(&place.cwd(), &["init", "-q"]);
    place.write("one", "1");
    place.write("two", "2");
    git(&place.cwd(), &["add", "one"]);
    let name = place.ok(&["git", "snapshot", "-q"]).trim().to_owned();
    let before = files(&place);
    run_git(&place, "git rm -qf one && git clean -qfd");
    assert!(files(&place).is_empty());
    place.ok(&["git", "restore", &name]);
    assert_eq!(files(&place), before);
}

#[test]
fn what_was_changed_since_is_not_overwritten_unless_forced() {
    let place = Place::new();
    repository(&place);
    place.write("b.txt", "then");
    place.write("c.txt", "then");
    let name = place.ok(&["git", "snapshot", "-q"]).trim().to_owned();
    place.write("b.txt", "later");
    fs::remove_file(place.cwd().join("c.txt")).unwrap();
    let run = place.pd(&["git", "restore", &name]);
    assert_eq!((run.exit, run.stdout.as_str()), (1, ""), "{}", run.shown());
    assert!(run.stderr.contains("b.txt was changed since"), "{}", run.shown());
    assert!(!place.cwd().join("c.txt").exists(), "nothing at all is written");
    assert_eq!(place.ok(&["git", "restore", &name, "c.txt", "--dry-run"]), "Would restore c.txt\n");
    assert!(!place.cwd().join("c.txt").exists());
    assert_eq!(place.ok(&["git", "restore", &name, "c.txt"]), "Restored c.txt\n");
    let forced = place.json(&["git", "restore", &name, "--force"]);
    assert_eq!(fs::read_to_string(place.cwd().join("b.txt")).unwrap(), "then");
    let kept = forced["before"]["name"].as_str().unwrap();
    place.ok(&["git", "restore", kept, "b.txt", "--force", "-q"]);
    assert_eq!(fs::read_to_string(place.cwd().join("b.txt")).unwrap(), "later");
    for args in [["git", "restore", "nothing"].as_slice(), &["git", "restore", &name, "a.txt"], &["git", "show", "x"]] {
        assert_eq!(place.pd(args).exit, 1, "{args:?}");
    }
    assert_eq!(place.pd(&["git", "restore", &name, "../../etc"]).exit, 2);
}

#[test]
fn nothing_is_put_back_through_a_link_or_into_git_s_own_files() {
    let place = Place::new();
    repository(&place);
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    place.write("dir/file", "mine");
    let name = place.ok(&["git", "snapshot", "-q"]).trim().to_owned();
    fs::remove_dir_all(place.cwd().join("dir")).unwrap();
    symlink(&outside, place.cwd().join("dir")).unwrap();
    let run = place.pd(&["git", "restore", &name, "--force"]);
    assert_eq!(run.exit, 1, "{}", run.shown());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // A snapshot that somebody made up, with a hook in it.
    let forged = "blob=$(echo evil | git hash-object -w --stdin) &&
        dir=$(printf '100755 blob %s\\tpost-checkout\\n' $blob | git mktree) &&
        dir=$(printf '040000 tree %s\\thooks\\n' $dir | git mktree) &&
        blob=\"100644 blob $blob\" &&
        dir=$(printf '040000 tree %s\\t.git\\n%s\\tfine\\n' $dir \"$blob\" | git mktree) &&
        commit=$(git commit-tree $dir -m 'x

{\"at_ms\":1}') && git update-ref refs/port-daddy/snapshots/forged $commit";
    run_git(&place, forged);
    let run = place.pd(&["git", "restore", "forged"]);
    assert!(!place.cwd().join(".git/hooks/post-checkout").exists(), "{}", run.shown());
    assert_eq!(run.stdout, "Restored fine\n", "{}", run.shown());
}

#[test]
fn a_hostile_repository_s_programs_are_not_run() {
    let (place, _berta) = shared();
    let work = place.cwd();
    work_of_b(&place);
    place.write("a", "x");
    place.write("b", "x");
    // Newer than any index: git compares them again whenever it writes one.
    for name in ["racy", "racy-p"] {
        place.write(name, "x");
        let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(130 * 365 * 24 * 3600);
        fs::File::options().write(true).open(work.join(name)).unwrap().set_modified(later).unwrap();
    }
    git(&work, &["add", "-f", "a", "b", "racy", "racy-p"]);
    git(&work, &["commit", "-qm", "second", "--", "a", "b", "racy", "racy-p"]);
    let sprung = lay_traps(&place);
    fs::create_dir_all(work.join(".git/info")).unwrap();
    place.write(".git/info/attributes", "racy filter=f\nracy-p filter=p\n");
    for (key, value) in [("commit.gpgSign", "true"), ("core.worktree", "/"), ("core.attributesFile", ".gitattributes")]
    {
        git(&work, &["--work-tree=.", "config", key, value]);
    }
    for (name, content) in [("a", "changed\r\n"), ("b", "changed\n")] {
        place.write(name, content);
    }
    let with_dot = |args: &[&str]| {
        let path = format!(".::{}", std::env::var("PATH").unwrap());
        Run::of(&place.command(args).env("PATH", path).output().unwrap())
    };
    let mut name = String::new();
    for args in [
        ["git", "check", "-q", "git reset --hard; git stash; git stash pop; git stash clear"].as_slice(),
        &["git", "check", "-q", "git add -A && git commit -m x && git push -f && git branch -D main"],
        &["git", "snapshot", "-q"],
        &["git", "snapshots"],
        &["git", "pre-commit"],
        &["git", "install-hooks"],
    ] {
        let run = with_dot(args);
        assert!(!sprung.exists(), "{args:?}: {}", fs::read_to_string(&sprung).unwrap());
        // Hooks that are elsewhere are left alone.
        let exit = [("check", 3), ("install-hooks", 2)].into_iter().find(|(verb, _)| *verb == args[1]);
        assert_eq!(run.exit, exit.map_or(0, |(_, exit)| exit), "{args:?}: {}", run.shown());
        if args[1] == "snapshot" {
            run.stdout.trim().clone_into(&mut name);
        }
    }
    let before = files(&place);
    for file in ["a", "b", "b.txt", "new/run.sh"] {
        fs::remove_file(work.join(file)).unwrap();
    }
    for args in [["git", "restore", &name].as_slice(), &["git", "show", &name]] {
        let run = with_dot(args);
        assert_eq!(run.exit, 0, "{}", run.shown());
        assert!(!sprung.exists(), "{args:?}: {}", fs::read_to_string(&sprung).unwrap());
    }
    assert_eq!(files(&place), before);
    // So that the traps are known to be some: plain git runs what a snapshot would.
    let plain = "git --work-tree=. stash push -q; git --work-tree=. update-ref refs/x HEAD";
    let _ = place.sh(plain);
    let ran = fs::read_to_string(&sprung).unwrap();
    assert!(ran.lines().count() >= 2, "{ran}");
}

#[test]
fn a_git_that_hangs_or_is_missing_holds_nobody_up() {
    let (place, _berta) = shared();
    work_of_b(&place);
    let bin = place.path("slow");
    fs::create_dir(&bin).unwrap();
    program(&bin.join("git"), "#!/bin/sh\nwhile :; do sleep 60; done\n");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let limited = |path: &str, line: &str| {
        let mut command = Command::new("/usr/bin/timeout");
        let pd = place.command(&[]);
        command.args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_pd"), "git", "check", line]);
        command.env_clear().envs(pd.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("PATH", path);
        Run::of(&command.current_dir(place.cwd()).output().unwrap())
    };
    for (path, why) in [(path.as_str(), "git took longer than"), ("/nowhere", "git isn't installed")] {
        let run = limited(path, "git reset --hard");
        assert_eq!(run.exit, 3, "{}", run.shown());
        assert!(run.stdout.contains(&format!("No snapshot could be taken: {why}")), "{}", run.shown());
        assert!(run.stdout.contains("Berta"), "{}", run.shown());
        // Whose a stash entry is can't be told either, so it may be hers.
        let run = limited(path, "git stash pop");
        assert_eq!(run.exit, 3, "{}", run.shown());
        assert!(run.stdout.contains("Berta") && run.stdout.contains(why), "{}", run.shown());
    }
}

#[test]
fn the_pre_commit_hook_warns_refuses_if_strict_and_composes() {
    let (mut place, _berta) = shared();
    let hook = place.cwd().join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    program(&hook, "#!/bin/sh\necho before >&2\ntest ! -e refuse\n");
    let old = fs::read(&hook).unwrap();
    place.ok(&["git", "install-hooks"]);
    assert!(place.ok(&["git", "install-hooks"]).starts_with("Already installed: "));
    let commit = |place: &Place| {
        place.write("a.txt", &format!("{:?}", std::time::Instant::now()));
        place.sh("git config user.name t; git config user.email t@example.org; git add a.txt; git commit -qm x")
    };
    let run = commit(&place);
    assert_eq!((run.exit, run.stderr.as_str()), (0, "before\n"), "{}", run.shown());
    place.write("refuse", "");
    assert_eq!(commit(&place).exit, 1, "the old hook's exit code counts");
    fs::remove_file(place.cwd().join("refuse")).unwrap();
    // Without pd, and with one that fails.
    let run = place.program("sh").env("PATH", "/usr/bin:/bin").args(["-c", "git commit -qm y"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    place.write("a.txt", "more");
    let run = place.program("sh").env("PORT_DADDY_DB", "/dev/null").args(["-c", "git commit -qam z"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    place.ok(&["git", "install-hooks", "--strict"]);
    // Only what pd refuses stops a commit.
    let fake = place.path("fake");
    fs::create_dir(&fake).unwrap();
    for (code, stops) in [(3, true), (1, false), (70, false), (0, false)] {
        program(&fake.join("pd"), &format!("#!/bin/sh\nexit {code}\n"));
        let mut command = place.program("sh");
        command.env("PATH", format!("{}:/usr/bin:/bin", fake.display()));
        let run = Run::of(&command.args(["-c", "git commit -q --allow-empty -m strict"]).output().unwrap());
        assert_eq!(run.exit != 0, stops, "{code}: {}", run.shown());
    }
    place.ok(&["git", "install-hooks", "--remove"]);
    assert_eq!(fs::read(&hook).unwrap(), old);
    assert!(place.ok(&["git", "install-hooks", "--remove"]).starts_with("Not installed: "));
    git(&place.cwd(), &["config", "core.hooksPath", ".husky"]);
    let run = place.agent("A").pd(&["git", "install-hooks"]);
    assert_eq!(run.exit, 2, "{}", run.shown());
    assert!(run.stderr.contains(".husky") && run.stderr.contains("pd git pre-commit || true"), "{}", run.shown());
}

#[test]
fn hooks_keep_their_names_links_and_what_was_added_to_ours() {
    let place = Place::new();
    repository(&place);
    let hooks = place.cwd().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join("pre-commit");
    // One that is many hooks, elsewhere, and looks at the name by which it was called.
    place.write("scripts/dispatch", "");
    program(
        &place.cwd().join("scripts/dispatch"),
        "#!/bin/sh\ntest \"$(basename \"$0\")\" = pre-commit || exit 9\necho dispatched >&2\n",
    );
    symlink("../../scripts/dispatch", &hook).unwrap();
    fs::write(hooks.join("pre-commit.new"), "somebody's").unwrap();
    // Two at once, and again.
    let two: Vec<Child> = ["git install-hooks -q"; 6]
        .iter()
        .map(|line| place.command(&line.split(' ').collect::<Vec<_>>()).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in two {
        assert!(child.wait().unwrap().success());
    }
    let aside = hooks.join("port-daddy.before/pre-commit");
    assert_eq!(fs::read_to_string(hooks.join("pre-commit.new")).unwrap(), "somebody's");
    let commit = "git config user.name t; git config user.email t@example.org; git commit -q --allow-empty -m x";
    let run = place.sh(commit);
    assert_eq!((run.exit, run.stderr.as_str()), (0, "dispatched\n"), "{}", run.shown());
    // Lines of the user's.
    let ours = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, format!("{ours}echo mine\n")).unwrap();
    for args in [
        ["git", "install-hooks", "--strict"].as_slice(),
        &["git", "install-hooks"],
        &["git", "install-hooks", "--remove"],
    ] {
        let run = place.pd(args);
        assert_eq!(run.exit, 2, "{}", run.shown());
        assert!(run.stderr.contains("was changed since pd installed it"), "{}", run.shown());
        assert_eq!(fs::read_to_string(&hook).unwrap(), format!("{ours}echo mine\n"));
        assert!(aside.exists());
    }
    fs::write(&hook, &ours).unwrap();
    place.ok(&["git", "install-hooks", "--remove"]);
    assert_eq!(fs::read_link(&hook).unwrap(), Path::new("../../scripts/dispatch"));
    let mut left: Vec<_> = fs::read_dir(&hooks).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.retain(|name| !name.to_string_lossy().ends_with(".sample"));
    left.sort();
    assert_eq!(left, ["pre-commit", "pre-commit.new"]);
}

#[test]
fn what_git_has_no_time_for_is_left_out_and_tracked_work_is_not() {
    let (place, _berta) = shared();
    work_of_b(&place);
    place.write("slow/one", "SLOW");
    for n in 0..60 {
        fs::File::create(place.cwd().join(format!("huge-{n}"))).unwrap().set_len((64 << 20) + 1).unwrap();
    }
    let bin = place.path("slow");
    fs::create_dir(&bin).unwrap();
    let real = Run::of(&place.program("sh").args(["-c", "command -v git"]).output().unwrap());
    // It never comes to an end with that file.
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' hash-object -w '*) ;; *) exec {git} \"$@\";; esac\nlist=$(cat)\n\
         if printf '%s\\n' \"$list\" | xargs grep -q SLOW; then sleep 600; fi\nprintf '%s\\n' \"$list\" | {git} \"$@\"\n",
        git = real.stdout.trim()
    );
    program(&bin.join("git"), &script);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = Run::of(&place.command(&["git", "check", "--json", "git stash -u"]).env("PATH", path).output().unwrap());
    assert_eq!(run.exit, 3, "{}", run.shown());
    let danger: Value = serde_json::from_str(&run.stdout).unwrap();
    let snapshot = &danger["snapshot"];
    // The whole batch, of untracked files, and all that are too large.
    assert_eq!(snapshot["left_out_count"], 63, "{danger}");
    assert_eq!(snapshot["left_out"].as_array().unwrap().len(), 50);
    assert!(text(&danger).contains("without 63 too large"), "{danger}");
    let name = snapshot["name"].as_str().unwrap();
    run_git(&place, &format!("test \"$(git show {name}:b.txt | od -c)\" = \"$(od -c <b.txt)\""));
}

#[test]
fn what_was_private_comes_back_private_and_what_was_staged_is_named() {
    let place = Place::new();
    repository(&place);
    let mode = |path: &str| fs::metadata(place.cwd().join(path)).unwrap().permissions().mode() & 0o777;
    place.write(".env", "SECRET=1");
    let open = place.ok(&["git", "snapshot", "-q"]);
    fs::set_permissions(place.cwd().join(".env"), fs::Permissions::from_mode(0o600)).unwrap();
    place.write("a.txt", "staged\n");
    git(&place.cwd(), &["add", "a.txt"]);
    place.write("a.txt", "a.txt\n");
    let name = place.ok(&["git", "snapshot", "-q"]).trim().to_owned();
    assert_ne!(open.trim(), name);
    fs::remove_file(place.cwd().join(".env")).unwrap();
    run_git(&place, "git reset -q --hard");
    let run = place.pd(&["git", "restore", &name]);
    assert_eq!((run.exit, mode(".env")), (0, 0o600), "{}", run.shown());
    let command = format!("git show 'refs/port-daddy/snapshots/{name}^2:a.txt'");
    assert!(run.stderr.contains(&command) && run.stderr.contains("1 file had been staged"), "{}", run.shown());
    run_git(&place, &format!("test \"$({command})\" = staged"));
    // Asked for by name, it is known as well.
    assert_eq!(place.pd(&["git", "restore", &name, "a.txt"]).exit, 0);
    assert_eq!(place.pd(&["git", "restore", &name, "b.txt"]).exit, 1);
}

#[test]
fn killed_in_the_middle_of_a_snapshot_nothing_is_left_but_objects() {
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    repository(&place);
    place.write("b.txt", "work");
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    let real = Run::of(&place.program("sh").args(["-c", "command -v git"]).output().unwrap());
    // It says when it comes to the step, and stays there.
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" $STEP \"*) echo > '{}/reached'; while kill -0 $PPID 2>/dev/null; do sleep 1; done; exit 1;; esac\nexec {} \"$@\"\n",
        bin.display(),
        real.stdout.trim()
    );
    program(&bin.join("git"), &script);
    let index = fs::read(place.cwd().join(".git/index")).unwrap();
    let made = place.path("db/port-daddy.db.snapshots");
    let dirs = || fs::read_dir(&made).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
    for step in ["hash-object -w", "update-index", "commit-tree", "update-ref"] {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = place.command(&["git", "snapshot"]);
        command.env("PATH", path).env("STEP", step).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        place.until(|| bin.join("reached").exists());
        let _ = child.kill();
        child.wait().unwrap();
        fs::remove_file(bin.join("reached")).unwrap();
        assert_eq!(dirs(), 1, "{step}");
        assert_eq!(place.ok(&["git", "snapshots"]), "", "{step}");
        assert_eq!(fs::read(place.cwd().join(".git/index")).unwrap(), index, "{step}");
        let strays = snapshot(&place.cwd()).into_keys().filter(|path| path.extension().is_some_and(|e| e == "lock"));
        assert_eq!(strays.count(), 0, "{step}");
    }
    place.ok(&["git", "snapshot"]);
    assert_eq!(dirs(), 0, "the next one cleans up");
    assert_eq!(place.ok(&["git", "snapshots"]).lines().count(), 1);
}
