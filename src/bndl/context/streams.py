"""``map``: a function over items that are pulled as results are taken, so both may be endless."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from bndl.context.iterating import Iteration
from bndl.context.progress import Bars, Watch
from bndl.context.waiting import MOST_MAPPED_BYTES, Ended, Mailbox
from bndl.context.window import Window
from bndl.driver.driver import Driver
from bndl.driver.execution import Execution
from bndl.driver.naming import name_of
from bndl.driver.options import Options
from bndl.driver.preparing import make_growing_spec, pack_function
from bndl.driver.tasks import Task
from bndl.errors import InvalidOption, ItemsFailed
from bndl.execute.payloads import Packer
from bndl.execute.shown import function_name
from bndl.net.messages import Space
from bndl.reprs import safe_repr, safe_str, type_name
from bndl.schedule.events import JobSpec
from bndl.schedule.instructions import TaskOutcome
from bndl.schedule.transitions import State

__all__ = ["stream", "zip_items"]

T = TypeVar("T")
R = TypeVar("R")

#: How many tasks are handed to the driver at a time.
_BATCH = 512
#: Arguments of fewer bytes are not counted: of all that may be under way, they make 20 MiB.
_SMALL = 1024


class _Stream:
    """One ``map`` under way. Everything happens in the thread that takes the results, but for the work itself."""

    def __init__(
        self,
        driver: Driver,
        function: Callable[..., Any],
        items: Iterable[Any],
        name: str,
        options: Options,
        slots: Callable[[], int],
    ) -> None:
        self._driver = driver
        self._items = _iterate(items)
        self._packer = Packer()
        self._slots = slots
        self._mailbox = Mailbox(is_kept=True)
        self._next = 0
        self._window = Window(slots(), MOST_MAPPED_BYTES)
        #: The size of the arguments of items that are not done, by index, where it counts.
        self._sizes: dict[int, int] = {}
        self._exhausted = False
        self._items_error: Exception | None = None
        self._ended: Ended | None = None
        self.execution = Execution(driver, f"map {name}", self._mailbox)
        self._mailbox.bind(self.execution)
        self.execution.pinned = self._packer.pinned
        number = driver.next_number()
        payload = pack_function(driver, self._packer, function, f"the function {name!r}", number)
        self._stage = self.execution.add_stage(name, payload, number=number, growing=True)
        self._stage.function_name = function_name(function)
        spec = make_growing_spec(self._stage, options)
        driver.submit(self.execution, JobSpec(self.execution.number, (spec,)))

    def show(self, bars: Bars) -> None:
        """Show how far it is while a thread waits for results."""
        self._mailbox.bars = bars

    def in_order(self) -> Iterator[Task]:
        """The tasks in the order of the items, each when it is done."""
        waiting: deque[Task] = deque()
        while True:
            waiting.extend(self._pull())
            if not waiting:
                return
            first = waiting[0]
            # What is done and comes later is taken out too: the mailbox would keep it until after it was yielded.
            while self._ended is None and (first.outcome is None or not self._mailbox.is_empty):
                self._take(first)
            if first.outcome is None:
                return
            self._give(waiting.popleft())
            yield first

    def as_done(self) -> Iterator[Task]:
        """The tasks as they are done."""
        while True:
            self._pull()
            if not self._window.outstanding or self._ended is not None:
                return
            for task in self._take():
                self._give(task)
                yield task

    def finish(self) -> None:
        """Raise what went wrong, if anything did."""
        while self._ended is None:
            self._take()
        self._ended.check()
        if self._items_error is not None:
            error = self._items_error
            text = (
                f"the items given to map raised {type_name(error)}: {safe_str(error)} after {self._next} items. The "
                "results of those were yielded before this; correct the iterable and go on from there."
            )
            raise ItemsFailed(text, pulled=self._next) from error

    def _take(self, needed: Task | None = None) -> Sequence[Task]:
        """What is done by now; ``needed`` is the task that is waited for, if it is a certain one."""

        def see_to_it() -> None:
            # It was lost with its worker, or failed and is tried again, and nothing is launched while too much waits.
            if needed is not None and needed.state is not State.PENDING:
                self._mailbox.go_on()

        got = self._mailbox.take(see_to_it)
        if isinstance(got, Ended):
            self._ended = got
            return ()
        for task in got:
            self._window.done(self._sizes.pop(task.index, 0), task.payload_bytes)
        self._window.adapt(self._slots(), sum(task.seconds for task in got) / len(got))
        return got

    def _give(self, task: Task) -> None:
        """Somebody takes a task."""
        size = task.payload_bytes
        self._window.taken(size)
        self._mailbox.release(size)

    def _pull(self) -> list[Task]:
        """Pull items until there are enough."""
        pulled: list[Task] = []
        if self._exhausted or self._ended is not None:
            return pulled
        missing = self._window.room
        while missing > 0 and not self._exhausted and not self._window.is_full:
            first = self._next
            batch = self._pull_batch(min(missing, _BATCH))
            if batch:
                self._driver.add_tasks(self._stage, first, batch)
            missing -= len(batch)
            pulled += batch
        if self._exhausted:
            self._driver.close_stage(self._stage)
        return pulled

    def _pull_batch(self, count: int) -> list[Task]:
        batch: list[Task] = []
        first = self._stage.number << 32
        while len(batch) < count and not self._window.is_full:
            try:
                item = next(self._items)
            except StopIteration:
                self._exhausted = True
                break
            except Exception as error:  # noqa: BLE001 - the user's iterable; it is raised after the results before it
                self._exhausted = True
                self._items_error = error
                break
            payload = self._packer.pack(item, f"item {self._next} of map")
            task = Task.of_item(None)
            task.begin_run(self._stage, self._next)
            task.set_arguments(self._driver.store_if_large(Space.ARGUMENTS, first + self._next, payload))
            self._window.pulled(size := len(payload) if len(payload) >= _SMALL else 0)
            if size:
                self._sizes[self._next] = size
            batch.append(task)
            self._next += 1
        return batch


def _iterate(items: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(items)
    except Exception as error:  # the user's __iter__, or there is none
        text = (
            f"items must be iterable, got {safe_repr(items)} ({safe_str(error)}): "
            "call ctx.map(function, items), as in ctx.map(abs, [-1, 2])."
        )
        raise InvalidOption(text) from error


def zip_items(iterables: tuple[Iterable[Any], ...]) -> Iterator[tuple[Any, ...]]:
    """The arguments that several iterables give, until the shortest ends.

    Raises:
        InvalidOption: there is no iterable, or one cannot be iterated over.
    """
    if not iterables:
        raise InvalidOption("ctx.map got no items: call ctx.map(function, items), as in ctx.map(abs, [-1, 2]).")
    return zip(*map(_iterate, iterables), strict=False)


def stream(
    driver: Driver,
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    ordered: bool,
    options: Options,
    slots: Callable[[], int],
    name: str | None = None,
    watch: Watch | None = None,
) -> Iteration[R]:
    """The results of a function over items; see ``Context.map``. ``watch`` shows how many were taken.

    Results of items that failed and are tolerated are left out.
    """
    mapping = _Stream(driver, function, items, name or name_of(function, "map"), options, slots)
    results = _results(mapping, ordered=ordered)
    bars = None
    if watch is not None:
        bars = watch.bars
        mapping.show(bars)
        results = watch.count(results)
    return Iteration(mapping.execution, results, "the results of map are not taken any more", bars)


def _results(mapping: _Stream, *, ordered: bool) -> Generator[Any, None, None]:
    for task in mapping.in_order() if ordered else mapping.as_done():
        if task.outcome is TaskOutcome.CANCELLED:  # because of another one, which is what is raised
            break
        if not task.is_tolerated:
            yield task.take_result()
    mapping.finish()
