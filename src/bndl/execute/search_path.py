"""Where a worker process looks for modules: where the process that started it does, and where its tasks said."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

__all__ = ["take_over"]

#: What was taken over last.
_given: list[str] = []


def take_over(path: Sequence[str]) -> None:
    """Look for modules in these places, and after that in those that tasks added."""
    own = [entry for entry in sys.path if entry not in _given and entry not in path]
    _given[:] = path
    sys.path[:] = [*path, *own]
    importlib.invalidate_caches()
