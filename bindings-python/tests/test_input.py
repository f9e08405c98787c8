"""Bad input: it is refused in words that name it, and nothing of it is stored."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import LONG, Store
from port_daddy import AsyncPortDaddy, ClosedError, InvalidError, NoSessionError, PortDaddy

HALF = "\ud83d"
HUGE = 10**400


def assert_empty(store: Store) -> None:
    """Nothing at all is in the store but what the question itself leaves."""
    pd = store.open("looker")
    status = pd.status()
    counted = (status.sessions, status.claims, status.locks, status.channels, status.messages, status.ports)
    assert counted == (0, 0, 0, 0, 0, 0) and status.waiters == ()
    assert (status.agents.active, status.agents.dead) == (0, 0)
    assert pd.notes(all=True).notes == () and pd.sessions(all=True).sessions == ()


def refused(call: Callable[[], object], error: type[Exception], argument: str) -> Exception:
    """The error that a call is refused with, which names the argument."""
    with pytest.raises(error) as raised:
        call()
    assert raised.type in (error, InvalidError) or issubclass(raised.type, error)
    assert argument in str(raised.value), f"{argument} isn't named: {raised.value}"
    return raised.value


# Of each: the call, and the argument that is wrong.
Calls = dict[str, tuple[Callable[[Any], object], str]]

WRONG_TYPES: Calls = {
    "note(5)": (lambda pd: pd.note(5), "text"),
    "note(None)": (lambda pd: pd.note(None), "text"),
    "note(b'x')": (lambda pd: pd.note(b"x"), "text"),
    "note type": (lambda pd: pd.note("x", type=5), "type"),
    "notes type": (lambda pd: pd.notes(type=5), "type"),
    "activity type": (lambda pd: pd.activity(type=5), "type"),
    "register_agent type": (lambda pd: pd.register_agent(type=5), "type"),
    "begin type": (lambda pd: pd.begin("x", type=5), "type"),
    "note session": (lambda pd: pd.note("x", session=["s"]), "session"),
    "start_session(None)": (lambda pd: pd.start_session(None), "purpose"),
    "start_session files": (lambda pd: pd.start_session("x", files=5), "files"),
    "start_session a file": (lambda pd: pd.start_session("x", files=["a", None]), "files"),
    "start_session force": (lambda pd: pd.start_session("x", force="yes"), "force"),
    "start_session phase": (lambda pd: pd.start_session("x", phase=1), "phase"),
    "begin name": (lambda pd: pd.begin("x", name=1), "name"),
    "end_session note": (lambda pd: pd.end_session(5), "note"),
    "end_session status": (lambda pd: pd.end_session(status=5), "status"),
    "done": (lambda pd: pd.done(5), "note"),
    "set_phase": (lambda pd: pd.set_phase(5), "phase"),
    "sessions all": (lambda pd: pd.sessions(all=1), "all"),
    "sessions limit": (lambda pd: pd.sessions(limit="5"), "limit"),
    "session id": (lambda pd: pd.session(id=5), "id"),
    "claim_files": (lambda pd: pd.claim_files([1]), "files"),
    "claim_files dict": (lambda pd: pd.claim_files({"a": 1}), "files"),
    "release_files": (lambda pd: pd.release_files(5), "files"),
    "who_owns": (lambda pd: pd.who_owns(5), "path"),
    "publish channel": (lambda pd: pd.publish(7, 1), "channel"),
    "publish ttl": (lambda pd: pd.publish("x", 1, ttl="soon"), "ttl"),
    "publish ttl bool": (lambda pd: pd.publish("x", 1, ttl=True), "ttl"),
    "publish keep": (lambda pd: pd.publish("x", 1, keep=1.5), "keep"),
    "messages": (lambda pd: pd.messages(5), "patterns"),
    "messages limit": (lambda pd: pd.messages("x", limit=1.0), "limit"),
    "messages after": (lambda pd: pd.messages("x", after_seq="0"), "after_seq"),
    "channels": (lambda pd: pd.channels([1]), "pattern"),
    "clear_channel": (lambda pd: pd.clear_channel(None), "pattern"),
    "wait_for_signal": (lambda pd: pd.wait_for_signal(None, timeout=0), "channel"),
    "wait_for_signal timeout": (lambda pd: pd.wait_for_signal("x", timeout="1s"), "timeout"),
    "unlock": (lambda pd: pd.unlock(5), "name"),
    "unlock force": (lambda pd: pd.unlock("m", force=1), "force"),
    "unlock token": (lambda pd: pd.unlock("m", token="1"), "token"),
    "extend_lock": (lambda pd: pd.extend_lock("m", "1s"), "ttl"),
    "extend_lock none": (lambda pd: pd.extend_lock("m", None), "ttl"),
    "lock_info": (lambda pd: pd.lock_info(None), "name"),
    "claim": (lambda pd: pd.claim(5), "identity"),
    "claim port": (lambda pd: pd.claim("x", port="3000"), "port"),
    "claim port bool": (lambda pd: pd.claim("x", port=True), "port"),
    "claim range": (lambda pd: pd.claim("x", range=5), "range"),
    "claim a port of the range": (lambda pd: pd.claim("x", range=(1, "2")), "range"),
    "release": (lambda pd: pd.release(5), "pattern"),
    "services": (lambda pd: pd.services(5), "pattern"),
    "wait_for_service": (lambda pd: pd.wait_for_service(5), "identities"),
    "wait_for_service one": (lambda pd: pd.wait_for_service(["x", 5]), "identities"),
    "notes limit": (lambda pd: pd.notes(limit="all"), "limit"),
    "notes since": (lambda pd: pd.notes(since=5), "since"),
    "notes grep": (lambda pd: pd.notes(grep=5), "grep"),
    "activity since": (lambda pd: pd.activity(since="yesterday"), "since"),
    "agent": (lambda pd: pd.agent(None), "id"),
    "agents all": (lambda pd: pd.agents(all="all"), "all"),
    "agents project": (lambda pd: pd.agents(project=5), "project"),
    "register_agent": (lambda pd: pd.register_agent(name=5), "name"),
    "salvage": (lambda pd: pd.salvage(project=5), "project"),
    "salvage_claim": (lambda pd: pd.salvage_claim(5), "agent"),
    "salvage_complete": (lambda pd: pd.salvage_complete("a", 5), "note"),
    "salvage_abandon": (lambda pd: pd.salvage_abandon(None), "agent"),
    "salvage_dismiss": (lambda pd: pd.salvage_dismiss(5), "agent"),
}

# What the blocking client refuses where it is called, and the asynchronous one where it is awaited or entered.
WRONG_TYPES_BEGUN: Calls = {
    "lock": (lambda pd: pd.lock({}), "name"),
    "lock blocking": (lambda pd: pd.lock("m", blocking="no"), "blocking"),
    "lock timeout": (lambda pd: pd.lock("m", timeout="1s"), "timeout"),
    "lock ttl": (lambda pd: pd.lock("m", ttl=[]), "ttl"),
    "lock purpose": (lambda pd: pd.lock("m", purpose=5), "purpose"),
    "lock on_wait": (lambda pd: pd.lock("m", on_wait=5), "on_wait"),
    "with_lock": (lambda pd: pd.with_lock("m", 5), "fn"),
    "with_lock timeout": (lambda pd: pd.with_lock("m", pytest.fail, timeout="1s"), "timeout"),
    "subscribe": (lambda pd: pd.subscribe(5), "patterns"),
    "subscribe one": (lambda pd: pd.subscribe(["x", 5]), "patterns"),
    "subscribe replay": (lambda pd: pd.subscribe("x", replay=1.5), "replay"),
    "subscribe durable": (lambda pd: pd.subscribe("x", durable=5), "durable"),
    "subscribe timeout": (lambda pd: list(pd.subscribe("x", timeout="1s")), "timeout"),
    "subscribe next": (lambda pd: pd.subscribe("x").next(timeout="1s"), "timeout"),
    "subscribe on_warning": (lambda pd: pd.subscribe("x", on_warning=5), "on_warning"),
    "follow_notes": (lambda pd: pd.follow_notes(limit="5"), "limit"),
    "follow_activity": (lambda pd: pd.follow_activity(since=5), "since"),
}

BAD_VALUES: Calls = {
    "end_session": (lambda pd: pd.end_session(status="tired"), "status"),
    "notes limit": (lambda pd: pd.notes(limit=-1), "limit"),
    "notes limit huge": (lambda pd: pd.notes(limit=HUGE), "limit"),
    "notes after": (lambda pd: pd.notes(after_seq=2**63), "after_seq"),
    "notes since naive": (lambda pd: pd.notes(since=datetime(2020, 1, 1)), "since"),
    "activity since naive": (lambda pd: pd.activity(since=datetime(2020, 1, 1, 12)), "since"),
    "publish ttl nan": (lambda pd: pd.publish("x", 1, ttl=float("nan")), "ttl"),
    "publish ttl huge": (lambda pd: pd.publish("x", 1, ttl=HUGE), "ttl"),
    "publish keep": (lambda pd: pd.publish("x", 1, keep=-1), "keep"),
    "publish keep huge": (lambda pd: pd.publish("x", 1, keep=2**32), "keep"),
    "wait nan": (lambda pd: pd.wait_for_signal("x", timeout=float("nan")), "timeout"),
    "wait negative": (lambda pd: pd.wait_for_signal("x", timeout=-1), "timeout"),
    "wait negative delta": (lambda pd: pd.wait_for_signal("x", timeout=timedelta(seconds=-1)), "timeout"),
    "wait_for_service negative": (lambda pd: pd.wait_for_service("x", timeout=-0.5), "timeout"),
    "claim port": (lambda pd: pd.claim("x", port=70_000), "port"),
    "claim port negative": (lambda pd: pd.claim("x", port=-1), "port"),
    "claim range": (lambda pd: pd.claim("x", range=(1, 2, 3)), "range"),
    "claim a port of the range": (lambda pd: pd.claim("x", range=(3000, 70_000)), "range"),
    "unlock token": (lambda pd: pd.unlock("m", token=2**70), "token"),
    "extend_lock": (lambda pd: pd.extend_lock("m", float("inf")), "ttl"),
}

BAD_VALUES_BEGUN: Calls = {
    "lock nan": (lambda pd: pd.lock("m", timeout=float("nan")), "timeout"),
    "lock negative": (lambda pd: pd.lock("m", timeout=-1), "timeout"),
    "lock ttl huge": (lambda pd: pd.lock("m", ttl=HUGE), "ttl"),
    "subscribe replay": (lambda pd: pd.subscribe("x", replay="yesterday"), "replay"),
    "subscribe replay huge": (lambda pd: pd.subscribe("x", replay=2**63), "replay"),
    "subscribe nan": (lambda pd: list(pd.subscribe("x", timeout=float("nan"))), "timeout"),
    "next negative": (lambda pd: pd.subscribe("x").next(timeout=-1), "timeout"),
    "follow_notes limit": (lambda pd: pd.follow_notes(limit=-1), "limit"),
}

# What only the library knows to be wrong: its words name the thing and the value.
RULES: Calls = {
    "note": (lambda pd: pd.note(""), "note"),
    "note type": (lambda pd: pd.note("x", type="two words"), "two words"),
    "publish": (lambda pd: pd.publish("two words", 1), "two words"),
    "publish ttl": (lambda pd: pd.publish("x", 1, ttl=0), "ttl of 0"),
    "publish ttl negative": (lambda pd: pd.publish("x", 1, ttl=timedelta(days=-1)), "ttl of -86400000"),
    "publish keep": (lambda pd: pd.publish("x", 1, keep=0), "0"),
    "lock": (lambda pd: pd.lock("two words"), "two words"),
    "lock ttl": (lambda pd: pd.lock("m", ttl=-1), "TTL -1000"),
    "claim": (lambda pd: pd.claim("two words"), "two words"),
    "claim range": (lambda pd: pd.claim("x", range=(4000, 3000)), "4000"),
    "agent": (lambda pd: pd.agent("two words"), "two words"),
    "agents": (lambda pd: pd.agents(project="two words"), "two words"),
    "register_agent": (lambda pd: pd.register_agent(identity="two words"), "two words"),
    "start_session": (lambda pd: pd.start_session("x", identity="two words"), "two words"),
    "claim_files": (lambda pd: pd.start_session("x", files=["[a"]), "[a"),
}


async def begun(pd: AsyncPortDaddy, made: Any) -> None:
    """Begins what was made, whatever it is."""
    if hasattr(made, "__aiter__"):
        await made.next(timeout=0)
    elif inspect.isawaitable(made):
        await made


@pytest.mark.parametrize("name", [*WRONG_TYPES, *WRONG_TYPES_BEGUN])
def test_values_of_the_wrong_type_are_named(store: Store, name: str) -> None:
    call, argument = {**WRONG_TYPES, **WRONG_TYPES_BEGUN}[name]
    pd = store.open("a")
    error = refused(lambda: call(pd), TypeError, argument)
    assert not isinstance(error, InvalidError)
    # In the words of Python's own.
    assert str(error).startswith((f"{argument} must be ", f"{argument}[", "with_lock: fn must be ")), error
    assert_empty(store)


@pytest.mark.parametrize("name", [*BAD_VALUES, *BAD_VALUES_BEGUN])
def test_values_that_break_a_rule_are_named(store: Store, name: str) -> None:
    call, argument = {**BAD_VALUES, **BAD_VALUES_BEGUN}[name]
    pd = store.open("a")
    error = refused(lambda: call(pd), InvalidError, argument)
    assert isinstance(error, ValueError) and isinstance(error, InvalidError)
    assert error.fields["option"] == argument, error.fields
    assert str(error).startswith(argument), error
    assert_empty(store)


@pytest.mark.parametrize("name", RULES)
def test_values_that_the_library_refuses_are_said(store: Store, name: str) -> None:
    call, words = RULES[name]
    refused(lambda: call(store.open("a")), InvalidError, words)
    assert_empty(store)


def test_coroutines_refuse_as_blocking_calls_do(store: Store) -> None:
    blocking = store.open("a")

    async def main() -> None:
        async with store.open_async("a") as pd:
            for name, (call, _) in {**WRONG_TYPES, **BAD_VALUES}.items():
                with pytest.raises((TypeError, InvalidError)) as expected:
                    call(blocking)
                # What is passed is read where the call is made, or where it is awaited.
                with pytest.raises((TypeError, InvalidError)) as raised:
                    await begun(pd, call(pd))
                assert raised.type is expected.type and str(raised.value) == str(expected.value), name
                if isinstance(raised.value, InvalidError):
                    assert raised.value.fields == expected.value.fields, name  # type: ignore[union-attr]
            for made, argument in (
                (lambda: pd.lock({}), "name"),  # type: ignore[call-overload]
                (lambda: pd.lock("m", timeout=float("nan")), "timeout"),
                (lambda: pd.subscribe(5), "patterns"),  # type: ignore[arg-type]
                (lambda: pd.follow_notes(limit=-1), "limit"),
            ):
                with pytest.raises((TypeError, InvalidError), match=argument):
                    await begun(pd, made())

    asyncio.run(main())
    assert_empty(store)


def test_options_that_do_not_exist_are_named_with_those_that_do(store: Store) -> None:
    pd = store.open("a")
    unknown: list[tuple[Callable[[], object], str]] = [
        (lambda: pd.note("x", foo=1), "foo"),  # type: ignore[call-arg]
        (lambda: pd.register_agent(nmae="x"), "nmae"),  # type: ignore[call-arg]
        (lambda: pd.start_session("x", file=["a"]), "file"),  # type: ignore[call-arg]
        (lambda: pd.publish("x", 1, TTL=5), "TTL"),  # type: ignore[call-arg]
        (lambda: pd.lock("m", nonblocking=True), "nonblocking"),  # type: ignore[call-overload]
        (lambda: pd.claim("x", ports=5), "ports"),  # type: ignore[call-arg]
        (lambda: pd.messages(channel="x"), "channel"),  # type: ignore[call-arg]
        (lambda: pd.subscribe("x", as_="worker"), "as_"),  # type: ignore[call-arg]
        (lambda: PortDaddy("a", agent="b"), "agent"),  # type: ignore[call-arg]
        (lambda: pd.note(), "text"),  # type: ignore[call-arg]
        (lambda: pd.publish("x"), "payload"),  # type: ignore[call-arg]
        # Options have names.
        (lambda: pd.note("x", "commit"), "note"),  # type: ignore[misc]
        (lambda: pd.session("x", id="y"), "id"),  # type: ignore[call-overload]
        (lambda: pd.session(), "purpose"),  # type: ignore[call-overload]
    ]
    for call, name in unknown:
        error = refused(call, TypeError, name)
        assert type(error) is TypeError
    assert_empty(store)


def test_a_client_is_refused_at_once(store: Store) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"agent_id": 5}, TypeError, "agent_id"),
        ({"session": 5}, TypeError, "session"),
        ({"db": 5}, TypeError, "db"),
        ({"scope": 5}, TypeError, "scope"),
        ({"global_scope": "yes"}, TypeError, "global_scope"),
        ({"cwd": {}}, TypeError, "cwd"),
        ({"on_notice": 5}, TypeError, "on_notice"),
        ({"scope": "x", "global_scope": True}, InvalidError, "scope"),
        ({"agent_id": HALF}, InvalidError, "agent_id"),
    ]
    for of in (PortDaddy, AsyncPortDaddy):
        for options, error, argument in wrong:
            given = {"db": store.db, **options}
            refused(lambda: of(**given), error, argument)
    assert not store.db.exists()
    # What only the library can judge: at once too, or for an asynchronous client at its first call.
    for options in ({"agent_id": "two words"}, {"scope": "two words"}):
        with pytest.raises(InvalidError, match="two words"):
            PortDaddy(db=store.db, **options)  # type: ignore[arg-type]


def test_where_a_client_stands_is_an_option(store: Store) -> None:
    shop = store.repository("shop")
    here = store.open("a", cwd=shop).whoami()
    named = store.open("a", cwd=str(shop), scope="product").whoami()
    everywhere = store.open("a", cwd=shop, global_scope=True).whoami()
    assert [one.scope for one in (here, named, everywhere)] == ["shop", "product", "global"]


class Strange:
    """Something of the user's."""


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


CYCLE: dict[str, Any] = {"down": {}}
CYCLE["down"]["up"] = CYCLE


@pytest.mark.parametrize(
    ("payload", "error", "place"),
    [
        (Strange(), TypeError, "payload is a Strange"),
        (b"x", TypeError, "payload is a bytes"),
        ({1, 2}, TypeError, "payload is a set"),
        (1j, TypeError, "payload is a complex"),
        (datetime(2020, 1, 1), TypeError, "payload is a datetime"),
        (Path("x"), TypeError, "payload is a "),
        ({"a": {"b": Strange()}}, TypeError, 'payload["a"]["b"] is a Strange'),
        ([1, [2, {"c": b"x"}]], TypeError, 'payload[1][1]["c"] is a bytes'),
        ({"a": {1: 2}}, TypeError, 'payload["a"] has a key that is no str, but int'),
        ({None: 1}, TypeError, "payload has a key that is no str, but NoneType"),
        (float("nan"), InvalidError, "payload is nan"),
        ({"a": [1, float("inf")]}, InvalidError, 'payload["a"][1] is inf'),
        (2**64, InvalidError, f"payload is {2**64}"),
        ({"n": -(2**63) - 1}, InvalidError, 'payload["n"] is -9223372036854775809'),
        (HUGE, InvalidError, "payload is 1"),
        (HALF, InvalidError, "payload holds half a character"),
        ({"list": ["whole", HALF]}, InvalidError, 'payload["list"][1] holds half a character'),
        ({HALF: 1}, InvalidError, "payload holds half a character"),
        (nested(101), InvalidError, "nested too deeply"),
        (nested(1000), InvalidError, "nested too deeply"),
        (nested(50_000), InvalidError, "nested too deeply"),
        (CYCLE, InvalidError, "nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "-",
)
def test_a_payload_that_json_cannot_hold_is_refused_with_its_place(
    store: Store, payload: Any, error: type[Exception], place: str
) -> None:
    pd = store.open("a")
    raised = refused(lambda: pd.publish("x", payload), error, place)
    if isinstance(raised, InvalidError) and place.startswith("payload"):
        assert raised.fields["option"] == "payload", raised.fields
    assert_empty(store)


def test_a_payload_may_be_nested_a_hundred_deep_and_hold_itself_twice(store: Store) -> None:
    pd = store.open("a")
    pd.publish("x", nested(100))
    assert pd.wait_for_signal("x") == nested(100)
    twice = {"n": 1}
    pd.publish("x", [twice, twice])
    assert pd.wait_for_signal("x") == [{"n": 1}, {"n": 1}]
    # What is a dict, a str or an int by inheritance is one.
    import collections
    import enum

    class Colour(str, enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        HIGH = 3

    pd.publish("x", collections.OrderedDict(a=Colour.RED, b=Level.HIGH, c=collections.namedtuple("P", "x y")(1, 2)))
    assert pd.wait_for_signal("x") == {"a": "red", "b": 3, "c": [1, 2]}


def test_what_is_passed_is_taken_when_the_call_is_made(store: Store) -> None:
    async def main() -> None:
        async with store.open_async("a") as pd:
            payload = {"n": 1}
            published = pd.publish("x", payload)
            payload["n"] = 2
            await published
            assert (await pd.messages())[0].payload == {"n": 1}

    asyncio.run(main())


def test_text_arrives_as_it_was(store: Store) -> None:
    pd = store.open("a")
    for text in ("é\u0301", "👩‍💻", "line\r\nline", '"quoted" \\', "a\u2028b"):
        assert pd.note(text).note.text == text
        pd.publish("x", {text: text})
        assert pd.wait_for_signal("x") == {text: text}


def test_overlong_texts_are_refused_whole(store: Store) -> None:
    pd = store.open("a")
    calls: list[Callable[[], object]] = [
        lambda: pd.note("é" * ((1 << 19) + 1)),
        lambda: pd.note("a\0b"),
        lambda: pd.start_session("x" * 4097),
        lambda: pd.lock("m", purpose="x" * 4097),
        lambda: pd.lock("x" * 129),
        lambda: pd.publish("x" * 129, 1),
        lambda: pd.claim(f"{'x' * 65}:y"),
        lambda: pd.set_phase("x" * 65),
        lambda: pd.claim_files(["f"] * 1001),
        lambda: pd.start_session("x", files=["f"] * 1001),
        lambda: pd.register_agent(name="x" * 10_000),
    ]
    for call in calls:
        with pytest.raises(InvalidError):
            call()
    assert_empty(store)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda pd: pd.note(HALF), "text"),
        (lambda pd: pd.note("x", type=HALF), "type"),
        (lambda pd: pd.lock(HALF), "name"),
        (lambda pd: pd.start_session(f"a{HALF}b"), "purpose"),
        (lambda pd: pd.start_session("x", files=["whole", HALF]), "files"),
        (lambda pd: pd.claim_files(Path(HALF)), "files"),
        (lambda pd: pd.subscribe(["x", HALF]), "patterns"),
        (lambda pd: pd.agent(HALF), "id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_half_characters_are_refused_where_they_are(store: Store, call: Callable[[Any], object], argument: str) -> None:
    pd = store.open("a")
    error = refused(lambda: call(pd), InvalidError, argument)
    assert isinstance(error, InvalidError)
    assert "half a character" in error.message and error.fields["option"] == argument
    assert_empty(store)


def test_an_argument_s_own_failure_is_raised_as_it_is(store: Store) -> None:
    pd = store.open("a")

    class Broken:
        def __fspath__(self) -> str:
            raise ZeroDivisionError("on purpose")

    def files() -> Any:
        yield "a"
        raise ZeroDivisionError("on purpose")

    class BrokenDict(dict[str, Any]):
        def items(self) -> Any:
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError):
        pd.claim_files(files())
    with pytest.raises(ZeroDivisionError):
        pd.who_owns(Broken())
    pd.publish("x", BrokenDict(a=1))
    assert pd.wait_for_signal("x") == {"a": 1}


def test_sequences_and_paths_are_what_they_look_like(store: Store) -> None:
    shop = store.repository("shop")
    pd = store.open("a", cwd=shop)
    pd.start_session("work")
    for files in ("a", Path("b"), ["c", Path("d")], ("e",), iter(["f"]), {"g"}):
        pd.claim_files(files)  # type: ignore[arg-type]
    assert sorted(claim.pattern for claim in pd.file_claims().claims) == list("abcdefg")
    assert pd.who_owns(shop / "a").owners and pd.who_owns("b").owners


def test_an_int_that_no_clock_can_count_waits_for_ever(store: Store) -> None:
    pd = store.open("a")
    pd.publish("x", 1)
    for timeout in (HUGE, float("inf"), 1e300, timedelta.max):
        assert pd.wait_for_signal("x", timeout=timeout) == 1
        with pd.subscribe("x") as sub:
            assert sub.next(timeout=timeout) is not None


def test_an_error_s_stack_leads_to_its_caller(store: Store) -> None:
    pd = store.open("a")

    def build_step() -> None:
        pd.end_session("done")

    with pytest.raises(NoSessionError) as raised:
        build_step()
    assert [entry.name for entry in raised.traceback][-1] == "build_step"

    async def awaits(pd: AsyncPortDaddy) -> None:
        await pd.end_session("done")

    async def main() -> None:
        async with store.open_async("a") as pd:
            with pytest.raises(NoSessionError) as raised:
                await awaits(pd)
            assert "awaits" in [entry.name for entry in raised.traceback]

    asyncio.run(main())


# After its end.

# What each operation that needs something is given.
GIVEN: dict[str, tuple[Any, ...]] = {
    "agent": ("a",),
    "backup": ("f",),
    "begin": ("x",),
    "claim": ("x",),
    "claim_files": ("f",),
    "clear_channel": ("x",),
    "extend_lock": ("m", 1),
    "inbox_shown": (1,),
    "lock": ("m",),
    "lock_info": ("m",),
    "note": ("x",),
    "publish": ("x", 1),
    "release": ("x",),
    "restore": ("f",),
    "salvage_abandon": ("b",),
    "salvage_claim": ("b",),
    "salvage_complete": ("b",),
    "salvage_dismiss": ("b",),
    "send": ("a", "x"),
    "set_phase": ("x",),
    "start_session": ("x",),
    "subscribe": ("x",),
    "unlock": ("m",),
    "wait_for_service": ("x",),
    "wait_for_signal": ("x",),
    "who_owns": ("f",),
    "with_lock": ("m", pytest.fail),
}
# They look at, or end, what is at hand. A block is entered first.
LIVES_ON = {"close", "abandon", "take_notices", "session", "doctor"}


def operations(pd: object) -> list[str]:
    names = [name for name in dir(pd) if not name.startswith("_") and callable(getattr(pd, name))]
    assert len(names) > 45
    return [name for name in names if name not in LIVES_ON]


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_a_closed_client_s_calls_say_so(store: Store, end: str) -> None:
    pd = store.open("a")
    sub, lock = pd.subscribe("x"), pd.lock("m")
    getattr(pd, end)()
    for name in operations(pd):
        with pytest.raises(ClosedError) as closed:
            getattr(pd, name)(*GIVEN.get(name, ()))
        assert closed.value.hint, name
    for call in (lock.release, lock.info, lambda: lock.extend(1), lambda: sub.next(timeout=LONG), lambda: next(sub)):
        with pytest.raises(ClosedError):
            call()
    for block in (pd.session("x"), pd.with_lock("m")):
        with pytest.raises(ClosedError), block:  # type: ignore[attr-defined]
            pytest.fail("it is closed")
    with pytest.raises(ClosedError):
        pd.session(id="x")
    # These don't mind, and may be called again.
    pd.close()
    pd.abandon()
    assert pd.closed and pd.take_notices() == [] and "closed" in repr(pd)
    sub.close()


def test_a_closed_client_s_coroutines_say_so(store: Store) -> None:
    async def main() -> None:
        pd = store.open_async("a")
        await pd.whoami()
        sub, lock = pd.subscribe("x"), await pd.lock("m")
        await sub.next(timeout=0)
        await pd.close()
        for name in operations(pd):
            with pytest.raises(ClosedError):
                made = getattr(pd, name)(*GIVEN.get(name, ()))
                await (made.next(timeout=0) if hasattr(made, "__aiter__") else made)
        for call in (lock.release, lock.info, lambda: lock.extend(1), lambda: sub.next(timeout=LONG)):
            with pytest.raises(ClosedError):
                await call()
        for block in (pd.session("x"), pd.with_lock("m"), pd.lock("m"), pd.subscribe("x"), pd):
            with pytest.raises(ClosedError):
                async with block:
                    pytest.fail("it is closed")
        await pd.close()
        await pd.abandon()
        assert pd.closed and pd.take_notices() == []

    asyncio.run(main())


def test_a_client_that_was_never_opened_closes(store: Store) -> None:
    async def main() -> None:
        pd = store.open_async("a")
        await pd.close()
        with pytest.raises(ClosedError):
            await pd.note("x")

    asyncio.run(main())
    assert not store.db.exists()
