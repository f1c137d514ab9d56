"""Greetings of nodes that are not announced yet: frames and announcements come on separate ways.

An announcement follows its greeting within moments, so few greetings wait at a time. A member can send greetings under
names that never announce themselves, so their number is bounded, and the oldest makes room.
"""

from __future__ import annotations

from bndl.net.greetings import Hello

__all__ = ["MOST_BYTES", "MOST_GREETINGS", "Early"]

#: The most greetings that are kept; each takes a few kilobytes.
MOST_GREETINGS = 2000
#: The most bytes of their frames.
MOST_BYTES = 4 << 20


class Early:
    """The last greeting of each node that is not announced yet."""

    def __init__(self) -> None:
        #: By name, the oldest first, each with the size of its frame.
        self._greetings: dict[str, tuple[Hello, int]] = {}
        self._bytes = 0

    def put(self, name: str, hello: Hello, size: int) -> None:
        """Keep the greeting of a node, instead of the one before.

        Args:
            name: of the node.
            hello: the greeting.
            size: of its frame, in bytes.
        """
        self.take(name)
        self._greetings[name] = (hello, size)
        self._bytes += size
        while len(self._greetings) > MOST_GREETINGS or self._bytes > MOST_BYTES:
            self.take(next(iter(self._greetings)))

    def take(self, name: str) -> Hello | None:
        """The greeting of a node, which is not kept any longer; None if there is none."""
        hello, size = self._greetings.pop(name, (None, 0))
        self._bytes -= size
        return hello

    def __len__(self) -> int:
        return len(self._greetings)
