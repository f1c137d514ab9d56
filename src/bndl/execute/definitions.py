"""What a worker knows of a driver: its stages, and which of its attempts are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bndl.execute.payloads import unpack
from bndl.net.messages import Attempt, Define

if TYPE_CHECKING:
    from bndl.execute.border import Border
    from bndl.execute.gathering import Gathering
    from bndl.execute.lines import Lines
    from bndl.execute.outbox import Outbox
    from bndl.execute.slots import Prepared
    from bndl.execute.watching import Watch

__all__ = ["Definition", "Tenancy"]


class Definition:
    """A stage on a worker.

    Attributes:
        message: what the driver said of it.
        is_waiting: whether its function is still to come.
        waiting: what was launched in the meantime.
        stored: the tasks whose results are in the store.
        forgotten: whether the driver does not need it any more, or is gone.
    """

    def __init__(self, message: Define) -> None:
        self.message = message
        self.is_waiting = False
        self.waiting: list[Sequence[Attempt]] = []
        self.stored: dict[int, None] = {}
        self.forgotten = False
        self._pickled: bytes | None = message.function
        self._function: Callable[[Any], Any] | None = None
        self._lock = threading.Lock()

    def set_function(self, pickled: bytes | None) -> None:
        """The function has come; None if it was not to be had."""
        self._pickled = pickled
        self.is_waiting = False

    def take_waiting(self) -> list[Sequence[Attempt]]:
        """What was launched while the function was on its way."""
        waiting, self.waiting = self.waiting, []
        return waiting

    @property
    def function(self) -> Callable[[Any], Any]:
        """The stage's function, unpickled once.

        Raises:
            LookupError: the driver did not give it.
            Exception: whatever unpickling it raises, such as ``ModuleNotFoundError``; each task tries again.
        """
        function = self._function
        if function is None:
            with self._lock:
                if self._function is None:
                    if not self._pickled:
                        text = f"the function of stage {self.message.stage_name!r} could not be fetched from the driver"
                        raise LookupError(text)
                    self._function = unpack(self._pickled)
                function = self._function
        return function


class Tenancy:
    """What a worker does and keeps for one driver.

    Attributes:
        driver: the driver's name.
        worker: the worker's name.
        outbox: results on their way to it.
        lines: what tasks said, on its way to it.
        definitions: its stages, by number.
        gathering: attempts whose inputs are being fetched, by (task, number), each with its definition.
        attempts: attempts that are queued or executing, by (task, number).
        gone: whether the driver is gone, so that nobody waits for results.
        watch: what its attempts are watched with, or None.
    """

    def __init__(self, driver: str, worker: str, border: Border, lines: Lines, outbox: Outbox) -> None:
        self.driver = driver
        self.worker = worker
        self.lines = lines
        self.outbox = outbox
        self.definitions: dict[int, Definition] = {}
        self.gathering: dict[tuple[int, int], tuple[Definition, Gathering]] = {}
        self.attempts: dict[tuple[int, int], Prepared] = {}
        self.gone = False
        self.watch: Watch | None = None
        self._border = border

    def has(self, key: tuple[int, int]) -> bool:
        """Whether an attempt, (task, number), is here."""
        return key in self.attempts or key in self.gathering

    def write(self, prepared: Prepared, source: str, text: str) -> None:
        """An attempt printed something. Called by its code."""
        shielded = self._border.shield(prepared)
        try:
            if not self.gone:
                self.lines.write(prepared, source, text)
        finally:
            if shielded:
                self._border.unshield(prepared)

    def say(self, prepared: Prepared, source: str, level: int, text: str) -> None:
        """An attempt logged something. Called by its code."""
        shielded = self._border.shield(prepared)
        try:
            if not self.gone:
                self.lines.say(prepared, source, level, text)
        finally:
            if shielded:
                self._border.unshield(prepared)
