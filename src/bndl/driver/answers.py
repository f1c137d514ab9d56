"""Answers to users who ask where tasks and their results are."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from bndl.driver.futures import Loops, Ready, RemoteFuture
from bndl.driver.requests import Requests
from bndl.errors import UserError
from bndl.schedule import Scheduler
from bndl.schedule.explaining import Explanation, Namer, explain

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun
    from bndl.driver.waiters import Waiters

__all__ = ["Answers"]


class Answers:
    """Knows where tasks and their results are. Thread-safe.

    Args:
        loops: the driver's.
        waiters: are told if the driver ends.
        scheduler: decides where tasks are.
        stages: the driver's stages by number.
        requests: asks workers.
    """

    def __init__(
        self,
        loops: Loops,
        waiters: Waiters,
        scheduler: Scheduler,
        stages: Mapping[int, StageRun],
        requests: Requests,
    ) -> None:
        self._loops = loops
        self._waiters = waiters
        self._scheduler = scheduler
        self._stages = stages
        self._requests = requests

    def explain(self, task: int) -> Future[Explanation]:
        """Find out why a task is not running, on each worker.

        Raises:
            BndlError: the driver has ended.
        """
        future = RemoteFuture(self._loops)
        self._waiters.add(future, future.settle)
        self._loops.own.post(self._explain, task, future)
        return future

    def fetch_kept(self, name: str, task: int, made_on: str) -> bytes:
        """The pickled result of a task from the worker that keeps it: ``made_on`` if its job is over. Not for the loop.

        Raises:
            UserError: it is not kept any more.
        """
        state = self._scheduler.tasks.get(task)
        worker = made_on if state is None else state.worker.name if state.available and state.worker else None
        data = self._requests.fetch_result(worker, task) if worker is not None else None
        if data is None:
            text = (
                f"the result of {name} stayed on the workers for the stages that use it, and is not kept any more. "
                "Take it while the job runs, or make it an input of the last stage."
            )
            raise UserError(text)
        return data

    def _explain(self, task: int, future: RemoteFuture) -> None:
        namer = Namer(self._name_task, self._name_stage)
        explanation = explain(self._scheduler, task, self._loops.own.now(), namer)
        if self._waiters.claim(future):
            future.settle(Ready(explanation))

    def _name_stage(self, number: int) -> str:
        stage = self._stages.get(number)
        return f"stage {stage.name!r}" if stage is not None else "a stage that is over"

    def _name_task(self, number: int) -> str:
        stage = self._stages.get(number >> 32)
        task = stage.tasks.get(number & 0xFFFFFFFF) if stage is not None else None
        return task.name if task is not None else "a task that is over"
