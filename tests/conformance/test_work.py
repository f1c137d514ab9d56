"""``map`` and ``submit``, what a task knows of itself, and how contexts begin and end: as users see it."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import psutil
import pytest

import bndl
from bndl.errors import BndlError, ContextClosed, RemoteTraceback, TaskCancelled, TaskFailed

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, concurrency=2, progress=False) as context:
        context.await_workers()
        yield context


# map


def test_map_is_ordered(ctx: bndl.Context) -> None:
    def slow_first(x: int) -> int:
        threading.Event().wait(0.05 if x == 0 else 0)
        return x * x

    assert list(ctx.map(slow_first, range(300))) == [x * x for x in range(300)]


@pytest.mark.parametrize("how", ["map", "stage", "tasks"])
def test_a_retry_goes_to_the_worker_that_works(ctx: bndl.Context, how: str) -> None:
    """One of two workers fails each task in microseconds, so it always has free slots."""
    broken = min(peer.name for peer in ctx.workers)

    def work(x: int) -> int:
        if bndl.current_worker() == broken:
            raise OSError(x)
        return x

    if how == "map":
        got = list(ctx.map(work, range(500), attempts=2))
    elif how == "stage":
        got = ctx.run(bndl.Job("one broken worker", attempts=2).stage(work, range(500)).job)
    else:
        job = bndl.Job("tasks with options of their own")
        job.stage(tasks=[bndl.Task(work, x).options(attempts=2) for x in range(500)])
        got = ctx.run(job)
    assert got == list(range(500))


def test_map_as_completed(ctx: bndl.Context) -> None:
    def slow_first(x: int) -> int:
        threading.Event().wait(0.3 if x == 0 else 0)
        return x

    got = list(ctx.map(slow_first, range(20), ordered=False))
    assert sorted(got) == list(range(20))
    assert got[0] != 0


@pytest.mark.parametrize("ordered", [True, False])
def test_map_over_an_endless_generator(ctx: bndl.Context, ordered: bool) -> None:  # noqa: FBT001 - a parameter of the test
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        for item in count():
            pulled += 1
            yield item

    def work(x: int) -> int:
        threading.Event().wait(0.001)
        return -x

    results = ctx.map(work, items(), ordered=ordered)
    assert pulled < 1000
    got = list(islice(results, 500))
    results.close()
    assert len(set(got)) == 500
    assert pulled < 5000
    if ordered:
        assert got == [-x for x in range(500)]
    before = pulled
    assert list(ctx.map(abs, [-1])) == [1]
    assert pulled == before


def test_map_pulls_in_the_thread_that_takes_the_results(ctx: bndl.Context) -> None:
    threads = set()

    def items() -> Iterator[int]:
        for item in range(100):
            threads.add(threading.current_thread())
            yield item

    assert sum(ctx.map(abs, items())) == sum(range(100))
    assert threads == {threading.current_thread()}


def test_map_of_nothing(ctx: bndl.Context) -> None:
    assert list(ctx.map(abs, [])) == []
    assert list(ctx.map(abs, iter(()), ordered=False)) == []


def test_lambdas_closures_partials_methods_and_classes_travel(ctx: bndl.Context) -> None:
    factor = 3

    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def apply(self, x: int) -> int:
            return self.by * x

    assert list(ctx.map(lambda x: factor * x, [1, 2])) == [3, 6]
    assert list(ctx.map(Scale(2).apply, [1, 2])) == [2, 4]
    assert list(ctx.map(partial(pow, 2), [1, 2])) == [2, 4]
    assert [scale.by for scale in ctx.map(Scale, [1, 2])] == [1, 2]
    assert all(type(scale) is Scale for scale in ctx.map(Scale, [1, 2]))


def test_two_maps_at_the_same_time(ctx: bndl.Context) -> None:
    one, other = ctx.map(abs, range(-100, 0)), ctx.map(str, range(100))
    assert list(zip(one, other, strict=True)) == [(100 - x, str(x)) for x in range(100)]


def test_map_in_threads(ctx: bndl.Context) -> None:
    def work(base: int) -> int:
        return sum(ctx.map(lambda x: x + base, range(200)))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [sum(range(200)) + 200 * base for base in range(4)]


# submit


def test_submit_returns_a_future_of_the_standard_library(ctx: bndl.Context) -> None:
    futures = [ctx.submit(pow, base, 2, mod=7) for base in range(10)]
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    done, open_ = concurrent.futures.wait(futures, TIMEOUT)
    assert (len(done), len(open_)) == (10, 0)
    assert [future.result(0) for future in futures] == [base**2 % 7 for base in range(10)]
    assert {future.exception(0) for future in futures} == {None}


def test_callbacks_of_futures(ctx: bndl.Context) -> None:
    called = threading.Event()
    ctx.submit(abs, -1).add_done_callback(lambda _: called.set())
    assert called.wait(TIMEOUT)


def test_a_function_that_raises(ctx: bndl.Context) -> None:
    def divide(x: int) -> float:
        return 1 / x

    future = ctx.submit(divide, 0)
    with pytest.raises(TaskFailed) as caught:
        future.result(TIMEOUT)
    error = caught.value
    assert isinstance(error, BndlError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert isinstance(error.__cause__.__cause__, RemoteTraceback)
    assert "return 1 / x" in str(error)
    assert "in divide" in str(error)
    (attempt,) = error.attempts
    assert attempt.worker in {worker.name for worker in ctx.workers}
    assert "ZeroDivisionError" in attempt.cause
    assert attempt.duration >= 0
    assert isinstance(future.exception(0), TaskFailed)
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        list(ctx.map(divide, [1, 0, 2]))
    assert ctx.submit(divide, 2).result(TIMEOUT) == 0.5


def test_exceptions_of_the_users_own_classes_keep_their_identity(ctx: bndl.Context) -> None:
    class OwnError(Exception):
        pass

    def fail() -> None:
        raise OwnError("mine", 3)

    error = ctx.submit(fail).exception(TIMEOUT)
    assert error is not None
    assert isinstance(error.__cause__, OwnError)
    assert error.__cause__.args == ("mine", 3)


# What a task knows


def test_current_task_and_worker(ctx: bndl.Context) -> None:
    def look(x: int) -> tuple[object, ...]:
        task = bndl.current_task()
        bndl.check_cancelled()
        return x, task.job, task.stage, task.index, task.attempt, task.name, task.worker == bndl.current_worker()

    job = bndl.Job("looks")
    job.stage(look, "ab", name="look")
    assert ctx.run(job) == [(x, "looks", "look", index, 1, f"look[{index}]", True) for index, x in enumerate("ab")]
    names = set(ctx.map(lambda _: bndl.current_worker(), range(200)))
    assert names <= {worker.name for worker in ctx.workers}


def test_outside_of_a_task() -> None:
    bndl.check_cancelled()
    for ask in (bndl.current_task, bndl.current_worker):
        with pytest.raises(BndlError, match="does not run in a task"):
            ask()


def test_concurrency_of_workers() -> None:
    # Two tasks meet in one process, which they only can if they run at the same time.
    def meet(_: int) -> int:
        import bndl.errors as shared  # noqa: PLC0415 - a module that both find in the worker's process

        barrier = shared.__dict__.setdefault("barrier_of_the_test", threading.Barrier(2))
        barrier.wait(TIMEOUT)
        return os.getpid()

    with bndl.connect(workers=1, concurrency=2, progress=False) as context:
        assert len(set(context.map(meet, range(2)))) == 1


# Contexts


def test_the_with_block_stops_the_workers() -> None:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        processes = [psutil.Process(worker.pid) for worker in context.workers]
    assert [process for process in processes if process.is_running()] == []
    assert context.is_stopped
    context.stop()
    for use in (
        lambda: context.map(abs, [1]),
        lambda: context.submit(abs, 1),
        lambda: context.run(bndl.Job("late")),
        context.await_workers,
        lambda: context.workers,
    ):
        with pytest.raises(ContextClosed, match=r"bndl\.connect"):
            use()


def test_stopping_answers_what_is_under_way() -> None:
    with bndl.connect(workers=1, progress=False) as context:
        context.await_workers(1)
        futures = [context.submit(lambda: threading.Event().wait(TIMEOUT)) for _ in range(3)]
    assert all(isinstance(future.exception(TIMEOUT), TaskCancelled) for future in futures)


def test_a_context_leaves_foreign_workers_alone(tmp_path: Path) -> None:
    secret = tmp_path / "cluster.secret"
    secret.write_text("a secret of this test\n".replace(" ", "-"))
    with bndl.connect(workers=1, secret_file=secret, cluster="shared", progress=False) as home:
        home.await_workers(1)
        (worker,) = home.workers
        with bndl.connect(seeds=home.addresses, secret_file=secret, cluster="shared", progress=False) as guest:
            assert guest.await_workers() == 1
            assert [peer.name for peer in guest.workers] == [worker.name]
            assert list(guest.map(lambda _: os.getpid(), range(3))) == [worker.pid] * 3
            assert home.submit(os.getpid).result(TIMEOUT) == worker.pid
        assert psutil.pid_exists(worker.pid)
        assert worker.is_connected
        assert home.await_workers() == 1
        assert list(home.map(lambda _: os.getpid(), range(3))) == [worker.pid] * 3


def test_the_default_context() -> None:
    program = """
from bndl import ctx
import bndl
print(repr(ctx))
print(list(ctx.map(lambda x: x + 1, range(3))), bndl.ctx is ctx, ctx.await_workers() > 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "<Context: not connected yet>\n[1, 2, 3] True True\n"


def test_progress_is_shown_when_asked_for() -> None:
    program = """
import bndl
with bndl.connect(workers=1, progress={}) as ctx:
    job = bndl.Job("bars")
    job.stage(abs, range(10), name="first bar")
    ctx.run(job)
"""
    shown = {}
    for choice in (True, False, None):
        command = [sys.executable, "-c", program.format(choice)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        assert (done.returncode, done.stdout) == (0, "")
        shown[choice] = "first bar" in done.stderr
    assert shown == {True: True, False: False, None: False}
