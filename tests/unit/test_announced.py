"""Who is the node of a name that several sessions announced."""

from __future__ import annotations

import logging

import pytest

from bndl.net.announced import Announced, Token
from bndl.net.fabric import Joined, Left

OWN = Token("h.driver.1.0.0", "0", ("tcp/127.0.0.1:1",))
NAME = "h.worker.7.0.0"
A, B, C = (Token(NAME, session) for session in "abc")


@pytest.fixture
def announced() -> Announced:
    return Announced(OWN)


@pytest.mark.parametrize("addresses", [(), ("tcp/127.0.0.1:1",), ("tls/10.0.0.1:1", "tls/[fe80::1]:2")])
def test_a_token_is_read_as_it_was_written(addresses: tuple[str, ...]) -> None:
    token = Token(NAME, "5f", addresses)
    assert Token.parse(f"bndl/x/peer/{token}") == token
    assert str(token).count("/") == 1


@pytest.mark.parametrize(
    "token",
    [Token("*", "5f"), Token("a*b", "5f"), Token("", "5f"), Token("-", "5f"), Token(NAME, "*"), Token(NAME, "")],
)
def test_a_token_that_means_several_nodes_or_none_is_told_from_one_of_a_node(token: Token) -> None:
    assert not token.is_valid
    assert not Token(NAME, "5f", ("tcp/127.0.0.1:1",) * 5000).is_valid
    assert A.is_valid


def test_the_first_is_the_node_until_it_is_gone(announced: Announced) -> None:
    assert announced.add(A) == [Joined(NAME)]
    assert announced.add(A) == announced.add(B) == announced.add(C) == []
    assert announced.session_of(NAME) == "a"
    assert announced.remove(B) == []
    assert announced.remove(A) == [Left(NAME), Joined(NAME)]
    assert announced.session_of(NAME) == "c"
    assert announced.remove(A) == []
    assert announced.remove(C) == [Left(NAME)]
    assert announced.session_of(NAME) == ""


def test_one_that_comes_again_is_the_last(announced: Announced) -> None:
    for token in (A, B):
        announced.add(token)
    announced.remove(A)
    announced.add(A)
    assert announced.session_of(NAME) == "b"
    assert announced.remove(B) == [Left(NAME), Joined(NAME)]
    assert announced.session_of(NAME) == "a"


def test_this_node_is_no_news(announced: Announced) -> None:
    other = OWN._replace(session="1")
    assert announced.add(OWN) == announced.add(other) == announced.remove(OWN) == announced.remove(other) == []
    assert announced.session_of(OWN.name) == "0"


@pytest.mark.parametrize(
    ("own", "tokens", "level"),
    [
        (OWN, (A, B), logging.WARNING),
        (OWN, (OWN._replace(session="1"),), logging.WARNING),
        (A, (B,), logging.WARNING),
        (A, (OWN, OWN._replace(session="1")), logging.DEBUG),
    ],
    ids=["a driver", "a driver itself", "a worker itself", "another worker"],
)
def test_the_node_and_drivers_are_told_once(
    own: Token, tokens: tuple[Token, ...], level: int, caplog: pytest.LogCaptureFixture
) -> None:
    announced = Announced(own)
    with caplog.at_level(logging.DEBUG):
        for token in (*tokens, *tokens):
            announced.add(token)
    assert [record.levelno for record in caplog.records] == [level]
    assert f"two nodes with the name {tokens[-1].name}" in caplog.text
