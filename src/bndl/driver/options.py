"""What can be set for a job, a stage or a task; the innermost wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from bndl.errors import InvalidOption
from bndl.schedule.events import RetryRule

__all__ = [
    "Effective",
    "JobOptions",
    "Locality",
    "Options",
    "Retry",
    "TaskOptions",
    "check_count",
    "check_number",
    "make_options",
]

#: Says how much each of the workers that are there is wanted, as (worker, score).
Locality = Callable[[Sequence[Any]], Iterable[tuple[Any, int]]]


def check_count(name: str, value: object, hint: str, least: int = 1) -> None:
    """Raise ``InvalidOption`` if a value that is given is no whole number from ``least`` up; ``hint`` ends the text."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        text = f"{name} must be a whole number, not {value!r}: {hint}."
        raise InvalidOption(text)
    if value < least:
        text = f"{name} must be at least {least}, not {value}: {hint}."
        raise InvalidOption(text)


def check_number(name: str, value: object, least: float, most: float, hint: str) -> None:
    """Raise ``InvalidOption`` if a value is no number from ``least`` to ``most``; ``hint`` ends the text."""
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        text = f"{name} must be a number, not {value!r}: {hint}."
        raise InvalidOption(text)
    if not least <= value <= most or math.isinf(value):
        bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        text = f"{name} must be {bounds}, not {value:g}: {hint}."
        raise InvalidOption(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What is done about a task that does not succeed.

    There are two budgets: ``attempts`` for errors of the task, ``losses`` for workers that are lost while they execute
    it. The second attempt waits ``backoff`` seconds, and each further one ``factor`` times as long as the one before;
    each wait is varied by up to ``jitter`` of itself, so that tasks that failed together do not come back together.

    Attributes:
        attempts: how often a task may be tried.
        on: the exceptions after which it is tried again; after others it has failed. One class, or several.
        backoff: seconds.
        factor: 1 or more.
        jitter: from 0 to 1.
        elsewhere: whether workers where it failed are only used again if no other one will have it.
        losses: how many workers it may lose before it has failed.

    Raises:
        InvalidOption: a value makes no sense.
    """

    attempts: int = 3
    on: type[BaseException] | tuple[type[BaseException], ...] = (Exception,)
    backoff: float = 0.0
    factor: float = 2.0
    jitter: float = 0.1
    elsewhere: bool = True
    losses: int = 3

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts, "1 runs each task once, 2 tries it once more")
        check_count("losses", self.losses, "1 gives a task up with the first worker that it loses")
        check_number("backoff", self.backoff, 0.0, math.inf, "seconds until the second attempt, 0 for none")
        check_number("factor", self.factor, 1.0, math.inf, "1 for equal waits, 2 to double them")
        check_number("jitter", self.jitter, 0.0, 1.0, "the part of a wait by which it is varied")
        for kind in self.types:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                text = (
                    f"on= must be exception classes, not {kind!r}: give one, or a tuple such as (OSError, ValueError)."
                )
                raise InvalidOption(text)

    @property
    def types(self) -> tuple[type[BaseException], ...]:
        """The exceptions after which it is tried again."""
        return self.on if isinstance(self.on, tuple) else (self.on,)

    @property
    def rule(self) -> RetryRule:
        """What of this the scheduler needs."""
        return RetryRule(self.backoff, self.factor, self.jitter, self.elsewhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a job, a stage or a task. None leaves the choice to what is around it.

    Attributes:
        attempts: how often a task may be tried before it has failed; 1 if nothing says otherwise.
        concurrency: how many tasks may be under way at the same time; without limit if nothing says otherwise.
        timeout: seconds that an attempt may take.
        priority: tasks with a higher one go first; 0 if nothing says otherwise.
        retry: what is done about a task that does not succeed.
        locality: says where the tasks are to run.
        max_failures: how many tasks of a stage may fail before the job does; 0 if nothing says otherwise.
        speculate: whether stragglers are started a second time on idle slots.

    Raises:
        InvalidOption: a value makes no sense.
    """

    attempts: int | None = None
    concurrency: int | None = None
    timeout: float | None = None
    priority: int | None = None
    retry: Retry | None = None
    locality: Locality | None = None
    max_failures: int | None = None
    speculate: bool | None = None

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts, "1 runs each task once, 2 tries it once more")
        check_count("concurrency", self.concurrency, "leave it out for no limit")
        check_count("max_failures", self.max_failures, "how many tasks may fail before the job does", least=0)
        if self.timeout is not None:
            check_number("timeout", self.timeout, 0.0, math.inf, "seconds that an attempt may take")
            if not self.timeout:
                text = "timeout must be more than 0 seconds; leave it out for no limit."
                raise InvalidOption(text)
        if self.priority is not None and (not isinstance(self.priority, int) or isinstance(self.priority, bool)):
            text = f"priority must be a whole number, not {self.priority!r}: tasks with a higher one go first."
            raise InvalidOption(text)
        if self.retry is not None and not isinstance(self.retry, Retry):
            text = f"retry must be a bndl.Retry, not {self.retry!r}: bndl.Retry(attempts=3, on=OSError), for example."
            raise InvalidOption(text)
        if self.attempts is not None and self.retry is not None:
            text = "attempts= and retry= were both given; say how often once, as bndl.Retry(attempts=...)."
            raise InvalidOption(text)
        if self.locality is not None and not callable(self.locality):
            text = (
                f"locality must be a function, not {self.locality!r}: it gets the workers and returns pairs "
                "(worker, score), where a score below 0 forbids a worker and a higher one prefers it."
            )
            raise InvalidOption(text)
        if self.speculate is not None and not isinstance(self.speculate, bool):
            text = f"speculate must be True or False, not {self.speculate!r}."
            raise InvalidOption(text)


class TaskOptions(TypedDict, total=False):
    """The options of a task, as keywords."""

    attempts: int | None
    timeout: float | None
    priority: int | None
    retry: Retry | None
    locality: Locality | None


class JobOptions(TaskOptions, total=False):
    """The options of a job or a stage, as keywords."""

    concurrency: int | None
    max_failures: int | None
    speculate: bool | None


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for tasks, all levels taken together.

    Attributes:
        retry: what is done about a task that does not succeed.
        timeout: seconds that an attempt may take, 0 for no limit.
        priority: tasks with a higher one go first.
        locality: says where the tasks are to run, if anything does.
    """

    retry: Retry
    timeout: float
    priority: int
    locality: Locality | None

    @classmethod
    def of(cls, *levels: Options) -> Effective:
        """What holds, given the options of a task, its stage and its job, or of the last of these: innermost first."""
        return cls(
            _effective_retry(levels),
            next((level.timeout for level in levels if level.timeout is not None), 0.0),
            next((level.priority for level in levels if level.priority is not None), 0),
            next((level.locality for level in levels if level.locality is not None), None),
        )


#: Without a ``Retry`` any error counts as a reason to use the attempts there are.
_PLAIN = Retry(attempts=1, on=BaseException)


def _effective_retry(levels: Sequence[Options]) -> Retry:
    rule = next((level.retry for level in levels if level.retry is not None), _PLAIN)
    for level in levels:
        if level.attempts is not None:
            return replace(rule, attempts=level.attempts)
        if level.retry is not None:
            return level.retry
    return _PLAIN


def make_options(what: str, known: type[TaskOptions], given: Mapping[str, Any]) -> Options:
    """The options given to ``what`` as keywords.

    Raises:
        TypeError: it takes no option of that name.
        InvalidOption: a value makes no sense.
    """
    names = [*TaskOptions.__annotations__, *(JobOptions.__annotations__ if known is JobOptions else ())]
    unknown = [name for name in given if name not in names]
    if unknown:
        text = f"{what} takes no option {unknown[0]!r}; its options are {', '.join(dict.fromkeys(names))}"
        raise TypeError(text)
    return Options(**given)
