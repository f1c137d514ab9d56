"""A bar for each stage while it runs: on a terminal, in a notebook, or as lines of text where there is neither."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from html import escape
from operator import length_hint
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import Task

from bndl.context.figures import Figures, describe_count, describe_pace
from bndl.driver.execution import Execution
from bndl.screen import INTERVAL, Screen, find_screen

__all__ = ["Bars", "Watch", "count_items", "is_wanted", "watch_execution"]

R = TypeVar("R")

#: Seconds between two lines where there is neither a terminal nor a notebook.
_LINES_INTERVAL = 10.0
#: Seconds until a notebook shows anything.
_FIRST = 0.2


def is_wanted(choice: bool | None) -> bool:  # noqa: FBT001 - the value of the option of connect()
    """Whether to show bars: as chosen, or if standard error is a terminal or a notebook."""
    if choice is not None:
        return choice
    return _find_notebook() is not None or find_screen() is not None


class Bars(Protocol):
    """The bars of one execution, as they are shown somewhere.

    Attributes:
        is_over: whether nobody takes results any more. May be set by a finalizer, in any thread.
    """

    is_over: bool

    def waiting(self) -> AbstractContextManager[Callable[[], None]]:
        """The program waits for results in here, and calls what is given each ``INTERVAL``."""

    def close(self) -> None:
        """There is nothing more to show."""


class _TerminalBars:
    """Bars on a terminal."""

    def __init__(self, screen: Screen, figures: Figures) -> None:
        self.is_over = False
        self._screen = screen
        self._is_begun = False
        self._figures = figures
        colours: Any = Console(stderr=True, force_jupyter=False, force_terminal=True).color_system
        self._text = io.StringIO()
        self._console = Console(file=self._text, force_jupyter=False, force_terminal=True, color_system=colours)

    def waiting(self) -> AbstractContextManager[Callable[[], None]]:
        """They are shown from the first wait on, because an iterator may be made and never begun."""
        if not self._is_begun:
            self._is_begun = True
            self._screen.add(self)
        return self._screen.waiting()

    def render(self, width: int, most: int) -> list[str]:
        """The bars as lines."""
        if (bars := self._figures.lay_out(width, most)) is None:
            return []
        self._text.seek(0)
        self._text.truncate()
        self._console.print(bars, width=width, crop=True)
        return self._text.getvalue().splitlines()

    def close(self) -> None:
        """Nothing is shown while the program's own code runs, so there is nothing to take away."""
        self.is_over = True


class _NotebookBars:
    """Bars in a notebook's cell."""

    def __init__(self, display: Callable[..., Any], figures: Figures) -> None:
        self.is_over = False
        self._display = display
        self._figures = figures
        self._began = time.monotonic()
        self._shown = 0.0
        self._handle: Any = None

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Callable[[], None]]:
        """Nothing that the program does meanwhile is in the way."""
        yield self._tick
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._began < _FIRST or now - self._shown < INTERVAL:
            return
        self._shown = now
        self._show(self._figures.read())

    def _show(self, tasks: list[Task]) -> None:
        html = "".join(
            f"<div><code>{escape(task.description)}</code> "
            f"<progress max='{task.total or 1:g}'{f' value={task.completed:g}' if task.total else ''}></progress> "
            f"{escape(describe_count(task))}, {escape(describe_pace(task))}</div>"
            for task in tasks
        )
        data = {"text/html": html, "text/plain": "\n".join(map(_to_line, tasks))}
        if self._handle is None:
            self._handle = self._display(data, raw=True, display_id=True)
        elif self._handle:
            self._handle.update(data, raw=True)

    def close(self) -> None:
        """Take them out of the cell."""
        handle, self._handle = self._handle, False
        if handle:
            with contextlib.suppress(Exception):  # the kernel may be ending
                handle.update({"text/html": "", "text/plain": ""}, raw=True)


class _Lines:
    """Lines of text, now and then."""

    def __init__(self, figures: Figures) -> None:
        self.is_over = False
        self._figures = figures
        self._shown = time.monotonic()
        self._is_closed = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Callable[[], None]]:
        """A line each ten seconds."""
        yield self._tick

    def _tick(self) -> None:
        if time.monotonic() - self._shown >= _LINES_INTERVAL:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody can read it
            sys.stderr.write("".join(f"{_to_line(task)}\n" for task in self._figures.read()))

    def close(self) -> None:
        """How far it came."""
        if not self._is_closed:
            self._is_closed = True
            self._show()


def _to_line(task: Task) -> str:
    return f"{task.description}: {describe_count(task)}, {describe_pace(task)}"


def _find_notebook() -> Callable[..., Any] | None:
    """What displays something in the cell that runs, in a notebook."""
    ipython: Any = sys.modules.get("IPython")  # a notebook has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    display: Callable[..., Any] = sys.modules["IPython.display"].display
    return display


def _make_bars(update: Callable[[Figures], None]) -> Bars:
    figures = Figures(update)
    if (display := _find_notebook()) is not None:
        return _NotebookBars(display, figures)
    if (screen := find_screen()) is not None:
        return _TerminalBars(screen, figures)
    return _Lines(figures)


def watch_execution(execution: Execution) -> Bars:
    """Bars for each stage of a job that began."""

    def update(figures: Figures) -> None:
        for stage in execution.report().stages:
            if stage.attempts:
                notes = [f"{count} {what}" for what, count in (("failed", stage.failed), ("lost", stage.lost)) if count]
                figures.set(stage.name, stage.done + stage.cancelled, stage.tasks, ", ".join(notes))

    return _make_bars(update)


def count_items(items: Iterable[object]) -> int | None:
    """How many items there are, if that is known."""
    try:
        count = length_hint(items, -1)
    except Exception:  # noqa: BLE001 - the user's __len__, or more than a length can be; it is only for the bar
        return None
    return count if count >= 0 else None


class Watch:
    """A bar of how many results were taken.

    Attributes:
        bars: as they are shown.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self._taken = 0
        self.bars = _make_bars(lambda figures: figures.set(name, self._taken, total))

    def count(self, results: Iterable[R]) -> Generator[R, None, None]:
        """The results, counted as they are taken."""
        with contextlib.closing(self.bars):
            for result in results:
                self._taken += 1
                yield result
