"""The context of the process, for programs that need no other: ``from bndl import ctx``."""

from __future__ import annotations

import threading
from functools import wraps
from types import TracebackType
from typing import Any, cast

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
    """Stands for the process-wide context, which is connected when something is first asked of it.

    It has what a ``Context`` has, so that completion, ``help`` and debuggers see that without connecting: those read
    the attributes of objects, but leave properties alone.
    """

    def __enter__(self) -> Context:
        return _get().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop it, if it is connected. Its next use connects it again."""
        if _is_connected():
            _default[-1].stop()

    def __dir__(self) -> list[str]:
        return [name for name in dir(type(self)) if not name.startswith("_")]

    def __reduce__(self) -> str:
        return "ctx"  # it is the same in each process: functions that refer to it can travel, and are refused its use

    def __repr__(self) -> str:
        return repr(_default[-1]) if _is_connected() else "<Context: not connected yet>"


def _is_connected() -> bool:
    return bool(_default) and not _default[-1].is_stopped


def _stand_in(name: str, member: Any) -> Any:
    """The same member of the process-wide context."""
    if isinstance(member, property):
        return property(lambda _: getattr(_get(), name), doc=member.__doc__)

    @wraps(member)
    def call(_: _DefaultContext, *args: Any, **kwargs: Any) -> Any:
        return getattr(_get(), name)(*args, **kwargs)

    return call


for _name in dir(Context):
    if not _name.startswith("_") and not hasattr(_DefaultContext, _name):
        setattr(_DefaultContext, _name, _stand_in(_name, getattr(Context, _name)))

#: The process-wide context.
ctx = cast("Context", _DefaultContext())
