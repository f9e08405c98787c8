"""The journal: what is written, who reads what, and following it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, at_once, in_thread
from port_daddy import ClosedError, InvalidError, NoSessionError, Note, NoteList, NotFoundError

TOMORROW = datetime.now(timezone.utc) + timedelta(days=1)


def write_notes(role: Role, count: int) -> None:
    with role.open() as pd:
        pd.whoami()
        role.say("ready")
        role.barrier()
        for n in range(count):
            pd.note(f"{role.agent} {n}")
        role.say("done")


def texts(found: NoteList) -> list[str]:
    return [note.text for note in found.notes]


def test_a_note_without_a_session_opens_one(store: Store) -> None:
    pd = store.open("api", cwd=store.repository("shop"))
    pd.register_agent(name="Backend Agent")
    first, second = pd.note("hello"), pd.note("again")
    assert (first.opened_session, second.opened_session) == (True, False)
    assert first.note.session == second.note.session
    assert first.note.seq < second.note.seq
    note = first.note
    assert (note.agent, note.agent_name, note.scope) == ("api", "Backend Agent", "shop")
    assert (note.text, note.type) == ("hello", "note")
    assert abs(datetime.now(timezone.utc) - note.at) < timedelta(minutes=1)
    opened = pd.session(id=note.session)
    assert (opened.session.purpose, opened.session.branch) == ("Backend Agent", "main")
    assert opened.notes == (first.note, second.note) == pd.notes().notes

    # A session that is named is meant: no other is opened in its place.
    pd.end_session()
    with pytest.raises(NoSessionError):
        pd.note("late", session=note.session)
    with pytest.raises(NotFoundError):
        pd.note("lost", session="nope")
    assert texts(pd.notes()) == ["hello", "again"]


def test_a_note_has_a_text_and_a_type(store: Store) -> None:
    pd = store.open("a")
    whole = "x" * 2**20
    for text, type in (("", None), (whole + "x", None), ("x", "No Slug"), ("half \ud800", None)):
        with pytest.raises(InvalidError):
            pd.note(text, type=type)
    for wrong in (b"bytes", None, 5):
        with pytest.raises(TypeError, match="^text must be a str"):
            pd.note(wrong)
    assert pd.notes(all=True).notes == ()
    assert pd.note(whole).note.text == whole
    assert pd.note("two\nlines", type="commit").note.type == "commit"
    assert pd.note("größer, 更大, 🚢").note.text == "größer, 更大, 🚢"


def test_reading_filters_and_counts_what_is_left_out(store: Store) -> None:
    cwd = store.repository("shop")
    a, b = store.open("a", cwd=cwd), store.open("b", cwd=cwd)
    other = store.open("c", cwd=store.repository("blog"))
    a.register_agent(name="Ann", identity="pay:web")
    first = a.note("one").note
    b.note("Two ÄRGER", type="blocker")
    third = b.note("three").note
    other.note("two elsewhere")

    def read(**filter: Any) -> tuple[str, int]:
        found = a.notes(**filter)
        return ",".join(texts(found)), found.elsewhere

    assert read() == ("one,Two ÄRGER,three", 1)
    assert read(limit=2) == ("Two ÄRGER,three", 1)
    assert read(all=True) == ("one,Two ÄRGER,three,two elsewhere", 0)
    assert read(agent="b") == ("Two ÄRGER,three", 0)
    assert read(agent="Ann") == ("one", 0)
    assert read(agent="c") == ("", 1)
    assert read(type="blocker") == ("Two ÄRGER", 0)
    assert read(grep="TWO") == ("Two ÄRGER", 1)
    assert read(grep="ärger") == ("Two ÄRGER", 0)
    assert read(grep="%") == ("", 0)
    assert read(project="pay") == ("one", 0)
    assert read(since=TOMORROW) == ("", 0)
    assert read(since=first.at - timedelta(seconds=1)) == ("one,Two ÄRGER,three", 1)
    assert read(session=third.session) == ("Two ÄRGER,three", 0)
    assert read(after_seq=first.seq, limit=1) == ("Two ÄRGER", 1)
    with pytest.raises(NotFoundError):
        a.notes(agent="nobody")


def test_a_moment_has_a_time_zone(store: Store) -> None:
    pd = store.open("a")
    at = pd.note("x").note.at
    # The same moment, as a clock somewhere else shows it.
    tokyo = timezone(timedelta(hours=9))
    assert texts(pd.notes(since=at.astimezone(tokyo))) == ["x"]
    assert texts(pd.notes(since=(at + timedelta(seconds=1)).astimezone(tokyo))) == []
    with pytest.raises(InvalidError, match="^since "):
        pd.notes(since=datetime(2026, 1, 1))
    with pytest.raises(TypeError, match="^since "):
        pd.notes(since="2026-01-01")


def test_a_note_in_a_named_session_goes_to_its_scope(store: Store) -> None:
    inside = store.open("a", cwd=store.repository("shop"))
    id = inside.start_session("Work").session.id
    note = store.open("a").note("from outside", session=id).note
    assert note.scope == "shop"
    assert inside.notes().notes == (note,)


def test_a_follower_gets_each_note_once(store: Store) -> None:
    reader, writer = store.open("r"), store.open("w")
    for n in range(30):
        writer.note(f"old {n}")
    with reader.follow_notes(limit=2, timeout=LONG) as follow:
        assert [note.text for note in islice(follow, 2)] == ["old 28", "old 29"]
        written = in_thread(lambda: [writer.note(f"new {n}").note for n in range(600)])
        heard = list(islice(follow, 600))
        assert heard == written.result(LONG)
        assert [note.text for note in heard] == [f"new {n}" for n in range(600)]
        assert follow.next(timeout=0) is None, "and nothing twice"


def test_a_follower_hears_only_what_it_asked_for(store: Store) -> None:
    pd = store.open("a")
    pd.note("old", type="blocker")
    with pd.follow_notes(type="blocker", limit=0, timeout=LONG) as follow:
        pd.note("of no interest")
        pd.note("stuck", type="blocker")
        assert next(follow).text == "stuck"
    with pytest.raises(InvalidError):
        pd.follow_notes(type="No Slug")


def test_following_ends_with_its_time_and_with_its_reader(store: Store) -> None:
    pd = store.open("a")
    pd.note("x")

    def heard(follow: Any) -> list[str]:
        return [note.text for note in follow]

    # With its time, of which none need be left for what is there.
    assert heard(pd.follow_notes(timeout=timedelta(milliseconds=1))) == ["x"]
    assert heard(pd.follow_notes(timeout=0)) == ["x"]
    # With the reader's own error, which the loop passes on.
    with pytest.raises(LookupError, match="enough of x"), pd.follow_notes() as follow:
        for note in follow:
            raise LookupError(f"enough of {note.text}")
    assert follow.closed
    # With its close, whoever waits meanwhile.
    follow = pd.follow_notes(limit=0)
    waiting = in_thread(heard, follow)
    assert not follow.closed
    follow.close()
    assert waiting.result(LONG) == []
    follow.close()


def test_following_ends_with_its_client(store: Store) -> None:
    pd = store.open("a")
    follow = pd.follow_notes(limit=0)
    waiting = in_thread(follow.next)
    pd.close()
    with pytest.raises(ClosedError):
        waiting.result(LONG)
    with pytest.raises(ClosedError):
        next(follow)


def test_eight_processes_lose_no_note_and_wait_their_turn(store: Store) -> None:
    each = 40
    writers = [f"agent-{n}" for n in range(8)]
    assert at_once([store.child(write_notes, agent, count=each) for agent in writers]) == ["done"] * 8
    notes = store.open("reader").notes(limit=1000).notes
    assert len(notes) == 8 * each
    assert all(one.seq < other.seq for one, other in pairwise(notes))
    for agent in writers:
        own: list[Note] = [note for note in notes if note.agent == agent]
        assert [note.text for note in own] == [f"{agent} {n}" for n in range(each)]
        assert len({note.session for note in own}) == 1, "one session each"


def test_what_a_program_writes_a_shell_reads(store: Store) -> None:
    pd = store.open("api")
    pd.register_agent(name="API")
    note = pd.note("from a program", type="commit").note
    store.pd("api", "note", "from a shell")
    assert store.pd("looker", "notes") == "[API] from a program\n[API] from a shell\n"
    assert texts(pd.notes()) == ["from a program", "from a shell"]
    said = store.json("looker", "notes", "--type", "commit")["notes"]
    assert [(one["seq"], one["session"], one["type"]) for one in said] == [(note.seq, note.session, "commit")]
