"""How a program gets a context."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence

from bndl.checks import check_flag, check_instance, check_optional, check_whole, complain, is_a
from bndl.cluster.deployment import Deployment
from bndl.cluster.threads import count_cores
from bndl.config import Config
from bndl.configure import configure
from bndl.context import progress as bars
from bndl.context.context import Context
from bndl.context.node import DriverNode
from bndl.errors import ClusterError
from bndl.execute.current import refuse_in_tasks
from bndl.exits import at_last
from bndl.net.credentials import require_credentials

__all__ = ["connect"]

_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


def connect(  # noqa: PLR0913 - each is an option of its own, by name
    *,
    workers: int | None = None,
    concurrency: int | None = None,
    max_concurrency: int | None = None,
    seeds: Sequence[str] | None = None,
    secret_file: str | os.PathLike[str] | None = None,
    credentials: str | os.PathLike[str] | None = None,
    listen: Sequence[str] | None = None,
    insecure_plaintext: bool | None = None,
    cluster: str | None = None,
    mesh: bool | None = None,
    deploy: Deployment | None = None,
    progress: bool | None = None,
    config: Config | None = None,
) -> Context:
    """Start workers on this machine, or join a running cluster.

    What is left out is taken from ``config``; without that from the environment and ``bndl.toml``; else it has its
    default.

    Args:
        workers: how many worker processes to start here. By default one for each core, or none if there are seeds.
        concurrency: how many tasks each of them executes at the same time; 1 by default.
        max_concurrency: how many tasks of this context may be under way at the same time, on all workers together.
        seeds: addresses of nodes of a running cluster, such as ``tcp/10.0.0.5:5000``.
        secret_file: holds the secret of that cluster. By default, without seeds, there is a fresh secret.
        credentials: a folder that ``bndl cluster init`` made, with the secret and certificates for TLS.
        listen: where to listen, such as ``tls/10.0.0.7:0``; by default where only this machine can reach it.
        insecure_plaintext: whether ``listen`` may have addresses of the network without TLS.
        cluster: the name of the cluster, if it is not the default.
        mesh: whether to be connected to all other nodes; if not, to one of the seeds only, which must be routers.
        deploy: runs workers elsewhere, such as ``bndl.deploy.RayWorkers(8)``; there are no local ones by default then.
        progress: whether to show a bar for each stage; left out: if standard error is a terminal or a notebook.
        config: settings, instead of those of the environment and of ``bndl.toml``.

    Returns:
        A context, at once: ``await_workers`` waits for the workers, and so does work.

    Raises:
        InvalidOption: an option makes no sense, or is not safe.
        ClusterError: the node cannot listen.
        UserError: the caller runs in a task.
    """
    refuse_in_tasks("bndl.connect()")
    check_optional(check_flag, "progress", progress, "leave it out to have bars where they can be seen")
    if config is not None:
        check_instance("config", config, Config, "a bndl.Config", "bndl.Config(lease=10.0), for example")
    if deploy is not None:
        _check_deployment(deploy)
    if max_concurrency is not None:
        check_whole("max_concurrency", max_concurrency, "how many tasks may be under way; leave it out for no limit")
    arguments = {
        "workers": workers,
        "concurrency": concurrency,
        "max_concurrency": max_concurrency,
        "seeds": seeds,
        "secret_file": secret_file,
        "credentials": credentials,
        "listen": listen,
        "insecure_plaintext": insecure_plaintext,
        "cluster": cluster,
        "mesh": mesh,
    }
    settings = configure(arguments, base=config).config
    workers = settings.workers
    if workers is None:
        workers = 0 if settings.seeds or deploy is not None else count_cores()
    if deploy is not None:
        settings, shown = deploy.prepare(settings)
    else:
        shown = require_credentials(settings)
    node = DriverNode(workers=workers, config=settings, credentials=shown, deployment=deploy)
    context = Context(node, show_progress=bars.is_wanted(progress))
    _contexts.add(context)
    at_last(_stop_all)
    try:
        node.start()
    except RuntimeError as error:  # of ``Thread.start``; ours are no RuntimeError
        context.stop()
        text = f"{error}: let this process have more, by `ulimit -u` or by the limit of pids of its container."
        raise ClusterError(text) from error
    except BaseException:
        context.stop()
        raise
    return context


def _check_deployment(deploy: Deployment) -> None:
    for name in ("prepare", "start", "stop"):
        try:
            method = getattr(deploy, name, None)
        except Exception:  # noqa: BLE001 - of the value's own
            method = None
        if is_a(deploy, type) or not callable(method):
            raise complain("deploy", "a deployment", deploy, "bndl.deploy.RayWorkers(8), for example")


def _stop_all() -> None:
    for context in list(_contexts):
        context.stop()
