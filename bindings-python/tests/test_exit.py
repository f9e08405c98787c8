"""How a process ends, and what the others see of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, in_thread, until_queued, until_waiting
from port_daddy import ClosedError, PortDaddy


def begin(role: Role) -> PortDaddy:
    """A client with a session and a lock, once the parent lets it go on."""
    pd = role.open()
    pd.start_session("work")
    pd.lock("held")
    role.say("working")
    role.barrier()
    return pd


def idle(role: Role) -> None:
    pd = begin(role)
    pd.subscribe("never:comes").next(timeout=0)


def closed(role: Role) -> None:
    begin(role).close()


def abandoned(role: Role) -> None:
    begin(role).abandon()
    role.say("abandoned")
    role.barrier()


def leave(role: Role, code: Any) -> None:
    begin(role)
    sys.exit(code)


def fail(role: Role) -> None:
    begin(role)
    raise ZeroDivisionError("on purpose")


def fail_in_a_thread(role: Role) -> None:
    begin(role)
    thread = threading.Thread(target=lambda: 1 // 0)
    thread.start()
    thread.join()


def catch(role: Role) -> None:
    begin(role)
    try:
        raise ZeroDivisionError("on purpose")
    except ZeroDivisionError:
        pass


def quit_at_once(role: Role) -> None:
    begin(role)
    sys.stdout.flush()
    os._exit(0)


def leave_a_block(role: Role, how: str) -> None:
    """Leaves a client's block, and lives on."""
    try:
        with role.open() as pd:
            pd.start_session("work")
            pd.lock("held")
            role.say("working")
            role.barrier()
            if how == "error":
                raise ZeroDivisionError("on purpose")
            if how.startswith("exit "):
                sys.exit(int(how.removeprefix("exit ")))
    except (ZeroDivisionError, SystemExit):
        pass
    role.say(pd.closed)
    role.barrier()


def leave_daemons(role: Role) -> None:
    """Ends while daemon threads wait, each in another way."""
    pd = begin(role)
    sub = pd.subscribe("x")

    def wait_in_a_loop() -> None:
        async def main() -> None:
            async with role.open_async() as other:
                await other.wait_for_signal("x")

        asyncio.run(main())

    waits = (lambda: pd.lock("other"), lambda: pd.wait_for_signal("x"), sub.next, wait_in_a_loop)
    for wait in waits:
        threading.Thread(target=wait, daemon=True).start()
    until_waiting(pd, 4)
    role.say("waiting")
    role.barrier()


def use_at_exit(role: Role) -> None:
    """What is registered after the import runs before the clients end."""
    import atexit

    pd = begin(role)
    atexit.register(lambda: role.say(pd.note("the last").note.text))


def look(store: Store) -> tuple[str, bool, int]:
    """What is seen of an agent: its state, whether its lock is held, how much is to be salvaged."""
    looker = store.open("looker")
    return looker.agent("a").state, looker.lock_info("held") is not None, len(looker.salvage().items)


ALIVE = ("active", False, 0)
DEAD = ("dead", False, 1)


def test_an_idle_client_keeps_no_process_alive(store: Store) -> None:
    child = store.child(idle, "a")
    assert child.said() == "working"
    child.go()
    assert child.wait() == 0, child.errors
    # A normal end is in order, though nothing was closed.
    assert look(store) == ALIVE
    agent = store.open("looker").agent("a")
    assert (agent.proofs, agent.active_sessions) == ((), 1)
    assert child.errors == ""


def test_a_closed_client_keeps_no_process_alive(store: Store) -> None:
    child = store.child(closed, "a")
    assert child.said() == "working"
    child.go()
    child.end()
    assert look(store) == ALIVE


def test_an_abandoned_client_is_a_death_that_its_process_lives_through(store: Store) -> None:
    child = store.child(abandoned, "a")
    assert child.said() == "working"
    child.go()
    assert child.said() == "abandoned"
    assert look(store) == DEAD
    child.end()


@pytest.mark.parametrize(
    ("code", "ended", "seen"),
    [(None, 0, ALIVE), (0, 0, ALIVE), (3, 3, ALIVE), ("a message", 1, ALIVE)],
    ids=["none", "0", "3", "text"],
)
def test_sys_exit_is_an_end_in_order(store: Store, code: Any, ended: int, seen: object) -> None:
    child = store.child(leave, "a", code=code)
    assert child.said() == "working"
    child.go()
    assert child.wait() == ended
    assert look(store) == seen


def test_an_uncaught_exception_is_a_death_that_all_see_at_once(store: Store) -> None:
    pd = store.open("looker")
    child = store.child(fail, "a")
    assert child.said() == "working"
    following = in_thread(pd.lock, "held", timeout=LONG)
    until_queued(pd, "held", 1)
    child.go()
    # Its lock is handed on.
    assert following.result(LONG)
    assert child.wait() == 1 and "on purpose" in child.errors
    agent = pd.agent("a")
    assert agent.state == "dead" and agent.unfinished
    assert agent.death is not None and f"process {child.pid} " in agent.death, agent.death
    assert [item.agent for item in pd.salvage().items] == ["a"]
    assert "Dead a" in store.pd("shell", "agents") and "work" in store.pd("shell", "salvage")


def test_an_exception_that_ends_a_thread_or_is_caught_is_no_death(store: Store) -> None:
    for how in (fail_in_a_thread, catch):
        child = store.child(how, "a")
        assert child.said() == "working"
        child.go()
        assert child.wait() == 0, child.errors
        assert look(store) == ALIVE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_is_a_death(store: Store, number: signal.Signals) -> None:
    child = store.child(idle, "a")
    assert child.said() == "working"
    child.process.send_signal(number)
    assert child.wait() == -number
    assert look(store) == DEAD


def test_an_exit_past_python_is_a_death(store: Store) -> None:
    child = store.child(quit_at_once, "a")
    assert child.said() == "working"
    child.go()
    assert child.wait() == 0
    assert look(store) == DEAD


@pytest.mark.parametrize(
    ("how", "seen"),
    # Who says how the process ends, ends it in order.
    [("order", ALIVE), ("error", DEAD), ("exit 0", ALIVE), ("exit 3", ALIVE)],
    ids=["order", "error", "exit_0", "exit_3"],
)
def test_a_client_s_block_that_is_left_by_an_exception_is_a_death(store: Store, how: str, seen: object) -> None:
    child = store.child(leave_a_block, "a", how=how)
    assert child.said() == "working"
    child.go()
    assert child.said() is True
    # While the process lives on.
    assert look(store) == seen
    child.end()
    assert look(store) == seen


def test_a_block_gives_its_client_and_closes_it(store: Store) -> None:
    with store.open("a") as pd:
        assert pd.note("x").note.agent == "a"
    with pytest.raises(ClosedError):
        pd.note("y")
    with pytest.raises(ClosedError, match="closed"), pd:
        pd.note("z")


def test_daemon_threads_that_wait_keep_no_process_alive(store: Store) -> None:
    child = store.child(leave_daemons, "a")
    assert child.said() == "working"
    other = store.open("b")
    other.lock("other")
    child.go()
    assert child.said() == "waiting"
    child.go()
    assert child.wait() == 0, child.errors
    assert look(store) == ALIVE
    assert other.status().waiters == ()
    assert "Fatal" not in child.errors and "panicked" not in child.errors, child.errors


def test_a_client_serves_what_runs_at_the_end_of_its_process(store: Store) -> None:
    child = store.child(use_at_exit, "a")
    assert child.said() == "working"
    child.go()
    assert child.said() == "the last"
    child.end()
    assert look(store) == ALIVE
