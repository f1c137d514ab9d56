"""What can be set, in one frozen object. Where its values come from is in ``configure``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bndl.errors import InvalidOption

__all__ = ["Config", "check_name"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a context and of the workers that it starts.

    Attributes:
        lease: after how many seconds of silence a peer counts as lost.
        hello_interval: seconds between greetings to a peer that has not answered.
        stop_timeout: how many seconds a local worker process may take to end before it is killed.
        no_workers_timeout: for how many seconds work waits when no worker is left.
        fetch_timeout: how many seconds a peer may take to answer a request for results.
        cancel_timeout: after how many seconds a worker that does not stop a cancelled attempt is ended from outside.
        inline_bytes: up to which size arguments and results travel in messages; larger ones are fetched.
        chunk_bytes: how much of a large result is asked for at a time.
        store_bytes: how much memory a node's kept results may take before they are moved to disk.
        max_result_bytes: how large a result may be that goes to the driver; larger ones can only stay on workers.
        cancel_grace: a task that is cancelled, or out of time, is told so at once. After so many seconds an exception
            is raised in it, and after as many more its worker's process ends.
        max_restarts: how many times in a row a local worker that does not stay up is started again.
        workers: how many worker processes to start; None for one for each core, or for none if there are seeds.
        concurrency: how many tasks each worker executes at the same time.
        max_concurrency: how many tasks of a context may be under way on all workers together; 0 for no limit.
        cluster: the name of the cluster; empty for a name of its own, or ``default`` if it is joined or shared.
        seeds: addresses of nodes of a running cluster, to join it.
        listen: where to listen; empty for any free port of the loopback interface.
        secret_file: the file that holds the secret of the cluster.
        credentials: a folder that ``bndl cluster init`` made, with certificates for TLS and the secret.
        insecure_plaintext: whether to listen on the network without TLS.
        memory_limit: how many bytes of memory a worker process may use; 0 for no limit. Results have a quarter of it.
        library_threads: how many threads numeric libraries may use in each worker; 0 for its share of the cores.
        drain_timeout: how many seconds a worker that is told to leave may take to finish its work.
        rejoin_timeout: for how many seconds a lost node is looked for at its last address.
        mesh: whether to be connected to all other nodes; if not, to one of the seeds only, which must be routers.
        mesh_workers: up to how many workers of a driver that is alone with them are connected to each other. If there
            are more, each is connected to the driver only, which passes on what they send each other.
    """

    lease: float = 5.0
    hello_interval: float = 0.1
    stop_timeout: float = 3.0
    no_workers_timeout: float = 60.0
    fetch_timeout: float = 30.0
    cancel_timeout: float = 5.0
    inline_bytes: int = 64 << 10
    chunk_bytes: int = 4 * MEBIBYTE
    store_bytes: int = 1024 * MEBIBYTE
    max_result_bytes: int = 16 * 1024 * MEBIBYTE
    cancel_grace: float = 1.0
    max_restarts: int = 5
    workers: int | None = None
    concurrency: int = 1
    max_concurrency: int = 0
    cluster: str = ""
    seeds: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    secret_file: str = ""
    credentials: str = ""
    insecure_plaintext: bool = False
    memory_limit: int = 0
    library_threads: int = 0
    drain_timeout: float = 60.0
    rejoin_timeout: float = 600.0
    mesh: bool = True
    mesh_workers: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, int | float) and not value >= 0:
                raise InvalidOption(f"{each.name} must not be negative, and is {value}; the default is {each.default}")
        for name in ("lease", "concurrency"):
            if not getattr(self, name):
                raise InvalidOption(f"{name} must be more than 0; leave it out for the default")
        if self.cluster:
            check_name("cluster", self.cluster)


def check_name(what: str, name: str) -> None:
    """Check that a name can be a chunk of a key: zenoh gives a meaning to some characters.

    ``*`` does not match a chunk that begins with ``@``.

    Raises:
        InvalidOption: it cannot.
    """
    if not name or not name.isprintable() or name.startswith("@") or any(mark in name for mark in "/*$?#"):
        raise InvalidOption(f"{name!r} cannot name a {what}: use printable characters but / * $ ? #, and no @ in front")
