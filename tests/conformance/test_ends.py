"""Nobody waits for ever: not for a context that is stopped or broken, and not for a call that was interrupted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import bndl
from bndl.errors import ContextClosed, InternalError, JobStarted, NotPicklable, PeerLost, TaskCancelled
from tests.unit.interrupting import interrupt_everywhere

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, progress=False) as context:
        context.await_workers(1)
        yield context


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(8)
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def make_job(function: Callable[[Any], Any] = abs, tasks: int = 1) -> bndl.Job:
    job = bndl.Job("any")
    job.stage(function, range(tasks))
    return job


def wait_long(_: object = None) -> None:
    threading.Event().wait(TIMEOUT)


def await_true(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_stopping_ends_all_that_waits_in_other_threads(ctx: bndl.Context, pool: ThreadPoolExecutor) -> None:
    ordered, as_done = ctx.map(wait_long, range(50)), ctx.map(wait_long, range(50), ordered=False)
    job = make_job(wait_long, 5)
    waiting: list[Future[Any]] = [
        pool.submit(list, ordered),
        pool.submit(list, as_done),
        pool.submit(ctx.run, job),
        pool.submit(ctx.await_workers, 3),
        ctx.workers[0].execute(wait_long),
    ]
    membership = ctx._node.membership  # noqa: SLF001 - nothing else shows that a thread waits there
    await_true(lambda: bool(membership._changed._waiters))  # type: ignore[attr-defined]  # noqa: SLF001 - the same
    await_true(lambda: job.execution is not None)
    ctx.stop()
    ends = [type(future.exception(TIMEOUT)) for future in waiting]
    assert ends[:-1] == [ContextClosed] * 4
    assert ends[-1] in {ContextClosed, PeerLost}


def test_what_begins_while_the_context_is_stopped_ends_too(ctx: bndl.Context, pool: ThreadPoolExecutor) -> None:
    over = threading.Event()

    def go_on(use: Callable[[], object]) -> int:
        times = 0
        while not over.is_set():
            try:
                use()
            except (ContextClosed, TaskCancelled, PeerLost):
                return times
            times += 1
        return times

    uses: list[Callable[[], object]] = [
        lambda: list(ctx.map(abs, range(3))),
        lambda: ctx.submit(abs, -1).result(TIMEOUT),
        lambda: ctx.run(make_job()),
        lambda: ctx.await_workers(1),
        lambda: ctx.workers[0].execute(abs, -1).result(TIMEOUT) if ctx.workers else None,
    ]
    running = [pool.submit(go_on, use) for use in uses]
    assert [ctx.submit(abs, -1).result(TIMEOUT) for _ in range(20)] == [1] * 20
    ctx.stop()
    try:
        assert all(future.result(TIMEOUT) > 0 for future in running)
    finally:
        over.set()


def test_nothing_hangs_after_the_loop_broke(
    ctx: bndl.Context, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        begun.set()
        yield from range(5)

    waiting = pool.submit(lambda: list(ctx.map(wait_long, items())))
    assert begun.wait(TIMEOUT)
    ctx._node.driver._loop.post(int, "a bug")  # noqa: SLF001 - there is no known way to break it
    assert isinstance(waiting.exception(TIMEOUT), InternalError)
    await_true(lambda: "crashed" in caplog.text)  # it is logged once those who wait were told
    uses: list[Callable[[], object]] = [
        lambda: list(ctx.map(abs, range(5))),
        lambda: ctx.submit(abs, -1).result(TIMEOUT),
        lambda: ctx.run(make_job()),
        lambda: ctx.workers[0].execute(abs, -1),
    ]
    for use in uses:
        with pytest.raises(InternalError, match="make a new context"):
            pool.submit(use).result(TIMEOUT)


def test_an_interrupt_of_submit_does_no_harm(ctx: bndl.Context) -> None:
    assert ctx.submit(abs, -1).result(TIMEOUT) == 1
    for place in interrupt_everywhere(lambda: ctx.submit(abs, -1)):
        assert ctx.submit(abs, -place).result(TIMEOUT) == place


class Submitting:
    """Submits when it is pickled."""

    def __init__(self, ctx: bndl.Context) -> None:
        self.ctx = ctx

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (self.ctx.submit(abs, -7).result(TIMEOUT),)


def test_what_is_pickled_may_submit(ctx: bndl.Context, pool: ThreadPoolExecutor) -> None:
    assert pool.submit(lambda: ctx.submit(abs, Submitting(ctx)).result(TIMEOUT)).result(TIMEOUT) == 7


def test_of_two_threads_one_gets_to_execute_a_job(ctx: bndl.Context, pool: ThreadPoolExecutor) -> None:
    ready = threading.Barrier(2)

    class Meeting:
        """When it is pickled, its job is being prepared. If both threads come that far they go on together."""

        def __reduce__(self) -> tuple[Any, ...]:
            with suppress(threading.BrokenBarrierError):
                ready.wait(0.2)
            return int, (3,)

    job = bndl.Job("shared")
    job.stage(abs, [Meeting()])
    outcomes = [pool.submit(ctx.run, job) for _ in range(2)]
    errors = [outcome.exception(TIMEOUT) for outcome in outcomes]
    assert [type(error) for error in errors if error] == [JobStarted]
    assert [outcome.result(0) for outcome, error in zip(outcomes, errors, strict=True) if error is None] == [[3]]


def test_a_job_that_could_not_be_prepared_can_be_corrected(ctx: bndl.Context) -> None:
    job = bndl.Job("corrected")
    stage = job.stage(abs, [threading.Lock()])
    for _ in range(2):
        with pytest.raises(NotPicklable):
            ctx.run(job)
    stage.tasks[0].call = -1
    assert ctx.run(job) == [1]


def test_a_job_that_is_cancelled_before_it_begins_does_not_begin(ctx: bndl.Context, tmp_path: Path) -> None:
    job = bndl.Job("unwanted")
    job.stage(Path.touch, [tmp_path / "touched"])
    job.cancel("not needed")
    with pytest.raises(TaskCancelled, match="before it began: not needed"):
        ctx.run(job)
    assert ctx.submit(abs, -1).result(TIMEOUT) == 1
    assert list(tmp_path.iterdir()) == []
    assert job.report().state == "cancelled"


@pytest.mark.parametrize("busy", [False, True])
def test_workers_without_time_to_end_are_gone(*, busy: bool) -> None:
    """The time is theirs: the end of what is killed, and of the guardian, is waited for all the same."""
    failed: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, failed.append
    try:
        config = bndl.Config(stop_timeout=0, cancel_grace=0, cancel_timeout=0, drain_timeout=0)
        with bndl.connect(workers=2, progress=False, config=config) as context:
            context.await_workers(2)
            processes = set(context.map(lambda _: os.getpid(), range(20)))
            if busy:
                context.submit(lambda: threading.Event().wait(TIMEOUT))
    finally:
        threading.excepthook = before
    assert not failed
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]
    assert "bndl-supervisor" not in {thread.name for thread in threading.enumerate()}
