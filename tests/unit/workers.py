"""What tests of the worker share: one worker in virtual time, and what it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bndl.config import Config
from bndl.execute.payloads import Packer
from bndl.execute.slots import Prepared
from bndl.execute.store import Store
from bndl.execute.worker import Worker
from bndl.net import messages
from bndl.net.memory import MemoryNetwork, VirtualTime
from bndl.net.messages import Finished, Message, NodeInfo, Result, Said
from bndl.testing.nodes import NodeLoop, VirtualParts

CONFIG = Config(inline_bytes=100)
STAGE = 7
TASK = STAGE << 32

#: What the function of the task is to do in the middle of its work.
meanwhile: list[Callable[[], object]] = []


def return_much(_item: object) -> bytes:
    for action in meanwhile:
        action()
    return bytes(1000)


class WorkerBench:
    """One worker and what it sends, without peers.

    Args:
        seconds: how long an attempt takes.
        concurrency: how many slots it has.
        is_stubborn: whether an attempt does not end when it is interrupted.
    """

    def __init__(
        self,
        seconds: float | Callable[[Prepared], float] = 0.0,
        concurrency: int = 1,
        is_stubborn: Callable[[Prepared], bool] = lambda _: False,
    ) -> None:
        meanwhile.clear()
        self.time = VirtualTime()
        self.loop = NodeLoop(self.time)
        #: Why it ended itself.
        self.ends: list[str] = []
        duration = seconds if callable(seconds) else lambda _: seconds
        self.parts = VirtualParts(self.loop, duration, self._end, is_stubborn)
        self.store = Store(CONFIG.store_bytes)
        info = NodeInfo("worker", "worker", "1", {}, concurrency)
        self.worker = Worker(MemoryNetwork(self.time, 1).fabric("worker"), info, self.parts, CONFIG, self.store)
        #: What it sent, and when.
        self.sent: list[Message] = []
        self.times: list[float] = []
        self.worker.peers.send = self._send  # type: ignore[method-assign]

    def _send(self, to: str, message: Message, *, bulk: bool = False) -> None:
        assert to
        assert not bulk
        self.sent.append(message)
        self.times.append(self.time.now())

    def _end(self, reason: str, _where: str) -> None:
        self.ends.append(reason)
        self.loop.kill()

    def receive(self, *received: Message, driver: str = "driver") -> None:
        for message in received:
            self.worker.message_received(driver, message)

    def lose_driver(self) -> None:
        self.worker.peer_lost("driver", "the test says so")

    @property
    def results(self) -> list[Result]:
        """What was reported."""
        return [each for message in self.sent if isinstance(message, Finished) for each in message.results]

    @property
    def kinds(self) -> list[int]:
        """How the attempts ended that were reported."""
        return [each.kind for each in self.results]

    @property
    def reported(self) -> list[tuple[int, int, float]]:
        """The index of each task that was reported, how it ended, and when."""
        return [
            (each.task - TASK, each.kind, round(when, 2))
            for message, when in zip(self.sent, self.times, strict=True)
            if isinstance(message, Finished)
            for each in message.results
        ]

    @property
    def texts(self) -> list[str]:
        """What tasks said."""
        return [line.text for message in self.sent if isinstance(message, Said) for line in message.lines]


def define(function: Any = return_much, *, fetched: bool = False, kept: bool = False) -> messages.Define:
    payload = b"" if fetched else Packer().pack(function)
    return messages.Define(STAGE, "job", "stage", payload, calls=False, kept=kept)


def launch(number: int = 1) -> messages.Launch:
    return messages.Launch(STAGE, [messages.Attempt(TASK, number, Packer().pack("item"))])


def launch_many(count: int, timeout: float = 0.0) -> messages.Launch:
    """The first attempts of so many tasks."""
    item = Packer().pack("item")
    return messages.Launch(STAGE, [messages.Attempt(TASK + index, 1, item, (), timeout) for index in range(count)])


def abandon(*tasks: int) -> messages.Abandon:
    """The first attempts of these tasks."""
    return messages.Abandon([(TASK + index, 1) for index in tasks])
