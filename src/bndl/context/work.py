"""What a context and its views start: calls, and functions over items."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from bndl.checks import check_callable, check_flag
from bndl.context import progress
from bndl.context.calls import Calls
from bndl.context.iterating import Iteration
from bndl.context.streams import stream, zip_items
from bndl.driver.driver import Driver
from bndl.driver.naming import name_of
from bndl.driver.options import NO_OPTIONS, Options
from bndl.execute.spreading import spread

__all__ = ["Work"]

R = TypeVar("R")

#: How many sets of options ``submit`` keeps a job for while it has no calls with them.
_MOST_IDLE = 16


class _Used:
    """The calls with one set of options, and how many threads are about to make one."""

    def __init__(self, calls: Calls, options: Options) -> None:
        self.calls = calls
        self.options = options  # its key has the identities of what is in it
        self.users = 0


class Work:
    """Starts work. Thread-safe.

    Args:
        driver: executes it.
        slots: how many tasks the workers execute at the same time.
        show_progress: whether ``map`` shows a bar.
    """

    def __init__(self, driver: Driver, slots: Callable[[], int], *, show_progress: bool) -> None:
        self._driver = driver
        self._slots = slots
        self._show_progress = show_progress
        self._lock = threading.Lock()
        #: The calls without options: there is no lock around these.
        self._plain: Calls | None = None
        self._used: dict[tuple[Any, ...], _Used] = {}

    def map(
        self,
        function: Callable[..., R],
        iterables: tuple[Iterable[Any], ...],
        *,
        ordered: bool,
        options: Options,
        name: str | None,
    ) -> Iteration[R]:
        """See ``Context.map``."""
        check_callable("function", function, "ctx.map needs a function, as in ctx.map(function, items)")
        ordered = check_flag("ordered", ordered, "whether results come in the order of the items")
        name = name or name_of(function, "map")
        watch = None
        if self._show_progress:
            counts = [progress.count_items(items) for items in iterables]
            total = min((count for count in counts if count is not None), default=None)
            watch = progress.Watch(name, total)
        # Where there are several iterables an item is a tuple of arguments.
        is_one = len(iterables) == 1
        return stream(
            self._driver,
            function if is_one else partial(spread, function),
            iterables[0] if is_one else zip_items(iterables),
            name=name,
            ordered=ordered,
            options=options,
            slots=self._slots,
            watch=watch,
        )

    def submit(
        self,
        function: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options = NO_OPTIONS,
        name: str | None = None,
    ) -> Future[R]:
        """See ``Context.submit``."""
        check_callable("function", function, "ctx.submit needs a function, as in ctx.submit(function, *args)")
        if options is NO_OPTIONS:
            return self._find_plain().submit(function, args, kwargs, name)
        with self._calls_with(options) as calls:
            return calls.submit(function, args, kwargs, name)

    def close(self) -> None:
        """Stop all calls that are under way."""
        with self._lock:
            every = [each.calls for each in self._used.values()]
            plain = self._plain
        for calls in every if plain is None else [plain, *every]:
            calls.close()

    def _find_plain(self) -> Calls:
        calls = self._plain
        if calls is None or calls.is_over:
            with self._lock:
                if self._plain is None or self._plain.is_over:
                    self._plain = Calls(self._driver, NO_OPTIONS)
                calls = self._plain
        return calls

    @contextmanager
    def _calls_with(self, options: Options) -> Iterator[Calls]:
        """The calls with these options, which do not end while a call is added to them."""
        key = _key(options)
        with self._lock:
            used = self._used.pop(key, None)
            if used is None or used.calls.is_over:
                used = _Used(Calls(self._driver, options), options)
                self._end_idle()
            self._used[key] = used  # as the last one, so that the first is the one that was not used for longest
            used.users += 1
        try:
            yield used.calls
        finally:
            with self._lock:
                used.users -= 1

    def _end_idle(self) -> None:
        """End jobs that have no calls, if there are many: users may give options that are never the same."""
        idle = [key for key, used in self._used.items() if not used.users and used.calls.is_idle]
        for key in idle[: max(len(self._used) - _MOST_IDLE, 0)]:
            self._used.pop(key).calls.finish()


def _key(options: Options) -> tuple[Any, ...]:
    """What tells options apart. Users' functions and classes by identity, as their own methods may do anything."""
    retry = options.retry
    rule = None if retry is None else (retry.attempts, retry.losses, retry.rule, tuple(map(id, retry.types)))
    return options.attempts, options.timeout, options.priority, rule, id(options.locality)
