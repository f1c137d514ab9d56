"""One worker process, from its start to its death certificate. To be used on the supervisor's thread only."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO

import msgspec

from bndl.cluster import autopsy
from bndl.cluster.hash_seed import choose_seed, seed_hashes
from bndl.cluster.lifeline import open_lifeline
from bndl.cluster.memory import MemoryWatch
from bndl.errors import DeathCertificate
from bndl.execute.blackbox import STACK_SIGNAL, BlackBoxReader
from bndl.execute.process import BOOT, DRAIN, WorkerSettings
from bndl.execute.search_path import read_entry

__all__ = ["WorkerProcess"]

#: How many of the last lines are in the certificate; more are remembered, as there may be stacks among them.
_LAST_LINES = 40
_REMEMBERED_LINES = 400
_LONGEST_LINE = 1000
#: Seconds between two looks at its memory, at first and later.
_LOOK_FIRST = 0.05
_LOOK_INTERVAL = 1.0
#: In bytes for ``ru_maxrss``.
_UNIT = 1 if sys.platform == "darwin" else 1024
#: Seconds that a process has to write its stacks before it is killed.
_STACKS_GRACE = 0.1


class WorkerProcess:
    """A process that was started.

    Args:
        settings: for the worker; what depends on the process is filled in.
        environment: its variables.
        owner: the name in them by which processes of its tasks can be found (``cluster.guard``).

    Attributes:
        owner: as given.
        started: when, on the monotonic clock.
        pid: its number.
        stderr: what it writes, not blocking.
        end_fd: a file that can be read from when it has ended; None where there is no such thing.
    """

    def __init__(self, settings: WorkerSettings, environment: Mapping[str, str], owner: str) -> None:
        self.owner = owner
        self._box = BlackBoxReader(settings.concurrency)
        self._lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._ended_by = ""
        self._kill_at: float | None = None
        self._dump_start = 0
        #: When it ended, and what the kernel said of it then.
        self._ended = 0.0
        self._usage_peak = 0
        self._is_told = True
        settings = msgspec.structs.replace(settings, parent=os.getpid(), box=self._box.fd)
        self.started = time.monotonic()
        try:
            seed = settings.hash_seed or choose_seed(environment, settings.credentials.secret)
            self._process = self._begin(*seed_hashes(environment, seed))
        except BaseException:
            self._box.close()
            raise
        #: The kernel counts what a process had before it began to run its program, which is what this one has.
        self._peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.pid = self._process.pid
        self._memory = MemoryWatch(self.pid)
        self._look_at = self.started
        assert self._process.stderr is not None  # noqa: S101 - for mypy: it is a pipe, as said above
        self.stderr: IO[bytes] = self._process.stderr
        os.set_blocking(self.stderr.fileno(), False)
        self.end_fd = _open_pidfd(self.pid)
        # The first line is read before bndl can be imported; this module, other than msgspec, can have any path in it.
        path = json.dumps([read_entry(entry) for entry in settings.path])
        self._tell(path.encode() + b"\n" + msgspec.json.encode(settings) + b"\n")

    def _begin(self, environment: Mapping[str, str], options: Sequence[str]) -> subprocess.Popen[bytes]:
        reader, self._lifeline = open_lifeline()
        try:
            with reader:
                return subprocess.Popen(
                    # Python as it runs here, but for where it looks for modules first; the last word is for who lists
                    # processes.
                    [sys.executable, *options, "-P", "-c", BOOT, "bndl.execute"],
                    env=environment,
                    stdin=reader,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    # A group of its own: Ctrl-C is for the driver, and what tasks start can be ended with the worker.
                    process_group=0,
                    pass_fds=(self._box.fd,),
                )
        except BaseException:
            self._lifeline.close()
            raise

    def _tell(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended at once; that is seen when it is waited for
            self._lifeline.write(data)

    def read(self) -> str | None:
        """What it wrote since the last time; None at the end. The last lines are remembered."""
        try:
            data = self.stderr.read(1 << 16)
        except ValueError:  # it is closed
            return None
        if data == b"":
            return None
        text = self._decoder.decode(data or b"")
        *lines, rest = (self._rest + text).split("\n")
        self._lines.extend(line[:_LONGEST_LINE] for line in lines)
        self._rest = rest[:_LONGEST_LINE]
        return text

    def look_if_due(self) -> None:
        """Look at its memory if it was not for a while: often while it is young, then once a second."""
        now = time.monotonic()
        if self._look_at <= now:
            self._memory.look()
            self._look_at = now + min(max((now - self.started) / 2, _LOOK_FIRST), _LOOK_INTERVAL)

    def poll(self) -> int | None:
        """Its exit code if it has ended, negative for a signal."""
        process = self._process
        if process.returncode is None:
            # Not by process.poll(): the kernel's account of a process is only given to the one who waits for it.
            try:
                pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            except ChildProcessError:  # the user's program waits for children, or ignores them
                pid, status, usage = self.pid, 0, None
                self._is_told = False
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                self._ended = time.monotonic()
                self._usage_peak = usage.ru_maxrss if usage is not None else 0
        return process.returncode

    def drain(self) -> None:
        """Tell it to finish what it runs, and to end when nobody needs it any more."""
        self._tell(DRAIN)

    def close_lifeline(self) -> None:
        """Tell it to stop."""
        with contextlib.suppress(OSError):
            self._lifeline.close()

    def end(self, reason: str) -> None:
        """End it because it does not do what it is told to: ask it for its stacks now, and kill it when that is due."""
        if self._ended_by or self.poll() is not None:
            return
        self._ended_by = reason
        self._dump_start = self._box.dump_size
        self._kill_at = time.monotonic()
        if STACK_SIGNAL is not None:
            self._kill_at += _STACKS_GRACE
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, STACK_SIGNAL)

    def kill_if_due(self) -> None:
        """End it if it was to be ended and has had the time to write its stacks."""
        if self._kill_at is not None and self._kill_at <= time.monotonic():
            self.kill_group()

    def kill_group(self) -> None:
        """End it, and what its tasks started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of what is left of it."""
        self.close_lifeline()
        with contextlib.suppress(OSError):
            self.stderr.close()
        self._box.close()
        if self.end_fd is not None:
            os.close(self.end_fd)
            self.end_fd = None

    def certify(self, worker: str) -> DeathCertificate:
        """The certificate of its end, once it has ended."""
        code = self.poll()
        assert code is not None  # noqa: S101 - who asks before is wrong
        name = autopsy.signal_name(code)
        ended_by = self._ended_by if -code in {signal.SIGKILL, STACK_SIGNAL} else ""  # it may have been quicker
        own_reason, where = autopsy.find_own_reason(code, self._box.read_dump())
        ended_by = ended_by or own_reason
        lines, stack = self._find_words(name, asked=bool(ended_by))
        stack = where or autopsy.with_lines(stack)
        oom = "no evidence: it was not ended by SIGKILL"
        if not self._is_told:
            reason = "its process ended, and its exit code went to another part of this program that waits for children"
            oom = "unknown: it may have been ended by SIGKILL"
        elif ended_by:
            reason = f"bndl ended it: {ended_by}"
            oom = "no evidence: bndl ended it"
        else:
            reason = autopsy.describe_exit(code)
            if name == "SIGKILL":
                oom = self._memory.judge_oom(self._ended)
                reason += ", most likely for want of memory" if oom.startswith("likely") else ""
        limit_bytes, limit = self._memory.read_limit()
        return DeathCertificate(
            worker,
            reason,
            pid=self.pid,
            exit_code=None if name or not self._is_told else code,
            signal=name,
            ended_by=ended_by,
            uptime=self._ended - self.started,
            memory_bytes=self._memory.last_bytes,
            memory_age=self._ended - self._memory.measured,
            peak_bytes=self._peak(),
            limit_bytes=limit_bytes,
            limit=limit,
            oom=oom,
            last_tasks=tuple(self._box.last_tasks(self._ended)),
            stack=stack,
            last_lines=tuple(lines[-_LAST_LINES:]),
        )

    def _find_words(self, signal_name: str, *, asked: bool) -> tuple[list[str], str]:
        """The last lines it wrote, and the stacks it left."""
        lines, stack = [*self._lines, self._rest] if self._rest else list(self._lines), ""
        if signal_name in autopsy.FAULTS:
            lines, stack = autopsy.find_fatal(lines)
        elif not asked:
            return lines, ""
        dump = self._box.read_dump(self._dump_start) or stack
        return lines, autopsy.pick_stacks(dump, self._box.busy_threads())

    def _peak(self) -> int | None:
        """The most memory it had: what the kernel says, if that can be told from what this process had at its start."""
        told = self._usage_peak * _UNIT if self._usage_peak > self._peak_before else 0
        return max(told, self._memory.peak_bytes or 0) or None


def _open_pidfd(pid: int) -> int | None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return None
