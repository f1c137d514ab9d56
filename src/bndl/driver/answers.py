"""Answers to users who ask why a task is not running."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from bndl.driver.futures import Loops, Ready, RemoteFuture
from bndl.schedule import Scheduler
from bndl.schedule.explaining import Explanation, Namer, explain

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun
    from bndl.driver.waiters import Waiters

__all__ = ["Answers"]


class Answers:
    """Explains where tasks are. Thread-safe.

    Args:
        loops: the driver's.
        waiters: are told if the driver ends.
        scheduler: decides where tasks are.
        stages: the driver's stages by number.
    """

    def __init__(self, loops: Loops, waiters: Waiters, scheduler: Scheduler, stages: Mapping[int, StageRun]) -> None:
        self._loops = loops
        self._waiters = waiters
        self._scheduler = scheduler
        self._stages = stages

    def explain(self, task: int) -> Future[Explanation]:
        """Find out why a task is not running, on each worker.

        Raises:
            BndlError: the driver has ended.
        """
        future = RemoteFuture(self._loops)
        self._waiters.add(future, future.settle)
        self._loops.own.post(self._explain, task, future)
        return future

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
