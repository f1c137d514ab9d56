"""How attempts ended, turned into what users see: done tasks, records, counters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bndl.driver.delivery import Delivery
from bndl.driver.execution import Execution, StageRun
from bndl.driver.tasks import Cause, Task
from bndl.errors import (
    AttemptRecord,
    BndlError,
    DeathCertificate,
    InternalError,
    NotUnpicklable,
    NowhereToRun,
    TaskTimeout,
    WorkerLost,
)
from bndl.execute import failures
from bndl.execute.shown import describe_packed, function_name
from bndl.execute.store import Store
from bndl.net.messages import Result, Space
from bndl.schedule.instructions import End, NoteAttempt, Settle, TaskOutcome

__all__ = ["Settling"]

_EMPTY = Result(0, 0, 0, 0.0)


class Settling:
    """Between a worker's results and the users' tasks. To be used on the driver's loop only.

    Args:
        stages: the driver's stages by number.
        delivery: fetches results that stayed on their worker.
        store: has the arguments that are too large for a message.
        note_additions: told what attempts that count added to accumulators.
    """

    def __init__(
        self,
        stages: Mapping[int, StageRun],
        delivery: Delivery,
        store: Store,
        note_additions: Callable[[bytes], None],
    ) -> None:
        self._stages = stages
        self._store = store
        self._delivery = delivery
        self._note_additions = note_additions
        delivery.on_delivered = self._delivered
        #: The results of the message that is being handled, by task.
        self._arrived: dict[int, Result] = {}
        #: Why the last attempt of a task failed, until the task is done.
        self._causes: dict[int, Cause] = {}
        #: Of the worker that was lost last.
        self._certificate: DeathCertificate | None = None
        #: Tasks to tell users of, by execution.
        self._settled: dict[int, tuple[Execution, list[Task]]] = {}

    def arrived(self, results: Sequence[Result]) -> None:
        """A worker reported results; the scheduler is asked next what they mean."""
        self._arrived = arrived = {}
        for result in results:
            task = result.task
            arrived[task] = result
            stage = self._stages.get(task >> 32)
            if stage is not None:
                counters = stage.counters
                counters.task_seconds += result.seconds
                counters.fetched_bytes += result.fetched
                counters.result_bytes += result.size

    def note_attempt(self, instruction: NoteAttempt) -> None:
        """An attempt ended without success."""
        stage = self._stages.get(instruction.task >> 32)
        if stage is None:
            return
        task = stage.tasks.get(instruction.task & 0xFFFFFFFF)
        if task is None:
            return
        result = self._arrived.get(instruction.task, _EMPTY)
        seconds = result.seconds
        if result.number != instruction.number:  # the worker did not say how this one ended
            result, seconds = _EMPTY, stage.execution.driver.now() - task.launched_at
        counters = stage.counters
        cause = instruction.reason
        if instruction.end is End.FAILED:
            counters.failed += 1
            failure, error = failures.read(result.payload)
            cause = failure.line
            self._causes[instruction.task] = _read_cause(failure, error)
        elif instruction.end is End.TIMED_OUT:
            counters.failed += 1
            timeout = stage.options_of(task.index).timeout
            late = TaskTimeout(f"{task.name}: {cause}", task=task.name, timeout=timeout)
            late.__cause__ = self._make_lost(instruction, task)
            self._causes[instruction.task] = Cause(late, late.message)
        elif instruction.end is End.LOST:
            counters.lost += 1
            lost = self._make_lost(instruction, task)
            certificate = f"\n\n{lost.certificate}" if lost.certificate is not None else ""
            self._causes[instruction.task] = Cause(lost, f"{lost.message}{certificate}")
        elif instruction.end is End.INPUTS_MISSING:
            counters.inputs_missing += 1
            missing = ", ".join(f"{number} on {node}" for number, node in result.missing[:3])
            lost = WorkerLost(f"inputs of {task.name} were lost: {missing}", worker=instruction.worker, reason=cause)
            self._causes[instruction.task] = Cause(lost, lost.message)
        else:
            text = f"{instruction.worker} gave up {task.name}: {cause}. If nobody cancelled it this is a bug in bndl."
            self._causes[instruction.task] = Cause(InternalError(text), text)
        record = AttemptRecord(instruction.number, instruction.worker, str(instruction.end), cause, seconds)
        task.note(record)

    def _make_lost(self, instruction: NoteAttempt, task: Task) -> WorkerLost:
        text = f"{instruction.worker} was lost while it had {task.name}: {instruction.reason}"
        # Without the certificate, which the text of the task's error has: both are shown together.
        return WorkerLost(text, worker=instruction.worker, reason=instruction.reason, certificate=self._certificate)

    @contextmanager
    def noting_loss(
        self, executions: Iterable[Execution], worker: str, reason: str, certificate: DeathCertificate | None
    ) -> Iterator[None]:
        """Write into the reports of what runs that a worker was lost.

        In the block the scheduler says which attempts were. Reports count these, so they also say if there were none.
        """
        self._certificate = certificate
        noted = [(execution, len(execution.notes), _count_lost(execution)) for execution in executions]
        for execution, _, _ in noted:
            execution.notes.append(f"{worker} was lost: {reason}")
        yield
        for execution, index, before in noted:
            if _count_lost(execution) == before:
                execution.notes[index] += "; no attempt of this job was lost with it"

    def settle(self, instruction: Settle) -> None:
        """Tasks are done."""
        stage = self._stages.get(instruction.stage)
        if stage is None:
            return
        if instruction.outcome is TaskOutcome.SUCCEEDED:
            if instruction.stored:
                self._delivery.fetch(instruction.worker, instruction.tasks, self._arrived)
            else:
                self._succeed(stage, instruction)
            return
        self._end(stage, instruction)

    def _end(self, stage: StageRun, instruction: Settle) -> None:
        """Tasks failed or were cancelled."""
        settled = []
        for number, _ in instruction.tasks:
            task = self._take(stage, number)
            cause = self._causes.pop(number, None)
            if task is None:
                continue
            told = task.outcome is not None  # its result was lost, and it was being made again
            if instruction.outcome is TaskOutcome.FAILED:
                if cause is None or instruction.reason:
                    cause = _nowhere(instruction.reason, cause)
                self._fail(stage, task, cause)
            elif not told:
                task.end_cancelled(instruction.reason or "its job was cancelled or failed")
                if instruction.reason:
                    task.tolerate()
            if not told:
                settled.append(task)
        self._tell(stage, settled)

    def _fail(self, stage: StageRun, task: Task, cause: Cause) -> None:
        task.fail(replace(cause, call=_describe_call(stage, task, cause.call)))
        stage.counters.failed_tasks += 1
        if stage.execution.independent or stage.counters.failed_tasks <= stage.max_failures:
            task.tolerate()
        else:
            stage.execution.failure = stage.execution.failure or task.failure

    def cancel_rest(self, execution: Execution) -> None:
        """Tell users of the tasks whose results were on their way when the execution was stopped."""
        for stage in execution.stages:
            rest = [task for task in stage.tasks.values() if task.outcome is None]
            for task in rest:
                self._causes.pop((stage.number << 32) + task.index, None)
                task.end_cancelled("its job was cancelled or failed")
            self._tell(stage, rest)

    def _succeed(self, stage: StageRun, instruction: Settle) -> None:
        settled = []
        worker = instruction.worker
        arrived = self._arrived
        counters = stage.counters
        for number, attempt in instruction.tasks:
            task = self._take(stage, number)
            if task is None:
                continue
            if task.outcome is not None:
                counters.made_again += 1
                task.worker = worker
                continue
            result = arrived[number]
            if result.additions:
                self._note_additions(result.additions)
            task.succeed(result.payload, attempt, worker, result.seconds)
            settled.append(task)
        if self._causes:
            for number, _ in instruction.tasks:
                self._causes.pop(number, None)
        counters.by_worker[worker] = counters.by_worker.get(worker, 0) + len(settled)
        self._tell(stage, settled)

    def _delivered(self, worker: str, data: Mapping[int, bytes | BndlError], results: Mapping[int, Result]) -> None:
        """Results that stayed on their worker are here."""
        for number, payload in data.items():
            self._causes.pop(number, None)
            stage = self._stages.get(number >> 32)
            task = None if stage is None else self._take(stage, number)
            if stage is None or task is None or task.outcome is not None:
                continue
            result = results[number]
            if isinstance(payload, bytes):
                if result.additions:
                    self._note_additions(result.additions)
                task.succeed(payload, result.number, worker, result.seconds)
            else:
                task.note(AttemptRecord(result.number, worker, "failed", payload.message, result.seconds))
                task.fail(Cause(payload, payload.message, _describe_call(stage, task)))
                if not stage.execution.independent:
                    stage.execution.driver.cancel(stage.execution, payload.message, task.failure)
            stage.counters.by_worker[worker] = stage.counters.by_worker.get(worker, 0) + 1
            self._tell(stage, [task])
        self.deliver()

    def _take(self, stage: StageRun, number: int) -> Task | None:
        index = number & 0xFFFFFFFF
        return stage.tasks.pop(index, None) if stage.growing else stage.tasks.get(index)

    def _tell(self, stage: StageRun, tasks: list[Task]) -> None:
        """Tasks of one outcome are done."""
        if not tasks:
            return
        execution = stage.execution
        if tasks[0].outcome is TaskOutcome.CANCELLED:
            stage.counters.cancelled += len(tasks)
        else:
            stage.counters.done += len(tasks)
        stage.counters.last_done = execution.driver.now()
        if not stage.kept:
            first = stage.number << 32
            name = execution.driver.name
            self._store.drop((name, Space.ARGUMENTS, first + task.index) for task in tasks if not task.arguments)
            for task in tasks:
                task.drop_arguments()
        entry = self._settled.get(execution.number)
        if entry is None:
            self._settled[execution.number] = (execution, tasks)
        else:
            entry[1].extend(tasks)

    def looked_at(self) -> None:
        """The scheduler has said what the results mean that arrived."""
        self._arrived = {}

    def deliver(self) -> None:
        """Tell users of the tasks that are done since the last time."""
        if self._settled:
            settled, self._settled = self._settled, {}
            for execution, tasks in settled.values():
                execution.listener.tasks_settled(tasks)


def _read_cause(failure: failures.Failure, error: BaseException) -> Cause:
    """Why an attempt failed, from what its worker says."""
    detail = f"{failure.line}\n  {failure.place}" if failure.place else failure.line
    if not failure.loading:
        return Cause(error, detail, failure.call)
    detail = f"{failure.loading} could not be unpickled on the worker, so it was not called: {detail}"
    return Cause(error, detail, kind=NotUnpicklable)


def _describe_call(stage: StageRun, task: Task, call: str = "") -> str:
    """The call of a task, as the worker describes it, or else from what is pickled of it."""
    shows_items = stage.execution.driver.config.show_items
    if not call:
        name = stage.function_name
        if stage.calls:
            name = task.call if isinstance(task.call, str) else function_name(task.call[0])
        call = describe_packed(name, task.arguments, brings_function=stage.calls)
    return call if shows_items else call.partition("(")[0]


def _nowhere(reason: str, before: Cause | None) -> Cause:
    """A task failed without an attempt to blame; ``before`` is how its last attempt ended, if there was one."""
    text = f"{reason or 'nothing is known of it'}. Allow a worker, or start one that it may use."
    error = NowhereToRun(text)
    if before is not None:
        error.__cause__ = before.error
        text = f"{text} Its last attempt: {before.detail}"
    return Cause(error, text)


def _count_lost(execution: Execution) -> int:
    return sum(stage.counters.lost for stage in execution.stages)
