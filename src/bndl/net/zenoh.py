"""A fabric of real sockets: Eclipse Zenoh between peers that find each other by gossip.

::

    bndl/<cluster>/to/<receiver>/<session>/<sender>/<session>    frames, one ordered stream per pair and priority
    bndl/<cluster>/peer/<name>/<session>;<addresses>             liveliness token of a node: see net.announced

    start: open session -> receive frames -> watch tokens -> declare own token
    zenoh's threads (Rust) -> FifoChannel -> reader thread (one for frames, one for tokens) -> listener

The session runs in threads of its own that do not need the GIL, so a task that holds it does not make its node look
dead. The token comes last, so whoever sees it can send to this node.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import zenoh

from bndl.config import check_name
from bndl.errors import ClusterError, InvalidOption
from bndl.exits import at_last
from bndl.logs import get_logger
from bndl.net.announced import MARK, Announced, Token
from bndl.net.complaints import explain, explain_no_router
from bndl.net.credentials import Credentials
from bndl.net.endpoints import check_listen, check_seeds, loopback
from bndl.net.fabric import FabricEvent, Joined, Left, Listener, Received, check_size
from bndl.net.lingering import stop_lingering
from bndl.net.names import is_worker
from bndl.net.native import Inside
from bndl.net.refusals import Refusals
from bndl.net.rejoin import Rejoiner
from bndl.net.samples import read_samples
from bndl.net.seedwatch import SeedWatch
from bndl.net.session import Role, check_not_forked, check_secret, find_addresses, open_session

__all__ = ["ZenohFabric"]

logger = get_logger(__name__)

#: Messages that wait for a reader thread. Zenoh's own default of 256 for a callback fills while a task holds the GIL:
#: then receiving stalls, and the lease of a healthy node runs out. There is room for what ``net.credits`` lets 6,000
#: peers send; memory is taken only for what is there.
_CHANNEL_MESSAGES = 1_000_000
#: The same for a worker, which a thousand peers send to at most: a member that floods a worker whose interpreter is
#: held takes no more memory than that.
_WORKER_MESSAGES = 1 << 17

#: The priority of bulk frames.
_BULK = zenoh.Priority.DATA_LOW

#: Seconds that ``close`` waits for the listener, and for each reader thread.
_CLOSE_TIMEOUT = 5.0

#: For how many seconds a lost node and this one are given the chance to hear of each other.
_INTRODUCTION = 3.0

_open_fabrics: weakref.WeakSet[ZenohFabric] = weakref.WeakSet()


class _News(NamedTuple):
    """What happened to a node: it joined, it left, or it left and another one with its name joined."""

    name: str
    #: That of the node that is there now; empty if there is none.
    session: str
    events: Sequence[Joined | Left]


class ZenohFabric:
    """Carries frames between processes and machines.

    Args:
        name: of this node, unique in the cluster.
        cluster: nodes of other clusters are neither seen nor reached.
        credentials: a node with others connects to nobody. They are in no log, error or repr.
        listen: endpoints to listen on, such as ``tcp/127.0.0.1:0``; port 0 means any free one. Empty for loopback.
        seeds: endpoints of nodes to join through. They need not be up: they are tried again in the background.
        lease: seconds of silence after which a peer counts as lost.
        rejoin_timeout: for how many seconds a lost peer is looked for at its last addresses.
        insecure_plaintext: whether ``listen`` may have addresses that other machines can reach without TLS.
        role: a client does not listen, and its seeds are routers.
        seed_watch: tells users why the node has not joined.

    Raises:
        InvalidOption: if the name, the cluster, an endpoint, the secret or the lease cannot be used.
    """

    def __init__(  # noqa: PLR0913 - each is an option of its own, by name
        self,
        name: str,
        cluster: str,
        *,
        credentials: Credentials,
        listen: Sequence[str] = (),
        seeds: Sequence[str] = (),
        lease: float = 5.0,
        rejoin_timeout: float = 600.0,
        insecure_plaintext: bool = False,
        role: Role = Role.PEER,
        seed_watch: SeedWatch | None = None,
    ) -> None:
        check_name("node", name)
        check_name("cluster", cluster)
        check_secret(credentials.secret)
        if lease <= 0:
            raise InvalidOption(f"the lease must be more than 0 seconds, not {lease}; the default is 5.0")
        tls = credentials.has_tls
        self._role = role
        self._listen = () if role == Role.CLIENT else tuple(listen) or loopback(tls=tls)
        check_listen(self._listen, tls=tls, insecure_plaintext=insecure_plaintext)
        check_seeds(seeds, tls=tls)
        self._name = name
        self._prefix = f"bndl/{cluster}"
        self._cluster = cluster
        self._credentials = credentials
        self._seeds = tuple(seeds)
        self._seed_watch = seed_watch
        self._refusals: Refusals | None = None
        self._lease = lease
        self._pid = os.getpid()
        self._addresses: tuple[str, ...] = ()
        self._session: zenoh.Session | None = None
        self._listener: Listener | None = None
        #: What was declared; zenoh withdraws a declaration whose object is gone.
        self._declared: list[object] = []
        self._inside = Inside()
        self._readers: list[threading.Thread] = []
        #: Held while the listener runs. Reentrant, because the listener may close the fabric.
        self._delivery = threading.RLock()
        self._closed = False
        self._own = Token(name, "")
        self._announced = Announced(self._own)
        #: Guards what follows.
        self._lock = threading.Lock()
        #: The sessions of the nodes that are there, as far as was delivered.
        self._sessions: dict[str, str] = {}
        self._publishers: dict[tuple[str, bool], zenoh.Publisher] = {}
        #: Nodes that left, and what came after that, until all frames that were there before are delivered.
        self._in_line: deque[_News] = deque()
        self._rejoiner = Rejoiner(self._introduce, rejoin_timeout, f"bndl-rejoin-{name}")
        #: Set when there is no use in looking for lost nodes any more.
        self._ending = threading.Event()

    def __repr__(self) -> str:
        return f"<ZenohFabric {self._name!r} in cluster {self._cluster!r}>"

    @property
    def name(self) -> str:
        """The name of this node."""
        return self._name

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where this node listens, with real ports. Empty until it is started."""
        return self._addresses

    def start(self, listener: Listener) -> None:
        """Go on the air. Returns at once, before any seed is reached.

        Raises:
            ClusterError: if an endpoint is malformed or cannot be listened on, or this is a forked child of a process
                that had a session.
            RuntimeError: if the fabric was started or closed before.
        """
        with self._lock:
            if self._listener is not None or self._closed:
                raise RuntimeError(f"{self!r} was started or closed before; make a new one")
            self._listener = listener
        check_not_forked()
        watch = self._seed_watch
        if watch is not None:
            watch.start()
        try:
            self._session = session = open_session(
                self._credentials, self._listen, self._seeds, self._lease, role=self._role
            )
            _open_fabrics.add(self)
            if watch is not None:
                watch.bind(session)
            at_last(_close_all)
            if self._listen:
                self._addresses = find_addresses(session)
                if watch is not None:  # this is a driver; for workers the process that started them tells
                    self._refusals = Refusals(session, self._addresses)
            self._own = Token(self._name, str(session.zid()), self._addresses)
            self._announced = Announced(self._own)
            to_this = f"{self._prefix}/to/{self._name}/{self._own.session}/*/*"
            room = min(_WORKER_MESSAGES, _CHANNEL_MESSAGES) if is_worker(self._name) else _CHANNEL_MESSAGES
            self._read("frames", session.declare_subscriber(to_this, zenoh.handlers.FifoChannel(room)))
            liveliness = session.liveliness()
            tokens = liveliness.declare_subscriber(
                f"{self._prefix}/peer/*/*", zenoh.handlers.FifoChannel(_CHANNEL_MESSAGES), history=True
            )
            self._read("peers", tokens)
            self._declared.append(liveliness.declare_token(f"{self._prefix}/peer/{self._own}"))
        except zenoh.ZError as error:
            self.close()
            if self._listen:
                text = (
                    f"{self!r} could not listen on {', '.join(self._listen)} with seeds "
                    f"{', '.join(self._seeds) or 'none'}: {explain(error)}. Give endpoints such as tcp/127.0.0.1:0, of "
                    "an address and a port free here."
                )
            else:
                problem = "" if watch is None else watch.problem
                text = f"{self!r} reached {explain_no_router(self._seeds, error, problem)}"
            raise ClusterError(text) from None
        except BaseException:
            self.close()
            raise

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send ``frame``. Blocks while the connection is congested, for up to the lease: then the peer is given up.

        Raises:
            ValueError: if the frame has more than ``MAX_FRAME_BYTES``.
            InvalidOption: if no node can have the name ``to``.
        """
        check_size(to, frame)
        marks, mark = self._inside.marks, object()
        marks[mark] = threading.get_ident()
        try:
            self._put(to, frame, bulk=bulk)
        except zenoh.ZError:
            # The session was closed meanwhile: the frame is lost like any that is sent after it.
            logger.debug("a frame from %s to %s was dropped", self._name, to, exc_info=True)
        finally:
            del marks[mark]

    def _put(self, to: str, frame: bytes, *, bulk: bool) -> None:
        """Send. A function of its own, so that nothing of zenoh's is referred to any more when it returns."""
        publisher = self._publishers.get((to, bulk)) or self._publisher(to, bulk=bulk)
        if publisher is not None:
            publisher.put(frame)
        elif (session := self._session) is not None:
            check_name("node", to)
            session.put(self._key(to, "*"), frame, **_quality(bulk=bulk))

    def close(self) -> None:
        """Withdraw, close the connections and end the reader threads. Idempotent; may be called by the listener.

        Takes a millisecond; about 10 seconds (zenoh's own timeout) if a peer is stopped with frames on the way to it.
        """
        if os.getpid() != self._pid:
            return  # a fork has no threads of the session, so closing it would wait forever
        delivering = not self._delivery.acquire(timeout=_CLOSE_TIMEOUT)
        self._closed = True
        if delivering:
            logger.warning("%r is closed while its listener still runs", self)
        else:
            self._delivery.release()
        with self._lock:
            session, self._session = self._session, None
            self._sessions.clear()
            self._publishers.clear()
        self._ending.set()
        self._rejoiner.close(_CLOSE_TIMEOUT)
        for each in (self._seed_watch, self._refusals):
            if each is not None:
                each.close(_CLOSE_TIMEOUT)
        if session is not None:
            try:
                session.close()  # type: ignore[no-untyped-call]
            except zenoh.ZError as error:
                logger.warning("%r left without its connections being closed: %s", self, explain(error))
        for reader in self._readers:
            if reader is not threading.current_thread():
                reader.join(_CLOSE_TIMEOUT)
        self._inside.await_empty(_CLOSE_TIMEOUT)
        self._declared.clear()
        _open_fabrics.discard(self)

    def _introduce(self, address: str) -> None:
        """Let this node and the one at an address hear of each other: see ``net.rejoin``."""
        with self._inside.noted():
            session = open_session(self._credentials, (), (*self._addresses, address), self._lease, autoconnect=False)
            try:
                self._ending.wait(_INTRODUCTION)
            finally:
                session.close()  # type: ignore[no-untyped-call]
                del session  # what its end does is done inside

    def _read(self, what: str, subscriber: zenoh.Subscriber[zenoh.Handler[zenoh.Sample]]) -> None:
        """Start the thread that takes samples from the subscriber's channel until it is closed."""
        on_sample = self._on_frame if what == "frames" else self._on_token
        self._declared.append(subscriber)
        args = (subscriber.handler, on_sample)
        reader = threading.Thread(target=read_samples, args=args, name=f"bndl-{what}-{self._name}", daemon=True)
        reader.start()
        self._readers.append(reader)

    def _on_frame(self, sample: zenoh.Sample) -> None:
        rest, _, session = str(sample.key_expr).rpartition("/")
        sender = rest.rpartition("/")[2]
        if sender == MARK and self._in_line:
            self._tell(self._in_line[0])
            self._in_line.popleft()  # not before, or what comes after it might overtake it
        elif self._sessions.get(sender, session) == session:  # not of another one with this name
            self._deliver(Received(sender, sample.payload.to_bytes(), sample.priority == _BULK))

    def _line_up(self, news: _News) -> None:
        """Deliver news after the frames that are here already: the last words of a node come before its end.

        Frames and tokens are taken by different threads. So a mark to this node itself gets in line behind the frames.
        """
        self._in_line.append(news)
        session = self._session
        try:
            if session is not None:
                to_this = f"{self._prefix}/to/{self._name}/{self._own.session}"
                session.put(f"{to_this}/{MARK}/{self._own.session}", b"", **_quality(bulk=False))
        except zenoh.ZError:
            logger.debug("%r is being closed", self, exc_info=True)

    def _on_token(self, sample: zenoh.Sample) -> None:
        token = Token.parse(str(sample.key_expr))
        if not token.is_valid:  # made by a member that is no bndl node
            logger.debug("%r ignores the token %s", self, sample.key_expr)
            return
        present = sample.kind == zenoh.SampleKind.PUT
        events = self._announced.add(token) if present else self._announced.remove(token)
        if present:
            stop_lingering()
        if events and isinstance(events[-1], Joined):
            self._rejoiner.found(token.name)
        elif events:
            self._rejoiner.lost(token.name, token.addresses)
        if events:
            news = _News(token.name, self._announced.session_of(token.name), events)
            if self._in_line or isinstance(events[0], Left):
                self._line_up(news)
            else:
                self._tell(news)

    def _tell(self, news: _News) -> None:
        """Deliver news, and from here on talk to this session of the node."""
        with self._lock:
            if news.session:
                self._sessions[news.name] = news.session
            else:
                self._sessions.pop(news.name, None)
            # Not undeclared by call: that fails while another thread is blocked in ``put`` on the same object.
            # Zenoh undeclares a publisher when its last reference goes.
            self._publishers.pop((news.name, False), None)
            self._publishers.pop((news.name, True), None)
        for event in news.events:
            self._deliver(event)

    def _deliver(self, event: FabricEvent) -> None:
        with self._delivery:
            if self._closed or self._listener is None:
                return
            try:
                self._listener(event)
            except Exception:  # an event that the listener fails on must not be the last that is received
                logger.exception("the listener of %r failed on %s", self, type(event).__name__)

    def _publisher(self, to: str, *, bulk: bool) -> zenoh.Publisher | None:
        """A publisher for a known peer, kept until the peer leaves. None for others, so that none is kept for good."""
        with self._lock:
            session = self._sessions.get(to)
            if self._session is None or session is None:
                return None
            publisher = self._session.declare_publisher(self._key(to, session), **_quality(bulk=bulk))
            return self._publishers.setdefault((to, bulk), publisher)

    def _key(self, to: str, session: str) -> str:
        """The key of frames to a session of a node."""
        return f"{self._prefix}/to/{to}/{session}/{self._name}/{self._own.session}"


def _quality(*, bulk: bool) -> dict[str, Any]:
    """How a frame is sent: never dropped for congestion, not held back to be batched."""
    priority = _BULK if bulk else zenoh.Priority.INTERACTIVE_HIGH
    return {"congestion_control": zenoh.CongestionControl.BLOCK, "priority": priority, "express": True}


def _close_all() -> None:
    """A process that ends with an open session can hang."""
    for fabric in list(_open_fabrics):
        fabric.close()
