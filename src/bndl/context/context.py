"""The context: what a user's program holds of a cluster."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from bndl.checks import check_flag, check_instance, check_optional, check_seconds, check_whole
from bndl.cluster.peer import Peer
from bndl.context.iterating import Iteration
from bndl.context.jobs import execute
from bndl.context.view import View, ViewOptions
from bndl.context.work import Work
from bndl.driver.jobs import Job
from bndl.driver.options import JobOptions, make_options
from bndl.driver.tasks import Task
from bndl.errors import ContextClosed, InvalidJob, NotPicklable
from bndl.execute.shared import Accumulator, Broadcast
from bndl.schedule.explaining import Explanation
from bndl.schedule.instructions import TaskOutcome

if TYPE_CHECKING:
    from bndl.context.node import DriverNode
    from bndl.profiling.cpu import CpuProfiling
    from bndl.profiling.memory import MemoryProfiling
    from bndl.profiling.nodes import Nodes

__all__ = ["Context"]

#: How many seconds the driver may take to explain something.
_EXPLAIN_TIMEOUT = 10.0

T = TypeVar("T")
R = TypeVar("R")


class Context:
    """Runs work on the workers of a cluster. Made by ``bndl.connect``. Thread-safe.

    As a context manager it is stopped at the end. Without, it is stopped when the program ends.
    """

    def __init__(self, node: DriverNode, *, show_progress: bool) -> None:
        self._node = node
        self._show_progress = show_progress
        self._lock = threading.Lock()
        self._work = Work(node.driver, self._count_slots, show_progress=show_progress)
        self._process = os.getpid()
        self._closed = False
        self._profiling: tuple[CpuProfiling, MemoryProfiling, Nodes] | None = None

    # Workers

    @property
    def name(self) -> str:
        """The name of the driver's node."""
        return self._node.driver.name

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the driver's node listens; each can be a seed for other nodes."""
        return self._node.addresses

    @property
    def workers(self) -> list[Peer]:
        """The workers that are connected, by name."""
        self._check_open()
        return self._node.membership.workers

    @property
    def worker_count(self) -> int:
        """How many workers are connected."""
        return len(self.workers)

    def await_workers(
        self, count: int | None = None, *, connect_timeout: float = 5.0, stable_timeout: float = 60.0
    ) -> int:
        """Wait until workers are there.

        Args:
            count: return as soon as this many are connected. Without it, wait until the cluster is stable: all local
                workers are connected, and every worker sees the same peers as this node.
            connect_timeout: for how many seconds to wait for the first worker.
            stable_timeout: for how many seconds to wait after that.

        Returns:
            How many workers are connected. If the cluster is not stable in time a ``ClusterUnstableWarning`` says who
            disagrees about whom.

        Raises:
            NoWorkers: none connected within ``connect_timeout``.
            TooFewWorkers: fewer than ``count`` connected in time.
            WorkerFailedToStart: the local worker processes do not stay up.
            InvalidOption: an option makes no sense.
        """
        self._check_open()
        hint = "how many workers to wait for; leave it out to wait for all of them"
        count = check_optional(check_whole, "count", count, hint, least=0)
        connect_timeout = check_seconds("connect_timeout", connect_timeout, "seconds to wait for the first worker")
        stable_timeout = check_seconds("stable_timeout", stable_timeout, "seconds to wait after that")
        return self._node.membership.await_workers(count, connect_timeout, stable_timeout)

    # Work

    def map(
        self,
        function: Callable[..., R],
        *iterables: Iterable[Any],
        ordered: bool = True,
        **options: Unpack[JobOptions],
    ) -> Iteration[R]:
        """Apply a function to each item, on the workers.

        As in the ``map`` that Python has, several iterables give the function several arguments, and the shortest one
        ends it.

        Items are pulled, in the thread that takes the results, as results are taken; so the items may be endless.

        Args:
            function: is called with one item of each iterable.
            iterables: one or more.
            ordered: whether results come in the order of the items, or as they are done.
            options: ``attempts``, ``retry``, ``timeout``, ``priority`` and ``locality``; ``concurrency``, how many
                items may be under way at the same time; ``max_failures``, how many may fail, which leaves out their
                results; ``speculate``, which starts stragglers a second time. See ``bndl.driver.options.Options``.

        Returns:
            An iterator over the results. The first items are pulled, and work begins, when the first result is asked
            for. Closing the iterator, or letting go of it, stops the work.

        Raises:
            InvalidOption: an option makes no sense, the function cannot be called, or an iterable is none.
            NotPicklable: the function cannot travel; while iterating: an item cannot.
            TaskFailed: while iterating: the function raised; the cause is its exception.
            ItemsFailed: while iterating: the items raised; the results before it were yielded.
            WorkerFailedToStart: the local worker processes do not stay up, and there are no others.
        """
        self._check_ready()
        own = make_options("ctx.map", JobOptions, options)
        return self._work.map(function, iterables, ordered=ordered, options=own, name=None)

    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call a function on a worker.

        Returns:
            A future of its result. It raises ``TaskFailed`` if the function raised; the cause is its exception.

        Raises:
            InvalidOption: the function cannot be called.
            NotPicklable: the call cannot travel.
            WorkerFailedToStart: the local worker processes do not stay up, and there are no others.
        """
        self._check_ready()
        return self._work.submit(function, args, kwargs)

    def options(self, **options: Unpack[ViewOptions]) -> View:
        """This context with options for ``submit`` and ``map``.

        ``ctx.options(attempts=3, timeout=5, name="fit").submit(function, x)``

        Args:
            options: ``attempts``, ``retry``, ``timeout``, ``priority`` and ``locality``, see
                ``bndl.driver.options.Options``, and ``name``: what calls and stages are called in reports and errors.

        Raises:
            InvalidOption: a value makes no sense.
        """
        return View(self._check_ready, self._work, options)

    def execute(self, job: Job, *, ordered: bool = True) -> Iteration[Task]:
        """Execute a job.

        Args:
            job: its stages run one after the other.
            ordered: whether tasks come in the order of stages and items, or as they are done.

        Returns:
            An iterator over all tasks of the job, each when it is done. Work begins with this call; closing the
            iterator, or letting go of it, cancels the job. Results that are kept on workers for later stages can be
            taken until it ends.

        Raises:
            InvalidJob: the job cannot be executed.
            NotPicklable: a function or an argument cannot travel.
            TaskFailed: while iterating: a task failed in its last attempt.
            TaskCancelled: while iterating: the job was cancelled.
            WorkerFailedToStart: the local worker processes do not stay up, and there are no others.
        """
        self._check_ready()
        _check_job("ctx.execute", job)
        ordered = check_flag("ordered", ordered)
        return execute(self._node.driver, job, ordered=ordered, show_progress=self._show_progress)

    def run(self, job: Job) -> list[Any]:
        """Execute a job and return the results of its last stage, in order. Raises like ``execute``.

        Tasks that failed and were tolerated (``max_failures``), or were cancelled one by one, have none.
        """
        _check_job("ctx.run", job)
        for _ in self.execute(job, ordered=False):
            pass
        return [task.result for task in job.stages[-1].tasks if task.outcome is TaskOutcome.SUCCEEDED]

    def explain(self, task: Task) -> Explanation:
        """Why a task is not running, for each worker. ``print`` shows it.

        Raises:
            InvalidJob: its job is not being executed, and was not.
        """
        self._check_open()
        check_instance("task", task, Task, "a bndl.Task", "ctx.explain(task) takes one of job.stages[0].tasks")
        if task.number is None:
            text = f"{task.name} was not executed, so there is nothing to explain; ctx.execute(job) executes its job."
            raise InvalidJob(text)
        return self._node.driver.answers.explain(task.number).result(timeout=_EXPLAIN_TIMEOUT)

    # Shared values

    def broadcast(self, value: T) -> Broadcast[T]:
        """Share a value with tasks: it is sent to each worker once, when a task there first uses it.

        Args:
            value: tasks get it as ``.value`` of what is returned. It should not be changed afterwards.

        Returns:
            What tasks refer to, in their functions, items or arguments. ``release()`` lets go of the value.

        Raises:
            NotPicklable: the value cannot travel.
        """
        self._check_open()
        return self._node.driver.sharing.broadcast(value)

    def accumulator(self, value: T, combine: Callable[[T, T], T] = operator.add) -> Accumulator[T]:
        """A value that tasks add to. What each task adds counts exactly once, whatever is tried again.

        Args:
            value: to begin with.
            combine: of two values makes one, whatever their order: ``operator.add``, ``max``.

        Returns:
            What tasks call ``add`` of, and the driver asks for its ``value``.

        Raises:
            InvalidOption: ``combine`` is no function.
        """
        self._check_open()
        return self._node.driver.sharing.accumulate(value, combine)

    # Profiling

    @property
    def cpu_profiling(self) -> CpuProfiling:
        """Profiles the CPU of the whole cluster."""
        return self._make_profiling()[0]

    @property
    def memory_profiling(self) -> MemoryProfiling:
        """Traces the memory of the whole cluster."""
        return self._make_profiling()[1]

    def _make_profiling(self) -> tuple[CpuProfiling, MemoryProfiling, Nodes]:
        self._check_open()
        from bndl.profiling.cpu import CpuProfiling  # noqa: PLC0415 - most programs do not profile
        from bndl.profiling.memory import MemoryProfiling  # noqa: PLC0415
        from bndl.profiling.nodes import Nodes  # noqa: PLC0415

        with self._lock:
            if self._profiling is None:
                nodes = Nodes(self._node.driver, self._node.membership)
                self._profiling = (CpuProfiling(nodes), MemoryProfiling(nodes), nodes)
            return self._profiling

    # End

    def stop(self) -> None:
        """Stop what is under way, leave the cluster, and end the workers that this context started. Idempotent.

        In a forked child of the process that made the context this does nothing: it is the parent's.
        """
        if self._is_foreign:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._work.close()
        if self._profiling is not None:
            self._profiling[2].close()
        self._node.stop()

    @property
    def is_stopped(self) -> bool:
        """Whether it can do nothing here any more: ``stop`` was called, or this is a forked child."""
        return self._closed or self._is_foreign

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __reduce__(self) -> tuple[Any, ...]:
        text = (
            f"{self!r} cannot be sent to another process: it belongs to the program that made it, and tasks cannot "
            "start work yet. Leave it out of what tasks use; give them values, broadcasts or the results of others."
        )
        raise NotPicklable(text, what="a context", path="the context")

    def __repr__(self) -> str:
        state = "stopped" if self.is_stopped else f"{len(self._node.membership.workers)} workers"
        return f"<Context: {self._node.driver.name}, {state}>"

    def _count_slots(self) -> int:
        return sum(worker.concurrency for worker in self._node.membership.workers)

    def _check_ready(self) -> None:
        self._check_open()
        self._node.membership.check_hope()
        self._node.search_path.follow()

    @property
    def _is_foreign(self) -> bool:
        """Whether this is a forked child of the process that made it, and so has none of the threads that it needs."""
        return self._process != os.getpid()

    def _check_open(self) -> None:
        if self._is_foreign:
            text = (
                f"this context was made before a fork and belongs to process {self._process}. Use it there, or start "
                'this process without a fork, as multiprocessing.get_context("spawn") does, and connect in it.'
            )
            raise ContextClosed(text)
        if self._closed:
            text = "this context was stopped; bndl.connect() makes a new one"
            raise ContextClosed(text)


def _check_job(what: str, job: object) -> None:
    check_instance("job", job, Job, "a bndl.Job", f'job = bndl.Job("name"), job.stage(function, items), {what}(job)')
