"""One attempt, from its arguments to what is reported of it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from bndl.config import Config
from bndl.errors import InputFailed, OutOfMemory, ResultTooLarge, TaskCancelled, TaskInterrupted, TaskTimeout
from bndl.execute import failures, memory
from bndl.execute.border import Border, Stop
from bndl.execute.current import current
from bndl.execute.interrupter import Interrupter
from bndl.execute.payloads import Packer, unpack
from bndl.execute.raising import without_wake
from bndl.execute.refs import NO_RESULT, provided
from bndl.execute.shown import describe_call_of, function_name
from bndl.execute.slots import Prepared
from bndl.execute.store import Store
from bndl.execute.watchdog import Watchdog
from bndl.net.messages import Result, Space

__all__ = ["ABANDONED", "FAILED", "INPUTS_MISSING", "SUCCEEDED", "Runner"]

SUCCEEDED, FAILED, INPUTS_MISSING, ABANDONED = range(4)

#: Raised while arguments are unpickled, but not because of that.
_NOT_OF_LOADING = (InputFailed, TaskCancelled, TaskInterrupted, TaskTimeout)


class Runner:
    """Executes attempts, each in the thread of its slot.

    Args:
        store: has inputs, and keeps results.
        config: settings.
        now: the clock.
        border: is crossed on the way to the user's code and back.
        interrupter: stops attempts.
        watchdog: ends the process if an attempt cannot be stopped.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        now: Callable[[], float],
        border: Border,
        interrupter: Interrupter,
        watchdog: Watchdog,
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._border = border
        self._interrupter = interrupter
        self._watchdog = watchdog
        self._local = threading.local()

    def begin(self, prepared: Prepared) -> None:
        """A slot has taken an attempt: its time runs."""
        prepared.started = self._now()
        if prepared.attempt.timeout or self._watchdog.is_set:
            self._interrupter.begin(prepared)

    def execute(self, prepared: Prepared) -> Result | None:
        """Execute an attempt. Nothing of it is executing any more when this returns.

        Returns:
            What is to be reported; None if that was done already, because it did not end in time.
        """
        watch = prepared.tenancy.watch
        # What watches is outside of the border: nothing that is meant for the attempt comes up there.
        kind, payload, seen = self._pass(prepared) if watch is None else watch.run(prepared, self._pass)
        current.set(None)
        prepared.inputs, prepared.calls = None, ""
        if prepared.voice is not None:
            prepared.tenancy.lines.end(prepared)
        stop = prepared.stop
        if stop is not None:
            self._local.packer = None  # it may have been left in the middle of its work
            if stop.gave_up:
                return None
            if not isinstance(stop.error, TaskTimeout):
                kind, payload = ABANDONED, b""
            elif stop is not seen:
                kind, payload = FAILED, failures.describe(stop.error)
            stop.error.__traceback__ = stop.error.__context__ = None  # they lead to the user's values
        size = len(payload)
        stored = False
        if kind == SUCCEEDED and (prepared.definition.message.kept or size > self._config.inline_bytes):
            try:
                self._keep(prepared, payload)
                payload, stored = b"", True
            except Exception as error:  # noqa: BLE001 - it is too large, or the disk is full; it goes to the driver
                kind, payload = FAILED, self._describe(prepared, error, 1)
        seconds = self._now() - prepared.started
        added = prepared.added if kind == SUCCEEDED else b""
        notes = b"" if watch is None else watch.finish()
        return Result(*prepared.key, kind, seconds, payload, stored, size, prepared.fetched, (), added, notes)

    def report_stuck(self, prepared: Prepared) -> tuple[str, Result | None]:
        """Of an attempt that does not end: where it is, and what is to be reported of it, if it is out of time."""
        stack = _stack_of(prepared)
        text = "".join(traceback.format_list(stack))
        stop = prepared.stop
        if stop is None or not isinstance(stop.error, TaskTimeout):
            return text, None
        payload = failures.describe(stop.error, stack=stack)
        return text, Result(*prepared.key, FAILED, self._now() - prepared.started, payload)

    def _pass(self, prepared: Prepared) -> tuple[int, bytes, Stop | None]:
        """Cross the border and come back. Returns as ``_cross`` does, and raises nothing."""
        try:
            try:
                return self._cross(prepared)
            finally:
                self._border.leave(prepared)
        except BaseException as error:  # noqa: BLE001 - where the task ends; it goes to the driver
            self._border.leave(prepared)  # again: this may be what interrupted it
            return FAILED, self._describe(prepared, error, 2), None

    def _cross(self, prepared: Prepared) -> tuple[int, bytes, Stop | None]:
        """Cross the border, into the user's code. Returns how it ended, and the stop that this takes into account."""
        try:
            self._border.enter(prepared)
            current.set(prepared)
            return SUCCEEDED, self._call_task(prepared), None
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises; it goes to the driver
            stop = prepared.stop
            if stop is None:
                return FAILED, self._describe(prepared, error, 2, show_call=True), None
            if not isinstance(stop.error, TaskTimeout):
                return ABANDONED, b"", stop
            late = stop.error.with_traceback(without_wake(error.__traceback__))
            late.__context__ = None if isinstance(error, TaskInterrupted | TaskTimeout) else error
            return FAILED, failures.describe(late, 2, call=self._describe_call(prepared)), stop

    def _describe(
        self, prepared: Prepared, error: BaseException, skip_frames: int, *, show_call: bool = False
    ) -> bytes:
        """Describe what a task raised. Not where it was caught: an exception that is named there keeps all alive.

        ``show_call`` only inside of the border: it may call the ``__repr__`` of the user's arguments.
        """
        explained = memory.explain(error)
        if isinstance(explained, OutOfMemory):
            shielded = self._border.shield(prepared)
            try:
                self._store.spill()
            finally:
                if shielded:
                    self._border.unshield(prepared)
        calls = prepared.calls
        loading = calls if isinstance(calls, str) and not isinstance(error, _NOT_OF_LOADING) else ""
        call = self._describe_call(prepared) if show_call else ""
        return failures.describe(explained, skip_frames, call=call, loading=loading)

    def _describe_call(self, prepared: Prepared) -> str:
        """What was called, if anything was by now."""
        calls = prepared.calls
        if isinstance(calls, str):
            return ""
        function, args, kwargs = calls
        return describe_call_of(function, args, kwargs) if self._config.show_items else function_name(function)

    def _call_task(self, prepared: Prepared) -> bytes:
        """Unpickle, call and pickle."""
        attempt = prepared.attempt
        definition = prepared.definition
        prepared.calls = "its argument"
        if attempt.sources:
            none = {task for node, tasks in attempt.sources if not node for task in tasks}
            with provided(lambda task: NO_RESULT if task in none else self._input(prepared, task)):
                argument = unpack(attempt.arguments)
        else:
            argument = unpack(attempt.arguments)
        if definition.message.calls:
            function, args, kwargs = prepared.calls = argument
            value = function(*args, **kwargs)
        else:
            prepared.calls = "its function"
            function = definition.function
            prepared.calls = function, (argument,), {}
            value = function(argument)
        packer: Packer | None = getattr(self._local, "packer", None)
        if packer is None:
            packer = self._local.packer = Packer()
        payload = packer.pack(value, "the result of the task")
        if prepared.additions is not None:
            what = "what the task added to an accumulator"
            # Each for itself: one that cannot be unpickled spoils its own accumulator only.
            added = {number: packer.pack(each, what) for number, each in prepared.additions.items()}
            prepared.added = packer.pack(added)
        return payload

    def _input(self, prepared: Prepared, task: int) -> Any:
        data = prepared.inputs.get(task) if prepared.inputs else None
        if data is None:
            data = self._store.get((prepared.driver, Space.RESULT, task))
        if data is None:
            text = f"the result of task {task} was here when the task was launched and is not here any more"
            raise LookupError(text)
        return unpack(data)

    def _keep(self, prepared: Prepared, payload: bytes) -> None:
        """Keep the result here: later stages need it, or it is too large for a message."""
        definition = prepared.definition
        size = len(payload)
        if not definition.message.kept and self._config.max_result_bytes < size:
            text = (
                f"the result of the task takes {size:,} bytes, more than the {self._config.max_result_bytes:,} "
                "that may go to the driver. Use it in a later stage, so that it stays on workers, or return less."
            )
            raise ResultTooLarge(text, size_bytes=size, limit_bytes=self._config.max_result_bytes)
        task = prepared.attempt.task
        self._store.put((prepared.driver, Space.RESULT, task), payload)
        definition.stored[task] = None
        if definition.forgotten:
            self._store.drop([(prepared.driver, Space.RESULT, task)])


def _stack_of(prepared: Prepared) -> Sequence[traceback.FrameSummary]:
    """Where the thread of an attempt is, from the user's code on; empty if it has not begun."""
    frame = sys._current_frames().get(prepared.thread)  # noqa: SLF001 - documented, in spite of its name
    entries = traceback.extract_stack(frame) if frame is not None else []
    own = [index for index, entry in enumerate(entries) if entry.filename == __file__]
    return entries[max(own, default=-1) + 1 :]
