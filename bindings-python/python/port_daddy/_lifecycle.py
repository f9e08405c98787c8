"""What a fork and the end of the process do with the clients in it."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from . import _native


class _Anchor:
    """Something for multiprocessing to hold on to."""


_anchor = _Anchor()


def _end_in_order(*_: object) -> None:
    _native._end_all(True)


def _end() -> None:
    # After an exception that nobody caught the work is unfinished: others see at once that this agent died. In an
    # interactive interpreter it was only printed.
    uncaught = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
    _native._end_all(not uncaught)


def _finalize_in_child(_: object) -> None:
    # A child of multiprocessing ends without the interpreter's own end, and so without atexit.
    sys.modules["multiprocessing.util"].Finalize(None, _end_in_order, exitpriority=0)


def _watch_multiprocessing() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_anchor, _finalize_in_child)


def _after_fork_in_child() -> None:
    _native._after_fork_in_child()
    _watch_multiprocessing()


def start() -> None:
    _native._ready()
    main = threading.main_thread().ident
    _native._main_thread(main if main is not None else threading.get_ident())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_native._before_fork,
            after_in_parent=_native._after_fork_in_parent,
            after_in_child=_after_fork_in_child,
        )
    atexit.register(_end)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _finalize_in_child(None)
    _watch_multiprocessing()
