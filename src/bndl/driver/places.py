"""Where users want their tasks to run: their functions are asked whenever a worker joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from bndl.driver.options import Locality
from bndl.errors import BndlError, InvalidOption
from bndl.schedule.events import JobSpec, PlacesScored

if TYPE_CHECKING:
    from bndl.driver.execution import StageRun

__all__ = ["Named", "score_places", "with_scores"]


class Named(Protocol):
    """A worker as users see it."""

    @property
    def name(self) -> str:
        """Its name."""


def score_places(stages: Sequence[StageRun], workers: Sequence[Named]) -> list[PlacesScored]:
    """Ask where the tasks of stages are to run, given the workers that are there; for those where somebody cares.

    Raises:
        InvalidOption: a function raised, or gave something that is no score of a worker.
    """
    return [_score(stage, workers) for stage in stages if stage.locality is not None or stage.task_localities]


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
    try:
        answer = list(function(list(workers)))
    except BndlError:
        raise
    except BaseException as error:  # the user's function, which must not end the loop
        text = f"the locality of {what} raised {type(error).__name__}: {error}. It gets the list of workers."
        raise InvalidOption(text) from error
    known = {worker.name: worker for worker in workers}
    scores: dict[str, int] = {}
    for pair in answer:
        try:
            worker, score = pair
        except (TypeError, ValueError):
            text = f"the locality of {what} gave {pair!r}; it must give pairs (worker, score)."
            raise InvalidOption(text) from None
        name = worker if isinstance(worker, str) else getattr(worker, "name", None)
        if name not in known:
            names = ", ".join(known) or "none"
            text = f"the locality of {what} scored {worker!r}, which is no worker; the workers are: {names}."
            raise InvalidOption(text)
        if not isinstance(score, int) or isinstance(score, bool):
            text = (
                f"the locality of {what} gave {name} the score {score!r}; scores are whole numbers: below 0 forbids, "
                "0 is indifferent, and a higher one is preferred."
            )
            raise InvalidOption(text)
        scores[name] = score
    return scores
