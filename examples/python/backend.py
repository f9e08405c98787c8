#!/usr/bin/env python3
"""The backend agent of the payment day (`examples/payment-day.sh`), in Python: it takes part next to agents that are shell
scripts around `pd`, on the same database. Who it is and which database it uses come from `PORT_DADDY_AGENT` and
`PORT_DADDY_DB`, as for `pd`. Without the latter it is alone, and plays what it waits for itself.
"""

import os
from tempfile import TemporaryDirectory
from threading import Thread

from port_daddy import PortDaddy, PortTakenError


def backend(pd: PortDaddy) -> None:
    pd.register_agent(name="Backend API", identity="payments:api", purpose="The payment API", type="ai")
    with pd.session("Stripe API integration", files=["src/api/payments/*", "src/types/Payment.ts"]) as session:
        for conflict in session.conflicts:
            print(f"{conflict.witness} is claimed by {conflict.with_.agent_name}")

        # Published before or after this line: the signal is received either way. A minute of silence ends the loop.
        for message in pd.subscribe("payments:schema", timeout=60):
            if message.payload["version"] >= 1:
                print(f"{message.agent_name} has made {', '.join(message.payload['tables'])}")
                break
        else:
            raise TimeoutError("nobody made the schema")
        session.note("Schema loaded, creating Stripe client")
        session.note("Implemented POST /api/payments (charges)", type="commit")
        session.note("Implemented POST /api/payments/:id/refund", type="commit")

        # The token goes to whatever the lock protects, so that it can refuse a holder whose lease has ended.
        with pd.lock("db-migrations", purpose="Checking the tables", timeout=60) as lock:
            session.note(f"Checked the migrated tables (fencing token {lock.token})")

        try:
            port = pd.claim("payments:api", port=3101).port
        except PortTakenError as taken:
            port = pd.claim("payments:api").port
            session.note(f"Moved to port {port}: {taken}", type="blocker")
        session.note("Ready for integration tests")
        pd.publish("payments:api", {"status": "ready", "port": port})

        # Others still read src/types/Payment.ts while the day lasts. The open client proves that this agent lives: no
        # heartbeats are needed.
        pd.wait_for_signal("payments:complete", timeout=60)
        session.end("Payment API complete, ready for testing")


def everyone_else() -> None:
    with PortDaddy("database") as pd:
        with pd.lock("db-migrations"):
            pd.publish("payments:schema", {"version": 1, "tables": ["payments", "refunds"]})
        print("The backend is", pd.wait_for_signal("payments:api", timeout=60)["status"])
        pd.publish("payments:complete", {"status": "done"})


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        if "PORT_DADDY_DB" not in os.environ:
            os.environ["PORT_DADDY_DB"] = f"{place}/port-daddy.db"
            Thread(target=everyone_else).start()
        with PortDaddy() as client:
            backend(client)
