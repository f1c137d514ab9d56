"""Profiles with real processes: exact counts whatever happens to attempts and workers, leaks found where they are."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import bndl
from bndl.net.messages import Result
from bndl.profiling.stats import CpuStats
from tests.faults import profiled
from tests.faults.profiled import LEAK_LINE, branches_of, busier, busy, busy_for_long, combine, leak, never_end, work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(100)]

WORKERS = 4
TASKS = 40

#: (stage, index, attempt)
Ended = tuple[str, int, int]
#: The worker that reported a result, and the result.
Heard = tuple[str, Result]


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=WORKERS, progress=False) as context:
        context.await_workers(WORKERS, connect_timeout=30)
        yield context


@pytest.fixture
def ended(ctx: bndl.Context, monkeypatch: pytest.MonkeyPatch) -> list[Heard]:
    """The attempts whose end the driver hears of, from the results, whatever profiling says of them."""
    heard: list[Heard] = []
    watching = ctx._node.driver.watching  # noqa: SLF001 - the truth to compare with
    original = watching.attempts_ended

    def attempts_ended(worker: str, results: Sequence[Result]) -> None:
        heard.extend((worker, result) for result in results if result.kind <= 1)
        original(worker, results)

    monkeypatch.setattr(watching, "attempts_ended", attempts_ended)
    return heard


def make_job(seed: int, killed: Path) -> bndl.Job:
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    killer = chance.randrange(TASKS)
    failing = set(chance.sample(range(TASKS), 6)) - {killer}
    job = bndl.Job(f"exact {seed}", attempts=6)
    items = [(index, index in failing, killed if index == killer else None) for index in range(TASKS)]
    spread = job.stage(work, items, name="spread")
    merge = job.stage(combine, spread.split(8), name="merge")
    job.stage(sum, [merge.results], name="total")
    return job


def expected_calls(ended: Sequence[Ended]) -> dict[str, Counter[str]]:
    """How often each function is called in each stage by these attempts."""
    calls: dict[str, Counter[str]] = {"spread": Counter(), "merge": Counter()}
    for stage, index, attempt in ended:
        if stage == "spread":
            branches = branches_of(index, attempt)
            calls[stage].update(work=1, branch=branches, leaf=3 * branches, descend=5)
        elif stage == "merge":
            calls[stage].update(combine=1, branch=1, leaf=TASKS // 8)
    return calls


def counted_calls(stats: CpuStats) -> Counter[str]:
    names = {"work", "branch", "leaf", "descend", "combine"}
    return Counter({stat.function.name: stat.ncall for stat in stats if stat.function.name in names and stat.ncall})


@pytest.mark.parametrize("seed", range(10))
def test_counts_are_those_of_the_attempts_that_ended(
    ctx: bndl.Context, ended: list[Heard], tmp_path: Path, seed: int
) -> None:
    job = make_job(seed, tmp_path / "killed")
    with ctx.cpu_profiling:
        assert ctx.run(job) == [sum(range(TASKS))]
    report = job.report()
    assert report.stages[0].lost > 0
    assert report.stages[0].failed > 0
    names = {stage.number: stage.name for stage in job.stages}
    truth = [(names[result.task >> 32], result.task & 0xFFFFFFFF, result.number) for _, result in ended]
    stats = ctx.cpu_profiling.get_stats(job)
    expected = expected_calls(truth)
    assert {name: counted_calls(stats.filter(stage=name)) for name in expected} == expected
    assert counted_calls(stats) == expected["spread"] + expected["merge"]
    places = [part.place.key for part in stats.parts]
    assert sorted((key.stage, key.index, key.attempt) for key in places) == sorted(truth)
    descend = stats.find("descend")
    assert (descend.ncall, descend.nactualcall) == (expected["spread"]["descend"], expected["spread"]["work"])
    callers = {caller.name: cost.calls for caller, cost in stats.find("leaf").callers.items()}
    assert callers == {"branch": stats.find("leaf").ncall}
    assert stats.price.missing.keys() >= {part.place.worker for part in stats.parts} - {p.name for p in ctx.workers}


MEGABYTE = 1 << 20


def leaky_job(run: int) -> bndl.Job:
    job = bndl.Job(f"leaky {run}")
    for number in range(4):
        job.stage(leak, range(1, 6) if number == 2 else range(6), name=f"step {number}")
    return job


@pytest.mark.parametrize("run", range(10))
def test_a_leak_is_found_at_its_line_and_stage(ctx: bndl.Context, run: int) -> None:
    job = leaky_job(run)
    with ctx.memory_profiling as memory:
        ctx.run(leaky_job(-1))  # what is imported once is no leak
        before = memory.take_snapshot()
        ctx.run(job)
        after = memory.take_snapshot()
        stages = memory.stages(job)
        growth = memory.growth(job, include=profiled.__name__)
    # Between two moments:
    most = after.compare_to(before, "lineno")[0]
    assert (most.traceback[0].filename, most.traceback[0].lineno) == (profiled.__file__, LEAK_LINE)
    assert 3 * MEGABYTE < most.size_diff < 5 * MEGABYTE
    # Stage by stage; one of them does not leak.
    leaked = {
        stage.name: sum(size for line, size in stage.lines.items() if line.number == LEAK_LINE) for stage in stages
    }
    assert list(leaked) == [f"step {number}" for number in range(4)]
    assert [size > MEGABYTE for size in leaked.values()] == [True, True, False, True]
    assert leaked["step 2"] == 0
    # As a line that grows:
    assert [(each.line.file, each.line.number) for each in growth] == [(profiled.__file__, LEAK_LINE)]
    assert "leaked.append" in growth[0].source


# Whatever happens to nodes


def test_a_worker_that_joins_is_profiled_from_its_first_attempt(ctx: bndl.Context, ended: list[Heard]) -> None:
    victim = ctx.workers[0]
    others = {worker.name for worker in ctx.workers}

    def until_it_joined() -> Iterator[int]:
        index = 0
        while others >= {worker for worker, _ in ended}:
            yield index
            index += 1

    with ctx.cpu_profiling as profiling:
        results = ctx.map(busy, until_it_joined(), attempts=5)
        next(results)
        os.kill(victim.pid, signal.SIGKILL)
        list(results)
        stats = profiling.get_stats()
    (newcomer,) = {worker for worker, _ in ended} - others
    counts = Counter(worker for worker, _ in ended)
    assert stats.filter(worker=newcomer).find("busy").ncall == counts[newcomer]
    assert stats.find("busy").ncall == len(ended)
    assert victim.name in stats.price.missing


def test_a_node_that_does_not_answer_is_named_and_the_others_are_heard(ctx: bndl.Context) -> None:
    with ctx.cpu_profiling as profiling:
        list(ctx.map(busy, range(20), attempts=3))
        silent = ctx.workers[0]
        os.kill(silent.pid, signal.SIGSTOP)
        try:
            for _ in range(6):  # less than the lease; on a busy machine others may need a second try
                stats = profiling.get_stats(timeout=0.5)
                if stats.price.missing.keys() == {silent.name}:
                    break
        finally:
            os.kill(silent.pid, signal.SIGCONT)
        assert stats.price.missing == {silent.name: "no answer within 0.5 s"}
        assert stats.find("busy").ncall == 20  # what its attempts did was told with their results
        assert len(stats.price.profilers) == WORKERS
    assert not profiling.get_stats().price.missing


def test_attempts_that_are_stopped_count_with_what_they_did(ctx: bndl.Context, tmp_path: Path) -> None:
    began = [tmp_path / str(index) for index in range(WORKERS)]
    expected = [busier(index) for index in range(20)]
    with ctx.cpu_profiling as profiling:
        futures = [ctx.submit(never_end, path) for path in began]
        while not all(path.exists() for path in began):
            time.sleep(0.01)
        for future in futures:
            future.cancel()
        assert list(ctx.map(busier, range(20), attempts=1)) == expected  # begins when the first of them was stopped
        deadline = time.monotonic() + 30
        while profiling.get_stats().find("never_end").ncall < WORKERS and time.monotonic() < deadline:
            time.sleep(0.01)
        stats = profiling.get_stats()
    assert len(ctx.workers) == WORKERS
    assert not stats.price.missing
    assert stats.price.running == 0
    stopped = stats.filter(job="submit")
    assert (stopped.find("never_end").ncall, stopped.find("busy").ncall) == (WORKERS, WORKERS)
    assert stopped.find("leaf").ncall > WORKERS
    assert stats.find("busier").ncall == 20
    assert stats.find("busy").ncall == 5 * 20 + WORKERS


def test_the_report_counts_what_runs_when_asked_to(ctx: bndl.Context, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    began = tmp_path / "began"

    def wait_for_it(_: int) -> None:
        busy(0)
        began.touch()
        while not go_on.exists():
            time.sleep(0.01)

    with ctx.cpu_profiling as profiling:
        future = ctx.submit(wait_for_it, 0)
        while not began.exists():
            time.sleep(0.01)
        without = profiling.get_stats(job="submit")
        assert (len(without), without.price.running) == (0, 1)
        assert profiling.get_stats(job="submit", running=True).find("busy").ncall == 1
        go_on.touch()
        future.result(30)
        assert profiling.get_stats(job="submit").find("busy").ncall == 1


@pytest.mark.parametrize("sampler", ["py-spy", "in-process"])
def test_samples_are_split_by_stage(ctx: bndl.Context, sampler: str) -> None:
    job = bndl.Job("sampled")
    first = job.stage(busy_for_long, range(40), name="first")
    job.stage(sum, [first.results], name="last")
    ctx.cpu_profiling.start("sampling", interval=0.005, sampler=sampler)
    ctx.run(job)
    ctx.cpu_profiling.stop()
    stats = ctx.cpu_profiling.get_stats()
    assert {name.removesuffix(" sampler") for name in stats.price.profilers.values()} == {sampler}
    assert stats.price.memory > {"py-spy": (WORKERS + 1) << 20, "in-process": 0}[sampler]
    first_stage = stats.filter(stage="first")
    assert first_stage.find("busy").ttot > 0.6 * first_stage.seconds > 0
    assert "sampled / first" in stats.split("stage")
    assert "busy" not in {stat.function.name for stat in stats.split("stage")["(outside of tasks)"]}


def test_captures_of_memray_are_collected(ctx: bndl.Context, tmp_path: Path) -> None:
    with ctx.memory_profiling.capture(tmp_path) as capture:
        list(ctx.map(busy, range(4)))
    assert capture.missing == {}
    assert capture.reports.keys() == {ctx.name, *(worker.name for worker in ctx.workers)}
    for report in capture.reports.values():
        assert "<html" in report.read_text()[:1000]
