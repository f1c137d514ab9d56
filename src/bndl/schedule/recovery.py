"""Which results have to be made again: those that were lost and that something still needs, and nothing else.

A result is needed if a task that is not done has it as an input, or if it was to be delivered to the driver. A lost
result that is needed makes its task run again; if that task's own inputs are gone too, they are made again first.
A pending task may have fetched its inputs already, so it is let run; if it has not, it comes back with what it misses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bndl.schedule.state import JobState, TaskState
from bndl.schedule.transitions import Cause, State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["find_missing", "find_sources", "is_at", "lose_results", "wait_for"]


def is_at(scheduler: Scheduler, task: int, worker: str) -> bool:
    """Whether the result of a task should be on a worker."""
    state = scheduler.tasks.get(task)
    return state is not None and state.available and state.worker is not None and state.worker.name == worker


def find_sources(scheduler: Scheduler, task: TaskState) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Where the inputs of a task are: workers in order of first use, each with the tasks whose results it keeps."""
    sources: dict[str, list[int]] = {}
    for numbers in task.inputs:
        for number in numbers:
            worker = scheduler.tasks[number].worker
            if worker is not None:
                sources.setdefault(worker.name, []).append(number)
    return tuple((name, tuple(numbers)) for name, numbers in sources.items())


def find_missing(scheduler: Scheduler, task: TaskState) -> list[TaskState]:
    """The tasks whose results a task needs and that are not kept anywhere now, each once."""
    missing: dict[int, TaskState] = {}
    for numbers in task.inputs:
        for number in numbers:
            source = scheduler.tasks[number]
            if not source.available:
                missing[number] = source
    return list(missing.values())


def wait_for(scheduler: Scheduler, task: TaskState, missing: Iterable[TaskState]) -> None:
    """Let a task that was just blocked wait for results, and have those made that nobody is making."""
    open_ends = [(task, list(missing))]
    while open_ends:
        waiter, sources = open_ends.pop()
        for source in sources:
            if source.waiters is None:
                source.waiters = []
            source.waiters.append(waiter)
            waiter.missing += 1
            if source.state is State.DONE:
                further = _make_again(scheduler, source)
                if further:
                    open_ends.append((source, further))


def lose_results(scheduler: Scheduler, lost: list[TaskState]) -> None:
    """Results are gone. Have those made again that are needed."""
    for task in lost:
        if task.worker is not None:
            task.worker.kept.pop(task.id, None)
        task.available = False
        task.worker = None
    by_job: dict[int, list[TaskState]] = {}
    for task in lost:
        by_job.setdefault(task.stage.job.spec.job, []).append(task)
    for number, tasks in by_job.items():
        job = scheduler.jobs.get(number)
        if job is not None:
            _block_consumers(scheduler, job, {task.id for task in tasks})
            _make_undelivered_again(scheduler, tasks)


def _block_consumers(scheduler: Scheduler, job: JobState, lost: set[int]) -> None:
    """Let every task that waits to be launched, and needs a lost result, wait for it.

    ``lost`` is only asked for membership, so its order decides nothing.
    """
    for stage in job.stages:
        if not stage.spec.inputs:
            continue
        blocked = False
        for task in list(stage.tasks.values()):
            if task.state is not State.READY and task.state is not State.BLOCKED:
                continue
            missing = [
                scheduler.tasks[number]
                for number in dict.fromkeys(number for numbers in task.inputs for number in numbers)
                if number in lost
            ]
            if not missing:
                continue
            if task.state is State.READY:
                scheduler.move(task, Cause.INPUTS_LOST)
                blocked = True
            wait_for(scheduler, task, missing)
        if blocked:
            waiting = [task for task in stage.ready if task.state is State.READY]
            stage.ready.clear()
            stage.ready.extend(waiting)


def _make_undelivered_again(scheduler: Scheduler, lost: list[TaskState]) -> None:
    """Results that the driver was to have and has not got are needed too."""
    for task in lost:
        if task.state is State.DONE and not task.stage.spec.kept:
            # It counts as unfinished until it is delivered, so it is not counted anew.
            task.stage.unfinished -= 1
            further = _make_again(scheduler, task)
            if further:
                wait_for(scheduler, task, further)


def _make_again(scheduler: Scheduler, task: TaskState) -> list[TaskState]:
    """Take a done task back to ready, or to blocked if inputs are missing too. Returns what it misses."""
    further = find_missing(scheduler, task)
    scheduler.move(task, Cause.RESULT_AND_INPUTS_LOST if further else Cause.RESULT_LOST)
    task.stage.unfinished += 1
    if not further:
        task.stage.ready.appendleft(task)
    return further
