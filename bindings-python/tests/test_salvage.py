"""Salvage: the work of the dead, and who takes it over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from role import Role

from conftest import Store, at_once
from port_daddy import InvalidError, NotFoundError, NotOwnerError, NotSalvageableError, PortDaddy


def leave_work(role: Role, cwd: str) -> None:
    """Begins some work and waits to be killed."""
    pd = role.open(cwd=cwd)
    begin_work(pd)
    role.say("working")
    role.barrier()


def take_at_a_word(role: Role, dead: str) -> None:
    pd = role.open()
    pd.whoami()
    role.say("ready")
    role.barrier()
    try:
        role.say({"sessions": len(pd.salvage_claim(dead).sessions)})
    except NotSalvageableError as error:
        role.say(error.fields)
    role.barrier()


def begin_work(pd: PortDaddy) -> None:
    pd.register_agent(name="Database Agent", identity="payments:db")
    pd.start_session("Schema for payments", files=["migrations/*"])
    pd.note("Created the payments table\nwith webhook_id")


def killed(store: Store, cwd: Path) -> None:
    """A killed agent `db` that left work in `cwd`."""
    child = store.child(leave_work, "db", cwd=str(cwd))
    assert child.said() == "working"
    child.kill()


def open_items(pd: PortDaddy, **filter: bool | str) -> list[str]:
    """Whose work can be taken."""
    return [item.agent for item in pd.salvage(**filter).items if item.state == "open"]


def test_the_work_of_a_killed_agent_is_listed_claimed_and_completed(store: Store) -> None:
    cwd = store.repository("app")
    store.write("app/schema.sql", "create table payments")
    killed(store, cwd)
    heir, late, looker = store.open("heir", cwd=cwd), store.open("late", cwd=cwd), store.open("looker")

    listed = heir.salvage(project="payments")
    assert listed.elsewhere == 0
    (item,) = listed.items
    assert (item.agent, item.agent_name, item.identity) == ("db", "Database Agent", "payments:db")
    assert (item.purpose, item.state) == (None, "open")
    assert item.death.endswith("is gone") and item.died >= item.notes[0].at
    assert (item.claimed_by, item.claimed_by_name, item.claimed) == (None, None, None)
    (unfinished,) = item.sessions
    assert unfinished.session.purpose == "Schema for payments"
    assert (unfinished.claims, unfinished.notes) == (item.claims, item.notes)
    assert [claim.pattern for claim in item.claims] == ["migrations/*"]
    assert [note.text for note in item.notes] == ["Created the payments table\nwith webhook_id"]
    (work,) = item.work
    assert (work.worktree, work.branch, work.commit) == (str(cwd), "main", unfinished.session.commit)
    assert (work.uncommitted, work.stashes, work.unpushed) == (("?? schema.sql",), (), ())
    assert (work.problem, work.truncated) == (None, False)
    assert heir.salvage(project="pay").items == ()
    outside = looker.salvage()
    assert (outside.items, outside.elsewhere) == ((), 1)
    assert open_items(looker, all=True) == ["db"]

    briefing = heir.salvage_claim("db")
    assert [detail.session for detail in briefing.item.sessions] == [unfinished.session]
    (session,) = briefing.sessions
    assert (session.agent, session.salvaged_from, session.id) == ("heir", "db", unfinished.session.id)
    for said in (
        "Database Agent (db)",
        "payments:db",
        "is gone",
        "Schema for payments",
        "migrations/*",
        "webhook_id",
        "?? schema.sql",
        "Branch: main",
    ):
        assert said in briefing.text
    assert [claim.agent for claim in heir.file_claims().claims] == ["heir"]
    assert heir.salvage().items == ()
    (claimed,) = heir.salvage(all=True).items
    assert (claimed.state, claimed.claimed_by) == ("claimed", "heir")
    assert claimed.claimed >= item.died

    with pytest.raises(NotSalvageableError, match="claimed by heir"):
        late.salvage_claim("db")
    with pytest.raises(NotOwnerError):
        late.salvage_complete("db")
    with pytest.raises(NotOwnerError):
        late.salvage_abandon("db")
    with pytest.raises(NotSalvageableError):
        late.salvage_dismiss("db")

    done = heir.salvage_complete("db", "migrated")
    assert (done.state, done.notes[-1].text) == ("completed", "migrated")
    assert [detail.session.status for detail in done.sessions] == ["completed"]
    assert heir.file_claims(all=True).claims == ()
    with pytest.raises(NotFoundError):
        heir.salvage_complete("db")


def test_a_briefing_tells_of_the_work_as_it_was_left(store: Store) -> None:
    killed(store, store.dir("work"))
    heir = store.open("heir")
    (listed,) = heir.salvage().items
    item = heir.salvage_claim("db").item
    assert [claim.agent for claim in item.claims] == ["db"]
    assert item.sessions == listed.sessions
    # All of it, but for who has taken it.
    assert item == listed.replace(state="claimed", claimed_by="heir", claimed_by_name="heir", claimed=item.claimed)


def test_of_ten_who_claim_at_once_exactly_one_wins(store: Store) -> None:
    killed(store, store.dir("work"))
    said = at_once([store.child(take_at_a_word, f"heir-{n}", dead="db") for n in range(10)])
    winner = said.index({"sessions": 1})
    for n, fields in enumerate(said):
        if n != winner:
            assert fields["claimed_by"] == f"heir-{winner}"
            assert isinstance(fields["claimed_ms"], int)


def test_only_the_dead_are_salvaged(store: Store) -> None:
    a, b = store.open("a"), store.open("b")
    begin_work(a)
    with pytest.raises(NotSalvageableError, match="a is alive: process"):
        b.salvage_claim("a")
    with pytest.raises(NotSalvageableError):
        b.salvage_dismiss("a")
    with pytest.raises(NotSalvageableError, match="the caller itself"):
        a.salvage_claim("a")
    with pytest.raises(NotFoundError):
        b.salvage_claim("nobody")
    with pytest.raises(InvalidError):
        b.salvage_claim("not an id")
    with pytest.raises(NotFoundError):
        b.salvage_complete("a")
    assert b.salvage().items == ()
    assert a.whoami().session.status == "active"


def test_abandoned_work_is_open_again_and_dismissed_work_is_not(store: Store) -> None:
    killed(store, store.dir("work"))
    a, b = store.open("a"), store.open("b")
    a.salvage_claim("db")
    back = a.salvage_abandon("db")
    assert (back.state, back.sessions[0].session.agent) == ("open", "db")
    assert open_items(b) == ["db"]
    b.salvage_claim("db")
    b.salvage_abandon("db")
    dismissed = a.salvage_dismiss("db")
    assert (dismissed.state, dismissed.claims) == ("dismissed", ())
    assert [detail.session.status for detail in dismissed.sessions] == ["abandoned"]
    with pytest.raises(NotSalvageableError):
        b.salvage_claim("db")
    # The files are free again.
    with b.session("Anew", files="work/migrations/*") as session:
        assert (session.conflicts, session.started.dead_overlaps) == ((), ())


def test_a_claimer_that_dies_leaves_what_it_inherited(store: Store) -> None:
    killed(store, store.dir("work"))
    heir = store.child(take_at_a_word, "heir", dead="db")
    assert at_once([heir]) == [{"sessions": 1}]
    heir.kill()
    last = store.open("last")
    assert open_items(last, project="payments", all=True) == ["heir"]
    taken = last.salvage_claim("heir")
    assert [session.purpose for session in taken.sessions] == ["Schema for payments"]
    with pytest.raises(NotFoundError):
        last.salvage_complete("db")
    last.salvage_complete("heir")
    assert len(last.sessions(all=True, status="completed").sessions) == 1


def test_an_agent_that_comes_back_goes_on_or_is_told_once(store: Store) -> None:
    killed(store, store.dir("work"))
    heir = store.open("heir")
    assert open_items(heir) == ["db"]
    # The same agent starts again: its work is its own.
    with store.open("db") as first:
        assert not first.note("back").opened_session
        assert first.take_notices() == []
        assert heir.salvage().items == ()
        with pytest.raises(NotSalvageableError):
            heir.salvage_claim("db")
        first.end_session()

    killed(store, store.dir("work"))
    heir.salvage_claim("db")
    again = store.open("db")
    again.heartbeat()
    (told,) = again.take_notices()
    assert "your work was salvaged by heir" in told
    again.heartbeat()
    assert again.take_notices() == []
    # Given back, it goes to the agent that lives.
    back = heir.salvage_abandon("db")
    assert (back.state, back.sessions[0].session.agent) == ("returned", "db")
    assert heir.salvage().items == ()


def test_a_program_hears_of_its_salvage_at_once_where_it_listens(store: Store) -> None:
    killed(store, store.dir("work"))
    store.open("heir").salvage_claim("db")
    heard: list[str] = []
    pd = store.open("db", on_notice=heard.append)
    pd.heartbeat()
    assert len(heard) == 1 and "salvaged by heir" in heard[0]
    assert pd.take_notices() == []


def test_a_client_that_its_block_abandoned_leaves_its_work(store: Store) -> None:
    looker = store.open("looker")
    with pytest.raises(ZeroDivisionError), store.open("db") as pd:
        begin_work(pd)
        1 / 0
    assert open_items(looker) == ["db"]
    # A session's own block says why it ended, and leaves nothing to take over.
    with pytest.raises(ZeroDivisionError), store.open("api") as pd, pd.session("Work", files="src"):
        1 / 0
    assert open_items(looker) == ["db"]
    assert looker.who_owns("src").owners == ()


def test_the_shell_sees_who_died_in_a_program(store: Store) -> None:
    killed(store, store.dir("work"))
    said = store.pd("looker", "agents")
    assert re.search(r'^Dead db "Database Agent" \(payments:db, .*\) \[stale\]$', said, re.MULTILINE), said
    assert "Schema for payments" in store.pd("looker", "salvage", "--project", "payments")
    # And takes its work over, as others see.
    store.pd("looker", "salvage", "claim", "db")
    (item,) = store.open("api").salvage(all=True).items
    assert (item.state, item.claimed_by) == ("claimed", "looker")
