"""``submit``: single calls, each with a future of its own."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, TypeVar

from bndl.driver.driver import Driver
from bndl.driver.execution import Execution
from bndl.driver.futures import Loops, RemoteFuture
from bndl.driver.naming import name_of
from bndl.driver.options import NO_OPTIONS, Options
from bndl.driver.preparing import make_growing_spec
from bndl.driver.tasks import Task
from bndl.errors import BndlError, TaskCancelled
from bndl.execute.payloads import Packer
from bndl.execute.shown import function_name
from bndl.net.messages import Space
from bndl.schedule.events import JobSpec
from bndl.schedule.instructions import TaskOutcome

__all__ = ["Calls"]

R = TypeVar("R")


class _TaskFuture(RemoteFuture):
    """A future of the result of a task.

    Args:
        loops: the driver's.
        cancel_task: has the task cancelled.
    """

    def __init__(self, loops: Loops, cancel_task: Callable[[], None]) -> None:
        super().__init__(loops)
        self._cancel_task = cancel_task

    def cancel(self) -> bool:
        """Cancel the call, also if it is being executed: what runs is told to stop, and in the end stopped."""
        if not super().cancel():
            return False
        self._cancel_task()
        return True


class Calls:
    """The calls of a context: one endless job, whose tasks have nothing to do with each other. Thread-safe.

    There is no lock around a call: pickling its arguments may call something in turn, or take long, and an interrupt
    may come anywhere.

    Args:
        driver: has them executed.
        options: hold for all of them.
    """

    def __init__(self, driver: Driver, options: Options = NO_OPTIONS) -> None:
        self._driver = driver
        #: A packer for each thread.
        self._local = threading.local()
        self._numbers = count()
        self._futures: dict[int, _TaskFuture] = {}
        #: Why no call can be answered any more. It is set before the futures are looked through, and looked at after a
        #: future is put among them, so that none is forgotten.
        self._over: BndlError | None = None
        self._execution = Execution(driver, "submit", self, independent=True)
        number = driver.next_number()
        self._stage = self._execution.add_stage("call", b"", number=number, calls=True, growing=True)
        spec = make_growing_spec(self._stage, options)
        driver.submit(self._execution, JobSpec(self._execution.number, (spec,), independent=True))

    def submit(
        self, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None
    ) -> Future[R]:
        """Have a function called on a worker; ``name`` is what the call is called.

        Raises:
            NotPicklable: the call cannot travel.
            BndlError: all calls have ended meanwhile.
        """
        task = Task(function, *args, **kwargs)
        if name is not None:
            task = task.options(name=name)
        packer = self._packer()
        payload = packer.pack(task.call, f"the call of {name_of(function, 'call')}")
        task.call = function_name(function)  # for errors
        index = next(self._numbers)
        number = (self._stage.number << 32) + index
        task.begin_run(self._stage, index)
        task.set_arguments(self._driver.store_if_large(Space.ARGUMENTS, number, payload))
        self._futures[index] = future = _TaskFuture(
            self._driver.loops, partial(self._driver.cancel_tasks, [number], "cancelled")
        )
        future.pinned = packer.take_pinned()
        self._driver.add_tasks(self._stage, index, [task])
        if self._over is not None and self._futures.pop(index, None) is not None:
            raise copy.copy(self._over)
        return future

    def _packer(self) -> Packer:
        try:
            packer: Packer = self._local.packer
        except AttributeError:
            packer = self._local.packer = Packer()
        return packer

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done."""
        for task in tasks:
            future = self._futures.pop(task.index, None)
            if future is not None:
                # If all calls ended together, what ended them says more than that they were cancelled.
                over = self._execution.error if task.outcome is TaskOutcome.CANCELLED else None
                future.settle(over or task.failure or task)

    def execution_ended(self, error: BndlError | None) -> None:
        """No call can be answered any more."""
        self._over = error or TaskCancelled("the context was stopped")
        for index in list(self._futures):
            future = self._futures.pop(index, None)
            if future is not None:
                future.settle(self._over)

    def close(self) -> None:
        """Stop all calls that are under way."""
        self._execution.cancel("the context was stopped")
        self._execution.release()

    def finish(self) -> None:
        """Take no more calls. Only while there are none."""
        self._driver.close_stage(self._stage)
        self._execution.release()

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return not self._futures

    @property
    def is_over(self) -> bool:
        """Whether it takes no calls any more."""
        return self._over is not None
