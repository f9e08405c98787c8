"""What the suites share: a database in a directory of its own, clients that are closed when their test ends, `pd`, and child
processes that are talked to through pipes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from port_daddy import AsyncPortDaddy, PortDaddy

# Long enough never to pass for an answer.
LONG = 30.0

HERE = Path(__file__).parent

# Nothing of the tests' own surroundings gets in.
SURROUNDINGS = re.compile(r"^(PORT_DADDY_|CLAUDE|CODEX_|GEMINI_CLI|CURSOR_AGENT|OPENCODE|QWEN_CODE|GOOSE_)")
# A child gets what its test gives it.
if Path(sys.argv[0]).name != "role.py":
    for name in list(os.environ):
        if SURROUNDINGS.match(name):
            del os.environ[name]


def program(name: str) -> str:
    """`pd` as the wheel brought it, or the one that PD names."""
    if name == "pd" and os.environ.get("PD"):
        return os.environ["PD"]
    return str(Path(sys.executable).with_name(name))


class Child:
    """A process whose standard input and output are pipes to its parent."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        return "".join(self._errors)

    def line(self) -> str:
        """The next line that it says."""
        try:
            line = self._lines.get(timeout=LONG)
        except Empty:
            raise AssertionError(f"the child says nothing: {self.errors}") from None
        if line is None:
            self._lines.put(None)
            self.process.wait()
            self._readers[1].join()
            raise AssertionError(f"the child ended without a word: {self.errors}")
        return line

    def said(self) -> Any:
        """The next value that it says."""
        return json.loads(self.line())

    def go(self, word: str = "go") -> None:
        """Lets it go past its barrier."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Returns once all its threads stand still: one takes the signal, and the others run on until it has."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As `kill -9` does; returns once it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def wait(self) -> int:
        """How it ended."""
        assert self.process.stdin is not None and self.process.stdout is not None and self.process.stderr is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        code = self.process.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def end(self) -> None:
        """Waits until it has ended by itself, which must be in order."""
        assert self.wait() == 0, self.errors


class Store:
    """A place of its own for one test: a database, a directory to work in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.db = root / "state" / "port-daddy.db"
        self.work = root / "work"
        self.work.mkdir()
        self._clients: list[PortDaddy] = []
        self._children: list[Child] = []

    def dir(self, name: str) -> Path:
        """A directory to work in, outside any repository."""
        directory = self.work / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def write(self, path: str, text: str = "") -> Path:
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def repository(self, name: str) -> Path:
        """A git repository with one commit on `main`."""
        directory = self.dir(name)
        git(directory, "init", "-q", "-b", "main")
        git(directory, "commit", "-q", "--allow-empty", "-m", "Begin")
        return directory

    def open(self, agent: str | None = None, **options: Any) -> PortDaddy:
        """A client of an agent, standing in `work` unless it is told otherwise."""
        pd = PortDaddy(agent, **{"db": self.db, "cwd": self.work, **options})
        self._clients.append(pd)
        return pd

    def open_async(self, agent: str | None = None, **options: Any) -> AsyncPortDaddy:
        """The same for asyncio. Whoever opens it closes it."""
        return AsyncPortDaddy(agent, **{"db": self.db, "cwd": self.work, **options})

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "PORT_DADDY_DB": str(self.db), "NO_COLOR": "1"}

    def run(
        self, *command: str, agent: str | None = None, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end."""
        surroundings = {**self.env, **(env or {}), **({"PORT_DADDY_AGENT": agent} if agent else {})}
        return subprocess.run(
            command, env=surroundings, cwd=cwd or self.work, text=True, capture_output=True, stdin=subprocess.DEVNULL
        )

    def pd(self, agent: str | None, *args: str) -> str:
        """`pd` as an agent calls it in a shell; what it says, which must be without complaint."""
        run = self.run(program("pd"), *args, agent=agent)
        assert run.returncode == 0, f"pd {' '.join(args)}: {run.stderr}"
        return run.stdout

    def json(self, agent: str | None, *args: str) -> Any:
        """The same with `--json`, as a value."""
        return json.loads(self.pd(agent, "--json", *args))

    def child(
        self,
        role: Callable[..., object],
        agent: str | None = None,
        /,
        *,
        env: dict[str, str] | None = None,
        **args: Any,
    ) -> Child:
        """Starts a function of a test module in a process of its own: it gets a `Role`, and `args` by name. It is named, not
        passed: the child imports the module."""
        told = {"db": str(self.db), "cwd": str(self.work), "agent": agent, "args": args}
        where = f"{role.__module__}:{role.__qualname__}"
        return self.start(sys.executable, str(HERE / "role.py"), where, json.dumps(told), env=env)

    def start(
        self, *command: str, agent: str | None = None, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> Child:
        """Starts any program that speaks the same way."""
        surroundings = {**self.env, **(env or {}), **({"PORT_DADDY_AGENT": agent} if agent else {})}
        child = Child(list(command), surroundings, cwd or self.work)
        self._children.append(child)
        return child

    def close(self) -> None:
        for child in self._children:
            child.kill()
        for pd in self._clients:
            pd.close()
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path.resolve())
    try:
        yield store
    finally:
        store.close()


def git(directory: Path, *args: str) -> str:
    """Runs git, untouched by the user's own configuration."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        env.pop(name, None)
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    run = subprocess.run(("git", *who, *args), cwd=directory, env=env, text=True, capture_output=True, check=True)
    return run.stdout.strip()


def until(is_so: Callable[[], Any], what: str = "it") -> Any:
    """Asks again and again until it is so."""
    deadline = time.monotonic() + LONG
    while True:
        answer = is_so()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what} never came about"
        time.sleep(0.002)


def until_queued(pd: PortDaddy, name: str, count: int) -> None:
    """Returns once so many wait for a lock."""

    def queued() -> bool:
        info = pd.lock_info(name)
        return (len(info.waiters) if info else 0) == count

    until(queued, f"{count} in the queue of {name}")


def until_waiting(pd: PortDaddy, count: int) -> None:
    """Returns once so many wait for anything."""
    until(lambda: len(pd.status().waiters) == count, f"{count} waiting")


def in_thread(call: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
    """Begins a call that waits, in a thread that keeps no process alive; its outcome is asked for with `result(LONG)`."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(call(*args, **options))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def at_once(children: list[Child]) -> list[Any]:
    """Lets children go together once each has said that it is ready; gives what each says then."""
    for child in children:
        assert child.said() == "ready"
    for child in children:
        child.go()
    return [child.said() for child in children]


def hold_the_store(role: Any) -> None:
    """A child's part: keeps the database locked, with an SQLite of its own in a process of its own, until it is let go."""
    import sqlite3

    db = sqlite3.connect(role.db, isolation_level=None, timeout=LONG)
    db.execute("BEGIN IMMEDIATE")
    role.say("held")
    role.barrier()
    db.execute("ROLLBACK")
    db.close()
    role.say("free")
