"""Sessions: how they begin, whose they are, how they end; and a block of code as one."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conftest import Store, git, program
from port_daddy import (
    AmbiguousError,
    ClosedError,
    InvalidError,
    NoSessionError,
    NotFoundError,
    NotOwnerError,
    PortDaddy,
    Session,
)


def only(pd: PortDaddy) -> Session:
    """The one session that there is."""
    (session,) = pd.sessions(all=True).sessions
    return session


def texts(pd: PortDaddy, id: str) -> list[tuple[str, str]]:
    """The journal of a session: of each note its type and its text."""
    return [(note.type, note.text) for note in pd.session(id=id).notes]


def test_a_session_remembers_where_it_began(store: Store) -> None:
    cwd = store.repository("shop")
    pd = store.open("api", cwd=cwd)
    pd.register_agent(name="Backend Agent", identity="payments:api")
    started = pd.start_session("Build it", phase="reading")
    assert (started.claimed, started.conflicts, started.dead_overlaps) == ((), (), ())
    session = started.session
    assert re.fullmatch(r"session-\w{5}", session.id)
    assert (session.agent, session.agent_name, session.identity) == ("api", "Backend Agent", "payments:api")
    assert (session.purpose, session.status, session.phase) == ("Build it", "active", "reading")
    assert (session.worktree, session.branch, session.scope) == (str(cwd), "main", "shop")
    assert session.commit == git(cwd, "rev-parse", "HEAD")
    assert session.repository
    assert abs(datetime.now(timezone.utc) - session.started) < timedelta(minutes=1)
    assert (session.ended, session.salvaged_from, session.notes) == (None, None, 0)

    assert pd.start_session("Other", identity="payments:db").session.identity == "payments:db"
    outside = store.open("b").start_session("Outside").session
    assert (outside.repository, outside.worktree, outside.branch, outside.scope) == (None, None, None, "global")


def test_what_breaks_a_rule_stores_nothing(store: Store) -> None:
    pd = store.open("a")
    bad: list[dict[str, Any]] = [
        {"purpose": ""},
        {"purpose": " \n"},
        {"purpose": "x" * 4097},
        {"purpose": "x", "files": ["ok", "a["]},
        {"purpose": "x", "files": ["f"] * 1001},
        {"purpose": "x", "identity": "a:b:c:d"},
        {"purpose": "x", "phase": "x" * 65},
    ]
    for options in bad:
        with pytest.raises(InvalidError):
            pd.start_session(**options)
        # A block of it isn't entered.
        with pytest.raises(InvalidError), pd.session(**options):
            pytest.fail("it began")
    assert pd.sessions(all=True).sessions == ()
    pd.start_session("x" * 4096)


def test_only_its_agent_ends_a_session_and_only_once(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    id = a.start_session("Work", files=["src"]).session.id
    with pytest.raises(NotOwnerError) as refused:
        b.end_session(session=id)
    assert refused.value.fields["owner"] == "a"
    with pytest.raises(NotOwnerError):
        b.set_phase("x", session=id)
    with pytest.raises(NotOwnerError):
        b.note("x", session=id)

    assert a.set_phase("testing").phase == "testing"
    with pytest.raises(InvalidError):
        a.end_session(status="active")
    ended = a.done("All done")
    assert (ended.id, ended.status, ended.notes) == (id, "completed", 1)
    assert ended.ended >= ended.started
    detail = b.session(id=id)
    assert (detail.session, detail.claims) == (ended, ())
    assert [note.text for note in detail.notes] == ["All done"]
    with pytest.raises(NoSessionError, match="completed"):
        a.end_session(session=id)
    with pytest.raises(NoSessionError):
        a.done()


def test_a_session_ends_with_a_note_and_as_it_is_told(store: Store) -> None:
    pd = store.open("a")
    pd.start_session("One")
    completed = pd.end_session("That was it")
    assert (completed.status, completed.notes) == ("completed", 1)
    id = pd.start_session("Two").session.id
    abandoned = pd.end_session("No use", status="abandoned")
    assert (abandoned.id, abandoned.status, abandoned.notes) == (id, "abandoned", 1)
    pd.start_session("Three")
    assert pd.end_session().notes == 0
    with pytest.raises(InvalidError):
        pd.end_session(status="finished")


def test_a_session_is_found_by_any_unique_prefix(store: Store) -> None:
    pd = store.open("a")
    begun = [pd.start_session(str(n)).session for n in range(40)]
    suffixes = [session.id.removeprefix("session-") for session in begun]
    for session, suffix in zip(begun, suffixes):
        assert pd.session(id=session.id).session == session
        for length in range(1, len(suffix)):
            prefix = suffix[:length]
            fits = sum(other.startswith(prefix) for other in suffixes)
            if fits == 1:
                assert pd.session(id=prefix).session == session
                continue
            with pytest.raises(AmbiguousError) as refused:
                pd.session(id=prefix)
            assert len(refused.value.fields["candidates"]) == min(fits, 8)
    for none in ("", "session-", "zzzzzz", "%", "session-_"):
        with pytest.raises(NotFoundError):
            pd.session(id=none)


def test_lists_see_their_scope_and_count_the_rest(store: Store) -> None:
    a = store.open("a", cwd=store.repository("shop"))
    b = store.open("b", cwd=store.repository("blog"))
    for purpose in ("one", "two", "three"):
        a.start_session(purpose, identity="pay:x")
    b.start_session("other", identity="pays")
    a.done()

    def listed(**filter: Any) -> tuple[str, int]:
        found = a.sessions(**filter)
        return " ".join(session.purpose for session in found.sessions), found.elsewhere

    assert listed() == ("one two three", 1)
    assert listed(limit=2) == ("two three", 1)
    assert listed(all=True) == ("one two three other", 0)
    assert listed(status="completed") == ("three", 0)
    assert listed(agent="b") == ("", 1)
    assert listed(project="pay", all=True) == ("one two three", 0)
    assert listed(project="pays", all=True) == ("other", 0)
    with pytest.raises(InvalidError):
        a.sessions(project="not a project")


def test_the_session_that_the_surroundings_name_comes_first(store: Store) -> None:
    pd = store.open("a")
    first, second = (pd.start_session(purpose).session.id for purpose in ("first", "second"))
    assert pd.set_phase("x").id == second
    told = store.open("a", session=first)
    assert told.whoami().session.id == first
    assert told.set_phase("y").id == first
    assert told.set_phase("z", session=second).id == second
    # For the shell it is the environment that names it.
    run = store.run(program("pd"), "note", "from the shell", agent="a", env={"PORT_DADDY_SESSION": first})
    assert run.returncode == 0, run.stderr
    assert texts(pd, first) == [("note", "from the shell")]


def test_leaving_abandons_what_is_unfinished(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    id = a.start_session("Work", files=["src"]).session.id
    a.unregister_agent()
    detail = b.session(id=id)
    assert (detail.session.status, detail.claims) == ("abandoned", ())


def test_what_a_program_begins_a_shell_goes_on_with(store: Store) -> None:
    pd = store.open("api")
    started = pd.start_session("Build it", files=["src/api.ts"])
    store.pd("api", "session", "phase", "testing")
    assert pd.session(id=started.session.id).session == started.session.replace(phase="testing")
    (listed,) = store.json("looker", "sessions")["sessions"]
    assert (listed["id"], listed["started_ms"]) == (started.session.id, milliseconds(started.session.started))
    store.pd("api", "done", "It is up")
    ended = pd.session(id=started.session.id)
    assert (ended.session.status, ended.claims, ended.notes[0].text) == ("completed", (), "It is up")
    with pytest.raises(NoSessionError):
        pd.done()


def milliseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


# A session as a block of code.


def test_a_block_is_a_session_and_completed_at_its_end(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    other.start_session("Auth", files=["src/auth.ts"])
    with pd.session("Api", files=["src/api.ts", "src/auth.ts"], phase="reading", identity="shop:api") as session:
        begun = session.started
        assert pd.session(id=session.id).session == begun.session
        assert (begun.session.purpose, begun.session.status) == ("Api", "active")
        assert (begun.session.phase, begun.session.identity) == ("reading", "shop:api")
        assert [claim.pattern.rpartition("/")[2] for claim in begun.claimed] == ["api.ts"]
        assert session.conflicts == begun.conflicts
        assert [conflict.with_.agent for conflict in session.conflicts] == ["b"]
    ended = pd.session(id=session.id)
    assert (ended.session.status, ended.notes, ended.claims) == ("completed", (), ())
    assert ended.session.ended >= ended.session.started
    assert pd.whoami().session is None

    with pd.session("By force", files="src/auth.ts", force=True) as forced:
        assert [claim.forced for claim in forced.started.claimed] == [True]


def test_a_block_that_fails_is_abandoned_with_the_exception_as_its_last_note(store: Store) -> None:
    pd = store.open("a")
    with pytest.raises(ValueError, match="^no such table: payments$"), pd.session("Migrate") as session:
        session.note("halfway")
        raise ValueError("no such table: payments")
    assert pd.session(id=session.id).session.status == "abandoned"
    assert texts(pd, session.id) == [("note", "halfway"), ("note", "ValueError: no such table: payments")]
    with pytest.raises(KeyError), pd.session("Wordless") as wordless:
        raise KeyError
    assert texts(pd, wordless.id) == [("note", "KeyError")]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("x" * 2_000_000, "ValueError: " + "x" * 20),
        ("half \ud800 a character", "ValueError: half ? a character"),
        ("two\nlines\x00and more", "ValueError: two\nlines"),
    ],
)
def test_whatever_an_exception_says_its_session_ends(store: Store, said: str, written: str) -> None:
    pd = store.open("a")
    with pytest.raises(ValueError) as raised, pd.session("Work") as session:
        raise ValueError(said)
    assert str(raised.value) == said
    detail = pd.session(id=session.id)
    assert detail.session.status == "abandoned"
    (note,) = detail.notes
    assert note.text.startswith(written)


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_without_words_is_itself_and_ends_its_session(store: Store) -> None:
    pd = store.open("a")
    with pytest.raises(Wordless), pd.session("Work") as session:
        raise Wordless
    detail = pd.session(id=session.id)
    assert detail.session.status == "abandoned"
    (note,) = detail.notes
    assert note.text.startswith("Wordless")


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "error", "status", "notes"),
    [
        (interrupt, KeyboardInterrupt, "abandoned", [("note", "KeyboardInterrupt")]),
        (lambda: sys.exit(3), SystemExit, "abandoned", [("note", "SystemExit: 3")]),
        (lambda: sys.exit("no disk"), SystemExit, "abandoned", [("note", "SystemExit: no disk")]),
        (lambda: sys.exit(0), SystemExit, "completed", []),
        (sys.exit, SystemExit, "completed", []),
    ],
)
def test_an_interrupt_abandons_a_block_and_an_orderly_exit_completes_it(
    store: Store, end: Any, error: type[BaseException], status: str, notes: list[tuple[str, str]]
) -> None:
    pd = store.open("a")
    with pytest.raises(error), pd.session("Work") as session:
        end()
    assert pd.session(id=session.id).session.status == status
    assert texts(pd, session.id) == notes


def test_a_block_whose_session_was_ended_inside_leaves_it_so(store: Store) -> None:
    pd = store.open("a")
    with pd.session("One") as session:
        assert session.end("Early").status == "completed"
        with pytest.raises(NoSessionError):
            session.note("late")
    assert texts(pd, session.id) == [("note", "Early")]
    # Also where the block fails afterwards, and where it was ended otherwise.
    with pytest.raises(ZeroDivisionError), pd.session("Two") as session:
        pd.end_session("Given up", status="abandoned")
        1 / 0
    assert pd.session(id=session.id).session.status == "abandoned"
    assert texts(pd, session.id) == [("note", "Given up")]
    with pd.session("Three") as session:
        pd.unregister_agent()
    assert pd.session(id=session.id).session.status == "abandoned"


def test_a_block_s_own_failure_says_more_than_that_of_its_end(store: Store) -> None:
    pd = store.open("a")
    with pytest.raises(ZeroDivisionError), pd.session("One"):
        pd.close()
        1 / 0
    # Where nothing else failed, the end does.
    pd = store.open("a")
    with pytest.raises(ClosedError), pd.session("Two"):
        pd.close()


def test_blocks_nest_and_each_writes_to_its_own(store: Store) -> None:
    pd = store.open("a")
    with pd.session("Outer") as outer:
        with pd.session("Inner") as inner:
            outer.note("of the outer")
            inner.note("of the inner", type="commit")
            pd.note("of the newest")
            assert outer.set_phase("waiting").id == outer.id
            assert [claim.session for claim in outer.claim_files(["outer.ts", "other.ts"]).claimed] == [outer.id] * 2
            assert [claim.session for claim in outer.release_files("other.ts")] == [outer.id]
            assert [claim.session for claim in inner.claim_files(["inner.ts", "more.ts"]).claimed] == [inner.id] * 2
            assert [claim.session for claim in inner.release_files("more.ts")] == [inner.id]
        assert pd.session(id=inner.id).session.status == "completed"
        detail = pd.session(id=outer.id)
        assert (detail.session.status, detail.session.phase) == ("active", "waiting")
        assert [claim.pattern.rpartition("/")[2] for claim in detail.claims] == ["outer.ts"]
        assert [claim.session for claim in outer.release_files()] == [outer.id]
        assert pd.whoami().session.id == outer.id
    assert texts(pd, outer.id) == [("note", "of the outer")]
    assert texts(pd, inner.id) == [("commit", "of the inner"), ("note", "of the newest")]
    assert pd.session(id=outer.id).session.status == "completed"


def test_a_block_that_has_not_begun_says_so_and_can_begin_again(store: Store) -> None:
    pd = store.open("a")
    block = pd.session("Work")
    assert pd.sessions().sessions == (), "asking for it begins nothing"
    for ask in (lambda: block.id, lambda: block.started, lambda: block.conflicts, lambda: block.note("x"), block.end):
        with pytest.raises(NoSessionError, match="not begun"):
            ask()
    ids = []
    for _ in range(2):
        with block as session:
            ids.append(session.id)
    assert [session.id for session in pd.sessions(status="completed").sessions] == ids


def test_a_session_is_either_begun_or_looked_at(store: Store) -> None:
    pd = store.open("a")
    id = pd.start_session("Work").session.id
    with pytest.raises(TypeError, match="purpose"):
        pd.session()
    with pytest.raises(TypeError, match="purpose"):
        pd.session("Work", id=id)
    for options in ({"files": ["a"]}, {"force": True}, {"phase": "x"}, {"identity": "a:b"}):
        with pytest.raises(TypeError, match="looks at"):
            pd.session(id=id, **options)
    assert only(pd).id == id
