"""Arguments that make no sense: an error of bndl's own, at once, that says what to give instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import bndl
from bndl.errors import InvalidOption

pytestmark = pytest.mark.slow

TIMEOUT = 30


@pytest.fixture(scope="module")
def ctx() -> Iterator[bndl.Context]:
    with bndl.connect(workers=1, progress=False) as context:
        yield context


@pytest.mark.parametrize("items", [5, None, abs])
def test_items_that_are_none(ctx: bndl.Context, items: Any) -> None:
    with pytest.raises(InvalidOption, match=r"items must be iterable, got .*ctx\.map\("):
        ctx.map(abs, items)


@pytest.mark.parametrize("function", [5, None, "abs"])
def test_functions_that_are_none(ctx: bndl.Context, function: Any) -> None:
    with pytest.raises(InvalidOption, match=r"needs a function.*ctx\.map\("):
        ctx.map(function, [1])
    with pytest.raises(InvalidOption, match=r"needs a function.*ctx\.submit\("):
        ctx.submit(function, 1)


@pytest.mark.parametrize("count", ["4", -1, 1.5, True])
def test_counts_of_workers_that_make_no_sense(ctx: bndl.Context, count: Any) -> None:
    with pytest.raises(InvalidOption, match="how many workers"):
        ctx.await_workers(count)


@pytest.mark.parametrize("seconds", ["4", -1, float("inf"), float("nan"), None])
def test_times_that_make_no_sense(ctx: bndl.Context, seconds: Any) -> None:
    with pytest.raises(InvalidOption, match=r"connect_timeout.*seconds"):
        ctx.await_workers(1, connect_timeout=seconds)
    with pytest.raises(InvalidOption, match=r"stable_timeout.*seconds"):
        ctx.await_workers(1, stable_timeout=seconds)


@pytest.mark.parametrize("parts", ["2", 0, -1, 1.5, None])
def test_parts_that_make_no_sense(parts: Any) -> None:
    stage = bndl.Job("any").stage(abs, [1, 2])
    for split in (stage.split, stage.results.split):
        with pytest.raises(InvalidOption, match="at least 1"):
            split(parts)


def test_counts_that_do(ctx: bndl.Context) -> None:
    assert ctx.await_workers(0) >= 0
    assert ctx.await_workers(1, connect_timeout=TIMEOUT) == 1
