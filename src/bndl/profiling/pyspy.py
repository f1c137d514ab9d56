"""Sampling from outside of the process, with py-spy, where the system lets it attach.

py-spy writes what it saw when it is stopped. So it is stopped and started again when somebody asks. It does not know of
tasks; each attempt runs inside of a function whose name says which it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FunctionType
from typing import IO, TypeVar

import psutil

from bndl.errors import ProfilerUnavailable
from bndl.profiling.places import make_info, module_of, shorten
from bndl.profiling.sampling import MOST_FRAMES
from bndl.profiling.wire import OUTSIDE, FunctionInfo, SampledStacks, TaskKey

__all__ = ["Marks", "PySpy", "parse_raw"]

T = TypeVar("T")

_MARK = "bndl-task-"
#: Seconds that py-spy may take to attach, or to write what it saw.
_TIMEOUT = 10.0
#: ``name (path:line)``, as py-spy prints a frame.
_FRAME = re.compile(r"^(?P<name>.*) \((?P<path>.*?)(?::(?P<line>\d+))?\)$")
_PR_SET_PTRACER = 0x59616D61
#: So many attempts are told apart between two reports, and as many stages of further ones. py-spy keeps each of their
#: stacks, too.
_MOST_ATTEMPTS = 5_000
#: About how many bytes the name of one takes here.
_NAME_BYTES = 250


class Marks:
    """Which tasks the numbers in the names of functions stand for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._keys: dict[int, TaskKey] = {}
        self._numbers: dict[TaskKey, int] = {}
        self._running: Counter[int] = Counter()

    def begin(self, key: TaskKey) -> int:
        """An attempt begins: its number, or that of its stage if there are many."""
        with self._lock:
            number = self._number(key)
            self._running[number] += 1
            return number

    def end(self, number: int) -> None:
        """An attempt is over."""
        with self._lock:
            self._running[number] -= 1

    def retire(self) -> list[int]:
        """The numbers that no attempt has now. None gets them again, and they are known until they are forgotten."""
        with self._lock:
            self._running = +self._running
            ended = [number for number in self._keys if number not in self._running]
            for number in ended:
                if self._numbers.get(self._keys[number]) == number:
                    del self._numbers[self._keys[number]]
            return ended

    def key(self, number: int) -> TaskKey:
        """What a number stands for."""
        return self._keys.get(number, OUTSIDE)

    def forget(self, retired: Iterable[int]) -> None:
        """Forget numbers."""
        with self._lock:
            for number in retired:
                del self._keys[number]

    def __len__(self) -> int:
        return len(self._keys)

    def _number(self, key: TaskKey) -> int:
        for wanted, most in ((key, _MOST_ATTEMPTS), (key.whole_stage, 2 * _MOST_ATTEMPTS)):
            number = self._numbers.get(wanted)
            if number is not None:
                return number
            if len(self._keys) < most:
                self._last += 1
                self._keys[self._last] = wanted
                self._numbers[wanted] = self._last
                return self._last
        return 0


class PySpy:
    """Samples this process from another.

    Args:
        interval: seconds between two samples.
        native: whether to see functions that are not written in Python as well.

    Raises:
        ProfilerUnavailable: py-spy is not installed, or may not attach to this process.
    """

    name = "py-spy"

    def __init__(self, interval: float, *, native: bool) -> None:
        self._program = _find()
        self._rate = max(round(1 / interval), 1)
        self._native = native
        self._seconds = 0.0
        #: Attempts since the last time, and those that have not ended.
        self._marks = Marks()
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="bndl-py-spy-")
        try:
            self._process = self._start()
        except BaseException:
            self._folder.cleanup()
            raise

    def run(self, key: TaskKey, call: Callable[[], T]) -> T:
        """Call, inside of a function whose name says which task it is."""
        number = self._marks.begin(key)
        name = f"{_MARK}{number}"
        code = _marker.__code__.replace(co_name=name, co_qualname=name, co_filename="<bndl>")
        try:
            result: T = FunctionType(code, {})(call)
            return result
        finally:
            self._marks.end(number)

    def take(self) -> Sequence[SampledStacks]:
        """What was sampled since the last time. Takes a moment, in which nothing is sampled."""
        with self._lock:
            text = self._finish()
            retired = self._marks.retire()
            self._process = self._start()
            samples = parse_raw(text, self._marks.key, 1 / self._rate)
            self._marks.forget(retired)
            return samples

    def take_now_and_then(self) -> Sequence[SampledStacks]:
        """Nothing: py-spy only says what it saw when it is stopped."""
        return ()

    @property
    def seconds(self) -> float:
        """Processor time that py-spy took."""
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self._process.pid).cpu_times()
            return self._seconds + float(times.user + times.system)
        return self._seconds

    @property
    def memory(self) -> int:
        """About how many bytes py-spy takes, and the names of attempts here."""
        names = _NAME_BYTES * len(self._marks)
        with contextlib.suppress(psutil.Error):
            return names + int(psutil.Process(self._process.pid).memory_info().rss)
        return names

    def stop(self) -> None:
        """Sample no more."""
        with self._lock:
            self._finish()
            self._folder.cleanup()

    def clear(self) -> None:
        """Forget what was sampled; it is forgotten when it stops."""

    @property
    def _output(self) -> Path:
        return Path(self._folder.name) / "samples"

    def _start(self) -> subprocess.Popen[bytes]:
        self._output.unlink(missing_ok=True)
        command = [
            *(self._program, "record", "--pid", str(os.getpid()), "--format", "raw", "--full-filenames", "--function"),
            *("--rate", str(self._rate), "--output", str(self._output), "--duration", "unlimited"),
        ]
        if self._native:
            command.append("--native")
        # It begins when it is told to, after it was allowed to attach.
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read _ && exec "$@"', "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        _allow(process.pid)
        try:
            process.stdin.write(b"\n")  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
            self._await_attached(process)
        except BaseException:
            process.kill()
            process.wait(_TIMEOUT)
            raise
        return process

    def _await_attached(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until py-spy says that it samples, or why it does not."""
        output = process.stdout
        assert output is not None  # noqa: S101 - for mypy: it is a pipe
        lines: list[str] = []
        timer = threading.Timer(_TIMEOUT, process.kill)
        timer.start()
        try:
            for line in output:
                lines.append(line.decode(errors="replace").strip())
                if "Sampling process" in lines[-1]:
                    threading.Thread(target=_drain, args=(output,), name="bndl-py-spy", daemon=True).start()
                    return
        finally:
            timer.cancel()
        output.close()
        process.wait(_TIMEOUT)
        reason = " ".join(line for line in lines if line)[:300]
        text = f"py-spy cannot attach here: {reason or 'no answer'}; let it, or sample in-process."
        raise ProfilerUnavailable(text)

    def _finish(self) -> str:
        process = self._process
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(process.pid).cpu_times()
            self._seconds += float(times.user + times.system)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_TIMEOUT)
        with contextlib.suppress(OSError):
            return self._output.read_text(errors="replace")
        return ""


def _marker(call: Callable[[], T]) -> T:
    return call()


def _find() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        text = "py-spy is not installed here: pip install 'bndl[sampling]'."
        raise ProfilerUnavailable(text)
    return program


def _allow(pid: int) -> None:
    """Let a child attach to this process, where the kernel only lets parents do that."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, pid, 0, 0, 0)


def _drain(output: IO[bytes]) -> None:
    with output:
        for _ in output:
            pass


def parse_raw(text: str, key_of: Callable[[int], TaskKey], seconds: float) -> list[SampledStacks]:
    """What py-spy wrote, by task.

    Args:
        text: a line for each stack: its frames, outermost first, and how often it was seen.
        key_of: tells the task, by the number in the name of the function that marks it.
        seconds: that a sample stands for.
    """
    by_key: dict[TaskKey, tuple[dict[str, int], list[FunctionInfo], list[tuple[list[int], float]]]] = {}
    for line in text.splitlines():
        stack, _, times = line.rpartition(" ")
        frames = stack.split(";")
        key = OUTSIDE
        kept = []
        for frame in frames:
            if frame.startswith(_MARK):
                key = key_of(int(frame[len(_MARK) :].partition(" ")[0]))
            else:
                kept.append(frame)
        del kept[:-MOST_FRAMES]
        positions, functions, found = by_key.setdefault(key, ({}, [], []))
        for frame in kept:
            if frame not in positions:
                positions[frame] = len(functions)
                functions.append(_parse_frame(frame))
        found.append(([positions[frame] for frame in kept], int(times) * seconds))
    return [SampledStacks(key, functions, found) for key, (_, functions, found) in by_key.items()]


def _parse_frame(frame: str) -> FunctionInfo:
    match = _FRAME.match(frame)
    if match is None:
        return make_info("", 0, frame, "", "")
    path = match["path"]
    if path.endswith(".py"):
        name = match["name"].rpartition("<locals>.")[2]
        return make_info(shorten(path), int(match["line"] or 0), name, module_of(path), path)
    return make_info(path, int(match["line"] or 0), match["name"], path, path)
