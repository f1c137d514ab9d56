"""An attempt whose inputs, or arguments, are being fetched from other nodes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bndl.execute.transfer import Transfer
from bndl.net.messages import Attempt, Space

__all__ = ["Gathering"]


class Gathering:
    """Fetches what an attempt needs, from all nodes at once.

    Args:
        transfer: fetches.
        here: the name of this node, whose store needs no fetching.
        driver: who wants the attempt.
        attempt: the attempt.
        on_done: called once, on the loop, with the gathering.

    Attributes:
        inputs: what came, by task.
        missing: what was not to be had, as (task, node asked).
        fetched: how many bytes came.
    """

    def __init__(
        self, transfer: Transfer, here: str, driver: str, attempt: Attempt, on_done: Callable[[Gathering], None]
    ) -> None:
        self._transfer = transfer
        self._here = here
        self._on_done = on_done
        self._open = 1
        #: What is being fetched, by node, and what gives that up.
        self._fetching: dict[str, tuple[list[int], Callable[[], None]]] = {}
        self._arguments = attempt.arguments
        self.driver = driver
        self.attempt = attempt
        self.inputs: dict[int, bytes] = {}
        self.missing: list[tuple[int, str]] = []
        self.fetched = 0

    def start(self) -> None:
        """Ask all nodes that have something."""
        if not self.attempt.arguments:
            self._open += 1
            numbers = [self.attempt.task]
            self._transfer.fetch(self.driver, self.driver, Space.ARGUMENTS, numbers, self._take_arguments)
        by_node: dict[str, list[int]] = {}
        for node, tasks in self.attempt.sources:
            if node and node != self._here and tasks:  # without a node: there is no result
                by_node.setdefault(node, []).extend(tasks)
        for node, numbers in by_node.items():
            self._open += 1
            self._fetch(node, numbers)
        self._close_one()

    def give_up(self, node: str) -> None:
        """Wait no more for what a node was asked for: it is missing."""
        fetching = self._fetching.pop(node, None)
        if fetching is not None:
            tasks, give_up = fetching
            give_up()
            self.missing += [(task, node) for task in tasks]
            self._close_one()

    def complete_attempt(self) -> Attempt:
        """The attempt with its arguments, wherever they came from."""
        return msgspec.structs.replace(self.attempt, arguments=self._arguments)

    def _fetch(self, node: str, tasks: list[int]) -> None:
        def take(data: dict[int, bytes], missing: list[int]) -> None:
            del self._fetching[node]
            self.inputs.update(data)
            self.fetched += sum(map(len, data.values()))
            self.missing += [(task, node) for task in missing]
            self._close_one()

        self._fetching[node] = tasks, self._transfer.fetch(node, self.driver, Space.RESULT, tasks, take)

    def _take_arguments(self, data: dict[int, bytes], _missing: list[int]) -> None:
        self._arguments = data.get(self.attempt.task, b"")
        self.fetched += len(self._arguments)
        if not self._arguments:
            self.missing.append((self.attempt.task, self.driver))
        self._close_one()

    def _close_one(self) -> None:
        self._open -= 1
        if not self._open:
            self._on_done(self)
