"""`pd mcp` as the official Python SDK meets it: every tool, errors, cancellation, two clients at once, bounded results."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

PD = os.environ["PD"]
# Long enough never to pass for an answer.
LONG = 30.0
TOOLS = ["begin", "done", "status", "note", "claim_files", "signal", "wait", "lock", "port", "salvage"]


class Place:
    """A database and a directory of their own."""

    def __init__(self, dir: Path) -> None:
        self.dir = dir
        self.work = dir / "work"
        self.work.mkdir()

    def env(self, agent: str) -> dict[str, str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "PORT_DADDY_DB": str(self.dir / "db" / "pd.db")}
        return env | ({"PORT_DADDY_AGENT": agent} if agent else {})

    def pd(self, *args: str, agent: str = "shell", input: str | None = None) -> str:
        done = subprocess.run(
            [PD, *args], env=self.env(agent), cwd=self.work, input=input, capture_output=True, text=True, timeout=LONG
        )
        assert done.returncode == 0, (args, done)
        return done.stdout

    @asynccontextmanager
    async def client(self, agent: str) -> AsyncIterator[ClientSession]:
        server = StdioServerParameters(command=PD, args=["mcp"], env=self.env(agent), cwd=self.work)
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session

    async def until_waiting(self, count: int) -> None:
        with anyio.fail_after(LONG):
            while len(json.loads(await anyio.to_thread.run_sync(self.pd, "status", "--json"))["waiters"]) != count:
                await anyio.lowlevel.checkpoint()


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="pd-mcp-") as dir:
        yield Place(Path(dir))


async def ok(session: ClientSession, tool: str, **args: Any) -> dict[str, Any]:
    with anyio.fail_after(LONG):
        result = await session.call_tool(tool, args)
    assert not result.is_error, (tool, args, result)
    [content] = result.content
    assert content.type == "text" and content.text
    assert len(json.dumps(result.structured_content)) <= 10 << 10
    assert len(content.text) <= 5 << 10
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def no(session: ClientSession, tool: str, **args: Any) -> dict[str, Any]:
    with anyio.fail_after(LONG):
        result = await session.call_tool(tool, args)
    assert result.is_error, (tool, args, result)
    error = result.structured_content["error"]
    assert error["message"] and error["code"] in result.content[0].text
    return dict(error)


def test_there_are_ten_tools_with_strict_schemas(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as session:
            tools = (await session.list_tools()).tools
            assert [tool.name for tool in tools] == TOOLS
            assert all(tool.input_schema["additionalProperties"] is False for tool in tools)

    anyio.run(main)


def test_a_day_with_every_tool(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as a, place.client("b") as b:
            begun = await ok(a, "begin", purpose="Payments", files=["src/*.rs"], name="Ann", identity="pay:api")
            assert begun["session"]["agent_name"] == "Ann"
            await ok(a, "note", text="Wrote it", type="commit")
            other = await ok(b, "begin", purpose="Refunds", files=["src/pay.rs"])
            assert other["conflicts"][0]["with"]["agent"] == "a"
            assert [note["text"] for note in (await ok(b, "note"))["notes"]] == ["Wrote it"]
            assert (await ok(b, "claim_files", files=["src/pay.rs"], force=True))["claimed"][0]["forced"]
            assert len((await ok(b, "claim_files"))["claims"]) == 2
            assert len((await ok(b, "claim_files", files=["src/pay.rs"], release=True))["released"]) == 1
            port = (await ok(a, "port", action="claim", identity="pay:api"))["port"]
            assert (await ok(b, "port", action="list"))["services"][0]["port"] == port
            assert (await ok(a, "port", action="release", identity="pay:api"))["released"][0]["port"] == port
            await ok(a, "signal", channel="pay:ready", payload={"port": port})
            assert (await ok(b, "wait", channel="pay:ready"))["payload"] == {"port": port}
            assert (await ok(a, "lock", action="take", name="db"))["token"] > 0
            assert (await ok(b, "lock", action="list"))["locks"][0]["agent"] == "a"
            await ok(a, "lock", action="release", name="db")
            status = await ok(b, "status")
            assert status["agent"] == "b" and {s["purpose"] for s in status["sessions"]} == {"Payments", "Refunds"}
            assert (await ok(b, "salvage", action="list"))["items"] == []
            assert (await ok(a, "done", note="All of it"))["status"] == "completed"
        # The shell's agent of that name is the same, and its session outlived the server.
        assert json.loads(place.pd("whoami", "--json", agent="b"))["session"]["purpose"] == "Refunds"

    anyio.run(main)


def test_what_is_wrong_is_a_tools_error(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as a, place.client("b") as b:
            assert (await no(a, "done"))["code"] == "NO_SESSION"
            error = await no(a, "begin", purpose="x", file="y")
            assert error["code"] == "INVALID" and "`file`" in error["message"] and "files" in error["hint"]
            assert (await no(a, "begin"))["code"] == "INVALID"
            assert (await no(a, "lock", action="grab", name="x"))["code"] == "INVALID"
            assert (await no(a, "lock", action="take"))["fields"] == {"argument": "name"}
            assert (await no(a, "wait"))["code"] == "INVALID"
            assert (await no(a, "wait", channel="x", timeout_s=100_000))["fields"]["value"] == 100_000
            assert (await no(a, "wait", channel="x", timeout_s=0))["code"] == "TIMEOUT"
            await ok(a, "lock", action="take", name="db", purpose="schema")
            held = await no(b, "lock", action="take", name="db")
            assert held["code"] == "LOCK_HELD" and held["fields"]["purpose"] == "schema" and held["hint"]
            assert (await no(b, "lock", action="release", name="db"))["code"] == "NOT_OWNER"
            assert (await no(b, "salvage", action="claim", agent="a"))["code"] == "NOT_SALVAGEABLE"
            with pytest.raises(Exception, match="no tool"):
                await a.call_tool("nonsense", {})
            await ok(a, "status")

    anyio.run(main)


def test_a_waiting_call_holds_up_no_other_and_can_be_cancelled(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as a, anyio.create_task_group() as tasks:
            scope = anyio.CancelScope()

            async def wait() -> None:
                with scope:
                    await a.call_tool("wait", {"channel": "never", "timeout_s": 600})

            tasks.start_soon(wait)
            await place.until_waiting(1)
            assert (await ok(a, "status"))["agent"] == "a"
            scope.cancel()
            await place.until_waiting(0)
            await ok(a, "note", text="still here")

    anyio.run(main)


def test_a_cancelled_wait_for_a_lock_takes_none(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as a, place.client("b") as b, anyio.create_task_group() as tasks:
            await ok(a, "lock", action="take", name="db")
            scope = anyio.CancelScope()

            async def wait() -> None:
                with scope:
                    await b.call_tool("lock", {"action": "take", "name": "db", "wait_s": 600})

            tasks.start_soon(wait)
            await place.until_waiting(1)
            scope.cancel()
            await place.until_waiting(0)
            await ok(a, "lock", action="release", name="db")
            assert (await ok(a, "lock", action="list"))["locks"] == []

    anyio.run(main)


def test_two_clients_hand_a_lock_over(place: Place) -> None:
    async def main() -> None:
        tokens: list[int] = []
        async with place.client("a") as a, place.client("b") as b:
            tokens.append((await ok(a, "lock", action="take", name="db"))["token"])
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    tokens.append((await ok(b, "lock", action="take", name="db", wait_s=30))["token"])

                tasks.start_soon(wait)
                await place.until_waiting(1)
                await ok(a, "lock", action="release", name="db")
            assert tokens[0] < tokens[1]
        # The server's end isn't the agent's: it holds the lock, and gives it back from its shell.
        assert json.loads(place.pd("locks", "--json"))["locks"][0]["agent"] == "b"
        place.pd("unlock", "db", agent="b")

    anyio.run(main)


def test_results_are_bounded_and_say_what_was_left_out(place: Place) -> None:
    async def main() -> None:
        async with place.client("a") as a:
            async with anyio.create_task_group() as tasks:

                async def write(i: int) -> None:
                    await ok(a, "note", text=f"note {i} " + "x" * 50)

                for i in range(1_000):
                    tasks.start_soon(write, i)
            read = await ok(a, "note", limit=1_000)
            assert len(json.dumps(read)) <= 9 << 10
            assert len(read["notes"]) + read["left_out"]["notes"] == 1_000 and len(read["notes"]) > 10
            await ok(a, "note", text="evil \x1b[31m \u202e words")
            result = await a.call_tool("note", {"limit": 1})
            assert "\x1b" not in result.content[0].text and "\u202e" not in result.content[0].text
            assert "\x1b" not in result.structured_content["notes"][0]["text"]
            await ok(a, "signal", channel="big", payload="y" * 30_000)
            assert "more characters" in (await ok(a, "wait", channel="big"))["payload"]

    anyio.run(main)


def test_the_dead_leave_work_to_others(place: Place) -> None:
    async def main() -> None:
        # A program that is killed: its own process proves its life.
        script = "pd begin 'Half done' --files a.txt >&2; echo ready; read line"
        shell = place.dir / "claude"
        shell.write_text(f"#!/bin/sh\n{script}\n")
        shell.chmod(0o755)
        env = place.env("victim") | {"PATH": f"{Path(PD).parent}:{os.environ['PATH']}"}
        with subprocess.Popen([shell], env=env, cwd=place.work, stdin=-1, stdout=-1, text=True) as victim:
            assert victim.stdout and victim.stdout.readline() == "ready\n"
            victim.kill()
            victim.wait()
        async with place.client("a") as a:
            [item] = (await ok(a, "salvage", action="list"))["items"]
            assert item["agent"] == "victim"
            assert "Half done" in (await ok(a, "salvage", action="claim", agent="victim"))["briefing"]
            await ok(a, "salvage", action="abandon", agent="victim")
            await ok(a, "salvage", action="claim", agent="victim")
            await ok(a, "salvage", action="complete", agent="victim", note="finished")

    anyio.run(main)
