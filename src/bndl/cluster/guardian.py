"""Ends what a killed driver leaves behind: the processes that tasks on its workers started.

A driver that is killed says and does no more. The kernel ends its workers with it, but not what their tasks started. So
a process of its own, in a session of its own, knows the process groups of the workers, and waits for the end of a pipe
that only the driver holds.

::

    Supervisor -> Guardian.watch(group), .forget(group) --pipe--> this file as a script: on the end, kills what is left

As a script it imports nothing of bndl, so that it is there within some milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

__all__ = ["Guardian"]


class Guardian:
    """Knows process groups that must not outlive this process. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, without waiting for it."""
        # Its output goes nowhere: whoever waits for the end of the driver's own must not wait for this one.
        with contextlib.suppress(OSError):  # no room for another process: the driver can do without it
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )

    def watch(self, group: int) -> None:
        """A process group is there."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """A process group is gone, and its number may be given to another one."""
        self._tell(f"-{group}\n")

    def stop(self, timeout: float) -> None:
        """End the process, which kills what it still knows of."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout)

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed: the driver can do without it
                self._process.stdin.write(line.encode())


def _guard() -> None:
    """Read which groups there are until the driver is gone, then kill them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, None] = {}
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups[group] = None
        else:
            groups.pop(group, None)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    _guard()
