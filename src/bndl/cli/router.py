"""``bndl router``: passes on what the nodes of a cluster send each other, so that they need not all be connected."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from bndl.cli.serving import Leave, begin, describe_credentials, end_on_signals, say, secret_file
from bndl.net.endpoints import loopback
from bndl.net.meeting import MeetingPoint
from bndl.net.session import Role

__all__ = ["run_router"]


def run_router(arguments: Mapping[str, object]) -> None:
    """Run a router until it is told to end.

    Args:
        arguments: settings that the command line gave; None for those that it did not.

    Raises:
        InvalidOption: an option makes no sense, or is not safe.
        ClusterError: it cannot listen.
    """
    config, credentials = begin(arguments)
    router = MeetingPoint(
        credentials=credentials,
        listen=config.listen or loopback(tls=credentials.has_tls),
        seeds=config.seeds,
        lease=config.lease,
        insecure_plaintext=config.insecure_plaintext,
        cluster=config.cluster or "default",
        on_joined=lambda _: None,
        role=Role.ROUTER,
    )
    leave = Leave()
    with contextlib.ExitStack() as stack:
        stack.callback(router.close)
        end_on_signals(leave)
        addresses = router.start()
        options = describe_credentials(config, stack.enter_context(secret_file(config, credentials)))
        say(f"listening on {' '.join(addresses)}")
        say(f"another router: bndl router --seeds {addresses[0]} {options}")
        say(f"to join: bndl worker --no-mesh --seeds {addresses[0]} {options}")
        say(f"to use it: bndl shell --no-mesh --seeds {addresses[0]} {options}")
        while not leave.after_a_moment():
            pass
