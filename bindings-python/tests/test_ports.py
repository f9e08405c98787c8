"""Ports: assigned once, on this machine, to an identity in a working tree."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from role import Role

from conftest import LONG, Store, at_once, git, in_thread
from port_daddy import (
    InvalidError,
    NotFoundError,
    NotOwnerError,
    PortClaim,
    PortDaddyError,
    PortsExhaustedError,
    PortTakenError,
    TimedOutError,
)


def claim_at_a_word(role: Role, identity: str, options: dict[str, Any]) -> None:
    """Claims a port, and says which, or why not."""
    pd = role.open()
    pd.whoami()
    role.say("ready")
    role.barrier()
    try:
        role.say(pd.claim(identity, **options).port)
    except PortDaddyError as error:
        role.say({"code": error.code, "message": error.message, "fields": error.fields})
    role.barrier()


def listen_at_a_word(role: Role, port: int) -> None:
    role.say("ready")
    role.barrier()
    with socket.create_server(("127.0.0.1", port)):
        role.say("listening")
        role.barrier()


@contextmanager
def occupied() -> Iterator[int]:
    """A port of the kernel's choice on which something listens, with room above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            if 2048 < port < 65_000:
                yield port
                return


def free() -> int:
    """A port of the kernel's choice on which nothing listens."""
    with occupied() as port:
        return port


def try_to_listen(port: int) -> socket.socket | None:
    try:
        return socket.create_server(("0.0.0.0", port))
    except OSError:
        return None


@contextmanager
def two_free() -> Iterator[int]:
    """The first of two free ports beside each other. The one before them is held, so that another run of the same test
    chooses others."""
    for guarded in range(20_000, 30_000, 3):
        guard = try_to_listen(guarded)
        if guard is None:
            continue
        with guard:
            both = [try_to_listen(guarded + 1), try_to_listen(guarded + 2)]
            for listener in both:
                if listener is not None:
                    listener.close()
            if None not in both:
                yield guarded + 1
                return
    raise AssertionError("no free ports")


def ports(claims: tuple[PortClaim, ...]) -> list[int]:
    return [claim.port for claim in claims]


def test_sixteen_processes_at_once_get_sixteen_ports_that_nothing_listens_on(store: Store) -> None:
    with occupied() as port:
        options = {"range": [port, port + 300]}
        children = [
            store.child(claim_at_a_word, f"agent-{n}", identity=f"app{n}:web", options=options) for n in range(16)
        ]
        given = at_once(children)
        assert len(set(given)) == 16 and port not in given, given
        assert ports(store.open("looker").services(all=True).services) == sorted(given)


def test_sixteen_processes_with_one_identity_get_one_port(store: Store) -> None:
    with occupied() as port:
        options = {"range": [port, port + 300]}
        children = [
            store.child(claim_at_a_word, f"agent-{n}", identity="payments:api", options=options) for n in range(16)
        ]
        given = at_once(children)
        assert len(set(given)) == 1, given


def test_an_identity_keeps_its_port_in_its_working_tree(store: Store) -> None:
    repository, other = store.repository("one"), store.dir("trees") / "two"
    git(repository, "worktree", "add", "-q", str(other))
    a, b, c = store.open("a", cwd=repository), store.open("b", cwd=repository), store.open("c", cwd=other)

    first = a.claim("payments:frontend")
    assert (first.existing, first.listening, first.listener) == (False, False, None)
    assert (first.identity, first.agent, first.agent_name) == ("payments:frontend", "a", "a")
    assert (first.worktree, first.scope) == (str(repository), "one")
    assert 3100 <= first.port <= 9999
    assert abs(datetime.now(timezone.utc) - first.claimed) < timedelta(minutes=1)
    again = b.claim("payments:frontend")
    assert again == first.replace(existing=True, agent="b", agent_name="b", used=again.used)
    assert again.used >= first.used

    second = c.claim("payments:frontend")
    assert not second.existing and second.port != first.port
    shared = c.claim("payments:frontend", shared=True)
    assert (shared.worktree, shared.existing) == (None, False)
    assert a.claim("payments:frontend", shared=True).port == shared.port

    # What is released is this tree's; a living agent's port elsewhere stays even when all are named.
    a.claim("payments:frontend")
    c.claim("payments:frontend")
    assert ports(a.release("payments:*")) == [first.port]
    with pytest.raises(NotFoundError) as refused:
        a.release("payments:*")
    assert refused.value.hint
    assert ports(a.release("payments:*", all_worktrees=True)) == [shared.port]
    with pytest.raises(NotOwnerError):
        a.release("payments:*", all_worktrees=True)
    assert ports(c.services().services) == [second.port]
    c.claim("payments:frontend", shared=True)
    assert len(c.release("payments:frontend", shared=True)) == 1
    assert ports(c.release("payments:frontend")) == [second.port]


def test_a_requested_port_is_that_port_or_an_error_that_names_who_has_it(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    with occupied() as port:
        # The listener is this process: foreign to the child, our own to us.
        (foreign,) = at_once([store.child(claim_at_a_word, "b", identity="web", options={"port": port})])
        assert (foreign["code"], foreign["fields"]["pid"]) == ("PORT_TAKEN", os.getpid())
        assert "python" in foreign["message"]
        mine = a.claim("api", port=port)
        assert (mine.port, mine.listening, mine.existing) == (port, True, False)
        assert mine.listener.pid == os.getpid() and "python" in mine.listener.command
    with pytest.raises(PortTakenError) as refused:
        b.claim("web", port=port)
    assert (refused.value.fields["identity"], refused.value.fields["agent"]) == ("api", "a")

    # A request for another free port moves the assignment.
    other = free()
    moved = a.claim("api", port=other)
    assert (moved.port, moved.existing) == (other, False)
    assert ports(a.services().services) == [other]
    assert a.claim("api", port=other).existing
    assert a.claim("api").port == other


def test_a_port_that_is_none_is_refused(store: Store) -> None:
    a = store.open("a")
    for options in (
        {"port": 0},
        {"port": -1},
        {"port": 70_000},
        {"port": 2**70},
        {"range": (9, 3)},
        {"range": (3100, 70_000)},
        {"range": (3100, 3200, 3300)},
    ):
        with pytest.raises(InvalidError):
            a.claim("x", **options)
    for identity in ("", "not an identity", "a:b:c:d", "a:*"):
        with pytest.raises(InvalidError):
            a.claim(identity)
    for wrong in ({"port": "3100"}, {"port": 3100.0}, {"port": True}, {"range": 3100}):
        with pytest.raises(TypeError, match="^(port|range) must be "):
            a.claim("x", **wrong)
    assert a.services(all=True).services == ()


def test_what_the_dead_left_is_given_away_last_and_the_oldest_first(store: Store) -> None:
    with two_free() as first:
        both = {"range": (first, first + 1)}
        dead = []
        for name in ("one", "two"):
            child = store.child(claim_at_a_word, name, identity=name, options=both)
            (port,) = at_once([child])
            dead.append((child, port))
        heir = store.open("heir")
        with pytest.raises(PortsExhaustedError, match=str(first)):
            heir.claim("third", **both)
        for child, _ in dead:
            child.kill()
        assert heir.claim("third", **both).port == dead[0][1]
        with socket.create_server(("127.0.0.1", dead[1][1])), pytest.raises(PortsExhaustedError):
            heir.claim("fourth", **both)
        assert heir.claim("fourth", **both).port == dead[1][1]


def test_waiting_for_a_service_ends_when_something_listens(store: Store) -> None:
    pd = store.open("tester")
    with pytest.raises(TimedOutError, match="api has no port"):
        pd.wait_for_service(["api", "web"], timeout=0)
    port = free()
    pd.claim("api", port=port)
    with pytest.raises(TimedOutError, match=f"port {port} of api") as timed_out:
        pd.wait_for_service("api", timeout=timedelta(0))
    assert timed_out.value.fields["missing"] == ["api"]
    assert isinstance(timed_out.value, TimeoutError)

    child = store.child(listen_at_a_word, "server", port=port)
    assert child.said() == "ready"
    waiting = in_thread(pd.wait_for_service, "api", timeout=LONG)
    child.go()
    assert child.said() == "listening"
    (up,) = waiting.result(LONG)
    assert (up.identity, up.port, up.listening, up.listener.pid) == ("api", port, True, child.pid)
    with pytest.raises(InvalidError):
        pd.wait_for_service([])


def test_the_environment_names_the_range(store: Store) -> None:
    def claimed(range: str) -> Any:
        env = {"PORT_DADDY_RANGE": range}
        (said,) = at_once([store.child(claim_at_a_word, "a", identity="web", options={}, env=env)])
        return said

    with occupied() as port:
        for wrong in ("80-90", "9000", "9000-8000"):
            refused = claimed(wrong)
            assert (refused["code"], refused["fields"]["variable"]) == ("INVALID", "PORT_DADDY_RANGE")
        assert claimed(f"{port}-{port}")["code"] == "PORTS_EXHAUSTED"
        given = claimed(f"{port}-{port + 300}")
        assert port < given <= port + 300
        assert claimed("3100-3101") == given, "what it has, it keeps"


def test_the_shell_and_a_program_share_assignments(store: Store) -> None:
    pd = store.open("a")
    claim = pd.claim("payments:frontend")
    pd.claim("blog:web")
    assert store.pd("a", "claim", "payments:frontend", "-q") == f"{claim.port}\n"
    found = pd.services("payments:*")
    assert [(one.identity, one.port, one.existing) for one in found.services] == [
        ("payments:frontend", claim.port, True)
    ]
    assert found.elsewhere == 0
    assert f"payments:frontend {claim.port}" in store.pd("looker", "ps")
    store.pd("a", "release", "payments:frontend")
    assert pd.services("payments:*").services == ()
