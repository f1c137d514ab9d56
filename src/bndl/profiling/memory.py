"""Memory profiling of a cluster, as users hold it: ``ctx.memory_profiling``."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bndl.checks import check_flag, check_path, check_whole, is_a
from bndl.driver.jobs import Job
from bndl.errors import BndlError, InvalidOption, NotProfiling, ProfilerUnavailable
from bndl.logs import get_logger
from bndl.profiling import agent
from bndl.profiling.capture import Capture
from bndl.profiling.checks import check_choice, check_count, check_file, check_modules, check_named, check_positive
from bndl.profiling.growth import Growth, StageMemory, find_growth, sum_stages
from bndl.profiling.nodes import Nodes, why_none
from bndl.profiling.snapshots import (
    ClusterSnapshot,
    TopLayout,
    cluster_snapshot,
    print_memory_footer,
    print_per_node,
    print_top,
)
from bndl.profiling.wire import MEMORY, MemoryOrders, decode_heaps
from bndl.reprs import safe_repr

__all__ = ["MemoryProfiling"]

logger = get_logger(__name__)

#: How many seconds nodes may take to answer, unless something else is asked for. Snapshots of large heaps take a while.
_TIMEOUT = 60.0
_MOST_FRAMES = 100


class MemoryProfiling:
    """Traces the memory of the driver and all workers. ``with ctx.memory_profiling:`` starts and stops it."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._orders: MemoryOrders | None = None

    # On and off

    def start(self, frames: int = 1, *, timeout: float = _TIMEOUT) -> None:
        """Start, on all nodes and on those that join later. What is allocated from then on is traced.

        Args:
            frames: how many frames of the traceback of each allocation to keep; more cost more.
            timeout: how many seconds nodes may take to answer.

        Raises:
            InvalidOption: an option makes no sense.
            NotProfiling: it was started already.
            ProfilerUnavailable: no node can be traced.
        """
        frames = check_whole("frames", frames, f"give a whole number from 1 to {_MOST_FRAMES}", most=_MOST_FRAMES)
        timeout = check_positive("timeout", timeout, "seconds")
        if self._orders is not None:
            raise NotProfiling("memory profiling is on already; stop it before it is started in another way.")
        self._nodes.check_open()
        session = self._nodes.next_session()
        orders = MemoryOrders(session, frames)
        self._nodes.ledger.begin_heaps(session)
        self._orders = orders  # before nodes begin: stop ends it, also if this is interrupted
        try:
            answers = self._nodes.order_memory(orders, timeout)
        except BndlError:
            self._orders = None
            raise
        if not any(obeyed.traces_memory for obeyed in answers.values.values()):
            self._orders = None
            self._nodes.order_memory(None, timeout)
            raise ProfilerUnavailable(why_none(answers, MEMORY))

    def stop(self, *, timeout: float = _TIMEOUT) -> None:
        """Stop it on all nodes. What stages did to memory can be asked for until it is started again."""
        timeout = check_positive("timeout", timeout, "seconds")
        if self._orders is None:
            return
        if self._nodes.is_closed:  # which ended it everywhere
            self._orders = None
            return
        try:
            self._read_heaps(timeout)
        finally:
            self._orders = None
            self._nodes.order_memory(None, timeout)

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

    # Snapshots

    def take_snapshot(self, *, timeout: float = _TIMEOUT) -> ClusterSnapshot:
        """What is allocated on all nodes now.

        Args:
            timeout: how many seconds nodes may take to answer; those that do not are named in its ``price``.

        Returns:
            A ``tracemalloc.Snapshot`` with one trace for each distinct traceback and node.

        Raises:
            NotProfiling: it is not on.
        """
        self._check_on()
        answers = self._nodes.ask(agent.take_snapshot, self._nodes.driver_name, timeout=timeout)
        missing = dict(answers.silent)
        missing.update(dict.fromkeys(self._nodes.lost(()), "lost"))
        return cluster_snapshot(answers.values, missing)

    def print_top(
        self,
        group_by: str = "lineno",
        limit: int | None = 30,
        compare_to: tracemalloc.Snapshot | None = None,
        *,
        per_worker: bool = False,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        strip_dirs: bool = True,
        file: IO[str] | None = None,
    ) -> ClusterSnapshot:
        """Take a snapshot and print the lines that have most.

        Args:
            group_by: ``lineno``, ``filename`` or ``traceback``.
            limit: how many lines to print; None for all.
            compare_to: print what is different from this snapshot instead.
            per_worker: whether to print a list for each node.
            include: only lines of these modules or packages: a name, or several.
            exclude: no lines of these.
            strip_dirs: whether paths are printed without the folder that a module was found in.
            file: where to print. If left out, the list goes to standard output, and what tracing costs and which nodes
                are missing to standard error.

        Returns:
            The snapshot.

        Raises:
            InvalidOption: an option makes no sense.
            NotProfiling: it is not on.
        """
        group_by = check_choice("group_by", group_by, ("lineno", "filename", "traceback"))
        limit = check_count("limit", limit)
        per_worker = check_flag("per_worker", per_worker)
        strip_dirs = check_flag("strip_dirs", strip_dirs)
        check_file(file)
        check_modules("include", include)
        check_modules("exclude", exclude)
        if compare_to is not None and not is_a(compare_to, tracemalloc.Snapshot):
            text = f"compare_to must be a snapshot, got {safe_repr(compare_to)}: give the result of take_snapshot()."
            raise InvalidOption(text)
        layout = TopLayout(group_by, limit, include, exclude, strip_dirs)
        snapshot = self.take_snapshot()
        (print_per_node if per_worker else print_top)(snapshot, compare_to, layout, file)
        print_memory_footer(snapshot, file)
        return snapshot

    # Stages

    def stages(self, job: Job | str | None = None, *, timeout: float = _TIMEOUT) -> list[StageMemory]:
        """What each stage did to memory, in order, on all workers together.

        Args:
            job: only stages of this job, or of jobs of this name.
            timeout: how many seconds nodes may take to answer; those that do not are named in the log.

        Raises:
            InvalidOption: an option makes no sense.
        """
        if job is not None:
            check_named("job", job, Job)
        timeout = check_positive("timeout", timeout, "seconds")
        if self._orders is not None:
            self._read_heaps(timeout)
        stages = sum_stages(self._nodes.ledger.heaps())
        if job is None:
            return stages
        name = job if isinstance(job, str) else job.name
        numbers = None if isinstance(job, str) else {each.number for each in job.stages}
        return [each for each in stages if each.job == name and (numbers is None or each.number in numbers)]

    def growth(
        self,
        job: Job | str | None = None,
        *,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        least_bytes: int = 64 << 10,
    ) -> list[Growth]:
        """The lines that have more after each stage, or superstep, than after the one before: leaks, in short.

        Args:
            job: only of this job, or of jobs of this name.
            include: only lines of these modules or packages: a name, or several.
            exclude: no lines of these.
            least_bytes: lines that grew by less than this in all are left out.

        Returns:
            The lines, those that grew most first.

        Raises:
            InvalidOption: an option makes no sense.
        """
        check_modules("include", include)
        check_modules("exclude", exclude)
        least_bytes = check_whole("least_bytes", least_bytes, "how much a line has to grow", least=0, most=1 << 60)
        return find_growth(self.stages(job), include=include, exclude=exclude, least_bytes=least_bytes)

    # memray

    def capture(self, folder: str | os.PathLike[str], *, native: bool = False, leaks: bool = False) -> Capture:
        """Capture all allocations with memray, and write a flame graph of each node.

        ``with ctx.memory_profiling.capture("captures"):`` captures what is inside of it. It takes the extra
        ``bndl[memray]`` and has nothing to do with ``start`` and ``stop``.

        Args:
            folder: where to write; the capture of each node, and its flame graph.
            native: whether to see functions that are not written in Python.
            leaks: whether to show what was not freed, rather than what there was at the peak.
        """
        path = Path(check_path("folder", folder, "where captures are written"))
        return Capture(self._nodes, path, native=check_flag("native", native), leaks=check_flag("leaks", leaks))

    def _read_heaps(self, timeout: float) -> None:
        nodes, ledger = self._nodes, self._nodes.ledger
        answers = nodes.ask(agent.read_heaps, nodes.driver_name, each=ledger.heard_heaps, timeout=timeout)
        for name, heaps in answers.values.items():
            ledger.add_heaps(name, decode_heaps(heaps))
        for name, reason in sorted(answers.silent.items()):
            logger.warning("what stages did to the memory of %s is not known as a whole: %s", name, reason)

    def _check_on(self) -> None:
        if self._orders is None:
            raise NotProfiling("memory profiling is not on; ctx.memory_profiling.start() begins it.")
