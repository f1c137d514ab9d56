"""The driver's node in this process: its loops, its fabric, its local workers."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from secrets import token_hex

import msgspec

from bndl import _version
from bndl.cluster.deployment import Deployment
from bndl.cluster.membership import Membership
from bndl.cluster.search_path import SearchPath, read_search_path
from bndl.cluster.supervisor import Supervisor
from bndl.config import Config
from bndl.driver.driver import Driver
from bndl.driver.futures import Loops
from bndl.errors import ContextClosed, DeathCertificate, WorkerFailedToStart
from bndl.execute.process import WorkerSettings
from bndl.limits import check_node
from bndl.logs import flush
from bndl.loop import ThreadLoop
from bndl.net.credentials import Credentials
from bndl.net.endpoints import loopback, without_ports
from bndl.net.messages import NodeInfo
from bndl.net.names import NodeName, machine_name, next_context_number
from bndl.net.peers import own_versions
from bndl.net.seedwatch import SeedWatch
from bndl.net.session import Role, choose_role
from bndl.net.zenoh import ZenohFabric

__all__ = ["DriverNode"]

#: How many seconds to wait for the end of a process whose connection has just ended. The loop is held up as long only
#: if a worker is lost whose process lives on.
_EXIT_GRACE = 0.2
#: How many seconds handlers of logging may take at the end for what was said until then.
_FLUSH_TIMEOUT = 2.0


class DriverNode:
    """A driver and the workers that belong to it.

    Args:
        workers: how many local workers to start.
        config: settings.
        credentials: what it takes to be let into the cluster.
        deployment: workers that another engine runs.
    """

    def __init__(
        self, *, workers: int, config: Config, credentials: Credentials, deployment: Deployment | None = None
    ) -> None:
        number = next_context_number()
        name = str(NodeName(machine_name(), "driver", os.getpid(), number, 0))
        # What runs elsewhere needs an address to listen on, so with a deployment that alone says nothing.
        is_shared = bool(config.seeds) or (bool(config.listen) and deployment is None)
        own_role, worker_role = _choose_roles(workers, config, is_alone=not is_shared and deployment is None)
        cluster = config.cluster or ("default" if is_shared else f"local-{token_hex(4)}")
        versions = own_versions(_version.__version__)
        names = ("bndl-driver", "bndl-bulk", "bndl-futures", "bndl-callbacks")
        self._loops = [ThreadLoop(name, self._crashed) for name in names]
        listen = config.listen or loopback(tls=credentials.has_tls)
        self._seed_watch = SeedWatch(cluster, config.seeds, credentials, self._list_local)
        self._fabric = ZenohFabric(
            name,
            cluster,
            credentials=credentials,
            listen=listen,
            seeds=config.seeds,
            lease=config.lease,
            rejoin_timeout=config.rejoin_timeout,
            insecure_plaintext=config.insecure_plaintext,
            role=own_role,
            seed_watch=self._seed_watch,
        )
        self._deployment = deployment
        self._supervisor: Supervisor | None = None
        self._settings = WorkerSettings(
            cluster=cluster,
            credentials=credentials,
            seeds=(),
            listen=without_ports(listen),
            context=number,
            index=0,
            concurrency=config.concurrency,
            parent=0,
            path=read_search_path(),
            config=replace(config, credentials="", secret_file=""),  # they have what is in these, and paths may be odd
            role=worker_role,
        )
        self._workers = workers
        self._config = config
        self.membership = Membership(
            versions, self._count_expected, self._note_joined, self._find_certificate, self._end_worker
        )
        info = NodeInfo(name, "driver", token_hex(8), versions)
        own, bulk, futures, callbacks = self._loops
        loops = Loops(own, bulk, futures, callbacks)
        self.driver = Driver(self._fabric, info, loops, config, self.membership, config.max_concurrency)
        self.membership.bind(self.driver)
        self.membership.describe_seeds = lambda: self._seed_watch.problem
        self.search_path = SearchPath(self._loops[0], self.driver.peers.send, self._list_local)

    def start(self) -> None:
        """Go on the air and start the local workers, without waiting for them.

        Raises:
            ClusterError: the node cannot listen, or this process may not have what it takes.
        """
        check_node(self._workers)
        for loop in self._loops:
            loop.start()
        self.driver.start()
        if self._workers:
            settings = msgspec.structs.replace(self._settings, seeds=self._list_seeds())
            self._supervisor = Supervisor(settings, self._workers, self._config, self)
            self._supervisor.start()
        if self._deployment is not None:
            self._deployment.start(self._settings.cluster, self._list_seeds())

    def stop(self) -> None:
        """Leave the cluster and end the workers that are its own. Whoever waits gets ``ContextClosed``."""
        text = "the context was stopped while this was under way; bndl.connect() makes a new one."
        closed = ContextClosed(text)
        own, *others = self._loops
        with ExitStack() as steps:  # from the last one to the first, each of them whatever the others raise
            steps.callback(flush, _FLUSH_TIMEOUT)
            for loop in others:  # they run what has just been told
                steps.callback(loop.stop)
            steps.callback(self.driver.end, closed)
            steps.callback(own.stop)
            steps.callback(self._fabric.close)
            if self._supervisor is not None:
                steps.callback(self._supervisor.stop)
            if self._deployment is not None:
                steps.callback(self._deployment.stop)
            steps.callback(self.membership.close, closed)
            steps.callback(self.driver.close, closed)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the driver listens."""
        return self._fabric.addresses

    # For the supervisor

    def process_ended(self, certificate: DeathCertificate) -> None:
        """The process of a local worker ended. The fabric tells the driver; here is nothing to do."""

    def supervisor_gave_up(self, error: WorkerFailedToStart) -> None:
        """A local worker does not stay up. Without any other, nothing can be done."""
        self.membership.worker_failed(error)
        if not self._count_expected() and not self.membership.workers:
            self.driver.fail_all(error)

    def _list_seeds(self) -> tuple[str, ...]:
        """What the workers of this driver join through. A driver in no mesh has no address."""
        return (*self._fabric.addresses, *self._config.seeds)

    def _count_expected(self) -> int:
        local = self._supervisor.expected if self._supervisor is not None else 0
        return local + (self._deployment.expected if self._deployment is not None else 0)

    def _list_local(self) -> list[str]:
        return self._supervisor.names if self._supervisor is not None else []

    def _note_joined(self, name: str) -> None:
        if self._supervisor is not None:
            self._supervisor.note_joined(name)
            self.search_path.worker_joined(name)

    def _find_certificate(self, name: str) -> DeathCertificate | None:
        return self._supervisor.death_certificate(name, _EXIT_GRACE) if self._supervisor is not None else None

    def _end_worker(self, name: str, reason: str) -> bool:
        return self._supervisor is not None and self._supervisor.end_worker(name, reason)

    def _crashed(self, error: BaseException) -> None:
        self.driver.crashed(error)


def _choose_roles(workers: int, config: Config, *, is_alone: bool) -> tuple[Role, Role]:
    """How a driver takes part in the network, and how its local workers do.

    Args:
        workers: how many local workers there are.
        config: settings.
        is_alone: whether nobody else is in the cluster.
    """
    if is_alone and config.mesh and workers > config.mesh_workers:
        return Role.ROUTER, Role.CLIENT
    role = choose_role(config)
    return role, role
