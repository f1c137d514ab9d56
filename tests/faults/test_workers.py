"""Workers that end, stop, or do not come up; contexts side by side."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import bndl
from bndl.config import Config
from bndl.errors import BndlError, NoWorkers, PeerLost, TaskFailed, WorkerFailedToStart, WorkerLost

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TIMEOUT = 30.0
LEASE = 1.0


def await_true(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {TIMEOUT} s: {what}")
        time.sleep(0.01)


def check_usable(ctx: bndl.Context) -> None:
    assert list(ctx.map(lambda x: x + 1, range(50))) == list(range(1, 51))


@pytest.fixture(scope="module")
def shared() -> Iterator[bndl.Context]:
    with bndl.connect(workers=2, progress=False, config=Config(lease=LEASE)) as context:
        yield context


@pytest.fixture
def ctx(shared: bndl.Context) -> bndl.Context:
    assert shared.await_workers(2, connect_timeout=TIMEOUT) == 2
    return shared


# Workers that end


def test_all_workers_are_killed_and_replaced(ctx: bndl.Context) -> None:
    before = ctx.workers
    for worker in before:
        os.kill(worker.pid, signal.SIGKILL)
    check_usable(ctx)
    await_true(lambda: ctx.worker_count == 2, "two new workers")
    assert not {worker.name for worker in before} & {worker.name for worker in ctx.workers}
    assert not any(worker.is_connected for worker in before)
    assert ctx.await_workers() == 2


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT], ids=lambda sent: sent.name)
def test_the_error_says_how_the_worker_ended(ctx: bndl.Context, sent: signal.Signals) -> None:
    def end() -> None:
        os.kill(os.getpid(), sent)
        time.sleep(TIMEOUT)  # any thread may get the signal, so this one may go on for a moment

    error = ctx.submit(end).exception(TIMEOUT)
    assert isinstance(error, TaskFailed)
    assert isinstance(error.__cause__, WorkerLost)
    assert sent.name in error.__cause__.reason
    check_usable(ctx)


def test_tasks_that_end_their_workers_do_not_use_up_the_context() -> None:
    with bndl.connect(workers=1, progress=False, config=Config(max_restarts=1)) as context:
        for code in (3, 4):
            assert isinstance(context.submit(os._exit, code).exception(TIMEOUT), TaskFailed)
        check_usable(context)
        assert context.await_workers() == 1


def test_a_call_ends_its_worker(ctx: bndl.Context) -> None:
    error = ctx.workers[0].execute(os._exit, 3).exception(TIMEOUT)
    assert isinstance(error, PeerLost)
    check_usable(ctx)


# Workers that stop


def test_a_stopped_worker_is_lost_and_comes_back_as_a_new_one(ctx: bndl.Context) -> None:
    victim = ctx.workers[0]
    job = bndl.Job("stopped")

    def wait(x: int) -> int:
        time.sleep(0.01)
        return x

    job.stage(wait, range(100), name="slow")
    total = job.stage(sum, [job.stages[0].results], name="total")
    seen = 0
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        for _ in ctx.execute(job, ordered=False):
            seen += 1
        assert total.tasks[0].result == sum(range(100))
        assert seen == 101
        assert ctx.worker_count == 1
        assert not victim.is_connected
        assert any(victim.name in note for note in job.report().notes)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    await_true(lambda: victim.name in {worker.name for worker in ctx.workers}, "the worker is back")
    assert ctx.await_workers() == 2
    again = next(worker for worker in ctx.workers if worker.name == victim.name)
    assert again is not victim
    assert again.execute(os.getpid).result(TIMEOUT) == victim.pid
    check_usable(ctx)


def test_a_worker_is_stopped_for_less_than_the_lease(ctx: bndl.Context) -> None:
    victim = ctx.workers[0]
    os.kill(victim.pid, signal.SIGSTOP)
    futures = [ctx.submit(pow, x, 2) for x in range(20)]
    time.sleep(LEASE / 4)
    os.kill(victim.pid, signal.SIGCONT)
    assert [future.result(TIMEOUT) for future in futures] == [x**2 for x in range(20)]
    assert victim.is_connected


def test_a_stopped_worker_does_not_hold_up_the_end() -> None:
    context = bndl.connect(workers=2, progress=False, config=Config(stop_timeout=0.3))
    context.await_workers(2)
    workers = [psutil.Process(worker.pid) for worker in context.workers]
    os.kill(workers[0].pid, signal.SIGSTOP)
    context.stop()
    assert [worker for worker in workers if worker.is_running()] == []


def test_a_task_holds_the_gil_for_longer_than_the_lease(ctx: bndl.Context) -> None:
    names = {worker.name for worker in ctx.workers}

    def hold() -> float:
        size = 10_000_000
        start = time.monotonic()
        while time.monotonic() - start < 2 * LEASE:  # each step is one call into C that does not let go of the GIL
            sum(range(size))
        return time.monotonic() - start

    assert ctx.submit(hold).result(TIMEOUT) >= 2 * LEASE
    assert {worker.name for worker in ctx.workers} == names


# Workers that do not come up

PATCH = """
import sys
if "bndl.execute" in sys.orig_argv:
    {}
"""


@pytest.fixture
def patch_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs a line in each worker process as it starts."""

    def patch(line: str) -> None:
        (tmp_path / "sitecustomize.py").write_text(PATCH.format(line))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return patch


def test_workers_that_crash_as_they_start_are_given_up(patch_workers: Callable[[str], None]) -> None:
    patch_workers("sys.stderr.write('no luck\\n'); sys.stderr.flush(); import os; os._exit(7)")
    with bndl.connect(workers=2, progress=False, config=Config(max_restarts=2)) as context:
        future = context.submit(abs, -1)
        with pytest.raises(WorkerFailedToStart, match="no luck") as caught:
            context.await_workers(connect_timeout=TIMEOUT)
        assert caught.value.exit_code == 7
        assert isinstance(future.exception(TIMEOUT), WorkerFailedToStart)
        for work in (
            lambda: context.submit(abs, -1),
            lambda: context.map(abs, [-1]),
            lambda: context.run(make_job()),
            lambda: context.await_workers(1),
        ):
            with pytest.raises(WorkerFailedToStart, match="connect again"):
                work()


def make_job() -> bndl.Job:
    job = bndl.Job("any")
    job.stage(abs, [-1])
    return job


@pytest.mark.parametrize(
    "line",
    [
        "import bndl._version; bndl._version.__version__ = '0.0.0'",
        "import bndl.net.peers as p; p.own_versions = lambda version: {'bndl': version, 'python': '2.7'}",
    ],
    ids=["bndl", "Python"],
)
def test_workers_of_another_version_are_refused(patch_workers: Callable[[str], None], line: str) -> None:
    patch_workers(line)
    with bndl.connect(workers=1, progress=False, config=Config(no_workers_timeout=0.5)) as context:
        futures: list[Callable[[], object]] = [
            lambda: context.await_workers(connect_timeout=5.0),  # time enough to start, also on a busy machine
            lambda: context.await_workers(1, connect_timeout=0.2, stable_timeout=0.2),
            lambda: list(context.map(abs, [-1])),
            lambda: context.submit(abs, -1).result(TIMEOUT),
        ]
        for work in futures:
            with pytest.raises(BndlError, match="install the same on both"):
                work()


# Side by side


def test_contexts_one_after_the_other_and_at_the_same_time(ctx: bndl.Context) -> None:
    for _ in range(2):
        with bndl.connect(workers=1, progress=False) as other:
            assert other.await_workers() == 1
            mine = {worker.name for worker in ctx.workers}
            assert not mine & {worker.name for worker in other.workers}
            assert other.submit(os.getpid).result(TIMEOUT) == other.workers[0].pid
            assert ctx.submit(os.getpid).result(TIMEOUT) in {worker.pid for worker in ctx.workers}
    assert ctx.await_workers() == 2


PROGRAM = """
import os, sys
import bndl
with bndl.connect(workers=2, progress=False) as ctx:
    count = ctx.await_workers()
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()
    pids = set(ctx.map(lambda x: os.getpid(), range(200)))
    assert pids <= {worker.pid for worker in ctx.workers}, pids
    print(count, ctx.await_workers(), *sorted(worker.pid for worker in ctx.workers))
"""


def test_two_drivers_at_the_same_time_see_only_their_own_workers() -> None:
    pipe = subprocess.PIPE
    drivers = [subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        for driver in drivers:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
        children = [psutil.Process(driver.pid).children() for driver in drivers]
        own = [{each.pid for each in group if "bndl.execute" in each.cmdline()} for group in children]
        outputs = [driver.communicate("\n", timeout=TIMEOUT)[0] for driver in drivers]
    finally:
        for driver in drivers:
            driver.kill()
    for driver, output, pids in zip(drivers, outputs, own, strict=True):
        assert driver.returncode == 0
        assert output == f"2 2 {' '.join(map(str, sorted(pids)))}\n"


def test_nobody_comes() -> None:
    with bndl.connect(workers=0, progress=False, config=Config(no_workers_timeout=0.3)) as context:
        with pytest.raises(NoWorkers, match=r"bndl\.connect"):
            context.await_workers(connect_timeout=0.2)
        with pytest.raises(NoWorkers, match=r"bndl\.connect"):
            list(context.map(abs, [-1]))
        with pytest.raises(NoWorkers, match=r"bndl\.connect"):
            context.run(make_job())
        assert isinstance(context.submit(abs, -1).exception(TIMEOUT), NoWorkers)
        assert context.workers == []


def test_a_forked_child_of_the_driver_leaves_its_workers_alone() -> None:
    program = """
import os, sys, time
import bndl
with bndl.connect(workers=1, progress=False) as ctx:
    ctx.await_workers(1)
    names = [worker.name for worker in ctx.workers]
    child = os.fork()
    if child == 0:
        sys.exit(3)  # leaves the block, and runs what is to be done at exit
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    before = os.times()
    assert sum(ctx.map(abs, range(100))) == 4950
    time.sleep(1.0)
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.15, "something spins"
    assert [worker.name for worker in ctx.workers] == names
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_is_told_that_it_cannot_use_the_context() -> None:
    program = """
import os, sys
import bndl
from bndl.context.default import set_default
context = bndl.connect(workers=1, progress=False)
set_default(context)
results = context.map(abs, range(10**6))
assert next(results) == 0
child = os.fork()
if child == 0:
    job = bndl.Job()
    job.stage(abs, [1])
    for use in (
        lambda: context.submit(abs, -1), lambda: context.map(abs, [1]), lambda: context.run(job),
        lambda: context.await_workers(), lambda: context.workers, lambda: list(results), bndl.connect,
        lambda: bndl.ctx.submit(abs, -1),
    ):
        try:
            use()
        except bndl.errors.BndlError as error:
            print(type(error).__name__, flush=True)
    print(context, flush=True)
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), context.submit(abs, -1).result(30), next(results))
context.stop()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    *told, shown, last = done.stdout.splitlines()
    assert told == ["ContextClosed"] * 6 + ["ClusterError"] * 2, done.stderr
    assert "stopped" in shown
    assert (last, done.stderr) == ("3 1 1", "")
