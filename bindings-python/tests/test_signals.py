"""Publish and subscribe, as their callers see it."""

from __future__ import annotations

import gc
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, in_thread, program, until, until_queued, until_waiting
from port_daddy import (
    ClosedError,
    DeadlockError,
    Delivery,
    InvalidError,
    OwnerGoneError,
    PortDaddy,
    Subscription,
    TimedOutError,
    Warning,
)


def take(sub: Subscription, count: int) -> list[Any]:
    """So many payloads that a subscription gives, which is closed then."""
    with sub:
        return [message(sub).payload for _ in range(count)]


def message(sub: Subscription) -> Delivery:
    """The next message, which must come."""
    found = sub.next(timeout=LONG)
    assert found is not None, "nothing came"
    return found


def at_hand(sub: Subscription) -> list[Any]:
    """The payloads of what is there without waiting."""
    with sub:
        return [found.payload for found in iter(lambda: sub.next(timeout=0), None)]


# What children do.


def publish(role: Role, channel: str, count: int) -> None:
    pd = role.open()
    role.say("ready")
    role.barrier()
    for n in range(count):
        pd.publish(channel, {"by": role.agent, "n": n})
    role.say("done")
    role.barrier()


def collect(role: Role, patterns: str, replay: str | None = None, count: int | None = None) -> None:
    """Collects messages up to one that says "end", or so many."""
    pd = role.open()
    role.say("ready")
    role.barrier()
    got = []
    for found in pd.subscribe(patterns, replay=replay, timeout=LONG):  # type: ignore[arg-type]
        if found.payload == "end":
            break
        got.append([found.seq, found.payload])
        if len(got) == count:
            break
    role.say(got)
    role.barrier()


def wait(role: Role, channel: str) -> None:
    pd = role.open()
    role.say("ready")
    role.say(pd.wait_for_signal(channel, timeout=LONG))
    role.barrier()


def live(role: Role, identity: str) -> None:
    pd = role.open()
    pd.register_agent(identity=identity)
    role.say("ready")
    role.barrier()


# Messages.


def test_who_subscribes_late_still_receives_the_newest_of_each_channel(store: Store) -> None:
    api, tests = store.open("api"), store.open("tests")
    api.publish("payments:schema", {"version": 1})
    api.publish("payments:api", "old")
    api.publish("other:api", "no")
    newest = api.publish("payments:api", {"status": "ready"})
    assert (newest.channel, newest.waiting) == ("payments:api", 0)
    assert newest.seq > 0 and newest.at.utcoffset() == timedelta(0)
    with tests.subscribe("payments:*") as sub:
        schema, ready = message(sub), message(sub)
        assert (schema.payload, ready.payload) == ({"version": 1}, {"status": "ready"})
        assert (ready.seq, ready.channel, ready.agent, ready.agent_name) == (newest.seq, "payments:api", "api", "api")
        assert (ready.replayed, ready.sender_state, ready.scope, ready.at) == (True, "active", "global", newest.at)
        assert ready.age >= timedelta(0)
        assert ready.message == tests.messages("payments:api")[-1]
        api.publish("payments:queries", 0)
        live = message(sub)
        assert (live.payload, live.replayed, live.sender_state) == (0, False, None)
    assert tests.wait_for_signal("payments:api", timeout=LONG) == {"status": "ready"}


def test_every_json_value_arrives_as_it_was(store: Store) -> None:
    pd = store.open("a")
    values: list[Any] = [0, False, "", None, [], {}, {"a": {"b": [1.5, "é\n\0"]}}, -0.5, 1e300, "😀", True]
    values += [2**63 - 1, -(2**63), 2**64 - 1, 1.0]
    sub = pd.subscribe("x", replay="none")
    for value in values:
        pd.publish("x", value)
    got = take(sub, len(values))
    # Equal isn't enough: 0 equals False, and 1 equals 1.0.
    assert [(type(value), value) for value in got] == [(type(value), value) for value in values]
    # What JSON makes of a tuple is a list.
    pd.publish("x", ((1, 2), {"a": ()}))
    assert pd.wait_for_signal("x") == [[1, 2], {"a": []}]


def test_a_payload_keeps_its_members_order_and_its_digits(store: Store) -> None:
    pd = store.open("a")
    payload = {"status": "healthy", "port": 3101, "a": 0.30000000000000004, "n": 2**64 - 1, "at_ms": 1}
    pd.publish("x", payload)
    (got,) = take(pd.subscribe("x"), 1)
    assert json.dumps(got) == json.dumps(payload)
    said = store.run(program("pd"), "sub", "x", "-q", agent="shell")
    assert said.stdout == json.dumps(payload, separators=(",", ":")) + "\n"


def test_replay_can_be_none_all_or_from_a_place(store: Store) -> None:
    pd = store.open("a")
    seqs = [pd.publish("x", n).seq for n in range(4)]
    assert at_hand(pd.subscribe("x")) == [3]
    assert at_hand(pd.subscribe("x", replay="latest")) == [3]
    assert at_hand(pd.subscribe("x", replay="none")) == []
    assert at_hand(pd.subscribe("x", replay="all")) == [0, 1, 2, 3]
    assert at_hand(pd.subscribe("x", replay=seqs[1])) == [2, 3]
    assert at_hand(pd.subscribe("x", replay=2**63 - 1)) == []
    with pytest.raises(InvalidError):
        pd.subscribe("x", replay="yesterday")  # type: ignore[arg-type]


def test_a_signal_that_has_expired_or_is_a_day_old_is_no_signal(store: Store) -> None:
    pd = store.open("a")
    pd.publish("x", "old")
    pd.publish("x", "short", ttl=timedelta(milliseconds=1))
    until(lambda: [found.payload for found in pd.messages("x")] == ["old"], "its end")
    with pytest.raises(TimedOutError):
        pd.wait_for_signal("x", timeout=0.005)
    assert at_hand(pd.subscribe("x")) == [], "an older one doesn't come back"


def test_a_channel_keeps_its_newest_messages_only(store: Store) -> None:
    pd = store.open("a")
    before = datetime.now(timezone.utc)
    for n in range(100):
        pd.publish("x", n, keep=3)
        pd.publish("y", n)
    assert [found.payload for found in pd.messages("x")] == [97, 98, 99]
    assert [found.payload for found in pd.messages("y", limit=2)] == [98, 99]
    assert [found.payload for found in pd.messages(["y"], limit=2, after_seq=0)] == [0, 1]
    assert [found.payload for found in pd.messages("x,y", limit=2)] == [99, 99]
    (found,) = pd.messages("x", limit=1, all=True)
    assert (found.channel, found.agent, found.agent_name, found.scope) == ("x", "a", "a", "global")
    assert found.seq > 0 and abs(found.at - before) < timedelta(seconds=LONG)
    listed = pd.channels("x")
    (x,) = listed.channels
    assert (x.name, x.count, x.last_seq, x.last, x.scope, x.waiting) == ("x", 3, found.seq, found.at, "global", 0)
    assert listed.elsewhere == 0
    assert len(pd.channels().channels) == 2
    assert pd.clear_channel("y*") == 100
    assert pd.messages("y") == ()


def test_what_is_past_a_bound_is_refused_whole(store: Store) -> None:
    pd = store.open("a")
    deep: Any = 1
    for _ in range(101):
        deep = [deep]
    # Two quotes make it one byte too many.
    bad: list[tuple[str, Any, dict[str, Any]]] = [
        ("x", "x" * ((1 << 20) - 1), {}),
        ("x", deep, {}),
        ("x*", 1, {}),
        ("x", 1, {"ttl": 0}),
        ("x", 1, {"keep": 0}),
    ]
    for channel, payload, how in bad:
        with pytest.raises(InvalidError):
            pd.publish(channel, payload, **how)
    assert pd.messages() == ()
    pd.publish("x", "x" * ((1 << 20) - 2))
    assert len(pd.messages()) == 1
    for patterns in ("", "a,,b", "a b", [], ["a", ""]):
        with pytest.raises(InvalidError):
            pd.subscribe(patterns)


# Subscriptions as iterators.


def test_a_loop_ends_when_no_message_has_come_for_so_long(store: Store) -> None:
    pd = store.open("a")
    for n in range(3):
        pd.publish("x", n)
    for timeout in (0.01, timedelta(milliseconds=10), 0):
        sub = pd.subscribe("x", replay="all", timeout=timeout)
        assert [found.payload for found in sub] == [0, 1, 2]
        # It ended for want of messages, and isn't closed: later ones come to a later loop.
        assert not sub.closed
        pd.publish("x", "later")
        assert [found.payload for found in sub] == ["later"]
        pd.clear_channel("x")
        for n in range(3):
            pd.publish("x", n)
        sub.close()


def test_next_waits_as_long_as_it_is_told(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    with pd.subscribe("x", timeout=0) as sub:
        assert sub.next(timeout=0) is None
        assert sub.next(timeout=timedelta(milliseconds=1)) is None
        # Its own, not the loop's: without one it waits for ever.
        waiting = in_thread(sub.next)
        until_waiting(other, 1)
        other.publish("x", 1)
        assert waiting.result(LONG).payload == 1
    assert sub.next() is None, "closed, it has nothing to wait for"


def test_a_subscription_that_another_thread_closes_ends_its_loop(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    sub = pd.subscribe("x")
    heard: list[Any] = []
    loop = in_thread(lambda: [heard.append(found.payload) for found in sub])
    until_waiting(other, 1)
    sub.close()
    loop.result(LONG)
    assert sub.closed and heard == []
    # Also in the midst of it.
    sub = pd.subscribe("x,y", replay="none")
    loop = in_thread(lambda: [heard.append(found.payload) for found in sub])
    until_waiting(other, 1)
    other.publish("x", 1)
    until(lambda: heard == [1], "the first")
    sub.close()
    loop.result(LONG)
    assert sub.closed and list(sub) == []
    assert other.status().waiters == ()
    sub.close()


def test_a_client_that_is_closed_ends_its_subscriptions_loop(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    sub = pd.subscribe("x")
    loop = in_thread(list, sub)
    until_waiting(other, 1)
    pd.close()
    with pytest.raises(ClosedError):
        loop.result(LONG)
    assert other.status().waiters == ()


def test_a_subscription_goes_on_after_a_loop_that_was_left(store: Store) -> None:
    pd = store.open("a")
    sub = pd.subscribe("x", replay="none", timeout=LONG)
    for n in (1, 2, 3):
        pd.publish("x", n)
    heard = []
    for _ in range(3):
        for found in sub:
            heard.append(found.payload)
            break
    assert heard == [1, 2, 3]
    sub.close()


def test_threads_that_share_a_subscription_get_each_message_once(store: Store) -> None:
    pd = store.open("a")
    sub = pd.subscribe("x", replay="none")
    for n in range(200):
        pd.publish("x", n)

    def take_what_is_there() -> list[Any]:
        return [found.payload for found in iter(lambda: sub.next(timeout=0), None)]

    readers = [in_thread(refused_or, take_what_is_there) for _ in range(4)]
    got = [payload for reader in readers for payload in reader.result(LONG)]
    got += take_what_is_there()
    assert sorted(got) == list(range(200))
    # One at a time waits; another that would is told so.
    fresh = pd.subscribe("y")
    waiting = in_thread(fresh.next, timeout=LONG)
    until_waiting(pd, 1)
    with pytest.raises(InvalidError):
        fresh.next(timeout=LONG)
    pd.publish("y", "last")
    assert waiting.result(LONG).payload == "last"


def refused_or(call: Any) -> Any:
    """What it gives, or nothing where another thread is just waiting."""
    try:
        return call()
    except InvalidError:
        return []


def test_a_subscription_that_is_forgotten_waits_no_more(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    sub = pd.subscribe("x")
    assert sub.next(timeout=0.001) is None
    assert len(other.status().waiters) == 1
    del sub
    gc.collect()
    assert other.status().waiters == ()


# Many at once.


def test_nothing_is_lost_or_doubled_while_others_publish(store: Store) -> None:
    pd = store.open("main")
    each = 400
    publishers = [store.child(publish, p, channel="hot:x", count=each) for p in ("p1", "p2")]
    every = store.child(collect, "s0", patterns="hot:x", replay="all", count=2 * each)
    latest = [store.child(collect, f"s-{n}", patterns=p) for n, p in enumerate(["hot:x", "hot:*", "*"])]
    children = [*publishers, every, *latest]
    for child in children:
        assert child.said() == "ready"
    # These begin while the others publish.
    for child in children:
        child.go()
    for publisher in publishers:
        assert publisher.said() == "done"
    pd.publish("hot:x", "end")
    stored = [[found.seq, found.payload] for found in pd.messages(limit=10_000)]
    assert stored.pop()[1] == "end"
    assert len(stored) == 2 * each
    assert every.said() == stored
    for child in latest:
        got = child.said()
        # From its first on, without a gap.
        assert got == stored[len(stored) - len(got) :]


def test_twenty_processes_are_woken_by_one_publish(store: Store) -> None:
    pd = store.open("main")
    others = [store.child(wait, f"s{n}", channel="go:now") for n in range(20)]
    for other in others:
        assert other.said() == "ready"
    until_waiting(pd, 20)
    assert pd.publish("go:now", {"n": 1}).waiting == 20
    for other in others:
        assert other.said() == {"n": 1}
    until_waiting(pd, 0)


def test_a_killed_subscriber_doesn_t_count(store: Store) -> None:
    pd = store.open("main")
    other = store.child(wait, "s", channel="x")
    assert other.said() == "ready"
    until_waiting(pd, 1)
    other.kill()
    assert pd.publish("x", 1).waiting == 0


def test_a_wait_ends_by_time_cancelling_and_dropping(store: Store) -> None:
    pd = store.open("a")
    sub = pd.subscribe("x,y")
    first = in_thread(sub.next, timeout=LONG)
    until_waiting(pd, 1)
    (waiter,) = pd.status().waiters
    assert (waiter.agent, waiter.kind, waiter.name, waiter.scope) == ("a", "channel", "x,y", "global")
    assert waiter.since <= datetime.now(timezone.utc) + timedelta(seconds=LONG)
    pd.publish("y", 1)
    assert first.result(LONG).payload == 1
    until(lambda: [one.name for one in pd.status().waiters] == ["x"], "the rest")
    sub.close()
    assert pd.status().waiters == ()
    with pytest.raises(StopIteration):
        next(sub)
    with pytest.raises(TimedOutError):
        pd.wait_for_signal("x", timeout=0.005)
    other = store.open("b")
    waiting = in_thread(other.wait_for_signal, "x")
    until_waiting(pd, 1)
    other.close()
    with pytest.raises(ClosedError):
        waiting.result(LONG)
    assert pd.status().waiters == ()


def test_a_durable_position_goes_on_where_it_was_acknowledged(store: Store) -> None:
    pd = store.open("a")
    first = pd.publish("x", 0).seq
    for n in range(1, 4):
        pd.publish("x", n)

    def subscribe(**how: Any) -> Subscription:
        return pd.subscribe("x", durable="worker", replay="all", **how)

    with subscribe() as sub:
        assert message(sub).payload == 0
        sub.ack(message(sub))
        assert message(sub).payload == 2
    with subscribe() as again:
        assert [message(again).payload, message(again).payload] == [2, 3], "what was not acknowledged comes again"
        again.ack(first)
    assert take(subscribe(), 2) == [2, 3], "it never moves back"
    with pd.subscribe("x") as none, pytest.raises(InvalidError):
        none.ack(1)
    for n in range(4, 9):
        pd.publish("x", n, keep=2)
    warned: list[Warning] = []
    with subscribe(on_warning=warned.append) as late:
        found = [message(late), message(late)]
        assert [one.payload for one in found] == [7, 8]
        # By its seq as well as by itself.
        late.ack(found[1].seq)
    assert [warning.code for warning in warned] == ["pruned"]
    assert at_hand(subscribe()) == []


def test_ack_takes_a_message_or_its_seq_only(store: Store) -> None:
    pd = store.open("a")
    pd.publish("x", 1)
    with pd.subscribe("x", durable="worker") as sub:
        for wrong in ("1", 1.5, None, True):
            with pytest.raises(TypeError, match="seq"):
                sub.ack(wrong)  # type: ignore[arg-type]
        found = message(sub)
        pd.close()
        with pytest.raises(ClosedError):
            sub.ack(found)


# Waiting for each other.


def test_agents_that_wait_for_each_other_are_told_of_the_cycle(store: Store) -> None:
    sdk = store.open("agentB")
    sdk.register_agent()
    store.open("agentA").register_agent()
    first = store.start(program("pd"), "sub", "agentB:ready", "-q", agent="agentA")
    until_waiting(sdk, 1)
    # In a program, where one agent does several things at once, it is a warning.
    warned: list[Warning] = []
    with sdk.subscribe("agentA:x", on_warning=warned.append) as sub:
        assert sub.next(timeout=0.001) is None
    (warning,) = warned
    assert warning.code == "deadlock" and "agentA waits for agentB:ready" in warning.text
    with sdk.subscribe("agentA:x", fail_on_deadlock=True) as strict, pytest.raises(DeadlockError) as refused:
        strict.next(timeout=LONG)
    assert [one["agent"] for one in refused.value.fields["cycle"]] == ["agentB", "agentA"]
    sdk.publish("agentB:ready", 2)
    assert first.line() == "2"


def test_a_killed_waiter_closes_no_cycle(store: Store) -> None:
    b = store.open("agentB")
    b.register_agent()
    other = store.start(program("pd"), "sub", "agentB:ready", "-q", agent="agentA")
    until_waiting(b, 1)
    with pytest.raises(DeadlockError):
        b.subscribe("agentA:ready", fail_on_deadlock=True).next(timeout=LONG)
    other.kill()
    with b.subscribe("agentA:ready", fail_on_deadlock=True) as sub:
        waiting = in_thread(sub.next, timeout=LONG)
        until_waiting(b, 1)
        b.publish("agentA:ready", 1)
        assert waiting.result(LONG).payload == 1


def test_a_channel_that_could_be_several_agents_closes_no_cycle(store: Store) -> None:
    a, b, twin = store.open("a"), store.open("b"), store.open("twin")
    a.register_agent(identity="pay:web")
    b.register_agent(identity="pay:api")
    first = store.start(program("pd"), "sub", "pay:api", "-q", agent="a")
    until_waiting(b, 1)
    with pytest.raises(DeadlockError):
        b.subscribe("pay:web:done", fail_on_deadlock=True).next(timeout=LONG)
    twin.register_agent(identity="pay:web")
    with b.subscribe("pay:web:done", fail_on_deadlock=True) as sub:
        assert sub.next(timeout=0.001) is None
    b.publish("pay:api", 2)
    assert first.line() == "2"


def test_the_death_of_a_channel_s_owner_is_told(store: Store) -> None:
    pd = store.open("tests")
    owner = store.child(live, "database-builder", identity="pay:db")
    assert owner.said() == "ready"
    warned: list[Warning] = []
    with pd.subscribe("pay:db:done", purpose="the schema", on_warning=warned.append) as sub:
        waiting = in_thread(sub.next, timeout=LONG)
        until_waiting(pd, 1)
        owner.kill()
        until(lambda: warned, "the warning")
        # And it goes on waiting.
        pd.publish("pay:db:done", 1)
        assert waiting.result(LONG).payload == 1
    (warning,) = warned
    assert warning.code == "owner_gone"
    assert warning.text.startswith("database-builder, whose channel pay:db:done is, is dead: process"), warning.text
    with pytest.raises(OwnerGoneError):
        pd.subscribe("database-builder:x", fail_if_gone=True).next(timeout=LONG)
    # Whatever was signalled before it died still counts.
    pd.publish("database-builder:x", 1)
    assert take(pd.subscribe("database-builder:x", fail_if_gone=True), 1) == [1]


def test_a_channel_of_another_scope_is_pointed_out_once(store: Store) -> None:
    pd, there = store.open("a"), store.open("b", scope="shop")
    there.publish("build:done", 1)
    warned: list[Warning] = []
    with pd.subscribe("build:*", on_warning=warned.append) as sub:
        assert sub.next(timeout=0.001) is None
        pd.publish("build:done", 2)
        assert message(sub).payload == 2
        assert sub.next(timeout=0.001) is None
    (warning,) = warned
    assert warning.code == "other_scope" and "PORT_DADDY_SCOPE=shop" in warning.text
    assert pd.channels().elsewhere == 1


def test_a_warning_that_nobody_hears_is_a_notice(store: Store) -> None:
    pd, there = store.open("a"), store.open("b", scope="shop")
    there.publish("build:done", 1)
    with pd.subscribe("build:*") as sub:
        assert sub.next(timeout=0.001) is None
    (notice,) = pd.take_notices()
    assert "PORT_DADDY_SCOPE=shop" in notice
    assert pd.take_notices() == []


def test_what_a_warning_s_hearer_raises_reaches_who_reads(store: Store) -> None:
    pd, there = store.open("a"), store.open("b", scope="shop")
    there.publish("build:done", 1)

    def complain(warning: Warning) -> None:
        raise ZeroDivisionError(warning.code)

    with pd.subscribe("build:*", on_warning=complain) as sub:
        with pytest.raises(ZeroDivisionError, match="other_scope"):
            sub.next(timeout=0.001)
        # The subscription itself goes on.
        pd.publish("build:done", 2)
        assert message(sub).payload == 2
    with pytest.raises(TypeError, match="on_warning"):
        pd.subscribe("x", on_warning=5)  # type: ignore[arg-type]


# With the shell, and with locks.


def test_the_shell_and_a_program_hear_each_other(store: Store) -> None:
    pd = store.open("a")
    waiting = in_thread(pd.wait_for_signal, "build:done", timeout=LONG)
    until_waiting(pd, 1)
    store.pd("shell", "pub", "build:done", '{"status":"ready"}')
    assert waiting.result(LONG) == {"status": "ready"}
    (channel,) = store.json("shell", "channels")["channels"]
    assert (channel["name"], channel["count"]) == ("build:done", 1)


def test_a_handler_is_no_part_of_the_lock_it_was_registered_under(store: Store) -> None:
    pd = store.open("a")

    def handle(of: PortDaddy) -> str:
        for _ in of.subscribe("x", timeout=LONG):
            return of.with_lock("deploy", lambda _: "its turn", timeout=LONG)
        return "no message"

    with pd.lock("deploy"):
        handled = in_thread(handle, pd)
        pd.publish("x", 1)
        # It waits while this runs, instead of being told that it never could.
        until_queued(pd, "deploy", 1)
    assert handled.result(LONG) == "its turn"
