"""Lost nodes are looked for at their addresses, until they are found, or surely gone, or forgotten."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from bndl.net import rejoin
from bndl.net.rejoin import Rejoiner

TIMEOUT = 20.0


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_DELAY", "_LONGEST_DELAY"):
        monkeypatch.setattr(rejoin, name, 0.01)


class Introductions:
    """What a rejoiner does with an address at which something answers."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.changed = threading.Condition()
        self.after: Callable[[], None] = lambda: None

    def __call__(self, address: str) -> None:
        with self.changed:
            self.addresses.append(address)
            self.changed.notify_all()
        self.after()

    def wait(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.addresses) >= number, TIMEOUT)


@pytest.fixture
def introductions() -> Introductions:
    return Introductions()


@pytest.fixture
def make(introductions: Introductions) -> Iterator[Callable[[float], Rejoiner]]:
    made: list[Rejoiner] = []

    def make(timeout: float) -> Rejoiner:
        made.append(Rejoiner(introductions, timeout, "rejoiner"))
        return made[-1]

    yield make
    for each in made:
        each.close(TIMEOUT)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server: socket.socket) -> str:
    return f"tcp/127.0.0.1:{server.getsockname()[1]}"


def wait_over(rejoiner: Rejoiner, name: str) -> None:
    over = threading.Event()

    def watch() -> None:
        while rejoiner.is_lost(name) and not over.wait(0.005):
            pass
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    assert over.wait(TIMEOUT), f"{name} is still looked for"


def test_a_lost_node_is_introduced_again_and_again_until_it_is_found(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    rejoiner = make(TIMEOUT)
    rejoiner.lost("a", ["bogus", address_of(server)])
    introductions.wait(3)
    rejoiner.found("a")
    assert not rejoiner.is_lost("a")
    assert set(introductions.addresses) == {address_of(server)}


def test_a_failure_does_not_end_the_search(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rejoiner = make(TIMEOUT)
    introductions.after = fail
    rejoiner.lost("a", [address_of(server)])
    introductions.wait(2)
    assert rejoiner.is_lost("a")
    rejoiner.found("a")
    rejoiner.lost("b", [address_of(server)])
    introductions.wait(len(introductions.addresses) + 2)


def test_an_address_that_is_none_does_not_keep_the_next_one_from_being_tried(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    rejoiner = make(TIMEOUT)
    rejoiner.lost("a", ["tcp/no..name:1", address_of(server)])  # to be encoded, labels must not be empty
    introductions.wait(1)


def test_a_node_whose_machine_refuses_is_given_up(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    rejoiner = make(TIMEOUT)
    address = address_of(server)
    server.close()
    rejoiner.lost("a", [address])
    wait_over(rejoiner, "a")
    assert introductions.addresses == []


def test_a_node_is_forgotten_after_its_time(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    rejoiner = make(0.05)
    rejoiner.lost("a", [address_of(server)])
    wait_over(rejoiner, "a")
    assert introductions.addresses


@pytest.mark.parametrize(("timeout", "addresses"), [(0.0, ["tcp/127.0.0.1:1"]), (10.0, [])])
def test_some_are_not_looked_for(make: Callable[[float], Rejoiner], timeout: float, addresses: list[str]) -> None:
    rejoiner = make(timeout)
    rejoiner.lost("a", addresses)
    assert not rejoiner.is_lost("a")


def test_nobody_is_looked_for_after_the_end(
    make: Callable[[float], Rejoiner], introductions: Introductions, server: socket.socket
) -> None:
    rejoiner = make(TIMEOUT)
    introductions.after = lambda: rejoiner.close(TIMEOUT)  # also from within
    rejoiner.lost("a", [address_of(server)])
    introductions.wait(1)
    wait_over(rejoiner, "a")
    rejoiner.lost("b", [address_of(server)])
    assert not rejoiner.is_lost("b")
    assert len(introductions.addresses) == 1
