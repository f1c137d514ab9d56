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
from bndl.printable import printable_line
from bndl.trusted import find_outsiders, open_folder, read_file

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
    certificate, key, secret = _read(folder)
    try:
        authority = Authority.load(certificate, key)
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


def _read(folder: Path) -> list[bytes]:
    """The certificate of the authority, its key, and the secret: all from one folder, whatever is done to its name."""
    path, opened, found = folder, -1, []
    try:
        opened = open_folder(folder)
        outsiders = find_outsiders(os.fstat(opened))
        for name in (AUTHORITY, _AUTHORITY_KEY, SECRET):
            path = folder / name
            file = read_file(name, folder=opened, follow_links=True)
            found.append(file.data)
            outsiders = outsiders or file.outsiders
    except OSError as error:
        text = (
            f"{str(path)!r} cannot be read ({error.strerror or error}); name the folder that `bndl cluster init` made."
        )
        raise InvalidOption(text) from None
    finally:
        if opened >= 0:
            os.close(opened)
    if outsiders:
        typer.echo(
            f"{folder}: its content {outsiders}, who can sign for the cluster then: chown it, chmod go-w it", err=True
        )
    return found


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
    """Write files that were not there, and that nobody else may read or replace at any moment.

    All go into the folder that was looked at, whatever others do to its name meanwhile.
    """
    with contextlib.ExitStack() as stack:
        top = _open_own(folder, stack)
        below: dict[str, int] = {}
        for name, data in files.items():
            host, _, file_name = name.rpartition("/")
            if host and host not in below:
                os.mkdir(host, 0o700, dir_fd=top)
                below[host] = os.open(host, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                stack.callback(os.close, below[host])
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(file_name, flags, 0o600, dir_fd=below.get(host, top)), "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)


def _open_own(folder: Path, stack: contextlib.ExitStack) -> int:
    """Open a folder that only this user can write to."""
    opened = open_folder(folder)
    stack.callback(os.close, opened)
    outsiders = find_outsiders(os.fstat(opened))
    if outsiders:
        text = (
            f"{str(folder)!r} {outsiders}, who could replace the keys in it. Name a new folder, or make it yours alone "
            "(chown, chmod go-w)."
        )
        raise InvalidOption(text)
    return opened


def _tell(folder: Path, hosts: Sequence[str]) -> None:
    for host in hosts:
        typer.echo(printable_line(f"{folder / host}: copy it to {host}, and name it with --credentials there"))
