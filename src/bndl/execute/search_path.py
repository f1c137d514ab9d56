"""Where a worker process looks for modules: where the process that started it does, and where its tasks said."""

from __future__ import annotations

import importlib
import os
import sys
import urllib.parse
from collections.abc import Sequence

__all__ = ["read_entry", "spell_entry", "take_over"]

#: No path has one, so what begins with it is one that UTF-8 cannot have, with its bytes spelled out.
_SPELLED = "\0"

#: What was taken over last.
_given: list[str] = []


def spell_entry(entry: str) -> str:
    """A path as text that can be in a message, whatever bytes are in the names of folders."""
    try:
        entry.encode()
    except UnicodeEncodeError:
        return _SPELLED + urllib.parse.quote_from_bytes(os.fsencode(entry))
    return entry


def read_entry(text: str) -> str:
    """The path that ``spell_entry`` made a text of."""
    if not text.startswith(_SPELLED):
        return text
    return os.fsdecode(urllib.parse.unquote_to_bytes(text.removeprefix(_SPELLED)))


def take_over(spelled: Sequence[str]) -> None:
    """Look for modules in these places, and after that in those that tasks added."""
    path = [read_entry(entry) for entry in spelled]
    own = [entry for entry in sys.path if entry not in _given and entry not in path]
    _given[:] = path
    sys.path[:] = [*path, *own]
    importlib.invalidate_caches()
