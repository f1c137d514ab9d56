"""A fabric of real sockets: Eclipse Zenoh between peers that find each other by gossip.

::

    bndl/<cluster>/to/<receiver>/<sender>    frames, one ordered stream per pair and priority
    bndl/<cluster>/peer/<name>               liveliness token of a node

    start: open session -> receive frames -> watch tokens -> declare own token
    zenoh's threads (Rust) -> FifoChannel -> reader thread (one for frames, one for tokens) -> listener

The session runs in threads of its own that do not need the GIL, so a task that holds it does not make its node look
dead. The token comes last, so whoever sees it can send to this node.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zenoh

from bndl.errors import ClusterError, InvalidOption
from bndl.net.complaints import explain
from bndl.net.fabric import FabricEvent, Joined, Left, Listener, Received

__all__ = ["MAX_FRAME_BYTES", "ZenohFabric"]

logger = logging.getLogger(__name__)

#: The receiver drops messages over 1 GiB and the connection with them; zenoh's own headers count.
MAX_FRAME_BYTES = 2**30 - 2**16

#: Messages that wait for a reader thread. Zenoh's own default of 256 for a callback fills while a task holds the GIL:
#: then receiving stalls, and the lease of a healthy node runs out.
_CHANNEL_MESSAGES = 100_000

#: Seconds that ``close`` waits for the listener, and for each reader thread.
_CLOSE_TIMEOUT = 5.0

_USER = "bndl"

_open_fabrics: weakref.WeakSet[ZenohFabric] = weakref.WeakSet()
#: Processes, this one or those that it was forked from, in which zenoh has begun to work.
_used_in: set[int] = set()


class ZenohFabric:
    """Carries frames between processes and machines.

    Args:
        name: of this node, unique in the cluster.
        cluster: nodes of other clusters are neither seen nor reached.
        secret: a node with another secret connects to nobody. It is in no log, error or repr.
        listen: endpoints to listen on, such as ``tcp/127.0.0.1:0``; port 0 means any free one.
        seeds: endpoints of nodes to join through. They need not be up: they are tried again in the background.
        lease: seconds of silence after which a peer counts as lost.

    Raises:
        InvalidOption: if the name, the cluster, the secret or the lease cannot be used.
    """

    def __init__(
        self,
        name: str,
        cluster: str,
        *,
        secret: str,
        listen: Sequence[str] = ("tcp/127.0.0.1:0",),
        seeds: Sequence[str] = (),
        lease: float = 5.0,
    ) -> None:
        _check_key_chunk("node", name)
        _check_key_chunk("cluster", cluster)
        _check_secret(secret)
        if lease <= 0:
            raise InvalidOption(f"the lease must be more than 0 seconds, not {lease}; the default is 5.0")
        self._name = name
        self._prefix = f"bndl/{cluster}"
        self._cluster = cluster
        self._secret = secret
        self._listen = tuple(listen)
        self._seeds = tuple(seeds)
        self._lease = lease
        self._pid = os.getpid()
        self._addresses: tuple[str, ...] = ()
        self._session: zenoh.Session | None = None
        self._listener: Listener | None = None
        #: What was declared; zenoh withdraws a declaration whose object is gone.
        self._declared: list[object] = []
        self._readers: list[threading.Thread] = []
        #: Held while the listener runs. Reentrant, because the listener may close the fabric.
        self._delivery = threading.RLock()
        self._closed = False
        #: Guards ``_peers`` and ``_publishers``.
        self._lock = threading.Lock()
        self._peers: set[str] = set()
        self._publishers: dict[tuple[str, bool], zenoh.Publisher] = {}

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
        _check_not_forked()
        try:
            self._session = session = self._open()
            _open_fabrics.add(self)
            self._addresses = _listening_on(session)
            self._read("frames", session.declare_subscriber(f"{self._prefix}/to/{self._name}/*", _channel()))
            liveliness = session.liveliness()
            tokens = liveliness.declare_subscriber(f"{self._prefix}/peer/*", _channel(), history=True)
            self._read("peers", tokens)
            self._declared.append(liveliness.declare_token(f"{self._prefix}/peer/{self._name}"))
        except zenoh.ZError as error:
            self.close()
            raise ClusterError(
                f"{self!r} could not listen on {', '.join(self._listen)} with seeds {', '.join(self._seeds) or 'none'}:"
                f" {explain(error)}. Give endpoints such as tcp/127.0.0.1:0, of an address and a port free here."
            ) from None
        except BaseException:
            self.close()
            raise

    def send(self, to: str, frame: bytes, *, bulk: bool = False) -> None:
        """Send ``frame``. Blocks while the connection is congested, for up to the lease: then the peer is given up.

        Raises:
            ValueError: if the frame has more than ``MAX_FRAME_BYTES``.
            InvalidOption: if no node can have the name ``to``.
        """
        if len(frame) > MAX_FRAME_BYTES:
            raise ValueError(
                f"a frame of {len(frame)} bytes to {to!r} is over the limit of {MAX_FRAME_BYTES}; send it in parts"
            )
        try:
            publisher = self._publishers.get((to, bulk)) or self._publisher(to, bulk=bulk)
            if publisher is not None:
                publisher.put(frame)
            elif (session := self._session) is not None:
                _check_key_chunk("node", to)
                session.put(f"{self._prefix}/to/{to}/{self._name}", frame, **_quality(bulk=bulk))
        except zenoh.ZError:
            # The session was closed meanwhile: the frame is lost like any that is sent after it.
            logger.debug("a frame from %s to %s was dropped", self._name, to, exc_info=True)

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
            self._peers.clear()
            self._publishers.clear()
        if session is not None:
            try:
                session.close()  # type: ignore[no-untyped-call]
            except zenoh.ZError as error:
                logger.warning("%r left without its connections being closed: %s", self, explain(error))
        for reader in self._readers:
            if reader is not threading.current_thread():
                reader.join(_CLOSE_TIMEOUT)
        self._declared.clear()
        _open_fabrics.discard(self)

    def _open(self) -> zenoh.Session:
        """Open the session. Zenoh reads who may connect from a file, which is there for that moment only."""
        handle, name = tempfile.mkstemp(prefix="bndl-")  # only this user may read it
        os.close(handle)
        dictionary = Path(name)
        try:
            dictionary.write_text(f"{_USER}:{self._secret}\n", encoding="utf-8")
            return zenoh.open(self._config(dictionary))
        finally:
            dictionary.unlink()

    def _config(self, dictionary: Path) -> zenoh.Config:
        lease_ms = max(1, round(self._lease * 1000))
        options: dict[str, Any] = {
            "mode": "peer",
            "listen/endpoints": self._listen,
            "connect/endpoints": self._seeds,
            "connect/timeout_ms": -1,
            "connect/exit_on_failure": False,
            # A seed that comes up late is found soon; the defaults are 1 s growing to 4 s.
            "connect/retry": {"period_init_ms": 100, "period_max_ms": 1000, "period_increase_factor": 2},
            # Otherwise opening takes 0.5 s if a seed is not there.
            "open/return_conditions/connect_scouted": False,
            "scouting/multicast/enabled": False,
            "scouting/gossip/enabled": True,
            # One of each two peers connects, not both.
            "scouting/gossip/autoconnect_strategy": {"peer": {"to_peer": "greater-zid"}},
            "transport/auth/usrpwd/user": _USER,
            "transport/auth/usrpwd/password": self._secret,
            "transport/auth/usrpwd/dictionary_file": str(dictionary),
            "transport/link/tx/lease": lease_ms,
            # In microseconds. A peer's lease runs out only when no sender is blocked on it any more, so with more than
            # the lease here a stopped peer is lost late.
            "transport/link/tx/queue/congestion_control/block/wait_before_close": lease_ms * 1000,
            # It leaves files in /dev/shm behind, and a small /dev/shm (containers: 64 MB) would fill up.
            "transport/shared_memory/enabled": False,
            # Tells the addresses that the session listens on.
            "adminspace/enabled": True,
            "adminspace/permissions": {"read": True, "write": False},
        }
        config = zenoh.Config()
        for key, value in options.items():
            config.insert_json5(key, json.dumps(value))
        return config

    def _read(self, what: str, subscriber: zenoh.Subscriber[zenoh.Handler[zenoh.Sample]]) -> None:
        """Start the thread that takes samples from the subscriber's channel until it is closed."""
        on_sample = self._on_frame if what == "frames" else self._on_token
        self._declared.append(subscriber)
        args = (subscriber.handler, on_sample)
        reader = threading.Thread(target=_drain, args=args, name=f"bndl-{what}-{self._name}", daemon=True)
        self._readers.append(reader)
        reader.start()

    def _on_frame(self, sample: zenoh.Sample) -> None:
        self._deliver(Received(_last_chunk(sample), sample.payload.to_bytes()))

    def _on_token(self, sample: zenoh.Sample) -> None:
        name = _last_chunk(sample)
        present = sample.kind == zenoh.SampleKind.PUT
        with self._lock:
            if name == self._name or present == (name in self._peers):
                return
            if present:
                self._peers.add(name)
            else:
                self._peers.discard(name)
                # Not undeclared by call: that fails while another thread is blocked in ``put`` on the same object.
                # Zenoh undeclares a publisher when its last reference goes.
                self._publishers.pop((name, False), None)
                self._publishers.pop((name, True), None)
        self._deliver(Joined(name) if present else Left(name))

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
            if self._session is None or to not in self._peers:
                return None
            key = f"{self._prefix}/to/{to}/{self._name}"
            publisher = self._session.declare_publisher(key, **_quality(bulk=bulk))
            return self._publishers.setdefault((to, bulk), publisher)


def _drain(handler: zenoh.Handler[zenoh.Sample], on_sample: Callable[[zenoh.Sample], None]) -> None:
    while True:
        try:
            sample = handler.recv()
        except zenoh.ZError:
            return  # the session was closed
        on_sample(sample)


def _channel() -> zenoh.handlers.FifoChannel[zenoh.Sample]:
    return zenoh.handlers.FifoChannel(_CHANNEL_MESSAGES)


def _quality(*, bulk: bool) -> dict[str, Any]:
    """How a frame is sent: never dropped for congestion, not held back to be batched."""
    priority = zenoh.Priority.DATA_LOW if bulk else zenoh.Priority.INTERACTIVE_HIGH
    return {"congestion_control": zenoh.CongestionControl.BLOCK, "priority": priority, "express": True}


def _last_chunk(sample: zenoh.Sample) -> str:
    return str(sample.key_expr).rpartition("/")[2]


def _listening_on(session: zenoh.Session) -> tuple[str, ...]:
    """The addresses that the session listens on, from its admin space: zenoh has no call for it."""
    for reply in session.get(f"@/{session.zid()}/peer", timeout=5.0):
        if reply.ok is not None:
            return tuple(json.loads(reply.ok.payload.to_bytes())["locators"])
    raise ClusterError("zenoh did not tell its addresses within 5 seconds; start the node again")


def _check_not_forked() -> None:
    """Zenoh's threads are not in a forked child, and it would wait for them for ever."""
    if _used_in - {os.getpid()}:
        raise ClusterError(
            "this process was forked from one that is, or was, in a cluster, so it cannot be in one. Start it without a"
            ' fork, as multiprocessing.get_context("spawn") does, and connect in it.'
        )
    _used_in.add(os.getpid())


def _check_key_chunk(what: str, name: str) -> None:
    """Zenoh gives a meaning to some characters, and ``*`` does not match a chunk that begins with ``@``."""
    if not name or not name.isprintable() or name.startswith("@") or any(mark in name for mark in "/*$?#"):
        raise InvalidOption(f"{name!r} cannot name a {what}: use printable characters but / * $ ? #, and no @ in front")


def _check_secret(secret: str) -> None:
    if not secret or not secret.isprintable() or any(mark in secret for mark in ": "):
        raise InvalidOption("the secret must be printable and not empty, without colons and spaces; make another one")


@atexit.register
def _close_all() -> None:
    """A process that ends with an open session can hang."""
    for fabric in list(_open_fabrics):
        fabric.close()
