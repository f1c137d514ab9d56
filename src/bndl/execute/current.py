"""What a task can know of itself while it runs."""

from __future__ import annotations

import threading

import msgspec

from bndl.errors import InvalidOption, TaskCancelled

__all__ = ["CurrentTask", "abandoned", "check_cancelled", "current_task", "current_worker", "running"]


class CurrentTask(msgspec.Struct, frozen=True):
    """The attempt that this thread executes.

    Attributes:
        job: the job's name.
        stage: the stage's name.
        index: which task of the stage, counted from 0.
        attempt: which attempt of the task, counted from 1.
        worker: the name of the worker.
        driver: the name of the driver that wants it.
        number: the task's number with that driver.
    """

    job: str
    stage: str
    index: int
    attempt: int
    worker: str
    driver: str
    number: int

    @property
    def name(self) -> str:
        """The task's name, such as ``parse[3]``."""
        return f"{self.stage}[{self.index}]"


#: What this thread is running, as attribute ``task``.
running = threading.local()
#: Attempts that run and that nobody waits for any more, as (driver, task, attempt).
abandoned: set[tuple[str, int, int]] = set()


def current_task() -> CurrentTask:
    """The task that the caller runs in.

    Raises:
        InvalidOption: the caller does not run in a task.
    """
    task: CurrentTask | None = getattr(running, "task", None)
    if task is None:
        text = "this code does not run in a task; current_task() and current_worker() only have a meaning there"
        raise InvalidOption(text)
    return task


def current_worker() -> str:
    """The name of the worker that the caller's task runs on. Raises like ``current_task``."""
    return current_task().worker


def check_cancelled() -> None:
    """End the task here if nobody waits for its result any more; to be called now and then by long tasks.

    Does nothing outside of a task.

    Raises:
        TaskCancelled: to be let through.
    """
    task: CurrentTask | None = getattr(running, "task", None)
    if task is not None and (task.driver, task.number, task.attempt) in abandoned:
        text = f"{task.name} was cancelled: nobody waits for its result any more"
        raise TaskCancelled(text)
