"""What can be set, in one frozen object. Where its values come from is in ``configure``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bndl.checks import (
    check_flag,
    check_optional,
    check_path,
    check_seconds,
    check_text,
    check_texts,
    check_whole,
    complain,
)
from bndl.errors import InvalidOption
from bndl.reprs import safe_repr

__all__ = ["MOST_SLOTS", "MOST_WORKERS", "Config", "check_name"]

MEBIBYTE = 1 << 20

#: How many worker processes a machine is asked to start at most, and how many slots each may have.
MOST_WORKERS = 10_000
MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of a context and of the workers that it starts.

    Times are in seconds, at most a year. Sizes are whole numbers of bytes.

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
        memory_limit: how many bytes of memory a worker process may use, at least 128 MiB; 0 for no limit. Results have
            a quarter of it.
        library_threads: how many threads numeric libraries may use in each worker; 0 for its share of the cores.
        drain_timeout: how many seconds a worker that is told to leave may take to finish its work.
        rejoin_timeout: for how many seconds a lost node is looked for at its last address.
        mesh: whether to be connected to all other nodes; if not, to one of the seeds only, which must be routers.
        mesh_workers: up to how many workers of a driver that is alone with them are connected to each other. If there
            are more, each is connected to the driver only, which passes on what they send each other.
        show_items: whether the error of a task shows a short text of its item or arguments.

    Raises:
        InvalidOption: a value makes no sense.
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
    show_items: bool = True

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))


def _check_memory_limit(name: str, value: object) -> int:
    hint = "bytes that a worker process may use, such as 4 << 30, or 0 for no limit; bndl.toml takes '4 GiB' too"
    limit = check_whole(name, value, hint, least=0, most=_MOST_BYTES)
    if 0 < limit < _LEAST_MEMORY:
        raise complain(name, f"0 or at least {_LEAST_MEMORY:,}", value, "a worker needs so much to start")
    return limit


def _check_concurrency(name: str, value: object) -> int:
    hint = "how many tasks each worker executes at the same time; leave it out for the default"
    count = check_whole(name, value, hint, least=0, most=MOST_SLOTS)
    if not count:
        raise complain(name, "more than 0", value, hint)
    return count


def _check_cluster(name: str, value: object) -> str:
    text = check_text(name, value, "the name of the cluster")
    if text:
        check_name("cluster", text)
    return text


def check_name(what: str, name: str) -> None:
    """Check that a name can be a chunk of a key: zenoh gives a meaning to some characters.

    ``*`` does not match a chunk that begins with ``@``.

    Raises:
        InvalidOption: it cannot.
    """
    if not name or not name.isprintable() or name.startswith("@") or any(mark in name for mark in "/*$?#"):
        text = f"{safe_repr(name)} cannot name a {what}: use printable characters but / * $ ? #, and no @ in front"
        raise InvalidOption(text)
    if len(name) > _LONGEST_NAME:
        raise InvalidOption(f"{safe_repr(name)} cannot name a {what}: use at most {_LONGEST_NAME} characters")


#: More than any machine has.
_MOST_BYTES = 1 << 60
_LEAST_MEMORY = 128 * MEBIBYTE
_LONGEST_NAME = 200

#: Shorter times would have a loop do nothing else.
_SHORT = 0.01

_count = partial(check_whole, least=0)
_bytes = partial(check_whole, least=0, most=_MOST_BYTES)
_path = partial(check_path, hint="give the name of a file or folder, or leave it out")

_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "lease": partial(check_seconds, least=_SHORT, hint="seconds of silence after which a peer counts as lost"),
    "hello_interval": partial(check_seconds, least=_SHORT, hint="seconds between greetings"),
    "stop_timeout": partial(check_seconds, hint="seconds until a worker process that does not end is killed"),
    "no_workers_timeout": partial(check_seconds, hint="seconds that work waits when no worker is there"),
    "fetch_timeout": partial(check_seconds, least=_SHORT, hint="seconds that a peer may take to answer"),
    "cancel_timeout": partial(check_seconds, hint="seconds until a worker is ended that does not stop an attempt"),
    "inline_bytes": partial(_bytes, hint="the largest payload that travels in a message"),
    "chunk_bytes": partial(check_whole, least=1024, most=_MOST_BYTES, hint="bytes of a payload fetched at a time"),
    "store_bytes": partial(_bytes, hint="bytes of kept results until they are moved to disk"),
    "max_result_bytes": partial(check_whole, least=1024, most=_MOST_BYTES, hint="bytes of a result for the driver"),
    "cancel_grace": partial(check_seconds, hint="seconds that a cancelled task has to end by itself"),
    "max_restarts": partial(_count, hint="how many times in a row a worker is started again"),
    "workers": partial(
        check_optional, check_whole, least=0, most=MOST_WORKERS, hint="how many worker processes to start, 0 for none"
    ),
    "concurrency": _check_concurrency,
    "max_concurrency": partial(_count, hint="how many tasks may be under way together, 0 for no limit"),
    "cluster": _check_cluster,
    "seeds": partial(check_texts, hint="addresses such as tcp/10.0.0.5:5000"),
    "listen": partial(check_texts, hint="addresses such as tls/10.0.0.7:0"),
    "secret_file": _path,
    "credentials": _path,
    "insecure_plaintext": check_flag,
    "memory_limit": _check_memory_limit,
    "library_threads": partial(_count, hint="how many threads libraries may use, 0 for a share of the cores"),
    "drain_timeout": partial(check_seconds, hint="seconds that a leaving worker may take to finish its work"),
    "rejoin_timeout": partial(check_seconds, hint="seconds for which a lost node is looked for"),
    "mesh": check_flag,
    "mesh_workers": partial(_count, hint="up to how many workers are connected to each other"),
    "show_items": check_flag,
}
