"""What goes to a machine of an engine for workers to start there, and join."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bndl.cluster.authority import Authority
from bndl.cluster.host import WorkerHost
from bndl.config import Config
from bndl.net.credentials import Credentials
from bndl.net.endpoints import Endpoint

__all__ = ["Joining", "make_fresh"]

_DAYS = 365


def make_fresh() -> Credentials:
    """A secret and certificates that nobody else has, for one context and its workers."""
    authority = Authority.create(_DAYS)
    certificate, key = authority.issue("node", _DAYS)
    return replace(
        Credentials.fresh(),
        authority=authority.certificate_pem.decode(),
        certificate=certificate.decode(),
        key=key.decode(),
    )


@dataclass(frozen=True, slots=True)
class Joining:
    """What a machine has to know for its workers to join.

    Attributes:
        cluster: the name of the cluster.
        seeds: addresses of nodes of it.
        credentials: what it takes to be let into it.
        config: settings.
        hash_seed: of the workers. The engine may have set one in the environment there, as Ray does.
    """

    cluster: str
    seeds: tuple[str, ...]
    credentials: Credentials
    config: Config
    hash_seed: str = ""

    def run(self, workers: int, address: str) -> WorkerHost:
        """Start workers on this machine.

        Args:
            workers: how many.
            address: of this machine, as the others see it.

        Raises:
            ClusterError: it cannot listen.
        """
        seeds = [Endpoint.parse(seed) for seed in self.seeds]
        listen: tuple[str, ...] = ()
        if not all(seed.is_loopback for seed in seeds):
            listen = (str(Endpoint(seeds[0].protocol, address, 0)),)
        config = replace(self.config, cluster=self.cluster, seeds=self.seeds, listen=listen)
        host = WorkerHost(workers, config, self.credentials, self.hash_seed)
        host.start()
        return host
