"""Handlers of logging, and standard error, are the users': whatever they do, the driver goes on, and ``stop`` ends."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from textwrap import dedent

import pytest

import bndl
from bndl import logs

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


class Handler(logging.Handler):
    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act
        self.texts: list[str] = []
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.threads.add(threading.current_thread().name)
        self.act()


@contextlib.contextmanager
def handled(act: Callable[[], object], name: str = "bndl") -> Iterator[Handler]:
    handler = Handler(act)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def raises(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


def say(number: int) -> int:
    print("said", number)  # noqa: T201 - in a task
    return -number


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("odd"), GeneratorExit()], ids=repr)
def test_a_handler_that_raises(shared: bndl.Context, error: BaseException) -> None:
    with handled(raises(error)) as handler:
        assert list(shared.map(say, range(5))) == [0, -1, -2, -3, -4]
        assert shared.submit(say, 5).result(TIMEOUT) == -5
        # What the driver itself says goes the same way, and there is no harmless way to make it complain.
        shared._node.driver.loops.own.post(logs.get_logger("bndl.driver.driver").warning, "odd")  # noqa: SLF001
        assert shared.submit(say, 6).result(TIMEOUT) == -6
    assert handler.texts
    assert handler.threads == {"bndl-logs"}


def test_a_handler_that_waits_for_other_work(shared: bndl.Context) -> None:
    results: list[int] = []
    with handled(lambda: results.append(shared.submit(abs, -len(results)).result(TIMEOUT))):
        assert sorted(shared.map(say, range(5), ordered=False)) == [-4, -3, -2, -1, 0]
        assert shared.submit(say, 5).result(TIMEOUT) == -5
    assert logs.flush(TIMEOUT)
    assert results == list(range(len(results)))
    assert len(results) >= 6


def test_a_handler_that_blocks_holds_up_nothing(shared: bndl.Context) -> None:
    go_on = threading.Event()
    try:
        with handled(lambda: go_on.wait(TIMEOUT)):
            for number in range(10):
                assert shared.submit(say, number).result(TIMEOUT) == -number
            assert list(shared.map(say, range(50))) == [-number for number in range(50)]
            with bndl.connect(workers=1, progress=False) as other:
                assert other.submit(say, 1).result(TIMEOUT) == -1
    finally:
        go_on.set()
    while not logs.flush(TIMEOUT):  # it is not waited for before something is done again
        threading.Event().wait(0.001)


def test_whoever_has_the_result_has_seen_the_lines(shared: bndl.Context) -> None:
    with handled(lambda: threading.Event().wait(0.002)) as handler:
        for number in range(20):
            assert shared.submit(say, number).result(TIMEOUT) == -number
            assert f"said {number}" in handler.texts[-1]
        for number, result in enumerate(shared.map(say, range(100, 120))):
            assert result == -100 - number
            assert any(f"said {100 + number}" in text for text in handler.texts)


def test_records_look_as_if_they_were_made_where_it_was_said() -> None:
    records: list[logging.LogRecord] = []
    logger = logs.get_logger("bndl.test_handlers")
    with handled(lambda: None, "bndl.test_handlers") as handler:
        handler.emit = records.append  # type: ignore[assignment, method-assign]
        thread = threading.Thread(target=logger.warning, args=("odd: %s", 3), name="bndl-test")
        thread.start()
        thread.join(TIMEOUT)
        assert logs.flush(TIMEOUT)
    (record,) = records
    assert (record.getMessage(), record.threadName, record.thread) == ("odd: 3", "bndl-test", thread.ident)


def test_a_blocked_standard_error_does_not_hold_up_the_end() -> None:
    """Nobody reads the pipe; the tasks fill it, and so does a worker that writes past its task."""
    program = """
        import os, time, bndl
        ctx = bndl.connect(workers=2, progress=False)
        list(ctx.map(lambda _: print("x" * 1000), range(200)))
        list(ctx.map(lambda _: os.write(2, b"y" * 1000 + b"\\n"), range(200)))
        began = time.monotonic()
        ctx.stop()
        print(time.monotonic() - began, flush=True)
        os._exit(0)
    """
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-c", dedent(program)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, text=True, check=True, timeout=40)
    finally:
        os.close(reader)
        os.close(writer)
    assert float(done.stdout) < 15, "it took more than 25 s when it waited for standard error"
