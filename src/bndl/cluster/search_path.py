"""Local workers look for modules where this process does, also if that changes, as when a notebook goes elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from bndl.execute.search_path import spell_entry
from bndl.loop import Loop
from bndl.net.messages import LookIn, Message

__all__ = ["SearchPath", "read_search_path"]


def read_search_path() -> tuple[str, ...]:
    """Where this process looks for modules, as absolute paths, spelled for messages."""
    here = _current_folder()
    # A relative entry, such as "", is the current folder or in it. If that is gone, so is the entry.
    entries = [os.path.join(here, entry) for entry in sys.path if isinstance(entry, str)]  # noqa: PTH118 - as strings
    return tuple(spell_entry(os.path.normpath(entry)) for entry in entries if os.path.isabs(entry))  # noqa: PTH117 - as strings


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a string is what is needed, for each call
    except OSError:
        return ""


class SearchPath:
    """Tells local workers where this process looks for modules. Thread-safe.

    Args:
        loop: the driver's. What is told on it comes before what is launched later.
        send: sends a message to a worker; lost if that is not connected.
        list_local: the names of the local workers.
    """

    def __init__(
        self, loop: Loop, send: Callable[[str, Message], None], list_local: Callable[[], Sequence[str]]
    ) -> None:
        self._loop = loop
        self._send = send
        self._list_local = list_local
        self._seen = (list(sys.path), _current_folder())
        #: As of the last change; empty before the first one, as workers are started with what there is.
        self._path: tuple[str, ...] = ()

    def follow(self) -> None:
        """Have workers told if it changed since the last time."""
        seen = (sys.path, _current_folder())
        if seen == self._seen:
            return
        self._seen = (list(sys.path), seen[1])
        self._path = read_search_path()
        self._loop.post(self._tell_all)

    def worker_joined(self, name: str) -> None:
        """A worker is there, and nothing was sent to it yet. To be called on the loop."""
        if self._path and name in self._list_local():
            self._send(name, LookIn(self._path))

    def _tell_all(self) -> None:
        for name in self._list_local():
            self._send(name, LookIn(self._path))
