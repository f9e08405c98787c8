"""The base of what operations give: named, compared by their values, and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda cls: cls


R = TypeVar("R", bound="Record")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """What an operation gives. Its attributes can't be changed; two with the same values are equal."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    # Of each field: its name in JSON, its attribute, and its kind. The native module builds records by it.
    _wire: ClassVar[tuple[tuple[str, str, str], ...]] = ()

    def __init__(self, **values: Any) -> None:
        names = self.__slots__
        for name in values:
            if name not in names:
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
        for name in names:
            if name not in values:
                raise TypeError(f"{type(self).__name__}() missing required keyword argument {name!r}")
            object.__setattr__(self, name, values[name])

    def to_dict(self) -> dict[str, Any]:
        """The values by attribute, in a new dict; records within it as dicts, too, tuples as lists, payloads copied."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}

    def replace(self, **changes: Any) -> Self:
        """A copy with other values for these attributes."""
        return type(self)(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})

    __replace__ = replace

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} can't be changed: replace() makes a changed copy")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__}.{name} can't be deleted")

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.__slots__)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), {name: getattr(self, name) for name in self.__slots__})


def _rebuild(cls: type[R], values: dict[str, Any]) -> R:
    return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
