"""Threads that the system may refuse: there is a limit to how many a user or a container may have.

It often is a matter of a moment, and never a reason for a loop or another thread to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

__all__ = ["AGAIN", "run_beside", "try_start"]

#: Seconds after which a thread that was refused is tried again.
AGAIN = 0.1


def try_start(target: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a daemon thread. Returns None if the system has no room for it."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


def run_beside(
    call: Callable[[], object], later: Callable[[float, Callable[[], object]], object], name: str = "bndl-beside"
) -> None:
    """Run ``call()`` in a thread of its own, as soon as one can be started.

    Args:
        call: the call.
        later: calls back after so many seconds.
        name: of the thread.
    """
    if try_start(call, name) is None:
        later(AGAIN, partial(run_beside, call, later, name))
