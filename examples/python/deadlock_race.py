#!/usr/bin/env python3
"""Two agents that wait for each other would do so for ever. Here every wait ends: by a timeout, because it was cancelled, or
because it was found to be in vain."""

import asyncio
import os
from tempfile import TemporaryDirectory
from threading import Barrier, Thread

from port_daddy import AsyncPortDaddy, DeadlockError, PortDaddy, TimedOutError


def wait_for_the_other(agent: str, other: str) -> None:
    """Each says that it is ready after the other has. Don't do this; and if it happens, have a timeout."""
    with PortDaddy(agent) as pd:
        try:
            pd.wait_for_signal(f"{other}:ready", timeout=0.5)
            print(f"{agent}: {other} is ready")
        except TimedOutError:
            print(f"{agent}: gave up waiting, goes first")
            for why in pd.take_notices():
                print(f"{agent}: {why}")
        pd.publish(f"{agent}:ready", True)


def lock_crosswise(agent: str, mine: str, other: str, both_hold: Barrier) -> None:
    """Locks need no timeout against this: of two that wait for each other, one is told at once."""
    with PortDaddy(agent) as pd, pd.lock(mine):
        both_hold.wait()
        try:
            with pd.lock(other):
                print(f"{agent}: has {mine} and {other}")
        except DeadlockError:
            print(f"{agent}: lets go of {mine}: to wait for {other} would never end")


async def race() -> None:
    """A wait against asyncio's own clock. One that is cancelled leaves nothing behind."""
    async with AsyncPortDaddy("tests") as pd:
        try:
            await asyncio.wait_for(pd.wait_for_signal("backend:ready"), timeout=0.2)
        except asyncio.TimeoutError:
            print(f"tests: no backend yet, and {len((await pd.status()).waiters)} waiting")
        waiting = asyncio.create_task(asyncio.wait_for(pd.wait_for_signal("backend:ready"), timeout=30))
        await pd.publish("backend:ready", {"port": 3101})
        print("tests: the backend has port", (await waiting)["port"])


def both(*agents: Thread) -> None:
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join()


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        # A database for this program alone, unless another is named.
        os.environ.setdefault("PORT_DADDY_DB", f"{place}/port-daddy.db")
        both(*(Thread(target=wait_for_the_other, args=pair) for pair in (("web", "api"), ("api", "web"))))
        barrier = Barrier(2)
        orders = (("web", "schema", "config", barrier), ("api", "config", "schema", barrier))
        both(*(Thread(target=lock_crosswise, args=order) for order in orders))
        asyncio.run(race())
