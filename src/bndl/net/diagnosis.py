"""Why a node is not let in at an address: the steps of joining, one at a time, until one fails.

::

    diagnose(endpoint) -> reach: TCP -> encrypt: TLS, both certificates -> greet: is it a node of bndl
                       -> admit: the secret -> look: which clusters and nodes are there

Zenoh tells nothing but "timeout". So each step is made here, with the means of the standard library as far as they go.
Every step has a limit of time, and all of them together take less than ``LONGEST`` seconds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import zenoh

from bndl.exits import at_last
from bndl.net.announced import Token
from bndl.net.credentials import Credentials
from bndl.net.endpoints import Endpoint
from bndl.net.native import Inside
from bndl.net.session import Role, open_session
from bndl.threads import try_start

__all__ = ["LONGEST", "Diagnosis", "diagnose"]

T = TypeVar("T")

#: Seconds that a connection, a handshake, and an answer may take.
_STEP = 1.0
#: Seconds in which a node that takes no certificate says so. In TLS 1.3 it does so after the handshake.
_ALERT = 0.3
#: How many seconds a diagnosis may take.
LONGEST = 4.4
#: What a TLS record begins with that is an alert or a handshake.
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
#: The bits of the first byte of zenoh's messages that tell them apart, and the one that all nodes begin with.
_KIND, _INIT = 0x1F, 0x01

#: The threads that are in zenoh for a diagnosis. The program may end meanwhile.
_inside = Inside()

_NOTHING_THERE = (
    "No node listens there: it has ended, it listens on another port, or on another address of that machine. Compare "
    "with the line 'listening on' that it printed."
)
_NO_WAY = "The machine is down or cut off, or a firewall drops what is sent to that port."
_OTHER_AUTHORITY = (
    "The two have certificates of different authorities: copy the folder that `bndl cluster add` made for this machine "
    "in the cluster's own folder."
)
_NOT_LET_IN = "Most likely the secret is another one: use the secret file, or credentials, of that cluster."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came of trying to be let in at an address.

    Attributes:
        endpoint: the address.
        done: the steps that succeeded, in words.
        problem: the first that did not, in words; empty if all did.
        advice: what is likely, and what to do.
        clusters: the names of the nodes that were seen, by cluster.
    """

    endpoint: str
    done: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""
    clusters: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.problem:
            return f"{self.endpoint}: {', '.join(self.done)}"
        tried = f" (before that: {', '.join(self.done)})" if self.done else ""
        return f"{self.endpoint}: {self.problem}{tried}. {self.advice}"


class _Problem(Exception):
    """A step that failed."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice


def diagnose(endpoint: str, credentials: Credentials) -> Diagnosis:
    """Try to be let in at an address.

    Args:
        endpoint: of a node, a meeting point or a router.
        credentials: what this node shows.
    """
    done: list[str] = []
    try:
        clusters = _try(Endpoint.parse(endpoint), credentials, done)
    except _Problem as problem:
        return Diagnosis(endpoint, tuple(done), problem.problem, problem.advice)
    return Diagnosis(endpoint, tuple(done), clusters=clusters)


def _try(endpoint: Endpoint, credentials: Credentials, done: list[str]) -> dict[str, list[str]]:
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(_reach(endpoint))
        done.append("reachable")
        if endpoint.protocol == "tls":
            connection = stack.enter_context(_encrypt(connection, credentials))
            done.append("TLS with certificates of one authority")
        _greet(endpoint, connection)
    clusters = _in_native_code(_enter, endpoint, credentials)
    done.append("the secret is right")
    return clusters


def _reach(endpoint: Endpoint) -> socket.socket:
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), _STEP)
    except socket.gaierror as error:
        text = f"the host name {endpoint.host!r} is not known here ({error.strerror})"
        raise _Problem(text, "Correct it, or give the IP address.") from None
    except UnicodeError:
        raise _Problem(f"{endpoint.host!r} is no host name", "Correct it, or give the IP address.") from None
    except ConnectionRefusedError:
        raise _Problem("the connection was refused", _NOTHING_THERE) from None
    except TimeoutError:
        raise _Problem(f"no answer within {_STEP:g} s", _NO_WAY) from None
    except OSError as error:
        advice = _NO_WAY if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH} else "Try again."
        raise _Problem(f"it cannot be reached ({error.strerror})", advice) from None
    connection.settimeout(_STEP)
    return connection


def _encrypt(connection: socket.socket, credentials: Credentials) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # see net.session: what counts is who signed it
    context.load_verify_locations(cadata=credentials.authority)
    with _file_of(credentials.certificate + "\n" + credentials.key) as path:
        context.load_cert_chain(path)
    no_tls = "Most likely it listens on tcp/: write tcp/HOST:PORT, and give the secret file that it was started with."
    try:
        wrapped = context.wrap_socket(connection)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        if "expired" in reason or "not yet valid" in reason:
            advice = "Compare the clocks of the two machines, or make new certificates with `bndl cluster init`."
            raise _Problem(f"the certificate of the node is not valid now ({reason})", advice) from None
        raise _Problem(f"the certificate of the node is refused here ({reason})", _OTHER_AUTHORITY) from None
    except TimeoutError:
        raise _Problem("it does not answer a TLS handshake", no_tls) from None
    except (ssl.SSLError, OSError) as error:
        raise _Problem(f"the TLS handshake failed ({_reason_of(error)})", no_tls) from None
    try:
        _check_accepted(wrapped)
    except _Problem:
        wrapped.close()
        raise
    wrapped.settimeout(_STEP)
    return wrapped


def _check_accepted(wrapped: ssl.SSLSocket) -> None:
    """See that the other side has not refused our certificate."""
    wrapped.settimeout(_ALERT)
    try:
        if not wrapped.recv(1):
            raise _Problem("it hung up after the TLS handshake", _OTHER_AUTHORITY)
    except TimeoutError:
        pass  # it waits for us, as it should
    except (ssl.SSLError, OSError) as error:
        raise _Problem(f"it refuses the certificate of this node ({_reason_of(error)})", _OTHER_AUTHORITY) from None


def _reason_of(error: OSError) -> str:
    return str(error.reason if isinstance(error, ssl.SSLError) else error.strerror)


@contextlib.contextmanager
def _file_of(text: str) -> Iterator[str]:
    """A file for those who take a certificate from nothing else. It has no name where the system knows such files."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("bndl"), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:  # only this user may read it
        file.write(text)
        file.flush()
        yield file.name


def _greet(endpoint: Endpoint, connection: socket.socket) -> None:
    """See whether the other side answers as zenoh does."""
    advice = f"Something else listens there. Give the address of a node of bndl instead of {endpoint}."
    try:
        connection.sendall(_first_message())
        answer = connection.recv(1 << 16)
    except TimeoutError:
        raise _Problem("it accepts a connection and says nothing", advice) from None
    except OSError as error:
        raise _Problem(f"it hung up ({error.strerror})", advice) from None
    if endpoint.protocol == "tcp" and (answer[:2] in _TLS_RECORDS or (not answer and _speaks_tls(endpoint))):
        advice = "Write tls/HOST:PORT, and give credentials= (--credentials), a folder of `bndl cluster init`."
        raise _Problem("it speaks TLS, and this node was told to use tcp/", advice)
    if len(answer) < 3 or answer[2] & _KIND != _INIT:  # noqa: PLR2004 - two bytes of length, and the header
        raise _Problem("it does not answer as a node of bndl" if answer else "it hung up", advice)


def _speaks_tls(endpoint: Endpoint) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _reach(endpoint) as connection, context.wrap_socket(connection):
            return True
    except (_Problem, OSError):
        return False


def _first_message() -> bytes:
    """The first message of zenoh on a connection, as it sends it itself to whoever listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_STEP)
        address = f"tcp/127.0.0.1:{server.getsockname()[1]}"
        thread = try_start(partial(_in_native_code, _knock, address), "bndl-knock")
        if thread is None:
            raise _Problem(
                "this node can start no thread to look further",
                "Raise the limit of threads (ulimit -u), or end what this machine does not need.",
            )
        connection, _ = server.accept()
        with connection:
            connection.settimeout(_STEP)
            message = connection.recv(1 << 16)
    thread.join(_STEP)
    return message


def _in_native_code(call: Callable[..., T], *args: object) -> T:
    """Make a call that uses sessions of zenoh, whose ends the end of the process waits for."""
    at_last(_await_native_code)
    with _inside.noted():
        return call(*args)


def _await_native_code() -> None:
    _inside.await_empty(LONGEST)


def _knock(address: str) -> None:
    with contextlib.suppress(zenoh.ZError):  # nobody lets it in
        open_session(Credentials.fresh(), (), (address,), _STEP, role=Role.CLIENT, timeout=_ALERT).close()  # type: ignore[no-untyped-call]


def _enter(endpoint: Endpoint, credentials: Credentials) -> dict[str, list[str]]:
    """Be let in, and see which nodes are there."""
    try:
        session = open_session(credentials, (), (str(endpoint),), _STEP, role=Role.CLIENT, timeout=_STEP)
    except zenoh.ZError:
        raise _Problem("it refuses this node's secret, or is too busy to answer", _NOT_LET_IN) from None
    clusters: dict[str, list[str]] = {}
    try:
        for reply in session.liveliness().get("bndl/*/peer/*/*", timeout=_STEP):
            if reply.ok is not None:
                key = str(reply.ok.key_expr)
                clusters.setdefault(key.split("/")[1], []).append(Token.parse(key).name)
    finally:
        session.close()  # type: ignore[no-untyped-call]
    return clusters
