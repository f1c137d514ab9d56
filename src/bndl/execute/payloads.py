"""Values as bytes, and back.

Functions and classes of the user's script travel by their definitions, see ``pickling``. Large buffers, such as those
of numpy arrays, are taken out of the pickle (protocol 5, PEP 574) and copied once, and are writable where they arrive.

A payload is a pickle with its buffers (``pickling.frames``); definitions come before it (``pickling.sections``).
"""

from __future__ import annotations

import pickle
from io import BytesIO
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from bndl.errors import BndlError, InvalidJob, NotPicklable
from bndl.execute.blame import find_culprit, name_of, traced
from bndl.execute.pickling.frames import WITH_BUFFERS, Buffers, split
from bndl.execute.pickling.loading import loaded
from bndl.execute.pickling.pickler import Pickler
from bndl.execute.pickling.sections import WITH_DEFINITIONS, Definitions, read_section
from bndl.execute.refs import Ref, Results
from bndl.reprs import safe_str, type_name

__all__ = ["Packer", "Pinned", "unpack"]

#: How much of the pickler's error is in that of bndl, in characters.
_MOST_TEXT = 500
#: Types that any pickler handles in the same way, for which there is no need to prepare one.
_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


class Pinned:
    """Stays alive here as long as what was pickled with a reference to it may be used elsewhere."""

    __slots__ = ()


class Packer:
    """Turns values into payloads. Not thread-safe: one for each thread.

    A pickler is costly to make and cheap to use again, which is why this is an object.

    Attributes:
        refs: the refs in the value that was packed last, if that was one that may have some.
        pinned: what is to stay alive as long as the payloads are used that were made until now, by its identity.
    """

    def __init__(self) -> None:
        self.file = BytesIO()
        self.refs: list[Ref | Results] = []
        self.pinned: dict[int, Pinned] = {}
        self.buffers = Buffers()
        self._definitions: Definitions | None = None
        self._pickler = traced(Pickler)(
            self.file, self.definitions, buffer_callback=self.buffers.take, replace=self._replace
        )
        self._busy = False
        self._is_used = False
        #: Where in the definitions the last error came up.
        self._place: tuple[list[str], Any] | None = None

    def pack(self, value: Any, what: str = "a value", *, with_refs: bool = False, is_shared: bool = False) -> bytes:
        """The payload of a value.

        Args:
            value: anything that can be pickled.
            what: what it is, for the error's text.
            with_refs: whether the refs in it will be replaced by what they stand for, where it arrives.
            is_shared: whether several tasks get it, as the function of a stage, which a random generator cannot be.

        Raises:
            NotPicklable: it names the object at fault and where in the value it sits.
            InvalidJob: there is a ref in it that nothing would replace.
        """
        if type(value) in _PLAIN:
            self.refs = []
            return pickle.dumps(value, 5)
        if self._busy:  # a value that packs another one while it is pickled
            return Packer().pack(value, what, is_shared=is_shared)
        self._busy = True
        self._pickler.is_shared = is_shared
        try:
            payload = self.pack_or_raise(value)
        except MemoryError:
            raise
        except Exception as error:
            if isinstance(error, BndlError) and not isinstance(error, NotPicklable):
                raise
            labels, part = self._locate(value)
            path, culprit, remedy = find_culprit(part, error, _repeat)
            if labels:
                start = [] if labels[0] == name_of(value) else [name_of(value)]
                path = " -> ".join([*start, *labels, *path.split(" -> ")[1:]])
            text = (
                f"{what} cannot be sent to another process: {path} is {culprit}, which cannot be pickled "
                f"({type_name(error)}: {safe_str(error, _MOST_TEXT)}). {remedy}"
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

    def take_pinned(self) -> dict[int, Pinned]:
        """What is pinned until now; it is up to the caller to keep it alive."""
        pinned, self.pinned = self.pinned, {}
        return pinned

    def _replace(self, obj: Any, kind: type) -> Any:
        """Put replacements in the place of refs, and note which results they stand for, and what is to be pinned."""
        if issubclass(kind, Ref | Results):
            self.refs.append(obj)
            return obj.replacement()
        if issubclass(kind, Pinned):
            self.pinned[id(obj)] = obj
        return None

    def _locate(self, value: Any) -> tuple[list[str], Any]:
        """The way to the definition that cannot be pickled, and that; or the value itself."""
        place, self._place = self._place, None
        labels, part = place or ([], None)
        if not labels:
            return [], value
        if isinstance(part, type):
            for name, attribute in list(vars(part).items()):
                if not _can_repeat(attribute) and not isinstance(
                    attribute, MemberDescriptorType | GetSetDescriptorType
                ):
                    return [*labels, f"attribute {name!r}"], attribute
        return labels, part

    def definitions(self) -> Definitions:
        """The definitions that the value needs which is being packed."""
        if self._definitions is None:
            self._definitions = Definitions(is_shared=self._pickler.is_shared, replace=self._replace)
        return self._definitions

    def pack_or_raise(self, value: Any) -> bytes:
        """The payload of a value, as ``pack`` does it, but raises whatever pickling it raises. Not to be nested."""
        self.refs = []
        if self._is_used:  # an interrupt came while it was tidied up
            self._tidy()
        self._is_used = True
        try:
            self._pickler.dump(value)
            pieces = self.buffers.pieces(self.file.getvalue())
            if self._definitions is not None:
                pieces = [*self._definitions.write(), *pieces]
            return b"".join(pieces) if len(pieces) > 1 else bytes(pieces[0])
        except Exception:
            self._place = None if self._definitions is None else self._definitions.locate()
            raise
        finally:
            self._tidy()

    def _tidy(self) -> None:
        """Let go of the value."""
        self._pickler.clear_memo()
        if self._definitions is not None:
            self._definitions.let_go()
            self._definitions = None
        self.buffers.clear()
        self.file.seek(0)
        self.file.truncate()
        self._is_used = False


def _repeat(part: Any) -> bytes:
    return Packer().pack_or_raise(part)


def _can_repeat(part: Any) -> bool:
    try:
        _repeat(part)
    except Exception:  # noqa: BLE001 - whatever a class raises when it is pickled
        return False
    return True


def unpack(payload: bytes) -> Any:
    """The value of a payload. Raises whatever the classes in it raise."""
    first = payload[:1]
    if first == WITH_DEFINITIONS:
        section, data, rest = read_section(payload)
        with loaded(section, data):
            return _loads(rest)
    if first == WITH_BUFFERS:
        return _loads(payload)
    return pickle.loads(payload)  # noqa: S301 - payloads come from authenticated peers only


def _loads(framed: bytes | memoryview) -> Any:
    pickled, buffers = split(framed)
    return pickle.loads(pickled, buffers=buffers)  # noqa: S301 - payloads come from authenticated peers only
