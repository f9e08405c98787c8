"""The types that consumers see, as a strict checker reads them from the installed package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import port_daddy
from port_daddy import AsyncPortDaddy, PortDaddy

TYPED = Path(__file__).parent / "typed"


def check(*files: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--warn-unused-ignores",
        *(str(TYPED / file) for file in files),
    ]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True)


def test_a_strict_consumer_of_every_operation_passes(tmp_path: Path) -> None:
    run = check("consumer.py", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    run = check("wrong.py", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_consumer_uses_every_operation() -> None:
    used = set(re.findall(r"\bpd\.(\w+)\(", (TYPED / "consumer.py").read_text()))
    public = {name for name in dir(PortDaddy) if not name.startswith("_")} - {"agent_id", "closed", "db"}
    assert used == public
    assert public == {name for name in dir(AsyncPortDaddy) if not name.startswith("_")} - {"agent_id", "closed", "db"}


def test_all_that_is_exported_is_there() -> None:
    assert len(set(port_daddy.__all__)) == len(port_daddy.__all__)
    for name in port_daddy.__all__:
        assert getattr(port_daddy, name) is not None
    for name, value in vars(port_daddy).items():
        assert name.startswith("_") or name in port_daddy.__all__ or name in ("TYPE_CHECKING", "Warning"), (name, value)
