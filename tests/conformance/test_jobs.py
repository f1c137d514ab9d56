"""Jobs of stages of tasks, as users see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

import bndl
from bndl.errors import InvalidOption, TaskCancelled, TaskFailed

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, concurrency=2, progress=False) as context:
        context.await_workers()
        yield context


def make_census(paths: Sequence[str]) -> bndl.Job:
    """The job of the document: words are counted, the counts are merged, and the merged counts too."""
    job = bndl.Job("census", attempts=3)
    parse = job.stage(len, paths, name="parse")
    merge = job.stage(sum, parse.split(8), name="merge")
    job.stage(sum, [merge.results], name="total")
    return job


PATHS = ["x" * size for size in range(100)]


def test_run_returns_the_results_of_the_last_stage(ctx: bndl.Context) -> None:
    assert ctx.run(make_census(PATHS)) == [sum(range(100))]


@pytest.mark.parametrize("ordered", [True, False])
def test_execute_gives_each_task_when_it_is_done(ctx: bndl.Context, ordered: bool) -> None:  # noqa: FBT001 - a parameter
    job = make_census(PATHS)
    names = []
    for task in ctx.execute(job, ordered=ordered):
        names.append(task.name)
        assert isinstance(task, bndl.Task)
        assert (str(task.state), str(task.outcome)) == ("done", "succeeded")
        assert [attempt.outcome for attempt in task.attempts] == ["succeeded"]
        assert task.attempts[0].worker in {worker.name for worker in ctx.workers}
        if task.name.startswith("total"):
            assert task.result == sum(range(100))
    expected = [f"{stage.name}[{index}]" for stage in job.stages for index in range(len(stage))]
    assert len(expected) == 109
    assert (names if ordered else sorted(names)) == (expected if ordered else sorted(expected))
    # The barrier: no task of a stage before all of the stage before it.
    assert [name.partition("[")[0] for name in names] == ["parse"] * 100 + ["merge"] * 8 + ["total"]


def test_results_are_refs(ctx: bndl.Context) -> None:
    job = bndl.Job("refs")
    first = job.stage(abs, range(10))
    assert isinstance(first.results, Sequence)
    assert len(first.results) == 10
    assert all(isinstance(ref, bndl.Ref) for ref in first.results)
    parts = first.split(3)
    assert [ref for part in parts for ref in part] == list(first.results)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(first.split(20)) == 20
    job.stage(len, first.split(20))
    assert sum(ctx.run(job)) == 10


def test_refs_at_any_depth(ctx: bndl.Context) -> None:
    job = bndl.Job("deep")
    first = job.stage(lambda x: 10 * x, range(5))
    one, two = first.results[1], first.results[2]
    items: list[Any] = [
        one,
        [one, 0, two],
        (one, (two, [one])),
        {"a": one, "b": {"c": [two, (one,)]}, "d": first.results},
        [first.results[1:3]],
        0,
    ]
    job.stage(lambda x: x, items)
    expected = [10, [10, 0, 20], (10, (20, [10])), {"a": 10, "b": {"c": [20, (10,)]}, "d": [0, 10, 20, 30, 40]}]
    assert ctx.run(job) == [*expected, [[10, 20]], 0]


def test_refs_in_the_arguments_of_explicit_tasks(ctx: bndl.Context) -> None:
    job = bndl.Job("explicit")
    first = job.stage(tasks=[bndl.Task(pow, 2, 3), bndl.Task(int, "ff", base=16)])
    job.stage(tasks=[bndl.Task(max, *first.results), bndl.Task(dict, a=first.results[0], b=[first.results[1]])])
    assert ctx.run(job) == [255, {"a": 8, "b": [255]}]


def test_a_stage_uses_the_results_of_any_before_it(ctx: bndl.Context) -> None:
    job = bndl.Job("far")
    first = job.stage(abs, [1, 2, 3])
    second = job.stage(lambda x: -x, first.results)
    third = job.stage(lambda pair: pair[0] + pair[1], list(zip(first.results, second.results, strict=True)))
    job.stage(lambda x: x, [(first.results, second.results, third.results)])
    assert ctx.run(job) == [([1, 2, 3], [-1, -2, -3], [0, 0, 0])]


def test_values_belong_to_who_has_them(ctx: bndl.Context) -> None:
    def append(x: list[int]) -> list[int]:
        x.append(1)
        return x

    job = bndl.Job("own")
    first = job.stage(lambda _: [], [0])
    job.stage(append, [first.results[0]] * 4)
    assert ctx.run(job) == [[1]] * 4


def test_kept_results_can_be_taken_while_the_job_runs(ctx: bndl.Context) -> None:
    job = make_census(["aa", "b"])
    taken = {task.name: task.result for task in ctx.execute(job)}
    assert taken["parse[0]"] == 2
    assert taken["total[0]"] == 3


# Options at three levels: the innermost wins


def attempt_number(succeeds_at: int) -> int:
    number = bndl.current_task().attempt
    if number < succeeds_at:
        raise OSError(f"not before attempt {succeeds_at}")
    return number


@pytest.mark.parametrize(
    ("job_attempts", "stage_attempts", "task_attempts", "allowed"),
    [(None, None, None, 1), (3, None, None, 3), (1, 2, None, 2), (3, 1, None, 1), (1, 1, 3, 3), (None, 3, 2, 2)],
)
def test_attempts(
    ctx: bndl.Context,
    job_attempts: int | None,
    stage_attempts: int | None,
    task_attempts: int | None,
    allowed: int,
) -> None:
    def make(succeeds_at: int) -> bndl.Job:
        job = bndl.Job("tries", attempts=job_attempts)
        task = bndl.Task(attempt_number, succeeds_at)
        job.stage(tasks=[task.options(attempts=task_attempts) if task_attempts else task], attempts=stage_attempts)
        return job

    assert ctx.run(make(allowed)) == [allowed]
    with pytest.raises(TaskFailed) as caught:
        ctx.run(make(allowed + 1))
    assert [attempt.outcome for attempt in caught.value.attempts] == ["failed"] * allowed
    assert isinstance(caught.value.__cause__, OSError)


def test_attempts_of_a_succeeded_task(ctx: bndl.Context) -> None:
    job = bndl.Job("tries", attempts=3)
    stage = job.stage(attempt_number, [2])
    ctx.run(job)
    assert [attempt.outcome for attempt in stage.tasks[0].attempts] == ["failed", "succeeded"]
    assert job.report().stages[0].attempts == 2


@pytest.mark.parametrize("level", ["job", "stage", "map"])
def test_concurrency(ctx: bndl.Context, level: str) -> None:
    def measure(_: int) -> tuple[float, float]:
        import time  # noqa: PLC0415 - on the worker

        began = time.monotonic()
        threading.Event().wait(0.02)
        return began, time.monotonic()

    if level == "map":
        spans = list(ctx.map(measure, range(8), concurrency=1))
    else:
        job = bndl.Job("polite", concurrency=1 if level == "job" else None)
        job.stage(measure, range(8), concurrency=1 if level == "stage" else None)
        spans = ctx.run(job)
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_options_returns_a_copy() -> None:
    task = bndl.Task(abs, -1)
    copy = task.options(attempts=2, name="mine")
    assert copy is not task
    assert copy.name == "mine"
    assert task.name != "mine"


# Ends


def test_cancel(ctx: bndl.Context) -> None:
    job = bndl.Job("endless")
    job.stage(lambda _: threading.Event().wait(0.05), range(10_000))
    tasks = ctx.execute(job)
    next(tasks)
    job.cancel()
    with pytest.raises(TaskCancelled):
        list(tasks)
    assert job.report().state in {"cancelling", "cancelled"}
    assert list(ctx.map(abs, [-1])) == [1]
    deadline = time.monotonic() + 30
    while job.report().state == "cancelling":
        assert time.monotonic() < deadline, "the workers do not confirm that nothing of it runs any more"
    assert job.report().state == "cancelled"


@pytest.mark.parametrize(("reason", "shown"), [("", "cancelled by the user"), (" ", "by the user"), ("no\udce9", "no")])
def test_a_task_is_cancelled_whatever_the_reason(ctx: bndl.Context, reason: str, shown: str) -> None:
    job = bndl.Job("parts")
    stage = job.stage(lambda x: threading.Event().wait(0.0002 * x), range(300), name="wait")
    last = stage.tasks[-1]
    seen: list[bndl.Task] = []
    for task in ctx.execute(job, ordered=False):
        if not seen:
            assert last.cancel(reason)
        seen.append(task)
    assert last in seen
    assert shown in str(last.error)
    assert len(seen) == 300


@pytest.mark.parametrize("reason", [None, 5, b"no"])
def test_a_reason_is_a_text(ctx: bndl.Context, reason: Any) -> None:
    job = bndl.Job("parts")
    stage = job.stage(abs, [1])
    with pytest.raises(InvalidOption, match="reason must be a string, got"):
        job.cancel(reason)
    with pytest.raises(InvalidOption, match="reason must be a string, got"):
        stage.tasks[0].cancel(reason)
    assert ctx.run(job) == [1]


def test_leaving_the_loop_cancels(ctx: bndl.Context) -> None:
    job = bndl.Job("left")
    job.stage(lambda _: threading.Event().wait(0.05), range(10_000))
    for _ in ctx.execute(job):
        break
    assert list(ctx.map(abs, range(100))) == list(range(100))


def test_a_failed_task_ends_the_job(ctx: bndl.Context) -> None:
    job = bndl.Job("fails")
    job.stage(lambda x: 1 / x, [1, 0, 2], name="divide")
    after = job.stage(abs, [1], name="after")
    with pytest.raises(TaskFailed) as caught:
        ctx.run(job)
    assert (caught.value.task, caught.value.job) == ("divide[1]", "fails")
    assert str(after.tasks[0].outcome) == "cancelled"
    assert "failed" in str(job.report())


def test_the_report(ctx: bndl.Context) -> None:
    job = make_census(PATHS)
    ctx.run(job)
    report = job.report()
    assert report.state == "succeeded"
    assert [(stage.name, stage.tasks, stage.done, stage.attempts) for stage in report.stages] == [
        ("parse", 100, 100, 100),
        ("merge", 8, 8, 8),
        ("total", 1, 1, 1),
    ]
    assert all(stage.failed == stage.lost == 0 for stage in report.stages)
    assert all(stage.task_seconds > 0 and stage.wall_seconds > 0 for stage in report.stages)
    text = str(report)
    assert all(word in text for word in ("census", "parse", "merge", "total", "attempts"))


def test_a_split_into_more_parts_than_there_are_results(ctx: bndl.Context) -> None:
    job = bndl.Job("few")
    few = job.stage(abs, [-1, -2], name="few")
    job.stage(sum, few.split(4), name="parts")
    assert sorted(ctx.run(job)) == [0, 0, 1, 2]
