"""What a driver wants to see of its attempts, and what it is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bndl.logs import get_logger
from bndl.loop import Loop
from bndl.net.messages import Result, Watch
from bndl.net.peers import Peers

__all__ = ["Watching"]

logger = get_logger(__name__)


class Watching:
    """Has the attempts of a driver watched on all its workers, also on those that join later.

    ``begin`` and ``end`` are thread-safe; the rest is for the driver's loop.

    Args:
        loop: the driver's.
        peers: the driver's.
    """

    def __init__(self, loop: Loop, peers: Peers) -> None:
        self._loop = loop
        self._peers = peers
        self._maker = b""
        self._workers: dict[str, None] = {}
        self._listener: Callable[[str, bytes], None] | None = None

    def begin(self, maker: bytes, listener: Callable[[str, bytes], None]) -> None:
        """Watch every attempt that is launched from now on; again to watch in another way.

        Args:
            maker: pickled; called without arguments it makes the watcher of a worker.
            listener: called on the loop with the name of the worker and what was seen of an attempt that ended.
        """
        self._loop.post(self._set, maker, listener)

    def end(self) -> None:
        """Watch no more."""
        self._loop.post(self._set, b"", None)

    def worker_joined(self, name: str) -> None:
        """A worker is there. It has to know before anything is launched on it."""
        self._workers[name] = None
        if self._maker:
            self._peers.send(name, Watch(self._maker))

    def attempts_ended(self, worker: str, results: Sequence[Result]) -> None:
        """A worker reported results."""
        listener = self._listener
        if listener is not None:
            for result in results:
                if result.notes:
                    listener(worker, result.notes)

    def _set(self, maker: bytes, listener: Callable[[str, bytes], None] | None) -> None:
        self._maker = maker
        self._listener = listener
        self._workers = {name: None for name in self._workers if self._peers.is_connected(name)}
        for name in self._workers:
            self._peers.send(name, Watch(maker))
