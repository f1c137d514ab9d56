"""Finding lost nodes again.

Zenoh connects again to seeds, but not to nodes that it heard of by gossip: two nodes whose connection broke stay apart,
although both are well, and a node that was cut off while its seed died is alone for good. So each node keeps the
addresses of those that it lost, and tries them from time to time. If something answers there, a short-lived session
connects to that address and to this node; so both hear of each other by gossip, and connect.

::

    lost(name, addresses) -> after 0.25 s, then later and later: does a socket connect?
                             yes -> introduce: this node <- session -> that address, for a few seconds
    found(name)           -> over
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence

from bndl.logs import get_logger
from bndl.net.endpoints import Endpoint
from bndl.threads import try_start

__all__ = ["Rejoiner"]

logger = get_logger(__name__)

_FIRST_DELAY = 0.25
_LONGEST_DELAY = 10.0
_GROWTH = 1.5
#: Seconds that a socket may take to connect.
_PROBE_TIMEOUT = 1.0
#: Nothing listens there any more, and the machine says so: after that many times in a row it is believed.
_REFUSALS = 8
#: How many nodes are looked for at a time; the first of more makes room.
_MOST_LOST = 10_000


class _Lost:
    """A node that is looked for."""

    __slots__ = ("addresses", "delay", "due", "forget_at", "refusals")

    def __init__(self, addresses: Sequence[str], now: float, timeout: float) -> None:
        self.addresses = addresses
        self.delay = _FIRST_DELAY
        self.due = now + self.delay
        self.forget_at = now + timeout
        self.refusals = 0


class Rejoiner:
    """Looks for lost nodes, in a thread that runs while there are any. Thread-safe.

    Args:
        introduce: connects this node with the node at an address; it may take seconds, and may fail.
        timeout: for how many seconds a node is looked for; 0 for not at all.
        name: of the thread.
    """

    def __init__(self, introduce: Callable[[str], None], timeout: float, name: str) -> None:
        self._introduce = introduce
        self._timeout = timeout
        self._name = name
        self._changed = threading.Condition()
        self._lost: dict[str, _Lost] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def lost(self, name: str, addresses: Sequence[str]) -> None:
        """A node is gone. It may have ended, or be cut off."""
        with self._changed:
            if self._closed or not addresses or self._timeout <= 0:
                return
            if len(self._lost) >= _MOST_LOST:
                del self._lost[next(iter(self._lost))]
            self._lost[name] = _Lost(addresses, time.monotonic(), self._timeout)
            if self._thread is None:
                self._thread = try_start(self._run, self._name)  # without one, the next loss tries again
            self._changed.notify()

    def found(self, name: str) -> None:
        """A node is there."""
        with self._changed:
            self._lost.pop(name, None)

    def is_lost(self, name: str) -> bool:
        """Whether a node is still looked for."""
        with self._changed:
            return name in self._lost

    def close(self, timeout: float) -> None:
        """Look for nobody any more. Returns when the thread has ended, or after ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            self._lost.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while (next_one := self._next()) is not None:
            name, lost = next_one
            refused = False
            try:
                refused = self._look_for(name, lost)
            except Exception as error:  # nobody would be looked for any more if the thread ended
                logger.warning("%s: %s could not be looked for: %r", self._name, name, error, exc_info=True)
            self._settle(name, lost, refused=refused)

    def _look_for(self, name: str, lost: _Lost) -> bool:
        """Introduce a node if something answers at one of its addresses. Returns whether all of them refused."""
        refused = True
        for address in lost.addresses:
            try:
                answers = _answers(address)
            except ConnectionRefusedError:
                continue
            except (OSError, ValueError):  # it is cut off, or that is no address
                refused = False
                continue
            if answers:
                logger.debug("%s may be at %s again", name, address)
                self._introduce(address)
                return False
        return refused

    def _next(self) -> tuple[str, _Lost] | None:
        """The next node to be looked for, when it is time to; None if there is none, and the thread is to end."""
        with self._changed:
            while self._lost and not self._closed:
                name, lost = min(self._lost.items(), key=lambda item: item[1].due)
                wait = lost.due - time.monotonic()
                if wait <= 0:
                    return name, lost
                self._changed.wait(wait)
            self._thread = None
            return None

    def _settle(self, name: str, lost: _Lost, *, refused: bool) -> None:
        """When to look again, if at all."""
        now = time.monotonic()
        with self._changed:
            if self._lost.get(name) is not lost:
                return
            lost.refusals = lost.refusals + 1 if refused else 0
            if lost.refusals >= _REFUSALS or now >= lost.forget_at:
                del self._lost[name]
                return
            lost.delay = min(lost.delay * _GROWTH, _LONGEST_DELAY)
            lost.due = now + lost.delay


def _answers(address: str) -> bool:
    endpoint = Endpoint.parse(address)
    with socket.create_connection((endpoint.host, endpoint.port), _PROBE_TIMEOUT):
        return True
