"""The demo with real processes: whatever happens to a worker, the result is the same to the byte.

The files are real ones of the standard library, its files that do not parse included.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import bndl
from bndl.cli.census import Census, as_text, find_files, run_serial
from bndl.cli.demo import make_job
from bndl.driver.report import JobReport

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]

FILES = 400
PARTS = 8
TOP = 20

#: A process that was started in the background of a shell ignores interrupts, and so would its children.
HEED_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
BNDL = [sys.executable, "-c", f"{HEED_INTERRUPTS}; from bndl.cli.main import main; main()"]
TIMEOUT = 60


@pytest.fixture(scope="module")
def files() -> list[str]:
    library = str(Path(os.__file__).resolve().parent)
    found = [path for path in find_files() if path.startswith(library) and "site-packages" not in path]
    sample = found[:: max(len(found) // FILES, 1)][:FILES]
    # Every file that is broken on purpose has its part in the result.
    return sorted({*sample, *(path for path in found if "/bad" in path)})


@pytest.fixture(scope="module")
def expected(files: list[str]) -> bytes:
    census = run_serial(files)
    assert census.broken
    return as_text(census).encode()


@pytest.fixture
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


def result_of(job: bndl.Job) -> bytes:
    census = job.stages[-1].tasks[0].result
    assert isinstance(census, Census)
    return as_text(census).encode()


def count_lost(report: JobReport) -> int:
    return sum(stage.lost for stage in report.stages)


def check_complete(report: JobReport) -> None:
    assert report.state == "succeeded"
    assert [(stage.name, stage.done) for stage in report.stages] == [(s.name, s.tasks) for s in report.stages]


# A worker is killed from outside, when a given share of a stage is done.


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0], ids="{:.0%} of parse".format)
def test_a_worker_is_killed_during_parse(ctx: bndl.Context, files: list[str], expected: bytes, share: float) -> None:
    job = make_job(files, parts=PARTS, top=TOP)
    at = round(len(files) * share)
    seen = []
    for task in ctx.execute(job, ordered=False):
        seen.append(task)
        if len(seen) == at:
            # One that has done something: on a busy machine the other may have had no turn yet.
            (victim,) = [worker for worker in ctx.workers if worker.name == seen[0].attempts[-1].worker]
            os.kill(victim.pid, signal.SIGKILL)
    assert result_of(job) == expected
    assert len(seen) == len(set(map(id, seen))) == len(files) + PARTS + 1
    report = job.report()
    check_complete(report)
    if share <= 0.5:
        # It had attempts under way, and what it kept was needed by merge.
        assert count_lost(report) > 0
        assert report.stages[0].made_again > 0
        assert victim.name in str(report)
        assert "SIGKILL" in str(report)


# A worker is killed by the very attempt it is in, which is as much in the middle as can be.


def deadly(function: Callable[[Any], Any], index: int) -> Callable[[Any], Any]:
    """The function, but the first attempt at one of the tasks ends its worker."""

    def call(item: object) -> object:
        task = bndl.current_task()
        if task.index == index and task.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(item)

    return call


@pytest.mark.parametrize(
    ("stage", "share"),
    [("parse", 0.1), ("parse", 0.5), ("parse", 0.9), ("merge", 0.0), ("merge", 0.5), ("merge", 1.0), ("rank", 0.0)],
    ids=lambda value: value if isinstance(value, str) else f"{value:.0%}",
)
def test_an_attempt_kills_its_worker(
    ctx: bndl.Context, files: list[str], expected: bytes, stage: str, share: float
) -> None:
    names = [worker.name for worker in ctx.workers]
    job = make_job(files, parts=PARTS, top=TOP)
    (chosen,) = [each for each in job.stages if each.name == stage]
    assert chosen.function is not None
    chosen.function = deadly(chosen.function, round((len(chosen) - 1) * share))
    ctx.run(job)
    assert result_of(job) == expected
    report = job.report()
    check_complete(report)
    (row,) = [row for row in report.stages if row.name == stage]
    assert row.lost > 0
    assert row.attempts > row.tasks
    lost = [name for name in names if any(f"{name} " in note and "SIGKILL" in note for note in report.notes)]
    assert lost
    # What it kept was needed again. On a busy machine it may have had no turn before.
    parse = report.stages[0]
    assert (parse.made_again > 0) == any(name in parse.by_worker for name in lost)


# The command itself.


class _Demo:
    """``bndl demo`` in a process of its own, with its bars on standard error."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.text = folder / "census.txt"
        environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
        # Bars are drawn on a terminal only.
        self._terminal, inside = os.openpty()
        termios.tcsetwinsize(inside, (30, 120))
        self.process = subprocess.Popen(
            [*BNDL, "demo", "--workers", "2", "--text", str(self.text), *files],
            stdout=subprocess.PIPE,
            stderr=inside,
            text=True,
            env=environment,
        )
        os.close(inside)
        self._bars = ""
        self._drawn = threading.Condition()
        # What nobody reads would hold the demo up.
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end: the demo was the last one that had it open
            while got := os.read(self._terminal, 1 << 16):
                with self._drawn:
                    self._bars += got.decode(errors="replace")
                    self._drawn.notify()
        with self._drawn:
            self._bars += "(the end)"
            self._drawn.notify()

    def await_parsed(self, count: int) -> None:
        """Wait until the bar says that so many files were parsed."""

        def is_there() -> bool:
            plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self._bars)
            return any(int(each) >= count for each in re.findall(r"(\d+)/\d+", plain))

        with self._drawn:
            assert self._drawn.wait_for(lambda: is_there() or self._bars.endswith("(the end)"), TIMEOUT), self._bars
            assert is_there(), f"the demo ended early: {self._bars}"

    def close(self) -> None:
        """End it, if it runs."""
        self.process.kill()
        self.process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        os.close(self._terminal)

    def finish(self) -> str:
        """What it wrote on standard output."""
        output, _ = self.process.communicate(timeout=TIMEOUT)
        return re.sub(r"\x1b\[[\d;]*m", "", output)

    @property
    def workers(self) -> list[psutil.Process]:
        return [each for each in psutil.Process(self.process.pid).children() if "bndl.execute" in each.cmdline()]


@pytest.fixture
def demo(tmp_path: Path, files: list[str]) -> Iterator[_Demo]:
    started = _Demo(tmp_path, files)
    with started.process:
        yield started
        started.close()


def test_the_command_survives_a_killed_worker(demo: _Demo, expected: bytes) -> None:
    demo.await_parsed(FILES // 5)
    victim = demo.workers[0]
    victim.send_signal(signal.SIGKILL)
    output = demo.finish()
    assert demo.process.returncode == 0, output
    assert demo.text.read_bytes() == expected
    assert "Most imported modules" in output
    assert "job census: succeeded" in output
    assert f".worker.{victim.pid}." in output
    assert "SIGKILL" in output


def test_the_command_ends_on_an_interrupt_and_leaves_nothing_behind(demo: _Demo) -> None:
    demo.await_parsed(FILES // 10)
    workers = demo.workers
    assert len(workers) == 2
    demo.process.send_signal(signal.SIGINT)
    output = demo.finish()
    assert demo.process.returncode == 130, output
    assert [worker for worker in workers if worker.is_running()] == []


def test_the_comparison_is_of_the_same_result(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n")
    (tmp_path / "b.py").write_text("import os, sys\n")
    command = [*BNDL, "demo", "--workers", "1", "--compare", "--top", "1", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert "2 files, 2 lines" in done.stdout
    assert "the same to the byte" in done.stdout
    assert re.search(r"speed of 1 worker on \d+ cores?: [\d.]+ times one process", done.stdout)
