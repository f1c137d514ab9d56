"""Lines beneath what the program prints on its terminal, such as bars of progress, which never cost any of that.

They are on the screen only while a thread waits in bndl, so the program has the terminal to itself whenever its own
code runs: to print, to ask, to debug, to go back to a prompt. Standard output is never touched. What is shown goes to
standard error, beneath the line that the cursor is in, and the cursor returns to where it was; so also text without a
line break stays. bndl's own log takes the lines away before it writes.

There is no thread: who waits draws.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import termios
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = ["INTERVAL", "Screen", "Source", "find_screen", "hide"]

#: Seconds between two changes of what is shown.
INTERVAL = 0.1
#: For how many seconds the program waits, again and again, before anything is shown.
_FIRST = 0.2
#: Between two such waits, the program's own code runs for no more than this many seconds.
_LONGEST_GAP = 0.5
#: For how many seconds nothing is shown after somebody else was about to write.
_AFTER_OTHERS = 0.02
#: The part of the time that showing lines again and again may take, at most.
_SHARE = 0.05
#: How many sources are shown at most, and how many lines of the terminal they leave.
_MOST = 8
_LEFT = 3
#: For how many seconds who is about to write waits for who is drawing: the terminal may be stopped, by Ctrl-S.
_PATIENCE = 0.2

_SAVE, _RESTORE = "\x1b7", "\x1b8"
#: One line down, in the same column; the terminal scrolls where it must.
_DOWN = "\x1bD"
_ERASE = f"{_SAVE}\x1b[B\r\x1b[J{_RESTORE}"


class Source(Protocol):
    """Something that has lines to show.

    Attributes:
        is_over: whether it has no more. May be set by a finalizer, in any thread.
    """

    is_over: bool

    def render(self, width: int, most: int) -> list[str]:
        """The lines as they are now: at most so many, of at most ``width`` columns."""


class Screen:
    """What is shown on one terminal. Thread-safe.

    Args:
        descriptor: of the terminal.
        now: the clock, in seconds.
    """

    def __init__(self, descriptor: int, now: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._now = now
        self._process = os.getpid()
        #: Reentrant, because a signal handler or a finalizer may log while its thread draws.
        self._lock = threading.RLock()
        #: Weak, because who waits for results holds them, and lets go of them at any time.
        self._sources: list[weakref.ref[Source]] = []
        self._modes = self._read_modes()
        #: What was rendered last, and when.
        self._text = ""
        self._rendered = 0.0
        self._is_shown = False
        #: Since when the program has been waiting, but for short gaps, and when it waited last.
        self._since = self._waited = -_LONGEST_GAP
        self._not_before = 0.0
        #: When it was shown last, and how long showing it and taking it away takes.
        self._drawn = 0.0
        self._cost = 0.0

    def add(self, source: Source) -> None:
        """Show the lines of a source from now on, while somebody waits."""
        with self._lock:
            self._sources = [*map(weakref.ref, self._list_sources()), weakref.ref(source)]
            self._rendered = -INTERVAL

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Callable[[], None]]:
        """The caller waits in here, and calls what is given each ``INTERVAL``. Nothing is shown afterwards."""
        now = self._now()
        if now - self._waited > _LONGEST_GAP:
            self._since = now
        try:
            if now - self._drawn >= self._cost / _SHARE:
                self._tick()
            yield self._tick
        finally:
            self._waited = self._now()
            self._hide(0.0)

    def hide(self) -> None:
        """Somebody is about to write: take the lines away, for a moment at least."""
        self._hide(_AFTER_OTHERS)

    def _hide(self, pause: float) -> None:
        if self._process != os.getpid() or not self._lock.acquire(timeout=_PATIENCE):
            return
        try:
            now = self._now()
            self._not_before = max(self._not_before, now + pause)
            if self._is_shown:
                self._is_shown = False
                self._write(_ERASE)
                self._cost = 0.8 * self._cost + 0.2 * (self._now() - now)
        finally:
            self._lock.release()

    def _tick(self) -> None:
        if self._now() - self._since >= _FIRST:
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            began = self._now()
            if began < self._not_before or self._process != os.getpid() or not self._is_ours():
                return
            if began - self._rendered >= INTERVAL:
                self._rendered = began
                text = self._render()
            else:
                text = self._text
                if self._is_shown:
                    return
            before = _ERASE if self._is_shown else ""
            self._is_shown = bool(text)
            self._text = text
            self._drawn = began
            if before or text:
                self._write(before + text)
                self._cost = 0.8 * self._cost + 0.2 * (self._now() - began)

    def _render(self) -> str:
        """What shows the lines: room for them is made first, because saved places do not move when all scrolls."""
        try:
            width, height = os.get_terminal_size(self._descriptor)
        except OSError:
            return ""
        sources = self._list_sources()
        most = max(min(_MOST, height - _LEFT), 0)
        lines = [line for each in sources[:most] for line in each.render(width - 1, most)][:most]
        more = len(sources) - most
        if not lines:
            return ""
        if more > 0:
            lines[-1] = f"and {more + 1} more"
        # An empty line first: a line that another thread prints meanwhile ends there.
        room = len(lines) + 1
        return f"{_DOWN * room}\x1b[{room}A{_SAVE}\r\n" + "".join(f"\r\n{line}\x1b[K" for line in lines) + _RESTORE

    def _list_sources(self) -> list[Source]:
        sources = [reference() for reference in self._sources]
        return [source for source in sources if source is not None and not source.is_over]

    def _is_ours(self) -> bool:
        """Whether nobody reads the terminal in a way of his own, such as an editor, a prompt or ``getpass``."""
        try:
            return self._read_modes() == self._modes and os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:  # it is not the terminal that controls this process
            return True

    def _read_modes(self) -> int:
        try:
            return int(termios.tcgetattr(self._descriptor)[3]) & (termios.ECHO | termios.ICANON)
        except termios.error:  # it is gone
            return -1

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # it is gone
            while data:
                data = data[os.write(self._descriptor, data) :]


class _Hiding(logging.Filter):
    """Takes the lines away before bndl's log writes."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - all records pass
        hide()
        return True


_screens: list[Screen] = []
_hiding = _Hiding()


def find_screen() -> Screen | None:
    """The terminal that standard error is, if it is one that can show this."""
    try:
        descriptor = sys.stderr.fileno()
        is_able = os.isatty(descriptor) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    except (AttributeError, ValueError, OSError):  # there is none, it was replaced, or it is closed
        return None
    if not is_able:
        return None
    if not _screens or _screens[0]._process != os.getpid() or _screens[0]._descriptor != descriptor:  # noqa: SLF001 - its module
        _screens[:] = [Screen(descriptor)]
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("bndl."):
            logging.getLogger(name).addFilter(_hiding)
    return _screens[0]


@atexit.register
def hide() -> None:
    """Take away what is shown: somebody is about to write, or all ends."""
    for screen in _screens:
        screen.hide()
