"""Which results have to be made again: those that were lost and that something still needs, and nothing else.

A result is needed if a task that is not done, and is not under way, waits for it, or if it was to be delivered to the
driver. A lost result that is needed makes its task run again; if that task's own inputs are gone too, they are made
again first. A pending task may have fetched its inputs already, so it is let run; if it has not, it comes back with
what it misses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bndl.schedule import gates, instructions
from bndl.schedule.state import Gate, StageState, TaskState
from bndl.schedule.transitions import Cause, State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["is_at", "lose_results", "make_again", "note_delivered"]


def is_at(scheduler: Scheduler, task: int, worker: str) -> bool:
    """Whether the result of a task should be on a worker."""
    state = scheduler.tasks.get(task)
    return state is not None and state.available and state.worker is not None and state.worker.name == worker


def note_delivered(scheduler: Scheduler, tasks: Sequence[int]) -> None:
    """The driver has fetched results that were stored on workers, which need not keep them any longer."""
    released: dict[str, list[int]] = {}
    stages: dict[int, StageState] = {}
    for number in tasks:
        task = scheduler.tasks.get(number)
        if task is None or not task.available or task.worker is None:
            continue
        released.setdefault(task.worker.name, []).append(number)
        del task.worker.kept[number]
        task.available = False
        task.worker = None
        stage = stages[task.stage.spec.stage] = task.stage
        stage.unfinished -= 1
        stage.job.unfinished -= 1
        if stage.growing:
            scheduler.forget(task)
    for stage in stages.values():
        scheduler.advance(stage)
    for name, numbers in released.items():
        scheduler.out.append(instructions.Release(name, tuple(numbers)))


def lose_results(scheduler: Scheduler, lost: list[TaskState]) -> None:
    """Results are gone. Have those made again that are needed."""
    lost = list(dict.fromkeys(lost))  # whoever reports losses may name one twice
    hit: dict[int, Gate] = {}
    for task in lost:
        if task.worker is not None:
            task.worker.kept.pop(task.id, None)
        task.available = False
        task.worker = None
    stages: dict[int, StageState] = {}
    for task in lost:
        for gate in task.feeds:
            hit[id(gate)] = gate
            for consumer in gates.close(gate):
                scheduler.move(consumer, Cause.INPUTS_LOST)
                consumer.missing = gates.count_missing(consumer)
                stages[consumer.stage.spec.stage] = consumer.stage
    for stage in stages.values():
        stage.ready.prune()
    wanted = [gate for gate in hit.values() if any(each.state is State.BLOCKED for each in gate.consumers)]
    make_again(scheduler, gates.reopen(scheduler, wanted))
    undelivered = [task for task in lost if task.state is State.DONE and not task.stage.spec.kept]
    for task in undelivered:
        # It counts as unfinished until it is delivered, so it is not counted anew.
        task.stage.unfinished -= 1
        task.stage.job.unfinished -= 1
    make_again(scheduler, undelivered)


def make_again(scheduler: Scheduler, tasks: Iterable[TaskState]) -> None:
    """Take done tasks back to ready, or to blocked if inputs are missing too, which are then made again as well."""
    open_ends = list(reversed(list(tasks)))
    while open_ends:
        task = open_ends.pop()
        if task.state is not State.DONE:
            continue
        task.missing = gates.count_missing(task)
        scheduler.move(task, Cause.RESULT_AND_INPUTS_LOST if task.missing else Cause.RESULT_LOST)
        task.stage.unfinished += 1
        task.stage.job.unfinished += 1
        if task.missing:
            open_ends += gates.reopen(scheduler, task.gates)
        else:
            scheduler.queue(task, first=True)
