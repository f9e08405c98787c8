"""The file: how it comes to be, what is refused as one, and what happens when the disk or the process won't play
along."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from role import Role

import port_daddy
from conftest import HERE, LONG, Child, Store, at_once, in_thread, program, until_waiting
from port_daddy import (
    ClosedError,
    InvalidError,
    PortDaddy,
    PortDaddyError,
    StoreCorruptError,
    StoreFullError,
    StoreNewerError,
    StorePermissionError,
    StoreReadOnlyError,
)

# What marks a database as this program's.
OURS = 0x50744479
NOBODY = 65534
PROSE = "this is no database, however long it may go on for"


# What child processes do.


def create_at_a_word(role: Role) -> None:
    role.say("ready")
    role.barrier()
    pd = role.open()
    pd.note(role.agent)
    role.say("created")
    role.barrier()


def tell_of_the_place(role: Role) -> None:
    """Where its database is, if neither the call nor the working directory says it."""
    try:
        with PortDaddy(role.agent, cwd=role.cwd) as pd:
            role.say({"db": pd.db})
    except PortDaddyError as error:
        role.say({"code": error.code, "message": error.message, "hint": error.hint})


def work_as_nobody(role: Role, db: str | None = None) -> None:
    """Reads and writes as a user whom modes apply to: root ignores them."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    told: dict[str, Any] = {}
    try:
        with PortDaddy(role.agent, db=db or role.db, cwd=role.cwd) as pd:
            told["notes"] = texts(pd)
            pd.note("x")
    except PortDaddyError as error:
        told["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    role.say(told)


def open_read_only(role: Role) -> None:
    with pytest.raises(StoreReadOnlyError) as refused:
        role.open()
    role.say(refused.value.hint)


def fill_the_disk(role: Role) -> None:
    """Writes until the store refuses, then frees some space and goes on."""
    filler, rest = Path(role.db).with_name("filler"), Path(role.db).with_name("rest")
    filler.write_bytes(b"x" * (5 << 20))
    pd = role.open()
    stored, refusal = until_refused(lambda: pd.note("x" * 50_000))
    assert role.db in refusal.message
    # To the last byte.
    with rest.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(512))
    small, _ = until_refused(lambda: pd.note("small"))
    # What needs fewer pages may still find room.
    until_refused(pd.heartbeat)
    for write in (lambda: pd.lock("m"), lambda: pd.publish("x", "x" * 50_000), lambda: PortDaddy("late", db=role.db)):
        with pytest.raises(StoreFullError):
            write()
    found = len(texts(pd))
    assert pd.messages() == () and pd.locks(all=True).locks == ()
    rest.unlink()
    filler.unlink()
    pd.note("again")
    role.say({"acknowledged": stored + small, "found": found, "after": len(texts(pd))})
    pd.close()


def until_refused(write: Callable[[], object]) -> tuple[int, StoreFullError]:
    for stored in range(1000):
        try:
            write()
        except StoreFullError as error:
            return stored, error
    raise AssertionError("the disk isn't full")


def meet_a_second_copy(role: Role, path: str) -> None:
    """Loads another copy of the package into this process, which brings an SQLite of its own."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "port_daddy"]:
        del sys.modules[name]
    sys.path.insert(0, path)
    second = importlib.import_module("port_daddy")
    assert second.PortDaddy is not PortDaddy and second.__file__ != port_daddy.__file__
    mine = role.open()
    mine.note("first")
    with pytest.raises(second.SecondCopyError) as refused:
        second.PortDaddy("b", db=role.db, cwd=role.cwd)
    role.say({"message": refused.value.message, "fields": refused.value.fields})
    # The first goes on, and on a file of its own the second is as good as any.
    mine.note("second")
    with second.PortDaddy("b", db=role.db + ".other", cwd=role.cwd) as other:
        other.note("alone")
    # When the first has gone, on that file as well.
    mine.close()
    with second.PortDaddy("b", db=role.db, cwd=role.cwd) as other:
        other.note("third")
    role.say("done")


# What the tests share.


def texts(pd: PortDaddy) -> list[str]:
    return [note.text for note in pd.notes(all=True, limit=1000).notes]


def sql(db: Path, *statements: str) -> list[list[Any]]:
    """Runs SQL on a file in another process, never in this one: two copies of SQLite in one process lose data. Gives what
    each statement gives."""
    db.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    script = (
        "import json, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "print(json.dumps([db.execute(one).fetchall() for one in sys.argv[2:]]))\n"
        "db.close()\n"
    )
    run = subprocess.run(
        (sys.executable, "-c", script, str(db), *statements), capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def assert_sound(db: Path) -> None:
    assert sql(db, "PRAGMA integrity_check") == [[["ok"]]]


def private(store: Store) -> Path:
    """The database's directory, made beforehand."""
    store.db.parent.mkdir(mode=0o700)
    return store.db.parent


def test_eight_processes_create_one_store(store: Store) -> None:
    said = at_once([store.child(create_at_a_word, f"a{n}") for n in range(8)])
    assert said == ["created"] * 8
    assert sorted(texts(store.open("looker"))) == [f"a{n}" for n in range(8)]
    assert_sound(store.db)


def test_a_creator_killed_at_any_moment_leaves_a_store_or_nothing(store: Store) -> None:
    for round in range(8):
        creator = store.child(create_at_a_word, "creator")
        assert creator.said() == "ready"
        creator.go()
        moment = time.perf_counter() + round / 1000
        while time.perf_counter() < moment:
            pass
        creator.kill()
        with store.open("next") as pd:
            pd.note("works")
            assert all(check.ok for check in pd.doctor())
        assert_sound(store.db)
        shutil.rmtree(store.db.parent)


def modes(directory: Path) -> dict[str, int]:
    """Of everything in it, and of itself."""
    paths = [directory, *directory.rglob("*")]
    return {str(path): stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_its_files_are_their_owner_s_alone_whatever_the_umask(store: Store) -> None:
    before = os.umask(0)
    try:
        store.open("a").note("x")
    finally:
        os.umask(before)
    found = modes(store.db.parent)
    for part in ("port-daddy.db", "-wal", "-shm", ".wake", ".gate", ".live"):
        assert any(path.endswith(part) for path in found), f"{part} in {found}"
    for path, mode in found.items():
        assert mode == (0o700 if Path(path).is_dir() else 0o600), path


def test_a_directory_that_others_may_write_to_is_refused(store: Store) -> None:
    directory = store.dir("open")
    directory.chmod(0o777)
    with pytest.raises(StorePermissionError) as refused:
        store.open("a", db=directory / "pd.db")
    assert str(directory) in refused.value.message and "0777" in refused.value.message
    assert os.listdir(directory) == [], "nothing is left there"
    directory.chmod(0o755)
    store.open("a", db=directory / "pd.db").note("x")


@pytest.mark.parametrize("text", ["hello\n", "twenty words of prose " * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(store: Store, text: str) -> None:
    private(store)
    store.db.write_text(text)
    with pytest.raises(StoreCorruptError) as refused:
        store.open("a")
    assert str(store.db) in refused.value.message
    assert store.db.read_text() == text
    assert os.listdir(store.db.parent) == [store.db.name]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE recipes (name TEXT)"],
        ["PRAGMA application_id = 7", "CREATE TABLE recipes (name TEXT)"],
        ["PRAGMA application_id = 7"],
        ["PRAGMA user_version = 1", "CREATE TABLE recipes (name TEXT)"],
        ["PRAGMA user_version = 99", "CREATE TABLE recipes (name TEXT)"],
        ["PRAGMA journal_mode = WAL", "PRAGMA user_version = 99", "CREATE TABLE recipes (name TEXT)"],
    ],
)
def test_another_program_s_database_is_refused_and_left_alone(store: Store, statements: list[str]) -> None:
    sql(store.db, *statements)
    before = store.db.read_bytes()
    with pytest.raises(StoreCorruptError, match="another program"):
        store.open("a")
    assert store.db.read_bytes() == before


def test_an_empty_file_is_adopted(store: Store) -> None:
    private(store)
    store.db.touch(mode=0o600)
    pd = store.open("a")
    pd.note("x")
    assert all(check.ok for check in pd.doctor())
    assert_sound(store.db)


def test_a_newer_version_s_file_is_refused(store: Store) -> None:
    pd = store.open("a")
    pd.note("before")
    (((version,),),) = sql(store.db, "PRAGMA user_version")
    sql(store.db, "ALTER TABLE agents ADD COLUMN mood TEXT", f"PRAGMA user_version = {version + 1}")
    with pytest.raises(StoreNewerError) as refused:
        store.open("b")
    assert refused.value.fields["schema"] == version + 1
    assert "upgrade" in refused.value.hint
    # Who has it open already reads on, and writes nothing.
    with pytest.raises(StoreNewerError, match=store.db.name):
        pd.note("after")
    with pytest.raises(StoreNewerError):
        pd.lock("m")
    assert texts(pd) == ["before"]
    assert [agent.id for agent in pd.agents().agents] == ["a"]
    # And when the newer version is taken back, it goes on.
    sql(store.db, f"PRAGMA user_version = {version}")
    pd.note("after")
    assert texts(pd) == ["before", "after"]


def give(path: Path) -> None:
    """Gives all that is there to that user."""
    if os.geteuid() == 0:
        for one in (path, *path.rglob("*")):
            os.chown(one, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture
def ordinary() -> Iterator[Store]:
    """A store in a place that an ordinary user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="pd-python-")).resolve()
    directory.chmod(0o755)
    store = Store(directory)
    try:
        yield store
    finally:
        store.close()


def test_a_read_only_file_can_be_read(ordinary: Store) -> None:
    with ordinary.open("a") as pd:
        pd.note("before")
    ordinary.db.chmod(0o400)
    give(ordinary.root)
    told = ordinary.child(work_as_nobody, "b").said()
    assert told["notes"] == ["before"]
    assert told["error"]["code"] == "STORE_READ_ONLY"
    assert str(ordinary.db) in told["error"]["message"]
    assert "PORT_DADDY_DB" in told["error"]["hint"]


def test_a_read_only_directory_is_named_with_the_way_out(ordinary: Store) -> None:
    closed = ordinary.dir("closed")
    closed.chmod(0o500)
    give(ordinary.root)
    for db in (closed / "pd.db", closed / "deeper/pd.db"):
        told = ordinary.child(work_as_nobody, "a", db=str(db)).said()
        assert told["error"]["code"] == "STORE_PERMISSION"
        assert str(closed) in told["error"]["message"]
        assert "PORT_DADDY_DB" in told["error"]["hint"]


def in_mounts(store: Store, script: str, role: Callable[[Role], None]) -> Child:
    """Starts a role in mounts of its own, after `script`, which has the store's directory as `$dir`."""
    by = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
    try:
        tried = store.run(*by, "mount", "-t", "tmpfs", "none", str(store.dir("tried")))
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if tried.returncode != 0:
        pytest.skip(f"nothing may be mounted here: {tried.stderr}")
    told = json.dumps({"db": str(store.db), "cwd": str(store.work), "agent": "a", "args": {}})
    command = (sys.executable, str(HERE / "role.py"), f"{role.__module__}:{role.__qualname__}", told)
    shell = ("sh", "-c", f'{script} && exec "$0" "$@"', *command)
    return store.start(*by, *shell, env={"dir": str(store.db.parent)})


def test_on_a_read_only_disk_looking_works(store: Store) -> None:
    with store.open("a") as pd:
        pd.note("before")
    # A program's client proves that it lives, for which it has to write; `pd` can look.
    pd = program("pd")
    script = (
        'mount --bind "$dir" "$dir" && mount -o remount,ro,bind "$dir" && '
        f'"{pd}" notes && ! "{pd}" --agent a note x 2>/dev/null'
    )
    child = in_mounts(store, script, open_read_only)
    assert child.line() == "[a] before"
    assert "PORT_DADDY_DB" in child.said()
    child.end()


def test_a_full_disk_loses_nothing_and_harms_nothing(store: Store) -> None:
    private(store)
    child = in_mounts(store, 'mount -t tmpfs -o size=8m,mode=0700 none "$dir"', fill_the_disk)
    told = child.said()
    assert told["acknowledged"] > 0
    assert told["found"] == told["acknowledged"], "all that was acknowledged, and no more"
    assert told["after"] == told["found"] + 1
    child.end()


def test_the_place_is_the_call_s_the_variable_s_or_the_user_s(store: Store) -> None:
    home = store.dir("home")

    def at(**env: str) -> dict[str, str]:
        around = {"PORT_DADDY_DB": "", "HOME": "", "XDG_STATE_HOME": "", **env}
        return store.child(tell_of_the_place, "a", env=around).said()

    nowhere = at()
    assert nowhere["code"] == "STORE_LOCATION"
    assert "PORT_DADDY_DB" in nowhere["hint"]
    if sys.platform == "linux":
        assert at(HOME=str(home)) == {"db": str(home / ".local/state/port-daddy/port-daddy.db")}
        state = home / "state"
        assert at(HOME=str(home), XDG_STATE_HOME=str(state)) == {"db": str(state / "port-daddy/port-daddy.db")}
    named = home / "a/b/c.db"
    assert at(HOME=str(home), PORT_DADDY_DB=str(named)) == {"db": str(named)}
    assert set(modes(home / "a").values()) <= {0o700, 0o600}
    with pytest.raises(InvalidError):
        store.open("a", db="")


def test_a_bad_variable_is_named(store: Store) -> None:
    for name, value in (
        ("PORT_DADDY_SCOPE", "two words"),
        ("PORT_DADDY_WAKE", "loudly"),
        ("PORT_DADDY_AGENT", "two words"),
    ):
        told = store.child(tell_of_the_place, env={name: value}).said()
        assert told["code"] == "INVALID"
        assert name in told["message"] and value in told["message"]


def test_a_client_that_could_not_open_can_when_the_ground_is_better(store: Store) -> None:
    private(store)
    store.db.write_text(PROSE)
    for _ in range(2):
        with pytest.raises(StoreCorruptError):
            store.open("a")
    store.db.unlink()
    assert store.open("a").note("x").opened_session


def test_a_directory_is_no_database(store: Store) -> None:
    directory = store.dir("some")
    for path in (directory, directory / ".."):
        with pytest.raises(InvalidError, match="directory"):
            store.open("a", db=path)


def test_a_relative_path_starts_where_the_handle_stands(store: Store) -> None:
    cwd = store.dir("here")
    by_call = store.open("a", db="state/pd.db", cwd=cwd)
    assert by_call.db == by_call.whoami().db == str(cwd / "state/pd.db")
    by_variable = store.run(
        program("pd"), "--json", "whoami", agent="b", cwd=cwd, env={"PORT_DADDY_DB": "state/../state/pd.db"}
    )
    assert json.loads(by_variable.stdout)["db"] == by_call.db


def test_a_link_and_its_target_are_one_store(store: Store) -> None:
    links = store.dir("links")
    other = store.db.with_name("other.db")
    store.open("a").note("x")
    for name, target in (("there", store.db), ("yet-to-be", other)):
        (links / name).symlink_to(target)
        by_link = store.open("b", db=links / name)
        by_link.note(f"by {name}")
        by_name = store.open("c", db=target)
        assert by_link.db == by_name.db == str(target)
        assert texts(by_name)[-1] == f"by {name}"
    assert sorted(os.listdir(links)) == ["there", "yet-to-be"], "SQLite's sidecars stand beside the target"


def test_a_deleted_wake_page_delays_and_loses_nothing(store: Store) -> None:
    waiter, known = store.open("waiter"), store.open("known")
    page = Path(f"{store.db}.wake")
    with waiter.subscribe("x", replay="none", timeout=LONG) as heard:
        waiting = in_thread(lambda: [next(heard).payload for _ in range(3)])
        until_waiting(known, 1)
        page.unlink()
        # A page of its own, that the sleeper knows nothing of.
        fresh = store.open("fresh")
        assert page.exists()
        for n, pd in enumerate((fresh, known, fresh)):
            pd.publish("x", n)
        assert waiting.result(LONG) == [0, 1, 2]


def test_a_second_copy_of_the_library_in_one_process_is_refused(store: Store) -> None:
    # A copy of its own: the same file under another name would be the same library.
    copy = store.root / "second"
    package = Path(port_daddy.__file__).parent
    shutil.copytree(package, copy / "port_daddy", ignore=shutil.ignore_patterns("__pycache__"))
    child = store.child(meet_a_second_copy, "a", path=str(copy))
    told = child.said()
    versions = (told["fields"]["version"], told["fields"]["other_version"])
    assert versions == (port_daddy.__version__,) * 2
    assert port_daddy.__version__ in told["message"]
    assert child.said() == "done"
    child.end()
    assert texts(store.open("looker")) == ["first", "second", "third"]


def test_handles_of_one_copy_share_a_process(store: Store) -> None:
    clients = [store.open(f"a{n}") for n in range(4)]
    barrier = threading.Barrier(len(clients))

    def write(pd: PortDaddy) -> None:
        barrier.wait(LONG)
        for _ in range(20):
            pd.note("x")

    for written in [in_thread(write, pd) for pd in clients]:
        written.result(LONG)
    # One that closes takes nothing from the others.
    clients[0].close()
    clients[1].note("y")
    assert len(texts(clients[2])) == 81
    for pd in clients:
        pd.close()
    assert_sound(store.db)


def operations(pd: PortDaddy) -> dict[str, Callable[[], object]]:
    """A call of every operation, each as it would be made."""
    return {
        "activity": pd.activity,
        "agent": lambda: pd.agent("a"),
        "agents": pd.agents,
        "backup": lambda: pd.backup("f"),
        "begin": lambda: pd.begin("x"),
        "channels": pd.channels,
        "claim": lambda: pd.claim("x"),
        "claim_files": lambda: pd.claim_files("x"),
        "clear_channel": lambda: pd.clear_channel("x"),
        "done": pd.done,
        "end_session": pd.end_session,
        "direct_messages": pd.direct_messages,
        "extend_lock": lambda: pd.extend_lock("m", 1),
        "file_claims": pd.file_claims,
        "follow_activity": lambda: pd.follow_activity().next(timeout=0),
        "follow_inbox": lambda: pd.follow_inbox().next(timeout=0),
        "follow_notes": lambda: pd.follow_notes().next(timeout=0),
        "heartbeat": pd.heartbeat,
        "inbox": pd.inbox,
        "inbox_shown": lambda: pd.inbox_shown(1),
        "lock": lambda: pd.lock("m"),
        "lock_info": lambda: pd.lock_info("m"),
        "locks": pd.locks,
        "messages": pd.messages,
        "note": lambda: pd.note("x"),
        "notes": pd.notes,
        "publish": lambda: pd.publish("x", 1),
        "register_agent": pd.register_agent,
        "release": lambda: pd.release("x"),
        "release_files": lambda: pd.release_files("x"),
        "restore": lambda: pd.restore("f"),
        "salvage": pd.salvage,
        "salvage_abandon": lambda: pd.salvage_abandon("b"),
        "salvage_claim": lambda: pd.salvage_claim("b"),
        "salvage_complete": lambda: pd.salvage_complete("b"),
        "salvage_dismiss": lambda: pd.salvage_dismiss("b"),
        "send": lambda: pd.send("b", "x"),
        "services": pd.services,
        "session": lambda: pd.session(id="x"),
        "sessions": pd.sessions,
        "set_phase": lambda: pd.set_phase("x"),
        "start_session": lambda: pd.start_session("x"),
        "status": pd.status,
        "subscribe": lambda: pd.subscribe("x").next(timeout=0),
        "unlock": lambda: pd.unlock("m"),
        "unregister_agent": pd.unregister_agent,
        "wait_for_service": lambda: pd.wait_for_service("x", timeout=0),
        "wait_for_signal": lambda: pd.wait_for_signal("x", timeout=0),
        "who_owns": lambda: pd.who_owns("x"),
        "whoami": pd.whoami,
        "with_lock": lambda: pd.with_lock("m", lambda token: token),
    }


# What can be asked of a client that was closed.
STILL = {"abandon", "agent_id", "close", "closed", "db", "doctor", "take_notices"}


def test_a_closed_handle_says_so_whatever_it_is_asked(store: Store) -> None:
    pd = store.open("a")
    calls = operations(pd)
    assert set(calls) | STILL == {name for name in dir(pd) if not name.startswith("_")}, "all are asked"
    lock = pd.lock("m")
    heard = pd.subscribe("x", durable="worker")
    pd.start_session("p")
    pd.close()
    pd.close()
    calls |= {
        "lock.release": lock.release,
        "lock.extend": lambda: lock.extend(1),
        "lock.info": lock.info,
        "subscription.ack": lambda: heard.ack(1),
        "subscription.next": lambda: heard.next(timeout=0),
        "a block": lambda: pd.session("x").__enter__(),
    }
    for name, call in calls.items():
        with pytest.raises(ClosedError):
            pytest.fail(f"{name} gives {call()!r}")
    assert pd.closed and pd.agent_id == "a"
    # All that it held is free, and nothing proves its life.
    assert os.listdir(f"{store.db}.live") == []
    assert store.open("b").lock_info("m") is None


def test_a_shell_and_a_program_share_one_store(store: Store) -> None:
    pd = store.open("a")
    assert store.json("b", "whoami")["db"] == pd.db == str(store.db)
    store.pd("b", "note", "from a shell")
    assert texts(pd) == ["from a shell"]
    (((application,),),) = sql(store.db, "PRAGMA application_id")
    assert application == OURS
