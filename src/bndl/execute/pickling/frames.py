"""A pickle and the large buffers that were taken out of it, as one sequence of bytes.

That is either a bare pickle, or, if there are buffers::

    b"B" | count: u32 | count + 1 lengths: u64 | pickle | buffer | buffer ...
"""

from __future__ import annotations

import pickle
import struct

__all__ = ["WITH_BUFFERS", "Buffers", "split"]

WITH_BUFFERS = b"B"
#: Buffers smaller than this stay in the pickle: taking them out costs more than copying them.
_SMALL_BUFFER = 4096


class Buffers:
    """Takes buffers while a value is pickled (protocol 5, PEP 574)."""

    def __init__(self) -> None:
        self._views: list[memoryview] = []

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays in the pickle."""
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < _SMALL_BUFFER:
            return True
        self._views.append(view)
        return False

    def pieces(self, pickled: bytes) -> list[bytes | memoryview]:
        """The pickle with the buffers that were taken out of it, to be joined."""
        if not self._views:
            return [pickled]
        lengths = [len(pickled), *(view.nbytes for view in self._views)]
        header = struct.pack(f"<I{len(lengths)}Q", len(self._views), *lengths)
        return [WITH_BUFFERS, header, pickled, *self._views]

    def clear(self) -> None:
        """Let go of the buffers."""
        if self._views:
            self._views = []


def split(payload: bytes | memoryview) -> tuple[bytes | memoryview, list[bytearray]]:
    """The pickle and its buffers, which are copied so that what is made of them is writable."""
    if payload[:1] != WITH_BUFFERS:
        return payload, []
    (count,) = struct.unpack_from("<I", payload, 1)
    lengths = struct.unpack_from(f"<{count + 1}Q", payload, 5)
    view = memoryview(payload)
    position = 5 + 8 * (count + 1)
    pieces = []
    for length in lengths:
        pieces.append(view[position : position + length])
        position += length
    return pieces[0], [bytearray(piece) for piece in pieces[1:]]
