#!/usr/bin/env python3
"""Exclusive access: a lock for a block, one for each call of a function, and one that isn't waited for."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory

from port_daddy import PortDaddy


def migrate(token: int) -> None:
    print(f"Migrating, with fencing token {token}")


def migrate_unless_another_does(pd: PortDaddy) -> None:
    lock = pd.lock("db-migrations", blocking=False)
    if lock is None:
        holder = pd.lock_info("db-migrations")
        by = f" by {holder.agent_name} ({holder.purpose})" if holder else ""
        print(f"Migrations already running{by}, skipping")
        return
    with lock:
        migrate(lock.token)


def main() -> None:
    with PortDaddy("database") as database, PortDaddy("tests") as tests:
        # Waits its turn; what is taken is released at the block's end, whatever happens in it.
        with database.lock("db-migrations", purpose="Adding refunds") as lock:
            migrate(lock.token)
            migrate_unless_another_does(tests)
        migrate_unless_another_does(tests)

        # Agents and processes exclude each other so, and so do the threads of one agent.
        inside: set[int] = set()

        @database.with_lock("db-schema", timeout=30)
        def change_the_schema(step: int) -> int:
            inside.add(step)
            time.sleep(0.001)  # the change itself
            at_once = len(inside)
            inside.remove(step)
            return at_once

        with ThreadPoolExecutor(4) as threads:
            most = max(threads.map(change_the_schema, range(40)))
        print(f"40 changes of the schema by 4 threads, at most {most} at a time")


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        # A database for this program alone, unless another is named.
        os.environ.setdefault("PORT_DADDY_DB", f"{place}/port-daddy.db")
        main()
