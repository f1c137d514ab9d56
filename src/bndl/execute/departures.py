"""What is to be done in this process when a driver is gone, beside what its tenancy had.

What a driver calls on a worker may leave something behind that only the same driver would end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

__all__ = ["take_departures", "when_gone"]

_lock = threading.Lock()
_calls: dict[str, dict[Callable[[str], None], None]] = {}


def when_gone(driver: str, call: Callable[[str], None]) -> None:
    """Have a function called with the name of a driver, once and beside the tasks, when the driver is gone."""
    with _lock:
        _calls.setdefault(driver, {})[call] = None


def take_departures(driver: str) -> list[Callable[[], None]]:
    """What is to be called now that a driver is gone."""
    with _lock:
        return [partial(call, driver) for call in _calls.pop(driver, ())]
