"""Processes that fork, and what multiprocessing makes: clients live through it, each process proves its own life."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from role import Role

from conftest import LONG, Child, Store, in_thread, until, until_queued, until_waiting
from port_daddy import ForkedError, InvalidError, NotFoundError, PortDaddy, PortDaddyError

WORKERS = 8
NOTES = 200
START_METHODS = ["fork", "forkserver", "spawn"]

# Looks at the file with the SQLite of Python itself, which must never be in one process with the library's.
SOUND = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchall())"


def assert_sound(store: Store) -> None:
    said = store.run(sys.executable, "-c", SOUND, str(store.db))
    assert said.stdout.strip() == "[('ok',)]", said


def forked(child: Callable[[], object]) -> int:
    """Forks. The child does its part and ends at once, with nothing of the parent's run; one that hangs is ended."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(int(LONG))
    code = 1
    try:
        child()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def reap(pid: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, f"the child {pid} failed"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def mourn(child: Child) -> None:
    """Kills a parent whose children live on, with its pipes."""
    os.kill(child.pid, signal.SIGKILL)
    child.process.wait(LONG)


def refusal(call: Callable[..., object], *args: object) -> str:
    """How a call is refused."""
    try:
        call(*args)
    except PortDaddyError as error:
        return error.code
    return "done"


# What the children of children do.


def write_notes(pd: PortDaddy, who: str, count: int) -> None:
    for n in range(count):
        pd.note(f"{who} {n}")


def work(pd: PortDaddy, n: int) -> None:
    """A worker with its parent's client, that lives until it is let go."""
    write_notes(pd, f"child-{n}", NOTES)
    pd.publish(f"written:{n}", os.getpid())
    assert pd.wait_for_signal("go", timeout=LONG) == "go"


def work_and_close(pd: PortDaddy, n: int) -> None:
    work(pd, n)
    pd.close()


def say_who(pd: PortDaddy, told: Any) -> None:
    told.put([pd.agent_id, pd.whoami().agent, pd.whoami().scope, pd.note("from the child").note.agent])


def ask_for_nobody(pd: PortDaddy) -> object:
    return pd.agent("nobody")


def nap(pd: PortDaddy, ready: str) -> None:
    """Uses the client, and lives until it is killed."""
    pd.note(ready)
    pd.publish(ready, os.getpid())
    pd.wait_for_signal("never")


# What the children of the test do: they fork.


def start_workers(pd: PortDaddy, how: str) -> Callable[[], None]:
    """Starts the workers; what it gives waits for their ends."""
    if how == "os.fork":
        pids = [forked(lambda n=n: work_and_close(pd, n)) for n in range(WORKERS)]  # type: ignore[misc]
        return lambda: [reap(pid) for pid in pids] and None
    context = multiprocessing.get_context(how)
    processes = [context.Process(target=work, args=(pd, n)) for n in range(WORKERS)]
    for process in processes:
        process.start()

    def join() -> None:
        for process in processes:
            process.join(LONG)
        assert [process.exitcode for process in processes] == [0] * WORKERS

    return join


def family(role: Role, how: str) -> None:
    """Workers that inherit one client, and write while their parent writes."""
    pd = role.open()
    assert role.agent is not None
    pd.note("first")
    join = start_workers(pd, how)
    write_notes(pd, "parent", NOTES)
    until(lambda: len(pd.messages("written:*")) == WORKERS, "all they write")
    proofs = pd.agent(role.agent).proofs
    role.say([sorted(proof.pid or 0 for proof in proofs), len({proof.live for proof in proofs})])
    role.say(sorted([os.getpid(), *(message.payload for message in pd.messages("written:*"))]))
    pd.publish("go", "go")
    join()
    role.say([proof.pid for proof in pd.agent(role.agent).proofs])
    role.barrier()


def fork_under_a_lock(role: Role) -> None:
    pd = role.open()
    with pd.lock("m") as lock:
        pid = os.fork()
        if pid:
            reap(pid)
            role.say([lock.info().token == lock.token, lock.info().waiters == ()])
        else:
            role.say([refusal(lock.release), pd.lock("m", blocking=False), pd.lock_info("m") is not None])
    if not pid:
        role.say("left the block")
        os._exit(0)
    role.say(pd.lock_info("m"))
    role.barrier()


def fork_beside_threads(role: Role) -> None:
    """Forks while other threads wait and write."""
    pd, stop = role.open(), threading.Event()
    sub = pd.subscribe("x")
    locking, reading = in_thread(pd.lock, "m", timeout=LONG), in_thread(sub.next, timeout=LONG)

    def write() -> int:
        written = 0
        while not stop.is_set():
            pd.note(f"thread {written}")
            written += 1
        return written

    writing = in_thread(write)
    until_waiting(pd, 2)
    for n in range(10):
        reap(forked(lambda n=n: [write_notes(pd, f"child-{n}", 5), pd.close()]))  # type: ignore[misc]
    stop.set()
    role.say(writing.result(LONG))
    role.say(len(pd.status().waiters))
    role.say([locking.result(LONG).token, reading.result(LONG).payload])
    role.barrier()


def fork_and_live(role: Role, uses: bool, holds: bool = False) -> None:
    """Says the pid of a child that lives until it is killed, with a client of its own or without."""

    def child() -> None:
        if holds:
            pd.lock("lock:child")
        if uses:
            nap(pd, "ready")
        signal.pause()

    pd = role.open()
    pd.start_session("work")
    pd.lock("lock:parent")
    role.say(pid := forked(child))
    if role.barrier() == "reap":
        kill(pid)
        role.say("reaped")
    role.barrier()
    role.say(pd.note("goes on").note.text)
    role.barrier()


def leave_in_order(role: Role, how: str) -> None:
    """Children that end as programs end."""
    pd = role.open()
    pd.start_session("work")
    if how == "sys.exit":
        pid = os.fork()
        if pid == 0:
            pd.lock("lock:child")
            sys.exit(0)
        reap(pid)
    elif how == "os.fork":
        reap(forked(lambda: [pd.lock("lock:child"), pd.close()]))
    else:
        process = multiprocessing.get_context(how).Process(target=take_and_leave, args=(pd,))
        process.start()
        process.join(LONG)
        assert process.exitcode == 0
    role.say("left")
    role.barrier()
    role.say(pd.note("goes on").note.text)
    role.barrier()


def take_and_leave(pd: PortDaddy) -> None:
    pd.lock("lock:child")


def spawn_one(role: Role, how: str) -> None:
    pd = role.open(scope="shop")
    context = multiprocessing.get_context(how)
    told = context.Queue()
    process = context.Process(target=say_who, args=(pd, told))
    process.start()
    role.say(told.get(timeout=LONG))
    process.join(LONG)
    role.say(process.exitcode)
    role.barrier()


def fail_in_a_pool(role: Role, how: str) -> None:
    pd = role.open()
    with multiprocessing.get_context(how).Pool(2) as pool:
        try:
            pool.map(ask_for_nobody, [pd, pd])
        except NotFoundError as error:
            role.say([error.code, error.message, error.hint, error.fields, error.cause])
        pool.close()
        pool.join()
    role.say(pd.agent("a").state if pd.note("x") else None)
    role.barrier()


def fork_in_a_loop(role: Role) -> None:
    """A loop whose client is waiting forks: the child has a loop of its own, and the parent's wait goes on."""

    async def child(pd: Any) -> None:
        assert (await pd.note("from the child")).note.agent == role.agent
        assert await pd.wait_for_signal("known", timeout=LONG) == 1
        await pd.publish("child", "was here")
        await pd.close()

    async def main() -> None:
        async with role.open_async() as pd:
            await pd.publish("known", 1)
            waiting = asyncio.ensure_future(pd.wait_for_signal("child"))
            locking = asyncio.ensure_future(pd.with_lock("m", taken))
            while len((await pd.status()).waiters) < 2:
                pass
            reap(forked(lambda: asyncio.run(child(pd))))
            role.say(await asyncio.wait_for(waiting, LONG))
            role.say((await pd.note("from the parent")).note.agent)
            role.say(await asyncio.wait_for(locking, LONG))

    async def taken(token: int) -> int:
        return token

    asyncio.run(main())
    role.barrier()


def fork_with_closed(role: Role) -> None:
    pd, unused = role.open(), role.open()
    pd.close()

    def child() -> None:
        role.say([pd.closed, refusal(pd.note, "x"), unused.closed, refusal(unused.note, "from the child")])
        unused.close()

    reap(forked(child))
    role.say([pd.closed, unused.note("from the parent").note.text])
    role.barrier()


def fork_twice(role: Role) -> None:
    """A child that forks in turn."""
    pd = role.open()

    def grandchild() -> None:
        write_notes(pd, "grandchild", 5)
        pd.close()

    def child() -> None:
        pd.note("child")
        pid = forked(grandchild)
        pd.note("child again")
        reap(pid)
        pd.close()

    pid = forked(child)
    pd.note("parent")
    reap(pid)
    role.say(sorted(note.text for note in pd.notes().notes))
    role.barrier()


# The tests.


@pytest.mark.parametrize("how", ["os.fork", *START_METHODS])
def test_forked_children_and_their_parent_lose_no_commit(store: Store, how: str) -> None:
    parent = store.child(family, "a", how=how)
    pids, proofs = parent.said()
    assert len(pids) == WORKERS + 1 and proofs == WORKERS + 1, "each proves its own life"
    assert pids == parent.said()
    assert parent.said() == [parent.pid], "and only as long as it lives"
    looker = store.open("looker")
    texts = [note.text for note in looker.notes(limit=100_000).notes]
    everyone = ["parent", *(f"child-{n}" for n in range(WORKERS))]
    assert sorted(texts) == sorted(["first", *(f"{who} {n}" for who in everyone for n in range(NOTES))])
    agent = looker.agent("a")
    assert (agent.state, [proof.pid for proof in agent.proofs]) == ("active", [parent.pid])
    parent.end()
    assert looker.agent("a").state == "active"
    looker.close()
    assert_sound(store)


def test_a_lock_taken_before_a_fork_is_the_parent_s(store: Store) -> None:
    parent = store.child(fork_under_a_lock, "a")
    assert parent.said() == ["FORKED", None, True]
    assert parent.said() == "left the block"
    assert parent.said() == [True, True], "the child's leaving has done nothing"
    assert parent.said() is None, "the parent's has"
    parent.end()


def test_a_fork_waits_for_calls_and_calls_for_the_fork(store: Store) -> None:
    pd = store.open("main")
    held = pd.lock("m")
    parent = store.child(fork_beside_threads, "a")
    written = parent.said()
    assert parent.said() == 2, "the waits of its threads go on"
    held.release()
    pd.publish("x", "at last")
    token, payload = parent.said()
    assert token > held.token and payload == "at last"
    texts = [note.text for note in pd.notes(limit=100_000).notes]
    expected = [f"thread {n}" for n in range(written)] + [f"child-{n} {i}" for n in range(10) for i in range(5)]
    assert sorted(texts) == sorted(expected)
    parent.end()


def test_a_child_that_is_killed_is_no_death_while_its_parent_lives(store: Store) -> None:
    pd = store.open("looker")
    parent = store.child(fork_and_live, "a", uses=True, holds=True)
    pid = parent.said()
    assert pd.wait_for_signal("ready", timeout=LONG) == pid
    assert {proof.pid for proof in pd.agent("a").proofs} == {parent.pid, pid}
    following = in_thread(pd.lock, "lock:child", timeout=LONG)
    until_queued(pd, "lock:child", 1)
    parent.go("reap")
    assert parent.said() == "reaped"
    # What the child held itself is handed on.
    assert following.result(LONG)
    assert pd.agent("a").state == "active" and pd.salvage().items == ()
    assert pd.lock("lock:parent", blocking=False) is None
    parent.go()
    assert parent.said() == "goes on"
    parent.end()


def test_a_parent_that_is_killed_is_no_death_while_a_child_lives(store: Store) -> None:
    pd = store.open("looker")
    parent = store.child(fork_and_live, "a", uses=True)
    pid = parent.said()
    try:
        assert pd.wait_for_signal("ready", timeout=LONG) == pid
        mourn(parent)
        # The lock was held by the parent's client.
        assert pd.lock("lock:parent", timeout=LONG)
        assert pd.agent("a").state == "active" and pd.salvage().items == ()
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: pd.agent("a").state == "dead", "its death")
    assert [item.agent for item in pd.salvage().items] == ["a"]


def test_a_child_does_not_keep_its_dead_parent_alive(store: Store) -> None:
    pd = store.open("looker")
    parent = store.child(fork_and_live, "a", uses=False)
    pid = parent.said()
    try:
        assert pd.lock("lock:parent", blocking=False) is None
        mourn(parent)
        assert pd.lock("lock:parent", timeout=LONG)
        assert pd.agent("a").state == "dead"
        os.kill(pid, 0)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["os.fork", "sys.exit", *START_METHODS])
def test_children_that_end_in_order_leave_no_dead_agent(store: Store, how: str) -> None:
    pd = store.open("looker")
    parent = store.child(leave_in_order, "a", how=how)
    assert parent.said() == "left"
    agent = pd.agent("a")
    assert (agent.state, [proof.pid for proof in agent.proofs]) == ("active", [parent.pid])
    assert pd.lock_info("lock:child") is None, "its lock is free"
    parent.go()
    assert parent.said() == "goes on"
    parent.end()
    assert (pd.agent("a").state, pd.agent("a").proofs) == ("active", ())


@pytest.mark.parametrize("how", START_METHODS)
@pytest.mark.parametrize("agent", ["a", None])
def test_a_client_goes_to_another_process_as_the_same_agent(store: Store, how: str, agent: str | None) -> None:
    parent = store.child(spawn_one, agent, how=how)
    first, second, scope, author = parent.said()
    assert first == second == author and scope == "shop"
    assert agent in (None, first)
    assert parent.said() == 0
    parent.end()
    looker = store.open("looker", scope="shop")
    assert [(note.agent, note.text) for note in looker.notes().notes] == [(first, "from the child")]
    assert looker.agent(first).state == "active"


def test_a_pickled_client_is_opened_anew(store: Store) -> None:
    pd = store.open("a", scope="shop")
    again = pickle.loads(pickle.dumps(pd))
    try:
        assert type(again) is PortDaddy and again is not pd
        assert (again.agent_id, again.db, again.whoami().scope) == (pd.agent_id, pd.db, "shop")
        assert again.note("x").note.agent == "a"
        held = again.lock("m")
        assert pd.lock("m", blocking=False) is None, "a handle of its own"
        held.release()
    finally:
        again.close()
    pd.note("goes on")
    pd.close()
    with pytest.raises(TypeError, match="closed"):
        pickle.dumps(pd)


def test_what_belongs_to_its_process_refuses_to_be_pickled(store: Store) -> None:
    pd = store.open("a")
    lock, sub = pd.lock("m"), pd.subscribe("x")
    with pd.session("work") as session:
        for what in (lock, sub, pd.follow_notes(), pd.follow_activity(), pd.with_lock("n"), session):
            with pytest.raises(TypeError, match=f"a {type(what).__name__} can't be pickled: .{{10}}"):
                pickle.dumps(what)


def test_what_belongs_to_its_loop_refuses_to_be_pickled(store: Store) -> None:
    async def main() -> None:
        async with store.open_async("a") as pd:
            lock = await pd.lock("m")
            streams = (pd.subscribe("x"), pd.follow_notes(), pd.follow_activity())
            for what in (lock, *streams, pd.lock("n"), pd.with_lock("n"), pd.session("work")):
                with pytest.raises(TypeError, match=f"a {type(what).__name__} can't be pickled: .{{10}}"):
                    pickle.dumps(what)
            again = pickle.loads(pickle.dumps(pd))
            assert (await again.note("x")).note.agent == "a"
            await again.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", START_METHODS)
def test_an_error_comes_back_from_a_pool_as_it_was(store: Store, how: str) -> None:
    with pytest.raises(NotFoundError) as expected:
        store.open("looker").agent("nobody")
    parent = store.child(fail_in_a_pool, "a", how=how)
    error = expected.value
    assert parent.said() == [error.code, error.message, error.hint, error.fields, error.cause]
    assert parent.said() == "active"
    parent.end()


def test_errors_are_pickled_with_all_they_say(store: Store) -> None:
    pd = store.open("a")
    with pytest.raises(InvalidError) as named:
        pd.notes(limit=-1)
    for error in (named.value, InvalidError("no", "hint", {"option": "x"}, "why"), ForkedError("m")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and again.args == error.args
        for name in ("code", "message", "hint", "fields", "cause"):
            assert getattr(again, name) == getattr(error, name)
        assert getattr(again, "__notes__", []) == getattr(error, "__notes__", [])


def test_a_loop_that_forks_goes_on_and_its_child_has_its_own(store: Store) -> None:
    pd = store.open("main")
    held = pd.lock("m")
    parent = store.child(fork_in_a_loop, "a")
    assert parent.said() == "was here"
    assert parent.said() == "a"
    held.release()
    assert parent.said() > held.token
    parent.end()
    assert [note.text for note in pd.notes().notes] == ["from the child", "from the parent"]
    assert pd.agent("a").state == "active"


def test_a_closed_client_stays_closed_after_a_fork(store: Store) -> None:
    parent = store.child(fork_with_closed, "a")
    assert parent.said() == [True, "CLOSED", False, "done"]
    assert parent.said() == [True, "from the parent"]
    parent.end()


def test_a_forked_child_may_fork_in_turn(store: Store) -> None:
    parent = store.child(fork_twice, "a")
    assert parent.said() == sorted(["parent", "child", "child again", *(f"grandchild {n}" for n in range(5))])
    parent.end()
    assert store.open("looker").agent("a").state == "active"


def fork_beside_openings(role: Role, forks: int) -> None:
    """One thread opens and closes clients while another forks; each child opens one of its own."""
    over = threading.Event()

    def open_and_close() -> None:
        while not over.is_set():
            role.open().close()

    opener = threading.Thread(target=open_and_close)
    opener.start()
    failed = 0
    for _ in range(forks):
        pid = os.fork()
        if pid == 0:
            try:
                with role.open() as pd:
                    pd.whoami()
                os._exit(0)
            except BaseException:
                os._exit(1)
        failed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    over.set()
    opener.join()
    role.say(failed)


def test_a_child_can_use_what_another_thread_was_opening_when_it_was_forked(store: Store) -> None:
    child = store.child(fork_beside_openings, "a", forks=60)
    assert child.said() == 0
    child.end()
