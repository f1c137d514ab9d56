"""What is true of the scheduler's state after every event. Tests check it after each step; it is slow."""

from __future__ import annotations

from bndl.schedule.gates import count_missing
from bndl.schedule.scheduler import Scheduler
from bndl.schedule.state import Gate, StageState, TaskState
from bndl.schedule.transitions import State

__all__ = ["check"]


def check(scheduler: Scheduler) -> None:
    """Raise ``AssertionError`` with what is wrong if the state contradicts itself."""
    for name, worker in scheduler.workers.items():
        for number, task in worker.running.items():
            twin = scheduler.attempts.twins.get(number)
            _that(task.state is State.PENDING, f"task {number} runs on {name} but is {task.state}")
            _that(
                (task.worker is worker) != (twin is not None and twin.worker is worker),
                f"task {number} runs on {name} but thinks it is elsewhere",
            )
        for number, task in worker.kept.items():
            _that(task.available and task.worker is worker, f"{name} keeps the result of {number}, which does not know")
    for number, twin in scheduler.attempts.twins.items():
        _that(number in scheduler.tasks, f"the twin of {number} has no task")
        _that(number in twin.worker.running, f"the twin of task {number} is nowhere")
    for number, task in scheduler.tasks.items():
        _that(task.id == number and task.stage.tasks.get(number) is task, f"task {number} is not in its stage")
        _check_task(scheduler, task)
    for stage in scheduler.stages.values():
        _check_stage(scheduler, stage)
    _check_counts(scheduler)


def _check_task(scheduler: Scheduler, task: TaskState) -> None:
    number = task.id
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
        _that(not count_missing(task), f"task {number} is ready but misses results")
    else:
        _that(task.group is None, f"task {number} is {task.state} but queued")
    if task.state is State.BLOCKED:
        missing = count_missing(task) + task.delayed
        _that(task.missing == missing, f"task {number} counts {task.missing} that it waits for, there are {missing}")
        _that(
            bool(missing) or not task.stage.is_open, f"task {number} is blocked but there is nothing that it waits for"
        )
    for gate in task.gates:
        _check_gate(scheduler, gate)


def _check_gate(scheduler: Scheduler, gate: Gate) -> None:
    if not gate.is_order:
        sources = [scheduler.tasks[number] for number in gate.numbers]
        missing = sum(not source.available and not source.absent for source in sources)
        _that(
            gate.missing == missing,
            f"a gate on {gate.numbers} counts {gate.missing} missing results, there are {missing}",
        )


def _check_stage(scheduler: Scheduler, stage: StageState) -> None:
    number = stage.spec.stage
    tasks = stage.tasks.values()
    twins = scheduler.attempts.twins
    pending = sum(1 + (task.id in twins) for task in tasks if task.state is State.PENDING)
    _that(stage.pending == pending, f"stage {number} counts {stage.pending} pending attempts, there are {pending}")
    for group in stage.ready.groups.values():
        for task in group.tasks:
            _that(task.group is group, f"task {task.id} does not know what it is queued in")
    queued = sorted(task.id for task in stage.ready)
    ready = sorted(task.id for task in tasks if task.state is State.READY)
    _that(queued == ready, f"stage {number} has {queued} in its queue, and {ready} are ready")
    _that(len(stage.ready) == len(ready), f"stage {number} counts {len(stage.ready)} ready tasks, not {len(ready)}")
    undelivered = 0 if stage.spec.kept else sum(task.state is State.DONE and task.available for task in tasks)
    unfinished = sum(task.state is not State.DONE for task in tasks) + undelivered
    _that(
        stage.unfinished == unfinished, f"stage {number} counts {stage.unfinished} unfinished, there are {unfinished}"
    )
    if stage.spec.concurrency:
        _that(pending <= stage.spec.concurrency, f"stage {number} has {pending} tasks pending, over its concurrency")
    if not stage.is_open:
        _that(
            all(task.state in {State.BLOCKED, State.DONE} for task in tasks),
            f"a task of stage {number} passed the barrier before it was open",
        )


def _check_counts(scheduler: Scheduler) -> None:
    for number, job in scheduler.jobs.items():
        pending = sum(stage.pending for stage in job.stages)
        _that(job.pending == pending, f"job {number} counts {job.pending} pending attempts, there are {pending}")
        unfinished = sum(stage.unfinished for stage in job.stages)
        _that(job.unfinished == unfinished, f"job {number} counts {job.unfinished} unfinished, there are {unfinished}")
    total = sum(job.pending for job in scheduler.jobs.values())
    _that(scheduler.pending == total, f"{scheduler.pending} attempts are counted, {total} are pending")
    if scheduler.concurrency:
        _that(total <= scheduler.concurrency, f"{total} attempts are pending, more than {scheduler.concurrency}")


def _that(true: bool, text: str) -> None:  # noqa: FBT001 - reads as: check that ...
    if not true:
        raise AssertionError(text)
