"""The locks that the running code stands under: by them a wait that would never end is told from one that will."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from threading import get_ident


class Standing:
    """One lock that is stood under, and by whom: a thread, or a task in it."""

    __slots__ = ("chain", "owner")

    def __init__(self, chain: str) -> None:
        self.owner = _owner()
        # Text that only the store reads: this lock, and those that it was taken under.
        self.chain = chain


_standing: ContextVar[tuple[Standing, ...]] = ContextVar("port_daddy_standing", default=())


def _owner() -> tuple[int, int]:
    asyncio = sys.modules.get("asyncio")
    task = None
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            pass
    return get_ident(), id(task)


def chain() -> str | None:
    """The locks that a call stands under. A task that was started under a lock isn't part of it: its wait need not hold
    the lock up."""
    standing = _standing.get()
    if not standing:
        return None
    owner = _owner()
    return next((one.chain for one in reversed(standing) if one.owner == owner), None)


def enter(chain: str) -> Standing:
    one = Standing(chain)
    _standing.set((*_standing.get(), one))
    return one


def leave(one: Standing) -> None:
    _standing.set(tuple(other for other in _standing.get() if other is not one))
