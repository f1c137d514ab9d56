"""What all engines have in common: where the driver listens, and what its workers are told.

::

    connect(deploy=engine) -> prepare: the driver listens where find_address says, with TLS if that is on the network
                           -> start:   launch(Joining); on its machines the engine calls Joining.run
    Context.stop           -> stop:    end
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import replace

from bndl.cluster.hash_seed import choose_seed
from bndl.config import Config
from bndl.deploy.joining import Joining, make_fresh
from bndl.net.credentials import Credentials, find_credentials, require_credentials
from bndl.net.endpoints import Endpoint

__all__ = ["Engine"]


class Engine(ABC):
    """A deployment (``cluster.deployment``) of which only the engine's part is to be written.

    Args:
        workers: how many workers there are to be.
    """

    def __init__(self, workers: int) -> None:
        self._wanted = workers
        self._config = Config()
        self._credentials: Credentials

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._wanted}>"

    @property
    def expected(self) -> int:
        """How many workers there are to be."""
        return self._wanted

    def prepare(self, config: Config) -> tuple[Config, Credentials]:
        """Settings and credentials of the driver.

        Without credentials in the settings there are fresh ones, for one context and its workers, unless a running
        cluster is to be joined.

        Raises:
            InvalidOption: a file of credentials cannot be read, or there are seeds and no credentials.
        """
        found = require_credentials(config) if config.seeds else find_credentials(config) or make_fresh()
        address = self.find_address(is_safe=found.has_tls or config.insecure_plaintext)
        if not config.listen:
            config = replace(config, listen=(str(Endpoint("tls" if found.has_tls else "tcp", address, 0)),))
        self._config = config
        self._credentials = found
        return config, found

    def start(self, cluster: str, seeds: tuple[str, ...]) -> None:
        """Have the workers started, without waiting for them."""
        config = replace(self._config, credentials="", secret_file="", workers=None)
        seed = choose_seed(os.environ, self._credentials.secret)
        self.launch(Joining(cluster, seeds, self._credentials, config, seed))

    def stop(self) -> None:
        """End all workers. Idempotent."""
        self.end()

    @abstractmethod
    def find_address(self, *, is_safe: bool) -> str:
        """The address of this machine as those of the engine see it, on which the driver is to listen.

        Args:
            is_safe: whether it may be one of the network as long as the engine has no other machine. If not, it is one
                of loopback then, and machines that come later cannot join.
        """

    @abstractmethod
    def launch(self, joining: Joining) -> None:
        """Have the engine start workers, without waiting for them."""

    @abstractmethod
    def end(self) -> None:
        """Have the engine end its workers. Idempotent."""
