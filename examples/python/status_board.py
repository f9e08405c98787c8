#!/usr/bin/env python3
"""A status board: agents publish how far they are, and whoever wants to know subscribes to all of them."""

import os
from tempfile import TemporaryDirectory
from threading import Event, Thread

from port_daddy import PortDaddy

EVERY = 0.05  # seconds
TEAM = {"frontend-builder": "api-types", "backend-builder": None}


def report(agent: str, blocked_on: str | None, stop: Event) -> None:
    """Publishes a status again and again, in a thread beside the work."""
    with PortDaddy(agent) as pd:
        for progress in range(0, 101, 25):
            status = {"agent": agent, "progress": progress, "blockedOn": blocked_on if progress < 50 else None}
            # A channel of its own: who comes late receives the newest of each channel, and so of each agent.
            pd.publish(f"team:{agent}", status, ttl=3600)
            if stop.wait(EVERY):
                return


def show() -> None:
    board: dict[str, int] = {}
    with PortDaddy("dashboard") as pd:
        # The loop ends once nothing has come for two seconds: the team is done, or worth a look.
        for message in pd.subscribe("team:*", timeout=2):
            status = message.payload
            board[status["agent"]] = status["progress"]
            bar = "#" * (status["progress"] // 5)
            blocked = f" (blocked on {status['blockedOn']})" if status["blockedOn"] else ""
            print(f"{status['agent']:>16} {bar:<20} {status['progress']} %{blocked}")
    print("Silence. Last seen:", ", ".join(f"{agent} at {progress} %" for agent, progress in sorted(board.items())))


def main() -> None:
    stop = Event()
    reporters = [Thread(target=report, args=(agent, blocked_on, stop)) for agent, blocked_on in TEAM.items()]
    for reporter in reporters:
        reporter.start()
    try:
        show()
    finally:
        stop.set()
        for reporter in reporters:
            reporter.join()


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        # A database for this program alone, unless another is named.
        os.environ.setdefault("PORT_DADDY_DB", f"{place}/port-daddy.db")
        main()
