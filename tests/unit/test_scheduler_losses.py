"""Workers that are lost: attempts go elsewhere, and only what may have ended a worker pays for it."""

from __future__ import annotations

from bndl.schedule.events import WorkerLost
from bndl.schedule.instructions import End, FinishJob, Instruction, Launch, NoteAttempt, TaskOutcome
from tests.unit.scheduling import Scheduling, cancelled, fail, failed, finish, launch, note, settle, succeeded

LOST = (End.LOST, "gone")


def lost(instructions: list[Instruction]) -> set[tuple[int, int]]:
    """The attempts that are written down as lost."""
    notes = [each for each in instructions if isinstance(each, NoteAttempt)]
    assert all(each.end is End.LOST for each in notes)
    assert len({(each.task, each.number) for each in notes}) == len(notes)
    return {(each.task, each.number) for each in notes}


def launches(instructions: list[Instruction]) -> list[Instruction]:
    return [each for each in instructions if isinstance(each, Launch)]


def queued_on(worker: str, scheduling: Scheduling) -> None:
    """The worker joins with one slot, executes task 2, and has 3 to 6 in its queue."""
    scheduling.join(worker)
    scheduling.submit(scheduling.stage(11))
    assert scheduling.finish(worker, succeeded(1, seconds=0.005))[1:] == [launch(worker, 1, 2, 3, 4, 5, 6)]


def test_what_ran_on_a_lost_worker_goes_elsewhere_first() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(4))
    instructions = scheduling.lose("a")
    assert lost(instructions) == {(1, 1), (2, 1)}
    assert launches(instructions) == []
    assert scheduling.states(1, 2, 3, 4) == ["ready"] * 4
    assert scheduling.join("b", 3) == [launch("b", 1, (1, 2), (2, 2), 3)]


def test_it_may_go_to_another_worker_at_once() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.join("b")
    assert scheduling.lose("a") == [note("a", 1, 1, *LOST), launch("b", 1, (1, 2))]


def test_a_task_that_ends_each_of_its_workers_fails_after_three() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    for number in (1, 2):
        assert scheduling.join("a") == [launch("a", 1, (1, number))]
        assert scheduling.lose("a") == [note("a", 1, number, *LOST)]
    scheduling.join("a")
    assert scheduling.lose("a") == [
        note("a", 1, 3, *LOST),
        fail(1, 1, 3),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_the_budget_is_the_stage_s_own() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1, losses=1))
    scheduling.join("a")
    assert scheduling.lose("a")[1:] == [fail(1, 1), finish(1, TaskOutcome.FAILED, task=1)]


def test_losses_and_errors_are_two_budgets() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1, attempts=3))
    for number in (1, 3):
        scheduling.join("a")
        assert scheduling.finish("a", failed(1, number))[-1] == launch("a", 1, (1, number + 1))
        assert scheduling.lose("a") == [note("a", 1, number + 1, *LOST)]
    scheduling.join("a")
    assert scheduling.finish("a", succeeded(1, 5)) == [settle("a", 1, (1, 5)), finish(1)]


def test_the_loss_of_a_worker_with_a_queue_counts_for_nobody() -> None:
    """Which of the tasks ran is not certain."""
    scheduling = Scheduling()
    queued_on("a", scheduling)
    assert lost(scheduling.lose("a")) == {(task, 1) for task in range(2, 7)}
    scheduling.join("a", 5)
    assert lost(scheduling.lose("a")) == {(task, 2) for task in range(2, 7)}
    assert scheduling.join("a", 5) == [launch("a", 1, (2, 3))], "one by one, to know for certain"
    assert isinstance(scheduling.lose("a")[-1], FinishJob)


def test_a_task_that_was_twice_on_a_lost_worker_gets_one_for_itself() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(3))
    for _ in range(2):
        scheduling.join("a", 2)
        scheduling.lose("a")
    assert scheduling.join("a", 2) == [launch("a", 1, (1, 3))]
    assert scheduling.join("b", 2) == [launch("b", 1, (2, 3))]
    assert scheduling.finish("b", succeeded(2, 3))[1:] == [launch("b", 1, 3)], "it is nobody's any more"
    assert scheduling.finish("a", succeeded(1, 3))[1:] == []


def test_a_worker_is_emptied_for_a_task_that_gets_one_for_itself() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1), scheduling.stage(1))
    scheduling.submit(scheduling.stage(9))
    for _ in range(2):  # tasks 1 and 3
        scheduling.join("a", 2)
        scheduling.lose("a")
    scheduling.submit(scheduling.stage(9))
    assert launches(scheduling.join("b", 2)) == [launch("b", 1, (1, 3))], "it has the worker for itself"
    assert launches(scheduling.join("c", 2)) == [launch("c", 3, (3, 3))], "as the other one has"


def test_suspects_are_launched_into_free_slots_only() -> None:
    scheduling = Scheduling()
    queued_on("a", scheduling)
    scheduling.lose("a")
    assert scheduling.join("b", 2) == [launch("b", 1, (2, 2), (3, 2))]
    assert scheduling.finish("b", succeeded(2, 2, seconds=0.005))[1:] == [launch("b", 1, (4, 2))]
    assert scheduling.finish("b", succeeded(3, 2, seconds=0.005))[1:] == [launch("b", 1, (5, 2))]


def test_nothing_is_queued_behind_a_suspect() -> None:
    scheduling = Scheduling()
    queued_on("a", scheduling)
    scheduling.lose("a")
    scheduling.join("b")
    for task in range(2, 6):
        assert scheduling.finish("b", succeeded(task, 2, seconds=0.005))[1:] == [launch("b", 1, (task + 1, 2))]
    after = scheduling.finish("b", succeeded(6, 2, seconds=0.005))[1:]
    assert after == [launch("b", 1, 7, 8, 9)], "after the suspects there are batches again"


def test_a_suspect_beside_others_does_not_pay() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1, losses=2))
    scheduling.join("a")
    scheduling.lose("a")
    scheduling.join("b", 2)
    scheduling.submit(scheduling.stage(20))
    assert len(launches(scheduling.finish("b", succeeded(2, seconds=0.005)))) == 1
    scheduling.lose("b")
    assert scheduling.states(1, 3) == ["ready", "ready"]
    scheduling.join("a")
    assert fail(1, 1, 3) in scheduling.lose("a"), "once it is alone again it does"


def test_a_task_that_ends_each_of_its_workers_takes_no_innocent_one_with_it() -> None:
    """Task 1 ends its workers, each time just after task 2 was launched next to it."""
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2), independent=True)
    for _ in range(3):
        scheduling.join("a", 2)
        instructions = scheduling.lose("a")
    assert fail(1, 1, 3) in instructions
    assert fail(1, 2, 3) not in instructions


# With a death certificate it is known which attempts were executing


def doubts(scheduling: Scheduling, *tasks: int) -> list[tuple[int, int]]:
    """(losses, doubts) of tasks."""
    states = [scheduling.scheduler.tasks[task] for task in tasks]
    return [(state.losses, state.doubts) for state in states]


def test_the_one_that_was_executing_is_charged_and_the_queue_behind_it_is_not_even_suspect() -> None:
    scheduling = Scheduling()
    queued_on("a", scheduling)
    assert lost(scheduling.lose("a", (2, 1))) == {(task, 1) for task in range(2, 7)}
    assert doubts(scheduling, *range(2, 7)) == [(1, 0)] + [(0, 0)] * 4
    assert scheduling.states(*range(2, 7)) == ["ready"] * 5
    assert scheduling.join("b") == [launch("b", 1, (2, 2))], "nothing is queued behind a suspect"
    after = scheduling.finish("b", succeeded(2, 2, seconds=0.005))[1:]
    assert after == [launch("b", 1, (3, 2), (4, 2), (5, 2), (6, 2), 7)], "the others are queued again"


def test_a_task_that_ends_its_workers_fails_after_three_although_others_were_queued_behind_it() -> None:
    scheduling = Scheduling()
    queued_on("a", scheduling)
    for number in (1, 2):
        scheduling.lose("a", (2, number))
        scheduling.join("a")
    assert fail(1, 2, 3) in scheduling.lose("a", (2, 3))


def test_of_several_that_were_executing_each_is_suspect() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    scheduling.lose("a", (1, 1), (2, 1))
    assert doubts(scheduling, 1, 2) == [(0, 1), (0, 1)]


def test_one_that_was_executing_beside_an_abandoned_one_is_suspect_only() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    scheduling.lose("a", (1, 1), (2, 1))
    assert doubts(scheduling, 2) == [(0, 1)]


def test_an_abandoned_one_that_was_over_does_not_stand_beside_it() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    scheduling.lose("a", (2, 1))
    assert doubts(scheduling, 2) == [(1, 0)]


def test_where_only_an_abandoned_one_was_executing_nobody_is_suspect() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(1))
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    assert scheduling.lose("a", (1, 1)) == [note("a", 2, 1, *LOST)]
    assert doubts(scheduling, 2) == [(0, 0)]


def test_a_task_of_another_driver_may_have_been_it() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    scheduling.submit(scheduling.stage(2))
    scheduling.lose("a", (-1, 1), (1, 1))
    assert doubts(scheduling, 1, 2) == [(0, 1), (0, 0)]


def test_another_attempt_of_the_same_task_is_not_taken_for_it() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.give_back("a", (1, 1))
    scheduling.lose("a", (1, 1))
    assert doubts(scheduling, 1) == [(0, 0)]


def test_where_nothing_was_executing_it_is_not_known_what_it_was() -> None:
    scheduling = Scheduling()
    queued_on("a", scheduling)
    scheduling.handle(WorkerLost("a", "gone", ()))
    assert doubts(scheduling, *range(2, 7)) == [(0, 1)] * 5


def test_what_has_inputs_is_suspect_for_they_may_have_been_on_their_way() -> None:
    scheduling = Scheduling()
    scheduling.join("a", 2)
    first = scheduling.stage(1, kept=True)
    scheduling.submit(first, scheduling.stage(1, {2: [first.tasks]}))
    scheduling.submit(scheduling.stage(1))
    scheduling.finish("a", succeeded(1, stored=True))
    scheduling.join("b")
    assert scheduling.states(2, 3) == ["pending", "pending"]
    scheduling.lose("a", (3, 1))
    assert doubts(scheduling, 2, 3) == [(0, 1), (0, 1)]


def test_a_worker_that_joins_anew_without_having_been_lost_was_lost() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    assert scheduling.join("a", 2) == [note("a", 1, 1, End.LOST, "it joined anew"), launch("a", 1, (1, 2))]


def test_abandoned_attempts_are_lost_with_their_worker() -> None:
    scheduling = Scheduling()
    scheduling.join("a")
    scheduling.submit(scheduling.stage(1))
    scheduling.cancel(1)
    assert scheduling.lose("a") == []
    scheduling.join("a")
    assert scheduling.submit(scheduling.stage(1)) == [launch("a", 2, 2)]


def test_a_job_that_ends_with_a_worker_is_over_in_the_same_event() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2, losses=1))
    scheduling.join("a")
    assert scheduling.lose("a") == [
        note("a", 1, 1, *LOST),
        fail(1, 1),
        cancelled(1, (2, 0)),
        finish(1, TaskOutcome.FAILED, task=1),
    ]


def test_a_worker_that_is_not_there_is_lost_without_effect() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    assert scheduling.lose("a") == []
    scheduling.join("a")
    scheduling.lose("a")
    assert scheduling.lose("a") == []


# A worker that says before that it is about to end, because of an attempt that nothing stops


def test_the_loss_of_a_worker_that_said_that_it_would_end_counts_against_no_task() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    for number in range(1, 8):
        assert launches(scheduling.join("a", 2)) == [launch("a", 1, (1, number))]
        scheduling.drain("a", is_ending=True)
        assert lost(scheduling.lose("a", (1, number))) == {(1, number)}
    assert scheduling.states(1) == ["ready"]


def test_that_of_one_that_only_wanted_to_leave_does() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    for number in range(1, 4):
        assert launches(scheduling.join("a", 2)) == [launch("a", 1, (1, number))]
        scheduling.drain("a")
        last = scheduling.lose("a", (1, number))
    assert fail(1, 1, 3) in last


def test_one_that_wanted_to_leave_may_have_to_end_at_once() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(1))
    for number in range(1, 8):
        assert launches(scheduling.join("a", 2)) == [launch("a", 1, (1, number))]
        scheduling.drain("a")
        scheduling.drain("a", is_ending=True)
        scheduling.lose("a", (1, number))
    assert scheduling.states(1) == ["ready"]


def test_a_task_that_was_there_for_longer_than_its_timeout_pays_even_if_that_was_not_reported() -> None:
    scheduling = Scheduling()
    scheduling.submit(scheduling.stage(2, timeout=5.0))
    scheduling.join("a", 2)
    scheduling.now = 3.0
    scheduling.finish("a", succeeded(2))
    scheduling.now = 6.0
    scheduling.drain("a", is_ending=True)
    assert fail(1, 1) in scheduling.lose("a", (1, 1))
