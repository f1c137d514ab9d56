"""Asking all nodes at once: those that do not answer in time are named, the others are heard."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import structs

from bndl.errors import BndlError, CallTimeout, ContextClosed, PeerLost
from bndl.execute.payloads import Packer
from bndl.profiling import agent
from bndl.profiling.checks import check_positive
from bndl.profiling.ledger import Ledger
from bndl.profiling.wire import CpuOrders, MemoryOrders, Obeyed, Orders
from bndl.waits import capped

if TYPE_CHECKING:
    from bndl.cluster.membership import Membership
    from bndl.driver.driver import Driver

__all__ = ["Answers", "Nodes", "why_none"]

T = TypeVar("T")


class Answers(Generic[T]):
    """What the nodes said.

    Attributes:
        values: by the name of the node.
        silent: why there is no answer, by the name of the node.
        seconds: how long it took until all had answered, or were given up.
    """

    def __init__(self) -> None:
        self.values: dict[str, T] = {}
        self.silent: dict[str, str] = {}
        self.seconds = 0.0


class Nodes:
    """The driver's process and all workers, as those who are profiled.

    Args:
        driver: of the context.
        membership: knows the workers.

    Attributes:
        ledger: what was told of attempts that ended.
        is_closed: whether the context was stopped.
    """

    def __init__(self, driver: Driver, membership: Membership) -> None:
        self.ledger = Ledger()
        self.driver_name = driver.name
        self._driver = driver
        self._membership = membership
        self._lock = threading.RLock()
        self._orders = Orders(driver.name)
        self._sessions = count(1)
        self.is_closed = False
        #: The workers that were ever asked.
        self._known: dict[str, None] = {}

    def next_session(self) -> int:
        """A number for a start of profiling."""
        return next(self._sessions)

    @property
    def orders(self) -> Orders:
        """What is profiled now."""
        return self._orders

    def order_cpu(self, orders: CpuOrders | None, timeout: float) -> Answers[Obeyed]:
        """Have all nodes profile CPU, also those that come later; or not any more."""
        return self._order(lambda before: structs.replace(before, cpu=orders), timeout)

    def order_memory(self, orders: MemoryOrders | None, timeout: float) -> Answers[Obeyed]:
        """Have all nodes trace memory, also those that come later; or not any more."""
        return self._order(lambda before: structs.replace(before, memory=orders), timeout)

    def _order(self, change: Callable[[Orders], Orders], timeout: float) -> Answers[Obeyed]:
        with self._lock:
            self.check_open()
            orders = self._orders = change(self._orders)
            if orders.cpu is None and orders.memory is None:
                self._driver.watching.end()
            else:
                maker = Packer().pack(partial(agent.make_watcher, orders))
                self._driver.watching.begin(maker, self.ledger.take_note)
            return self.ask(agent.obey, orders, timeout=timeout)

    def close(self) -> None:
        """The context is stopped: end it in this process. Workers end it when the driver leaves."""
        with self._lock:
            self.is_closed = True
            self._orders = Orders(self.driver_name)
            agent.obey(self._orders)

    def check_open(self) -> None:
        """Raise ``ContextClosed`` if the context was stopped."""
        if self.is_closed:
            text = "the context of this profiling was stopped; bndl.connect() makes a new one, with its own profiling."
            raise ContextClosed(text)

    def lost(self, names: Iterable[str]) -> list[str]:
        """Workers that were asked before, or are among these, and are not there any more."""
        there = {self.driver_name, *(peer.name for peer in self._membership.workers)}
        return sorted({*self._known, *names} - there)

    def forget_lost(self) -> None:
        """Speak no more of workers that are not there."""
        self._known = {}

    def ask(
        self,
        function: Callable[..., T],
        *args: Any,
        timeout: float,
        each: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> Answers[T]:
        """Call a function on all nodes at once, this one included.

        Args:
            function: what to call.
            args: its arguments.
            timeout: how many seconds the answers may take.
            each: gives one more argument for a node, by its name.
            kwargs: its keyword arguments.

        Raises:
            InvalidOption: the time to answer makes no sense.
            ContextClosed: the context was stopped.
        """
        check_positive("timeout", timeout, "seconds")
        self.check_open()
        began = time.monotonic()
        answers: Answers[T] = Answers()

        def more(name: str) -> tuple[Any, ...]:
            return () if each is None else (each(name),)

        asked: dict[str, Future[T]] = {
            peer.name: peer.execute(function, *args, *more(peer.name), **kwargs) for peer in self._membership.workers
        }
        self._known.update(dict.fromkeys(asked))
        try:
            answers.values[self.driver_name] = function(*args, *more(self.driver_name), **kwargs)
        except BndlError as error:
            answers.silent[self.driver_name] = error.message
        wait(asked.values(), capped(max(timeout - (time.monotonic() - began), 0.0)))
        for name, future in asked.items():
            try:
                answers.values[name] = future.result(timeout=0)
            except CallTimeout:
                answers.silent[name] = f"no answer within {timeout:g} s"
            except TimeoutError:
                answers.silent[name] = f"no answer within {timeout:g} s"
            except BndlError as error:
                cause = error.__cause__
                answers.silent[name] = str(cause if isinstance(cause, BndlError) else error.message).splitlines()[0]
        answers.seconds = time.monotonic() - began
        return answers

    def tell(self, function: Callable[..., object], *args: Any) -> None:
        """Have all nodes call a function, this one included, without waiting for what comes of it."""
        for peer in self._membership.workers:
            peer.execute(function, *args)
        function(*args)

    def ask_one(self, name: str, function: Callable[..., T], *args: Any, timeout: float) -> T:
        """Call a function on one node.

        Raises:
            BndlError: it raised, or the node is not there.
            TimeoutError: there is no answer in time.
        """
        if name == self.driver_name:
            return function(*args)
        for peer in self._membership.workers:
            if peer.name == name:
                result: T = peer.execute(function, *args).result(timeout)
                return result
        raise PeerLost(f"{name} is not there any more.", peer=name)


def why_none(answers: Answers[Obeyed], what: str) -> str:
    """Why no node profiles, as they said: of ``CPU``, or of ``MEMORY``."""
    reasons = {obeyed.remarks[what] for obeyed in answers.values.values() if what in obeyed.remarks}
    return " ".join(sorted(reasons)) or "no node answered; ask again."
