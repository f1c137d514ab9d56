"""The context of the process, for programs that need no other: ``from bndl import ctx``."""

from __future__ import annotations

import threading
from typing import Any

from bndl.context.connect import connect
from bndl.context.context import Context
from bndl.execute.current import refuse_in_tasks

__all__ = ["ctx", "set_default"]

_lock = threading.Lock()
_default: list[Context] = []


def _get() -> Context:
    refuse_in_tasks("bndl.ctx")
    with _lock:
        if not _default or _default[-1].is_stopped:
            _default[:] = [connect()]
        return _default[-1]


def set_default(context: Context) -> None:
    """Let ``ctx`` be a given context, instead of one that is connected on first use."""
    with _lock:
        _default[:] = [context]


class _DefaultContext:
    """Stands for the process-wide context, which is connected when something is first asked of it."""

    def __getattr__(self, name: str) -> Any:
        # Inspection, such as by a debugger or a doctest, must not start processes.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(_get(), name)

    def __reduce__(self) -> str:
        return "ctx"  # it is the same in each process: functions that refer to it can travel, and are refused its use

    def __repr__(self) -> str:
        if not _default or _default[-1].is_stopped:
            return "<Context: not connected yet>"
        return repr(_default[-1])


#: The process-wide context.
ctx: Any = _DefaultContext()
