"""The user's exceptions, on their way from a worker to the driver."""

from __future__ import annotations

import pickle
import traceback

import cloudpickle
import msgspec

from bndl.errors import RemoteException, RemoteTraceback

__all__ = ["Failure", "describe", "rebuild"]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exception as it travels.

    Attributes:
        kind: the qualified name of its class.
        text: ``str()`` of it.
        trace: the traceback, as text.
        pickled: the exception itself; empty if it cannot be pickled.
    """

    kind: str
    text: str
    trace: str
    pickled: bytes = b""

    @property
    def line(self) -> str:
        """The exception in one line."""
        first = self.text.partition("\n")[0]
        return f"{self.kind}: {first}" if first else self.kind


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Failure)


def describe(error: BaseException, skip_frames: int = 0) -> bytes:
    """An exception in a form that always travels.

    Args:
        error: the exception.
        skip_frames: how many of the outermost frames are bndl's own and of no use to the user.
    """
    trace = error.__traceback__
    for _ in range(skip_frames):
        if trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        text = str(error)
    except Exception as inner:  # noqa: BLE001 - the user's __str__
        text = f"(its __str__ raised {type(inner).__name__})"
    try:
        lines = traceback.format_exception(kind, error, trace)
    except Exception:  # noqa: BLE001 - the user's __str__ or __repr__ again
        lines = [*traceback.format_tb(trace), f"{name}: {text}\n"]
    return _encoder.encode(Failure(name, text, "".join(lines), _pickle(error)))


def rebuild(payload: bytes) -> tuple[Failure, BaseException]:
    """The description, and the exception with its remote traceback as its cause."""
    failure = _decoder.decode(payload)
    error: BaseException | None = None
    if failure.pickled:
        try:
            error = pickle.loads(failure.pickled)  # noqa: S301 - from authenticated peers only
        except Exception:  # noqa: BLE001 - the user's class, which may not exist here
            error = None
    if not isinstance(error, BaseException):
        text = f"{failure.line}\nThe exception itself could not be sent; make its class picklable to get it."
        error = RemoteException(text, kind=failure.kind, text=failure.text)
    error.__cause__ = RemoteTraceback(failure.trace)
    return failure, error


def _pickle(error: BaseException) -> bytes:
    """The exception pickled, or nothing if it would not arrive."""
    try:
        pickled: bytes = cloudpickle.dumps(error, protocol=5)
        if isinstance(pickle.loads(pickled), BaseException):  # noqa: S301 - made on the line before
            return pickled
    except Exception:  # noqa: BLE001, S110 - whatever the user's class raises; it is described instead
        pass
    return b""
