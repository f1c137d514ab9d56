"""What is logged in bndl's threads is handled in another one, in order, and waited for in limited time."""

from __future__ import annotations

import logging
import threading
from functools import partial

import pytest

from bndl import logs

TIMEOUT = 10.0


def test_calls_run_in_order_and_are_waited_for() -> None:
    writer = logs._Writer()  # noqa: SLF001 - there is one in each process
    ran: list[int] = []
    for number in range(1000):
        writer.put(partial(ran.append, number))
    assert writer.flush(TIMEOUT)
    assert ran == list(range(1000))


def test_it_is_not_waited_for_again_as_long_as_nothing_is_done() -> None:
    writer = logs._Writer()  # noqa: SLF001 - there is one in each process
    go_on, done = threading.Event(), threading.Event()
    writer.put(lambda: go_on.wait(TIMEOUT))
    writer.put(done.set)
    assert not writer.flush(0.01)
    assert not writer.flush(1e6), "at once"
    go_on.set()
    assert done.wait(TIMEOUT)
    while not writer.flush(TIMEOUT):
        threading.Event().wait(0.001)


def test_it_does_not_wait_for_itself() -> None:
    writer = logs._Writer()  # noqa: SLF001 - there is one in each process
    results: list[bool] = []
    writer.put(lambda: results.append(writer.flush(1e6)))
    assert writer.flush(TIMEOUT)
    assert results == [False]


def test_what_is_too_much_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "_MOST", 10)
    writer = logs._Writer()  # noqa: SLF001 - there is one in each process
    go_on = threading.Event()
    ran: list[int] = []
    writer.put(lambda: go_on.wait(TIMEOUT))
    for number in range(50):
        writer.put(partial(ran.append, number))
    go_on.set()
    assert writer.flush(TIMEOUT)
    assert ran == list(range(9))
    assert "41 log records and lines were dropped" in capsys.readouterr().err


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError()], ids=repr)
def test_a_call_that_raises_is_told_and_the_next_one_runs(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = logs._Writer()  # noqa: SLF001 - there is one in each process

    def fail() -> None:
        raise error

    ran = threading.Event()
    writer.put(fail)
    writer.put(ran.set)
    assert writer.flush(TIMEOUT)
    assert ran.is_set()
    assert f"a log handler raised {type(error).__name__}" in capsys.readouterr().err


def test_a_logger_that_users_have_said_something_of_keeps_it() -> None:
    before = logging.getLogger("bndl.test_logs")
    before.setLevel(logging.ERROR)
    logger = logs.get_logger("bndl.test_logs")
    assert logger is before
    assert logger.level == logging.ERROR
    assert logs.get_logger("bndl.test_logs") is logger


def test_in_threads_of_users_it_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    logs.get_logger("bndl.test_at_once").warning("at %s", "once")
    assert "at once" in caplog.text
    ran: list[int] = []
    logs.hand_over(lambda: ran.append(1))
    assert ran == [1]
