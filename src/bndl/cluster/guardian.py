"""Ends what a killed driver leaves behind: the processes that tasks on its workers started.

A driver that is killed says and does no more. The kernel ends its workers with it, but not what their tasks started. So
a process of its own, in a session of its own, knows the process groups of the workers and the owner that is named in
their environment (``cluster.guard``), and waits for the end of a pipe that only the driver holds.

::

    Supervisor -> Guardian(owner).watch(group), .forget(group) --pipe--> cluster.guard: on the end, kills what is left
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from io import FileIO
from pathlib import Path

from bndl.cluster.lifeline import open_lifeline

__all__ = ["Guardian"]

_PROGRAM = Path(__file__).with_name("guard.py")
#: How many seconds it may take to end by itself, and again when it is killed. Workers may have less: see the settings.
_STOP_TIMEOUT = 3.0


class Guardian:
    """Knows what must not outlive this process: process groups, and all processes of an owner. Not thread-safe.

    Args:
        owner: the name that the environment of the processes has.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: FileIO | None = None

    def start(self) -> None:
        """Start the process, without waiting for it."""
        # Its output goes nowhere: whoever waits for the end of the driver's own must not wait for this one.
        with contextlib.suppress(OSError):  # no room for another process: the driver can do without it
            reader, self._pipe = open_lifeline()
            with reader:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", _PROGRAM],
                    stdin=reader,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._tell(f"={self._owner}\n")

    def watch(self, group: int) -> None:
        """A process group is there."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """A process group is gone, and its number may be given to another one."""
        self._tell(f"-{group}\n")

    def stop(self) -> None:
        """End the process, which kills what it still knows of."""
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.close()
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it is stuck in the kernel
                self._process.wait(_STOP_TIMEOUT)

    def _tell(self, line: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # it was killed: the driver can do without it
                self._pipe.write(line.encode())
