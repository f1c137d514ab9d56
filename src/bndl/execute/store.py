"""What a node keeps for others: results, and arguments and functions that are too large for a message.

Over a limit of memory the oldest things are moved to disk, many to a file. The files have no name in any folder
(``tempfile.TemporaryFile``), so nothing is left behind however the process ends.

If the disk takes nothing, memory goes on being used up to the limit, and what does not fit then is refused: that one
thing, and nothing else.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import IO

from bndl.errors import StorageFull
from bndl.logs import get_logger

__all__ = ["Key", "Store"]

logger = get_logger(__name__)

#: The driver whose numbers are meant, a ``Space``, and the number.
Key = tuple[str, int, int]

_FILE_BYTES = 64 << 20


class _SpillFile:
    """A file on disk that holds several things; it is given back when the last of them is dropped.

    Args:
        file: without a buffer: with one, what the disk does not take would be told later, to somebody who only reads or
            closes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0
        self._count = 0
        #: Whether nothing more goes into it.
        self.is_full = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written into it."""
        return not self._size

    def append(self, data: bytes) -> int:
        """Write at the end; returns where that is.

        Raises:
            OSError: it could not be written, and nothing of it takes up room.
        """
        position = self._size
        view, fd = memoryview(data), self._file.fileno()
        written = 0
        try:
            while written < len(view):
                written += os.pwrite(fd, view[written:], position + written)
        except OSError:
            self.is_full = True
            with suppress(OSError):
                os.ftruncate(fd, position)
            raise
        self._size += len(data)
        self._count += 1
        self.is_full = self._size >= _FILE_BYTES
        return position

    def read(self, position: int, length: int) -> bytes:
        """Read ``length`` bytes.

        Raises:
            OSError: the disk does not give them.
        """
        fd = self._file.fileno()
        data = os.pread(fd, length, position)
        if len(data) == length:
            return data
        pieces, got = [data], len(data)  # the kernel gives 2 GiB at a time
        while got < length:
            piece = os.pread(fd, length - got, position + got)
            if not piece:
                raise OSError(errno.EIO, "the file is shorter than it was")
            pieces.append(piece)
            got += len(piece)
        return b"".join(pieces)

    def drop(self) -> None:
        """One of the things in it is not needed any more."""
        self._count -= 1
        if not self._count:
            self.close()

    def close(self) -> None:
        """Give the file back."""
        self.is_full = True
        with suppress(OSError):  # nothing in it is needed any more
            self._file.close()

    def __del__(self) -> None:
        """A store that nobody has any more leaves no open file."""
        self.close()


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
        """Keep ``data``, instead of what was there before.

        Raises:
            StorageFull: it does not fit into memory, and the disk takes nothing. It is not kept then, all else is.
        """
        with self._lock:
            self._drop(key)
            self._memory[key] = data
            self.memory_bytes += len(data)
            if self.memory_bytes <= self._limit:
                return
            try:
                self._spill(self._limit * 9 // 10)  # a tenth is free again then, so that not each one is moved alone
            except OSError as error:
                if self.memory_bytes > self._limit:
                    self._drop(key)
                    raise StorageFull(_describe(len(data), self.memory_bytes, self._limit, error)) from None

    def spill(self) -> None:
        """Move all there is to disk, as far as that takes it."""
        with self._lock, suppress(OSError):
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
            try:
                return file.read(position + offset, rest if length < 0 else min(length, rest))
            except OSError as error:
                logger.warning("%d bytes that were moved to disk cannot be read: %s. They are lost.", size, error)
                self._drop(key)
                return None

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
        """Move the oldest things to disk until no more than ``target`` bytes are in memory.

        Raises:
            OSError: the disk does not take the next one, which stays in memory, as do all that come after it.
        """
        while self.memory_bytes > target and self._memory:
            key, data = next(iter(self._memory.items()))
            file = self._open_file
            if file is None or file.is_full:
                file = self._open_file = _open_spill_file()
            try:
                position = file.append(data)
            except OSError as error:
                if file.is_empty:
                    file.close()
                elif error.errno == errno.EFBIG:  # a limit of the size of a file: the next one has room again
                    continue
                raise
            self._disk[key] = (file, position, len(data))
            del self._memory[key]
            self.memory_bytes -= len(data)
            self.spilled_bytes += len(data)


def _open_spill_file() -> _SpillFile:
    return _SpillFile(tempfile.TemporaryFile(prefix="bndl-", buffering=0))


def _describe(size: int, memory_bytes: int, limit: int, error: OSError) -> str:
    try:
        where = repr(tempfile.gettempdir())
    except OSError:
        where = "the folder for temporary files"
    return (
        f"{size:,} bytes fit neither into memory, where {memory_bytes:,} of {limit:,} are taken, nor into {where}: "
        f"{error.strerror or error}. Make room there, name another folder with TMPDIR, or allow more with store_bytes."
    )
