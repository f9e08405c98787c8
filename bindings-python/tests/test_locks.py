"""Locks, as their holders, waiters and thieves see them."""

from __future__ import annotations

import gc
import os
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, in_thread, program, until, until_queued
from port_daddy import (
    AsyncPortDaddy,
    ClosedError,
    DeadlockError,
    InvalidError,
    LeaseLostError,
    Lock,
    LockHeldError,
    LockInfo,
    NotHeldError,
    NotOwnerError,
    PortDaddy,
    TimedOutError,
)


def taken(pd: PortDaddy, name: str = "m", **options: Any) -> Lock:
    """The lock, which must be free."""
    lock = pd.lock(name, blocking=False, **options)
    assert lock is not None, f"{name} is held"
    return lock


# What children do.


def hold(role: Role, lock: str = "m", wake: str | None = None) -> None:
    """Takes a lock, says its token, and holds it until it is let go."""
    if wake is not None:
        # Importing conftest has cleared what the parent gave.
        os.environ["PORT_DADDY_WAKE"] = wake
    held = role.open().lock(lock, timeout=LONG)
    role.say(held.token)
    if role.barrier():
        held.release()
        role.say("released")


def turns(role: Role, count: int, counter: str) -> None:
    """Many turns under a lock; each would be seen if another were inside."""
    pd = role.open()
    role.say("ready")
    role.barrier()
    for _ in range(count):
        with pd.lock("m", timeout=LONG):
            counted = int(Path(counter).read_text())
            Path(counter).write_text(str(counted + 1))
    role.say("done")
    role.barrier()


def forget(role: Role, both: bool) -> None:
    """Takes a lock that it keeps no hold of, with a client that it keeps or not, and lets the collector have them."""
    client = role.open()
    client.lock("m")
    if both:
        del client
    gc.collect()
    role.say("forgotten")
    role.barrier()


# Taking, holding, giving back.


def test_a_lock_excludes_and_its_token_rises(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    first = taken(a)
    assert first.name == "m"
    assert b.lock("m", blocking=False) is None
    assert a.lock("m", blocking=False) is None, "not reentrant"
    first.release()
    second = taken(b)
    assert first.token < second.token < 2**53
    first.release()
    assert b.lock_info("m") is not None, "releasing the same one twice does nothing"
    second.release()
    assert a.lock_info("m") is None


def test_a_lock_is_released_at_the_end_of_its_block(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    with a.lock("m") as lock:
        assert (lock.name, lock.info().agent) == ("m", "a")
        assert repr(lock) == f"<Lock 'm' token={lock.token}>"
        assert b.lock("m", blocking=False) is None
    assert repr(lock) == f"<Lock 'm' token={lock.token} released>"
    assert a.lock_info("m") is None
    with pytest.raises(ZeroDivisionError), a.lock("m"):
        raise ZeroDivisionError
    assert a.lock_info("m") is None
    # Released within the block, the end of the block takes nothing from the next holder.
    with a.lock("m") as lock:
        lock.release()
        other = taken(b)
    assert other.info().agent == "b"


@pytest.mark.parametrize("both", [False, True], ids=["alone", "with_its_client"])
def test_a_lock_that_is_forgotten_is_held(store: Store, both: bool) -> None:
    child = store.child(forget, "a", both=both)
    assert child.said() == "forgotten"
    looker = store.open("looker")
    info = looker.lock_info("m")
    assert info is not None and info.agent == "a"
    with pytest.raises(NotOwnerError):
        looker.unlock("m")
    child.end()
    assert looker.lock_info("m") is None


def test_a_lock_says_who_holds_it_and_who_waits(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    session = a.start_session("Migrating").session
    a.register_agent(name="Database")
    lock = a.lock("m", ttl=timedelta(minutes=1), purpose="migrations")
    waits: list[LockInfo] = []
    waiting = in_thread(b.lock, "m", timeout=LONG, on_wait=waits.append)
    until_queued(a, "m", 1)
    info = lock.info()
    seen = b.lock_info("m")
    # The end is told in wall time, but kept by a clock that stops while the machine sleeps: they drift.
    still = {"expires": None}
    assert seen is not None and seen.replace(**still) == info.replace(**still)
    assert [one.replace(**still) for one in a.locks().locks] == [info.replace(**still)]
    assert (info.name, info.token, info.agent, info.agent_name) == ("m", lock.token, "a", "Database")
    assert (info.purpose, info.holder_state, info.scope) == ("migrations", "active", "global")
    assert info.session == session.id
    assert info.expires is not None and info.expires > info.since
    assert abs(datetime.now(timezone.utc) - info.since) < timedelta(seconds=LONG)
    (waiter,) = info.waiters
    assert (waiter.agent, waiter.agent_name) == ("b", "b") and waiter.since >= info.since
    assert [(one.name, one.agent) for one in waits] == [("m", "a")]
    lock.release()
    waiting.result(LONG).release()
    assert len(waits) == 1, "it is told once"


def test_a_lease_is_extended_in_seconds_and_by_timedelta(store: Store) -> None:
    a = store.open("a")
    lock = taken(a, ttl=60)
    ends = [lock.info().expires, lock.extend(120).expires, lock.extend(timedelta(minutes=3)).expires]
    ends.append(a.extend_lock("m", 240.5, token=lock.token).expires)
    ends.append(a.extend_lock("m", 300).expires)
    lasts = [round((end - lock.info().since).total_seconds(), 0) for end in ends if end is not None]
    # They count from the moment of the call.
    assert all(abs(last - asked) < LONG for last, asked in zip(lasts, [60, 120, 180, 240, 300], strict=True)), lasts
    assert lasts == sorted(lasts)
    lock.release()
    with pytest.raises(LeaseLostError):
        lock.extend(60)
    with pytest.raises(LeaseLostError):
        lock.info()


def test_only_the_holder_unlocks(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    taken(a)
    with pytest.raises(NotOwnerError) as refused:
        b.unlock("m")
    assert refused.value.fields["holder"] == "a"
    unlocked = b.unlock("m", force=True)
    assert (unlocked.name, unlocked.agent) == ("m", "a")
    with pytest.raises(NotHeldError):
        a.unlock("m")
    assert len(b.activity(type="lock.force").entries) == 1, "the log remembers"


def test_a_program_s_lock_is_not_its_shell_s_to_release(store: Store) -> None:
    a = store.open("a")
    lock = taken(a)
    run = store.run(program("pd"), "unlock", "m", agent="a")
    assert run.returncode == 3, run.stderr
    assert store.json("looker", "locks")["locks"][0]["token"] == lock.token
    a.unlock("m")
    with pytest.raises(LeaseLostError):
        lock.release()


def test_a_stale_token_opens_nothing(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    old = taken(a)
    old.release()
    taken(a)
    with pytest.raises(LeaseLostError):
        a.unlock("m", token=old.token)
    with pytest.raises(NotOwnerError):
        b.unlock("m", token=old.token)
    with pytest.raises(LeaseLostError):
        a.extend_lock("m", 1, token=old.token)
    assert a.lock_info("m") is not None


def test_closing_a_handle_that_waits_for_its_own_lock_frees_it(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    for _ in range(5):
        closing = store.open("c")
        closing.lock("m")
        waiting = in_thread(closing.lock, "m", timeout=LONG)
        until_queued(b, "m", 1)
        following = in_thread(a.lock, "m", timeout=LONG)
        until_queued(b, "m", 2)
        closing.close()
        with pytest.raises(ClosedError):
            waiting.result(LONG)
        following.result(LONG).release()


def test_a_lease_ends_on_time_and_says_so(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    lock = taken(a, ttl=60)
    assert b.lock("m", blocking=False) is None
    lock.extend(0.001)
    following = b.lock("m", timeout=LONG)
    with pytest.raises(LeaseLostError) as lost:
        lock.release()
    assert lost.value.fields["lock"] == "m"
    lock.release()
    assert following.info().agent == "b", "that was said once, and took nothing"
    following.release()
    unnoticed = taken(a, ttl=0.001)
    until(lambda: b.lock_info("m") is None, "the end of the lease")
    with pytest.raises(LeaseLostError):
        unnoticed.release()
    # The end of a block says it, unless the block has failed itself.
    with pytest.raises(LeaseLostError), a.lock("m"):
        b.unlock("m", force=True)
    with pytest.raises(ZeroDivisionError), a.lock("m"):
        b.unlock("m", force=True)
        raise ZeroDivisionError
    assert taken(b)


def test_a_wait_times_out_and_leaves_nothing(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    held = taken(a)
    for timeout in (0, 0.03, timedelta(milliseconds=30)):
        with pytest.raises(TimedOutError) as late:
            b.lock("m", timeout=timeout)
        assert isinstance(late.value, TimeoutError)
        assert late.value.fields["holder"] == "a"
    assert held.info().waiters == ()
    held.release()
    assert taken(a), "it was not granted to one who has left"


def test_a_wait_is_cancelled_from_another_thread(store: Store) -> None:
    import asyncio

    a = store.open("a")
    held = taken(a)

    async def wait(pd: AsyncPortDaddy) -> None:
        task = asyncio.ensure_future(waits(pd))
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            until_queued(a, "m", 1)
            loop.call_soon_threadsafe(task.cancel)

        cancelling = in_thread(cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelling.result(LONG)
        # Nothing of it is left once it has ended.
        assert held.info().waiters == ()
        await pd.close()

    async def waits(pd: AsyncPortDaddy) -> None:
        await pd.lock("m")

    asyncio.run(wait(store.open_async("b")))
    # A blocking wait ends with its client, from whatever thread.
    b = store.open("b")
    waiting = in_thread(b.lock, "m")
    until_queued(a, "m", 1)
    b.close()
    with pytest.raises(ClosedError):
        waiting.result(LONG)
    assert held.info().waiters == ()


# with_lock.


def test_with_lock_releases_after_a_panic_and_refuses_itself(store: Store) -> None:
    a = store.open("a")

    def innermost(_: int) -> None:
        with pytest.raises(DeadlockError):
            a.with_lock("m", pytest.fail)

    a.with_lock("m", lambda _: a.with_lock("other", innermost))
    with pytest.raises(ZeroDivisionError):
        a.with_lock("m", lambda token: token / 0)
    # What it is given, and what it gives back.
    assert a.with_lock("m", lambda token: {"token": token > 0}, blocking=False) == {"token": True}
    assert a.locks().locks == ()


def test_with_lock_ends_as_its_function_ends(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    held = taken(b)
    with pytest.raises(LockHeldError) as refused:
        a.with_lock("m", pytest.fail, blocking=False)
    assert refused.value.fields["lock"] == "m"
    with pytest.raises(TimedOutError):
        a.with_lock("m", pytest.fail, timeout=0.02)
    held.release()
    # The lock was lost while the function ran: its caller is told, and its error comes first if there is one.
    with pytest.raises(LeaseLostError):
        a.with_lock("m", lambda _: b.unlock("m", force=True))

    def lose_and_fail(_: int) -> None:
        b.unlock("m", force=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        a.with_lock("m", lose_and_fail)
    assert b.locks().locks == ()


def test_a_lock_block_is_used_again_and_again(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    migrating = a.with_lock("m", purpose="migrations")
    assert a.lock_info("m") is None, "made, it holds nothing"
    tokens = []
    for _ in range(3):
        with migrating as lock:
            tokens.append(lock.token)
            assert lock.info().purpose == "migrations"
            assert b.lock("m", blocking=False) is None
        assert a.lock_info("m") is None
    assert tokens == sorted(set(tokens))
    with pytest.raises(ZeroDivisionError), migrating:
        raise ZeroDivisionError
    with taken(b), pytest.raises(LockHeldError), a.with_lock("m", blocking=False):
        pytest.fail("it runs")
    with migrating, pytest.raises(DeadlockError), migrating:
        pytest.fail("it runs")
    assert a.lock_info("m") is None
    # Threads may share one: the second waits for the first.
    with migrating:
        other = in_thread(enter, migrating)
        until_queued(b, "m", 1)
    assert other.result(LONG) > tokens[-1]


def enter(block: Any) -> int:
    with block as lock:
        token: int = lock.token
        return token


def test_a_decorated_function_runs_under_the_lock(store: Store) -> None:
    a, b = store.open("a"), store.open("b")

    @a.with_lock("m")
    def migrate(step: int, *, by: str) -> list[Any]:
        """Migrates."""
        info = b.lock_info("m")
        assert info is not None
        return [step, by, info.token]

    assert (migrate.__name__, migrate.__doc__) == ("migrate", "Migrates.")
    assert a.lock_info("m") is None, "decorating takes nothing"
    first, second = migrate(1, by="a"), migrate(2, by="a")
    assert first[:2] == [1, "a"] and second[2] > first[2], "each call takes it anew"

    @a.with_lock("m")
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()

    @a.with_lock("m")
    def nested() -> Any:
        return migrate(3, by="a")

    with pytest.raises(DeadlockError):
        nested()
    assert a.lock_info("m") is None


# Waits that would never end, and waits that will.


def test_a_wait_in_a_block_that_holds_the_lock_is_refused_at_once(store: Store) -> None:
    a = store.open("a")
    with a.lock("m") as lock:
        with pytest.raises(DeadlockError) as refused:
            a.lock("m")
        assert "m" in refused.value.message and refused.value.fields["cycle"]
        # Also with locks between, and through another client of the same thread.
        with a.lock("n"), pytest.raises(DeadlockError):
            a.lock("m")
        with pytest.raises(DeadlockError):
            store.open("b").lock("m")
        # Not waiting, it is no deadlock.
        assert a.lock("m", blocking=False) is None
        assert lock.info().waiters == ()
    # Left, the block is no reason any more.
    with a.lock("m"):
        pass


def test_a_thread_that_is_started_under_a_lock_waits_for_it(store: Store) -> None:
    a = store.open("a")
    with a.lock("m") as outer:
        waiting = in_thread(a.with_lock, "m", lambda token: token, timeout=LONG)
        until_queued(a, "m", 1)
    assert waiting.result(LONG) > outer.token
    # Also where the thread was given what its parent stands in.
    import contextvars

    with a.lock("m"):
        within = contextvars.copy_context()
        waiting = in_thread(within.run, a.with_lock, "m", lambda token: token, timeout=LONG)
        until_queued(a, "m", 1)
    assert waiting.result(LONG)


def test_threads_of_one_program_that_cross_are_no_false_deadlock(store: Store) -> None:
    a = store.open("a")
    one, two = taken(a, "one"), taken(a, "two")
    # Each waits for what the main thread holds and will release: nothing here is stuck.
    waiters = [in_thread(a.lock, name, timeout=LONG) for name in ("one", "two")]
    until_queued(a, "one", 1)
    until_queued(a, "two", 1)
    one.release()
    two.release()
    for waiter in waiters:
        waiter.result(LONG).release()


def cross(pd: PortDaddy, outer: str, inner: str, barrier: threading.Barrier) -> DeadlockError | None:
    """Takes one lock, and the other once both are held."""
    with pd.lock(outer, timeout=LONG):
        barrier.wait(LONG)
        try:
            with pd.lock(inner, timeout=LONG):
                return None
        except DeadlockError as error:
            return error


def test_nested_with_locks_of_threads_that_cross_are_found(store: Store) -> None:
    a, barrier = store.open("a"), threading.Barrier(2)
    both = [in_thread(cross, a, outer, inner, barrier) for outer, inner in (("one", "two"), ("two", "one"))]
    found = [one.result(LONG) for one in both]
    assert sum(error is not None for error in found) == 1, "the second waiter, and only that one"


def test_two_agents_crosswise_are_told_at_once(store: Store) -> None:
    a, b, barrier = store.open("a"), store.open("b"), threading.Barrier(2)
    both = [in_thread(cross, a, "one", "two", barrier), in_thread(cross, b, "two", "one", barrier)]
    (error,) = [found for found in (one.result(LONG) for one in both) if found is not None]
    words = {
        "b holds two and would wait for one; a holds one and waits for two",
        "a holds one and would wait for two; b holds two and waits for one",
    }
    assert any(text in error.message for text in words), error.message
    assert [type(wait["waits_for"]) for wait in error.fields["cycle"]] == [str, str]


def test_locks_of_two_scopes_do_not_block_and_say_so(store: Store) -> None:
    heard: list[str] = []
    a, b = store.open("a", scope="one"), store.open("b", scope="two", on_notice=heard.append)
    taken(a, "db-migrations")
    taken(b, "db-migrations")
    assert len(heard) == 1 and "in the scope one" in heard[0], heard
    assert b.locks().elsewhere == 1
    assert len(b.locks(all=True).locks) == 2


def test_bad_names_and_leases_are_refused(store: Store) -> None:
    a = store.open("a")
    for name in ("", "two words", "tab\there", "\x1b[31m", "x" * 129):
        with pytest.raises(InvalidError):
            a.lock(name, blocking=False)
    for ttl in (0, -1, 1e300, float("nan"), float("inf"), timedelta(0), timedelta(days=367)):
        with pytest.raises(InvalidError):
            a.lock("m", ttl=ttl, blocking=False)
    assert a.locks(all=True).locks == ()


# Processes.


def test_a_killed_holder_s_lock_is_the_next_waiter_s(store: Store) -> None:
    pd = store.open("parent")
    holder = store.child(hold, "holder")
    first = holder.said()
    waiter = store.child(hold, "waiter")
    until_queued(pd, "m", 1)
    holder.kill()
    assert waiter.said() > first
    (dead,) = [agent for agent in pd.agents().agents if agent.id == "holder"]
    assert dead.death is not None
    assert dead.death.startswith(f"process {holder.pid}") and dead.death.endswith("is gone"), dead.death


def test_a_stopped_holder_keeps_its_lock(store: Store) -> None:
    pd = store.open("parent")
    holder = store.child(hold, "holder")
    holder.said()
    holder.stop()
    with pytest.raises(TimedOutError):
        pd.lock("m", timeout=0.4)
    holder.resume()
    holder.go()
    assert holder.said() == "released"
    assert pd.lock("m", timeout=LONG)


def test_eight_waiters_are_served_in_order_of_arrival(store: Store) -> None:
    pd = store.open("parent")
    held = taken(pd)
    last = held.token
    waiters = []
    for n in range(8):
        waiters.append(store.child(hold, f"waiter-{n}"))
        until_queued(pd, "m", n + 1)
    held.release()
    for waiter in waiters:
        # Whoever comes later is refused, whatever happens between two hand-overs.
        assert pd.lock("m", blocking=False) is None, "a newcomer barged in"
        token = waiter.said()
        assert token > last, "served out of turn"
        last = token
        waiter.go()
        assert waiter.said() == "released"


def test_a_waiter_killed_in_the_queue_is_passed_over(store: Store) -> None:
    pd = store.open("parent")
    held = taken(pd)
    killed = store.child(hold, "killed")
    until_queued(pd, "m", 1)
    following = store.child(hold, "next")
    until_queued(pd, "m", 2)
    killed.kill()
    held.release()
    assert following.said() > held.token


def test_eight_processes_never_hold_it_together(store: Store) -> None:
    pd = store.open("parent")
    counter = store.write("count", "0")
    children = [store.child(turns, f"agent-{n}", count=20, counter=str(counter)) for n in range(8)]
    for child in children:
        assert child.said() == "ready"
    for child in children:
        child.go()
    for child in children:
        assert child.said() == "done"
    assert counter.read_text() == "160"
    assert pd.locks(all=True).locks == (), "nothing stays behind"


def test_polling_hands_over_too(store: Store) -> None:
    pd = store.open("parent")
    holder = store.child(hold, "a", wake="poll")
    holder.said()
    waiter = store.child(hold, "b", wake="poll")
    until_queued(pd, "m", 1)
    holder.go()
    assert holder.said() == "released"
    assert waiter.said() > 0


def test_a_shell_and_a_program_exclude_each_other(store: Store) -> None:
    pd = store.open("a")
    store.pd("shell", "lock", "m")
    assert pd.lock("m", blocking=False) is None
    waiting = in_thread(pd.with_lock, "m", lambda token: token, timeout=LONG)
    until_queued(pd, "m", 1)
    store.pd("shell", "unlock", "m")
    assert waiting.result(LONG) > 0


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_released_by_name_or_forgotten_leaves_nothing_open(store: Store) -> None:
    looker = store.open("looker")
    looker.whoami()
    gc.collect()
    before = open_descriptors()
    for n in range(20):
        pd = PortDaddy(f"a{n}", db=store.db, cwd=store.work)
        assert pd.lock("m")
        pd.unlock("m")
        pd.start_session("Work")
        pd.end_session()
        del pd
    gc.collect()
    assert open_descriptors() <= before + 2
    # What goes on keeps its client: its agent lives, and nobody has its lock.
    PortDaddy("kept", db=store.db, cwd=store.work).start_session("Goes on")
    gc.collect()
    assert looker.agent("kept").proofs
