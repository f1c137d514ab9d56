"""CPU profiling of a cluster, as users hold it: ``ctx.cpu_profiling``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from bndl.checks import check_flag, is_a
from bndl.errors import BndlError, InvalidOption, NotProfiling, ProfilerUnavailable
from bndl.profiling import agent
from bndl.profiling.aside import apart
from bndl.profiling.checks import check_choice, check_how, check_positive
from bndl.profiling.diff import CpuDiff
from bndl.profiling.nodes import Answers, Nodes, why_none
from bndl.profiling.profile import Part
from bndl.profiling.stats import COLUMNS, CpuStats, Price, count_calls
from bndl.profiling.tracing import measure_call
from bndl.profiling.wire import CPU, OUTSIDE, CpuAnswer, CpuOrders, Obeyed, decode_answer
from bndl.reprs import safe_repr

if TYPE_CHECKING:
    from bndl.driver.jobs import Job, Stage
    from bndl.driver.tasks import Task

__all__ = ["CpuProfiling"]

#: How many seconds nodes may take to answer, unless something else is asked for.
_TIMEOUT = 10.0


class CpuProfiling:
    """Profiles the CPU of the driver and all workers. ``with ctx.cpu_profiling:`` starts and stops it."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._orders: CpuOrders | None = None
        self._obeyed: Answers[Obeyed] = Answers()
        #: The figures when it was stopped.
        self._last: CpuStats | None = None
        self._call_seconds = 0.0

    # On and off

    def start(
        self,
        mode: str = "tracing",
        *,
        clock: str = "cpu",
        interval: float | None = None,
        native: bool = False,
        sampler: str = "auto",
        timeout: float = _TIMEOUT,
    ) -> None:
        """Start anew, on all nodes and on those that join later.

        Args:
            mode: ``tracing`` counts and times every call, exactly, and slows Python code down several times;
                ``sampling`` looks at the stacks many times a second, and costs next to nothing.
            clock: of tracing: ``cpu``, the time that threads were running, or ``wall``. Sampling has the CPU clock.
            interval: of sampling: seconds between two looks; 0.01 by default.
            native: of sampling: whether to see functions that are not written in Python, where py-spy can.
            sampler: of sampling: ``py-spy``, from outside of the process, ``in-process``, or ``auto``: py-spy for
                ``native`` where it is installed and may attach, and else in-process. The report says which it was.
            timeout: how many seconds nodes may take to answer; those that do not are named in the report.

        Raises:
            InvalidOption: an option makes no sense.
            NotProfiling: it was started already.
            ProfilerUnavailable: no node can be profiled, because a library is missing or in use.
            ContextClosed: the context was stopped.
        """
        native = check_flag("native", native)
        sampler = check_choice("sampler", sampler, ("auto", "py-spy", "in-process"))
        mode, clock, seconds = check_how(mode, clock, interval, native=native, sampler=sampler)
        timeout = check_positive("timeout", timeout, "seconds")
        if self._orders is not None:
            raise NotProfiling("CPU profiling is on already; stop it before it is started in another way.")
        self._nodes.check_open()
        session = self._nodes.next_session()
        orders = CpuOrders(session, mode, clock, seconds, native, sampler)
        self._nodes.ledger.begin(session)
        self._nodes.forget_lost()
        self._last = None
        self._call_seconds = measure_call(clock) if mode == "tracing" else 0.0
        self._orders = orders  # before nodes begin: stop ends it, also if this is interrupted
        try:
            self._obeyed = self._nodes.order_cpu(orders, timeout)
        except BndlError:
            self._orders = None
            raise
        if not any(obeyed.profiler for obeyed in self._obeyed.values.values()):
            self._orders = None
            self._nodes.order_cpu(None, timeout)
            raise ProfilerUnavailable(why_none(self._obeyed, CPU))

    def stop(self, *, timeout: float = _TIMEOUT) -> None:
        """Stop it on all nodes. The figures are kept until it is started again. Does nothing if it is not on."""
        timeout = check_positive("timeout", timeout, "seconds")
        if self._orders is None:
            return
        if self._nodes.is_closed:  # which ended it everywhere
            self._orders = None
            return
        try:
            self._last = apart(self._collect, running=False, timeout=timeout)
        finally:
            self._orders = None
            self._nodes.order_cpu(None, timeout)

    @property
    def is_running(self) -> bool:
        """Whether it is on."""
        return self._orders is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Figures

    def get_stats(
        self,
        job: Job | str | None = None,
        stage: Stage | str | None = None,
        worker: Any = None,
        task: Task | int | None = None,
        *,
        running: bool = False,
        timeout: float = _TIMEOUT,
    ) -> CpuStats:
        """The figures so far, or those at the end if it was stopped.

        Args:
            job: only of this job, or jobs of this name.
            stage: only of this stage, or stages of this name.
            worker: only of this worker, a ``Peer`` or a name, or of several.
            task: only of this task, or of the tasks with this index.
            running: whether to include what attempts did that have not ended; with tracing only.
            timeout: how many seconds nodes may take to answer.

        Returns:
            The profile; ``filter`` and ``split`` it further.

        Raises:
            NotProfiling: it was never started.
        """
        running = check_flag("running", running)
        timeout = check_positive("timeout", timeout, "seconds")
        stats = self._last if self._orders is None else apart(self._collect, running=running, timeout=timeout)
        if stats is None:
            raise NotProfiling("there are no figures yet; ctx.cpu_profiling.start() begins to collect them.")
        return stats.filter(job=job, stage=stage, task=task, worker=worker)

    def print_stats(  # noqa: PLR0913 - what a table can be asked for
        self,
        max_rows: int | None = 25,
        sort_by: str = "totaltime",
        sort_dir: str = "desc",
        columns: Sequence[str] = COLUMNS,
        *,
        per_worker: bool = False,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        strip_dirs: bool = True,
        file: IO[str] | None = None,
        **which: Any,
    ) -> None:
        """Print the functions that took most.

        Args:
            max_rows: how many functions to print; None for all.
            sort_by: ``name``, ``callcount``, ``totaltime``, ``subtime`` or ``avgtime``.
            sort_dir: ``desc`` or ``asc``.
            columns: which of ``name``, ``ncall``, ``tsub``, ``ttot`` and ``tavg``.
            per_worker: whether to print a table for each node.
            include: only functions of these modules or packages: a name, or several.
            exclude: no functions of these.
            strip_dirs: whether paths are printed without the folder that a module was found in.
            file: where to print. If left out, the table goes to standard output, and what profiling cost and which
                nodes are missing to standard error.
            which: of which figures: ``job``, ``stage``, ``worker``, ``task`` and ``running``, as for ``get_stats``.

        Raises:
            InvalidOption: an option makes no sense.
            NotProfiling: it was never started.
        """
        apart(
            self.get_stats(**which).print,
            max_rows,
            sort_by,
            sort_dir,
            columns,
            per_worker=per_worker,
            include=include,
            exclude=exclude,
            strip_dirs=strip_dirs,
            file=file,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a report of the figures so far.

        Args:
            path: of the file. Its suffix tells the kind: ``.html`` is a page with a flame graph, ``.speedscope.json``
                is for speedscope, ``.pstats`` for ``pstats`` and snakeviz, ``.callgrind`` for KCachegrind.

        Raises:
            InvalidOption: there is no report of this kind.
            NotProfiling: it was never started.
        """
        return apart(self.get_stats().save, path)

    def diff(self, before: CpuStats, after: CpuStats, *, relative: bool = False) -> CpuDiff:
        """What is different between two profiles: two runs, two stages, or one worker and the others.

        Args:
            before: the profile to compare with.
            after: the profile to compare.
            relative: whether to compare shares of the whole, for profiles of unequal size.
        """
        for name, stats in (("before", before), ("after", after)):
            if not is_a(stats, CpuStats):
                text = f"{name} must be a profile, got {safe_repr(stats)}: give the result of get_stats()."
                raise InvalidOption(text)
        return CpuDiff(before, after, relative=check_flag("relative", relative))

    # How

    def _collect(self, *, running: bool, timeout: float) -> CpuStats:
        orders = self._orders
        if orders is None:
            raise NotProfiling("CPU profiling is not on; ctx.cpu_profiling.start() begins it.")
        began = time.thread_time()
        nodes = self._nodes
        ledger = nodes.ledger
        with ledger.noting_folded() as folded:
            answered = nodes.ask(
                agent.collect, nodes.driver_name, each=ledger.heard_samples, running=running, timeout=timeout
            )
            answers = {name: decode_answer(data) for name, data in answered.values.items()}
            for name, answer in answers.items():
                ledger.add_samples(name, answer.samples)
            parts = ledger.parts()
        ended = folded.union(part.place for part in parts)
        for name, answer in answers.items():
            # What was running when the node answered may have ended, and been told of, before the last one did.
            parts += [part for part in self._decode(name, answer) if part.place not in ended]
        missing = dict(answered.silent)
        remarks = {name: "; ".join(answer.remarks) for name, answer in answers.items() if answer.remarks}
        missing.update({name: remarks.pop(name) for name in list(remarks) if not answers[name].profiler})
        for name in nodes.lost(part.place.worker for part in parts):
            missing.setdefault(name, "lost; of its work there is what its attempts did that ended")
        attempts = ledger.attempts if orders.mode == "tracing" else _count_attempts(parts)
        price = Price(
            sum(answer.seconds for answer in answers.values()) + time.thread_time() - began,
            self._call_seconds * count_calls(parts),
            ledger.bytes + sum(map(len, answered.values.values())),
            sum(answer.memory for answer in answers.values()),
            {name: answer.profiler for name, answer in answers.items() if answer.profiler},
            missing,
            remarks,
            0 if running else sum(answer.running for answer in answers.values()),
            ledger.folded,
            attempts,
        )
        return CpuStats(parts, orders.mode, orders.clock, price)

    def _decode(self, name: str, answer: CpuAnswer) -> list[Part]:
        ledger = self._nodes.ledger
        parts = [ledger.decode(name, answer.epoch, key, rows) for key, rows in answer.calls]
        if answer.outside:
            parts.append(ledger.decode(name, answer.epoch, OUTSIDE, answer.outside))
        return parts


def _count_attempts(parts: Iterable[Part]) -> int:
    return len({part.place for part in parts if part.place.key.attempt})
