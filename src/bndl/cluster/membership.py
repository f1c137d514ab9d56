"""Which peers there are, and whether all of them see the same.

A cluster is stable when every node that this one is to have is connected, and each worker sees the nodes that this one
sees. The workers are asked all at once, again and again until they agree. They are sent a digest of what this node
sees, so that asking a thousand workers does not take a million names.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from concurrent.futures import wait
from typing import TYPE_CHECKING

from bndl.cluster.peer import Peer
from bndl.errors import (
    BndlError,
    ClusterUnstableWarning,
    DeathCertificate,
    NoWorkers,
    TooFewWorkers,
    VersionMismatch,
    WorkerFailedToStart,
)
from bndl.execute.process import compare_views
from bndl.locking import Condition
from bndl.net.messages import NodeInfo
from bndl.net.names import digest_of, is_worker
from bndl.waits import capped

if TYPE_CHECKING:
    from bndl.driver.driver import Driver

__all__ = ["Membership"]

logger = logging.getLogger(__name__)

#: Seconds between two rounds of asking.
_INTERVAL = 0.03
#: How many seconds a worker may take to say what it sees.
_ANSWER_TIMEOUT = 2.0
#: When so many seconds are left, workers that see others are asked whom.
_IN_FULL = 2 * _ANSWER_TIMEOUT


class Membership:
    """The peers of a driver. Thread-safe.

    Args:
        versions: of this node, to say what is different about one that is refused.
        expected: how many local workers there are to be.
        joined: hears of every peer that connects.
        death_certificate: what is known of the end of a worker.
        end_worker: ends a worker that does not do what it is told to.
    """

    def __init__(
        self,
        versions: dict[str, str],
        expected: Callable[[], int],
        joined: Callable[[str], None],
        death_certificate: Callable[[str], DeathCertificate | None],
        end_worker: Callable[[str, str], bool],
    ) -> None:
        #: Why this node has not joined through its seeds; empty if it has.
        self.describe_seeds: Callable[[], str] = str
        self._joined = joined
        self.death_certificate = death_certificate
        self.end_worker = end_worker
        self._versions = versions
        self._expected = expected
        self._changed = Condition()
        self._peers: dict[str, Peer] = {}
        self._refused: dict[str, NodeInfo] = {}
        self._failure: WorkerFailedToStart | None = None
        #: Why there is nothing to wait for any more, if this node has left.
        self._closed: BndlError | None = None
        self._driver: Driver
        #: The first worker that came, with whose hashes those of others are compared.
        self._first: NodeInfo | None = None
        self._has_warned = False

    def bind(self, driver: Driver) -> None:
        """Name the driver whose peers they are; before anything else."""
        self._driver = driver

    # From the driver's loop

    def peer_connected(self, info: NodeInfo) -> None:
        """A peer can be talked to."""
        self._joined(info.name)
        if info.node_type == "worker":
            self._compare_hashes(info)
        with self._changed:
            self._peers[info.name] = Peer(info, self._driver.requests)
            self._changed.notify_all()

    def _compare_hashes(self, info: NodeInfo) -> None:
        """Warn, once, of workers in which text has other hashes: tasks that go by hashes would give wrong results."""
        if self._first is None:
            self._first = info
        elif info.text_hash != self._first.text_hash and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "hash() of text differs between %s and %s, so tasks must not go by it. PYTHONHASHSEED is set for some "
                "workers: set it to one number for all of them, or for none.",
                self._first.name,
                info.name,
            )

    def peer_lost(self, name: str, _reason: str) -> None:
        """A peer is gone."""
        with self._changed:
            peer = self._peers.pop(name, None)
            if peer is not None:
                peer.is_connected = False
            self._changed.notify_all()

    def peer_refused(self, info: NodeInfo) -> None:
        """A node runs other versions, so it takes no part."""
        with self._changed:
            self._refused[info.name] = info
            self._changed.notify_all()

    def worker_failed(self, error: WorkerFailedToStart) -> None:
        """A local worker does not stay up."""
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def close(self, error: BndlError) -> None:
        """This node leaves: whoever waits gets the error."""
        with self._changed:
            self._closed = error
            self._changed.notify_all()

    # For users

    @property
    def greeted(self) -> list[str]:
        """The nodes that are connected or were refused, by name."""
        with self._changed:
            return sorted({*self._peers, *self._refused})

    @property
    def workers(self) -> list[Peer]:
        """The workers that are connected, by name."""
        with self._changed:
            return self._workers()

    def _workers(self) -> list[Peer]:
        return [peer for _, peer in sorted(self._peers.items()) if peer.node_type == "worker"]

    def await_workers(self, count: int | None, connect_timeout: float, stable_timeout: float) -> int:
        """Wait for workers; see ``Context.await_workers``."""
        start = time.monotonic()
        if count is not None:
            return self._await_count(count, start + connect_timeout + stable_timeout)
        self._await_first(start + connect_timeout, connect_timeout)
        self._await_stable(start + stable_timeout, stable_timeout)
        return len(self.workers)

    def _await_count(self, count: int, deadline: float) -> int:
        with self._changed:
            while len(self._workers()) < count:
                self._raise_failure()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    names = [peer.name for peer in self._workers()]
                    text = (
                        f"{count} workers were asked for and {len(names)} are there: {', '.join(names) or 'none'}."
                        f"{self.describe_refusals()} Start more, or ask for fewer."
                    )
                    raise TooFewWorkers(text, wanted=count, workers=names)
                self._changed.wait(capped(remaining))
            return len(self._workers())

    def _await_first(self, deadline: float, timeout: float) -> None:
        with self._changed:
            while not self._workers():
                self._raise_failure()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    text = (
                        f"no worker connected within {timeout:g} s.{self.describe_refusals()} Start some with "
                        "bndl.connect(workers=...), or look at their logs if they should be there."
                    )
                    raise NoWorkers(text)
                self._changed.wait(capped(remaining))

    def check_hope(self) -> None:
        """See that it makes sense to wait for workers.

        Raises:
            WorkerFailedToStart: no worker is there, and no local one will be started any more.
        """
        with self._changed:
            if not self._expected():
                self._raise_failure()

    def _raise_failure(self) -> None:
        """Nobody waits when this node has left, or for a local worker that does not start, unless others are there."""
        if self._closed is not None:
            raise self._closed
        if self._failure is not None and not self._workers():
            raise self._failure

    def describe_refusals(self) -> str:
        """Sentences on nodes that were refused and on seeds, each with a space in front; empty if there are none."""
        errors = [str(self._mismatch(info)) for info in list(self._refused.values())]
        if problem := self.describe_seeds():
            errors.append(problem)
        return " " + " ".join(errors) if errors else ""

    def _mismatch(self, info: NodeInfo) -> BndlError:
        there = ", ".join(f"{what} {version}" for what, version in info.versions.items())
        here = ", ".join(f"{what} {version}" for what, version in self._versions.items())
        text = f"{info.name} runs {there}, this node {here}; install the same on both."
        return VersionMismatch(text, here=self._versions, there=info.versions)

    def _await_stable(self, deadline: float, timeout: float) -> None:
        while True:
            complaints = self._find_disagreement(deadline - time.monotonic())
            if not complaints:
                return
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                text = f"the cluster is not stable after {timeout:g} s: {'; '.join(complaints)}. Work can go on."
                warnings.warn(text, ClusterUnstableWarning, stacklevel=4)
                return
            with self._changed:
                self._raise_failure()
                self._changed.wait(min(_INTERVAL, remaining))

    def _find_disagreement(self, timeout: float) -> list[str]:
        """Who does not see whom, in words; nothing if all see the same. Names are told when time is nearly up.

        Other drivers are left out: they come and go, and have nothing to do with this one.
        """
        seen = [name for name in self._driver.peers.seen if is_worker(name)]
        with self._changed:
            workers = self._workers()
            missing = self._expected() - len(workers)
            silent = set(seen).difference(self._peers, self._refused)
        if missing > 0:
            return [f"{missing} of the workers that were started are not connected yet"]
        if silent:
            return [f"{', '.join(sorted(silent))} did not answer yet"]
        mine = {self._driver.name, *seen}
        in_full = timeout <= _IN_FULL
        asked = {
            peer.name: peer.execute(compare_views, self._driver.name, digest_of(mine), in_full=in_full)
            for peer in workers
        }
        done = wait(asked.values(), max(min(_ANSWER_TIMEOUT, timeout), 0.0)).done
        complaints = []
        for name, future in asked.items():
            if future not in done or future.exception() is not None or not _is_view(theirs := future.result(timeout=0)):
                complaints.append(f"{name} does not say whom it sees")
            elif theirs is not None:
                complaints += _describe(name, mine, set(theirs)) if in_full else [f"{name} sees others"]
        return complaints


def _is_view(answer: object) -> bool:
    """Whether an answer is one that ``compare_views`` gives. A member may answer anything."""
    return answer is None or (isinstance(answer, list) and all(isinstance(name, str) for name in answer))


def _describe(name: str, mine: set[str], theirs: set[str]) -> list[str]:
    """How what a worker sees differs from what this node sees."""
    complaints = []
    if unseen := mine - theirs:
        complaints.append(f"{name} does not see {', '.join(sorted(unseen))}")
    if unknown := theirs - mine:
        complaints.append(f"{name} sees {', '.join(sorted(unknown))}, this node does not")
    return complaints
