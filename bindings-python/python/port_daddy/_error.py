"""The base of all errors."""

from __future__ import annotations

from typing import Any, ClassVar


class PortDaddyError(Exception):
    """An operation failed. There is a class for each kind of failure; `code` names it in every language."""

    code: ClassVar[str] = "INTERNAL"
    message: str
    """A sentence with the values in it."""
    hint: str | None
    """What to do next, where there is something to do."""
    fields: dict[str, Any]
    """The values of the sentence by name, as in JSON; times are milliseconds, in names that end in `_ms`."""
    cause: str | None
    """What caused it, where another error did."""

    def __init__(
        self,
        message: str = "",
        hint: str | None = None,
        fields: dict[str, Any] | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = {} if fields is None else fields
        self.cause = cause
        # Python 3.11 prints notes below the traceback.
        add_note = getattr(self, "add_note", None)
        if add_note is not None:
            if cause is not None and cause not in message:
                add_note(f"Caused by: {cause}")
            if hint is not None:
                add_note(f"Hint: {hint}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.hint, self.fields, self.cause)
