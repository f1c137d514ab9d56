"""Captures with memray: none stays in a process that nobody will fetch it from."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bndl.errors import ProfilerUnavailable
from bndl.profiling import capture
from bndl.profiling.capture import Capture, begin_capture, drop_capture, end_capture, read_capture
from bndl.profiling.nodes import Nodes
from tests.unit.workers import WorkerBench


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    left = dict(capture._open)  # noqa: SLF001 - what would block the process
    for driver, opened in left.items():
        drop_capture(driver, opened.number)
    assert left == {}


def make_capture(folder: Path) -> Capture:
    """Of a driver without workers."""
    driver: Any = SimpleNamespace(name="driver")
    membership: Any = SimpleNamespace(workers=())
    return Capture(Nodes(driver, membership), folder, native=False, leaks=False)


def folder_of(driver: str) -> Path:
    return Path(capture._open[driver].folder.name)  # noqa: SLF001 - to see that it goes


def test_a_capture_that_cannot_be_fetched_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        text = "no space left"
        raise OSError(text)

    monkeypatch.setattr(capture, "read_capture", fail)
    with make_capture(tmp_path) as captured:
        folder = folder_of("driver")
    assert captured.missing == {"driver": "no space left"}
    assert not folder.exists()
    assert begin_capture("other", 1, native=False)
    drop_capture("other", 1)


def test_a_capture_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    begin_capture("other", 1, native=False)
    with pytest.raises(ProfilerUnavailable, match="other is capturing this process already"), make_capture(tmp_path):
        pass
    drop_capture("other", 1)
    with make_capture(tmp_path) as outer:
        with pytest.raises(ProfilerUnavailable, match="driver is capturing already"), make_capture(tmp_path):
            pass
        assert folder_of("driver").exists()
    assert outer.reports.keys() == {"driver"}


def test_a_later_capture_of_the_same_driver_takes_the_place_of_an_old_one() -> None:
    begin_capture("driver", 1, native=False)
    old = folder_of("driver")
    begin_capture("driver", 2, native=False)
    assert not old.exists()
    drop_capture("driver", 1)  # comes late
    assert not end_capture("driver", 1)
    assert end_capture("driver", 2)
    assert read_capture("driver", 2, 0).is_last
    assert not end_capture("driver", 2)


def test_a_capture_ends_when_its_driver_is_gone() -> None:
    bench = WorkerBench()
    begin_capture("driver", 1, native=False)
    begin_capture("driver", 2, native=False)
    folder = folder_of("driver")
    bench.lose_driver()
    bench.time.run(1.0)
    assert not folder.exists()
    begin_capture("other", 1, native=False)
    bench.lose_driver()
    bench.time.run(1.0)
    assert end_capture("other", 1)
    drop_capture("other", 1)
