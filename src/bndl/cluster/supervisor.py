"""Local worker processes: started without fork, watched, restarted, and never left behind.

One thread starts all of them and waits for what they write and for their ends. It lives as long as they do: on Linux a
process can be tied to the thread that started it, and ours are (see ``execute.process``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from bndl.cluster.guardian import Guardian
from bndl.config import Config
from bndl.errors import WorkerFailedToStart
from bndl.execute.process import WorkerSettings
from bndl.net.names import NodeName, machine_name

__all__ = ["ProcessListener", "Supervisor", "describe_exit"]

logger = logging.getLogger(__name__)

#: Seconds between looks at whether processes still run.
_INTERVAL = 0.05
#: A process that lived this many seconds is not part of a crash loop.
_STABLE = 5.0
#: Seconds until a process is replaced: at first, and at most.
_FIRST_BACKOFF = 0.1
_LAST_BACKOFF = 2.0
#: How many processes in a row are replaced after the first backoff: a task that ends its workers uses up that many.
_QUICK = 4
_LAST_LINES = 40


class ProcessListener(Protocol):
    """Who wants to know of processes. Called on the supervisor's thread."""

    def process_ended(self, name: str, reason: str) -> None:
        """The process of a worker ended, and was not told to."""

    def supervisor_gave_up(self, error: WorkerFailedToStart) -> None:
        """A worker does not stay up, so it is not started again."""


def describe_exit(code: int) -> str:
    """What an exit code of ``subprocess`` says, for people."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process was ended by signal {-code}"


@dataclass(slots=True)
class _Place:
    """A worker to be kept running, in one process after another."""

    index: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    #: When to start the next process, while there is none.
    due: float = 0.0
    #: Processes in a row that did not live long.
    short_lives: int = 0
    #: Processes in a row that ended before they joined the cluster. One that joined did start, and whatever ended it,
    #: such as a task, is no reason to do without a worker here.
    failures: int = 0
    has_joined: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))


class Supervisor:
    """Keeps worker processes running.

    Args:
        settings: for each worker; its index and parent are filled in.
        count: how many.
        config: settings.
        listener: hears of processes that end.
    """

    def __init__(self, settings: WorkerSettings, count: int, config: Config, listener: ProcessListener) -> None:
        self._settings = settings
        self._config = config
        self._listener = listener
        self._places = [_Place(index) for index in range(count)]
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._stopping = threading.Event()
        self._exits: dict[str, str] = {}
        self._guardian = Guardian()
        self._thread = threading.Thread(target=self._run, name="bndl-supervisor", daemon=True)

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """The names of the workers whose processes run."""
        with self._lock:
            return [self._name(place) for place in self._places if place.process is not None]

    @property
    def expected(self) -> int:
        """How many workers run or will be started."""
        with self._lock:
            return sum(not self._gave_up(place) for place in self._places)

    def note_joined(self, name: str) -> None:
        """A worker joined the cluster, so its start succeeded."""
        with self._lock:
            for place in self._places:
                if place.process is not None and self._name(place) == name:
                    place.has_joined = True

    def exit_reason(self, name: str, timeout: float) -> str | None:
        """How the process of a worker ended.

        Args:
            name: of the worker.
            timeout: for how many seconds to wait, as its connection may end a moment before it does.

        Returns:
            The reason, or None if it runs or is not ours.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                place = next((place for place in self._places if place.process and self._name(place) == name), None)
                if name in self._exits:
                    return self._exits[name]
                process = place.process if place is not None else None
            if process is None:
                return None
            try:
                code = process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                return None
            return describe_exit(code)

    def stop(self) -> None:
        """End all processes: first they are told, then, after a time, killed. Returns when they are gone."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            os.write(self._wake_writer, b"x")
        if self._thread.is_alive():
            self._thread.join(2 * self._config.stop_timeout + 5)

    # On the supervisor's thread

    def _run(self) -> None:
        try:
            self._guardian.start()
            while not self._stopping.is_set():
                self._start_due()
                for key, _ in self._selector.select(_INTERVAL):
                    if isinstance(key.data, _Place):
                        self._read(key.data)
                self._check_exits()
        except Exception as error:  # where the thread ends: nobody else would hear of it
            logger.exception("the supervisor of the local workers broke")
            for place in self._places:
                place.failures = self._config.max_restarts + 1
            text = f"the supervisor of the local workers broke: {error!r}. This is a bug in bndl; make a new context."
            self._listener.supervisor_gave_up(WorkerFailedToStart(text, exit_code=None, output=""))
        finally:
            self._end_all()
            self._guardian.stop(self._config.stop_timeout)
            self._selector.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and place.due <= now and not self._gave_up(place):
                self._start(place)

    def _start(self, place: _Place) -> None:
        settings = msgspec.structs.replace(self._settings, index=place.index, parent=os.getpid())
        process = subprocess.Popen(
            [sys.executable, "-m", "bndl.execute"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # A group of its own: Ctrl-C in the terminal is for the driver, and what tasks start can be ended with it.
            process_group=0,
        )
        self._guardian.watch(process.pid)
        with self._lock:
            place.process = process
            place.started = time.monotonic()
            place.has_joined = False
            place.lines.clear()
        if process.stderr is not None:
            os.set_blocking(process.stderr.fileno(), False)
            self._selector.register(process.stderr, selectors.EVENT_READ, place)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; that is seen when it is waited for
                process.stdin.write(msgspec.json.encode(settings) + b"\n")

    def _read(self, place: _Place) -> None:
        """Pass on what a worker wrote, and remember the last lines."""
        stream = place.process and place.process.stderr
        if not stream:
            return
        data = stream.read(1 << 16)
        if data == b"":
            with contextlib.suppress(KeyError):  # the end is seen again when the process is waited for
                self._selector.unregister(stream)
            return
        if data:
            text = data.decode(errors="replace")
            place.lines.extend(text.splitlines())
            if sys.stderr is not None:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(text)
                    sys.stderr.flush()

    def _check_exits(self) -> None:
        for place in self._places:
            if place.process is not None and place.process.poll() is not None:
                self._take_exit(place, place.process)

    def _take_exit(self, place: _Place, process: subprocess.Popen[bytes]) -> None:
        self._drain(place, process)
        name = self._name(place)
        now = time.monotonic()
        reason = describe_exit(process.returncode)
        with self._lock:
            self._exits[name] = reason
            place.short_lives = 1 if now - place.started > _STABLE else place.short_lives + 1
            place.failures = 0 if place.has_joined else place.failures + 1
            place.due = now + min(_FIRST_BACKOFF * 2 ** max(place.short_lives - _QUICK, 0), _LAST_BACKOFF)
            place.process = None
        _kill_group(process)  # what its tasks may have started
        self._guardian.forget(process.pid)
        self._listener.process_ended(name, reason)
        if self._gave_up(place):
            output = "\n".join(place.lines)
            text = (
                f"local worker {place.index} ended {place.failures} times in a row before it joined, so it is not "
                f"started again: {reason}. The last lines it wrote:\n{output or '(nothing)'}\nCorrect what they say "
                "and connect again."
            )
            error = WorkerFailedToStart(text, exit_code=process.returncode, output=output)
            self._listener.supervisor_gave_up(error)

    def _drain(self, place: _Place, process: subprocess.Popen[bytes]) -> None:
        self._read(place)
        for stream in (process.stderr, process.stdin):
            if stream is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(stream)
                with contextlib.suppress(OSError):
                    stream.close()

    def _end_all(self) -> None:
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + self._config.stop_timeout
        for place in self._places:
            if place.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    place.process.wait(max(deadline - time.monotonic(), 0.0))
                _kill_group(place.process)
                self._guardian.forget(place.process.pid)
                with contextlib.suppress(
                    subprocess.TimeoutExpired
                ):  # it does not even heed SIGKILL: stuck in the kernel
                    place.process.wait(self._config.stop_timeout)
                self._drain(place, place.process)

    def _gave_up(self, place: _Place) -> bool:
        return place.failures > self._config.max_restarts

    def _name(self, place: _Place) -> str:
        pid = place.process.pid if place.process is not None else 0
        return str(NodeName(machine_name(), "worker", pid, self._settings.context, place.index))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
