"""What is true of the scheduler's state after every event. Tests check it after each step; it is slow."""

from __future__ import annotations

from bndl.schedule.scheduler import Scheduler
from bndl.schedule.state import StageState
from bndl.schedule.transitions import State

__all__ = ["check"]


def check(scheduler: Scheduler) -> None:
    """Raise ``AssertionError`` with what is wrong if the state contradicts itself."""
    for name, worker in scheduler.workers.items():
        for number, task in worker.running.items():
            _that(task.state is State.PENDING, f"task {number} runs on {name} but is {task.state}")
            _that(task.worker is worker, f"task {number} runs on {name} but thinks it is elsewhere")
        for number, task in worker.kept.items():
            _that(task.available and task.worker is worker, f"{name} keeps the result of {number}, which does not know")
    for number, task in scheduler.tasks.items():
        _that(task.id == number and task.stage.tasks.get(number) is task, f"task {number} is not in its stage")
        if task.state is State.PENDING:
            _that(
                task.worker is not None and task.worker.running.get(number) is task,
                f"task {number} is pending nowhere",
            )
        if task.available:
            _that(
                task.worker is not None and scheduler.workers.get(task.worker.name) is task.worker,
                f"the result of task {number} is on a worker that is gone",
            )
        if task.state is State.READY:
            _that(not task.missing, f"task {number} is ready but misses {task.missing} results")
            _that(task.stage.ready.count(task) == 1, f"task {number} is ready but not once in the queue")
    for stage in scheduler.stages.values():
        _check_stage(stage)


def _check_stage(stage: StageState) -> None:
    number = stage.spec.stage
    tasks = stage.tasks.values()
    pending = sum(task.state is State.PENDING for task in tasks)
    _that(stage.pending == pending, f"stage {number} counts {stage.pending} pending tasks, there are {pending}")
    for task in stage.ready:
        _that(task.state is State.READY, f"task {task.id} is in the queue but {task.state}")
    undelivered = 0 if stage.spec.kept else sum(task.state is State.DONE and task.available for task in tasks)
    unfinished = sum(task.state is not State.DONE for task in tasks) + undelivered
    _that(
        stage.unfinished == unfinished, f"stage {number} counts {stage.unfinished} unfinished, there are {unfinished}"
    )
    if stage.spec.concurrency:
        _that(pending <= stage.spec.concurrency, f"stage {number} has {pending} tasks pending, over its concurrency")
    if not stage.is_open:
        _that(
            all(task.state is State.BLOCKED for task in tasks),
            f"a task of stage {number} passed the barrier before it was open",
        )


def _that(true: bool, text: str) -> None:  # noqa: FBT001 - reads as: check that ...
    if not true:
        raise AssertionError(text)
