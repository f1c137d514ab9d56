"""Names for values that live on workers.

In a task's arguments a ``Ref`` stands for the result of another task, and ``Results`` for the list of the results of
several. They can be at any depth of the arguments. Where the arguments are unpickled, on the worker, the values are put
in their place: they were fetched before. Where a stage tolerates failures a task may have no result: a list of results
leaves it out, and a single ``Ref`` raises ``InputFailed``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, overload

from bndl.checks import check_whole, is_a
from bndl.errors import InputFailed

__all__ = ["NO_RESULT", "Ref", "Results", "Source", "provided"]


#: Into how many parts results are split at most: each is an object here.
MOST_PARTS = 10_000_000

#: In the place of a result that there is none of: its task failed or was cancelled for good.
NO_RESULT = object()


class Source(Protocol):
    """What a ref needs to know of the stage whose results it names."""

    @property
    def name(self) -> str:
        """The stage's name."""

    @property
    def first_task(self) -> int:
        """The number of its first task; the others follow."""


class Ref:
    """A name for the result of one task. Used in the arguments of a task of a later stage."""

    __slots__ = ("index", "stage")

    def __init__(self, stage: Source, index: int) -> None:
        self.stage = stage
        self.index = index

    @property
    def tasks(self) -> range:
        """The number of the task, as a range of one."""
        task = self.stage.first_task + self.index
        return range(task, task + 1)

    def replacement(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What is pickled instead: on the worker it gives the value."""
        return _value, (self.tasks.start, self.stage.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.stage is self.stage and other.index == self.index

    def __hash__(self) -> int:
        return hash((id(self.stage), self.index))

    def __repr__(self) -> str:
        return f"<Ref: {self.stage.name}[{self.index}]>"


class Results(Sequence[Ref]):
    """The results of some tasks of one stage: a sequence of ``Ref``, as small as a slice however many they are."""

    __slots__ = ("indices", "stage")

    def __init__(self, stage: Source, indices: range) -> None:
        self.stage = stage
        self.indices = indices

    @property
    def tasks(self) -> range:
        """The numbers of the tasks."""
        first = self.stage.first_task
        return range(first + self.indices.start, first + self.indices.stop, self.indices.step)

    def replacement(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What is pickled instead: on the worker it gives the list of the values."""
        tasks = self.tasks
        return _values, (tasks.start, tasks.stop, tasks.step)

    def split(self, parts: int) -> list[Results]:
        """Divide into ``parts`` sequences of consecutive refs, as even as possible; some are empty if they must be.

        Raises:
            InvalidOption: ``parts`` is no whole number from 1 to 10,000,000.
        """
        parts = check_whole("parts", parts, "how many sequences to make, at least 1", most=MOST_PARTS)
        total = len(self.indices)
        bounds = [total * part // parts for part in range(parts + 1)]
        return [Results(self.stage, self.indices[low:high]) for low, high in pairwise(bounds)]

    @overload
    def __getitem__(self, item: int) -> Ref: ...
    @overload
    def __getitem__(self, item: slice) -> Results: ...
    def __getitem__(self, item: int | slice) -> Ref | Results:
        if is_a(item, slice):
            return Results(self.stage, self.indices[item])  # type: ignore[arg-type] # it is a slice
        try:
            return Ref(self.stage, self.indices[item])  # type: ignore[arg-type] # it is none
        except (IndexError, TypeError):
            raise
        except Exception as error:
            raise TypeError("results are found by whole numbers and slices") from error

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Ref]:
        return (Ref(self.stage, index) for index in self.indices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Results) and other.stage is self.stage and other.indices == self.indices

    def __hash__(self) -> int:
        return hash((id(self.stage), self.indices))

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse(self)

    def __repr__(self) -> str:
        return f"<Results: {len(self)} of {self.stage.name}>"


def _refuse(ref: Ref | Results) -> tuple[Any, ...]:
    msg = f"{ref!r} only has a meaning in the arguments of a task: pass it there, not inside a function or a result"
    raise TypeError(msg)


#: The values of the refs in the arguments that this thread is unpickling: a function of the task's number.
_inputs = threading.local()


class provided:  # noqa: N801 - a context manager, used like a function
    """While it is entered, refs that are unpickled in this thread are replaced by what ``lookup`` gives.

    ``NO_RESULT`` is left out of lists, and is an ``InputFailed`` for a single ref.
    """

    __slots__ = ("_before", "_lookup")

    def __init__(self, lookup: Callable[[int], Any] | Mapping[int, Any]) -> None:
        self._lookup = lookup if callable(lookup) else lookup.__getitem__

    def __enter__(self) -> None:
        self._before = getattr(_inputs, "lookup", None)
        _inputs.lookup = self._lookup

    def __exit__(self, *_: object) -> None:
        _inputs.lookup = self._before


def _value(task: int, stage: str) -> Any:
    value = _inputs.lookup(task)
    if value is NO_RESULT:
        index = task & 0xFFFFFFFF
        text = (
            f"there is no result of {stage}[{index}]: it failed or was cancelled, which its stage tolerates. Take the "
            "results as a list, such as stage.results: it leaves out those that are not there."
        )
        raise InputFailed(text, stage=stage, index=index)
    return value


def _values(start: int, stop: int, step: int) -> list[Any]:
    numbers = range(start, stop, step)
    if not numbers:  # a part of a split that is empty; nothing may be provided then
        return []
    values = list(map(_inputs.lookup, numbers))
    return [value for value in values if value is not NO_RESULT]
