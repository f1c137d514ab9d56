"""The program of the guardian's process, see ``cluster.guardian``; and how processes are found that a worker started.

It imports nothing of bndl, so that it is there within some milliseconds.

A process in a session of its own, or one whose parent has ended, has no number that leads to the worker whose task
started it. It has the worker's environment, though: the kernel keeps what a program began with in ``/proc``, and forks
and the programs that they run inherit it. So each worker has a variable that names its owner. Where a task is itself a
driver, its workers have the names of both owners, so that whatever ends the outer worker ends them, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

__all__ = ["VARIABLE", "has_owner", "kill_owned", "with_owner"]

#: The variable. It is no setting of bndl: those begin with ``BNDL_``.
VARIABLE = "_BNDL_OWNER"
#: Between owners; and between the name of a supervisor and the number of its worker.
_BETWEEN, _NUMBER = ":", "."
#: Seconds between two looks: a process that was killed takes a moment to end.
_INTERVAL = 0.01
#: Seconds within which a process that is about to run a program has an environment that can be read.
_SETTLE = 0.25
#: Seconds for which the guardian looks for processes.
_PATIENCE = 5.0


def with_owner(environment: Mapping[str, str], owner: str) -> dict[str, str]:
    """The environment of a worker: ``owner`` is added to the owners that the environment names already."""
    outer = environment.get(VARIABLE)
    return {**environment, VARIABLE: f"{outer}{_BETWEEN}{owner}" if outer else owner}


def has_owner(variables: bytes, owner: str) -> bool:
    """Whether an environment, as the kernel tells it, names an owner: a worker, or the supervisor of many."""
    begin = f"{VARIABLE}=".encode()
    for variable in variables.split(b"\0"):
        if variable.startswith(begin):
            names = variable.removeprefix(begin).decode(errors="replace").split(_BETWEEN)
            return any(owner in {name, name.rpartition(_NUMBER)[0]} for name in names)
    return False


def kill_owned(owner: str, timeout: float) -> bool:
    """Kill the processes of this user that have this owner, again and again until there are none.

    Args:
        owner: a worker, or a supervisor for all its workers.
        timeout: for how many seconds. A process that is stuck in the kernel does not end.

    Returns:
        Whether there are none. Also if the system does not tell.
    """
    now = time.monotonic()
    deadline, settled = now + timeout, now + min(_SETTLE, timeout)
    while True:
        found = {_kill(pid, owner) for pid in _list_processes()}
        now = time.monotonic()
        if "killed" not in found and ("beginning" not in found or now >= settled):
            return True
        if now >= deadline:
            return False
        time.sleep(_INTERVAL)


def _list_processes() -> Iterator[int]:
    """The processes of this user; none where the system has no such folder.

    Other than this one, and than the first of the system, which no task has started.
    """
    own, user = os.getpid(), os.geteuid()
    with contextlib.suppress(OSError):
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and int(path.name) not in {1, own} and _owned_by(path, user):
                yield int(path.name)


def _owned_by(path: Path, user: int) -> bool:
    try:
        return path.stat().st_uid == user
    except OSError:  # it has ended
        return False


def _kill(pid: int, owner: str) -> Literal["killed", "beginning", "other"]:
    """Kill a process if it has this owner. Returns what it was; one that is beginning has to be looked at again."""
    environment = _read_environment(pid)
    if not has_owner(environment, owner):
        return "beginning" if not environment and _is_beginning(pid) else "other"
    try:
        # The number may be that of another process by now. A process that is open keeps its number to itself.
        with _open_process(pid) as send:
            if has_owner(_read_environment(pid), owner):
                send(signal.SIGKILL)
    except ProcessLookupError:
        pass
    except OSError:  # the system does not let this user do it
        return "other"
    return "killed"


@contextlib.contextmanager
def _open_process(pid: int) -> Iterator[Callable[[signal.Signals], object]]:
    """A function that sends a signal to this process, and to no later one of the same number where there is a way."""
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:  # an old kernel, or too many files are open
            pass
        else:
            try:
                yield lambda number: signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
            return
    yield lambda number: os.kill(pid, number)


def _read_environment(pid: int) -> bytes:
    """What the program of a process began with; empty if it has ended, or is not for this user to see."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _is_beginning(pid: int) -> bool:
    """Whether a process is about to run a program: its old environment is gone then, and the new one not yet there."""
    try:
        # From the third field on; the second is a name in parentheses, which may have any text in it.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        state, size, environment_end = fields[0], int(fields[20]), int(fields[48])
    except (OSError, IndexError, ValueError):  # it has ended, or the system does not tell
        return False
    return state not in {b"Z", b"X"} and size > 0 and environment_end == 0  # threads of the kernel have no size


def _guard() -> None:
    """Read which groups and owner there are until the driver is gone, then kill them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, None] = {}
    owner = ""
    for line in sys.stdin:
        word = line[1:].strip()
        if line[0] == "=":
            owner = word
        elif line[0] == "+":
            groups[int(word)] = None
        else:
            groups.pop(int(word), None)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    if owner:
        kill_owned(owner, _PATIENCE)


if __name__ == "__main__":
    _guard()
