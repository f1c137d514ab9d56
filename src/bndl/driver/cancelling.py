"""Abandoned attempts are watched until their workers confirm that they are over.

A worker tells the task, then interrupts its thread, then ends its own process. One that does not even come to that,
because the task holds the interpreter's lock, is ended from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from bndl.loop import Loop

if TYPE_CHECKING:
    from bndl.driver.execution import Execution, StageRun

__all__ = ["Cancelling"]

_Attempt = tuple[int, int]


class Cancelling:
    """The abandoned attempts of a driver. To be used on its loop only.

    Args:
        loop: the driver's.
        stages: the driver's stages by number.
        end_worker: ends a worker from outside, given its name and the reason.
        patience: seconds after which that is done.
    """

    def __init__(
        self,
        loop: Loop,
        stages: Mapping[int, StageRun],
        end_worker: Callable[[str, str], object],
        patience: float,
    ) -> None:
        self._loop = loop
        self._stages = stages
        self._end_worker = end_worker
        self._patience = patience
        #: What is not confirmed, by worker, each with the execution that it is of.
        self._open: dict[str, dict[_Attempt, Execution]] = {}

    def abandoned(self, worker: str, attempts: Iterable[_Attempt]) -> None:
        """A worker was told that nobody waits for these attempts any more."""
        names = {}
        for attempt in attempts:
            stage = self._stages.get(attempt[0] >> 32)
            if stage is not None:
                stage.execution.unconfirmed[attempt] = None
                self._open.setdefault(worker, {})[attempt] = stage.execution
                names[attempt] = f"{stage.name}[{attempt[0] & 0xFFFFFFFF}]"
        if names:
            self._loop.call_later(self._patience, lambda: self._expire(worker, names))

    def confirm(self, worker: str, attempts: Iterable[_Attempt]) -> None:
        """A worker said that attempts are over; most were not abandoned."""
        waiting = self._open.get(worker)
        if waiting:
            for attempt in attempts:
                execution = waiting.pop(attempt, None)
                if execution is not None:
                    del execution.unconfirmed[attempt]
            if not waiting:
                del self._open[worker]

    def lose(self, worker: str) -> None:
        """A worker is gone, and what ran on it too."""
        for attempt, execution in self._open.pop(worker, {}).items():
            del execution.unconfirmed[attempt]

    def _expire(self, worker: str, names: Mapping[_Attempt, str]) -> None:
        waiting = self._open.get(worker, {})
        left = [name for attempt, name in names.items() if attempt in waiting]
        if left:
            reason = f"{', '.join(left)} was cancelled and did not stop within {self._patience:g} s"
            self._end_worker(worker, reason)
