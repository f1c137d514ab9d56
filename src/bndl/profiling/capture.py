"""Captures of all allocations with memray, native ones too: one on each node, as flame graphs on the driver.

tracemalloc sees what Python allocates. memray sees what C and Fortran do as well, at its own price; it is an extra.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any, Self

import msgspec

from bndl.errors import BndlError, ProfilerUnavailable
from bndl.execute.departures import when_gone
from bndl.profiling.nodes import Nodes

__all__ = ["Capture"]

_CHUNK = 2 << 20
#: Seconds that a node may take to begin or end a capture, or to give a piece of it.
_TIMEOUT = 60.0
#: Seconds that making one flame graph may take.
_RENDER_TIMEOUT = 300.0


class Piece(msgspec.Struct, frozen=True):
    """A piece of a capture: compressed, and whether it is the last."""

    data: bytes
    is_last: bool


class _Open:
    """The capture that is under way, or was ended and not yet fetched, in this process.

    Args:
        number: of the capture, with its driver.
        native: whether to see functions that are not written in Python.
    """

    def __init__(self, number: int, *, native: bool) -> None:
        memray = _import()
        self.number = number
        self.folder = tempfile.TemporaryDirectory(prefix="bndl-memray-")
        self.path = Path(self.folder.name) / "capture.bin"
        self._tracker: Any = memray.Tracker(
            destination=memray.FileDestination(str(self.path), overwrite=True),
            native_traces=native,
            file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
        )
        try:
            self._tracker.__enter__()
        except RuntimeError as error:
            self.folder.cleanup()
            raise ProfilerUnavailable(f"memray cannot capture here: {error}.") from error

    def end(self) -> None:
        """Capture no more."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.__exit__(None, None, None)

    def drop(self) -> None:
        """Capture no more, and forget it."""
        try:
            self.end()
        finally:
            self.folder.cleanup()


_lock = threading.Lock()
#: The capture in this process, by its driver: there can be one.
_open: dict[str, _Open] = {}
#: Drivers in this process that capture.
_capturing: set[str] = set()


def begin_capture(driver: str, number: int, *, native: bool) -> bool:
    """Begin to capture in this process, for a driver. An older capture of the driver is dropped.

    Args:
        driver: its name. If it goes, the capture is dropped.
        number: of the capture.
        native: whether to see functions that are not written in Python.
    """
    with _lock:
        owner = next(iter(_open), driver)
        if owner != driver:
            raise ProfilerUnavailable(f"{owner} is capturing this process already; have it stop first.")
        _drop(driver)
        _open[driver] = _Open(number, native=native)
        when_gone(driver, drop_all)
        return True


def end_capture(driver: str, number: int) -> bool:
    """End the capture; whether there is one."""
    with _lock:
        found = _find(driver, number)
        if found is not None:
            found.end()
        return found is not None


def read_capture(driver: str, number: int, offset: int) -> Piece:
    """A piece of the capture that was ended. With the last piece it is dropped."""
    with _lock:
        found = _find(driver, number)
        if found is None:
            raise ProfilerUnavailable("there is no capture here.")
        with found.path.open("rb") as file:
            file.seek(offset)
            data = file.read(_CHUNK)
        is_last = len(data) < _CHUNK
        if is_last:
            _drop(driver)
        return Piece(zlib.compress(data, 1), is_last)


def drop_capture(driver: str, number: int) -> None:
    """End the capture and forget it, if it is there still."""
    with _lock:
        if _find(driver, number) is not None:
            _drop(driver)


def drop_all(driver: str) -> None:
    """The driver is gone: nobody fetches what it captures."""
    with _lock:
        _drop(driver)


def _find(driver: str, number: int) -> _Open | None:
    found = _open.get(driver)
    return found if found is not None and found.number == number else None


def _drop(driver: str) -> None:
    found = _open.pop(driver, None)
    if found is not None:
        found.drop()


class Capture:
    """A capture of all nodes, as a context manager. See ``MemoryProfiling.capture``.

    Attributes:
        reports: the flame graph of each node, by its name, once it is over.
        missing: nodes of which there is none, and why.
    """

    def __init__(self, nodes: Nodes, folder: Path, *, native: bool, leaks: bool) -> None:
        self.reports: dict[str, Path] = {}
        self.missing: dict[str, str] = {}
        self._nodes = nodes
        self._folder = folder
        self._native = native
        self._leaks = leaks
        self._number = 0

    def __enter__(self) -> Self:
        _import()
        driver = self._nodes.driver_name
        with _lock:
            if driver in _capturing:
                raise ProfilerUnavailable(f"{driver} is capturing already; have it stop first.")
            _capturing.add(driver)
        try:
            self._begin()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._collect()
        finally:
            self._leave()

    def _begin(self) -> None:
        self._number = self._nodes.next_session()
        driver = self._nodes.driver_name
        answers = self._nodes.ask(begin_capture, driver, self._number, native=self._native, timeout=_TIMEOUT)
        self.missing.update(answers.silent)
        if not answers.values:
            raise ProfilerUnavailable(" ".join(sorted(set(answers.silent.values()))))

    def _leave(self) -> None:
        """Leave nothing on any node, whatever went wrong."""
        self._nodes.tell(drop_capture, self._nodes.driver_name, self._number)
        _capturing.discard(self._nodes.driver_name)

    def _collect(self) -> None:
        ended = self._nodes.ask(end_capture, self._nodes.driver_name, self._number, timeout=_TIMEOUT)
        self.missing.update(ended.silent)
        self.missing.update(dict.fromkeys(self._nodes.lost(()), "lost"))
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, was_open in ended.values.items():
            if not was_open:
                self.missing.setdefault(name, "it joined, or lost the driver, after the capture had begun")
                continue
            try:
                self.reports[name] = self._render(name, self._fetch(name))
            except (BndlError, TimeoutError, OSError, subprocess.SubprocessError) as error:
                self.missing[name] = str(error).splitlines()[0]

    def _fetch(self, name: str) -> Path:
        path = self._folder / f"{_file_name(name)}.bin"
        offset = 0
        with path.open("wb") as file:
            while True:
                where = (self._nodes.driver_name, self._number, offset)
                piece = self._nodes.ask_one(name, read_capture, *where, timeout=_TIMEOUT)
                data = zlib.decompress(piece.data)
                offset += len(data)
                file.write(data)
                if piece.is_last:
                    return path

    def _render(self, name: str, capture: Path) -> Path:
        report = self._folder / f"{_file_name(name)}.html"
        command = [sys.executable, "-m", "memray", "flamegraph", "--no-web", "--force", "--output", str(report)]
        if self._leaks:
            command.append("--leaks")
        done = subprocess.run(
            [*command, str(capture)], capture_output=True, text=True, check=False, timeout=_RENDER_TIMEOUT
        )
        if done.returncode:
            raise ProfilerUnavailable(f"memray could not make the flame graph: {done.stderr.strip()[-300:]}")
        return report


def _file_name(node: str) -> str:
    return re.sub(r"[^\w.-]", "-", node)


def _import() -> Any:
    with contextlib.suppress(ImportError):
        return importlib.import_module("memray")
    raise ProfilerUnavailable("captures take memray, which is not installed here: pip install 'bndl[memray]'.")
