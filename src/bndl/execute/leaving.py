"""Leaving in order: a worker that is told to drain ends when nobody needs it any more.

::

    Leave.begin -> Leaving ~~~> every driver: launches nothing more, takes back what is queued, has results adopted
                   Dismiss <~~~ each of them, once nothing that it needs is here
    all dismissed, or lost -> the end
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from bndl.errors import StorageFull
from bndl.execute.definitions import Tenancy
from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.loop import Loop
from bndl.net.messages import Adopt, Adopted, Dismiss, Leaving, NodeInfo, Space
from bndl.net.peers import Peers

__all__ = ["Leave", "adopt"]


class Leave:
    """The leave that a worker takes of its drivers.

    Args:
        loop: of the worker. All but ``begin`` is for this loop only.
        peers: of the worker.
    """

    def __init__(self, loop: Loop, peers: Peers) -> None:
        self._loop = loop
        self._peers = peers
        #: The drivers that have not dismissed this worker. None until it begins to leave.
        self._waiting: set[str] | None = None
        self._on_dismissed: Callable[[], object]

    def begin(self, on_dismissed: Callable[[], object]) -> None:
        """Begin to leave. Thread-safe.

        Args:
            on_dismissed: called once, on the loop, when nobody needs this worker any more.
        """
        self._loop.post(self._begin, on_dismissed)

    def _begin(self, on_dismissed: Callable[[], object]) -> None:
        if self._waiting is not None:
            return
        self._on_dismissed = on_dismissed
        self._waiting = set(self._peers.of_type("driver"))
        for driver in sorted(self._waiting):
            self._peers.send(driver, Leaving())
        self._check()

    def peer_connected(self, info: NodeInfo) -> None:
        """A driver that comes now has to know."""
        if self._waiting is not None and info.node_type == "driver":
            self._waiting.add(info.name)
            self._peers.send(info.name, Leaving())

    def peer_lost(self, name: str) -> None:
        """Who is gone needs nothing."""
        if self._waiting is not None:
            self._waiting.discard(name)
            self._check()

    def dismissed(self, driver: str, _message: Dismiss) -> None:
        """A driver does not need this worker any more."""
        self.peer_lost(driver)

    def _check(self) -> None:
        if not self._waiting:
            on_dismissed, self._on_dismissed = self._on_dismissed, lambda: None
            on_dismissed()


def adopt(
    transfer: Transfer, store: Store, tenancy: Tenancy, message: Adopt, answer: Callable[[Adopted], None]
) -> None:
    """Fetch results from a worker that leaves, keep them, and answer which came.

    Args:
        transfer: fetches.
        store: keeps.
        tenancy: of the driver whose results they are.
        message: which results.
        answer: sends the answer.
    """
    adopted: list[int] = []

    def keep(data: dict[int, bytes]) -> None:
        for task, payload in data.items():
            definition = tenancy.definitions.get(task >> 32)
            if definition is None or definition.forgotten or tenancy.gone:
                continue
            with suppress(StorageFull):  # what is not adopted is made again
                store.put((tenancy.driver, Space.RESULT, task), payload)
                definition.stored[task] = None
                adopted.append(task)

    def done(rest: dict[int, bytes], _missing: Sequence[int]) -> None:
        keep(rest)
        answer(Adopted(message.call, adopted))

    transfer.fetch(message.source, tenancy.driver, Space.RESULT, message.tasks, done, keep)
