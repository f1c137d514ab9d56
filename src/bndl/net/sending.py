"""Frames on their way to peers, no more than there are credits for: see ``net.credits``.

::

    send(to, frame) -> has a credit -> Fabric.send
                    -> has none     -> waits in line ... granted(to, credits) -> Fabric.send
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bndl.logs import get_logger
from bndl.net.credits import BULK_CREDITS, CREDITS, Window
from bndl.net.fabric import Fabric, check_size

__all__ = ["Sending"]

logger = get_logger(__name__)

#: With how many waiting frames somebody is told for the first time. It may be that nothing is wrong.
_MANY = 10_000


class _Stream:
    """Frames of one priority to one peer."""

    __slots__ = ("is_draining", "lock", "many", "window")

    def __init__(self, size: int) -> None:
        self.lock = threading.Lock()
        self.window = Window(size)
        #: Whether a thread is sending what waited. Others get in line meanwhile, or they would overtake it.
        self.is_draining = False
        #: With how many waiting frames it is told of next.
        self.many = _MANY


class Sending:
    """Sends frames to peers, as many as they take. Thread-safe.

    Args:
        fabric: carries the frames.
        is_there: whether a node has announced itself.
    """

    def __init__(self, fabric: Fabric, is_there: Callable[[str], bool]) -> None:
        self._fabric = fabric
        self._is_there = is_there
        #: Of the peers that something was sent to; there may be very many others.
        self._streams: dict[tuple[str, bool], _Stream] = {}

    def reset(self, to: str) -> None:
        """A peer is gone, or begins anew: it has all credits, and what waited for it is void."""
        self._streams.pop((to, False), None)
        self._streams.pop((to, True), None)

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send a frame, now or when there is a credit for it. Lost in silence if the peer is not there.

        Raises:
            ValueError: the frame is too large for any fabric.
        """
        check_size(to, frame)  # now, and not when it is sent
        stream = self._streams.get((to, bulk))
        if stream is None:
            if not self._is_there(to):
                return
            stream = self._streams.setdefault((to, bulk), _Stream(BULK_CREDITS if bulk else CREDITS))
        with stream.lock:
            if stream.is_draining:
                stream.window.waiting.append(frame)
                return
            is_next = stream.window.send(frame)
        if is_next:
            self._fabric.send(to, frame, bulk=bulk)
        elif len(stream.window.waiting) >= stream.many:
            stream.many *= 10
            logger.warning("%s takes nothing, or less than it is sent: %d messages wait for it", to, stream.many // 10)

    def granted(self, to: str, count: int, *, bulk: bool) -> None:
        """A peer gave ``count`` credits back: send what waits."""
        stream = self._streams.get((to, bulk))
        if stream is None:
            return
        with stream.lock:
            stream.window.grant(count)
            if stream.is_draining or not stream.window.waiting:
                return
            stream.is_draining = True
        while True:
            with stream.lock:
                frame = stream.window.next()
                if frame is None:
                    stream.is_draining = False
                    return
            self._fabric.send(to, frame, bulk=bulk)

    def waiting(self, to: str) -> int:
        """How many frames wait for a peer to take others."""
        streams = (self._streams.get((to, bulk)) for bulk in (False, True))
        return sum(len(stream.window.waiting) for stream in streams if stream is not None)
