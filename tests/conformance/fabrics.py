"""Fabrics to be tested: of sockets, and of memory in virtual time; and what their nodes hear."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from bndl.net.credentials import Credentials
from bndl.net.fabric import Fabric, FabricEvent, Joined, Left, Received
from bndl.net.memory import MemoryNetwork, VirtualTime
from bndl.net.zenoh import ZenohFabric

TIMEOUT = 20.0
SECRET = "sesame-5f2c"  # noqa: S105 - guards nothing


class Log:
    """A listener that keeps all events, and can be waited on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[FabricEvent] = []
        self.changed = threading.Condition()
        #: Called in the listener, after a frame was noted.
        self.on_frame: Callable[[], None] = lambda: None

    def __call__(self, event: FabricEvent) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()
        if isinstance(event, Received):
            self.on_frame()

    def frames(self, sender: str) -> list[bytes]:
        return [event.frame for event in self.events if isinstance(event, Received) and event.sender == sender]

    def comings_and_goings(self) -> list[FabricEvent]:
        return [event for event in self.events if not isinstance(event, Received)]


class Harness(Protocol):
    def start(self, name: str, seeds: Sequence[str] = (), cluster: str = "one") -> tuple[Fabric, Log]: ...

    def wait(self, what: str, log: Log, condition: Callable[[], bool]) -> None: ...


class ZenohHarness:
    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        self._fabrics: list[ZenohFabric] = []

    def start(
        self, name: str, seeds: Sequence[str] = (), cluster: str = "one", secret: str = SECRET, lease: float = 5.0
    ) -> tuple[ZenohFabric, Log]:
        fabric = ZenohFabric(name, f"{cluster}-{self.run}", credentials=Credentials(secret), seeds=seeds, lease=lease)
        self._fabrics.append(fabric)
        log = Log(name)
        fabric.start(log)
        return fabric, log

    def wait(self, what: str, log: Log, condition: Callable[[], bool]) -> None:
        with log.changed:
            assert log.changed.wait_for(condition, TIMEOUT), f"{log.name}: {what}; it saw {str(log.events)[:1000]}"

    def close(self) -> None:
        for fabric in self._fabrics:
            fabric.close()


class MemoryHarness:
    def __init__(self) -> None:
        self._time = VirtualTime()
        self._networks: dict[str, MemoryNetwork] = {}

    def start(self, name: str, seeds: Sequence[str] = (), cluster: str = "one") -> tuple[Fabric, Log]:
        del seeds  # all nodes of a memory network find each other
        network = self._networks.setdefault(cluster, MemoryNetwork(self._time, seed=1))
        fabric = network.fabric(name)
        log = Log(name)
        fabric.start(log)
        return fabric, log

    def wait(self, what: str, log: Log, condition: Callable[[], bool]) -> None:
        try:
            self._time.run_until(condition, TIMEOUT)
        except TimeoutError as error:
            raise AssertionError(f"{log.name}: {what}; it saw {str(log.events)[:1000]}") from error

    def close(self) -> None:
        assert self._time.run(TIMEOUT), "the network has not come to rest"


def wait_joined(net: Harness, log: Log, *names: str) -> None:
    for name in names:
        net.wait(f"{name} did not join", log, lambda name=name: Joined(name) in log.events)  # type: ignore[misc]


def wait_left(net: Harness, log: Log, name: str) -> None:
    net.wait(f"{name} did not leave", log, lambda: Left(name) in log.events)


def wait_frames(net: Harness, log: Log, sender: str, number: int) -> list[bytes]:
    net.wait(f"{number} frames of {sender} did not arrive", log, lambda: len(log.frames(sender)) >= number)
    return log.frames(sender)


def start_pair(net: Harness) -> tuple[Fabric, Log, Fabric, Log]:
    a, a_log = net.start("a")
    b, b_log = net.start("b", a.addresses)
    wait_joined(net, a_log, "b")
    wait_joined(net, b_log, "a")
    return a, a_log, b, b_log
