"""What a node keeps: in memory up to a limit, then on disk; and what becomes of it if the disk takes nothing."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bndl.errors import StorageFull
from bndl.execute.store import Store

LIMIT = 1_000


class Disk:
    """The disk that files are written to, with as much room as a test gives it."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.error = errno.ENOSPC
        self._write = os.pwrite

    def write(self, file: int, data: bytes, position: int) -> int:
        """As a disk that fills up: it takes what there is room for, and then nothing."""
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        taken = self._write(file, bytes(data)[: self.room], position)
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "pwrite", disk.write)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield disk
    assert not list(tmp_path.iterdir())  # the files have no name


def key(number: int) -> tuple[str, int, int]:
    return ("driver", 0, number)


def value(number: int, size: int = 300) -> bytes:
    return bytes([number]) * size


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the one that is listed is among them each time


@pytest.mark.usefixtures("disk")
def test_what_is_over_the_limit_is_on_disk_and_can_be_read() -> None:
    store = Store(LIMIT)
    before = files()
    for number in range(20):
        store.put(key(number), value(number))
    assert store.memory_bytes <= LIMIT
    assert store.spilled_bytes >= 20 * 300 - LIMIT
    assert [store.get(key(number)) for number in range(20)] == [value(number) for number in range(20)]
    assert store.read(key(0), 290, 100) == value(0, 10)
    store.drop_where(lambda _: True)
    assert (len(store), store.memory_bytes, files()) == (0, 0, before)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("room", [0, 1, 299, 300, 450])
def test_what_does_not_fit_is_refused_and_nothing_else_is_touched(disk: Disk, room: int, error: int) -> None:
    disk.room, disk.error = room, error
    store = Store(LIMIT)
    fits = 3 + room // 300
    for number in range(fits):
        store.put(key(number), value(number))
    for number in range(fits, 10):
        with pytest.raises(StorageFull, match=os.strerror(error)):
            store.put(key(number), value(number))
        assert store.size(key(number)) == -1
        assert store.get(key(number)) is None
    assert store.memory_bytes <= LIMIT
    assert [store.get(key(number)) for number in range(fits)] == [value(number) for number in range(fits)]


def test_there_is_room_again_once_something_is_dropped(disk: Disk) -> None:
    disk.room = 0
    store = Store(LIMIT)
    for number in range(3):
        store.put(key(number), value(number))
    for _ in range(5):
        with pytest.raises(StorageFull):
            store.put(key(9), value(9))
    store.drop([key(0)])
    store.put(key(9), value(9))
    assert [store.get(key(number)) for number in (0, 1, 2, 9)] == [None, value(1), value(2), value(9)]


def test_a_disk_that_has_room_again_is_used(disk: Disk) -> None:
    store = Store(LIMIT)
    for number in range(6):
        store.put(key(number), value(number))
    disk.room = 0
    with pytest.raises(StorageFull):
        store.put(key(6), value(6, LIMIT + 1))
    disk.room = 1 << 30
    for number in range(6, 12):
        store.put(key(number), value(number))
    assert [store.get(key(number)) for number in range(12)] == [value(number) for number in range(12)]


def test_one_thing_that_is_larger_than_the_limit_is_refused_alone(disk: Disk) -> None:
    disk.room = LIMIT
    store = Store(LIMIT)
    store.put(key(1), value(1))
    with pytest.raises(StorageFull, match="2,000 bytes fit neither"):
        store.put(key(2), value(2, 2 * LIMIT))
    assert store.get(key(1)) == value(1)
    assert len(store) == 1


def test_files_that_may_not_grow_are_followed_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def limited(file: int, data: bytes, position: int) -> int:
        if position >= 700:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return write(file, bytes(data)[: 700 - position], position)

    monkeypatch.setattr(os, "pwrite", limited)
    store = Store(LIMIT)
    before = files()
    for number in range(20):
        store.put(key(number), value(number))
    assert [store.get(key(number)) for number in range(20)] == [value(number) for number in range(20)]
    store.drop(map(key, range(20)))
    assert files() == before


def test_a_file_that_fails_gives_back_what_was_written_of_it(disk: Disk) -> None:
    disk.room = 299
    store = Store(0)
    before = files()
    for number in range(100):
        disk.room = 299
        with pytest.raises(StorageFull):
            store.put(key(number), value(number))
    assert files() == before


def test_without_a_folder_for_it_only_what_needs_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    store = Store(LIMIT)
    for number in range(3):
        store.put(key(number), value(number))
    with pytest.raises(StorageFull, match="TMPDIR"):
        store.put(key(3), value(3))
    store.spill()  # as a task that fails for want of memory has it done
    assert [store.get(key(number)) for number in range(3)] == [value(number) for number in range(3)]


@pytest.mark.usefixtures("disk")
def test_what_the_disk_does_not_give_back_is_lost_and_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(LIMIT)
    for number in range(6):
        store.put(key(number), value(number))

    def broken(_file: int, _length: int, _position: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", broken)
    assert store.get(key(0)) is None
    assert store.size(key(0)) == -1
    assert "cannot be read" in caplog.text


@pytest.mark.usefixtures("disk")
def test_a_disk_that_gives_less_than_it_was_asked_for_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, position: read(file, min(length, 7), position))
    store = Store(0)
    store.put(key(1), value(1))
    assert store.get(key(1)) == value(1)
