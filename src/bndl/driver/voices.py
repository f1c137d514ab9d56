"""What tasks print and log, as records of the driver's logging.

Each line is a record of the logger ``bndl.tasks``, with a prefix that names the task and the worker. ``worker``,
``task``, ``job``, ``attempt``, ``source`` and ``text``, the line without its prefix, are attributes of the record. A
program that has not configured logging gets the lines on standard error.

Lines come before the result of the task that said them. They are handled in a thread of their own, as handlers are the
users', and whoever takes the result waits for that, for a limited time (``logs.flush``).
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bndl.logs import get_logger, hand_over
from bndl.net.messages import Line, Said
from bndl.printable import printable, printable_line
from bndl.screen import hide

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun

__all__ = ["Voices"]

logger = get_logger(__name__)
_tasks = logging.getLogger("bndl.tasks")

_PRINTED = frozenset({"stdout", "stderr"})
#: Of how many stages that are over the names are remembered.
_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class _Said:
    """A line, as it is logged."""

    level: int
    text: str
    facts: dict[str, object]
    printed: bool


def _read_dropped(worker: str, count: int) -> _Said:
    what = "1 line of its tasks was" if count == 1 else f"{count:,} lines of its tasks were"
    text = f"{what} dropped here: they print more than is passed on. Print less, or write to a file."
    facts: dict[str, object] = {"worker": worker, "task": "", "job": "", "attempt": 0, "source": "", "text": text}
    return _Said(logging.WARNING, f"[{worker}] {text}", facts, printed=True)


def _log_all(worker: str, said: Sequence[_Said]) -> None:
    try:
        for line in said:
            _log(line)
    except Exception:  # the user's handlers and filters
        logger.exception("what tasks on %s said could not be logged", worker)


def _log(said: _Said) -> None:
    """Log a line. Printed lines are to be seen, so only what is set on this very logger hides them.

    If no handler takes a printed line, as in a program whose handlers are for errors only, it goes to standard error.
    """
    if not (said.level >= _tasks.level if said.printed else _tasks.isEnabledFor(said.level)):
        return
    if said.printed and _tasks.disabled and _tasks.hasHandlers():
        return
    if not (_has_taker(said.level) if said.printed else _tasks.hasHandlers()):
        with contextlib.suppress(OSError, ValueError):  # nobody can read it
            hide()
            if sys.stderr is not None:
                sys.stderr.write(f"{said.text}\n")
        return
    _tasks.handle(_tasks.makeRecord(_tasks.name, said.level, "(task)", 0, said.text, (), None, extra=said.facts))


class Voices:
    """Makes records of what tasks say. To be used on the driver's loop only.

    Args:
        stages: the driver's stages by number.
    """

    def __init__(self, stages: Mapping[int, StageRun]) -> None:
        self._stages = stages
        #: The names of jobs and stages that said something: what is abandoned may speak when its job is over.
        self._names: dict[int, tuple[str, str]] = {}

    def heard(self, worker: str, message: Said) -> None:
        """Tasks on a worker said something."""
        said = [self._read(worker, line) for line in message.lines]
        if message.dropped:
            said.append(_read_dropped(worker, message.dropped))
        hand_over(lambda: _log_all(worker, said))

    def _read(self, worker: str, line: Line) -> _Said:
        stage = line.task >> 32
        job, task = map(printable_line, self._names_of(stage, line.task & 0xFFFFFFFF))
        again = f" attempt {line.attempt}" if line.attempt > 1 else ""
        source = printable_line(line.source)
        how = "" if line.source in _PRINTED else f"{source} {logging.getLevelName(line.level)}: "
        # A logged text may have several lines. Each gets the prefix, so that none looks like another task's.
        said = printable(line.text) if line.source not in _PRINTED else printable_line(line.text)
        text = "\n".join(f"[{task}{again} on {worker}] {how}{each}" for each in said.split("\n"))
        facts = {"worker": worker, "task": task, "job": job, "attempt": line.attempt, "source": source, "text": said}
        return _Said(line.level, text, facts, printed=line.source in _PRINTED)

    def _names_of(self, number: int, index: int) -> tuple[str, str]:
        """The name of a task's job, and its own."""
        stage = self._stages.get(number)
        if stage is not None:
            if number not in self._names:
                self._names[number] = stage.job_name, stage.name
                if len(self._names) > _REMEMBERED:
                    del self._names[next(iter(self._names))]
            task = stage.tasks.get(index)
            return stage.job_name, task.name if task is not None else f"{stage.name}[{index}]"
        job, name = self._names.get(number, ("", f"stage {number}"))
        return job, f"{name}[{index}]"


def _has_taker(level: int) -> bool:
    """Whether a handler takes records of this level. What filters do is the program's own decision."""
    logger: logging.Logger | None = _tasks
    while logger is not None:
        if any(level >= handler.level and not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
