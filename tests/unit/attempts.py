"""What tests of the worker's parts share: attempts without a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from bndl.config import Config
from bndl.errors import TaskInterrupted
from bndl.execute.border import Border
from bndl.execute.definitions import Definition, Tenancy
from bndl.execute.interrupter import Interrupter
from bndl.execute.lines import Limit, Lines
from bndl.execute.outbox import Outbox
from bndl.execute.payloads import Packer
from bndl.execute.runner import Runner
from bndl.execute.slots import Prepared
from bndl.execute.store import Store
from bndl.execute.watchdog import Watchdog
from bndl.net import messages
from bndl.net.memory import VirtualTime
from bndl.net.messages import Finished, Line, Message, Result, Said
from bndl.testing.nodes import NodeLoop

STAGE = 7
TASK = STAGE << 32
GRACE = 1.0


class Bomb:
    """The watchdog's timer: when it would end the process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.at: float | None = None
        self.starts = 0
        self.cancels = 0

    def start(self, seconds: float) -> None:
        assert seconds > 0
        self.at = self._now() + seconds
        self.starts += 1

    def cancel(self) -> None:
        self.at = None
        self.cancels += 1


class Bench:
    """The parts of a worker between a slot and the network, in virtual time and without threads."""

    def __init__(self, *, shared: bool = False) -> None:
        self.time = VirtualTime()
        self.now = self.time.now
        #: Exceptions that were given to a thread and have not come up.
        self.pending: dict[Prepared, type[TaskInterrupted]] = {}
        #: Attempts whose thread was woken, once for each time.
        self.wakes: list[Prepared] = []
        self.sent: list[Message] = []
        self.stuck: list[Prepared] = []
        self.bomb = Bomb(self.now)
        self.watchdog = Watchdog(self.bomb, self.now)
        self.border = Border(self.pending.__setitem__, self.withdraw, self.wakes.append)
        self.loop = NodeLoop(self.time)
        self.interrupter = Interrupter(self.loop, self.border, self.watchdog, GRACE, self.stuck.extend, shared=shared)
        self.store = Store(1 << 20)
        config = Config(inline_bytes=100)
        self.runner = Runner(self.store, config, self.now, self.border, self.interrupter, self.watchdog)
        self.pauses = 0
        self.limit = Limit(self.now)
        self.lines = self.make_lines()
        self.outbox = Outbox(
            self.now, self.sent.append, lambda more: self.lines.flush(everything=not more), lambda: None
        )
        self.tenancy = Tenancy("driver", "worker", self.border, self.lines, self.outbox)

    def withdraw(self, prepared: Prepared) -> None:
        self.pending.pop(prepared, None)

    def make_lines(self) -> Lines:
        flushes: list[Lines] = []

        def schedule() -> None:
            self.time.call_later(0.05, flushes[0].flush_later)

        lines = Lines(self.limit, self.now, self.sent.append, schedule, self.pause)
        flushes.append(lines)
        return lines

    def pause(self) -> None:
        self.pauses += 1

    def prepare(self, function: Any = abs, item: Any = -1, *, timeout: float = 0.0, task: int = 0) -> Prepared:
        define = messages.Define(STAGE, "job", "stage", Packer().pack(function), calls=False, kept=False)
        attempt = messages.Attempt(TASK + task, 1, Packer().pack(item), (), timeout)
        prepared = Prepared(self.tenancy, Definition(define), attempt)
        prepared.thread = threading.get_ident()
        return prepared

    def begin(self, prepared: Prepared) -> None:
        """Like a slot, up to the user's code."""
        self.runner.begin(prepared)
        self.border.enter(prepared)

    def end(self, prepared: Prepared, *, last: bool = True) -> None:
        """Like a slot, from the user's code on."""
        self.border.leave(prepared)
        self.interrupter.end(prepared, last=last)

    @property
    def said(self) -> list[Line]:
        return [line for message in self.sent if isinstance(message, Said) for line in message.lines]

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.said]

    @property
    def dropped(self) -> int:
        return sum(message.dropped for message in self.sent if isinstance(message, Said))

    @property
    def results(self) -> list[Result]:
        return [each for message in self.sent if isinstance(message, Finished) for each in message.results]
