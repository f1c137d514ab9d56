"""Who announced which name.

The names of nodes are of a host, a process and counters, and should be unique. But containers with one hostname give
their processes the same numbers, and so their nodes the same names; and one that is started again may be there before
the others know that the one before it is lost. So a node announces its session of Zenoh, too, and frames go from one
session to another. The first session that announced a name is the node. When it is gone the next one is.

::

    peer/<name>/<session>;<address>;...    a token; its addresses with | in place of /

    + a1 -> Joined(a)      + a2 -> a warning      - a1 -> Left(a), Joined(a)      - a2 -> Left(a)
"""

from __future__ import annotations

import logging
from typing import NamedTuple, Self

from bndl.config import check_name
from bndl.errors import InvalidOption
from bndl.logs import get_logger
from bndl.net.fabric import Joined, Left
from bndl.net.names import is_worker

__all__ = ["MARK", "Announced", "Token"]

logger = get_logger(__name__)

#: Who a mark is from: see ``net.zenoh``. No node has this name.
MARK = "-"
#: The most addresses that a node listens on.
_MOST_ADDRESSES = 4096


class Token(NamedTuple):
    """What a node announces.

    Attributes:
        name: of the node.
        session: its session of Zenoh, which no other has.
        addresses: where it listens.
    """

    name: str
    session: str
    addresses: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether frames can be sent to it: its name and session must be no patterns, which mean several nodes."""
        try:
            check_name("node", self.name)
            check_name("session", self.session)
        except InvalidOption:
            return False
        return self.name != MARK and len(self.addresses) <= _MOST_ADDRESSES

    def __str__(self) -> str:
        return f"{self.name}/{';'.join((self.session, *self.addresses)).replace('/', '|')}"

    @classmethod
    def parse(cls, key: str) -> Self:
        """Read the last two parts of a key."""
        rest, _, packed = key.rpartition("/")
        session, *addresses = packed.replace("|", "/").split(";")
        return cls(rest.rpartition("/")[2], session, tuple(addresses))


class Announced:
    """The tokens that are there. To be used by one thread at a time.

    Args:
        own: that of this node. It is no news, but another one with its name is.
    """

    def __init__(self, own: Token) -> None:
        self._own = own
        #: By name, in the order in which they came.
        self._tokens: dict[str, tuple[Token, ...]] = {own.name: (own,)}

    def add(self, token: Token) -> list[Joined | Left]:
        """A token is there. Returns what is new."""
        others = self._tokens.get(token.name, ())
        if token in others:
            return []
        self._tokens[token.name] = (*others, token)
        if others:
            self._warn(others[0], token)
            return []
        return [Joined(token.name)]

    def remove(self, token: Token) -> list[Joined | Left]:
        """A token is gone. Returns what is new."""
        tokens = self._tokens.get(token.name, ())
        if token not in tokens or token == self._own:
            return []
        left = tuple(each for each in tokens if each != token)
        if not left:
            del self._tokens[token.name]
            return [Left(token.name)]
        self._tokens[token.name] = left
        return [Left(token.name), Joined(token.name)] if token == tokens[0] else []

    def session_of(self, name: str) -> str:
        """The session of a node, empty if it is not there."""
        tokens = self._tokens.get(name)
        return tokens[0].session if tokens else ""

    def _warn(self, first: Token, second: Token) -> None:
        is_own = second.name == self._own.name
        # Those who are told are the node itself and drivers, not each of a thousand workers.
        logger.log(
            logging.DEBUG if is_worker(self._own.name) and not is_own else logging.WARNING,
            "there are two nodes with the name %s, one at %s and one at %s. Until the first one is gone, %s. If it "
            "stays, give each container a hostname of its own: names are of the hostname and the number of a process.",
            second.name,
            ", ".join(first.addresses) or "no address",
            ", ".join(second.addresses) or "no address",
            "others talk to one of them only" if is_own else "the second one is left out",
        )
