"""Values as bytes, and back.

Functions and what belongs to the user's script travel by value (cloudpickle); large buffers, such as those of numpy
arrays, are taken out of the pickle (protocol 5, PEP 574) and copied once, and are writable where they arrive.

A payload is either a bare pickle, or, if there are buffers::

    b"B" | count: u32 | count + 1 lengths: u64 | pickle | buffer | buffer ...
"""

from __future__ import annotations

import pickle
import struct
from io import BytesIO
from typing import Any

import cloudpickle

from bndl.errors import BndlError, InvalidJob, NotPicklable
from bndl.execute.blame import find_culprit, traced
from bndl.execute.refs import Ref, Results
from bndl.reprs import safe_str, type_name

__all__ = ["Packer", "unpack"]

_WITH_BUFFERS = b"B"
#: Buffers smaller than this stay in the pickle: taking them out costs more than copying them.
_SMALL_BUFFER = 4096

#: How much of the pickler's error is in that of bndl, in characters.
_MOST_TEXT = 500
#: Types that any pickler handles in the same way, for which there is no need to prepare one.
_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Puts replacements in the place of refs, and notes which results they stand for."""

    def __init__(self, packer: Packer) -> None:
        super().__init__(packer.file, protocol=5, buffer_callback=packer.take_buffer)
        self._packer = packer

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Ref | Results):
            self._packer.refs.append(obj)
            return obj.replacement()
        return super().reducer_override(obj)

    def begin(self) -> None:
        """Forget the last value."""
        self.clear_memo()
        #: cloudpickle shares the globals of functions that are pickled together; not longer than that.
        self.globals_ref: dict[int, dict[str, Any]] = {}


class Packer:
    """Turns values into payloads. Not thread-safe: one for each thread.

    A pickler is costly to make and cheap to use again, which is why this is an object.

    Attributes:
        refs: the refs in the value that was packed last, if that was one that may have some.
    """

    def __init__(self) -> None:
        self.file = BytesIO()
        self.refs: list[Ref | Results] = []
        self._buffers: list[memoryview] = []
        self._pickler = traced(_Pickler)(self)
        self._busy = False

    def pack(self, value: Any, what: str = "a value", *, with_refs: bool = False) -> bytes:
        """The payload of a value.

        Args:
            value: anything that can be pickled.
            what: what it is, for the error's text.
            with_refs: whether the refs in it will be replaced by what they stand for, where it arrives.

        Raises:
            NotPicklable: it names the object at fault and where in the value it sits.
            InvalidJob: there is a ref in it that nothing would replace.
        """
        if type(value) in _PLAIN:
            self.refs = []
            return pickle.dumps(value, 5)
        if self._busy:  # a value that packs another one while it is pickled
            return Packer().pack(value, what)
        self._busy = True
        try:
            payload = self._pack(value)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, BndlError) and not isinstance(error, NotPicklable):
                raise
            path, culprit = find_culprit(value, error, lambda part: Packer()._pack(part))  # noqa: SLF001 - its own class
            text = (
                f"{what} cannot be sent to another process: {path} is {culprit}, which cannot be pickled "
                f"({type_name(error)}: {safe_str(error, _MOST_TEXT)}). Create it where it is used, or leave it out."
            )
            raise NotPicklable(text, what=what, path=path) from error
        finally:
            self._busy = False
        if self.refs and not with_refs:
            text = (
                f"{what} has {self.refs[0]!r} in it, which only has a meaning in the arguments of a task of its job. "
                "Pass it there, as job.stage(function, [ref]): the function gets the value."
            )
            raise InvalidJob(text)
        return payload

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer stays in the pickle."""
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < _SMALL_BUFFER:
            return True
        self._buffers.append(view)
        return False

    def _pack(self, value: Any) -> bytes:
        self.refs = []
        self._pickler.begin()
        try:
            self._pickler.dump(value)
            pickled = self.file.getvalue()
            if not self._buffers:
                return pickled
            lengths = [len(pickled), *(view.nbytes for view in self._buffers)]
            header = struct.pack(f"<I{len(lengths)}Q", len(self._buffers), *lengths)
            return b"".join((_WITH_BUFFERS, header, pickled, *self._buffers))
        finally:
            self._buffers = []
            self.file.seek(0)
            self.file.truncate()


def unpack(payload: bytes) -> Any:
    """The value of a payload. Raises whatever the classes in it raise."""
    if payload[:1] != _WITH_BUFFERS:
        return pickle.loads(payload)  # noqa: S301 - payloads come from authenticated peers only
    (count,) = struct.unpack_from("<I", payload, 1)
    lengths = struct.unpack_from(f"<{count + 1}Q", payload, 5)
    view = memoryview(payload)
    position = 5 + 8 * (count + 1)
    pieces = []
    for length in lengths:
        pieces.append(view[position : position + length])
        position += length
    return pickle.loads(pieces[0], buffers=[bytearray(piece) for piece in pieces[1:]])  # noqa: S301
