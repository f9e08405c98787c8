"""What a strict checker must refuse: each line that is marked is an error, and it is one that is expected. A mark without an
error is an error, too (warn_unused_ignores)."""

from __future__ import annotations

from port_daddy import AsyncPortDaddy, PortDaddy


def refused(pd: PortDaddy) -> None:
    pd.note(5)  # type: ignore[arg-type]
    pd.note("x", kind="y")  # type: ignore[call-arg]
    pd.notes("x")  # type: ignore[call-arg, arg-type]
    pd.claim("a", port="x")  # type: ignore[arg-type]
    pd.end_session(status="done")  # type: ignore[arg-type]
    pd.subscribe("a", replay="first")  # type: ignore[arg-type]
    pd.lock("m", blocking=False).release()  # type: ignore[union-attr]
    pd.note("x").note.text = "y"  # type: ignore[misc]
    pd.session("x").session  # type: ignore[attr-defined]
    pd.whoami().nothing  # type: ignore[attr-defined]


async def refused_asynchronously(pd: AsyncPortDaddy) -> None:
    pd.note("x").note  # type: ignore[attr-defined]
    with pd.lock("m"):  # type: ignore[attr-defined]
        pass
