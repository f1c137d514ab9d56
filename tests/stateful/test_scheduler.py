"""Anything may happen to the scheduler, in any order, and it does what the model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bndl.schedule import Scheduler, events, invariants
from bndl.schedule.events import Kind
from bndl.schedule.instructions import WakeAt
from tests.stateful.checks import TINY, check_idle_slots, check_states, follow, waits_for_time
from tests.stateful.facts import Worker
from tests.stateful.model import Model
from tests.stateful.strategies import BITS, Ending, JobPlan, endings, jobs, scores, workers
from tests.stateful.world import World
from tests.unit.scheduling import Ended

#: How many jobs there are at the same time.
JOBS = 3


class Cluster(RuleBasedStateMachine):
    """Workers that do as they like, and a driver that tells the scheduler all that it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.be_limited(0)
        self.now = 0.0
        #: When the scheduler wants to be woken.
        self.alarm: float | None = None
        #: The next number for a stage or a job.
        self.next = 1
        #: The steps at which something went wrong, and how many there were so far.
        self.troubles: list[int] = []
        self.steps = 0
        #: Attempts that are over or were given up, as (worker, task, number): they may still be heard of.
        self.past: list[tuple[str, int, int]] = []
        self.is_broken = False

    def be_limited(self, concurrency: int) -> None:
        """So much may be under way, of all jobs together."""
        self.scheduler = Scheduler(concurrency=concurrency)
        self.world = World(concurrency)
        self.model = Model(self.world)

    def handle(self, event: events.Event) -> None:
        """The one way in. Everything is checked here."""
        self.is_broken = True
        self.steps += 1
        before = self.under_way()
        foreseen = self.model.foresee(event, self.now)
        instructions = self.scheduler.handle(event, self.now)
        invariants.check(self.scheduler)
        follow(self.world, foreseen, instructions)
        check_states(self.world, self.scheduler)
        check_idle_slots(self.world)
        for each in instructions:
            if isinstance(each, WakeAt):
                self.alarm = each.when
        for reason, when in waits_for_time(self.world):
            assert self.alarm is not None, f"nothing will happen: {reason}"
            assert self.alarm <= when + TINY, f"too late: {reason}"
        self.past += sorted(before - self.under_way())
        self.is_broken = False

    def under_way(self) -> set[tuple[str, int, int]]:
        return {(worker.name, *key) for worker in self.world.workers.values() for key in worker.held}

    def pass_time(self, seconds: float) -> None:
        """Wake the scheduler whenever it wants to be woken."""
        end = self.now + seconds
        woken = 0
        while self.alarm is not None and self.alarm <= end:
            woken += 1
            assert woken < 50, "the scheduler does not sleep"
            self.now = max(self.now, self.alarm)
            self.alarm = None
            self.handle(events.TimeReached())
        self.now = end

    @precondition(lambda self: self.alarm is not None)
    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1]))
    def be_late(self, seconds: float) -> None:
        """The time has come that the scheduler asked for, but something else comes first."""
        assert self.alarm is not None
        self.now = max(self.now, self.alarm) + seconds

    # What the user does

    @initialize(job=jobs, worker=workers, concurrency=st.integers(1, 3), limit=st.sampled_from([0, 0, 0, 4]))
    def begin(self, job: JobPlan, worker: str, concurrency: int, limit: int) -> None:
        self.be_limited(limit)
        self.submit(job)
        self.join(worker, concurrency)

    @precondition(lambda self: len(self.world.jobs) < JOBS)
    @rule(job=jobs)
    def submit(self, job: JobPlan) -> None:
        self.handle(events.JobSubmitted(job.number(self.next)))
        self.next += len(job.stages) + 1

    @precondition(lambda self: self.world.jobs and self.is_calm(15))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.troubles.append(self.steps)
        self.handle(events.JobCancelled(data.draw(st.sampled_from(sorted(self.world.jobs)), "job"), "not wanted"))

    @precondition(lambda self: self.world.tasks and self.is_calm(5))
    @rule(data=st.data())
    def cancel_tasks(self, data: st.DataObject) -> None:
        some = st.lists(st.sampled_from(sorted(self.world.tasks)), min_size=1, max_size=3)
        self.handle(events.TasksCancelled(data.draw(some, "tasks"), "not wanted"))

    @precondition(lambda self: self.world.jobs)
    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        job = self.world.jobs[data.draw(st.sampled_from(sorted(self.world.jobs)), "job")]
        event = events.JobResumed if job.is_paused else events.JobPaused
        self.handle(event(job.spec.job))

    @precondition(lambda self: any(job.spec.independent for job in self.world.jobs.values()))
    @rule(data=st.data(), scores=scores)
    def score_places(self, data: st.DataObject, scores: Mapping[str, int]) -> None:
        """Of a job that goes on when tasks fail: which one of those would end a job is not foreseen."""
        stages = sorted(number for number, stage in self.world.stages.items() if stage.job.spec.independent)
        self.handle(events.PlacesScored(data.draw(st.sampled_from(stages), "stage"), scores))

    def growing(self) -> list[int]:
        return sorted(number for number, stage in self.world.stages.items() if stage.is_growing)

    @precondition(lambda self: self.growing())
    @rule(data=st.data(), tasks=st.integers(1, 4))
    def add_tasks(self, data: st.DataObject, tasks: int) -> None:
        stage = self.world.stages[data.draw(st.sampled_from(self.growing()), "stage")]
        first = (stage.spec.stage << BITS) + stage.size
        self.handle(events.TasksAdded(stage.spec.stage, range(first, first + tasks)))

    @precondition(lambda self: self.growing())
    @rule(data=st.data())
    def close_stage(self, data: st.DataObject) -> None:
        self.handle(events.StageClosed(data.draw(st.sampled_from(self.growing()), "stage")))

    # What happens to the cluster

    def is_calm(self, steps: int) -> bool:
        """Whether nothing bad has happened for so many steps: or nothing good would happen in between."""
        return not self.troubles or self.steps - self.troubles[-1] > steps

    @rule(worker=workers, concurrency=st.integers(1, 3))
    def join(self, worker: str, concurrency: int) -> None:
        """A worker joins, or joins anew without anybody having noticed that it was gone."""
        if worker in self.world.workers:
            if not self.is_calm(5):
                return
            self.troubles.append(self.steps)
        self.handle(events.WorkerJoined(worker, concurrency))

    @precondition(lambda self: self.world.workers and self.is_calm(3))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.troubles.append(self.steps)
        worker = self.some(data, lambda _: True)
        executing = data.draw(st.sampled_from([None, (), worker.executing]), "executing")
        self.handle(events.WorkerLost(worker.name, "gone", None if executing is None else tuple(executing)))

    @rule(seconds=st.sampled_from([0.001, 0.05, 3.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    # What workers and the driver tell

    def some(self, data: st.DataObject, condition: Callable[[Worker], object]) -> Worker:
        names = sorted(name for name, worker in self.world.workers.items() if condition(worker))
        return self.world.workers[data.draw(st.sampled_from(names), "worker")]

    def outcome(self, worker: Worker, key: tuple[int, int], ending: Ending) -> Ended:
        """How an attempt of a worker ends."""
        held = worker.held[key]
        kind = ending.kind
        if kind == Kind.INPUTS_MISSING and not held.sources:
            kind = Kind.SUCCEEDED
        stage = self.world.stages.get(key[0] >> BITS)
        stored = kind == Kind.SUCCEEDED and ((stage is not None and stage.spec.kept) or ending.stored)
        missing = held.sources[: ending.missing] if kind == Kind.INPUTS_MISSING else []
        return Ended(*key, kind, ending.seconds, stored=stored, missing=missing, size=ending.size)

    def report(self, worker: Worker, ended: Mapping[tuple[int, int], Ending]) -> None:
        """A worker tells how attempts ended."""
        outcomes = [self.outcome(worker, key, ending) for key, ending in ended.items()]
        hopeless = [number for (number, _), ending in ended.items() if ending.hopeless]
        self.handle(events.AttemptsFinished(worker.name, outcomes, hopeless))

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), turns=st.lists(st.tuples(st.integers(0, 2), endings), min_size=1, max_size=8))
    def work(self, data: st.DataObject, turns: list[tuple[int, Ending]]) -> None:
        """A worker ends what it executes, one attempt after the other, and the others do nothing."""
        worker = self.some(data, lambda worker: worker.held)
        for index, ending in turns:
            if worker.held:
                key = worker.executing[index % len(worker.executing)]
                self.report(worker, {key: ending})

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), ended=st.lists(st.tuples(st.integers(0, 9), endings), min_size=2, max_size=6))
    def work_at_once(self, data: st.DataObject, ended: list[tuple[int, Ending]]) -> None:
        """One message has how several attempts ended, some of which were queued before."""
        worker = self.some(data, lambda worker: worker.held)
        near = list(worker.held)[: worker.concurrency + 3]
        self.report(worker, {near[index % len(near)]: ending for index, ending in ended})

    @precondition(lambda self: sum(bool(worker.held) for worker in self.world.workers.values()) > 1)
    @rule(data=st.data())
    def stall(self, data: st.DataObject) -> None:
        """A worker is silent while the others do all that there is for them."""
        silent = self.some(data, lambda worker: worker.held)
        for _ in range(60):
            busy = [worker for worker in self.world.workers.values() if worker.held and worker is not silent]
            if not busy:
                break
            self.report(busy[0], dict.fromkeys(busy[0].held, Ending(Kind.SUCCEEDED, 0.002)))
        self.pass_time(0.05)

    def asked(self) -> list[Worker]:
        return [worker for worker in self.world.workers.values() if worker.asked is not None]

    @precondition(lambda self: self.asked())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A worker that was asked for attempts gives those back that it has not started."""
        worker = self.some(data, lambda worker: worker.asked is not None)
        not_started = [key for key in worker.asked or () if key in worker.queued]
        returned = data.draw(st.sets(st.sampled_from(not_started)), "attempts") if not_started else set()
        self.handle(events.AttemptsReturned(worker.name, [key for key in not_started if key in returned]))

    @precondition(lambda self: self.past)
    @rule(data=st.data(), kinds=st.lists(st.sampled_from([None, *Kind, Kind.SUCCEEDED]), min_size=1, max_size=4))
    def hear_late(self, data: st.DataObject, kinds: list[Kind | None]) -> None:
        """Attempts are heard of again: how they ended, or that they are given back."""
        attempts = data.draw(st.lists(st.sampled_from(self.past[-30:]), min_size=len(kinds), max_size=len(kinds)))
        for (name, task, number), kind in zip(attempts, kinds, strict=True):
            if kind is None:
                self.handle(events.AttemptsReturned(name, [(task, number)]))
            else:
                outcome = Ended(task, number, kind, stored=kind == Kind.SUCCEEDED)
                self.handle(events.AttemptsFinished(name, [outcome]))

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), worker=workers)
    def claim(self, data: st.DataObject, worker: str) -> None:
        """A worker tells of an attempt that another one has."""
        name, task, number = data.draw(st.sampled_from(sorted(self.under_way())), "attempt")
        if name != worker:
            self.handle(events.AttemptsFinished(worker, [Ended(task, number, stored=True)]))

    def results(self, *, owed: bool) -> list[int]:
        tasks = self.world.tasks.values()
        return sorted(task.number for task in tasks if task.place and not (owed and task.stage.spec.kept))

    @precondition(lambda self: self.results(owed=True))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """The driver has fetched results, and may say so twice."""
        results = st.lists(st.sampled_from(self.results(owed=True)), min_size=1, max_size=4)
        self.handle(events.ResultsDelivered(data.draw(results, "tasks")))

    @precondition(lambda self: self.results(owed=False))
    @rule(data=st.data())
    def lose_results(self, data: st.DataObject) -> None:
        """A worker does not have what it should have, and may say so twice."""
        tasks = data.draw(st.lists(st.sampled_from(self.results(owed=False)), min_size=1, max_size=4), "tasks")
        place = self.world.tasks[tasks[0]].place
        self.handle(events.ResultsLost(place or "", tasks))

    # In the end

    def teardown(self) -> None:
        """From now on all goes well: every job ends."""
        if self.is_broken:
            return
        for stage in self.growing():
            self.handle(events.StageClosed(stage))
        for job in list(self.world.jobs.values()):
            if job.is_paused:
                self.handle(events.JobResumed(job.spec.job))
        if self.world.jobs and not self.world.workers:
            self.handle(events.WorkerJoined("a", 2))
        # Each task once more, each abandoned attempt, and some time.
        steps = 20 + 4 * len(self.world.tasks) + len(self.under_way())
        while self.world.jobs:
            assert steps, "it does not come to an end"
            steps -= 1
            self.go_well()

    def go_well(self) -> None:
        """One thing happens."""
        for worker in self.asked():
            returned = [key for key in worker.asked or () if key in worker.queued]
            self.handle(events.AttemptsReturned(worker.name, returned))
            return
        if results := self.results(owed=True):
            self.handle(events.ResultsDelivered(results))
            return
        for worker in self.world.workers.values():
            for (task, number), held in worker.held.items():
                stage = self.world.stages.get(task >> BITS)
                kind = Kind.ABANDONED if held.is_abandoned else Kind.SUCCEEDED
                stored = stage is not None and stage.spec.kept and not held.is_abandoned
                self.handle(events.AttemptsFinished(worker.name, [Ended(task, number, kind, stored=stored)]))
                return
        assert self.alarm is not None, "nothing happens any more"
        self.pass_time(max(self.alarm - self.now, 0.0))


# `make test-long` loads a profile with more examples.
Cluster.TestCase.settings = settings(max_examples=max(settings().max_examples, 250), stateful_step_count=40)
# It takes seconds, but what fails is made smaller for minutes.
TestCluster = pytest.mark.timeout(600)(Cluster.TestCase)
