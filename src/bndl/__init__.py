"""bndl executes tasks on workers.

::

    import bndl

    with bndl.connect() as ctx:
        print(sum(ctx.map(abs, range(-5, 5))))

The names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bndl import deploy, errors
    from bndl._version import __version__
    from bndl.cluster.peer import Peer
    from bndl.config import Config
    from bndl.context.connect import connect
    from bndl.context.context import Context
    from bndl.context.default import ctx
    from bndl.driver.jobs import Job, Stage
    from bndl.driver.options import Retry
    from bndl.driver.tasks import Task
    from bndl.execute.current import check_cancelled, current_task, current_worker
    from bndl.execute.refs import Ref

__all__ = [
    "Config",
    "Context",
    "Job",
    "Peer",
    "Ref",
    "Retry",
    "Stage",
    "Task",
    "__version__",
    "check_cancelled",
    "connect",
    "ctx",
    "current_task",
    "current_worker",
    "deploy",
    "errors",
]

_HOMES = {
    "Config": "bndl.config",
    "Context": "bndl.context.context",
    "Job": "bndl.driver.jobs",
    "Peer": "bndl.cluster.peer",
    "Ref": "bndl.execute.refs",
    "Retry": "bndl.driver.options",
    "Stage": "bndl.driver.jobs",
    "Task": "bndl.driver.tasks",
    "__version__": "bndl._version",
    "check_cancelled": "bndl.execute.current",
    "connect": "bndl.context.connect",
    "ctx": "bndl.context.default",
    "current_task": "bndl.execute.current",
    "current_worker": "bndl.execute.current",
}


def __getattr__(name: str) -> Any:
    if name in ("deploy", "errors"):
        return import_module(f"bndl.{name}")
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'bndl' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
