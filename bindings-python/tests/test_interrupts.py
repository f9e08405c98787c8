"""Ctrl-C and other signals: they end or visit a wait at once, and nothing of it is left behind."""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from role import Role

from conftest import LONG, Child, Store, hold_the_store, in_thread, until, until_queued, until_waiting
from port_daddy import PortDaddy

# How long a child waits where nothing interrupts it: then it is a failure.
PATIENCE = 12.0
# What is promised is a tenth of a second; only much more than that is a failure on a loaded machine.
PROMPT = 2.0


def asleep(child: Child) -> bool:
    """Whether its main thread sleeps: in the wait, after what it has said last."""
    stat = Path(f"/proc/{child.pid}/task/{child.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def interrupt(child: Child, what: str, number: int = signal.SIGINT) -> None:
    """Sends a signal, and sees how soon the child says the time at which it heard of it."""
    until(lambda: asleep(child), "the child's sleep")
    sent = time.monotonic()
    os.kill(child.pid, number)
    heard = child.said()
    assert isinstance(heard, float), f"{what} ended otherwise: {heard}"
    print(f"{what}: {(heard - sent) * 1000:.1f} ms after the signal")
    assert heard - sent < PROMPT, f"{what} went on for {heard - sent:.3f} s"


# What children do.


def begin(role: Role, wake: str | None) -> PortDaddy:
    """A client in a process that Ctrl-C interrupts, whatever its parent does with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if wake is not None:
        # Importing conftest has cleared what the parent gave.
        os.environ["PORT_DADDY_WAKE"] = wake
    pd = role.open()
    pd.whoami()
    return pd


def take_block(pd: PortDaddy) -> None:
    with pd.with_lock("m", timeout=PATIENCE):
        pass


def exhaust(stream: Any) -> None:
    for _ in stream:
        pass


def until_interrupted(call: Callable[[], object]) -> float | str:
    """When the interrupt was heard of. What the call had made is gone with its traceback."""
    try:
        return f"gave {call()!r}"
    except KeyboardInterrupt:
        return time.monotonic()
    except Exception as error:
        return f"raised {error!r}"


WAITS: dict[str, Callable[[PortDaddy], object]] = {
    "lock": lambda pd: pd.lock("m", timeout=PATIENCE),
    "with_lock": take_block,
    "wait_for_signal": lambda pd: pd.wait_for_signal("x", timeout=PATIENCE),
    "subscription": lambda pd: exhaust(pd.subscribe("x", timeout=PATIENCE)),
    "next": lambda pd: pd.subscribe("x").next(timeout=PATIENCE),
    "wait_for_service": lambda pd: pd.wait_for_service("api", timeout=PATIENCE),
    "follow_notes": lambda pd: exhaust(pd.follow_notes(timeout=PATIENCE)),
    "follow_activity": lambda pd: exhaust(pd.follow_activity(timeout=PATIENCE)),
    "note": lambda pd: pd.note("too late"),
    "publish": lambda pd: pd.publish("y", "too late"),
}


def wait(role: Role, what: str, wake: str | None = None) -> None:
    """Waits until it is interrupted, says when that was, and goes on."""
    pd = begin(role, wake)
    role.say("waiting")
    role.say(until_interrupted(lambda: WAITS[what](pd)))
    role.barrier()
    pd.note("goes on")
    with pd.lock("other", timeout=PATIENCE):
        role.say(pd.wait_for_signal("known", timeout=PATIENCE))
    role.barrier()


def wait_under_a_lock(role: Role) -> None:
    pd = begin(role, None)

    def wait_there() -> None:
        with pd.lock("m"):
            role.say("waiting")
            WAITS["wait_for_signal"](pd)

    role.say(until_interrupted(wait_there))
    role.barrier()


def wait_again_and_again(role: Role, rounds: int) -> None:
    """Each round ends with an interrupt, before the lock is granted or after."""
    pd = begin(role, None)
    for _ in range(rounds):
        lock = None
        try:
            role.say("waiting")
            lock = pd.lock("m")
            time.sleep(PATIENCE)
        except KeyboardInterrupt:
            if lock is not None:
                lock.release()
            role.say(lock is not None)
        role.barrier()


def wait_in_two_threads(role: Role) -> None:
    pd = begin(role, None)
    other = in_thread(pd.lock, "m", timeout=LONG)
    role.say("waiting")
    role.say(until_interrupted(lambda: WAITS["wait_for_signal"](pd)))
    role.say(other.result(LONG).token)
    role.barrier()


def wait_with_a_handler(role: Role, what: str, calls: bool = False, wake: str | None = None) -> None:
    """Waits on while a handler runs, which says so, or calls the client."""
    pd = begin(role, wake)

    def handle(*_: object) -> None:
        if calls:
            pd.note("from the handler")
        role.say(time.monotonic())

    signal.signal(signal.SIGUSR1, handle)
    role.say("waiting")
    got = WAITS[what](pd)
    role.say(got if what == "wait_for_signal" else "it went on")
    role.barrier()


class AlarmError(Exception):
    """What a handler of the user's raises."""


def wait_with_an_alarm(role: Role, what: str) -> None:
    pd = begin(role, None)

    def ring(*_: object) -> None:
        raise AlarmError(what)

    signal.signal(signal.SIGALRM, ring)
    due = time.monotonic() + 1
    signal.alarm(1)
    try:
        WAITS[what](pd)
    except AlarmError as error:
        role.say([str(error), time.monotonic() - due])
    role.say([one.name for one in pd.status().waiters])
    role.barrier()


def wait_beside_a_thread_that_interrupts(role: Role, what: str) -> None:
    pd, other = begin(role, None), role.open()

    def interrupt_main() -> float:
        until_waiting(other, 1)
        sent = time.monotonic()
        _thread.interrupt_main()
        return sent

    sent = in_thread(interrupt_main)
    heard = until_interrupted(lambda: WAITS[what](pd))
    role.say(heard if isinstance(heard, str) else heard - sent.result(LONG))
    role.say([one.name for one in pd.status().waiters])
    role.barrier()


def wait_in_a_loop(role: Role) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def main() -> None:
        async with role.open_async() as pd:
            role.say("waiting")
            async with pd.lock("m"):
                pass

    role.say(until_interrupted(lambda: asyncio.run(main())))
    role.barrier()


def wait_and_catch_nothing(role: Role) -> None:
    pd = begin(role, None)
    pd.start_session("doomed")
    with pd.lock("m"):
        role.say("waiting")
        pd.wait_for_signal("x")


# Ctrl-C.


@pytest.mark.parametrize("wake", [None, "poll"])
@pytest.mark.parametrize("what", [name for name in WAITS if name not in ("note", "publish")])
def test_an_interrupt_ends_a_wait_at_once_and_leaves_nothing(store: Store, what: str, wake: str | None) -> None:
    pd = store.open("parent")
    pd.publish("known", "heard")
    held = pd.lock("m")
    child = store.child(wait, "child", what=what, wake=wake)
    assert child.said() == "waiting"
    recorded = what not in ("wait_for_service", "follow_notes", "follow_activity")
    until_waiting(pd, 1 if recorded else 0)
    interrupt(child, what)
    assert pd.status().waiters == ()
    child.go()
    assert child.said() == "heard", "the client goes on"
    assert [note.text for note in pd.notes().notes] == ["goes on"]
    held.release()
    child.end()
    assert pd.locks().locks == ()
    assert pd.agent("child").state == "active"


@pytest.mark.parametrize("what", ["note", "publish"])
def test_an_interrupt_ends_a_write_that_waits_for_the_store(store: Store, what: str) -> None:
    pd = store.open("parent")
    pd.publish("known", "heard")
    holder = store.child(hold_the_store)
    assert holder.said() == "held"
    child = store.child(wait, "child", what=what)
    assert child.said() == "waiting"
    interrupt(child, what)
    holder.go()
    assert holder.said() == "free"
    child.go()
    assert child.said() == "heard"
    assert [note.text for note in pd.notes().notes if note.text != "too late"] == ["goes on"]


@pytest.mark.parametrize("wake", [None, "poll"])
def test_the_next_in_line_gets_the_lock_that_an_interrupted_one_waited_for(store: Store, wake: str | None) -> None:
    pd, other = store.open("parent"), store.open("other")
    held = pd.lock("m")
    child = store.child(wait, "child", what="lock", wake=wake)
    assert child.said() == "waiting"
    until_queued(pd, "m", 1)
    following = in_thread(other.lock, "m", timeout=LONG)
    until_queued(pd, "m", 2)
    interrupt(child, "lock")
    (waiter,) = held.info().waiters
    assert waiter.agent == "other"
    held.release()
    following.result(LONG).release()
    assert pd.lock("m", blocking=False)


def test_a_lock_that_is_waited_for_under_an_interrupt_is_never_held_by_nobody(store: Store) -> None:
    rounds, granted = 40, 0
    pd = store.open("parent")
    held = pd.lock("m", blocking=False)
    child = store.child(wait_again_and_again, "child", rounds=rounds)
    for n in range(rounds):
        assert held is not None, f"round {n}: it is held by nobody who knows"
        assert child.said() == "waiting"
        until_queued(pd, "m", 1)
        # The grant and the interrupt meet.
        first, second = (held.release, lambda: os.kill(child.pid, signal.SIGINT))[:: 1 if n % 2 else -1]
        first()
        second()
        granted += child.said()
        assert pd.status().waiters == ()
        # Before the child goes on to its next round, in which it wants the lock as well.
        held = pd.lock("m", blocking=False)
        child.go()
    print(f"in {granted} of {rounds} rounds the lock came first")
    child.end()


def test_an_interrupt_under_a_lock_releases_it(store: Store) -> None:
    pd = store.open("parent")
    child = store.child(wait_under_a_lock, "child")
    assert child.said() == "waiting"
    until_waiting(pd, 1)
    interrupt(child, "wait_for_signal")
    assert pd.lock("m", blocking=False)
    assert pd.status().waiters == ()


def test_an_interrupt_disturbs_no_wait_of_another_thread(store: Store) -> None:
    pd = store.open("parent")
    held = pd.lock("m")
    child = store.child(wait_in_two_threads, "child")
    assert child.said() == "waiting"
    until_waiting(pd, 2)
    interrupt(child, "wait_for_signal")
    assert [(one.kind, one.name) for one in pd.status().waiters] == [("lock", "m")]
    held.release()
    assert child.said() > held.token


def test_an_interrupt_that_nobody_catches_is_a_death(store: Store) -> None:
    pd = store.open("parent")
    child = store.child(wait_and_catch_nothing, "child")
    assert child.said() == "waiting"
    following = in_thread(pd.lock, "m", timeout=LONG)
    until_waiting(pd, 2)
    child.process.send_signal(signal.SIGINT)
    assert following.result(LONG)
    assert child.wait() == -signal.SIGINT, child.errors
    assert "KeyboardInterrupt" in child.errors
    assert pd.agent("child").state == "dead"
    assert [item.agent for item in pd.salvage().items] == ["child"]
    assert pd.status().waiters == ()


def test_an_interrupt_ends_a_loop_and_its_waits(store: Store) -> None:
    pd = store.open("parent")
    held = pd.lock("m")
    child = store.child(wait_in_a_loop, "child")
    assert child.said() == "waiting"
    until_waiting(pd, 1)
    interrupt(child, "asyncio.run")
    assert pd.status().waiters == ()
    held.release()
    assert pd.lock("m", blocking=False)


# Other signals.


@pytest.mark.parametrize("wake", [None, "poll"])
@pytest.mark.parametrize("what", ["lock", "wait_for_signal", "next"])
def test_a_handler_that_raises_nothing_runs_and_the_wait_goes_on(store: Store, what: str, wake: str | None) -> None:
    pd = store.open("parent")
    held = pd.lock("m")
    child = store.child(wait_with_a_handler, "child", what=what, wake=wake)
    assert child.said() == "waiting"
    for _ in range(3):
        until_waiting(pd, 1)
        interrupt(child, f"a handler in {what}", signal.SIGUSR1)
    (waiter,) = pd.status().waiters
    assert waiter.agent == "child"
    pd.publish("x", "at last")
    held.release()
    assert child.said() == ("at last" if what == "wait_for_signal" else "it went on")


@pytest.mark.parametrize("what", ["lock", "wait_for_signal", "next"])
def test_a_handler_may_call_the_client_that_waits(store: Store, what: str) -> None:
    pd = store.open("parent")
    held = pd.lock("m")
    child = store.child(wait_with_a_handler, "child", what=what, calls=True)
    assert child.said() == "waiting"
    for n in range(2):
        until_waiting(pd, 1)
        interrupt(child, f"a handler in {what}", signal.SIGUSR1)
        assert [note.text for note in pd.notes().notes] == ["from the handler"] * (n + 1)
    until_waiting(pd, 1)
    pd.publish("x", "at last")
    held.release()
    assert child.said() == ("at last" if what == "wait_for_signal" else "it went on")


@pytest.mark.parametrize("what", ["lock", "wait_for_signal", "wait_for_service"])
def test_what_a_handler_raises_ends_the_wait(store: Store, what: str) -> None:
    pd = store.open("parent")
    pd.lock("m")
    child = store.child(wait_with_an_alarm, "child", what=what)
    raised, late = child.said()
    assert raised == what
    print(f"{what}: {late * 1000:.1f} ms after the alarm was due")
    assert late < PROMPT
    assert child.said() == [], "nothing of it is left"


@pytest.mark.parametrize("what", ["lock", "wait_for_signal"])
def test_another_thread_may_interrupt_the_main_one(store: Store, what: str) -> None:
    pd = store.open("parent")
    pd.lock("m")
    child = store.child(wait_beside_a_thread_that_interrupts, "child", what=what)
    late = child.said()
    assert isinstance(late, float), late
    print(f"{what}: {late * 1000:.1f} ms after interrupt_main")
    assert late < PROMPT
    assert child.said() == []


class Anywhere(Exception):
    """What a handler raises at some instant."""


def enter_blocks_under_alarms(role: Role, how: str, rounds: int) -> None:
    """Exceptions of a handler at every instant around a block; the program goes on, and no lock is left."""
    pd = role.open()
    armed = False

    def handle(*_: object) -> None:
        if armed:
            raise Anywhere

    signal.signal(signal.SIGALRM, handle)
    left = 0
    for n in range(rounds):
        signal.setitimer(signal.ITIMER_REAL, 5e-6 + (n % 160) * 1e-6)
        try:
            armed = True
            with pd.lock("m", timeout=LONG) if how == "lock" else pd.with_lock("m", timeout=LONG):
                pass
        except Anywhere:
            pass
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        if pd.lock_info("m") is not None:
            left += 1
            pd.unlock("m", force=True)
    role.say(left)


@pytest.mark.parametrize("how", ["lock", "with_lock"])
def test_an_interrupt_at_any_instant_of_a_block_leaves_no_lock(store: Store, how: str) -> None:
    child = store.child(enter_blocks_under_alarms, "child", how=how, rounds=8_000)
    assert child.said() == 0
    child.end()


def open_under_a_handler_that_opens(role: Role, what: str) -> None:
    """Opens a file that another process keeps locked; meanwhile a handler opens a client of its own, or forks."""
    heard = []

    def handle(*_: object) -> None:
        if what == "fork":
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            heard.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        else:
            with PortDaddy("other", db=role.db + "-other/db", global_scope=True) as other:
                heard.append(0 if other.whoami().agent == "other" else 1)

    signal.signal(signal.SIGUSR1, handle)
    role.say("opening")
    pd = role.open()
    role.say("open")
    role.barrier()
    pd.note("goes on")
    role.say(heard)


@pytest.mark.parametrize("what", ["open", "fork"])
def test_a_handler_may_open_or_fork_while_a_client_is_opened(store: Store, what: str) -> None:
    pd = store.open("looker")
    pd.heartbeat()
    holder = store.child(hold_the_store)
    assert holder.said() == "held"
    child = store.child(open_under_a_handler_that_opens, "child", what=what)
    assert child.said() == "opening"
    os.kill(child.pid, signal.SIGUSR1)
    holder.go()
    assert holder.said() == "free"
    assert child.said() == "open"
    child.go()
    assert child.said() == [0]
    child.end()
