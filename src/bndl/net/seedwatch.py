"""Tells why a node has not joined its cluster, while it goes on trying.

Zenoh tries seeds again and again, and says nothing. So somebody looks whether the node is connected to anybody; if not,
each seed is diagnosed (``net.diagnosis``) and what came of it is logged, once soon and then every half minute.

::

    start --PATIENCE--> connected to others? --yes--> of the right cluster? --no--> a warning
                                             --no---> diagnose all seeds -> a warning -> every INTERVAL, until yes
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

import zenoh

from bndl.net.announced import Token
from bndl.net.credentials import Credentials
from bndl.net.diagnosis import LONGEST, Diagnosis, diagnose
from bndl.threads import try_start

__all__ = ["SeedWatch"]

logger = logging.getLogger(__name__)

#: Seconds until the first look. With ``LONGEST`` less than 5, within which users are told.
_PATIENCE = 0.4
#: Seconds between looks until the node is in.
_LOOK = 0.2
#: Seconds between warnings while it is not.
_INTERVAL = 30.0
#: How many seeds are diagnosed.
_MOST_SEEDS = 8
#: Seconds that the nodes which are there may take to be told.
_ANSWER = 1.0


class SeedWatch:
    """Watches one node join through its seeds.

    Args:
        cluster: the name of the cluster.
        seeds: what it joins through.
        credentials: what it shows.
        own: the names of nodes that belong to this one: being connected to them means nothing.
        on_joined: called once, in a thread of this, when it is connected to another node or meeting point.
    """

    def __init__(
        self,
        cluster: str,
        seeds: Sequence[str],
        credentials: Credentials,
        own: Callable[[], Collection[str]] = tuple,
        on_joined: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._seeds = tuple(seeds)
        self._credentials = credentials
        self._own = own
        self._on_joined = on_joined
        self._session: zenoh.Session | None = None
        self._is_over = threading.Event()
        self._problem = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, if there are seeds. Before the session is opened, which may take long."""
        if self._seeds:
            self._thread = try_start(self._run, "bndl-seeds")

    def bind(self, session: zenoh.Session) -> None:
        """Name the session of the node."""
        self._session = session

    def close(self, timeout: float) -> None:
        """Watch no more. Returns when the thread has ended, or after ``timeout`` seconds."""
        self._is_over.set()
        self._session = None
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def problem(self) -> str:
        """Why the node has not joined, in sentences; empty if it has, or nothing is known yet."""
        return self._problem

    def _run(self) -> None:
        began = time.monotonic()
        next_words = began + _PATIENCE
        while not self._is_over.wait(_LOOK):
            if self._is_connected():
                self._tell_joined(time.monotonic() - began)
                return
            if time.monotonic() >= next_words:
                found = self._diagnose()
                if self._is_over.is_set():
                    return
                if not self._is_connected():
                    self._tell_problem(found, time.monotonic() - began)
                next_words = time.monotonic() + _INTERVAL

    def _tell_problem(self, found: Sequence[Diagnosis], seconds: float) -> None:
        if any(not each.problem for each in found):
            return  # it is let in there, so it is about to be connected
        self._problem = " ".join(f"Seed {each}" for each in found)
        logger.warning("not joined after %.0f s. %s Trying goes on.", seconds, self._problem)

    def _tell_joined(self, seconds: float) -> None:
        if self._problem:
            logger.warning("joined through %s after %.0f s", " ".join(self._seeds), seconds)
        self._problem = ""
        clusters = self._list_clusters()
        if clusters and self._cluster not in clusters:
            names = ", ".join(f"{name!r} ({count} nodes)" for name, count in sorted(clusters.items()))
            self._problem = (
                f"The nodes at {' '.join(self._seeds)} are of cluster {names}, and none is of {self._cluster!r}. Give "
                "cluster= (--cluster) the name of the one to join."
            )
            logger.warning("%s", self._problem)
        self._on_joined()

    def _is_connected(self) -> bool:
        """Whether the node is connected to any that is not its own."""
        session = self._session
        if session is None:
            return False
        try:
            there = {str(each) for each in (*session.info.peers_zid(), *session.info.routers_zid())}
            if not there or not (own := self._own()):
                return bool(there)
            tokens = self._list_tokens(session)
        except zenoh.ZError:  # it was closed
            return False
        return bool(there - {token.session for _, token in tokens if token.name in own})

    def _list_clusters(self) -> dict[str, int]:
        """How many nodes of others are there, by cluster."""
        clusters: dict[str, int] = {}
        session = self._session
        if session is not None:
            own = {*self._own()}
            try:
                for cluster, token in self._list_tokens(session):
                    if token.name not in own and token.session != str(session.zid()):
                        clusters[cluster] = clusters.get(cluster, 0) + 1
            except zenoh.ZError:  # it was closed
                return {}
        return clusters

    def _list_tokens(self, session: zenoh.Session) -> list[tuple[str, Token]]:
        replies = session.liveliness().get("bndl/*/peer/*/*", timeout=_ANSWER)
        keys = [str(reply.ok.key_expr) for reply in replies if reply.ok is not None]
        return [(key.split("/")[1], Token.parse(key)) for key in keys]

    def _diagnose(self) -> list[Diagnosis]:
        """Diagnose all seeds at once."""
        found: dict[str, Diagnosis] = {}

        def look(seed: str) -> None:
            found[seed] = diagnose(seed, self._credentials)

        threads = {
            seed: threading.Thread(target=look, args=(seed,), name="bndl-diagnosis", daemon=True)
            for seed in self._seeds[:_MOST_SEEDS]
        }
        deadline = time.monotonic() + LONGEST
        for thread in threads.values():
            thread.start()
        for thread in threads.values():
            thread.join(max(deadline - time.monotonic(), 0.0))
        # Looking up a name of a host takes as long as the system wants.
        late = f"nothing is known after {LONGEST:g} s"
        return [
            found.get(seed, Diagnosis(seed, (), late, "Look at the name server of this machine.")) for seed in threads
        ]
