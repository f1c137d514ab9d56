"""Connections that are closed at once.

Zenoh sets SO_LINGER to 10 s on its sockets. So closing one that has something unsent, as when the other machine is cut
off, blocks a thread of zenoh for that long, and with it all that goes to other nodes: there is one thread for sending.
Without that option the system sends the rest in the background, which is what is wanted.

Zenoh has no setting for it and does not show its sockets, so they are found among the open files of this process, by
that very option and value.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import threading

__all__ = ["stop_lingering"]

#: What zenoh sets: on, and 10 seconds.
_ZENOHS = struct.pack("ii", 1, 10)
_OFF = struct.pack("ii", 0, 0)

_lock = threading.Lock()
#: The inodes of the files that were looked at, by descriptor.
_seen: dict[int, int] = {}


def stop_lingering() -> int:
    """Let all connections of zenoh that are there now be closed at once. Returns how many were changed."""
    with _lock:
        try:
            descriptors = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers, not paths
        except OSError:  # not on every system; there, peers that are cut off hold up others
            return 0
        return sum(map(_stop, descriptors))


def _stop(descriptor: int) -> bool:
    try:
        status = os.fstat(descriptor)
        if _seen.get(descriptor) == status.st_ino:
            return False
        _seen[descriptor] = status.st_ino
        if not stat.S_ISSOCK(status.st_mode):
            return False
        # A duplicate, so that nothing happens to another file if zenoh closes the socket meanwhile.
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            if duplicate.family not in {socket.AF_INET, socket.AF_INET6}:
                return False
            if duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_ZENOHS)) != _ZENOHS:
                return False
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _OFF)
            return True
    except OSError:  # it was closed meanwhile
        return False
