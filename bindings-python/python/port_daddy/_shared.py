"""What the blocking and the asynchronous client have in common."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native
from ._error import ArgumentError, PortDaddyError
from ._errors import ForkedError, LeaseLostError, LockHeldError, NotHeldError, NotOwnerError

if TYPE_CHECKING:
    from ._types import LockInfo

T = TypeVar("T")

# Notices that are kept for take_notices: the newest.
NOTICES = 100
# An exception's text as a session's last note, at most.
LONGEST_NOTE = 10_000


def check_callable(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise ArgumentError(f"{name} must be callable, not {type(value).__name__}")


class Notices:
    """What the caller should be told and hasn't asked for."""

    _on_notice: Callable[[str], object] | None
    _kept: deque[str]

    def _keep_notices(self, on_notice: Callable[[str], object] | None) -> None:
        self._on_notice = on_notice
        self._kept = deque(maxlen=NOTICES)

    def _tell(self, notices: list[str]) -> None:
        for text in notices:
            if self._on_notice is None:
                self._kept.append(text)
            else:
                self._on_notice(text)

    def take_notices(self) -> list[str]:
        """What the caller should be told and has not asked for, such as who salvaged its work while it was thought dead.
        Each is given once; those that `on_notice` was called with aren't given. The newest 100 are kept."""
        self._tell(self._library_notices())
        notices = list(self._kept)
        self._kept.clear()
        return notices

    if TYPE_CHECKING:

        def _library_notices(self) -> list[str]: ...


class Patience:
    """How long is left of a wait."""

    __slots__ = ("_deadline",)

    def __init__(self, timeout: timedelta | float | None) -> None:
        seconds = None if timeout is None else _native._seconds(timeout)
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


def reopen(cls: Callable[..., T], arguments: dict[str, Any]) -> T:
    """Opens what was pickled, in the process that unpickles it."""
    return cls(**arguments)


def unpicklable(what: object, instead: str) -> TypeError:
    return TypeError(f"a {type(what).__name__} can't be pickled: {instead}")


def held(name: str, info: LockInfo | None) -> LockHeldError:
    """What a block is refused with that doesn't wait. The holder may have let go in the meantime."""
    if info is None:
        return LockHeldError(f"the lock {name!r} was held", "try again", {"lock": name})
    return LockHeldError(
        f"the lock {name!r} is held by {info.agent_name}",
        "wait for it (blocking=True), or ask its holder",
        {"lock": name, "holder": info.agent, "since_ms": round(info.since.timestamp() * 1000)},
    )


def lease_lost(name: str, token: int) -> LeaseLostError:
    return LeaseLostError(
        f"the lease of the lock {name!r} has ended",
        hint="what the lock protects may have been changed by others meanwhile",
        fields={"lock": name, "token": token},
    )


def lost(error: PortDaddyError, name: str, token: int) -> PortDaddyError:
    """By name nobody holds it, or another does; for one grant both mean that its lease has ended."""
    return lease_lost(name, token) if isinstance(error, (NotHeldError, NotOwnerError)) else error


def forked(name: str) -> ForkedError:
    return ForkedError(
        f"the lock {name!r} was taken before a fork: it is the parent's",
        hint="release it in the parent, or take it in the child",
        fields={"lock": name},
    )


def ended_well(error: BaseException | None) -> bool:
    """Whether a block that ended with this was done, and not given up. A generator that nobody asks further is done."""
    return (
        error is None or isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and error.code in (None, 0))
    )


def reason(error: BaseException) -> str:
    """An exception as a note: whatever it says, a session that failed can be ended with it."""
    try:
        said = str(error)
    except Exception:
        said = ""
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    # A note holds whole characters, and no NUL.
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE] + "…"
