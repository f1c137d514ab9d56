"""Random generators that travel with their state: each copy gives the same numbers, which is seldom meant."""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from bndl.errors import RepeatedNumbersWarning
from bndl.execute.blame import is_searching
from bndl.execute.current import running
from bndl.execute.pickling.identity import PerObject

__all__ = ["is_generator", "note_generator"]

#: Generators of numpy, which need not be installed.
_OF_NUMPY = frozenset({("numpy.random._generator", "Generator"), ("numpy.random.mtrand", "RandomState")})
#: Frames in here are not the user's.
_OWN_FILES = str(Path(__file__).parents[2])

_lock = threading.Lock()
#: The state that a generator had when it was sent last; empty once the user was told.
_states: PerObject[bytes] = PerObject()


_by_kind: PerObject[bool] = PerObject()


def is_generator(kind: type) -> bool:
    """Whether these are random generators with a state."""
    known = _by_kind.get(kind)
    if known is None:
        known = _is_generator(kind)
        _by_kind.set(kind, known)
    return known


def _is_generator(kind: type) -> bool:
    if (kind.__module__, kind.__qualname__) in _OF_NUMPY:
        return True
    return issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)


def note_generator(generator: Any, reduced: Any, *, is_shared: bool) -> None:
    """A generator is about to be sent: warn, once for each, if several tasks will draw the same numbers.

    Args:
        generator: the generator.
        reduced: what it is pickled as.
        is_shared: whether what it is sent with goes to several tasks.
    """
    if running() is not None or is_searching():
        return
    try:
        state = hashlib.blake2b(pickle.dumps(reduced), digest_size=16).digest()
    except Exception:  # noqa: BLE001 - a subclass of the user's; the pickler will tell
        return
    witness = _witness_of(generator)
    with _lock:
        before = _states.get(witness)
        is_news = before != b"" and (is_shared or before == state)
        if before != b"":
            _states.set(witness, b"" if is_news else state)
    if not is_news:
        return
    kind = type(generator)
    text = (
        f"several tasks get a copy of one {kind.__module__}.{kind.__qualname__} with the same state, so they draw the "
        "same numbers. Make a generator in each task, with a seed from its item or from "
        "bndl.current_task().index, such as random.Random(seed) or numpy.random.default_rng([seed, index])."
    )
    warnings.warn(text, RepeatedNumbersWarning, stacklevel=_count_own_frames())


def _witness_of(generator: Any) -> Any:
    """What lives as long as a generator and can be referred to weakly, which those of numpy cannot."""
    numpys = getattr(generator, "bit_generator", getattr(generator, "_bit_generator", None))
    return generator if numpys is None else numpys.lock


def _count_own_frames() -> int:
    """How many frames there are up to the user's, counted from who warns."""
    frame = sys._getframe(1)  # noqa: SLF001 - documented, in spite of its name
    level = 1
    while frame.f_back is not None and _is_own(frame.f_code.co_filename):
        frame = frame.f_back
        level += 1
    return level


def _is_own(name: str) -> bool:
    return name.startswith(_OWN_FILES) or "cloudpickle" in name
