"""File claims: what is claimed, what meets, and whose a path is."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, at_once, git, in_thread
from port_daddy import (
    ClaimedFiles,
    FileClaim,
    InvalidError,
    LineRange,
    NoSessionError,
    NotFoundError,
    NotOwnerError,
    PortDaddy,
    StartedSession,
)


def claim_at_a_word(role: Role, files: list[str]) -> None:
    """Starts a session, and says whom it met by which pattern."""
    pd = role.open()
    pd.whoami()
    role.say("ready")
    role.barrier()
    started = pd.start_session("race", files=files)
    role.say([[conflict.pattern, conflict.with_.agent] for conflict in started.conflicts])
    role.barrier()


def leave_work(role: Role) -> None:
    pd = role.open()
    pd.start_session("Unfinished", files=["src"])
    role.say("working")
    role.barrier()


def start(pd: PortDaddy, purpose: str, *files: str | Path) -> StartedSession:
    return pd.start_session(purpose, files=files)


def patterns(claims: tuple[FileClaim, ...]) -> list[str]:
    return [claim.pattern for claim in claims]


def witnesses(found: StartedSession | ClaimedFiles) -> list[tuple[str, bool, bool]]:
    """Where claims meet: a path, whether it exists, and whether it is in the same working tree."""
    return [(conflict.witness, conflict.exists, conflict.same_worktree) for conflict in found.conflicts]


def test_the_day_of_the_tutorial(store: Store) -> None:
    cwd = store.repository("shop")
    store.write("shop/src/middleware/auth.ts")
    backend = store.open("backend", cwd=cwd)
    backend.register_agent(name="Backend Agent")
    first = start(
        backend, "Building payment API", "src/api/payments/*", "src/types/Payment.ts", "src/middleware/auth.ts"
    )
    assert patterns(first.claimed) == ["src/api/payments/*", "src/types/Payment.ts", "src/middleware/auth.ts"]
    claim = first.claimed[2]
    assert (claim.session, claim.agent, claim.agent_name) == (first.session.id, "backend", "Backend Agent")
    assert (claim.root, claim.lines, claim.forced, claim.scope) == (str(cwd), None, False, "shop")
    assert claim.since >= first.session.started

    oauth = store.open("oauth", cwd=cwd)
    second = start(oauth, "OAuth integration", "src/middleware/auth.ts", "src/oauth/*")
    assert patterns(second.claimed) == ["src/oauth/*"]
    (conflict,) = second.conflicts
    assert (conflict.pattern, conflict.lines, conflict.with_) == ("src/middleware/auth.ts", None, claim)
    assert conflict.session_purpose == "Building payment API"
    assert witnesses(second) == [("src/middleware/auth.ts", True, True)]
    assert conflict.holder_state == "active"

    forced = oauth.claim_files(["src/middleware/auth.ts", "src/free.ts"], force=True)
    assert (forced.session, forced.conflicts, forced.dead_overlaps) == (second.session.id, (conflict,), ())
    assert [one.forced for one in forced.claimed] == [True, False]
    # Again: nothing changes, and nothing is asked again.
    again = oauth.claim_files(["src/middleware/auth.ts", "./src//free.ts"])
    assert (again.claimed, again.conflicts) == (forced.claimed, ())
    assert len(oauth.file_claims().claims) == 6


def test_patterns_meet_patterns_both_ways_with_a_witness_that_exists(store: Store) -> None:
    cwd = store.repository("shop")
    store.write("shop/src/auth/login.test.ts")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    start(a, "Tests", "src/**/*.test.ts")
    found = start(b, "Auth", "src/auth/**", "src/b/*.rs")
    assert witnesses(found) == [("src/auth/login.test.ts", True, True)]
    assert patterns(found.claimed) == ["src/b/*.rs"]
    (back,) = a.claim_files("src").conflicts
    assert (back.with_.pattern, back.exists) == ("src/b/*.rs", False)


def test_lines_meet_only_where_they_overlap(store: Store) -> None:
    cwd = store.repository("shop")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    assert start(a, "Top", "f.rs:10-50").claimed[0].lines == LineRange(first=10, last=50)
    found = start(b, "Rest", "f.rs:51-60", "f.rs#L50", "f.rs")
    assert [claim.lines for claim in found.claimed] == [LineRange(first=51, last=60)]
    assert [conflict.lines for conflict in found.conflicts] == [LineRange(first=50, last=50), None]


def test_input_is_relative_to_the_directory_and_a_file_that_exists_is_meant_as_it_is(store: Store) -> None:
    repo = store.repository("shop")
    store.write("shop/app/[id]/page.tsx")
    store.write("shop/app/i/page.tsx")
    a = store.open("a", cwd=repo / "app")
    claimed = start(a, "x", "[id]/page.tsx", "./api/../web/", str(repo / "abs/*.ts")).claimed
    assert patterns(claimed) == ["app/\\[id]/page.tsx", "app/web", "abs/*.ts"]
    assert {claim.root for claim in claimed} == {str(repo)}
    assert len(a.who_owns("[id]/page.tsx").owners) == 1
    assert a.who_owns("i/page.tsx").owners == ()
    with pytest.raises(InvalidError):
        a.claim_files(["fine", "../../other"])
    with pytest.raises(InvalidError):
        a.who_owns("../../other")
    assert patterns(a.file_claims().claims) == patterns(claimed)


def test_files_are_paths_or_text_one_or_many(store: Store) -> None:
    repo = store.repository("shop")
    a = store.open("a", cwd=repo)
    # A text is one pattern, not its letters.
    assert patterns(a.start_session("x", files="src").claimed) == ["src"]
    assert patterns(a.claim_files(Path("docs")).claimed) == ["docs"]
    many = [repo / "one.py", Path("two.py"), "three.py"]
    assert patterns(a.claim_files(many).claimed) == ["one.py", "two.py", "three.py"]
    assert patterns(a.claim_files(name for name in ("a", "b")).claimed) == ["a", "b"]
    with pytest.raises(InvalidError):
        a.claim_files([])
    for wrong, said in (
        (5, "^files must be a str, a path or a sequence of them, not int"),
        (["ok", 5], r"^files\[1\] must be a str or a path, not int"),
        (b"src", "^files"),
        ({"src": 1}, "^files must be .*, not dict"),
    ):
        with pytest.raises(TypeError, match=said):
            a.claim_files(wrong)
    with pytest.raises(TypeError, match="^path must be a str or a path, not NoneType"):
        a.who_owns(None)
    (owner,) = a.who_owns(Path("docs") / "x.md").owners
    assert (owner.claim.pattern, owner.purpose, owner.state, owner.same_worktree) == ("docs", "x", "active", True)


def test_another_working_tree_is_a_merge_ahead(store: Store) -> None:
    repo = store.repository("shop")
    # Inside the first one, as coding agents like to put them.
    git(repo, "worktree", "add", "-q", "trees/two", "-b", "two")
    a, b = store.open("a", cwd=repo), store.open("b", cwd=repo / "trees/two")
    start(a, "One", "src/**")
    assert witnesses(start(b, "Two", "src/x.rs")) == [("src/x.rs", False, False)]
    # What the outer one claims of the inner by its path is the same file.
    a.claim_files("trees/two/docs")
    assert witnesses(b.claim_files("docs/a.md")) == [("docs/a.md", False, True)]


def test_claims_meet_on_disk_across_repositories_and_outside(store: Store) -> None:
    outer, inner = store.repository("outer"), store.repository("outer/vendor/lib")
    store.write("outer/vendor/lib/src/a.rs")
    top, low, out = store.open("top", cwd=outer), store.open("low", cwd=inner), store.open("out")
    start(low, "Inner", "src/a.rs")
    assert witnesses(start(top, "Outer", "vendor/**", "docs")) == [("vendor/lib/src/a.rs", True, True)]
    # Outside any repository, by the path from the root of the disk.
    (outside,) = start(out, "All", "outer/docs/x").conflicts
    assert outside.with_.pattern == "docs"
    assert outside.witness.endswith("/outer/docs/x")
    # And from inside, what only the absolute path tells.
    out.claim_files("outer/vendor/lib/tests")
    assert low.claim_files("tests/t.rs").conflicts[0].witness == "tests/t.rs"


def test_the_dead_block_nobody_and_the_ended_are_gone(store: Store) -> None:
    child = store.child(leave_work, "dead")
    assert child.said() == "working"
    b = store.open("b")
    assert len(start(b, "Too early", "src/a").conflicts) == 1
    child.kill()
    assert [owner.state for owner in b.who_owns("src/a").owners] == ["dead"]
    found = b.claim_files(["src/a", "src/b"])
    assert (len(found.claimed), found.conflicts) == (2, ())
    assert [(overlap.with_.agent, overlap.holder_state) for overlap in found.dead_overlaps] == [("dead", "dead")] * 2
    assert not any(claim.forced for claim in found.claimed)
    b.done()
    assert len(start(store.open("c"), "Next", "src/a").dead_overlaps) == 1
    assert [owner.claim.agent for owner in b.who_owns("src/b").owners] == ["dead"]


def test_one_agents_sessions_meet_as_well(store: Store) -> None:
    a = store.open("a", cwd=store.repository("shop"))
    with a.session("One", files="src") as one, a.session("Two", files="src/x") as two:
        assert [conflict.with_ for conflict in two.conflicts] == list(one.started.claimed)


def test_releasing_is_exact(store: Store) -> None:
    cwd = store.repository("shop")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    started = start(a, "Work", "src/*", "f.rs:1-5", "f.rs:8", "docs")
    with pytest.raises(NotFoundError):
        a.release_files(["src/*", "nothing"])
    assert a.file_claims().claims == started.claimed, "nothing is given up then"
    assert a.release_files(["./src/*", "f.rs:8"]) == (started.claimed[0], started.claimed[2])
    # Lines matter only where they are given.
    assert a.release_files(Path("f.rs")) == (started.claimed[1],)
    assert a.release_files(session=started.session.id) == (started.claimed[3],)
    assert a.release_files() == ()
    assert start(b, "Free", "src/x", "docs").conflicts == ()
    with pytest.raises(NotOwnerError):
        b.release_files(session=started.session.id)
    with pytest.raises(NoSessionError):
        store.open("c", cwd=cwd).release_files()


def test_a_path_has_owners_above_it_and_a_directory_those_below(store: Store) -> None:
    cwd = store.repository("shop")
    store.write("shop/src/api/a.ts")
    a, b, c = store.open("a", cwd=cwd), store.open("b", cwd=cwd), store.open("c")
    start(a, "Api", "src/api/*")
    session = start(b, "Rust").session
    b.claim_files("**/*.rs", force=True, session=session.id)

    def who(path: str) -> str:
        return "".join(owner.claim.agent for owner in a.who_owns(path).owners)

    assert who("src/api/a.ts") == "a"
    assert who("src/api/a.rs") == "ab"
    assert who("src") == "ab"
    assert who("README.md") == ""
    everyone = c.who_owns("shop/src/api/new.rs")
    assert everyone.path.endswith("shop/src/api/new.rs")
    assert [(owner.purpose, owner.state) for owner in everyone.owners] == [("Api", "active"), ("Rust", "active")]


def test_lists_see_their_scope(store: Store) -> None:
    a = store.open("a", cwd=store.repository("shop"))
    b = store.open("b", cwd=store.repository("blog"))
    id = start(a, "A", "x", "y").session.id
    start(b, "B", "z")

    def listed(**filter: Any) -> tuple[list[str], int]:
        found = b.file_claims(**filter)
        return patterns(found.claims), found.elsewhere

    assert listed() == (["z"], 2)
    assert listed(all=True) == (["x", "y", "z"], 0)
    assert listed(session=id) == (["x", "y"], 0)
    assert listed(agent="a") == ([], 2)
    with pytest.raises(NotFoundError):
        b.file_claims(session="nope")


def test_a_thousand_patterns_in_one_call(store: Store) -> None:
    cwd = store.repository("shop")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    files = [f"src/m{n % 50}/f{n}.rs" for n in range(1000)]
    assert patterns(start(a, "All", *files).claimed) == files
    found = start(b, "Everything", "**", "src/m1/*")
    assert (found.claimed, len(found.conflicts)) == ((), 1001)
    assert b.claim_files(files).claimed == ()
    with pytest.raises(InvalidError):
        b.claim_files([*files, "one more"])


def test_of_those_who_claim_at_once_one_is_first(store: Store) -> None:
    cwd = store.repository("shop")
    for round in range(10):
        barrier = threading.Barrier(4)

        def race(agent: str) -> int:
            with PortDaddy(agent, db=store.db, cwd=cwd) as pd:
                pd.whoami()
                barrier.wait(LONG)
                conflicts = start(pd, "Race", f"r{round}/**/*.ts").conflicts
                barrier.wait(LONG)
                return len(conflicts)

        met = [in_thread(race, f"a{n}") for n in range(4)]
        # The others' claims are refused, so each of them meets the first one's and no other.
        assert sorted(outcome.result(LONG) for outcome in met) == [0, 1, 1, 1]


def test_a_claimed_file_has_nothing_below_it(store: Store) -> None:
    cwd = store.repository("repo")
    os.makedirs(cwd / "src/lib")
    store.write("repo/src/main")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    # A file, a directory, a file and a directory that aren't there yet.
    start(a, "p", "src/main", "src/lib", "src/new.ts", "later")
    start(b, "q")

    def meets(pattern: str) -> list[str]:
        return [conflict.with_.pattern for conflict in b.claim_files(pattern).conflicts]

    assert meets("src/**/*.test.ts") == ["src/lib"]
    assert meets("later/x.ts") == ["later"]
    assert meets("src/new.ts") == ["src/new.ts"]
    assert meets("src/ma*") == ["src/main"]


def test_of_eight_processes_that_claim_one_file_at_once_one_gets_it(store: Store) -> None:
    files = ["src/{a,b}.ts", "own/*"]
    said = at_once([store.child(claim_at_a_word, f"agent-{n}", files=files) for n in range(8)])
    met = [[agent for pattern, agent in conflicts if pattern.endswith("src/{a,b}.ts")] for conflicts in said]
    winner = met.index([])
    assert met == [[] if n == winner else [f"agent-{winner}"] for n in range(8)]


def test_what_a_program_claims_a_shell_is_warned_of(store: Store) -> None:
    api = store.open("api")
    start(api, "Api", "src/auth.ts")
    assert "api" in store.pd("looker", "who-owns", "src/auth.ts")
    (claim,) = store.json("looker", "files", "list")["claims"]
    assert claim["pattern"].endswith("src/auth.ts") and claim["agent"] == "api"
    # And the other way round.
    store.pd("shell", "begin", "Docs", "--files", "docs/*")
    (conflict,) = api.claim_files("docs/a.md").conflicts
    assert (conflict.with_.agent, conflict.session_purpose) == ("shell", "Docs")
