"""The memory of a worker process, and whether the kernel ended one for want of it.

Where the kernel counts: the control group of a process, its limit and how many of its processes were ended for want of
memory (``memory.max`` and ``memory.events``, or ``memory.limit_in_bytes`` and ``memory.oom_control`` of version 1), and
``/proc/vmstat``, which counts for the whole machine. Elsewhere nothing is counted, and so nothing is claimed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

__all__ = ["Counts", "MemoryWatch", "judge_oom", "read_limit", "read_oom_kills"]

#: How many processes were ended for want of memory, by whose count.
Counts = dict[str, int]

#: From when it is counted until it is gone a process may take as many seconds.
_DYING = 3.0

#: The name of the machine's own count.
MACHINE = "/proc/vmstat"

#: Each version's folder, file with the limit, and file with the count.
_VERSION_2 = ("sys/fs/cgroup", "memory.max", "memory.events")
_VERSION_1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control")


class MemoryWatch:
    """Looks at the memory of a process now and then.

    Args:
        pid: the process.
        root: where the system's files are.

    Attributes:
        last_bytes: its resident memory when it was last looked at; None if it never was.
        peak_bytes: the most that was seen.
        measured: when that was, on the monotonic clock.
    """

    def __init__(self, pid: int, root: Path = Path("/")) -> None:
        self._pid = pid
        self._root = root
        self._process: psutil.Process | None = None
        self._groups: dict[str, PurePosixPath] = {}
        self.last_bytes: int | None = None
        self.peak_bytes: int | None = None
        self.measured = 0.0
        #: The counts of the last seconds, and when they were read.
        self._kills: deque[tuple[float, Counts]] = deque()

    def look(self) -> None:
        """Look at it now."""
        groups = _read_groups(self._pid, self._root)
        resident = self._read_resident()
        if not resident:  # it is ending, and is in none of its groups any more
            return
        now = self.measured = time.monotonic()
        self.last_bytes = resident
        self.peak_bytes = max(resident, self.peak_bytes or 0)
        self._groups = groups or self._groups
        self._kills.append((now, read_oom_kills(self._groups, self._root)))
        while len(self._kills) > 1 and now - self._kills[1][0] > _DYING:
            self._kills.popleft()

    def _read_resident(self) -> int:
        """Its resident memory; 0 if it has just ended."""
        try:
            if self._process is None:
                self._process = psutil.Process(self._pid)
            return int(self._process.memory_info().rss)
        except (psutil.Error, OSError):  # or there is no /proc
            return 0

    def judge_oom(self, ended: float) -> str:
        """What the counts say of a process that was ended by SIGKILL at ``ended``, on the monotonic clock."""
        before: Counts = {}
        for _, counts in reversed(self._kills):
            before |= counts  # the first look at each count; the process may have been moved to another group
        since = self._kills[0][0] if self._kills else ended
        return judge_oom(before, read_oom_kills(self._groups, self._root), ended - since)

    def read_limit(self) -> tuple[int, str]:
        """How much memory it could have, and what sets that limit."""
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # also without /proc
        limit = read_limit(self._groups, self._root)
        return (total, "what this machine has") if limit is None or limit >= total else (limit, "what its cgroup may")


def judge_oom(before: Counts, after: Counts, seconds: float) -> str:
    """What the counts say of a process that was ended by SIGKILL.

    Args:
        before: the counts while it lived.
        after: the counts after its end.
        seconds: how long lies between.
    """
    known = [name for name in after if name in before]
    if not known:
        return "unknown: this system does not say when it ends a process for want of memory"
    rose = [name for name in known if after[name] > before[name]]
    seen = " and ".join(
        f"oom_kill in {name} rose from {before[name]} to {after[name]}"
        if name in rose
        else f"oom_kill in {name} stayed {after[name]}"
        for name in known
    )
    verdict = "likely" if rose else "no evidence"
    if rose == [MACHINE] and len(known) > 1:
        verdict = "possible"
    return f"{verdict}: {seen} within {seconds:.1f} s"


def read_oom_kills(groups: dict[str, PurePosixPath], root: Path) -> Counts:
    """How many processes were ended for want of memory, in the control group of a process and on the machine."""
    counts = {}
    for folder, file in _files(groups, root, 2):
        count = _read_field(folder / file, "oom_kill")
        if count is not None:
            counts[f"/{(folder / file).relative_to(root)}"] = count
            break  # the nearest counts for its own processes
    machine = _read_field(root / "proc/vmstat", "oom_kill")
    if machine is not None:
        counts[MACHINE] = machine
    return counts


def read_limit(groups: dict[str, PurePosixPath], root: Path) -> int | None:
    """The lowest limit of the control groups that a process is in; None if there is none."""
    limits = []
    for folder, file in _files(groups, root, 1):
        text = _read(folder / file).strip()
        if text.isdigit():  # and not "max"
            limits.append(int(text))
    return min(limits, default=None)


def _read_groups(pid: int, root: Path) -> dict[str, PurePosixPath]:
    """The control groups of a process that may limit its memory: the folder where they all are, and the path there."""
    groups = {}
    for line in _read(root / f"proc/{pid}/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            groups[_VERSION_2[0]] = PurePosixPath(path)
        elif "memory" in controllers.split(","):
            groups[_VERSION_1[0]] = PurePosixPath(path)
    return groups


def _files(groups: dict[str, PurePosixPath], root: Path, which: int) -> Iterator[tuple[Path, str]]:
    """Where to look: the folders of the process's groups, the innermost first, with the file's name."""
    for version in (_VERSION_1, _VERSION_2):
        path = groups.get(version[0])
        if path is not None:
            # In a container the path may be the host's, and its own group the outermost folder.
            for each in (path, *path.parents):
                yield root / version[0] / str(each).lstrip("/"), version[which]


def _read_field(path: Path, name: str) -> int | None:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
