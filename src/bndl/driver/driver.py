"""The driver: a node that has work executed.

All of its state belongs to its loop. Other threads hand in commands (``submit``, ``add_tasks``, ``cancel``, ...), which
return at once, and hear of the rest through the execution's listener. The loop turns what the fabric and the users say
into events for the scheduler, and does what the scheduler says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from bndl.config import Config
from bndl.driver.admission import Admission
from bndl.driver.answers import Answers
from bndl.driver.cancelling import Cancelling
from bndl.driver.delivery import Delivery
from bndl.driver.execution import Execution, StageRun
from bndl.driver.farewells import Farewells
from bndl.driver.following import Following, forget
from bndl.driver.futures import Loops
from bndl.driver.listener import ClusterListener
from bndl.driver.patience import Patience
from bndl.driver.requests import Requests
from bndl.driver.settling import Settling
from bndl.driver.sharing import Sharing
from bndl.driver.tasks import Task
from bndl.driver.voices import Voices
from bndl.driver.waiters import Waiters, crash_error, error_of
from bndl.driver.watching import Watching
from bndl.errors import BndlError, TaskCancelled
from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.execute.trimming import Trimmer
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.fabric import Fabric
from bndl.net.messages import Message, NodeInfo, Space
from bndl.net.peers import Peers
from bndl.schedule import Scheduler, events, instructions
from bndl.schedule.events import JobSpec, Kind
from bndl.schedule.transitions import State

__all__ = ["Driver"]


class Driver:
    """Has work executed on the workers of a cluster.

    Args:
        fabric: carries its messages.
        info: what it says of itself.
        loops: what it runs on; its state is owned by the first.
        config: settings.
        cluster: hears of peers.
        concurrency: how many attempts may be under way at the same time; 0 for no limit.
    """

    def __init__(
        self,
        fabric: Fabric,
        info: NodeInfo,
        loops: Loops,
        config: Config,
        cluster: ClusterListener,
        concurrency: int = 0,
    ) -> None:
        loop = loops.own
        self.name = info.name
        self.loops = loops
        self.config = config
        self.peers = Peers(loop, fabric, info, self, config.hello_interval, greets_all=True)
        self._loop = loop
        self._cluster = cluster
        self._scheduler = Scheduler(concurrency=concurrency)
        self._store = Store(config.store_bytes)
        self._calls = Calls(loop, self.peers.send, self.peers.reach, config.lease)
        self._transfer = Transfer(
            self._store,
            self._calls,
            lambda to, message, bulk: self.peers.send(to, message, bulk=bulk),
            loops.bulk,
            timeout=config.fetch_timeout,
            chunk_bytes=config.chunk_bytes,
            report=self.peers.report,
        )
        self._waiters = Waiters()
        self.requests = Requests(loops, self._waiters, self._calls, self._transfer, self.name)
        self._trimmer = Trimmer(loops.bulk)
        self._delivery = Delivery(self._transfer, self.name, self._handle)
        self.watching = Watching(loop, self.peers)
        self._numbers = count(1)
        self._executions: dict[int, Execution] = {}
        self._stages: dict[int, StageRun] = {}
        self.sharing = Sharing(self.name, self._store, self.next_number, self._forget_shared, loop.post)
        self._settling = Settling(self._stages, self._delivery, self._store, self.sharing.note_additions)
        self._cancelling = Cancelling(loop, self._stages, cluster.end_worker, config.cancel_timeout)
        self._farewells = Farewells(self.peers, self._calls, self._stages, self._handle, config.drain_timeout)
        self._following = Following(
            loop,
            self.peers,
            self._stages,
            self._settling,
            self._cancelling,
            self._farewells,
            self._finish_job,
            lambda: self._handle(events.TimeReached()),
        )
        self.answers = Answers(loops, self._waiters, self._scheduler, self._stages, self.requests)
        self._patience = Patience(loop, config.no_workers_timeout, cluster.describe_refusals, self._fail_all)
        self._admission = Admission(loop, loops.beside, cluster, self._begin, self._handle, self._admit, self._fail)
        self._handlers = self._make_handlers()

    def _make_handlers(self) -> dict[type, Callable[[str, Any], None]]:
        return {
            messages.Answer: self._on_answer,
            messages.Fetch: self._transfer.serve,
            messages.Fetched: self._on_answer,
            messages.Finished: self._on_finished,
            messages.Returned: self._on_returned,
            messages.Said: Voices(self._stages).heard,
            **self._farewells.handlers,
        }

    def start(self) -> None:
        """Go on the air."""
        self.peers.start()

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return self._loop.now()

    # Commands, from any thread

    def next_number(self) -> int:
        """A number for a stage or a job, never given out before."""
        return next(self._numbers)

    def store_if_large(self, space: Space, number: int, payload: bytes) -> bytes:
        """Keep a payload for workers to fetch if it is too large for a message; returns what goes into the message.

        Raises:
            StorageFull: there is no room for it.
        """
        if len(payload) <= self.config.inline_bytes:
            return payload
        self._trimmer.passed(len(payload))
        self._store.put((self.name, space, number), payload)
        return b""

    def drop_stored(self, stages: Iterable[int]) -> None:
        """Drop all that is kept for workers to fetch for these stages."""
        numbers = set(stages)
        self._store.drop_where(lambda key: (key[2] if key[1] == Space.FUNCTION else key[2] >> 32) in numbers)

    def submit(self, execution: Execution, spec: JobSpec) -> None:
        """Execute a job.

        Raises:
            BndlError: the driver has ended.
        """
        self._waiters.add(execution, lambda error: self._tell_end(execution, error))
        self._loop.post(self._submit, execution, spec)

    def add_tasks(self, stage: StageRun, first: int, tasks: Sequence[Task]) -> None:
        """Add tasks to a growing stage; ``first`` is the index of the first of them."""
        self._loop.post(self._add_tasks, stage, first, tasks)

    def close_stage(self, stage: StageRun) -> None:
        """No more tasks come to a growing stage."""
        self._loop.post(self._command, stage.execution, events.StageClosed(stage.number))

    def cancel(self, execution: Execution, reason: str, error: BndlError | None = None) -> None:
        """Stop an execution. ``error`` is what whoever waits for it gets."""
        self._loop.post(self._cancel, execution, reason, error)

    def cancel_tasks(self, tasks: Sequence[int], reason: str) -> None:
        """Cancel single tasks; their job goes on without them."""
        self._loop.post(self._cancel_tasks, tasks, reason)

    def pause(self, execution: Execution) -> None:
        """Launch nothing more of an execution: its results are not taken quickly enough."""
        self._loop.post(self._command, execution, events.JobPaused(execution.number))

    def resume(self, execution: Execution) -> None:
        """Go on with a paused execution."""
        self._loop.post(self._command, execution, events.JobResumed(execution.number))

    def release(self, execution: Execution) -> None:
        """Let workers drop what they keep of an execution, as soon as it is over."""
        self._loop.post(self._release_execution, execution)

    def fail_all(self, error: BndlError) -> None:
        """Nothing that is under way can succeed any more."""
        self._loop.post(self._fail_all, error)

    def close(self, error: BndlError) -> None:
        """Stop what is under way, and take nothing more on."""
        self._waiters.close(error)
        self.fail_all(error)

    def end(self, error: BndlError) -> None:
        """The loop does nothing any more, so whoever still waits is told in this thread."""
        self._waiters.end(error)
        self.sharing.close()

    def crashed(self, error: BaseException) -> None:
        """A loop broke. Called where it did, as the last thing."""
        self.end(crash_error(error))

    def state_of(self, task: int) -> State:
        """Where a task is in its life."""
        state = self._scheduler.tasks.get(task)
        return State.DONE if state is None or state.state is None else state.state

    def pending_in(self, stage: int) -> int:
        """How many tasks of a stage have an attempt under way."""
        state = self._scheduler.stages.get(stage)
        return 0 if state is None else state.pending

    # Peers

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer is there."""
        self._calls.send_held(info.name)
        self._cluster.peer_connected(info)
        if info.node_type == "worker":
            self._admission.join(info)

    def _admit(self, info: NodeInfo) -> None:
        """Tasks may run on a worker from now on."""
        self.watching.worker_joined(info.name)
        self._handle(events.WorkerJoined(info.name, info.concurrency))
        self._farewells.joined(info.name)
        self._watch_workers()

    def peer_lost(self, name: str, reason: str) -> None:
        """A peer is gone."""
        certificate = self._cluster.death_certificate(name)
        reason = certificate.reason if certificate is not None else reason
        self._cluster.peer_lost(name, reason)
        self._farewells.lost(name)
        self._cancelling.lose(name)
        self._admission.lose(name)
        if name in self._scheduler.workers:
            executing = certificate.executing if certificate is not None else None
            with self._settling.noting_loss(self._executions.values(), name, reason, certificate):
                self._delivery.lose(name)
                self._handle(events.WorkerLost(name, reason, executing))
            if self._executions:
                for worker in self.peers.of_type("worker"):
                    self.peers.send(worker, messages.Lost(name))
            self._watch_workers()
        self._calls.lose(name)  # after the scheduler knows, or it launches on the worker what is missed now

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions, so it takes no part."""
        self._cluster.peer_refused(info)

    def message_received(self, sender: str, message: Message) -> None:
        """Handle a message."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.peers.report(sender, f"a {type(message).__name__}, which is not for a driver")
        else:
            handler(sender, message)

    def _on_finished(self, worker: str, message: messages.Finished) -> None:
        if worker not in self._scheduler.workers:  # it is lost, or it is no worker
            return
        self.watching.attempts_ended(worker, message.results)
        self._settling.arrived(message.results)
        self._trimmer.passed(sum(result.size for result in message.results))
        self._cancelling.confirm(worker, ((result.task, result.number) for result in message.results))
        failed = [result for result in message.results if result.kind == Kind.FAILED]
        hopeless = [each.task for each in failed if (run := self._stages.get(each.task >> 32)) and run.is_final(each)]
        self._handle(events.AttemptsFinished(worker, message.results, hopeless))
        self._settling.looked_at()

    def _on_returned(self, worker: str, message: messages.Returned) -> None:
        self._cancelling.confirm(worker, message.attempts)
        for task, _ in message.attempts:
            if (stage := self._stages.get(task >> 32)) is not None:
                stage.counters.returned += 1
        self._handle(events.AttemptsReturned(worker, message.attempts))

    def _on_answer(self, sender: str, message: messages.Answer | messages.Fetched) -> None:
        self._calls.answer(message.call, sender, message)

    # Commands, on the loop

    def _submit(self, execution: Execution, spec: JobSpec) -> None:
        self._executions[execution.number] = execution
        for stage in execution.stages:
            self._stages[stage.number] = stage
        if execution.cancelled is not None:
            text = f"job {execution.name!r} was cancelled before it began: {execution.cancelled}"
            self._refuse(execution, TaskCancelled(text), "cancelled")
            return
        self._admission.submit(execution, spec)
        self._watch_workers()

    def _begin(self, execution: Execution, spec: JobSpec) -> None:
        self._scheduler.stories[spec.job] = execution.story
        self._handle(events.JobSubmitted(spec))

    def _refuse(self, execution: Execution, error: BndlError, outcome: str = "failed") -> None:
        """An execution cannot begin."""
        del self._executions[execution.number]
        execution.error = error
        self._close(execution, outcome)

    def _fail(self, execution: Execution, error: BndlError) -> None:
        """An execution cannot begin, or go on."""
        self._cancel(execution, error.message, error)

    def _command(self, execution: Execution, event: events.Event) -> None:
        """Something is wanted of an execution, which may not have begun."""
        if not self._admission.hold(execution, lambda: self._handle(event)):
            self._handle(event)

    def _cancel_tasks(self, tasks: Sequence[int], reason: str) -> None:
        stage = self._stages.get(tasks[0] >> 32)
        if stage is not None:
            self._command(stage.execution, events.TasksCancelled(tasks, reason))

    def _add_tasks(self, stage: StageRun, first: int, tasks: Sequence[Task]) -> None:
        if self._admission.hold(stage.execution, lambda: self._add_tasks(stage, first, tasks)):
            return
        if stage.number not in self._stages:  # it failed or was cancelled; the listener knows
            self.drop_stored([stage.number])
            return
        stage.counters.tasks += len(tasks)
        stage.tasks.update(zip(range(first, first + len(tasks)), tasks, strict=True))
        number = (stage.number << 32) + first
        self._handle(events.TasksAdded(stage.number, range(number, number + len(tasks))))

    def _cancel(self, execution: Execution, reason: str, error: BndlError | None) -> None:
        if execution.number not in self._executions:
            return
        if self._admission.forget(execution):  # it has not begun
            text = f"job {execution.name!r} was cancelled before it began: {reason}"
            self._refuse(execution, error or TaskCancelled(text), "failed" if error else "cancelled")
        else:
            execution.error = error
            self._handle(events.JobCancelled(execution.number, reason))

    def _fail_all(self, error: BndlError) -> None:
        for execution in list(self._executions.values()):
            self._cancel(execution, error.message, error)

    def _release_execution(self, execution: Execution) -> None:
        execution.released = True
        if execution.over.is_set():
            self._forget(execution)

    # The pump

    def _handle(self, event: events.Event) -> None:
        """An event goes in, instructions come out and are followed."""
        self._following.follow(self._scheduler.handle(event, self._loop.now()))
        self._settling.deliver()

    def _finish_job(self, instruction: instructions.FinishJob) -> None:
        execution = self._executions.pop(instruction.job)
        self._admission.forget(execution)
        if execution.error is None:
            execution.error = error_of(instruction, execution)
        self._watch_workers()
        self._close(execution, str(instruction.outcome))

    def _close(self, execution: Execution, outcome: str) -> None:
        """An execution is over: whoever waits is told."""
        if execution.error is not None:
            self._settling.cancel_rest(execution)
        self._settling.deliver()
        if self._waiters.claim(execution):
            self._tell_end(execution, execution.error, outcome)
        if execution.released or execution.error is not None:
            self._forget(execution)

    def _tell_end(self, execution: Execution, error: BndlError | None, outcome: str = "failed") -> None:
        execution.error = error
        execution.outcome = outcome
        execution.ended = self._loop.now()
        execution.over.set()
        execution.listener.execution_ended(error)

    def _forget(self, execution: Execution) -> None:
        forget(self.peers, self._stages, execution)
        self.drop_stored(stage.number for stage in execution.stages)
        self._trimmer.over()

    def _forget_shared(self, number: int) -> None:
        for name in self.peers.names:
            self.peers.send(name, messages.Forget([number]))

    def _watch_workers(self) -> None:
        self._patience.watch(is_needed=bool(self._executions) and not self._scheduler.workers)
