"""Where settings come from: defaults, ``bndl.toml``, environment variables, arguments. Later ones win.

::

    Config()  <  ~/.config/bndl/bndl.toml  <  ./bndl.toml or that of a folder above  <  BNDL_LEASE=...  <  arguments

Each is checked where it was written, so that an error names the file with the line, or the variable.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any

from bndl.config import Config
from bndl.errors import InvalidOption, InvalidSetting

__all__ = ["FILE_NAME", "Configured", "configure"]

FILE_NAME = "bndl.toml"
_PREFIX = "BNDL_"

_TYPES: Mapping[str, Any] = typing.get_type_hints(Config)
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
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
        for path in _find_files(environment, folder or Path.cwd()):
            for name, value, line in _read_file(path):
                values[name] = value
                origins[name] = f"{path}, line {line}"
        for name, value in _read_environment(environment):
            values[name] = value
            origins[name] = f"{_PREFIX}{name.upper()}"
    for name, value in (arguments or {}).items():
        if value is not None:
            values[name] = _convert(name, value, "argument")
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


def _find_files(environment: Mapping[str, str], folder: Path) -> list[Path]:
    """The user's file and the project's, those of them that are there."""
    home = environment.get("XDG_CONFIG_HOME") or (Path(environment.get("HOME") or Path.home()) / ".config")
    user = Path(home) / "bndl" / FILE_NAME
    folder = folder.absolute()
    project = next((path for each in (folder, *folder.parents) if (path := each / FILE_NAME).is_file()), None)
    return [path for path in (user, project) if path is not None and path.is_file()]


def _read_file(path: Path) -> list[tuple[str, object, int]]:
    """The settings in a file, each with its line."""
    try:
        _check_owner(path)
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSetting(f"{path}: {error}. Correct it, or remove the file.", where=str(path)) from None
    found = []
    for name, value in table.items():
        line = _find_line(text, name)
        where = f"{path}, line {line}"
        _check_name(name, where)
        converted = _convert(name, value, where)
        found.append((name, _seen_from(path.parent, converted) if name in _PATHS else converted, line))
    return found


def _seen_from(folder: Path, value: object) -> str:
    """A path in a file is relative to the folder of that file."""
    return str(folder / Path(str(value)).expanduser())


def _check_owner(path: Path) -> None:
    """Settings decide whose code runs here, so they must not be somebody else's, as in a shared folder."""
    status = path.stat()
    if not hasattr(os, "getuid"):
        return
    if status.st_uid not in {0, os.getuid()} or status.st_mode & stat.S_IWOTH:
        text = (
            f"{path} belongs to another user or can be written by all, so it is not trusted. Make it yours "
            f"(chown, chmod o-w), or work in another folder."
        )
        raise InvalidSetting(text, where=str(path))


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
    """The value with the type that the setting has.

    Raises:
        InvalidSetting: it has another one.
    """
    kind = _kind(name)
    if kind is int and isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match["number"]) * _UNITS[match["unit"]])
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if kind is tuple:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
    elif type(value) is kind:
        return value
    text = f"{where}: {name} must be {_NAMES[kind]}, not {value!r}."
    if where == "argument":
        raise InvalidOption(f"{name} must be {_NAMES[kind]}, not {value!r}")
    raise InvalidSetting(text, where=where)


_NAMES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number, or a size such as '512 MiB'",
    float: "a number",
    str: "a text",
    tuple: "a list of texts",
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
