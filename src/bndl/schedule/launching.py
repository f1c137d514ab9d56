"""Ready tasks go to workers that have room: the urgent ones first, jobs in turns, each task where it wants to be.

Tasks with a higher priority go first. Jobs of the same priority share the slots evenly (max-min fairness): the one with
the least under way goes first, and takes its share. A task that prefers some workers waits for one of them for a while
(``delay_scheduling``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING

from bndl.schedule import gates
from bndl.schedule.attempts import timeout_of
from bndl.schedule.delay_scheduling import list_waits, patience
from bndl.schedule.groups import Group, shared
from bndl.schedule.instructions import Attempt, Launch, Locality, WakeAt
from bndl.schedule.placement import allot, has_room, tasks_ahead
from bndl.schedule.quarantine import Quarantine
from bndl.schedule.ready import Level
from bndl.schedule.rebalancing import Rebalancer
from bndl.schedule.speculation import Speculator
from bndl.schedule.state import JobState, StageState, WorkerState
from bndl.schedule.transitions import Cause, State

if TYPE_CHECKING:
    from bndl.schedule.scheduler import Scheduler

__all__ = ["Launcher"]

#: A stage and its ready tasks that are equally urgent.
_Entry = tuple[StageState, Level]


class Launcher:
    """Launches ready tasks of a scheduler.

    Args:
        scheduler: whose tasks and workers they are.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._rebalancer = Rebalancer(scheduler)
        self._speculator = Speculator(scheduler)
        self._quarantine = Quarantine(scheduler)
        self._slots = 0
        #: The workers that tasks may be launched on: all but those that leave.
        self.open_workers: dict[str, WorkerState] = {}
        #: Changes when workers join or are lost.
        self._version = 0
        #: Workers to look at for room: those with a free slot, and those that the current event concerns.
        self._candidates: dict[str, WorkerState] = {}
        #: Those of which the current event may have changed how much room they have. There may be very many others.
        self._touched: dict[str, WorkerState] = {}
        #: Stages that have, or had, ready tasks.
        self._stages: dict[int, StageState] = {}
        #: How many launches there were.
        self._turns = 0
        #: The time that was asked for by ``WakeAt`` last; long ago if that came.
        self._alarm = 0.0
        #: When something is to be done next, without any further event.
        self._due: float | None = None

    def add(self, worker: WorkerState) -> None:
        """A worker joined."""
        self.open_workers[worker.name] = worker
        self.consider(worker)
        self._slots += worker.concurrency
        self._version += 1

    def remove(self, worker: WorkerState) -> None:
        """Nothing more is to be launched on a worker: it leaves, or is gone."""
        if self.open_workers.pop(worker.name, None) is None:
            return
        self._candidates.pop(worker.name, None)
        self._touched.pop(worker.name, None)
        self._rebalancer.remove(worker)
        self._quarantine.remove(worker)
        self._slots -= worker.concurrency
        self._version += 1

    def consider(self, worker: WorkerState) -> None:
        """A worker may have more room than before."""
        if worker.name in self.open_workers:
            self._candidates[worker.name] = self._touched[worker.name] = worker

    def note(self, stage: StageState) -> None:
        """A stage has a ready task."""
        self._stages[stage.spec.stage] = stage

    def forget(self, stage: StageState) -> None:
        """A stage is over."""
        self._stages.pop(stage.spec.stage, None)
        self._speculator.forget(stage)

    def wake(self) -> None:
        """The time has come that was asked for, or the clock says so."""
        self._alarm = 0.0

    def assign(self, due: float | None) -> None:
        """Launch ready tasks wherever there is room. ``due`` is when tasks come back that wait for a time."""
        self._due = due
        self._fail_forbidden()
        for worker in self._quarantine.release(self._may_launch, self._version):
            self.consider(worker)
        if self._stages and self._candidates:
            self._fill_all()
        self._drop_full()
        if self._candidates:
            self._wake_at(self._rebalancer.take_back())
            for worker in self._speculator.launch(self._candidates):
                self.consider(worker)
            self._wake_at(self._speculator.next_look)
            self._drop_full()
        now = self._scheduler.now
        if self._due is not None and (self._due < self._alarm or self._alarm <= now):
            self._alarm = self._due
            self._scheduler.out.append(WakeAt(self._due))

    def _drop_full(self) -> None:
        for name, worker in self._touched.items():
            if worker.free <= 0:
                self._candidates.pop(name, None)
        self._touched.clear()

    def _wake_at(self, when: float | None) -> None:
        if when is not None and (self._due is None or when < self._due):
            self._due = when

    # Who goes first

    def _fill_all(self) -> None:
        stages = []
        # By number, so that what is made again for later stages comes before their other tasks.
        for number, stage in sorted(self._stages.items()):
            if not stage.ready:
                del self._stages[number]
            elif not stage.job.is_paused:
                stages.append(stage)
        is_short = False
        priority = math.inf
        while levels := [below for stage in stages if (below := stage.ready.below(priority)) is not None]:
            priority = max(levels)
            if is_short and not self._quarantine.reserved and not self._is_any_free():
                return
            entries = [(stage, level) for stage in stages if (level := stage.ready.levels.get(int(priority)))]
            is_short = self._fill_level(entries, is_short=is_short) or is_short
            for stage, level in entries:
                if level.placed:
                    self._fill_elsewhere(stage, level)

    def _is_any_free(self) -> bool:
        return any(worker.free > 0 for worker in self._candidates.values())

    def _fill_level(self, entries: list[_Entry], *, is_short: bool) -> bool:
        """Launch tasks of the same priority on the workers that they would have.

        Args:
            entries: what there is.
            is_short: whether others, which go first, wait for a slot. Then nothing is launched in advance, so that
                slots become free.

        Returns:
            Whether some of these wait for a slot.
        """
        jobs: dict[int, tuple[JobState, list[_Entry]]] = {}
        for entry in entries:
            job = entry[0].job
            jobs.setdefault(job.order, (job, []))[1].append(entry)
        if len(jobs) == 1:
            for stage, level in entries:
                self._fill(stage, level, is_short=is_short)
            return any(self._waits(*entry) for entry in entries)
        # The one with the least under way first; of several, the one whose turn it is. A task that needs an empty
        # worker does not let others fill it.
        in_turn = sorted(
            jobs.values(),
            key=lambda each: (
                each[0].pending,
                not any(level.alone for _, level in each[1]),
                each[0].turn,
                each[0].order,
            ),
        )
        for job, own in in_turn:
            for stage, level in own:
                self._fill(stage, level, is_short=is_short, jobs=len(jobs))
            has_its_share = job.pending * len(jobs) >= self._slots
            is_short = is_short or (not has_its_share and any(self._waits(*entry) for entry in own))
        for _, own in in_turn:  # slots that are left may be used by whoever has a use for them
            for stage, level in own:
                self._fill(stage, level, is_short=True)
        return any(self._waits(*entry) for entry in entries)

    def _waits(self, stage: StageState, level: Level) -> bool:
        """Whether tasks could be launched if only there was a slot, wherever that is."""
        is_plain = level.plain or any(group.is_plain for group in level.alone.values())
        return bool(is_plain) and self._allowed(stage) > 0

    def _fill(self, stage: StageState, level: Level, *, is_short: bool, jobs: int = 1) -> None:
        """Launch tasks of a stage on the workers that they would have, as far as there is room.

        Args:
            stage: the stage.
            level: those of its ready tasks that are meant.
            is_short: whether nothing is to be launched in advance.
            jobs: how many jobs share the slots.
        """
        if level.alone:
            for group in sorted(level.alone.values(), key=lambda group: group.is_plain):
                self._fill_alone(stage, group, min(self._limit(stage, 0, jobs), len(group.tasks), self._allowed(stage)))
        ahead = 0 if is_short else tasks_ahead(stage, self._slots)
        room = sum(has_room(worker, ahead) for worker in self._candidates.values())
        for group in level.find(self._candidates) if room else ():
            ahead = 0 if is_short else tasks_ahead(stage, self._slots)
            tasks = min(self._limit(stage, ahead, jobs), self._allowed(stage))
            if tasks <= 0:
                return
            used = self._fill_best(stage, group, ahead, min(tasks, len(group.tasks)))
            room -= sum(not has_room(worker, ahead) for worker, _ in used)
            if room <= 0:
                return

    def _limit(self, stage: StageState, ahead: int, jobs: int) -> int:
        """How many more tasks make up the share of a stage's job."""
        return len(stage.ready) if jobs == 1 else -(-self._slots * (1 + ahead) // jobs) - stage.job.pending

    def _fill_best(self, stage: StageState, group: Group, ahead: int, tasks: int) -> Sequence[tuple[WorkerState, int]]:
        """Launch at most ``tasks`` tasks of a group on the workers that it would have. Returns which, and how many."""
        workers: Iterable[WorkerState] = self._candidates.values()
        locality = Locality.ANY
        if not group.is_plain:
            best = group.best(self.open_workers, self._version)
            workers = [self._candidates[name] for name in shared(best, self._candidates)]
            locality = Locality.BEST if group.scores else Locality.ANY
        used = allot(workers, tasks, ahead)
        for worker, count in used:
            self._launch(stage, group, worker, count, locality)
        return used

    def _may_launch(self, stage: StageState) -> bool:
        return not stage.job.is_paused and self._allowed(stage) > 0

    def _allowed(self, stage: StageState) -> int:
        """How many more tasks of a stage may be under way."""
        allowed = len(stage.ready)
        job = stage.job
        if stage.spec.concurrency:
            allowed = min(allowed, stage.spec.concurrency - stage.pending)
        if job.spec.concurrency:
            allowed = min(allowed, job.spec.concurrency - job.pending)
        if self._scheduler.concurrency:
            allowed = min(allowed, self._scheduler.concurrency - self._scheduler.pending)
        return allowed

    def _fill_alone(self, stage: StageState, group: Group, tasks: int) -> None:
        """Launch at most ``tasks`` tasks, each on a worker of its own."""
        for task in self._quarantine.find_served():  # first, or they would wait behind one for which there is no worker
            if task.group is group:
                group.tasks.remove(task)
                group.tasks.appendleft(task)
        for _ in range(tasks):
            worker = self._quarantine.find_worker(group.tasks[0], group, self._version)
            if worker is None:
                self._touched.update(self._quarantine.reserved)
                return
            # Reserved workers have no free slot for anyone, but this one is empty.
            worker.reserved_for, owner = None, worker.reserved_for
            self._launch(stage, group, worker, 1, Locality.ANY)
            worker.reserved_for = owner
            self._touched[worker.name] = worker

    def _fill_elsewhere(self, stage: StageState, level: Level) -> None:
        """Launch tasks on free slots of workers that are not their first choice, once they have waited for long."""
        free = {name: worker for name, worker in self._candidates.items() if worker.free > 0}
        if not free or self._allowed(stage) <= 0:
            return
        now = self._scheduler.now
        due = min(level.oldest + patience(stage), level.oldest_failed + patience(stage, failed_there=True))
        if not level.eager and due > now:
            self._wake_at(due)
            return
        oldest = oldest_failed = soon = math.inf
        for group in list(level.placed.values()):
            if not free:
                return
            fresh, failed = list_waits(stage, group, self.open_workers, self._version)
            for wait in dict.fromkeys((fresh, failed)):
                if group.oldest + wait <= now:
                    self._fill_late(stage, group, free, wait, avoided=wait >= failed)
                if group.waits and group.tasks and group.oldest + wait > now:
                    soon = min(soon, group.oldest + wait)
            if group.waits and group.tasks:
                oldest = min(oldest, group.oldest) if group.scores else oldest
                oldest_failed = min(oldest_failed, group.oldest) if group.avoid else oldest_failed
        level.oldest = oldest
        level.oldest_failed = oldest_failed
        if soon < math.inf:
            self._wake_at(soon)

    def _fill_late(
        self, stage: StageState, group: Group, free: dict[str, WorkerState], wait: float, *, avoided: bool
    ) -> None:
        """Launch tasks of a group that have waited for ``wait`` seconds on other free workers, better ones first.

        ``avoided`` says whether workers on which they failed are among these.
        """
        best = group.best(self.open_workers, self._version)
        others = [
            worker
            for name, worker in free.items()
            if name not in best and group.allows(name) and (avoided or name not in group.avoid)
        ]
        if not others:
            return
        ahead = 0 if group.waits else tasks_ahead(stage, self._slots)
        room = min(sum(worker.free * (1 + ahead) for worker in others), self._allowed(stage))
        due = late = group.count_late(wait, self._scheduler.now, room)
        ranked = sorted(others, key=lambda worker: group.rank(worker.name), reverse=True)
        for _, equal in groupby(ranked, key=lambda worker: group.rank(worker.name)):
            for worker, count in allot(equal, late, ahead) if late else ():
                late -= count
                self._launch(stage, group, worker, count, Locality.OTHER if group.scores else Locality.ANY)
                if worker.free <= 0:
                    del free[worker.name]
        if due and group.tasks:  # in case that not all of them were
            group.oldest = min(group.oldest, *(task.since for task in islice(group.tasks, due)))

    def _launch(self, stage: StageState, group: Group, worker: WorkerState, count: int, locality: Locality) -> None:
        scheduler = self._scheduler
        attempts = []
        if not worker.running:
            worker.heard = scheduler.now
        free = worker.free
        tasks = group.tasks
        suspects = count > free and any(task.is_suspect for task in worker.running.values())
        for index in range(count):
            task = tasks[0]
            suspects = suspects or task.is_suspect
            task.solo = index < free
            if not task.solo and (suspects or timeout_of(task)):  # nothing is queued behind a suspect, nor is a suspect
                break
            tasks.popleft()
            task.group = None
            task.given += 1
            task.number = task.given
            task.worker = worker
            scheduler.move(task, Cause.LAUNCHED)
            worker.running[task.id] = task
            sources = gates.find_sources(scheduler, task) if task.gates else ()
            attempts.append(Attempt(task.id, task.number, sources, locality))
        if attempts:
            launched = len(attempts)
            self._turns += 1
            stage.job.turn = self._turns
            stage.ready.took(group, launched)
            stage.pending += launched
            stage.job.pending += launched
            scheduler.pending += launched
            scheduler.out.append(Launch(worker.name, stage.spec.stage, tuple(attempts)))
            self._touched[worker.name] = worker
            if worker.free < 0:
                self._rebalancer.watch(worker)
            if stage.spec.speculate:
                self._speculator.watch(stage)

    def _fail_forbidden(self) -> None:
        """Tasks that none of the workers may run fail at once, and those that are ready because of that as well."""
        version = self._version
        while unsettled := [stage for stage in self._stages.values() if stage.ready.is_unsettled(version)]:
            for stage in unsettled:
                self._fail_forbidden_of(stage)

    def _fail_forbidden_of(self, stage: StageState) -> None:
        workers = self.open_workers
        forbidden = stage.ready.settle(workers, self._version)
        if not workers:
            return
        for group in forbidden:
            listed = ", ".join(f"{name} (score {group.scores[name]})" for name in workers)
            for task in list(group.tasks):
                if task.state is State.READY:
                    stage.ready.remove(task)
                    self._scheduler.fail(task, Cause.FORBIDDEN, f"its locality forbids all workers: {listed}")
