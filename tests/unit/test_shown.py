"""What errors show of a call: short, on one line, and whatever the values do, nothing is raised."""

from __future__ import annotations

import functools
import json
import pickle
from decimal import Decimal
from typing import Any

import cloudpickle
import pytest

from bndl.execute import failures
from bndl.execute.shown import describe_call, describe_packed, describe_place, function_name


class Named:
    def method(self) -> None: ...

    def __call__(self) -> None: ...


class Raising:
    def __repr__(self) -> str:
        raise SystemExit

    def __getattr__(self, name: str) -> Any:
        raise AttributeError if name.startswith("__") else ValueError(name)

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (len, "len"),
        (describe_call, "describe_call"),
        (lambda: 0, "<lambda>"),
        (Named, "Named"),
        (Named().method, "Named.method"),
        (Named(), "Named"),
        (Raising(), "Raising"),
        (functools.partial(functools.partial(print, 1), 2), "print"),
    ],
)
def test_the_name_of_a_function(function: object, name: str) -> None:
    assert function_name(function) == name


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        ((), {}, "f()"),
        ((0, "a"), {"strict": True}, "f(0, 'a', strict=True)"),
        (range(10), {}, "f(0, 1, 2, 3, ...)"),
        (([1] * 100,), {}, "f([1, 1, 1, 1, 1, 1, ...])"),
        ((Raising(),), {}, "f(<Raising object whose repr raises SystemExit>)"),
        (("\x1b[31m\n\udce9",), {}, r"f('\x1b[31m\n\udce9')"),
    ],
)
def test_a_call(args: Any, kwargs: dict[str, Any], shown: str) -> None:
    assert describe_call("f", args, kwargs) == shown
    assert len(describe_call("f", ["x" * 10**6] * 10, {str(each): "y" * 10**6 for each in range(10)})) < 300


class Secret:
    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        pytest.fail("the user's code ran")

    def __setstate__(self, _: object) -> None:
        pytest.fail("the user's code ran")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, "f(7)"),
        ({"a": [1, None]}, "f({'a': [1, None]})"),
        (Secret(1), "f(<Secret>)"),
        ([Secret(1), {2}], "f([<Secret>, {2}])"),
        (Decimal(1), "f(<Decimal>)"),
        ("x" * 1000, "f('xxxx"),
    ],
)
def test_a_pickled_call_is_read_without_the_users_code(value: object, shown: str) -> None:
    assert describe_packed("f", cloudpickle.dumps(value), brings_function=False).startswith(shown)
    call = cloudpickle.dumps((Secret, (value,), {"key": value}))
    assert describe_packed("f", call, brings_function=True).startswith(shown[:-1])


@pytest.mark.parametrize("payload", [b"", b"B123", b"\x80\x05", b"\x80\x05cos\nsystem\n.", pickle.dumps([1])[:-1]])
def test_what_is_no_pickle_has_a_name(payload: bytes) -> None:
    assert describe_packed("f", payload, brings_function=True) == "f(...)"
    assert describe_packed("", payload, brings_function=True) == ""


def test_the_place_is_in_the_users_code() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    place = describe_place(caught.value.__traceback__)
    assert place.startswith(f'File "{__file__}", line ')
    assert place.endswith(', in test_the_place_is_in_the_users_code: json.loads("{")')
    assert not describe_place(None)


@pytest.mark.parametrize("text", ["", "a text", "two\nlines", "two\n  lines"])
def test_a_remote_traceback_shows_what_was_raised_once(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any text
        raise ValueError(text)
    _, error = failures.rebuild(failures.describe(caught.value))
    remote: Any = error.__cause__
    assert remote.text.rstrip().endswith(f"ValueError: {text}" if text else "ValueError")
    assert str(remote).rstrip().endswith("raise ValueError(text)")
    copy = pickle.loads(pickle.dumps(remote))
    assert (copy.text, str(copy)) == (remote.text, str(remote))
