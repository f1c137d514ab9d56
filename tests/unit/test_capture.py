"""What stands in the place of a worker's standard output and error, whatever tasks do with it."""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bndl.execute.capture import Capture, TaskHandler, TaskStream
from bndl.execute.current import current
from bndl.execute.slots import Prepared
from tests.unit.attempts import Bench


class Stage:
    """A capture, and an attempt that this thread executes."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.bench = Bench()
        self.prepared = self.bench.prepare()
        self.out = TaskStream("stdout", capture)
        self.err = TaskStream("stderr", capture)

    @contextlib.contextmanager
    def task(self) -> Iterator[Prepared]:
        self.bench.border.enter(self.prepared)
        token = current.set(self.prepared)
        try:
            yield self.prepared
        finally:
            current.reset(token)
            self.bench.border.leave(self.prepared)
            self.bench.lines.end(self.prepared)
            self.bench.lines.flush()

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(line.source, line.text) for line in self.bench.said]


@pytest.fixture
def real() -> Iterator[Callable[[], str]]:
    """What was written to the real standard error since the last call."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    before = os.dup(2)
    os.dup2(writer, 2)

    def read() -> str:
        try:
            return os.read(reader, 1 << 16).decode()
        except BlockingIOError:
            return ""

    try:
        yield read
    finally:
        os.dup2(before, 2)
        for file in (reader, writer, before):
            os.close(file)


@pytest.fixture
def stage(real: Callable[[], str]) -> Iterator[Stage]:
    assert real() == ""
    capture = Capture()
    yield Stage(capture)
    os.close(capture.file)


def test_a_task_prints_to_its_driver(stage: Stage, real: Callable[[], str]) -> None:
    with stage.task():
        print("to", "you", file=stage.out)
        print("and you", file=stage.err)
        print("unfinished", end="", file=stage.out, flush=True)
    assert stage.said == [("stdout", "to you"), ("stderr", "and you"), ("stdout", "unfinished")]
    assert real() == ""


def test_what_is_no_task_prints_to_the_real_standard_error(stage: Stage, real: Callable[[], str]) -> None:
    print("nobody's \ud83d", file=stage.out)
    assert (real(), stage.said) == ("nobody's \\ud83d\n", [])


def test_a_thread_of_a_task_is_no_task_unless_it_has_the_tasks_context(stage: Stage, real: Callable[[], str]) -> None:
    with stage.task():
        mine = contextvars.copy_context()
        for call in (lambda: print("plain", file=stage.out), lambda: mine.run(print, "in context", file=stage.out)):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join(5)
    assert stage.said == [("stdout", "in context")]
    assert real() == "plain\n"


def test_a_thread_that_outlives_its_task_prints_to_the_real_standard_error(
    stage: Stage, real: Callable[[], str]
) -> None:
    with stage.task():
        mine = contextvars.copy_context()
    mine.run(print, "late", file=stage.out)
    assert (stage.said, real()) == ([], "late\n")


def test_nothing_is_sent_to_a_driver_that_is_gone(stage: Stage, real: Callable[[], str]) -> None:
    with stage.task() as prepared:
        prepared.tenancy.gone = True
        print("hello?", file=stage.out)
        TaskHandler(stage.capture).handle(logging.makeLogRecord({"msg": "hello?", "levelno": logging.ERROR}))
    assert (stage.said, real()) == ([], "")


@pytest.mark.parametrize(
    "harm",
    [
        lambda stream: stream.close(),
        lambda stream: stream.buffer.close(),
        lambda stream: stream.__exit__(None, None, None),
        lambda stream: stream.reconfigure(encoding="latin-1", line_buffering=True),
    ],
)
def test_a_stream_cannot_be_closed(stage: Stage, harm: Callable[[Any], object]) -> None:
    harm(stage.out)
    with stage.task():
        print("still there", file=stage.out)
        stage.out.buffer.write(b"as bytes\n")
    assert stage.said == [("stdout", "still there"), ("stdout", "as bytes")]
    assert not stage.out.closed


def test_a_stream_looks_like_the_original(stage: Stage) -> None:
    out, err = stage.out, stage.err
    assert (out.name, err.name) == ("<stdout>", "<stderr>")
    assert (out.fileno(), err.fileno()) == (1, 2)
    assert (out.mode, out.encoding, out.errors) == ("w", "utf-8", "backslashreplace")
    assert (out.isatty(), out.readable(), out.writable(), out.seekable()) == (False, False, True, False)
    assert out.buffer.writable()
    assert out.write("four") == 4
    assert out.buffer.write(b"four") == 4
    assert out.buffer.write(memoryview(b"four")) == 4
    with pytest.raises(TypeError, match="must be str, not bytes"):
        out.write(cast("str", b"bytes"))
    with pytest.raises(io.UnsupportedOperation):
        out.detach()


def test_a_stream_that_was_replaced_is_put_back_when_nobody_may_need_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = stage.capture
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    theirs = sys.stdout
    capture.tidy(lambda: False)
    assert sys.stdout is theirs
    capture.tidy(lambda: True)
    assert isinstance(sys.stdout, TaskStream)
    assert isinstance(sys.stderr, TaskStream)
    capture.tidy(lambda: pytest.fail("there is nothing to tidy"))
    del sys.stderr
    capture.tidy(lambda: True)
    assert isinstance(sys.stderr, TaskStream)


def test_a_fork_writes_to_the_real_standard_error(stage: Stage, real: Callable[[], str]) -> None:
    stage.capture._after_fork()  # noqa: SLF001
    with stage.task():
        print("in the fork", file=stage.out)
    assert (stage.said, real()) == ([], "in the fork\n")


def test_the_real_standard_error_stays_open_when_a_task_closes_its_descriptor(
    stage: Stage, real: Callable[[], str]
) -> None:
    assert stage.capture.file >= 100
    before = os.dup(2)
    os.close(2)
    try:
        print("still heard", file=stage.err)
    finally:
        os.dup2(before, 2)
        os.close(before)
    assert real() == "still heard\n"


def test_a_real_standard_error_that_nobody_reads_any_more_is_no_error(stage: Stage) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, stage.capture.file)
    os.close(writer)
    print("anybody?", file=stage.err)


# Logging


@pytest.fixture
def handler(stage: Stage) -> TaskHandler:
    return TaskHandler(stage.capture)


@pytest.fixture
def log(handler: TaskHandler) -> Iterator[logging.Logger]:
    logger = logging.getLogger("my.module")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_a_task_logs_to_its_driver(stage: Stage, log: logging.Logger, real: Callable[[], str]) -> None:
    with stage.task():
        log.warning("%d are too many", 3)
        log.info("fine")
        log.debug("not heard")
    assert [(line.source, line.level, line.text) for line in stage.bench.said] == [
        ("my.module", logging.WARNING, "3 are too many"),
        ("my.module", logging.INFO, "fine"),
    ]
    assert real() == ""


def test_an_error_is_logged_with_its_traceback(stage: Stage, log: logging.Logger) -> None:
    with stage.task():
        try:
            int("no")
        except ValueError:
            log.exception("it failed")
    text = stage.bench.texts[0]
    assert text.startswith("it failed\nTraceback")
    assert text.endswith("'no'")


def test_what_is_no_task_logs_warnings_to_the_real_standard_error(log: logging.Logger, real: Callable[[], str]) -> None:
    log.info("not heard")
    log.warning("heard")
    assert real().endswith("my.module WARNING: heard\n")


def test_a_message_that_does_not_fit_its_arguments_is_no_error(
    stage: Stage, handler: TaskHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage.task():
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
        handler.handle(logging.makeLogRecord({"msg": "after"}))
    assert stage.bench.texts == ["after"]
    assert "Logging error" in capsys.readouterr().err


def test_the_handler_has_no_lock_that_an_interrupted_task_could_leave_locked(handler: TaskHandler) -> None:
    assert handler.lock is None
    handler.acquire()
    handler.release()


def test_the_handler_heeds_filters(stage: Stage, log: logging.Logger, handler: TaskHandler) -> None:
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    with stage.task():
        log.warning("a secret")
        log.warning("known")
    assert stage.bench.texts == ["known"]
