"""From a job as the user built it to one that can be executed.

Everything is pickled, checked and numbered in the user's thread, so that what is wrong with it is raised where the user
can see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bndl.driver.cycles import find_stuck
from bndl.driver.execution import Execution, Listener, StageRun
from bndl.driver.options import Effective, Options
from bndl.driver.tasks import Task
from bndl.errors import ForeignRef, InvalidJob, JobCycle, JobStarted
from bndl.execute.payloads import Packer
from bndl.execute.shown import function_name
from bndl.net.messages import Space
from bndl.schedule.events import JobSpec, StageSpec

if TYPE_CHECKING:
    from bndl.driver.driver import Driver
    from bndl.driver.jobs import Job, Stage

__all__ = ["make_growing_spec", "pack_function", "prepare"]


def prepare(driver: Driver, job: Job, listener: Listener) -> tuple[Execution, JobSpec]:
    """Pickle, check and number all of a job.

    Args:
        driver: who will execute it.
        job: what to execute. It belongs to the execution from then on.
        listener: hears of its progress.

    Raises:
        InvalidJob: the job has no stages.
        JobStarted: it was executed before.
        ForeignRef: a task needs a result of another job.
        JobCycle: a task needs a result that is made in its own stage or a later one.
        NotPicklable: a function or an argument cannot travel.
    """
    if not job.stages:
        text = (
            f"job {job.name!r} has no stages, so there is nothing to execute; add one with job.stage(function, items)."
        )
        raise InvalidJob(text)
    if not job.claim():
        text = f"job {job.name!r} is being executed or was; a job runs once, so make a new Job to run it again."
        raise JobStarted(text)
    try:
        return _prepare(driver, job, listener)
    except BaseException:
        job.unclaim()
        raise


def _prepare(driver: Driver, job: Job, listener: Listener) -> tuple[Execution, JobSpec]:
    execution = Execution(driver, job.name, listener)
    execution.concurrency = job.options.concurrency or 0
    for stage in job.stages:
        stage.number = driver.next_number()
    try:
        specs = _prepare_stages(driver, job, execution)
    except BaseException:
        driver.drop_stored(stage.number for stage in job.stages)
        raise
    for run in execution.stages:
        for task in run.tasks.values():
            task.begin_run(run, task.index)
    job.execution = execution  # from now on it is told of a cancellation
    execution.cancelled = job.cancelled
    return execution, JobSpec(execution.number, tuple(specs), job.options.concurrency or 0)


def _prepare_stages(driver: Driver, job: Job, execution: Execution) -> list[StageSpec]:
    packer = Packer()
    execution.pinned = packer.pinned
    used: set[int] = set()
    inputs = [_prepare_tasks(driver, job, position, packer, used) for position in range(len(job.stages))]
    specs = []
    for position, stage in enumerate(job.stages):
        kept = position in used and position < len(job.stages) - 1
        what = f"the function of stage {stage.name!r}"
        function = pack_function(driver, packer, stage.function, what, stage.number)
        run = execution.add_stage(stage.name, function, number=stage.number, calls=stage.function is None, kept=kept)
        run.function_name = function_name(stage.function) if stage.function is not None else ""
        run.tasks = dict(enumerate(stage.tasks))
        run.counters.tasks = len(stage.tasks)
        _settle_options(run, job, stage)
        specs.append(_make_spec(job, stage, run, inputs[position]))
    stuck = find_stuck(specs)
    if stuck is not None:
        task = next(stage for stage in job.stages if stage.number == stuck >> 32).tasks[stuck & 0xFFFFFFFF]
        text = (
            f"job {job.name!r} has a cycle: {task.name} would wait for itself. Look at what it, and the tasks it waits "
            "for, are after=, and at the barriers of their stages."
        )
        raise JobCycle(text)
    return specs


def _settle_options(run: StageRun, job: Job, stage: Stage) -> None:
    """What holds for the tasks of a stage, all levels taken together."""
    run.options = Effective.of(stage.options, job.options)
    run.locality = run.options.locality
    levels = (stage.options.max_failures, job.options.max_failures)
    run.max_failures = next((level for level in levels if level is not None), 0)
    for task in stage.tasks:
        if task.has_options:
            run.task_options[task.index] = Effective.of(task.own, stage.options, job.options)
            if task.own.locality is not None:
                run.task_localities[task.index] = task.own.locality


def pack_function(driver: Driver, packer: Packer, function: Any, what: str, number: int) -> bytes:
    """Pickle a function. Empty if it is so large that workers have to fetch it."""
    if function is None:
        return b""
    payload = packer.pack(function, what, is_shared=True)
    return driver.store_if_large(Space.FUNCTION, number, payload)


def _prepare_tasks(
    driver: Driver, job: Job, position: int, packer: Packer, used: set[int]
) -> Mapping[int, tuple[range, ...]]:
    """Pickle the arguments of a stage's tasks. Returns which results they need, by the number of the task."""
    stage = job.stages[position]
    first = stage.first_task
    positions = {id(each): index for index, each in enumerate(job.stages)}
    inputs: dict[int, tuple[range, ...]] = {}
    for task in stage.tasks:
        number = first + task.index
        payload = packer.pack(task.call, f"the argument of {task.name}", with_refs=True)
        if packer.refs:
            for source in {id(ref.stage): ref.stage for ref in packer.refs}.values():
                used.add(_check_source(job, task, position, positions.get(id(source)), source.name))
            inputs[number] = tuple(ref.tasks for ref in packer.refs)
        task.set_arguments(driver.store_if_large(Space.ARGUMENTS, number, payload))
    return inputs


def _check_source(job: Job, task: Task, position: int, source: int | None, name: str) -> int:
    """Where the stage stands whose result a task needs."""
    if source is None:
        text = (
            f"{task.name} of job {job.name!r} needs a result of stage {name!r}, which is in another job. Put both "
            "stages into one job, or pass the value itself."
        )
        raise ForeignRef(text)
    if source >= position:
        text = (
            f"job {job.name!r} has a cycle: {task.name} needs a result of stage {name!r}, which is not done before "
            f"stage {job.stages[position].name!r} begins. Results can only be used in later stages."
        )
        raise JobCycle(text)
    return source


def _make_spec(job: Job, stage: Stage, run: StageRun, inputs: Mapping[int, tuple[range, ...]]) -> StageSpec:
    first = stage.first_task
    common = run.options
    own = {first + index: options for index, options in run.task_options.items()}
    speculate = stage.options.speculate if stage.options.speculate is not None else job.options.speculate
    return StageSpec(
        stage.number,
        range(first, first + len(stage.tasks)),
        inputs,
        attempts=common.retry.attempts,
        task_attempts={number: each.retry.attempts for number, each in own.items()},
        losses=common.retry.losses,
        task_losses={number: each.retry.losses for number, each in own.items()},
        concurrency=stage.options.concurrency or 0,
        kept=run.kept,
        after=tuple(each.number for each in stage.after),
        order=_list_order(job, stage),
        retry=common.retry.rule,
        task_retries={number: each.retry.rule for number, each in own.items()},
        priority=common.priority,
        task_priorities={number: each.priority for number, each in own.items()},
        timeout=common.timeout,
        task_timeouts={number: each.timeout for number, each in own.items()},
        max_failures=run.max_failures,
        speculate=bool(speculate),
    )


def make_growing_spec(run: StageRun, options: Options) -> StageSpec:
    """The spec of a stage that tasks are added to while it runs."""
    common = run.options = Effective.of(options)
    run.locality = common.locality
    run.max_failures = options.max_failures or 0
    return StageSpec(
        run.number,
        range(0),
        attempts=common.retry.attempts,
        losses=common.retry.losses,
        concurrency=options.concurrency or 0,
        growing=True,
        retry=common.retry.rule,
        priority=common.priority,
        timeout=common.timeout,
        max_failures=run.max_failures,
        speculate=bool(options.speculate),
    )


def _list_order(job: Job, stage: Stage) -> Mapping[int, tuple[range, ...]]:
    """For the tasks that are after others, which those are, by the number of the task."""
    order: dict[int, tuple[range, ...]] = {}
    for task in stage.tasks:
        if not task.predecessors:
            continue
        numbers = []
        for other in task.predecessors:
            if other.stage is None or other.stage not in job.stages:
                text = (
                    f"{task.name} of job {job.name!r} waits for {other.name}, which is not in that job. Put that task "
                    "into a stage of the job, or leave it out."
                )
                raise InvalidJob(text)
            numbers.append(other.stage.number * (1 << 32) + other.index)
        order[stage.first_task + task.index] = tuple(_ranges(sorted(set(numbers))))
    return order


def _ranges(numbers: list[int]) -> list[range]:
    """Sorted numbers as ranges of consecutive ones."""
    ranges: list[range] = []
    for number in numbers:
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return ranges
