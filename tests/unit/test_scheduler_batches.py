"""How much a worker is given in advance: by measured time, and less and less towards the end of a stage."""

from __future__ import annotations

from math import inf

import pytest

from bndl.schedule.instructions import Instruction, Launch
from bndl.schedule.placement import LOOKAHEAD, MOST_AHEAD
from tests.unit.scheduling import Ended, Scheduling, launch, settle, succeeded


def sizes(instructions: list[Instruction]) -> dict[str, int]:
    """How many attempts each worker was given."""
    given: dict[str, int] = {}
    for each in instructions:
        if isinstance(each, Launch):
            given[each.worker] = given.get(each.worker, 0) + len(each.attempts)
    return given


def test_nothing_is_launched_in_advance_before_a_task_was_measured() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    assert sizes(scheduling.submit(scheduling.stage(1000))) == {"a": 2}
    assert sizes(scheduling.join("b", 3)) == {"b": 3}


def test_long_tasks_are_never_queued() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1000))
    for task in range(1, 10):
        finished = scheduling.finish("a", succeeded(task, seconds=1.01 * LOOKAHEAD))
        assert finished == [settle("a", 1, task), launch("a", 1, task + 1)]


def test_short_tasks_are_given_as_many_as_the_slots_get_through_in_the_lookahead() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1000))
    # Two slots, each with a task and four more waiting; one slot is busy.
    finished = scheduling.finish("a", succeeded(1, seconds=LOOKAHEAD / 4))
    assert finished == [settle("a", 1, 1), launch("a", 1, *range(3, 12))]


def test_there_is_a_limit_even_for_tasks_that_take_no_time() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3 * MOST_AHEAD))
    assert MOST_AHEAD / 2 < sizes(scheduling.finish("a", succeeded(1, seconds=0.0)))["a"] <= 1 + MOST_AHEAD


def test_a_worker_that_has_plenty_is_not_topped_up_task_by_task() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1000))
    given = sizes(scheduling.finish("a", succeeded(1, seconds=LOOKAHEAD / 20)))["a"]
    assert given == 21
    quiet = 0
    while not (more := sizes(scheduling.finish("a", succeeded(2 + quiet, seconds=LOOKAHEAD / 20)))):
        quiet += 1
    assert 8 <= quiet <= 12, "it is given more when about half is left"
    assert more["a"] > 8


def test_no_worker_gets_more_in_advance_than_half_its_share_of_what_is_left() -> None:
    """Batches shrink to nothing, so that at the end no task waits behind another one."""
    scheduling = Scheduling()
    workers = {"a": 1, "b": 1}
    queues: dict[str, list[int]] = {worker: [] for worker in workers}
    launched = done = 0
    for worker in workers:
        scheduling.join(worker)

    def follow(instructions: list[Instruction]) -> None:
        nonlocal launched
        for each in instructions:
            if isinstance(each, Launch):
                left = 200 - launched
                most = left // (2 * len(workers))
                waiting = len(queues[each.worker]) + len(each.attempts) - 1
                assert waiting <= most, f"{waiting} wait on {each.worker}, {left} were left"
                queues[each.worker] += [attempt.task for attempt in each.attempts]
                launched += len(each.attempts)

    follow(scheduling.submit(scheduling.stage(200)))
    while done < 200:
        for worker, queue in queues.items():
            if queue:
                done += 1
                follow(scheduling.finish(worker, succeeded(queue.pop(0), seconds=0.0001)))
    assert launched == 200


def test_at_the_end_every_slot_has_one() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(4))
    assert sizes(scheduling.finish("a", succeeded(1, seconds=0.0))) == {"a": 1}, "two are left for two slots"


def test_the_mean_follows_what_tasks_take_lately() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1000))
    assert sizes(scheduling.finish("a", succeeded(1, seconds=1.0))) == {"a": 1}
    least = inf
    for task in range(2, 40):
        given = sizes(scheduling.finish("a", succeeded(task, seconds=0.0))).get("a", 0)
        if given > 1:
            least = task
            break
    assert least < 20, "short tasks are batched soon after long ones"


def test_each_stage_is_measured_alone() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1), scheduling.stage(100))
    assert sizes(scheduling.finish("a", succeeded(1, seconds=0.0))) == {"a": 1}


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_what_is_launched_in_advance_counts_for_the_concurrency_of_the_stage(concurrency: int) -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(100, concurrency=concurrency))
    assert sizes(scheduling.finish("a", succeeded(1, seconds=0.0))) == {"a": concurrency}


def test_results_that_come_together_are_settled_together() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(5))
    outcomes: list[Ended] = [succeeded(2), succeeded(4), succeeded(1)]
    assert scheduling.finish("a", *outcomes)[0] == settle("a", 1, 2, 4, 1)
