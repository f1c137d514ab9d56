"""How a program gets a context."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Sequence
from pathlib import Path

from bndl.config import Config
from bndl.context import progress as bars
from bndl.context.context import Context
from bndl.context.node import DriverNode
from bndl.driver.options import check_count
from bndl.errors import InvalidOption

__all__ = ["connect"]

_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


def connect(
    *,
    workers: int | None = None,
    concurrency: int = 1,
    max_concurrency: int | None = None,
    seeds: Sequence[str] = (),
    secret_file: str | os.PathLike[str] | None = None,
    cluster: str | None = None,
    progress: bool | None = None,
    config: Config | None = None,
) -> Context:
    """Start workers on this machine, or join a running cluster.

    Args:
        workers: how many worker processes to start here. Left out: one for each core, or none if there are seeds.
        concurrency: how many tasks each of them executes at the same time.
        max_concurrency: how many tasks of this context may be under way at the same time, on all workers together.
        seeds: addresses of nodes of a running cluster, such as ``tcp/10.0.0.5:5000``.
        secret_file: holds the secret of that cluster. Without seeds there is a fresh secret.
        cluster: the name of the cluster, if it is not the default.
        progress: whether to show a bar for each stage; left out: if standard error is a terminal or a notebook.
        config: settings.

    Returns:
        A context, at once: ``await_workers`` waits for the workers, and so does work.

    Raises:
        InvalidOption: an option makes no sense.
        ClusterError: the node cannot listen.
    """
    check_count("concurrency", concurrency, "how many tasks each worker executes at the same time")
    check_count(
        "max_concurrency", max_concurrency, "how many tasks may be under way together; leave it out for no limit"
    )
    if workers is not None and workers != 0:
        check_count("workers", workers, "how many worker processes to start; 0 for none")
    seeds = tuple([seeds] if isinstance(seeds, str) else seeds)
    secret = _read_secret(secret_file) if secret_file is not None else None
    if seeds and secret is None:
        text = "joining a cluster takes its secret: give secret_file=, the file that its first node was started with."
        raise InvalidOption(text)
    if workers is None:
        workers = 0 if seeds else count_cores()
    node = DriverNode(
        workers=workers,
        concurrency=concurrency,
        max_concurrency=max_concurrency or 0,
        seeds=seeds,
        cluster=cluster or ("default" if seeds else None),
        secret=secret,
        config=config or Config(),
    )
    context = Context(node, show_progress=bars.is_wanted(progress))
    _contexts.add(context)
    try:
        node.start()
    except BaseException:
        context.stop()
        raise
    return context


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_secret(path: str | os.PathLike[str]) -> str:
    try:
        secret = Path(path).read_text().strip()
    except OSError as error:
        text = f"the secret cannot be read from {os.fspath(path)!r} ({error.strerror}); name the cluster's secret file."
        raise InvalidOption(text) from error
    if not secret:
        text = f"the secret file {os.fspath(path)!r} is empty; name the cluster's secret file."
        raise InvalidOption(text)
    return secret


@atexit.register
def _stop_all() -> None:
    for context in list(_contexts):
        context.stop()
