"""Many at once in one process: threads that share a client, and threads with their own."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, hold_the_store, in_thread, until, until_queued, until_waiting
from port_daddy import PortDaddy

THREADS = 8
TURNS = 100


def together(store: Store, shared: bool, part: Any, *args: Any) -> list[Any]:
    """Threads that begin at the same moment, with one client or each with its own; what each gave."""
    barrier = threading.Barrier(THREADS)
    one = store.open("a")
    clients = [one if shared else store.open(f"agent-{n}") for n in range(THREADS)]

    def run(n: int) -> Any:
        barrier.wait(LONG)
        return part(clients[n], n, *args)

    running: list[Future[Any]] = [in_thread(run, n) for n in range(THREADS)]
    return [thread.result(LONG * 2) for thread in running]


def take_turns(pd: PortDaddy, _: int, counter: Path) -> list[int]:
    """Turns under a lock; each would be seen if another were inside."""
    inside, tokens = counter.with_name("inside"), []
    for _ in range(TURNS):
        with pd.lock("m", timeout=LONG) as lock:
            inside.touch(exist_ok=False)
            counter.write_text(str(int(counter.read_text()) + 1))
            inside.unlink()
            tokens.append(lock.token)
    return tokens


@pytest.mark.parametrize("shared", [True, False], ids=["one_client", "their_own"])
def test_a_hundred_with_locks_of_each_of_eight_threads_are_served_one_by_one(store: Store, shared: bool) -> None:
    counter = store.write("count", "0")
    given = together(store, shared, take_turns, counter)
    assert counter.read_text() == str(THREADS * TURNS)
    tokens = [token for mine in given for token in mine]
    assert len(set(tokens)) == THREADS * TURNS
    assert all(mine == sorted(mine) for mine in given)
    status = store.open("looker").status()
    assert (status.locks, status.waiters) == (0, ())


def write(pd: PortDaddy, n: int) -> list[int]:
    """Notes and messages, each with its place."""
    seqs = []
    for i in range(50):
        pd.note(f"{n} {i}")
        seqs.append(pd.publish(f"x:{n}", [n, i]).seq)
    return seqs


@pytest.mark.parametrize("shared", [True, False], ids=["one_client", "their_own"])
def test_what_eight_threads_write_is_all_there(store: Store, shared: bool) -> None:
    looker = store.open("looker")
    sub = looker.subscribe("x:*", replay="none")
    given = together(store, shared, write)
    expected = [[n, i] for n in range(THREADS) for i in range(50)]
    assert sorted(note.text for note in looker.notes(limit=10_000).notes) == sorted(f"{n} {i}" for n, i in expected)
    heard = [sub.next(timeout=0) for _ in expected]
    assert sorted(found.payload for found in heard if found is not None) == expected
    seqs = [found.seq for found in heard if found is not None]
    assert seqs == sorted(seq for mine in given for seq in mine), "each once, in the order of commits"
    assert all(mine == sorted(mine) for mine in given)
    sessions = looker.sessions(all=True).sessions
    assert len({session.agent for session in sessions}) == (1 if shared else THREADS)


def test_a_wait_in_one_thread_keeps_no_other_from_being_served(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    held = other.lock("m")
    waits = [
        in_thread(pd.lock, "m", timeout=LONG),
        in_thread(pd.wait_for_signal, "x", timeout=LONG),
        in_thread(pd.subscribe("y").next, timeout=LONG),
        in_thread(pd.wait_for_service, "api", timeout=LONG),
    ]
    until_waiting(other, 3)
    # All of these are done while the four wait.
    pd.note("meanwhile")
    pd.publish("z", 1)
    assert pd.wait_for_signal("z") == 1
    with pd.lock("n"):
        assert [one.name for one in pd.locks().locks] == ["m", "n"]
    assert len(pd.status().waiters) == 3 and not any(wait.done() for wait in waits)
    held.release()
    waits[0].result(LONG).release()
    other.publish("x", "x")
    other.publish("y", "y")
    assert (waits[1].result(LONG), waits[2].result(LONG).payload) == ("x", "y")
    assert not waits[3].done()
    pd.close()
    with pytest.raises(Exception, match="closed"):
        waits[3].result(LONG)


def test_a_thread_may_close_what_others_use(store: Store) -> None:
    other = store.open("b")
    for _ in range(5):
        pd, barrier = store.open("a"), threading.Barrier(5)

        def write_on(pd: PortDaddy = pd, barrier: threading.Barrier = barrier) -> int:
            barrier.wait(LONG)
            written = 0
            while True:
                try:
                    pd.note("x")
                except Exception as error:
                    assert type(error).__name__ == "ClosedError", error
                    return written
                written += 1

        before = len(other.notes(limit=100_000).notes)
        writers = [in_thread(write_on) for _ in range(4)]
        barrier.wait(LONG)
        pd.note("x")
        pd.close()
        written = 1 + sum(writer.result(LONG) for writer in writers)
        assert len(other.notes(limit=100_000).notes) - before == written, "what was acknowledged is there, and no more"


def count_while_the_store_is_held(role: Role, wait: str) -> None:
    """A thread counts while the main thread, or a thread of its own, waits for the store."""
    pd = role.open()
    pd.note("before")
    role.say("ready")
    role.barrier()
    calls = {
        "note": lambda: pd.note("late").note.text,
        "lock": lambda: pd.lock("m").name,
        "publish": lambda: pd.publish("x", 1).channel,
        "claim": lambda: pd.claim("api").identity,
        "open": lambda: role.open().note("late").note.text,
    }
    stop, counted = threading.Event(), [0]

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    counting = in_thread(count)

    def watch() -> None:
        # Says how far it is each time that it is asked.
        while role.barrier() == "how far":
            role.say(counted[0])
        stop.set()

    watching = in_thread(watch)
    given = calls[wait]()
    role.say(given)
    watching.result(LONG)
    counting.result(LONG)


@pytest.mark.parametrize("wait", ["note", "lock", "publish", "claim", "open"])
def test_the_gil_is_free_while_a_call_waits_for_the_store(store: Store, wait: str) -> None:
    child = store.child(count_while_the_store_is_held, "a", wait=wait)
    assert child.said() == "ready"
    holder = store.child(hold_the_store)
    assert holder.said() == "held"
    child.go()

    def how_far() -> int:
        child.go("how far")
        counted = child.said()
        assert type(counted) is int, f"the call was done though the store is held: {counted}"
        return counted

    # Each answer needs the GIL, and so does each count.
    first = how_far()
    until(lambda: how_far() > first + 1000, "counting")
    holder.go()
    assert holder.said() == "free"
    assert child.said() in ("late", "m", "x", "api")
    child.go("enough")
    child.end()


def test_a_thread_that_ends_leaves_its_locks_and_its_client(store: Store) -> None:
    pd = store.open("a")
    lock = in_thread(pd.lock, "m").result(LONG)
    # The lock is the client's, not the thread's: whoever has it may release it.
    assert lock.info().agent == "a"
    in_thread(lock.release).result(LONG)
    assert pd.lock_info("m") is None
    own = in_thread(store.open, "b").result(LONG)
    assert own.note("from the main thread").note.agent == "b"


def test_a_lock_waits_for_its_turn_behind_threads_of_its_own_program(store: Store) -> None:
    pd, looker = store.open("a"), store.open("looker")
    held, order = pd.lock("m"), []

    def turn(n: int) -> None:
        with pd.lock("m", timeout=LONG):
            order.append(n)

    turns = []
    for n in range(THREADS):
        turns.append(in_thread(turn, n))
        until_queued(looker, "m", n + 1)
    held.release()
    for one in turns:
        one.result(LONG)
    assert order == list(range(THREADS)), "first come, first served"
