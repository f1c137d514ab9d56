"""Room to run tasks: threads that take attempts from one queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bndl.execute.border import QUEUED
from bndl.logs import get_logger
from bndl.net.messages import Attempt

if TYPE_CHECKING:
    from bndl.execute.border import Stop
    from bndl.execute.definitions import Definition, Tenancy
    from bndl.execute.lines import Rest

__all__ = ["Prepared", "Slots", "ThreadSlots"]


logger = get_logger(__name__)


class Prepared:
    """An attempt that could begin.

    Attributes:
        tenancy: of the driver that wants it, as it was when the attempt was launched.
        definition: of its stage, as it was then.
        attempt: the attempt.
        key: its task and its number.
        inputs: what was fetched for it, by task.
        fetched: how many bytes came from other nodes.
        started: when it began, on the worker's clock; set by the slots.
        phase: on which side of the border it is; see ``border``.
        stop: that it is to end; None as long as it may go on.
        thread: which thread executes it; set by the slots.
        additions: what it added to accumulators, by their numbers; None if nothing.
        added: the same, pickled, once it is over.
        calls: what is being unpickled for it, as text; then the function that is called, with its arguments.
        voice: what it printed and did not end with a new line, by ``stdout`` and ``stderr``; None if it never printed.
    """

    __slots__ = (
        "added",
        "additions",
        "attempt",
        "calls",
        "definition",
        "fetched",
        "inputs",
        "key",
        "phase",
        "started",
        "stop",
        "tenancy",
        "thread",
        "voice",
    )

    def __init__(
        self,
        tenancy: Tenancy,
        definition: Definition,
        attempt: Attempt,
        inputs: dict[int, bytes] | None = None,
        fetched: int = 0,
    ) -> None:
        self.tenancy = tenancy
        self.definition = definition
        self.attempt = attempt
        self.key = (attempt.task, attempt.number)
        self.inputs = inputs
        self.fetched = fetched
        self.started = 0.0
        self.phase = QUEUED
        self.stop: Stop | None = None
        self.thread = 0
        self.voice: dict[str, Rest] | None = None
        self.additions: dict[int, Any] | None = None
        self.added = b""
        self.calls: str | tuple[Any, Sequence[Any], Mapping[str, Any]] = ""

    @property
    def driver(self) -> str:
        """Who wants it."""
        return self.tenancy.driver

    @property
    def name(self) -> str:
        """The task's name, such as ``parse[3]``."""
        attempt = self.attempt
        return attempt.name or f"{self.definition.message.stage_name}[{attempt.task & 0xFFFFFFFF}]"


class Slots(Protocol):
    """Runs attempts, some at a time, in the order in which they come."""

    def put(self, attempts: Sequence[Prepared]) -> None:
        """Queue attempts."""

    def take_back(self, driver: str, attempts: Sequence[tuple[int, int]] | None) -> list[Prepared]:
        """Remove those of these attempts that have not begun, or all of a driver's."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""


class ThreadSlots:
    """Slots that are threads.

    Args:
        count: how many attempts run at the same time.
        begin: is told of each attempt before it is executed.
        execute: executes one attempt.
        on_crash: called in the thread if one of the two raises, which is a bug: no more attempts are taken then.
        is_one_here: whether one of them is the thread that calls ``run``.
    """

    def __init__(
        self,
        count: int,
        begin: Callable[[Prepared], None],
        execute: Callable[[Prepared], None],
        on_crash: Callable[[BaseException], None],
        *,
        is_one_here: bool = False,
    ) -> None:
        self._begin = begin
        self._execute = execute
        self._on_crash = on_crash
        self._queue: deque[Prepared] = deque()
        self._filled = threading.Condition()
        self._threads = [
            threading.Thread(target=self.run, name=f"bndl-slot-{index}", daemon=True)
            for index in range(int(is_one_here), count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, attempts: Sequence[Prepared]) -> None:
        """Queue attempts and wake as many threads as are of use."""
        with self._filled:
            self._queue.extend(attempts)
            self._filled.notify(len(attempts))

    def take_back(self, driver: str, attempts: Sequence[tuple[int, int]] | None) -> list[Prepared]:
        """Remove those of these attempts that have not begun, or all of a driver's."""
        wanted = None if attempts is None else {tuple(attempt) for attempt in attempts}
        taken = []
        for prepared in list(self._queue):
            attempt = prepared.attempt
            if prepared.driver == driver and (wanted is None or (attempt.task, attempt.number) in wanted):
                try:
                    self._queue.remove(prepared)
                except ValueError:  # begun in the meantime
                    continue
                taken.append(prepared)
        return taken

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    def run(self) -> None:
        """Execute attempts in the calling thread. Returns after a crash only."""
        queue = self._queue
        thread = threading.get_ident()
        while True:
            try:
                prepared = queue.popleft()  # without the lock: this is done for every task
            except IndexError:
                with self._filled:
                    while not queue:
                        self._filled.wait()
                continue
            prepared.thread = thread
            try:
                self._begin(prepared)
                self._execute(prepared)
            except BaseException as error:  # where the thread ends; nobody else would hear of it
                logger.exception("a slot crashed")
                self._on_crash(error)
                return
            del prepared  # or what it was given would stay alive until the next one comes
