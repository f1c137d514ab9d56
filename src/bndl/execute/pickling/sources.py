"""Sources of functions that were typed in: in a shell, a notebook, with ``-c`` or on standard input.

No file has them, so they travel with the code. Where it arrives ``linecache`` gets them, from which tracebacks,
warnings and profiles take the lines they show. Of each function its own lines travel, nothing else.

A shell gives all that is typed in one name, such as ``<stdin>``, and counts lines from 1 each time. So where two
sources would be at the same place, the later one gets a name of its own: ``<stdin-1c291ca3>``.
"""

from __future__ import annotations

import linecache
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType

from bndl.execute.pickling import typed

__all__ = ["find_source", "keep_source"]

#: More than this of a function stays behind, in lines and in characters.
_MOST_LINES = 2_000
_MOST_TEXT = 64 << 10
#: How many names are remembered.
_MOST_NAMES = 500

_lock = threading.Lock()
#: What is known of each name: its lines, empty where nothing is known.
_known: dict[str, list[str]] = {}
#: Names of files that are there.
_files: set[str] = set()


def find_source(code: CodeType) -> tuple[str, int, list[str]] | None:
    """The lines of code that is in no file.

    Returns:
        The name to give to the file, the number of the first line, and the lines; None if there is a file, or nothing
        is known.
    """
    name = code.co_filename
    if name in _files or not _may_have_source(name):
        return None
    first, last = code.co_firstlineno, max(_line_numbers(code))
    if not 0 < last - first + 1 <= _MOST_LINES:
        return None
    is_shared = name in typed.NAMES  # several sources have this name, and linecache knows one at most
    lines = typed.find_lines(code, last) if is_shared else linecache.getlines(name)[first - 1 : last]
    if is_shared and not lines and typed.has_sources(name):
        return _with_mark(name, code.co_code), first, []  # or it would be shown with the lines of another one
    if not lines or sum(map(len, lines)) > _MOST_TEXT:
        return None
    return keep_source(name, first, lines), first, lines


def keep_source(name: str, first: int, lines: Sequence[str]) -> str:
    """Let ``linecache`` know lines of a source. Returns the name to find them by."""
    if not lines:
        return name
    with _lock:
        known = _known.get(name, [])
        if any(old and old != new for old, new in zip(known[first - 1 :], lines, strict=False)):
            name = _with_mark(name, f"{first}\n{''.join(lines)}".encode("utf-8", "surrogatepass"))
            known = _known.get(name, [])
        known = known + [""] * (first - 1 + len(lines) - len(known))
        known[first - 1 : first - 1 + len(lines)] = lines
        _known[name] = known
        entry = linecache.cache.get(name)
        if entry is None or len(entry) == 1 or not any(entry[2][first - 1 : first - 1 + len(lines)]):
            # Without a time, so that it is not looked for on the disk.
            linecache.cache[name] = (sum(map(len, known)), None, known, name)
        while len(_known) > _MOST_NAMES:
            oldest = next(iter(_known))
            del _known[oldest]
            linecache.cache.pop(oldest, None)
    return name


def _with_mark(name: str, content: bytes) -> str:
    return f"{name.removesuffix('>')}-{zlib.crc32(content):08x}{'>' if name.endswith('>') else ''}"


def _line_numbers(code: CodeType) -> Iterator[int]:
    yield code.co_firstlineno
    for _, _, line in code.co_lines():
        yield line or 0
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _line_numbers(constant)


def _may_have_source(name: str) -> bool:
    """Whether the source of a file of this name has to travel. What is not known may be a pipe, and is not read."""
    if name.startswith("<"):
        return True
    try:
        if Path(name).is_file():
            _files.add(name)
            return False
    except (OSError, ValueError):
        return False
    return name in linecache.cache
