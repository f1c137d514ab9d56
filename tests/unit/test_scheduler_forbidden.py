"""Tasks that no worker may run fail at once, and so does what is ready because of that."""

from __future__ import annotations

from bndl.schedule.events import PlacesScored
from bndl.schedule.instructions import Settle, TaskOutcome
from tests.unit.scheduling import Scheduling, finish

FORBIDDEN = {"a": -1, "b": -1}


def failing(stage: int, task: int, number: int, worker: str) -> Settle:
    reason = f"its locality forbids all workers: {worker} (score -1)"
    return Settle(stage, TaskOutcome.FAILED, "", ((task, number),), reason=reason)


def test_it_fails_when_the_workers_are_there() -> None:
    scheduling = Scheduling()
    assert scheduling.submit(scheduling.stage(1, scores=FORBIDDEN)) == []
    assert scheduling.join("b") == [failing(1, 1, 0, "b"), finish(1, TaskOutcome.FAILED, task=1)]


def test_it_fails_when_the_only_worker_that_may_run_it_is_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("c")
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2, scores=FORBIDDEN), independent=True)
    assert scheduling.states(1, 2) == ["pending", "ready"]
    assert failing(1, 1, 1, "a") in scheduling.lose("c")
    assert not scheduling.scheduler.jobs


def test_so_do_the_tasks_of_the_next_stage_if_that_is_tolerated() -> None:
    """Nothing else happens that would give an occasion to look at them."""
    scheduling = Scheduling()
    scheduling.join("a")
    stages = [scheduling.stage(1, scores=FORBIDDEN, max_failures=1) for _ in range(3)]
    assert scheduling.submit(*stages) == [*(failing(number, number, 0, "a") for number in (1, 2, 3)), finish(1)]


def test_it_fails_when_the_user_says_so() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2), independent=True)
    assert scheduling.handle(PlacesScored(1, FORBIDDEN)) == [failing(1, 2, 0, "a")], "what runs already goes on"
    assert scheduling.states(1, 2) == ["pending", "done"]
