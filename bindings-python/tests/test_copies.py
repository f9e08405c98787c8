"""Two copies of the package in one process: each brings an SQLite of its own, and two on one file lose data."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from role import Role

import port_daddy
from conftest import Store


def second_copy(place: str, name: str) -> ModuleType:
    """The package once more, from another place: under another name, or under its own, as a plugin with a path of its
    own would bring it."""
    source = Path(port_daddy.__file__).parent
    shutil.copytree(source, Path(place) / name, ignore=shutil.ignore_patterns("__pycache__"))
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        del sys.modules[loaded]
    sys.path.insert(0, place)
    return importlib.import_module(name)


def open_both(role: Role, place: str, name: str) -> None:
    first = role.open()
    first.note("first")
    second = second_copy(place, name)
    assert second.PortDaddy is not port_daddy.PortDaddy
    assert Path(second.__file__ or "").is_relative_to(place)

    def write(db: str, text: str) -> list[Any]:
        try:
            with second.PortDaddy("b", db=db, cwd=role.cwd) as pd:
                pd.note(text)
        except Exception as error:
            return [type(error).__name__, error.code, error.fields, error.hint]  # type: ignore[attr-defined]
        return ["written"]

    role.say(write(role.db, "second"))
    # The first goes on.
    first.note("third")
    role.say([note.text for note in first.notes().notes])
    # On a file of its own, the second is as good as any.
    role.say(write(str(Path(role.db).with_name("other.db")), "alone"))
    # And when the first has gone, on that file as well.
    first.close()
    role.say(write(role.db, "fourth"))
    role.barrier()


@pytest.mark.parametrize("name", ["port_daddy", "another_name"])
def test_a_second_copy_of_the_library_in_one_process_is_refused(store: Store, name: str) -> None:
    child = store.child(open_both, "a", place=str(store.dir("copies")), name=name)
    kind, code, fields, hint = child.said()
    assert (kind, code) == ("SecondCopyError", "SECOND_COPY") and hint
    versions = [value for field, value in fields.items() if "version" in field]
    assert len(versions) == 2 and all(re.match(r"\d+\.\d+\.\d+", version) for version in versions), fields
    assert child.said() == ["first", "third"]
    assert child.said() == ["written"]
    assert child.said() == ["written"]
    child.end()
    assert [note.text for note in store.open("looker").notes().notes] == ["first", "third", "fourth"]


def import_again(role: Role) -> None:
    """The same package, imported anew from the same place: one library, as before."""
    first = role.open()
    first.note("first")
    modules = [name for name in sys.modules if name.partition(".")[0] == "port_daddy"]
    for name in set(modules) - {"port_daddy._native"}:
        del sys.modules[name]
    again = importlib.import_module("port_daddy")
    assert again.PortDaddy is not port_daddy.PortDaddy
    with again.PortDaddy("b", db=role.db, cwd=role.cwd) as pd:
        role.say(pd.note("second").note.text)
    first.note("third")
    first.close()
    role.say("closed")
    role.barrier()


def test_a_package_that_is_imported_anew_is_no_second_copy(store: Store) -> None:
    child = store.child(import_again, "a")
    assert child.said() == "second"
    assert child.said() == "closed"
    child.end()
    assert [note.text for note in store.open("looker").notes().notes] == ["first", "second", "third"]
