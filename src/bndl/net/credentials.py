"""What lets a node into a cluster: a secret, and for TLS a certificate. ``bndl cluster init`` makes them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe

from bndl.config import Config
from bndl.errors import InvalidOption
from bndl.logs import get_logger
from bndl.net.endpoints import Endpoint
from bndl.trusted import TrustedFile, find_outsiders, open_folder, read_file

__all__ = ["AUTHORITY", "CERTIFICATE", "KEY", "SECRET", "Credentials", "find_credentials", "require_credentials"]

logger = get_logger(__name__)

#: The names of the files in a folder of credentials.
AUTHORITY = "ca.pem"
CERTIFICATE = "node.pem"
KEY = "node.key"
SECRET = "secret"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node shows to the others. Nothing of it is in the repr.

    It has what is in the files and not their names, so it can be sent to where these are not.

    Attributes:
        secret: the same for all nodes of a cluster.
        authority: the certificate of who signs certificates of nodes, as PEM; empty for no TLS.
        certificate: this node's own.
        key: the private key of that.
    """

    secret: str = field(repr=False)
    authority: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @property
    def has_tls(self) -> bool:
        """Whether ``tls/`` endpoints can be used."""
        return bool(self.authority)

    @classmethod
    def fresh(cls) -> Credentials:
        """A secret that nobody else has."""
        return cls(token_urlsafe(32))


def find_credentials(config: Config) -> Credentials | None:
    """What the settings name, or None if they name nothing.

    Raises:
        InvalidOption: a file is not there or cannot be read.
    """
    if not config.credentials:
        return Credentials(_read_secret(Path(config.secret_file))) if config.secret_file else None
    path = Path(config.credentials)
    folder = _open_folder(path)
    try:
        authority, certificate, key = (_read_pem(path, name, folder) for name in (AUTHORITY, CERTIFICATE, KEY))
        secret = _read_secret(Path(config.secret_file)) if config.secret_file else _read_secret(path / SECRET, folder)
    finally:
        os.close(folder)
    return Credentials(secret, authority, certificate, key)


def require_credentials(config: Config) -> Credentials:
    """What the settings name, or a fresh secret if nobody else has to know it.

    Raises:
        InvalidOption: a file cannot be read, or a secret is needed and none is named.
    """
    found = find_credentials(config)
    if found is not None:
        return found
    if config.seeds:
        text = "joining a cluster takes its secret: give secret_file=, the file that its first node was started with."
        raise InvalidOption(text)
    for endpoint in map(Endpoint.parse, config.listen):
        if not endpoint.is_loopback:
            text = (
                f"{endpoint} can be reached from other machines, so it takes a secret: give secret_file= or "
                "credentials=; `bndl cluster init` makes both."
            )
            raise InvalidOption(text)
    return Credentials.fresh()


def _open_folder(path: Path) -> int:
    """Open a folder of credentials, so that all of them are from the same one. The caller closes it."""
    try:
        folder = open_folder(path)
    except OSError as error:
        text = f"the folder {str(path)!r} cannot be opened ({error.strerror}); make one with `bndl cluster init`."
        raise InvalidOption(text) from None
    _warn_if_foreign(path, find_outsiders(os.fstat(folder)))
    return folder


def _read_secret(path: Path, folder: int | None = None) -> str:
    """The secret in a file, which is opened in ``folder`` if that is given."""
    try:
        # A link is followed: it is the user who named the file, and Kubernetes mounts secrets as links.
        file = read_file(path if folder is None else path.name, folder=folder, follow_links=True)
        secret = file.data.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else "it is no text"
        text = f"the secret cannot be read from {str(path)!r} ({reason}); name the cluster's secret file."
        raise InvalidOption(text) from None  # the text of a decoding error has what is in the file
    _warn_if_shared(path, file)
    if not secret:
        raise InvalidOption(f"the secret file {str(path)!r} is empty; name the cluster's secret file.")
    return secret


def _read_pem(path: Path, name: str, folder: int) -> str:
    try:
        file = read_file(name, folder=folder, follow_links=True)
        text = file.data.decode("ascii")
    except FileNotFoundError:
        text = f"there is no {name} in {str(path)!r}; make such a folder with `bndl cluster init`."
        raise InvalidOption(text) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        text = f"{str(path / name)!r} cannot be read ({reason}); take it from where `bndl cluster init` made it."
        raise InvalidOption(text) from None  # as with the secret
    if name == KEY:
        _warn_if_shared(path / name, file)
    else:
        _warn_if_foreign(path / name, file.outsiders)
    return text


def _warn_if_shared(path: Path, file: TrustedFile) -> None:
    """Whoever can read the secret can run code on all nodes. No error: some systems mount secrets so."""
    if file.is_shared:
        logger.warning("%s can be read by other users, who can run code on the cluster then: chmod 600 it", path)
    _warn_if_foreign(path, file.outsiders)


def _warn_if_foreign(path: Path, outsiders: str) -> None:
    """Whoever can change a secret or an authority decides which cluster this node trusts."""
    if outsiders:
        logger.warning("%s %s, who can have this node trust another cluster: chown it, chmod go-w it", path, outsiders)
