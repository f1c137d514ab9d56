"""What tasks print and log is taken from where they write it, and goes to the driver that wants them.

``sys.stdout`` and ``sys.stderr`` of a worker are ``TaskStream``, and its root logger has a ``TaskHandler``. Both ask
which task the caller runs in, as ``current_task`` does: in a thread that a task started there is none, unless the
thread was given the task's context (``contextvars.copy_context().run``). What is written outside of tasks goes to the
worker's real standard error, and so does all that is written in processes that tasks fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import resource
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bndl.execute.current import running
from bndl.execute.texts import plain

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared

__all__ = ["Capture", "TaskHandler", "TaskStream"]

_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"
#: Descriptors from this number up are less likely to be closed or overwritten by a task.
_HIGH = 100


class _Bytes(io.RawIOBase):
    """The ``buffer`` of a stream: what is written to it is text of the stream."""

    def __init__(self, stream: TaskStream) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        octets = bytes(data)
        self._stream.write(octets.decode("utf-8", "backslashreplace"))
        return len(octets)

    def close(self) -> None:
        """Nothing: the next task needs it."""


class TaskStream(io.TextIOBase):
    """Stands in the place of ``sys.stdout`` or ``sys.stderr``. Nothing that a task does closes it.

    Args:
        source: ``stdout`` or ``stderr``.
        capture: knows where else to write.
    """

    def __init__(self, source: str, capture: Capture) -> None:
        super().__init__()
        self._source = source
        self._capture = capture
        self._bytes = _Bytes(self)

    @property
    def name(self) -> str:
        """As the original has it."""
        return f"<{self._source}>"

    @property
    def mode(self) -> str:
        """As the original has it."""
        return "w"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What bytes become text with."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What becomes of bytes that are no text."""
        return "backslashreplace"

    @property
    def buffer(self) -> _Bytes:
        """For bytes."""
        return self._bytes

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The real descriptor, for those that start processes."""
        return 1 if self._source == "stdout" else 2

    def write(self, text: str, /) -> int:
        """Give the text to the driver of the caller's task, or, outside of tasks, write it through."""
        if not isinstance(text, str):
            message = f"write() argument must be str, not {type(text).__name__}"
            raise TypeError(message)
        prepared = self._capture.find_task()
        if prepared is None:
            self._capture.write_through(text)
        else:
            prepared.tenancy.write(prepared, self._source, text)
        return len(text)

    def reconfigure(self, **_: object) -> None:
        """Nothing: there is nothing to be set."""

    def close(self) -> None:
        """Nothing: the next task needs it."""


class TaskHandler(logging.Handler):
    """Gives what tasks log to their drivers. It has no lock, which a task that is interrupted could leave locked."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self.setFormatter(logging.Formatter("%(message)s"))
        self._own_format = logging.Formatter(_FORMAT)

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """There is none."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As logging does it, without the lock."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Give the record to the driver of the caller's task, or, outside of tasks, write it through."""
        prepared = self._capture.find_task()
        try:
            if prepared is not None:
                prepared.tenancy.say(prepared, record.name, record.levelno, self.format(record))
            elif record.levelno >= logging.WARNING:
                self._capture.write_through(self._own_format.format(record) + "\n")
        except Exception:  # noqa: BLE001 - the user's arguments do not fit the message; logging says so
            self.handleError(record)


class Capture:
    """Takes what tasks print and log, from ``install`` on.

    Attributes:
        file: a descriptor of the real standard error, which stays open if a task closes that.
    """

    def __init__(self) -> None:
        self.file = _copy_high(2)
        self._forked = False
        self._stdout = TaskStream("stdout", self)
        self._stderr = TaskStream("stderr", self)

    def install(self) -> None:
        """Put the streams and the handler in their places."""
        self._restore()
        logging.basicConfig(handlers=[TaskHandler(self)], level=logging.INFO)
        os.register_at_fork(after_in_child=self._after_fork)

    def tidy(self, is_alone: Callable[[], bool]) -> None:
        """Put back the streams that a task replaced, if ``is_alone`` says that no other runs, which may need them."""
        try:
            if sys.stdout is self._stdout and sys.stderr is self._stderr:
                return
        except AttributeError:  # it was deleted
            pass
        if is_alone():
            self._restore()

    def find_task(self) -> Prepared | None:
        """The attempt that the caller runs in."""
        return None if self._forked else running()

    def write_through(self, text: str) -> None:
        """Write to the real standard error."""
        data = memoryview(plain(text).encode())
        with contextlib.suppress(OSError):  # nobody reads it any more
            while data:
                data = data[os.write(self.file, data) :]

    def _restore(self) -> None:
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def _after_fork(self) -> None:
        """This is another process now, which has no connection of its own."""
        self._forked = True


def _copy_high(file: int) -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = _HIGH if limit == resource.RLIM_INFINITY else min(_HIGH, limit // 2)
    return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, lowest)
