"""What tasks print and log, as records of the driver's logging.

Each line is a record of the logger ``bndl.tasks``, with a prefix that names the task and the worker. ``worker``,
``task``, ``job``, ``attempt``, ``source`` and ``text``, the line without its prefix, are attributes of the record. A
program that has not configured logging gets the lines on standard error.

Lines come before the result of the task that said them, and are handled on the driver's loop. So whoever has the result
has seen the lines.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bndl.driver.screen import hide
from bndl.net.messages import Line, Said
from bndl.printable import printable, printable_line

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun

__all__ = ["Voices"]

logger = logging.getLogger(__name__)
_tasks = logging.getLogger("bndl.tasks")

_PRINTED = frozenset({"stdout", "stderr"})
#: Of how many stages that are over the names are remembered.
_REMEMBERED = 100


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
        try:
            for line in message.lines:
                self._pass_on(worker, line)
            if message.dropped:
                self._tell_dropped(worker, message.dropped)
        except Exception:  # the user's handlers and filters; they are not to break the loop
            logger.exception("what tasks on %s said could not be logged", worker)

    def _pass_on(self, worker: str, line: Line) -> None:
        stage = line.task >> 32
        job, task = map(printable_line, self._names_of(stage, line.task & 0xFFFFFFFF))
        again = f" attempt {line.attempt}" if line.attempt > 1 else ""
        source = printable_line(line.source)
        how = "" if line.source in _PRINTED else f"{source} {logging.getLevelName(line.level)}: "
        # A logged text may have several lines. Each gets the prefix, so that none looks like another task's.
        said = printable(line.text) if line.source not in _PRINTED else printable_line(line.text)
        text = "\n".join(f"[{task}{again} on {worker}] {how}{each}" for each in said.split("\n"))
        facts = {"worker": worker, "task": task, "job": job, "attempt": line.attempt, "source": source, "text": said}
        self._log(line.level, text, facts, printed=line.source in _PRINTED)

    def _tell_dropped(self, worker: str, count: int) -> None:
        what = "1 line of its tasks was" if count == 1 else f"{count:,} lines of its tasks were"
        text = f"{what} dropped here: they print more than is passed on. Print less, or write to a file."
        facts = {"worker": worker, "task": "", "job": "", "attempt": 0, "source": "", "text": text}
        self._log(logging.WARNING, f"[{worker}] {text}", facts, printed=True)

    def _log(self, level: int, text: str, facts: dict[str, object], *, printed: bool) -> None:
        """What is printed is to be seen, so only a level that is set on this very logger hides it."""
        if not (level >= _tasks.level if printed else _tasks.isEnabledFor(level)):
            return
        if not _tasks.hasHandlers():
            with contextlib.suppress(OSError, ValueError):  # nobody can read it
                hide()
                if sys.stderr is not None:
                    sys.stderr.write(f"{text}\n")
            return
        _tasks.handle(_tasks.makeRecord(_tasks.name, level, "(task)", 0, text, (), None, extra=facts))

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
