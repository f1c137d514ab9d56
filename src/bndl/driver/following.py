"""What the scheduler says is done: its instructions become messages and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from bndl.driver.cancelling import Cancelling
from bndl.driver.execution import Execution, StageRun
from bndl.driver.farewells import Farewells, define
from bndl.driver.settling import Settling
from bndl.loop import Loop, Timer
from bndl.net import messages
from bndl.net.peers import Peers
from bndl.schedule import instructions
from bndl.schedule.instructions import Instruction, Locality

__all__ = ["Following"]

_TASK = 0xFFFFFFFF


class Following:
    """Follows instructions. To be used on the driver's loop only.

    Args:
        loop: the driver's.
        peers: whom messages are sent to.
        stages: the driver's stages by number.
        settling: tells users of tasks.
        cancelling: watches abandoned attempts.
        farewells: lets workers leave.
        finish_job: ends an execution.
        wake_up: called when a time has come that was asked for.
    """

    def __init__(
        self,
        loop: Loop,
        peers: Peers,
        stages: Mapping[int, StageRun],
        settling: Settling,
        cancelling: Cancelling,
        farewells: Farewells,
        finish_job: Callable[[instructions.FinishJob], None],
        wake_up: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._peers = peers
        self._stages = stages
        self._cancelling = cancelling
        self._wake_up = wake_up
        self._wake: Timer | None = None
        self._actions: dict[type, Callable[[Any], None]] = {
            instructions.Abandon: self._abandon,
            instructions.Dismiss: farewells.dismiss,
            instructions.FinishJob: finish_job,
            instructions.Launch: self._launch,
            instructions.Move: farewells.move,
            instructions.NoteAttempt: settling.note_attempt,
            instructions.Release: self._release,
            instructions.Settle: settling.settle,
            instructions.TakeBack: self._take_back,
            instructions.WakeAt: self._wake_at,
        }

    def follow(self, orders: Sequence[Instruction]) -> None:
        """Do what is said, in order."""
        for instruction in orders:
            self._actions[type(instruction)](instruction)

    def _launch(self, instruction: instructions.Launch) -> None:
        stage = self._stages[instruction.stage]
        worker = instruction.worker
        define(self._peers, stage, worker)
        tasks = stage.tasks
        counters = stage.counters
        now = self._loop.now()
        if counters.first_launch is None:
            counters.first_launch = now
        timeout = stage.options.timeout
        attempts = []
        for attempt in instruction.attempts:
            index = attempt.task & _TASK
            task = tasks[index]
            arguments = task.arguments
            counters.sent_bytes += len(arguments)
            if stage.task_options:
                timeout = stage.options_of(index).timeout
            attempts.append(
                messages.Attempt(attempt.task, attempt.number, arguments, attempt.sources, timeout, task.own_name)
            )
            if not attempt.twin:
                task.launched_at = now
            if attempt.locality is not Locality.ANY:
                task.launched(attempt.locality)
                counters.places[attempt.locality] += 1
            counters.twins += attempt.twin
        counters.attempts += len(attempts)
        self._peers.send(worker, messages.Launch(instruction.stage, attempts))

    def _take_back(self, instruction: instructions.TakeBack) -> None:
        self._peers.send(instruction.worker, messages.TakeBack(instruction.attempts))

    def _abandon(self, instruction: instructions.Abandon) -> None:
        self._peers.send(instruction.worker, messages.Abandon(instruction.attempts))
        self._cancelling.abandoned(instruction.worker, instruction.attempts)

    def _release(self, instruction: instructions.Release) -> None:
        self._peers.send(instruction.worker, messages.Release(instruction.tasks))

    def _wake_at(self, instruction: instructions.WakeAt) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_later(max(instruction.when - self._loop.now(), 0.0), self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._wake_up()


def forget(peers: Peers, stages: MutableMapping[int, StageRun], execution: Execution) -> None:
    """Nothing of an execution is needed any more, here or on workers."""
    execution.pinned.clear()
    workers: dict[str, list[int]] = {}
    for stage in execution.stages:
        if stages.pop(stage.number, None) is None:
            continue
        for worker in stage.defined_on:
            workers.setdefault(worker, []).append(stage.number)
        for task in stage.tasks.values():
            task.drop_arguments()
    for worker, numbers in workers.items():
        peers.send(worker, messages.Forget(numbers))
