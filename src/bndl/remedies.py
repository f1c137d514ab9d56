"""What to give instead of values that belong to one process, such as futures and coroutines."""

from __future__ import annotations

import concurrent.futures
import io
import sys
import types
from typing import Any

__all__ = ["remedy_for"]


def remedy_for(value: Any) -> str:
    """What users can do who gave a value that cannot travel or cannot be called; empty if nothing special is known."""
    kind = type(value)
    for types_, text in _REMEDIES:
        if issubclass(kind, types_):
            return text
    asyncio = sys.modules.get("asyncio")  # who has not imported it has no future of it
    if asyncio is not None and issubclass(kind, asyncio.Future):
        return "Await it, and give its result."
    return ""


_REMEDIES: tuple[tuple[Any, str], ...] = (
    (concurrent.futures.Future, "Give its result: call its .result() first."),
    (
        types.CoroutineType,
        "Have a function make it and call asyncio.run(...) on it in the task, or await it and give its result.",
    ),
    (types.AsyncGeneratorType, "Have a function collect it in a list with asyncio.run(...) in the task."),
    (types.GeneratorType, "Make a list of it: list(...)."),
    (io.IOBase, "Give its path, and open it where it is used."),
)
