"""How many decisions the scheduler takes per second, alone, on one core: no worker, no network, no thread.

Simulated workers finish what they are given in batches, as real ones do. A decision is the launch of an attempt or the
settling of a task, so each task makes two.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from spread import spread

from bndl.net.messages import Result
from bndl.schedule import Scheduler
from bndl.schedule.events import AttemptsFinished, JobSpec, JobSubmitted, StageSpec, WorkerJoined
from bndl.schedule.instructions import Instruction, Launch, Settle

_SUCCEEDED = 0
#: Attempts that take so many seconds or more are reported one by one.
_LONG = 0.1


class Cluster:
    """Workers that do nothing, and the events that come of it.

    Args:
        workers: how many.
        concurrency: slots of each.
        seconds: what each attempt is said to take.
    """

    def __init__(self, workers: int, concurrency: int, seconds: float) -> None:
        self.scheduler = Scheduler()
        self.decisions = 0
        self.reports = 0
        self._seconds = seconds
        self._launched: deque[Launch] = deque()
        self._now = 0.0
        for number in range(workers):
            self._follow(self.scheduler.handle(WorkerJoined(f"worker-{number}", concurrency), self._now))

    def run(self, job: JobSpec) -> float:
        """Execute a job; returns how many seconds the scheduler took."""
        began = time.perf_counter()
        self._follow(self.scheduler.handle(JobSubmitted(job), self._now))
        spent = time.perf_counter() - began
        seconds = self._seconds
        kept = {stage.stage: stage.kept for stage in job.stages}
        while self._launched:
            launch = self._launched.popleft()
            stored = kept[launch.stage]
            if seconds >= _LONG and len(launch.attempts) > 1:  # such tasks do not end together
                self._launched.extend(Launch(launch.worker, launch.stage, (each,)) for each in launch.attempts)
                continue
            # Made outside of what is timed: it is the worker's and the network's work.
            results = [
                Result(each.task, each.number, _SUCCEEDED, seconds, b"", stored, 100) for each in launch.attempts
            ]
            self.reports += 1
            event = AttemptsFinished(launch.worker, results)
            self._now += 1e-5
            began = time.perf_counter()
            instructions = self.scheduler.handle(event, self._now)
            spent += time.perf_counter() - began
            self._follow(instructions)
        if self.scheduler.jobs:
            raise SystemExit("the job did not end")
        return spent

    def _follow(self, instructions: object) -> None:
        for instruction in instructions:  # type: ignore[attr-defined]
            self._take(instruction)

    def _take(self, instruction: Instruction) -> None:
        if isinstance(instruction, Launch):
            self.decisions += len(instruction.attempts)
            self._launched.append(instruction)
        elif isinstance(instruction, Settle):
            self.decisions += len(instruction.tasks)


def make_job(tasks: int, stages: int, *, linked: bool) -> JobSpec:
    """A job of stages of equal size; ``linked``: each task needs the result of one task of the stage before."""
    size = tasks // stages
    specs = []
    for position in range(stages):
        first = (position + 1) << 32
        inputs = {}
        if linked and position:
            before = position << 32
            inputs = {first + index: (range(before + index, before + index + 1),) for index in range(size)}
        kept = linked and position < stages - 1
        specs.append(StageSpec(position + 1, range(first, first + size), inputs, kept=kept))
    return JobSpec(1, tuple(specs))


def main(
    tasks: Annotated[int, typer.Option(help="How many tasks.")] = 1_000_000,
    stages: Annotated[int, typer.Option(help="In how many stages.")] = 10,
    workers: Annotated[int, typer.Option(help="How many simulated workers.")] = 1000,
    concurrency: Annotated[int, typer.Option(help="Slots of each.")] = 4,
    rounds: Annotated[int, typer.Option(help="How often each is measured.")] = 3,
) -> None:
    """Measure and print a table."""
    table = Table(title=f"{tasks:,} tasks in {stages} stages, {workers:,} simulated workers with {concurrency} slots")
    table.add_column("")
    table.add_column("decisions/s: median (least to greatest)", justify="right")
    table.add_column("tasks in a report", justify="right")
    cases = (
        ("tasks of 1 ms", 0.001, False),
        ("tasks of 1 s, reported one by one", 1.0, False),
        ("tasks of 1 ms, each with an input", 0.001, True),
    )
    for title, seconds, linked in cases:
        rates = []
        batch = 0.0
        for _ in range(rounds):
            cluster = Cluster(workers, concurrency, seconds)
            job = make_job(tasks, stages, linked=linked)
            spent = cluster.run(job)
            rates.append(cluster.decisions / spent)
            batch = tasks / cluster.reports
        table.add_row(title, spread(rates, ",.0f"), f"{batch:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
