# Generated from the sources of portdaddy-core by `make types`. Don't edit.
"""Why operations fail: a class for each error code."""

from __future__ import annotations

from typing import ClassVar, get_args

from ._error import PortDaddyError
from ._types import ErrorCode


class InvalidError(PortDaddyError, ValueError):
    """A value breaks a rule; the sentence names the value, the rule and the way out."""

    code: ClassVar[ErrorCode] = "INVALID"


class AmbiguousError(PortDaddyError):
    """A short name fits several things; the candidates are in `candidates`."""

    code: ClassVar[ErrorCode] = "AMBIGUOUS"


class NoAgentError(PortDaddyError):
    """The operation needs an agent and none could be resolved."""

    code: ClassVar[ErrorCode] = "NO_AGENT"


class NoSessionError(PortDaddyError):
    """The operation needs an active session and the agent has none."""

    code: ClassVar[ErrorCode] = "NO_SESSION"


class NotFoundError(PortDaddyError):
    """Nothing of that name exists."""

    code: ClassVar[ErrorCode] = "NOT_FOUND"


class LockHeldError(PortDaddyError):
    """The lock is held by another and the call doesn't wait."""

    code: ClassVar[ErrorCode] = "LOCK_HELD"


class NotHeldError(PortDaddyError):
    """Nobody holds the lock."""

    code: ClassVar[ErrorCode] = "NOT_HELD"


class NotOwnerError(PortDaddyError):
    """It is held or owned by another."""

    code: ClassVar[ErrorCode] = "NOT_OWNER"


class LeaseLostError(PortDaddyError):
    """A lease ended before its holder let go: expired, taken by force, or handed on after a death."""

    code: ClassVar[ErrorCode] = "LEASE_LOST"


class PortTakenError(PortDaddyError):
    """The requested port is assigned or in use."""

    code: ClassVar[ErrorCode] = "PORT_TAKEN"


class PortsExhaustedError(PortDaddyError):
    """The range has no port left."""

    code: ClassVar[ErrorCode] = "PORTS_EXHAUSTED"


class InboxFullError(PortDaddyError):
    """The recipient has left too many messages unread."""

    code: ClassVar[ErrorCode] = "INBOX_FULL"


class NotSalvageableError(PortDaddyError):
    """The agent's work was already claimed by another, or it isn't dead."""

    code: ClassVar[ErrorCode] = "NOT_SALVAGEABLE"


class OwnerGoneError(PortDaddyError):
    """Nobody is left who could send what was waited for, or the agent it was for is gone."""

    code: ClassVar[ErrorCode] = "OWNER_GONE"


class TimedOutError(PortDaddyError, TimeoutError):
    """The time given ran out."""

    code: ClassVar[ErrorCode] = "TIMEOUT"


class DeadlockError(PortDaddyError):
    """Waiting would close a cycle; the cycle is in `cycle`."""

    code: ClassVar[ErrorCode] = "DEADLOCK"


class CancelledError(PortDaddyError):
    """The caller cancelled the wait."""

    code: ClassVar[ErrorCode] = "CANCELLED"


class ClosedError(PortDaddyError):
    """The handle was closed."""

    code: ClassVar[ErrorCode] = "CLOSED"


class ForkedError(PortDaddyError):
    """The handle was opened before a fork and used in the child."""

    code: ClassVar[ErrorCode] = "FORKED"


class SecondCopyError(PortDaddyError):
    """Another copy of this library has the same database open in this process."""

    code: ClassVar[ErrorCode] = "SECOND_COPY"


class StoreBusyError(PortDaddyError):
    """The database stayed locked by a stopped or stuck process."""

    code: ClassVar[ErrorCode] = "STORE_BUSY"


class StoreFullError(PortDaddyError):
    """No space left for the database."""

    code: ClassVar[ErrorCode] = "STORE_FULL"


class StoreReadOnlyError(PortDaddyError):
    """The database or its directory can't be written."""

    code: ClassVar[ErrorCode] = "STORE_READ_ONLY"


class StorePermissionError(PortDaddyError):
    """Permission denied, or the directory is open to other users."""

    code: ClassVar[ErrorCode] = "STORE_PERMISSION"


class StoreCorruptError(PortDaddyError):
    """The file isn't a database of this library, or it is damaged."""

    code: ClassVar[ErrorCode] = "STORE_CORRUPT"


class StoreNewerError(PortDaddyError):
    """The file was made by a newer version."""

    code: ClassVar[ErrorCode] = "STORE_NEWER"


class StoreFilesystemError(PortDaddyError):
    """The filesystem can't carry a shared database."""

    code: ClassVar[ErrorCode] = "STORE_FILESYSTEM"


class StoreLocationError(PortDaddyError):
    """No place for the database could be found."""

    code: ClassVar[ErrorCode] = "STORE_LOCATION"


class StoreIoError(PortDaddyError):
    """Reading or writing failed for another reason."""

    code: ClassVar[ErrorCode] = "STORE_IO"


class InternalError(PortDaddyError):
    """A defect in this library."""

    code: ClassVar[ErrorCode] = "INTERNAL"


ERROR_CODES: tuple[ErrorCode, ...] = get_args(ErrorCode)
"""Every error code."""

BY_CODE: dict[str, type[PortDaddyError]] = {
    "INVALID": InvalidError,
    "AMBIGUOUS": AmbiguousError,
    "NO_AGENT": NoAgentError,
    "NO_SESSION": NoSessionError,
    "NOT_FOUND": NotFoundError,
    "LOCK_HELD": LockHeldError,
    "NOT_HELD": NotHeldError,
    "NOT_OWNER": NotOwnerError,
    "LEASE_LOST": LeaseLostError,
    "PORT_TAKEN": PortTakenError,
    "PORTS_EXHAUSTED": PortsExhaustedError,
    "INBOX_FULL": InboxFullError,
    "NOT_SALVAGEABLE": NotSalvageableError,
    "OWNER_GONE": OwnerGoneError,
    "TIMEOUT": TimedOutError,
    "DEADLOCK": DeadlockError,
    "CANCELLED": CancelledError,
    "CLOSED": ClosedError,
    "FORKED": ForkedError,
    "SECOND_COPY": SecondCopyError,
    "STORE_BUSY": StoreBusyError,
    "STORE_FULL": StoreFullError,
    "STORE_READ_ONLY": StoreReadOnlyError,
    "STORE_PERMISSION": StorePermissionError,
    "STORE_CORRUPT": StoreCorruptError,
    "STORE_NEWER": StoreNewerError,
    "STORE_FILESYSTEM": StoreFilesystemError,
    "STORE_LOCATION": StoreLocationError,
    "STORE_IO": StoreIoError,
    "INTERNAL": InternalError,
}
"""The class of each error code."""

__all__ = [
    "InvalidError",
    "AmbiguousError",
    "NoAgentError",
    "NoSessionError",
    "NotFoundError",
    "LockHeldError",
    "NotHeldError",
    "NotOwnerError",
    "LeaseLostError",
    "PortTakenError",
    "PortsExhaustedError",
    "InboxFullError",
    "NotSalvageableError",
    "OwnerGoneError",
    "TimedOutError",
    "DeadlockError",
    "CancelledError",
    "ClosedError",
    "ForkedError",
    "SecondCopyError",
    "StoreBusyError",
    "StoreFullError",
    "StoreReadOnlyError",
    "StorePermissionError",
    "StoreCorruptError",
    "StoreNewerError",
    "StoreFilesystemError",
    "StoreLocationError",
    "StoreIoError",
    "InternalError",
    "BY_CODE",
    "ERROR_CODES",
]
