"""Errors of options, in the words of the command line: ``--secret-file`` and not ``secret_file=``."""

from __future__ import annotations

import re

from bndl.errors import BndlError, InvalidOption, InvalidSetting

__all__ = ["in_options"]

_NAMES = (
    "cluster",
    "concurrency",
    "credentials",
    "insecure_plaintext",
    "listen",
    "mesh",
    "seeds",
    "secret_file",
    "workers",
)
_NAME = "|".join(_NAMES)
#: At the beginning of a text an option is what is wrong; elsewhere it is followed by ``=`` and maybe a value.
_FIRST = re.compile(rf"^(the name of )?(?P<name>{_NAME})(?=(\[\d+\])? (must|cannot|and)\b)")
_ADVICE = re.compile(rf"(?<![\w.(-])(?P<name>{_NAME})=(True|False)?")


def in_options(error: BndlError) -> str:
    """The text of an error that a command ends with. Files and variables are named as they are."""
    text = str(error)
    if not isinstance(error, InvalidOption) or isinstance(error, InvalidSetting):
        return text
    text = _ADVICE.sub(_spell, _FIRST.sub(_spell, text))
    # Some texts are for both.
    return re.sub(r"(--[\w-]+) \(\1\)", r"\1", text)


def _spell(match: re.Match[str]) -> str:
    return "--" + match["name"].replace("_", "-")
