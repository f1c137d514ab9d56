"""Tasks that are cancelled or out of time, whatever they are in the middle of, with real processes.

What of them does not end by itself or by an exception ends with its process. The context can be used afterwards, and a
task in another slot of the same worker has its result all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import re
import select
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import bndl
from bndl.errors import TaskCancelled, TaskFailed, TaskTimeout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

# The functions below travel by value, so workers need not import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

GRACE = 0.3
CONFIG = bndl.Config(cancel_grace=GRACE, cancel_timeout=3.0)
TIMEOUT = 30.0


def begin(marker: str) -> None:
    """Say that the task has begun."""
    Path(marker).touch()


def ask(marker: str) -> None:
    begin(marker)
    while True:
        bndl.check_cancelled()
        time.sleep(0.01)


def loop(marker: str) -> None:
    begin(marker)
    while True:
        pass


def catch_exceptions(marker: str) -> None:
    begin(marker)
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.001)


def clean_up(marker: str) -> None:
    begin(marker)
    try:
        while True:
            pass
    finally:
        sys.stdout.write("cleaning up\n")
        Path(f"{marker}.cleaned").touch()


class Finalized:
    """Takes its time when it goes, and exceptions that come up then go nowhere."""

    def __del__(self) -> None:
        for _ in range(1000):
            pass


def finalize(marker: str) -> None:
    begin(marker)
    while True:
        Finalized()
        sum(range(1000))


def write(marker: str) -> None:
    begin(marker)
    while True:
        sys.stdout.write("and on and on\n")


def log(marker: str) -> None:
    begin(marker)
    while True:
        logging.getLogger("endless").warning("and on and on")


def catch_everything(marker: str) -> None:
    begin(marker)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.001)


def sleep(marker: str) -> None:
    begin(marker)
    time.sleep(60)


def wait_for_lock(marker: str) -> None:
    lock = threading.Lock()
    lock.acquire()
    begin(marker)
    lock.acquire(timeout=60)


def wait_for_queue(marker: str) -> None:
    begin(marker)
    queue.Queue[int]().get(timeout=60)


def wait_for_condition(marker: str) -> None:
    begin(marker)
    with (condition := threading.Condition()):
        condition.wait(60)


def wait_for_thread(marker: str) -> None:
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    begin(marker)
    thread.join(60)


def wait_for_future(marker: str) -> None:
    begin(marker)
    Future[int]().result(timeout=60)


def wait_for_data(marker: str) -> None:
    one, other = socket.socketpair()
    with one, other:
        begin(marker)
        one.recv(1)


def wait_for_any(marker: str) -> None:
    begin(marker)
    select.select([], [], [], 60)


def wait_for_process(marker: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        begin(marker)
        try:
            process.wait(60)
        finally:
            process.kill()


def wait_in_asyncio(marker: str) -> None:
    begin(marker)
    asyncio.run(asyncio.sleep(60))


def query(marker: str) -> None:
    begin(marker)
    endless = "WITH RECURSIVE endless(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM endless) SELECT max(x) FROM endless"
    sqlite3.connect(":memory:").execute(endless).fetchall()


def match(marker: str) -> None:
    begin(marker)
    re.match(r"(a+)+$", "a" * 60 + "b")


def raise_to_a_power(marker: str) -> None:
    begin(marker)
    sys.stdout.write(str(len(marker) ** (10**9)))


#: Tasks that end by themselves or by an exception, that end with their process, and that hold the interpreter's lock.
POLITE = [ask, loop, catch_exceptions, clean_up, finalize, write, log, sleep, wait_for_lock]
STUBBORN = [catch_everything, query]
LOCKED = [match, raise_to_a_power]


def work(marker: str) -> int:
    """Take longer than it takes to stop another task."""
    begin(marker)
    for _ in range(200):
        time.sleep(0.01)
    return os.getpid()


def await_file(path: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.005)


class Beside:
    """A context with one worker, and with what may run in its second slot."""

    def __init__(self, context: bndl.Context, slots: int, folder: Path) -> None:
        self.context = context
        self.folder = folder
        self.pid = context.workers[0].pid
        self._pool = ThreadPoolExecutor(2)
        self._innocent: Future[list[Any]] | None = None
        self._innocent_job = bndl.Job("innocent")
        if slots > 1:
            self._innocent_job.stage(work, [str(folder / "innocent")])
            self._innocent = self._pool.submit(context.run, self._innocent_job)
            await_file(folder / "innocent")

    def start(
        self, function: Callable[[str], object], timeout: float | None = None
    ) -> tuple[bndl.Job, Future[list[Any]]]:
        """Run a task that does this, and wait until it is in the middle of it."""
        job = bndl.Job("guilty", timeout=timeout)
        marker = self.folder / "guilty"
        job.stage(function, [str(marker)], name="guilty")
        running = self._pool.submit(self.context.run, job)
        await_file(marker)
        return job, running

    def check(self, *, survives: bool) -> None:
        """The context works, and so did what was beside."""
        assert list(self.context.map(abs, range(20))) == list(range(20))
        pid = self.context.submit(os.getpid).result(TIMEOUT)
        assert (pid == self.pid) is survives
        if self._innocent is not None:
            (value,) = self._innocent.result(TIMEOUT)
            assert (value == self.pid) is survives
            (task,) = self._innocent_job.stages[0].tasks
            outcomes = [attempt.outcome for attempt in task.attempts]
            assert outcomes == (["succeeded"] if survives else ["lost", "succeeded"])

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def slots(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture
def beside(slots: int, tmp_path: Path) -> Iterator[Beside]:
    with bndl.connect(workers=1, concurrency=slots, progress=False, config=CONFIG) as context:
        context.await_workers(1)
        opened = Beside(context, slots, tmp_path)
        yield opened
    opened.close()


def cases(alone: list[Callable[[str], object]], beside: list[Callable[[str], object]]) -> pytest.MarkDecorator:
    """Functions of tasks that run alone, and of tasks that run beside another one in the same worker."""
    listed = [(1, function) for function in alone] + [(2, function) for function in beside]
    ids = [f"{function.__name__}, slots: {slots}" for slots, function in listed]
    return pytest.mark.parametrize(("slots", "function"), listed, ids=ids, indirect=["slots"])


def await_confirmation(job: bndl.Job) -> float:
    """Wait until the workers have confirmed that nothing of a cancelled job runs any more; returns how long it took."""
    begun = time.monotonic()
    while job.report().state == "cancelling":
        assert time.monotonic() < begun + TIMEOUT, "the cancellation was not confirmed"
        time.sleep(0.005)
    assert job.report().state == "cancelled"
    return time.monotonic() - begun


@cases([*POLITE, *STUBBORN, *LOCKED], [ask, loop, catch_everything, query, match])
def test_a_task_is_cancelled(beside: Beside, function: Callable[[str], object]) -> None:
    job, running = beside.start(function)
    job.cancel()
    with pytest.raises(TaskCancelled):
        running.result(TIMEOUT)
    seconds = await_confirmation(job)
    if function is ask:
        assert seconds < GRACE
    elif function in POLITE:
        assert seconds > 0.5 * GRACE
    elif function in STUBBORN:
        assert seconds > 1.5 * GRACE
    else:
        assert seconds > 0.5 * CONFIG.cancel_timeout
    assert (beside.folder / "guilty.cleaned").exists() is (function is clean_up)
    beside.check(survives=function in POLITE)


@cases([ask, loop, write, catch_everything, sleep, query, match, raise_to_a_power], [loop, query, match])
def test_a_task_runs_out_of_time(beside: Beside, function: Callable[[str], object]) -> None:
    begun = time.monotonic()
    job, running = beside.start(function, timeout=0.5)
    with pytest.raises(TaskFailed) as caught:
        running.result(TIMEOUT)
    assert time.monotonic() - begun > 0.5
    assert isinstance(caught.value.__cause__, TaskTimeout)
    assert "took longer than its timeout of 0.5 s" in str(caught.value)
    assert len(caught.value.attempts) == 1
    assert job.report().state == "failed"
    if function in LOCKED:
        assert "held the interpreter's lock" in str(caught.value)
    else:
        assert "test_stopping.py" in str(caught.value), "it shows where the task was"
    beside.check(survives=function in POLITE)


def test_calls_that_wait_are_ended_and_the_process_is_not(tmp_path: Path) -> None:
    waits = (
        sleep,
        wait_for_lock,
        wait_for_queue,
        wait_for_condition,
        wait_for_thread,
        wait_for_future,
        wait_for_data,
        wait_for_any,
        wait_for_process,
        wait_in_asyncio,
    )
    with bndl.connect(workers=1, progress=False, config=bndl.Config(cancel_grace=0.1)) as own:
        own.await_workers(1)
        for wait in waits:
            with pytest.raises(TaskFailed) as raised:
                list(own.map(wait, [str(tmp_path / wait.__name__)], timeout=0.2))
            assert isinstance(raised.value.__cause__, TaskTimeout), wait
            assert f"in {wait.__name__}" in str(raised.value)
            assert "_wake" not in str(raised.value), "how it was ended is nothing for users"
        assert own.submit(os.getpid).result(TIMEOUT) == own.workers[0].pid
        assert {attempt.worker for attempt in raised.value.attempts} == {own.workers[0].name}


def meet(folder: str) -> None:
    """Sleep in both slots of a worker at the same time."""
    begin(f"{folder}/{os.getpid()}.{threading.get_ident()}")
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.005)
    time.sleep(60)


def test_each_task_that_does_not_end_is_named_and_takes_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = bndl.Config(cancel_grace=0.1)
    with bndl.connect(workers=1, concurrency=2, progress=False, config=config) as own:
        own.await_workers(1)
        name = own.workers[0].name
        caplog.clear()
        capfd.readouterr()
        job = bndl.Job("late", timeout=0.5, max_failures=2)
        stage = job.stage(meet, [str(tmp_path)] * 2, name="meet")
        own.run(job)
        errors = [task.error for task in stage.tasks]
        for index, error in enumerate(errors):
            assert f"meet[{index}] took longer than its timeout of 0.5 s" in str(error), errors
        deadline = time.monotonic() + TIMEOUT
        while not (lines := [record.getMessage() for record in caplog.records if name in record.getMessage()]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert list(own.map(abs, [-1])) == [1]
    (line,) = lines
    assert re.fullmatch(
        rf"{re.escape(name)} ended: bndl ended it: meet\[[01]\] of job 'late' did not end after its timeout of 0.5 s",
        line,
    )
    assert capfd.readouterr().err == ""


def test_what_is_out_of_time_is_not_tried_again_on_a_worker_that_ends(tmp_path: Path) -> None:
    config = bndl.Config(cancel_grace=0.1)
    with bndl.connect(workers=1, progress=False, config=config) as own:
        own.await_workers(1)
        job = bndl.Job("late", retry=bndl.Retry(attempts=3, on=TimeoutError), timeout=0.2)
        job.stage(query, [str(tmp_path / "query")])
        with pytest.raises(TaskFailed) as raised:
            own.run(job)
    assert [attempt.outcome for attempt in raised.value.attempts] == ["failed"] * 3
    assert len({attempt.worker for attempt in raised.value.attempts}) == 3
