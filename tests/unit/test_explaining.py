"""Why a task is not running, for each worker."""

from __future__ import annotations

from bndl.schedule.events import RetryRule
from bndl.schedule.explaining import Explanation, Namer, explain
from bndl.schedule.retrying import delay_of
from tests.unit.scheduling import Scheduling, failed, succeeded

NAMER = Namer(lambda task: f"t{task}", lambda stage: f"stage {stage}")


def ask(scheduling: Scheduling, task: int) -> Explanation:
    return explain(scheduling.scheduler, task, scheduling.now, NAMER)


def test_a_task_behind_a_barrier() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(2), scheduling.stage(1))
    answer = ask(scheduling, 3)
    assert str(answer).splitlines() == [
        "t3 is blocked: the barrier before stage 2 waits for stage 1 (2 of its tasks to go)",
        "  a: it cannot be launched yet",
    ]


def test_a_task_that_waits_for_others() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    first = scheduling.stage(5, kept=True)
    scheduling.submit(first, scheduling.stage(1, {6: [first.tasks]}, after=()))
    assert ask(scheduling, 6).text == "it waits for t1, t2, t3 and 2 more"


def test_a_task_that_waits_for_its_next_attempt() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1, attempts=2, retry=RetryRule(backoff=1.0)))
    scheduling.finish("a", failed(1))
    due = delay_of(RetryRule(backoff=1.0), 1, 1)
    assert ask(scheduling, 1).text == f"it failed once, and its next attempt is in {due:.3f} s at the earliest"
    scheduling.now = 0.75
    assert ask(scheduling, 1).text == f"it failed once, and its next attempt is in {due - 0.75:.3f} s at the earliest"


def test_a_ready_task() -> None:
    scheduling = Scheduling()
    assert scheduling.submit(scheduling.stage(3, scores={"b": -1}, concurrency=2)) == []
    assert ask(scheduling, 1).text.startswith("there is no worker")
    scheduling.join("a")
    scheduling.join("b")
    assert ask(scheduling, 2).workers == {
        "a": "its 1 slots are taken by t1",
        "b": "its locality forbids it (score -1)",
    }
    scheduling.join("c")
    answer = ask(scheduling, 3)
    assert answer.text == "the concurrency of its stage is 2, and 2 of its tasks are under way"
    assert set(answer.workers.values()) == {answer.text}


def test_a_task_that_waits_for_a_better_worker() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(3, scores={"a": 1}))
    scheduling.finish("a", succeeded(1, seconds=1.0))
    scheduling.join("b")
    scheduling.now = 2.0
    assert ask(scheduling, 3).workers == {
        "a": "its 1 slots are taken by t2",
        "b": "it has a lower score or fewer of the inputs, and a is preferred for another 3.000 s",
    }


def test_a_pending_task() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.join("b")
    scheduling.now = 2.5
    answer = ask(scheduling, 1)
    assert answer.text == "attempt 1 is on a"
    assert answer.workers == {"a": "it was launched there 2.500 s ago", "b": "it is on a"}


def test_a_task_that_is_over() -> None:
    assert str(ask(Scheduling(), 1)) == "t1 is done: it needs no worker any more"
