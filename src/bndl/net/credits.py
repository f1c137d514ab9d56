"""Credits: how much may be on its way to a peer. Pure; nothing is sent here.

A node whose interpreter is held by a task takes no frames, while others go on sending. What it has not taken waits in
its channel, and a full channel would stop its receiving: a healthy node would be lost.
So for each pair of nodes and each priority there is a number of credits. A frame costs one, and the receiver gives
credits back for what it took, many at a time. What has no credit waits with the sender, in order (credit-based flow
control: Kung, Blackwell and Chapman, SIGCOMM 1994, p. 101).

::

    Window.send(frame)  -> may go now, or is kept in line           Tally.take() -> credits to be given back now
    Window.grant(count) -> adds credits
    Window.next()       -> the next frame in line that may go

Credits may come back after one side began anew, for frames of the time before. So they never make more than a full
window. None is lost as long as each frame that was taken is counted, whatever became of it.
"""

from __future__ import annotations

from collections import deque

import msgspec

from bndl.net.bounds import Number

__all__ = ["BULK_CREDITS", "CREDITS", "Credit", "Tally", "Window"]

#: How many frames may be on their way to a peer.
CREDITS = 128
#: How many large ones. Each of them may have a chunk of 4 MiB.
BULK_CREDITS = 32


class Credit(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """A message: so many of your frames were taken since the last of these, send as many more.

    Attributes:
        count: how many.
        bulk: which frames.
    """

    count: Number
    bulk: bool


class Window:
    """The sender's side.

    Args:
        size: how many frames may be on their way.

    Attributes:
        waiting: the frames that have no credit yet, the first in line first.
    """

    __slots__ = ("_credits", "_size", "waiting")

    def __init__(self, size: int) -> None:
        self._size = size
        self._credits = size
        self.waiting: deque[bytes] = deque()

    @property
    def outstanding(self) -> int:
        """How many frames are on their way, or taken and not given back for."""
        return self._size - self._credits

    def send(self, frame: bytes) -> bool:
        """Whether a frame may go now. If not it is in line."""
        if self._credits and not self.waiting:
            self._credits -= 1
            return True
        self.waiting.append(frame)
        return False

    def grant(self, count: int) -> None:
        """The receiver took ``count`` frames, maybe some of which nobody here remembers."""
        self._credits = min(self._credits + max(count, 0), self._size)

    def next(self) -> bytes | None:
        """The next frame in line, if it may go now. It counts as sent."""
        if not self._credits or not self.waiting:
            return None
        self._credits -= 1
        return self.waiting.popleft()


class Tally:
    """The receiver's side.

    Args:
        size: of the sender's window.
    """

    __slots__ = ("_half", "_taken")

    def __init__(self, size: int) -> None:
        self._half = (size + 1) // 2
        self._taken = 0

    def take(self) -> int:
        """A frame was taken. Returns how many credits to give back now: nothing, or for half a window."""
        self._taken += 1
        if self._taken < self._half:
            return 0
        taken, self._taken = self._taken, 0
        return taken
