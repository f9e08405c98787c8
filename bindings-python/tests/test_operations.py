"""That every operation, every error and every result is there, and behaves as Python's own do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest

import port_daddy
from conftest import Store
from port_daddy import (
    BY_CODE,
    ERROR_CODES,
    AsyncLock,
    AsyncPortDaddy,
    AsyncSubscription,
    ErrorCode,
    InvalidError,
    Lock,
    LockHeldError,
    Message,
    PortDaddy,
    PortDaddyError,
    Record,
    Subscription,
    TimedOutError,
    _native,
)

PARITY = Path(__file__).parents[2] / "docs" / "parity.md"


def public(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_") and callable(getattr(of, name))}


def column(title: str) -> list[str]:
    """A column of the table of operations."""
    rows = [line.split("|") for line in PARITY.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    at = cells[0].index(title)
    return [row[at] for row in cells[2:]]


# Operations.


def test_parity_and_the_clients_agree() -> None:
    cells = column("Python")
    assert len(cells) > 40
    unread = [cell for cell in cells if not re.fullmatch(r"–|not yet|(tested|exists) `.+`", cell)]
    assert unread == []
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    for name in named - {"PortDaddy"}:
        for clients in ((PortDaddy, Subscription, Lock), (AsyncPortDaddy, AsyncSubscription, AsyncLock)):
            assert any(callable(getattr(of, name, None)) for of in clients), f"{name} is in docs/parity.md alone"
    # Another way to end one.
    assert public(PortDaddy) - named <= {"abandon"}, "missing in docs/parity.md"


def test_what_the_native_module_can_the_client_can() -> None:
    for native, client in ((_native.Client, PortDaddy), (_native.AsyncClient, AsyncPortDaddy)):
        assert public(native) <= public(client)
    ends, streams = {"close", "abandon"}, {"subscribe", "follow_notes", "follow_activity", "follow_inbox"}
    made = {"session", "lock", "with_lock", "take_notices"}
    assert public(PortDaddy) - public(_native.Client) == ends | streams | made


def test_every_operation_says_what_it_does() -> None:
    for of in (PortDaddy, AsyncPortDaddy, Lock, Subscription, AsyncLock, AsyncSubscription):
        for name in public(of):
            text = inspect.getdoc(getattr(of, name))
            assert text and text[0].isupper(), f"{of.__name__}.{name}"
            assert inspect.signature(getattr(of, name)), name


def test_every_public_name_is_there() -> None:
    for name in port_daddy.__all__:
        assert getattr(port_daddy, name) is not None
    assert len(set(port_daddy.__all__)) == len(port_daddy.__all__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", port_daddy.__version__)
    with pytest.raises(AttributeError, match="nonsense"):
        port_daddy.nonsense


# Errors.


def test_every_error_kind_has_a_class_here() -> None:
    codes = _native._error_codes()
    assert len(codes) == len(set(codes)) and sorted(ERROR_CODES) == sorted(codes) == sorted(BY_CODE)
    assert ERROR_CODES == get_args(ErrorCode)
    assert len(set(BY_CODE.values())) == len(codes)


@pytest.mark.parametrize("code", _native._error_codes())
def test_an_error_has_its_class_its_words_and_its_fields(code: str) -> None:
    error = _native._error_of(code)
    kind = BY_CODE[code]  # type: ignore[index]
    assert type(error) is kind and isinstance(error, PortDaddyError) and isinstance(error, Exception)
    assert error.code == kind.code == code
    # The class is called as its code, and can be named.
    words = "".join(word.capitalize() for word in code.split("_"))
    assert kind.__name__ in (f"{words}Error", "TimedOutError") and getattr(port_daddy, kind.__name__) is kind
    assert kind.__doc__ and kind.__doc__.endswith(".")
    assert str(error) == error.message == 'no "luck"'
    assert (error.hint, error.fields, error.cause) == ("wait", {"held_by": {"agent_name": "a"}}, "bad luck")
    assert getattr(error, "__notes__", None) in (None, ["Caused by: bad luck", "Hint: wait"])
    with pytest.raises(PortDaddyError) as caught:
        raise error
    assert caught.value is error
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and (again.message, again.hint, again.fields, again.cause) == (
        error.message,
        error.hint,
        error.fields,
        error.cause,
    )


def test_errors_are_python_s_own_where_python_has_one() -> None:
    assert issubclass(TimedOutError, TimeoutError) and issubclass(InvalidError, ValueError)
    for code, kind in BY_CODE.items():
        others = [base for base in kind.__mro__ if base not in (kind, PortDaddyError, Exception, BaseException, object)]
        expected = {"TIMEOUT": [TimeoutError, OSError], "INVALID": [ValueError]}.get(code, [])
        assert others == expected, code


def test_an_error_of_the_library_is_raised_where_its_caller_is(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    a.lock("m")

    def build_step() -> None:
        b.with_lock("m", blocking=False).__enter__()

    with pytest.raises(LockHeldError) as refused:
        build_step()
    assert "build_step" in [entry.name for entry in refused.traceback]
    assert len(refused.value.message) > 5 and not refused.value.message.endswith(".")


def test_each_way_to_take_a_lock_says_which_it_is(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    a.lock("m")
    with pytest.raises(TimedOutError) as late:
        b.lock("m", timeout=0)
    with pytest.raises(LockHeldError) as held, b.with_lock("m", blocking=False):
        pytest.fail("it is held")
    for error in (late.value, held.value):
        assert error.fields["lock"] == "m", error.fields


# Results.


@pytest.fixture
def message(store: Store) -> Message:
    pd = store.open("a")
    pd.publish("x", 1)
    (message,) = pd.messages()
    return message


def records(store: Store) -> list[Record]:
    """One of each kind that is easily had."""
    pd = store.open("a", cwd=store.repository("shop"))
    pd.register_agent(name="A", identity="pay:api")
    started = pd.start_session("work", files=["src/*"])
    other = store.open("b", cwd=store.dir("shop"))
    found = [
        started,
        other.start_session("clash", files=["src/x.py"]),
        pd.session(id=started.session.id),
        pd.note("x"),
        pd.notes(),
        pd.agents(),
        pd.agent("a"),
        pd.whoami(),
        pd.publish("x", [1]),
        pd.channels(),
        pd.claim("pay:api"),
        pd.services(),
        pd.file_claims(),
        pd.who_owns("src/x.py"),
        pd.activity(),
        pd.salvage(),
        pd.status(),
        *pd.doctor(),
    ]
    pd.lock("m")
    return [*found, pd.locks(), *pd.locks().locks, *pd.messages()]


def parts(value: Any) -> list[Record]:
    """The records within a record, and itself."""
    if isinstance(value, tuple):
        return [part for item in value for part in parts(item)]
    if not isinstance(value, Record):
        return []
    return [value, *(part for name in value.__slots__ for part in parts(getattr(value, name)))]


def test_every_result_is_a_frozen_record(store: Store) -> None:
    seen = set()
    for record in parts(tuple(records(store))):
        kind = type(record)
        seen.add(kind.__name__)
        for name in record.__slots__:
            with pytest.raises(AttributeError, match=name):
                setattr(record, name, None)
            with pytest.raises(AttributeError, match=name):
                delattr(record, name)
            value = getattr(record, name)
            assert not isinstance(value, list) or kind.__name__ in ("Message", "Activity"), f"{kind.__name__}.{name}"
            assert not name.endswith("_ms"), f"{kind.__name__}.{name}"
            if isinstance(value, datetime):
                assert value.utcoffset() == timedelta(0) and value.year > 2000, f"{kind.__name__}.{name}"
        with pytest.raises(AttributeError):
            record.nonsense = 1  # type: ignore[attr-defined]
        assert not hasattr(record, "__dict__")
    assert {
        "Session",
        "Note",
        "Agent",
        "Proof",
        "LockInfo",
        "Conflict",
        "Message",
        "PortClaim",
        "Status",
        "Check",
    } <= seen


def test_every_record_is_equal_to_its_copies(store: Store) -> None:
    for record in parts(tuple(records(store))):
        copies = (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record)), record.replace())
        for other in copies:
            assert type(other) is type(record) and other == record and not other != record
            assert repr(other) == repr(record)
        first = record.__slots__[0]
        assert record.replace(**{first: "another"}) != record
        assert set(record.to_dict()) == set(record.__slots__)
        assert record != record.to_dict() and record != 1 and record is not None


def test_a_record_is_what_its_values_are(message: Message) -> None:
    at = message.at
    expected = (
        f"Message(seq={message.seq}, channel='x', payload=1, agent='a', agent_name='a', at={at!r}, scope='global')"
    )
    assert repr(message) == expected
    assert eval(repr(message), {"Message": Message, "datetime": __import__("datetime")}) == message
    assert abs(datetime.now(timezone.utc) - at) < timedelta(minutes=5)
    other = message.replace(payload=2)
    assert (other.payload, message.payload, other.seq) == (2, 1, message.seq)
    with pytest.raises(TypeError, match="nonsense"):
        message.replace(nonsense=1)
    with pytest.raises(TypeError, match="seq"):
        Message(channel="x")  # type: ignore[call-arg]
    if hasattr(copy, "replace"):
        assert copy.replace(message, payload=2) == other


def test_equal_records_have_one_hash(message: Message, store: Store) -> None:
    (same,) = store.open("b").messages()
    assert same == message and hash(same) == hash(message) and len({same, message}) == 1
    assert message.replace(payload=2) not in {message}
    # A payload that Python can't hash makes a message that it can't, as a tuple would.
    with pytest.raises(TypeError, match="unhashable"):
        hash(message.replace(payload=[1]))


def test_a_record_becomes_a_dict_of_its_values(store: Store) -> None:
    pd = store.open("a", cwd=store.repository("shop"))
    started = pd.start_session("work", files=["src/*"])
    found = started.to_dict()
    assert found["session"]["id"] == started.session.id and found["session"]["started"] == started.session.started
    assert isinstance(found["claimed"], list) and found["claimed"][0] == started.claimed[0].to_dict()
    found["claimed"].clear()
    assert len(started.claimed) == 1, "it is a copy"


# Notices.


def test_a_notice_is_told_to_who_listens_and_kept_for_who_asks(store: Store) -> None:
    store.open("a", scope="one").lock("m")
    heard: list[str] = []
    listening = store.open("b", scope="two", on_notice=heard.append)
    listening.lock("m")
    assert len(heard) == 1 and "in the scope one" in heard[0], heard
    assert listening.take_notices() == [], "what was told isn't given again"
    silent = store.open("c", scope="three")
    silent.lock("m")
    (notice,) = silent.take_notices()
    assert "in the scope" in notice
    assert silent.take_notices() == []


def test_what_a_notice_s_hearer_raises_reaches_who_calls(store: Store) -> None:
    store.open("a", scope="one").lock("m")

    def complain(text: str) -> None:
        raise ZeroDivisionError(text)

    pd = store.open("b", scope="two", on_notice=complain)
    with pytest.raises(ZeroDivisionError, match="in the scope one"):
        pd.lock("m")
    # The lock that nobody got is held by nobody.
    assert pd.lock_info("m") is None
    with pytest.raises(TypeError, match="on_notice"):
        store.open("c", on_notice="loudly")


def test_the_newest_notices_are_kept(store: Store) -> None:
    store.open("a", scope="one").lock("m")
    pd = store.open("b", scope="two")
    for _ in range(110):
        pd.lock("m").release()
    assert 1 <= len(pd.take_notices()) <= 100
