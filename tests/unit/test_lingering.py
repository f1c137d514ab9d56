"""Sockets that linger as zenoh's do are found and changed, and no others."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from bndl.net.lingering import stop_lingering


def lingers(each: socket.socket) -> tuple[int, int]:
    on, seconds = struct.unpack("ii", each.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    return on, seconds


def let_linger(each: socket.socket, seconds: int) -> None:
    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop_lingering()  # what other tests have left
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with one, other:
            yield one, other


def test_what_lingers_as_zenohs_sockets_do_is_changed(pair: tuple[socket.socket, socket.socket]) -> None:
    let_linger(pair[0], 10)
    let_linger(pair[1], 10)
    assert stop_lingering() == 2
    assert [lingers(each)[0] for each in pair] == [0, 0]
    pair[0].sendall(b"still there")
    assert pair[1].recv(100) == b"still there"


def test_other_sockets_are_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    let_linger(pair[0], 3)
    assert stop_lingering() == 0
    assert lingers(pair[0]) == (1, 3)
    assert lingers(pair[1])[0] == 0


def test_who_waits_for_other_sockets_goes_on_waiting(pair: tuple[socket.socket, socket.socket]) -> None:
    socket.setdefaulttimeout(5.0)
    try:
        stop_lingering()
    finally:
        socket.setdefaulttimeout(None)
    assert [os.get_blocking(each.fileno()) for each in pair] == [True, True]


def test_a_socket_that_lingers_only_after_a_handshake_is_changed_then(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert stop_lingering() == 0
    let_linger(pair[0], 10)
    assert stop_lingering() == 1
    assert lingers(pair[0])[0] == 0


def test_a_socket_that_does_not_linger_is_not_looked_at_for_ever(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stop_lingering() == 0
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60.0)
    let_linger(pair[0], 10)
    assert stop_lingering() == 0


def test_a_descriptor_that_is_used_again_is_looked_at_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(3):
            with socket.create_connection(server.getsockname()) as one:
                let_linger(one, 10)
                assert stop_lingering() == 1
