"""A worker's black box: what its slots execute, in memory that outlives the process.

The one who starts a worker makes a box and hands it down as an open file. The worker maps it and notes each attempt in
it, which takes about a quarter of a microsecond. Behind the slots' records is what faulthandler writes. After the
worker's end the box is read by the one who made it.

A record of a slot::

    task, began, attempt, state | thread | length of the stage's name, of the job's name, is it our driver's | names
"""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import signal
import struct
import tempfile
import threading
import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from bndl.errors import LastTask

if TYPE_CHECKING:
    from bndl.execute.slots import Prepared
    from bndl.net.messages import Define

__all__ = ["ENDS_BECAUSE", "MACHINERY", "STACK_SIGNAL", "BlackBox", "BlackBoxReader"]

T = TypeVar("T")

#: A process with a black box writes its stacks into it at this signal. None where there is no signal to spare.
STACK_SIGNAL: int | None = getattr(signal, "SIGRTMAX", None)

#: A worker that ends because of a task writes this and the reason, on one line. Where the task was follows.
ENDS_BECAUSE = "This worker's process ends, because "

#: In the stack of a slot: this frame and those further out are the same for all tasks.
MACHINERY = " in _call_task"

_ATTEMPT = struct.Struct("<QdIB")
_STATE = _ATTEMPT.size - 1
_EMPTY, _RUNNING, _FINISHED = range(3)
_THREAD = struct.Struct("<Q")
_THREAD_AT = 24
_NAMES = struct.Struct("<BB?")
_NAMES_AT = _THREAD_AT + _THREAD.size
_TEXT_AT = _NAMES_AT + _NAMES.size
_LONGEST_NAME = 100
_RECORD = 256

#: A dump of all stacks longer than this is cut.
_LONGEST_DUMP = 256 << 10


class _Slot:
    """Notes what one slot executes."""

    __slots__ = ("_box", "_definition", "_driver", "_offset", "_pack", "_state")

    def __init__(self, box: mmap.mmap, offset: int, driver: str) -> None:
        self._box = box
        self._driver = driver
        self._offset = offset
        self._state = offset + _STATE
        self._pack = _ATTEMPT.pack_into
        #: Of what it executed last, if that is still known: it has the users' function.
        self._definition: Callable[[], object] = lambda: None
        _THREAD.pack_into(box, offset + _THREAD_AT, threading.get_ident())

    def begin(self, prepared: Prepared) -> None:
        attempt = prepared.attempt
        if prepared.definition is not self._definition():
            self._definition = weakref.ref(prepared.definition)
            self._note_names(prepared.definition.message, is_own=prepared.driver == self._driver)
        self._pack(self._box, self._offset, attempt.task, prepared.started, attempt.number, _RUNNING)

    def end(self) -> None:
        self._box[self._state] = _FINISHED

    def _note_names(self, define: Define, *, is_own: bool) -> None:
        self._box[self._state] = _EMPTY  # what is half written is not read
        stage, job = (_cut(name) for name in (define.stage_name, define.job_name))
        _NAMES.pack_into(self._box, self._offset + _NAMES_AT, len(stage), len(job), is_own)
        start = self._offset + _TEXT_AT
        self._box[start : start + len(stage) + len(job)] = stage + job


class BlackBox:
    """The worker's side.

    Args:
        fd: the open file of the box.
        slots: how many slots it has records for.
        driver: the one that started the worker.

    Attributes:
        fd: the open file.
    """

    def __init__(self, fd: int, slots: int, driver: str) -> None:
        self.fd = fd
        self._driver = driver
        self._map = mmap.mmap(fd, max(slots, 1) * _RECORD)
        self._count = slots
        self._next = count()
        self._local = threading.local()

    def catch_stacks(self) -> None:
        """Have the stacks of all threads written into the box when the process fails, or when it is asked to."""
        faulthandler.enable(self.fd, all_threads=True)
        if STACK_SIGNAL is not None:
            faulthandler.register(STACK_SIGNAL, self.fd, all_threads=True, chain=False)

    def write(self, text: str) -> None:
        """Write behind the stacks."""
        with contextlib.suppress(OSError):
            os.write(self.fd, text.encode(errors="replace")[:_LONGEST_DUMP])

    def recording(self, execute: Callable[[Prepared], T]) -> Callable[[Prepared], T]:
        """``execute``, but what the calling thread executes is noted meanwhile."""
        local = self._local

        def _execute_and_note(prepared: Prepared) -> T:
            try:
                slot: _Slot | None = local.slot
            except AttributeError:
                slot = local.slot = self._make_slot()
            if slot is None:
                return execute(prepared)
            slot.begin(prepared)
            try:
                return execute(prepared)
            finally:
                slot.end()

        return _execute_and_note

    def _make_slot(self) -> _Slot | None:
        """A record for the calling thread; None if there is no more."""
        index = next(self._next)
        return _Slot(self._map, index * _RECORD, self._driver) if index < self._count else None


class BlackBoxReader:
    """The side of the one who starts the worker.

    Args:
        slots: how many slots the worker has.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._records = max(slots, 1) * _RECORD
        self.fd = _open_anonymous()
        os.ftruncate(self.fd, self._records)
        os.lseek(self.fd, self._records, os.SEEK_SET)  # faulthandler goes on writing from there

    def last_tasks(self, now: float) -> list[LastTask]:
        """What each slot executes or executed last, as of ``now`` on the monotonic clock."""
        tasks = (_read_record(index, record, now) for index, record in self._read_records())
        return [task for task in tasks if task is not None]

    def busy_threads(self) -> list[int]:
        """The identifiers of the threads that are executing a task."""
        records = (record for _, record in self._read_records() if record[_STATE] == _RUNNING)
        return [_THREAD.unpack_from(record, _THREAD_AT)[0] for record in records]

    @property
    def dump_size(self) -> int:
        """How many bytes of stacks there are."""
        return os.fstat(self.fd).st_size - self._records

    def read_dump(self, start: int = 0) -> str:
        """The stacks that faulthandler wrote, from its byte ``start`` on."""
        return os.pread(self.fd, _LONGEST_DUMP, self._records + start).decode(errors="replace")

    def close(self) -> None:
        """Let go of the box."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _read_records(self) -> list[tuple[int, bytes]]:
        data = os.pread(self.fd, self._records, 0)
        return [(index, data[index * _RECORD : (index + 1) * _RECORD]) for index in range(self._slots)]


def _read_record(index: int, record: bytes, now: float) -> LastTask | None:
    task, began, attempt, state = _ATTEMPT.unpack_from(record)
    if state not in {_RUNNING, _FINISHED}:
        return None
    stage, job, is_own = _NAMES.unpack_from(record, _NAMES_AT)
    text = record[_TEXT_AT : _TEXT_AT + stage + job]
    name = f"{text[:stage].decode(errors='replace')}[{task & 0xFFFFFFFF}]"
    seconds = max(now - began, 0.0)
    job_name = text[stage:].decode(errors="replace")
    return LastTask(index, name, job_name, attempt, state == _RUNNING, seconds, task if is_own else -1)


def _cut(name: str) -> bytes:
    data = name.encode(errors="replace")
    if len(data) <= _LONGEST_NAME:
        return data
    return data[: _LONGEST_NAME - 3].decode(errors="ignore").encode() + b"..."


def _open_anonymous() -> int:
    """An open file without a name, in memory where there is such a thing."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.memfd_create("bndl-black-box", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
