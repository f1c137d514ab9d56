"""Every public callable with odd values: it works, or there is one clear error, and what was used works afterwards.

A test is an argument of a callable with all of the values. A hang is found by the timeout of the run.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import bndl
from bndl.context import connect as connecting
from bndl.driver.options import JobOptions, TaskOptions
from bndl.errors import BndlError, InternalError
from bndl.profiling.cpu import CpuProfiling
from bndl.profiling.memory import MemoryProfiling
from tests.odd import ODD

pytestmark = pytest.mark.slow

TIMEOUT = 30
#: Errors that tell users what they did. Anything else comes from the inside.
CLEAR = (BndlError, TypeError, ValueError, IndexError)

Entry = Callable[[bndl.Context, Any], object]


#: Longer texts have a value in them that should have been cut; tracebacks of tasks are in some.
MOST_CHARACTERS = 20_000
JOB = [*{**TaskOptions.__annotations__, **JobOptions.__annotations__}]
TASK = [*TaskOptions.__annotations__]


class Accepted(BndlError):
    """All options were taken: a cluster would be started now."""


def refuse(**_: object) -> object:
    raise Accepted("accepted")


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, concurrency=2, progress=False) as context:
        context.await_workers()
        yield context


@pytest.fixture
def ctx(shared: bndl.Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[bndl.Context]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connecting, "DriverNode", refuse)
    yield shared
    assert shared.submit(abs, -1).result(TIMEOUT) == 1
    assert list(shared.map(abs, [-1, -2])) == [1, 2]


def make_job(**options: Any) -> bndl.Job:
    job = bndl.Job("swept", **options)
    job.stage(abs, [-1, -2])
    return job


def run_stage(ctx: bndl.Context, *args: Any, **options: Any) -> object:
    job = bndl.Job("swept")
    job.stage(*args, **options)
    return ctx.run(job)


def run_tasks(ctx: bndl.Context, task: bndl.Task) -> object:
    job = bndl.Job("swept")
    job.stage(tasks=[task])
    return ctx.run(job)


def add(ctx: bndl.Context, value: Any) -> object:
    accumulator = ctx.accumulator(0)
    accumulator.add(value)
    return accumulator.value


def shared_by(ctx: bndl.Context, value: Any) -> object:
    broadcast = ctx.broadcast(value)
    try:
        return ctx.submit(lambda: broadcast.value is not None).result(TIMEOUT)
    finally:
        broadcast.release()


def profiled(ctx: bndl.Context, use: Callable[[Any], object]) -> object:
    profiling = ctx.cpu_profiling
    profiling.start("sampling")
    try:
        return use(profiling)
    finally:
        profiling.stop()


def started(profiling: Any, *args: Any, **options: Any) -> None:
    try:
        profiling.start(*args, **options)
    finally:
        profiling.stop()


def done(ctx: bndl.Context) -> Any:
    future = ctx.submit(abs, 1)
    assert future.result(TIMEOUT) == 1
    return future


def cancelled(ctx: bndl.Context, reason: Any) -> object:
    job = make_job()
    job.cancel(reason)
    return ctx.run(job)


def with_each(
    title: str, names: Iterable[str], use: Callable[[bndl.Context, dict[str, Any]], object]
) -> dict[str, Entry]:
    """An entry for each of some options, which get the value one by one."""

    def entry(name: str) -> Entry:
        return lambda ctx, value: use(ctx, {name: value})

    return {title.format(name): entry(name) for name in names}


ENTRIES: dict[str, Entry] = {
    # work
    "map(function)": lambda ctx, v: list(ctx.map(v, [1])),
    "map(items)": lambda ctx, v: list(ctx.map(repr, v)),
    "map(second items)": lambda ctx, v: list(ctx.map(max, [1, 2], v)),
    "map(item)": lambda ctx, v: list(ctx.map(id, [v])),
    "map(ordered)": lambda ctx, v: list(ctx.map(abs, [1], ordered=v)),
    "submit(function)": lambda ctx, v: ctx.submit(v, 1).result(TIMEOUT),
    "submit(argument)": lambda ctx, v: ctx.submit(id, v).result(TIMEOUT),
    "submit(keyword)": lambda ctx, v: ctx.submit(dict, key=v).exception(TIMEOUT),
    "future.result(timeout)": lambda ctx, v: done(ctx).result(v),
    "future.exception(timeout)": lambda ctx, v: done(ctx).exception(v),
    "future.add_done_callback": lambda ctx, v: done(ctx).add_done_callback(v),
    "execute(job)": lambda ctx, v: list(ctx.execute(v)),
    "execute(ordered)": lambda ctx, v: list(ctx.execute(make_job(), ordered=v)),
    "run(job)": lambda ctx, v: ctx.run(v),
    "explain(task)": lambda ctx, v: ctx.explain(v),
    "await_workers(count)": lambda ctx, v: ctx.await_workers(v, connect_timeout=0.01, stable_timeout=0.1),
    "await_workers(connect_timeout)": lambda ctx, v: ctx.await_workers(connect_timeout=v),
    "await_workers(stable_timeout)": lambda ctx, v: ctx.await_workers(1, stable_timeout=v),
    "broadcast(value)": shared_by,
    "accumulator(value)": lambda ctx, v: ctx.accumulator(v).value,
    "accumulator(combine)": lambda ctx, v: ctx.accumulator(0, v),
    "accumulator.add": add,
    "peer.execute(function)": lambda ctx, v: ctx.workers[0].execute(v).exception(TIMEOUT),
    "peer.execute(argument)": lambda ctx, v: ctx.workers[0].execute(id, v).exception(TIMEOUT),
    # what is built
    "Job(name)": lambda _, v: bndl.Job(v),
    "Job.cancel(reason)": cancelled,
    "stage(function)": lambda ctx, v: run_stage(ctx, v, [1]),
    "stage(items)": lambda ctx, v: run_stage(ctx, id, v),
    "stage(item)": lambda ctx, v: run_stage(ctx, id, [v]),
    "stage(tasks)": lambda ctx, v: run_stage(ctx, tasks=v),
    "stage(task)": lambda ctx, v: run_stage(ctx, tasks=[v]),
    "stage(name)": lambda ctx, v: run_stage(ctx, abs, [1], name=v),
    "stage(barrier)": lambda ctx, v: run_stage(ctx, abs, [1], barrier=v),
    "stage(after)": lambda ctx, v: run_stage(ctx, abs, [1], after=v),
    "stage(after one)": lambda ctx, v: run_stage(ctx, abs, [1], after=[v]),
    "stage.split": lambda _, v: bndl.Job("swept").stage(abs, [1]).split(v),
    "results[]": lambda _, v: bndl.Job("swept").stage(abs, [1] * 3).results[v],
    "Task(function)": lambda ctx, v: run_tasks(ctx, bndl.Task(v, 1)),
    "Task(argument)": lambda ctx, v: run_tasks(ctx, bndl.Task(id, v)),
    "Task.options(name)": lambda ctx, v: run_tasks(ctx, bndl.Task(abs, 1).options(name=v)),
    "Task.after": lambda _, v: bndl.Task(abs, 1).after(v),
    "Task.cancel(reason)": lambda _, v: bndl.Task(abs, 1).cancel(v),
    "options(name)": lambda ctx, v: ctx.options(name=v).submit(abs, 1).result(TIMEOUT),
    "options(resources)": lambda ctx, v: ctx.options(resources=v),
    # profiling
    "cpu.start(mode)": lambda ctx, v: started(ctx.cpu_profiling, v),
    **with_each(
        "cpu.start({})",
        ("clock", "interval", "native", "sampler", "timeout"),
        lambda ctx, given: started(ctx.cpu_profiling, "sampling", **given),
    ),
    "cpu.stop(timeout)": lambda ctx, v: ctx.cpu_profiling.stop(timeout=v),
    **with_each(
        "cpu.get_stats({})",
        ("job", "stage", "worker", "task", "running", "timeout"),
        lambda ctx, given: profiled(ctx, lambda profiling: profiling.get_stats(**given)),
    ),
    **with_each(
        "cpu.print_stats({})",
        list(inspect.signature(CpuProfiling.print_stats).parameters)[1:-1],
        lambda ctx, given: profiled(ctx, lambda profiling: profiling.print_stats(**{"file": StringIO(), **given})),
    ),
    "cpu.save(path)": lambda ctx, v: profiled(ctx, lambda profiling: profiling.save(v)),
    "cpu.diff(before)": lambda ctx, v: ctx.cpu_profiling.diff(v, v),
    "cpu.split(by)": lambda ctx, v: profiled(ctx, lambda profiling: profiling.get_stats().split(v)),
    "memory.start(frames)": lambda ctx, v: started(ctx.memory_profiling, v),
    "memory.start(timeout)": lambda ctx, v: started(ctx.memory_profiling, timeout=v),
    "memory.stop(timeout)": lambda ctx, v: ctx.memory_profiling.stop(timeout=v),
    "memory.take_snapshot(timeout)": lambda ctx, v: ctx.memory_profiling.take_snapshot(timeout=v),
    **with_each(
        "memory.print_top({})",
        list(inspect.signature(MemoryProfiling.print_top).parameters)[1:],
        lambda ctx, given: ctx.memory_profiling.print_top(**given),
    ),
    **with_each("memory.stages({})", ("job", "timeout"), lambda ctx, given: ctx.memory_profiling.stages(**given)),
    **with_each(
        "memory.growth({})",
        ("job", "include", "exclude", "least_bytes"),
        lambda ctx, given: ctx.memory_profiling.growth(**given),
    ),
    **with_each(
        "memory.capture({})",
        ("folder", "native", "leaks"),
        lambda ctx, given: ctx.memory_profiling.capture(**{"folder": "captures", **given}),
    ),
    # options
    **with_each("Config({})", [each.name for each in fields(bndl.Config)], lambda _, given: bndl.Config(**given)),
    **with_each("Retry({})", [each.name for each in fields(bndl.Retry)], lambda _, given: bndl.Retry(**given)),
    **with_each("connect({})", inspect.signature(bndl.connect).parameters, lambda _, given: bndl.connect(**given)),
    **with_each("Job({}=)", JOB, lambda ctx, given: ctx.run(make_job(**given))),
    **with_each("stage({}=)", JOB, lambda ctx, given: run_stage(ctx, abs, [1], **given)),
    **with_each("map({}=)", JOB, lambda ctx, given: list(ctx.map(abs, [1], **given))),
    **with_each("Task.options({}=)", TASK, lambda ctx, given: run_tasks(ctx, bndl.Task(abs, 1).options(**given))),
    **with_each("options({}=)", TASK, lambda ctx, given: ctx.options(**given).submit(abs, 1).result(TIMEOUT)),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_odd_values_work_or_are_refused_clearly(
    ctx: bndl.Context, entry: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = []
    for name, make in ODD.items():
        try:
            ENTRIES[entry](ctx, make())
        except CLEAR as error:
            if isinstance(error, InternalError) or len(str(error)) > MOST_CHARACTERS:
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        except BaseException as error:  # noqa: BLE001 - what is looked for
            wrong.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    assert not wrong, "\n".join([entry, *wrong])
    if entry == "future.add_done_callback":  # it logs what a callback raises, as the standard library does
        return
    crashes = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not crashes, crashes
