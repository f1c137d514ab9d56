"""Fetching: large things in pieces, many small ones at once, and what is not to be had is named."""

from __future__ import annotations

from bndl.execute.store import Store
from bndl.execute.transfer import Transfer
from bndl.net.calls import Calls
from bndl.net.memory import VirtualTime
from bndl.net.messages import Fetch, Fetched, Message, Part

CHUNK = 100
OWNER = "driver"
SPACE = 0


class Pair:
    """A node that fetches and one that serves, with everything between them written down."""

    def __init__(self, stored: dict[int, bytes], store_bytes: int = 1 << 20) -> None:
        self.time = VirtualTime()
        self.store = Store(store_bytes)
        for number, data in stored.items():
            self.store.put((OWNER, SPACE, number), data)
        self.requests: list[Fetch] = []
        self.answers: list[Fetched] = []
        self.done: list[tuple[dict[int, bytes], list[int]]] = []
        self.is_silent = False
        self.calls = Calls(self.time, lambda _, message: self.take(message), lambda _: True, 1.0)
        self.asker = self.transfer(Store(0), self.calls)
        self.server = self.transfer(self.store, self.calls)

    def transfer(self, store: Store, calls: Calls) -> Transfer:
        return Transfer(
            store, calls, lambda _, message, __: self.take(message), self.time, timeout=5.0, chunk_bytes=CHUNK
        )

    def take(self, message: Message) -> None:
        if isinstance(message, Fetch):
            self.requests.append(message)
            if not self.is_silent:
                self.server.serve("asker", message)
        elif isinstance(message, Fetched):
            self.answers.append(message)
            self.time.call_later(0.01, lambda: self.calls.answer(message.call, "server", message))

    def fetch(self, *numbers: int) -> None:
        self.asker.fetch("server", OWNER, SPACE, numbers, lambda data, missing: self.done.append((data, missing)))


def test_many_small_things_come_in_one_message() -> None:
    stored = {number: b"%02d" % number for number in range(50)}
    pair = Pair(stored)
    pair.fetch(*range(50))
    pair.time.run(10.0)
    assert pair.done == [(stored, [])]
    assert len(pair.requests) == 1


def test_a_large_thing_comes_in_pieces_of_the_chunk_at_most() -> None:
    data = bytes(range(256)) * 3
    pair = Pair({1: data})
    pair.fetch(1)
    pair.time.run(10.0)
    assert pair.done == [({1: data}, [])]
    assert [(request.offset, request.limit) for request in pair.requests] == [
        (offset, CHUNK) for offset in range(0, len(data), CHUNK)
    ]
    assert max(len(part.data) for answer in pair.answers for part in answer.parts) == CHUNK


def test_sizes_around_the_chunk_in_one_fetch() -> None:
    sizes = [0, 1, 99, 100, 101, 0, 200, 250, 50, 50, 0]
    stored = {number: bytes([number]) * size for number, size in enumerate(sizes)}
    pair = Pair(stored)
    pair.fetch(*stored)
    pair.time.run(10.0)
    assert pair.done == [(stored, [])]


def test_things_that_were_moved_to_disk_are_served_from_there() -> None:
    stored = {number: bytes([number]) * 150 for number in range(6)}
    pair = Pair(stored, store_bytes=200)
    assert pair.store.spilled_bytes > 0
    pair.fetch(*stored)
    pair.time.run(10.0)
    assert pair.done == [(stored, [])]
    pair.store.drop_where(lambda _: True)


def test_who_wants_things_one_by_one_gets_them_as_they_come() -> None:
    pair = Pair({1: b"one", 2: bytes(250), 3: b"three"})
    came: list[list[int]] = []
    pair.asker.fetch(
        "server",
        OWNER,
        SPACE,
        [1, 2, 3, 4],
        lambda data, missing: pair.done.append((data, missing)),
        lambda data: came.append(list(data)),
    )
    pair.time.run(10.0)
    assert came == [[1], [2, 3]]
    assert pair.done == [({}, [4])]


def test_what_is_not_there_is_named() -> None:
    pair = Pair({1: b"one", 3: bytes(250)})
    pair.fetch(0, 1, 2, 3, 4)
    pair.time.run(10.0)
    assert pair.done == [({1: b"one", 3: bytes(250)}, [0, 2, 4])]


def test_what_is_dropped_midway_is_missing() -> None:
    pair = Pair({1: bytes(250), 2: b"two"})
    pair.fetch(1, 2)
    pair.time.run_until(0.015)
    pair.store.drop([(OWNER, SPACE, 1)])
    pair.time.run(10.0)
    assert pair.done == [({2: b"two"}, [1])]


def test_a_source_that_is_lost_midway_leaves_the_rest_missing() -> None:
    pair = Pair({1: b"one", 2: bytes(250), 3: b"three"})
    pair.fetch(1, 2, 3)
    pair.time.run_until(0.015)
    pair.calls.lose("server")
    pair.time.run(10.0)
    assert pair.done == [({1: b"one"}, [2, 3])]


def test_a_source_that_does_not_answer_in_time_leaves_all_missing() -> None:
    pair = Pair({1: b"one"})
    pair.is_silent = True
    pair.fetch(1, 2)
    pair.time.run_until(4.9)
    assert pair.done == []
    pair.time.run_until(5.1)
    assert pair.done == [({}, [1, 2])]


def test_an_answer_without_parts_ends_a_fetch() -> None:
    pair = Pair({})
    pair.is_silent = True
    pair.fetch(1)
    pair.take(Fetched(1, []))
    pair.time.run(1.0)
    assert pair.done == [({}, [1])]


def test_an_answer_to_another_question_is_not_taken_for_data() -> None:
    pair = Pair({})
    pair.is_silent = True
    pair.fetch(1)
    pair.take(Fetched(1, [Part(2, 1, b"x")]))
    pair.is_silent = False
    pair.time.run(10.0)
    assert pair.done == [({}, [1])]
