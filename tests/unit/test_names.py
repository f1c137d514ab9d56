"""Names: texts that can travel, whatever users and their functions call themselves."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import bndl
from bndl.driver.naming import name_of
from bndl.errors import InvalidOption


class Colour(StrEnum):
    RED = "red"


def named_job(name: Any) -> str:
    return bndl.Job(name).name


def named_stage(name: Any) -> str:
    return bndl.Job().stage(abs, [1], name=name).name


def named_task(name: Any) -> str:
    return bndl.Task(abs, 1).options(name=name).name


USES = [named_job, named_stage, named_task]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", [7, 0, b"x", Path("x"), True, "\udcff"])
def test_what_cannot_be_a_name_is_refused_where_it_is_given(use: Callable[[Any], str], name: Any) -> None:
    with pytest.raises(InvalidOption, match=r"the name of a .* must be|not valid Unicode"):
        use(name)


@pytest.mark.parametrize("use", USES)
def test_a_subclass_of_text_becomes_text(use: Callable[[Any], str]) -> None:
    assert use("é") == "é"
    assert use(Colour.RED) == "red"
    assert type(use(Colour.RED)) is str


def test_a_job_needs_a_name() -> None:
    with pytest.raises(InvalidOption):
        named_job(None)
    assert named_stage(None) == named_stage("") == "abs"
    assert named_task(None) == "task"


class Strange:
    def __init__(self, name: Any) -> None:
        self.__name__ = name

    def __call__(self, _: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize("name", [7, None, "", "\udcff"])
def test_a_function_may_be_called_anything(name: Any) -> None:
    assert name_of(Strange(name), "call") == "call"
    assert bndl.Job().stage(Strange(name), [1]).name == "stage"


def test_a_function_s_own_name() -> None:
    assert name_of(abs, "call") == "abs"
    assert name_of(partial(abs), "call") == "call"
    assert type(name_of(Strange(Colour.RED), "call")) is str
