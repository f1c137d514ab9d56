"""What tasks say, on its way to a driver: lines go many in a message, and only so many in a second.

A line is sent at once, by the thread that says it, because it may be the last that its process says; but only so many
in a second are. The others wait for more lines, or for the next results: those go after all that was said before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bndl.execute.texts import cut, mark, plain
from bndl.net.messages import Line, Message, Said

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = ["DELAY", "Limit", "Lines", "Rest"]

#: For how many seconds a line may wait for others.
DELAY = 0.05
#: How many messages in a second are sent without waiting.
AT_ONCE_PER_SECOND = 20
#: How many characters of a line are sent; the rest is counted.
MOST_CHARACTERS = 8192
#: How many lines go in one message at most.
MOST_LINES = 256
#: How many characters go in one message at most, the last line not counted.
MOST_IN_MESSAGE = 32 << 10

#: How much a worker may send in a second.
LINES_PER_SECOND = 1000
CHARACTERS_PER_SECOND = 1 << 20
#: For how many seconds it may save up what it did not use.
SAVED_SECONDS = 4
#: For how many seconds it is counted what is dropped, before that is said while there is more to come.
DROPPED_INTERVAL = 1.0

_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}


class Limit:
    """How much a worker may still say: a bucket each for lines and for characters, which fill up with time.

    Once one is empty nothing passes until there is enough for a second, so that lines are dropped in long runs, and not
    one here and one there.

    Args:
        now: the clock.

    Attributes:
        lock: guards it, and the lines of all drivers with it. Reentrant, because a finalizer may print at any time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self._now = now
        self._since = now()
        self._lines: float = LINES_PER_SECOND * SAVED_SECONDS
        self._characters: float = CHARACTERS_PER_SECOND * SAVED_SECONDS
        self._closed = False

    def take(self, characters: int) -> bool:
        """Whether one more line of so many characters may be sent; if so it is counted."""
        now = self._now()
        passed = now - self._since
        self._since = now
        self._lines = min(self._lines + passed * LINES_PER_SECOND, LINES_PER_SECOND * SAVED_SECONDS)
        self._characters = min(self._characters + passed * CHARACTERS_PER_SECOND, CHARACTERS_PER_SECOND * SAVED_SECONDS)
        if self._closed:
            self._closed = self._lines < LINES_PER_SECOND or self._characters < CHARACTERS_PER_SECOND
        if self._closed or self._lines < 1 or self._characters < characters:
            self._closed = True
            return False
        self._lines -= 1
        self._characters -= characters
        return True


class Rest:
    """What was printed since the last new line: the beginning of it, and how long it is.

    What stands before a carriage return does not count, because a terminal would write over it.
    """

    __slots__ = ("_length", "_returned", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._length = 0
        self._returned = False

    def add(self, text: str) -> None:
        """More of the line."""
        if not text:
            return
        begin = text.rfind("\r", 0, len(text) - 1) + 1
        if begin or self._returned:
            self._text, self._length = "", 0
        self._returned = text.endswith("\r")
        end = len(text) - self._returned
        self._text += text[begin : min(end, begin + MOST_CHARACTERS - len(self._text))]
        self._length += end - begin

    def take(self) -> str:
        """The line, which has ended."""
        text, more = self._text, self._length - len(self._text)
        self.__init__()  # type: ignore[misc]
        return text + mark(more) if more else text

    def __bool__(self) -> bool:
        return self._length > 0


class Lines:
    """What the tasks of one driver said and was not sent yet. Thread-safe.

    Args:
        limit: what the worker may say.
        now: the clock.
        send: sends a message to the driver.
        schedule_flush: called when a line is to wait for others, to have ``flush_later`` called after ``DELAY``.
        pause: lets the network have its turn.
    """

    def __init__(
        self,
        limit: Limit,
        now: Callable[[], float],
        send: Callable[[Message], None],
        schedule_flush: Callable[[], None],
        pause: Callable[[], None],
    ) -> None:
        self._limit = limit
        self._now = now
        self._send = send
        self._schedule_flush = schedule_flush
        self._pause = pause
        self._lock = limit.lock
        #: Held while a message is sent, so that what is said first is sent first.
        self._sending = threading.RLock()
        self._lines: list[Line] = []
        self._size = 0
        self._dropped = 0
        #: When the first of these was dropped.
        self._dropped_since = 0.0
        self._sent = now()
        #: How many messages may be sent at once, as of when the last was.
        self._at_once: float = AT_ONCE_PER_SECOND
        self._flush_scheduled = False

    def write(self, prepared: Prepared, source: str, text: str) -> None:
        """An attempt printed something to ``source``, which is ``stdout`` or ``stderr``."""
        level = _LEVELS[source]
        with self._lock:
            voice = prepared.voice
            if voice is None:
                voice = prepared.voice = {}
            rest = voice.get(source)
            if rest is None:
                rest = voice[source] = Rest()
            begin = 0
            while (end := text.find("\n", begin)) >= 0:
                rest.add(text[begin:end])
                begin = end + 1
                if not self._add(prepared, source, level, rest.take()):
                    # Nothing of this text will pass any more, and it may be large.
                    self._drop(text.count("\n", begin))
                    begin = text.rfind("\n") + 1
                    break
            rest.add(text[begin:])
        if begin:
            self._send_soon()

    def say(self, prepared: Prepared, source: str, level: int, text: str) -> None:
        """An attempt logged something with the logger ``source``."""
        with self._lock:
            self._add(prepared, source, level, cut(text, MOST_CHARACTERS))
        self._send_soon()

    def end(self, prepared: Prepared) -> None:
        """An attempt is over: what it did not end with a new line is a line, too."""
        with self._lock:
            for source, rest in (prepared.voice or {}).items():
                if rest:
                    self._add(prepared, source, _LEVELS[source], rest.take())

    def flush(self, *, everything: bool = True) -> None:
        """Send what there is; unless it is ``everything``, the count of dropped lines may go on for a second."""
        if not self._lines and not self._dropped:
            return
        with self._sending:
            with self._lock:
                now = self._now()
                lines, self._lines = self._lines, []
                self._size = 0
                dropped = 0
                if everything or now - self._dropped_since >= DROPPED_INTERVAL:
                    dropped, self._dropped = self._dropped, 0
                if not lines and not dropped:
                    return
                self._at_once = min(self._at_once + (now - self._sent) * AT_ONCE_PER_SECOND, AT_ONCE_PER_SECOND)
                self._sent = now
            batches = list(_batches(lines)) or [[]]
            for batch in batches[:-1]:
                self._send(Said(batch))
            self._send(Said(batches[-1], dropped))

    def flush_later(self) -> None:
        """Send what there is; called after ``DELAY``."""
        self._flush_scheduled = False
        self.flush(everything=False)
        if self._dropped:
            self._schedule()

    def _add(self, prepared: Prepared, source: str, level: int, text: str) -> bool:
        text = plain(text)
        if not self._limit.take(len(text)):
            self._drop(1)
            return False
        attempt = prepared.attempt
        self._lines.append(Line(attempt.task, attempt.number, source, level, text))
        self._size += len(text)
        return True

    def _drop(self, count: int) -> None:
        if not self._dropped:
            self._dropped_since = self._now()
        self._dropped += count

    def _send_soon(self) -> None:
        if self._lines and self._at_once + (self._now() - self._sent) * AT_ONCE_PER_SECOND >= 1:
            self.flush(everything=False)
            self._at_once -= 1
            self._pause()
        elif len(self._lines) >= MOST_LINES or self._size >= MOST_IN_MESSAGE:
            self.flush(everything=False)
        if self._lines or self._dropped:
            self._schedule()

    def _schedule(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._schedule_flush()


def _batches(lines: list[Line]) -> Iterator[list[Line]]:
    """The lines, as many in each batch as go in one message."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line.text)
        if len(batch) == MOST_LINES or size >= MOST_IN_MESSAGE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
