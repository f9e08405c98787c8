"""History, and the state of the whole."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import pytest

from conftest import LONG, Store, in_thread
from port_daddy import Activity, AgentCounts, Check, InvalidError, StoreCorruptError


async def examined(store: Store, db: Path) -> tuple[Check, ...]:
    """What the doctor finds, of a client that can do nothing else."""
    pd = store.open_async("a", db=db)
    with pytest.raises(StoreCorruptError):
        await pd.status()
    checks = await pd.doctor()
    await pd.close()
    return checks


def types(entries: tuple[Activity, ...]) -> list[str]:
    return [entry.type for entry in entries]


def test_what_was_done_is_listed_in_order_and_by_scope(store: Store) -> None:
    pd = store.open("a")
    port = pd.claim("api").port
    pd.release("api")
    store.open("b", scope="elsewhere").claim("web")

    here = pd.activity()
    assert (types(here.entries), here.elsewhere) == (["port.claim", "port.release"], 1)
    first, second = here.entries
    assert first.seq < second.seq and first.at <= second.at
    assert abs(datetime.now(timezone.utc) - first.at) < timedelta(minutes=1)
    assert (first.agent, first.agent_name, first.subject, first.scope) == ("a", "a", "api", "global")
    assert first.detail["port"] == port

    def everywhere(**filter: object) -> tuple[Activity, ...]:
        return pd.activity(all=True, **filter).entries

    assert everywhere()[:2] == here.entries
    assert types(everywhere()) == ["port.claim", "port.release", "port.claim"]
    assert everywhere(type="port.release") == (second,)
    assert len(everywhere(type="port.")) == 3
    assert everywhere(type="port") == ()
    assert [entry.scope for entry in everywhere(agent="b")] == ["elsewhere"]
    assert [entry.subject for entry in everywhere(limit=1)] == ["web"]
    assert types(everywhere(after_seq=first.seq)) == ["port.release", "port.claim"]
    assert everywhere(since=datetime.now(timezone.utc) + timedelta(days=1)) == ()
    assert len(everywhere(since=first.at - timedelta(days=1))) == 3
    with pytest.raises(InvalidError):
        pd.activity(type="")


def test_a_follower_sees_each_entry_once_and_may_call(store: Store) -> None:
    pd = store.open("a")
    pd.claim("first")
    seen = []
    with pd.follow_activity(timeout=LONG) as follow:
        for entry in follow:
            seen.append(entry)
            if len(seen) == 4:
                break
            pd.claim(f"app{len(seen)}")
    assert [entry.subject for entry in seen] == ["first", "app1", "app2", "app3"]
    assert tuple(seen) == pd.activity().entries
    assert follow.closed
    assert list(pd.follow_activity(limit=0, timeout=0)) == [], "nothing new"
    # From where one stopped.
    assert list(islice(pd.follow_activity(after_seq=seen[1].seq, timeout=LONG), 2)) == seen[2:]
    with pytest.raises(InvalidError):
        pd.follow_activity(type="")


def test_a_follower_of_activity_ends_with_its_close(store: Store) -> None:
    pd = store.open("a")
    follow = pd.follow_activity(limit=0)
    waiting = in_thread(list, follow)
    follow.close()
    assert waiting.result(LONG) == []


def test_the_state_of_the_whole_is_counted(store: Store) -> None:
    pd = store.open("a")
    pd.claim("api")
    pd.publish("x", 1)
    lock = pd.lock("m")
    pd.start_session("p", files="src")
    status = pd.status()
    assert status.agents == AgentCounts(active=1, stale=0, dead=0)
    assert (status.db, status.scope) == (str(store.db), "global")
    assert (status.ports, status.sessions, status.claims, status.locks) == (1, 1, 1, 1)
    assert (status.channels, status.messages, status.waiters, status.salvage) == (1, 1, (), 0)
    assert status.seq > 0 and status.schema > 0 and status.size_bytes + status.wal_bytes > 0
    said = store.json("looker", "status")
    assert [said[name] for name in ("ports", "locks", "sessions", "schema")] == [1, 1, 1, status.schema]
    lock.release()
    assert pd.status().locks == 0


def test_the_doctor_finds_a_sound_store_sound_and_tells_why_another_is_not(store: Store) -> None:
    checks = {check.name: check for check in store.open("a").doctor()}
    for name in (
        "sqlite",
        "database",
        "integrity",
        "filesystem",
        "permissions",
        "writing",
        "wake",
        "caller",
        "leftovers",
    ):
        assert checks[name].ok and checks[name].detail and checks[name].hint is None, checks[name]
    db = store.write("text.db", "this is no database, however long it may go on for")
    db.chmod(0o600)
    # A client that blocks is open or isn't made; one of asyncio, which opens at its first call, can ask why it can't.
    with pytest.raises(StoreCorruptError):
        store.open("a", db=db)
    (failed,) = (check for check in asyncio.run(examined(store, db)) if not check.ok)
    assert failed.name == "database" and failed.hint


def test_what_a_shell_does_a_program_sees_and_the_other_way_round(store: Store) -> None:
    pd = store.open("api")
    pd.claim("shop:api")
    store.pd("shell", "claim", "shop:web")
    assert [(entry.agent, entry.subject) for entry in pd.activity(type="port.").entries] == [
        ("api", "shop:api"),
        ("shell", "shop:web"),
    ]
    said = store.json("looker", "log")["entries"]
    assert [entry["seq"] for entry in said] == [entry.seq for entry in pd.activity().entries]
