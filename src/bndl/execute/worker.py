"""A worker: a node that executes tasks and keeps results.

Messages are handled on the node's loop; tasks run in slots. What a driver sent and what was kept for it is in its
``Tenancy``, which goes when the driver goes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bndl.config import Config
from bndl.errors import ResultTooLarge
from bndl.execute import current, failures
from bndl.execute.current import CurrentTask
from bndl.execute.definitions import Definition, Tenancy
from bndl.execute.gathering import Gathering
from bndl.execute.outbox import DELAY, Outbox
from bndl.execute.payloads import Packer, unpack
from bndl.execute.refs import NO_RESULT, provided
from bndl.execute.search_path import take_over
from bndl.execute.slots import Prepared, Slots
from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.loop import Loop
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.fabric import Fabric
from bndl.net.messages import Attempt, Message, NodeInfo, Result, Space
from bndl.net.peers import Peers

__all__ = ["Worker", "WorkerParts"]

logger = logging.getLogger(__name__)

SUCCEEDED, FAILED, INPUTS_MISSING, ABANDONED = range(4)


class WorkerParts(Protocol):
    """What a worker is made of that differs between a real and a simulated one."""

    @property
    def loop(self) -> Loop:
        """What it does, it does on this."""

    @property
    def bulk_loop(self) -> Loop:
        """Its store is served on this."""

    def make_slots(self, count: int, execute: Callable[[Prepared], None]) -> Slots:
        """Room for ``count`` tasks."""

    def run_beside(self, call: Callable[[], None]) -> None:
        """Run a call from a peer beside the tasks."""


class Worker:
    """Executes tasks for drivers.

    Args:
        fabric: carries its messages.
        info: what it says of itself.
        parts: its loops and slots.
        config: settings.
        store: where results are kept.
    """

    def __init__(
        self,
        fabric: Fabric,
        info: NodeInfo,
        parts: WorkerParts,
        config: Config,
        store: Store,
    ) -> None:
        self.name = info.name
        self.peers = Peers(parts.loop, fabric, info, self, config.hello_interval)
        self.store = store
        self._loop = parts.loop
        self._run_beside = parts.run_beside
        self._config = config
        self._tenancies: dict[str, Tenancy] = {}
        self._calls = Calls(parts.loop, self.peers.send, self.peers.is_connected, config.lease)
        self._transfer = Transfer(
            store,
            self._calls,
            lambda to, message, bulk: self.peers.send(to, message, bulk=bulk),
            parts.bulk_loop,
            timeout=config.fetch_timeout,
            chunk_bytes=config.chunk_bytes,
        )
        self._slots = parts.make_slots(info.concurrency, self.execute)
        self._local = threading.local()
        self._handlers: dict[type, Callable[[str, Any], None]] = {
            messages.Abandon: self._on_abandon,
            messages.Answer: self._on_answer,
            messages.Call: self._on_call,
            messages.Define: self._on_define,
            messages.Fetch: self._transfer.serve,
            messages.Fetched: self._on_answer,
            messages.Forget: self._on_forget,
            messages.Launch: self._on_launch,
            messages.LookIn: self._on_look_in,
            messages.Release: self._on_release,
            messages.TakeBack: self._on_take_back,
        }

    # Peers

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer is there. A driver gets its tenancy with its first message."""
        self._calls.send_held(info.name)
        logger.debug("%s is connected", info.name)

    def peer_lost(self, name: str, reason: str) -> None:
        """A peer is gone: nobody waits for what a lost driver wanted, and nothing comes from a lost worker."""
        logger.debug("%s is lost: %s", name, reason)
        tenancy = self._tenancies.pop(name, None)
        if tenancy is not None:
            tenancy.gone = True
            for definition in tenancy.definitions.values():
                definition.forgotten = True
            self._slots.take_back(name, None)
            for task, number in list(tenancy.running):  # the slots go on meanwhile
                current.abandoned.add((name, task, number))
            self.store.drop_where(lambda key: key[0] == name)
        self._calls.lose(name)

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions, so it cannot be worked with."""
        logger.warning("%s runs %s, it is not worked with", info.name, info.versions)

    def message_received(self, sender: str, message: Message) -> None:
        """Handle a message."""
        handler = self._handlers.get(type(message))
        if handler is None:
            logger.warning("%s sent a %s, which is not for a worker", sender, type(message).__name__)
        else:
            handler(sender, message)

    def _tenancy(self, driver: str) -> Tenancy:
        tenancy = self._tenancies.get(driver)
        if tenancy is None:
            outbox = Outbox(self._loop.now, lambda message: self.peers.send(driver, message), self._schedule_flush)
            tenancy = self._tenancies[driver] = Tenancy(driver, outbox)
        return tenancy

    def _schedule_flush(self, outbox: Outbox) -> None:
        self._loop.post(lambda: self._loop.call_later(DELAY, outbox.flush))

    # Messages

    def _on_define(self, driver: str, message: messages.Define) -> None:
        tenancy = self._tenancy(driver)
        definition = tenancy.definitions[message.stage] = Definition(message)
        if message.function or message.calls:
            return

        def fetched(data: dict[int, bytes], _missing: list[int]) -> None:
            definition.set_function(data.get(message.stage))
            for attempts in definition.take_waiting():
                self._launch(tenancy, definition, attempts)

        definition.is_waiting = True
        self._transfer.fetch(driver, driver, Space.FUNCTION, [message.stage], fetched)

    def _on_launch(self, driver: str, message: messages.Launch) -> None:
        tenancy = self._tenancy(driver)
        definition = tenancy.definitions.get(message.stage)
        if definition is None:  # what defined it came before the driver began anew
            for attempt in message.attempts:
                tenancy.outbox.add(Result(attempt.task, attempt.number, ABANDONED, 0.0), more=False)
        elif definition.is_waiting:
            definition.waiting.append(message.attempts)
        else:
            self._launch(tenancy, definition, message.attempts)

    def _launch(self, tenancy: Tenancy, definition: Definition, attempts: Sequence[Attempt]) -> None:
        prepared = []
        if tenancy.gone:
            return
        for attempt in attempts:
            if attempt.arguments and not attempt.sources:
                prepared.append(Prepared(tenancy, definition, attempt))
            else:
                gathering = Gathering(self._transfer, self.name, tenancy.driver, attempt, self._on_gathered)
                tenancy.gathering[(attempt.task, attempt.number)] = (definition, gathering)
                gathering.start()
        if prepared:
            self._slots.put(prepared)

    def _on_gathered(self, gathering: Gathering) -> None:
        attempt = gathering.attempt
        tenancy = self._tenancies.get(gathering.driver)
        if tenancy is None:  # the driver is gone
            return
        entry = tenancy.gathering.pop((attempt.task, attempt.number), None)
        if entry is None:  # taken back
            return
        if gathering.missing:
            result = Result(attempt.task, attempt.number, INPUTS_MISSING, 0.0, missing=gathering.missing)
            tenancy.outbox.add(result, more=False)
        else:
            prepared = Prepared(tenancy, entry[0], attempt, gathering.inputs, gathering.fetched)
            prepared.attempt = gathering.complete_attempt()
            self._slots.put([prepared])

    def _on_take_back(self, driver: str, message: messages.TakeBack) -> None:
        self.peers.send(driver, messages.Returned(self._remove(driver, message.attempts)))

    def _on_abandon(self, driver: str, message: messages.Abandon) -> None:
        tenancy = self._tenancy(driver)
        for task, number in self._remove(driver, message.attempts):
            tenancy.outbox.add(Result(task, number, ABANDONED, 0.0), more=False)
        for task, number in message.attempts:
            if (task, number) in tenancy.running:
                current.abandoned.add((driver, task, number))

    def _remove(self, driver: str, attempts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Remove those of these attempts that have not begun; returns which."""
        taken = [(each.attempt.task, each.attempt.number) for each in self._slots.take_back(driver, attempts)]
        gathering = self._tenancy(driver).gathering
        for task, number in attempts:
            if gathering.pop((task, number), None) is not None:
                taken.append((task, number))
        return taken

    def _on_release(self, driver: str, message: messages.Release) -> None:
        definitions = self._tenancy(driver).definitions
        for task in message.tasks:
            if (definition := definitions.get(task >> 32)) is not None:
                definition.stored.pop(task, None)
        self.store.drop((driver, Space.RESULT, task) for task in message.tasks)

    def _on_forget(self, driver: str, message: messages.Forget) -> None:
        tenancy = self._tenancy(driver)
        for stage in message.stages:
            definition = tenancy.definitions.pop(stage, None)
            if definition is not None:
                definition.forgotten = True
                self.store.drop((driver, Space.RESULT, task) for task in list(definition.stored))

    def _on_look_in(self, _driver: str, message: messages.LookIn) -> None:
        take_over(message.path)

    def _on_call(self, sender: str, message: messages.Call) -> None:
        def run() -> None:
            try:
                function, args, kwargs = unpack(message.function)
                payload = Packer().pack(function(*args, **kwargs), "the result")
                # In here, because this raises, too, if the result is too large for a message.
                self.peers.send(sender, messages.Answer(message.call, True, payload))  # noqa: FBT003
            except BaseException as error:  # noqa: BLE001 - where the thread ends; it goes to the caller
                self.peers.send(sender, messages.Answer(message.call, False, failures.describe(error, 1)))  # noqa: FBT003

        self._run_beside(run)

    def _on_answer(self, sender: str, message: messages.Answer | messages.Fetched) -> None:
        self._calls.answer(message.call, sender, message)

    # Tasks

    def execute(self, prepared: Prepared) -> None:
        """Execute one attempt in this thread and report how it ended."""
        attempt = prepared.attempt
        tenancy = prepared.tenancy
        definition = prepared.definition
        if definition.forgotten:  # nobody waits for it any more
            if not tenancy.gone:
                tenancy.outbox.add(Result(attempt.task, attempt.number, ABANDONED, 0.0), more=False)
            return
        key = (attempt.task, attempt.number)
        tenancy.running[key] = None
        try:
            payload = self._execute(prepared, definition)
            result = self._keep(prepared, definition, payload)
        except BaseException as error:  # noqa: BLE001 - where the task ends; it goes to the driver
            seconds = self._loop.now() - prepared.started
            description = failures.describe(error, 2)
            result = Result(*key, FAILED, seconds, description, fetched=prepared.fetched)
        finally:
            current.running.task = None
            del tenancy.running[key]
            current.abandoned.discard((prepared.driver, *key))
        if not tenancy.gone:
            tenancy.outbox.add(result, more=not self._slots.is_idle)

    def _execute(self, prepared: Prepared, definition: Definition) -> bytes:
        """Unpickle, call and pickle."""
        attempt = prepared.attempt
        define = definition.message
        driver = prepared.driver
        index = attempt.task & 0xFFFFFFFF
        current.running.task = CurrentTask(
            define.job_name, define.stage_name, index, attempt.number, self.name, driver, attempt.task
        )
        if attempt.sources:
            none = {task for node, tasks in attempt.sources if not node for task in tasks}
            with provided(lambda task: NO_RESULT if task in none else self._input(prepared, task)):
                argument = unpack(attempt.arguments)
        else:
            argument = unpack(attempt.arguments)
        if define.calls:
            function, args, kwargs = argument
            value = function(*args, **kwargs)
        else:
            value = definition.function(argument)
        local = self._local
        try:
            packer = local.packer
        except AttributeError:
            packer = local.packer = Packer()
        payload: bytes = packer.pack(value, "the result of the task")
        return payload

    def _input(self, prepared: Prepared, task: int) -> Any:
        data = prepared.inputs.get(task) if prepared.inputs else None
        if data is None:
            data = self.store.get((prepared.driver, Space.RESULT, task))
        if data is None:
            text = f"the result of task {task} was here when the task was launched and is not here any more"
            raise LookupError(text)
        return unpack(data)

    def _keep(self, prepared: Prepared, definition: Definition, payload: bytes) -> Result:
        """Keep the result here if later stages need it, or if it is too large for a message."""
        attempt = prepared.attempt
        size = len(payload)
        stored = definition.message.kept or size > self._config.inline_bytes
        if stored:
            if definition.message.kept is False and self._config.max_result_bytes < size:
                text = (
                    f"the result of the task takes {size:,} bytes, more than the {self._config.max_result_bytes:,} "
                    "that may go to the driver. Use it in a later stage, so that it stays on workers, or return less."
                )
                raise ResultTooLarge(text, size_bytes=size, limit_bytes=self._config.max_result_bytes)
            self.store.put((prepared.driver, Space.RESULT, attempt.task), payload)
            definition.stored[attempt.task] = None
            if definition.forgotten:
                self.store.drop([(prepared.driver, Space.RESULT, attempt.task)])
        return Result(
            attempt.task,
            attempt.number,
            SUCCEEDED,
            self._loop.now() - prepared.started,
            b"" if stored else payload,
            stored,
            size,
            prepared.fetched,
        )
