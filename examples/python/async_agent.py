#!/usr/bin/env python3
"""Agents in asyncio: several in one program, each waiting for what the others say."""

import asyncio
import os
from tempfile import TemporaryDirectory

from port_daddy import AsyncPortDaddy


async def api() -> None:
    async with AsyncPortDaddy("api") as pd, pd.session("Payment API", files=["src/api/*"]) as session:
        async with pd.lock("db-migrations", timeout=30) as lock:
            await session.note(f"Migrated with token {lock.token}", type="commit")
        port = (await pd.claim("payments:api")).port
        await pd.publish("payments:api", {"status": "ready", "port": port})


async def queries() -> None:
    async with AsyncPortDaddy("queries") as pd, pd.session("Query layer", files=["src/db/*"]) as session:
        # No migration runs meanwhile.
        async with pd.lock("db-migrations", timeout=30):
            await session.note("Created getPaymentById() and listPayments()")
        await pd.publish("payments:queries", {"status": "ready"})


async def frontend() -> None:
    async with AsyncPortDaddy("frontend") as pd, pd.session("Checkout UI", files=["src/components/*"]) as session:
        # A wait costs no thread, and one that is cancelled leaves nothing behind.
        ready, _ = await asyncio.gather(
            pd.wait_for_signal("payments:api", timeout=30),
            pd.wait_for_signal("payments:queries", timeout=30),
        )
        await session.note(f"Integrated with payment API on port {ready['port']}")
        await pd.publish("payments:frontend", {"status": "ready"})


async def tests() -> None:
    async with AsyncPortDaddy("tests") as pd:
        missing = {"payments:api", "payments:queries", "payments:frontend"}
        async for message in pd.subscribe("payments:*", timeout=30):
            print(f"{message.channel} is {message.payload['status']}")
            missing.discard(message.channel)
            if not missing:
                break
        for note in (await pd.notes()).notes:
            print(f"[{note.agent_name}] {note.text}")


async def main() -> None:
    await asyncio.gather(tests(), frontend(), queries(), api())


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        # A database for this program alone, unless another is named.
        os.environ.setdefault("PORT_DADDY_DB", f"{place}/port-daddy.db")
        asyncio.run(main())
