"""Jobs in a world: what their users would see, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bndl.driver.driver import Driver
from bndl.driver.execution import Execution, StageRun
from bndl.driver.preparing import pack_function
from bndl.driver.tasks import Task
from bndl.errors import BndlError
from bndl.execute.failures import open_cause
from bndl.execute.payloads import Packer
from bndl.net.messages import Space
from bndl.schedule.events import JobSpec, StageSpec

__all__ = ["Growing", "Run"]


class Run:
    """An execution, and all that its listener heard.

    Args:
        on_settled: called with each task that is done.

    Attributes:
        execution: the execution.
        settled: tasks in the order in which they were done.
        ended: whether the listener was told of the end.
        error: what it was told then.
    """

    execution: Execution

    def __init__(self, on_settled: Callable[[Task], None]) -> None:
        self._on_settled = on_settled
        self._seen: set[int] = set()
        self.settled: list[Task] = []
        self.ended = False
        self.error: BndlError | None = None

    def tasks_settled(self, tasks: Sequence[Task]) -> None:
        """Tasks are done: each once, and none after the end."""
        for task in tasks:
            assert not self.ended, f"{task.name} was settled after the end"
            assert task.outcome is not None, f"{task.name} was settled without an outcome"
            assert id(task) not in self._seen, f"{task.name} was settled twice"
            self._seen.add(id(task))
            self.settled.append(task)
            self._on_settled(task)

    def execution_ended(self, error: BndlError | None) -> None:
        """All is done: once."""
        assert not self.ended, "the execution ended twice"
        self.ended = True
        self.error = None if error is None else open_cause(error)

    def __repr__(self) -> str:
        return f"<Run of {self.execution.name}: {len(self.settled)} settled{', ended' if self.ended else ''}>"


class Growing(Run):
    """A job of one stage that tasks are added to while it runs, as ``Context.map`` does it.

    Args:
        driver: executes it.
        function: applied to each item.
        attempts: how often a task may be tried.
        on_settled: called with each task that is done.

    Attributes:
        tasks: all that were added, in order.
    """

    def __init__(
        self, driver: Driver, function: Callable[[Any], Any], attempts: int, on_settled: Callable[[Task], None]
    ) -> None:
        super().__init__(on_settled)
        self._driver = driver
        self._packer = Packer()
        self.tasks: list[Task] = []
        name = function.__name__
        self.execution = Execution(driver, f"map {name}", self)
        number = driver.next_number()
        payload = pack_function(driver, self._packer, function, name, number)
        self._stage: StageRun = self.execution.add_stage(name, payload, number=number, growing=True)
        spec = StageSpec(number, range(0), attempts=attempts, growing=True)
        driver.submit(self.execution, JobSpec(self.execution.number, (spec,)))

    def add(self, items: Sequence[Any]) -> None:
        """Add a task for each item."""
        first = len(self.tasks)
        for item in items:
            task = Task.of_item(None)
            task.begin_run(self._stage, len(self.tasks))
            number = (self._stage.number << 32) + len(self.tasks)
            payload = self._packer.pack(item)
            task.set_arguments(self._driver.store_if_large(Space.ARGUMENTS, number, payload))
            self.tasks.append(task)
        self._driver.add_tasks(self._stage, first, self.tasks[first:])

    def close(self) -> None:
        """No more tasks come."""
        self._driver.close_stage(self._stage)
