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
from ._client import Follow as Follow
from ._client import Lock as Lock
from ._client import LockBlock as LockBlock
from ._client import PortDaddy as PortDaddy
from ._client import SessionBlock as SessionBlock
from ._client import Subscription as Subscription
from ._client import doctor as doctor
from ._error import ArgumentError as ArgumentError
from ._error import PortDaddyError as PortDaddyError
from ._errors import *
from ._errors import __all__ as _errors
from ._record import Record as Record
from ._types import *
from ._types import __all__ as _types

if TYPE_CHECKING:
    from ._async_client import AsyncFollow as AsyncFollow
    from ._async_client import AsyncLock as AsyncLock
    from ._async_client import AsyncLockBlock as AsyncLockBlock
    from ._async_client import AsyncPortDaddy as AsyncPortDaddy
    from ._async_client import AsyncSessionBlock as AsyncSessionBlock
    from ._async_client import AsyncSubscription as AsyncSubscription
    from ._async_client import Taking as Taking

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
    "ArgumentError",
    "AsyncFollow",
    "AsyncLock",
    "AsyncLockBlock",
    "AsyncPortDaddy",
    "AsyncSessionBlock",
    "AsyncSubscription",
    "Follow",
    "Lock",
    "LockBlock",
    "PortDaddy",
    "PortDaddyError",
    "Record",
    "SessionBlock",
    "Subscription",
    "Taking",
    "__version__",
    "doctor",
]
__all__ += _errors
# The builtin of that name stays what it is where all is imported.
__all__ += [name for name in _types if name != "Warning"]


def __getattr__(name: str) -> object:
    if name in _ASYNC:
        from . import _async_client

        return getattr(_async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_lifecycle.start()
