"""From what a dead worker process left behind to its death certificate."""

from __future__ import annotations

import contextlib
import linecache
import re
import signal
from collections.abc import Collection, Sequence
from pathlib import Path

from bndl.execute.blackbox import ENDS_BECAUSE, MACHINERY
from bndl.execute.parts import EXIT_STUCK
from bndl.execute.watchdog import EXIT_HELD

__all__ = ["FAULTS", "describe_exit", "find_fatal", "find_own_reason", "pick_stacks", "signal_name", "with_lines"]

#: Signals at which faulthandler writes the stacks.
FAULTS = {"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"}

_FATAL = "Fatal Python error"
_THREAD = re.compile(r"(?P<current>Current thread|Thread) 0x(?P<number>[0-9a-f]+)")
_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d{1,9}) in .*')
_LONGEST_STACK = 200


def signal_name(code: int) -> str:
    """The name of the signal in an exit code of ``subprocess``; empty if there is none."""
    if code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def describe_exit(code: int) -> str:
    """What an exit code of ``subprocess`` says, for people."""
    name = signal_name(code)
    return f"its process was ended by {name}" if name else f"its process ended with exit code {code}"


def find_own_reason(code: int, dump: str) -> tuple[str, str]:
    """Why a process ended itself because of a task, and where that was; empty if it did not, or if it does not say.

    Args:
        code: its exit code.
        dump: what it left in its black box.
    """
    if code == EXIT_STUCK:
        reason, _, where = dump.rpartition(ENDS_BECAUSE)[2].partition("\n")
        return (reason, where.rstrip()) if ENDS_BECAUSE in dump else ("", "")
    if code == EXIT_HELD and dump:
        return "a task did not end after it was cancelled or out of time, and it held the interpreter's lock", ""
    return "", ""


def find_fatal(lines: Sequence[str]) -> tuple[list[str], str]:
    """Take the stacks out of what a process wrote last, if the interpreter itself wrote them there.

    Returns:
        The lines before, and the stacks.
    """
    for index in reversed(range(len(lines))):
        if lines[index].startswith(_FATAL):
            return list(lines[:index]), "\n".join(lines[index:])
    return list(lines), ""


def with_lines(stacks: str) -> str:
    """Stacks as faulthandler writes them, with the lines of the sources, as far as they are known here."""
    shown = []
    for frame in stacks.splitlines():
        shown.append(frame)
        place = _FRAME.fullmatch(frame)
        # What is no plain file, such as a pipe, may never end.
        if place is not None and (place["file"] in linecache.cache or Path(place["file"]).is_file()):
            line = linecache.getline(place["file"], int(place["line"])).strip()
            shown += [f"    {line}"] if line else []
    return "\n".join(shown)


def pick_stacks(dump: str, busy: Collection[int]) -> str:
    """The stacks that matter, the one that failed first.

    Args:
        dump: what faulthandler wrote: a headline, and a paragraph for each thread.
        busy: the threads that were executing tasks.
    """
    fatal = dump.rfind(_FATAL)
    dump = dump[max(fatal, 0) :]  # a process that a task forked may have written one before
    failed, others = [], []
    for paragraph in map(_cut_machinery, dump.strip().split("\n\n")):
        head = paragraph.lstrip().partition("\n")[0]
        thread = _THREAD.match(head)
        # If nothing failed, the current thread is the one that happened to be asked for the stacks.
        if fatal >= 0 and head.startswith((_FATAL, "Current thread")):
            failed.append(paragraph)
        elif thread is not None and int(thread["number"], 16) in busy:
            others.append(paragraph)
    lines = "\n\n".join(failed + others).splitlines()
    if len(lines) > _LONGEST_STACK:
        lines = [*lines[:_LONGEST_STACK], f"({len(lines) - _LONGEST_STACK} more lines)"]
    return "\n".join(lines)


def _cut_machinery(paragraph: str) -> str:
    """A thread's stack without the frames of the slot, which are those of any task."""
    return paragraph.partition(MACHINERY)[0].rpartition("\n")[0] if MACHINERY in paragraph else paragraph
