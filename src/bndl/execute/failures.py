"""The user's exceptions, on their way from a worker to the driver."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from bndl.errors import RemoteException, RemoteTraceback, TaskInterrupted
from bndl.execute.payloads import Packer, unpack
from bndl.execute.shown import describe_place
from bndl.execute.texts import cut, cut_middle, plain

__all__ = [
    "Failure",
    "describe",
    "is_one_of",
    "matches",
    "names_of",
    "open_cause",
    "read",
    "rebuild",
]

E = TypeVar("E", bound=BaseException)


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as it travels.

    Attributes:
        kind: the qualified name of its class.
        text: ``str()`` of it.
        trace: the traceback, as text.
        pickled: the exception itself; empty if it cannot be pickled, or is large.
        bases: the qualified names of its class and of its base classes, all with their module, for ``matches``.
        call: the call that raised it, in short, such as ``parse('a.txt')``; empty if that is not known.
        place: where in the user's code, in one line.
        loading: what was being unpickled when it was raised, so that there was no call; empty if nothing was.
    """

    kind: str
    text: str
    trace: str
    pickled: bytes = b""
    bases: tuple[str, ...] = ()
    call: str = ""
    place: str = ""
    loading: str = ""

    @property
    def line(self) -> str:
        """The exception in one line."""
        first = self.text.partition("\n")[0]
        return f"{self.kind}: {first}" if first else self.kind

    @property
    def traceback(self) -> RemoteTraceback:
        """The traceback as an exception, which shows it without what was raised: that is shown after it."""
        last = f"{self.kind}: {self.text}" if self.text else self.kind
        return RemoteTraceback(self.trace, self.trace.rstrip().removesuffix(last).rstrip())


#: Of the text, in characters.
_MOST_TEXT = 16 << 10
#: Of the traceback, in characters.
_MOST_TRACE = 128 << 10
#: Of the place, in characters.
_MOST_PLACE = 500
#: Of the exception itself, in bytes.
_MOST_PICKLED = 1 << 20

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Failure)


def describe(
    error: BaseException,
    skip_frames: int = 0,
    stack: Sequence[traceback.FrameSummary] = (),
    *,
    call: str = "",
    loading: str = "",
) -> bytes:
    """An exception in a form that always travels, and in a message, so it is not large.

    The user's code that it calls may raise what it wants; only ``TaskInterrupted`` is let through.

    Args:
        error: the exception.
        skip_frames: how many of the outermost frames are bndl's own and of no use to the user.
        stack: where the code is that it is about, if it was not raised there.
        call: the call that raised it, in short.
        loading: what was being unpickled when it was raised, if anything was.
    """
    try:
        return _encoder.encode(_describe(error, skip_frames, stack, plain(call), loading))
    except TaskInterrupted:
        raise
    except BaseException as inner:  # noqa: BLE001 - a metaclass, or properties in the place of what all exceptions have
        text = f"(an exception of a class that cannot be looked at: that raised {type(inner).__name__})"
        bases = ["builtins.Exception"] if isinstance(error, Exception) else []
        return _encoder.encode(Failure("exception", text, text, bases=(*bases, "builtins.BaseException")))


def _describe(
    error: BaseException, skip_frames: int, stack: Sequence[traceback.FrameSummary], call: str, loading: str
) -> Failure:
    trace = error.__traceback__
    for _ in range(skip_frames):
        if trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
    kind = type(error)
    name = _qualified_name(kind)
    for plain_module in ("builtins.", "__main__."):
        name = name.removeprefix(plain_module)
    try:
        text = str(error)
    except TaskInterrupted:
        raise
    except BaseException as inner:  # noqa: BLE001 - the user's __str__
        text = f"(its __str__ raised {type(inner).__name__})"
    try:
        lines = traceback.format_exception(kind, error, trace)
    except TaskInterrupted:
        raise
    except BaseException:  # noqa: BLE001 - the user's __str__ or __repr__ again
        lines = [*traceback.format_tb(trace), f"{name}: {text}\n"]
    bases = tuple(_qualified_name(base) for base in kind.__mro__ if issubclass(base, BaseException))
    if stack:
        where = traceback.format_list(stack)
        lines = ["Traceback of where it was (most recent call last):\n", *where, f"{name}: {text}\n"]
    text = cut(plain(text), _MOST_TEXT)
    shown = cut_middle(plain("".join(lines)), _MOST_TRACE)
    place = cut(plain(describe_place(trace, stack)), _MOST_PLACE)
    return Failure(name, text, shown, _pickle(error), bases, call, place, loading)


def _decode(payload: bytes) -> Failure:
    """The description in a payload. A peer may send anything, so one that is malformed is described instead."""
    try:
        failure: Failure = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"the worker's description of the error is malformed ({error})"
        return Failure("exception", text, text, bases=("builtins.Exception", "builtins.BaseException"))
    return failure


def matches(payload: bytes, types: Iterable[type[BaseException]]) -> bool:
    """Whether a described exception is an instance of one of these types; they are compared by their names.

    So the exception is not unpickled, and it need not be possible.
    """
    return is_one_of(payload, names_of(types))


def names_of(types: Iterable[type[BaseException]]) -> tuple[str, ...]:
    """What ``is_one_of`` knows types by. It looks at classes of users, whose metaclass may have code for that."""
    return tuple(_qualified_name(kind) for kind in types)


def is_one_of(payload: bytes, names: Iterable[str]) -> bool:
    """Whether a described exception is an instance of one of the types that have these names."""
    bases = _decode(payload).bases
    return any(name in bases for name in names)


def rebuild(payload: bytes) -> tuple[Failure, BaseException]:
    """The description, and the exception with its remote traceback as its cause."""
    failure = _decode(payload)
    error: Any = None
    if failure.pickled:
        try:
            error = unpack(failure.pickled)
            error.__cause__ = failure.traceback  # which its class may not allow
        except BaseException:  # noqa: BLE001 - the user's class, which may not exist here, and may raise what it wants
            error = None
    if not isinstance(error, BaseException):
        text = (
            f"{failure.line}\nThe exception itself could not be sent; make its class picklable, and small, to get it."
        )
        error = RemoteException(text, kind=failure.kind, text=failure.text)
        error.__cause__ = failure.traceback
    return failure, error


class _Unopened(Exception):
    """The cause of an error, as it came, until somebody asks for the error."""

    def __init__(self, payload: bytes, failure: Failure) -> None:
        super().__init__(f"{failure.line}\n\n{failure.trace}")
        self.payload = payload


def read(payload: bytes) -> tuple[Failure, BaseException]:
    """The description, and what stands for the exception until ``open_cause``. Runs nothing of the user's code."""
    failure = _decode(payload)
    return failure, _Unopened(payload, failure)


def open_cause(error: E) -> E:
    """The error, with the user's exception as the last of its causes; for threads that may run the user's code."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link.__cause__, _Unopened):
            link.__cause__ = rebuild(link.__cause__.payload)[1]
            break
        link = link.__cause__
    return error


def _qualified_name(kind: type) -> str:
    return plain(f"{kind.__module__}.{kind.__qualname__}")


def _pickle(error: BaseException) -> bytes:
    """The exception pickled, or nothing if it would not arrive."""
    try:
        pickled = Packer().pack_or_raise(error)
        if len(pickled) <= _MOST_PICKLED and isinstance(unpack(pickled), BaseException):
            return pickled
    except TaskInterrupted:
        raise
    except BaseException:  # noqa: BLE001, S110 - whatever the user's class raises; it is described instead
        pass
    return b""
