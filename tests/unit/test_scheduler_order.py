"""The order in which ready tasks are launched, and that it is always the same."""

from __future__ import annotations

from bndl.schedule import Scheduler, events
from bndl.schedule.events import JobSpec, StageSpec
from bndl.schedule.instructions import Instruction, Launch
from tests.unit.scheduling import Scheduling, failed, gave_up, launch, succeeded


def launched(instructions: list[Instruction]) -> list[int]:
    return [attempt.task for each in instructions if isinstance(each, Launch) for attempt in each.attempts]


def one_by_one(tasks: int, attempts: int = 1) -> Scheduling:
    """Worker a has one slot, and task 1 in it."""
    scheduling = Scheduling()
    scheduling.join("a")
    assert scheduling.submit(scheduling.stage(tasks, attempts=attempts)) == [launch("a", 1, 1)]
    return scheduling


def test_tasks_of_a_stage_are_launched_in_order() -> None:
    scheduling = one_by_one(20)
    order = [launched(scheduling.finish("a", succeeded(task))) for task in range(1, 20)]
    assert order == [[task] for task in range(2, 21)]


def test_tasks_that_are_added_come_last() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, growing=True))
    scheduling.add(1, 1)
    assert launched(scheduling.finish("a", succeeded(1))) == [2]
    assert launched(scheduling.finish("a", succeeded(2))) == [3]


def test_a_task_that_is_tried_again_comes_first() -> None:
    scheduling = one_by_one(3, attempts=2)
    assert launched(scheduling.finish("a", failed(1))) == [1]


def test_so_do_tasks_that_were_lost_in_their_order() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 3)
    scheduling.submit(scheduling.stage(5))
    scheduling.lose("a")
    assert launched(scheduling.join("b", 5)) == [1, 2, 3, 4, 5]


def test_so_do_tasks_that_were_given_up_or_back() -> None:
    scheduling = one_by_one(3)
    assert launched(scheduling.finish("a", gave_up(1))) == [1]
    assert launched(scheduling.give_back("a", (1, 2))) == [1]


def test_a_task_of_the_stage_before_that_is_made_again_comes_first() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(5, {3: [first.tasks]}))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.forget("a", 1)
    assert launched(scheduling.finish("a", succeeded(2))) == [1]


def test_jobs_that_came_first_are_served_first() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    assert launched(scheduling.join("a")) == [1]
    assert launched(scheduling.finish("a", succeeded(1))) == [2]


def history() -> list[events.Event]:
    first = StageSpec(1, range(1, 50), kept=True, concurrency=7)
    second = StageSpec(2, range(50, 60), {task: (range(1, 50),) for task in range(50, 60)}, attempts=2)
    other = StageSpec(3, range(100, 140), attempts=3)
    return [
        *(events.WorkerJoined(f"worker.{index}", 1 + index % 3) for index in range(5)),
        events.JobSubmitted(JobSpec(1, (first, second))),
        events.JobSubmitted(JobSpec(2, (other,), independent=True)),
    ]


def play(scheduler: Scheduler) -> list[Instruction]:
    """A history in which each attempt ends in turn, some in a failure, and workers are lost and come back."""
    out: list[Instruction] = []
    under_way: list[tuple[str, int, int]] = []

    def handle(event: events.Event) -> None:
        for each in scheduler.handle(event, len(out) / 1000):
            out.append(each)
            if isinstance(each, Launch):
                under_way.extend((each.worker, attempt.task, attempt.number) for attempt in each.attempts)

    for event in history():
        handle(event)
    for worker, task, number in under_way:
        outcome = failed(task, number) if task % 7 == number else succeeded(task, number, stored=task < 50)
        handle(events.AttemptsFinished(worker, [outcome]))
        if task in {20, 30, 110}:
            handle(events.WorkerLost("worker.2", "gone"))
            handle(events.WorkerJoined("worker.2", 3))
    assert not scheduler.jobs
    return out


def test_the_same_events_give_the_same_instructions() -> None:
    first = play(Scheduler())
    assert len(first) > 100
    assert play(Scheduler()) == first
