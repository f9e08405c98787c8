"""Coordination for agents, scripts and people on one machine: ports, locks, file claims, signals, a journal, and salvage of
each other's work, in one SQLite file, with no daemon.

>>> from port_daddy import PortDaddy
>>> with PortDaddy("backend-builder") as pd:
...     with pd.session("Building the payment API", files=["src/api/payments/*"]) as session:
...         with pd.lock("db-migrations"):
...             migrate()
...         port = pd.claim("payments:api").port
...         pd.publish("payments:api", {"status": "healthy", "port": port})
...         session.note("Payment API ready")
"""

from typing import TYPE_CHECKING

from . import _lifecycle, _native
from ._client import Follow, Lock, LockBlock, PortDaddy, SessionBlock, Subscription
from ._error import PortDaddyError
from ._errors import *
from ._errors import __all__ as _errors
from ._record import Record
from ._types import *
from ._types import __all__ as _types

if TYPE_CHECKING:
    from ._async_client import (
        AsyncFollow,
        AsyncLock,
        AsyncLockBlock,
        AsyncPortDaddy,
        AsyncSessionBlock,
        AsyncSubscription,
        Taking,
    )

__version__ = _native._version()

# These bring asyncio along: they are loaded when they are first named.
_ASYNC = (
    "AsyncFollow",
    "AsyncLock",
    "AsyncLockBlock",
    "AsyncPortDaddy",
    "AsyncSessionBlock",
    "AsyncSubscription",
    "Taking",
)

__all__ = [
    "Follow",
    "Lock",
    "LockBlock",
    "PortDaddy",
    "PortDaddyError",
    "Record",
    "SessionBlock",
    "Subscription",
    "__version__",
    *_ASYNC,
    *_errors,
    *_types,
]


def __getattr__(name: str) -> object:
    if name in _ASYNC:
        from . import _async_client

        return getattr(_async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_lifecycle.start()
