"""``bndl cluster``: the secret and the certificates of a cluster.

::

    DIR/ca.pem, DIR/ca.key        the authority; its key is only needed to add machines
    DIR/secret                    the secret of the cluster
    DIR/HOST/ca.pem node.pem node.key secret      what the machine HOST needs, and nothing else
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import typer

from bndl.cluster.authority import Authority
from bndl.errors import InvalidOption
from bndl.net.credentials import AUTHORITY, CERTIFICATE, KEY, SECRET, Credentials

__all__ = ["add_hosts", "init_cluster"]

_AUTHORITY_KEY = "ca.key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def init_cluster(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Make an authority, a secret, and the credentials of some machines.

    Raises:
        InvalidOption: the folder has credentials already, or a name cannot be a folder.
    """
    _check_names(hosts)
    if (folder / AUTHORITY).exists():
        text = f"{str(folder)!r} has the credentials of a cluster already; `bndl cluster add` adds machines to it."
        raise InvalidOption(text)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Authority.create(days)
    _write(folder / _AUTHORITY_KEY, authority.key_pem)
    _write(folder / SECRET, Credentials.fresh().secret.encode() + b"\n")
    _write(folder / AUTHORITY, authority.certificate_pem)
    _issue(folder, authority, hosts, days)


def add_hosts(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Make the credentials of more machines.

    Raises:
        InvalidOption: the folder was not made by ``init_cluster``, or has this machine already.
    """
    _check_names(hosts)
    try:
        authority = Authority.load((folder / AUTHORITY).read_bytes(), (folder / _AUTHORITY_KEY).read_bytes())
    except OSError as error:
        text = f"{error.filename!r} cannot be read ({error.strerror}); name the folder that `bndl cluster init` made."
        raise InvalidOption(text) from None
    _issue(folder, authority, hosts, days)


def _issue(folder: Path, authority: Authority, hosts: Sequence[str], days: int) -> None:
    for host in hosts:
        target = folder / host
        if target.exists():
            raise InvalidOption(f"{str(target)!r} is there already; remove it to make new credentials for {host}.")
    for host in hosts:
        target = folder / host
        target.mkdir(mode=0o700)
        certificate, key = authority.issue(host, days)
        _write(target / KEY, key)
        _write(target / CERTIFICATE, certificate)
        _write(target / AUTHORITY, authority.certificate_pem)
        _write(target / SECRET, (folder / SECRET).read_bytes())
        typer.echo(f"{target}: copy it to {host}, and name it with --credentials there")


def _check_names(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not _NAME.fullmatch(host):
            raise InvalidOption(f"{host!r} cannot be the name of a folder; use letters, digits, points and dashes")


def _write(path: Path, data: bytes) -> None:
    """Write a file that was not there, and that nobody else may read at any moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
