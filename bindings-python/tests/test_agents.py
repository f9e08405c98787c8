"""Agents: what they say of themselves, what proves their lives, and what becomes of those that die."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta, timezone

import pytest
from role import Role

from conftest import HERE, Child, Store, until
from port_daddy import Agent, InvalidError, NotFoundError, NotSalvageableError, PortDaddy


def at_work(role: Role, lock: str) -> None:
    """Begins a session, takes a lock, and waits to be killed or let go."""
    pd = role.open()
    pd.start_session("work")
    held = pd.lock(lock, blocking=False)
    role.say("working")
    role.barrier()
    held.release()
    pd.close()
    role.say("closed")
    role.barrier()


def nameless(role: Role) -> None:
    """Who calls, when nothing around the process says it: begins once its parent is gone."""
    parent = int(os.environ["PARENT"])
    until(lambda: os.getppid() != parent, "the end of the parent")
    with role.open() as one, role.open() as other:
        held = one.lock("n", blocking=False)
        role.say(
            {
                "one": one.whoami().agent,
                "other": other.whoami().agent,
                "known": [one.agent_id, other.agent_id],
                "source": one.whoami().source,
                "note": one.note("x").note.agent,
                "type": one.agent(one.agent_id).type,
                "held_by": other.lock_info("n").agent,
                "refused": other.lock("n", blocking=False) is None,
            }
        )
        held.release()


def working(store: Store, agent: str, lock: str) -> Child:
    """An agent in a process of its own, at work."""
    child = store.child(at_work, agent, lock=lock)
    assert child.said() == "working"
    return child


def seen(pd: PortDaddy, id: str) -> Agent:
    """An agent as a list shows it, which agrees with a look at it alone."""
    (listed,) = (agent for agent in pd.agents(all=True).agents if agent.id == id)
    assert listed.state == pd.agent(id).state
    return listed


def ids(agents: tuple[Agent, ...]) -> list[str]:
    return sorted(agent.id for agent in agents)


def test_what_an_agent_says_of_itself_is_kept_until_it_says_otherwise(store: Store) -> None:
    pd, other = store.open("a"), store.open("b")
    first = pd.register_agent(name="Backend Agent", identity="payments:api", purpose="builds", type="ai")
    assert (first.id, first.state, first.scope, first.harness) == ("a", "active", "global", None)
    assert (first.name, first.identity, first.purpose, first.type) == ("Backend Agent", "payments:api", "builds", "ai")
    assert (first.active_sessions, first.unfinished, first.death, first.died) == (0, False, None, None)
    assert first.silent >= timedelta(0)
    assert abs(datetime.now(timezone.utc) - first.registered) < timedelta(minutes=1)

    pd.register_agent(purpose="tests")
    later = other.agent("a")
    assert later.seen >= first.seen
    # All else is as it was.
    assert later == first.replace(purpose="tests", seen=later.seen, silent=later.silent)
    (proof,) = later.proofs
    assert (proof.kind, proof.pid, proof.this_boot) == ("instance", os.getpid(), True)
    assert proof.live and proof.what and proof.start > 0 and proof.namespace >= 0

    with pytest.raises(NotFoundError):
        pd.agent("b")


@pytest.mark.parametrize(
    "said",
    [
        {"name": "x" * 129},
        {"identity": "a:b:c:d"},
        {"identity": "pay*"},
        {"purpose": "x" * 4097},
        {"type": "x" * 65},
    ],
)
def test_what_an_agent_says_of_itself_has_rules(store: Store, said: dict[str, str]) -> None:
    pd = store.open("a")
    with pytest.raises(InvalidError):
        pd.register_agent(**said)
    with pytest.raises(NotFoundError):
        pd.agent("a")
    with pytest.raises(InvalidError):
        pd.agent("not an id")


def test_a_heartbeat_is_a_promise(store: Store) -> None:
    pd, looker = store.open("a"), store.open("looker")
    beat = pd.heartbeat()
    assert (beat.id, beat.state) == ("a", "active")
    # Each is written, however soon it follows on the last, which other calls' signs of life aren't.
    until(lambda: datetime.now(timezone.utc) > beat.seen + timedelta(milliseconds=1), "a later moment")
    again = pd.heartbeat()
    assert looker.agent("a").seen == again.seen > beat.seen


def test_a_killed_program_is_found_dead_at_once_with_the_proof(store: Store) -> None:
    looker = store.open("looker")
    child = working(store, "builder", "m")
    assert seen(looker, "builder").state == "active"
    child.stop()
    assert seen(looker, "builder").state == "active", "a stopped process isn't dead"
    child.resume()
    child.kill()
    (dead,) = looker.agents().agents
    assert (dead.id, dead.state, dead.unfinished) == ("builder", "dead", True)
    assert dead.death.startswith(f"process {child.pid} (") and dead.death.endswith("is gone")
    assert dead.died >= dead.seen
    assert looker.lock("m", blocking=False), "its lock is free"


def test_an_orderly_close_is_no_death(store: Store) -> None:
    looker = store.open("looker")
    child = working(store, "builder", "m")
    child.go()
    assert child.said() == "closed"
    child.kill()
    agent = seen(looker, "builder")
    assert (agent.state, agent.proofs, agent.active_sessions) == ("active", (), 1)


def test_a_client_that_was_abandoned_is_a_death(store: Store) -> None:
    looker = store.open("looker")
    with pytest.raises(ZeroDivisionError), store.open("a") as pd:
        pd.start_session("doomed")
        pd.lock("m")
        assert seen(looker, "a").state == "active"
        1 / 0
    assert pd.closed
    agent = seen(looker, "a")
    assert (agent.state, agent.unfinished) == ("dead", True)
    assert looker.lock_info("m") is None
    # A block that ends in order, and a program's own end, are none.
    with store.open("b") as pd:
        pd.start_session("done for today")
    with pytest.raises(SystemExit), store.open("c") as pd:
        pd.start_session("ends")
        sys.exit()
    assert [seen(looker, id).state for id in ("b", "c")] == ["active", "active"]


def test_of_two_instances_of_an_agent_one_may_die(store: Store) -> None:
    looker = store.open("looker")
    survivor = working(store, "twin", "kept")
    victim = working(store, "twin", "freed")
    victim.kill()
    assert seen(looker, "twin").state == "active"
    assert looker.lock("kept", blocking=False) is None
    assert looker.lock("freed", blocking=False), "the dead instance's lock is free"
    # The one that lived to close in order had the last word.
    survivor.go()
    assert survivor.said() == "closed"
    assert seen(looker, "twin").state == "active"


def test_who_comes_back_goes_on_unless_its_work_was_taken(store: Store) -> None:
    heir = store.open("heir")

    def die() -> None:
        working(store, "a", "m").kill()
        assert seen(heir, "a").state == "dead"

    die()
    with store.open("a") as back:
        back.note("x")
        assert (seen(heir, "a").state, seen(heir, "a").death) == ("active", None)
        with pytest.raises(NotSalvageableError):
            heir.salvage_claim("a")
        assert back.take_notices() == [], "nobody took its work: nothing to tell"
    die()
    heir.salvage_claim("a")
    with store.open("a") as back:
        back.note("x")
        (told,) = back.take_notices()
        assert "salvaged by heir" in told
        back.note("x")
        assert back.take_notices() == [], "it is told once"
        assert seen(heir, "a").state == "active"
    # The next time it is another death.
    die()
    back = store.open("a")
    back.note("x")
    assert back.take_notices() == []


def test_who_leaves_leaves_nothing_behind(store: Store) -> None:
    pd, looker = store.open("a"), store.open("looker")
    with pytest.raises(NotFoundError):
        pd.unregister_agent()
    pd.start_session("p", files=["src/*"])
    store.pd("a", "lock", "m")
    guarded = pd.lock("n", blocking=False)
    left = pd.unregister_agent()
    assert (left.state, left.active_sessions) == ("left", 0)
    assert looker.lock_info("m") is None
    assert looker.lock_info("n"), "what a program runs under a lock of its own isn't cut short"
    assert looker.who_owns("src/a.rs").owners == ()
    assert [session.status for session in looker.sessions(all=True).sessions] == ["abandoned"]
    assert looker.salvage().items == (), "it said goodbye: nothing to salvage"
    assert looker.agents().agents == ()
    assert ids(looker.agents(left=True).agents) == ["a"]
    guarded.release()
    assert looker.agent("a").state == "left", "letting go is no sign of life"
    pd.note("x")
    back = seen(looker, "a")
    assert (back.state, len(back.proofs)) == ("active", 1), "its client vouches for it again"


def test_agents_are_listed_by_scope_and_project(store: Store) -> None:
    shop, blog = store.repository("shop"), store.repository("blog")
    for id, cwd, identity in (
        ("web", shop, "payments:web"),
        ("api", shop, "payments:api"),
        ("post", blog, "blog"),
        ("odd", blog, "pay"),
    ):
        store.open(id, cwd=cwd).register_agent(identity=identity)
    looker = store.open("looker", cwd=shop)
    here, everywhere = looker.agents(), looker.agents(all=True)
    assert (ids(here.agents), here.elsewhere) == (["api", "web"], 2)
    assert (ids(everywhere.agents), everywhere.elsewhere) == (["api", "odd", "post", "web"], 0)

    def of(project: str, *, all: bool) -> tuple[list[str], int]:
        found = looker.agents(project=project, all=all)
        return ids(found.agents), found.elsewhere

    assert of("payments", all=False) == (["api", "web"], 0)
    assert of("blog", all=False) == ([], 1)
    assert of("blog", all=True) == (["post"], 0)
    assert of("pay", all=True) == (["odd"], 0), "a project is a whole segment"
    # Whoever works in a scope is seen there, wherever it last called from.
    store.open("web", cwd=shop).start_session("p")
    store.open("web", scope="other").heartbeat()
    assert ids(looker.agents().agents) == ["api", "web"]


def test_each_program_without_a_name_is_an_agent_of_its_own(store: Store) -> None:
    # Outside of whatever the tests run in, where something might say who calls.
    script = 'PARENT=$$ "$0" "$1" "$2" "$3" </dev/null >"$4" 2>"$4.log" &'
    told = json.dumps({"db": str(store.db), "cwd": str(store.work), "agent": None, "args": {}})
    where = f"{nameless.__module__}:{nameless.__qualname__}"
    out = store.root / "out"
    run = store.run("sh", "-c", script, sys.executable, str(HERE / "role.py"), where, told, str(out))
    assert run.returncode == 0, run.stderr
    until(lambda: out.exists() and out.read_text().endswith("\n"), "its answer")
    found = json.loads(out.read_text())
    assert found["one"].startswith("sdk-") and found["other"].startswith("sdk-") and found["one"] != found["other"]
    assert found == {
        "one": found["one"],
        "other": found["other"],
        "known": [found["one"], found["other"]],
        "source": "instance",
        "note": found["one"],
        "type": "sdk",
        "held_by": found["one"],
        "refused": True,
    }


def test_a_command_that_only_looks_is_a_sign_of_life(store: Store) -> None:
    looker = store.open("looker")
    store.open("stranger").notes()
    with pytest.raises(NotFoundError):
        looker.agent("stranger")


def test_what_the_shell_sees_is_what_a_program_sees(store: Store) -> None:
    pd = store.open("api")
    pd.register_agent(name="API", identity="payments:api", type="ai")
    (agent,) = store.json("looker", "agents")["agents"]
    assert [agent[name] for name in ("id", "name", "type", "state")] == ["api", "API", "ai", "active"]
    begun = pd.begin("One call", identity="payments:web", name="Web", files=["a.ts"], phase="reading")
    assert (begun.session.purpose, begun.session.phase, len(begun.claimed)) == ("One call", "reading", 1)
    who = pd.whoami()
    assert (who.agent, who.source, who.registered.name, who.session) == ("api", "named", "Web", begun.session)
    assert (who.scope, who.db) == ("global", str(store.db))
    said = store.json("api", "whoami")
    assert (said["agent"], said["session"]["id"], said["scope_key"]) == ("api", begun.session.id, who.scope_key)
    assert pd.done("Finished").status == "completed"
    assert store.json("api", "whoami")["session"] is None
