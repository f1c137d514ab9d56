"""Where settings come from: defaults, ``bndl.toml``, environment variables, arguments. Later ones win.

::

    Config()  <  ~/.config/bndl/bndl.toml  <  ./bndl.toml or that of a folder above  <  BNDL_LEASE=...  <  arguments

Each is checked where it was written, so that an error names the file with the line, or the variable.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any

from bndl.config import Config
from bndl.errors import InvalidOption, InvalidSetting
from bndl.reprs import safe_repr
from bndl.trusted import read_file

__all__ = ["FILE_NAME", "Configured", "configure"]

FILE_NAME = "bndl.toml"
_PREFIX = "BNDL_"

_TYPES: Mapping[str, Any] = typing.get_type_hints(Config)
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: Settings that files and variables may give as texts, such as ``512 MiB``.
SIZES = {name for name in _TYPES if name.endswith("_bytes")} | {"memory_limit"}
_SIZE_NAME = f"a whole number of bytes, or a size such as '512 MiB' ({', '.join(_UNITS)})"
_PATHS = {"credentials", "secret_file"}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]iB)")


@dataclass(frozen=True, slots=True)
class Configured:
    """Settings, and where each came from.

    Attributes:
        config: the settings.
        origins: for each setting ``default``, a file with the line, a variable, or ``argument``.
    """

    config: Config
    origins: Mapping[str, str]


def configure(
    arguments: Mapping[str, object] | None = None,
    *,
    base: Config | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Configured:
    """Put the settings together.

    Args:
        arguments: what the caller was given, by the names of ``Config``; None counts as left out.
        base: instead of all but the arguments: no file and no variable is read then.
        environment: instead of that of this process.
        folder: where to begin to look for the project's file, instead of in the current one.

    Raises:
        InvalidSetting: a file or a variable has a mistake.
        InvalidOption: an argument has one.
    """
    values: dict[str, object] = {}
    origins = dict.fromkeys(_TYPES, "default")
    if base is None:
        environment = os.environ if environment is None else environment
        for path, data in _read_files(environment, folder):
            for name, value, line in _parse_file(path, data):
                values[name] = value
                origins[name] = f"{path}, line {line}"
        for name, value in _read_environment(environment):
            values[name] = value
            origins[name] = f"{_PREFIX}{name.upper()}"
    for name, value in (arguments or {}).items():
        if value is not None:
            values[name] = value
            origins[name] = "argument"
    return Configured(_make(base or Config(), values, origins), origins)


def _make(base: Config, values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    for name, value in values.items():  # one by one, to know which of them is wrong
        try:
            base = replace(base, **{name: value})
        except InvalidOption as error:
            if origins[name] == "argument":
                raise
            raise InvalidSetting(f"{origins[name]}: {error.message}", where=origins[name]) from None
    return base


def _read_files(environment: Mapping[str, str], folder: Path | None) -> list[tuple[Path, bytes]]:
    """The user's file and the project's, those of them that are there, with what is in them."""
    found = []
    user = _find_user_folder(environment)
    if user is not None:
        # In a folder of the user's own it may be a link, as those make it who keep such files elsewhere.
        path = user / "bndl" / FILE_NAME
        data = _read_file(path, follow_links=True)
        if data is not None:
            found.append((path, data))
    try:
        folder = Path.cwd() if folder is None else folder.absolute()
    except OSError:  # the current folder was removed, so it belongs to no project
        return found
    for path in (each / FILE_NAME for each in (folder, *folder.parents)):
        data = _read_file(path, follow_links=False)
        if data is not None:
            return [*found, (path, data)]
    return found


def _find_user_folder(environment: Mapping[str, str]) -> Path | None:
    """Where this user's settings of programs are, or None if nothing says so: the user may be unknown here."""
    configured = environment.get("XDG_CONFIG_HOME")
    if configured and Path(configured).is_absolute():  # the specification has others ignored
        return Path(configured)
    try:
        home = Path(environment.get("HOME") or Path.home())
    except RuntimeError:
        return None
    return home / ".config" if home.is_absolute() else None


def _read_file(path: Path, *, follow_links: bool) -> bytes | None:
    """What is in a file; None if it is not there.

    Settings decide whose code runs here, so they must not be somebody else's, as in a shared folder.

    Raises:
        InvalidSetting: it cannot be read, or others may write to it.
    """
    try:
        file = read_file(path, follow_links=follow_links)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            text = f"{path} is a symbolic link, which may have been made by another user. Put the file itself there."
        elif not os.path.lexists(path):  # a folder on the way cannot be searched, so nothing is known of it
            return None
        else:
            text = f"{path}: {error.strerror}. Correct it, or remove the file."
        raise InvalidSetting(text, where=str(path)) from None
    if file.outsiders:
        text = (
            f"{path} {file.outsiders}, so it is not trusted. Make it yours alone (chown, chmod go-w), or work in "
            "another folder."
        )
        raise InvalidSetting(text, where=str(path))
    return file.data


def _parse_file(path: Path, data: bytes) -> list[tuple[str, object, int]]:
    """The settings in a file, each with its line."""
    try:
        text = data.decode()
        table = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(f"{path}: {error}. Correct it, or remove the file.", where=str(path)) from None
    found = []
    for name, value in table.items():
        line = _find_line(text, name)
        where = f"{path}, line {line}"
        _check_name(name, where)
        converted = _convert(name, value, where)
        found.append((name, _seen_from(path, converted, where) if name in _PATHS else converted, line))
    return found


def _seen_from(path: Path, value: object, where: str) -> str:
    """A path in a file is relative to the folder of that file."""
    try:
        return str(path.parent / Path(str(value)).expanduser())
    except RuntimeError:
        text = f"{where}: the home folder in {str(value)!r} is not known here. Set HOME, or write the whole path."
        raise InvalidSetting(text, where=where) from None


def _find_line(text: str, name: str) -> int:
    key = re.compile(rf"""\s*(\[\s*)?["']?{re.escape(name)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if key.match(line)), 1)


def _read_environment(environment: Mapping[str, str]) -> list[tuple[str, object]]:
    found = []
    for variable, text in sorted(environment.items()):
        if variable.startswith(_PREFIX):
            name = variable.removeprefix(_PREFIX).lower()
            _check_name(name, variable)
            found.append((name, _parse(name, text, variable)))
    return found


def _check_name(name: str, where: str) -> None:
    if name not in _TYPES:
        close = difflib.get_close_matches(name, _TYPES, 1)
        hint = f"Did you mean {close[0]}?" if close else "`bndl config` lists all there are."
        raise InvalidSetting(f"{where}: there is no setting {name!r}. {hint}", where=where)


def _parse(name: str, text: str, where: str) -> object:
    """The value that the text of a variable stands for."""
    kind = _kind(name)
    if kind is bool:
        value: object = _WORDS.get(text.strip().lower(), text)
    elif kind is int or kind is float:
        try:
            value = kind(text)
        except ValueError:
            value = text
    elif kind is str:
        value = text
    else:
        value = [part.strip() for part in text.split(",") if part.strip()]
    return _convert(name, value, where)


def _convert(name: str, value: object, where: str) -> object:
    """The value that a text stands for, where texts have one; ``Config`` checks the rest.

    Raises:
        InvalidSetting: the text stands for none.
    """
    kind = _kind(name)
    if name in SIZES and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match["number"]) * _UNITS[match["unit"]])
    if kind is tuple and isinstance(value, str):
        return (value,)
    if (isinstance(value, str) and kind is not str) or (kind is bool and not isinstance(value, bool)):
        raise InvalidSetting(
            f"{where}: {name} must be {_SIZE_NAME if name in SIZES else _NAMES[kind]}, not {safe_repr(value)}.",
            where=where,
        )
    return value


_NAMES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def _kind(name: str) -> type:
    """The type of a setting, without its parameters and without None."""
    hint = _TYPES[name]
    if isinstance(hint, UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    kind: type = typing.get_origin(hint) or hint
    return kind


def field_names() -> list[str]:
    """The names of all settings, in the order in which they are documented."""
    return [each.name for each in fields(Config)]
