"""What cannot be done: one clear error that says the next step, and the context can be used afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bndl
from bndl.errors import (
    BndlError,
    EmptyStage,
    ForeignRef,
    InvalidJob,
    InvalidOption,
    ItemsFailed,
    JobCycle,
    JobStarted,
    NotPicklable,
    ResultTooLarge,
    TaskFailed,
)

pytestmark = pytest.mark.slow

TIMEOUT = 30
MOST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    config = bndl.Config(max_result_bytes=MOST_BYTES, store_bytes=2 * MOST_BYTES)
    with bndl.connect(workers=2, progress=False, config=config) as context:
        context.await_workers()
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> Iterator[bndl.Context]:
    yield shared
    assert list(shared.map(lambda x: x + 1, range(20))) == list(range(1, 21))
    assert shared.submit(abs, -1).result(TIMEOUT) == 1
    assert shared.run(make_job()) == [1]
    assert shared.worker_count == 2


def make_job() -> bndl.Job:
    job = bndl.Job("any")
    job.stage(abs, [-1])
    return job


# Options


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("option", ["attempts", "concurrency"])
def test_counts_that_make_no_sense(ctx: bndl.Context, option: str, value: Any) -> None:
    options: dict[str, Any] = {option: value}
    for use in (
        lambda: bndl.Job("bad", **options),
        lambda: bndl.Job("bad").stage(abs, [1], **options),
        lambda: ctx.map(abs, [1], **options),
        lambda: bndl.connect(workers=1, concurrency=value),
    ):
        with pytest.raises(InvalidOption, match=f"{option}|concurrency") as caught:
            use()
        assert isinstance(caught.value, ValueError)
    if option == "attempts":
        with pytest.raises(InvalidOption, match="attempts"):
            bndl.Task(abs, 1).options(attempts=value)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_workers_that_make_no_sense(value: Any) -> None:
    with pytest.raises(InvalidOption, match="workers"):
        bndl.connect(workers=value)


def test_seeds_without_a_secret(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="secret_file="):
        bndl.connect(seeds=["tcp/127.0.0.1:1"])
    with pytest.raises(InvalidOption, match="secret file"):
        bndl.connect(seeds=["tcp/127.0.0.1:1"], secret_file=tmp_path / "none")


# Jobs


def test_a_job_without_stages(ctx: bndl.Context) -> None:
    with pytest.raises(InvalidJob, match=r"job\.stage"):
        ctx.run(bndl.Job("nothing"))


@pytest.mark.parametrize("items", [[], (), iter(()), range(0)])
def test_an_empty_stage(items: Any) -> None:
    job = bndl.Job("empty")
    with pytest.raises(EmptyStage, match="leave the stage out"):
        job.stage(abs, items)
    with pytest.raises(EmptyStage, match="leave the stage out"):
        job.stage(tasks=[])
    assert job.stages == []


def test_a_cycle(ctx: bndl.Context) -> None:
    job = bndl.Job("cycle")
    items: list[Any] = [1]
    first = job.stage(abs, items, name="first")
    second = job.stage(abs, first.results, name="second")
    first.tasks[0].call = second.results[0]
    with pytest.raises(JobCycle, match=r"first.*second"):
        ctx.run(job)


def test_a_result_of_the_same_stage(ctx: bndl.Context) -> None:
    job = bndl.Job("self")
    stage = job.stage(abs, [1, 2], name="only")
    stage.tasks[1].call = [stage.results[0]]
    with pytest.raises(JobCycle, match="later stages"):
        ctx.run(job)


def test_a_ref_of_another_job(ctx: bndl.Context) -> None:
    other = bndl.Job("other")
    foreign = other.stage(abs, [1], name="foreign")
    for item in (foreign.results[0], [(foreign.results,)], {"a": foreign.results[0]}):
        job = bndl.Job("mine")
        job.stage(abs, [item])
        with pytest.raises(ForeignRef, match="foreign"):
            ctx.run(job)
    assert ctx.run(other) == [1]
    with pytest.raises(ForeignRef):  # it is still another job's after that has run
        ctx.run(job)


def test_refs_only_belong_in_jobs(ctx: bndl.Context) -> None:
    ref = bndl.Job("other").stage(abs, [1]).results[0]
    with pytest.raises(InvalidJob, match=r"job\.stage"):
        list(ctx.map(repr, [ref]))
    with pytest.raises(InvalidJob, match=r"job\.stage"):
        ctx.submit(abs, [{"a": ref}])
    with pytest.raises(BndlError):
        ctx.map(lambda x: (x, ref), [1])
    job = bndl.Job("in a function")
    job.stage(lambda x: (x, ref), [1])
    with pytest.raises(BndlError, match="argument"):
        ctx.run(job)


def test_a_job_that_has_begun(ctx: bndl.Context) -> None:
    job = make_job()
    stage = job.stages[0]
    tasks = ctx.execute(job)
    for change in (lambda: job.stage(abs, [1]), lambda: ctx.run(job), lambda: ctx.execute(job)):
        with pytest.raises(JobStarted, match="new Job"):
            change()
    assert [task.result for task in tasks] == [1]
    with pytest.raises(JobStarted, match="new Job"):
        job.stage(abs, stage.results)
    with pytest.raises(JobStarted, match="new Job"):
        ctx.run(job)


def test_stages_that_make_no_sense() -> None:
    job = bndl.Job("odd")
    task = bndl.Task(abs, 1)
    job.stage(tasks=[task], name="taken")
    uses: list[Callable[[], object]] = [
        lambda: job.stage(abs),
        lambda: job.stage(None, [1]),
        lambda: job.stage(abs, [1], tasks=[bndl.Task(abs, 1)]),
        lambda: job.stage(tasks=[abs]),  # type: ignore[list-item]
        lambda: job.stage(tasks=[task]),
        lambda: job.stage(abs, [1], name="taken"),
    ]
    for use in uses:
        with pytest.raises(InvalidJob):
            use()
    assert len(job.stages) == 1
    for parts in (0, -1):
        with pytest.raises(InvalidOption, match="at least 1"):
            job.stages[0].split(parts)


def test_a_job_that_was_not_executed() -> None:
    with pytest.raises(InvalidJob, match=r"ctx\.run"):
        make_job().report()
    task = make_job().stages[0].tasks[0]
    with pytest.raises(BndlError, match=r"ctx\.execute"):
        _ = task.result


# What cannot travel


def test_what_cannot_be_pickled_is_named(ctx: bndl.Context) -> None:
    guard = threading.Lock()
    uses: list[Callable[[], object]] = [
        lambda: ctx.map(lambda x: (guard, x), [1]),
        lambda: list(ctx.map(repr, [guard])),
        lambda: ctx.submit(abs, guard),
        lambda: ctx.submit(lambda: guard),
        lambda: ctx.workers[0].execute(abs, guard),
        lambda: run([{"deep": [guard]}]),
    ]

    def run(items: list[Any]) -> None:
        job = bndl.Job("locked")
        job.stage(abs, items)
        ctx.run(job)

    for use in uses:
        with pytest.raises(NotPicklable, match="lock"):
            use()


def test_a_result_that_cannot_be_pickled(ctx: bndl.Context) -> None:
    error = ctx.submit(threading.Lock).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, NotPicklable)
    assert "the result of the task cannot be sent" in str(error)


@pytest.mark.parametrize("depth", [21, 400, 900])
def test_deep_values_that_cannot_be_pickled(ctx: bndl.Context, depth: int) -> None:
    def nest() -> Any:
        value: object = threading.Lock()
        for _ in range(depth):
            value = [value]
        return value

    with pytest.raises(NotPicklable, match="the list -> item 0"):
        list(ctx.map(abs, [nest()]))
    with pytest.raises(NotPicklable, match="call of abs"):
        ctx.submit(abs, nest())
    error = ctx.submit(nest).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, NotPicklable)
    assert error.__cause__.path.startswith("the list -> item 0")


def test_an_item_that_cannot_be_pickled_amid_others(ctx: bndl.Context) -> None:
    results = ctx.map(repr, [1, threading.Lock()])
    with pytest.raises(NotPicklable, match="item 1 of map"):
        list(results)


# Items that raise


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("good", [0, 1, 1000])
def test_items_that_raise(ctx: bndl.Context, good: int, ordered: bool) -> None:  # noqa: FBT001 - a parameter of the test
    def items() -> Iterator[int]:
        yield from range(good)
        raise OSError("no more")

    got: list[int] = []
    with pytest.raises(ItemsFailed, match="no more") as caught:
        got.extend(ctx.map(abs, items(), ordered=ordered))  # takes what comes before the error
    assert sorted(got) == list(range(good))
    assert caught.value.pulled == good
    assert isinstance(caught.value.__cause__, OSError)


def test_items_that_raise_in_a_stage() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    job = bndl.Job("broken")
    with pytest.raises(OSError, match="no more"):
        job.stage(abs, items())
    assert job.stages == []


# Results that are too big


def test_a_result_that_is_too_large_for_the_driver(ctx: bndl.Context) -> None:
    error = ctx.submit(bytes, MOST_BYTES + 1).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, ResultTooLarge)
    assert error.__cause__.limit_bytes == MOST_BYTES
    assert error.__cause__.size_bytes > MOST_BYTES
    assert "stays on workers" in str(error)


def test_it_can_stay_on_workers_which_move_to_disk_what_does_not_fit(ctx: bndl.Context) -> None:
    job = bndl.Job("large")
    large = job.stage(lambda x: bytes([x]) * 2 * MOST_BYTES, range(8), name="large")
    sizes = job.stage(lambda x: (len(x), x[0]), large.results, name="size")
    job.stage(lambda sizes: sizes, [sizes.results], name="sizes")
    assert ctx.run(job) == [[(2 * MOST_BYTES, x) for x in range(8)]]


def test_a_result_that_does_not_fit_into_the_memory_that_is_free(
    ctx: bndl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100_000))
        error = ctx.submit(bytes, MOST_BYTES // 2).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, ResultTooLarge)
    assert error.__cause__.limit_bytes < 100_000
    assert "memory that is free" in str(error)


def test_a_result_that_does_not_fit_into_memory_at_all(ctx: bndl.Context) -> None:
    error = ctx.submit(bytes, 1 << 60).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, MemoryError)
