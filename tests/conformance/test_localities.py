"""Localities are code of users: they run beside the driver's loop, in limited time, and their error is their job's."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import pytest

import bndl
from bndl.driver import admission
from bndl.errors import BndlError, InvalidOption, TaskCancelled

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False) as context:
        context.await_workers(2)
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    yield shared
    assert list(shared.map(abs, range(-20, 0))) == list(range(20, 0, -1))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LIMIT", 0.3)


class Broken:
    """Whatever is asked of it raises, and it has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise SystemExit(1)

    def __eq__(self, _: object) -> bool:
        raise SystemExit(2)

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError


class BrokenText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class OddName(str):
    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError


class OddScore(int):
    def __lt__(self, _: object) -> bool:
        raise RuntimeError

    __gt__ = __le__ = __ge__ = __lt__


def raise_broken_text(_: object) -> Any:
    raise BrokenText


def leave(_: object) -> Any:
    raise SystemExit(1)


def indifferent_after(event: threading.Event) -> Callable[[Any], Any]:
    def wait(_: Any) -> Iterable[tuple[Any, int]]:
        event.wait(TIMEOUT)
        return []

    return wait


BAD: list[Callable[[Any], Any]] = [
    leave,
    raise_broken_text,
    lambda _: None,
    lambda _: 3,
    lambda _: [Broken()],
    lambda _: Broken(),
    lambda workers: [(Broken(), 1), (workers[0], 1)],
    lambda _: [([], 1)],
    lambda _: [({"a": 1}, 1)],
    lambda _: [(b"name", 1)],
    lambda _: [("no worker", 1)],
    lambda workers: [(workers[0], Broken())],
    lambda workers: [(workers[0], "1")],
    lambda workers: [(workers[0], 10**400)],
    lambda workers: [(workers[0], float("nan"))],
    lambda workers: repeat((workers[0], 1)),
    lambda workers: [(workers[0], 1, 2)],
]


@pytest.mark.parametrize("locality", BAD)
def test_what_makes_no_sense_is_the_error_of_its_job(
    ctx: bndl.Context, locality: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    job = bndl.Job("bad", locality=locality)
    job.stage(abs, [1])
    with pytest.raises(InvalidOption, match="locality of"):
        ctx.run(job)
    assert job.report().state == "failed"
    with pytest.raises(InvalidOption, match="locality of"):
        list(ctx.map(abs, [1], locality=locality))
    assert "crashed" not in caplog.text


def test_what_is_odd_and_makes_sense_is_taken(ctx: bndl.Context) -> None:
    def odd(workers: Any) -> Iterable[tuple[Any, int]]:
        return [(OddName(workers[0].name), OddScore(2)), (OddName(workers[1].name), OddScore(-1))]

    where = set(ctx.map(lambda _: bndl.current_worker(), range(20), locality=odd))
    assert where == {ctx.workers[0].name}


def test_one_that_waits_for_other_work(ctx: bndl.Context) -> None:
    def ask(workers: Any) -> Iterable[tuple[Any, int]]:
        return [(workers[ctx.submit(abs, -1).result(TIMEOUT)], 1), (workers[0], -1)]

    assert set(ctx.map(lambda _: bndl.current_worker(), range(5), locality=ask)) == {ctx.workers[1].name}


def test_one_that_is_slow_holds_up_its_own_job_only(ctx: bndl.Context) -> None:
    go_on = threading.Event()
    slow = indifferent_after(go_on)
    job = bndl.Job("slow", locality=slow)
    job.stage(abs, range(5))
    tasks = ctx.execute(job)
    mapped = ctx.map(abs, range(5), locality=slow)
    assert list(ctx.map(abs, [-1])) == [1]
    go_on.set()
    assert [task.result for task in tasks] == list(range(5))
    assert list(mapped) == list(range(5))


@pytest.mark.usefixtures("short")
def test_one_that_does_not_come_back_is_given_up(ctx: bndl.Context) -> None:
    go_on = threading.Event()
    job = bndl.Job("stuck", locality=indifferent_after(go_on))
    job.stage(abs, [1])
    with pytest.raises(InvalidOption, match=r"locality of job 'stuck' took longer than 0\.3 s"):
        ctx.run(job)
    go_on.set()


def test_a_job_that_is_not_begun_can_be_cancelled(ctx: bndl.Context) -> None:
    go_on = threading.Event()
    job = bndl.Job("waiting", locality=indifferent_after(go_on))
    stage = job.stage(abs, range(3))
    tasks = ctx.execute(job)
    job.cancel("not wanted")
    with pytest.raises(TaskCancelled, match="not wanted"):
        list(tasks)
    assert [task.outcome for task in stage.tasks] == ["cancelled"] * 3
    go_on.set()
    go_on = threading.Event()
    results = ctx.map(abs, range(3), locality=indifferent_after(go_on))
    results.close()
    go_on.set()


def test_a_task_that_is_cancelled_before_its_job_begins(ctx: bndl.Context) -> None:
    go_on = threading.Event()
    job = bndl.Job("waiting", locality=indifferent_after(go_on))
    stage = job.stage(abs, range(3))
    tasks = ctx.execute(job)
    assert stage.tasks[1].cancel()
    go_on.set()
    assert [task.outcome for task in tasks] == ["succeeded", "cancelled", "succeeded"]


def test_a_worker_that_joins_is_not_used_before_it_is_asked_for(ctx: bndl.Context) -> None:
    """Localities forbid all workers but one; others that come while it is being asked get nothing."""
    kept = ctx.workers[0]
    asked = threading.Event()
    go_on = threading.Event()
    go_on.set()

    def only_kept(workers: Any) -> Iterable[tuple[Any, int]]:
        asked.set()
        go_on.wait(TIMEOUT)
        return [(worker, 1 if worker.pid == kept.pid else -1) for worker in workers]

    results = ctx.map(lambda _: bndl.current_worker(), range(10_000), locality=only_kept)
    assert next(results) == kept.name
    go_on.clear()
    asked.clear()
    lost = ctx.workers[1].pid
    os.kill(lost, signal.SIGKILL)
    assert asked.wait(TIMEOUT), "another worker has joined"
    assert next(results) == kept.name
    go_on.set()
    assert set(results) == {kept.name}
    ctx.await_workers(2)
    deadline = time.monotonic() + TIMEOUT
    while len(set(ctx.map(lambda _: os.getpid(), range(200)))) < 2:
        assert time.monotonic() < deadline, "the new worker is not used"


@pytest.mark.usefixtures("short")
def test_a_job_that_is_stuck_when_a_worker_joins_is_given_up_and_the_worker_is_used(ctx: bndl.Context) -> None:
    calls = 0

    def stuck(_: Any) -> Iterable[tuple[Any, int]]:
        nonlocal calls
        calls += 1
        if calls > 1:
            threading.Event().wait(5)
        return []

    results = ctx.map(lambda _: threading.Event().wait(0.05), range(1000), locality=stuck)
    next(results)
    os.kill(ctx.workers[1].pid, signal.SIGKILL)
    with pytest.raises(BndlError, match="took longer than"):
        list(results)
    ctx.await_workers(2)
    deadline = time.monotonic() + TIMEOUT
    while len(set(ctx.map(lambda _: os.getpid(), range(200)))) < 2:
        assert time.monotonic() < deadline, "the new worker is not used"
