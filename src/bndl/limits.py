"""The limits that a process was started with: is there room for what a node takes?

A library that is refused memory or a thread ends the whole process, or waits for a thread that never began. So a node
looks before it starts, and says which limit is too low.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import threading
from typing import Self

from bndl.errors import ClusterError

__all__ = ["check_node"]

#: What a node takes besides what its process has when it begins: measured, with some to spare.
_NODE_FILES = 24
_WORKER_FILES = 6
_NODE_THREADS = 16
_NODE_BYTES = 160 << 20
#: With more than these allowed nobody needs to count.
_MANY_FILES = 1 << 14
_MANY_THREADS = 1 << 12
#: For the end of threads that only waited.
_MOST_SECONDS = 5.0
#: Of glibc's ``mallopt``.
_M_ARENA_MAX = -8


def check_node(workers: int = 0) -> None:
    """Check that there is room for a node in this process.

    Args:
        workers: how many worker processes it will start.

    Raises:
        ClusterError: there is not; the text names the limit.
    """
    what = f"a node with {workers} workers takes" if workers else "a node takes"
    _check_files(_NODE_FILES + workers * _WORKER_FILES, what)
    if _is_limited(resource.RLIMIT_AS):
        _share_arenas()
    needed = _NODE_THREADS
    if resource.getrlimit(resource.RLIMIT_NPROC)[0] < _MANY_THREADS and not _is_limited(resource.RLIMIT_AS):
        needed += workers * _NODE_THREADS  # those of all processes of a user count
    with _Threads() as threads:
        try:
            threads.start(needed)
            _check_memory()
        except RuntimeError:
            text = (
                f"{what} {needed} threads, and this process may start {threads.count} more. Raise the "
                f"limit of threads (ulimit -u: {_show(resource.RLIMIT_NPROC)}; in a container --pids-limit) or of "
                f"memory (ulimit -v: {_show(resource.RLIMIT_AS, 1024)}), or end other processes."
            )
            raise ClusterError(text) from None


def _check_files(needed: int, what: str) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _MANY_FILES:
        return
    free = limit - _count_files(limit)
    if free < needed:
        text = (
            f"{what} about {needed} open files, and this process may open {free} more of its {limit} (ulimit -n). "
            "Raise that limit, close files, or ask for fewer workers."
        )
        raise ClusterError(text)


def _check_memory() -> None:
    """Check that memory for a node can be mapped; nothing of it is used."""
    if not _is_limited(resource.RLIMIT_AS) and not _is_limited(resource.RLIMIT_DATA):
        return
    try:
        mmap.mmap(-1, _NODE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        text = (
            f"a node takes {_NODE_BYTES >> 20} MiB of address space, and this process may not map as much. Raise the "
            f"limit (ulimit -v: {_show(resource.RLIMIT_AS, 1024)}; ulimit -d: {_show(resource.RLIMIT_DATA, 1024)}), "
            "or the memory of the batch job."
        )
        raise ClusterError(text) from None


def _share_arenas() -> None:
    """Let threads share pools of memory: glibc reserves 64 MiB of address space for each thread that has its own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _is_limited(limit: int) -> bool:
    return resource.getrlimit(limit)[0] != resource.RLIM_INFINITY


def _show(limit: int, unit: int = 1) -> str:
    """A limit as the shell shows it."""
    return str(resource.getrlimit(limit)[0] // unit) if _is_limited(limit) else "unlimited"


def _count_files(limit: int) -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder)) - 1  # noqa: PTH208 - the one that is listed is among them
    return sum(map(_is_open, range(limit)))


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


class _Threads:
    """Threads that only wait, to see whether they can be had.

    Attributes:
        count: how many run.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def count(self) -> int:
        return len(self._threads)

    def start(self, count: int) -> None:
        """Start threads.

        Raises:
            RuntimeError: no more can be started.
        """
        for _ in range(count):
            thread = threading.Thread(target=self._over.wait, name="bndl-room", daemon=True)
            thread.start()
            self._threads.append(thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_MOST_SECONDS)
