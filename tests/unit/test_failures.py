"""Exceptions that travel: whatever the user's class does, it is described."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from bndl.errors import RemoteException, RemoteTraceback, TaskInterrupted
from bndl.execute import failures


class Plain(ValueError):
    pass


class TwoArguments(Exception):
    """Can be pickled, and cannot be unpickled."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return TwoArguments, self.args


class Unpicklable(OSError):
    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("never")


class Silent(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Odd(str):
    __slots__ = ()


class OddText(Exception):
    def __str__(self) -> str:
        return Odd("an odd text")


class Poisonous(Exception):
    """Ends whoever unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (4,)


class Interrupting(Exception):
    def __str__(self) -> str:
        raise TaskInterrupted


def fail(error: BaseException) -> None:
    raise error


def describe(error: BaseException) -> bytes:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - any may be tested
        fail(error)
    return failures.describe(raised.value)


def test_an_exception_arrives_as_itself() -> None:
    failure, error = failures.rebuild(describe(Plain("no")))
    assert (type(error), error.args) == (Plain, ("no",))
    assert failure.line.endswith("Plain: no")
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "fail(error)" in error.__cause__.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TwoArguments(404, "not found"), "TwoArguments: 404 not found"),
        (Unpicklable(2, "gone"), "Unpicklable: [Errno 2] gone"),
        (Silent(), "Silent: (its __str__ raised SystemExit)"),
        (Poisonous("bitter"), "Poisonous: bitter"),
        (ValueError(lambda: 0, open), "ValueError: (<function"),
        (Plain(bytes(2 << 20)), "Plain: b'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_one_that_cannot_travel_is_described(error: BaseException, line: str) -> None:
    payload = describe(error)
    failure, rebuilt = failures.rebuild(payload)
    assert line in failure.line
    assert f"{type(error).__name__}" in failure.trace
    if isinstance(error, ValueError) and not isinstance(error, Plain):
        assert isinstance(rebuilt, ValueError)  # cloudpickle can
    elif not isinstance(error, Silent):
        assert isinstance(rebuilt, RemoteException)
        assert "make its class picklable" in str(rebuilt)
        assert pickle.loads(pickle.dumps(rebuilt)).kind == failure.kind
    assert len(payload) < 1 << 20


@pytest.mark.parametrize("text", ["caf\udce9", "\ud83d", "é", "x" * 1_000_000, ""])
def test_any_text_travels_and_none_is_large(text: str) -> None:
    failure, error = failures.rebuild(describe(TwoArguments(1, text)))
    assert isinstance(error, RemoteException)
    assert len(failure.text) < 20_000
    assert len(failure.trace) < 200_000
    failure.text.encode()


def test_a_text_of_another_type_of_string_travels() -> None:
    assert failures.rebuild(describe(OddText()))[0].text == "an odd text"


class Meta(type):
    """Classes that do not say of what they are made."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__mro__":
            raise SystemExit
        return super().__getattribute__(name)


STRANGE = [
    type("Strange", (Exception,), {"__module__": "\udcff"}),
    type("Strange", (Exception,), {"__module__": []}),
    type("Strange", (Exception,), {"__traceback__": property(lambda _: 1 // 0)}),
    Meta("Strange", (Exception,), {}),
]


@pytest.mark.parametrize("kind", STRANGE)
def test_one_of_a_strange_class_is_described(kind: type[Exception]) -> None:
    payload = failures.describe(kind("a text"))
    failure, rebuilt = failures.rebuild(payload)
    assert failure.text == "a text" or "cannot be looked at" in failure.text
    assert isinstance(rebuilt.__cause__, RemoteTraceback)
    assert failures.matches(payload, [Exception])
    assert not failures.matches(payload, [OSError])


class Closed(Exception):
    """Lets nobody say what it comes from."""

    __cause__ = property(lambda _: None)


def test_one_that_takes_no_cause_is_replaced() -> None:
    _, rebuilt = failures.rebuild(failures.describe(Closed("a text")))
    assert isinstance(rebuilt, RemoteException)
    assert isinstance(rebuilt.__cause__, RemoteTraceback)


def test_only_an_interruption_comes_out_of_the_users_code() -> None:
    with pytest.raises(TaskInterrupted):
        describe(Interrupting())


def local_class() -> type[Exception]:
    class Local(ConnectionError):
        pass

    return Local


@pytest.mark.parametrize(
    ("make", "types", "expected"),
    [
        (lambda: Plain("no"), [Plain], True),
        (lambda: Plain("no"), [ValueError], True),
        (lambda: Plain("no"), [OSError, Exception], True),
        (lambda: Plain("no"), [BaseException], True),
        (lambda: Plain("no"), [OSError, KeyError], False),
        (lambda: Plain("no"), [], False),
        (lambda: TwoArguments(1, "x"), [TwoArguments], True),
        (lambda: Unpicklable(1, "x"), [OSError], True),
        (lambda: SystemExit(1), [Exception], False),
        (lambda: local_class()("x"), [OSError], True),
        (lambda: local_class()("x"), [local_class()], True),  # another class with the same name: by value they are one
    ],
)
def test_types_are_matched_without_unpickling(
    make: Callable[[], BaseException],
    types: list[type[BaseException]],
    *,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payload = describe(make())
    monkeypatch.setattr(pickle, "loads", lambda _: pytest.fail("it was unpickled"))
    assert failures.matches(payload, types) is expected
