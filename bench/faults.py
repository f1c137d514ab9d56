"""Jobs with kept results on four machines, one of which is stopped, killed or cut off: what that costs.

Each machine is a network namespace with one worker process of two slots; the driver is on a fifth. So it takes Linux
and root. Each seed makes a cluster, in which five jobs run one after the other: one without a fault, one with each
fault, and one more without. The seed chooses the worker, when it happens, and for how long a worker is stopped or cut
off, which is between half a lease and three leases; a killed one is started again by its `bndl worker`. Tasks sleep, so
several clusters may share a machine (``--parallel``); what they burn is small.

A job has six stages. Each task takes four results of the stage before, from all over it, and its result is kept where
it was made. So a worker that is gone takes a quarter of all results with it, and those that are still needed are made
again, stage after stage.

Checked of each job: the last results are what they have to be, and an accumulator has counted each task once, whatever
was executed how often.

Time lost is what a job took, less what can be expected of it: ::

    expected = undisturbed + (slots that were gone * seconds + task seconds that had to be spent again) / slots

where ``undisturbed`` is the faster of the two jobs of the same seed without a fault (what the slower one took more is
shown as lost without a fault: the noise of the machine), slots are gone from when the driver notices until it has a
worker again in that place, and what had to be spent again are the results that were made again and the attempts that
ended with their worker. So the silence before the driver notices is lost in full, and so is all time in which
slots have nothing to do although there is work. The limit is one lease and one second.

Machines that are shared stand still at times. A thread that does nothing but sleep for moments tells how much too late
it woke in each job; that is shown, and taken off nothing.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table
from spread import spread

from bndl.cli.cluster import init_cluster

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.faults.hosts import Hosts, Program, why_not

FAULTS = ("stopped", "killed", "cut off")
MACHINES = 4
SLOTS = 2
STAGES = 6
TASK_SECONDS = 0.1
#: Seconds over the lease that may be lost.
MARGIN = 1.0

DRIVER = """
import collections, operator, threading, time, bndl

def work(item):
    time.sleep(TASK_SECONDS)
    value, inputs = item
    done.add(collections.Counter([(bndl.current_task().stage, bndl.current_task().index)]))
    return (value + sum(inputs)) % 1_000_003

def run(seconds):
    width = max(round(seconds * SLOTS / (STAGES * TASK_SECONDS)), 8)
    job = bndl.Job("faults")
    before = job.stage(work, [(index, ()) for index in range(width)])
    values = list(range(width))
    for _ in range(STAGES - 1):
        picks = [[(index * factor + factor) % width for factor in (1, 3, 7, 11)] for index in range(width)]
        results = before.results
        before = job.stage(work, [(index, [results[each] for each in pick]) for index, pick in enumerate(picks)])
        values = [(index + sum(values[each] for each in pick)) % 1_000_003 for index, pick in enumerate(picks)]
    count = ctx.worker_count
    away, over = [], threading.Event()

    def look():
        last = time.monotonic()
        while not over.wait(0.01):
            now = time.monotonic()
            away.append(max(count - ctx.worker_count, 0) * (now - last))
            last = now

    say("begins")
    watcher = threading.Thread(target=look)
    watcher.start()
    start = time.monotonic()
    gaps, last = [], start
    for task in ctx.execute(job, ordered=False):
        now = time.monotonic()
        if now - last > 0.5:
            gaps.append([round(last - start, 2), round(now - last, 2), task.name, task.attempts[-1].worker])
        last = now
    took = time.monotonic() - start
    over.set()
    watcher.join()
    counts = collections.Counter(done.value)
    done.add(collections.Counter({key: -number for key, number in counts.items()}))
    stages = job.report().stages
    say("took", {
        "seconds": took,
        "right": [task.result for task in before.tasks] == values,
        "once": set(counts.values()) == {1} and len(counts) == STAGES * width,
        "away": sum(away),
        "again": sum(stage.made_again for stage in stages),
        "lost": sum(stage.lost for stage in stages),
        "missing": sum(stage.inputs_missing for stage in stages),
        "notes": job.report().notes,
        "gaps": gaps,
        "stages": [round(stage.wall_seconds, 2) for stage in stages],
    })

ctx = bndl.connect(seeds=[SEED])
ctx.await_workers(MACHINES)
ctx.await_workers()
done = ctx.accumulator(collections.Counter(), operator.add)
say("names", [(worker.name, worker.pid, worker.addresses) for worker in ctx.workers])
while (line := hear()):
    if line == "workers":
        ctx.await_workers(MACHINES)
        ctx.await_workers()
        say("names", [(worker.name, worker.pid, worker.addresses) for worker in ctx.workers])
    else:
        run(float(line))
ctx.stop()
"""


class Outcome(NamedTuple):
    """What became of a job with a fault."""

    seed: int
    fault: str
    #: Seconds: of the job, and without a fault; that can be expected; that were lost.
    took: float
    undisturbed: float
    expected: float
    lost: float
    #: Whether the results were right, and each task counted once.
    is_right: bool
    facts: dict[str, object]


class Alarm(threading.Thread):
    """Sleeps for moments, and notes when it wakes too late: nothing on this machine did any work then."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late: list[tuple[float, float]] = []

    def run(self) -> None:
        """Sleep and note, for good."""
        while True:
            began = time.monotonic()
            time.sleep(0.02)
            late = time.monotonic() - began - 0.02
            if late > 0.05:  # noqa: PLR2004 - more than what threads have to wait for each other
                self._late.append((began, late))

    def late_since(self, when: float) -> float:
        """By how many seconds in all it woke too late since a moment."""
        return sum(late for began, late in self._late if began >= when)


class Cluster:
    """Four machines with a worker each, and a driver on a fifth."""

    def __init__(self, folder: Path, lease: float) -> None:
        init_cluster(folder / "cluster", ["node"], 1)
        variables = {"BNDL_LEASE": str(lease), "BNDL_CREDENTIALS": str(folder / "cluster" / "node")}
        self.hosts = Hosts(MACHINES + 1, folder, variables)
        self._driver: Program

    def start(self) -> None:
        """Let all find each other."""
        seed = f"tls/{self.hosts.address(1)}:5000"
        for number in range(1, MACHINES + 1):
            seeds = () if number == 1 else ("--seeds", seed)
            self.hosts.run_worker(number, *seeds, "--concurrency", str(SLOTS))
        facts = (
            f"SEED = {seed!r}\nMACHINES = {MACHINES}\nSLOTS = {MACHINES * SLOTS}\nSTAGES = {STAGES}\n"
            f"TASK_SECONDS = {TASK_SECONDS}\n"
        )
        self._driver = self.hosts.run_python(MACHINES + 1, facts + DRIVER)
        self._driver.wait_said("names")

    def pids(self) -> dict[int, int]:
        """The worker's process on each machine, when all are there."""
        self._driver.tell("workers")
        names = self._driver.wait_said("names", 90.0)
        return {int(addresses[0].split("/")[1].split(":")[0].split(".")[-1]): pid for _, pid, addresses in names}

    def begin(self, seconds: float) -> None:
        """Begin a job."""
        self._driver.tell(str(seconds))
        self._driver.wait_said("begins")

    def end(self, seconds: float) -> dict[str, object]:
        """What became of it."""
        facts: dict[str, object] = self._driver.wait_said("took", 10 * seconds + 120.0)
        return facts


def strike(cluster: Cluster, fault: str, machine: int, pid: int, seconds: float) -> None:
    """Do it, and undo it after some seconds."""
    if fault == "killed":
        os.kill(pid, signal.SIGKILL)
    elif fault == "stopped":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
    else:
        cluster.hosts.cut_off(machine)
        time.sleep(seconds)
        cluster.hosts.plug_in(machine)


def number(facts: dict[str, object], name: str) -> float:
    """A figure of a job."""
    value = facts[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}")
    return float(value)


def judge(seed: int, fault: str, facts: dict[str, object], undisturbed: float) -> Outcome:
    """How much time was lost: see the top of this file."""
    spent_again = (number(facts, "again") + number(facts, "lost")) * TASK_SECONDS
    expected = undisturbed + (SLOTS * number(facts, "away") + spent_again) / (MACHINES * SLOTS)
    took = number(facts, "seconds")
    is_right = facts["right"] is True and facts["once"] is True
    return Outcome(seed, fault, took, undisturbed, expected, took - expected, is_right, facts)


def run_calm(cluster: Cluster, seconds: float, alarm: Alarm) -> dict[str, object]:
    """A job without a fault."""
    began = time.monotonic()
    cluster.begin(seconds)
    return cluster.end(seconds) | {"stood still": round(alarm.late_since(began), 2)}


def run_seed(seed: int, seconds: float, lease: float, alarm: Alarm) -> list[Outcome]:
    """All jobs of a seed."""
    generator = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    with tempfile.TemporaryDirectory(prefix="bndl-faults-") as folder:
        cluster = Cluster(Path(folder), lease)
        try:
            cluster.start()
            run_calm(cluster, 1.0, alarm)  # it is not the first job whose time is taken
            jobs = [("none", run_calm(cluster, seconds, alarm))]
            for fault in generator.sample(FAULTS, len(FAULTS)):
                pids = cluster.pids()
                machine = generator.randint(1, MACHINES)
                when, duration = generator.uniform(0.05, 0.9) * seconds, generator.uniform(0.5, 3.0) * lease
                began = time.monotonic()
                cluster.begin(seconds)
                time.sleep(when)
                args = (cluster, fault, machine, pids[machine], duration)
                striker = threading.Thread(target=strike, args=args)
                striker.start()
                facts = cluster.end(seconds) | {"stood still": round(alarm.late_since(began), 2)}
                facts |= {"machine": machine, "when": round(when, 2), "for": round(duration, 2)}
                jobs.append((fault, facts))
                striker.join()
            cluster.pids()
            jobs.append(("none", run_calm(cluster, seconds, alarm)))
        finally:
            cluster.hosts.close()
    undisturbed = min(number(facts, "seconds") for fault, facts in jobs if fault == "none")
    return [judge(seed, fault, facts, undisturbed) for fault, facts in jobs]


def show(outcomes: list[Outcome], lease: float) -> bool:
    """Print a table. Returns whether all is as it should be."""
    limit = lease + MARGIN
    table = Table(title=f"time lost with a lease of {lease:g} s; the limit is {limit:g} s")
    for heading in (
        "fault",
        "jobs",
        "right",
        "undisturbed s",
        "took s",
        "lost s: median (least to greatest)",
        "over",
        "still s",
    ):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for fault in ("none", *FAULTS):
        some = [each for each in outcomes if each.fault == fault]
        if not some:
            continue
        lost = [each.lost for each in some]
        table.add_row(
            fault,
            str(len(some)),
            str(sum(each.is_right for each in some)),
            f"{statistics.median(each.undisturbed for each in some):.1f}",
            f"{statistics.median(each.took for each in some):.1f}",
            spread(lost, ".2f"),
            str(sum(each >= limit for each in lost)),
            f"{max(number(each.facts, 'stood still') for each in some):.1f}",
        )
    Console(width=110).print(table)
    return all(each.is_right and each.lost < limit for each in outcomes)


def main(
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 3,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    seconds: Annotated[float, typer.Option(help="How long a job takes without a fault.")] = 60.0,
    lease: Annotated[float, typer.Option(help="After how many seconds of silence a worker is lost.")] = 5.0,
    parallel: Annotated[int, typer.Option(help="How many clusters at the same time.")] = 1,
) -> None:
    """Measure and print a table; each job with its facts as it ends."""
    if reason := why_not():
        raise SystemExit(f"this cannot be run here: {reason}")
    outcomes: list[Outcome] = []
    alarm = Alarm()
    alarm.start()
    with ThreadPoolExecutor(parallel) as pool:
        for each in pool.map(lambda seed: run_seed(seed, seconds, lease, alarm), range(first, first + seeds)):
            outcomes += each
            for one in each:
                print(f"seed {one.seed}, {one.fault}: lost {one.lost:.2f} s of {one.took:.2f}, {one.facts}", flush=True)
    if not show(outcomes, lease):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
