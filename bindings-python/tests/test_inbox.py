"""Messages to one agent: what is kept until it was shown, and what the sender learns."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice

import pytest

from conftest import LONG, Store, in_thread, until_waiting
from port_daddy import (
    AmbiguousError,
    ClosedError,
    DirectMessage,
    InboxFullError,
    InvalidError,
    NotFoundError,
)


def texts(messages: Sequence[DirectMessage]) -> list[str]:
    return [message.text for message in messages]


def test_what_is_sent_is_there_until_it_was_shown(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    a.register_agent(name="Ann")
    b.register_agent(name="Bob")
    sent = a.send("Bob", "one")
    a.send("b", "two\n\x1b[31m")
    message = sent.message
    assert (message.recipient, sent.recipient_name, sent.reach, sent.gone) == ("b", "Bob", "if_it_looks", None)
    assert (message.sender, message.sender_name, message.shown) == ("a", "Ann", None)
    assert abs(datetime.now(timezone.utc) - message.at) < timedelta(minutes=1)
    for _ in range(2):
        assert texts(b.inbox()) == ["one", "two\n\x1b[31m"]
    assert list(a.inbox()) == []
    b.inbox_shown(message.seq)
    assert texts(b.inbox()) == ["two\n\x1b[31m"]
    assert [m.shown is not None for m in b.direct_messages()] == [True, False]
    assert texts(b.direct_messages(limit=1)) == ["two\n\x1b[31m"]


def test_an_agent_is_named_by_its_id_or_by_what_it_alone_is_called(store: Store) -> None:
    me = store.open("me")
    for id in ("api-1", "web-1"):
        store.open(id).register_agent(name="Builder", identity=f"shop:{id}")
    assert me.send("shop:web-1", "x").message.recipient == "web-1"
    with pytest.raises(AmbiguousError) as ambiguous:
        me.send("Builder", "x")
    assert len(ambiguous.value.fields["candidates"]) == 2
    with pytest.raises(NotFoundError) as unknown:
        me.send("api", "x")
    assert unknown.value.fields["near"] == ["api-1"]


def test_a_text_has_bounds_and_an_inbox_has_room_for_a_thousand(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    b.register_agent()
    for bad in ("", "a\0b", "x" * (2**16 + 1), "half \ud800"):
        with pytest.raises(InvalidError):
            a.send("b", bad)
    for n in range(1000):
        a.send("b", str(n))
    with pytest.raises(InboxFullError) as full:
        a.send("b", "one too many")
    assert full.value.fields["waiting"] == 1000


def test_a_follower_gets_each_message_once(store: Store) -> None:
    reader, writer = store.open("r"), store.open("w")
    reader.register_agent()
    for n in range(150):
        writer.send("r", str(n))
    with reader.follow_inbox(timeout=LONG) as follow:
        written = in_thread(lambda: [writer.send("r", str(n)).message for n in range(150, 300)])
        assert texts(list(islice(follow, 300))) == [str(n) for n in range(300)]
        assert len(written.result(LONG)) == 150
        assert follow.next(timeout=0) is None, "and nothing twice"
    assert len(reader.inbox()) == 100, "following shows nothing"


def test_following_ends_with_its_time_and_with_its_reader(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    pd.register_agent()
    pd.send("a", "x")
    assert texts(list(pd.follow_inbox(timeout=timedelta(milliseconds=1)))) == ["x"]
    pd.inbox_shown(2**53)
    with pytest.raises(LookupError, match="enough"), pd.follow_inbox() as follow:
        waiting = in_thread(follow.next)
        until_waiting(other, 1)
        assert other.send("a", "wake up").reach == "woken"
        message = waiting.result(LONG)
        assert message is not None and message.text == "wake up"
        raise LookupError("enough")
    assert follow.closed and other.send("a", "y").reach == "if_it_looks"
    pd.inbox_shown(2**53)
    last = in_thread(pd.follow_inbox().next)
    until_waiting(other, 1)
    pd.close()
    with pytest.raises(ClosedError):
        last.result(LONG)


def test_a_task_is_woken(store: Store) -> None:
    async def main() -> None:
        async with store.open_async("a") as pd:
            await pd.register_agent()
            follow = pd.follow_inbox(timeout=LONG)
            waiting = asyncio.ensure_future(anext(aiter(follow)))
            while not (await pd.status()).waiters:
                await asyncio.sleep(0)
            assert (await pd.send("a", "to myself")).reach == "woken"
            message = await waiting
            assert message.text == "to myself"
            await pd.inbox_shown(message.seq)
            assert list(await pd.inbox()) == []
            await follow.close()

    asyncio.run(asyncio.wait_for(main(), LONG))


def test_what_a_program_sends_a_shell_reads(store: Store) -> None:
    pd = store.open("a")
    store.pd("b", "agent", "register")
    pd.send("b", "from a program")
    assert store.pd("b", "inbox") == "[a] from a program\n"
