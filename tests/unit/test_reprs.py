"""Texts of values for errors: they never raise, and are one short printable line."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from bndl.reprs import LIMIT, safe_repr, safe_str, type_name


class Broken:
    """Raises whenever something asks for a text."""

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        self.error = error

    def __repr__(self) -> NoReturn:
        raise self.error("no text")

    __str__ = __repr__


class Meta(type):
    @property
    def __name__(cls) -> NoReturn:  # type: ignore[override]
        raise ValueError("no name")


class Nameless(metaclass=Meta):
    def __repr__(self) -> NoReturn:
        raise ValueError("no text")


class Liar(Exception):
    def __str__(self) -> Any:
        return 3  # noqa: PLE0307 - what is tested


class Rows(list[Any]):
    """A list whose methods are broken, but which shows itself as a list."""

    def __iter__(self) -> NoReturn:
        raise ValueError("no elements")

    def __len__(self) -> NoReturn:
        raise ValueError("no length")


class Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def cyclic() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (3, "3"),
        ("it's", '"it\'s"'),
        (b"a\0", r"b'a\x00'"),
        ([1, "a", None], "[1, 'a', None]"),
        ((1,), "(1,)"),
        ((), "()"),
        ({"a": [1, 2]}, "{'a': [1, 2]}"),
        (set(), "set()"),
        (frozenset([1]), "frozenset({1})"),
        (range(10), "range(0, 10)"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, ...]"),
        ({each: each for each in range(7)}, "{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, ...}"),
        (Rows([1, 2]), "[1, 2]"),
        (cyclic(), "[1, [1, [1, [...]]]]"),
        (Shown("a\n  b\n"), "a b"),
        (Shown("\x1b[31mred\x1b[0m"), r"\x1b[31mred\x1b[0m"),
        (Shown("half \ud800"), r"half \ud800"),
        (10**5000, "<whole number of 16,610 bits>"),
        ([Broken()], "[<Broken object whose repr raises ValueError>]"),
        (Nameless(), "<Nameless object whose repr raises ValueError>"),
    ],
    ids=type_name,
)
def test_a_value_in_a_line(value: Any, text: str) -> None:
    assert safe_repr(value) == text


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, RecursionError, MemoryError])
def test_a_text_that_cannot_be_had(error: type[BaseException]) -> None:
    assert safe_repr(Broken(error)) == f"<Broken object whose repr raises {error.__name__}>"
    assert safe_str(Broken(error)) == f"<Broken object whose str raises {error.__name__}>"


def test_an_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        safe_repr(Broken(KeyboardInterrupt))


@pytest.mark.parametrize(
    "value", ["x" * 10**8, b"x" * 10**8, [0] * 10**7, Shown("x" * 10**7), deep(), "\n" * 10**6], ids=type_name
)
def test_large_values_have_short_texts(value: Any) -> None:
    assert len(safe_repr(value)) <= LIMIT
    assert len(safe_repr(value, 20)) <= 20
    assert len(safe_repr([value] * 1000, 30)) <= 30


def test_the_text_of_an_exception() -> None:
    assert safe_str(ValueError("two\nlines")) == "two lines"
    assert safe_str(ValueError("it is odd")) == "it is odd"
    assert safe_str(Liar()) == "<Liar object whose str raises TypeError>"


def test_the_name_of_a_type() -> None:
    assert type_name(3) == "int"
    assert type_name(Nameless()) == "Nameless"
