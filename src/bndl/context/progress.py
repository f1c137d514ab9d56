"""A bar for each stage while it runs."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from bndl.driver.execution import Execution

__all__ = ["count_items", "is_wanted", "watch_execution", "watch_results"]

R = TypeVar("R")

#: Seconds between two looks at how far it is.
_INTERVAL = 0.1


def is_wanted(choice: bool | None) -> bool:  # noqa: FBT001 - the value of the option of connect()
    """Whether to show bars: as chosen, or if standard error is a terminal or a notebook."""
    if choice is not None:
        return choice
    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


def _make_bars() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # what looks like markup is part of the user's name
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=False,
    )


class _Bars:
    """The bars of one execution, drawn by a thread of their own."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._progress = _make_bars()
        self._bars: dict[str, TaskID] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bndl-progress", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._progress.start()
        self._thread.start()

    def stop(self) -> None:
        """Draw a last time."""
        self._done.set()
        self._thread.join(5.0)
        self._draw()
        self._progress.stop()

    def _run(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._draw()

    def _draw(self) -> None:
        for stage in self._execution.report().stages:
            if stage.name not in self._bars:
                if not stage.attempts:
                    continue
                self._bars[stage.name] = self._progress.add_task(stage.name, total=stage.tasks, note="")
            notes = [f"{count} {what}" for what, count in (("failed", stage.failed), ("lost", stage.lost)) if count]
            bar = self._bars[stage.name]
            self._progress.update(bar, completed=stage.done + stage.cancelled, total=stage.tasks, note=", ".join(notes))


@contextmanager
def watch_execution(execution: Execution) -> Iterator[None]:
    """Show a bar for each stage that began, as long as this is entered."""
    bars = _Bars(execution)
    bars.start()
    try:
        yield
    finally:
        bars.stop()


def count_items(items: Iterable[object]) -> int | None:
    """How many items there are, if that is known."""
    try:
        count = length_hint(items, -1)
    except Exception:  # noqa: BLE001 - the user's __len__, or more than a length can be; it is only for the bar
        return None
    return count if count >= 0 else None


def watch_results(results: Iterator[R], name: str, total: int | None) -> Generator[R, None, None]:
    """Show a bar of how many results were taken."""
    with _make_bars() as bars:
        bar = bars.add_task(name, total=total, note="")
        for result in results:
            yield result
            bars.advance(bar)
