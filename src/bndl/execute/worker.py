"""A worker: a node that executes tasks and keeps results.

Messages are handled on the node's loop; tasks run in slots. What a driver sent and what was kept for it is in its
``Tenancy``, which goes when the driver goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from bndl.config import Config
from bndl.execute import shared
from bndl.execute.border import INSIDE, SHIELDED, Border
from bndl.execute.calling import Calling
from bndl.execute.current import check_cancelled
from bndl.execute.definitions import Definition, Tenancy
from bndl.execute.departures import take_departures
from bndl.execute.gathering import Gathering
from bndl.execute.interrupter import Interrupter
from bndl.execute.leaving import Leave, adopt
from bndl.execute.lines import DELAY as LINES_DELAY
from bndl.execute.lines import Limit, Lines
from bndl.execute.outbox import DELAY as OUTBOX_DELAY
from bndl.execute.outbox import Outbox
from bndl.execute.pickling.loading import drop_cache
from bndl.execute.runner import ABANDONED, INPUTS_MISSING, Runner
from bndl.execute.search_path import take_over
from bndl.execute.slots import Prepared
from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.execute.trimming import Trimmer
from bndl.execute.watchdog import Watchdog
from bndl.execute.watching import Watch
from bndl.execute.worker_parts import WorkerParts
from bndl.logs import get_logger
from bndl.net import messages
from bndl.net.calls import Calls
from bndl.net.fabric import Fabric
from bndl.net.messages import Attempt, Message, NodeInfo, Result, Space
from bndl.net.peers import Peers

__all__ = ["Worker"]

logger = get_logger(__name__)


#: How often a task that waits for a shared value looks whether it was cancelled, in seconds.
_LOOK = 0.2
#: For how many turns of the network a worker that ends itself waits for its drivers to take what is in line for them.
_TURNS = 1000
#: How many tasks that do not end are named in the line that a worker ends with.
_NAMED = 3


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
        self.peers = Peers(parts.loop, fabric, info, self, config.hello_interval, greets_all=False)
        self.store = store
        self._loop = parts.loop
        self._parts = parts
        self._tidy = parts.tidy
        self._alone = self._is_alone
        self._config = config
        self._tenancies: dict[str, Tenancy] = {}
        self._calls = Calls(parts.loop, self.peers.send, self.peers.reach, config.lease)
        self._transfer = Transfer(
            store,
            self._calls,
            lambda to, message, bulk: self.peers.send(to, message, bulk=bulk),
            parts.bulk_loop,
            timeout=config.fetch_timeout,
            chunk_bytes=config.chunk_bytes,
            report=self.peers.report,
        )
        self._limit = Limit(parts.loop.now)
        self._trimmer = Trimmer(parts.bulk_loop)
        self._border = Border(parts.interrupt, parts.withdraw, parts.wake)
        watchdog = Watchdog(parts.timer, parts.loop.now)
        self._interrupter = Interrupter(
            parts.watch_loop, self._border, watchdog, config.cancel_grace, self._give_up, shared=info.concurrency > 1
        )
        parts.watch_missed(self._interrupter.miss)
        self._runner = Runner(store, config, parts.loop.now, self._border, self._interrupter, watchdog)
        self._run = parts.recording(self._runner.execute)
        self._slots = parts.make_slots(info.concurrency, self._runner.begin, self.execute)
        self.leave = Leave(parts.loop, self.peers)
        self._handlers: dict[type, Callable[[str, Any], None]] = {
            messages.Abandon: self._on_abandon,
            messages.Adopt: self._on_adopt,
            messages.Answer: self._on_answer,
            messages.Call: Calling(self._send, parts.run_beside).handle,
            messages.Define: self._on_define,
            messages.Dismiss: self.leave.dismissed,
            messages.Fetch: self._transfer.serve,
            messages.Fetched: self._on_answer,
            messages.Forget: self._on_forget,
            messages.Launch: self._on_launch,
            messages.LookIn: self._on_look_in,
            messages.Lost: self._on_lost,
            messages.Release: self._on_release,
            messages.TakeBack: self._on_take_back,
            messages.Watch: self._on_watch,
        }

    # Peers

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer is there. A driver gets its tenancy with its first message."""
        self._calls.send_held(info.name)
        self.leave.peer_connected(info)
        logger.debug("%s is connected", info.name)

    def peer_lost(self, name: str, reason: str) -> None:
        """A peer is gone: nobody waits for what a lost driver wanted, and nothing comes from a lost worker."""
        logger.debug("%s is lost: %s", name, reason)
        tenancy = self._tenancies.pop(name, None)
        if tenancy is not None:
            tenancy.gone = True
            self._watch(tenancy, None)
            for definition in tenancy.definitions.values():
                definition.forgotten = True
            for prepared in self._slots.take_back(name, None):
                del tenancy.attempts[prepared.key]
            for prepared in list(tenancy.attempts.values()):  # the slots go on meanwhile
                self._interrupter.abandon(prepared)
            self.store.drop_where(lambda key: key[0] == name)
            shared.forget_all(name)
            self._parts.run_beside(drop_cache)  # what is let go of may have a __del__
        for call in take_departures(name):
            self._parts.run_beside(call)
        self._calls.lose(name)
        self.leave.peer_lost(name)

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions, so it cannot be worked with."""
        logger.warning("%s runs %s, it is not worked with", info.name, info.versions)

    def message_received(self, sender: str, message: Message) -> None:
        """Handle a message."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.peers.report(sender, f"a {type(message).__name__}, which is not for a worker")
        else:
            handler(sender, message)

    def _send(self, to: str, message: Message) -> None:
        self.peers.send(to, message)

    def _tenancy(self, driver: str) -> Tenancy:
        tenancy = self._tenancies.get(driver)
        if tenancy is None:
            tenancy = self._tenancies[driver] = self._make_tenancy(driver)
        return tenancy

    def _make_tenancy(self, driver: str) -> Tenancy:
        def send(message: Message) -> None:
            if not tenancy.gone:  # or it would be for another driver of this name
                self.peers.send(driver, message)

        def flush_lines(more: bool) -> None:  # noqa: FBT001 - the outbox's callback
            lines.flush(everything=not more)

        now = self._loop.now
        lines = Lines(
            self._limit, now, send, lambda: self._call_later(LINES_DELAY, lines.flush_later), self._parts.pause
        )
        outbox = Outbox(now, send, flush_lines, lambda: self._call_later(OUTBOX_DELAY, outbox.flush))
        tenancy = Tenancy(driver, self.name, self._border, lines, outbox)
        return tenancy

    def _call_later(self, delay: float, callback: Callable[[], object]) -> None:
        """From any thread."""
        self._loop.post(lambda: self._loop.call_later(delay, callback))

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
            if tenancy.has((attempt.task, attempt.number)):
                self.peers.report(tenancy.driver, f"attempt {attempt.number} of task {attempt.task} a second time")
            elif attempt.arguments and not attempt.sources:
                prepared.append(self._note(Prepared(tenancy, definition, attempt)))
            else:
                gathering = Gathering(self._transfer, self.name, tenancy.driver, attempt, self._on_gathered)
                tenancy.gathering[(attempt.task, attempt.number)] = (definition, gathering)
                gathering.start()
        if prepared:
            self._slots.put(prepared)

    def _note(self, prepared: Prepared) -> Prepared:
        prepared.tenancy.attempts[prepared.key] = prepared
        return prepared

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
            self._slots.put([self._note(prepared)])

    def _on_take_back(self, driver: str, message: messages.TakeBack) -> None:
        self.peers.send(driver, messages.Returned(self._remove(driver, message.attempts)))

    def _on_abandon(self, driver: str, message: messages.Abandon) -> None:
        tenancy = self._tenancy(driver)
        for task, number in self._remove(driver, message.attempts):
            tenancy.outbox.add(Result(task, number, ABANDONED, 0.0), more=False)
        for task, number in message.attempts:
            prepared = tenancy.attempts.get((task, number))
            if prepared is not None:
                self._interrupter.abandon(prepared)

    def _remove(self, driver: str, attempts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Remove those of these attempts that have not begun; returns which."""
        taken = [prepared.key for prepared in self._slots.take_back(driver, attempts)]
        tenancy = self._tenancy(driver)
        for key in taken:
            del tenancy.attempts[key]
        gathering = tenancy.gathering
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
            shared.forget(driver, stage)  # the same numbers name shared values
            definition = tenancy.definitions.pop(stage, None)
            if definition is not None:
                definition.forgotten = True
                self.store.drop((driver, Space.RESULT, task) for task in list(definition.stored))
        self._trimmer.over()

    def _on_look_in(self, _driver: str, message: messages.LookIn) -> None:
        take_over(message.path)

    def _on_lost(self, driver: str, message: messages.Lost) -> None:
        """This node may notice much later, and would wait for as long: the driver knows best where its results are."""
        for _, gathering in list(self._tenancy(driver).gathering.values()):
            gathering.give_up(message.worker)

    def _on_adopt(self, driver: str, message: messages.Adopt) -> None:
        tenancy = self._tenancy(driver)
        adopt(self._transfer, self.store, tenancy, message, lambda answer: self.peers.send(driver, answer))

    def _on_watch(self, driver: str, message: messages.Watch) -> None:
        watch = Watch(message.maker) if message.maker else None
        self._watch(self._tenancy(driver), watch)
        if watch is not None:
            self._parts.run_beside(watch.prepare)

    def _watch(self, tenancy: Tenancy, watch: Watch | None) -> None:
        before, tenancy.watch = tenancy.watch, watch
        if before is not None and watch is None:
            self._parts.run_beside(before.close)

    def fetch_shared(self, driver: str, number: int) -> bytes | None:
        """A value that a driver shares; None if it is not to be had. Waits for it, in the thread of a task."""
        came: Future[bytes | None] = Future()

        def fetched(data: dict[int, bytes], _missing: list[int]) -> None:
            came.set_result(data.get(number))

        self._loop.post(self._transfer.fetch, driver, driver, Space.SHARED, [number], fetched)
        while True:  # each chunk has its own deadline, so it always ends
            try:
                return came.result(timeout=_LOOK)
            except TimeoutError:
                check_cancelled()

    def _on_answer(self, sender: str, message: messages.Answer | messages.Fetched) -> None:
        self._calls.answer(message.call, sender, message)

    # Tasks

    def execute(self, prepared: Prepared) -> None:
        """Execute an attempt in this thread and report how it ended."""
        tenancy = prepared.tenancy
        is_wanted = not prepared.definition.forgotten
        result = self._run(prepared) if is_wanted else Result(*prepared.key, ABANDONED, 0.0)
        del tenancy.attempts[prepared.key]
        idle = self._slots.is_idle
        if prepared.attempt.timeout or prepared.stop is not None:
            self._interrupter.end(prepared, last=idle)
        self._tidy(self._alone)
        if result is not None:
            self._trimmer.passed(len(prepared.attempt.arguments) + result.fetched + result.size)
        if result is not None and not tenancy.gone:
            tenancy.outbox.add(result, more=not idle)

    def _is_alone(self) -> bool:
        """Whether no attempt is in the user's code."""
        attempts = [each for tenancy in list(self._tenancies.values()) for each in list(tenancy.attempts.values())]
        return not any(each.phase in {INSIDE, SHIELDED} for each in attempts)

    def _give_up(self, stuck: Sequence[Prepared]) -> None:
        """Attempts do not end: say all that is to be said, and end the process."""
        for driver in list(self._tenancies):  # first of all, or what is tried again is launched here
            self.peers.send(driver, messages.Leaving(is_ending=True))
        reasons, places = [], []
        for prepared in stuck:
            stack, result = self._runner.report_stuck(prepared)
            if result is not None and not prepared.tenancy.gone:
                prepared.tenancy.outbox.add(result, more=True)
            why = "it was cancelled" if result is None else f"its timeout of {prepared.attempt.timeout:g} s"
            reasons.append(f"{prepared.name} of job {prepared.definition.message.job_name!r} did not end after {why}")
            places.append(f"{prepared.name} was here:\n{stack}")
        for tenancy in list(self._tenancies.values()):
            tenancy.lines.flush()
            tenancy.outbox.flush()
        for _ in range(_TURNS):
            if not self.peers.is_waiting(self._tenancies):
                break
            self._parts.pause()
        more = f", and {len(reasons) - _NAMED} more did not" if len(reasons) > _NAMED else ""
        self._parts.end(", and ".join(reasons[:_NAMED]) + more, "\n".join(places))
