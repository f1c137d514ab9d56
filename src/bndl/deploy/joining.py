"""What goes to a machine of an engine for workers to start there, and join."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bndl.cluster.authority import Authority
from bndl.cluster.host import WorkerHost
from bndl.config import Config
from bndl.net.credentials import AUTHORITY, CERTIFICATE, KEY, Credentials
from bndl.net.endpoints import Endpoint

__all__ = ["Joining", "PortableCredentials", "make_fresh"]

_DAYS = 365


@dataclass(frozen=True, slots=True)
class PortableCredentials:
    """Credentials with the contents of their files, to be sent to another machine. None of it is in the repr."""

    secret: str = field(repr=False)
    authority: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def pack(cls, credentials: Credentials) -> Self:
        """Read the files."""
        if not credentials.has_tls:
            return cls(credentials.secret)
        paths = (credentials.authority, credentials.certificate, credentials.key)
        return cls(credentials.secret, *(Path(path).read_bytes() for path in paths))

    def unpack(self, folder: Path) -> Credentials:
        """Write the files to a folder that only this user can read."""
        if not self.authority:
            return Credentials(self.secret)
        contents = {AUTHORITY: self.authority, CERTIFICATE: self.certificate, KEY: self.key}
        for name, content in contents.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        return Credentials(self.secret, *(str(folder / name) for name in contents))


def make_fresh() -> PortableCredentials:
    """A secret and certificates that nobody else has, for one context and its workers."""
    authority = Authority.create(_DAYS)
    certificate, key = authority.issue("node", _DAYS)
    return PortableCredentials(Credentials.fresh().secret, authority.certificate_pem, certificate, key)


@dataclass(frozen=True, slots=True)
class Joining:
    """What a machine has to know for its workers to join.

    Attributes:
        cluster: the name of the cluster.
        seeds: addresses of nodes of it.
        credentials: what it takes to be let into it.
        config: settings.
    """

    cluster: str
    seeds: tuple[str, ...]
    credentials: PortableCredentials
    config: Config

    def run(self, workers: int, address: str, folder: Path) -> WorkerHost:
        """Start workers on this machine.

        Args:
            workers: how many.
            address: of this machine, as the others see it.
            folder: for credentials; nobody else may be able to read it.

        Raises:
            ClusterError: it cannot listen.
        """
        seeds = [Endpoint.parse(seed) for seed in self.seeds]
        listen: tuple[str, ...] = ()
        if not all(seed.is_loopback for seed in seeds):
            listen = (str(Endpoint(seeds[0].protocol, address, 0)),)
        config = replace(self.config, cluster=self.cluster, seeds=self.seeds, listen=listen)
        host = WorkerHost(workers, config, self.credentials.unpack(folder))
        host.start()
        return host
