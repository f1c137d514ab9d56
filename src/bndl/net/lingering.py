"""Connections that are closed at once.

Zenoh sets SO_LINGER to 10 s on its sockets. So closing one that has something unsent, as when the other machine is cut
off, blocks a thread of zenoh for that long, and with it all that goes to other nodes: there is one thread for sending.
Without that option the system sends the rest in the background, which is what is wanted.

Zenoh has no setting for it and does not show its sockets, so they are found among the open files of this process, by
that very option and value.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import threading
import time

__all__ = ["stop_lingering"]

#: What zenoh sets: on, and 10 seconds.
_ZENOHS = struct.pack("ii", 1, 10)
_OFF = struct.pack("ii", 0, 0)

#: For how many seconds a socket that does not linger is looked at again. Over TLS zenoh sets the option only after the
#: handshake; it gives up a connection that is not open after 10 s.
_OPENING = 15.0

_libc = ctypes.CDLL(None)
_lock = threading.Lock()
#: The inodes of the files that were looked at, by descriptor, and until when to look at them again.
_seen: dict[int, tuple[int, float]] = {}


def stop_lingering() -> int:
    """Let all connections of zenoh that are there now be closed at once. Returns how many were changed."""
    with _lock:
        try:
            descriptors = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - numbers, not paths
        except OSError:  # not on every system; there, peers that are cut off hold up others
            return 0
        now = time.monotonic()
        return sum(_stop(descriptor, now) for descriptor in descriptors)


def _stop(descriptor: int, now: float) -> bool:
    try:
        status = os.fstat(descriptor)
        inode, until = _seen.get(descriptor, (None, 0.0))
        if inode != status.st_ino:
            inode, until = status.st_ino, now + _OPENING
        elif until <= now:
            return False
        is_socket, is_changed = stat.S_ISSOCK(status.st_mode), False
        if is_socket:
            # A duplicate, so that nothing happens to another file if zenoh closes the socket meanwhile.
            duplicate = os.dup(descriptor)
            try:
                is_changed = _change(duplicate)
            finally:
                os.close(duplicate)
        _seen[descriptor] = (inode, until if is_socket and not is_changed else now)
    except OSError:  # it was closed meanwhile
        return False
    return is_changed


def _change(descriptor: int) -> bool:
    """Have a socket closed at once if it lingers as zenoh's do. Returns whether it did.

    Not by an object of ``socket``: after ``socket.setdefaulttimeout``, making one for a descriptor lets nothing that
    uses the connection wait any more, and the connections of the user's program are here, too.
    """
    found, size = ctypes.create_string_buffer(len(_ZENOHS)), ctypes.c_uint32(len(_ZENOHS))
    option = (descriptor, socket.SOL_SOCKET, socket.SO_LINGER)
    if _libc.getsockopt(*option, found, ctypes.byref(size)) != 0 or found.raw != _ZENOHS:
        return False
    return bool(_libc.setsockopt(*option, _OFF, len(_OFF)) == 0)
