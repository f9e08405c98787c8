"""Prints the part of benches/README.md about the Python package: calls, ours and redis-py's in turns, and whole processes.

benches/run.sh calls it with a Python that has both installed, and with PD_BENCH_REDIS and PD_BENCH_REDIS_FSYNC, the ports of a
server that keeps nothing and of one that promises what a note promises. What needs a second process starts this program
again in a role.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from port_daddy import PortDaddy

ROUNDS = 21
CALLS = 300
MESSAGES = 300
PAUSE = 0.002
PROCESS_ROUNDS = 20
PROCESS_RUNS = 15
UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"
CLAIM = """local port = redis.call('HGET', KEYS[1], ARGV[1])
if port then return port end
port = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], port)
return port"""

Times = list[float]


@dataclass
class Work:
    what: str
    peer: str
    # Each runs one round.
    ours: Callable[[], Times]
    redis: Callable[[], Times]


def microseconds() -> float:
    """Of a clock that all processes of the machine share."""
    return time.monotonic_ns() / 1000


def open_ours(agent: str, db: str) -> PortDaddy:
    return PortDaddy(agent, db=db, global_scope=True)


def open_redis() -> redis.Redis:
    return redis.Redis(port=int(os.environ["PD_BENCH_REDIS"]))


def listen(which: str, db: str) -> None:
    """A child's part: says how long each message took from the call of publish until the loop had it."""
    if which == "ours":
        subscription = open_ours("listener", db).subscribe("bench:*", replay="none")
        payloads = (message.payload for message in subscription)
    else:
        pubsub = open_redis().pubsub()
        pubsub.psubscribe("bench:*")
        pubsub.get_message(timeout=None)  # that it is subscribed
        payloads = (json.loads(message["data"]) for message in pubsub.listen())
    print(json.dumps("ready"), flush=True)
    latencies = []
    for payload in payloads:
        latencies.append(microseconds() - payload["at"])
        if len(latencies) == MESSAGES:
            print(json.dumps(latencies), flush=True)
            latencies = []


class Listener:
    """A process that listens."""

    def __init__(self, which: str, db: str) -> None:
        command = [sys.executable, __file__, "listen", which, db]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.said() == "ready"

    def said(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def latencies(self, publish: Callable[[float], object]) -> Times:
        """Publishes with pauses, and gives what the process measured."""
        for _ in range(MESSAGES):
            publish(microseconds())
            time.sleep(PAUSE)
        heard: Times = self.said()
        return heard

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def calls(call: Callable[[], object]) -> Callable[[], Times]:
    """Makes a call again and again, one after the other, and gives the times of each."""

    def run() -> Times:
        times = []
        for _ in range(CALLS):
            begin = microseconds()
            call()
            times.append(microseconds() - begin)
        return times

    return run


def measure_calls(db: str) -> list[tuple[Work, list[dict[str, Times]]]]:
    ours, peer = open_ours("bench", db), open_redis()
    unlock, claim = peer.register_script(UNLOCK), peer.register_script(CLAIM)
    payload = {"status": "healthy", "port": 3101}
    tokens = count()

    def lock_and_unlock() -> None:
        token = f"token-{next(tokens)}"
        peer.set("m", token, nx=True, px=30_000)
        unlock(keys=["m"], args=[token])

    listeners = {which: Listener(which, db) for which in ("ours", "redis")}
    works = [
        Work(
            "`lock`, then `release`",
            "`SET NX PX`, then a scripted `DEL`",
            calls(lambda: ours.lock("m").release()),
            calls(lock_and_unlock),
        ),
        Work(
            "`publish`",
            "`PUBLISH`, which stores nothing",
            calls(lambda: ours.publish("quiet:api", payload)),
            calls(lambda: peer.publish("quiet:api", json.dumps(payload))),
        ),
        Work(
            "`claim` of a port that one has",
            "a script: `HGET`, else `INCR` and `HSET`",
            calls(lambda: ours.claim("bench:api")),
            calls(lambda: claim(keys=["ports", "next"], args=["bench:api"])),
        ),
        Work(
            "from `publish` to the loop in another process",
            "`PUBLISH` to `PSUBSCRIBE`",
            lambda: listeners["ours"].latencies(lambda at: ours.publish("bench:latency", {"at": at})),
            lambda: listeners["redis"].latencies(lambda at: peer.publish("bench:latency", json.dumps({"at": at}))),
        ),
    ]
    found = []
    for work in works:
        work.ours(), work.redis()
        rounds = []
        for number in range(ROUNDS):
            # Who goes first changes, so that what one leaves behind meets both alike.
            order = ("ours", "redis") if number % 2 == 0 else ("redis", "ours")
            rounds.append({which: getattr(work, which)() for which in order})
        found.append((work, rounds))
    for listener in listeners.values():
        listener.end()
    ours.close()
    return found


def measure_processes(db: str, place: Path) -> list[tuple[str, list[float]]]:
    """The medians of the rounds of each, in milliseconds."""

    def program(name: str, text: str) -> str:
        path = place / f"{name}.py"
        path.write_text(text)
        return shlex.join([sys.executable, str(path)])

    def one_set(port: str) -> str:
        return f"import redis\nredis.Redis(port={port}).set('k', 'v')\n"

    one_note = f"from port_daddy import PortDaddy\nPortDaddy('noter', db={db!r}, global_scope=True).note('x')\n"
    commands = [
        ("`import redis`, connecting, one `SET`, nothing kept", program("set", one_set(os.environ["PD_BENCH_REDIS"]))),
        ("`import port_daddy`, opening, one `note`", program("note", one_note)),
        ("the same `SET`, `appendfsync always`", program("fsync", one_set(os.environ["PD_BENCH_REDIS_FSYNC"]))),
        ("`python -c pass`", shlex.join([sys.executable, "-c", "pass"])),
    ]
    # Its program is still at work, and these are what it runs.
    noter = open_ours("noter", db)
    noter.start_session("Measuring")
    medians: dict[str, list[float]] = {name: [] for name, _ in commands}
    for _ in range(PROCESS_ROUNDS):
        for name, command in commands:
            medians[name].append(hyperfine(command, place))
    noter.close()
    return list(medians.items())


def hyperfine(command: str, place: Path) -> float:
    answer = place / "hyperfine.json"
    how = ["-N", "--style", "none", "--warmup", "2", "--runs", str(PROCESS_RUNS), "--export-json", str(answer)]
    done = subprocess.run(["hyperfine", *how, command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    seconds: float = json.loads(answer.read_text())["results"][0]["median"]
    return seconds * 1000


def quantile(values: Times, q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def print_calls(found: list[tuple[Work, list[dict[str, Times]]]]) -> None:
    versions = f"Python {platform.python_version()}, redis-py {redis.__version__}"
    print(f"{versions} over loopback to a server without persistence. {ROUNDS} rounds of {CALLS} calls each,")
    print("in turns, one after the other; medians of the rounds' medians (p50) and of their 99th percentiles, and the")
    print("rounds' ratios.\n")
    print("| work | peer | ours p50 | peer p50 | ratio | least–most | ours p99 | peer p99 | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for work, rounds in found:
        cells = [work.what, work.peer]
        for q in (0.5, 0.99):
            ours = [quantile(one["ours"], q) for one in rounds]
            peer = [quantile(one["redis"], q) for one in rounds]
            ratios = [a / b for a, b in zip(ours, peer, strict=True)]
            cells += [f"{quantile(times, 0.5):.0f} µs" for times in (ours, peer)]
            cells.append(f"{quantile(ratios, 0.5):.2f}")
            if q == 0.5:
                cells.append(f"{min(ratios):.2f}–{max(ratios):.2f}")
        print(f"| {' | '.join(cells)} |")


def print_processes(found: list[tuple[str, list[float]]]) -> None:
    print(f"\nWhole processes: {PROCESS_ROUNDS} rounds of {PROCESS_RUNS} runs of each, in turns.\n")
    print("| process | median | ratio to the first | least–most |")
    print("| --- | --- | --- | --- |")
    for name, medians in found:
        ratios = [own / first for own, first in zip(medians, found[0][1], strict=True)]
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        print(f"| {name} | {quantile(medians, 0.5):.2f} ms | {quantile(ratios, 0.5):.2f} | {spread} |")


def main() -> None:
    with TemporaryDirectory(prefix="pd-bench-python-", dir=os.environ.get("PD_BENCH_DIR")) as place:
        db = str(Path(place, "state", "pd.db"))
        print_calls(measure_calls(db))
        print_processes(measure_processes(db, Path(place)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["listen"]:
        listen(*sys.argv[2:])
    else:
        main()
