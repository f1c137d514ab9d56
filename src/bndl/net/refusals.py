"""Tells of nodes that were refused: connections to this node's port that were closed before they were let in.

Zenoh tells nobody whom it refuses. But the side that closes a connection keeps an entry of it in the system's table for
a minute (TIME_WAIT), with the address of the other side. So the table is read from time to time. An entry is of a
refused connection if Zenoh never had a link to that address. A node that is refused tries again each second or quicker,
so a single entry says little and several from one address within a short time say much.

Only Linux has the table as a file; elsewhere there is nothing to tell.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import zenoh

from bndl.net.endpoints import Endpoint

__all__ = ["FEWEST", "Refusals", "read_closed"]

logger = logging.getLogger(__name__)

#: Seconds between looks at the table.
_INTERVAL = 5.0
#: So many refused connections from one address within an interval are told of.
FEWEST = 3
#: Of how many addresses each time, and seconds until the same one is told of again.
_MOST_ADDRESSES = 5
_SILENCE = 60.0
#: How many link events may wait for a look.
_EVENTS = 100_000
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_TIME_WAIT = "06"


class Refusals:
    """Watches the port of a session, in a thread of its own.

    Args:
        session: of Zenoh.
        addresses: where it listens.
        read: gives the connections that this machine closed to some ports, each as (address, port) of the other side.
    """

    def __init__(
        self,
        session: zenoh.Session,
        addresses: Iterable[str],
        read: Callable[[set[int]], Iterator[tuple[str, int]]] | None = None,
    ) -> None:
        self._ports = {Endpoint.parse(each).port for each in addresses}
        self._read = read or read_closed
        self._links = session.info.declare_link_events_listener(zenoh.handlers.RingChannel(_EVENTS), history=True)
        #: The sockets of other sides that were let in, and those that were looked at, as long as they are in the table.
        self._admitted: dict[tuple[str, int], None] = {}
        self._seen: set[tuple[str, int]] = set()
        self._told: dict[str, float] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bndl-refusals", daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Watch no more."""
        self._is_over.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        now = 0.0
        while not self._is_over.wait(_INTERVAL):
            now += _INTERVAL
            try:
                self.look(now)
            except (OSError, ValueError, zenoh.ZError):  # no such table, or the session was closed
                return

    def look(self, now: float) -> None:
        """Read the table, and tell what is new."""
        while (event := self._links.try_recv()) is not None:
            endpoint = str(event.link.dst).partition("?")[0].partition("#")[0]
            host, _, port = endpoint.partition("/")[2].rpartition(":")
            self._admitted[_normal(host), int(port)] = None
        while len(self._admitted) > _EVENTS:
            del self._admitted[next(iter(self._admitted))]
        closed = {(_normal(host), port) for host, port in self._read(self._ports)}
        fresh = Counter(host for host, port in closed - self._seen if (host, port) not in self._admitted)
        self._seen = closed
        many = [(host, count) for host, count in fresh.most_common(_MOST_ADDRESSES) if count >= FEWEST]
        for host, count in many:
            if now >= self._told.get(host, 0.0):
                self._told = {each: until for each, until in self._told.items() if until > now}
                self._told[host] = now + _SILENCE
                logger.warning(
                    "%d connections from %s were refused within %g s: what tries there has not the secret or the "
                    "certificates of this cluster, or is no node of bndl. Run `bndl cluster check` there.",
                    count,
                    host,
                    _INTERVAL,
                )


def _normal(host: str) -> str:
    address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def read_closed(ports: set[int], tables: Iterable[Path] = _TABLES) -> Iterator[tuple[str, int]]:
    """The connections to these ports that this machine closed within the last minute.

    Raises:
        OSError: this system has no such table.
    """
    for table in tables:
        if table.name.endswith("6") and not table.exists():
            continue
        with table.open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                _, local, remote, state, *_ = line.split()
                if state == _TIME_WAIT and int(local.rpartition(":")[2], 16) in ports:
                    host, _, port = remote.partition(":")
                    yield _read_host(host), int(port, 16)


def _read_host(text: str) -> str:
    """An address as the kernel writes it: words of 32 bits in the order of this machine's bytes."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
