"""Local worker processes: started without fork, watched, restarted, and never left behind.

One thread starts all of them and waits for what they write and for their ends. It lives as long as they do: on Linux a
process can be tied to the thread that started it, and ours are (see ``execute.process``).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import selectors
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol

import msgspec

from bndl.cluster.guard import kill_owned, with_owner
from bndl.cluster.guardian import Guardian
from bndl.cluster.threads import limit_threads, share_of_cores
from bndl.cluster.worker_process import WorkerProcess
from bndl.config import Config
from bndl.errors import DeathCertificate, WorkerFailedToStart
from bndl.execute.process import WorkerSettings
from bndl.locking import Condition
from bndl.logs import get_logger, hand_over
from bndl.net.names import NodeName, machine_name
from bndl.printable import printable
from bndl.screen import hide
from bndl.waits import capped

__all__ = ["ProcessListener", "Supervisor"]

logger = get_logger(__name__)

#: Seconds between looks at whether processes still run.
_INTERVAL = 0.05
#: A process that lived this many seconds is not part of a crash loop.
_STABLE = 5.0
#: Seconds until a process is replaced: at first, and at most.
_FIRST_BACKOFF = 0.1
_LAST_BACKOFF = 2.0
#: How many processes in a row are replaced after the first backoff: a task that ends its workers uses up that many.
_QUICK = 4
_MOST_CERTIFICATES = 100
#: Seconds for which processes are looked for that tasks of an ended worker started.
_SEARCH = 1.0
#: How many seconds a process that was killed may take to be gone, however short the time is that it has before.
_KILL_TIMEOUT = 5.0


class ProcessListener(Protocol):
    """Who wants to know of processes. Called on the supervisor's thread."""

    def process_ended(self, certificate: DeathCertificate) -> None:
        """The process of a worker ended, and was not told to."""

    def supervisor_gave_up(self, error: WorkerFailedToStart) -> None:
        """A worker does not stay up, so it is not started again."""


@dataclass(slots=True)
class _Place:
    """A worker to be kept running, in one process after another."""

    index: int
    process: WorkerProcess | None = None
    #: When to start the next process, while there is none.
    due: float = 0.0
    #: Processes in a row that did not live long.
    short_lives: int = 0
    #: Processes in a row that ended before they joined the cluster. One that joined did start, and whatever ended it,
    #: such as a task, is no reason to do without a worker here.
    failures: int = 0
    has_joined: bool = False


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
        self._changed = Condition()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._stopping = threading.Event()
        self._draining = threading.Event()
        self._environment = limit_threads(os.environ, config.library_threads or share_of_cores(count))
        #: Of the last processes that ended, by worker.
        self._certificates: dict[str, DeathCertificate] = {}
        #: Workers to be ended, with the reason.
        self._condemned: dict[str, str] = {}
        #: The name of this in the environment of its workers, and the numbers of their processes in it.
        self._owner = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._guardian = Guardian(self._owner)
        self._thread = threading.Thread(target=self._run, name="bndl-supervisor", daemon=True)

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """The names of the workers whose processes run."""
        with self._changed:
            return [self._name(place) for place in self._places if place.process is not None]

    @property
    def expected(self) -> int:
        """How many workers run or will be started."""
        with self._changed:
            return sum(not self._gave_up(place) for place in self._places)

    def note_joined(self, name: str) -> None:
        """A worker joined the cluster, so its start succeeded."""
        with self._changed:
            for place in self._places:
                if place.process is not None and self._name(place) == name:
                    place.has_joined = True

    def death_certificate(self, name: str, timeout: float) -> DeathCertificate | None:
        """What is known of the end of a worker.

        Args:
            name: of the worker.
            timeout: for how many seconds to wait, as its connection may end a moment before it does.

        Returns:
            The certificate, or None if it runs or is not ours.
        """
        with self._changed:
            self._changed.wait_for(lambda: name in self._certificates or not self._is_running(name), timeout)
            return self._certificates.get(name)

    def end_worker(self, name: str, reason: str) -> bool:
        """End the process of a worker that does not do what it is told to; its certificate says why.

        Returns:
            Whether it is ours and was running. It ends soon after.
        """
        with self._changed:
            if not self._is_running(name):
                return False
            self._condemned[name] = reason
        self._wake()
        return True

    def _is_running(self, name: str) -> bool:
        return any(place.process is not None and self._name(place) == name for place in self._places)

    def _wake(self) -> None:
        with self._changed, contextlib.suppress(BlockingIOError):  # there are enough of them in the pipe
            if self._wake_writer >= 0:  # or the number could be that of another file by now
                os.write(self._wake_writer, b"x")

    def drain(self) -> None:
        """Tell the workers to finish and end; none is started again. Returns when all ended, or after the timeout."""
        self._draining.set()
        self._wake()
        with self._changed:
            self._changed.wait_for(
                lambda: all(place.process is None for place in self._places), capped(self._config.drain_timeout)
            )

    def stop(self) -> None:
        """End all processes: first they are told, then, after a time, killed. Returns when they are gone."""
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(capped(self._config.stop_timeout + 3 * _KILL_TIMEOUT))
        elif self._thread.ident is None:  # it could not be started
            self._close_files()

    # On the supervisor's thread

    def _run(self) -> None:
        try:
            self._guardian.start()
            told = False
            while not self._stopping.is_set():
                if not self._draining.is_set():
                    self._start_due()
                elif not told:
                    told = True
                    self._tell_to_drain()
                self._wait(_INTERVAL)
                self._end_condemned()
                self._look_after_processes()
        except Exception as error:  # where the thread ends: nobody else would hear of it
            logger.exception("the supervisor of the local workers broke")
            for place in self._places:
                place.failures = self._config.max_restarts + 1
            text = f"the supervisor of the local workers broke: {error!r}. This is a bug in bndl; make a new context."
            self._listener.supervisor_gave_up(WorkerFailedToStart(text, exit_code=None, output=""))
        finally:
            self._end_all()
            self._guardian.stop()
            self._close_files()

    def _close_files(self) -> None:
        """Idempotent."""
        with self._changed:
            writer, self._wake_writer = self._wake_writer, -1
            if writer >= 0:
                self._selector.close()
                os.close(self._wake_reader)
                os.close(writer)

    def _wait(self, timeout: float) -> None:
        """Wait until a process writes or ends, or somebody wants something."""
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, _Place):
                self._read(key.data)
            elif key.fd == self._wake_reader:
                os.read(self._wake_reader, 1 << 10)
            else:
                self._unregister(key.fd)  # or the end would be told again and again

    def _tell_to_drain(self) -> None:
        for place in self._places:
            if place.process is not None:
                place.process.drain()

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and place.due <= now and not self._gave_up(place):
                self._start(place)

    def _start(self, place: _Place) -> None:
        try:
            owner = f"{self._owner}.{next(self._numbers)}"
            settings = msgspec.structs.replace(self._settings, index=place.index)
            process = WorkerProcess(settings, with_owner(self._environment, owner), owner)
        except OSError as error:  # the machine has no room for another one
            self._count_end(place, short=True, joined=False)
            if self._gave_up(place):
                text = (
                    f"local worker {place.index} could not be started {place.failures} times in a row: {error}. "
                    "Make room for it, or ask for fewer workers."
                )
                self._listener.supervisor_gave_up(WorkerFailedToStart(text, exit_code=None, output=""))
            return
        self._guardian.watch(process.pid)
        with self._changed:
            place.process = process
            place.has_joined = False
        self._selector.register(process.stderr, selectors.EVENT_READ, place)
        if process.end_fd is not None:
            self._selector.register(process.end_fd, selectors.EVENT_READ)

    def _read(self, place: _Place) -> None:
        """Pass on what a worker wrote."""
        process = place.process
        text = process.read() if process is not None else ""
        if process is not None and text is None:
            self._unregister(process.stderr)  # the end, as in _wait
        if text:
            # A carriage return would have the terminal write over lines of others.
            shown = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
            hand_over(lambda: _show(shown))

    def _end_condemned(self) -> None:
        with self._changed:
            condemned, self._condemned = self._condemned, {}
        for place in self._places:
            if place.process is not None:
                reason = condemned.get(self._name(place))
                if reason is not None:
                    place.process.end(reason)
                place.process.kill_if_due()

    def _look_after_processes(self) -> None:
        for place in self._places:
            process = place.process
            if process is not None:
                if process.poll() is None:
                    process.look_if_due()
                else:
                    self._take_exit(place, process)

    def _take_exit(self, place: _Place, process: WorkerProcess) -> None:
        self._read(place)
        name = self._name(place)
        certificate = process.certify(name)
        with self._changed:
            self._certificates[name] = certificate
            if len(self._certificates) > _MOST_CERTIFICATES:
                del self._certificates[next(iter(self._certificates))]
            short = time.monotonic() - process.started <= _STABLE
            self._count_end(place, short=short, joined=place.has_joined)
            place.process = None
            self._changed.notify_all()
        process.kill_group()  # what its tasks may have started
        kill_owned(process.owner, _SEARCH)  # and what left that group
        self._guardian.forget(process.pid)
        self._close(process)
        if self._draining.is_set():  # that is what it was told to do
            return
        logger.warning("%s ended: %s", name, certificate.reason)
        self._listener.process_ended(certificate)
        if self._gave_up(place):
            text = (
                f"local worker {place.index} ended {place.failures} times in a row before it joined, so it is not "
                f"started again. The last time:\n{certificate}"
            )
            output = "\n".join(certificate.last_lines)
            error = WorkerFailedToStart(text, exit_code=process.poll(), output=output, certificate=certificate)
            self._listener.supervisor_gave_up(error)

    def _count_end(self, place: _Place, *, short: bool, joined: bool) -> None:
        """A process ended or did not start. Wait longer before the next one if that goes on."""
        place.short_lives = place.short_lives + 1 if short else 1
        place.failures = 0 if joined else place.failures + 1
        backoff = min(_FIRST_BACKOFF * 2 ** max(place.short_lives - _QUICK, 0), _LAST_BACKOFF)
        place.due = time.monotonic() + backoff

    def _close(self, process: WorkerProcess) -> None:
        self._unregister(process.stderr)
        self._unregister(process.end_fd)
        process.close()

    def _unregister(self, file: IO[bytes] | int | None) -> None:
        if file is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(file)

    def _end_all(self) -> None:
        """Tell all to stop, give them the time for it, and kill those that do not."""
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.close_lifeline()
        self._await_ends(processes, self._config.stop_timeout)
        for process in processes:
            process.kill_group()
            self._guardian.forget(process.pid)
        self._await_ends(processes, _KILL_TIMEOUT)  # one that does not even heed SIGKILL is stuck in the kernel
        kill_owned(self._owner, _SEARCH)
        for place in self._places:
            if place.process is not None:
                self._read(place)
                self._close(place.process)

    def _await_ends(self, processes: Sequence[WorkerProcess], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            self._wait(_INTERVAL)

    def _gave_up(self, place: _Place) -> bool:
        return place.failures > self._config.max_restarts

    def _name(self, place: _Place) -> str:
        pid = place.process.pid if place.process is not None else 0
        return str(NodeName(machine_name(), "worker", pid, self._settings.context, place.index))


def _show(text: str) -> None:
    """Pass on what a worker wrote. Nothing comes of it if nobody can read it."""
    with contextlib.suppress(OSError, ValueError):
        hide()
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
