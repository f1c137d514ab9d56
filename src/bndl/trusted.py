"""Files that decide whose code runs here: they are opened once, and judged and read through that one descriptor.

Between a look at a name and a read of that name, another user who may write to a folder on the way can put another file
there. The file that a descriptor stands for stays the same.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TrustedFile", "find_outsiders", "open_folder", "read_file"]


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """What a file had in it when it was opened, and who else has to do with it.

    Attributes:
        data: the contents.
        outsiders: who else may change it, as a predicate such as "belongs to another user"; empty if nobody.
        is_shared: whether others may read it.
    """

    data: bytes
    outsiders: str
    is_shared: bool


def read_file(path: Path | str, *, folder: int | None = None, follow_links: bool = False) -> TrustedFile:
    """Open a file once, and read it.

    Args:
        path: of the file.
        folder: the descriptor of the folder that ``path`` is relative to.
        follow_links: whether the file may be a symbolic link. The folders on the way to it may be.

    Raises:
        FileNotFoundError: it is not there, or is no regular file.
        OSError: it cannot be read; ELOOP if it is a link and that is not allowed.
    """
    # A pipe would be waited for without O_NONBLOCK, and a terminal would become that of the process without O_NOCTTY.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(f"{str(path)!r} is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
    finally:
        os.close(descriptor)
    return TrustedFile(data, find_outsiders(status), bool(status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)))


def open_folder(path: Path) -> int:
    """Open a folder, for files relative to it: all of them are from one folder, whatever its name stands for later.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)


def find_outsiders(status: os.stat_result) -> str:
    """Who may change a file besides this user and root, as a predicate; empty if nobody."""
    if status.st_uid not in {0, os.geteuid()}:
        return "belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by all users"
    return "can be written by its group" if status.st_mode & stat.S_IWGRP else ""
