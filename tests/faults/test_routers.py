"""Clusters that are no mesh: nodes that know only routers, and local workers that know only their driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import bndl
from tests.faults.at_work import see_at_work
from tests.faults.hosts import Program

pytestmark = pytest.mark.slow

TIMEOUT = 30.0
LEASE = 2.0
ROOT = Path(__file__).parents[2]
BNDL = str(Path(sys.executable).with_name("bndl"))


class Site:
    """Two routers that are connected to each other. Workers know one or both of them."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self._home = home
        self._stack = stack
        secret = home / "secret"
        secret.write_text("sesame-5f2c-77\n")
        secret.chmod(0o600)
        self.options = ["--secret-file", str(secret)]
        first = self.run("router", "--listen", "tcp/127.0.0.1:0")
        addresses = [first.wait_line("listening on ")]
        second = self.run("router", "--listen", "tcp/127.0.0.1:0", "--seeds", addresses[0])
        addresses.append(second.wait_line("listening on "))
        self.routers, self.addresses = [first, second], addresses

    def run(self, command: str, *options: str) -> Program:
        variables = {"HOME": str(self._home), "BNDL_LEASE": str(LEASE)}
        program = Program([BNDL, command, *options, *self.options], ROOT, variables)
        self._stack.callback(program.close)
        return program

    def run_workers(self, count: int, *seeds: str) -> Program:
        named = [part for seed in seeds for part in ("--seeds", seed)]
        program = self.run("worker", "--no-mesh", "--workers", str(count), *named)
        program.wait_line("joined through ")
        program.wait_line(f"{count} workers of cluster 'default' are there")
        return program

    def connect(self, *seeds: str) -> bndl.Context:
        options = bndl.Config(lease=LEASE)
        ctx = bndl.connect(seeds=seeds, secret_file=self.options[1], mesh=False, config=options)
        self._stack.callback(ctx.stop)
        return ctx


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def site(tmp_path: Path, stack: ExitStack) -> Site:
    return Site(tmp_path, stack)


def wait_until(condition: Callable[[], bool], limit: float = TIMEOUT) -> float:
    """Seconds until a condition holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit
        time.sleep(0.005)
    return time.monotonic() - start


def make(number: int) -> bytes:
    time.sleep(0.05)
    return bytes([number]) * 200_000


def check_all(parts: list[bytes]) -> int:
    time.sleep(0.05)
    return sum(part[0] * (part == part[:1] * 200_000) for part in parts)


def run_with_a_loss(ctx: bndl.Context, end_one: Callable[[], None]) -> None:
    """A job in which every worker needs results of every other one, while one is lost halfway."""
    job = bndl.Job("across")
    parts = job.stage(make, range(40))
    sums = job.stage(check_all, [parts.results] * 12)
    tasks = ctx.execute(job, ordered=False)
    for _ in range(44):  # the first stage, and some of the second
        next(tasks)
    end_one()
    list(tasks)
    assert [task.result for task in sums.tasks] == [sum(range(40))] * 12


def test_a_job_runs_across_two_routers_and_a_worker_is_killed_halfway(site: Site) -> None:
    site.run_workers(2, site.addresses[0])
    site.run_workers(2, site.addresses[1])
    ctx = site.connect(site.addresses[1])
    ctx.await_workers(4)
    assert ctx.await_workers() == 4
    # All hear of the loss, also those behind the other router, and long before the lease is over.
    for victim in ctx.workers[:1], ctx.workers[-1:]:
        run_with_a_loss(ctx, lambda victim=victim: os.kill(victim[0].pid, signal.SIGKILL))  # type: ignore[misc]
        assert wait_until(lambda victim=victim: not victim[0].is_connected) < LEASE / 2  # type: ignore[misc]
        ctx.await_workers(4)  # its supervisor starts another one
        assert ctx.await_workers() == 4


def test_a_worker_behind_another_router_that_is_stopped_is_lost_after_the_lease_and_comes_back(site: Site) -> None:
    site.run_workers(1, site.addresses[0])
    site.run_workers(1, site.addresses[1])
    ctx = site.connect(site.addresses[1])
    ctx.await_workers(2)
    for worker in ctx.workers:
        os.kill(worker.pid, signal.SIGSTOP)
        assert LEASE / 2 < wait_until(lambda worker=worker: not worker.is_connected) < LEASE + 1  # type: ignore[misc]
        assert ctx.worker_count == 1
        os.kill(worker.pid, signal.SIGCONT)
        ctx.await_workers(2)
    assert len(see_at_work(ctx, 2)) == 2


def test_who_is_behind_a_killed_router_is_lost_until_it_is_back_and_who_knows_another_goes_there(site: Site) -> None:
    site.run_workers(1, site.addresses[0])
    site.run_workers(1, *site.addresses)
    site.run_workers(1, site.addresses[1])
    ctx = site.connect(site.addresses[1])
    ctx.await_workers(3)
    before = {worker.name for worker in ctx.workers}
    run_with_a_loss(ctx, lambda: site.routers[0].signal(signal.SIGKILL))
    # The one that knows both routers is there again at once, as a new worker in the same process.
    ctx.await_workers(2)
    assert see_at_work(ctx, 2) < before
    assert ctx.worker_count == 2
    site.run("router", "--listen", site.addresses[0])  # the other one looks for it
    ctx.await_workers(3)
    assert see_at_work(ctx, 3) == before


def test_a_router_lets_in_who_knows_the_secret_only(site: Site, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("something-else\n")
    wrong.chmod(0o600)
    with pytest.raises(bndl.errors.ClusterError, match="reached no router"):
        bndl.connect(seeds=site.addresses, secret_file=wrong, mesh=False)
    ctx = site.connect(site.addresses[0])
    assert ctx.worker_count == 0


def test_routers_and_nodes_with_certificates(tmp_path: Path, stack: ExitStack) -> None:
    folder = tmp_path / "cluster"
    subprocess.run([BNDL, "cluster", "init", str(folder), "--host", "here"], check=True, timeout=TIMEOUT)
    options = ("--credentials", str(folder / "here"))

    def run(*words: str) -> Program:
        program = Program([BNDL, *words, *options], ROOT, {"HOME": str(tmp_path)})
        stack.callback(program.close)
        return program

    router = run("router")
    address = router.wait_line("listening on ")
    assert address.startswith("tls/127.0.0.1:")
    run("worker", "--no-mesh", "--seeds", address, "--workers", "2").wait_line("2 workers of")
    ctx = bndl.connect(seeds=[address], credentials=folder / "here", mesh=False)
    stack.callback(ctx.stop)
    ctx.await_workers(2)
    assert sum(ctx.map(abs, range(-100, 0))) == 5050
    router.signal(signal.SIGTERM)
    assert router.wait() == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["router", "--listen", "tcp/0.0.0.0:0"], "so it takes a secret"),
        (["router", "--listen", "tcp/0.0.0.0:0", "--secret-file", "secret"], "--insecure-plaintext"),
        (["router", "--seeds", "tcp/127.0.0.1:1"], "joining a cluster takes its secret"),
        (["worker", "--no-mesh"], "needs a router"),
        (["worker", "--no-mesh", "--seeds", "tcp/127.0.0.1:1", "--secret-file", "secret"], "there is no router"),
    ],
)
def test_what_is_not_safe_or_makes_no_sense_is_refused(tmp_path: Path, command: list[str], message: str) -> None:
    (tmp_path / "secret").write_text("sesame-5f2c-77\n")
    (tmp_path / "secret").chmod(0o600)
    done = subprocess.run([BNDL, *command], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# A driver with more local workers than are to be in a mesh


def test_a_driver_passes_on_what_its_workers_send_each_other() -> None:
    with bndl.connect(workers=4, config=bndl.Config(mesh_workers=3, lease=LEASE)) as ctx:
        assert ctx.await_workers() == 4
        assert [worker.addresses for worker in ctx.workers] == [()] * 4
        victim = ctx.workers[1]
        run_with_a_loss(ctx, lambda: os.kill(victim.pid, signal.SIGKILL))
        ctx.await_workers(4)


def take(part: bytes) -> int:
    return len(part)


def make_much(_: int) -> bytes:
    return bytes(30_000_000)


def test_a_stopped_worker_does_not_hold_up_what_the_driver_passes_on() -> None:
    """What others have sent to it is stuck in the driver: that must not be taken for silence of those who sent it."""
    with bndl.connect(workers=4, concurrency=2, config=bndl.Config(mesh_workers=3, lease=LEASE)) as ctx:
        assert ctx.await_workers() == 4
        others = ctx.workers[1:]
        victim = ctx.workers[0]
        job = bndl.Job("shuffle", attempts=3)
        parts = job.stage(make_much, range(12))
        job.stage(
            take,
            [result for result in parts.results for _ in range(8)],
            locality=lambda workers: [(worker, 1) for worker in workers],
        )
        tasks = ctx.execute(job, ordered=False)
        for _ in range(14):
            next(tasks)
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            rest = list(tasks)
            wait_until(lambda: not victim.is_connected)
            assert {task.result for task in rest if task.stage is not None and task.name.startswith("take")} == {
                30_000_000
            }
            assert all(worker.is_connected for worker in others)
        finally:
            os.kill(victim.pid, signal.SIGCONT)
