"""One hash seed for all workers of a cluster, so that ``hash("word")`` is the same in all of their tasks.

Python draws a seed for each process, so tasks that sort words into parts by their hash would do so differently on each
worker. Python reads the seed from the environment when it starts. All nodes of a cluster know its secret, so
they need not tell each other the seed.
"""

from __future__ import annotations

import hmac
import subprocess
import sys
from collections.abc import Mapping, Sequence

__all__ = ["choose_seed", "derive_seed", "seed_hashes"]

_VARIABLE = "PYTHONHASHSEED"

#: The greatest seed that Python takes. 0 would turn the seed off.
_LAST_SEED = 2**32 - 1


def derive_seed(secret: str) -> int:
    """The seed of a cluster with this secret. It does not tell the secret."""
    digest = hmac.digest(secret.encode(), b"bndl hash seed", "sha256")
    return int.from_bytes(digest, "big") % _LAST_SEED + 1


def choose_seed(environment: Mapping[str, str], secret: str) -> str:
    """The seed for workers that are started from this process: the one that the user has set, else the derived one."""
    given = "" if sys.flags.ignore_environment else environment.get(_VARIABLE, "")
    return str(derive_seed(secret)) if given in {"", "random"} else given


def seed_hashes(environment: Mapping[str, str], seed: str) -> tuple[dict[str, str], Sequence[str]]:
    """The environment of a worker with the seed, and the options of its interpreter, which are those of this one.

    An interpreter that was told to ignore its environment would ignore the seed too. So a worker does not get that
    option, but an environment without what the option makes it ignore.
    """
    # As multiprocessing does it.
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # noqa: SLF001
    changed = dict(environment)
    if sys.flags.ignore_environment:
        changed = {name: value for name, value in changed.items() if not name.startswith("PYTHON")}
        options = [option for option in options if option not in {"-E", "-I"}]
        options += ["-s"] if sys.flags.isolated else []
    return changed | {_VARIABLE: seed}, options
