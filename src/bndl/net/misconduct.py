"""What peers send that they must not: counted for each peer, logged within bounds, and answered by refusal.

A peer that holds the secret can send anything: frames that are no messages, messages of the wrong shape, answers that
do not fit their questions. Every place that finds such a thing reports it here. The first report about a peer is
logged at once. After that, one line every ten seconds gives the number of further ones. A peer that reaches the limit
is refused: its frames are dropped undecoded until it leaves.

::

    report(peer, what) -> first: a warning -> more: counted -> MOST: refused, on_refused(peer)
                                   every INTERVAL seconds: one line per peer with the count since the last line
    leave(peer)        -> forgotten

A sender's name is part of its frames, so a member can invent names. All nodes that did not announce themselves share
one account, ``STRANGERS``, which is never refused.
"""

from __future__ import annotations

from collections.abc import Callable

from bndl.logs import get_logger
from bndl.loop import Loop

__all__ = ["INTERVAL", "MOST", "STRANGERS", "Misconduct"]

logger = get_logger(__name__)

#: Seconds between two lines about a peer.
INTERVAL = 10.0
#: After so many reports a peer is refused.
MOST = 100
#: The account of all nodes that did not announce themselves.
STRANGERS = "a node that is not announced"
#: About how many peers there are lines of their own within one interval.
_MOST_LINES = 10
#: The most characters of a description that are logged.
_MOST_TEXT = 300


class _Account:
    """What a peer did.

    Attributes:
        total: how many reports there were.
        unsaid: how many of them since the last line.
        last: the latest of them, in words.
        is_refused: whether it is refused.
    """

    __slots__ = ("is_refused", "last", "total", "unsaid")

    def __init__(self) -> None:
        self.total = 0
        self.unsaid = 0
        self.last = ""
        self.is_refused = False


class Misconduct:
    """The accounts of all peers of a node. To be used on the node's loop only.

    Args:
        loop: for the time of the next lines.
        on_refused: called when a peer is refused, with its name and the reason.
    """

    def __init__(self, loop: Loop, on_refused: Callable[[str, str], None]) -> None:
        self._loop = loop
        self._on_refused = on_refused
        self._accounts: dict[str, _Account] = {}
        self._is_timed = False
        #: How many first reports were logged in this interval: a peer may leave and come back to be new again.
        self._firsts = 0

    def report(self, peer: str, what: str) -> None:
        """A peer sent something that it must not send.

        Args:
            peer: its name.
            what: what it sent, to come after "sent".
        """
        account = self._accounts.setdefault(peer, _Account())
        account.total += 1
        account.last = what[:_MOST_TEXT]
        if account.total == 1 and self._firsts < _MOST_LINES:
            self._firsts += 1
            logger.warning("%s sent %s; it is dropped", peer, account.last)
        else:
            account.unsaid += 1
        if account.total >= MOST and not account.is_refused and peer != STRANGERS:
            account.is_refused = True
            reason = f"it sent {account.total} malformed messages"
            logger.warning("%s is refused until it leaves: %s", peer, reason)
            self._on_refused(peer, reason)
        self._call_later()

    def drops_frame(self, peer: str) -> bool:
        """Whether a frame of a peer is dropped, because the peer is refused. It is counted."""
        account = self._accounts.get(peer)
        if account is None or not account.is_refused:
            return False
        account.unsaid += 1
        self._call_later()
        return True

    def leave(self, peer: str) -> None:
        """A peer left."""
        self._accounts.pop(peer, None)

    def _call_later(self) -> None:
        if not self._is_timed:
            self._is_timed = True
            self._loop.call_later(INTERVAL, self._summarize)

    def _summarize(self) -> None:
        self._is_timed = False
        self._firsts = 0
        noted = [(name, account) for name, account in self._accounts.items() if account.unsaid]
        noted.sort(key=lambda entry: -entry[1].unsaid)
        for name, account in noted[:_MOST_LINES]:
            if account.is_refused:
                logger.warning("%d more frames of %s, which is refused, were dropped", account.unsaid, name)
            else:
                text = "%s sent %d more malformed messages in the last %g s; the last one was %s"
                logger.warning(text, name, account.unsaid, INTERVAL, account.last)
        if rest := noted[_MOST_LINES:]:
            total = sum(account.unsaid for _, account in rest)
            logger.warning("%d other peers sent %d malformed messages in the last %g s", len(rest), total, INTERVAL)
        for _, account in noted:
            account.unsaid = 0
        if noted:
            self._call_later()
