"""Workers of this machine for a cluster: one process that keeps them running, as ``bndl worker`` does.

::

    WorkerHost --- MeetingPoint   the address that other nodes join through
               --- Supervisor     the worker processes; each listens on a port of its own

It leaves in order: the workers are told to drain, finish what they run, hand over what is still needed, and end.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

from bndl.cluster.search_path import read_search_path
from bndl.cluster.supervisor import Supervisor
from bndl.config import Config
from bndl.errors import DeathCertificate, WorkerFailedToStart
from bndl.execute.process import WorkerSettings
from bndl.logs import get_logger
from bndl.net.credentials import Credentials
from bndl.net.endpoints import loopback, without_ports
from bndl.net.meeting import MeetingPoint
from bndl.net.names import next_context_number
from bndl.net.session import choose_role

__all__ = ["WorkerHost"]

logger = get_logger(__name__)


class WorkerHost:
    """Keeps workers of a cluster running on this machine.

    Args:
        workers: how many.
        config: settings.
        credentials: what it takes to be let into the cluster.
        hash_seed: of the workers; empty for what the environment says, or the secret.

    Attributes:
        cluster: the name of the cluster.
        addresses: where other nodes can join, once it is started; none if it is in no mesh.
        failure: why a worker was given up, if one was.
        gave_up: set once one was.
        are_there: set once all workers are there and, if there are seeds, this machine has joined through one.
    """

    def __init__(self, workers: int, config: Config, credentials: Credentials, hash_seed: str = "") -> None:
        self.cluster = config.cluster or "default"
        self.addresses: tuple[str, ...] = ()
        self.failure: WorkerFailedToStart | None = None
        self.gave_up = threading.Event()
        self.are_there = threading.Event()
        self._joined: set[str] = set()
        self._workers = workers
        self._config = config
        self._credentials = credentials
        self._hash_seed = hash_seed
        self._listen = config.listen or loopback(tls=credentials.has_tls)
        self._role = choose_role(config)
        self._meeting = MeetingPoint(
            credentials=credentials,
            listen=self._listen,
            seeds=config.seeds,
            lease=config.lease,
            insecure_plaintext=config.insecure_plaintext,
            cluster=self.cluster,
            on_joined=self._note_joined,
            role=self._role,
            own=lambda: self._supervisor.names if self._supervisor is not None else (),
            on_connected=self._note_connected,
        )
        self._is_connected = not config.seeds
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Listen, and start the workers without waiting for them.

        Raises:
            ClusterError: it cannot listen.
        """
        self.addresses = self._meeting.start()
        settings = WorkerSettings(
            cluster=self.cluster,
            credentials=self._credentials,
            seeds=(*self.addresses, *self._config.seeds),
            listen=without_ports(self._listen),
            context=next_context_number(),
            index=0,
            concurrency=self._config.concurrency,
            parent=0,
            path=(*_here(), *read_search_path()),
            config=replace(self._config, seeds=(), listen=()),
            is_shared=True,
            role=self._role,
            hash_seed=self._hash_seed,
        )
        self._supervisor = Supervisor(settings, self._workers, self._config, self)
        self._supervisor.start()

    @property
    def running(self) -> int:
        """How many workers run or will be started again."""
        return self._supervisor.expected if self._supervisor is not None else 0

    def drain(self) -> None:
        """Let the workers finish what they run and hand over what is needed. Returns when they have ended.

        Those that take longer than the settings allow are ended.
        """
        if self._supervisor is not None:
            self._supervisor.drain()
        self.stop()

    def stop(self) -> None:
        """End the workers now, and listen no more. Idempotent."""
        if self._supervisor is not None:
            self._supervisor.stop()
        self._meeting.close()

    def _note_joined(self, name: str) -> None:
        supervisor = self._supervisor
        if supervisor is not None and name in supervisor.names:
            supervisor.note_joined(name)
            self._joined.add(name)
            self._check_there()

    def _note_connected(self) -> None:
        self._is_connected = True
        self._check_there()

    def _check_there(self) -> None:
        if self._is_connected and len(self._joined) >= self._workers:
            self.are_there.set()

    # For the supervisor

    def process_ended(self, certificate: DeathCertificate) -> None:
        """A worker ended that was not told to. It is started again, and the supervisor has logged it."""

    def supervisor_gave_up(self, error: WorkerFailedToStart) -> None:
        """A worker does not stay up."""
        logger.error("%s", error)
        self.failure = error
        self.gave_up.set()


def _here() -> tuple[str, ...]:
    """As with ``python -m``, modules are found in the current folder first, if there still is one."""
    with contextlib.suppress(OSError):
        return (str(Path.cwd()),)
    return ()
