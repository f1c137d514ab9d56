"""Holds what the scheduler does against the model: what is launched, what is not, and all that was foreseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bndl.schedule import Scheduler
from bndl.schedule.instructions import (
    Abandon,
    Attempt,
    FinishJob,
    Instruction,
    Launch,
    NoteAttempt,
    Release,
    Settle,
    TakeBack,
)
from bndl.schedule.launching import PLACE_PATIENCE
from bndl.schedule.placement import LOOKAHEAD, MOST_AHEAD
from bndl.schedule.rebalancing import PATIENCE
from bndl.schedule.transitions import State
from tests.stateful.facts import Foreseen, Held, Phase, Task, Worker
from tests.stateful.model import Model
from tests.stateful.strategies import BITS

__all__ = ["check_idle_slots", "check_states", "follow", "waits_for_time"]

#: Times are sums of floats.
TINY = 1e-9


def follow(model: Model, foreseen: Foreseen, instructions: Sequence[Instruction]) -> None:
    """Hold instructions against what was foreseen, and tell the model what was launched."""
    told = Foreseen()
    for each in instructions:
        match each:
            case Launch(worker, stage, attempts):
                for attempt in attempts:
                    _launch(model, worker, stage, attempt)
            case TakeBack(worker, attempts):
                _take_back(model, model.workers[worker], attempts)
            case _:
                _note(told, each)
    for name, expected in vars(foreseen).items():
        assert getattr(told, name) == expected, name
    _check_places(model, [each for each in instructions if isinstance(each, Launch)])


def _note(told: Foreseen, instruction: Instruction) -> None:
    match instruction:
        case Settle(stage, outcome, worker, tasks, stored):
            assert all(task >> BITS == stage for task, _ in tasks)
            told.settled.update((task, number, outcome, worker, stored) for task, number in tasks)
        case NoteAttempt(task, number, worker, end):
            told.noted[task, number, worker, end] += 1
        case Abandon(worker, attempts):
            told.abandoned.update((worker, *attempt) for attempt in attempts)
        case Release(worker, tasks):
            told.released.update((worker, task) for task in tasks)
        case FinishJob(job, outcome, task):
            told.finished[job, outcome, task] += 1


def _launch(model: Model, name: str, stage: int, attempt: Attempt) -> None:
    worker = model.workers[name]
    task = model.tasks[attempt.task]
    assert task.stage.spec.stage == stage
    assert model.state_of(task) is State.READY, f"task {task.number} is launched and was not ready"
    assert attempt.number > task.attempt, f"attempt {attempt.number} of task {task.number} is launched again"
    sources = {place: set(numbers) for place, numbers in attempt.sources}
    assert sources == model.sources_of(task)
    assert sum(len(numbers) for _, numbers in attempt.sources) == len(task.inputs), "each input is named once"
    is_free = worker.free > 0
    assert not task.is_isolated or not worker.held, f"task {task.number} was to have {name} for itself"
    assert not _is_isolating(model, worker), f"{name} was to have nothing but {worker.held}"
    if not worker.held:
        worker.heard = model.now
    task.phase = Phase.RUNNING
    task.attempt = attempt.number
    task.worker = name
    task.ready_since = None
    asked = [(number, place) for place, numbers in attempt.sources for number in numbers if place]
    worker.held[task.number, task.attempt] = Held(asked, into_free_slot=is_free)
    if not is_free:
        _check_queued(model, worker, task)
    for limit, pending in _limits(task):
        assert not limit or pending <= limit, f"task {task.number} is launched over a limit of {limit}"


def _limits(task: Task) -> Iterator[tuple[int, int]]:
    """What limits how many may be under way, and how many are."""
    job = task.stage.job
    yield task.stage.spec.concurrency, task.stage.pending
    yield job.spec.concurrency, job.pending


def _check_places(model: Model, launches: Iterable[Launch]) -> None:
    """Nothing is launched where it failed while another worker has a slot for it."""
    idle = {worker.name for worker in model.workers.values() if worker.free > 0}
    empty = {worker.name for worker in model.workers.values() if not worker.held}
    for each in launches:
        for attempt in each.attempts:
            task = model.tasks[attempt.task]
            better = (empty if task.is_isolated else idle) - task.avoids
            assert each.worker not in task.avoids or not better, f"task {task.number} is back on {each.worker}"


def _check_queued(model: Model, worker: Worker, task: Task) -> None:
    """A task was launched in advance: that is for short tasks, and not where a suspect is."""
    suspects = [number for number, _ in worker.held if number in model.tasks and model.tasks[number].is_suspect]
    assert not suspects, f"task {task.number} is queued on {worker.name} with the suspects {suspects}"
    assert task.stage.seconds is not None, f"task {task.number} is queued although its stage was not measured"
    ahead = int(LOOKAHEAD / max(task.stage.seconds[0], LOOKAHEAD / MOST_AHEAD))
    assert len(worker.held) <= worker.concurrency * (1 + ahead), f"too much is queued on {worker.name}"


def _take_back(model: Model, worker: Worker, attempts: Sequence[tuple[int, int]]) -> None:
    assert worker.asked is None, f"{worker.name} is asked again before it has answered"
    assert attempts
    assert set(attempts) <= set(worker.held)
    assert worker.free < 0, f"{worker.name} is asked although nothing is queued there"
    assert model.now - worker.heard >= PATIENCE - TINY, f"{worker.name} is asked although it was heard lately"
    assert any(each.free > 0 for each in model.workers.values()), "attempts are taken back for nobody"
    worker.asked = list(attempts)


def check_states(model: Model, scheduler: Scheduler) -> None:
    """The scheduler knows what there is, and each task is in the state that it must be in."""
    assert set(scheduler.tasks) == set(model.tasks)
    assert set(scheduler.jobs) == set(model.jobs)
    assert set(scheduler.workers) == set(model.workers)
    for number, task in model.tasks.items():
        state = model.state_of(task)
        assert scheduler.tasks[number].state is state, f"task {number} must be {state}"
        if state is not State.READY:
            task.ready_since = None
        elif task.ready_since is None:
            task.ready_since = model.now


def check_idle_slots(model: Model) -> None:
    """No slot is idle while a task could be there.

    Only a task that gets a worker for itself may keep idle slots from others, while that worker is emptied.
    """
    tasks = list(_launchable(model))
    isolated = [task for task in tasks if task.is_isolated]
    empty = [worker.name for worker in model.workers.values() if not worker.held]
    assert not isolated or not empty, f"task {isolated[0].number} is not launched, but {empty[0]} is empty"
    for task in tasks:
        places = _places(model, task)
        assert task.is_isolated or len(places) <= len(isolated), (
            f"task {task.number} is not launched on one of {places}"
        )


def _launchable(model: Model) -> Iterator[Task]:
    for task in model.tasks.values():
        is_allowed = all(not limit or pending < limit for limit, pending in _limits(task))
        if is_allowed and model.state_of(task) is State.READY:
            yield task


def _idle(model: Model) -> list[Worker]:
    return [worker for worker in model.workers.values() if worker.free > 0 and not _is_isolating(model, worker)]


def _is_isolating(model: Model, worker: Worker) -> bool:
    """Whether a worker has a task that got it for itself."""
    return any(not held.is_abandoned and model.tasks[number].is_isolated for (number, _), held in worker.held.items())


def _places(model: Model, task: Task) -> list[str]:
    """The idle workers where a task would have to be by now."""
    best = model.workers.keys() - task.avoids or model.workers.keys()
    patience = PLACE_PATIENCE * task.stage.seconds[1] if task.stage.seconds else 0.0
    has_waited = model.now - (task.ready_since or model.now) > patience + TINY
    return [worker.name for worker in _idle(model) if worker.name in best or has_waited]


def waits_for_time(model: Model) -> list[str]:
    """What only the time will bring about: why an alarm must be set."""
    tasks = list(_launchable(model))
    if len(_idle(model)) <= sum(task.is_isolated for task in tasks):
        return []
    reasons = [f"task {task.number} waits for a better worker" for task in tasks if not task.is_isolated]
    reasons += [
        f"attempts are queued on {worker.name} while slots are idle"
        for worker in model.workers.values()
        if worker.asked is None and any(not worker.held[key].is_abandoned for key in worker.queued)
    ]
    return reasons
