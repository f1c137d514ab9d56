"""A meeting point: an address through which nodes find each other, and which is no node itself.

It is for a process that starts workers: its address stays the same while they come and go. As a router it is a process
of its own, ``bndl router``, that also passes on what they send each other.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Sequence

import zenoh

from bndl.config import check_name
from bndl.errors import ClusterError
from bndl.exits import at_last
from bndl.limits import check_node
from bndl.logs import get_logger
from bndl.net.complaints import explain_no_router
from bndl.net.credentials import Credentials
from bndl.net.endpoints import check_listen, check_seeds
from bndl.net.lingering import stop_lingering
from bndl.net.refusals import Refusals
from bndl.net.samples import read_samples
from bndl.net.seedwatch import SeedWatch
from bndl.net.session import Role, check_secret, find_addresses, open_session

__all__ = ["MeetingPoint"]

logger = get_logger(__name__)

#: Tokens that wait for the reader thread.
_CHANNEL_TOKENS = 100_000
#: Seconds that ``close`` waits for the reader thread, and for a diagnosis of the seeds.
_CLOSE_TIMEOUT = 5.0

_open: weakref.WeakSet[MeetingPoint] = weakref.WeakSet()


class MeetingPoint:
    """Listens at an address, and is connected to seeds, so that all who come here hear of each other.

    Args:
        credentials: who has others is not let in.
        listen: endpoints.
        seeds: endpoints of nodes or of other meeting points.
        lease: seconds of silence after which a connection counts as lost.
        insecure_plaintext: whether ``listen`` may have addresses that other machines can reach without TLS.
        cluster: the name of the cluster whose nodes are watched.
        on_joined: called with the name of each node that comes, in a thread of its own.
        own: the names of nodes that belong to this point: they join through it, and it through the seeds.
        on_connected: called once when it is connected through a seed, in another thread.
        role: a router passes on what nodes send each other. A client only watches: it does not listen.

    Raises:
        InvalidOption: if the cluster, an endpoint or the secret cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        *,
        credentials: Credentials,
        listen: Sequence[str],
        seeds: Sequence[str],
        lease: float,
        insecure_plaintext: bool,
        cluster: str,
        on_joined: Callable[[str], None],
        role: Role = Role.PEER,
        own: Callable[[], Collection[str]] = tuple,
        on_connected: Callable[[], None] = lambda: None,
    ) -> None:
        check_name("cluster", cluster)
        check_secret(credentials.secret)
        listen = () if role == Role.CLIENT else listen
        check_listen(listen, tls=credentials.has_tls, insecure_plaintext=insecure_plaintext)
        check_seeds(seeds, tls=credentials.has_tls)
        self._credentials = credentials
        self._listen = tuple(listen)
        self._seeds = tuple(seeds)
        self._lease = lease
        self._role = role
        self._tokens = f"bndl/{cluster}/peer/*/*"
        self._on_joined = on_joined
        self._seed_watch = SeedWatch(cluster, self._seeds, credentials, own, on_connected)
        self._session: zenoh.Session | None = None
        self._refusals: Refusals | None = None
        self._watch: object = None
        self._reader: threading.Thread | None = None

    def start(self) -> tuple[str, ...]:
        """Listen. Returns the addresses, with real ports.

        Raises:
            ClusterError: if an endpoint cannot be listened on, or this process may not have what it takes.
        """
        check_node()
        self._seed_watch.start()
        try:
            self._session = open_session(self._credentials, self._listen, self._seeds, self._lease, role=self._role)
            _open.add(self)
            at_last(_close_all)
            self._seed_watch.bind(self._session)
            # Not by a callback: a thread of zenoh would be in Python when the process ends, which aborts it.
            channel: zenoh.handlers.FifoChannel[zenoh.Sample] = zenoh.handlers.FifoChannel(_CHANNEL_TOKENS)
            watch = self._session.liveliness().declare_subscriber(self._tokens, channel, history=True)
            self._watch = watch
            self._reader = threading.Thread(
                target=read_samples, args=(watch.handler, self._on_token), name="bndl-meeting", daemon=True
            )
            self._reader.start()
            addresses = find_addresses(self._session) if self._listen else ()
            self._refusals = Refusals(self._session, addresses) if addresses else None
        except zenoh.ZError as error:
            self.close()
            text = f"cannot listen on {', '.join(self._listen)}: {error}. Give addresses and ports that are free here."
            if not self._listen:
                text = f"there is {explain_no_router(self._seeds, error, self._seed_watch.problem)}"
            raise ClusterError(text) from None
        return addresses

    def _on_token(self, sample: zenoh.Sample) -> None:
        if sample.kind == zenoh.SampleKind.PUT:
            stop_lingering()
            self._on_joined(str(sample.key_expr).split("/")[3])

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._seed_watch.close(_CLOSE_TIMEOUT)
        if self._refusals is not None:
            self._refusals.close(_CLOSE_TIMEOUT)
        session, self._session = self._session, None
        reader, self._reader = self._reader, None
        if session is not None:
            try:
                session.close()  # type: ignore[no-untyped-call]
            except zenoh.ZError as error:
                logger.warning("a meeting point ended without its connections being closed: %s", error)
        if reader is not None and reader is not threading.current_thread() and reader.ident is not None:
            reader.join(_CLOSE_TIMEOUT)
        self._watch = None


def _close_all() -> None:
    """A process that ends with an open session can hang."""
    for each in list(_open):
        each.close()
