"""Tasks that do what they should not: each does harm to itself at most, and the context can be used afterwards."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bndl
from bndl.errors import NotPicklable, RemoteException, TaskFailed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 30


@pytest.fixture(scope="module", params=[1, 2], ids="slots: {}".format)
def shared(request: pytest.FixtureRequest) -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, concurrency=request.param, progress=False) as context:
        context.await_workers()
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    names = {worker.name for worker in shared.workers}
    yield shared
    assert list(shared.map(lambda x: x + 1, range(50))) == list(range(1, 51))
    assert {worker.name for worker in shared.workers} == names  # no worker was lost over it


def on_all(ctx: bndl.Context, function: Callable[[], object]) -> list[object]:
    """Call a function as a task, often enough to meet every worker."""
    futures = [ctx.submit(function) for _ in range(8)]
    return [future.result(TIMEOUT) for future in futures]


def close_streams() -> str:
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        stream.close()
    return "closed"


def close_descriptors() -> str:
    for number in (0, 1, 2):
        os.close(number)
    nothing = os.open(os.devnull, os.O_RDWR)
    return f"closed {nothing}"


def replace_streams() -> None:
    sys.stdout = sys.stderr = sys.stdin = None


def test_closing_the_standard_streams(ctx: bndl.Context) -> None:
    assert on_all(ctx, close_streams) == ["closed"] * 8


def test_doing_without_standard_streams(ctx: bndl.Context) -> None:
    assert on_all(ctx, replace_streams) == [None] * 8
    with pytest.raises(TaskFailed, match="bang"):
        ctx.submit(fail, "bang").result(TIMEOUT)


def fail(text: str) -> None:
    raise ValueError(text)


def test_closing_the_standard_descriptors() -> None:
    # It is a worker's own: what it prints from then on is lost, or goes where it opened something.
    with bndl.connect(workers=1, progress=False) as context:
        assert str(context.submit(close_descriptors).result(TIMEOUT)).startswith("closed")
        assert list(context.map(abs, range(-50, 0))) == list(range(50, 0, -1))
        assert context.await_workers() == 1


def test_changing_the_directory(ctx: bndl.Context, tmp_path: Path) -> None:
    before = Path.cwd()
    assert on_all(ctx, lambda: os.chdir(tmp_path)) == [None] * 8

    def vanish() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)

    assert on_all(ctx, vanish) == [None] * 8  # now it is in a directory that is not there any more

    def late_import() -> float:
        import colorsys  # noqa: PLC0415 - modules must be found from there, too

        return colorsys.rgb_to_hsv(1, 1, 1)[2]

    assert on_all(ctx, late_import) == [1] * 8
    assert Path.cwd() == before


@pytest.mark.parametrize("daemon", [True, False])
def test_starting_threads_that_do_not_end(daemon: bool) -> None:  # noqa: FBT001 - a parameter of the test
    def start() -> None:
        threading.Thread(target=time.sleep, args=(600,), daemon=daemon).start()

    began = time.monotonic()
    with bndl.connect(workers=1, progress=False) as context:
        assert on_all(context, start) == [None] * 8
        assert context.submit(abs, -1).result(TIMEOUT) == 1
        pid = context.workers[0].pid
    assert time.monotonic() - began < 10
    assert not Path(f"/proc/{pid}").exists()


def test_a_thread_that_raises(ctx: bndl.Context) -> None:
    def start() -> None:
        thread = threading.Thread(target=fail, args=("in a thread",))
        thread.start()
        thread.join(TIMEOUT)

    assert on_all(ctx, start) == [None] * 8


def test_an_exception_whose_constructor_takes_other_arguments(ctx: bndl.Context) -> None:
    class PickyError(Exception):
        def __init__(self, code: int, *, reason: str) -> None:
            super().__init__(f"{code} because {reason}")
            self.code = code

    def raise_it() -> None:
        raise PickyError(3, reason="of that")

    error = ctx.submit(raise_it).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, PickyError), "it is made without its constructor"
    assert error.__cause__.code == 3
    assert str(error.__cause__) == "3 because of that"
    assert "raise PickyError" in str(error)


def test_an_exception_that_cannot_be_pickled(ctx: bndl.Context) -> None:
    def raise_it() -> None:
        raise ValueError("locked", threading.Lock())

    error = ctx.submit(raise_it).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, RemoteException)
    assert error.__cause__.kind == "ValueError"
    assert "locked" in str(error)


def test_an_exception_without_a_text(ctx: bndl.Context) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

    def raise_it() -> None:
        raise MuteError

    error = ctx.submit(raise_it).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert "MuteError" in str(error)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException, StopIteration])
def test_exceptions_that_usually_mean_something_else(ctx: bndl.Context, raised: type[BaseException]) -> None:
    def raise_it(_: object = None) -> None:
        raise raised

    error = ctx.submit(raise_it).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert type(error.__cause__) is raised
    with pytest.raises(TaskFailed):
        list(ctx.map(raise_it, [1]))


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (x for x in "ab"), socket.socket, lambda: [1, {"a": threading.Event()}]],
    ids=["lock", "generator", "socket", "inside"],
)
def test_a_result_that_cannot_be_pickled(ctx: bndl.Context, make: Callable[[], object]) -> None:
    error = ctx.submit(make).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, NotPicklable)
    assert "the result of the task" in str(error)


def test_recursion_without_end(ctx: bndl.Context) -> None:
    def recurse() -> None:
        recurse()

    error = ctx.submit(recurse).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, RecursionError)


def test_a_forked_child_of_a_task_that_comes_back(ctx: bndl.Context) -> None:
    # The child runs on as if it were the worker: what it says must not be taken for what the worker says.
    def fork() -> int:
        child = os.fork()
        if child == 0:
            return -1
        return child

    assert all(child != -1 for child in on_all(ctx, fork))
