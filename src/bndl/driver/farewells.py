"""Workers that leave in order: what the scheduler says about them becomes messages, and what they say events.

::

    Leaving -> WorkerDraining -> Move    -> Adopt ~~~> another worker, which fetches from the one that leaves
                                 Adopted <~~~          -> ResultsMoved
                                 Dismiss -> Dismiss ~~~> the worker, which ends
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bndl.driver.execution import StageRun
from bndl.errors import BndlError
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.messages import Message
from bndl.net.peers import Peers
from bndl.schedule import events, instructions

__all__ = ["Farewells", "define"]


def define(peers: Peers, stage: StageRun, worker: str) -> None:
    """Tell a worker of a stage, unless it knows it."""
    if worker not in stage.defined_on:
        stage.defined_on[worker] = None
        message = messages.Define(
            stage.number, stage.job_name, stage.name, stage.function, calls=stage.calls, kept=stage.kept
        )
        peers.send(worker, message)


class Farewells:
    """The workers of a driver that leave. To be used on the driver's loop only.

    Args:
        peers: whom messages are sent to.
        calls: the open questions of the driver.
        stages: the driver's stages by number.
        handle: takes events.
        timeout: how many seconds a worker may take to adopt results.
    """

    def __init__(
        self,
        peers: Peers,
        calls: Calls,
        stages: Mapping[int, StageRun],
        handle: Callable[[events.Event], None],
        timeout: float,
    ) -> None:
        self._peers = peers
        self._calls = calls
        self._stages = stages
        self._handle = handle
        self._timeout = timeout
        #: Those that said so. They may have before they were connected.
        self._leaving: dict[str, events.WorkerDraining] = {}
        #: For messages of workers.
        self.handlers: dict[type, Callable[[str, Any], None]] = {
            messages.Adopted: lambda worker, message: calls.answer(message.call, worker, message),
            messages.Leaving: self._on_leaving,
        }

    def _on_leaving(self, worker: str, message: messages.Leaving) -> None:
        """A worker wants to leave."""
        event = self._leaving[worker] = events.WorkerDraining(worker, message.is_ending)
        self._handle(event)

    def joined(self, worker: str) -> None:
        """A worker was connected."""
        if worker in self._leaving:
            self._handle(self._leaving[worker])

    def lost(self, worker: str) -> None:
        """A worker is gone, with all that it was told."""
        self._leaving.pop(worker, None)
        for stage in self._stages.values():
            stage.defined_on.pop(worker, None)

    def move(self, instruction: instructions.Move) -> None:
        """Have a worker adopt results of one that leaves."""
        source, target, tasks = instruction.source, instruction.target, instruction.tasks
        for number in dict.fromkeys(task >> 32 for task in tasks):
            define(self._peers, self._stages[number], target)

        def on_answer(answer: Message | BndlError) -> None:
            moved = answer.tasks if isinstance(answer, messages.Adopted) else ()
            self._handle(events.ResultsMoved(source, target, tasks, moved))

        self._calls.ask(target, lambda call: messages.Adopt(call, source, tasks), on_answer, self._timeout)

    def dismiss(self, instruction: instructions.Dismiss) -> None:
        """Let a worker go."""
        self._peers.send(instruction.worker, messages.Dismiss())
