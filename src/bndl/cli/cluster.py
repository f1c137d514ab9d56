"""``bndl cluster``: the secret and the certificates of a cluster.

::

    DIR/ca.pem, DIR/ca.key        the authority; its key is only needed to add machines
    DIR/secret                    the secret of the cluster
    DIR/HOST/ca.pem node.pem node.key secret      what the machine HOST needs, and nothing else
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import typer

from bndl.cluster.authority import Authority
from bndl.errors import InvalidOption
from bndl.net.credentials import AUTHORITY, CERTIFICATE, KEY, SECRET, Credentials

__all__ = ["add_hosts", "init_cluster"]

_AUTHORITY_KEY = "ca.key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: The longest name that a certificate can have.
_LONGEST = 64


def init_cluster(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Make an authority, a secret, and the credentials of some machines.

    Nothing is written before all of it is made, so it can be repeated after bad input.

    Raises:
        InvalidOption: the folder has credentials already or cannot be written, or a name or a time cannot be used.
    """
    secret = Credentials.fresh().secret.encode() + b"\n"
    with _told(folder, days):
        if (folder / AUTHORITY).exists():
            text = f"{str(folder)!r} has the credentials of a cluster already; `bndl cluster add` adds machines to it."
            raise InvalidOption(text)
        _check_hosts(folder, hosts)
        authority = Authority.create(days)
        files = {
            _AUTHORITY_KEY: authority.key_pem,
            SECRET: secret,
            AUTHORITY: authority.certificate_pem,
            **_issue(authority, secret, hosts, days),
        }
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder, files)
    _tell(folder, hosts)


def add_hosts(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Make the credentials of more machines.

    Raises:
        InvalidOption: the folder is not as ``init_cluster`` made it, has this machine already or cannot be written, or
            a name or a time cannot be used.
    """
    try:
        authority = Authority.load((folder / AUTHORITY).read_bytes(), (folder / _AUTHORITY_KEY).read_bytes())
        secret = (folder / SECRET).read_bytes()
    except OSError as error:
        text = f"{error.filename!r} cannot be read ({error.strerror}); name the folder that `bndl cluster init` made."
        raise InvalidOption(text) from None
    except ValueError:  # its text may have what is in the files
        text = (
            f"{AUTHORITY} or {_AUTHORITY_KEY} in {str(folder)!r} is damaged; take them from a copy, or make new "
            "credentials for the whole cluster with `bndl cluster init`."
        )
        raise InvalidOption(text) from None
    with _told(folder, days):
        _check_hosts(folder, hosts)
        _write(folder, _issue(authority, secret, hosts, days))
    _tell(folder, hosts)


def _issue(authority: Authority, secret: bytes, hosts: Sequence[str], days: int) -> dict[str, bytes]:
    """What is to be in the files of machines."""
    files = {}
    for host in hosts:
        certificate, key = authority.issue(host, days)
        contents = {KEY: key, CERTIFICATE: certificate, AUTHORITY: authority.certificate_pem, SECRET: secret}
        files.update({f"{host}/{name}": content for name, content in contents.items()})
    return files


def _check_hosts(folder: Path, hosts: Sequence[str]) -> None:
    for host in hosts:
        if not _NAME.fullmatch(host):
            raise InvalidOption(f"{host!r} cannot be the name of a folder; use letters, digits, points and dashes")
        if len(host) > _LONGEST:
            raise InvalidOption(f"{host!r} is too long for a certificate; use at most {_LONGEST} characters")
        if host in {AUTHORITY, _AUTHORITY_KEY, SECRET}:
            raise InvalidOption(f"{host!r} is the name of a file in {str(folder)!r}; give the machine another one")
        if hosts.count(host) > 1:
            raise InvalidOption(f"{host!r} is named {hosts.count(host)} times; name each machine once")
        target = folder / host
        if target.exists():
            raise InvalidOption(f"{str(target)!r} is there already; remove it to make new credentials for {host}.")


@contextlib.contextmanager
def _told(folder: Path, days: int) -> Iterator[None]:
    """Say what to do if certificates cannot be made or written."""
    try:
        yield
    except OverflowError:
        raise InvalidOption(f"a certificate cannot be valid for {days} days; give less with --days") from None
    except OSError as error:
        path = error.filename or str(folder)
        text = f"{path!r} cannot be written ({error.strerror}); name a new folder, where you may write"
        raise InvalidOption(text) from None


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that were not there, and that nobody else may read at any moment."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)


def _tell(folder: Path, hosts: Sequence[str]) -> None:
    for host in hosts:
        typer.echo(f"{folder / host}: copy it to {host}, and name it with --credentials there")
