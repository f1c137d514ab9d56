"""What can be set for a job, a stage or a task; the innermost wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict

from bndl.checks import (
    check_callable,
    check_flag,
    check_instance,
    check_number,
    check_seconds,
    check_whole,
    complain,
    is_a,
)
from bndl.errors import InvalidOption
from bndl.execute.failures import names_of
from bndl.reprs import safe_repr
from bndl.schedule.events import RetryRule
from bndl.schedule.retrying import LONGEST_BACKOFF

__all__ = [
    "NO_OPTIONS",
    "Effective",
    "JobOptions",
    "Locality",
    "Options",
    "Retry",
    "TaskOptions",
    "make_options",
    "merge_options",
]

#: Says how much each of the workers that are there is wanted, as (worker, score).
Locality = Callable[[Sequence[Any]], Iterable[tuple[Any, int]]]


#: How often a task may be tried at most: what is known of each attempt is kept.
_MOST_ATTEMPTS = 10_000
_LARGEST_FACTOR = 1_000.0
_HIGHEST_PRIORITY = 1_000_000_000

_ATTEMPTS = "1 runs each task once, 2 tries it once more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The rule by which a task is tried again.

    There are two budgets: ``attempts`` for errors of the task, ``losses`` for workers that are lost while they execute
    it. The second attempt waits ``backoff`` seconds, and each further one ``factor`` times as long as the one before.
    ``jitter`` varies each wait by up to that part of it, so that tasks that failed together do not start together. No
    wait is longer than a day.

    Attributes:
        attempts: the largest number of attempts, from 1 to 10,000.
        on: the exceptions after which the task is tried again; after any other it fails. One class, or several.
        backoff: seconds, at most a day.
        factor: from 1 to 1,000.
        jitter: from 0 to 1.
        elsewhere: whether other workers are preferred to those where the task failed.
        losses: the number of lost workers with which the task fails.

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
        settle = partial(object.__setattr__, self)
        settle("attempts", check_whole("attempts", self.attempts, _ATTEMPTS, most=_MOST_ATTEMPTS))
        hint = "1 fails a task when its first worker is lost"
        settle("losses", check_whole("losses", self.losses, hint, most=_MOST_ATTEMPTS))
        hint = "seconds until the second attempt, 0 for none"
        settle("backoff", check_number("backoff", self.backoff, hint, most=LONGEST_BACKOFF))
        hint = "1 for equal waits, 2 to double them"
        settle("factor", check_number("factor", self.factor, hint, least=1.0, most=_LARGEST_FACTOR))
        settle("jitter", check_number("jitter", self.jitter, "the part of a wait by which it is varied", most=1.0))
        settle("elsewhere", check_flag("elsewhere", self.elsewhere, "whether another worker is tried first"))
        on: Any = self.on
        if is_a(on, list):
            settle("on", tuple(on))
        for kind in self.types:
            if not (is_a(kind, type) and issubclass(kind, BaseException)):
                hint = "give one, or a tuple such as (OSError, ValueError)"
                raise complain("on", "exception classes", kind, hint)

    @property
    def types(self) -> tuple[type[BaseException], ...]:
        """The exceptions after which it is tried again."""
        return self.on if is_a(self.on, tuple) else (self.on,)  # type: ignore[return-value] # it is one

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
        timeout: seconds that an attempt may take, at most a year.
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
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(name, value))
        if self.attempts is not None and self.retry is not None:
            text = "attempts= and retry= were both given; say how often once, as bndl.Retry(attempts=...)."
            raise InvalidOption(text)


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "attempts": partial(check_whole, hint=_ATTEMPTS, most=_MOST_ATTEMPTS),
    "concurrency": partial(check_whole, hint="how many tasks may be under way; leave it out for no limit"),
    "timeout": partial(check_seconds, hint="seconds that an attempt may take; leave it out for no limit", above=True),
    "priority": partial(
        check_whole,
        hint="tasks with a higher one go first",
        least=-_HIGHEST_PRIORITY,
        most=_HIGHEST_PRIORITY,
    ),
    "retry": partial(
        check_instance, kind=Retry, rule="a bndl.Retry", hint="bndl.Retry(attempts=3, on=OSError), for example"
    ),
    "locality": partial(
        check_callable,
        hint="it gets the workers and returns pairs (worker, score), where a score below 0 forbids a worker and a "
        "higher one prefers it",
    ),
    "max_failures": partial(check_whole, hint="how many tasks may fail before the job does", least=0),
    "speculate": partial(check_flag, hint="whether stragglers are started a second time on idle slots"),
}


#: Nothing is given.
NO_OPTIONS = Options()


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
        retried: the names of the exceptions after which a task is tried again; None if it is after all.
    """

    retry: Retry
    timeout: float
    priority: int
    locality: Locality | None
    retried: tuple[str, ...] | None

    @classmethod
    def of(cls, *levels: Options) -> Effective:
        """What holds, given the options of a task, its stage and its job, or of the last of these: innermost first."""
        retry = _effective_retry(levels)
        is_any = any(kind is BaseException for kind in retry.types)
        return cls(
            retry,
            next((level.timeout for level in levels if level.timeout is not None), 0.0),
            next((level.priority for level in levels if level.priority is not None), 0),
            next((level.locality for level in levels if level.locality is not None), None),
            None if is_any else names_of(retry.types),
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


def merge_options(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """Options as keywords, with some in the place of others: ``attempts`` and ``retry`` stand for each other.

    None leaves what is outside as it is, as everywhere.
    """
    given = {name: value for name, value in inner.items() if value is not None or name not in outer}
    says_how_often = any(given.get(name) is not None for name in ("attempts", "retry"))
    taken = {"attempts", "retry", *given} if says_how_often else set(given)
    return {**{name: value for name, value in outer.items() if name not in taken}, **given}


def make_options(what: str, known: type[TaskOptions], given: Mapping[str, Any], more: tuple[str, ...] = ()) -> Options:
    """The options given to ``what`` as keywords; ``more`` are those that it takes besides.

    Raises:
        TypeError: it takes no option of that name.
        InvalidOption: a value makes no sense.
    """
    names = [*TaskOptions.__annotations__, *(JobOptions.__annotations__ if known is JobOptions else ()), *more]
    unknown = [name for name in given if name not in names or name in more]
    if unknown:
        text = f"{what} takes no option {safe_repr(unknown[0])}; its options are {', '.join(dict.fromkeys(names))}"
        raise TypeError(text)
    return Options(**given) if given else NO_OPTIONS
