"""``bndl cluster check``: whether this machine can join at an address, and what the nodes there are like.

::

    reachable -> TLS -> secret -> name of the cluster     net.diagnosis, without taking part
    versions, clocks                                      as a driver that joins for a moment
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import wait

import typer

from bndl import _version
from bndl.cli.serving import begin
from bndl.cluster.peer import Peer
from bndl.config import Config
from bndl.context.node import DriverNode
from bndl.errors import BndlError, ClusterError
from bndl.net.credentials import Credentials
from bndl.net.diagnosis import Diagnosis, diagnose
from bndl.net.peers import own_versions

__all__ = ["check_cluster", "compare_clocks"]

#: Seconds that the nodes which announced themselves may take to greet.
_GREETINGS = 5.0
#: Seconds that workers may take to tell the time.
_ANSWERS = 5.0
_INTERVAL = 0.05
#: A difference between clocks of more seconds than this is pointed out.
_MOST_DIFFERENCE = 5.0


def check_cluster(address: str, arguments: Mapping[str, object]) -> None:
    """Go through the steps of joining, and say what came of each.

    Args:
        address: of a node.
        arguments: settings that the command line gave; None for those that it did not.

    Raises:
        InvalidOption: an option makes no sense.
        ClusterError: this machine cannot join there.
    """
    config, credentials = begin({**arguments, "seeds": [address]})
    name = config.cluster or "default"
    found = diagnose(address, credentials)
    _tell_steps(found)
    if found.problem:
        raise ClusterError(str(found))
    nodes = found.clusters.get(name, [])
    if found.clusters and not nodes:
        others = ", ".join(f"{other!r}" for other in sorted(found.clusters))
        text = f"no node at {address} is of cluster {name!r}; they are of {others}. Give its name with --cluster."
        raise ClusterError(text)
    _say("cluster", f"{name!r}, with {len(nodes)} nodes: {', '.join(sorted(nodes)) or 'no driver and no worker yet'}")
    if nodes:
        _meet(config, credentials, nodes)


def _say(what: str, text: str) -> None:
    typer.echo(f"{what:<10} {text}")


def _tell_steps(found: Diagnosis) -> None:
    done = " ".join(found.done)
    if "reachable" in done:
        _say("reachable", "yes")
    if "TLS" in done:
        _say("TLS", "yes, and the certificates of both sides are of one authority")
    elif "secret" in done:
        _say("TLS", "no: others on the network could read and change what travels")
    if "secret" in done:
        _say("secret", "right")


def _meet(config: Config, credentials: Credentials, nodes: Sequence[str]) -> None:
    """Join for a moment, and ask the nodes for their versions and clocks.

    Raises:
        ClusterError: a node runs other versions, or does not answer.
    """
    node = DriverNode(workers=0, config=config, credentials=credentials)
    try:
        node.start()
        deadline = time.monotonic() + _GREETINGS
        silent = set(nodes)
        while silent and time.monotonic() < deadline:
            time.sleep(_INTERVAL)
            silent = set(nodes) - set(node.membership.greeted)
        versions = ", ".join(f"{what} {version}" for what, version in own_versions(_version.__version__).items())
        refusals = node.membership.describe_refusals().strip()
        if refusals:
            raise ClusterError(refusals)
        if silent:
            text = f"{', '.join(sorted(silent))} did not answer within {_GREETINGS:g} s: stopped, overloaded or gone."
            raise ClusterError(text)
        _say("versions", f"{versions} on all of them and here")
        _say("clock", compare_clocks(node.membership.workers))
    finally:
        node.stop()


def compare_clocks(workers: Sequence[Peer]) -> str:
    """How much the clocks of workers differ from that of this machine, in words."""
    began = time.time()
    asked = {worker.name: worker.execute(time.time) for worker in workers}
    wait(asked.values(), _ANSWERS)
    took = time.time() - began
    differences = {}
    for name, future in asked.items():
        with contextlib.suppress(BndlError, TimeoutError):
            differences[name] = future.result(timeout=0) - began - took / 2
    if not differences:
        return "not known: there is no worker that answers"
    name, most = max(differences.items(), key=lambda item: abs(item[1]))
    text = f"at most {abs(most):.1f} s from that of this machine, give or take {took / 2:.2f} s"
    if abs(most) > _MOST_DIFFERENCE:
        text += (
            f"; the one of {name} is {'ahead' if most > 0 else 'behind'}. Set both by NTP: certificates depend on it"
        )
    return text
