"""Priorities first, then jobs in turns; and limits that hold over all jobs."""

from __future__ import annotations

from collections import Counter

from bndl.schedule import Scheduler, events
from bndl.schedule.instructions import Instruction, Launch
from tests.unit.scheduling import Scheduling, succeeded


def launched(instructions: list[Instruction]) -> list[int]:
    return [each.task for batch in instructions if isinstance(batch, Launch) for each in batch.attempts]


def stages(instructions: list[Instruction]) -> Counter[int]:
    """How many tasks of which stage were launched."""
    counts: Counter[int] = Counter()
    for each in instructions:
        if isinstance(each, Launch):
            counts[each.stage] += len(each.attempts)
    return counts


def test_tasks_with_a_higher_priority_go_first_over_all_jobs() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2))
    scheduling.submit(scheduling.stage(2, priority=1, task_priorities={4: 5}))
    scheduling.join("a")
    order = []
    for _ in range(4):
        (task,) = [number for number, each in scheduling.scheduler.tasks.items() if str(each.state) == "pending"]
        order.append(task)
        scheduling.finish("a", succeeded(task))
    assert order == [4, 3, 1, 2]


def test_two_jobs_share_the_slots_evenly() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(100))
    scheduling.submit(scheduling.stage(100))
    assert stages(scheduling.join("a", 8)) == {1: 4, 2: 4}


def test_a_job_that_comes_later_gets_its_share_as_slots_become_free() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(100))
    scheduling.submit(scheduling.stage(100))
    assert stages(scheduling.finish("a", succeeded(1), succeeded(2))) == {2: 2}
    assert stages(scheduling.finish("a", succeeded(3))) == {1: 1}, "now they are even, and it is the first one's turn"


def test_what_a_job_has_no_use_for_goes_to_the_other() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(100))
    scheduling.submit(scheduling.stage(100), concurrency=1)
    assert stages(scheduling.join("a", 9)) == {1: 1, 2: 7, 3: 1}


def test_batches_are_shared_too() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2000))
    scheduling.submit(scheduling.stage(2000))
    queue = launched(scheduling.join("a", 2))
    done: Counter[str] = Counter()
    for _ in range(300):
        batch, queue = queue[:6], queue[6:]
        done.update("first" if task <= 2000 else "second" for task in batch)
        queue += launched(scheduling.finish("a", *(succeeded(task, seconds=0.001) for task in batch)))
    first, second = done.values()
    assert first + second > 1500
    assert 0.8 < first / second < 1.25


def test_the_limit_of_the_context_holds_over_all_jobs() -> None:
    scheduling = Scheduling()
    scheduling.scheduler = Scheduler(concurrency=3)
    scheduling.submit(scheduling.stage(5))
    scheduling.submit(scheduling.stage(5))
    assert len(launched(scheduling.join("a", 8))) == 3
    assert len(launched(scheduling.finish("a", succeeded(1)))) == 1


def test_nothing_of_a_paused_job_is_launched() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(5))
    scheduling.handle(events.JobPaused(1))
    assert launched(scheduling.join("a", 2)) == []
    assert launched(scheduling.handle(events.JobResumed(1))) == [1, 2]


def test_a_paused_job_that_is_over_does_not_matter() -> None:
    scheduling = Scheduling()
    assert scheduling.handle(events.JobPaused(1)) == []
    assert scheduling.handle(events.JobResumed(1)) == []


def finish_one_by_one(scheduling: Scheduling, worker: str, first: list[int], rounds: int) -> list[int]:
    """Let the worker finish what it has in order, one task at a time; returns which it finished."""
    queue, done = list(first), []
    for _ in range(rounds):
        task = queue.pop(0)
        done.append(task)
        queue += launched(scheduling.finish(worker, succeeded(task, seconds=0.001)))
    return done


def test_an_urgent_task_waits_for_no_more_than_what_is_queued_in_advance() -> None:
    for priority in (0, 1):
        scheduling = Scheduling()
        scheduling.submit(scheduling.stage(4000))
        queue = launched(scheduling.join("a"))
        for _ in range(50):
            task = queue.pop(0)
            queue += launched(scheduling.finish("a", succeeded(task, seconds=0.001)))
        queued = len(queue)
        queue += launched(scheduling.submit(scheduling.stage(1, priority=priority)))
        done = finish_one_by_one(scheduling, "a", queue, queued + 1)
        assert done[-1] == 4001, "right after what was there before"


def test_more_jobs_than_slots_take_turns() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    queue = launched(scheduling.submit(scheduling.stage(3)))
    for _ in range(3):
        assert scheduling.submit(scheduling.stage(3)) == []
    order = []
    while queue:
        task = queue.pop(0)
        order.append((task - 1) // 3)
        queue += launched(scheduling.finish("a", succeeded(task)))
    assert order == [0, 1, 2, 3] * 3
