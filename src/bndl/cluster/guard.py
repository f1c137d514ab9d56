"""The program of the guardian's process: see ``cluster.guardian``.

It imports nothing of bndl, so that it is there within some milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

__all__: list[str] = []


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
