"""Stages that form a graph, stages without a barrier, and tasks that come after others."""

from __future__ import annotations

from bndl.schedule import events
from bndl.schedule.instructions import Attempt, Instruction, Launch, Settle, TaskOutcome
from tests.unit.scheduling import Scheduling, finish, settle, succeeded


def launched(instructions: list[Instruction]) -> list[int]:
    return [each.task for batch in instructions if isinstance(batch, Launch) for each in batch.attempts]


def test_a_stage_waits_for_the_stages_that_it_is_after_and_for_no_others() -> None:
    scheduling = Scheduling()
    top = scheduling.stage(1)
    left = scheduling.stage(1, after=(top.stage,))
    right = scheduling.stage(1, after=(top.stage,))
    both = scheduling.stage(1, after=(left.stage, right.stage))
    scheduling.submit(top, left, right, both)
    assert launched(scheduling.join("a", 4)) == [1]
    assert launched(scheduling.finish("a", succeeded(1))) == [2, 3]
    assert launched(scheduling.finish("a", succeeded(3))) == []
    assert launched(scheduling.finish("a", succeeded(2))) == [4]
    assert scheduling.finish("a", succeeded(4))[-1] == finish(1)


def test_a_stage_without_a_barrier_begins_at_once() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1), scheduling.stage(2, after=()))
    assert launched(scheduling.join("a", 4)) == [1, 2, 3]
    assert scheduling.finish("a", succeeded(1), succeeded(2), succeeded(3))[-1] == finish(1)


def test_without_a_barrier_a_task_waits_for_its_inputs_alone() -> None:
    scheduling = Scheduling()
    first = scheduling.stage(3, kept=True)
    second = scheduling.stage(3, {4: [range(1, 2)], 5: [range(1, 3)], 6: [range(3, 4)]}, after=())
    scheduling.submit(first, second)
    scheduling.join("a", 3)
    assert scheduling.states(4, 5, 6) == ["blocked"] * 3
    assert launched(scheduling.finish("a", succeeded(1, stored=True))) == [4]
    assert launched(scheduling.finish("a", succeeded(2, stored=True))) == [5]
    assert scheduling.states(6) == ["blocked"]


def test_a_task_comes_after_another_of_its_own_stage() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(3, order={1: (range(2, 4),)}))
    assert launched(scheduling.join("a", 3)) == [2, 3]
    assert launched(scheduling.finish("a", succeeded(3))) == []
    assert launched(scheduling.finish("a", succeeded(2))) == [1]


def test_an_order_is_kept_once_and_for_all() -> None:
    """That the result of a task is lost, and is made again, does not hold up those that were to come after it."""
    scheduling = Scheduling()
    first = scheduling.stage(1, kept=True)
    second = scheduling.stage(2, {2: [first.tasks]}, after=(), order={3: (first.tasks,)})
    scheduling.join("a")
    scheduling.submit(first, second)
    scheduling.finish("a", succeeded(1, stored=True))
    assert scheduling.states(2, 3) == ["pending", "ready"]
    scheduling.lose("a")
    assert scheduling.states(1, 2, 3) == ["ready", "blocked", "ready"]


def test_what_comes_after_a_task_that_failed_is_cancelled_with_all_that_comes_after_it() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 4)
    scheduling.submit(scheduling.stage(4, order={2: (range(1, 2),), 3: (range(2, 3),)}, max_failures=1))
    settled = [each for each in scheduling.cancel_tasks(1) if isinstance(each, Settle)]
    outcomes = {task: (each.outcome, each.reason) for each in settled for task, _ in each.tasks}
    why = "a task that it was to come after did not succeed"
    assert outcomes == {
        1: (TaskOutcome.CANCELLED, "not wanted"),
        2: (TaskOutcome.CANCELLED, why),
        3: (TaskOutcome.CANCELLED, why),
    }
    assert scheduling.finish("a", succeeded(4)) == [settle("a", 1, 4), finish(1)]


def test_n_tasks_that_need_m_results_make_n_plus_m_links() -> None:
    scheduling = Scheduling()
    first = scheduling.stage(300, kept=True)
    second = scheduling.stage(200, {task: [first.tasks] for task in range(301, 501)}, after=())
    scheduling.submit(first, second)
    tasks = scheduling.scheduler.tasks
    gates = {id(gate): gate for task in tasks.values() for gate in task.gates}
    assert len(gates) == 1
    assert sum(len(task.feeds) for task in tasks.values()) == 300
    assert sum(len(gate.consumers) for gate in gates.values()) == 200


def test_a_cancelled_task_is_left_out_of_the_inputs_of_others() -> None:
    scheduling = Scheduling()
    first = scheduling.stage(2, kept=True)
    scheduling.join("a", 2)
    scheduling.submit(first, scheduling.stage(1, {3: [first.tasks]}))
    scheduling.finish("a", succeeded(1, stored=True))
    expected = Attempt(3, 1, (("a", (1,)), ("", (2,))))
    assert scheduling.cancel_tasks(2)[-1] == Launch("a", 2, (expected,))


def test_what_comes_after_a_cancelled_task_may_be_a_very_long_chain() -> None:
    scheduling = Scheduling()
    order = {task: (range(task - 1, task),) for task in range(2, 3001)}
    scheduler = scheduling.scheduler
    scheduler.handle(events.JobSubmitted(events.JobSpec(1, (scheduling.stage(3000, order=order),))), 0.0)
    out = scheduler.handle(events.TasksCancelled([1], "not wanted"), 0.0)
    assert sum(isinstance(each, Settle) for each in out) == 3000
    assert not scheduler.jobs
