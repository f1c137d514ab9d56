"""``submit``: single calls, each with a future of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from bndl.driver.driver import Driver
from bndl.driver.execution import Execution
from bndl.driver.tasks import Task
from bndl.errors import BndlError, InvalidJob, TaskCancelled
from bndl.execute.payloads import Packer
from bndl.net.messages import Space
from bndl.schedule.events import JobSpec, StageSpec
from bndl.schedule.instructions import TaskOutcome

__all__ = ["Calls"]

R = TypeVar("R")


class _TaskFuture(Future[Any]):
    """A future of the result of a task. The result is unpickled in the thread that asks for it first.

    Args:
        cancel_task: has the task cancelled.
    """

    def __init__(self, cancel_task: Callable[[], None]) -> None:
        super().__init__()
        self._unpickling = threading.Lock()
        self._cancel_task = cancel_task

    def cancel(self) -> bool:
        """Cancel the call, also if it is being executed: what runs is told to stop, and in the end stopped."""
        if not super().cancel():
            return False
        self._cancel_task()
        return True

    def result(self, timeout: float | None = None) -> Any:
        value = super().result(timeout)
        if isinstance(value, Task):
            with self._unpickling:
                return value.result
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = super().exception(timeout)
        if error is None:
            try:
                self.result(0)
            except BndlError as own:
                return own
        return error


class Calls:
    """The calls of a context: one endless job, whose tasks have nothing to do with each other.

    Args:
        driver: has them executed.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._packer = Packer()
        self._futures: dict[int, _TaskFuture] = {}
        self._next = 0
        self._over: BndlError | None = None
        self._execution = Execution(driver, "submit", self, independent=True)
        number = driver.next_number()
        self._stage = self._execution.add_stage("call", b"", number=number, calls=True, growing=True)
        spec = StageSpec(number, range(0), growing=True)
        driver.submit(self._execution, JobSpec(self._execution.number, (spec,), independent=True))

    def submit(self, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[R]:
        """Have a function called on a worker.

        Raises:
            NotPicklable: the call cannot travel.
        """
        with self._lock:
            if self._over is not None:
                raise self._over
            task = Task(function, *args, **kwargs)
            name = getattr(function, "__name__", "call")
            payload = self._packer.pack(task.call, f"the call of {name}")
            if self._packer.refs:
                text = (
                    f"the call of {name} has {self._packer.refs[0]!r} in its arguments; refs only have a meaning in "
                    "the job they are of. Use job.stage(...) instead of submit."
                )
                raise InvalidJob(text)
            task.call = None
            task.begin_run(self._stage, self._next)
            number = (self._stage.number << 32) + self._next
            task.set_arguments(self._driver.store_if_large(Space.ARGUMENTS, number, payload))
            self._futures[self._next] = future = _TaskFuture(partial(self._driver.cancel_tasks, [number], "cancelled"))
            self._driver.add_tasks(self._stage, self._next, [task])
            self._next += 1
        return future

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done."""
        for task in tasks:
            future = self._futures.pop(task.index, None)
            if future is None or not future.set_running_or_notify_cancel():
                continue
            if task.error is not None:
                # If all calls ended together, what ended them says more than that they were cancelled.
                over = self._execution.error if task.outcome is TaskOutcome.CANCELLED else None
                future.set_exception(over or task.error)
            else:
                future.set_result(task)

    def execution_ended(self, error: BndlError | None) -> None:
        """No call can be answered any more."""
        with self._lock:
            self._over = error or TaskCancelled("the context was stopped")
            open_futures, self._futures = self._futures, {}
        for future in open_futures.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(self._over)

    def close(self) -> None:
        """Stop all calls that are under way."""
        self._execution.cancel("the context was stopped")
        self._execution.release()

    @property
    def is_over(self) -> bool:
        """Whether it takes no calls any more."""
        return self._over is not None
