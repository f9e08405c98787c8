"""The base of all errors."""

from __future__ import annotations

from typing import Any, ClassVar


def _argument(note: str) -> str | None:
    """The argument that an error is about: the native module says it by a note."""
    before, found, rest = note.partition("while processing '")
    # What is a keyword in Rust has a mark there.
    return rest[:-1].removeprefix("r#") if found and not before and rest.endswith("'") else None


def _about(argument: str, said: str) -> str:
    return f"{argument}{said}" if said.startswith("[") else f"{argument} {said}"


class ArgumentError(TypeError):
    """An argument is of another type than it must be."""

    def add_note(self, note: str) -> None:
        argument = _argument(note)
        if argument is not None:
            self.args = (_about(argument, str(self)),)
        elif hasattr(TypeError, "add_note"):
            super().add_note(note)


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
        if cause is not None and cause not in message:
            self.add_note(f"Caused by: {cause}")
        if hint is not None:
            self.add_note(f"Hint: {hint}")

    def add_note(self, note: str) -> None:
        """Adds text that is printed below the traceback, from Python 3.11 on."""
        # The native module refused an argument before it knew its name.
        argument = _argument(note) if self.fields.get("option", "") is None else None
        if argument is not None:
            self.message = _about(argument, self.message)
            self.args = (self.message,)
            if not argument.startswith("["):
                self.fields["option"] = argument
        elif hasattr(Exception, "add_note"):
            super().add_note(note)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.hint, self.fields, self.cause)
