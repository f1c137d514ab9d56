"""Many tasks are cancelled at once: what ends because of them is told in a line each, and the work goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import bndl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TASKS = 60
TIMEOUT = 30.0


def nap(marker: str) -> None:
    Path(marker).touch()
    time.sleep(60)


def cancel_futures(ctx: bndl.Context, markers: list[str], under_way: int) -> None:
    futures = [ctx.submit(nap, marker) for marker in markers]
    await_begun(markers, under_way)
    for future in futures:
        future.cancel()


def cancel_tasks(ctx: bndl.Context, markers: list[str], under_way: int) -> None:
    job = bndl.Job("storm")
    stage = job.stage(nap, markers, name="nap")
    done = ctx.execute(job)
    await_begun(markers, under_way)
    for task in stage.tasks:
        task.cancel("nobody wants it")
    assert {task.outcome for task in done} == {bndl.Outcome.CANCELLED}


def cancel_a_job(ctx: bndl.Context, markers: list[str], under_way: int) -> None:
    job = bndl.Job("storm")
    job.stage(nap, markers, name="nap")
    done = ctx.execute(job)
    await_begun(markers, under_way)
    job.cancel()
    with pytest.raises(bndl.errors.TaskCancelled):
        list(done)


def await_begun(markers: list[str], count: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while sum(Path(marker).exists() for marker in markers) < count:
        assert time.monotonic() < deadline, "they do not begin"
        time.sleep(0.01)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("cancel", [cancel_futures, cancel_tasks, cancel_a_job])
def test_a_storm_of_cancels(
    cancel: Callable[[bndl.Context, list[str], int], None],
    concurrency: int,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    markers = [str(tmp_path / str(index)) for index in range(TASKS)]
    config = bndl.Config(cancel_grace=0.1)
    with bndl.connect(workers=2, concurrency=concurrency, progress=False, config=config) as ctx:
        ctx.await_workers(2)
        before = {worker.name for worker in ctx.workers}
        caplog.clear()
        capfd.readouterr()
        cancel(ctx, markers, 2 * concurrency)
        assert list(ctx.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        ctx.await_workers(2)
        ended = before - {worker.name for worker in ctx.workers}
        said = [record.getMessage() for record in caplog.records]
    # A sleep in the main thread of a worker can be interrupted; one in another thread ends with its process.
    assert not ended or concurrency > 1
    for name in ended:
        assert sum(f"{name} ended: " in line for line in said) == 1, said
    assert all("\n" not in line for line in said), said
    assert capfd.readouterr().err == "", "stacks are in the certificates"
