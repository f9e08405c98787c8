"""What a child process does: `python role.py MODULE:FUNCTION JSON` runs a function of a test module."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from port_daddy import AsyncPortDaddy, PortDaddy


class Role:
    """The child's side of the pipes. It says JSON values, one a line, and waits at its barriers for a line from its parent; the
    end of its input means that it should end."""

    def __init__(self, db: str, cwd: str, agent: str | None) -> None:
        self.db = db
        self.cwd = cwd
        self.agent = agent

    def open(self, **options: Any) -> PortDaddy:
        return PortDaddy(self.agent, **{"db": self.db, "cwd": self.cwd, **options})

    def open_async(self, **options: Any) -> AsyncPortDaddy:
        return AsyncPortDaddy(self.agent, **{"db": self.db, "cwd": self.cwd, **options})

    def say(self, value: Any = None) -> None:
        print(json.dumps(value), flush=True)

    def barrier(self) -> str | None:
        """What the parent says; None at its end."""
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None


def main() -> None:
    where, told = sys.argv[1:]
    module, function = where.split(":")
    sys.path.insert(0, str(Path(__file__).parent))
    given = json.loads(told)
    role = Role(given["db"], given["cwd"], given["agent"])
    getattr(importlib.import_module(module), function)(role, **given["args"])


if __name__ == "__main__":
    main()
