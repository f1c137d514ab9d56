"""Where users want their tasks to run: their functions are asked whenever a worker joins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bndl.checks import MOST, check_whole
from bndl.driver.options import Locality
from bndl.errors import InvalidOption
from bndl.reprs import safe_repr, safe_str, type_name
from bndl.schedule.events import JobSpec, PlacesScored

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun

__all__ = ["Named", "cares", "score_places", "with_scores"]

#: How many pairs a function may give beyond one for each worker.
_MOST_PAIRS = 1000


class Named(Protocol):
    """A worker as users see it."""

    @property
    def name(self) -> str:
        """Its name."""


def cares(stages: Iterable[StageRun]) -> bool:
    """Whether somebody says where tasks of these stages are to run."""
    return any(stage.locality is not None or stage.task_localities for stage in stages)


def score_places(stages: Sequence[StageRun], workers: Sequence[Named]) -> list[PlacesScored]:
    """Ask where the tasks of stages are to run, given the workers that are there; for those where somebody cares.

    It calls the functions of users, so it is not for the driver's loop.

    Raises:
        InvalidOption: a function raised, or gave something that is no score of a worker.
    """
    return [_score(stage, workers) for stage in stages if cares([stage])]


def with_scores(spec: JobSpec, scored: Sequence[PlacesScored]) -> JobSpec:
    """A job whose stages know from the start where their tasks are to run."""
    by_stage = {each.stage: each for each in scored}
    replace = msgspec.structs.replace
    stages = tuple(
        replace(stage, scores=scores.scores, task_scores=scores.task_scores)
        if (scores := by_stage.get(stage.stage)) is not None
        else stage
        for stage in spec.stages
    )
    return replace(spec, stages=stages) if scored else spec


def _score(stage: StageRun, workers: Sequence[Named]) -> PlacesScored:
    answers: dict[int, Mapping[str, int]] = {}

    def ask(function: Locality, what: Callable[[], str]) -> Mapping[str, int]:
        # Tasks often share a function, which is asked once then.
        if id(function) not in answers:
            answers[id(function)] = _ask(function, what(), workers)
        return answers[id(function)]

    own = stage.locality
    scores = ask(own, lambda: f"stage {stage.name!r}") if own is not None else {}
    first = stage.number << 32
    tasks = {
        first + index: ask(function, lambda index=index: f"task {stage.name}[{index}]")  # type: ignore[misc]
        for index, function in stage.task_localities.items()
    }
    return PlacesScored(stage.number, scores, tasks)


def _ask(function: Locality, what: str, workers: Sequence[Named]) -> Mapping[str, int]:
    most = _MOST_PAIRS + len(workers)
    try:
        answer = list(islice(function(list(workers)), most + 1))
    except BaseException as error:  # the user's function; it goes to whoever waits for the job
        text = f"the locality of {what} raised {type_name(error)}: {safe_str(error)}. It gets the list of workers."
        raise InvalidOption(text) from error
    if len(answer) > most:
        text = (
            f"the locality of {what} gave more than {most} pairs; it must give one pair (worker, score) for a worker."
        )
        raise InvalidOption(text)
    known = {worker.name: worker for worker in workers}
    return dict(_read_pair(pair, what, known) for pair in answer)


def _read_pair(pair: Any, what: str, known: Mapping[str, Named]) -> tuple[str, int]:
    """A worker's name and its score, both of plain types: the scheduler compares them."""
    try:
        worker, score = pair
    except Exception:  # noqa: BLE001 - the user's object; what it raises does not matter
        text = f"the locality of {what} gave {safe_repr(pair)}; it must give pairs (worker, score)."
        raise InvalidOption(text) from None
    name = _name_of(worker)
    if name not in known:
        names = ", ".join(known) or "none"
        text = f"the locality of {what} scored {safe_repr(worker)}, which is no worker; the workers are: {names}."
        raise InvalidOption(text)
    hint = "below 0 forbids, 0 is indifferent, and a higher one is preferred"
    return name, check_whole(f"the score of {name} by the locality of {what}", score, hint, least=-MOST)


def _name_of(worker: object) -> str:
    """The name of a worker that was given as such or by name, as a plain string; empty for anything else."""
    try:
        name = worker if isinstance(worker, str) else worker.name  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - the user's object; what it raises does not matter
        return ""
    return str.__str__(name) if isinstance(name, str) else ""
