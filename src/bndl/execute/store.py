"""What a node keeps for others: results, and arguments and functions that are too large for a message.

Over a limit of memory the oldest things are moved to disk, many to a file. The files have no name in any folder
(``tempfile.TemporaryFile``), so nothing is left behind however the process ends.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import IO

__all__ = ["Key", "Store"]

#: The driver whose numbers are meant, a ``Space``, and the number.
Key = tuple[str, int, int]

_FILE_BYTES = 64 << 20


class _SpillFile:
    """A file on disk that holds several things; it is given back when the last of them is dropped."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="bndl-")  # noqa: SIM115 - lives as long as its contents
        self.size = 0
        self.count = 0

    def append(self, data: bytes) -> int:
        """Write at the end; returns where that is."""
        position = self.size
        self.file.seek(position)
        self.file.write(data)
        self.size += len(data)
        self.count += 1
        return position

    def read(self, position: int, length: int) -> bytes:
        """Read ``length`` bytes."""
        self.file.seek(position)
        return self.file.read(length)

    def drop(self) -> None:
        """One of the things in it is not needed any more."""
        self.count -= 1
        if not self.count:
            self.file.close()


class Store:
    """Bytes by key. Thread-safe.

    Args:
        limit_bytes: how much to keep in memory.

    Attributes:
        memory_bytes: what is in memory now.
        spilled_bytes: what was moved to disk so far, whether it is still there or not.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._memory: dict[Key, bytes] = {}
        self._disk: dict[Key, tuple[_SpillFile, int, int]] = {}
        self._open_file: _SpillFile | None = None
        self.memory_bytes = 0
        self.spilled_bytes = 0

    def put(self, key: Key, data: bytes) -> None:
        """Keep ``data``, instead of what was there before."""
        with self._lock:
            self._drop(key)
            self._memory[key] = data
            self.memory_bytes += len(data)
            if self.memory_bytes > self._limit:
                self._spill(self._limit * 9 // 10)  # a tenth is free again then, so that not each one is moved alone

    def spill(self) -> None:
        """Move all there is to disk."""
        with self._lock:
            self._spill(0)

    def size(self, key: Key) -> int:
        """The size of a thing in bytes, or -1 if it is not here."""
        with self._lock:
            data = self._memory.get(key)
            if data is not None:
                return len(data)
            place = self._disk.get(key)
            return -1 if place is None else place[2]

    def get(self, key: Key) -> bytes | None:
        """The whole thing, or None if it is not here."""
        return self.read(key, 0, -1)

    def read(self, key: Key, offset: int, length: int) -> bytes | None:
        """A piece of a thing, ``length`` bytes or less from ``offset``, -1 for all; or None if it is not here."""
        with self._lock:
            data = self._memory.get(key)
            if data is not None:
                whole = offset == 0 and (length < 0 or length >= len(data))
                return data if whole else data[offset : len(data) if length < 0 else offset + length]
            place = self._disk.get(key)
            if place is None:
                return None
            file, position, size = place
            rest = max(size - offset, 0)
            return file.read(position + offset, rest if length < 0 else min(length, rest))

    def drop(self, keys: Iterable[Key]) -> None:
        """Let go of things; those that are not here do not matter."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def drop_where(self, condition: Callable[[Key], bool]) -> None:
        """Let go of all things whose key meets a condition."""
        with self._lock:
            for key in [key for key in (*self._memory, *self._disk) if condition(key)]:
                self._drop(key)

    def __len__(self) -> int:
        return len(self._memory) + len(self._disk)

    def _drop(self, key: Key) -> None:
        data = self._memory.pop(key, None)
        if data is not None:
            self.memory_bytes -= len(data)
        place = self._disk.pop(key, None)
        if place is not None:
            place[0].drop()

    def _spill(self, target: int) -> None:
        """Move the oldest things to disk until no more than ``target`` bytes are in memory."""
        while self.memory_bytes > target and self._memory:
            key, data = next(iter(self._memory.items()))
            if self._open_file is None or self._open_file.file.closed or self._open_file.size >= _FILE_BYTES:
                self._open_file = _SpillFile()
            self._disk[key] = (self._open_file, self._open_file.append(data), len(data))
            del self._memory[key]
            self.memory_bytes -= len(data)
            self.spilled_bytes += len(data)
