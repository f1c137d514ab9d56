"""Holds what the scheduler does against the model: what is launched, what is not, and all that was foreseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bndl.schedule import Scheduler
from bndl.schedule.delay_scheduling import ELSEWHERE_PATIENCE, PLACE_PATIENCE
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
from bndl.schedule.placement import LOOKAHEAD, MOST_AHEAD
from bndl.schedule.rebalancing import PATIENCE
from bndl.schedule.speculation import SLOW
from bndl.schedule.transitions import State
from tests.stateful.facts import Foreseen, Held, Phase, Task, Worker
from tests.stateful.strategies import BITS
from tests.stateful.world import World

__all__ = ["TINY", "check_idle_slots", "check_states", "follow", "waits_for_time"]

#: Times are sums of floats.
TINY = 1e-9


def follow(world: World, foreseen: Foreseen, instructions: Sequence[Instruction]) -> None:
    """Hold instructions against what was foreseen, and tell the model what was launched."""
    told = Foreseen()
    launched = []
    for each in instructions:
        match each:
            case Launch(worker, stage, attempts):
                for attempt in attempts:
                    task = world.tasks[attempt.task]
                    assert task.stage.spec.stage == stage
                    launched.append((task, worker, world.workers[worker].free > 0))
                    _launch(world, world.workers[worker], task, attempt)
            case TakeBack(worker, attempts):
                _take_back(world, world.workers[worker], attempts)
            case _:
                _note(told, each)
    for name, expected in vars(foreseen).items():
        assert getattr(told, name) == expected, name
    _check_choices(world, launched)


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


# What is launched


def _launch(world: World, worker: Worker, task: Task, attempt: Attempt) -> None:
    if attempt.twin:
        _check_twin(world, worker, task)
    else:
        assert world.state_of(task) is State.READY, f"task {task.number} is launched and was not ready"
    assert attempt.number > task.given, f"attempt {attempt.number} of task {task.number} is launched again"
    task.given = attempt.number
    sources = {place: set(numbers) for place, numbers in attempt.sources}
    assert sources == world.sources_of(task)
    assert sum(len(numbers) for _, numbers in attempt.sources) == len(task.inputs), "each input is named once"
    assert not task.stage.job.is_paused
    assert world.rank(task, worker.name)[1] >= 0, f"task {task.number} is launched on {worker.name}, which is forbidden"
    is_free = worker.free > 0
    assert not task.is_isolated or not worker.held, f"task {task.number} was to have {worker.name} for itself"
    assert not _is_isolating(world, worker), f"{worker.name} was to have nothing but {worker.held}"
    if not worker.held:
        worker.heard = world.now
    if not attempt.twin:
        task.attempt = attempt.number
        task.launched = world.now
    task.phase = Phase.RUNNING
    task.running[attempt.number] = worker.name
    task.ready_since = None
    asked = [(number, place) for place, numbers in attempt.sources for number in numbers if place]
    worker.held[task.number, attempt.number] = Held(asked, into_free_slot=is_free)
    if not is_free:
        _check_queued(world, worker, task)
    assert world.room(task.stage) >= 0, f"task {task.number} is one too many under way"


def _check_twin(world: World, worker: Worker, task: Task) -> None:
    """A second attempt is for stragglers, when there is nothing else to do."""
    stage = task.stage
    assert stage.spec.speculate
    assert len(task.running) == 1
    assert worker.name not in task.running.values()
    assert worker.free > 0
    assert not any(world.is_missing(number) for number in task.inputs)
    assert stage.seconds is not None
    assert world.now - task.launched >= SLOW * stage.seconds[0] - TINY
    assert 2 * stage.measured >= len(stage.tasks)
    assert all(world.state_of(each) is not State.READY for each in stage.tasks.values())


def _check_queued(world: World, worker: Worker, task: Task) -> None:
    """A task was launched in advance: that is for short tasks without a timeout, and not where a suspect is."""
    waited_for = [number for (number, _), held in worker.held.items() if not held.is_abandoned]
    suspects = [number for number in waited_for if world.tasks[number].is_suspect]
    assert not suspects, f"task {task.number} is queued on {worker.name} with the suspects {suspects}"
    assert not task.stage.spec.timeout, f"the time of task {task.number} runs while it is queued"
    assert task.stage.seconds is not None, f"task {task.number} is queued although its stage was not measured"
    ahead = int(LOOKAHEAD / max(task.stage.seconds[0], LOOKAHEAD / MOST_AHEAD))
    assert len(worker.held) <= worker.concurrency * (1 + ahead), f"too much is queued on {worker.name}"


def _check_choices(world: World, launched: Iterable[tuple[Task, str, bool]]) -> None:
    """A better worker was not free, and no task that is more urgent is left."""
    tasks = list(_launchable(world))
    emptied = sum(task.is_isolated for task in tasks)
    plain = [task for task in tasks if not (task.is_isolated or task.avoids or world.preference(task)[0])]
    for task, name, is_free in launched:
        idle = [each for each in _idle(world) if not (task.is_isolated and each.held)]
        others = [each for each in idle if _allows(world, task, each) and each.name not in task.running.values()]
        better = [each.name for each in others if world.rank(task, each.name) > world.rank(task, name)]
        assert len(better) <= emptied, f"task {task.number} is on {name}, but {', '.join(better)} would be better"
        if is_free and not task.is_isolated:
            urgent = [each.number for each in plain if each.priority > task.priority]
            assert not urgent, f"task {task.number} is launched, but {urgent} are more urgent"


def _take_back(world: World, worker: Worker, attempts: Sequence[tuple[int, int]]) -> None:
    assert worker.asked is None, f"{worker.name} is asked again before it has answered"
    assert attempts
    assert set(attempts) <= set(worker.held)
    assert worker.free < 0, f"{worker.name} is asked although nothing is queued there"
    assert world.now - worker.heard >= PATIENCE - TINY, f"{worker.name} is asked although it was heard lately"
    assert any(each.free > 0 for each in world.workers.values()), "attempts are taken back for nobody"
    worker.asked = list(attempts)


# What is so after each event


def check_states(world: World, scheduler: Scheduler) -> None:
    """The scheduler knows what there is, and each task is in the state that it must be in."""
    assert set(scheduler.tasks) == set(world.tasks)
    assert set(scheduler.jobs) == set(world.jobs)
    assert set(scheduler.workers) == set(world.workers)
    for number, task in world.tasks.items():
        state = world.state_of(task)
        assert scheduler.tasks[number].state is state, f"task {number} must be {state}"
        if state is not State.READY:
            task.ready_since = None
        elif task.ready_since is None:
            task.ready_since = world.now


def check_idle_slots(world: World) -> None:
    """No slot is idle while a task could be there.

    Only a task that gets a worker for itself may keep idle slots from others, while that worker is emptied.
    """
    tasks = list(_launchable(world))
    isolated = [task for task in tasks if task.is_isolated]
    for task in isolated:
        empty = [worker.name for worker in _acceptable(world, task) if not worker.held]
        assert not empty, f"task {task.number} is not launched, but {empty} are empty"
    for task in tasks:
        places = _places(world, task)
        assert task.is_isolated or len(places) <= len(isolated), f"task {task.number} is not launched at {places}"


def _launchable(world: World) -> Iterator[Task]:
    for stage in world.stages.values():
        if not stage.job.is_paused and world.room(stage) > 0:
            yield from (task for task in stage.tasks.values() if world.state_of(task) is State.READY)


def _allows(world: World, task: Task, worker: Worker) -> bool:
    return world.rank(task, worker.name)[1] >= 0


def _acceptable(world: World, task: Task) -> list[Worker]:
    """The workers that an isolated task may have: those where it did not fail, if there are any."""
    allowed = [worker for worker in world.workers.values() if _allows(world, task, worker)]
    return [worker for worker in allowed if worker.name not in task.avoids] or allowed


def _idle(world: World) -> list[Worker]:
    return [worker for worker in world.workers.values() if worker.free > 0 and not _is_isolating(world, worker)]


def _is_isolating(world: World, worker: Worker) -> bool:
    """Whether a worker has a task that got it for itself."""
    return any(not held.is_abandoned and world.tasks[number].is_isolated for (number, _), held in worker.held.items())


def _places(world: World, task: Task) -> list[str]:
    """The idle workers where a task would have to be by now."""
    allowed = [worker for worker in world.workers.values() if _allows(world, task, worker)]
    best = max((world.rank(task, worker.name) for worker in allowed), default=None)
    idle = [worker.name for worker in _idle(world) if worker in allowed]
    waited = world.now - (task.ready_since or world.now)
    return [
        name for name in idle if world.rank(task, name) == best or waited > _patience(world, task, name, allowed) + TINY
    ]


def _patience(world: World, task: Task, name: str, allowed: list[Worker]) -> float:
    """For how long a task may keep a worker idle that is not its first choice, at the longest."""
    if not world.preference(task)[1]:
        return 0.0
    bound = PLACE_PATIENCE * task.stage.seconds[1] if task.stage.seconds else 0.0
    has_failed_everywhere = all(worker.name in task.avoids for worker in allowed)
    return max(bound, ELSEWHERE_PATIENCE) if name in task.avoids and not has_failed_everywhere else bound


def waits_for_time(world: World) -> Iterator[tuple[str, float]]:
    """What only the time will bring about, and when at the latest."""
    for task in world.tasks.values():
        if task.phase is Phase.WAITING and task.not_before > world.now:
            yield f"task {task.number} waits for its time", task.not_before
    tasks = list(_launchable(world))
    idle = _idle(world)
    if len(idle) <= sum(task.is_isolated for task in tasks):
        return
    for task in tasks:
        allowed = [worker for worker in world.workers.values() if _allows(world, task, worker)]
        waits = [_patience(world, task, worker.name, allowed) for worker in idle if worker in allowed]
        if not task.is_isolated and waits:
            yield f"task {task.number} waits for a better worker", (task.ready_since or 0.0) + min(waits)
    for worker in world.workers.values():
        if worker.asked is None and any(not worker.held[key].is_abandoned for key in worker.queued):
            yield f"attempts are queued on {worker.name} while slots are idle", worker.heard + PATIENCE
