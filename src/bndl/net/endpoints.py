"""Where nodes listen: ``tcp/HOST:PORT`` or ``tls/HOST:PORT``; and which of that is safe."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bndl.errors import InvalidOption
from bndl.reprs import safe_repr

__all__ = ["Endpoint", "check_listen", "check_seeds", "loopback", "without_ports"]

_PATTERN = re.compile(r"(?P<protocol>tcp|tls)/(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_MOST = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen on or to connect to.

    Attributes:
        protocol: ``tcp`` or ``tls``.
        host: a name or an IP address; one of version 6 without brackets.
        port: 0 for any free one.
    """

    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.protocol}/{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Take an endpoint apart.

        Raises:
            InvalidOption: it is none.
        """
        match = _PATTERN.fullmatch(text)
        if match is None or int(match["port"]) > _MOST:
            raise InvalidOption(f"{safe_repr(text)} is no address of a node; write tcp/HOST:PORT or tls/HOST:PORT")
        return cls(match["protocol"], match["host"].strip("[]"), int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            pass
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # nobody has that name, or nobody can
            return False
        return bool(found) and all(ipaddress.ip_address(each[4][0]).is_loopback for each in found)


def loopback(*, tls: bool) -> tuple[str, ...]:
    """Where to listen by default: any free port that only this machine can reach."""
    return ("tls/127.0.0.1:0" if tls else "tcp/127.0.0.1:0",)


def without_ports(endpoints: Iterable[str]) -> tuple[str, ...]:
    """The same interfaces, any free port."""
    return tuple(str(replace(Endpoint.parse(each), port=0)) for each in endpoints)


def check_listen(endpoints: Sequence[str], *, tls: bool, insecure_plaintext: bool) -> None:
    """Refuse what is not safe: listening on the network in plain text.

    Raises:
        InvalidOption: an endpoint is malformed, or not safe, or it takes certificates that are not there.
    """
    for endpoint in map(Endpoint.parse, endpoints):
        if endpoint.protocol == "tls":
            _check_tls(endpoint, tls=tls)
        elif not insecure_plaintext and not endpoint.is_loopback:
            text = (
                f"{endpoint} can be reached from other machines, and what is sent there could be read and changed on "
                "the way. Listen on tls/... with credentials (`bndl cluster init` makes them), or, in a network that "
                "you trust, allow it with insecure_plaintext=True (--insecure-plaintext)."
            )
            raise InvalidOption(text)


def check_seeds(endpoints: Sequence[str], *, tls: bool) -> None:
    """Check addresses to connect to.

    Raises:
        InvalidOption: an endpoint is malformed, or it takes certificates that are not there.
    """
    for endpoint in map(Endpoint.parse, endpoints):
        if endpoint.protocol == "tls":
            _check_tls(endpoint, tls=tls)
        if not endpoint.port:
            raise InvalidOption(f"the seed {endpoint} has no port; write the address that the node printed")


def _check_tls(endpoint: Endpoint, *, tls: bool) -> None:
    if not tls:
        text = (
            f"{endpoint} takes certificates: give credentials= (--credentials), a folder that `bndl cluster init` made."
        )
        raise InvalidOption(text)
