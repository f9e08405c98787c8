"""What must hold when the ground gives way: files removed, clients closed in use, leases that end."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from role import Role

from conftest import LONG, Child, Store, in_thread, program, until, until_queued, until_waiting
from port_daddy import ClosedError, DeadlockError, LeaseLostError, PortDaddy, PortDaddyError, TimedOutError


def hold(role: Role, lock: str) -> None:
    """Takes a lock and holds it until it is killed."""
    with role.open() as pd, pd.lock(lock) as held:
        role.say(held.token)
        role.barrier()


def be_open(role: Role) -> None:
    pd = role.open()
    role.say("open")
    role.barrier()
    pd.close()


def wait_inside(role: Role, outer: str, inner: str) -> None:
    """Takes a lock, and waits inside for another."""
    with role.open() as pd, pd.lock(outer):
        role.say("inside")
        role.barrier()
        with pd.lock(inner):
            role.say("granted")


def resume_once_queued(see: PortDaddy, child: Child) -> None:
    """Lets a stopped process go on once someone waits for the lock that it holds."""
    until_queued(see, "w", 1)
    child.resume()


def is_of_the_store(error: BaseException) -> bool:
    return isinstance(error, PortDaddyError) and error.code.startswith("STORE_")


def unusable(call: Any, *args: object) -> None:
    """That a call fails as one whose store can't be used."""
    with pytest.raises(PortDaddyError) as failed:
        call(*args)
    assert is_of_the_store(failed.value), repr(failed.value)


def live(store: Store) -> Path:
    """Where the proofs of life are."""
    return Path(f"{store.db}.live")


def test_a_holder_whose_live_file_was_removed_keeps_its_lock(store: Store) -> None:
    pd = store.open("parent")
    holder = store.child(hold, "holder", lock="m")
    token = holder.said()
    shutil.rmtree(live(store))
    assert pd.lock("m", blocking=False) is None, "a living holder's lock was taken"
    other = store.open("other")
    assert {agent.state for agent in other.agents().agents} == {"active"}
    assert [lock.token for lock in other.locks().locks] == [token]
    holder.kill()
    assert other.lock("m", timeout=LONG).token > token, "a dead one's is free"


def test_what_killed_programs_leave_is_swept(store: Store) -> None:
    children = [store.child(be_open, "reader") for _ in range(3)]
    assert [child.said() for child in children] == ["open"] * 3
    for child in children:
        child.kill()
    assert len(os.listdir(live(store))) == 3
    store.open("parent")
    assert len(os.listdir(live(store))) == 1, "only the living one's is left"


def test_closing_a_handle_ends_the_waits_in_it(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    a.lock("m")
    heard = b.subscribe("never:comes")
    waits = [
        in_thread(b.lock, "m"),
        in_thread(b.with_lock, "m", lambda token: pytest.fail("it runs")),
        in_thread(b.wait_for_signal, "never:comes"),
        in_thread(next, heard),
    ]
    until_waiting(a, 4)
    b.close()
    for wait in waits:
        with pytest.raises(ClosedError):
            wait.result(LONG)
    until_waiting(a, 0)


def test_locks_of_two_databases_close_no_cycle(tmp_path: Path) -> None:
    stores = []
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            stores.append(Store(tmp_path.resolve() / name))
        one, two = stores
        mine, theirs = one.open("a"), two.open("b")
        held = theirs.lock("m", blocking=False)
        with mine.lock("m") as lock:
            assert lock.token == held.token, "each database counts for itself"
            with pytest.raises(TimedOutError):
                two.open("c").lock("m", timeout=0.02)
            with pytest.raises(DeadlockError):
                one.open("c").lock("m", timeout=LONG)
    finally:
        for store in stores:
            store.close()


def test_a_database_that_was_replaced_is_noticed(store: Store) -> None:
    a = store.open("a")
    lock = a.lock("m", blocking=False)
    old = store.dir("old")
    for suffix in ("", "-wal", "-shm"):
        os.rename(f"{store.db}{suffix}", old / f"x{suffix}")
    unusable(a.publish, "c", 1)
    b = store.open("b")
    other = b.lock("m", blocking=False)
    unusable(a.publish, "c", 1)
    # Its holder hears that it wasn't alone.
    with pytest.raises(PortDaddyError):
        lock.release()
    other.release()
    assert b.messages() == ()


def test_a_wait_on_a_database_that_was_removed_ends(store: Store) -> None:
    a = store.open("a")
    waiting = in_thread(a.wait_for_signal, "never:comes")
    until_waiting(a, 1)
    store.db.unlink()
    unusable(waiting.result, LONG)


def test_an_agent_that_left_while_its_shell_waited_is_back_when_it_is_granted_the_lock(store: Store) -> None:
    b = store.open("b")
    held = b.lock("m", blocking=False)
    waiting = store.start(program("pd"), "lock", "m", "--wait", agent="a")
    until_queued(b, "m", 1)
    store.pd("a", "agent", "unregister")
    held.release()
    waiting.end()
    info = b.lock_info("m")
    assert (info.agent, info.holder_state) == ("a", "active"), "nobody would ever free it"


@pytest.mark.parametrize("longest", [timedelta.max, 1e300, float("inf"), 2**62])
def test_the_longest_timeout_is_no_panic(store: Store, longest: timedelta | float) -> None:
    a = store.open("a")
    a.publish("c", 1)
    assert a.wait_for_signal("c", timeout=longest) == 1
    held = a.lock("m", blocking=False)
    waiting = in_thread(a.lock, "m", timeout=longest)
    until_queued(a, "m", 1)
    held.release()
    waiting.result(LONG).release()
    heard = a.subscribe("d", timeout=longest)
    coming = in_thread(next, heard)
    until_waiting(a, 1)
    a.publish("d", 2)
    assert coming.result(LONG).payload == 2


def test_one_who_left_and_calls_again_is_proven_alive_by_its_handles(store: Store) -> None:
    one, two, other = store.open("a"), store.open("a"), store.open("b")
    for pd in (one, two):
        pd.register_agent()
    one.unregister_agent()
    two.register_agent()
    one.register_agent()
    two.close()
    agent = other.agent("a")
    assert (agent.state, [proof.kind for proof in agent.proofs]) == ("active", ["instance"])
    # The other way round: the one that stayed is a proof still, whoever brought the agent back.
    one.unregister_agent()
    store.pd("a", "agent", "register")
    agent = other.agent("a")
    assert (agent.state, [proof.kind for proof in agent.proofs]) == ("active", ["instance"])


def test_a_lease_that_has_ended_closes_no_cycle(store: Store) -> None:
    me, y, see = store.open("me"), store.open("y"), store.open("see")
    leased = y.lock("n", ttl=3600)

    def wait_under_the_lease() -> None:
        with leased, y.lock("p"):
            pass

    with me.lock("p"):
        # `x` waits inside `w` for `n`; whoever has that, waits for what is held here.
        x = store.child(wait_inside, "x", outer="w", inner="n")
        assert x.said() == "inside"
        x.go()
        waiting = in_thread(wait_under_the_lease)
        until_queued(see, "n", 1)
        until_queued(see, "p", 1)
        with pytest.raises(DeadlockError):
            me.lock("w", timeout=LONG)
        # Stopped, `x` takes no notice of what it is granted once the lease has ended.
        x.stop()
        expires = leased.extend(0.001).expires
        # The end is shown by the wall's clock and kept by another, each read in whole milliseconds.
        ended = expires + timedelta(milliseconds=5)
        until(lambda: datetime.now(timezone.utc) > ended, "the end of the lease")
        resumed = in_thread(resume_once_queued, see, x)
        # It gets `n` now, and then lets `w` go.
        with me.lock("w", timeout=LONG):
            resumed.result(LONG)
        assert x.said() == "granted"
    with pytest.raises(LeaseLostError):
        waiting.result(LONG)
    x.end()


def test_what_a_program_lost_a_shell_is_told_of(store: Store) -> None:
    holder = store.child(hold, "holder", lock="m")
    assert holder.said() > 0
    shutil.rmtree(live(store))
    (lock,) = store.json("looker", "locks")["locks"]
    assert (lock["name"], lock["agent"], lock["holder_state"]) == ("m", "holder", "active")
    holder.kill()
    assert store.json("looker", "locks")["locks"] == []
    assert store.pd("looker", "agents").startswith("Dead holder ")
