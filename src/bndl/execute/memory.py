"""A limit on the memory of a worker process: a task that wants more gets a ``MemoryError``, and the worker lives on.

The kernel refuses what is over the limit (RLIMIT_DATA: private memory that can be written), so a machine is not driven
into swap however quickly a task asks for memory. Results are to make room first: they may have a quarter of it, the
rest of them is on disk, and all of them go there when a task fails for want of memory.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from bndl.errors import OutOfMemory

__all__ = ["explain", "limit_memory", "share_for_results"]

_STATUS = Path("/proc/self/status")
_DATA = re.compile(r"^VmData:\s+(\d+) kB", re.MULTILINE)
_RESIDENT = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)

_limit: list[int] = []


def share_for_results(limit_bytes: int, store_bytes: int) -> int:
    """How much memory results may take in a process with such a limit."""
    return min(store_bytes, limit_bytes // 4) if limit_bytes else store_bytes


def limit_memory(limit_bytes: int) -> bool:
    """Limit the memory of this process, and of those that its tasks start. Returns whether that is possible here.

    What is only reserved by now, such as stacks of threads, is not counted.
    """
    if not limit_bytes or sys.platform != "linux":
        return False
    try:
        status = _STATUS.read_text(encoding="ascii")
    except OSError:  # there is no /proc
        return False
    data, resident = _DATA.search(status), _RESIDENT.search(status)
    if data is None or resident is None:
        return False
    reserved = max(int(data[1]) - int(resident[1]), 0) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes + reserved, hard))
    _limit[:] = [limit_bytes]
    return True


def explain(error: BaseException) -> BaseException:
    """A ``MemoryError`` of a task says what the limit is, if there is one. Other exceptions are as they were."""
    if not _limit or not isinstance(error, MemoryError) or isinstance(error, OutOfMemory):
        return error
    limit = _limit[0]
    text = (
        f"the task needed more memory than its worker may have, which is {limit:,} bytes ({limit / 2**30:.2f} GiB): "
        f"{str(error) or 'MemoryError'}. Give workers more with memory_limit=, give tasks less to do, or run "
        "fewer at the same time in a worker."
    )
    explained = OutOfMemory(text, limit_bytes=limit)
    explained.__cause__ = error
    return explained.with_traceback(error.__traceback__)
