"""A cluster over several machines, whose connections are cut and healed while a job runs."""

from __future__ import annotations

import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bndl.cli.cluster import init_cluster
from tests.faults.hosts import Hosts, Program, why_not

LEASE = 2.0
#: Seconds that anything may take on a busy machine.
PATIENCE = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "they can be made"),
    pytest.mark.timeout(240),
]

#: A driver that runs a job of three stages, each of which needs all that was kept of the one before, again and again.
DRIVER = """
import threading, time, bndl

def square(number):
    time.sleep(0.05)
    return number * number

def add(values):
    time.sleep(0.02)
    return sum(values)

ctx = bndl.connect(seeds=[SEED], credentials=CREDENTIALS)
say("workers", [ctx.await_workers(WORKERS), ctx.await_workers()])
told = threading.Event()
threading.Thread(target=lambda: (hear(), told.set()), daemon=True).start()
rounds = []
say("started")
while not told.is_set():
    start = time.monotonic()
    job = bndl.Job("squares", attempts=1)
    squares = job.stage(square, range(40))
    pairs = job.stage(add, [[squares.results[each], squares.results[(7 * each + 3) % 40]] for each in range(40)])
    sums = job.stage(add, pairs.split(8))
    seen = [(task.name, task.outcome) for task in ctx.execute(job, ordered=False)]
    assert len(seen) == len(dict(seen)) == 88, seen
    rounds.append(sum(task.result for task in job.stages[-1].tasks))
    say("round", [time.monotonic() - start, ctx.worker_count])
assert set(rounds) == {2 * sum(number * number for number in range(40))}, rounds
say("done")
ctx.await_workers(WORKERS, stable_timeout=30.0)
say("again", ctx.await_workers(stable_timeout=30.0))
say("names", [worker.name for worker in ctx.workers])
ctx.stop()
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    init_cluster(tmp_path / "cluster", ["node"], 1)
    variables = {"BNDL_LEASE": str(LEASE), "BNDL_CREDENTIALS": str(tmp_path / "cluster" / "node")}
    hosts = Hosts(4, tmp_path, variables)
    try:
        yield hosts
    finally:
        hosts.close()


def seed(hosts: Hosts, number: int) -> str:
    return f"tls/{hosts.address(number)}:5000"


def run_driver(hosts: Hosts, through: int, workers: int) -> Program:
    facts = f"SEED = {seed(hosts, through)!r}\nWORKERS = {workers}\nCREDENTIALS = None\n"
    driver = hosts.run_python(4, facts + DRIVER)
    assert driver.wait_said("workers") == [workers, workers]
    driver.wait_said("started")
    hear_rounds(driver, 1)
    return driver


def hear_rounds(driver: Program, count: int) -> list[float]:
    """How long the next jobs took."""
    return [driver.wait_said("round")[0] for _ in range(count)]


def hear_until(driver: Program, workers: int) -> list[float]:
    """How long jobs took, up to the first at whose end so many workers are there."""
    durations = []
    end = time.monotonic() + PATIENCE
    while True:
        seconds, count = driver.wait_said("round")
        durations.append(seconds)
        if count == workers:
            return durations
        assert time.monotonic() < end, driver.output


def finish(driver: Program, workers: int) -> None:
    """Let the driver end, with all workers there."""
    hear_rounds(driver, 1)
    driver.tell("that is enough")
    driver.wait_said("done")
    assert driver.wait_said("again", PATIENCE) == workers, driver.output
    assert driver.wait() == 0, driver.output


def test_nodes_join_through_any_seed_and_the_seed_may_die(hosts: Hosts) -> None:
    first = hosts.run_worker(1, workers=2)
    hosts.run_worker(2, "--seeds", seed(hosts, 1), workers=2)
    driver = run_driver(hosts, 1, 4)
    first.signal(signal.SIGKILL)
    hear_until(driver, 2)
    hosts.run_worker(3, "--seeds", seed(hosts, 2), workers=2)  # the driver hears of it, although its own seed is dead
    finish(driver, 4)


def test_a_machine_is_cut_off_and_comes_back_while_jobs_run(hosts: Hosts) -> None:
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    hosts.run_worker(3, "--seeds", seed(hosts, 1))
    driver = run_driver(hosts, 1, 3)
    usual = statistics.median(hear_rounds(driver, 5))
    lost: list[float] = []
    for _ in range(3):
        hosts.cut_off(3)
        durations = hear_until(driver, 2) + hear_rounds(driver, 2)
        hosts.plug_in(3)
        durations += hear_until(driver, 3)
        # One job waited for the lease, made again what was kept there, and had two of three workers for the rest.
        lost.append(max(durations) - 1.5 * usual)
    finish(driver, 3)
    assert max(lost) < LEASE + 1.0, lost


def test_a_machine_is_cut_off_for_less_than_the_lease(hosts: Hosts) -> None:
    """Connections between workers may be given up after the end of the cut: what was lost is sent again late."""
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    hosts.run_worker(3, "--seeds", seed(hosts, 1))
    driver = run_driver(hosts, 1, 3)
    usual = statistics.median(hear_rounds(driver, 5))
    lost = []
    for _ in range(3):
        hosts.cut_off(3)
        time.sleep(0.83 * LEASE)
        hosts.plug_in(3)
        end = time.monotonic() + 2 * LEASE
        while time.monotonic() < end:
            lost.append(hear_rounds(driver, 1)[0] - 1.5 * usual)
        hear_until(driver, 3)
    finish(driver, 3)
    assert max(lost) < LEASE + 1.0, lost


def test_the_machine_of_the_seed_is_cut_off_and_comes_back(hosts: Hosts) -> None:
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    hosts.run_worker(3, "--seeds", seed(hosts, 2))
    driver = run_driver(hosts, 3, 3)
    hosts.cut_off(1)
    hear_until(driver, 2)
    hear_rounds(driver, 2)
    hosts.plug_in(1)
    hear_until(driver, 3)
    finish(driver, 3)


def test_two_workers_do_not_hear_each_other_and_their_driver_hears_both(hosts: Hosts) -> None:
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    hosts.run_worker(3, "--seeds", seed(hosts, 1))
    driver = run_driver(hosts, 1, 3)
    hosts.cut_way(2, 3)
    hosts.cut_way(3, 2)
    time.sleep(LEASE + 3.0)
    hosts.heal_way(2, 3)
    hosts.heal_way(3, 2)
    finish(driver, 3)


@pytest.mark.parametrize("deaf", ["worker", "driver"])
def test_one_side_does_not_hear_the_other(hosts: Hosts, deaf: str) -> None:
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    driver = run_driver(hosts, 1, 2)
    way = (4, 2) if deaf == "worker" else (2, 4)
    hosts.cut_way(*way)
    time.sleep(LEASE + 3.0)
    hosts.heal_way(*way)
    finish(driver, 2)


#: A driver of two workers, one of which is behind a slow link.
SLOW = """
import os, threading, time, bndl

def keep(number):
    return bytes([number]) * 250_000

def measure(parts):
    return sum(map(len, parts))

ctx = bndl.connect(seeds=[SEED])
ctx.await_workers(2)
workers = ctx.workers
job = bndl.Job("large")
parts = job.stage(keep, range(8), locality=lambda them: [(them[index % 2], 1) for index in range(2)])
sums = job.stage(measure, [parts.results] * 4)
start = time.monotonic()
running = threading.Thread(target=lambda: ctx.run(job))
running.start()
waits = []
while running.is_alive():
    began = time.monotonic()
    for worker in workers:
        worker.execute(os.getpid).result(30)
    waits.append(time.monotonic() - began)
    time.sleep(0.1)
say("took", time.monotonic() - start)
say("waits", waits)
say("results", [task.result for task in sums.tasks])
say("places", len({task.worker for task in parts.tasks}))
say("connected", [worker.is_connected for worker in workers])
ctx.stop()
"""


def test_large_results_on_a_slow_link_hold_up_no_questions_and_nobody_is_lost(hosts: Hosts) -> None:
    try:
        hosts.slow_down(2, "4mbit")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"links cannot be slow here: {error.stderr.decode().strip()}")
    hosts.run_worker(1)
    hosts.run_worker(2, "--seeds", seed(hosts, 1))
    driver = hosts.run_python(4, f"SEED = {seed(hosts, 1)!r}\n" + SLOW)
    assert driver.wait_said("took", PATIENCE) > LEASE
    assert max(driver.wait_said("waits")) < LEASE
    assert driver.wait_said("results") == [8 * 250_000] * 4
    assert driver.wait_said("places") == 2
    assert driver.wait_said("connected") == [True, True]
    assert driver.wait() == 0, driver.output


def test_workers_that_are_told_to_leave_end_in_order(hosts: Hosts) -> None:
    host = hosts.run_worker(1, workers=2)
    host.signal(signal.SIGTERM)
    host.wait_line("leaving")
    assert host.wait() == 0
