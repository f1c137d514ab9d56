"""What a task can know of itself while it runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from bndl.errors import InvalidOption, UserError
from bndl.execute.border import LEFT

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = [
    "CurrentTask",
    "check_cancelled",
    "current",
    "current_task",
    "current_worker",
    "describe",
    "note_worker",
    "refuse_in_tasks",
    "running",
]

#: The name of the worker that this process is, if it is one.
_workers: list[str] = []


class CurrentTask(msgspec.Struct, frozen=True):
    """The attempt that the caller runs in.

    Attributes:
        job: the job's name.
        stage: the stage's name.
        index: which task of the stage, counted from 0.
        attempt: which attempt of the task, counted from 1.
        worker: the name of the worker.
        driver: the name of the driver that wants it.
        number: the task's number with that driver.
        own_name: the name that the task's options gave it; empty if they gave none.
    """

    job: str
    stage: str
    index: int
    attempt: int
    worker: str
    driver: str
    number: int
    own_name: str = ""

    @property
    def name(self) -> str:
        """The task's name, such as ``parse[3]``."""
        return self.own_name or f"{self.stage}[{self.index}]"


#: The attempt that this context executes. A copy of the context may live longer than the attempt.
current: ContextVar[Prepared | None] = ContextVar("bndl_current", default=None)


def running() -> Prepared | None:
    """The attempt that the caller runs in, if it does."""
    prepared = current.get(None)
    return None if prepared is None or prepared.phase == LEFT else prepared


def current_task() -> CurrentTask:
    """The task that the caller runs in.

    Raises:
        InvalidOption: the caller does not run in a task.
    """
    prepared = running()
    if prepared is None:
        text = "this code does not run in a task; current_task() and current_worker() only have a meaning there"
        raise InvalidOption(text)
    return describe(prepared)


def describe(prepared: Prepared) -> CurrentTask:
    """The task that an attempt is of."""
    define = prepared.definition.message
    task, number = prepared.key
    tenancy = prepared.tenancy
    index = task & 0xFFFFFFFF
    own_name = prepared.attempt.name
    return CurrentTask(
        define.job_name, define.stage_name, index, number, tenancy.worker, tenancy.driver, task, own_name
    )


def current_worker() -> str:
    """The name of the worker that the caller's task runs on. Raises like ``current_task``."""
    return current_task().worker


def note_worker(name: str) -> None:
    """This process is a worker, so that threads of tasks, and what is called on it beside tasks, are known as such."""
    _workers[:] = [name]


def refuse_in_tasks(what: str) -> None:
    """Raise ``UserError`` if the caller runs in a task, or otherwise in the process of a worker."""
    prepared = running()
    if prepared is None and not _workers:
        return
    where = f"task {describe(prepared).name}" if prepared is not None else f"the process of worker {_workers[0]}"
    text = (
        f"{what} was used in {where}, but tasks cannot start work yet. Return what the next call needs, and start that "
        "call in the program that has the context."
    )
    raise UserError(text)


def check_cancelled() -> None:
    """End the task here if nobody waits for its result any more; to be called now and then by long tasks.

    Does nothing outside of a task.

    Raises:
        TaskCancelled: to be let through.
        TaskTimeout: it has run for longer than its timeout; to be let through, too.
    """
    prepared = running()
    if prepared is not None and prepared.stop is not None:
        raise prepared.stop.error.with_traceback(None)
