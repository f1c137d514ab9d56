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
    from bndl.attempts import AttemptRecord
    from bndl.cluster.peer import Peer
    from bndl.config import Config
    from bndl.context.connect import connect
    from bndl.context.context import Context
    from bndl.context.default import ctx
    from bndl.context.iterating import Iteration
    from bndl.context.view import View
    from bndl.driver.history import Transition
    from bndl.driver.jobs import Job, Stage
    from bndl.driver.options import Options, Retry
    from bndl.driver.report import JobReport as Report
    from bndl.driver.report import StageReport
    from bndl.driver.tasks import Task
    from bndl.execute.current import CurrentTask, check_cancelled, current_task, current_worker
    from bndl.execute.refs import Ref, Results
    from bndl.execute.shared import Accumulator, Broadcast
    from bndl.schedule.explaining import Explanation
    from bndl.schedule.instructions import TaskOutcome as Outcome
    from bndl.schedule.transitions import State as TaskState

__all__ = [
    "Accumulator",
    "AttemptRecord",
    "Broadcast",
    "Config",
    "Context",
    "CurrentTask",
    "Explanation",
    "Iteration",
    "Job",
    "Options",
    "Outcome",
    "Peer",
    "Ref",
    "Report",
    "Results",
    "Retry",
    "Stage",
    "StageReport",
    "Task",
    "TaskState",
    "Transition",
    "View",
    "__version__",
    "check_cancelled",
    "connect",
    "ctx",
    "current_task",
    "current_worker",
    "deploy",
    "errors",
]

#: Where each name lives, and what it is called there if that is something else.
_HOMES = {
    "Accumulator": "bndl.execute.shared",
    "AttemptRecord": "bndl.attempts",
    "Broadcast": "bndl.execute.shared",
    "Config": "bndl.config",
    "Context": "bndl.context.context",
    "CurrentTask": "bndl.execute.current",
    "Explanation": "bndl.schedule.explaining",
    "Iteration": "bndl.context.iterating",
    "Job": "bndl.driver.jobs",
    "Options": "bndl.driver.options",
    "Outcome": "bndl.schedule.instructions:TaskOutcome",
    "Peer": "bndl.cluster.peer",
    "Ref": "bndl.execute.refs",
    "Report": "bndl.driver.report:JobReport",
    "Results": "bndl.execute.refs",
    "Retry": "bndl.driver.options",
    "Stage": "bndl.driver.jobs",
    "StageReport": "bndl.driver.report",
    "Task": "bndl.driver.tasks",
    "TaskState": "bndl.schedule.transitions:State",
    "Transition": "bndl.driver.history",
    "View": "bndl.context.view",
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
    module, _, there = home.partition(":")
    value = getattr(import_module(module), there or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
