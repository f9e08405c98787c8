"""Sessions: units of work."""

from __future__ import annotations

import pytest

from conftest import Store
from port_daddy import InvalidError


def note_in_a_child(role, text):
    pd = role.open()
    role.say(pd.note(text).note.session)
    role.barrier()


def test_a_session_is_found_by_any_unique_prefix(store: Store) -> None:
    pd = store.open("a")
    started = pd.start_session("Build it")
    assert pd.session(id=started.session.id[8:]).session == started.session
    child = store.child(note_in_a_child, "a", text="hello")
    assert child.said() == started.session.id
    child.end()


def test_what_breaks_a_rule_stores_nothing(store: Store) -> None:
    pd = store.open("a")
    with pytest.raises(InvalidError):
        pd.start_session("", files=["a"])
    assert pd.sessions().sessions == ()
