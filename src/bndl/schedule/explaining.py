"""Why a task is not running on a worker, for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from bndl.printable import printable_line
from bndl.schedule.delay_scheduling import patience
from bndl.schedule.state import TaskState, WorkerState
from bndl.schedule.transitions import State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["Explanation", "explain"]

_MOST_NAMES = 3


class Explanation(msgspec.Struct, frozen=True):
    """Where a task is in its life and, for each worker, why it is not running there. ``print`` and a prompt show it.

    Attributes:
        task: the task's name.
        state: its state.
        text: what it waits for, or how it ended.
        workers: the reasons by the name of the worker.
    """

    task: str
    state: State
    text: str
    workers: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{self.task} is {self.state}: {self.text}"]
        lines += [f"  {name}: {reason}" for name, reason in self.workers.items()]
        return "\n".join(map(printable_line, lines))

    __repr__ = __str__


class Namer:
    """Names tasks and stages as their user does.

    Args:
        task: names a task, given its number.
        stage: names a stage, given its number.
    """

    def __init__(self, task: Callable[[int], str], stage: Callable[[int], str]) -> None:
        self.task = task
        self.stage = stage

    def tasks(self, numbers: list[int]) -> str:
        """Names some tasks, not all if they are many."""
        names = [self.task(number) for number in numbers[:_MOST_NAMES]]
        more = len(numbers) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")


def explain(scheduler: Scheduler, number: int, now: float, namer: Namer) -> Explanation:
    """Explain where a task is that is not over, or was not when its job ended.

    Args:
        scheduler: what there is.
        number: of the task.
        now: seconds, on the clock of the events.
        namer: names tasks and stages.
    """
    name = namer.task(number)
    task = scheduler.tasks.get(number)
    if task is None or task.state is None or task.state is State.DONE:
        return Explanation(name, State.DONE, "it needs no worker any more", {})
    if task.state is State.BLOCKED:
        text = _why_blocked(scheduler, task, now, namer)
        return Explanation(name, task.state, text, dict.fromkeys(scheduler.workers, "it cannot be launched yet"))
    if task.state is State.PENDING:
        return _where_pending(scheduler, task, now, name)
    held = _why_held(scheduler, task)
    if not scheduler.workers:
        return Explanation(name, task.state, "there is no worker; bndl.connect(workers=...) starts some", {})
    text = held or "it waits for a slot on a worker that it may use"
    reasons = {
        worker.name: held or _why_not_there(scheduler, task, worker, now, namer)
        for worker in scheduler.workers.values()
    }
    return Explanation(name, task.state, text, reasons)


def _why_blocked(scheduler: Scheduler, task: TaskState, now: float, namer: Namer) -> str:
    reasons = []
    stage = task.stage
    if not stage.is_open:
        waiting = [
            f"{namer.stage(each.spec.stage)} ({each.unfinished} of its tasks to go)"
            for each in stage.job.stages
            if stage in each.followers and not each.has_passed
        ]
        reasons.append(f"the barrier before {namer.stage(stage.spec.stage)} waits for {', '.join(waiting)}")
    missing = [
        number
        for gate in task.gates
        if gate.missing
        for number in gate.numbers
        if not ((source := scheduler.tasks[number]).available or source.absent)
        and not (gate.is_order and source.state is State.DONE)
    ]
    if missing:
        reasons.append(f"it waits for {namer.tasks(missing)}")
    if task.delayed:
        times = "once" if task.failures == 1 else f"{task.failures} times"
        left = max(scheduler.delays.due(task) - now, 0.0)
        reasons.append(f"it failed {times}, and its next attempt is in {left:.3f} s at the earliest")
    return "; ".join(reasons)


def _where_pending(scheduler: Scheduler, task: TaskState, now: float, name: str) -> Explanation:
    worker = task.worker
    twin = scheduler.attempts.twins.get(task.id)
    here = [each.name for each in (worker, twin.worker if twin is not None else None) if each is not None]
    position = list(worker.running).index(task.id) if worker is not None else 0
    ahead = position - worker.concurrency + 1 if worker is not None else 0
    since = now - task.since
    what = f"it is queued there behind {position} others" if ahead > 0 else f"it was launched there {since:.3f} s ago"
    reasons = {each: what if each in here else f"it is on {here[0]}" for each in scheduler.workers}
    return Explanation(name, State.PENDING, f"attempt {task.number} is on {' and '.join(here)}", reasons)


def _why_held(scheduler: Scheduler, task: TaskState) -> str:
    """What keeps it from every worker alike; empty if nothing does."""
    stage = task.stage
    job = stage.job
    if job.is_paused:
        return "the results of its job are not taken quickly enough"
    limits = (
        ("its stage", stage.spec.concurrency, stage.pending),
        ("its job", job.spec.concurrency, job.pending),
        ("its context", scheduler.concurrency, scheduler.pending),
    )
    for what, limit, pending in limits:
        if limit and pending >= limit:
            return f"the concurrency of {what} is {limit}, and {pending} of its tasks are under way"
    return ""


def _why_not_there(scheduler: Scheduler, task: TaskState, worker: WorkerState, now: float, namer: Namer) -> str:
    group = task.group
    name = worker.name
    if worker.is_draining:
        return "it is leaving, so nothing more is launched there"
    if group is not None and not group.allows(name):
        return f"its locality forbids it (score {group.scores[name]})"
    if worker.free <= 0:
        taken = namer.tasks(list(worker.running)) if worker.running else ""
        zombies = f"{len(worker.zombies)} attempts that are being cancelled" if worker.zombies else ""
        by = " and ".join(part for part in (taken, zombies) if part)
        return f"its {worker.concurrency} slots are taken by {by}"
    if group is not None and not group.is_plain:
        staying = {name: None for name, worker in scheduler.workers.items() if not worker.is_draining}
        best = group.best(staying, -2)
        if name not in best:
            failed_there = name in group.avoid and group.is_avoiding(staying, -2)
            left = max(task.since + patience(task.stage, failed_there=failed_there) - now, 0.0)
            why = "it failed there" if name in group.avoid else "it has a lower score or fewer of the inputs"
            return f"{why}, and {', '.join(best)} is preferred for another {left:.3f} s"
    return "tasks that are more urgent, or were there before, go first"
