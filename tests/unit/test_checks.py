"""Checks of options: plain values come out, and whatever is wrong is one clear error, also about hostile values."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bndl.checks import (
    MOST_SECONDS,
    check_callable,
    check_choice,
    check_flag,
    check_instance,
    check_number,
    check_path,
    check_seconds,
    check_text,
    check_texts,
    check_whole,
)
from bndl.config import Config
from bndl.driver.options import Options, Retry
from bndl.errors import InvalidOption


class Hostile:
    """Raises at whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __hash__ = __eq__ = __index__ = __float__ = _raise
    __lt__ = __gt__ = __le__ = __ge__ = __fspath__ = __contains__ = __getitem__ = _raise
    __class__ = property(_raise)


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("hostile")


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_whole_numbers_of_any_kind(value: Any) -> None:
    checked = check_whole("count", value)
    assert (checked, type(checked)) == (3, int)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.float64(2), np.int16(2), Fraction(2)])
def test_numbers_of_any_kind(value: Any) -> None:
    checked = check_number("factor", value)
    assert (checked, type(checked)) == (2.0, float)


@pytest.mark.parametrize("value", [True, np.True_])
def test_flags_of_any_kind(value: Any) -> None:
    assert check_flag("mesh", value) is True


def test_texts_and_paths() -> None:
    assert type(check_text("name", Text("a"))) is str
    assert check_texts("seeds", "a") == ("a",)
    assert check_texts("seeds", ["a", Text("b")]) == ("a", "b")
    assert check_path("folder", Path("a") / "b") == "a/b"


CHECKS: dict[str, Callable[[str, Any], object]] = {
    "whole": check_whole,
    "number": check_number,
    "seconds": check_seconds,
    "flag": check_flag,
    "text": check_text,
    "texts": check_texts,
    "path": check_path,
    "choice": partial(check_choice, choices=["a", "b"]),
    "callable": check_callable,
    "instance": partial(check_instance, kind=Config, rule="a Config"),
}

WRONG: dict[str, list[Any]] = {
    "whole": [None, "3", 1.5, 3.0, True, np.True_, math.nan, math.inf, 0, -1, 10**18, 10**400, [], np.float64(3)],
    "number": [None, "3", True, np.True_, math.nan, -math.inf, math.inf, -1, 10**400, 1j, [], Decimal(1), b"1"],
    "seconds": [None, "3", math.nan, math.inf, -1, -1e-9, 1e10, 10**400, MOST_SECONDS + 1, np.float64("inf")],
    "flag": [None, 0, 1, "yes", "", [], np.int64(1)],
    "text": [None, 3, b"a", "half \ud800", ["a"]],
    "texts": [None, 3, {"a"}, [1], ["a", None], [["a"]], ["half \ud800"]],
    "path": [None, 3, b"a", "a\0b", []],
    "choice": [None, 3, "c", "", b"a", ["a"]],
    "callable": [None, 3, "abs", []],
    "instance": [None, 3, Config, {}],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values])
def test_what_is_wrong_is_told(kind: str, value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^the_name(\[\d\])? must ") as caught:
        CHECKS[kind]("the_name", value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("kind", CHECKS)
def test_a_hostile_value_is_told_by_its_type(kind: str) -> None:
    with pytest.raises(InvalidOption, match=r"got <Hostile object whose repr raises RuntimeError>"):
        CHECKS[kind]("the_name", Hostile())


def test_the_bound_of_a_time_is_in_the_error() -> None:
    with pytest.raises(InvalidOption, match="at most 31,536,000 seconds, a year"):
        Options(timeout=1e10)
    assert Options(timeout=MOST_SECONDS).timeout == MOST_SECONDS


@pytest.mark.parametrize("name", ["lease", "hello_interval", "fetch_timeout", "chunk_bytes", "concurrency"])
def test_settings_that_must_not_be_zero(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name} must be"):
        Config(**{name: 0})  # type: ignore[arg-type]


def test_numbers_of_numpy_in_settings_and_options_become_plain() -> None:
    config = Config(lease=np.float32(2), workers=np.int64(3), seeds=["tcp/a:1"], mesh=np.False_)  # type: ignore[arg-type]
    assert (config.lease, config.workers, config.seeds, config.mesh) == (2.0, 3, ("tcp/a:1",), False)
    assert {type(config.lease), type(config.workers)} == {float, int}
    options = Options(attempts=np.int8(2), timeout=np.float64(3), priority=np.int32(-1))  # type: ignore[arg-type]
    assert [type(value) for value in (options.attempts, options.timeout, options.priority)] == [int, float, int]
    retry = Retry(attempts=np.int64(2), on=[OSError], backoff=np.float32(0.5))  # type: ignore[arg-type]
    assert (retry.attempts, retry.on, retry.backoff) == (2, (OSError,), 0.5)


@pytest.mark.parametrize(
    "given",
    [
        {"attempts": None},
        {"losses": None},
        {"factor": 1e300},
        {"backoff": 1e12},
        {"attempts": 10**18},
        {"elsewhere": Hostile()},
        {"elsewhere": 1},
        {"on": (OSError, 3)},
        {"on": Hostile()},
        {"jitter": 2},
    ],
)
def test_a_retry_that_makes_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=f"^{next(iter(given))} must be"):
        Retry(**given)


@pytest.mark.parametrize("value", ["1 GiB", 1, -1, math.inf, 1 << 70])
def test_a_memory_limit_that_makes_no_sense(value: Any) -> None:
    with pytest.raises(InvalidOption, match="memory_limit must"):
        Config(memory_limit=value)
