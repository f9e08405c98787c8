#!/usr/bin/env python3
"""A pool of processes that inherit their parent's client by a fork: all are the same agent, write in the same session, and
exclude each other by the same lock."""

import multiprocessing
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from port_daddy import PortDaddy

place = TemporaryDirectory()
# A database for this program alone, unless another is named.
os.environ.setdefault("PORT_DADDY_DB", f"{place.name}/port-daddy.db")
pd = PortDaddy("importer")
ledger = Path(place.name, "ledger")


def import_payment(amount: int) -> int:
    """Runs in a worker. Its first call of the inherited client opens a handle of its own on the same file."""
    with pd.lock("ledger", timeout=60):
        ledger.write_text(str(int(ledger.read_text()) + amount))
    pd.note(f"Imported a payment of {amount}", type="commit")
    return os.getpid()


if __name__ == "__main__":
    ledger.write_text("0")
    with place, pd, pd.session("Importing payments") as session:
        with multiprocessing.get_context("fork").Pool(4) as pool:
            workers = set(pool.map(import_payment, range(1, 41), chunksize=1))
        notes = pd.notes(session=session.id, type="commit", limit=100).notes
        print(f"{len(workers)} workers imported {ledger.read_text()}, with {len(notes)} notes in {session.id}")
        print(f"{pd.agent_id} is {pd.agent('importer').state} and holds {len(pd.locks().locks)} locks")
