"""A CPU profile of a cluster, as users hold it: filtered, split, printed, saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from rich.console import RenderableType

from bndl.checks import check_flag, check_texts, check_whole, is_a
from bndl.cluster.peer import Peer
from bndl.driver.jobs import Job, Stage
from bndl.driver.tasks import Task
from bndl.errors import InvalidOption
from bndl.profiling import exports, page, text
from bndl.profiling.aside import apart
from bndl.profiling.checks import check_choice, check_count, check_file, check_modules, check_named, check_target
from bndl.profiling.profile import Cost, Function, Part, merge
from bndl.reprs import safe_repr

__all__ = ["SUFFIXES", "CpuStats", "FunctionStat", "Price", "is_selected"]

_ALL = "all"
#: So many workers are no longer named one by one.
_MANY = 3
OUTSIDE_NAME = "(outside of tasks)"

SORTS: Mapping[str, Callable[[FunctionStat], Any]] = {
    "name": lambda stat: str(stat.function),
    "callcount": lambda stat: stat.ncall,
    "ncall": lambda stat: stat.ncall,
    "totaltime": lambda stat: stat.ttot,
    "ttot": lambda stat: stat.ttot,
    "subtime": lambda stat: stat.tsub,
    "tsub": lambda stat: stat.tsub,
    "avgtime": lambda stat: stat.tavg,
    "tavg": lambda stat: stat.tavg,
}
COLUMNS = ("name", "ncall", "tsub", "ttot", "tavg")


@dataclass(frozen=True)
class FunctionStat:
    """The figures of a function.

    Attributes:
        function: which.
        ncall: how many calls ended; 0 with sampling.
        nactualcall: how many of them were not inside of another call of the same function.
        tsub: seconds in the function itself.
        ttot: seconds with the functions that it called.
        callers: the cost of it when called by each of these.
        callees: the cost of each of these when called by it.
    """

    function: Function
    ncall: int
    nactualcall: int
    tsub: float
    ttot: float
    callers: Mapping[Function, Cost] = field(repr=False)
    callees: Mapping[Function, Cost] = field(repr=False)

    @property
    def tavg(self) -> float:
        """Seconds of a call on average."""
        return self.ttot / self.ncall if self.ncall else 0.0


@dataclass(frozen=True)
class Price:
    """What profiling cost, and what it did not get.

    Attributes:
        seconds: processor time that went into reading and sending figures, or into sampling.
        call_seconds: about what tracing added to the calls that it counted.
        bytes: how much travelled.
        memory: bytes that the profilers take on all nodes together.
        profilers: what profiled, by node.
        missing: nodes that are not in the figures, or not with all, and why.
        remarks: what else is to be said of nodes.
        running: how many attempts were running and are left out.
        folded: how many attempts are known by their stage only.
        attempts: how many attempts are in the figures; with sampling, into how many a look fell.
    """

    seconds: float = 0.0
    call_seconds: float = 0.0
    bytes: int = 0
    memory: int = 0
    profilers: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    running: int = 0
    folded: int = 0
    attempts: int = 0


@dataclass(frozen=True, repr=False)
class CpuStats:
    """A CPU profile of the cluster at one moment. An iterable of ``FunctionStat``, those with most total time first.

    Attributes:
        parts: the figures by place.
        mode: ``tracing`` or ``sampling``.
        clock: ``cpu`` or ``wall``.
        price: what profiling cost, and what it did not get.
        title: what it is of.
    """

    parts: Sequence[Part] = field(repr=False)
    mode: str
    clock: str
    price: Price
    title: str = _ALL

    # Looking at it

    def filter(
        self,
        *,
        job: Job | str | None = None,
        stage: Stage | str | None = None,
        task: Task | int | None = None,
        worker: Any = None,
    ) -> CpuStats:
        """Only some of the figures.

        Args:
            job: of this job, or jobs of this name.
            stage: of this stage, or stages of this name.
            task: of this task, or of the tasks with this index.
            worker: of this worker, a ``Peer`` or a name, or of these workers.

        Returns:
            The profile of these. With several conditions all have to hold.
        """
        tests: list[Callable[[Part], bool]] = []
        title = []
        if job is not None:
            check_named("job", job, Job)
            numbers = None if isinstance(job, str) else {each.number for each in job.stages}
            name = job if isinstance(job, str) else job.name
            tests.append(lambda part: part.place.key.job == name and (not numbers or part.place.key.number in numbers))
            title.append(f"job {name}")
        if stage is not None:
            check_named("stage", stage, Stage)
            tests.append(_test_stage(stage))
            title.append(f"stage {stage if isinstance(stage, str) else stage.name}")
        if task is not None:
            if not is_a(task, Task):
                task = _check_index(task)
            tests.append(_test_task(task))
            title.append(f"task {task if isinstance(task, int) else task.name}")
        if worker is not None:
            workers = list(worker) if is_a(worker, (list, tuple, set, frozenset)) else [worker]
            for each in workers:
                check_named("worker", each, Peer)
            nodes = [each if isinstance(each, str) else each.name for each in workers]
            tests.append(lambda part: part.place.worker in nodes)
            title.append(", ".join(nodes) if len(nodes) < _MANY else f"{len(nodes)} workers")
        if not tests:
            return self
        parts = [part for part in self.parts if all(test(part) for test in tests)]
        before = [self.title] if self.title != _ALL else []
        return replace(self, parts=parts, title=", ".join([*before, *title]))

    def split(self, by: str) -> dict[str, CpuStats]:
        """The profile of each ``job``, ``stage``, ``task`` or ``worker``, by its name.

        Raises:
            InvalidOption: there is nothing of this kind.
        """
        check_choice("by", by, _SPLITS)
        found: dict[str, list[Part]] = {}
        for part in self.parts:
            found.setdefault(_SPLITS[by](part), []).append(part)
        return {name: replace(self, parts=parts, title=name) for name, parts in sorted(found.items())}

    @cached_property
    def merged(self) -> Part:
        """All parts added up."""
        return apart(merge, self.parts)

    @cached_property
    def functions(self) -> Mapping[Function, FunctionStat]:
        """The figures by function, those with most total time first."""
        return apart(self._by_function)

    def _by_function(self) -> Mapping[Function, FunctionStat]:
        merged = self.merged
        callers: dict[Function, dict[Function, Cost]] = {}
        callees: dict[Function, dict[Function, Cost]] = {}
        for (caller, callee), cost in merged.edges.items():
            callers.setdefault(callee, {})[caller] = cost
            callees.setdefault(caller, {})[callee] = cost
        ranked = sorted(merged.functions.items(), key=lambda item: (-item[1].total, str(item[0])))
        return {
            function: FunctionStat(
                function,
                cost.calls,
                cost.primitive,
                cost.own,
                cost.total,
                callers.get(function, {}),
                callees.get(function, {}),
            )
            for function, cost in ranked
        }

    def __iter__(self) -> Iterator[FunctionStat]:
        return iter(self.functions.values())

    def __len__(self) -> int:
        return len(self.functions)

    def find(self, name: str) -> FunctionStat:
        """The figures of the function with this name, such as ``Worker.execute``; of the first, if there are several.

        Raises:
            KeyError: there is none.
        """
        for stat in self:
            if name in (stat.function.name, str(stat.function)):
                return stat
        raise KeyError(name)

    @property
    def seconds(self) -> float:
        """All that the functions took themselves."""
        return self.merged.seconds

    def select(
        self,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        sort_by: str = "totaltime",
        sort_dir: str = "desc",
    ) -> list[FunctionStat]:
        """The figures of some functions, in some order. See ``CpuProfiling.print_stats``."""
        check_choice("sort_by", sort_by, SORTS)
        check_choice("sort_dir", sort_dir, ("desc", "asc", "descending", "ascending"))
        check_modules("include", include)
        check_modules("exclude", exclude)
        found = [stat for stat in self if is_selected(stat.function.module, include, exclude)]
        return sorted(found, key=SORTS[sort_by], reverse=sort_dir.startswith("desc"))

    # Showing it

    def print(  # noqa: PLR0913 - what a table can be asked for
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
    ) -> None:
        """Print a table. See ``CpuProfiling.print_stats``."""
        max_rows = check_count("max_rows", max_rows)
        per_worker = check_flag("per_worker", per_worker)
        strip_dirs = check_flag("strip_dirs", strip_dirs)
        check_file(file)
        columns = [check_choice("columns", column, COLUMNS) for column in check_texts("columns", columns)]
        layout = text.Layout(max_rows, sort_by, sort_dir, tuple(columns), strip_dirs)
        tables = self.split("worker") if per_worker else {"": self}
        for name, stats in tables.items():
            rows = stats.select(include, exclude, sort_by, sort_dir)
            text.print_table(stats, rows, layout, title=name, file=file)
        text.print_footer(self, file=file)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a report. Its kind is told by the suffix; see ``CpuProfiling.save``.

        Raises:
            InvalidOption: there is no report of this kind.
        """
        target = Path(check_target(path))
        for suffix, write in _WRITERS.items():
            if target.name.endswith(suffix):
                write(self, target)
                return target
        raise InvalidOption(
            f"{safe_repr(str(target))} does not end in one of {', '.join(_WRITERS)}; name it like that."
        )

    def __rich__(self) -> RenderableType:
        return text.make_table(self)

    def __repr__(self) -> str:
        return text.to_text(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return text.to_html(self)


_WRITERS: Mapping[str, Callable[[CpuStats, Path], None]] = {
    ".html": page.write,
    ".speedscope.json": exports.write_speedscope,
    ".pstats": exports.write_pstats,
    ".callgrind": exports.write_callgrind,
}
#: What the name of a report can end in.
SUFFIXES = tuple(_WRITERS)


def is_selected(module: str, include: str | Sequence[str] | None, exclude: str | Sequence[str] | None) -> bool:
    """Whether a module is among those that are wanted. Each is a prefix: a package stands for all that is in it."""
    if include and not matches_module(module, include):
        return False
    return not (exclude and matches_module(module, exclude))


def matches_module(module: str, prefixes: str | Sequence[str]) -> bool:
    """Whether a module is one of these, or inside of one of these packages."""
    prefixes = (prefixes,) if isinstance(prefixes, str) else prefixes
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def count_calls(parts: Iterable[Part]) -> int:
    """How many calls were counted."""
    return sum(cost.calls for part in parts for cost in part.functions.values())


def _stage_name(part: Part) -> str:
    key = part.place.key
    return f"{key.job} / {key.stage}" if key.job else OUTSIDE_NAME


def _task_name(part: Part) -> str:
    key = part.place.key
    if not key.job:
        return OUTSIDE_NAME
    return f"{key.job} / {key.stage}[{key.index}]" if key.index >= 0 else f"{key.job} / {key.stage} (other tasks)"


#: What figures can be split by, with the name of each part.
_SPLITS: Mapping[str, Callable[[Part], str]] = {
    "job": lambda part: part.place.key.job or OUTSIDE_NAME,
    "stage": _stage_name,
    "task": _task_name,
    "worker": lambda part: part.place.worker,
}


def _check_index(task: object) -> int:
    try:
        return check_whole("task", task, least=0)
    except InvalidOption:
        raise InvalidOption(f"task must be a task or its index, got {safe_repr(task)}: leave it out for all.") from None


def _test_stage(stage: Stage | str) -> Callable[[Part], bool]:
    if isinstance(stage, str):
        return lambda part: part.place.key.stage == stage
    return lambda part: bool(part.place.key.job) and part.place.key.number == stage.number


def _test_task(task: Task | int) -> Callable[[Part], bool]:
    if isinstance(task, int):
        return lambda part: part.place.key.index == task and bool(part.place.key.job)
    number = task.stage.number if task.stage is not None else 0
    return lambda part: (part.place.key.number, part.place.key.index) == (number, task.index)
