"""Jobs begin, and workers join, when it is known where the tasks of users are to run.

The functions that say so are the users' own: they may take long, wait for other work, or raise. So they are called in a
thread of their own, and have a time limit. Meanwhile the job is held, with all that is wanted of it, and so is a worker
that joins, because jobs that have begun may forbid it.

::

    submit(job)    -> asked with the workers that are there -> begin(job, scores)
    join(worker)   -> all jobs are asked again              -> rescore(scores), admit(worker)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bndl.driver.listener import ClusterListener
from bndl.driver.places import Named, cares, score_places, with_scores
from bndl.errors import BndlError, InvalidOption
from bndl.loop import Loop, Timer
from bndl.net.messages import NodeInfo
from bndl.reprs import type_name
from bndl.schedule.events import JobSpec, PlacesScored

if TYPE_CHECKING:
    from bndl.driver.execution import Execution

__all__ = ["Admission"]

#: How many seconds the functions of a job may take.
LIMIT = 10.0

Answer = list[PlacesScored] | BndlError


class _Asked:
    """A job whose functions say where its tasks are to run."""

    __slots__ = ("commands", "execution", "known", "scores", "spec", "timer")

    def __init__(self, execution: Execution, spec: JobSpec) -> None:
        self.execution = execution
        #: None once it has begun.
        self.spec: JobSpec | None = spec
        #: What is wanted of it before it begins.
        self.commands: list[Callable[[], object]] = []
        #: The workers with which it was asked last.
        self.known: frozenset[str] = frozenset()
        self.scores: list[PlacesScored] | None = None
        #: Ends the time limit, while it is being asked.
        self.timer: Timer | None = None


class Admission:
    """Holds jobs and workers until localities are known. To be used on the driver's loop only.

    Args:
        loop: the driver's.
        beside: runs the code of users.
        cluster: knows the workers that are connected, as users see them.
        begin: begins a job.
        rescore: tells the scheduler where tasks of a job that has begun are to run.
        admit: lets tasks run on a worker.
        fail: ends a job whose functions raised, or took too long.
    """

    def __init__(
        self,
        loop: Loop,
        beside: Callable[[Callable[[], object]], object],
        cluster: ClusterListener,
        begin: Callable[[Execution, JobSpec], object],
        rescore: Callable[[PlacesScored], object],
        admit: Callable[[NodeInfo], object],
        fail: Callable[[Execution, BndlError], object],
    ) -> None:
        self._loop = loop
        self._beside = beside
        self._cluster = cluster
        self._begin = begin
        self._rescore = rescore
        self._admit = admit
        self._fail = fail
        self._jobs: dict[int, _Asked] = {}
        self._joining: dict[str, NodeInfo] = {}
        self._admitted: set[str] = set()

    def submit(self, execution: Execution, spec: JobSpec) -> None:
        """Begin a job, now or when it is known where its tasks are to run."""
        if not cares(execution.stages):
            self._begin(execution, spec)
            return
        self._jobs[execution.number] = _Asked(execution, spec)
        self._ask(self._jobs[execution.number])

    def hold(self, execution: Execution, command: Callable[[], object]) -> bool:
        """Whether a job has not begun; then ``command`` is called when it has."""
        job = self._jobs.get(execution.number)
        if job is None or job.spec is None:
            return False
        job.commands.append(command)
        return True

    def forget(self, execution: Execution) -> bool:
        """A job is over. Returns whether it had not begun."""
        job = self._jobs.pop(execution.number, None)
        if job is None:
            return False
        if job.timer is not None:
            job.timer.cancel()
        self._loop.post(self._go_on)  # what was held because of it; not now, as something is being handled
        return job.spec is not None

    def join(self, info: NodeInfo) -> None:
        """A worker is connected."""
        self._joining[info.name] = info
        self._go_on()

    def lose(self, name: str) -> None:
        """A worker is gone."""
        self._joining.pop(name, None)
        self._admitted.discard(name)

    def _go_on(self) -> None:
        """Ask whom it takes to ask, begin what can begin, and admit those that all jobs know."""
        wanted = self._admitted.union(self._joining)
        for job in list(self._jobs.values()):
            if job.timer is None and not wanted <= job.known:
                self._ask(job)
        for name, info in list(self._joining.items()):
            if all(name in job.known for job in self._jobs.values() if job.spec is None):
                del self._joining[name]
                self._admitted.add(name)
                self._admit(info)
        for job in list(self._jobs.values()):
            if job.spec is not None and job.scores is not None and self._admitted <= job.known:
                self._begin_now(job, job.spec, job.scores)

    def _begin_now(self, job: _Asked, spec: JobSpec, scores: list[PlacesScored]) -> None:
        commands, job.commands, job.spec = job.commands, [], None
        self._begin(job.execution, with_scores(spec, scores))
        for command in commands:
            command()

    def _ask(self, job: _Asked) -> None:
        workers = self._cluster.workers
        post = self._loop.post
        timer = job.timer = self._loop.call_later(LIMIT, lambda: self._answered(job, timer, workers, _too_late(job)))
        self._beside(lambda: post(self._answered, job, timer, workers, _ask_now(job.execution, workers)))

    def _answered(self, job: _Asked, timer: Timer, workers: Sequence[Named], answer: Answer) -> None:
        if job.timer is not timer or self._jobs.get(job.execution.number) is not job:  # it came too late, or is over
            return
        timer.cancel()
        job.timer = None
        if isinstance(answer, BndlError):
            self._fail(job.execution, answer)
            return
        job.known = frozenset(worker.name for worker in workers)
        job.scores = answer
        if job.spec is None:
            for scores in answer:
                self._rescore(scores)
        self._go_on()


def _ask_now(execution: Execution, workers: Sequence[Named]) -> Answer:
    try:
        return score_places(execution.stages, workers)
    except BndlError as error:
        return error
    except BaseException as error:  # noqa: BLE001 - where the thread ends; it goes to whoever waits for the job
        return InvalidOption(f"the locality of a task of {execution.name!r} raised {type_name(error)}.")


def _too_late(job: _Asked) -> BndlError:
    text = (
        f"the locality of job {job.execution.name!r} took longer than {LIMIT:g} s. It is asked whenever a worker "
        "joins, so let it be quick: find out before what it needs to know."
    )
    return InvalidOption(text)
