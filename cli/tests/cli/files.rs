use std::process::Command;

use crate::place::{Place, assert_run};

#[test]
fn a_conflict_warns_as_promised_and_the_session_starts() {
    let mut place = Place::new();
    place.agent("backend").ok(&[
        "begin",
        "Payment API",
        "--name",
        "Backend Agent",
        "--files",
        "src/middleware/auth.ts",
    ]);
    place.agent("auth");
    assert_run!(place.pd(&["session", "start", "OAuth integration", "--files", "src/middleware/auth.ts", "src/oauth.ts"]), @r"
    Started session-ID
    2> Warning: src/middleware/auth.ts claimed by session-ID (Backend Agent)
    2> Use --force to claim anyway
    ");
    assert_eq!(place.json(&["files", "list"])["claims"].as_array().unwrap().len(), 2);
    assert_run!(place.pd(&["files", "add", "src/middleware/auth.ts", "--force"]), @r"
    Claimed src/middleware/auth.ts
    2> Warning: src/middleware/auth.ts claimed by session-ID (Backend Agent)
    2> Claimed anyway
    ");
    assert_run!(place.pd(&["who-owns", "src/middleware/auth.ts"]), @r"
    session-ID [Backend Agent] Payment API (src/middleware/auth.ts, active, N ago)
    session-ID [auth] OAuth integration (src/middleware/auth.ts, active, N ago)
    ");
}

#[test]
fn an_overlap_of_patterns_names_a_path_in_it() {
    let mut place = Place::new();
    place.write("src/auth/login.test.ts", "");
    place.agent("tests").ok(&["begin", "Tests", "--files", "src/**/*.test.ts"]);
    place.agent("auth").ok(&["begin", "Auth"]);
    assert_run!(place.pd(&["files", "add", "src/auth/**", "docs"]), @r"
    Claimed docs
    2> Warning: src/auth/** claimed by session-ID (tests)
    2>   [overlap: src/auth/login.test.ts]
    2> Use --force to claim anyway
    exit 1
    ");
    assert_run!(place.pd(&["files", "list"]), @r"
    src/**/*.test.ts session-ID (tests, N ago)
    docs session-ID (auth, N ago)
    ");
    assert_run!(place.pd(&["files", "rm", "docs"]), @"Released docs");
    assert_run!(place.pd(&["who-owns", "docs/a.md"]), @r"
    2> Nobody has claimed docs/a.md
    exit 1
    ");
}

#[test]
fn another_worktree_is_a_merge_ahead() {
    let mut place = Place::new();
    let git = |args: &[&str]| {
        let status = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(place.cwd())
            .env("HOME", place.path("."))
            .output()
            .unwrap();
        assert!(status.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&status.stderr));
    };
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&["worktree", "add", "-q", "../other"]);
    place.agent("one").ok(&["begin", "One", "--files", "src/a.ts:10-50"]);
    place.agent("two");
    let mut elsewhere = place.command(&["session", "start", "Two", "--files", "src/a.ts:40-60"]);
    let run = crate::place::Run::of(&elsewhere.current_dir(place.path("other")).output().unwrap());
    assert_run!(run, @r"
    Started session-ID
    2> Warning: src/a.ts:40-60 claimed by session-ID (one)
    2>   in another worktree: a merge ahead, not an overwrite
    2> Use --force to claim anyway
    ");
}

#[test]
fn files_alone_lists_them() {
    let place = Place::new();
    place.ok(&["session", "start", "Work", "--files", "src/a.ts"]);
    assert_eq!(place.ok(&["files"]), place.ok(&["files", "list"]));
    assert!(place.ok(&["files"]).contains("src/a.ts"));
}
