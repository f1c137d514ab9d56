"""Workers on a Ray cluster of several nodes on this machine."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import bndl
from bndl.cli.demo import make_job
from bndl.deploy.joining import Joining, make_fresh
from bndl.errors import InvalidOption

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'bndl[ray]'")
    cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Of Ray: sockets and files that it leaves to the garbage collector, and what it deprecates itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TIMEOUT = 60.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def wait_for(what: str, condition: Any) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.05)


def free_cores() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def node_of_ray() -> str:
    (actor,) = [each for each in psutil.Process().parents() if "ray::" in " ".join(each.cmdline())]
    return str(actor.pid)


def test_workers_run_on_ray_are_spread_and_are_given_back(engine: Any) -> None:
    wait_for("three free cores", lambda: free_cores() == 3)
    with bndl.connect(deploy=bndl.deploy.RayWorkers(3)) as ctx:
        assert ctx.await_workers(3, stable_timeout=TIMEOUT) == 3
        assert ctx.await_workers() == 3
        assert all(address.startswith("tls/") for worker in ctx.workers for address in worker.addresses)
        assert len({worker.execute(node_of_ray).result(TIMEOUT) for worker in ctx.workers}) == 3
        # Ray sets PYTHONHASHSEED in the environment of its actors.
        assert {worker.execute(os.getenv, "PYTHONHASHSEED").result(TIMEOUT) for worker in ctx.workers} != {"0"}
        assert len({worker.execute(hash, "word").result(TIMEOUT) for worker in ctx.workers}) == 1
        wait_for("no free core", lambda: free_cores() == 0)
        processes = [psutil.Process(worker.pid) for worker in ctx.workers]
    wait_for("three free cores", lambda: free_cores() == 3)
    _, alive = psutil.wait_procs(processes, TIMEOUT)
    assert alive == []
    assert len(engine.list_all_nodes()) == 3


@pytest.mark.usefixtures("engine")
def test_there_can_be_more_and_fewer_workers_while_it_runs() -> None:
    workers = bndl.deploy.RayWorkers(1)
    with bndl.connect(deploy=workers) as ctx:
        ctx.await_workers(1, stable_timeout=TIMEOUT)
        results = ctx.map(slow_square, range(400))
        assert next(results) == 0
        workers.scale(3)
        assert ctx.await_workers(3, stable_timeout=TIMEOUT) == 3
        workers.scale(1)
        wait_for("one worker", lambda: ctx.worker_count == 1)
        wait_for("two free cores", lambda: free_cores() == 2)
        assert list(results) == [number * number for number in range(1, 400)]


@pytest.mark.usefixtures("engine")
def test_why_a_worker_does_not_start_is_told(caplog: pytest.LogCaptureFixture) -> None:
    workers = bndl.deploy.RayWorkers(1)
    try:
        workers.find_address(is_safe=True)
        workers.launch(Joining("a/b", ("tls/127.0.0.1:5000",), make_fresh(), bndl.Config()))
        wait_for("the reason", lambda: "a worker on Ray does not run" in caplog.text)
        assert "'a/b' cannot name a cluster" in caplog.text
    finally:
        workers.end()


def slow_square(number: int) -> int:
    time.sleep(0.03)
    return number * number


def test_the_census_is_the_same_with_a_node_of_ray_removed_halfway(
    engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    files = [module.__file__ for module in (logging, psutil, pytest, bndl) if module.__file__] * 100
    with bndl.connect(workers=2) as ctx:
        expected = ctx.run(make_job(files, parts=8, top=10))
    node = engine.add_node(num_cpus=2)
    with bndl.connect(deploy=bndl.deploy.RayWorkers(5)) as ctx:
        ctx.await_workers(5, stable_timeout=TIMEOUT)
        job = make_job(files, parts=8, top=10)
        tasks = ctx.execute(job)
        for _ in range(100):
            next(tasks)
        engine.remove_node(node)
        for _ in tasks:
            pass
        assert "on Ray" not in caplog.text  # it starts them elsewhere
        assert [task.result for task in job.stages[-1].tasks] == expected


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 1, "cores": -1.0}])
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        bndl.deploy.RayWorkers(**options)
