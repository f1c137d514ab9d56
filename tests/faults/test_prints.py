"""What tasks print and log reaches the driver, whatever tasks do with their streams, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, cast

import cloudpickle
import pytest

import bndl
from bndl.errors import TaskFailed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

# The functions below travel by value, so workers need not import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TIMEOUT = 30.0


class Heard(logging.Handler):
    """Keeps what tasks say."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        """The lines, without their prefix."""
        return [str(text) for (text,) in self.facts("text")]

    def facts(self, *names: str) -> list[tuple[object, ...]]:
        return [tuple(getattr(record, name) for name in names) for record in self.records]


@pytest.fixture(scope="module")
def opened() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, progress=False) as context:
        context.await_workers(1)
        yield context


@pytest.fixture
def ctx(opened: bndl.Context) -> bndl.Context:
    """A context whose worker is there and has said what it had to say."""
    assert opened.submit(os.getpid).result(TIMEOUT)
    return opened


@pytest.fixture
def heard(ctx: bndl.Context) -> Iterator[Heard]:
    assert ctx
    handler = Heard()
    logger = logging.getLogger("bndl.tasks")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def call(ctx: bndl.Context, function: Callable[..., Any], *args: Any) -> Any:
    return ctx.submit(function, *args).result(TIMEOUT)


def say(*texts: str, end: str = "\n") -> None:
    for text in texts:
        sys.stdout.write(text + end)


def test_prints_and_logs_come_before_the_result_with_the_name_of_the_task(ctx: bndl.Context, heard: Heard) -> None:
    def talk(item: int) -> int:
        say(f"item {item}")
        sys.stderr.write("oh\n")
        logging.getLogger("my.module").info("it is %d", item)
        return item

    job = bndl.Job("talkative")
    job.stage(talk, [7], name="talk")
    (task,) = ctx.execute(job)
    assert task.result == 7
    assert heard.texts[:2] == ["item 7", "oh"]
    assert heard.facts("job", "task", "attempt", "source", "levelno")[:2] == [
        ("talkative", "talk[0]", 1, "stdout", logging.INFO),
        ("talkative", "talk[0]", 1, "stderr", logging.WARNING),
    ]
    assert heard.facts("worker")[0] == (ctx.workers[0].name,)


def test_two_tasks_at_a_time_are_told_apart(heard: Heard) -> None:
    def talk(item: int) -> None:
        for _ in range(20):
            sys.stdout.write(f"{item}")
            time.sleep(0.001)
            sys.stdout.write(f"{item}\n")

    with bndl.connect(workers=1, concurrency=2, progress=False) as context:
        list(context.map(talk, range(4)))
    assert len(heard.records) == 80
    assert {(task, text) for (task,), text in zip(heard.facts("task"), heard.texts, strict=True)} == {
        (f"talk[{item}]", f"{item}{item}") for item in range(4)
    }


# The last words of a process


def crash() -> object:
    return ctypes.string_at(0)


@pytest.mark.parametrize(
    "end",
    [
        lambda: os._exit(3),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        crash,
        os.abort,
    ],
    ids=["os._exit", "SIGKILL", "segfault", "abort"],
)
def test_the_last_words_before_the_end_of_a_process_arrive(
    ctx: bndl.Context, heard: Heard, end: Callable[[], object]
) -> None:
    def speak_and_end() -> None:
        say("last", "words")
        end()

    with pytest.raises(TaskFailed) as caught:
        call(ctx, speak_and_end)
    said: dict[object, list[object]] = {record.number: [] for record in caught.value.attempts}
    for attempt, text in heard.facts("attempt", "text"):
        said[attempt].append(text)
    # The network may have had no time to send the very last, if all cores were busy; but not each time.
    assert all(texts == ["last", "words"][: len(texts)] for texts in said.values())
    assert ["last", "words"] in said.values()


def test_the_last_words_before_an_error_arrive(ctx: bndl.Context, heard: Heard) -> None:
    def speak_and_leave() -> NoReturn:
        say("last words", end="")
        sys.exit(3)

    before = call(ctx, os.getpid)
    with pytest.raises(TaskFailed) as caught:
        call(ctx, speak_and_leave)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert heard.texts == ["last words"]
    assert call(ctx, os.getpid) == before, "it ends the task, not the worker"


# What tasks do with their streams


def close_stream() -> None:
    sys.stdout.close()
    sys.stderr.close()
    say("closed")


def close_descriptors() -> None:
    for number in (1, 2):
        with contextlib.suppress(OSError):
            os.close(number)
    say("without descriptors")


def replace_stream() -> None:
    sys.stdout = io.StringIO()
    say("not heard")


def redirect() -> str:
    with contextlib.redirect_stdout(io.StringIO()) as mine:
        say("mine")
    say("yours")
    return mine.getvalue()


def reset_logging() -> None:
    logging.shutdown()
    logging.basicConfig(level=logging.CRITICAL, force=True)
    logging.getLogger().warning("not heard")


def delete_streams() -> None:
    del sys.stdout


@pytest.mark.parametrize(
    ("harm", "lines"),
    [
        (close_stream, ["closed"]),
        (close_descriptors, ["without descriptors"]),
        (replace_stream, []),
        (redirect, ["yours"]),
        (delete_streams, []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_task_that_harms_its_streams_harms_no_other(
    ctx: bndl.Context, heard: Heard, harm: Callable[[], object], lines: list[str]
) -> None:
    harmed = call(ctx, harm)
    assert harmed in {None, "mine\n"}
    call(ctx, say, "the next task")
    assert heard.texts == [*lines, "the next task"]


def test_a_task_that_configures_logging_anew_has_it_its_way(own: bndl.Context, heard: Heard) -> None:
    call(own, reset_logging)
    call(own, say, "the next task")
    assert heard.texts == ["the next task"]


@pytest.fixture
def own() -> Iterator[bndl.Context]:
    """A context of which not much is left afterwards."""
    with bndl.connect(workers=1, progress=False) as context:
        context.await_workers(1)  # it has the descriptors of now: pytest changes its own later
        yield context


def test_a_lot_is_harmless_and_what_is_dropped_is_counted(own: bndl.Context, heard: Heard) -> None:
    def print_lines() -> None:
        for number in range(100_000):
            sys.stdout.write(f"line {number}\n")

    def print_much() -> None:
        sys.stdout.write("x" * 100_000_000)
        sys.stdout.write("\n")

    def print_very_much() -> None:
        sys.stdout.write(("x" * 99 + "\n") * 1_000_000)

    call(own, print_much)
    (line,) = heard.texts
    assert line.endswith("characters more)")
    assert len(line) < 10_000
    for function, count in ((print_lines, 100_000), (print_very_much, 1_000_000)):
        heard.records.clear()
        begun = time.monotonic()
        call(own, function)
        assert time.monotonic() - begun < 20
        dropped = [text for text in heard.texts if "were dropped" in text]
        said = len(heard.records) - len(dropped)
        counts = sum(int(text.partition(" ")[0].replace(",", "")) for text in dropped)
        assert dropped
        assert said + counts == count


# Threads, processes, the rest of a process


def test_threads_of_a_task(ctx: bndl.Context, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines of a thread come, in order: ``capfd`` would lose those that are written while it empties its file."""

    def start_daemon() -> None:
        def speak() -> None:
            for number in range(60):
                sys.stdout.write(f"daemon {number}\n")
                time.sleep(0.002)

        threading.Thread(target=speak, daemon=True).start()

    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    call(ctx, start_daemon)
    call(ctx, say, "the next task")
    deadline = time.monotonic() + TIMEOUT
    while "daemon 59\n" not in written.getvalue():
        assert time.monotonic() < deadline, written.getvalue()
        time.sleep(0.01)
    lines = [line for line in written.getvalue().splitlines() if line.startswith("daemon")]
    assert lines == [f"daemon {number}" for number in range(60)]
    assert heard.texts == ["the next task"]


PROCESSES = """
import os, subprocess, sys
import bndl

def start_processes():
    subprocess.run([sys.executable, "-c", "print('from a process')"], check=True, timeout=20)
    pid = os.fork()
    if not pid:
        print("from a fork")
        os._exit(0)
    os.waitpid(pid, 0)

with bndl.connect(workers=1, progress=False) as ctx:
    ctx.submit(start_processes).result(30)
"""


def run(program: str) -> tuple[str, str]:
    """What a program writes."""
    # From Python 3.12 on a fork warns in a process with threads, on the standard error that is looked at here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)
    return done.stdout, done.stderr


def test_what_processes_of_a_task_write_goes_to_the_real_streams() -> None:
    assert run(PROCESSES) == ("from a process\n", "from a fork\n")


def test_a_pool_of_threads_with_the_context_of_the_task(ctx: bndl.Context, heard: Heard) -> None:
    def use_pool() -> list[str]:
        def name(_: int) -> str:
            say("in a pool")
            return bndl.current_task().name

        with ThreadPoolExecutor(2) as pool:
            return [pool.submit(contextvars.copy_context().run, name, each).result(TIMEOUT) for each in range(3)]

    names = call(ctx, use_pool)
    assert heard.texts == ["in a pool"] * 3
    assert set(names) == {task for (task,) in heard.facts("task")}


def test_a_task_that_changes_the_folder_or_loses_its_module_is_harmless(
    ctx: bndl.Context, heard: Heard, tmp_path: Path
) -> None:
    def move(folder: str) -> str:
        os.chdir(folder)
        Path(folder).rmdir()
        sys.modules.pop("__main__", None)
        sys.modules.pop(__name__, None)
        sys.modules.pop("json", None)
        say("moved")
        return folder

    (tmp_path / "gone").mkdir()
    assert call(ctx, move, str(tmp_path / "gone")) == str(tmp_path / "gone")
    assert list(ctx.map(abs, [-1, -2])) == [1, 2]
    call(ctx, say, "the next task")
    assert heard.texts == ["moved", "the next task"]
    call(ctx, os.chdir, "/")


def test_without_logging_the_lines_are_on_standard_error() -> None:
    program = (
        "import bndl\nwith bndl.connect(workers=1, progress=False) as ctx:\n    ctx.submit(print, 'hello').result(30)\n"
    )
    out, err = run(program)
    assert out == ""
    assert err.startswith("[call[0] on ")
    assert err.endswith("] hello\n")


def test_asyncio_in_a_task(ctx: bndl.Context, heard: Heard) -> None:
    def use_asyncio() -> None:
        async def main() -> None:
            say("in the loop")
            await asyncio.to_thread(say, "in its thread")

        asyncio.run(main())

    call(ctx, use_asyncio)
    assert heard.texts == ["in the loop", "in its thread"]
    assert cast("Any", heard.records[0]).worker == ctx.workers[0].name
