"""What zenoh complains of, in words for users: without the places in its own source and the wrapping around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["explain", "explain_no_router"]

#: Where in zenoh's source an error was made.
_PLACE = re.compile(r" at /[^ \"\]]*\.rs:\d+\.?")
#: How its reader of settings passes on the complaint of another part.
_WRAPPED = re.compile(r"Json5Err\(Message \{ msg: \"(?P<text>.*)\", location: .*\}\)", re.DOTALL)


def explain(error: Exception) -> str:
    """The complaint in an error of zenoh."""
    text = _PLACE.sub("", str(error))
    return _WRAPPED.sub(lambda match: match["text"], text).strip().rstrip(".")


def explain_no_router(seeds: Sequence[str], error: Exception, problem: str = "") -> str:
    """What to do if none of these is a router that lets one in; to come after what was to reach it.

    Args:
        seeds: the addresses.
        error: of zenoh.
        problem: what a diagnosis found, in sentences.
    """
    if problem:
        return f"no router at {', '.join(seeds)}. {problem}"
    return (
        f"no router at {', '.join(seeds)}: {explain(error)}. Start one with `bndl router`, and see that its secret is "
        "the same."
    )
