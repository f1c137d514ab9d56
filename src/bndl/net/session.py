"""Sessions of Eclipse Zenoh, as all nodes open them: who may connect, where to listen, whom to look for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import zenoh

from bndl.config import Config
from bndl.errors import ClusterError, InvalidOption
from bndl.net.credentials import Credentials
from bndl.net.endpoints import Endpoint
from bndl.net.fabric import MAX_MESSAGE_BYTES

__all__ = ["Role", "check_not_forked", "check_secret", "choose_role", "find_addresses", "open_session"]

_USER = "bndl"
#: For how many microseconds a sender is blocked on a peer that takes nothing before it is given up. A peer's lease runs
#: out only when no sender is blocked on it any more, so with more than the lease here a stopped peer is lost late.
_PATIENCE = "transport/link/tx/queue/congestion_control/block/wait_before_close"
#: Zenoh's own limit of 1,000 is for connections that nobody means to have.
_MOST_SESSIONS = 65_535
#: For how many milliseconds a connection may be open before it has shown that it knows the secret. A stranger can hold
#: as many connections as are accepted within that time, so it is shorter than zenoh's own 10 s.
_ACCEPT_TIMEOUT_MS = 5_000
#: How many such connections may be open at a time: with zenoh's own limit of 100, a stranger with 100 connections kept
#: all others out. Each takes a file descriptor, and others need some, too.
_LEAST_PENDING = 100
_MOST_PENDING = 4_096
#: For how many seconds a client looks for its first router. Later it does so for as long as it lives.
_ROUTER_TIMEOUT = 10.0


#: Processes, this one or those that it was forked from, in which zenoh has begun to work.
_used_in: set[int] = set()


class Role(StrEnum):
    """How a node takes part in the network."""

    #: It is connected to all others.
    PEER = "peer"
    #: It is connected to one router, and through that to all others.
    CLIENT = "client"
    #: It passes on what is not for it.
    ROUTER = "router"


def choose_role(config: Config) -> Role:
    """How a node of these settings takes part in the network.

    Raises:
        InvalidOption: it is in no mesh, and no router is named.
    """
    if config.mesh:
        return Role.PEER
    if not config.seeds:
        raise InvalidOption("a node that is in no mesh needs a router: give its address with seeds= (--seeds)")
    return Role.CLIENT


def open_session(
    credentials: Credentials,
    listen: Sequence[str],
    seeds: Sequence[str],
    lease: float,
    *,
    role: Role = Role.PEER,
    autoconnect: bool = True,
    timeout: float = _ROUTER_TIMEOUT,
) -> zenoh.Session:
    """Open a session. Returns at once, before any seed is reached: seeds are tried again in the background.

    A client is different: it returns when it has reached one, which is its router.

    Args:
        credentials: a node without them connects to nobody.
        listen: endpoints; a port of 0 means any free one.
        seeds: endpoints of nodes to join through.
        lease: seconds of silence after which a peer counts as lost.
        role: what the session is to the others. A client does not listen.
        autoconnect: whether to connect to the nodes that others tell of.
        timeout: for how many seconds a client looks for its router.

    Raises:
        zenoh.ZError: an endpoint cannot be listened on, or a client reached no router in time.
        ClusterError: there is no place for a file that zenoh reads.
    """
    options = _options(credentials, listen, seeds, lease) | {"mode": role.value}
    if not autoconnect:
        options["scouting/gossip/autoconnect"] = {"peer": []}
    if role == Role.ROUTER:
        # While it is blocked it does not hear whose frames it passes on, so with the lease here they would be lost too.
        options[_PATIENCE] = max(1, round(lease * 1e6 / 2))
    if role == Role.CLIENT:
        # It is of no use without a router, and zenoh waits for one before it returns. Nobody connects to it.
        options |= {"connect/timeout_ms": round(timeout * 1000), "connect/exit_on_failure": True}
        return _open(options)
    with _dictionary(f"{_USER}:{credentials.secret}\n".encode()) as path:
        return _open(options | {"transport/auth/usrpwd/dictionary_file": path})


@contextlib.contextmanager
def _dictionary(entries: bytes) -> Iterator[str]:
    """The path of a file with who may connect, which zenoh reads while it opens a session.

    It is in memory and has no name, so nothing of it is left however the process ends. Where the system has no such
    files, or no names for open ones, it is a file that only this user may read, there for that moment only.

    Raises:
        ClusterError: there is neither.
    """
    with contextlib.ExitStack() as stack:
        try:
            path = _in_memory(entries, stack) or _on_disk(entries, stack)
        except OSError as error:
            text = (
                f"a node that listens needs a small file for zenoh, and can make none, in memory or on disk ({error}). "
                "Mount /proc, name a folder that can be written to with TMPDIR, or let files be larger (ulimit -f)."
            )
            raise ClusterError(text) from None
        yield path


def _in_memory(entries: bytes, stack: contextlib.ExitStack) -> str:
    """The path of an open file without a name; empty if there is no such thing here."""
    if not hasattr(os, "memfd_create"):
        return ""
    descriptor = os.memfd_create("bndl", os.MFD_CLOEXEC)
    stack.callback(os.close, descriptor)
    os.write(descriptor, entries)
    path = f"/proc/self/fd/{descriptor}"
    return path if os.access(path, os.R_OK) else ""


def _on_disk(entries: bytes, stack: contextlib.ExitStack) -> str:
    handle, name = tempfile.mkstemp(prefix="bndl-")
    stack.callback(os.unlink, name)
    with os.fdopen(handle, "wb") as file:
        file.write(entries)
    return name


def _open(options: Mapping[str, Any]) -> zenoh.Session:
    config = zenoh.Config()
    for key, value in options.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


def find_addresses(session: zenoh.Session) -> tuple[str, ...]:
    """The addresses that a session listens on, from its admin space: zenoh has no call for it.

    Raises:
        ClusterError: it does not tell.
    """
    for reply in session.get(f"@/{session.zid()}/*", timeout=5.0):
        if reply.ok is not None:
            return tuple(json.loads(reply.ok.payload.to_bytes())["locators"])
    raise ClusterError("zenoh did not tell its addresses within 5 seconds; start the node again")


def check_not_forked() -> None:
    """Zenoh's threads are not in a forked child, and it would wait for them for ever.

    Raises:
        ClusterError: this process was forked from one that had a session.
    """
    if _used_in - {os.getpid()}:
        raise ClusterError(
            "this process was forked from one that is, or was, in a cluster, so it cannot be in one. Start it without a"
            ' fork, as multiprocessing.get_context("spawn") does, and connect in it.'
        )
    _used_in.add(os.getpid())


def check_secret(secret: str) -> None:
    """Check that zenoh can read the secret.

    Raises:
        InvalidOption: it cannot. The secret is not in the text.
    """
    if not secret or not secret.isprintable() or any(mark in secret for mark in ": "):
        raise InvalidOption("the secret must be printable and not empty, without colons and spaces; make another one")


def _options(credentials: Credentials, listen: Sequence[str], seeds: Sequence[str], lease: float) -> dict[str, Any]:
    lease_ms = max(1, round(lease * 1000))
    options: dict[str, Any] = {
        "listen/endpoints": [_with_timeout(each) for each in listen],
        "connect/endpoints": list(seeds),
        "connect/timeout_ms": -1,
        "connect/exit_on_failure": False,
        # A seed that comes up late is found soon; the defaults are 1 s growing to 4 s.
        "connect/retry": {"period_init_ms": 100, "period_max_ms": 1000, "period_increase_factor": 2},
        # Otherwise opening takes 0.5 s if a seed is not there.
        "open/return_conditions/connect_scouted": False,
        "transport/unicast/max_sessions": _MOST_SESSIONS,
        "transport/unicast/accept_timeout": _ACCEPT_TIMEOUT_MS,
        "transport/unicast/accept_pending": count_pending(),
        "scouting/multicast/enabled": False,
        # A router waits so long for what it might find by multicast.
        "scouting/delay": 0,
        "scouting/gossip/enabled": True,
        "scouting/gossip/autoconnect_strategy": {"peer": {"to_peer": _strategy(listen, seeds)}},
        "transport/auth/usrpwd/user": _USER,
        "transport/auth/usrpwd/password": credentials.secret,
        "transport/link/tx/lease": lease_ms,
        _PATIENCE: lease_ms * 1000,
        "transport/link/rx/max_message_size": MAX_MESSAGE_BYTES,
        # It leaves files in /dev/shm behind, and a small /dev/shm (containers: 64 MB) would fill up.
        "transport/shared_memory/enabled": False,
        # Tells the addresses that the session listens on.
        "adminspace/enabled": True,
        "adminspace/permissions": {"read": True, "write": False},
    }
    if credentials.has_tls:
        authority, certificate, key = map(_encode, (credentials.authority, credentials.certificate, credentials.key))
        options |= {
            "transport/link/tls/root_ca_certificate_base64": authority,
            "transport/link/tls/enable_mtls": True,
            "transport/link/tls/listen_certificate_base64": certificate,
            "transport/link/tls/listen_private_key_base64": key,
            "transport/link/tls/connect_certificate_base64": certificate,
            "transport/link/tls/connect_private_key_base64": key,
            # What counts is who signed it. Addresses come and go, and the authority signs for one cluster only.
            "transport/link/tls/verify_name_on_connect": False,
        }
    return options


def count_pending() -> int:
    """How many connections may be open that have not shown yet that they know the secret."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_PENDING
    return min(max(descriptors // 2, _LEAST_PENDING), _MOST_PENDING)


def _with_timeout(endpoint: str) -> str:
    """An endpoint to listen on, with the time that a TLS handshake may take: it comes before what zenoh counts."""
    return f"{endpoint}#tls_handshake_timeout_ms={_ACCEPT_TIMEOUT_MS}" if endpoint.startswith("tls/") else endpoint


def _encode(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


def _strategy(listen: Sequence[str], seeds: Sequence[str]) -> str:
    """Who connects of two nodes that hear of each other.

    One of them is enough. But a node that others cannot reach, because it listens on loopback and they are elsewhere,
    has to do it itself.
    """
    if not listen:
        return "always"
    hidden = all(Endpoint.parse(each).is_loopback for each in listen)
    elsewhere = any(not Endpoint.parse(each).is_loopback for each in seeds)
    return "always" if hidden and elsewhere else "greater-zid"
