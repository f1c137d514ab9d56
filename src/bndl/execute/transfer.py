"""Things fetched from the stores of other nodes, and the own store served to them.

One request is under way to a node for each fetch, for as much as fits into a chunk: many small results come in one
message, a large one in several. So no more than a chunk for each fetch is ever on its way to a node.

::

    fetch(source, numbers) --Fetch--> serve (on the bulk loop) --Fetched--> answered --> ... --> on_done(data, missing)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bndl.errors import BndlError
from bndl.execute.store import Store
from bndl.loop import Loop
from bndl.net.calls import Calls
from bndl.net.messages import Fetch, Fetched, Message, Part

__all__ = ["Transfer"]

#: Called with what was fetched, by number, and the numbers that were not to be had.
OnDone = Callable[[dict[int, bytes], list[int]], None]
#: Called with what has come by now, by number.
OnSome = Callable[[dict[int, bytes]], None]

#: How much is served in one message at most, however much is asked for.
_MOST_SERVED = 64 << 20
#: The size of a thing of which nothing has come yet.
_UNKNOWN = -1


def _report_nothing(_peer: str, _what: str) -> None:
    """For nodes whose peers are played by a test."""


class Transfer:
    """Fetches and serves. ``fetch`` and ``answered`` are for the node's loop only.

    Args:
        store: what is served.
        calls: the open questions of the node.
        send: sends a message to a node; a third argument says whether it is bulk.
        bulk_loop: reads and sends what others ask for, so that this does not hold up the node's loop.
        timeout: how many seconds a node may take to answer.
        chunk_bytes: how much is asked for at a time.
        report: told of a node whose answer does not fit its question, and how.
    """

    def __init__(
        self,
        store: Store,
        calls: Calls,
        send: Callable[[str, Message, bool], None],
        bulk_loop: Loop,
        *,
        timeout: float,
        chunk_bytes: int,
        report: Callable[[str, str], None] = _report_nothing,
    ) -> None:
        self._store = store
        self._calls = calls
        self._send = send
        self._bulk_loop = bulk_loop
        self._timeout = timeout
        self.chunk_bytes = chunk_bytes
        self.report = report

    def fetch(
        self,
        source: str,
        owner: str,
        space: int,
        numbers: Sequence[int],
        on_done: OnDone,
        on_some: OnSome | None = None,
        sizes: Mapping[int, int] | None = None,
    ) -> Callable[[], None]:
        """Fetch things from the store of a node. Returns what gives it up, without a call of ``on_done``.

        Args:
            source: the node.
            owner: the driver that the numbers are of.
            space: a ``Space``.
            numbers: which things; at least one.
            on_done: called once, on the loop.
            on_some: called on the loop with what each message brought, which ``on_done`` does not get then.
            sizes: how many bytes each thing may have, by number. One that is larger counts as missing.
        """
        fetching = _Fetching(self, source, (owner, space), list(numbers), on_done, on_some, sizes or {})
        fetching.ask()
        return lambda: self._calls.withdraw(fetching.call)

    def serve(self, asker: str, request: Fetch) -> None:
        """Answer a ``Fetch``, on the bulk loop."""
        self._bulk_loop.post(self._serve, asker, request)

    def _serve(self, asker: str, request: Fetch) -> None:
        parts = []
        room = min(request.limit, _MOST_SERVED)
        offset = request.offset
        for number in request.numbers:
            key = (request.owner, request.space, number)
            size = self._store.size(key)
            data = self._store.read(key, offset, room) if size >= 0 else None
            if data is None:
                parts.append(Part(number, -1, b""))
            else:
                parts.append(Part(number, size, data))
                room -= len(data)
                if room <= 0:
                    break
            offset = 0
        self._send(asker, Fetched(request.call, parts), True)  # noqa: FBT003 - bulk

    def ask(self, fetching: _Fetching) -> None:
        """Send the next request of a fetch."""
        owner, space = fetching.scope
        numbers, offset = fetching.numbers, fetching.offset
        fetching.call = self._calls.ask(
            fetching.source,
            lambda call: Fetch(call, owner, space, numbers, offset, self.chunk_bytes),
            fetching.on_answer,
            self._timeout,
        )


class _Fetching:
    """One fetch under way: what is still to come."""

    __slots__ = (
        "_data",
        "_missing",
        "_on_done",
        "_on_some",
        "_pieces",
        "_size",
        "_sizes",
        "_taken",
        "_transfer",
        "call",
        "numbers",
        "offset",
        "scope",
        "source",
    )

    def __init__(
        self,
        transfer: Transfer,
        source: str,
        scope: tuple[str, int],
        numbers: list[int],
        on_done: OnDone,
        on_some: OnSome | None,
        sizes: Mapping[int, int],
    ) -> None:
        self._transfer = transfer
        self._on_done = on_done
        self._on_some = on_some
        self._data: dict[int, bytes] = {}
        self._missing: list[int] = []
        #: The pieces of the thing that is under way.
        self._pieces: list[bytes] = []
        #: Its size, as the first piece said.
        self._size = _UNKNOWN
        self._sizes = sizes
        #: How many of the numbers have come with the answer that is being taken in.
        self._taken = 0
        #: The number of the question that is under way.
        self.call = 0
        self.source = source
        self.scope = scope
        #: What is still to come, the thing under way first.
        self.numbers = numbers
        #: How much of the first of them is there.
        self.offset = 0

    def ask(self) -> None:
        """Ask for what is still to come, or be done."""
        if self.numbers:
            self._transfer.ask(self)
        else:
            self._on_done(self._data, self._missing)

    def on_answer(self, answer: Message | BndlError) -> None:
        """Take in what came."""
        if not isinstance(answer, Fetched) or not answer.parts:
            self._on_done(self._data, self._missing + self.numbers)
            return
        complaint = self._take(answer.parts)
        if self._on_some is not None and self._data:
            data, self._data = self._data, {}
            self._on_some(data)
        if complaint:
            self._transfer.report(self.source, complaint)
            self._on_done(self._data, self._missing + self.numbers)
        else:
            self.ask()

    def _take(self, parts: Sequence[Part]) -> str:
        """Take in the parts of an answer, up to the first that is wrong. Returns what is wrong with it, or nothing."""
        try:
            return self._take_each(parts)
        finally:
            self.numbers = self.numbers[self._taken :]
            self._taken = 0

    def _take_each(self, parts: Sequence[Part]) -> str:
        room = self._transfer.chunk_bytes
        for part in parts:
            room -= len(part.data)
            if room < 0:
                return "more bytes than it was asked for"
            if self._taken == len(self.numbers) or part.number != self.numbers[self._taken]:
                return "something else than it was asked for"
            if part.size < 0 or self._size not in {_UNKNOWN, part.size}:  # dropped, or replaced in the meantime
                self._missing.append(part.number)
            else:
                self._size = part.size
                self._pieces.append(part.data)
                self.offset += len(part.data)
                if part.size > self._sizes.get(part.number, part.size) or self.offset > part.size:
                    return "more than the size that it announced"
                if self.offset < part.size:
                    return "" if part.data else "an empty part of something that is larger"
                self._data[part.number] = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
            self._pieces = []
            self._size = _UNKNOWN
            self.offset = 0
            self._taken += 1
        return ""
