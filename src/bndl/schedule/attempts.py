"""How attempts end, and what that means for their tasks: done, tried again, or failed.

Two budgets are kept apart: ``failures`` counts what the user's code raised, ``losses`` the workers that it ended, as
far as is known. Whichever is used up first ends the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bndl.schedule import events, gates, instructions, recovery
from bndl.schedule.events import Kind, RetryRule
from bndl.schedule.instructions import End, TaskOutcome
from bndl.schedule.retrying import delay_of
from bndl.schedule.state import TaskState, Twin, WorkerState
from bndl.schedule.transitions import Cause, State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["MISSES", "Attempts", "timeout_of"]

#: How often the inputs of a task may turn out to be missing, or a worker may give it up, before it fails.
MISSES = 10


def timeout_of(task: TaskState) -> float:
    """How many seconds an attempt of a task may take; 0 for no limit."""
    spec = task.stage.spec
    return spec.task_timeouts.get(task.id, spec.timeout) if spec.task_timeouts else spec.timeout


def _retry_of(task: TaskState) -> RetryRule:
    spec = task.stage.spec
    return spec.task_retries.get(task.id, spec.retry)


def _avoid(task: TaskState, worker: str) -> None:
    if worker not in task.avoid:
        task.avoid = (*task.avoid, worker)


def _has_inputs(task: TaskState) -> bool:
    return any(not gate.is_order for gate in task.gates)


class Attempts:
    """The attempts that are under way.

    Args:
        scheduler: whose tasks and workers they are.

    Attributes:
        twins: the second attempts of stragglers, by task.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.twins: dict[int, Twin] = {}

    # What workers report

    def finish(self, worker: WorkerState, event: events.AttemptsFinished) -> None:
        """A worker reported how attempts ended."""
        succeeded: dict[tuple[int, bool], list[tuple[int, int]]] = {}
        seconds: dict[int, list[float]] = {}
        rest = []
        for outcome in event.outcomes:
            if outcome.kind != Kind.SUCCEEDED:
                rest.append(outcome)
            elif (task := self._find_or_ignore(worker, outcome)) is not None:
                number = task.stage.spec.stage
                self._succeed(task, worker, outcome)
                succeeded.setdefault((number, outcome.stored), []).append((task.id, task.number))
                seconds.setdefault(number, []).append(outcome.seconds)
        for number, times in seconds.items():
            self._scheduler.stages[number].note_seconds(sum(times) / len(times), len(times))
        # What succeeded is settled first, because the rest may end the job, and a job that is over settles nothing.
        self._settle(worker, succeeded)
        for outcome in rest:
            if (task := self._find_or_ignore(worker, outcome)) is not None:
                self._end_attempt(task, worker, outcome, is_hopeless=outcome.task in event.hopeless)

    def take_back(self, worker: WorkerState, attempts: Sequence[tuple[int, int]]) -> None:
        """A worker gave attempts back that it had not started."""
        for number, attempt in reversed(attempts):
            task = self._find(worker, number, attempt)
            if task is None:
                worker.zombies.pop((number, attempt), None)
            elif not self.leave(task, worker):
                self._requeue(task, Cause.RETURNED)

    def lose(self, worker: WorkerState, event: events.WorkerLost) -> None:
        """A worker is gone with all that it ran and kept."""
        suspects, is_certain = self._find_suspects(worker, event.executing)
        running = list(worker.running.values())
        left = [(task, self._number_on(task, worker), self.leave(task, worker)) for task in running]
        recovery.lose_results(self._scheduler, list(worker.kept.values()))
        for task, number, has_twin in reversed(left):
            if task.state is not State.PENDING:
                continue
            if task.id in suspects:
                self._lose_attempt(task, worker, number, has_twin=has_twin, exact=is_certain, reason=event.reason)
            else:
                self.note(task, worker, number, End.LOST, event.reason)
                if not has_twin:
                    self._requeue(task, Cause.WORKER_LOST)

    def _find_suspects(
        self, worker: WorkerState, executing: Sequence[tuple[int, int]] | None
    ) -> tuple[Mapping[int, TaskState], bool]:
        """Which tasks may have ended a worker, and whether it is certain that the only one of them did.

        If it is known what was executing, what was merely queued is beyond suspicion. What has inputs is not: they may
        have been on their way, and too large. If nothing was executing it may have been just that.

        With others beside it, or with an abandoned attempt that was still running, nobody knows which of them it was.

        A worker that said that it ends did so because of an attempt that is reported or abandoned: none of these, but
        for one of which the report did not get here.
        """
        if worker.is_ending:
            return {number: task for number, task in worker.running.items() if self._is_late(task)}, False
        if not executing:
            is_alone = not worker.zombies and len(worker.running) == 1
            return dict(worker.running), is_alone and all(task.solo for task in worker.running.values())
        running = worker.running
        began = [number for number, task in running.items() if (number, self._number_on(task, worker)) in executing]
        suspects = {number: task for number, task in running.items() if number in began or _has_inputs(task)}
        return suspects, len(executing) == len(began) == len(suspects) == 1

    def _find(self, worker: WorkerState, number: int, attempt: int) -> TaskState | None:
        """The task of an attempt, if it is waited for."""
        task = worker.running.get(number)
        if task is None or (task.number == attempt and task.worker is worker):
            return task
        twin = self.twins.get(number)
        return task if twin is not None and twin.worker is worker and twin.number == attempt else None

    def _number_on(self, task: TaskState, worker: WorkerState) -> int:
        """The number of the attempt of a task that a worker has."""
        return task.number if task.worker is worker else self.twins[task.id].number

    def _find_or_ignore(self, worker: WorkerState, outcome: events.Outcome) -> TaskState | None:
        """The task of an attempt, if it is waited for.

        Otherwise the attempt was abandoned: it is of no interest but for the room that it took and the result it left.
        """
        task = self._find(worker, outcome.task, outcome.number)
        if task is None:
            worker.zombies.pop((outcome.task, outcome.number), None)
            if outcome.stored and outcome.task not in worker.kept and outcome.task not in worker.running:
                self._scheduler.out.append(instructions.Release(worker.name, (outcome.task,)))
        return task

    # Success

    def _succeed(self, task: TaskState, worker: WorkerState, outcome: events.Outcome) -> None:
        scheduler = self._scheduler
        if task.id in self.twins:
            self._abandon_other(task, worker)
        scheduler.move(task, Cause.SUCCEEDED)
        stage = task.stage
        self.leave(task, worker)
        if outcome.stored:
            task.worker = worker
            task.size = outcome.size
            task.available = True
            worker.kept[task.id] = task
        if stage.spec.kept or not outcome.stored:
            stage.unfinished -= 1
            stage.job.unfinished -= 1
        if task.feeds:
            for consumer in gates.open_for(task):
                scheduler.unblock(consumer)
        if stage.growing and not outcome.stored:
            scheduler.forget(task)

    def _abandon_other(self, task: TaskState, worker: WorkerState) -> None:
        """One of two attempts is the one that counts: nobody waits for the other one any more."""
        twin = self.twins[task.id]
        primary = Twin(task.worker or worker, task.number)
        loser = primary if twin.worker is worker else twin
        self.leave(task, loser.worker)
        loser.worker.zombies[(task.id, loser.number)] = None
        self.note(task, loser.worker, loser.number, End.ABANDONED, "its twin was first")
        self._scheduler.out.append(instructions.Abandon(loser.worker.name, ((task.id, loser.number),)))

    def _settle(self, worker: WorkerState, succeeded: Mapping[tuple[int, bool], Sequence[tuple[int, int]]]) -> None:
        """Tasks succeeded, by stage and by whether their results are stored."""
        stages = {}
        for (number, stored), tasks in succeeded.items():
            stage = stages[number] = self._scheduler.stages[number]
            fetch = stored and not stage.spec.kept
            settle = instructions.Settle(number, TaskOutcome.SUCCEEDED, worker.name, tuple(tasks), fetch)
            self._scheduler.out.append(settle)
        for stage in stages.values():
            self._scheduler.advance(stage)

    # Everything else

    def _end_attempt(self, task: TaskState, worker: WorkerState, outcome: events.Outcome, *, is_hopeless: bool) -> None:
        """An attempt ended without success."""
        if outcome.kind == Kind.FAILED:
            if task.stage.mean_seconds is None:
                task.stage.note_seconds(outcome.seconds, 1)
            self.note(task, worker, outcome.number, End.FAILED, "the task raised")
            self._fail_attempt(task, worker, has_twin=self.leave(task, worker), is_hopeless=is_hopeless)
        elif outcome.kind == Kind.INPUTS_MISSING:
            self._miss_inputs(task, worker, outcome)
        else:
            self._give_up(task, worker, outcome)

    def _fail_attempt(self, task: TaskState, worker: WorkerState, *, has_twin: bool, is_hopeless: bool = False) -> None:
        scheduler = self._scheduler
        task.failures += 1
        rule = _retry_of(task)
        if rule.elsewhere:
            _avoid(task, worker.name)
        if has_twin:  # which may succeed
            return
        if is_hopeless or task.failures >= task.stage.spec.task_attempts.get(task.id, task.stage.spec.attempts):
            self._fail(task)
            return
        delay = delay_of(rule, task.id, task.failures)
        if delay > 0.0:
            scheduler.move(task, Cause.DELAYED)
            scheduler.delay(task, delay)
            recovery.make_again(scheduler, gates.reopen(scheduler, task.gates))
        else:
            self._requeue(task, Cause.RETRIED)

    def _give_up(self, task: TaskState, worker: WorkerState, outcome: events.Outcome) -> None:
        """A worker does not execute what is waited for: what defined it did not get there."""
        self.note(task, worker, outcome.number, End.ABANDONED, "the worker gave it up")
        has_twin = self.leave(task, worker)
        task.misses += 1
        if task.misses >= MISSES:
            self._fail(task)
            return
        _avoid(task, worker.name)
        if not has_twin:
            self._requeue(task, Cause.RETURNED)

    def _miss_inputs(self, task: TaskState, worker: WorkerState, outcome: events.Outcome) -> None:
        scheduler = self._scheduler
        missing = outcome.missing
        self.note(task, worker, outcome.number, End.INPUTS_MISSING, f"{len(missing)} inputs were not found")
        task.misses += 1
        has_twin = self.leave(task, worker)
        if task.misses >= MISSES:
            self._fail(task)
            return
        lost = []
        for number, source in missing:
            if recovery.is_at(scheduler, number, source):
                # The worker that has it may be cut off from others. So neither this task nor the one that makes its
                # input again goes there as long as there is another one: they meet elsewhere.
                lost.append(scheduler.tasks[number])
                _avoid(scheduler.tasks[number], source)
                _avoid(task, source)
        recovery.lose_results(scheduler, lost)
        if not has_twin:
            self._requeue(task, Cause.RETRIED)

    def _lose_attempt(
        self, task: TaskState, worker: WorkerState, number: int, *, has_twin: bool, exact: bool, reason: str
    ) -> None:
        """``exact``: the task was alone there. Then losses before, where it was not, were its doing too."""
        if self._is_late(task):
            text = f"it took longer than its timeout of {timeout_of(task):g} s, and ended with its worker: {reason}"
            self.note(task, worker, number, End.TIMED_OUT, text)
            self._fail_attempt(task, worker, has_twin=has_twin)
            return
        self.note(task, worker, number, End.LOST, reason)
        if exact:
            task.losses += 1 + task.doubts
            task.doubts = 0
        else:
            task.doubts += 1
        if task.losses >= task.stage.spec.task_losses.get(task.id, task.stage.spec.losses):
            self._fail(task)
        elif not has_twin:
            self._requeue(task, Cause.WORKER_LOST)

    def _is_late(self, task: TaskState) -> bool:
        """Whether an attempt takes longer than it may."""
        timeout = timeout_of(task)
        return 0.0 < timeout <= self._scheduler.now - task.since

    def _fail(self, task: TaskState) -> None:
        if task.worker is not None:
            self.abandon(task)
        self._scheduler.fail(task, Cause.FAILED)

    def _requeue(self, task: TaskState, cause: Cause) -> None:
        scheduler = self._scheduler
        scheduler.move(task, cause)
        task.missing = gates.count_missing(task)
        if task.missing:
            scheduler.move(task, Cause.INPUTS_LOST)
            recovery.make_again(scheduler, gates.reopen(scheduler, task.gates))
        else:
            scheduler.queue(task, first=True)

    # What others need

    def abandon(self, task: TaskState) -> None:
        """Nobody waits for the attempts of a task any more."""
        while task.worker is not None:
            worker, number = task.worker, task.number
            self.leave(task, worker)
            worker.zombies[(task.id, number)] = None
            self._scheduler.out.append(instructions.Abandon(worker.name, ((task.id, number),)))

    def leave(self, task: TaskState, worker: WorkerState) -> bool:
        """An attempt of a task is over. Returns whether there is another one, which is the current one from now on."""
        del worker.running[task.id]
        stage = task.stage
        stage.pending -= 1
        stage.job.pending -= 1
        self._scheduler.pending -= 1
        twin = self.twins.pop(task.id, None) if self.twins else None
        if twin is None:
            task.worker = None
            return False
        if twin.worker is not worker:
            task.worker, task.number = twin.worker, twin.number
        return True

    def note(self, task: TaskState, worker: WorkerState, number: int, end: End, reason: str) -> None:
        """Have it written down that an attempt ended without success."""
        self._scheduler.out.append(instructions.NoteAttempt(task.id, number, worker.name, end, reason))
